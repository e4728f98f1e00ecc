//! Changing address spaces: making, mapping, protecting, forking, ending.

use super::fault::RIGHTS;
use super::page::PageId;
use super::region::{Backing, Region};
use super::space::AddressSpace;
use super::{Harts, Policy, SpaceId, TableFrames, VirtualMemory, VmError};
use crate::addr::{PhysAddr, VirtAddr};
use crate::frame::{FrameAllocator, FrameError};
use crate::memory::PhysMemory;
use crate::radix::{Encode, Perms};
use crate::store::BackingStore;
use crate::table::{EditError, Flush, PageTable, RadixTable};
use crate::tlb::{Scope, Space, Span};
use alloc::vec::Vec;

/// Rights without which a page cannot be reached at all.
const ANY: Perms = Perms::READ.union(Perms::WRITE).union(Perms::EXECUTE);

impl<F: Encode, M: PhysMemory, A: FrameAllocator, S: BackingStore, P: Policy> VirtualMemory<F, M, A, S, P> {
    /// A new, empty, suspended space, whose translations TLBs tag with `tag`. No other space that exists may have the
    /// same tag.
    pub fn create(&mut self, tag: Space) -> SpaceId {
        self.new_space(AddressSpace::new(tag))
    }

    pub(super) fn new_space(&mut self, space: AddressSpace<F>) -> SpaceId {
        let id = SpaceId(self.next_space);
        self.next_space += 1;
        self.spaces.insert(id, space);
        id
    }

