//! Editing one page.
//!
//! An edit begins with the very walk that the hardware's side does, and nearly always ends with one compare-and-swap
//! of the entry that it found. What happens seldom stands by itself and walks again: tables that are made or become
//! empty, pages of several entries, refusals. So nothing of it costs the usual edit anything.

use alloc::vec::Vec;
use core::ops::Range;

use super::RadixTable;
use super::raw::{Fresh, entry, is_empty, order, put, read, swap, swap_from};
use crate::access::Width;
use crate::addr::{PageSize, PhysAddr, VirtAddr, low_mask};
use crate::frame::FrameAllocator;
use crate::memory::{BusError, PhysMemory};
use crate::radix::{Encode, Entry, Leaf, Perms, PteRef, Stop};
use crate::table::walker::refusal;
use crate::table::{EditError, Flush, Mapping, Stale, Walker};

/// What a page leaves empty: tables, and the entry that links the highest of them.
struct Emptied {
    link: PteRef,
    tables: Vec<(PhysAddr, u32)>,
}

impl<F: Encode> RadixTable<F> {
    #[inline]
    pub(super) fn map_page<M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized>(
        &mut self,
        memory: &M,
        frames: &mut A,
        va: VirtAddr,
        pa: PhysAddr,
        size: PageSize,
        perms: Perms,
    ) -> Result<Flush, EditError> {
        let target = self.level_of(size)?;
        self.check_page(va, size)?;
        if !pa.is_aligned(size.bits()) {
            return Err(EditError::MisalignedPhysical { pa, size });
        }
        let leaf = self.format.encode_leaf(pa, target, perms)?;
        let (at, raw) = match self.end(memory, va) {
            Err(Stop::Absent { at, raw, .. }) if at.level >= target => (at, raw),
            _ => return Err(self.in_the_way(memory, va, size, target)),
        };
        if at.level == target {
            link(memory, at, raw, leaf)?;
        } else {
            self.map_below(memory, frames, va, (at, raw), (leaf, target))?;
        }
        Ok(Flush::nothing())
    }

    /// Puts the leaf entry `leaf` for `va` into a table of `target` that is made for it, and so the tables between
    /// that and the absent entry `at`. They are built aside; one atomic store makes them part of the tree.
    #[inline(never)]
    fn map_below<M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized>(
        &self,
        memory: &M,
        frames: &mut A,
        va: VirtAddr,
        (at, raw): (PteRef, u64),
        (leaf, target): (u64, u32),
    ) -> Result<(), EditError> {
        let mut new = leaf;
        let mut fresh = Fresh::new(frames);
        for below in target..at.level {
            let table = fresh.table(memory, &self.format, below)?;
            put(memory, self.entry(table.0, below, va.0), new)?;
            new = self.format.encode_table(table, below + 1)?;
        }
        link(memory, at, raw, new)?;
        fresh.keep();
        Ok(())
    }

    /// Why a page of level `target` cannot be mapped at `va`.
    #[cold]
    fn in_the_way<M: PhysMemory + ?Sized>(
        &self,
        memory: &M,
        va: VirtAddr,
        size: PageSize,
        target: u32,
    ) -> EditError {
        let end = self.end(memory, va);
        let (Ok(Leaf { at, .. })
        | Err(Stop::Absent { at, .. } | Stop::Reserved { at, .. } | Stop::Source { at, .. })) = end;
        match end {
            _ if at.level < target => match self.tables(memory, va, target - 1) {
                Ok(path) => {
                    let table = path.last().map_or(self.root, |&(_, table)| table);
                    EditError::TableInWay { va, size, table }
                }
                Err(error) => error,
            },
            Ok(leaf) => {
                let Mapping { va: page, pa, size, .. } = self.walker_now().mapping(va, &leaf);
                EditError::AlreadyMapped { va, page, pa, size }
            }
            Err(stop) => refusal(stop),
        }
    }

    #[inline]
    pub(super) fn unmap_page<M: PhysMemory + ?Sized>(
        &mut self,
        memory: &M,
        va: VirtAddr,
    ) -> Result<(Mapping, Flush), EditError> {
        let leaf = self.leaf_at(memory, va)?;
        let (page, flush) = if !self.is_alone(&leaf) || self.is_last(memory, &leaf, va)? {
            self.unmap_slowly(memory, va)?
        } else {
            let absent = self.format.absent(leaf.at.level);
            let raw = swap_from(memory, leaf.at, leaf.raw, |_| Ok(absent))?;
            let page = self.walker_now().mapping(va, &Leaf { raw, ..leaf });
            (page, Flush::of(&page))
        };
        Ok((page, flush))
    }

