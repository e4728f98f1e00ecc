//! Raw entries in memory: atomic changes of one entry, and fresh tables.

use alloc::vec::Vec;
use core::ops::Range;

use super::run::{RUN, Rise, Run, runs, width};
use crate::access::Width;
use crate::addr::{PageSize, PhysAddr};
use crate::frame::FrameAllocator;
use crate::memory::PhysMemory;
use crate::radix::{Encode, Format, PteRef, Stage};
use crate::table::EditError;

/// How often one entry is tried again that other harts keep changing.
const MAX_RACES: u32 = 1 << 16;

/// The entry `index` of the `table` of `level`.
#[inline]
pub(super) fn entry<F: Format>(format: &F, table: u64, level: u32, index: u64) -> PteRef {
    let bytes = format.pte_bytes();
    let addr = table.wrapping_add(index.wrapping_mul(u64::from(bytes)));
    PteRef { addr, bytes, level, stage: Stage::First }
}

/// How many entries a table of `level` has.
#[inline]
pub(super) fn entries<F: Format>(format: &F, level: u32) -> u64 {
    1 << format.index_bits(level).min(63)
}

/// Loads the entry `at`.
#[inline]
pub(in crate::table) fn read<M: PhysMemory + ?Sized>(memory: &M, at: PteRef) -> Result<u64, EditError> {
    let width = Width::from_bytes(at.bytes).unwrap_or(Width::W8);
    let pa = PhysAddr(at.addr);
    memory.read_pte(pa, width).map_err(|error| EditError::Table { at: pa, level: at.level, error })
}

/// Stores the entry `at` of a table that nothing points at yet.
pub(in crate::table) fn put<M: PhysMemory + ?Sized>(
    memory: &M,
    at: PteRef,
    raw: u64,
) -> Result<(), EditError> {
    let width = Width::from_bytes(at.bytes).unwrap_or(Width::W8);
    let pa = PhysAddr(at.addr);
    memory.write(pa, width, raw).map_err(|error| EditError::Table { at: pa, level: at.level, error })
}

/// Replaces the entry `at` by what `change` makes of it, in one atomic step; yields what stood there.
pub(in crate::table) fn swap<M: PhysMemory + ?Sized>(
    memory: &M,
    at: PteRef,
    change: impl FnMut(u64) -> Result<u64, EditError>,
) -> Result<u64, EditError> {
    swap_from(memory, at, read(memory, at)?, change)
}

/// As [`swap`], for an entry that read `found` a moment ago.
#[inline]
pub(super) fn swap_from<M: PhysMemory + ?Sized>(
    memory: &M,
    at: PteRef,
    mut found: u64,
    mut change: impl FnMut(u64) -> Result<u64, EditError>,
) -> Result<u64, EditError> {
    let width = Width::from_bytes(at.bytes).unwrap_or(Width::W8);
    let pa = PhysAddr(at.addr);
    for _ in 0..MAX_RACES {
        let new = change(found)?;
        match memory.compare_exchange(pa, width, found, new) {
            Ok(Ok(())) => return Ok(found),
            Ok(Err(now)) => found = now,
            Err(error) => return Err(EditError::Table { at: pa, level: at.level, error }),
        }
    }
    Err(EditError::Contended { at: pa })
}

/// Whether a table of `level` holds nothing but absent entries, those with an index in `but` aside. Looks at the
/// neighbours of `but` first, which are the likeliest to be there.
#[inline]
pub(super) fn is_empty<F: Encode, M: PhysMemory + ?Sized>(
    memory: &M,
    format: &F,
    table: u64,
    level: u32,
    but: Range<u64>,
) -> Result<bool, EditError> {
    let absent = format.absent(level);
    let is_there = |index| read(memory, entry(format, table, level, index)).map(|raw| raw != absent);
    if but.end < entries(format, level) && is_there(but.end)? || but.start > 0 && is_there(but.start - 1)? {
        return Ok(false);
    }
    is_empty_throughout(memory, format, table, level, but)
}

/// As [`is_empty`], entry by entry.
#[inline(never)]
fn is_empty_throughout<F: Encode, M: PhysMemory + ?Sized>(
    memory: &M,
    format: &F,
    table: u64,
    level: u32,
    but: Range<u64>,
) -> Result<bool, EditError> {
    let absent = format.absent(level);
    let mut run = Run::new(width(format));
    for (first, count) in runs(0..but.start).chain(runs(but.end..entries(format, level))) {
        run.load(memory, entry(format, table, level, first), count)?;
        if !run.is_flat(absent, count) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Tables made by an edit that is not finished: freed again unless [kept](Self::keep).
pub(super) struct Fresh<'a, A: FrameAllocator + ?Sized> {
    frames: &'a mut A,
    taken: Vec<(PhysAddr, u32)>,
}

impl<'a, A: FrameAllocator + ?Sized> Fresh<'a, A> {
    pub(super) fn new(frames: &'a mut A) -> Self {
        Self { frames, taken: Vec::new() }
    }

    /// A frame run for a table of `level`, its content unspecified.
    pub(super) fn take<F: Encode>(&mut self, format: &F, level: u32) -> Result<PhysAddr, EditError> {
        let order = order(format, level, self.frames.frame_size());
        let table = self.frames.allocate(order)?;
        self.taken.push((table, order));
        Ok(table)
    }

    /// A table of `level` that holds nothing.
    pub(super) fn table<F: Encode, M: PhysMemory + ?Sized>(
        &mut self,
        memory: &M,
        format: &F,
        level: u32,
    ) -> Result<PhysAddr, EditError> {
        let table = self.take(format, level)?;
        let mut run = Run::new(width(format));
        run.rise(Rise::flat(format.absent(level)), RUN);
        for (first, count) in runs(0..entries(format, level)) {
            run.store(memory, entry(format, table.0, level, first), count)?;
        }
        Ok(table)
    }

    /// The edit succeeded: the tables are linked and stay.
    pub(super) fn keep(mut self) {
        self.taken.clear();
    }
}

impl<A: FrameAllocator + ?Sized> Drop for Fresh<'_, A> {
    fn drop(&mut self) {
        for (frame, order) in self.taken.drain(..) {
            // The allocator handed it out a moment ago; one that does not take it back has lost it by itself.
            let _ = self.frames.free(frame, order);
        }
    }
}

/// log2 of the frames that a table of `level` takes: at least one.
pub(super) fn order<F: Format>(format: &F, level: u32, frame_size: PageSize) -> u32 {
    format.table_bits(level).saturating_sub(frame_size.bits())
}
