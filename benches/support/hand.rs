//! Misses written by hand: the dependent loads of a walk, the least that must be checked of what they read, and one
//! insertion into a set-associative TLB. No faults, no counters, no context, and memory that is never refused.

use super::misses::{RAM, ROOTS};
use super::tables::Shape;
use softmmu::addr::PhysAddr;
use softmmu::memory::{PhysMemory, Ram};

const WORDS: usize = (RAM / 8) as usize;
const SETS: usize = 64;

/// Four ways, and the order of their use: two bits each, the oldest on top.
#[derive(Clone, Copy)]
struct Set {
    tags: [u64; 4],
    pages: [u64; 4],
    rights: [u16; 4],
    order: u8,
}

/// A copy of a guest's RAM, and a TLB.
pub struct Hand {
    ram: Box<[u64; WORDS]>,
    sets: Box<[Set; SETS]>,
}

impl Hand {
    /// With what is in `ram` now.
    pub fn new(ram: &Ram) -> Self {
        let mut bytes = vec![0; RAM as usize];
        ram.read_bytes(PhysAddr(ram.base().0), &mut bytes).expect("all of RAM");
        let words =
            bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")));
        let Ok(ram) = words.collect::<Vec<_>>().try_into() else { unreachable!("RAM has that many words") };
        let set = Set { tags: [u64::MAX; 4], pages: [0; 4], rights: [0; 4], order: 0b00_01_10_11 };
        Self { ram, sets: Box::new([set; SETS]) }
    }

    /// The word at `pa`. RAM is aligned to its size: what is above the size is its base.
    #[inline(always)]
    fn word(&self, pa: u64) -> u64 {
        self.ram[(pa / 8) as usize % WORDS]
    }

    /// Walks `va` from `root`, each table lying where `second` says; yields the leaf.
    #[inline(always)]
    fn walk<S: Shape>(&self, root: u64, va: u64, second: impl Fn(u64) -> Option<u64>) -> Option<u64> {
        let mut table = root;
        for level in (1..S::LEVELS).rev() {
            let raw = self.word(second(S::place(table, va, level))?);
            if raw & S::TABLE_BITS != S::TABLE & S::TABLE_BITS {
                return None;
            }
            table = S::address(raw);
        }
        let leaf = self.word(second(S::place(table, va, 0))?);
        (leaf & S::READABLE == S::READABLE).then_some(leaf)
    }

    /// Puts the translation into the way of its set that was used longest ago.
    #[inline(always)]
    fn insert(&mut self, va: u64, page: u64, rights: u64) {
        let set = &mut self.sets[(va >> 12) as usize % SETS];
        let oldest = set.order >> 6;
        let way = usize::from(oldest);
        (set.tags[way], set.pages[way], set.rights[way]) = (va >> 12, page, rights as u16);
        set.order = set.order << 2 | oldest;
    }

    /// A miss of one stage; yields the word at `va`.
    #[inline(always)]
    pub fn miss<S: Shape>(&mut self, va: u64) -> Option<u64> {
        let leaf = self.walk::<S>(ROOTS[0], va, Some)?;
        let page = S::address(leaf);
        self.insert(va, page, leaf);
        Some(self.word(page | va & 0xfff))
    }

    /// A miss of two stages, tables of `S` behind tables of `S2`.
    #[inline(always)]
    pub fn nested_miss<S: Shape, S2: Shape>(&mut self, va: u64) -> Option<u64> {
        let second = |gpa| Some(S2::address(self.walk::<S2>(ROOTS[1], gpa, Some)?) | gpa & 0xfff);
        let leaf = self.walk::<S>(ROOTS[0], va, second)?;
        let pa = second(S::address(leaf) | va & 0xfff)?;
        self.insert(va, pa & !0xfff, leaf);
        Some(self.word(pa))
    }
}