    /// Unmaps a page of several entries, or the last of its table and with it the tables that it leaves empty.
    #[inline(never)]
    fn unmap_slowly<M: PhysMemory + ?Sized>(
        &mut self,
        memory: &M,
        va: VirtAddr,
    ) -> Result<(Mapping, Flush), EditError> {
        let leaf = self.leaf_at(memory, va)?;
        let absent = self.format.absent(leaf.at.level);
        if !self.is_last(memory, &leaf, va)? {
            let page = self.change_leaf(memory, va, &leaf, |_| Ok(absent))?;
            return Ok((page, Flush::of(&page)));
        }
        let Emptied { link, tables } = self.emptied(memory, va, leaf.at.level)?;
        // Refused here (a table in ROM), nothing has to be undone.
        swap(memory, link, Ok)?;
        let page = self.change_leaf(memory, va, &leaf, |_| Ok(absent))?;
        swap(memory, link, |_| Ok(self.format.absent(link.level)))?;
        let last = VirtAddr(page.va.0 | low_mask(page.size.bits()));
        let globals = page.perms.contains(Perms::GLOBAL);
        let stale = Stale::Pages { first: page.va, last, globals, leaves_only: false };
        Ok((page, self.quarantine.hold(stale, tables)))
    }

    #[inline]
    pub(super) fn update_page<M: PhysMemory + ?Sized>(
        &mut self,
        memory: &M,
        va: VirtAddr,
        mut change: impl FnMut(Perms) -> Perms,
    ) -> Result<(Mapping, Flush), EditError> {
        let leaf = self.leaf_at(memory, va)?;
        let level = leaf.at.level;
        let mut same = true;
        let mut change = |raw| {
            let new = self.format.with_perms(raw, level, change(self.format.perms(raw, level)))?;
            same &= new == raw;
            Ok(new)
        };
        let page = if self.is_alone(&leaf) {
            let raw = swap_from(memory, leaf.at, leaf.raw, &mut change)?;
            self.walker_now().mapping(va, &Leaf { raw, ..leaf })
        } else {
            self.update_slowly(memory, va, &mut change)?
        };
        Ok((page, if same { Flush::nothing() } else { Flush::of(&page) }))
    }

    /// Changes a page of several entries.
    #[inline(never)]
    fn update_slowly<M: PhysMemory + ?Sized>(
        &self,
        memory: &M,
        va: VirtAddr,
        change: &mut impl FnMut(u64) -> Result<u64, EditError>,
    ) -> Result<Mapping, EditError> {
        let leaf = self.leaf_at(memory, va)?;
        self.change_leaf(memory, va, &leaf, change)
    }

    /// Whether the leaf is one entry by itself.
    #[inline]
    fn is_alone(&self, leaf: &Leaf) -> bool {
        leaf.size_bits <= self.format.shift(leaf.at.level)
    }

    /// Whether `leaf`, which maps `va`, is the last thing in its table, and that is not the root, which stays.
    #[inline]
    fn is_last<M: PhysMemory + ?Sized>(
        &self,
        memory: &M,
        leaf: &Leaf,
        va: VirtAddr,
    ) -> Result<bool, EditError> {
        let level = leaf.at.level;
        let (table, indices) = self.entries_of(leaf, va);
        Ok(level < self.format.top_level() && is_empty(memory, &self.format, table, level, indices)?)
    }

    /// The leaf that begins at `va`.
    #[inline(always)]
    fn leaf_at<M: PhysMemory + ?Sized>(&self, memory: &M, va: VirtAddr) -> Result<Leaf, EditError> {
        if !self.format.translates(va.0) {
            return Err(EditError::Untranslatable { va });
        }
        match self.end(memory, va) {
            Ok(leaf) if va.is_aligned(leaf.size_bits) => Ok(leaf),
            _ => Err(self.no_leaf(memory, va)),
        }
    }

    /// Why no leaf begins at `va`.
    #[cold]
    fn no_leaf<M: PhysMemory + ?Sized>(&self, memory: &M, va: VirtAddr) -> EditError {
        match self.end(memory, va) {
            Ok(leaf) => {
                let Mapping { va: page, size, .. } = self.walker_now().mapping(va, &leaf);
                EditError::InsidePage { va, page, size }
            }
            Err(Stop::Absent { .. }) => EditError::NotMapped { va },
            Err(stop) => refusal(stop),
        }
    }