    /// Gives `space` a page table, if it has none, and keeps it there: a hart may walk it from the root returned until
    /// the space is [suspended](Self::suspend).
    ///
    /// # Errors
    /// [`VmError::NoSpace`]; [`VmError::OutOfMemory`] and the like when there is no frame for the root.
    pub fn activate(
        &mut self,
        space: SpaceId,
        harts: &mut (impl Harts + ?Sized),
    ) -> Result<PhysAddr, VmError> {
        loop {
            if let Some(table) = &self.space(space)?.table {
                let root = table.root();
                self.space_mut(space)?.active = true;
                return Ok(root);
            }
            let mut frames = TableFrames { frames: &mut self.frames, count: &mut self.frames_tables };
            match RadixTable::new(self.format, &self.memory, &mut frames) {
                Ok(table) => self.space_mut(space)?.table = Some(table),
                Err(EditError::Frames(FrameError::OutOfFrames { .. })) => self.reclaim(None, harts)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Says that no hart runs `space` any more: its tables may be taken when frames run out.
    ///
    /// # Errors
    /// [`VmError::NoSpace`].
    pub fn suspend(&mut self, space: SpaceId) -> Result<(), VmError> {
        let target = self.space_mut(space)?;
        target.active = false;
        target.recent.clear();
        Ok(())
    }

    /// The page table of `space`, if it has one now.
    ///
    /// # Errors
    /// [`VmError::NoSpace`].
    pub fn table(&self, space: SpaceId) -> Result<Option<&RadixTable<F>>, VmError> {
        Ok(self.space(space)?.table.as_ref())
    }

    /// The regions of `space`, by ascending address.
    ///
    /// # Errors
    /// [`VmError::NoSpace`].
    pub fn regions(&self, space: SpaceId) -> Result<impl Iterator<Item = &Region>, VmError> {
        Ok(self.space(space)?.regions.iter())
    }

    /// Promises a region to `space`. Nothing is allocated until it is touched.
    ///
    /// # Errors
    /// [`VmError::Range`], also of what a region shows of a shared memory; [`VmError::Overlap`]; [`VmError::Table`] for
    /// rights that the format cannot hold and for a misaligned device.
    pub fn map(&mut self, space: SpaceId, region: Region) -> Result<(), VmError> {
        let (first, last) = self.range(region.va, region.len)?;
        self.check_rights(region.perms)?;
        self.check_backing(&region, last)?;
        let regions = &mut self.space_mut(space)?.regions;
        if let Some(taken) = regions.conflict(first, last) {
            return Err(VmError::Overlap { va: region.va, first: taken.va, last: taken.last() });
        }
        regions.insert(region.clone());
        self.show(&region);
        Ok(())
    }

    /// First and last byte of a run of whole pages that the table can translate.
    fn range(&self, va: VirtAddr, len: u64) -> Result<(u64, u64), VmError> {
        let bits = self.page.bits();
        let range = VmError::Range { va, len, page: self.page };
        if len == 0 || !va.is_aligned(bits) || !VirtAddr(len).is_aligned(bits) {
            return Err(range);
        }
        let Some(last) = va.checked_add(len - 1) else { return Err(range) };
        // Both ends may be addresses and the middle not: then it is longer than all that the table translates.
        let top = self.format.top_level();
        let span = self.format.shift(top) + self.format.index_bits(top);
        let fits = span >= 64 || len <= 1 << span;
        if !fits || !self.format.translates(va.0) || !self.format.translates(last.0) {
            return Err(range);
        }
        Ok((va.0, last.0))
    }

    /// Refuses rights that could not be given to a page later, when it is touched.
    fn check_rights(&self, perms: Perms) -> Result<(), VmError> {
        let level = (0..=self.format.top_level()).find(|&level| self.format.shift(level) == self.page.bits());
        let perms = perms & RIGHTS;
        if perms.intersects(ANY) {
            for perms in [perms, perms - Perms::WRITE] {
                let marks = self.format.marks();
                let entry = self.format.encode_leaf(PhysAddr(0), level.unwrap_or(0), perms | marks);
                entry.map_err(EditError::from)?;
            }
        }
        Ok(())
    }

    /// Refuses a device or a shared memory whose pages are none, or that would end before `last`.
    fn check_backing(&self, region: &Region, last: u64) -> Result<(), VmError> {
        let fits = |from: u64, at: VirtAddr| {
            let aligned = VirtAddr(from | at.0).is_aligned(self.page.bits());
            aligned && at <= region.va && from.checked_add(last.wrapping_sub(at.0)).is_some()
        };
        match region.backing {
            Backing::Device { pa, at } if !fits(pa.0, at) => {
                Err(EditError::MisalignedPhysical { pa, size: self.page }.into())
            }
            Backing::Shared { offset, at, .. } if !fits(offset, at) => {
                Err(VmError::Range { va: VirtAddr(offset), len: region.len, page: self.page })
            }
            _ => Ok(()),
        }
    }

    /// Ends the promises of `va..va + len`: pages there are dropped, and regions that stick out keep the rest.
    /// Addresses without a region are passed over.
    ///
    /// # Errors
    /// [`VmError::Range`], [`VmError::NoSpace`]; [`VmError::Table`] for a damaged table: then nothing was dropped.
    pub fn unmap(
        &mut self,
        space: SpaceId,
        va: VirtAddr,
        len: u64,
        harts: &mut (impl Harts + ?Sized),
    ) -> Result<(), VmError> {
        let (first, last) = self.range(va, len)?;
        self.space(space)?;
        self.remove_entries(space, first, last, harts)?;
        self.space_mut(space)?.regions.carve(first, last);
        self.drop_pages(space, first, last)?;
        self.forget_objects().map(|_| ())
    }

    /// Gives the pages of `va..va + len` other rights. They hold at once; entries come back when they are touched.
    ///
    /// # Errors
    /// [`VmError::Unmapped`] when part of the range has no region; otherwise as for [`map`](Self::map) and
    /// [`unmap`](Self::unmap). Nothing has changed then.
    pub fn protect(
        &mut self,
        space: SpaceId,
        va: VirtAddr,
        len: u64,
        perms: Perms,
        harts: &mut (impl Harts + ?Sized),
    ) -> Result<(), VmError> {
        let (first, last) = self.range(va, len)?;
        self.check_rights(perms)?;
        let regions = &self.space(space)?.regions;
        let mut at = first;
        loop {
            let va = VirtAddr(at);
            let region = regions.find(va).ok_or(VmError::Unmapped { va })?;
            match region.last().0.checked_add(1) {
                Some(next) if next <= last => at = next,
                _ => break,
            }
        }
        self.remove_entries(space, first, last, harts)?;
        let regions = &mut self.space_mut(space)?.regions;
        for part in regions.carve(first, last) {
            regions.insert(Region { perms, ..part });
        }
        Ok(())
    }

    /// Makes the region that begins at `va` end after `len` bytes: grows it into free addresses, or drops its end.
    /// What is new begins as zeros (or goes on through the source or device).
    ///
    /// # Errors
    /// [`VmError::Unmapped`] when no region begins there; [`VmError::Range`]; [`VmError::Overlap`].
    pub fn resize(
        &mut self,
        space: SpaceId,
        va: VirtAddr,
        len: u64,
        harts: &mut (impl Harts + ?Sized),
    ) -> Result<(), VmError> {
        let (_, last) = self.range(va, len)?;
        let region = self.space(space)?.regions.find(va).filter(|region| region.va == va);
        let old = region.cloned().ok_or(VmError::Unmapped { va })?;
        if len < old.len {
            return self.unmap(space, VirtAddr(last + 1), old.len - len, harts);
        }
        self.check_backing(&old, last)?;
        let regions = &mut self.space_mut(space)?.regions;
        let beyond = old.last().0.checked_add(1).filter(|&first| first <= last);
        if let Some(taken) = beyond.and_then(|first| regions.conflict(first, last)) {
            return Err(VmError::Overlap { va, first: taken.va, last: taken.last() });
        }
        regions.insert(Region { len, ..old });
        Ok(())
    }

    /// A copy of `space`, suspended, tagged `tag`: the same regions, and every page the same until one side writes to
    /// it, or for good where it is [shared memory](super::SharedMemory). Takes no frame.
    ///
    /// # Errors
    /// [`VmError::NoSpace`]; [`VmError::Table`] for a damaged table.
    pub fn fork(
        &mut self,
        space: SpaceId,
        tag: Space,
        harts: &mut (impl Harts + ?Sized),
    ) -> Result<SpaceId, VmError> {
        let parent = self.space(space)?;
        let (regions, shared) = (parent.regions.clone(), parent.pages.clone());
        // From here on a write to any of them must fault. The dirty mark moves into the books: an entry that is dirty
        // but not writable means something else on some machines.
        let private = |id: PageId| self.pages.get(id).is_some_and(|page| !page.shared);
        let copied: Vec<_> =
            shared.iter().map(|(&number, &id)| (number, id)).filter(|&(_, id)| private(id)).collect();
        self.edit_entries(space, copied, harts, |table, memory, va| {
            table.update(memory, va, |old| old - Perms::WRITE - Perms::DIRTY)
        })?;
        let child = self.create(tag);
        for (&number, &id) in &shared {
            self.pages.change(id, |page| page.owners.push((child, number)));
        }
        let space = self.space_mut(child)?;
        space.regions = regions;
        space.pages = shared;
        Ok(child)
    }

    /// Ends `space`: its pages, slots and tables are free again.
    ///
    /// # Errors
    /// [`VmError::NoSpace`]; [`VmError::Table`] for a damaged table; then it still exists.
    pub fn destroy(&mut self, space: SpaceId, harts: &mut (impl Harts + ?Sized)) -> Result<(), VmError> {
        self.drop_table(space, harts)?;
        self.drop_pages(space, 0, u64::MAX)?;
        self.spaces.remove(&space);
        self.forget_objects().map(|_| ())
    }

    /// Gives the frames of a space's table back. Its pages stay where they are.
    pub(super) fn drop_table(
        &mut self,
        space: SpaceId,
        harts: &mut (impl Harts + ?Sized),
    ) -> Result<(), VmError> {
        self.remove_entries(space, 0, u64::MAX, harts)?;
        let target = self.spaces.get_mut(&space).ok_or(VmError::NoSpace { space })?;
        let Some(table) = target.table.take() else { return Ok(()) };
        let mask = Space::ASID | Space::VMID | Space::REGIME;
        harts.invalidate(&Scope {
            space: target.tag,
            mask,
            globals: false,
            span: Span::All,
            leaves_only: false,
        });
        // Every other table was freed with its last entry.
        let order = self.format.table_bits(self.format.top_level()).saturating_sub(self.page.bits());
        let mut frames = TableFrames { frames: &mut self.frames, count: &mut self.frames_tables };
        frames.free(table.root(), order)?;
        Ok(())
    }

    /// Removes every entry for `first..=last` from the space's table, and keeps the dirty marks.
    fn remove_entries(
        &mut self,
        space: SpaceId,
        first: u64,
        last: u64,
        harts: &mut (impl Harts + ?Sized),
    ) -> Result<(), VmError> {
        let bits = self.page.bits();
        let numbers = first >> bits..=last >> bits;
        let target = self.space_mut(space)?;
        let pages: Vec<_> = target.pages.range(numbers.clone()).map(|(&number, &id)| (number, id)).collect();
        let devices: Vec<_> = target.devices.range(numbers).copied().collect();
        self.edit_entries(space, pages, harts, |table, memory, va| table.unmap(memory, va))?;
        // Devices have no page; no page has this name.
        let named = devices.iter().map(|&number| (number, PageId(u32::MAX)));
        self.edit_entries(space, named, harts, |table, memory, va| table.unmap(memory, va))?;
        let target = self.space_mut(space)?;
        for number in devices {
            target.devices.remove(&number);
        }
        Ok(())
    }

    /// Edits the entries of `pages` that are in the space's table, keeps their dirty marks, and flushes once.
    fn edit_entries(
        &mut self,
        space: SpaceId,
        pages: impl IntoIterator<Item = (u64, PageId)>,
        harts: &mut (impl Harts + ?Sized),
        mut edit: impl FnMut(
            &mut RadixTable<F>,
            &M,
            VirtAddr,
        ) -> Result<(crate::table::Mapping, Flush), EditError>,
    ) -> Result<(), VmError> {
        let target = self.spaces.get_mut(&space).ok_or(VmError::NoSpace { space })?;
        let Some(table) = &mut target.table else { return Ok(()) };
        let mut owed = Flush::nothing();
        let mut outcome = Ok(());
        for (number, id) in pages {
            match edit(table, &self.memory, VirtAddr(number << self.page.bits())) {
                Ok((old, flush)) => {
                    self.pages.change(id, |page| page.dirty |= old.perms.contains(Perms::DIRTY));
                    owed = owed.and(flush);
                }
                Err(EditError::NotMapped { .. }) => {}
                Err(error) => {
                    outcome = Err(error.into());
                    break;
                }
            }
        }
        let mut frames = TableFrames { frames: &mut self.frames, count: &mut self.frames_tables };
        owed.apply(target.tag, &mut frames, |scope| harts.invalidate(scope))?;
        outcome
    }

    /// Drops the pages of `first..=last`, which are in no table of this space; those that no other space has are
    /// freed.
    pub(super) fn drop_pages(&mut self, space: SpaceId, first: u64, last: u64) -> Result<(), VmError> {
        let bits = self.page.bits();
        let target = self.space_mut(space)?;
        let pages: Vec<_> =
            target.pages.range(first >> bits..=last >> bits).map(|(&number, &id)| (number, id)).collect();
        for (number, id) in pages {
            self.space_mut(space)?.pages.remove(&number);
            let alone = self.pages.change(id, |page| {
                page.owners.retain(|&owner| owner != (space, number));
                page.owners.is_empty()
            });
            if alone != Some(true) {
                continue;
            }
            self.policy.remove(id);
            let Some(page) = self.pages.remove(id) else { continue };
            if let Some(slot) = page.slot {
                self.free_slot(slot);
            }
            if let Some(frame) = page.frame {
                self.frames.free(frame, 0)?;
            }
        }
        Ok(())
    }
}
