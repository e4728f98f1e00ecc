//! A TLB to compare with: a list in order of use.

use softmmu::tlb::{Hit, Inserted, Key, Line, Scope, Side, Tlb, TlbEntry};

/// Fully associative, true LRU, obvious. All entries stand on one line: only the first may be hit unasked.
#[derive(Clone, Debug)]
pub struct TestTlb {
    room: usize,
    entries: Vec<(TlbEntry, Side)>,
    lookups: u64,
    hits: u64,
}

const LINE: Option<Line> = Some(Line(0));

impl TestTlb {
    /// Room for `room` entries; none is "no TLB".
    pub fn new(room: usize) -> Self {
        Self { room, entries: Vec::new(), lookups: 0, hits: 0 }
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
        (before - self.entries.len()) as u64
    }

    fn repeats(&mut self, _side: Side, hits: u64) {
        self.lookups += hits;
        self.hits += hits;
    }
}
