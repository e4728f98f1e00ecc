//! The reference: a TLB as lists of options, slow and plain. It shares nothing with the crate but the entry type and
//! the numbers that `Space` unpacks to.

use softmmu::tlb::{Key, Scope, Space, Span, TlbEntry};

/// A policy for one set. `state` is anything that changes whenever the policy's memory does.
pub trait NaivePolicy {
    /// Whether a fill leaves the way as a hit would.
    const FILL_IS_HIT: bool;
    fn new(ways: usize) -> Self;
    fn hit(&mut self, way: usize);
    fn fill(&mut self, way: usize, dice: &mut Dice);
    fn victim(&mut self, dice: &mut Dice) -> usize;
    fn state(&self) -> Vec<usize>;
}

/// The documented generator: xorshift64* from the seed times the golden ratio, top half scaled.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    fn below(&mut self, n: u64) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let top = u128::from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32);
        ((top * u128::from(n)) >> 32) as usize
    }
}

/// Ways from the most to the least recent.
pub struct Lru(Vec<usize>);
impl NaivePolicy for Lru {
    const FILL_IS_HIT: bool = true;
    fn new(ways: usize) -> Self {
        Self((0..ways).rev().collect())
    }
    fn hit(&mut self, way: usize) {
        self.0.retain(|&other| other != way);
        self.0.insert(0, way);
    }
    fn fill(&mut self, way: usize, _: &mut Dice) {
        self.hit(way);
    }
    fn victim(&mut self, _: &mut Dice) -> usize {
        *self.0.last().unwrap()
    }
    fn state(&self) -> Vec<usize> {
        self.0.clone()
    }
}

pub struct Fifo(Lru);
impl NaivePolicy for Fifo {
    const FILL_IS_HIT: bool = true;
    fn new(ways: usize) -> Self {
        Self(Lru::new(ways))
    }
    fn hit(&mut self, _: usize) {}
    fn fill(&mut self, way: usize, _: &mut Dice) {
        self.0.hit(way);
    }
    fn victim(&mut self, dice: &mut Dice) -> usize {
        self.0.victim(dice)
    }
    fn state(&self) -> Vec<usize> {
        self.0.state()
    }
}

/// A tree of boxes: each node points at the half to take from.
pub enum Tree {
    Leaf(usize),
    Node { low: Box<Tree>, high: Box<Tree>, to_high: bool },
}
impl Tree {
    fn build(first: usize, count: usize) -> Self {
        if count == 1 {
            return Self::Leaf(first);
        }
        let half = count / 2;
        let (low, high) = (Self::build(first, half), Self::build(first + half, half));
        Self::Node { low: Box::new(low), high: Box::new(high), to_high: false }
    }
    fn first(&self) -> usize {
        match self {
            Self::Leaf(way) => *way,
            Self::Node { low, .. } => low.first(),
        }
    }
    fn point_away(&mut self, way: usize) {
        if let Self::Node { low, high, to_high } = self {
            let in_high = way >= high.first();
            *to_high = !in_high;
            if in_high { high.point_away(way) } else { low.point_away(way) }
        }
    }
    fn follow(&self, ways: usize) -> usize {
        match self {
            Self::Leaf(way) => *way,
            Self::Node { low, high, to_high } => {
                if *to_high && high.first() < ways {
                    high.follow(ways)
                } else {
                    low.follow(ways)
                }
            }
        }
    }
    fn bits(&self, into: &mut Vec<usize>) {
        if let Self::Node { low, high, to_high } = self {
            into.push(usize::from(*to_high));
            low.bits(into);
            high.bits(into);
        }
    }
}
pub struct TreePlru(Tree, usize);
impl NaivePolicy for TreePlru {
    const FILL_IS_HIT: bool = true;
    fn new(ways: usize) -> Self {
        Self(Tree::build(0, ways.next_power_of_two()), ways)
    }
    fn hit(&mut self, way: usize) {
        self.0.point_away(way);
    }
    fn fill(&mut self, way: usize, _: &mut Dice) {
        self.hit(way);
    }
    fn victim(&mut self, _: &mut Dice) -> usize {
        self.0.follow(self.1)
    }
    fn state(&self) -> Vec<usize> {
        let mut bits = Vec::new();
        self.0.bits(&mut bits);
        bits
    }
}

pub struct BitPlru(Vec<bool>);
impl NaivePolicy for BitPlru {
    const FILL_IS_HIT: bool = true;
    fn new(ways: usize) -> Self {
        Self(vec![false; ways])
    }
    fn hit(&mut self, way: usize) {
        // A second touch of the only marked way changes nothing, whatever the number of ways.
        if self.0[way] {
            return;
        }
        self.0[way] = true;
        if self.0.iter().all(|&marked| marked) {
            self.0.fill(false);
            self.0[way] = true;
        }
    }
    fn fill(&mut self, way: usize, _: &mut Dice) {
        self.hit(way);
    }
    fn victim(&mut self, _: &mut Dice) -> usize {
        self.0.iter().position(|&marked| !marked).unwrap_or(0)
    }
    fn state(&self) -> Vec<usize> {
        self.0.iter().map(|&marked| usize::from(marked)).collect()
    }
}

