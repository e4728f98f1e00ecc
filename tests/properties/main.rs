//! What must hold on every architecture: caching is invisible.
//!
//! A [`guest::Guest`] draws a machine, page tables and a story: accesses (page-crossing, to devices and to nothing,
//! too), table edits followed by the fences that the architecture asks for, control changes and address-space
//! switches. The same story is lived by MMUs without a TLB, with small and large ones, with and without the filter.
//! Every access must end alike on all of them, `probe` and `explain` must foretell it, the memories must be equal at
//! the end, and a TLB must count alike with the filter and without.
#![expect(unreachable_pub, reason = "the modules of one test are nobody's interface")]

mod engine;
mod guest;
#[path = "../conformance/tlb.rs"]
mod list;
mod software;
mod tape;
mod tree;

use engine::{Hart, machine};
use guest::Guest;
use list::TestTlb;
use proptest::collection::vec;
use proptest::prelude::*;
use softmmu::arch::Arch;

/// The reference first, then each TLB twice: with the filter and without.
fn harts<A: Arch + 'static>(arch: A) -> Vec<Box<dyn Hart<A>>> {
    let mut harts = Vec::new();
    for filter in [false, true] {
        harts.push(machine("no TLB", arch, (), filter, |()| String::new()));
    }
    for room in [1, 3, 64] {
        for filter in [false, true] {
            harts.push(machine(
                &format!("list of {room}"),
                arch,
                TestTlb::new(room),
                filter,
                TestTlb::counters,
            ));
        }
    }
    harts
}

fn run<G: Guest>(tape: &[u64]) {
    engine::run::<G>(tape, harts);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn software(tape in vec(any::<u64>(), 100..900)) {
        run::<software::SoftwareGuest>(&tape);
    }
}