    /// Where a walk of `va` ends.
    #[inline]
    fn end<M: PhysMemory + ?Sized>(&self, memory: &M, va: VirtAddr) -> Result<Leaf, Stop<BusError>> {
        self.walker_now().end(memory, va)
    }

    /// The tables below the root that the way to `va` leads through, down to that of level `to`: where each is linked,
    /// and where it lies.
    fn tables<M: PhysMemory + ?Sized>(
        &self,
        memory: &M,
        va: VirtAddr,
        to: u32,
    ) -> Result<Vec<(PteRef, PhysAddr)>, EditError> {
        let mut path = Vec::new();
        let mut table = self.root.0;
        for level in (to + 1..=self.format.top_level()).rev() {
            let at = self.entry(table, level, va.0);
            let raw = read(memory, at)?;
            let Entry::Table(next) = self.format.decode(raw, level) else {
                // It was one a moment ago.
                return Err(EditError::Contended { at: PhysAddr(at.addr) });
            };
            path.push((at, PhysAddr(next)));
            table = next;
        }
        Ok(path)
    }

    /// What is left empty when the table of `level` is that `va` leads to.
    #[inline(never)]
    fn emptied<M: PhysMemory + ?Sized>(
        &self,
        memory: &M,
        va: VirtAddr,
        level: u32,
    ) -> Result<Emptied, EditError> {
        let mut path = self.tables(memory, va, level)?;
        let mut tables = Vec::new();
        loop {
            let Some((link, table)) = path.pop() else { return Err(EditError::NotMapped { va }) };
            tables.push((table, order(&self.format, link.level - 1, self.frame_size)));
            let Some(&(_, above)) = path.last() else { return Ok(Emptied { link, tables }) };
            let index = self.index(link.level, va.0);
            if !is_empty(memory, &self.format, above.0, link.level, index..index + 1)? {
                return Ok(Emptied { link, tables });
            }
        }
    }

    #[inline]
    fn index(&self, level: u32, va: u64) -> u64 {
        va >> self.format.shift(level) & low_mask(self.format.index_bits(level))
    }

    /// The table of `leaf`, which maps `va`, and which of its entries the leaf is made of: several for a contiguous
    /// run.
    #[inline]
    fn entries_of(&self, leaf: &Leaf, va: VirtAddr) -> (u64, Range<u64>) {
        let level = leaf.at.level;
        let index = self.index(level, va.0);
        let table = leaf.at.addr.wrapping_sub(index.wrapping_mul(u64::from(leaf.at.bytes)));
        if self.is_alone(leaf) {
            return (table, index..index + 1);
        }
        let bits = (leaf.size_bits - self.format.shift(level)).min(self.format.index_bits(level));
        let first = index & !low_mask(bits);
        (table, first..first + (1 << bits))
    }

    /// Changes each entry of a leaf, all or none, and says what the page was: the marks of all entries together.
    fn change_leaf<M: PhysMemory + ?Sized>(
        &self,
        memory: &M,
        va: VirtAddr,
        leaf: &Leaf,
        mut change: impl FnMut(u64) -> Result<u64, EditError>,
    ) -> Result<Mapping, EditError> {
        let level = leaf.at.level;
        let (table, indices) = self.entries_of(leaf, va);
        let mut before: Vec<u64> = Vec::new();
        let mut page = self.walker_now().mapping(va, leaf);
        let mut marks = Perms::empty();
        for index in indices.clone() {
            match swap(memory, entry(&self.format, table, level, index), &mut change) {
                Ok(old) => {
                    if index == indices.start {
                        page.raw = old;
                        page.perms = self.format.perms(old, level);
                    }
                    marks |= self.format.perms(old, level) & (Perms::ACCESSED | Perms::DIRTY);
                    before.push(old);
                }
                Err(error) => {
                    for (index, old) in indices.zip(before) {
                        swap(memory, entry(&self.format, table, level, index), |_| Ok(old))?;
                    }
                    return Err(error);
                }
            }
        }
        page.perms |= marks;
        Ok(page)
    }
}

/// Makes the entry `at`, which read `raw` when nothing was found there, read `new`.
#[inline]
fn link<M: PhysMemory + ?Sized>(memory: &M, at: PteRef, raw: u64, new: u64) -> Result<(), EditError> {
    let pa = PhysAddr(at.addr);
    match memory.compare_exchange(pa, Width::from_bytes(at.bytes).unwrap_or(Width::W8), raw, new) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(EditError::Contended { at: pa }),
        Err(error) => Err(EditError::Table { at: pa, level: at.level, error }),
    }
}
