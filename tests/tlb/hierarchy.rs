//! Hierarchies against lists of lists, and what configurations may say.

use crate::contract::configs;
use crate::generate::ops;
use crate::model::levels::Levels;
use proptest::prelude::*;
use softmmu::tlb::policy::PolicyKind;
use softmmu::tlb::{
    ArrayConfig, ConfigError, Costs, GeometryError, Hierarchy, Key, LevelConfig, Shape, Side, Sides, Space,
    Tlb, TlbConfig, TlbEntry, presets,
};

proptest! {
    #[test]
    fn levels_are_lists(config in configs(PolicyKind::ALL), ops in ops()) {
        let mut levels = Levels::new(&config).unwrap();
        for op in &ops {
            levels.step(op);
        }
        levels.end();
    }
}

#[test]
fn presets_are_sound_and_say_what_they_are() {
    for (name, make) in presets::ALL {
        let config = make();
        Hierarchy::new(&config).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(presets::by_name(name), Some(config));
    }
    assert_eq!(
        presets::cortex_a53().to_string(),
        "L1: I 1x10 fifo, D 1x10 fifo; L2: ID 128x4 lru of 1 B to 512 MiB; tables of level 0: 16x4 lru; \
         nested walks: 16x4 lru"
    );
    assert_eq!(presets::by_name("pdp-11"), None);
}

#[test]
fn what_cannot_be_is_said_by_name() {
    let both = |sets, ways| ArrayConfig::new(Sides::Both, Shape::new(sets, ways));
    let one = |array: ArrayConfig| TlbConfig::new([LevelConfig::new([array])]);
    let cases = [
        (TlbConfig::new([]), "a TLB needs at least one level"),
        (TlbConfig::new([LevelConfig::new([])]), "no array of L1 serves Instruction accesses"),
        (
            TlbConfig::new([LevelConfig::victims([both(1, 4)])]),
            "nothing is evicted into L1: its feed must be walks",
        ),
        (one(both(0, 4)), "array 0 of L1: a TLB of 0 sets x 4 ways holds nothing"),
        (one(both(4, 0)), "array 0 of L1: a TLB of 4 sets x 0 ways holds nothing"),
        (
            one(both(1 << 13, 1 << 12)),
            "array 0 of L1: a TLB of 8192 sets x 4096 ways has more than 16777216 entries",
        ),
        (
            one(both(usize::MAX, 2)),
            "array 0 of L1: a TLB of 18446744073709551615 sets x 2 ways has more than 16777216 entries",
        ),
        (one(both(1, 4).pages(14, 12)), "array 0 of L1 cannot hold pages of 2^14 to 2^12 bytes"),
        (one(both(1, 4).pages(14, 64)), "array 0 of L1 cannot hold pages of 2^14 to 2^64 bytes"),
        (one(ArrayConfig::new(Sides::Instruction, Shape::full(4))), "no array of L1 serves Data accesses"),
        (
            TlbConfig::new([LevelConfig::new([both(1, 4).pages(0, 12), both(1, 4).pages(12, 63)])]),
            "arrays 0 and 1 of L1 serve the same side and share page sizes",
        ),
        (TlbConfig::new([LevelConfig::new([both(1, 4)]), LevelConfig::new([])]), "L2 has no arrays"),
        (
            one(ArrayConfig::new(Sides::Both, Shape::full(65).policy(PolicyKind::TreePlru))),
            "array 0 of L1: the replacement policy orders at most 64 ways, not 65",
        ),
        (
            TlbConfig { nested: Some(Shape::new(1, 0)), ..one(both(1, 1)) },
            "nested-walk cache: a TLB of 1 sets x 0 ways holds nothing",
        ),
    ];
    for (config, message) in cases {
        assert_eq!(Hierarchy::new(&config).map(|_| ()).unwrap_err().to_string(), message);
    }
    let error = Hierarchy::new(&one(both(0, 4))).map(|_| ()).unwrap_err();
    assert_eq!(
        error,
        ConfigError::Array { level: 1, array: 0, error: GeometryError::Empty { sets: 0, ways: 4 } }
    );
}

/// Two levels, by hand: 4 accesses to one page, then 2 to another.
#[test]
fn effective_access_time() {
    let config = TlbConfig {
        compulsory_pages: 10,
        ..TlbConfig::new([
            LevelConfig::new([ArrayConfig::new(Sides::Both, Shape::full(1))]),
            LevelConfig::new([ArrayConfig::new(Sides::Both, Shape::full(4))]),
        ])
    };
    let mut tlb = Hierarchy::new(&config).unwrap();
    let space = Space::default();
    let page = |va| TlbEntry {
        va,
        pa: 0,
        gpa: 0,
        rights: 0,
        space,
        global: false,
        size_bits: 12,
        leaf_bits: 12,
        leaf2_bits: 0,
        level: 0,
        attr: 0,
    };
    for va in [0, 0, 0, 0x1000, 0, 0x1000] {
        if tlb.lookup(&Key { va, space }, Side::Data).is_none() {
            tlb.insert(page(va), Side::Data);
        }
    }
    tlb.repeats(Side::Data, 4);
    let stats = tlb.stats();
    assert_eq!((stats.accesses, stats.misses, stats.compulsory), ([0, 10], [0, 2], 2));
    assert_eq!((stats.levels[0].hits, stats.levels[1].hits), ([0, 6], [0, 2]));
    assert_eq!(stats.hit_ratio(Side::Data), Some(0.8));
    assert_eq!(stats.hit_ratio(Side::Instruction), None);
    // 10 looks into the first level, 4 into the second.
    let costs = Costs { levels: vec![1, 5], walk_caches: 0, pte_read: 100 };
    assert_eq!(stats.effective_access_time(&costs), Some(3.0));
}

#[cfg(feature = "serde")]
#[test]
fn configurations_are_data() {
    for (name, make) in presets::ALL {
        let text = serde_json::to_string(&make()).unwrap();
        assert_eq!(serde_json::from_str::<TlbConfig>(&text).unwrap(), make(), "{name}");
    }
}
