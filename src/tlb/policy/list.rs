//! The ways of every set in an order that moves one of them to the front at a time.
//!
//! Up to sixteen ways, a set's order is one word: the numbers of its ways, four bits each, the front lowest. Moving the
//! last way to the front is then a rotation. Above sixteen ways it is a doubly linked ring through all ways and an
//! anchor.

use crate::addr::low_mask;
use crate::tlb::Geometry;
use alloc::vec::Vec;

const WORD_WAYS: usize = 16;
/// The lowest bit of every way's number.
const ONES: u64 = 0x1111_1111_1111_1111;

#[derive(Clone, Debug)]
pub(super) struct Order {
    ways: usize,
    /// Where the last way's number begins in a word, and all bits that hold numbers.
    last: u32,
    mask: u64,
    words: Vec<u64>,
    ring: Vec<Links>,
}

#[derive(Clone, Copy, Debug)]
struct Links {
    ahead: u32,
    behind: u32,
}

impl Order {
    pub(super) fn new(geometry: Geometry) -> Self {
        let Geometry { sets, ways, .. } = geometry;
        let (mut words, mut ring) = (Vec::new(), Vec::new());
        // Way 0 is last, each way is ahead of those below it.
        if ways <= WORD_WAYS {
            words.resize(sets, (0..ways as u64).fold(0, |order, way| order << 4 | way));
        } else {
            let anchor = ways as u32;
            for _ in 0..sets {
                ring.extend((0..=anchor).map(|way| Links {
                    ahead: if way == anchor { 0 } else { way + 1 },
                    behind: if way == 0 { anchor } else { way - 1 },
                }));
            }
        }
        let bits = 4 * ways.min(WORD_WAYS) as u32;
        Self { ways, last: bits.saturating_sub(4), mask: low_mask(bits), words, ring }
    }

    /// Puts `way` before all others of its set; whether it was not there already.
    #[inline(always)]
    pub(super) fn move_to_front(&mut self, set: usize, way: usize) -> bool {
        let Some(order) = self.words.get_mut(set) else { return self.ring_to_front(set, way) };
        let (old, number) = (*order, way as u64);
        if old & 0xf == number || way >= self.ways {
            return false;
        }
        // The place of the number: the lowest place that is zero once it is taken off everywhere. Borrows only reach
        // higher places.
        let rest = old ^ number.wrapping_mul(ONES);
        let zero = rest.wrapping_sub(ONES) & !rest & ONES << 3;
        let place = zero.trailing_zeros() & 60;
        let ahead = old & low_mask(place);
        *order = old & (u64::MAX << place << 4) | ahead << 4 | number;
        true
    }

    /// Puts the last way before all others, and says which it is.
    #[inline(always)]
    pub(super) fn rotate(&mut self, set: usize) -> usize {
        let Some(order) = self.words.get_mut(set) else {
            let way = self.ring_last(set);
            self.ring_to_front(set, way);
            return way;
        };
        let way = *order >> self.last;
        *order = *order << 4 & self.mask | way;
        way as usize
    }

    #[cold]
    #[inline(never)]
    fn ring_to_front(&mut self, set: usize, way: usize) -> bool {
        let Some(ring) = self.ring_of(set) else { return false };
        let anchor = ring.len() - 1;
        if way >= anchor {
            return false;
        }
        let Links { ahead, behind } = ring[way];
        if ahead as usize == anchor {
            return false;
        }
        ring[ahead as usize].behind = behind;
        ring[behind as usize].ahead = ahead;
        let front = ring[anchor].behind;
        ring[way] = Links { ahead: anchor as u32, behind: front };
        ring[front as usize].ahead = way as u32;
        ring[anchor].behind = way as u32;
        true
    }

    /// The last way of a set.
    #[inline(always)]
    pub(super) fn last(&mut self, set: usize) -> usize {
        match self.words.get(set) {
            Some(&order) => (order >> self.last) as usize,
            None => self.ring_last(set),
        }
    }

    #[cold]
    #[inline(never)]
    fn ring_last(&mut self, set: usize) -> usize {
        self.ring_of(set).and_then(|ring| ring.last()).map_or(0, |anchor| anchor.ahead as usize)
    }

    fn ring_of(&mut self, set: usize) -> Option<&mut [Links]> {
        let len = self.ways + 1;
        self.ring.get_mut(set.checked_mul(len)?..)?.get_mut(..len)
    }
}
