//! Which entries are of which space, so that dropping a space costs what that space has cached.
//!
//! Every resident entry stands in a list of entries like it:
//!
//! ```text
//!   group: 4 bits of the regime, 2 of the VMID         class: up to 5 bits of the ASID, or "global"
//!   lists[group] = 1 0 0 1 0 ... 1   which classes of the group may have entries
//!                  │     └──────────────────┐
//!   links:       head ⇄ entry ⇄ entry     head ⇄ entry
//! ```
//!
//! The numbers of groups and classes are bits of the space's word, so that a scope which names some of its bits names
//! the same bits of the numbers. An entry that takes another's place in the same space changes nothing here. All
//! lists are emptied at once by forgetting which groups are in use.

use super::{Scope, Space};
use crate::addr::low_mask;
use alloc::{vec, vec::Vec};

/// No entry.
const NONE: u32 = u32::MAX;
/// Arrays smaller than this have two lists only.
const SMALL: usize = 64;
const GROUP_BITS: u32 = 6;
const MAX_CLASS_BITS: u32 = 5;

#[derive(Clone, Copy)]
struct Link {
    ahead: u32,
    behind: u32,
}

#[derive(Clone, Default)]
pub(super) struct Residents {
    /// The entries' links, then those of the heads of all lists.
    links: Vec<Link>,
    heads: usize,
    class_bits: u32,
    group_mask: usize,
    /// Bit `n`: group `n` may have entries; if not, its word of `lists` means nothing.
    groups: u64,
    /// Bit `n` of a group's word: class `n` of it may have entries; if not, its head means nothing.
    lists: Vec<u64>,
}

impl Residents {
    pub(super) fn new(entries: usize) -> Self {
        let small = entries < SMALL;
        let class_bits = if small { 0 } else { (entries.ilog2() - 4).min(MAX_CLASS_BITS) };
        let groups = if small { 1 } else { 1 << GROUP_BITS };
        let heads = groups * ((1 << class_bits) + 1);
        Self {
            links: vec![Link { ahead: NONE, behind: NONE }; entries + heads],
            heads: entries,
            class_bits,
            group_mask: groups - 1,
            groups: 0,
            lists: vec![0; groups],
        }
    }

    /// The bits of a space's word, or of a mask of them, that number groups.
    const fn group(&self, bits: u64) -> usize {
        ((bits >> 32 & 0xf) << 2 | bits >> 16 & 3) as usize & self.group_mask
    }

    /// Those that number classes.
    const fn class(&self, bits: u64) -> u64 {
        bits & low_mask(self.class_bits)
    }

    /// The class of global entries, which comes after all others.
    const fn global(&self) -> u64 {
        1 << self.class_bits
    }

    fn head(&self, group: usize, class: u64) -> usize {
        self.heads + group * (self.global() as usize + 1) + class as usize
    }

    /// The entry at `index`, which is in no list, is of `space` now.
    #[inline]
    pub(super) fn link(&mut self, index: usize, space: Space, global: bool) {
        let group = self.group(space.bits());
        let class = if global { self.global() } else { self.class(space.bits()) };
        let head = self.head(group, class);
        if self.groups >> group & 1 == 0 {
            self.groups |= 1 << group;
            self.lists[group] = 0;
        }
        if self.lists[group] >> class & 1 == 0 {
            self.lists[group] |= 1 << class;
            self.links[head].behind = NONE;
        }
        let behind = self.links[head].behind;
        self.links[index] = Link { ahead: head as u32, behind };
        self.links[head].behind = index as u32;
        if let Some(behind) = self.links.get_mut(behind as usize) {
            behind.ahead = index as u32;
        }
    }

    /// The entry at `index` is gone.
    #[inline]
    pub(super) fn unlink(&mut self, index: usize) {
        let Link { ahead, behind } = self.links[index];
        self.links[ahead as usize].behind = behind;
        if let Some(behind) = self.links.get_mut(behind as usize) {
            behind.ahead = ahead;
        }
    }

    /// All are gone.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.groups = 0;
    }

    /// Calls `visit` with every entry whose space `scope` may cover, at most `budget` of them; it says whether the
    /// entry is gone. Whether that were all.
    pub(super) fn visit(
        &mut self,
        scope: &Scope,
        mut budget: u64,
        mut visit: impl FnMut(usize) -> bool,
    ) -> bool {
        let (wanted, named) = (self.group(scope.space.bits()), self.group(scope.mask));
        let globals = 1 << self.global();
        let one = self.class(scope.mask) == self.class(Space::ASID);
        let asids = if one { 1 << self.class(scope.space.bits()) } else { globals - 1 };
        let classes = if scope.globals { asids | globals } else { asids };
        let groups = bits_of(self.groups).map(|group| group as usize);
        for group in groups.filter(|group| (group ^ wanted) & named == 0) {
            for class in bits_of(self.lists[group] & classes) {
                let head = self.head(group, class.into());
                let mut at = self.links[head].behind;
                while at != NONE {
                    if budget == 0 {
                        return false;
                    }
                    budget -= 1;
                    let behind = self.links[at as usize].behind;
                    if visit(at as usize) {
                        self.unlink(at as usize);
                    }
                    at = behind;
                }
                if self.links[head].behind == NONE {
                    self.lists[group] &= !(1 << class);
                }
            }
            if self.lists[group] == 0 {
                self.groups &= !(1 << group);
            }
        }
        true
    }
}

/// The numbers of the bits that are set, in order.
pub(super) fn bits_of(mut bits: u64) -> impl Iterator<Item = u32> {
    core::iter::from_fn(move || {
        let bit = bits.trailing_zeros();
        bits &= bits.wrapping_sub(1);
        (bit < 64).then_some(bit)
    })
}
