//! Every range over every page of a toy address space: 128 bytes in pages of 16, 32 and 64. And every scope over spaces
//! that differ in every bit.

use crate::model::naive::drops;
use softmmu::addr::{Asid, Vmid};
use softmmu::tlb::{Geometry, Scope, SetAssociative, Side, Space, Span, Tlb, TlbEntry};

const SPACE: u64 = 128;
const SIZES: std::ops::RangeInclusive<u8> = 4..=6;
const GEOMETRIES: [(usize, usize); 7] = [(1, 64), (1, 80), (2, 40), (3, 30), (4, 20), (5, 20), (64, 12)];

/// Every page of every size, as a whole leaf and as a fragment of every larger one, in two ASIDs and globally.
fn every_entry() -> Vec<TlbEntry> {
    let mut entries = Vec::new();
    for size_bits in SIZES {
        for page in 0..SPACE >> size_bits {
            let leaf_bits = [size_bits, 6][(page % 2) as usize];
            for (asid, global) in [(1, false), (2, false), (3, true)] {
                let va = page << size_bits;
                entries.push(TlbEntry {
                    va,
                    pa: va,
                    gpa: SPACE - (1 << size_bits) - va,
                    rights: 0,
                    space: Space::new(0, Vmid(0), Asid(asid)),
                    global,
                    size_bits,
                    leaf_bits,
                    leaf2_bits: [0, 5, 6][(page % 3) as usize],
                    level: 0,
                    attr: 0,
                });
            }
        }
    }
    entries
}

fn filled(geometry: (usize, usize), entries: &[TlbEntry]) -> SetAssociative {
    let mut tlb = SetAssociative::new(Geometry::new(geometry.0, geometry.1)).unwrap();
    for entry in entries {
        assert_eq!(tlb.insert(*entry, Side::Data).evicted, None, "{geometry:?} is large enough");
    }
    tlb
}

/// Drops `scope` from a copy of `tlb` and compares what is left.
fn check(tlb: &SetAssociative, entries: &[TlbEntry], scope: &Scope) {
    let mut tlb = tlb.clone();
    let mut expected: Vec<_> = entries.iter().filter(|entry| !drops(scope, entry)).map(order).collect();
    let dropped = tlb.invalidate(scope);
    let mut left: Vec<_> = tlb.entries().map(|(_, entry)| order(&entry)).collect();
    expected.sort_unstable();
    left.sort_unstable();
    assert_eq!(left, expected, "{scope:?}");
    assert_eq!(dropped as usize, entries.len() - expected.len());
    assert_eq!(tlb.len(), expected.len());
}

fn order(entry: &TlbEntry) -> (u64, u8, u64) {
    (entry.va, entry.size_bits, entry.space.bits())
}

fn every_range(mut check: impl FnMut(u64, u64)) {
    for first in (0..SPACE).step_by(4) {
        for last in (first..SPACE).filter(|last| last % 4 == 3 || *last == first) {
            check(first, last);
        }
    }
    check(0, u64::MAX);
    check(SPACE, u64::MAX);
    check(9, 8);
}

#[test]
fn every_range_drops_every_piece_of_every_leaf_in_it() {
    let entries = every_entry();
    for geometry in GEOMETRIES {
        let tlb = filled(geometry, &entries);
        every_range(|first, last| {
            for (mask, globals) in
                [(0, true), (Space::ASID, true), (Space::ASID | Space::VMID | Space::REGIME, false)]
            {
                let space = Space::new(0, Vmid(0), Asid(2));
                for span in [Span::Virtual { first, last }, Span::Guest { first, last }] {
                    check(&tlb, &entries, &Scope { space, mask, globals, span, leaves_only: false });
                }
            }
        });
    }
}

