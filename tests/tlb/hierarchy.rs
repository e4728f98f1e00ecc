//! Hierarchies of LRU arrays against lists of lists, and what configurations may say.

use crate::contract::configs;
use crate::generate::{Op, ops};
use crate::naive::{Lru, Naive};
use proptest::prelude::*;
use softmmu::tlb::policy::PolicyKind;
use softmmu::tlb::{
    ArrayConfig, ConfigError, Costs, Feed, GeometryError, Hierarchy, Key, LevelConfig, Scope, Shape, Side,
    Sides, Space, Span, Tlb, TlbConfig, TlbEntry, presets,
};

struct Array {
    config: ArrayConfig,
    list: Naive<Lru>,
}

struct Level {
    config: LevelConfig,
    arrays: Vec<Array>,
}

/// The levels as lists; the first is level 0.
struct Reference {
    levels: Vec<Level>,
    missed: Option<Key>,
    hits: Vec<[u64; 2]>,
    misses: [u64; 2],
}

impl Reference {
    fn new(config: &TlbConfig) -> Self {
        let array = |config: &ArrayConfig| Array {
            config: *config,
            list: Naive::new(config.shape.sets, config.shape.ways, 0),
        };
        let level = |config: &LevelConfig| {
            let mut arrays: Vec<_> = config.arrays.iter().map(array).collect();
            arrays.sort_by_key(|array| array.config.min_bits);
            Level { config: config.clone(), arrays }
        };
        let levels: Vec<_> = config.levels.iter().map(level).collect();
        Self { hits: vec![[0; 2]; levels.len()], levels, missed: None, misses: [0; 2] }
    }

    fn lookup(&mut self, key: &Key, side: Side) -> Option<TlbEntry> {
        for depth in 0..self.levels.len() {
            let level = &mut self.levels[depth];
            for array in level.arrays.iter_mut().filter(|array| array.config.sides.serve(side)) {
                let Some(found) = array.list.lookup(key) else { continue };
                self.hits[depth][side as usize] += 1;
                if depth == 0 {
                    return Some(found.entry);
                }
                if level.config.feed == Feed::Victims {
                    array.list.remove(&found.entry);
                }
                self.fill(depth, found.entry, key.va, side);
                return Some(found.entry);
            }
        }
        self.misses[side as usize] += 1;
        self.missed = Some(*key);
        None
    }

    fn insert(&mut self, entry: TlbEntry, side: Side) {
        let missed = self.missed.take().filter(|key| entry.matches(key));
        self.fill(self.levels.len(), entry, missed.map_or(entry.va, |key| key.va), side);
    }

    /// Into all levels above `depth` that walks feed, the deepest first.
    fn fill(&mut self, depth: usize, entry: TlbEntry, va: u64, side: Side) {
        for level in (0..depth).rev() {
            if self.levels[level].config.feed == Feed::Walks {
                self.put(level, entry, va, side);
            }
        }
    }

    fn put(&mut self, depth: usize, entry: TlbEntry, va: u64, side: Side) {
        let level = &mut self.levels[depth];
        let mut fitting: Vec<_> = level
            .arrays
            .iter_mut()
            .filter(|array| array.config.sides.serve(side) && array.config.min_bits <= entry.size_bits)
            .collect();
        fitting.sort_by_key(|array| array.config.max_bits.min(entry.size_bits));
        let Some(array) = fitting.pop() else { return };
        let mut piece = entry;
        if entry.size_bits > array.config.max_bits {
            piece.size_bits = array.config.max_bits;
            piece.va = va - va % (1 << piece.size_bits);
            piece.pa = entry.pa + (piece.va - entry.va);
            piece.gpa = entry.gpa + (piece.va - entry.va);
            piece.leaf_bits = piece.leaf_bits.max(entry.size_bits);
        }
        let (_, Some(evicted)) = array.list.insert(piece) else { return };
        if level.config.inclusive {
            let last = evicted.va + ((1 << evicted.size_bits) - 1);
            let scope = Scope {
                space: evicted.space,
                mask: Space::ASID | Space::VMID | Space::REGIME,
                globals: evicted.global,
                span: Span::Virtual { first: evicted.va, last },
                leaves_only: true,
            };
            for level in &mut self.levels[..depth] {
                level.arrays.iter_mut().for_each(|array| _ = array.list.invalidate(&scope));
            }
        }
        if self.levels.get(depth + 1).is_some_and(|below| below.config.feed == Feed::Victims) {
            self.put(depth + 1, evicted, evicted.va, side);
        }
    }

    fn invalidate(&mut self, scope: &Scope) -> u64 {
        let arrays = self.levels.iter_mut().flat_map(|level| &mut level.arrays);
        arrays.map(|array| array.list.invalidate(scope)).sum()
    }

    fn entries(&self, level: usize) -> Vec<TlbEntry> {
        let arrays = self.levels[level].arrays.iter();
        arrays.flat_map(|array| array.list.entries().map(|(_, entry)| entry)).collect()
    }
}

fn sorted(mut entries: Vec<TlbEntry>) -> Vec<TlbEntry> {
    entries.sort_by_key(|entry| (entry.va, entry.size_bits, entry.space.bits(), entry.global));
    entries
}

proptest! {
    #[test]
    fn levels_are_lists(config in configs(&[PolicyKind::TrueLru]), ops in ops()) {
        let (mut tlb, mut reference) = (Hierarchy::new(&config).unwrap(), Reference::new(&config));
        for op in &ops {
            let (key, side) = match op {
                Op::Lookup(key, side) => (*key, *side),
                Op::Insert(entry) => (Key { va: entry.va, space: entry.space }, Side::Data),
                Op::Access(entry, side) => (Key { va: entry.va | 3, space: entry.space }, *side),
                Op::Invalidate(scope) => {
                    prop_assert_eq!(tlb.invalidate(scope), reference.invalidate(scope));
                    continue;
                }
            };
            let mut miss = true;
            if !matches!(op, Op::Insert(_)) {
                let (hit, found) = (tlb.lookup(&key, side), reference.lookup(&key, side));
                prop_assert_eq!(hit.map(|hit| hit.entry.address(key.va)), found.map(|entry| entry.address(key.va)));
                miss = hit.is_none();
            }
            if let (Op::Insert(entry) | Op::Access(entry, _), true) = (op, miss) {
                tlb.insert(*entry, side);
                reference.insert(*entry, side);
            }
            for level in 0..config.levels.len() {
                let (here, there) = (tlb.entries(level).collect(), reference.entries(level));
                prop_assert_eq!(sorted(here), sorted(there), "level {} after {:?}", level, op);
            }
        }
        let stats = tlb.stats();
        let hits: Vec<_> = stats.levels.iter().map(|level| level.hits).collect();
        prop_assert_eq!((hits, stats.misses), (reference.hits, reference.misses));
        prop_assert_eq!(&stats.levels[0].misses.iter().zip(stats.levels[0].hits).map(|(m, h)| m + h).collect::<Vec<_>>(),
            &stats.accesses.to_vec());
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
