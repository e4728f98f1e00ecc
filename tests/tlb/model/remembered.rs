//! What the `Mmu`'s filter relies on: while nothing is said about a line, a lookup that was remembered on it would be
//! answered in the same way again, and change nothing.

use super::{Op, key_in};
use softmmu::tlb::policy::WayPolicy;
use softmmu::tlb::{BLOCK_BITS, Hit, Inserted, Key, Line, SetAssociative, Side, Tlb, TlbEntry};

/// A filter without any limit of its own but the number of slots.
#[derive(Default)]
pub struct Remembered(Vec<(Key, Side, Line, TlbEntry)>);

impl Remembered {
    const SLOTS: usize = 12;

    fn changed(&mut self, line: Option<Line>, ripple: bool) {
        self.0.retain(|slot| !ripple && Some(slot.2) != line);
    }

    fn open(&mut self, key: Key, side: Side, line: Option<Line>, entry: TlbEntry) {
        if let (Some(line), true) = (line, u32::from(entry.size_bits) >= BLOCK_BITS) {
            self.0.truncate(Self::SLOTS - 1);
            self.0.insert(0, (key, side, line, entry));
        }
    }

    fn hit(&mut self, key: Key, side: Side, hit: &Hit) {
        if !hit.repeat {
            self.changed(hit.line, false);
        }
        self.changed(None, hit.ripple);
        self.open(key, side, hit.line, hit.entry);
    }

    fn inserted(&mut self, key: Key, side: Side, inserted: &Inserted, entry: TlbEntry) {
        self.changed(inserted.touched, inserted.ripple);
        self.open(key, side, inserted.line, entry);
    }

    /// Does `op`, as far as every TLB knows it, and hears what is said of it.
    pub fn step<T: Tlb + Clone>(&mut self, tlb: &mut T, op: &Op) {
        let (key, side, entry) = match *op {
            Op::Lookup(key, side) => (key, side, None),
            Op::Insert(entry) => (Key { va: entry.va, space: entry.space }, Side::Data, Some(entry)),
            Op::Access(entry, side) => (key_in(&entry), side, Some(entry)),
            Op::Invalidate(scope) => {
                let dropped = tlb.invalidate(&scope) > 0;
                return self.changed(None, dropped);
            }
            Op::Remove(_) | Op::Write(..) => return,
        };
        let hit = if matches!(op, Op::Insert(_)) { None } else { tlb.lookup(&key, side) };
        match (hit, entry) {
            (Some(hit), _) => self.hit(key, side, &hit),
            (None, Some(entry)) if matches!(op, Op::Access(..)) => {
                let filled = tlb.refill(entry, side, &key);
                self.changed(filled.line, filled.ripple);
            }
            (None, Some(entry)) => {
                let inserted = tlb.insert(entry, side);
                self.inserted(key, side, &inserted, entry);
            }
            (None, None) => {}
        }
    }

    /// As [`step`](Self::step), with what only single arrays know.
    pub fn step_array<P: WayPolicy + Clone>(&mut self, tlb: &mut SetAssociative<P>, op: &Op) {
        match *op {
            Op::Remove(entry) => {
                let removed = tlb.remove(&entry);
                self.changed(None, removed);
            }
            Op::Write(index, entry) => {
                if let Ok(inserted) = tlb.write(index, entry) {
                    self.inserted(Key { va: entry.va, space: entry.space }, Side::Data, &inserted, entry);
                }
            }
            _ => self.step(tlb, op),
        }
    }

    /// Tries everything that is remembered on a copy of `tlb`.
    pub fn check<T: Tlb + Clone>(&self, tlb: &T) {
        for (key, side, line, entry) in &self.0 {
            for other in [0, 0x400, 0xc00] {
                let key = Key { va: key.va ^ other, ..*key };
                let mut copy = tlb.clone();
                let Some(hit) = copy.lookup(&key, *side) else {
                    panic!("{key:?} is remembered on {line:?} and would miss");
                };
                assert_eq!(hit.entry.address(key.va), entry.address(key.va));
                assert_eq!(hit.entry.rights, entry.rights);
                assert_eq!((hit.repeat, hit.ripple), (true, false));
                assert!(hit.line.is_none_or(|now| now == *line));
                // Once more, for a policy that would count.
                let again = copy.lookup(&key, *side).expect("it was there");
                assert_eq!((again.entry, again.line, again.repeat), (hit.entry, hit.line, true));
            }
        }
    }
}
