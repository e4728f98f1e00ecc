//! Random programs against the model.

use super::model::{Kind, Op, PAGES, Setup, World};
use super::*;
use alloc::vec;
use proptest::prelude::*;

fn op(page: u64) -> impl Strategy<Value = Op> {
    let s = any::<usize>;
    // Few pages, so that the same ones are met again; offsets that cross pages now and then.
    let at = move || {
        let offset = prop_oneof![3 => 0..page - 3, 1 => page - 3..page];
        (0..PAGES, offset).prop_map(move |(number, offset)| number * page + offset)
    };
    let run = || (0..PAGES, 1..24u64);
    let kind = prop_oneof![
        6 => Just(Kind::Zero),
        5 => Just(Kind::Source),
        1 => (0..4u64).prop_map(Kind::Device),
        3 => (0..8u64).prop_map(Kind::Shared),
        1 => Just(Kind::Guard),
    ];
    prop_oneof![
        1 => Just(Op::Create),
        2 => s().prop_map(Op::Fork),
        1 => s().prop_map(Op::Destroy),
        5 => (s(), run(), kind, prop::bool::weighted(0.8))
            .prop_map(|(s, (first, count), kind, w)| Op::Map(s, first, count, kind, w)),
        1 => (s(), s(), 0..24u64).prop_map(|(s, region, count)| Op::Resize(s, region, count)),
        2 => (s(), run()).prop_map(|(s, (first, count))| Op::Unmap(s, first, count)),
        2 => (s(), run(), any::<bool>()).prop_map(|(s, (first, count), w)| Op::Protect(s, first, count, w)),
        8 => (s(), at()).prop_map(|(s, at)| Op::Load(s, at)),
        10 => (s(), at(), any::<u32>()).prop_map(|(s, at, value)| Op::Store(s, at, value)),
        3 => (s(), at(), 0..200usize).prop_map(|(s, at, len)| Op::Read(s, at, len)),
        3 => (s(), at(), any::<u8>()).prop_map(|(s, at, value)| Op::Write(s, at, value)),
        4 => (s(), run(), any::<u32>()).prop_map(|(s, (first, count), value)| Op::Sweep(s, first, count, value)),
    ]
}

fn run<P: Policy>(setup: &Setup, policy: P, ops: &[Op]) -> VmStats {
    let mut world = World::new(setup, policy);
    ops.iter().for_each(|op| world.step(op));
    world.end()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn spaces_are_arrays_of_bytes(
        ops in proptest::collection::vec(op(64), 1..160),
        frames in 9..20u64,
        marks in any::<bool>(),
    ) {
        let setup = Setup { page: 64, marks, frames, slots: 1000, failing: None, cramped: false };
        let first = run(&setup, Clock::default(), &ops);
        prop_assert_eq!(first, run(&setup, Clock::default(), &ops), "the same again gives the same counters");
        run(&setup, Fifo::default(), &ops);
    }

    #[test]
    fn also_with_pages_as_large_as_the_hosts(
        ops in proptest::collection::vec(op(4096), 1..100),
        frames in 9..20u64,
        marks in any::<bool>(),
    ) {
        run(&Setup { page: 4096, marks, frames, slots: 1000, failing: None, cramped: false }, Clock::default(), &ops);
    }

    #[test]
    fn a_store_that_fails_or_is_full_loses_nothing(
        ops in proptest::collection::vec(op(64), 1..160),
        frames in 9..20u64,
        slots in prop_oneof![0..12u64, Just(1000)],
        rate in 2..30u64,
        marks in any::<bool>(),
    ) {
        let failing = (rate > 3).then_some(rate);
        run(&Setup { page: 64, marks, frames, slots, failing, cramped: false }, Clock::default(), &ops);
    }
}
