//! Loads that miss the TLB at every access, beside the same misses written by hand: the dependent loads of the walk
//! over the same tables, the least that must be checked of each entry, and one insertion into a 64x4 TLB.
//!
//! `cargo bench --bench miss`. Every case goes through 1024 pages in turn with a modelled 64x4 true-LRU TLB, so that
//! each load misses, walks without structure caches, and evicts. Tables and data lie in the host's first-level cache.
//!
//! Read it as ratios of `mmu` to `hand` within one group of one run:
//!
//! * `hand`, `mmu`: no address depends on what was loaded before, so that the host runs ahead into the next miss. The
//!   hand-written one is then as fast as its instructions go through: it never waits for its own loads.
//! * `hand-dependent`, `mmu-dependent`: each address depends on the word loaded before, as in a guest that follows
//!   pointers. This is the time of the dependent loads, and of what a miss adds to them.
//!
//! Instructions of the same loops: `cargo bench --bench instructions miss` and `... hand`.
#![allow(missing_docs, unreachable_pub, reason = "a program")]

mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use softmmu::addr::VirtAddr;
use softmmu::arch::Arch;
use std::hint::black_box;
use support::hand::Hand;
use support::kernels::run;
use support::misses::{self, Guested, paged};
use support::tables::{Ept4, Granule4k, Long, Stage2, Sv39, Sv39x4, Sv48};

/// Loads per sample.
const LOADS: u64 = 16 * 1024;

/// Goes through the pages, each address made from what was loaded before, which is zero.
#[inline(always)]
fn chase(mut load: impl FnMut(u64) -> u64) -> u64 {
    (0..LOADS).fold(0, |last, step| load(black_box(paged(step)) ^ last))
}

fn group<A: Arch>(
    c: &mut Criterion,
    name: &str,
    mut mmu: Guested<A>,
    miss: impl Fn(&mut Hand, u64) -> Option<u64>,
) {
    let mut hand = Hand::new(mmu.memory());
    let mut by_hand = |va| miss(&mut hand, va).unwrap_or(u64::MAX);
    let mut by_mmu = |va| mmu.load::<u64>(VirtAddr(va)).unwrap_or(u64::MAX);
    assert_eq!((chase(&mut by_hand), chase(&mut by_mmu)), (0, 0), "{name} faults");
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(LOADS));
    group.bench_function("hand", |b| b.iter(|| run(LOADS, paged, &mut by_hand)));
    group.bench_function("mmu", |b| b.iter(|| run(LOADS, paged, &mut by_mmu)));
    group.bench_function("hand-dependent", |b| b.iter(|| chase(&mut by_hand)));
    group.bench_function("mmu-dependent", |b| b.iter(|| chase(&mut by_mmu)));
    group.finish();
}

fn cases(c: &mut Criterion) {
    group(c, "sv39", misses::sv39(), |hand, va| hand.miss::<Sv39>(va));
    group(c, "sv48", misses::sv48(), |hand, va| hand.miss::<Sv48>(va));
    group(c, "sv39-over-sv39x4", misses::sv39x4(), |hand, va| hand.nested_miss::<Sv39, Sv39x4>(va));
    group(c, "x86-4-level", misses::x86(), |hand, va| hand.miss::<Long>(va));
    group(c, "x86-4-level-over-ept", misses::x86_ept(), |hand, va| hand.nested_miss::<Long, Ept4>(va));
    group(c, "aarch64-4k", misses::aarch64(), |hand, va| hand.miss::<Granule4k>(va));
    let two_stages = misses::aarch64_two_stage();
    group(c, "aarch64-4k-two-stage", two_stages, |hand, va| hand.nested_miss::<Granule4k, Stage2>(va));
}

criterion_group!(benches, cases);
criterion_main!(benches);
