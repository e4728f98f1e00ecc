//! The usual walks: 4-level paging of 4 KiB pages, alone or over four levels of EPT or nested paging.
//!
//! They find what [`first`](super::first) would, or nothing (see [`radix::straight`](crate::radix)): an entry that lacks
//! a mark, a large page or a refusal sends the access there. What the control registers say of them is worked out when
//! one changes.

use super::ept::{EptFormat, EptPte, EptTables};
use super::first::{First, Page};
use super::masking;
use super::mode::Paging;
use super::nested::{Lower, Request};
use super::npt::NptTables;
use super::pte::{self, ADDRESS, LongMode, Pte};
use super::rights::{Context, Rights};
use super::{Flavor, X86};
use crate::access::Access;
use crate::arch::{NestedPage, Peeking, PteMemory};
use crate::radix::{self, Behind, Entries, straight};
use crate::tlb::TlbEntry;

/// Addresses that four levels cannot index.
const BEYOND: u64 = ADDRESS & !0xffff_ffff_ffff;

/// What the registers come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Straight {
    /// Some other mode.
    No,
    /// One stage.
    Single(Long),
    /// Two stages, the second EPT.
    OverEpt(Long, Extended),
    /// Two stages of ordinary tables.
    OverNpt(Long, Long, NptTables),
}

/// Tables of 4-level paging.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Long {
    root: u64,
    /// Reserved in every entry.
    high: u64,
    /// Reserved in a PML4E besides.
    upper: u64,
}

/// Tables of EPT with four levels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Extended {
    tables: EptTables,
    /// What a guest's table needs of the entries that point at tables, and of its page: that it can be read, and with
    /// accessed and dirty bits on that it can be written and has them (a read of it counts as both then).
    read_above: u64,
    read_page: u64,
}

impl Straight {
    pub(super) fn of(x86: &X86) -> Self {
        let Paging::Long(format @ LongMode { top: 3, .. }) = x86.paging else { return Self::No };
        // What carries tags is taken apart elsewhere.
        if masking::is_on(x86) {
            return Self::No;
        }
        let Some(lower) = x86.lower else { return Self::Single(Long::new(&format, x86.root)) };
        if x86.root & BEYOND != 0 {
            return Self::No;
        }
        let guest = Long::new(&format, x86.root).within(BEYOND);
        match lower {
            Lower::Ept(tables) if tables.format.has_four_levels() => {
                Self::OverEpt(guest, Extended::new(tables))
            }
            Lower::Npt(tables) => match tables.four_levels() {
                Some((host, root)) => Self::OverNpt(guest, Long::new(&host, root), tables),
                None => Self::No,
            },
            Lower::Ept(_) => Self::No,
        }
    }
}

impl Long {
    const fn new(format: &LongMode, root: u64) -> Self {
        Self { root, high: format.high, upper: format.upper }
    }

    /// Entries whose address has bits in `beyond` are not of the usual.
    const fn within(self, beyond: u64) -> Self {
        Self { high: self.high | beyond, ..self }
    }

    /// As a walk that needs `above` of entries that point at tables and `page` of the page sees them.
    #[inline(always)]
    const fn needing(self, above: Pte, page: Pte) -> LongWalk {
        LongWalk { high: self.high, upper: self.upper, above: above.bits(), page: page.bits() }
    }

    /// As the walk for an access sees them that writes or does not.
    #[inline(always)]
    fn marked(self, writes: bool) -> LongWalk {
        let used = Pte::PRESENT.union(Pte::ACCESSED);
        self.needing(used, if writes { used.union(Pte::DIRTY) } else { used })
    }
}

/// Long-mode tables with the bits that a walk needs.
#[derive(Clone, Copy)]
struct LongWalk {
    high: u64,
    upper: u64,
    above: u64,
    page: u64,
}

impl radix::Straight for LongWalk {
    const LEVELS: u32 = 4;
    const LIMITS: u64 = u64::MAX;

    #[inline(always)]
    fn address(raw: u64) -> u64 {
        raw & ADDRESS
    }
    #[inline(always)]
    fn is_table(self, raw: u64, level: u32) -> bool {
        let reserved = self.high | if level == 3 { self.upper } else { Pte::LARGE.bits() };
        raw & (reserved | self.above) == self.above
    }
    #[inline(always)]
    fn is_page(self, raw: u64) -> bool {
        raw & (self.high | self.page) == self.page
    }
    #[inline(always)]
    fn limits(above: u64, raw: u64) -> u64 {
        pte::combine(above, raw)
    }
}

impl Extended {
    const fn new(tables: EptTables) -> Self {
        let read = EptPte::READ;
        let (above, page) = if tables.format.marks {
            let above = read.union(EptPte::WRITE).union(EptPte::ACCESSED);
            (above, above.union(EptPte::DIRTY))
        } else {
            (read, read)
        };
        Self { tables, read_above: above.bits(), read_page: page.bits() }
    }

