//! Bringing pages in: what happens when an access faults.

use super::page::{Page, PageId};
use super::region::{Backing, Region};
use super::{Harts, Policy, SpaceId, TableFrames, VirtualMemory, VmError};
use crate::access::AccessKind;
use crate::addr::{PhysAddr, VirtAddr};
use crate::frame::{FrameAllocator, FrameError};
use crate::memory::PhysMemory;
use crate::radix::{Encode, Perms};
use crate::store::BackingStore;
use crate::table::{EditError, Flush, PageTable};
use alloc::vec;
use core::mem;

/// How a fault was resolved. The access is to be tried again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Resolved {
    /// The table allowed the access already: another hart was faster, or a TLB was stale. It has been flushed.
    Present,
    /// The page was in a frame; its entry was made, or given the rights and marks that it lacked.
    Mapped,
    /// A page of zeros was made.
    ZeroFilled,
    /// The page was filled from its region's source.
    SourceFilled,
    /// The page was read back from the store.
    SwappedIn,
    /// The page was shared; this space has a copy of its own now.
    Copied,
    /// A device page was mapped.
    Device,
}

/// What an entry takes from its region.
pub(super) const RIGHTS: Perms = Perms::READ
    .union(Perms::WRITE)
    .union(Perms::EXECUTE)
    .union(Perms::USER)
    .union(Perms::GLOBAL)
    .union(Perms::DEVICE);

/// Where an entry's history is.
const MARKS: Perms = Perms::ACCESSED.union(Perms::DIRTY);

/// Of one fault: which page, and how it may be used.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) space: SpaceId,
    /// First address of the page.
    pub(super) va: VirtAddr,
    /// The page's number.
    pub(super) number: u64,
}

impl<F: Encode, M: PhysMemory, A: FrameAllocator, S: BackingStore, P: Policy> VirtualMemory<F, M, A, S, P> {
    /// Resolves the fault of an access of `kind` at `va` in the active `space`, so that the access can be tried
    /// again. An access that crosses pages may fault once for each.
    ///
    /// Pages of other places may be put out for it; `harts` hears of every change before anything depends on it.
    ///
    /// # Errors
    /// The program's own fault: [`VmError::Unmapped`], [`VmError::Guard`], [`VmError::Protection`]. Otherwise
    /// [`VmError::OutOfMemory`], [`VmError::Store`], [`VmError::Source`] and the like: the access cannot be made now,
    /// and nothing is lost by it.
    pub fn handle_fault(
        &mut self,
        space: SpaceId,
        va: VirtAddr,
        kind: AccessKind,
        harts: &mut (impl Harts + ?Sized),
    ) -> Result<Resolved, VmError> {
        let region = match self.region_for(space, va, kind) {
            Ok(region) => region,
            Err(error) => {
                match error {
                    VmError::Unmapped { .. } | VmError::Guard { .. } => {
                        self.count(space, |stats| stats.invalid_faults += 1);
                    }
                    VmError::Protection { .. } => self.count(space, |stats| stats.protection_faults += 1),
                    _ => {}
                }
                return Err(error);
            }
        };
        if !self.space(space)?.active {
            return Err(VmError::Suspended { space });
        }
        let place = self.place(space, va);
        if let Backing::Device { pa, at } = region.backing {
            let pa = PhysAddr(pa.0.wrapping_add(place.va.0.wrapping_sub(at.0)));
            let marks = self.format.marks() & MARKS;
            self.enter(place, pa, region.perms & RIGHTS | marks, None, harts)?;
            self.space_mut(space)?.devices.insert(place.number);
            self.count(space, |stats| stats.minor_faults += 1);
            return Ok(Resolved::Device);
        }
        let reads = self.stats.pages_read;
        let (id, how) = self.bring(place, &region, kind.writes(), harts)?;
        let changed = self.map_page(place, id, &region, kind.writes(), harts)?;
        let protected = self.protected;
        self.space_mut(space)?.touch(place.number, protected);
        // Making room may have read nothing, so a read was this page's.
        let major = self.stats.pages_read != reads;
        self.count(space, |stats| match major {
            true => stats.major_faults += 1,
            false => stats.minor_faults += 1,
        });
        Ok(if how == Resolved::Mapped && !changed { Resolved::Present } else { how })
    }

    fn place(&self, space: SpaceId, va: VirtAddr) -> Place {
        let bits = self.page.bits();
        Place { space, va: va.align_down(bits), number: va.0 >> bits }
    }

