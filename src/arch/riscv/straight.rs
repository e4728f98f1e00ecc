//! The usual walks: 8-byte entries, 4 KiB pages, no memory types, nothing to mark and nothing refused.
//!
//! They find what [`walk`](super::walk) and [`gstage`](super::gstage) would, or nothing, and then those are asked (see
//! [`radix::straight`](crate::radix)).

use super::context::Context;
use super::pte::{A, PteFlags, PteRules, Sv, U};
use super::rights::{Need, rights_of};
use super::walk::{Found, entry};
use super::{Flavor, Riscv};
use crate::access::Access;
use crate::addr::low_mask;
use crate::arch::{NestedPage, Peeking, PteMemory};
use crate::radix::{Behind, Encode, Entries, Page, Straight, straight};
use crate::tlb::TlbEntry;

const V: u64 = PteFlags::V.bits();
const R: u64 = PteFlags::R.bits();
const G: u64 = PteFlags::G.bits();
/// What makes a leaf more than a page of ordinary memory.
const SPECIAL: u64 = PteFlags::N.bits() | PteFlags::NC.bits() | PteFlags::IO.bits();

/// A stage of `LEVELS` levels with what a walk asks of its entries.
#[derive(Clone, Copy)]
struct Usual<const LEVELS: u32, const WIDE: u32 = 0> {
    /// Of an entry that points at a table, these bits are V alone.
    table: u64,
    /// Of a page's entry, these bits are `page`.
    mask: u64,
    page: u64,
}

impl<const LEVELS: u32, const WIDE: u32> Usual<LEVELS, WIDE> {
    /// Pages that can be read, as every one can that is no shadow stack, for execution only, or reserved, and have
    /// the bits of `page` besides; in entries that have none of `beyond` set.
    #[inline(always)]
    const fn new(rules: &PteRules, page: u64, beyond: u64) -> Self {
        let page = V | R | page;
        Self { table: rules.table() | beyond, mask: rules.leaf() | SPECIAL | page | beyond, page }
    }
}

impl<const LEVELS: u32, const WIDE: u32> Straight for Usual<LEVELS, WIDE> {
    const LEVELS: u32 = LEVELS;
    const ROOT_BITS: u32 = 9 + WIDE;
    const LIMITS: u64 = 0;

    #[inline(always)]
    fn address(raw: u64) -> u64 {
        Sv::<LEVELS, WIDE>::address(raw)
    }
    #[inline(always)]
    fn is_table(self, raw: u64, _level: u32) -> bool {
        raw & self.table == V
    }
    #[inline(always)]
    fn is_page(self, raw: u64) -> bool {
        raw & self.mask == self.page
    }
    #[inline(always)]
    fn limits(above: u64, raw: u64) -> u64 {
        above | raw
    }
}

/// The page, if its rights and marks are all that is needed.
#[inline(always)]
fn found(page: &Page, need: Need) -> Option<Found> {
    let rights = rights_of(page.raw);
    let global = (page.raw | page.limits) & G != 0;
    need.met_by(rights).then_some(Found { base: page.base, size_bits: 12, rights, pbmt: 0, global, level: 0 })
}

/// The first stage of those that `virt` chooses, its tables wherever `entries` has them.
#[inline(always)]
fn first<const LEVELS: u32, E: Entries>(
    hart: &Riscv,
    virt: bool,
    va: u64,
    need: Need,
    beyond: u64,
    entries: E,
) -> Option<Found> {
    let tables = hart.first_stage(virt);
    if !Sv::<LEVELS>::new(tables.rules).translates(va) {
        return None;
    }
    let format = Usual::<LEVELS>::new(&tables.rules, 0, beyond);
    found(&straight(format, tables.root, va, entries)?, need)
}

/// One stage, without PMP.
#[inline(always)]
pub(super) fn single<const LEVELS: u32, P: PteMemory>(
    hart: &Riscv,
    context: &Context,
    access: &Access<Flavor>,
    memory: &mut P,
) -> Option<TlbEntry> {
    let (va, need) = (access.va.0, context.need(access.kind));
    let found = first::<LEVELS, _>(hart, context.virt, va, need, 0, Peeking(memory))?;
    memory.peeked(u64::from(LEVELS));
    Some(entry(context, va, found, None))
}

/// Two stages of so many levels each, without PMP.
#[inline(never)]
pub(super) fn double<const LEVELS: u32, P: PteMemory>(
    hart: &Riscv,
    context: &Context,
    access: &Access<Flavor>,
    memory: &mut P,
) -> Option<NestedPage> {
    let (root, entries) = (hart.hgatp.root, Peeking(memory));
    // What the second stage cannot translate is not for here, be it the first table, another, or the page.
    let beyond = !low_mask(Sv::<LEVELS, 2>::VA_BITS - 2) & low_mask(54);
    if hart.first_stage(true).root >> Sv::<LEVELS, 2>::VA_BITS != 0 {
        return None;
    }
    let format = Usual::<LEVELS, 2>::new(&hart.second_rules, U | A, 0);
    let (va, need) = (access.va.0, context.need(access.kind));
    let behind = Behind { format, root, entries };
    let mut first = first::<LEVELS, _>(hart, true, va, need.first_half(), beyond, behind)?;
    first.global &= hart.config.share_guest_globals;
    let format = Usual::<LEVELS, 2>::new(&hart.second_rules, 0, 0);
    let second = found(&straight(format, root, first.address(va), entries)?, need.second_half())?;
    memory.peeked(u64::from(LEVELS * (LEVELS + 2)));
    Some(NestedPage::of(&entry(context, va, first, Some(second))))
}
