//! One array beside its reference.

use super::naive::Naive;
use super::{Op, key_in};
use softmmu::tlb::policy::{PolicyKind, WayPolicy};
use softmmu::tlb::{BLOCK_BITS, Geometry, IndexError, Key, Line, SetAssociative, Side, Tlb, TlbEntry};

/// The two, and what the reference has counted.
pub struct Pair<P: WayPolicy> {
    pub tlb: SetAssociative<P>,
    reference: Naive,
    hits: [u64; 2],
    misses: [u64; 2],
    evictions: u64,
}

impl<P: WayPolicy + Clone> Pair<P> {
    /// An empty array and the reference for its policy.
    pub fn new(tlb: SetAssociative<P>, kind: PolicyKind) -> Self {
        let Geometry { sets, ways, seed } = tlb.geometry();
        let reference = Naive::new(kind, sets, ways, seed);
        Self { tlb, reference, hits: [0; 2], misses: [0; 2], evictions: 0 }
    }

    /// Does `op` to both and compares everything that can be seen.
    pub fn step(&mut self, op: &Op) {
        match *op {
            Op::Lookup(key, side) => _ = self.look(&key, side),
            Op::Insert(entry) => self.put(entry),
            Op::Access(entry, side) => {
                let key = key_in(&entry);
                if !self.look(&key, side) {
                    self.refill(entry, side, &key);
                }
            }
            Op::Invalidate(scope) => {
                assert_eq!(self.tlb.invalidate(&scope), self.reference.invalidate(&scope), "{scope:?}");
            }
            Op::Remove(entry) => assert_eq!(self.tlb.remove(&entry), self.reference.remove(&entry)),
            Op::Write(index, entry) => self.write(index, entry),
        }
        self.compare(op);
    }

    fn compare(&self, after: &Op) {
        let (mut here, mut there): (Vec<_>, Vec<_>) =
            (self.tlb.entries().collect(), self.reference.entries().collect());
        here.sort_by_key(order);
        there.sort_by_key(order);
        assert_eq!(here, there, "after {after:?}");
        assert_eq!((self.tlb.len(), self.tlb.is_empty()), (there.len(), there.is_empty()));
        for (size, count) in self.tlb.resident() {
            let expected =
                there.iter().filter(|(_, entry)| u32::from(entry.size_bits) == size.bits()).count();
            assert_eq!(count, expected);
        }
        assert_eq!(self.tlb.resident().map(|(_, count)| count).sum::<usize>(), there.len());
        let stats = self.tlb.stats();
        assert_eq!((stats.hits, stats.misses, stats.evictions), (self.hits, self.misses, self.evictions));
    }

    /// Looks `key` up; whether it is there.
    fn look(&mut self, key: &Key, side: Side) -> bool {
        let peeked = self.tlb.peek(key, side);
        let (hit, found) = (self.tlb.lookup(key, side), self.reference.lookup(key));
        assert_eq!(hit.map(|hit| hit.entry), found.as_ref().map(|found| found.entry));
        assert_eq!(peeked, hit.map(|hit| hit.entry));
        let (Some(hit), Some(found)) = (hit, found) else {
            self.misses[side as usize] += 1;
            return false;
        };
        self.hits[side as usize] += 1;
        assert_eq!(hit.repeat, !found.changed);
        let finest = self.reference.entries().map(|(_, entry)| entry.size_bits).min();
        let finer =
            finest.is_some_and(|finest| u32::from(finest) < BLOCK_BITS && finest < hit.entry.size_bits);
        if finer {
            assert_eq!((hit.line, hit.ripple), (None, !hit.repeat));
        } else {
            assert_eq!((hit.line, hit.ripple), (Some(Line(found.set as u32)), false));
        }
        assert!((found.set as u32) < self.tlb.lines());
        true
    }

    fn put(&mut self, entry: TlbEntry) {
        let (inserted, (set, evicted)) = (self.tlb.insert(entry, Side::Data), self.reference.insert(entry));
        self.evictions += u64::from(evicted.is_some());
        assert_eq!(inserted.evicted, evicted);
        assert_eq!(inserted.touched, Some(Line(set as u32)));
        assert!(inserted.ripple || !self.reference.shadows(&entry));
        self.stands(inserted.line, set, entry);
    }

    fn refill(&mut self, entry: TlbEntry, side: Side, missed: &Key) {
        let (filled, (set, evicted)) = (self.tlb.refill(entry, side, missed), self.reference.insert(entry));
        self.evictions += u64::from(evicted.is_some());
        assert_eq!(filled.line, Some(Line(set as u32)));
        assert!(filled.ripple || !self.reference.shadows(&entry));
    }

    fn write(&mut self, index: usize, entry: TlbEntry) {
        let done = self.tlb.write(index, entry);
        let Some((set, evicted)) = self.reference.write(index, entry) else {
            assert!(matches!(done, Err(IndexError::Range { .. } | IndexError::Set { .. })), "{done:?}");
            return;
        };
        let inserted = done.expect("an index of the page's set");
        self.evictions += u64::from(evicted.is_some());
        assert_eq!(inserted.evicted, evicted);
        assert_eq!(self.tlb.read(index), Some(entry));
        assert!(inserted.ripple || !self.reference.shadows(&entry));
        self.stands(inserted.line, set, entry);
    }

    /// If an entry put in may be remembered, looking it up at once changes nothing, unless a smaller page stands
    /// before it.
    fn stands(&self, line: Option<Line>, set: usize, entry: TlbEntry) {
        if line.is_some() {
            assert_eq!(line, Some(Line(set as u32)));
            let key = Key { va: entry.va, space: entry.space };
            let hit = self.tlb.clone().lookup(&key, Side::Data).expect("just put in");
            assert!(hit.repeat || hit.entry != entry);
        }
    }
}

fn order((set, entry): &(usize, TlbEntry)) -> (usize, u64, u64, u8, bool) {
    (*set, entry.va, entry.space.bits(), entry.size_bits, entry.global)
}
