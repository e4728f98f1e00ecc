//! Runs of leaves that differ by their pages alone.
//!
//! Most tables are mostly that, and such a run need not be looked at entry by entry: one subtraction each says that
//! the entries rise evenly, and both ends say what all of them are.

use super::run::{Rise, Run};
use crate::addr::PhysAddr;
use crate::radix::{Encode, EncodeError, Entry, LeafTest, Perms};

/// The entries of pages of one level that follow one another.
#[derive(Clone, Copy)]
pub(super) struct Even {
    /// The entries.
    pub(super) rise: Rise,
    /// Where the first page lies.
    pub(super) base: u64,
    /// What every one of them allows.
    pub(super) perms: Perms,
}

/// What a leaf grows by from one page to the next, remembered for the rights last asked for.
pub(super) type Step = Option<(Perms, u64)>;

/// What a leaf of `level` with `perms` grows by from the page at `base` to the next.
fn step<F: Encode>(format: &F, level: u32, base: u64, perms: Perms, known: &mut Step) -> Option<u64> {
    if let Some((same, step)) = *known {
        if same == perms {
            return Some(step);
        }
    }
    let leaf = |base: u64| format.encode_leaf(PhysAddr(base), level, perms).ok();
    let step = leaf(base.wrapping_add(1 << format.shift(level)))?.wrapping_sub(leaf(base)?);
    *known = Some((perms, step));
    Some(step)
}

impl Even {
    /// The `count` leaves of `level` for the pages from `base` on with `perms`, if the format lets them rise evenly:
    /// one that scatters the bits of an address does not where a run leaves one field of them for another.
    ///
    /// A table spans less than a field of address bits does, so a run leaves a field once at most, and does not end
    /// where even steps end if it does. Looking at both ends is enough.
    pub(super) fn encode<F: Encode>(
        format: &F,
        level: u32,
        base: u64,
        count: u64,
        perms: Perms,
    ) -> Result<Option<Self>, EncodeError> {
        let leaf =
            |n: u64| format.encode_leaf(PhysAddr(base.wrapping_add(n << format.shift(level))), level, perms);
        let further = count.saturating_sub(1);
        let (first, last) = (leaf(0)?, leaf(further)?);
        let step = if further > 0 { leaf(1)?.wrapping_sub(first) } else { 0 };
        let rise = Rise { first, step };
        Ok((rise.get(further) == last).then_some(Self { rise, base, perms }))
    }

    /// What the first `count` entries of a run of `level` are, if they are such leaves.
    #[inline]
    pub(super) fn decode<F: Encode>(
        format: &F,
        level: u32,
        run: &mut Run,
        count: usize,
        known: &mut Step,
    ) -> Option<Self> {
        let shift = format.shift(level);
        let further = count.checked_sub(1).filter(|&further| further > 1)?;
        let (first, last) = (run.get(0), run.get(further));
        let Entry::Leaf { base, size_bits } = format.decode(first, level) else { return None };
        let perms = format.perms(first, level);
        // What the entries must differ by is the format's to say: a table could let its flags count.
        let rise = Rise { first, step: step(format, level, base, perms, known)? };
        let end = Entry::Leaf { base: base.wrapping_add((further as u64) << shift), size_bits };
        let even = size_bits == shift && format.decode(last, level) == end && run.rises(rise, count);
        even.then_some(Self { rise, base, perms })
    }
}

/// What was made of the last leaf's flags, all that is not its page's place: most leaves differ from those around them
/// by their pages alone.
pub(super) struct Known<T> {
    address: u64,
    last: Option<(u64, T)>,
}

impl<T: Copy> Known<T> {
    pub(super) const fn new(test: LeafTest) -> Self {
        Self { address: test.address, last: None }
    }

    /// What `make` makes of the flags of `raw`, as it does of all with the same flags.
    #[inline]
    pub(super) fn get<E>(&mut self, raw: u64, make: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let flags = raw & !self.address;
        if let Some((_, made)) = self.last.filter(|&(last, _)| last == flags) {
            return Ok(made);
        }
        let made = make()?;
        self.last = Some((flags, made));
        Ok(made)
    }
}
