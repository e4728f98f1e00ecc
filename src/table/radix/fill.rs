//! Mapping a range: the largest pages that fit, filled in runs.

use super::changes::Values;
use super::even::Even;
use super::range::{Edit, Span};
use super::raw::{put, read};
use super::run::{Rise, Run, runs, width};
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
        let base = fill.place(first);
        let even = Even::encode(&format, level, base, count, fill.perms)?;
        let index = self.index(level, first);
        let absent = format.absent(level);
        let mut new = Run::new(width(&format));
        for (start, count) in runs(index..index + count) {
            let at = self.entry(table, level, start);
            let from = start - index;
            let even = even.map(|even| even.rise.from(from));
            match even {
                Some(rise) => new.rise(rise, count),
                None => {
                    for n in 0..count {
                        let page = base.wrapping_add((from + n as u64) << format.shift(level));
                        new.set(n, format.encode_leaf(PhysAddr(page), level, fill.perms)?);
                    }
                }
            }
            if fresh {
                new.store(self.memory, at, count)?;
                continue;
            }
            let mut old = Run::new(width(&format));
            old.load(self.memory, at, count)?;
            if let Some(rise) = even.filter(|_| old.is_flat(absent, count)) {
                self.changes.add(at, count, Values::Rise(Rise::flat(absent)), Values::Rise(rise));
                continue;
            }
            for n in 0..count {
                let raw = old.get(n);
                if raw == absent {
                    continue;
                }
                let page = first + ((from + n as u64) << format.shift(level));
                let at = self.entry(table, level, start + n as u64);
                match format.decode(raw, level) {
                    Entry::Absent => {}
                    // Smaller pages may be mapped there already, or an empty table may have been left.
                    Entry::Table(next) if level > 0 => {
                        let span = Span { first: page, last: page | low_mask(format.shift(level)) };
                        self.fill(next, level - 1, span, fill, false)?;
                        new.set(n, raw);
                    }
                    Entry::Leaf { base, size_bits } => {
                        return Err(self.already_mapped(page, at, raw, base, size_bits));
                    }
                    Entry::Reserved | Entry::Table(_) => {
                        return Err(EditError::Reserved { at: PhysAddr(at.addr), level, raw });
                    }
                }
            }
            let (old, new) = (self.changes.save(&mut old, count), self.changes.save(&mut new, count));
            self.changes.add(at, count, old, new);
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
        self.changes.add_one(at, raw, link);
        Ok(())
    }
}
