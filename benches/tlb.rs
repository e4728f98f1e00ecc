//! Instructions per operation of the TLB models, counted by callgrind, net of the loop around them:
//! `cargo bench --bench tlb`.
//!
//! The program runs itself under `valgrind --tool=callgrind` twice per case, with one and with two rounds of
//! operations, so that set-up cancels out of the difference.
//!
//! The last table is of fences: 16 entries of one space are dropped from a full TLB and filled in again, so that its
//! size does not matter where the cost is proportional to what is dropped.

use softmmu::addr::{Asid, Vmid};
use softmmu::tlb::policy::{TreePlru, WayPolicy};
use softmmu::tlb::{
    Geometry, Hierarchy, Key, Scope, SetAssociative, Side, Space, Span, Tlb, TlbEntry, TrueLru, presets,
};
use std::hint::black_box;
use std::process::Command;

/// Operations per round.
const OPS: u64 = 16384;

fn space(asid: u16) -> Space {
    Space::new(0, Vmid(0), Asid(asid))
}

fn entry(page: u64, asid: u16) -> TlbEntry {
    TlbEntry {
        va: page << 12,
        pa: page << 12,
        gpa: page << 12,
        rights: 7,
        space: space(asid),
        global: false,
        size_bits: 12,
        leaf_bits: 12,
        leaf2_bits: 0,
        level: 0,
        attr: 0,
    }
}

fn full<P: WayPolicy>(sets: usize, ways: usize, asid: impl Fn(u64) -> u16) -> SetAssociative<P> {
    let mut tlb = SetAssociative::new(Geometry::new(sets, ways)).expect("a valid shape");
    for page in 0..(sets * ways) as u64 {
        tlb.insert(entry(page, asid(page)), Side::Data);
    }
    tlb
}

/// Looks pages up; `page` gives the number of the page for each operation.
#[inline(always)]
fn lookups<P: WayPolicy>(mut tlb: SetAssociative<P>, rounds: u64, page: impl Fn(u64) -> u64) -> u64 {
    look(&mut tlb, rounds, page) + tlb.stats().all_misses()
}

#[inline(always)]
fn look<T: Tlb>(tlb: &mut T, rounds: u64, page: impl Fn(u64) -> u64) -> u64 {
    let (mut sum, space) = (0, black_box(space(1)));
    for op in 0..rounds * OPS {
        let key = Key { va: page(op) << 12 | 8, space };
        // What a load needs of a hit: the address and the rights, and whether it may be remembered.
        if let Some(hit) = tlb.lookup(&key, Side::Data) {
            sum ^= hit.entry.address(key.va) ^ hit.entry.rights ^ u64::from(hit.repeat);
        }
    }
    sum
}

#[inline(always)]
fn loop_only(rounds: u64, page: impl Fn(u64) -> u64) -> u64 {
    (0..rounds * OPS).fold(0, |sum, op| sum ^ black_box(page(op) << 12 | 8))
}

