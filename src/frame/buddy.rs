//! Runs that split in two and join again.

use super::Zone;
use super::bits::Bits;
use alloc::vec::Vec;

/// One range of a [`BuddyAllocator`](super::BuddyAllocator).
///
/// A *block* of order `k` is a run of `2^k` frames whose number is a multiple of that; its *buddy* is the other half
/// of the block of order `k + 1`. For each order there are two rows of bits, a bit a block: which blocks are free, and
/// which are out. A frame is in at most one block of either kind; one that is in none is reserved.
///
/// The range may begin and end anywhere: a block that would stick out is never marked free.
#[derive(Clone, Debug)]
pub struct Buddy {
    orders: Vec<Order>,
    first: u64,
}

#[derive(Clone, Debug)]
struct Order {
    free: Bits,
    out: Bits,
    /// How many free bits are set.
    count: u64,
    /// No free bit is set below this word.
    lowest: usize,
}

impl Order {
    fn set_free(&mut self, block: u64) {
        self.free.put(block, true);
        self.count += 1;
        self.lowest = self.lowest.min((block / 64) as usize);
    }

    fn clear_free(&mut self, block: u64) {
        self.free.put(block, false);
        self.count -= 1;
    }

    /// Takes the lowest free block.
    fn take(&mut self) -> Option<u64> {
        if self.count == 0 {
            return None;
        }
        while self.lowest < self.free.words() {
            let word = self.free.word(self.lowest);
            if word != 0 {
                let block = self.lowest as u64 * 64 + u64::from(word.trailing_zeros());
                self.clear_free(block);
                return Some(block);
            }
            self.lowest += 1;
        }
        None
    }
}

impl Buddy {
    /// The bit of the block of `order` that holds frame `number`.
    fn bit(&self, number: u64, order: u32) -> u64 {
        (number >> order) - (self.first >> order)
    }

    /// Frees the block at `number`, joined with its buddy as often as that one is free.
    fn release(&mut self, mut number: u64, mut order: u32) {
        loop {
            let buddy = number ^ 1 << order;
            // Below the range there is no bit; above it the bit is clear.
            let joins = order as usize + 1 < self.orders.len() && buddy >= self.first;
            let bit = if joins { self.bit(buddy, order) } else { 0 };
            match self.orders.get_mut(order as usize) {
                Some(row) if joins && row.free.get(bit) => row.clear_free(bit),
                _ => break,
            }
            number &= !(1 << order);
            order += 1;
        }
        let bit = self.bit(number, order);
        if let Some(row) = self.orders.get_mut(order as usize) {
            row.set_free(bit);
        }
    }
}

impl Zone for Buddy {
    fn new(first: u64, count: u64) -> Option<Self> {
        let mut orders = Vec::new();
        for order in 0..=count.checked_ilog2()? {
            let blocks = ((first + (count - 1)) >> order) - (first >> order) + 1;
            orders.push(Order { free: Bits::new(blocks)?, out: Bits::new(blocks)?, count: 0, lowest: 0 });
        }
        Some(Self { orders, first })
    }

    fn open(&mut self, first: u64, count: u64) {
        let (mut at, end) = (first, first + count);
        while at < end {
            let order = at.trailing_zeros().min((end - at).ilog2());
            self.release(at, order);
            at += 1 << order;
        }
    }

    fn allocate(&mut self, order: u32) -> Option<u64> {
        let (mut found, block) = (order..)
            .zip(self.orders.get_mut(order as usize..)?)
            .find_map(|(order, row)| row.take().map(|block| (order, block)))?;
        let number = ((self.first >> found) + block) << found;
        // The lower half goes on being split, the upper one stays free.
        while found > order {
            found -= 1;
            let upper = self.bit(number + (1 << found), found);
            self.orders.get_mut(found as usize)?.set_free(upper);
        }
        let bit = self.bit(number, order);
        self.orders.get_mut(order as usize)?.out.put(bit, true);
        Some(number)
    }

    fn free(&mut self, first: u64, order: u32) -> bool {
        let bit = self.bit(first, order);
        match self.orders.get_mut(order as usize) {
            Some(row) if row.out.get(bit) => row.out.put(bit, false),
            _ => return false,
        }
        self.release(first, order);
        true
    }
}