/// One page size alone: ranges are cut by that size and its leaves only.
#[test]
fn every_range_over_one_page_size() {
    for size_bits in SIZES {
        let entries: Vec<_> =
            every_entry().into_iter().filter(|entry| entry.size_bits == size_bits).collect();
        for geometry in GEOMETRIES {
            let tlb = filled(geometry, &entries);
            every_range(|first, last| {
                check(&tlb, &entries, &Scope { span: Span::Virtual { first, last }, ..Scope::ALL })
            });
        }
    }
}

/// The number of a generation is finite; coming round to the first must not revive what it held.
#[test]
fn generations_come_round() {
    let entries = every_entry();
    let mut tlb = filled((4, 20), &entries[..8]);
    assert_eq!(tlb.invalidate(&Scope::ALL), 8);
    for round in 0..(1_u64 << 17) + 5 {
        assert!(tlb.is_empty() && tlb.entries().next().is_none(), "round {round}");
        tlb.insert(entries[9], Side::Data);
        assert_eq!(tlb.invalidate(&Scope::ALL), 1);
    }
    tlb.insert(entries[3], Side::Data);
    assert_eq!(tlb.entries().map(|(_, entry)| entry).collect::<Vec<_>>(), [entries[3]]);
}

/// Spaces that differ in low bits and in high ones, in each field; one entry of each, and one that is global.
fn entry_of_every_space() -> Vec<TlbEntry> {
    let mut entries = Vec::new();
    for regime in [0, 1, 2, 4, 17] {
        for vmid in [0, 1, 4, 0x105] {
            for asid in [0, 1, 32, 0x421] {
                for global in [false, true] {
                    let va = entries.len() as u64 * 16;
                    entries.push(TlbEntry {
                        va,
                        gpa: 0x1000 - va,
                        space: Space::new(regime, Vmid(vmid), Asid(asid)),
                        global,
                        leaf2_bits: 4,
                        ..every_entry()[0]
                    });
                }
            }
        }
    }
    entries
}

#[test]
fn every_scope_drops_of_every_space_what_it_names() {
    let entries = entry_of_every_space();
    let part = Space::REGIME & !(3 << 32);
    let mut masks = Vec::new();
    for regime in [0, part, Space::REGIME] {
        for vmid in [0, Space::VMID] {
            masks.extend([0, Space::ASID].map(|asid| regime | vmid | asid));
        }
    }
    for geometry in [(1, 160), (5, 40), (40, 6), (512, 3)] {
        let tlb = filled(geometry, &entries);
        for space in entries.iter().map(|entry| entry.space).filter(|space| space.asid() != Asid(1)) {
            for &mask in &masks {
                for globals in [false, true] {
                    // A range of few pages, which are looked for one by one, and one of many, which are not.
                    for span in [
                        Span::All,
                        Span::Virtual { first: 0x120, last: 0x14f },
                        Span::Virtual { first: 0x120, last: 0x8ff },
                        Span::Guest { first: 0x900, last: 0xd00 },
                    ] {
                        check(&tlb, &entries, &Scope { space, mask, globals, span, leaves_only: false });
                    }
                }
            }
        }
    }
}

/// What is dropped and filled again, over and over, is neither lost nor found twice.
#[test]
fn spaces_that_come_and_go() {
    let entries = entry_of_every_space();
    let mut tlb = filled((40, 6), &entries);
    for (round, mask) in
        [Space::ASID, Space::VMID, Space::REGIME, 0].into_iter().cycle().take(200).enumerate()
    {
        let space = entries[round * 7 % entries.len()].space;
        let scope = Scope { space, mask, span: Span::All, globals: round % 3 == 0, leaves_only: true };
        let meant = entries.iter().filter(|entry| drops(&scope, entry)).count();
        assert_eq!(tlb.invalidate(&scope) as usize, meant, "{scope:?}");
        assert_eq!(tlb.invalidate(&scope), 0);
        for entry in &entries {
            tlb.insert(*entry, Side::Data);
        }
        assert_eq!(tlb.len(), entries.len());
    }
}
