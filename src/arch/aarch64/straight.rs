//! The usual walks: the 4 KiB granule with 48-bit output addresses, start level 0 or 1, single pages of Normal memory,
//! in a regime of two privileges; alone or over a second stage of the same kind.
//!
//! They find what [`walk`](super::walk) would, or nothing, and then it is asked (see
//! [`radix::straight`](crate::radix)). What the registers say of them is worked out when one changes.

use super::attributes::Attributes;
use super::descriptor::{Descriptor, Granule, HighBits};
use super::regime::{Regime, Table};
use super::registers::hcr;
use super::rights::Rights;
use super::stage1::First;
use super::stage2::{Translated, is_device};
use super::{Aarch64, Context, Features, Flavor};
use crate::access::Access;
use crate::addr::low_mask;
use crate::arch::{NestedPage, Peeking, PteMemory};
use crate::radix::{Behind, Entries, Page, straight};
use crate::tlb::TlbEntry;

/// The address in a descriptor.
const ADDRESS: u64 = 0xffff_ffff_f000;
const PAGE: u64 = Descriptor::VALID.bits() | Descriptor::TABLE.bits();
const AF: u64 = Descriptor::AF.bits();
/// A leaf that a store would open: hardware manages its dirty state, and it is read-only.
const CLEAN: u64 = Descriptor::DBM.bits() | Descriptor::AP2.bits();

/// How many levels each stage has, where both are usual.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Route {
    None,
    Single3,
    Single4,
    Double33,
    Double34,
    Double43,
    Double44,
}

/// What the registers come to for one half of the address map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Straight {
    route: Route,
    first: Tables,
    second: Tables,
    /// Address bits that must repeat which half it is.
    above: u64,
    /// What tables may limit.
    limits: u64,
    /// [`CLEAN`] where hardware manages dirty state, else nothing.
    clean: u64,
}

/// One stage's tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Tables {
    root: u64,
    /// Of an entry that points at a table, and of a page's, these bits are [`PAGE`] alone, and nothing else.
    mask: u64,
}

impl Tables {
    /// How many levels, and the tables, if they are of the usual kind.
    fn of(table: &Table) -> Option<(u32, Self)> {
        let format = &table.format;
        let usual = format.granule == Granule::K4
            && format.high == HighBits::None
            && table.base & 0xfff == 0
            && !(table.bad_size || table.bad_base || table.walks_off);
        let levels = match format.start_level() {
            0 => 4,
            1 => 3,
            _ => return None,
        };
        usual.then_some((levels, Self { root: table.base, mask: PAGE | format.beyond & ADDRESS }))
    }
}

impl Straight {
    pub(super) const NONE: Self = {
        let none = Tables { root: 0, mask: 0 };
        Self { route: Route::None, first: none, second: none, above: 0, limits: 0, clean: 0 }
    };

    /// For both halves.
    pub(super) fn of(core: &Aarch64) -> [Self; 2] {
        let Regime { kind, stage1, tables, stage2, .. } = &core.regime;
        if !stage1 || !kind.two_ranges() || core.hcr & hcr::PTW != 0 {
            return [Self::NONE; 2];
        }
        tables.map(|table| Self::half(&table, stage2.as_ref()).unwrap_or(Self::NONE))
    }

    fn half(table: &Table, stage2: Option<&Table>) -> Option<Self> {
        let (levels, mut first) = Tables::of(table)?;
        let (levels2, second) = match stage2 {
            None => (0, Self::NONE.second),
            Some(stage2) => {
                let found = Tables::of(stage2)?;
                // An address that the second stage does not translate is not usual, be it a table's or a page's.
                let untranslated = !low_mask(stage2.format.input_bits());
                if first.root & untranslated != 0 {
                    return None;
                }
                first.mask |= untranslated & ADDRESS;
                found
            }
        };
        let route = match (levels, levels2) {
            (3, 0) => Route::Single3,
            (4, 0) => Route::Single4,
            (3, 3) => Route::Double33,
            (3, 4) => Route::Double34,
            (4, 3) => Route::Double43,
            _ => Route::Double44,
        };
        let clean = if table.dirty_state { CLEAN } else { 0 };
        let above = !low_mask(table.format.input_bits());
        Some(Self { route, first, second, above, limits: table.format.table_limits(), clean })
    }
}

/// A stage of `LEVELS` levels, with the bits that a walk asks of a page.
#[derive(Clone, Copy)]
struct Usual<const LEVELS: u32, const ROOT: u32> {
    mask: u64,
    page: u64,
}

impl<const LEVELS: u32, const ROOT: u32> crate::radix::Straight for Usual<LEVELS, ROOT> {
    const LEVELS: u32 = LEVELS;
    const ROOT_BITS: u32 = ROOT;
    const LIMITS: u64 = 0;

    #[inline(always)]
    fn address(raw: u64) -> u64 {
        raw & ADDRESS
    }
    #[inline(always)]
    fn is_table(self, raw: u64, _level: u32) -> bool {
        raw & self.mask == PAGE
    }
    #[inline(always)]
    fn is_page(self, raw: u64) -> bool {
        raw & (self.mask | self.page | Descriptor::CONTIGUOUS.bits()) == self.page
    }
    #[inline(always)]
    fn limits(above: u64, raw: u64) -> u64 {
        above | raw
    }
}