    /// The region that allows the access.
    fn region_for(&self, space: SpaceId, va: VirtAddr, kind: AccessKind) -> Result<Region, VmError> {
        let region = self.space(space)?.regions.find(va).ok_or(VmError::Unmapped { va })?;
        if matches!(region.backing, Backing::Guard) {
            return Err(VmError::Guard { va });
        }
        let needed = match kind {
            AccessKind::Read => Perms::READ,
            AccessKind::Write => Perms::WRITE,
            AccessKind::ReadWrite => Perms::READ | Perms::WRITE,
            AccessKind::Execute => Perms::EXECUTE,
        };
        if !region.perms.contains(needed) {
            return Err(VmError::Protection { va, kind, perms: region.perms });
        }
        Ok(region.clone())
    }

    /// The frame of the page at `va`, brought in, for the kernel's own access; not entered into any table. Marked
    /// dirty and unshared for a write.
    pub(super) fn frame_for(
        &mut self,
        space: SpaceId,
        va: VirtAddr,
        kind: AccessKind,
        harts: &mut (impl Harts + ?Sized),
    ) -> Result<PhysAddr, VmError> {
        let region = self.region_for(space, va, kind)?;
        let place = self.place(space, va);
        if let Backing::Device { pa, at } = region.backing {
            return Ok(PhysAddr(pa.0.wrapping_add(place.va.0.wrapping_sub(at.0))));
        }
        let (id, _) = self.bring(place, &region, kind.writes(), harts)?;
        let frame = self.pages.change(id, |page| {
            page.dirty |= kind.writes();
            page.frame
        });
        frame.flatten().ok_or(VmError::Inconsistent { page: id })
    }

    fn page_at(&self, place: Place) -> Option<(PageId, &Page)> {
        let id = *self.spaces.get(&place.space)?.pages.get(&place.number)?;
        Some((id, self.pages.get(id)?))
    }

    /// Sees that the page is in a frame, and that no other space shares it if it is to be written.
    fn bring(
        &mut self,
        place: Place,
        region: &Region,
        write: bool,
        harts: &mut (impl Harts + ?Sized),
    ) -> Result<(PageId, Resolved), VmError> {
        if self.page_at(place).is_none() {
            self.join(place, region);
        }
        if let Some((id, page)) = self.page_at(place) {
            if page.frame.is_some() && !(write && page.copied_on_write()) {
                return Ok((id, Resolved::Mapped));
            }
        }
        let frame = self.take_frame(harts)?;
        self.fill(frame, place, region, write, harts).or_else(|error| {
            self.frames.free(frame, 0)?;
            Err(error)
        })
    }

    /// A free frame, made free if need be.
    fn take_frame(&mut self, harts: &mut (impl Harts + ?Sized)) -> Result<PhysAddr, VmError> {
        loop {
            match self.frames.allocate(0) {
                Err(FrameError::OutOfFrames { .. }) => self.reclaim(None, harts)?,
                taken => return Ok(taken?),
            }
        }
    }

    /// Gives `frame` the page's content, and the page the frame. When it fails, the frame is still nobody's.
    fn fill(
        &mut self,
        frame: PhysAddr,
        place: Place,
        region: &Region,
        write: bool,
        harts: &mut (impl Harts + ?Sized),
    ) -> Result<(PageId, Resolved), VmError> {
        // Looked up only now: making room for the frame may have put the page out, or dropped it.
        let found = self.page_at(place).map(|(id, page)| (id, page.copied_on_write()));
        let mut buffer = mem::take(&mut self.buffer);
        let content = match found {
            Some((id, _)) => self.content(place.space, id, &mut buffer),
            None => region.fill(place.va, &mut buffer),
        };
        let stored = content.and_then(|()| Ok(self.memory.write_bytes(frame, &buffer)?));
        self.buffer = buffer;
        stored?;
        match found {
            Some((id, true)) if write => {
                self.unmap_at(place.space, place.number, id, harts)?;
                let owners = vec![(place.space, place.number)];
                let copy = Page { frame: Some(frame), dirty: true, owners, ..Page::default() };
                let new = self.pages.add(copy).ok_or(VmError::HostMemory)?;
                let owner = (place.space, place.number);
                self.pages.change(id, |page| page.owners.retain(|&other| other != owner));
                self.adopt(place, new);
                self.count(place.space, |stats| stats.cow_breaks += 1);
                Ok((new, Resolved::Copied))
            }
            Some((id, _)) => {
                self.pages.change(id, |page| page.frame = Some(frame));
                self.policy.insert(id);
                Ok((id, Resolved::SwappedIn))
            }
            None => {
                let owners = vec![(place.space, place.number)];
                let page = Page { frame: Some(frame), owners, ..Page::default() };
                let id = self.pages.add(page).ok_or(VmError::HostMemory)?;
                self.adopt(place, id);
                self.share(place, region, id);
                if matches!(region.backing, Backing::Source { .. }) {
                    self.count(place.space, |stats| stats.source_fills += 1);
                    Ok((id, Resolved::SourceFilled))
                } else {
                    self.count(place.space, |stats| stats.zero_fills += 1);
                    Ok((id, Resolved::ZeroFilled))
                }
            }
        }
    }

