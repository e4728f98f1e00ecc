//! Model TLB, walk, fill: what happens when the filter does not answer.
//!
//! The straight way from lookup to fill is one function, inlined into each slow path: no translation is copied from
//! layer to layer, and what an access need not do is not paid for. A walk that would do nothing but read
//! ([`Arch::walk_plain`]) is part of it. What is rare (another walk, a fault, a lost race, another page) leaves it for
//! `detour`, out of line, with no more than fits into registers.

use super::detour::What;
use super::port::Committing;
use super::{AccessError, Mmu};
use crate::access::{Access, AccessKind};
use crate::addr::{PhysAddr, VirtAddr};
use crate::arch::Arch;
use crate::memory::PhysMemory;
use crate::tlb::{Hit, Key, Line, Side, Tlb, TlbEntry};

/// A translated access, or the part of it that lies in one page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Translation {
    /// Where the first byte lies.
    pub pa: PhysAddr,
    /// How many bytes from there on lie in the same page, at most as many as were asked for.
    pub len: u64,
    /// The translation that was used.
    pub entry: TlbEntry,
}

/// Where an access has its first byte.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) pa: PhysAddr,
    /// How many bytes after that one lie in the same page. (Those with it would be 2^64 in the largest one.)
    pub(super) after: u64,
}

impl Place {
    /// Where `va` lies by way of `entry`.
    #[inline(always)]
    pub(super) fn of(entry: &TlbEntry, va: u64) -> Self {
        Self { pa: PhysAddr(entry.address(va)), after: !va & entry.page_mask() }
    }

    /// How many of `wanted` bytes, one at least, lie in the page.
    #[inline(always)]
    pub(super) fn len(&self, wanted: u32) -> u64 {
        u64::from(wanted).saturating_sub(1).min(self.after) + 1
    }
}

#[inline]
pub(super) fn side(kind: AccessKind) -> Side {
    if kind == AccessKind::Execute { Side::Instruction } else { Side::Data }
}

/// Why an access leaves the straight way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// Nothing has happened yet: the access is not an ordinary, translated one.
    Unordinary,
    /// The TLB holds a translation that does not give the right.
    Refused,
    /// The TLB holds no translation, and no plain walk yields one.
    Missed,
    /// There is a place, but whether its bytes may be reached, or how many of them, is still to be asked.
    Unreached,
}

/// No place, where there is a reason to leave.
pub(super) const NOWHERE: Place = Place { pa: PhysAddr(0), after: 0 };

impl<A: Arch, M: PhysMemory, T: Tlb> Mmu<A, M, T> {
    /// Translates an access as if it were made, with all its effects on TLB and tables, and moves no data.
    ///
    /// An access that crosses into another page is translated up to the boundary: [`Translation::len`] says how far.
    ///
    /// # Errors
    /// As for the access itself.
    pub fn translate(&mut self, access: &Access<A::Flavor>) -> Result<Translation, AccessError<A::Fault>> {
        let mut entry = None;
        let place = self.find(*access, |used| entry = Some(*used))?;
        match entry {
            Some(entry) => Ok(Translation { pa: place.pa, len: place.len(access.len), entry }),
            None => Err(AccessError::Contended { va: access.va, tries: 0 }),
        }
    }

    /// The way from model TLB to translation; `used` is shown the entry.
    #[inline(always)]
    pub(super) fn find(
        &mut self,
        access: Access<A::Flavor>,
        mut used: impl FnMut(&TlbEntry),
    ) -> Result<Place, AccessError<A::Fault>> {
        self.notice_map();
        match self.straight(&access, &mut used) {
            (place, None) => Ok(place),
            (place, Some(leave)) => self.detour(access.va, What::of(&access), leave, place, &mut used),
        }
    }

