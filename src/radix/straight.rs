//! The walk that nearly every walk is: 4 KiB pages, a plain table at every level above, and nothing to say about any of
//! the entries on the way.
//!
//! A format tells such entries by a compare. What is left of a walk then is its dependent loads: nothing is stored, no
//! reserved encoding is told from an absent one, no place is remembered for a mark or a fault. Where anything is not as
//! expected there is no answer, and the walk is made again by [`walk`](super::walk()), which knows every case; so this
//! is never the only one to know a rule, and it may always give up.

/// How a format of 8-byte entries and 4 KiB tables tells its plain entries.
pub(crate) trait Straight: Copy {
    /// How many levels there are.
    const LEVELS: u32;
    /// At least as many bits as index the root. The address has none above those that do.
    const ROOT_BITS: u32 = 9;

    /// The next table's or the page's address in a plain entry.
    fn address(raw: u64) -> u64;
    /// Whether `raw`, of a level above 0, does no more than point at a table.
    fn is_table(self, raw: u64, level: u32) -> bool;
    /// Whether `raw`, of level 0, maps one page, and has all the marks that the access asks for.
    fn is_page(self, raw: u64) -> bool;
    /// What an entry that points at a table passes down, given what came from above.
    fn limits(above: u64, raw: u64) -> u64;
    /// What holds at the root.
    const LIMITS: u64;
}

/// A page found straight away.
#[derive(Clone, Copy)]
pub(crate) struct Page {
    /// Its entry.
    pub(crate) raw: u64,
    /// Its first byte.
    pub(crate) base: u64,
    /// What the tables above impose.
    pub(crate) limits: u64,
}

impl Page {
    /// Where `va` lands in it.
    #[inline(always)]
    pub(crate) const fn address(&self, va: u64) -> u64 {
        self.base | va & 0xfff
    }
}

/// Where a straight walk reads entries. (A trait where a closure would do: functions can be told to be inlined.)
pub(crate) trait Entries: Copy {
    /// The entry at `at`, if it can be read and nobody need be told.
    fn read(self, at: u64) -> Option<u64>;
}

/// Tables that lie behind another stage, itself walked straight.
#[derive(Clone, Copy)]
pub(crate) struct Behind<F, E> {
    pub(crate) format: F,
    pub(crate) root: u64,
    /// Where the other stage's entries are.
    pub(crate) entries: E,
}

impl<F: Straight, E: Entries> Entries for Behind<F, E> {
    #[inline(always)]
    fn read(self, at: u64) -> Option<u64> {
        let page = straight(self.format, self.root, at, self.entries)?;
        self.entries.read(page.address(at))
    }
}

/// Walks `va` from the table at `root`.
#[inline(always)]
pub(crate) fn straight<F: Straight, E: Entries>(format: F, root: u64, va: u64, entries: E) -> Option<Page> {
    // Known to be aligned, so that no entry's place needs to be checked for it.
    let (mut table, mut limits) = (root & !0xfff, F::LIMITS);
    // Written out, as in the other walk: each step's shifts and masks are constants.
    if F::LEVELS > 4 {
        descend(format, 4, va, &mut table, &mut limits, entries)?;
    }
    if F::LEVELS > 3 {
        descend(format, 3, va, &mut table, &mut limits, entries)?;
    }
    if F::LEVELS > 2 {
        descend(format, 2, va, &mut table, &mut limits, entries)?;
    }
    descend(format, 1, va, &mut table, &mut limits, entries)?;
    let raw = entries.read(place::<F>(table, va, 0))?;
    if !format.is_page(raw) {
        return None;
    }
    Some(Page { raw, base: F::address(raw), limits })
}

/// Where the entry for `va` is in the table at `table`.
#[inline(always)]
fn place<F: Straight>(table: u64, va: u64, level: u32) -> u64 {
    let bits = if level + 1 == F::LEVELS { F::ROOT_BITS } else { 9 };
    table.wrapping_add((va >> (12 + 9 * level) & ((1 << bits) - 1)) * 8)
}

#[inline(always)]
fn descend<F: Straight, E: Entries>(
    format: F,
    level: u32,
    va: u64,
    table: &mut u64,
    limits: &mut u64,
    entries: E,
) -> Option<()> {
    let raw = entries.read(place::<F>(*table, va, level))?;
    if !format.is_table(raw, level) {
        return None;
    }
    *table = F::address(raw);
    *limits = F::limits(*limits, raw);
    Some(())
}
