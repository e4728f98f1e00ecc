//! The ways of every set in an order that moves one of them to the front at a time.
//!
//! Up to eight ways, a set's order is a bit matrix in one word: bit `8 * a + b` says that `a` is ahead of `b`, so
//! moving a way to the front sets its row and clears its column, and the last way is the one whose row is empty.
//! Above eight ways it is a doubly linked ring through all ways and an anchor.

use crate::addr::low_mask;
use crate::tlb::Geometry;
use alloc::vec::Vec;

const MATRIX_WAYS: usize = 8;
const ROW: u64 = 0xff;
const COLUMN: u64 = 0x0101_0101_0101_0101;

#[derive(Clone, Debug)]
pub(super) struct Order {
    ways: usize,
    /// A row that is ahead of all ways.
    row: u64,
    matrix: Vec<u64>,
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
        let (mut matrix, mut ring) = (Vec::new(), Vec::new());
        if ways <= MATRIX_WAYS {
            // Way 0 is last, each way is ahead of those below it; rows that stand for no way are never empty.
            let start = (0..MATRIX_WAYS).fold(0, |order, way| {
                let behind = if way < ways { low_mask(way as u32) } else { ROW };
                order | behind << (8 * way)
            });
            matrix.resize(sets, start);
        } else {
            let anchor = ways as u32;
            for _ in 0..sets {
                ring.extend((0..=anchor).map(|way| Links {
                    ahead: if way == anchor { 0 } else { way + 1 },
                    behind: if way == 0 { anchor } else { way - 1 },
                }));
            }
        }
        Self { ways, row: low_mask(ways as u32), matrix, ring }
    }

    /// Puts `way` before all others of its set; whether it was not there already.
    #[inline(always)]
    pub(super) fn move_to_front(&mut self, set: usize, way: usize) -> bool {
        if let Some(order) = self.matrix.get_mut(set) {
            let (row, column) = (self.row << ((8 * way) & 63), COLUMN << (way & 7));
            let new = (*order | row) & !column;
            let changed = new != *order;
            *order = new;
            return changed;
        }
        self.ring_to_front(set, way)
    }

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
        if let Some(&order) = self.matrix.get(set) {
            // The lowest empty byte: borrows out of lower bytes only reach higher ones.
            let empty = order.wrapping_sub(COLUMN) & !order & (COLUMN << 7);
            return (empty.trailing_zeros() / 8) as usize;
        }
        self.ring_last(set)
    }

    #[inline(never)]
    fn ring_last(&mut self, set: usize) -> usize {
        self.ring_of(set).and_then(|ring| ring.last()).map_or(0, |anchor| anchor.ahead as usize)
    }

    fn ring_of(&mut self, set: usize) -> Option<&mut [Links]> {
        let len = self.ways + 1;
        self.ring.get_mut(set.checked_mul(len)?..)?.get_mut(..len)
    }
}
