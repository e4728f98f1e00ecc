//! Two bits a frame, searched a word at a time.

use super::Zone;
use super::bits::Bits;

/// One range of a [`BitmapAllocator`](super::BitmapAllocator).
///
/// | `taken` | `edge` | the frame is |
/// | --- | --- | --- |
/// | 0 | 0 | free |
/// | 1 | 1 | the first of a run that is out |
/// | 1 | 0 | a later one of that run |
/// | 0 | 1 | reserved, or outside the range |
///
/// A run ends where the next frame is not a later one, so its order is known without being stored.
#[derive(Clone, Debug)]
pub struct Bitmap {
    taken: Bits,
    edge: Bits,
    /// The frame number of bit 0: a multiple of 64, so that short runs are aligned within a word.
    origin: u64,
    /// The word where the last search ended.
    next: usize,
}

impl Bitmap {
    /// The free frames of a word.
    #[inline]
    fn free_bits(&self, word: usize) -> u64 {
        !(self.taken.word(word) | self.edge.word(word))
    }

    /// The bit where a free, aligned run of `2^order` begins.
    fn find(&self, order: u32) -> Option<u64> {
        let words = self.edge.words();
        if order < 6 {
            return (self.next..words).chain(0..self.next).find_map(|word| {
                // Keep a bit only where the run that begins at it is free: halves, then quarters...
                let mut runs = self.free_bits(word);
                for step in 0..order {
                    runs &= runs >> (1 << step);
                }
                runs &= ALIGNED[order as usize];
                (runs != 0).then(|| word as u64 * 64 + u64::from(runs.trailing_zeros()))
            });
        }
        // Whole words: only those whose frame number is a multiple of the run come into question.
        let run = 1usize.checked_shl(order - 6)?;
        let run_words = run as u64;
        let skew = ((self.origin / 64).next_multiple_of(run_words) - self.origin / 64) as usize;
        let candidates = (words.checked_sub(skew)?) / run;
        let start = self.next.saturating_sub(skew) / run;
        (start..candidates).chain(0..start.min(candidates)).find_map(|candidate| {
            let word = skew + candidate * run;
            (word..word + run).all(|word| self.free_bits(word) == u64::MAX).then_some(word as u64 * 64)
        })
    }
}

/// Bits whose number is a multiple of `2^order`.
const ALIGNED: [u64; 6] = [
    u64::MAX,
    0x5555_5555_5555_5555,
    0x1111_1111_1111_1111,
    0x0101_0101_0101_0101,
    0x0001_0001_0001_0001,
    0x0000_0001_0000_0001,
];

impl Zone for Bitmap {
    fn new(first: u64, count: u64) -> Option<Self> {
        let origin = first & !63;
        let len = (first - origin).checked_add(count)?.checked_next_multiple_of(64)?;
        let mut edge = Bits::new(len)?;
        edge.fill(0, len, true);
        Some(Self { taken: Bits::new(len)?, edge, origin, next: 0 })
    }

    fn open(&mut self, first: u64, count: u64) {
        self.edge.fill(first - self.origin, count, false);
    }

    fn allocate(&mut self, order: u32) -> Option<u64> {
        let first = self.find(order)?;
        self.taken.fill(first, 1 << order, true);
        self.edge.put(first, true);
        self.next = (first / 64) as usize;
        Some(self.origin + first)
    }

    fn free(&mut self, first: u64, order: u32) -> bool {
        let (first, len) = (first - self.origin, 1 << order);
        let later = |frame| self.taken.get(frame) && !self.edge.get(frame);
        let whole = self.taken.get(first)
            && self.edge.get(first)
            && self.taken.all(first, len, true)
            && self.edge.all(first + 1, len - 1, false)
            && !later(first + len);
        if whole {
            self.taken.fill(first, len, false);
            self.edge.put(first, false);
        }
        whole
    }
}
