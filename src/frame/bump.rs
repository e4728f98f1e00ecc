//! Frames in ascending order, and no way back.

use super::{FrameAllocator, FrameError};
use crate::addr::{PageSize, PhysAddr, low_mask};
use crate::memory::PhysRange;

/// Hands out the frames of one range from the lowest up.
///
/// What is freed is not handed out again, unless it was the last run handed out: then the mark moves back. Frames
/// skipped to align a longer run are lost. Since it keeps no record, it notices only that a freed run was never out,
/// not that it was freed before.
///
/// ```
/// use softmmu::addr::{PageSize, PhysAddr};
/// use softmmu::frame::{BumpAllocator, FrameAllocator};
/// use softmmu::memory::PhysRange;
///
/// let range = PhysRange::new(PhysAddr(0x8000_0000), 0x4000).unwrap();
/// let mut frames = BumpAllocator::new(range, PageSize::SIZE_4K);
/// assert_eq!(frames.allocate(0)?, PhysAddr(0x8000_0000));
/// assert_eq!(frames.allocate(1)?, PhysAddr(0x8000_2000), "a run of two is aligned to its size");
/// assert!(frames.allocate(0).is_err());
/// # Ok::<(), softmmu::frame::FrameError>(())
/// ```
#[derive(Clone, Debug)]
pub struct BumpAllocator {
    frame: PageSize,
    /// Frame numbers: the first, the next to hand out, and the one after the last.
    first: u64,
    next: u64,
    end: u64,
}

impl BumpAllocator {
    /// An allocator of the whole frames in `range`, of which there may be none.
    #[must_use]
    pub fn new(range: PhysRange, frame: PageSize) -> Self {
        let (first, end) = whole_frames(range, frame);
        Self { frame, first, next: first, end }
    }
}

/// The numbers of the first frame that lies wholly in `range`, and of the one after the last such; equal where there
/// is none.
pub(super) fn whole_frames(range: PhysRange, frame: PageSize) -> (u64, u64) {
    let (bits, mask) = (frame.bits(), low_mask(frame.bits()));
    let first = (range.first().0 >> bits) + u64::from(range.first().0 & mask != 0);
    let end = match bits {
        // A byte is a frame: the number after the last one of the space is not one; leave that byte out.
        0 => range.last().0.saturating_add(1),
        _ => (range.last().0 >> bits) + u64::from(range.last().0 & mask == mask),
    };
    (first, end.max(first))
}

impl FrameAllocator for BumpAllocator {
    fn frame_size(&self) -> PageSize {
        self.frame
    }

    fn allocate(&mut self, order: u32) -> Result<PhysAddr, FrameError> {
        let none = FrameError::OutOfFrames { order };
        if order >= 64 {
            return Err(none);
        }
        let start = self.next.checked_next_multiple_of(1 << order).ok_or(none)?;
        let next = start.checked_add(1 << order).filter(|&next| next <= self.end).ok_or(none)?;
        self.next = next;
        Ok(PhysAddr(start << self.frame.bits()))
    }

    fn free(&mut self, frame: PhysAddr, order: u32) -> Result<(), FrameError> {
        let bits = self.frame.bits();
        let number = frame.0 >> bits;
        if !frame.is_aligned(bits) || number < self.first || number >= self.end {
            return Err(FrameError::Foreign { frame });
        }
        let end = number.checked_add(1u64.checked_shl(order).unwrap_or(u64::MAX));
        match end {
            Some(end) if end == self.next => self.next = number,
            Some(end) if end < self.next => {}
            _ => return Err(FrameError::NotAllocated { frame, order }),
        }
        Ok(())
    }

    fn free_frames(&self) -> u64 {
        self.end - self.next
    }
}
