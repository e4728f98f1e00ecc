//! Loads of 64 bits that hit: sequential, random and dependent, beside the same loads on a bounds-checked slice and on
//! a hand-written direct-mapped table with no rights, no counters and no model behind it.
//!
//! `cargo bench --bench access`. Wall time is noisy: compare the kernels of one run as ratios. What does not depend on
//! the machine's load is in `cargo bench --bench instructions`.
#![allow(missing_docs, unreachable_pub, reason = "a program")]

mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use softmmu::addr::VirtAddr;
use softmmu::arch::riscv::Riscv;
use softmmu::memory::Ram;
use softmmu::mmu::Mmu;
use softmmu::tlb::policy::{TreePlru, TrueLru, WayPolicy};
use softmmu::tlb::{Geometry, SetAssociative};
use std::hint::black_box;
use support::kernels::{PAGES, random, run, sequential};
use support::machine::{VIRTUAL, guest, mapping};
use support::reference::Reference;

/// Loads per sample.
const LOADS: u64 = 16 * 1024;
const WORDS: u64 = PAGES * 512;

/// The word after word `n` on a walk through all of them that no prefetcher follows.
fn next(n: u64) -> u64 {
    (n.wrapping_mul(0x9e35) + 0x3b5) % WORDS
}

fn modelled<P: WayPolicy>(geometry: Geometry) -> Mmu<Riscv, Ram, SetAssociative<P>> {
    let mut mmu = guest(PAGES, SetAssociative::new(geometry).expect("a real geometry"));
    for word in 0..WORDS {
        mmu.store(VirtAddr(VIRTUAL + word * 8), VIRTUAL + next(word) * 8).expect("mapped");
    }
    mmu
}

/// Follows the chain that every word's value is the next one's address.
#[inline(always)]
fn chase(mut load: impl FnMut(u64) -> u64) -> u64 {
    let mut at = VIRTUAL;
    for _ in 0..LOADS {
        at = load(at);
    }
    at
}

fn loads(c: &mut Criterion) {
    let mut slice: Vec<u64> = (0..WORDS).map(|word| VIRTUAL + next(word) * 8).collect();
    black_box(&mut slice);
    let mut reference = Reference::new(4 << 20, mapping(PAGES));
    for word in 0..WORDS {
        assert!(reference.store(VIRTUAL + word * 8, VIRTUAL + next(word) * 8), "mapped");
    }
    let mut lru = modelled::<TrueLru>(Geometry::new(64, 4));
    let mut plru = modelled::<TreePlru>(Geometry::new(128, 8));

    let mut of_slice = |va: u64| slice.get(((va - VIRTUAL) / 8) as usize).copied().unwrap_or(0);
    let mut of_reference = |va| reference.load(va).unwrap_or(0);
    let mut of_lru = |va| lru.load::<u64>(VirtAddr(va)).unwrap_or(0);
    let mut of_plru = |va| plru.load::<u64>(VirtAddr(va)).unwrap_or(0);

    macro_rules! group {
        ($name:literal, |$load:ident| $kernel:expr) => {
            let mut group = c.benchmark_group($name);
            group.throughput(Throughput::Elements(LOADS));
            group!(@ group, "slice", of_slice, $load, $kernel);
            group!(@ group, "reference", of_reference, $load, $kernel);
            group!(@ group, "mmu-64x4-lru", of_lru, $load, $kernel);
            group!(@ group, "mmu-128x8-plru", of_plru, $load, $kernel);
            group.finish();
        };
        (@ $group:ident, $name:literal, $of:ident, $load:ident, $kernel:expr) => {
            $group.bench_function($name, |b| {
                b.iter(|| {
                    let $load = &mut $of;
                    $kernel
                });
            });
        };
    }
    group!("sequential", |load| run(LOADS, sequential, load));
    group!("random", |load| run(LOADS, random, load));
    group!("dependent", |load| chase(load));
}

criterion_group!(benches, loads);
criterion_main!(benches);
