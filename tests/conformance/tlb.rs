//! A TLB to compare with: a list in order of use.

use softmmu::radix::{Leaf, PteRef, Stage, Subtable};
use softmmu::tlb::{Hierarchy, Hit, Inserted, Key, Line, Scope, Side, Space, Tlb, TlbEntry};

/// Fully associative, true LRU, obvious. All entries stand on one line: only the first may be hit unasked.
#[derive(Clone)]
pub struct TestTlb {
    room: usize,
    /// Asked for its walk caches only.
    walks: Option<Box<Hierarchy>>,
    entries: Vec<(TlbEntry, Side)>,
    lookups: u64,
    hits: u64,
}

const LINE: Option<Line> = Some(Line(0));

impl TestTlb {
    /// Room for `room` entries; none is "no TLB".
    pub fn new(room: usize) -> Self {
        Self { room, walks: None, entries: Vec::new(), lookups: 0, hits: 0 }
    }

    /// The same list beside the walk caches of `walks`.
    #[allow(dead_code, reason = "not all of the tests that share this file want walk caches")]
    pub fn with_walk_caches(self, walks: Hierarchy) -> Self {
        Self { walks: Some(Box::new(walks)), ..self }
    }

    /// Lookups and hits, as text.
    #[allow(dead_code, reason = "one of the tests that share this file does not ask")]
    pub fn counters(&self) -> String {
        format!("lookups {} hits {}", self.lookups, self.hits)
    }

    fn find(&self, key: &Key) -> Option<usize> {
        self.entries.iter().position(|(entry, _)| entry.matches(key))
    }
}

impl Tlb for TestTlb {
    fn lookup(&mut self, key: &Key, _side: Side) -> Option<Hit> {
        self.lookups += 1;
        let found = self.find(key)?;
        self.hits += 1;
        self.entries[..=found].rotate_right(1);
        Some(Hit { entry: self.entries[0].0, line: LINE, repeat: found == 0, ripple: false })
    }

    fn peek(&self, key: &Key, _side: Side) -> Option<TlbEntry> {
        self.find(key).map(|found| self.entries[found].0)
    }

    fn insert(&mut self, entry: TlbEntry, side: Side) -> Inserted {
        self.entries.retain(|(old, _)| !old.same_tag(&entry));
        self.entries.insert(0, (entry, side));
        let evicted = if self.entries.len() > self.room { self.entries.pop() } else { None };
        let line = if self.room > 0 { LINE } else { None };
        Inserted { line, touched: LINE, ripple: false, evicted: evicted.map(|(entry, _)| entry) }
    }

    fn invalidate(&mut self, scope: &Scope) -> u64 {
        let before = self.entries.len();
        self.entries.retain(|(entry, _)| !scope.drops(entry));
        if let Some(walks) = &mut self.walks {
            walks.invalidate(scope);
        }
        (before - self.entries.len()) as u64
    }

    fn repeats(&mut self, _side: Side, hits: u64) {
        self.lookups += hits;
        self.hits += hits;
    }

    fn follows_walks(&self) -> bool {
        self.walks.is_some()
    }

    fn walk_resume(&mut self, space: Space, stage: Stage, va: u64) -> Option<Subtable> {
        self.walks.as_mut()?.walk_resume(space, stage, va)
    }

    fn walk_descended(&mut self, space: Space, stage: Stage, va: u64, table: Subtable) {
        self.walks.iter_mut().for_each(|walks| walks.walk_descended(space, stage, va, table));
    }

    fn walk_recall(&mut self, space: Space, stage: Stage, va: u64) -> Option<Leaf> {
        self.walks.as_mut()?.walk_recall(space, stage, va)
    }

    fn walk_reached(&mut self, space: Space, stage: Stage, va: u64, leaf: &Leaf) {
        self.walks.iter_mut().for_each(|walks| walks.walk_reached(space, stage, va, leaf));
    }

    fn walk_updated(&mut self, at: PteRef, new: u64) {
        self.walks.iter_mut().for_each(|walks| walks.walk_updated(at, new));
    }

    fn walk_ended(&mut self, found: bool) {
        self.walks.iter_mut().for_each(|walks| walks.walk_ended(found));
    }

    fn walk_raced(&mut self) {
        self.walks.iter_mut().for_each(|walks| walks.walk_raced());
    }
}
