//! Editing one page.

use alloc::vec::Vec;
use core::ops::Range;

use super::raw::{Fresh, entry, is_empty, order, put, read, swap};
use super::{MAX_LEVELS, RadixTable};
use crate::addr::{PageSize, PhysAddr, VirtAddr};
use crate::frame::FrameAllocator;
use crate::memory::PhysMemory;
use crate::radix::{Encode, Entry, Leaf, Perms};
use crate::table::{EditError, Flush, Mapping, Stale, Walker};

/// The table of each level that the way down to a leaf leads through.
type Path = [u64; MAX_LEVELS];

impl<F: Encode> RadixTable<F> {
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
        let mut link = self.format.encode_leaf(pa, target, perms)?;

        let (mut level, mut table) = (self.format.top_level(), self.root.0);
        let (at, raw) = loop {
            let at = self.entry(table, level, va.0);
            let raw = read(memory, at)?;
            match self.format.decode(raw, level) {
                Entry::Absent => break (at, raw),
                Entry::Table(next) if level > target => (level, table) = (level - 1, next),
                Entry::Table(next) if level > 0 => {
                    return Err(EditError::TableInWay { va, size, table: PhysAddr(next) });
                }
                Entry::Leaf { base, size_bits } => {
                    let leaf = Leaf { base, size_bits, raw, at, limits: 0 };
                    let found = self.walker_now().mapping(va, &leaf);
                    return Err(EditError::AlreadyMapped {
                        va,
                        page: found.va,
                        pa: found.pa,
                        size: found.size,
                    });
                }
                Entry::Reserved | Entry::Table(_) => {
                    return Err(EditError::Reserved { at: PhysAddr(at.addr), level, raw });
                }
            }
        };

        // The tables in between are built aside; one atomic store makes them part of the tree.
        let mut fresh = Fresh::new(frames);
        for below in target..level {
            let table = fresh.table(memory, &self.format, below)?;
            put(memory, self.entry(table.0, below, va.0), link)?;
            link = self.format.encode_table(table, below + 1)?;
        }
        swap(memory, at, |found| {
            if found == raw { Ok(link) } else { Err(EditError::Contended { at: PhysAddr(at.addr) }) }
        })?;
        fresh.keep();
        Ok(Flush::nothing())
    }

    pub(super) fn unmap_page<M: PhysMemory + ?Sized>(
        &mut self,
        memory: &M,
        va: VirtAddr,
    ) -> Result<(Mapping, Flush), EditError> {
        let mut path = [0; MAX_LEVELS];
        let leaf = self.descend(memory, va, &mut path)?;
        let level = leaf.at.level;
        let top = self.format.top_level();

        // Which tables does the page leave empty? `above` is the level of the lowest that it does not.
        let mut above = level;
        let mut gone = self.indices(&leaf, va);
        while above < top && is_empty(memory, &self.format, path[above as usize], above, gone)? {
            above += 1;
            let index = self.index(above, va.0);
            gone = index..index + 1;
        }

        let link = self.entry(path[above as usize], above, va.0);
        if above > level {
            // Refused here (a table in ROM), nothing has to be undone.
            swap(memory, link, Ok)?;
        }
        let absent = self.format.absent(level);
        let page = self.change_leaf(memory, va, &path, &leaf, |_| Ok(absent))?;
        if above > level {
            swap(memory, link, |_| Ok(self.format.absent(above)))?;
        }
        let stale = Stale::Pages {
            first: page.va,
            last: VirtAddr(page.va.0 | crate::addr::low_mask(page.size.bits())),
            globals: page.perms.contains(Perms::GLOBAL),
            leaves_only: above == level,
        };
        let freed = (level..above)
            .map(|level| (PhysAddr(path[level as usize]), order(&self.format, level, self.frame_size)));
        Ok((page, self.quarantine.hold(stale, freed)))
    }

    pub(super) fn update_page<M: PhysMemory + ?Sized>(
        &mut self,
        memory: &M,
        va: VirtAddr,
        mut change: impl FnMut(Perms) -> Perms,
    ) -> Result<(Mapping, Flush), EditError> {
        let mut path = [0; MAX_LEVELS];
        let leaf = self.descend(memory, va, &mut path)?;
        let level = leaf.at.level;
        let mut same = true;
        let page = self.change_leaf(memory, va, &path, &leaf, |raw| {
            let new = self.format.with_perms(raw, level, change(self.format.perms(raw, level)))?;
            same &= new == raw;
            Ok(new)
        })?;
        Ok((page, if same { Flush::nothing() } else { Flush::of(&page) }))
    }

    /// Goes down to the leaf that begins at `va`.
    fn descend<M: PhysMemory + ?Sized>(
        &self,
        memory: &M,
        va: VirtAddr,
        path: &mut Path,
    ) -> Result<Leaf, EditError> {
        if !self.format.translates(va.0) {
            return Err(EditError::Untranslatable { va });
        }
        let (mut level, mut table) = (self.format.top_level(), self.root.0);
        loop {
            path[level as usize] = table;
            let at = self.entry(table, level, va.0);
            let raw = read(memory, at)?;
            match self.format.decode(raw, level) {
                Entry::Table(next) if level > 0 => (level, table) = (level - 1, next),
                Entry::Absent => return Err(EditError::NotMapped { va }),
                Entry::Leaf { base, size_bits } => {
                    let leaf = Leaf { base, size_bits, raw, at, limits: 0 };
                    let page = self.walker_now().mapping(va, &leaf);
                    if page.va != va {
                        return Err(EditError::InsidePage { va, page: page.va, size: page.size });
                    }
                    return Ok(leaf);
                }
                Entry::Reserved | Entry::Table(_) => {
                    return Err(EditError::Reserved { at: PhysAddr(at.addr), level, raw });
                }
            }
        }
    }

    fn index(&self, level: u32, va: u64) -> u64 {
        va >> self.format.shift(level) & crate::addr::low_mask(self.format.index_bits(level))
    }

    /// The entries of its table that `leaf`, which maps `va`, is made of: several for a contiguous run.
    fn indices(&self, leaf: &Leaf, va: VirtAddr) -> Range<u64> {
        let level = leaf.at.level;
        let bits = leaf.size_bits.saturating_sub(self.format.shift(level)).min(self.format.index_bits(level));
        let first = self.index(level, va.0) & !crate::addr::low_mask(bits);
        first..first + (1 << bits)
    }

    /// Changes each entry of a leaf, all or none, and says what the page was: the marks of all entries together.
    fn change_leaf<M: PhysMemory + ?Sized>(
        &self,
        memory: &M,
        va: VirtAddr,
        path: &Path,
        leaf: &Leaf,
        mut change: impl FnMut(u64) -> Result<u64, EditError>,
    ) -> Result<Mapping, EditError> {
        let level = leaf.at.level;
        let table = path[level as usize];
        let indices = self.indices(leaf, va);
        let alone = indices.end - indices.start == 1;
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
                    if !alone {
                        before.push(old);
                    }
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
