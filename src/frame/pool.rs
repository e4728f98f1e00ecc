//! What every allocator with a memory of its own shares: ranges, what is reserved in them, and the telling apart of
//! frames that are out from frames that never were ours.
//!
//! A [`Pool`] is a list of [`Zone`]s, one for each range of RAM. The pool speaks addresses, a zone speaks frame
//! numbers (address divided by frame size), so that a run is aligned when its number is.

use super::bump::whole_frames;
use super::{Bitmap, Buddy, FrameAllocator, FrameError};
use crate::addr::{PageSize, PhysAddr};
use crate::memory::{Bus, PhysRange};
use alloc::vec::Vec;

/// Finds single frames and runs by scanning a bitmap, each time from where the last search ended.
pub type BitmapAllocator = Pool<Bitmap>;

/// Keeps free memory in the largest naturally aligned runs that there are, splits them when asked for less, and joins
/// them again when both halves are free.
pub type BuddyAllocator = Pool<Buddy>;

/// Why a pool could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// No whole frame is in any range.
    #[error("no range holds a whole {frame} frame")]
    Empty {
        /// The size of a frame.
        frame: PageSize,
    },
    /// Two ranges share bytes.
    #[error("the ranges {first} and {second} share bytes")]
    Overlap {
        /// The lower range.
        first: PhysRange,
        /// The higher one.
        second: PhysRange,
    },
    /// The host has no memory for the bookkeeping of so many frames.
    #[error("the host cannot keep books on the frames of {range}")]
    HostRefused {
        /// The range.
        range: PhysRange,
    },
}

/// How the frames of one range are kept: everything is reserved until it is opened. What a [`Pool`] is made of.
pub trait Zone: Sized {
    /// Books for `count` frames from number `first`, all reserved. `None` when the host has no memory for them.
    fn new(first: u64, count: u64) -> Option<Self>;

    /// Makes reserved frames free.
    fn open(&mut self, first: u64, count: u64);

    /// Takes `2^order` frames whose first number is a multiple of that.
    fn allocate(&mut self, order: u32) -> Option<u64>;

    /// Gives back what was taken with the same order. `false`, with nothing changed, when it was not.
    fn free(&mut self, first: u64, order: u32) -> bool;
}

#[derive(Clone, Debug)]
struct Range<Z> {
    first: u64,
    end: u64,
    zone: Z,
    free: u64,
}

/// Frames of one or more ranges of physical memory, less reserved ones.
///
/// ```
/// use softmmu::addr::{PageSize, PhysAddr};
/// use softmmu::frame::{BuddyAllocator, FrameAllocator, FrameError};
/// use softmmu::memory::{Bus, Ram};
///
/// let mut bus = Bus::new();
/// bus.add_ram(Ram::new(PhysAddr(0x8000_0000), 0x10_0000)?)?;
/// bus.reserve("kernel", PhysAddr(0x8000_0000), 0x1_2345)?;
///
/// let mut frames = BuddyAllocator::from_bus(&bus, PageSize::SIZE_4K)?;
/// assert_eq!(frames.free_frames(), 256 - 19);
/// let run = frames.allocate(3)?;
/// assert!(run.is_aligned(15) && run >= PhysAddr(0x8001_3000));
/// frames.free(run, 3)?;
/// assert_eq!(frames.free(run, 3), Err(FrameError::NotAllocated { frame: run, order: 3 }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pool<Z> {
    frame: PageSize,
    ranges: Vec<Range<Z>>,
    /// The range that served last, tried first.
    current: usize,
    /// Frame numbers `first..end` that are nobody's.
    reserved: Vec<(u64, u64)>,
}

impl<Z: Zone> Pool<Z> {
    /// The whole frames in `range`, all free.
    ///
    /// # Errors
    /// [`PoolError::Empty`] or [`PoolError::HostRefused`].
    pub fn new(range: PhysRange, frame: PageSize) -> Result<Self, PoolError> {
        Self::with_reserved([range], [], frame)
    }

