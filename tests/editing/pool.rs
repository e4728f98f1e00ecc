//! A frame allocator that a test can look into and make fail.

use std::collections::{BTreeMap, BTreeSet};

use softmmu::addr::{PageSize, PhysAddr};
use softmmu::frame::{FrameAllocator, FrameError};

/// Frames of one size in a range; hands out the lowest run that is free.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pool {
    size: PageSize,
    free: BTreeSet<u64>,
    /// What is out, with its order.
    pub(crate) out: BTreeMap<u64, u32>,
    /// How many allocations succeed from now on.
    pub(crate) budget: usize,
}

impl Pool {
    pub(crate) fn new(size: PageSize, bytes: u64) -> Self {
        let free = (0..bytes).step_by(size.bytes() as usize).collect();
        Self { size, free, out: BTreeMap::new(), budget: usize::MAX }
    }
}

impl FrameAllocator for Pool {
    fn frame_size(&self) -> PageSize {
        self.size
    }

    fn allocate(&mut self, order: u32) -> Result<PhysAddr, FrameError> {
        let out = FrameError::OutOfFrames { order };
        self.budget = self.budget.checked_sub(1).ok_or(out)?;
        let step = self.size.bytes();
        let run = |base: u64| (0..1u64 << order).map(move |n| base + n * step);
        let aligned = |base: &&u64| **base % (self.size.bytes() << order) == 0;
        let whole = |base: &&u64| run(**base).all(|frame| self.free.contains(&frame));
        let base = *self.free.iter().filter(aligned).find(whole).ok_or(out)?;
        let taken: Vec<u64> = run(base).collect();
        taken.iter().for_each(|frame| assert!(self.free.remove(frame)));
        self.out.insert(base, order);
        Ok(PhysAddr(base))
    }

    fn free(&mut self, frame: PhysAddr, order: u32) -> Result<(), FrameError> {
        match self.out.get(&frame.0) {
            Some(&found) if found == order => {
                self.out.remove(&frame.0);
                self.free.extend((0..1u64 << order).map(|n| frame.0 + n * self.size.bytes()));
                Ok(())
            }
            _ => Err(FrameError::NotAllocated { frame, order }),
        }
    }

    fn free_frames(&self) -> u64 {
        self.free.len() as u64
    }
}
