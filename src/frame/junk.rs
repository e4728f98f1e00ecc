//! Freed frames full of junk, so that stale use shows.

use super::{FrameAllocator, FrameError};
use crate::addr::{PageSize, PhysAddr};
use crate::memory::PhysMemory;

/// An allocator that fills every frame it takes back with [`JUNK`](Self::JUNK), so that whoever still uses the frame
/// finds out soon. In release builds it does nothing.
///
/// ```
/// use softmmu::access::Width;
/// use softmmu::addr::{PageSize, PhysAddr};
/// use softmmu::frame::{BitmapAllocator, FrameAllocator, JunkFill};
/// use softmmu::memory::{PhysMemory, Ram};
///
/// let ram = Ram::new(PhysAddr(0), 0x4000)?;
/// let mut frames = JunkFill::new(BitmapAllocator::new(ram.range(), PageSize::SIZE_4K)?, &ram);
/// let frame = frames.allocate(0)?;
/// frames.free(frame, 0)?;
/// # #[cfg(debug_assertions)]
/// assert_eq!(ram.read(frame, Width::W8)?, 0xa5a5_a5a5_a5a5_a5a5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct JunkFill<A, M> {
    frames: A,
    memory: M,
}

impl<A: FrameAllocator, M: PhysMemory> JunkFill<A, M> {
    /// What freed frames are filled with: neither zero, nor a plausible pointer, nor an entry that maps anything.
    pub const JUNK: u8 = 0xa5;

    /// Wraps `frames`, which are frames of `memory`.
    pub fn new(frames: A, memory: M) -> Self {
        Self { frames, memory }
    }

    /// The allocator inside.
    pub fn into_inner(self) -> A {
        self.frames
    }

    fn fill(&self, frame: PhysAddr, order: u32) {
        let junk = [Self::JUNK; 512];
        let mut left = self.frame_size().bytes() << order;
        let mut at = frame;
        while left > 0 {
            let part = left.min(junk.len() as u64);
            // A frame that is no memory has nothing to show stale use with: not this wrapper's to report.
            if self.memory.write_bytes(at, &junk[..part as usize]).is_err() {
                return;
            }
            left -= part;
            at = PhysAddr(at.0.wrapping_add(part));
        }
    }
}

impl<A: FrameAllocator, M: PhysMemory> FrameAllocator for JunkFill<A, M> {
    fn frame_size(&self) -> PageSize {
        self.frames.frame_size()
    }

    fn allocate(&mut self, order: u32) -> Result<PhysAddr, FrameError> {
        self.frames.allocate(order)
    }

    fn free(&mut self, frame: PhysAddr, order: u32) -> Result<(), FrameError> {
        // Only once the allocator has agreed: a frame freed wrongly is somebody's.
        self.frames.free(frame, order)?;
        if cfg!(debug_assertions) {
            self.fill(frame, order);
        }
        Ok(())
    }

    fn free_frames(&self) -> u64 {
        self.frames.free_frames()
    }
}