pub struct Nru(Vec<bool>);
impl NaivePolicy for Nru {
    const FILL_IS_HIT: bool = true;
    fn new(ways: usize) -> Self {
        Self(vec![false; ways])
    }
    fn hit(&mut self, way: usize) {
        self.0[way] = true;
    }
    fn fill(&mut self, way: usize, _: &mut Dice) {
        self.hit(way);
    }
    fn victim(&mut self, _: &mut Dice) -> usize {
        if self.0.iter().all(|&marked| marked) {
            self.0.fill(false);
        }
        self.0.iter().position(|&marked| !marked).unwrap()
    }
    fn state(&self) -> Vec<usize> {
        self.0.iter().map(|&marked| usize::from(marked)).collect()
    }
}

pub struct Random(usize);
impl NaivePolicy for Random {
    const FILL_IS_HIT: bool = true;
    fn new(ways: usize) -> Self {
        Self(ways)
    }
    fn hit(&mut self, _: usize) {}
    fn fill(&mut self, _: usize, _: &mut Dice) {}
    fn victim(&mut self, dice: &mut Dice) -> usize {
        dice.below(self.0 as u64)
    }
    fn state(&self) -> Vec<usize> {
        Vec::new()
    }
}

/// Prediction values 0 (soon) to 3 (distant), aged one by one.
pub struct Rrip<const BIMODAL: bool>(Vec<usize>);
impl<const BIMODAL: bool> NaivePolicy for Rrip<BIMODAL> {
    const FILL_IS_HIT: bool = false;
    fn new(ways: usize) -> Self {
        Self(vec![3; ways])
    }
    fn hit(&mut self, way: usize) {
        self.0[way] = 0;
    }
    fn fill(&mut self, way: usize, dice: &mut Dice) {
        self.0[way] = if BIMODAL && dice.below(32) != 0 { 3 } else { 2 };
    }
    fn victim(&mut self, _: &mut Dice) -> usize {
        loop {
            if let Some(way) = self.0.iter().position(|&value| value == 3) {
                return way;
            }
            self.0.iter_mut().for_each(|value| *value += 1);
        }
    }
    fn state(&self) -> Vec<usize> {
        self.0.clone()
    }
}

pub struct Set<P> {
    pub ways: Vec<Option<TlbEntry>>,
    policy: P,
    last: Option<usize>,
}

/// The whole TLB.
pub struct Naive<P> {
    pub sets: Vec<Set<P>>,
    dice: Dice,
}

/// A found entry, and whether finding it changed the policy's state or which way was touched last.
pub struct Found {
    pub entry: TlbEntry,
    pub set: usize,
    pub changed: bool,
}

impl<P: NaivePolicy> Naive<P> {
    pub fn new(sets: usize, ways: usize, seed: u64) -> Self {
        let set = |_| Set { ways: vec![None; ways], policy: P::new(ways), last: None };
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
        set.last = P::FILL_IS_HIT.then_some(way);
        (number, set.ways[way].replace(entry))
    }

    pub fn remove(&mut self, entry: &TlbEntry) {
        for way in self.sets.iter_mut().flat_map(|set| &mut set.ways) {
            if way.is_some_and(|old| same_tag(&old, entry)) {
                *way = None;
            }
        }
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

/// What a fence means, in words: regime and VMID match if they are named; so does the ASID, unless the entry is
/// global, and then globals must be meant; and the leaf that the entry is a piece of holds a named address.
pub fn drops(scope: &Scope, entry: &TlbEntry) -> bool {
    let named = |bits: u64| scope.mask & bits == bits;
    if named(Space::REGIME) && entry.space.regime() != scope.space.regime()
        || named(Space::VMID) && entry.space.vmid() != scope.space.vmid()
    {
        return false;
    }
    if entry.global {
        if !scope.globals {
            return false;
        }
    } else if named(Space::ASID) && entry.space.asid() != scope.space.asid() {
        return false;
    }
    let ((first, last), leaf) = match scope.span {
        Span::All => return true,
        Span::Virtual { first, last } => ((first, last), range(entry.va, entry.leaf_bits)),
        Span::Guest { first, last } => ((first, last), range(entry.gpa, entry.leaf2_bits)),
    };
    first <= last && u128::from(first) <= leaf.1 && leaf.0 <= u128::from(last)
}
