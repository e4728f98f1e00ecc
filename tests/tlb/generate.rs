//! Random operations over few enough pages and spaces that everything collides.

use crate::model::walks::WalkOp;
use crate::model::{Op, SIZES};
use proptest::prelude::*;
use softmmu::addr::{Asid, Vmid};
use softmmu::radix::{Leaf, PteRef, Stage, Subtable};
use softmmu::tlb::{Key, Scope, Side, Space, Span, TlbEntry};

const SPAN: u64 = 4 << 21;

pub fn spaces() -> impl Strategy<Value = Space> {
    (0_u8..2, 0_u16..2, 0_u16..4).prop_map(|(regime, vmid, asid)| Space::new(regime, Vmid(vmid), Asid(asid)))
}

/// Most addresses lie in few pages at the start of each large page.
pub fn addresses() -> impl Strategy<Value = u64> {
    let few =
        (0_u64..4, 0_u64..24, 0_u64..4096).prop_map(|(large, small, byte)| large << 21 | small << 12 | byte);
    prop_oneof![8 => few, 1 => 0..SPAN, 1 => u64::MAX - SPAN..=u64::MAX]
}

pub fn entries() -> impl Strategy<Value = TlbEntry> {
    let sizes =
        (prop_oneof![8 => Just(0_usize), 2 => Just(1), 2 => Just(2), 1 => Just(3)], 0_usize..5, 0_usize..5);
    let words = (any::<u64>(), any::<u16>(), 0_u8..4);
    (addresses(), addresses(), spaces(), prop::bool::weighted(0.2), sizes, words).prop_map(
        |(va, gpa, space, global, (size, leaf, leaf2), (rights, attr, level))| {
            let size_bits = SIZES[size];
            let page = |address: u64| address >> size_bits << size_bits;
            TlbEntry {
                va: page(va),
                pa: page(gpa ^ 0x5555_0000_0000),
                gpa: page(gpa),
                rights,
                space,
                global,
                size_bits,
                // Mostly whole leaves; else fragments of larger ones.
                leaf_bits: *SIZES.get(leaf).unwrap_or(&size_bits).max(&size_bits),
                leaf2_bits: *SIZES.get(leaf2).unwrap_or(&0),
                level,
                attr,
            }
        },
    )
}

pub fn scopes() -> impl Strategy<Value = Scope> {
    let range = (addresses(), prop_oneof![Just(0), 0_u64..0x8000, 0..SPAN, Just(u64::MAX)])
        .prop_map(|(first, len)| (first, first.saturating_add(len)));
    let range = prop_oneof![9 => range, 1 => (addresses(), addresses())];
    let span = (0_u8..5, range).prop_map(|(kind, (first, last))| match kind {
        0 | 1 => Span::All,
        2 => Span::Guest { first, last },
        _ => Span::Virtual { first, last },
    });
    (spaces(), 0_u8..8, any::<bool>(), span, any::<bool>()).prop_map(
        |(space, mask, globals, span, leaves_only)| {
            let fields = [Space::ASID, Space::VMID, Space::REGIME];
            let mask = (0..3).filter(|bit| mask >> bit & 1 == 1).fold(0, |bits, field| bits | fields[field]);
            Scope { space, mask, globals, span, leaves_only }
        },
    )
}

pub fn sides() -> impl Strategy<Value = Side> {
    prop_oneof![1 => Just(Side::Instruction), 3 => Just(Side::Data)]
}

pub fn ops() -> impl Strategy<Value = Vec<Op>> {
    let key = (addresses(), spaces()).prop_map(|(va, space)| Key { va, space });
    let op = prop_oneof![
        3 => (key, sides()).prop_map(|(key, side)| Op::Lookup(key, side)),
        2 => entries().prop_map(Op::Insert),
        8 => (entries(), sides()).prop_map(|(entry, side)| Op::Access(entry, side)),
        1 => scopes().prop_map(Op::Invalidate),
        1 => entries().prop_map(Op::Remove),
        1 => (0_usize..64, entries()).prop_map(|(index, entry)| Op::Write(index, entry)),
    ];
    prop::collection::vec(op, 1..250)
}

/// What walks tell and ask their caches.
pub fn walk_ops() -> impl Strategy<Value = Vec<WalkOp>> {
    let stage = || prop_oneof![Just(Stage::First), Just(Stage::Second)];
    let at = (0_u64..64, 0_u32..3, stage()).prop_map(|(entry, level, stage)| PteRef {
        addr: entry << 3,
        bytes: 8,
        level,
        stage,
    });
    let bits = || prop_oneof![4 => Just(12_u32), 4 => Just(21), 1 => Just(64)];
    let place = || (spaces(), stage(), addresses());
    let op = prop_oneof![
        3 => place().prop_map(|(space, stage, va)| WalkOp::Resume(space, stage, va)),
        3 => place().prop_map(|(space, stage, va)| WalkOp::Recall(space, stage, va)),
        4 => (place(), at.clone(), bits()).prop_map(|((space, stage, va), at, span_bits)| {
            let table = Subtable { level: at.level, base: at.addr << 12, limits: 0, span_bits };
            WalkOp::Descended(space, stage, va, table)
        }),
        4 => (place(), at.clone(), bits()).prop_map(|((space, stage, va), at, size_bits)| {
            let leaf = Leaf { base: at.addr << 12, size_bits, raw: at.addr, at, limits: 0 };
            WalkOp::Reached(space, stage, va, leaf)
        }),
        4 => prop::bool::weighted(0.8).prop_map(WalkOp::Ended),
        1 => (at, any::<u64>()).prop_map(|(at, new)| WalkOp::Updated(at, new)),
        1 => scopes().prop_map(WalkOp::Fence),
        1 => Just(WalkOp::Raced),
    ];
    prop::collection::vec(op, 1..200)
}
