//! The TLB that the cases run with, in the sizes that they run with.

use softmmu::tlb::{Hit, Inserted, Key, Scope, Side, Tlb, TlbEntry};

/// A list in order of use: fully associative, true LRU, obvious.
#[derive(Clone, Debug)]
pub struct TestTlb {
    room: usize,
    entries: Vec<(TlbEntry, Side)>,
}

impl TestTlb {
    /// Room for `room` entries; none is "no TLB".
    pub fn new(room: usize) -> Self {
        Self { room, entries: Vec::new() }
    }

    fn find(&self, key: &Key) -> Option<usize> {
        self.entries.iter().position(|(entry, _)| entry.matches(key))
    }
}

impl Tlb for TestTlb {
    fn lookup(&mut self, key: &Key, _side: Side) -> Option<Hit> {
        let found = self.find(key)?;
        self.entries[..=found].rotate_right(1);
        Some(Hit { entry: self.entries[0].0, line: None, repeat: found == 0, ripple: false })
    }

    fn peek(&self, key: &Key, _side: Side) -> Option<TlbEntry> {
        self.find(key).map(|found| self.entries[found].0)
    }

    fn insert(&mut self, entry: TlbEntry, side: Side) -> Inserted {
        self.entries.retain(|(old, _)| !old.same_tag(&entry));
        self.entries.insert(0, (entry, side));
        let evicted = if self.entries.len() > self.room { self.entries.pop() } else { None };
        Inserted { line: None, touched: None, ripple: false, evicted: evicted.map(|(entry, _)| entry) }
    }

    fn invalidate(&mut self, scope: &Scope) -> u64 {
        let before = self.entries.len();
        self.entries.retain(|(entry, _)| !scope.drops(entry));
        (before - self.entries.len()) as u64
    }
}
