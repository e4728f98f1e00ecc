//! The reference: a TLB as lists of options, slow and plain. It shares nothing with the crate but the entry type and
//! the numbers that `Space` unpacks to.

use super::policies::{Dice, NaivePolicy, policy};
use softmmu::tlb::policy::PolicyKind;
use softmmu::tlb::{Key, Scope, Space, Span, TlbEntry};

pub struct Set {
    pub ways: Vec<Option<TlbEntry>>,
    policy: Box<dyn NaivePolicy>,
    last: Option<usize>,
}

/// The whole TLB.
pub struct Naive {
    pub sets: Vec<Set>,
    dice: Dice,
}

/// A found entry, and whether finding it changed the policy's state or which way was touched last.
pub struct Found {
    pub entry: TlbEntry,
    pub set: usize,
    pub changed: bool,
}

impl Naive {
    pub fn new(kind: PolicyKind, sets: usize, ways: usize, seed: u64) -> Self {
        let set = |_| Set { ways: vec![None; ways], policy: policy(kind, ways), last: None };
        Self { sets: (0..sets).map(set).collect(), dice: Dice::new(seed) }
    }

    fn set_of(&self, entry_va: u64, size_bits: u8) -> usize {
        ((entry_va >> size_bits) % self.sets.len() as u64) as usize
    }

    pub fn entries(&self) -> impl Iterator<Item = (usize, TlbEntry)> + '_ {
        let sets = self.sets.iter().enumerate();
        sets.flat_map(|(number, set)| set.ways.iter().flatten().map(move |entry| (number, *entry)))
    }

    pub fn lookup(&mut self, key: &Key) -> Option<Found> {
        let mut found: Option<(u8, bool, usize, usize)> = None;
        for (number, set) in self.sets.iter().enumerate() {
            for (way, entry) in set.ways.iter().enumerate() {
                let Some(entry) = entry else { continue };
                if answers(entry, key) {
                    // Smallest page first, then the way touched last, then the lowest.
                    let rank = (entry.size_bits, set.last != Some(way), way, number);
                    if found.is_none_or(|best| rank < best) {
                        found = Some(rank);
                    }
                }
            }
        }
        let (_, _, way, number) = found?;
        let set = &mut self.sets[number];
        let before = set.policy.state();
        set.policy.hit(way);
        let last = set.last.replace(way);
        let changed = set.policy.state() != before || last != Some(way);
        Some(Found { entry: set.ways[way].unwrap(), set: number, changed })
    }

    pub fn insert(&mut self, entry: TlbEntry) -> (usize, Option<TlbEntry>) {
        let number = self.set_of(entry.va, entry.size_bits);
        let set = &mut self.sets[number];
        for old in set.ways.iter_mut().flatten() {
            if same_tag(old, &entry) {
                *old = entry;
                return (number, None);
            }
        }
        let way = match set.ways.iter().position(Option::is_none) {
            Some(way) => way,
            None => set.policy.victim(&mut self.dice),
        };
        set.policy.fill(way, &mut self.dice);
        set.last = set.policy.fill_is_hit().then_some(way);
        (number, set.ways[way].replace(entry))
    }

    /// Puts `entry` where it is told, if that is in the entry's set: what stood there before.
    pub fn write(&mut self, index: usize, entry: TlbEntry) -> Option<(usize, Option<TlbEntry>)> {
        let ways = self.sets[0].ways.len();
        let (number, way) = (index / ways, index % ways);
        if number != self.set_of(entry.va, entry.size_bits) || number >= self.sets.len() {
            return None;
        }
        self.remove(&entry);
        let set = &mut self.sets[number];
        set.policy.fill(way, &mut self.dice);
        set.last = set.policy.fill_is_hit().then_some(way);
        Some((number, set.ways[way].replace(entry)))
    }

    /// Drops the entry of this tag; whether there was one.
    pub fn remove(&mut self, entry: &TlbEntry) -> bool {
        let mut found = false;
        for way in self.sets.iter_mut().flat_map(|set| &mut set.ways) {
            if way.is_some_and(|old| same_tag(&old, entry)) {
                *way = None;
                found = true;
            }
        }
        found
    }

    pub fn invalidate(&mut self, scope: &Scope) -> u64 {
        let mut dropped = 0;
        for way in self.sets.iter_mut().flat_map(|set| &mut set.ways) {
            if way.is_some_and(|entry| drops(scope, &entry)) {
                *way = None;
                dropped += 1;
            }
        }
        dropped
    }

    /// Whether a larger page shares addresses and a space with `entry`.
    pub fn shadows(&self, entry: &TlbEntry) -> bool {
        self.entries().any(|(_, other)| {
            let same_asid = other.global || entry.global || other.space.asid() == entry.space.asid();
            let same_rest =
                other.space.vmid() == entry.space.vmid() && other.space.regime() == entry.space.regime();
            other.size_bits > entry.size_bits
                && other.va >> other.size_bits == entry.va >> other.size_bits
                && same_asid
                && same_rest
        })
    }
}

fn answers(entry: &TlbEntry, key: &Key) -> bool {
    let range = range(entry.va, entry.size_bits);
    range.0 <= u128::from(key.va)
        && u128::from(key.va) <= range.1
        && entry.space.regime() == key.space.regime()
        && entry.space.vmid() == key.space.vmid()
        && (entry.global || entry.space.asid() == key.space.asid())
}

fn same_tag(a: &TlbEntry, b: &TlbEntry) -> bool {
    a.va == b.va
        && a.size_bits == b.size_bits
        && a.global == b.global
        && a.space.regime() == b.space.regime()
        && a.space.vmid() == b.space.vmid()
        && (a.global || a.space.asid() == b.space.asid())
}

/// First and last address of the aligned block of `2^bits` bytes around `va`.
fn range(va: u64, bits: u8) -> (u128, u128) {
    let size = 1_u128 << bits;
    let first = u128::from(va) / size * size;
    (first, first + size - 1)
}

/// What a fence means, in words: the bits of regime and VMID that are named match; so do those of the ASID, unless the
/// entry is global, and then globals must be meant; and the leaf that the entry is a piece of holds a named address.
pub fn drops(scope: &Scope, entry: &TlbEntry) -> bool {
    let differ = (entry.space.bits() ^ scope.space.bits()) & scope.mask;
    if differ & (Space::REGIME | Space::VMID) != 0 {
        return false;
    }
    if if entry.global { !scope.globals } else { differ & Space::ASID != 0 } {
        return false;
    }
    let ((first, last), leaf) = match scope.span {
        Span::All => return true,
        Span::Virtual { first, last } => ((first, last), range(entry.va, entry.leaf_bits)),
        Span::Guest { first, last } => ((first, last), range(entry.gpa, entry.leaf2_bits)),
    };
    first <= last && u128::from(first) <= leaf.1 && leaf.0 <= u128::from(last)
}
