//! The loops that are counted and timed. One iteration is one access, its address made by the same few instructions
//! in every kernel.

use super::hand::Hand;
use super::machine::{VIRTUAL, guest, mapping};
use super::misses::{self, Guested, paged};
use super::reference::Reference;
use super::tables::{Ept4, Granule4k, Long, Stage2, Sv39, Sv39x4};
use softmmu::addr::VirtAddr;
use softmmu::arch::Arch;
use softmmu::tlb::policy::{TreePlru, TrueLru};
use softmmu::tlb::{Geometry, SetAssociative};
use std::hint::black_box;

pub const PAGES: u64 = 64;
const SPAN: u64 = PAGES << 12;

/// A loop by name.
pub struct Kernel {
    pub name: &'static str,
    pub run: fn(u64) -> u64,
}

/// Addresses that go through the span word by word.
#[inline(always)]
pub fn sequential(step: u64) -> u64 {
    VIRTUAL + (step * 8 & (SPAN - 1))
}

/// Addresses all over the span. The factor fits an immediate operand, so that the loop costs the same however many
/// registers the access takes.
#[inline(always)]
pub fn random(step: u64) -> u64 {
    VIRTUAL + ((step.wrapping_mul(0x61c8_8647) >> 8) & (SPAN - 8))
}

/// Addresses on two pages in turn that fall into one set of 64.
#[inline(always)]
pub fn conflicting(step: u64) -> u64 {
    VIRTUAL + ((step & 1) << 18 | (step * 8 & 0xff8))
}

/// Runs `access` over `n` addresses.
#[inline(always)]
pub fn run(n: u64, address: impl Fn(u64) -> u64, mut access: impl FnMut(u64) -> u64) -> u64 {
    let mut sum = 0u64;
    for step in 0..n {
        sum = sum.wrapping_add(access(black_box(address(step))));
    }
    sum
}

/// Touches every page, so that what is counted afterwards are hits.
#[inline(always)]
fn warm(mut access: impl FnMut(u64) -> u64) {
    for page in 0..PAGES {
        black_box(access(VIRTUAL + (page << 12)));
    }
}

macro_rules! kernels {
    ($($name:literal, $address:ident, $access:expr;)*) => {
        /// Every kernel.
        pub const KERNELS: &[Kernel] = &[$(Kernel {
            name: $name,
            run: {
                #[inline(never)]
                fn run_it(n: u64) -> u64 {
                    let mut access = $access;
                    warm(&mut access);
                    run(n, $address, access)
                }
                run_it
            },
        }),*];
    };
}

/// An MMU with a modelled TLB of 64 sets of 4 ways, true LRU.
fn modelled() -> softmmu::mmu::Mmu<softmmu::arch::riscv::Riscv, softmmu::memory::Ram> {
    guest(PAGES, SetAssociative::new(Geometry::new(64, 4)).expect("a real geometry"))
}

/// Loads of a guest that misses at every one.
#[inline(always)]
fn missing<A: Arch>(mut mmu: Guested<A>) -> impl FnMut(u64) -> u64 {
    move |va| mmu.load::<u64>(VirtAddr(va)).unwrap_or(0)
}