    /// Enters a new page, which is in a frame, into its space.
    fn adopt(&mut self, place: Place, id: PageId) {
        if let Some(space) = self.spaces.get_mut(&place.space) {
            space.pages.insert(place.number, id);
        }
        self.policy.insert(id);
    }

    /// Reads a page's content from wherever it is.
    fn content(&mut self, space: SpaceId, id: PageId, buffer: &mut [u8]) -> Result<(), VmError> {
        let (frame, slot) = self.pages.get(id).map_or((None, None), |page| (page.frame, page.slot));
        if let Some(frame) = frame {
            return Ok(self.memory.read_bytes(frame, buffer)?);
        }
        // A page that is not in a frame has a slot.
        let slot = slot.ok_or(VmError::Inconsistent { page: id })?;
        self.store.read(slot, buffer)?;
        let bytes = self.page.bytes();
        self.count(space, |stats| {
            stats.pages_read += 1;
            stats.bytes_read += bytes;
        });
        Ok(())
    }

    /// Enters the page into its space's table with the rights that it may have now. Says whether that changed
    /// anything.
    fn map_page(
        &mut self,
        place: Place,
        id: PageId,
        region: &Region,
        write: bool,
        harts: &mut (impl Harts + ?Sized),
    ) -> Result<bool, VmError> {
        let marks = self.format.marks();
        let found = self.pages.change(id, |page| {
            page.dirty |= write;
            // Not yet writable: what is shared, and what would become dirty without anyone noticing.
            let noticed = page.dirty || marks.contains(Perms::DIRTY);
            Some((page.frame?, !page.copied_on_write() && noticed))
        });
        let (frame, writable) = found.flatten().ok_or(VmError::Inconsistent { page: id })?;
        let mut perms = region.perms & RIGHTS | marks & Perms::ACCESSED;
        perms.set(Perms::WRITE, writable && perms.contains(Perms::WRITE));
        perms.set(Perms::DIRTY, write && marks.contains(Perms::DIRTY));
        self.enter(place, frame, perms, Some(id), harts)
    }

    /// Makes the table's entry at `place` lead to `frame` with at least `perms`, making room for tables if need be,
    /// but not by putting out `busy`. Says whether that changed anything.
    fn enter(
        &mut self,
        place: Place,
        frame: PhysAddr,
        perms: Perms,
        busy: Option<PageId>,
        harts: &mut (impl Harts + ?Sized),
    ) -> Result<bool, VmError> {
        loop {
            let size = self.page;
            let (space, memory) = (place.space, &self.memory);
            let target = self.spaces.get_mut(&space).ok_or(VmError::NoSpace { space })?;
            let table = target.table.as_mut().ok_or(VmError::Suspended { space })?;
            let mut frames = TableFrames { frames: &mut self.frames, count: &mut self.frames_tables };
            let found = table.translate(memory, place.va)?;
            let stale = found.is_some_and(|found| found.pa != frame);
            let edited = match found {
                // Of a frame that is not this page's any more: cannot be, and must not stay.
                Some(_) if stale => table.unmap(memory, place.va).map(|(_, flush)| (true, flush)),
                Some(_) => table
                    .update(memory, place.va, |old| perms | old & MARKS)
                    .map(|(old, flush)| (!old.perms.contains(perms), flush)),
                None => {
                    table.map(memory, &mut frames, place.va, frame, size, perms).map(|flush| (true, flush))
                }
            };
            match edited {
                Ok((changed, mut flush)) => {
                    if !changed {
                        // An access that faulted although the table allows it came from a stale TLB.
                        let global = perms.contains(Perms::GLOBAL);
                        flush = flush.and(Flush::page(place.va, size.bits(), global));
                    }
                    flush.apply(target.tag, &mut frames, |scope| harts.invalidate(scope))?;
                    if !stale {
                        return Ok(changed);
                    }
                }
                Err(EditError::Frames(FrameError::OutOfFrames { .. })) => self.reclaim(busy, harts)?,
                Err(error) => return Err(error.into()),
            }
        }
    }
}
