//! Raw entries in memory: atomic changes of one entry, runs of entries as bytes, and fresh tables.

use alloc::vec::Vec;
use core::ops::Range;

use crate::access::Width;
use crate::addr::{PageSize, PhysAddr};
use crate::frame::FrameAllocator;
use crate::memory::PhysMemory;
use crate::radix::{Encode, Format, PteRef, Stage};
use crate::table::EditError;

/// How often one entry is tried again that other harts keep changing.
const MAX_RACES: u32 = 1 << 16;

/// Entries are moved between table and code in runs of at most so many: enough that what a run costs by itself does
/// not count.
pub(super) const RUN: usize = 256;

/// `$body` with `$int` as the integer of that width and `$wide` as its bytes.
macro_rules! by_width {
    ($width:expr, |$int:ident, $wide:ident| $body:expr) => {
        match $width {
            Width::W1 => by_width!(@ u8, $int, $wide, $body),
            Width::W2 => by_width!(@ u16, $int, $wide, $body),
            Width::W4 => by_width!(@ u32, $int, $wide, $body),
            Width::W8 => by_width!(@ u64, $int, $wide, $body),
        }
    };
    (@ $type:ident, $int:ident, $wide:ident, $body:expr) => {{
        #[allow(dead_code, reason = "not every body needs the type")]
        type $int = $type;
        const $wide: usize = size_of::<$type>();
        $body
    }};
}

/// A run of entries as they stand in memory: little-endian, `width` bytes each.
pub(super) struct Run {
    bytes: [u8; RUN * 8],
    width: Width,
}

impl Run {
    pub(super) const fn new(width: Width) -> Self {
        Self { bytes: [0; RUN * 8], width }
    }

    /// The bytes of the first `count` (at most [`RUN`]) entries.
    #[inline]
    pub(super) fn bytes(&mut self, count: usize) -> &mut [u8] {
        let len = (count * self.width.bytes() as usize).min(self.bytes.len());
        &mut self.bytes[..len]
    }

    /// Entry `n`; zero where there is none.
    #[inline]
    pub(super) fn get(&self, n: usize) -> u64 {
        by_width!(self.width, |Int, WIDE| {
            let mut raw = [0; 8];
            if let Some(entry) = self.bytes.get(n * WIDE..n * WIDE + WIDE) {
                raw[..WIDE].copy_from_slice(entry);
            }
            u64::from_le_bytes(raw)
        })
    }

    /// Makes entry `n` read `raw`.
    #[inline]
    pub(super) fn set(&mut self, n: usize, raw: u64) {
        by_width!(self.width, |Int, WIDE| {
            if let Some(entry) = self.bytes.get_mut(n * WIDE..n * WIDE + WIDE) {
                entry.copy_from_slice(&(raw as Int).to_le_bytes());
            }
        });
    }

    /// Loads the first `count` entries from `at` on.
    #[inline]
    pub(super) fn load<M: PhysMemory + ?Sized>(
        &mut self,
        memory: &M,
        at: PteRef,
        count: usize,
    ) -> Result<(), EditError> {
        let pa = PhysAddr(at.addr);
        let loaded = memory.read_bytes(pa, self.bytes(count));
        loaded.map_err(|error| EditError::Table { at: pa, level: at.level, error })
    }

    /// Stores the first `count` entries from `at` on.
    #[inline]
    pub(super) fn store<M: PhysMemory + ?Sized>(
        &mut self,
        memory: &M,
        at: PteRef,
        count: usize,
    ) -> Result<(), EditError> {
        store(memory, at, self.bytes(count))
    }

    /// Makes the first `count` entries rise by `step` from `raw` on.
    #[inline]
    pub(super) fn rise(&mut self, raw: u64, step: u64, count: usize) {
        by_width!(self.width, |Int, WIDE| {
            let mut next = raw as Int;
            for entry in self.bytes(count).chunks_exact_mut(WIDE) {
                entry.copy_from_slice(&next.to_le_bytes());
                next = next.wrapping_add(step as Int);
            }
        });
    }

    /// Whether the first `count` entries rise by `step`.
    #[inline]
    pub(super) fn rises(&mut self, step: u64, count: usize) -> bool {
        let first = self.get(0);
        by_width!(self.width, |Int, WIDE| {
            let (mut wanted, mut differs) = (first as Int, 0);
            for bytes in self.bytes(count).chunks_exact(WIDE) {
                let mut entry = [0; WIDE];
                entry.copy_from_slice(bytes);
                differs |= Int::from_le_bytes(entry) ^ wanted;
                wanted = wanted.wrapping_add(step as Int);
            }
            differs == 0
        })
    }
}

/// The entry `index` of the `table` of `level`.
pub(super) fn entry<F: Format>(format: &F, table: u64, level: u32, index: u64) -> PteRef {
    let bytes = format.pte_bytes();
    let addr = table.wrapping_add(index.wrapping_mul(u64::from(bytes)));
    PteRef { addr, bytes, level, stage: Stage::First }
}

/// Cuts entries into runs: the first index of each and its length.
pub(super) fn runs(entries: Range<u64>) -> impl Iterator<Item = (u64, usize)> {
    let end = entries.end;
    entries.step_by(RUN).map(move |first| (first, (end - first).min(RUN as u64) as usize))
}

/// The width of a format's entries.
pub(super) fn width<F: Format>(format: &F) -> Width {
    Width::from_bytes(format.pte_bytes()).unwrap_or(Width::W8)
}

/// Stores `bytes`, whole entries, from `at` on.
#[inline]
pub(super) fn store<M: PhysMemory + ?Sized>(memory: &M, at: PteRef, bytes: &[u8]) -> Result<(), EditError> {
    let pa = PhysAddr(at.addr);
    memory.write_bytes(pa, bytes).map_err(|error| EditError::Table { at: pa, level: at.level, error })
}

/// How many entries a table of `level` has.
pub(super) fn entries<F: Format>(format: &F, level: u32) -> u64 {
    1 << format.index_bits(level).min(63)
}

/// Loads the entry `at`.
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
/// neighbours of `but` first, which are the likeliest to be there.
pub(super) fn is_empty<F: Encode, M: PhysMemory + ?Sized>(
    memory: &M,
    format: &F,
    table: u64,
    level: u32,
    but: Range<u64>,
) -> Result<bool, EditError> {
    let total = entries(format, level);
    let absent = format.absent(level);
    let neighbours = [Some(but.end).filter(|&index| index < total), but.start.checked_sub(1)];
    for index in neighbours.into_iter().flatten() {
        if read(memory, entry(format, table, level, index))? != absent {
            return Ok(false);
        }
    }
    let mut run = Run::new(width(format));
    for (first, count) in runs(0..but.start).chain(runs(but.end..total)) {
        run.load(memory, entry(format, table, level, first), count)?;
        if run.get(0) != absent || !run.rises(0, count) {
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
        run.rise(format.absent(level), 0, RUN);
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
