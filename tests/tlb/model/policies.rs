//! The replacement policies in plain words, one set each.

use softmmu::tlb::policy::PolicyKind;

/// A policy for one set. `state` is anything that changes whenever the policy's memory does.
pub trait NaivePolicy {
    /// Whether a fill leaves the way as a hit would.
    fn fill_is_hit(&self) -> bool {
        true
    }
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
    pub fn below(&mut self, n: u64) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let top = u128::from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32);
        ((top * u128::from(n)) >> 32) as usize
    }
}

/// Ways from the most to the least recent.
pub struct Lru(Vec<usize>);
impl Lru {
    fn new(ways: usize) -> Self {
        Self((0..ways).rev().collect())
    }
}
impl NaivePolicy for Lru {
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
impl Fifo {
    fn new(ways: usize) -> Self {
        Self(Lru::new(ways))
    }
}
impl NaivePolicy for Fifo {
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
impl TreePlru {
    fn new(ways: usize) -> Self {
        Self(Tree::build(0, ways.next_power_of_two()), ways)
    }
}
impl NaivePolicy for TreePlru {
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
impl BitPlru {
    fn new(ways: usize) -> Self {
        Self(vec![false; ways])
    }
}
impl NaivePolicy for BitPlru {
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
impl Nru {
    fn new(ways: usize) -> Self {
        Self(vec![false; ways])
    }
}
impl NaivePolicy for Nru {
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
impl<const BIMODAL: bool> Rrip<BIMODAL> {
    fn new(ways: usize) -> Self {
        Self(vec![3; ways])
    }
}
impl<const BIMODAL: bool> NaivePolicy for Rrip<BIMODAL> {
    fn fill_is_hit(&self) -> bool {
        false
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

/// The one called so.
pub fn policy(kind: PolicyKind, ways: usize) -> Box<dyn NaivePolicy> {
    match kind {
        PolicyKind::TrueLru => Box::new(Lru::new(ways)),
        PolicyKind::Fifo => Box::new(Fifo::new(ways)),
        PolicyKind::TreePlru => Box::new(TreePlru::new(ways)),
        PolicyKind::BitPlru => Box::new(BitPlru::new(ways)),
        PolicyKind::Nru => Box::new(Nru::new(ways)),
        PolicyKind::Random => Box::new(Random(ways)),
        PolicyKind::Srrip => Box::new(Rrip::<false>::new(ways)),
        PolicyKind::Brrip => Box::new(Rrip::<true>::new(ways)),
        other => unreachable!("no reference for {other}"),
    }
}
