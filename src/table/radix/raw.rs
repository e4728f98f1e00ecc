//! Raw entries in memory: atomic changes of one entry, runs of entries as bytes, and fresh tables.

use alloc::vec::Vec;

use crate::access::Width;
use crate::addr::{PageSize, PhysAddr};
use crate::frame::FrameAllocator;
use crate::memory::PhysMemory;
use crate::radix::{Encode, Format, PteRef, Stage};
use crate::table::EditError;

/// How often one entry is tried again that other harts keep changing.
const MAX_RACES: u32 = 1 << 16;

/// Entries are moved between table and code in runs of at most so many.
pub(super) const RUN: usize = 64;

/// A run of entries as values. In memory they are little-endian, `width` bytes each.
pub(super) struct Run {
    pub(super) raw: [u64; RUN],
}

impl Run {
    pub(super) const fn of(raw: u64) -> Self {
        Self { raw: [raw; RUN] }
    }

    /// Loads the `count` (at most [`RUN`]) entries from `at` on.
    #[inline]
    pub(super) fn load<M: PhysMemory + ?Sized>(
        &mut self,
        memory: &M,
        at: PteRef,
        count: usize,
    ) -> Result<(), EditError> {
        let mut bytes = [0; RUN * 8];
        let bytes = &mut bytes[..(count * at.bytes as usize).min(RUN * 8)];
        let pa = PhysAddr(at.addr);
        memory.read_bytes(pa, bytes).map_err(|error| EditError::Table { at: pa, level: at.level, error })?;
        match at.bytes {
            1 => unpack(bytes, &mut self.raw, |[byte]| u64::from(byte)),
            2 => unpack(bytes, &mut self.raw, |bytes| u64::from(u16::from_le_bytes(bytes))),
            4 => unpack(bytes, &mut self.raw, |bytes| u64::from(u32::from_le_bytes(bytes))),
            _ => unpack(bytes, &mut self.raw, u64::from_le_bytes),
        }
        Ok(())
    }

    /// Stores the first `count` entries from `at` on.
    #[inline]
    pub(super) fn store<M: PhysMemory + ?Sized>(
        &self,
        memory: &M,
        at: PteRef,
        count: usize,
    ) -> Result<(), EditError> {
        let mut bytes = [0; RUN * 8];
        let bytes = &mut bytes[..(count * at.bytes as usize).min(RUN * 8)];
        match at.bytes {
            1 => pack(&self.raw, bytes, |raw| [raw as u8]),
            2 => pack(&self.raw, bytes, |raw| (raw as u16).to_le_bytes()),
            4 => pack(&self.raw, bytes, |raw| (raw as u32).to_le_bytes()),
            _ => pack(&self.raw, bytes, u64::to_le_bytes),
        }
        let pa = PhysAddr(at.addr);
        memory.write_bytes(pa, bytes).map_err(|error| EditError::Table { at: pa, level: at.level, error })
    }
}

#[inline]
fn unpack<const N: usize>(bytes: &[u8], raw: &mut [u64; RUN], value: impl Fn([u8; N]) -> u64) {
    for (raw, bytes) in raw.iter_mut().zip(bytes.chunks_exact(N)) {
        let mut entry = [0; N];
        entry.copy_from_slice(bytes);
        *raw = value(entry);
    }
}

#[inline]
fn pack<const N: usize>(raw: &[u64; RUN], bytes: &mut [u8], value: impl Fn(u64) -> [u8; N]) {
    for (bytes, raw) in bytes.chunks_exact_mut(N).zip(raw) {
        bytes.copy_from_slice(&value(*raw));
    }
}

/// The entry `index` of the `table` of `level`.
pub(super) fn entry<F: Format>(format: &F, table: u64, level: u32, index: u64) -> PteRef {
    let bytes = format.pte_bytes();
    let addr = table.wrapping_add(index.wrapping_mul(u64::from(bytes)));
    PteRef { addr, bytes, level, stage: Stage::First }
}

/// Cuts the entries `first..=last` into runs: the first index of each and its length.
pub(super) fn runs(first: u64, last: u64) -> impl Iterator<Item = (u64, usize)> {
    (first..=last).step_by(RUN).map(move |first| (first, (last - first + 1).min(RUN as u64) as usize))
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

/// Stores the entry `at` of a table that nothing points at yet.
pub(super) fn put<M: PhysMemory + ?Sized>(memory: &M, at: PteRef, raw: u64) -> Result<(), EditError> {
    let width = Width::from_bytes(at.bytes).unwrap_or(Width::W8);
    let pa = PhysAddr(at.addr);
    memory.write(pa, width, raw).map_err(|error| EditError::Table { at: pa, level: at.level, error })
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
    let last = entries(format, level) - 1;
    let near = but.start / RUN as u64 * RUN as u64;
    let others = runs(0, last).filter(|&(first, _)| first != near);
    let mut run = Run::of(0);
    let absent = format.absent(level);
    for (first, count) in runs(near, last).take(1).chain(others) {
        run.load(memory, entry(format, table, level, first), count)?;
        let indices = first..first + count as u64;
        if indices.zip(&run.raw).any(|(index, &raw)| raw != absent && !but.contains(&index)) {
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
        let run = Run::of(format.absent(level));
        for (first, count) in runs(0, entries(format, level) - 1) {
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

/// What an edit will store in tables that are in use, once nothing can refuse it any more: until then no walk of any
/// hart sees a part of it. In the order in which it was added, so that a table is complete before it is linked.
#[derive(Default)]
pub(super) struct Changes {
    runs: Vec<(PteRef, usize)>,
    old: Vec<u64>,
    new: Vec<u64>,
}

impl Changes {
    /// Adds the first entries of `new` from `at` on, where `old` stands.
    #[inline]
    pub(super) fn add(&mut self, at: PteRef, old: &[u64], new: &Run) {
        self.runs.push((at, old.len()));
        self.old.extend_from_slice(old);
        self.new.extend_from_slice(&new.raw[..old.len().min(RUN)]);
    }

    /// Stores everything, or nothing if memory refuses a part.
    pub(super) fn commit<M: PhysMemory + ?Sized>(&self, memory: &M) -> Result<(), EditError> {
        for (stored, outcome) in self.stores(memory, &self.new).enumerate() {
            if outcome.is_err() {
                // It took a store there a moment ago; a memory that refuses now has lost the table by itself.
                self.stores(memory, &self.old).take(stored).for_each(drop);
                return outcome;
            }
        }
        Ok(())
    }

    /// Stores each run from `raw`, lazily.
    fn stores<'a, M: PhysMemory + ?Sized>(
        &'a self,
        memory: &'a M,
        mut raw: &'a [u64],
    ) -> impl Iterator<Item = Result<(), EditError>> + 'a {
        let mut run = Run::of(0);
        self.runs.iter().map(move |&(at, count)| {
            let (these, rest) = raw.split_at_checked(count).unwrap_or((raw, &[]));
            run.raw.iter_mut().zip(these).for_each(|(to, from)| *to = *from);
            raw = rest;
            run.store(memory, at, count)
        })
    }
}