    /// The whole frames in `ranges`, all free but those that share a byte with any of `reserved`.
    ///
    /// # Errors
    /// [`PoolError`]: no whole frame, ranges that overlap, or more than the host can keep books on.
    pub fn with_reserved(
        ranges: impl IntoIterator<Item = PhysRange>,
        reserved: impl IntoIterator<Item = PhysRange>,
        frame: PageSize,
    ) -> Result<Self, PoolError> {
        let bits = frame.bits();
        let mut reserved: Vec<(u64, u64)> = reserved
            .into_iter()
            .map(|range| (range.first().0 >> bits, (range.last().0 >> bits).saturating_add(1)))
            .collect();
        reserved.sort_unstable();
        let mut spans: Vec<PhysRange> = ranges.into_iter().collect();
        spans.sort_unstable_by_key(PhysRange::first);
        let mut joined: Vec<PhysRange> = Vec::new();
        for range in spans {
            match joined.last_mut() {
                Some(last) if last.overlaps(&range) => {
                    return Err(PoolError::Overlap { first: *last, second: range });
                }
                // Side by side: a run may lie across the border.
                Some(last) if last.last().checked_add(1) == Some(range.first()) => {
                    *last = PhysRange::inclusive(last.first().0, range.last().0);
                }
                _ => joined.push(range),
            }
        }
        let mut zones = Vec::new();
        for range in joined {
            let (first, end) = whole_frames(range, frame);
            if first == end {
                continue;
            }
            let mut zone = Z::new(first, end - first).ok_or(PoolError::HostRefused { range })?;
            let mut free = 0;
            for (from, to) in gaps(first, end, &reserved) {
                zone.open(from, to - from);
                free += to - from;
            }
            zones.push(Range { first, end, zone, free });
        }
        if zones.is_empty() {
            return Err(PoolError::Empty { frame });
        }
        Ok(Self { frame, ranges: zones, current: 0, reserved })
    }

    /// All RAM of `bus` but what it [reserves](Bus::reserve).
    ///
    /// # Errors
    /// As for [`with_reserved`](Self::with_reserved).
    pub fn from_bus<D>(bus: &Bus<D>, frame: PageSize) -> Result<Self, PoolError> {
        Self::with_reserved(bus.ram().map(|ram| ram.range()), bus.reserved().map(|(_, range)| range), frame)
    }
}

/// The stretches of `first..end` outside all of `reserved`, which is sorted.
fn gaps(first: u64, end: u64, reserved: &[(u64, u64)]) -> impl Iterator<Item = (u64, u64)> {
    let mut at = first;
    reserved.iter().copied().chain([(end, end)]).filter_map(move |(from, to)| {
        let gap = (at, from.min(end));
        at = at.max(to);
        (gap.0 < gap.1).then_some(gap)
    })
}

impl<Z: Zone> FrameAllocator for Pool<Z> {
    fn frame_size(&self) -> PageSize {
        self.frame
    }

    fn allocate(&mut self, order: u32) -> Result<PhysAddr, FrameError> {
        let frames = 1u64.checked_shl(order).ok_or(FrameError::OutOfFrames { order })?;
        let (before, from) = self.ranges.split_at_mut(self.current);
        for (index, range) in (self.current..).zip(from).chain((0..).zip(before)) {
            if range.free < frames {
                continue;
            }
            if let Some(first) = range.zone.allocate(order) {
                range.free -= frames;
                self.current = index;
                return Ok(PhysAddr(first << self.frame.bits()));
            }
        }
        Err(FrameError::OutOfFrames { order })
    }

    fn free(&mut self, frame: PhysAddr, order: u32) -> Result<(), FrameError> {
        let foreign = FrameError::Foreign { frame };
        let number = frame.0 >> self.frame.bits();
        let frames = 1u64.checked_shl(order).unwrap_or(0);
        if !frame.is_aligned(self.frame.bits()) || frames == 0 || number % frames != 0 {
            return Err(foreign);
        }
        let index = self.ranges.partition_point(|range| range.end <= number);
        let range = self.ranges.get_mut(index).filter(|range| range.first <= number).ok_or(foreign)?;
        if frames <= range.end - number && range.zone.free(number, order) {
            range.free += frames;
            return Ok(());
        }
        let reserved = self.reserved.iter().any(|&(from, to)| (from..to).contains(&number));
        Err(if reserved { foreign } else { FrameError::NotAllocated { frame, order } })
    }

    fn free_frames(&self) -> u64 {
        self.ranges.iter().map(|range| range.free).sum()
    }
}
