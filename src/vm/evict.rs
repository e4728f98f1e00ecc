//! Putting pages out: what happens when frames run out.
//!
//! A page goes out in this order: a slot is found if it will need one; every entry for it is removed and every hart
//! told; it is written if it is dirty; its frame is freed. Where a step fails, the page is still in its frame with its
//! content, and comes back into the tables when it is next touched.

use super::page::{PageId, Pages};
use super::space::AddressSpace;
use super::{Harts, Policy, SpaceId, TableFrames, VirtualMemory, VmError};
use crate::addr::VirtAddr;
use crate::frame::FrameAllocator;
use crate::memory::PhysMemory;
use crate::radix::{Encode, Perms};
use crate::store::{BackingStore, Slot, StoreError};
use crate::table::{EditError, PageTable};
use alloc::collections::BTreeMap;
use core::mem;

impl<F: Encode, M: PhysMemory, A: FrameAllocator, S: BackingStore, P: Policy> VirtualMemory<F, M, A, S, P> {
    /// Frees at least one frame: of a page other than `busy`, or else of a suspended space's tables.
    pub(super) fn reclaim(
        &mut self,
        busy: Option<PageId>,
        harts: &mut (impl Harts + ?Sized),
    ) -> Result<(), VmError> {
        if self.forget_objects()? {
            return Ok(());
        }
        let mut failed = None;
        // A page that cannot go now does not keep another from going.
        for _ in 0..=self.pages.resident() {
            let Some(victim) = self.victim(busy, harts) else { break };
            match self.evict(victim, harts) {
                Ok(()) => return Ok(()),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if self.reclaim_tables(harts)? {
            return Ok(());
        }
        let store_full = matches!(failed, Some(VmError::Store(StoreError::Full { .. })));
        Err(match failed {
            Some(error) if !store_full => error,
            _ => VmError::OutOfMemory {
                frames: self.frames_total,
                pages: self.pages.resident(),
                tables: self.frames_tables,
                store_full,
            },
        })
    }

    /// Asks the policy for a page that may go.
    fn victim(&mut self, busy: Option<PageId>, harts: &mut (impl Harts + ?Sized)) -> Option<PageId> {
        for _ in 0..=self.pages.resident() {
            // The policy asks back about everything but itself.
            let Self { policy, pages, spaces, memory, frames, frames_tables, page, .. } = self;
            let stays = |id, pages: &Pages, spaces: &BTreeMap<SpaceId, AddressSpace<F>>| {
                let recent = |&(space, number): &(SpaceId, u64)| {
                    spaces.get(&space).is_some_and(|space| space.recent.contains(&number))
                };
                busy == Some(id) || pages.get(id).is_some_and(|page| page.owners.iter().any(recent))
            };
            let victim = policy.victim(&mut |id| {
                if stays(id, pages, spaces) {
                    return true;
                }
                let mut seen = Perms::empty();
                for (space, number) in pages.get(id).map(|page| page.owners.clone()).unwrap_or_default() {
                    let mut frames = TableFrames { frames, count: frames_tables };
                    if let Some(space) = spaces.get_mut(&space) {
                        let va = VirtAddr(number << page.bits());
                        seen |= space.forget_use(va, memory, &mut frames, harts);
                    }
                }
                pages.change(id, |page| page.dirty |= seen.contains(Perms::DIRTY));
                seen.contains(Perms::ACCESSED)
            })?;
            // A policy need not ask, nor remember well.
            let in_frame = pages.get(victim).is_some_and(|page| page.frame.is_some());
            if in_frame && !stays(victim, pages, spaces) {
                return Some(victim);
            }
        }
        None
    }

    /// Puts one page out and frees its frame.
    fn evict(&mut self, id: PageId, harts: &mut (impl Harts + ?Sized)) -> Result<(), VmError> {
        // For a page that is dirty already, a full store is found out before anything is touched.
        let dirty = self.is_dirty(id);
        let spare = if dirty { self.ensure_slot(id)? } else { None };
        let unmapped = self.unmap_everywhere(id, harts);
        let page = self.pages.get(id).and_then(|page| Some((page.frame?, page.dirty)));
        let (frame, dirty) = page.ok_or(VmError::Inconsistent { page: id })?;
        let written = unmapped.and_then(|()| if dirty { self.write_out(id) } else { Ok(()) });
        if let Err(error) = written {
            if let Some(slot) = spare {
                self.pages.change(id, |page| page.slot = None);
                self.free_slot(slot);
            }
            return Err(error);
        }
        self.policy.remove(id);
        match dirty {
            true => self.stats.dirty_evictions += 1,
            false => self.stats.clean_evictions += 1,
        }
        let kept = self.pages.change(id, |page| {
            page.frame = None;
            page.slot.is_some()
        });
        if kept == Some(false) {
            // Nothing that the region could not make again.
            for (space, number) in self.pages.remove(id).map(|page| page.owners).unwrap_or_default() {
                if let Some(space) = self.spaces.get_mut(&space) {
                    space.pages.remove(&number);
                }
            }
        }
        self.frames.free(frame, 0)?;
        Ok(())
    }

    /// Whether the page's content is only in its frame, as far as its entries say now.
    fn is_dirty(&self, id: PageId) -> bool {
        let Some(page) = self.pages.get(id) else { return false };
        page.dirty
            || page.owners.iter().any(|&(space, number)| {
                let table = self.spaces.get(&space).and_then(|space| space.table.as_ref());
                let va = VirtAddr(number << self.page.bits());
                let mapping = table.and_then(|table| table.translate(&self.memory, va).ok().flatten());
                mapping.is_some_and(|mapping| mapping.perms.contains(Perms::DIRTY))
            })
    }

    /// Writes the page, which is in no table, to its slot.
    fn write_out(&mut self, id: PageId) -> Result<(), VmError> {
        let fresh = self.ensure_slot(id)?;
        let page = self.pages.get(id).and_then(|page| Some((page.frame?, page.slot?)));
        let (frame, slot) = page.ok_or(VmError::Inconsistent { page: id })?;
        let mut buffer = mem::take(&mut self.buffer);
        let read = self.memory.read_bytes(frame, &mut buffer);
        let written = match read {
            Ok(()) => self.store.write(slot, &buffer).map_err(VmError::from),
            Err(error) => Err(error.into()),
        };
        self.buffer = buffer;
        if written.is_err() {
            if let Some(slot) = fresh {
                self.pages.change(id, |page| page.slot = None);
                self.free_slot(slot);
            }
            return written;
        }
        self.pages.change(id, |page| page.dirty = false);
        self.stats.pages_written += 1;
        self.stats.bytes_written += self.page.bytes();
        Ok(())
    }

    /// Sees that the page has a slot; says which, if it had none.
    fn ensure_slot(&mut self, id: PageId) -> Result<Option<Slot>, VmError> {
        if self.pages.get(id).is_none_or(|page| page.slot.is_some()) {
            return Ok(None);
        }
        let slot = match self.store.allocate() {
            Err(StoreError::Full { capacity }) => {
                if !self.give_up_slot() {
                    return Err(StoreError::Full { capacity }.into());
                }
                self.store.allocate()
            }
            taken => taken,
        }?;
        self.pages.change(id, |page| page.slot = Some(slot));
        Ok(Some(slot))
    }

    /// Frees a slot whose page is in a frame as well, so that RAM and store together hold as many pages as they can.
    fn give_up_slot(&mut self) -> bool {
        let used = self.store.used();
        self.retry_unfreed();
        if self.store.used() < used {
            return true;
        }
        let with_both = self.pages.iter().filter(|(_, page)| page.frame.is_some() && page.slot.is_some());
        // A dirty page's slot is out of date: nothing is lost with it.
        let Some((id, slot)) =
            with_both.min_by_key(|(_, page)| !page.dirty).map(|(id, page)| (id, page.slot))
        else {
            return false;
        };
        self.pages.change(id, |page| {
            page.slot = None;
            page.dirty = true;
        });
        if let Some(slot) = slot {
            self.free_slot(slot);
        }
        self.store.used() < used
    }

    /// Gives a slot back; one that the store does not take is tried again later.
    pub(super) fn free_slot(&mut self, slot: Slot) {
        self.unfreed.push(slot);
        self.retry_unfreed();
    }

    fn retry_unfreed(&mut self) {
        let store = &mut self.store;
        self.unfreed.retain(|&slot| store.free(slot).is_err());
    }

    /// Removes every entry for the page.
    fn unmap_everywhere(&mut self, id: PageId, harts: &mut (impl Harts + ?Sized)) -> Result<(), VmError> {
        let owners = self.pages.get(id).map(|page| page.owners.clone()).unwrap_or_default();
        for (space, number) in owners {
            self.unmap_at(space, number, id, harts)?;
        }
        Ok(())
    }

    /// Removes the entry for the page in one space, if there is one, and keeps its dirty mark.
    pub(super) fn unmap_at(
        &mut self,
        space: SpaceId,
        number: u64,
        id: PageId,
        harts: &mut (impl Harts + ?Sized),
    ) -> Result<(), VmError> {
        let va = VirtAddr(number << self.page.bits());
        let Some(space) = self.spaces.get_mut(&space) else { return Ok(()) };
        let Some(table) = &mut space.table else { return Ok(()) };
        match table.unmap(&self.memory, va) {
            Ok((old, flush)) => {
                self.pages.change(id, |page| page.dirty |= old.perms.contains(Perms::DIRTY));
                let mut frames = TableFrames { frames: &mut self.frames, count: &mut self.frames_tables };
                flush.apply(space.tag, &mut frames, |scope| harts.invalidate(scope))?;
                Ok(())
            }
            Err(EditError::NotMapped { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the tables of the first suspended space that has any. Its pages stay where they are.
    fn reclaim_tables(&mut self, harts: &mut (impl Harts + ?Sized)) -> Result<bool, VmError> {
        let idle = self.spaces.iter().find(|(_, space)| !space.active && space.table.is_some());
        let Some((&space, _)) = idle else { return Ok(false) };
        let before = self.frames_tables;
        self.drop_table(space, harts)?;
        self.stats.tables_reclaimed += before - self.frames_tables;
        Ok(self.frames_tables < before)
    }
}
