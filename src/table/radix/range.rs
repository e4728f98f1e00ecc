//! Editing ranges: what every range edit stands on, and where it begins and ends.
//!
//! An edit goes down each table once and works on *runs* of entries, which it loads and stores as a whole. It is all
//! or nothing: tables that it makes are filled at once, but stay unlinked and are freed again if it fails ([`Fresh`]);
//! what it stores in tables that were there waits in [`Changes`] until nothing can fail any more; tables that it
//! unlinks are only collected, to travel in the token.

use alloc::vec::Vec;

use super::RadixTable;
use super::changes::Changes;
use super::fill::Fill;
use super::raw::{Fresh, entry, order};
use super::unlinked::Unlinked;
use crate::addr::{PageSize, PhysAddr, VirtAddr, low_mask};
use crate::frame::FrameAllocator;
use crate::memory::PhysMemory;
use crate::radix::{Encode, EncodeError, Leaf, Perms, PteRef};
use crate::table::flush::Batch;
use crate::table::{EditError, Flush, KEPT, RadixWalker, Stale, Walker};

/// Translated address bits `first..=last`, without the bits above that merely repeat a sign.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Span {
    /// The part of the span that the entry holding `at`, of `2^shift` bytes, maps.
    pub(super) fn part(self, at: u64, shift: u32) -> Self {
        let mask = low_mask(shift);
        Self { first: self.first.max(at & !mask), last: self.last.min(at | mask) }
    }

    /// Whether the span begins and ends with entries of `2^shift` bytes.
    pub(super) fn is_whole(self, shift: u32) -> bool {
        let mask = low_mask(shift);
        self.first & mask == 0 && self.last & mask == mask
    }
}

/// One range edit. Nothing has happened before [`finish`](Self::finish).
pub(super) struct Edit<'e, F, M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized> {
    pub(super) format: F,
    pub(super) leaf_levels: u64,
    /// The address bits above those that index a table.
    pub(super) high: u64,
    pub(super) memory: &'e M,
    pub(super) changes: Changes,
    pub(super) fresh: Fresh<'e, A>,
    pub(super) unlinked: Unlinked,
    pub(super) root: u64,
    pub(super) frame_size: PageSize,
}

impl<F: Encode, M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized> Edit<'_, F, M, A> {
    pub(super) fn has_leaves(&self, level: u32) -> bool {
        self.leaf_levels >> level & 1 != 0
    }

    /// The index, in its table of `level`, of the entry that maps `at`.
    pub(super) fn index(&self, level: u32, at: u64) -> u64 {
        at >> self.format.shift(level) & low_mask(self.format.index_bits(level))
    }

    pub(super) fn entry(&self, table: u64, level: u32, index: u64) -> PteRef {
        entry(&self.format, table, level, index)
    }

    /// Notes that the table is unlinked; `false` if what is below it needs no further look.
    pub(super) fn unlink(&mut self, table: u64, level: u32) -> bool {
        if level == 0 {
            self.unlinked.last_level(table);
            return false;
        }
        self.unlinked.upper(table, order(&self.format, level, self.frame_size))
    }

    /// The leaf that is in the way at `at`, as an error.
    pub(super) fn already_mapped(
        &self,
        at: u64,
        pte: PteRef,
        raw: u64,
        base: u64,
        size_bits: u32,
    ) -> EditError {
        let walker = RadixWalker { format: self.format, root: PhysAddr(self.root) };
        let va = VirtAddr(self.high | at);
        let page = walker.mapping(va, &Leaf { base, size_bits, raw, at: pte, limits: 0 });
        EditError::AlreadyMapped { va, page: page.va, pa: page.pa, size: page.size }
    }

    /// Does it. Yields the tables that are unlinked, each once, and what held the changes.
    fn finish(mut self) -> Result<(Vec<Batch>, Changes), EditError> {
        self.changes.commit(self.memory)?;
        self.fresh.keep();
        self.changes.clear();
        Ok((self.unlinked.into_batches(order(&self.format, 0, self.frame_size)), self.changes))
    }
}

