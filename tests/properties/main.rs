//! What must hold on every architecture: caching is invisible.
//!
//! A [`guest::Guest`] draws a machine, page tables and a story: accesses (page-crossing, to devices and to nothing,
//! too), table edits followed by the fences that the architecture asks for, control changes and address-space
//! switches. The same story is lived by MMUs without a TLB, with small and large ones, with and without the filter.
//! Every access must end alike on all of them, `probe` and `explain` must foretell it, the memories must be equal at
//! the end, and a TLB must count alike with the filter and without.
#![expect(unreachable_pub, reason = "the modules of one test are nobody's interface")]

mod aarch64;
mod engine;
mod guest;
#[path = "../conformance/tlb.rs"]
mod list;
mod riscv;
mod software;
mod tape;
mod tree;
mod x86;

use engine::{Hart, machine};
use guest::Guest;
use list::TestTlb;
use proptest::collection::vec;
use proptest::prelude::*;
use softmmu::arch::Arch;
use softmmu::radix::Stage;
use softmmu::tlb::policy::{TreePlru, TrueLru, WayPolicy};
use softmmu::tlb::{
    ArrayConfig, Geometry, Hierarchy, LevelConfig, SetAssociative, Shape, Sides, TlbConfig, WalkCacheConfig,
};

/// The reference first, then each TLB twice: with the filter and without.
fn harts<A: Arch + 'static>(arch: A) -> Vec<Box<dyn Hart<A>>> {
    let mut harts = Vec::new();
    for filter in [false, true] {
        harts.push(machine("no TLB", arch, (), filter, |()| String::new()));
    }
    for filter in [false, true] {
        harts.push(machine("a list of 3", arch, TestTlb::new(3), filter, TestTlb::counters));
        harts.push(machine("a list of 64", arch, TestTlb::new(64), filter, TestTlb::counters));
        harts.push(set_associative::<A, TrueLru>("64x4 LRU", arch, 64, 4, filter));
        harts.push(set_associative::<A, TreePlru>("2x2 PLRU", arch, 2, 2, filter));
        harts.push(hierarchy("walk caches and little else", arch, &narrow(), filter));
    }
    // Each beside its twin.
    harts[2..].sort_by_key(|hart| hart.name().split(',').next().map(str::to_owned));
    harts
}

fn set_associative<A: Arch + 'static, P: WayPolicy + 'static>(
    name: &str,
    arch: A,
    sets: usize,
    ways: usize,
    filter: bool,
) -> Box<dyn Hart<A>> {
    let tlb = SetAssociative::<P>::new(Geometry::new(sets, ways)).expect("a sound geometry");
    machine(name, arch, tlb, filter, |tlb| format!("{:?}", tlb.stats()))
}

fn hierarchy<A: Arch + 'static>(name: &str, arch: A, config: &TlbConfig, filter: bool) -> Box<dyn Hart<A>> {
    let tlb = Hierarchy::new(config).expect("a sound configuration");
    machine(name, arch, tlb, filter, |tlb| tlb.stats().to_string())
}

/// Hardly an entry, so that walks are many; tables of every level cached, and second-stage leaves.
fn narrow() -> TlbConfig {
    let tables = |stage| WalkCacheConfig { stage, min_level: 0, max_level: 4, shape: Shape::new(2, 4) };
    TlbConfig {
        walk_caches: vec![tables(Stage::First), tables(Stage::Second)],
        nested: Some(Shape::new(2, 4)),
        ..TlbConfig::new([
            LevelConfig::new([
                ArrayConfig::new(Sides::Instruction, Shape::full(1)),
                ArrayConfig::new(Sides::Data, Shape::full(1)).pages(0, 16),
            ]),
            LevelConfig::victims([ArrayConfig::new(Sides::Both, Shape::full(2))]),
        ])
    }
}

fn run<G: Guest>(tape: &[u64]) {
    engine::run::<G>(tape, harts);
}

/// A tape of so many numbers, drawn and shrunk by proptest.
fn tape(numbers: std::ops::Range<usize>) -> impl Strategy<Value = Numbers> {
    vec(any::<u64>(), numbers).prop_map(Numbers)
}

/// The tape; what it tells is shown where it goes wrong, its numbers say nothing.
#[derive(Clone)]
struct Numbers(Vec<u64>);

impl std::fmt::Debug for Numbers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} numbers", self.0.len())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, max_shrink_time: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn software(tape in tape(100..900)) {
        run::<software::SoftwareGuest>(&tape.0);
    }

    #[test]
    fn riscv(tape in tape(400..1600)) {
        run::<riscv::RiscvGuest>(&tape.0);
    }

    #[test]
    fn x86(tape in tape(400..1600)) {
        run::<x86::X86Guest>(&tape.0);
    }

    #[test]
    fn aarch64(tape in tape(400..1600)) {
        run::<aarch64::Aarch64Guest>(&tape.0);
    }
}
