//! A row of bits, worked on a word at a time.

use alloc::vec::Vec;

/// Bits `0..len`, all clear at first.
#[derive(Clone, Debug)]
pub(super) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    /// `len` clear bits; `None` when the host has no memory for them.
    pub(super) fn new(len: u64) -> Option<Self> {
        let words = usize::try_from(len.div_ceil(64)).ok()?;
        let mut row = Vec::new();
        row.try_reserve_exact(words).ok()?;
        row.resize(words, 0);
        Some(Self { words: row })
    }

    /// Word `index`; clear past the end.
    #[inline]
    pub(super) fn word(&self, index: usize) -> u64 {
        self.words.get(index).copied().unwrap_or(0)
    }

    /// How many words there are.
    #[inline]
    pub(super) fn words(&self) -> usize {
        self.words.len()
    }

    /// Bit `index`; clear past the end.
    #[inline]
    pub(super) fn get(&self, index: u64) -> bool {
        self.word((index / 64) as usize) >> (index % 64) & 1 != 0
    }

    /// Makes bit `index` be `to`; nothing past the end.
    #[inline]
    pub(super) fn put(&mut self, index: u64, to: bool) {
        if let Some(word) = self.words.get_mut((index / 64) as usize) {
            let bit = 1 << (index % 64);
            *word = if to { *word | bit } else { *word & !bit };
        }
    }

    /// Makes all of `first..first + len` be `to`.
    pub(super) fn fill(&mut self, first: u64, len: u64, to: bool) {
        for (index, mask) in masks(first, len) {
            if let Some(word) = self.words.get_mut(index) {
                *word = if to { *word | mask } else { *word & !mask };
            }
        }
    }

    /// Whether all of `first..first + len` are `wanted`.
    pub(super) fn all(&self, first: u64, len: u64, wanted: bool) -> bool {
        let flip = if wanted { 0 } else { u64::MAX };
        masks(first, len).all(|(index, mask)| (self.word(index) ^ flip) & mask == mask)
    }
}

/// The words that hold bits `first..first + len`, each with the mask of those bits in it.
fn masks(first: u64, len: u64) -> impl Iterator<Item = (usize, u64)> {
    let end = first + len;
    let mut at = first;
    core::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let (index, from) = (at / 64, at % 64);
        let count = (end - at).min(64 - from);
        at += count;
        Some((index as usize, (u64::MAX >> (64 - count)) << from))
    })
}