kernels! {
    "loop", random, |va| va;
    "slice", random, {
        let slice = vec![1u64; (SPAN / 8) as usize];
        move |va| slice.get(((va - VIRTUAL) / 8) as usize).copied().unwrap_or(0)
    };
    "reference/load", random, {
        let mut mmu = Reference::new(4 << 20, mapping(PAGES));
        move |va| mmu.load(va).unwrap_or(0)
    };
    "reference/store", random, {
        let mut mmu = Reference::new(4 << 20, mapping(PAGES));
        (0..PAGES).for_each(|page| assert!(mmu.store(VIRTUAL + (page << 12), 0), "mapped"));
        // Like a guest's store, this yields nothing that the loop would have to look at.
        move |va| {
            let _ = mmu.store(va, va);
            va
        }
    };
    "mmu-64x4-lru/load", random, {
        let mut mmu = modelled();
        move |va| mmu.load::<u64>(VirtAddr(va)).unwrap_or(0)
    };
    "mmu-64x4-lru/store", random, {
        let mut mmu = modelled();
        (0..PAGES).for_each(|page| mmu.store(VirtAddr(VIRTUAL + (page << 12)), 0u64).expect("mapped"));
        move |va| {
            let _ = mmu.store::<u64>(VirtAddr(va), va);
            va
        }
    };
    "mmu-64x4-lru/fetch", random, {
        let mut mmu = modelled();
        move |va| mmu.fetch::<u64>(VirtAddr(va)).unwrap_or(0)
    };
    "mmu-128x8-plru/load", random, {
        let mut mmu = guest(PAGES, SetAssociative::<TreePlru>::new(Geometry::new(128, 8)).expect("a real geometry"));
        move |va| mmu.load::<u64>(VirtAddr(va)).unwrap_or(0)
    };
    "mmu-64x4-lru/load-unfiltered", random, {
        let mut mmu = modelled();
        mmu.set_filter(false);
        move |va| mmu.load::<u64>(VirtAddr(va)).unwrap_or(0)
    };
    "mmu-64x4-lru/load-conflict", conflicting, {
        let mut mmu = guest(2 * PAGES, SetAssociative::<TrueLru>::new(Geometry::new(64, 4)).expect("a real geometry"));
        move |va| mmu.load::<u64>(VirtAddr(va)).unwrap_or(0)
    };
    "mmu-1x1/load-miss", conflicting, {
        let mut mmu = guest(2 * PAGES, SetAssociative::<TrueLru>::new(Geometry::new(1, 1)).expect("a real geometry"));
        move |va| mmu.load::<u64>(VirtAddr(va)).unwrap_or(0)
    };
    "mmu-no-tlb/load", random, {
        let mut mmu = guest(PAGES, ());
        move |va| mmu.load::<u64>(VirtAddr(va)).unwrap_or(0)
    };
    "mmu-64x4-lru/miss-sv39", paged, missing(misses::sv39());
    "mmu-64x4-lru/miss-sv48", paged, missing(misses::sv48());
    "mmu-64x4-lru/miss-sv39-over-sv39x4", paged, missing(misses::sv39x4());
    "mmu-64x4-lru/miss-x86", paged, missing(misses::x86());
    "mmu-64x4-lru/miss-x86-over-ept", paged, missing(misses::x86_ept());
    "mmu-64x4-lru/miss-aarch64", paged, missing(misses::aarch64());
    "mmu-64x4-lru/miss-aarch64-two-stage", paged, missing(misses::aarch64_two_stage());
    "hand/miss-sv39", paged, {
        let mut hand = Hand::new(misses::sv39().memory());
        move |va| hand.miss::<Sv39>(va).expect("mapped")
    };
    "hand/miss-sv39-over-sv39x4", paged, {
        let mut hand = Hand::new(misses::sv39x4().memory());
        move |va| hand.nested_miss::<Sv39, Sv39x4>(va).expect("mapped")
    };
    "hand/miss-x86", paged, {
        let mut hand = Hand::new(misses::x86().memory());
        move |va| hand.miss::<Long>(va).expect("mapped")
    };
    "hand/miss-x86-over-ept", paged, {
        let mut hand = Hand::new(misses::x86_ept().memory());
        move |va| hand.nested_miss::<Long, Ept4>(va).expect("mapped")
    };
    "hand/miss-aarch64", paged, {
        let mut hand = Hand::new(misses::aarch64().memory());
        move |va| hand.miss::<Granule4k>(va).expect("mapped")
    };
    "hand/miss-aarch64-two-stage", paged, {
        let mut hand = Hand::new(misses::aarch64_two_stage().memory());
        move |va| hand.nested_miss::<Granule4k, Stage2>(va).expect("mapped")
    };
}