    #[inline(always)]
    const fn needing(&self, above: u64, page: u64) -> ExtendedWalk {
        ExtendedWalk { high: self.tables.format.high, above, page }
    }

    /// What an access itself needs of entries that can at least be read: the marks.
    #[inline(always)]
    fn marked(&self, writes: bool) -> ExtendedWalk {
        let format = &self.tables.format;
        let (accessed, dirty) =
            if format.marks { (EptPte::ACCESSED.bits(), EptPte::DIRTY.bits()) } else { (0, 0) };
        let above = EptPte::READ.bits() | accessed;
        self.needing(above, if writes { above | dirty } else { above })
    }
}

/// EPT tables with the bits that a walk needs, R at least.
#[derive(Clone, Copy)]
struct ExtendedWalk {
    high: u64,
    above: u64,
    page: u64,
}

impl radix::Straight for ExtendedWalk {
    const LEVELS: u32 = 4;
    const LIMITS: u64 = u64::MAX;

    #[inline(always)]
    fn address(raw: u64) -> u64 {
        raw & ADDRESS
    }
    #[inline(always)]
    fn is_table(self, raw: u64, _level: u32) -> bool {
        raw & (self.high | EptFormat::TABLE_RESERVED | self.above) == self.above
    }
    #[inline(always)]
    fn is_page(self, raw: u64) -> bool {
        // Types 4 and 6, WT and WB: told by bits 2 and 0, and not reserved. Memory of other types is reached less often.
        let page = self.page | 4 << 3;
        raw & (self.high | self.page | 5 << 3) == page
    }
    #[inline(always)]
    fn limits(above: u64, raw: u64) -> u64 {
        above & raw
    }
}

/// What [`first::translate`](super::first::translate) would find, if it is a usual walk of one stage.
#[inline(always)]
pub(super) fn single<P: PteMemory>(
    x86: &X86,
    context: &Context,
    access: &Access<Flavor>,
    memory: &mut P,
) -> Option<TlbEntry> {
    let Straight::Single(tables) = &x86.straight else { return None };
    let first = First { x86, context, access, va: access.va.0 };
    let (page, _) = find(&first, tables, Peeking(memory))?;
    memory.peeked(4);
    Some(first.single(&page))
}

/// Likewise of two.
#[inline]
pub(super) fn double<P: PteMemory>(
    x86: &X86,
    context: &Context,
    access: &Access<Flavor>,
    memory: &mut P,
) -> Option<NestedPage> {
    let first = First { x86, context, access, va: access.va.0 };
    match &x86.straight {
        Straight::OverEpt(guest, host) => over_ept(first, guest, host, memory),
        Straight::OverNpt(guest, host, tables) => over_npt(first, guest, host, tables, memory),
        Straight::No | Straight::Single(_) => None,
    }
}

/// The first stage of any number, and where it maps the address.
#[inline(always)]
fn find<E: Entries>(first: &First<'_>, tables: &Long, entries: E) -> Option<(Page, u64)> {
    let format = tables.marked(first.access.kind.writes());
    let found = straight(format, tables.root, first.va, entries)?;
    Some((first.page(&found)?, found.address(first.va)))
}

#[inline(never)]
fn over_ept<P: PteMemory>(
    first: First<'_>,
    guest: &Long,
    host: &Extended,
    memory: &mut P,
) -> Option<NestedPage> {
    let (root, entries) = (host.tables.root, Peeking(memory));
    let format = host.needing(host.read_above, host.read_page);
    let (page, gpa) = find(&first, guest, Behind { format, root, entries })?;
    let request = Request::at_last(first.access, gpa, page.rights);
    let found = straight(host.marked(request.writes()), root, gpa, entries)?;
    let granted = host.tables.granted(found.raw & found.limits, &request)?;
    let mapped = host.tables.mapped(found.base, 12, found.raw, granted, &request);
    memory.peeked(24);
    Some(NestedPage::of(&first.combined(&page, gpa, &mapped)))
}

#[inline(never)]
fn over_npt<P: PteMemory>(
    first: First<'_>,
    guest: &Long,
    host: &Long,
    tables: &NptTables,
    memory: &mut P,
) -> Option<NestedPage> {
    let (root, entries) = (host.root, Peeking(memory));
    // A read of a guest's table counts as a write, and a guest's every access as a user's.
    let above = Pte::PRESENT.union(Pte::ACCESSED).union(Pte::USER).union(Pte::WRITE);
    let format = host.needing(above, above.union(Pte::DIRTY));
    let (page, gpa) = find(&first, guest, Behind { format, root, entries })?;
    let request = Request::at_last(first.access, gpa, page.rights);
    let found = straight(host.marked(request.writes()), root, gpa, entries)?;
    let granted = NptTables::granted(Rights::of_leaf(found.raw, found.limits), &request)?;
    let mapped = tables.mapped(found.base, 12, found.raw, granted, &request);
    memory.peeked(24);
    Some(NestedPage::of(&first.combined(&page, gpa, &mapped)))
}
