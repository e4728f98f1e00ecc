//! Raw entries in memory: atomic changes of one entry, runs of entries as bytes, and fresh tables.

use alloc::vec::Vec;

use crate::access::Width;
use crate::addr::{PageSize, PhysAddr};
use crate::frame::FrameAllocator;
use crate::memory::PhysMemory;
use crate::radix::{Encode, Format, PteRef};
use crate::table::EditError;

/// How often one entry is tried again that other harts keep changing.
const MAX_RACES: u32 = 1 << 16;

/// Entries are moved between table and code in runs of this many bytes: 64 entries of the widest kind.
pub(super) const RUN: usize = 512;

/// One run of entries, little-endian as they stand in memory.
pub(super) struct Run {
    bytes: [u8; RUN],
}

impl Run {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; RUN] }
    }

    /// How many entries of `width` one run holds.
    pub(super) const fn capacity(width: Width) -> usize {
        RUN / width.bytes() as usize
    }

    /// The first `count` entries' bytes.
    pub(super) fn bytes(&mut self, width: Width, count: usize) -> &mut [u8] {
        let len = (count * width.bytes() as usize).min(RUN);
        &mut self.bytes[..len]
    }

    /// Fills `count` entries from `first` on with `raw`.
    pub(super) fn fill(&mut self, width: Width, first: usize, count: usize, raw: u64) {
        let wide = width.bytes() as usize;
        let value = raw.to_le_bytes();
        for entry in self.bytes.chunks_exact_mut(wide).skip(first).take(count) {
            entry.copy_from_slice(&value[..wide]);
        }
    }
}

/// The width of a format's entries.
pub(super) fn width<F: Format>(format: &F) -> Width {
    Width::from_bytes(format.pte_bytes()).unwrap_or(Width::W8)
}

/// How many entries a table of `level` has.
pub(super) fn entries<F: Format>(format: &F, level: u32) -> u64 {
    1 << format.index_bits(level).min(63)
}

/// Loads the entry `at`.
pub(super) fn read<M: PhysMemory + ?Sized>(memory: &M, at: PteRef) -> Result<u64, EditError> {
    let width = Width::from_bytes(at.bytes).unwrap_or(Width::W8);
    let pa = PhysAddr(at.addr);
    memory.read_pte(pa, width).map_err(|error| EditError::Table { at: pa, level: at.level, error })
}

/// Replaces the entry `at` by what `change` makes of it, in one atomic step; yields what stood there.
pub(super) fn swap<M: PhysMemory + ?Sized>(
    memory: &M,
    at: PteRef,
    mut change: impl FnMut(u64) -> Result<u64, EditError>,
) -> Result<u64, EditError> {
    let width = Width::from_bytes(at.bytes).unwrap_or(Width::W8);
    let pa = PhysAddr(at.addr);
    let refused = |error| EditError::Table { at: pa, level: at.level, error };
    let mut found = memory.read_pte(pa, width).map_err(refused)?;
    for _ in 0..MAX_RACES {
        let new = change(found)?;
        match memory.compare_exchange(pa, width, found, new).map_err(refused)? {
            Ok(()) => return Ok(found),
            Err(now) => found = now,
        }
    }
    Err(EditError::Contended { at: pa })
}

/// Whether a table of `level` holds nothing but absent entries, those with an index in `but` aside. Looks at the
/// surroundings of `but` first, where a neighbour is likeliest.
pub(super) fn is_empty<F: Encode, M: PhysMemory + ?Sized>(
    memory: &M,
    format: &F,
    table: u64,
    level: u32,
    but: core::ops::Range<u64>,
) -> Result<bool, EditError> {
    let width = width(format);
    let absent = format.absent(level);
    let (total, step) = (entries(format, level), Run::capacity(width) as u64);
    let (mut run, mut blank) = (Run::new(), Run::new());
    blank.fill(width, 0, step as usize, absent);
    let near = but.start / step * step;
    let others = (0..total).step_by(step as usize).filter(|&first| first != near);
    for first in core::iter::once(near).chain(others) {
        let count = step.min(total - first) as usize;
        let pa = PhysAddr(table.wrapping_add(first * width.bytes()));
        let bytes = run.bytes(width, count);
        memory.read_bytes(pa, bytes).map_err(|error| EditError::Table { at: pa, level, error })?;
        let from = but.start.max(first);
        let to = but.end.min(first + count as u64);
        if from < to {
            run.fill(width, (from - first) as usize, (to - from) as usize, absent);
        }
        if run.bytes(width, count) != blank.bytes(width, count) {
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
        let width = width(format);
        let (total, step) = (entries(format, level), Run::capacity(width) as u64);
        let mut run = Run::new();
        run.fill(width, 0, step as usize, format.absent(level));
        for first in (0..total).step_by(step as usize) {
            let at = PhysAddr(table.0.wrapping_add(first * width.bytes()));
            let bytes = run.bytes(width, step.min(total - first) as usize);
            memory.write_bytes(at, bytes).map_err(|error| EditError::Table { at, level, error })?;
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
