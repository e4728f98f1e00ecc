//! A hierarchy beside its reference: lists of lists.

use super::naive::Naive;
use super::{Op, key_in};
use softmmu::tlb::{
    ArrayConfig, ConfigError, Feed, Hierarchy, Key, LevelConfig, Scope, Side, Space, Span, Tlb, TlbConfig,
    TlbEntry,
};

struct Array {
    config: ArrayConfig,
    list: Naive,
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
        let seed = config.seed;
        let array = |config: &ArrayConfig| Array {
            config: *config,
            list: Naive::new(config.shape.policy, config.shape.sets, config.shape.ways, seed),
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
            piece.pa = entry.pa.wrapping_add(piece.va - entry.va);
            piece.gpa = entry.gpa.wrapping_add(piece.va - entry.va);
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

/// A hierarchy beside its reference.
pub struct Levels {
    pub tlb: Hierarchy,
    reference: Reference,
}

impl Levels {
    pub fn new(config: &TlbConfig) -> Result<Self, ConfigError> {
        Ok(Self { tlb: Hierarchy::new(config)?, reference: Reference::new(config) })
    }

    /// Does `op`, as far as hierarchies know it, to both and compares what every level holds.
    pub fn step(&mut self, op: &Op) {
        let Self { tlb, reference } = self;
        let (key, side) = match op {
            Op::Lookup(key, side) => (*key, *side),
            Op::Insert(entry) => (Key { va: entry.va, space: entry.space }, Side::Data),
            Op::Access(entry, side) => (key_in(entry), *side),
            Op::Invalidate(scope) => {
                assert_eq!(tlb.invalidate(scope), reference.invalidate(scope));
                return self.compare(op);
            }
            Op::Remove(_) | Op::Write(..) => return,
        };
        let mut miss = true;
        if !matches!(op, Op::Insert(_)) {
            let (hit, found) = (tlb.lookup(&key, side), reference.lookup(&key, side));
            let told = |entry: TlbEntry| (entry.address(key.va), entry.rights, entry.space, entry.attr);
            assert_eq!(hit.map(|hit| told(hit.entry)), found.map(told));
            miss = hit.is_none();
        }
        match op {
            Op::Access(entry, _) if miss => {
                tlb.refill(*entry, side, &key);
                reference.insert(*entry, side);
            }
            Op::Insert(entry) => {
                tlb.insert(*entry, side);
                reference.insert(*entry, side);
            }
            _ => {}
        }
        self.compare(op);
    }

    fn compare(&self, after: &Op) {
        for level in 0..self.reference.levels.len() {
            let (here, there) = (self.tlb.entries(level).collect(), self.reference.entries(level));
            assert_eq!(sorted(here), sorted(there), "level {level} after {after:?}");
        }
    }

    /// The counters at the end.
    pub fn end(&self) {
        let stats = self.tlb.stats();
        let hits: Vec<_> = stats.levels.iter().map(|level| level.hits).collect();
        assert_eq!((&hits, stats.misses), (&self.reference.hits, self.reference.misses));
        let first = &stats.levels[0];
        let reached: Vec<_> =
            first.misses.iter().zip(first.hits).map(|(misses, hits)| misses + hits).collect();
        assert_eq!(reached, stats.accesses);
    }
}