impl<F: Encode> RadixTable<F> {
    fn edit<'e, M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized>(
        &mut self,
        memory: &'e M,
        frames: &'e mut A,
        high: u64,
    ) -> Edit<'e, F, M, A> {
        Edit {
            format: self.format,
            leaf_levels: self.leaf_levels,
            high,
            memory,
            changes: core::mem::take(&mut self.changes),
            fresh: Fresh::new(frames),
            unlinked: Unlinked::new(self.root.0),
            root: self.root.0,
            frame_size: self.frame_size,
        }
    }

    /// The smallest page.
    fn smallest(&self) -> PageSize {
        let level = self.leaf_levels.trailing_zeros().min(self.format.top_level());
        PageSize::from_bits(self.format.shift(level)).unwrap_or(PageSize::SIZE_4K)
    }

    /// Checks that `len` bytes from `va` are whole pages that the mode translates, and cuts off the bits above.
    pub(super) fn span(&self, va: VirtAddr, len: u64) -> Result<(Span, u64), EditError> {
        let size = self.smallest();
        if !va.is_aligned(size.bits()) {
            return Err(EditError::MisalignedVirtual { va, size });
        }
        let range = EditError::Range { va, len, size };
        if len == 0 || len & low_mask(size.bits()) != 0 {
            return Err(range);
        }
        let last = va.checked_add(len - 1).ok_or(range)?;
        let top = self.format.top_level();
        let translated = low_mask(self.format.shift(top) + self.format.index_bits(top));
        for va in [va, last] {
            if !self.format.translates(va.0) {
                return Err(EditError::Untranslatable { va });
            }
        }
        // Both ends may be good with a hole in between: then the bits above differ.
        if (va.0 ^ last.0) & !translated != 0 {
            return Err(range);
        }
        let span = Span { first: va.0 & translated, last: last.0 & translated };
        Ok((span, va.0 & !translated))
    }

    pub(super) fn map_span<M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized>(
        &mut self,
        memory: &M,
        frames: &mut A,
        (va, pa, len): (VirtAddr, PhysAddr, u64),
        perms: Perms,
    ) -> Result<Flush, EditError> {
        let (span, high) = self.span(va, len)?;
        let size = self.smallest();
        if !pa.is_aligned(size.bits()) {
            return Err(EditError::MisalignedPhysical { pa, size });
        }
        pa.checked_add(len - 1).ok_or(EncodeError::Address { base: pa, level: 0 })?;
        let mut edit = self.edit(memory, frames, high);
        let fill = Fill { shift: span.first.wrapping_sub(pa.0), perms };
        edit.fill(self.root.0, self.format.top_level(), span, &fill, false)?;
        (_, self.changes) = edit.finish()?;
        Ok(Flush::nothing())
    }

    pub(super) fn unmap_span<M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized>(
        &mut self,
        memory: &M,
        frames: &mut A,
        va: VirtAddr,
        len: u64,
    ) -> Result<Flush, EditError> {
        self.rewrite_span::<true, M, A>(memory, frames, va, len, |format, _, level| Ok(format.absent(level)))
    }

    pub(super) fn protect_span<M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized>(
        &mut self,
        memory: &M,
        frames: &mut A,
        (va, len): (VirtAddr, u64),
        perms: Perms,
    ) -> Result<Flush, EditError> {
        self.rewrite_span::<false, M, A>(memory, frames, va, len, |format, raw, level| {
            format.with_perms(raw, level, perms | (format.perms(raw, level) & KEPT))
        })
    }

    fn rewrite_span<const DROP: bool, M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized>(
        &mut self,
        memory: &M,
        frames: &mut A,
        va: VirtAddr,
        len: u64,
        mut leaf: impl FnMut(&F, u64, u32) -> Result<u64, EncodeError>,
    ) -> Result<Flush, EditError> {
        let (span, high) = self.span(va, len)?;
        let mut edit = self.edit(memory, frames, high);
        let done = edit.rewrite::<DROP>(self.root.0, self.format.top_level(), span, &mut leaf)?;
        let freed;
        (freed, self.changes) = edit.finish()?;
        if !done.changed {
            return Ok(Flush::nothing());
        }
        let stale = Stale::Pages {
            first: va,
            last: VirtAddr(va.0 + (len - 1)),
            // Tables dropped whole are not read, and global pages may have been in them.
            globals: true,
            leaves_only: freed.is_empty(),
        };
        Ok(self.quarantine.hold_all(stale, freed))
    }
}
