//! The kernel's own access to a space's memory: system calls read their arguments and store their results here.

use super::{Harts, Policy, SpaceId, VirtualMemory, VmError};
use crate::access::AccessKind;
use crate::addr::{VirtAddr, low_mask};
use crate::frame::FrameAllocator;
use crate::memory::PhysMemory;
use crate::radix::Encode;
use crate::store::BackingStore;

impl<F: Encode, M: PhysMemory, A: FrameAllocator, S: BackingStore, P: Policy> VirtualMemory<F, M, A, S, P> {
    /// Reads from `space`, active or not, as its program could: pages are brought in, no table is needed.
    ///
    /// # Errors
    /// As for [`handle_fault`](Self::handle_fault), for the first page that cannot be read; `out` is then unspecified.
    pub fn read(
        &mut self,
        space: SpaceId,
        va: VirtAddr,
        out: &mut [u8],
        harts: &mut (impl Harts + ?Sized),
    ) -> Result<(), VmError> {
        let mut at = va;
        let mut rest = out;
        while !rest.is_empty() {
            let len = self.in_page(at, rest.len());
            let (part, tail) = rest.split_at_mut(len);
            let frame = self.frame_for(space, at, AccessKind::Read, harts)?;
            let pa = frame.0.wrapping_add(at.offset_in(self.page.bits()));
            self.memory.read_bytes(pa.into(), part)?;
            rest = tail;
            at = self.after(va, at, len, rest.is_empty())?;
        }
        Ok(())
    }

    /// Writes to `space`, active or not, as its program could. Unlike a store by a hart, what was written before a
    /// page that cannot be written stays written.
    ///
    /// # Errors
    /// As for [`handle_fault`](Self::handle_fault), for the first page that cannot be written.
    pub fn write(
        &mut self,
        space: SpaceId,
        va: VirtAddr,
        data: &[u8],
        harts: &mut (impl Harts + ?Sized),
    ) -> Result<(), VmError> {
        let mut at = va;
        let mut rest = data;
        while !rest.is_empty() {
            let len = self.in_page(at, rest.len());
            let (part, tail) = rest.split_at(len);
            let frame = self.frame_for(space, at, AccessKind::Write, harts)?;
            let pa = frame.0.wrapping_add(at.offset_in(self.page.bits()));
            self.memory.write_bytes(pa.into(), part)?;
            rest = tail;
            at = self.after(va, at, len, rest.is_empty())?;
        }
        Ok(())
    }

    /// How many of `len` bytes from `at` are in its page.
    fn in_page(&self, at: VirtAddr, len: usize) -> usize {
        let left = low_mask(self.page.bits()) - at.offset_in(self.page.bits());
        (left.saturating_add(1)).min(len as u64) as usize
    }

    /// Where a run goes on; past the top of the space it does not, unless it is at its end.
    fn after(&self, va: VirtAddr, at: VirtAddr, len: usize, last: bool) -> Result<VirtAddr, VmError> {
        match at.checked_add(len as u64) {
            Some(next) => Ok(next),
            None if last => Ok(at),
            None => Err(VmError::Unmapped { va }),
        }
    }
}
