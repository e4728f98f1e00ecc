//! Who owns which physical frame.
//!
//! A [`FrameAllocator`] hands out runs of frames: `2^order` contiguous frames of [`FrameAllocator::frame_size`] bytes,
//! naturally aligned. It knows nothing of what the frames are for; page tables and pages come from the same pool.
//!
//! | allocator | for |
//! | --- | --- |
//! | [`BumpAllocator`] | tables made once and kept: no bookkeeping at all |
//! | [`BitmapAllocator`] | single frames from a fixed pool, two bits a frame |
//! | [`BuddyAllocator`] | contiguous runs that grow together again when they are freed, four bits a frame |
//!
//! The last two are a [`Pool`] each: one or more ranges, less what is reserved, with two ways of finding a free run.
//! [`JunkFill`] around any of them makes the use of a freed frame show.

mod bitmap;
mod bits;
mod buddy;
mod bump;
mod junk;
mod pool;

#[cfg(test)]
mod tests;

pub use bitmap::Bitmap;
pub use buddy::Buddy;
pub use bump::BumpAllocator;
pub use junk::JunkFill;
pub use pool::{BitmapAllocator, BuddyAllocator, Pool, PoolError, Zone};

use crate::addr::{PageSize, PhysAddr};

/// Why frames could not be handed out or taken back. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// No free run of the wanted length is left.
    #[error("out of physical frames: no run of 2^{order} frames is free")]
    OutOfFrames {
        /// log2 of the number of frames asked for.
        order: u32,
    },
    /// The frame given back is not one that is out.
    #[error("frame {frame:#x} (order {order}) is not allocated: freed twice, or with another order")]
    NotAllocated {
        /// First byte of the run.
        frame: PhysAddr,
        /// The order it was given back with.
        order: u32,
    },
    /// The frame given back lies outside this allocator's ranges, is reserved, or is misaligned.
    #[error("frame {frame:#x} does not belong to this allocator")]
    Foreign {
        /// First byte of the run.
        frame: PhysAddr,
    },
}

/// Hands out physical frames and takes them back.
pub trait FrameAllocator {
    /// The size of one frame.
    fn frame_size(&self) -> PageSize;

    /// Takes a run of `2^order` frames, aligned to its own size. Its content is unspecified.
    ///
    /// # Errors
    /// [`FrameError::OutOfFrames`].
    fn allocate(&mut self, order: u32) -> Result<PhysAddr, FrameError>;

    /// Gives a run back that [`allocate`](Self::allocate) handed out with the same `order`.
    ///
    /// # Errors
    /// [`FrameError::NotAllocated`] or [`FrameError::Foreign`]; nothing was freed.
    fn free(&mut self, frame: PhysAddr, order: u32) -> Result<(), FrameError>;

    /// How many single frames are free now.
    fn free_frames(&self) -> u64;
}

impl<A: FrameAllocator + ?Sized> FrameAllocator for &mut A {
    fn frame_size(&self) -> PageSize {
        (**self).frame_size()
    }
    fn allocate(&mut self, order: u32) -> Result<PhysAddr, FrameError> {
        (**self).allocate(order)
    }
    fn free(&mut self, frame: PhysAddr, order: u32) -> Result<(), FrameError> {
        (**self).free(frame, order)
    }
    fn free_frames(&self) -> u64 {
        (**self).free_frames()
    }
}
