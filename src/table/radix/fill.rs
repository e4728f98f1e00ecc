//! Mapping a range: the largest pages that fit, filled in runs.

use super::range::{Edit, Span};
use super::raw::{RUN, Run, put, read, runs};
use crate::addr::{PhysAddr, low_mask};
use crate::frame::FrameAllocator;
use crate::memory::PhysMemory;
use crate::radix::{Encode, EncodeError, Entry, Perms};
use crate::table::EditError;

/// What a range is mapped to.
pub(super) struct Fill {
    /// Virtual minus physical address.
    pub(super) shift: u64,
    pub(super) perms: Perms,
}

impl Fill {
    /// Where the address bits `at` are to lie.
    fn place(&self, at: u64) -> u64 {
        at.wrapping_sub(self.shift)
    }
}

/// The leaves of a run of pages that follow one another: each differs from the one before by the same sum, unless the
/// format scatters its address bits.
struct Leaves<F> {
    format: F,
    level: u32,
    base: u64,
    perms: Perms,
    first: u64,
    step: Option<u64>,
}

impl<F: Encode> Leaves<F> {
    fn new(format: F, level: u32, base: u64, count: u64, perms: Perms) -> Result<Self, EncodeError> {
        let page =
            |n: u64| format.encode_leaf(PhysAddr(base.wrapping_add(n << format.shift(level))), level, perms);
        let first = page(0)?;
        let step = if count > 1 { page(1)?.wrapping_sub(first) } else { 0 };
        // A table spans less than a field of address bits does, so a run leaves a field, and its even steps, once at
        // most; it would then not end where even steps end.
        let even = page(count - 1)? == first.wrapping_add(step.wrapping_mul(count - 1));
        Ok(Self { format, level, base, perms, first, step: even.then_some(step) })
    }

    /// Writes the `count` leaves from the `from`-th on.
    #[inline]
    fn write(&self, run: &mut Run, from: u64, count: usize) -> Result<(), EncodeError> {
        if let Some(step) = self.step {
            let mut raw = self.first.wrapping_add(step.wrapping_mul(from));
            for entry in &mut run.raw {
                *entry = raw;
                raw = raw.wrapping_add(step);
            }
            return Ok(());
        }
        for (entry, n) in run.raw.iter_mut().zip(from..).take(count) {
            let base = self.base.wrapping_add(n << self.format.shift(self.level));
            *entry = self.format.encode_leaf(PhysAddr(base), self.level, self.perms)?;
        }
        Ok(())
    }
}

impl<F: Encode, M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized> Edit<'_, F, M, A> {
    /// Maps `span`, which lies in the `table` of `level`. A `fresh` table's entries mean nothing yet.
    pub(super) fn fill(
        &mut self,
        table: u64,
        level: u32,
        mut span: Span,
        fill: &Fill,
        fresh: bool,
    ) -> Result<(), EditError> {
        let shift = self.format.shift(level);
        let misaligned = |at| (at | fill.place(at)) & low_mask(shift) != 0;
        loop {
            let whole = (span.last - span.first).wrapping_add(1) >> shift;
            let last = if self.has_leaves(level) && whole > 0 && !misaligned(span.first) {
                self.fill_leaves(table, level, span.first, whole, fill, fresh)?;
                span.first + ((whole << shift) - 1)
            } else {
                let part = span.part(span.first, shift);
                self.fill_below(table, level, part, fill, fresh)?;
                part.last
            };
            if last == span.last {
                return Ok(());
            }
            span.first = last + 1;
        }
    }

    /// Maps `count` whole pages of `level` from `first` on.
    fn fill_leaves(
        &mut self,
        table: u64,
        level: u32,
        first: u64,
        count: u64,
        fill: &Fill,
        fresh: bool,
    ) -> Result<(), EditError> {
        let format = self.format;
        let leaves = Leaves::new(format, level, fill.place(first), count, fill.perms)?;
        let index = self.index(level, first);
        let absent = format.absent(level);
        let (mut old, mut new) = (Run::of(0), Run::of(0));
        for (start, count) in runs(index, index + (count - 1)) {
            let at = self.entry(table, level, start);
            leaves.write(&mut new, start - index, count)?;
            if fresh {
                new.store(self.memory, at, count)?;
                continue;
            }
            old.load(self.memory, at, count)?;
            for (n, &raw) in old.raw[..count.min(RUN)].iter().enumerate() {
                if raw == absent {
                    continue;
                }
                let page = first + ((start - index + n as u64) << format.shift(level));
                let at = self.entry(table, level, start + n as u64);
                match format.decode(raw, level) {
                    Entry::Absent => {}
                    // Smaller pages may be mapped there already, or an empty table may have been left.
                    Entry::Table(next) if level > 0 => {
                        let span = Span { first: page, last: page | low_mask(format.shift(level)) };
                        self.fill(next, level - 1, span, fill, false)?;
                        new.raw[n] = raw;
                    }
                    Entry::Leaf { base, size_bits } => {
                        return Err(self.already_mapped(page, at, raw, base, size_bits));
                    }
                    Entry::Reserved | Entry::Table(_) => {
                        return Err(EditError::Reserved { at: PhysAddr(at.addr), level, raw });
                    }
                }
            }
            self.changes.add(at, &old.raw[..count.min(RUN)], &new);
        }
        Ok(())
    }

    /// Maps `span`, which lies in one entry of `level`, by the table below that entry.
    fn fill_below(
        &mut self,
        table: u64,
        level: u32,
        span: Span,
        fill: &Fill,
        fresh: bool,
    ) -> Result<(), EditError> {
        let Some(below) = level.checked_sub(1) else {
            return Err(EncodeError::Level { level }.into());
        };
        let at = self.entry(table, level, self.index(level, span.first));
        let raw = if fresh { self.format.absent(level) } else { read(self.memory, at)? };
        match self.format.decode(raw, level) {
            Entry::Table(next) => return self.fill(next, below, span, fill, false),
            Entry::Leaf { base, size_bits } => {
                return Err(self.already_mapped(span.first, at, raw, base, size_bits));
            }
            Entry::Reserved => return Err(EditError::Reserved { at: PhysAddr(at.addr), level, raw }),
            Entry::Absent => {}
        }
        // Every entry of a table that is mapped whole will be written; another must not hold junk.
        let next = if span.is_whole(self.format.shift(level)) {
            self.fresh.take(&self.format, below)?
        } else {
            self.fresh.table(self.memory, &self.format, below)?
        };
        let link = self.format.encode_table(next, level)?;
        self.fill(next.0, below, span, fill, true)?;
        if fresh {
            return put(self.memory, at, link);
        }
        self.changes.add(at, &[raw], &Run::of(link));
        Ok(())
    }
}
