//! What the `Mmu`'s filter relies on, for every policy and hierarchy.

use crate::generate::ops;
use crate::model::Op;
use crate::model::remembered::Remembered;
use proptest::prelude::*;
use softmmu::tlb::policy::{AnyPolicy, PolicyKind};
use softmmu::tlb::{
    ArrayConfig, Feed, Geometry, Hierarchy, LevelConfig, SetAssociative, Shape, Sides, Space, Tlb, TlbConfig,
    TlbEntry,
};

fn holds<T: Tlb + Clone>(mut tlb: T, ops: &[Op], step: impl Fn(&mut Remembered, &mut T, &Op)) {
    let mut filter = Remembered::default();
    for op in ops {
        step(&mut filter, &mut tlb, op);
        filter.check(&tlb);
    }
}

fn shapes(policies: &'static [PolicyKind]) -> impl Strategy<Value = Shape> + Clone {
    let policy = prop::sample::select(policies);
    (1_usize..5, 1_usize..6, policy).prop_map(|(sets, ways, policy)| Shape { sets, ways, policy })
}

/// Levels of every kind, small enough to overflow.
pub fn configs(policies: &'static [PolicyKind]) -> impl Strategy<Value = TlbConfig> {
    let shapes = || shapes(policies);
    let unified = shapes().prop_map(|shape| vec![ArrayConfig::new(Sides::Both, shape)]);
    let split = (shapes(), shapes()).prop_map(|(fetch, data)| {
        vec![ArrayConfig::new(Sides::Instruction, fetch), ArrayConfig::new(Sides::Data, data)]
    });
    let by_size = (shapes(), shapes(), shapes()).prop_map(|(small, middle, large)| {
        vec![
            ArrayConfig::new(Sides::Both, large).pages(21, 63),
            ArrayConfig::new(Sides::Both, small).pages(0, 12),
            ArrayConfig::new(Sides::Both, middle).pages(13, 20),
        ]
    });
    // The largest pages in pieces; the smallest not at all.
    let narrow = shapes().prop_map(|shape| vec![ArrayConfig::new(Sides::Both, shape).pages(0, 14)]);
    let wide = shapes().prop_map(|shape| vec![ArrayConfig::new(Sides::Both, shape).pages(14, 63)]);
    let arrays = prop_oneof![unified, split, by_size, narrow, wide];
    let lower = (arrays.clone(), 0_u8..4).prop_map(|(arrays, kind)| match kind {
        0 => LevelConfig::victims(arrays),
        3 => LevelConfig { inclusive: true, ..LevelConfig::victims(arrays) },
        1 => LevelConfig { inclusive: true, ..LevelConfig::new(arrays) },
        _ => LevelConfig::new(arrays),
    });
    (arrays, prop::collection::vec(lower, 0..3), 0_u64..3).prop_map(|(first, lower, seed)| {
        let mut levels = vec![LevelConfig::new(first)];
        levels.extend(lower);
        TlbConfig { seed, ..TlbConfig::new(levels) }
    })
}

proptest! {
    #[test]
    fn one_array(shape in shapes(PolicyKind::ALL), ops in ops()) {
        let geometry = Geometry::new(shape.sets, shape.ways);
        let policy = AnyPolicy::of(shape.policy, geometry).unwrap();
        holds(SetAssociative::with_policy(geometry, policy).unwrap(), &ops, Remembered::step_array);
    }

    #[test]
    fn every_hierarchy(config in configs(PolicyKind::ALL), ops in ops()) {
        holds(Hierarchy::new(&config).unwrap(), &ops, Remembered::step);
    }
}

/// What falls into an inclusive victim buffer pushes an old copy of the newcomer out, and the newcomer with it.
#[test]
fn an_entry_that_its_own_victim_drops_is_not_remembered() {
    let level = |feed| LevelConfig {
        feed,
        inclusive: true,
        ..LevelConfig::new([ArrayConfig::new(Sides::Both, Shape::full(1))])
    };
    let config = TlbConfig::new([level(Feed::Walks), level(Feed::Victims)]);
    let page = |va| TlbEntry {
        va,
        pa: 0,
        gpa: 0,
        rights: 0,
        space: Space::default(),
        global: false,
        size_bits: 12,
        leaf_bits: 12,
        leaf2_bits: 0,
        level: 0,
        attr: 0,
    };
    let ops = [0x1000, 0x2000, 0x1000].map(|va| Op::Insert(page(va)));
    holds(Hierarchy::new(&config).unwrap(), &ops, Remembered::step);
}