impl Aarch64 {
    /// What [`full_walk`](Self::full_walk) would find, if it is a usual walk of one stage.
    #[inline(always)]
    pub(super) fn straight_single<P: PteMemory>(
        &self,
        context: &Context,
        access: &Access<Flavor>,
        memory: &mut P,
    ) -> Option<TlbEntry> {
        let route = self.straight[(access.va.0 >> 55 & 1) as usize].route;
        if !matches!(route, Route::Single3 | Route::Single4) {
            return None;
        }
        let request = Request::new(self, context, access);
        if route == Route::Single3 { request.single::<3, P>(memory) } else { request.single::<4, P>(memory) }
    }

    /// Likewise of two.
    #[inline]
    pub(super) fn straight_double<P: PteMemory>(
        &self,
        context: &Context,
        access: &Access<Flavor>,
        memory: &mut P,
    ) -> Option<NestedPage> {
        let request = Request::new(self, context, access);
        match request.half.route {
            Route::Double33 => request.double::<3, 3, P>(memory),
            Route::Double34 => request.double::<3, 4, P>(memory),
            Route::Double43 => request.double::<4, 3, P>(memory),
            Route::Double44 => request.double::<4, 4, P>(memory),
            _ => None,
        }
    }
}

/// An address to be translated.
#[derive(Clone, Copy)]
struct Request<'a> {
    core: &'a Aarch64,
    half: &'a Straight,
    /// The right to be in its half.
    right: Rights,
    va: u64,
    /// The rights that the access needs of what the TLB may keep.
    need: u64,
}

impl<'a> Request<'a> {
    #[inline(always)]
    fn new(core: &'a Aarch64, context: &Context, access: &Access<Flavor>) -> Self {
        let (va, upper) = core.untag(context, access.va.0);
        let right = if upper { Rights::UPPER } else { Rights::LOWER };
        let need = super::needed_of_entry(context, access);
        Self { core, half: &core.straight[usize::from(upper)], right, va, need }
    }

    /// The entry, which so many descriptors led to, if it permits the access. All marks are there, so that is what the
    /// walk would say.
    #[inline(always)]
    fn permitted<P: PteMemory>(&self, entry: TlbEntry, read: u32, memory: &mut P) -> Option<TlbEntry> {
        if self.need & !entry.rights != 0 {
            return None;
        }
        memory.peeked(u64::from(read));
        Some(entry)
    }

    /// Stage 1, its descriptors read from `entries`.
    #[inline(always)]
    fn first<const LEVELS: u32, E: Entries>(&self, entries: E) -> Option<(First, Page)> {
        let Self { core, half, right, va, .. } = *self;
        if va & half.above != if right.contains(Rights::UPPER) { half.above } else { 0 } {
            return None;
        }
        let format = Usual::<LEVELS, 9> { mask: half.first.mask, page: PAGE | AF };
        let page = straight(format, half.first.root, va & !half.above, entries)?;
        let raw = page.raw;
        let attributes = Attributes::stage1(raw, &core.regime.attributes, HighBits::None, 0);
        if raw & half.clean == CLEAN || attributes.is_device() {
            return None;
        }
        let first = First {
            base: page.base,
            size_bits: 12,
            run_bits: 12,
            level: 0,
            rights: Rights::two_privileges(raw, page.limits >> 59 & half.limits),
            attributes,
            global: raw & Descriptor::NG.bits() == 0,
        };
        Some((first, page))
    }

    #[inline(always)]
    fn single<const LEVELS: u32, P: PteMemory>(&self, memory: &mut P) -> Option<TlbEntry> {
        let (first, page) = self.first::<LEVELS, _>(Peeking(memory))?;
        let entry = self.core.entry(self.va, page.address(self.va), &first, self.right, None);
        self.permitted(entry, LEVELS, memory)
    }

    #[inline(never)]
    fn double<const LEVELS: u32, const LEVELS2: u32, P: PteMemory>(
        self,
        memory: &mut P,
    ) -> Option<NestedPage> {
        let Self { core, half, right, va, .. } = self;
        let table = core.regime.stage2.as_ref()?;
        let Tables { root, mask } = half.second;
        let entries = Peeking(memory);
        // A start table is joined of up to sixteen.
        let format = Usual::<LEVELS2, 13> { mask, page: PAGE | AF | Descriptor::S2_READ.bits() };
        let (first, page) = self.first::<LEVELS, _>(Behind { format, root, entries })?;
        let ipa = page.address(va);
        let found = straight(Usual::<LEVELS2, 13> { mask, page: PAGE | AF }, root, ipa, entries)?;
        if is_device(found.raw, core.hcr & hcr::FWB != 0) {
            return None;
        }
        let second = Translated {
            base: found.base,
            size_bits: 12,
            run_bits: 12,
            raw: found.raw,
            rights: Rights::second_stage(found.raw, core.config.has(Features::XNX)),
        };
        let entry = core.entry(va, ipa, &first, right, Some((table, &second)));
        self.permitted(entry, LEVELS * (LEVELS2 + 1) + LEVELS2, memory).map(|entry| NestedPage::of(&entry))
    }
}