    /// The straight way: a cached translation that serves, or a plain walk. (Not a `Result`: the place and the reason to
    /// leave are to be words of their own, in registers.)
    #[inline(always)]
    pub(super) fn straight(
        &mut self,
        access: &Access<A::Flavor>,
        used: &mut impl FnMut(&TlbEntry),
    ) -> (Place, Option<Leave>) {
        if access.flavor != A::Flavor::default() {
            return (NOWHERE, Some(Leave::Unordinary));
        }
        let context = self.contexts.of(access.kind);
        let Some(key) = self.arch.lookup_plain(context, access) else {
            return (NOWHERE, Some(Leave::Unordinary));
        };
        if let Some(hit) = self.tlb.lookup(&key, side(access.kind)) {
            if !self.arch.permits(context, access, &hit.entry) {
                self.heed(&hit);
                return (NOWHERE, Some(Leave::Refused));
            }
            let place = Place::of(&hit.entry, key.va);
            let reached = self.reaches(context, access, &place);
            self.heed(&hit);
            used(&hit.entry);
            if !reached {
                return (place, Some(Leave::Unreached));
            }
            // A window is worth its opening where the line is touched twice in a row.
            if let (true, Some(line)) = (hit.repeat, hit.line) {
                self.open(access.va, What::of(access), place.pa, hit.entry.size_bits, line);
            }
            return (place, None);
        }
        // No window is opened: the next lookup will tell whether that is worth while.
        self.stats.walks += 1;
        if self.tlb.follows_walks() {
            return (NOWHERE, Some(Leave::Missed));
        }
        let mut port = Committing::new(&self.memory, &mut self.tlb, key.space, &mut self.stats.pte_reads);
        let Some(entry) = self.arch.walk_plain(context, access, &mut port) else {
            return self.straight_nested(access.va, What::of(access), used);
        };
        let place = Place::of(&entry, key.va);
        let reached = self.reaches(context, access, &place);
        self.fill(access, &key, entry, used);
        (place, if reached { None } else { Some(Leave::Unreached) })
    }

    /// The straight way where one stage does not make a plain walk; two may. Such walks are long: the key is made anew.
    #[inline(never)]
    fn straight_nested(
        &mut self,
        va: VirtAddr,
        what: What<A::Flavor>,
        used: &mut impl FnMut(&TlbEntry),
    ) -> (Place, Option<Leave>) {
        let access = what.at(va);
        let context = self.contexts.of(access.kind);
        let Some(key) = self.arch.lookup_plain(context, &access) else {
            return (NOWHERE, Some(Leave::Missed));
        };
        let mut port = Committing::new(&self.memory, &mut self.tlb, key.space, &mut self.stats.pte_reads);
        let Some(page) = self.arch.walk_plain_nested(context, &access, &mut port) else {
            return (NOWHERE, Some(Leave::Missed));
        };
        let entry = page.entry(&key);
        let place = Place::of(&entry, key.va);
        let reached = self.reaches(context, &access, &place);
        self.fill(&access, &key, entry, used);
        (place, if reached { None } else { Some(Leave::Unreached) })
    }

    /// Caches what a walk has found.
    #[inline(always)]
    fn fill(
        &mut self,
        access: &Access<A::Flavor>,
        key: &Key,
        entry: TlbEntry,
        used: &mut impl FnMut(&TlbEntry),
    ) {
        let filled = self.tlb.refill(entry, side(access.kind), key);
        self.touched(filled.line);
        self.rippled(filled.ripple);
        used(&entry);
    }

    /// Whether the whole access lies in the page, and may be made.
    #[inline(always)]
    fn reaches(&self, context: &A::Context, access: &Access<A::Flavor>, place: &Place) -> bool {
        let len = u64::from(access.len).max(1);
        place.after >= len - 1 && self.arch.check_physical(context, access, place.pa, len).is_ok()
    }

    /// What a lookup did to its line, and to others.
    #[inline(always)]
    pub(super) fn heed(&mut self, hit: &Hit) {
        if !hit.repeat {
            self.touched(hit.line);
        }
        self.rippled(hit.ripple);
    }

    /// The model changed on `line`.
    #[inline(always)]
    pub(super) fn touched(&mut self, line: Option<Line>) {
        if let Some(line) = line {
            self.filter.retire(line);
        }
    }

    /// The model changed on lines that it does not name.
    #[inline(always)]
    pub(super) fn rippled(&mut self, ripple: bool) {
        if ripple {
            self.empty_filter();
        }
    }
}