type Case = (&'static str, fn(u64) -> u64);

const CASES: &[Case] = &[
    ("loop", |n| loop_only(n, |op| op & 63)),
    ("64x4 LRU hit, way touched last", |n| lookups(full::<TrueLru>(64, 4, |_| 1), n, |op| op & 63 | 192)),
    ("64x4 LRU hit, way touched first", |n| lookups(full::<TrueLru>(64, 4, |_| 1), n, |op| op & 255)),
    ("64x4 LRU miss", |n| lookups(full::<TrueLru>(64, 4, |_| 1), n, |op| op & 63 | 256)),
    ("128x8 tree PLRU hit, way touched last", |n| {
        lookups(full::<TreePlru>(128, 8, |_| 1), n, |op| op & 127 | 896)
    }),
    ("128x8 tree PLRU hit, any way", |n| lookups(full::<TreePlru>(128, 8, |_| 1), n, |op| op & 1023)),
    ("64x4 LRU insert with eviction", |n| {
        let mut tlb = full::<TrueLru>(64, 4, |_| 1);
        (0..n * OPS).fold(0, |sum, op| {
            let inserted = tlb.insert(entry(black_box(op & 255 | (op & 256) << 4), 1), Side::Data);
            sum + u64::from(inserted.line.is_some())
        })
    }),
    ("64x4 LRU miss, then refill with eviction", |n| {
        let mut tlb = full::<TrueLru>(64, 4, |_| 1);
        (0..n * OPS).fold(0, |sum, op| {
            let page = black_box(op & 255 | (op & 256) << 4);
            let key = Key { va: page << 12, space: space(1) };
            if tlb.lookup(&key, Side::Data).is_some() {
                return sum;
            }
            let filled = tlb.refill(entry(page, 1), Side::Data, &key);
            sum + u64::from(filled.line.is_some())
        })
    }),
    ("64x4 LRU miss, then insert with eviction", |n| {
        let mut tlb = full::<TrueLru>(64, 4, |_| 1);
        (0..n * OPS).fold(0, |sum, op| {
            let page = black_box(op & 255 | (op & 256) << 4);
            if tlb.lookup(&Key { va: page << 12, space: space(1) }, Side::Data).is_some() {
                return sum;
            }
            let inserted = tlb.insert(entry(page, 1), Side::Data);
            sum + u64::from(inserted.line.is_some())
        })
    }),
    ("Skylake hit in L1, way touched last", |n| {
        let mut tlb = Hierarchy::new(&presets::skylake()).expect("a preset");
        (0..16).for_each(|page| _ = tlb.insert(entry(page, 1), Side::Data));
        look(&mut tlb, n, |op| op & 15)
    }),
    ("Skylake hit in L2", |n| {
        let mut tlb = Hierarchy::new(&presets::skylake()).expect("a preset");
        (0..512).for_each(|page| _ = tlb.insert(entry(page, 1), Side::Data));
        look(&mut tlb, n, |op| op & 511)
    }),
    ("64x4 LRU insert and invalidate all", |n| {
        let mut tlb = full::<TrueLru>(64, 4, |_| 1);
        (0..n * OPS).fold(0, |sum, op| {
            tlb.insert(entry(black_box(op & 255), 1), Side::Data);
            sum + tlb.invalidate(black_box(&Scope::ALL))
        })
    }),
    ("fully associative 64, LRU hit, any way", |n| lookups(full::<TrueLru>(1, 64, |_| 1), n, |op| op & 63)),
    ("256x6 LRU full, insert one of an ASID and invalidate it by ASID", |n| {
        let mut tlb = full::<TrueLru>(256, 6, |_| 1);
        let mask = Space::ASID | Space::VMID | Space::REGIME;
        let scope = Scope { space: space(2), mask, globals: false, span: Span::All, leaves_only: false };
        (0..n * OPS).fold(0, |sum, op| {
            tlb.insert(black_box(entry(op & 255, 2)), Side::Data);
            sum + tlb.invalidate(black_box(&scope))
        })
    }),
    ("256x6 LRU full, insert one page and invalidate it by address", |n| {
        let mut tlb = full::<TrueLru>(256, 6, |_| 1);
        (0..n * OPS).fold(0, |sum, op| {
            let page = op & 255;
            tlb.insert(black_box(entry(page, 2)), Side::Data);
            let span = Span::Virtual { first: page << 12, last: page << 12 | 0xfff };
            sum + tlb.invalidate(black_box(&Scope { span, ..Scope::ALL }))
        })
    }),
];

/// A scope that drops what [`fences`] fills in.
type Kind = (&'static str, fn() -> Scope);

/// The space whose entries are dropped from among those of `space(1)`.
const OTHER: Space = Space::new(1, Vmid(1), Asid(2));

fn of(mask: u64, span: Span) -> Scope {
    Scope { space: OTHER, mask, globals: false, span, leaves_only: false }
}

const WHOLE: u64 = Space::ASID | Space::VMID | Space::REGIME;
const KINDS: &[Kind] = &[
    ("ASID", || of(WHOLE, Span::All)),
    ("VMID", || of(Space::VMID, Span::All)),
    ("regime", || of(Space::REGIME, Span::All)),
    ("guest addresses", || of(Space::VMID | Space::REGIME, Span::Guest { first: 0, last: 0xffff })),
    ("16 pages", || of(WHOLE, Span::Virtual { first: 0, last: 0xffff })),
    ("a range of 1 GiB", || of(WHOLE, Span::Virtual { first: 0, last: 0x3fff_ffff })),
];
/// Sets of 4 ways.
const SIZES: &[usize] = &[16, 256, 4096];

/// Drops 16 entries from a full TLB and fills them in again, until [`OPS`] were dropped each round.
fn fences(sets: usize, scope: &Scope, rounds: u64) -> u64 {
    let mut tlb = full::<TrueLru>(sets, 4, |_| 1);
    let others = || (0..16).map(|page| TlbEntry { space: OTHER, leaf2_bits: 12, ..entry(page, 1) });
    (0..rounds * OPS / 16).fold(0, |sum, _| {
        others().for_each(|entry| _ = tlb.insert(black_box(entry), Side::Data));
        sum + tlb.invalidate(black_box(scope))
    })
}

/// Instructions of this program running `rounds` rounds of a case, by callgrind.
fn instructions(case: usize, rounds: u64) -> Option<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().ok()?)
        .args([case.to_string(), rounds.to_string()])
        .output()
        .ok()?;
    let log = String::from_utf8(output.stderr).ok()?;
    log.split("Collected :").nth(1)?.split_whitespace().next()?.parse().ok()
}

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    if let [case, rounds] = numbers[..] {
        let fence = (case as usize).checked_sub(CASES.len());
        if let Some((_, run)) = CASES.get(case as usize) {
            black_box(run(rounds));
        } else if let Some((sets, (_, scope))) = fence.and_then(fence_case) {
            assert_eq!(fences(sets, &scope(), rounds), rounds * OPS);
        }
        return;
    }
    let mut around = 0.0;
    for (index, (name, _)) in CASES.iter().enumerate() {
        let (Some(one), Some(two)) = (instructions(index, 1), instructions(index, 2)) else {
            eprintln!("instructions are counted by valgrind (callgrind), which does not run here");
            return;
        };
        let each = two.saturating_sub(one) as f64 / OPS as f64;
        if index == 0 {
            around = each;
        }
        let net = if index == 0 { each } else { each - around };
        println!("{net:8.1} instructions  {name}");
    }
    let sizes = SIZES.iter().map(|sets| format!("{:>8}", sets * 4)).collect::<String>();
    println!("\n16 entries dropped from so many and filled in again, instructions per entry:\n{sizes}");
    for (row, (name, _)) in KINDS.iter().enumerate() {
        for column in 0..SIZES.len() {
            let case = CASES.len() + row * SIZES.len() + column;
            match (instructions(case, 1), instructions(case, 2)) {
                (Some(one), Some(two)) => print!("{:8.1}", two.saturating_sub(one) as f64 / OPS as f64),
                _ => print!("       ?"),
            }
        }
        println!("  by {name}");
    }
}

/// The fence with this number: how many sets, and which scope.
fn fence_case(number: usize) -> Option<(usize, Kind)> {
    Some((*SIZES.get(number % SIZES.len())?, *KINDS.get(number / SIZES.len())?))
}
