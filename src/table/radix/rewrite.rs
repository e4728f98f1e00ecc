//! Unmapping and protecting a range: leaves are rewritten in runs, large pages split at the range's ends, and tables
//! that a range covers dropped without a look at what they map.

use super::even::{Even, Step};
use super::range::{Edit, Span};
use super::raw::{RUN, Run, entries, is_empty, read, runs, width};
use crate::addr::{PageSize, PhysAddr, VirtAddr, low_mask};
use crate::frame::FrameAllocator;
use crate::memory::PhysMemory;
use crate::radix::{Encode, EncodeError, Entry};
use crate::table::EditError;

/// What became of a table.
#[derive(Clone, Copy, Default)]
pub(super) struct Done {
    /// Some entry is another now.
    pub(super) changed: bool,
    /// Nothing is left in it.
    pub(super) emptied: bool,
}

impl<F: Encode, M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized> Edit<'_, F, M, A> {
    /// Makes of every leaf in `span`, which lies in the `table` of `level`, what `leaf` makes of it. With `DROP` that
    /// is nothing, and tables without anything left are unlinked.
    pub(super) fn rewrite<const DROP: bool>(
        &mut self,
        table: u64,
        level: u32,
        span: Span,
        leaf: &mut impl FnMut(&F, u64, u32) -> Result<u64, EncodeError>,
    ) -> Result<Done, EditError> {
        let format = self.format;
        let absent = format.absent(level);
        let shift = format.shift(level);
        let (first, last) = (self.index(level, span.first), self.index(level, span.last));
        let mut done = Done::default();
        let mut left = false;
        let mut old = Run::new(width(&format));
        let mut new = Run::new(width(&format));
        let mut step = Step::default();
        for (start, count) in runs(first..last + 1) {
            let at = self.entry(table, level, start);
            old.load(self.memory, at, count)?;
            let ends = level == 0
                || span.part(span.first, shift).is_whole(shift)
                    && span.part(span.last, shift).is_whole(shift);
            let even = if ends { Even::decode(&format, level, &mut old, count, &mut step) } else { None };
            if let Some(even) = even {
                if let Some((became, step)) = even.map(count, |raw| leaf(&format, raw, level))? {
                    left |= became != absent || step != 0;
                    if became != even.first {
                        new.rise(became, step, count);
                        self.changes.add(at, &mut old, &mut new, count);
                        done.changed = true;
                    }
                    continue;
                }
            }
            let mut touched = false;
            for n in 0..count.min(RUN) {
                let raw = old.get(n);
                new.set(n, raw);
                if raw == absent {
                    continue;
                }
                // Only the ends of the span can cover less than their entry.
                let index = start + n as u64;
                let entry = (span.first & !low_mask(shift)) + ((index - first) << shift);
                let part = if level == 0 { None } else { Some(span.part(entry, shift)) };
                let whole = part.is_none_or(|part| part.is_whole(shift));
                let became = match format.decode(raw, level) {
                    // What software keeps in an absent entry is not ours to drop.
                    Entry::Absent => raw,
                    Entry::Leaf { base: _, size_bits } if whole && size_bits <= shift => {
                        leaf(&format, raw, level)?
                    }
                    Entry::Leaf { base, size_bits } => {
                        let raw = self.detach(table, level, (entry, index), (raw, base, size_bits), span)?;
                        match part {
                            Some(part) if !whole => self.split::<DROP>(level, part, raw, leaf)?,
                            _ => leaf(&format, raw, level)?,
                        }
                    }
                    Entry::Table(next) if level > 0 => {
                        if DROP && whole {
                            self.collect(next, level - 1)?;
                            absent
                        } else {
                            let below = self.rewrite::<DROP>(next, level - 1, part.unwrap_or(span), leaf)?;
                            done.changed |= below.changed;
                            if below.emptied && self.free(next, level - 1) { absent } else { raw }
                        }
                    }
                    Entry::Reserved | Entry::Table(_) => {
                        let at = PhysAddr(self.entry(table, level, index).addr);
                        return Err(EditError::Reserved { at, level, raw });
                    }
                };
                new.set(n, became);
                touched |= became != raw;
                left |= became != absent;
            }
            if touched {
                self.changes.add(at, &mut old, &mut new, count);
            }
            done.changed |= touched;
        }
        // The root stays, whatever is left in it.
        let counts = DROP && !left && level < format.top_level();
        done.emptied = counts && is_empty(self.memory, &format, table, level, first..last + 1)?;
        Ok(done)
    }

    /// The leaf of one entry by itself: several entries that form one page of which the span covers only some are
    /// made single pages, those outside the span here, the one at `index` by the caller.
    fn detach(
        &mut self,
        table: u64,
        level: u32,
        (at, index): (u64, u64),
        (raw, base, size_bits): (u64, u64, u32),
        span: Span,
    ) -> Result<u64, EditError> {
        let shift = self.format.shift(level);
        let group = low_mask(size_bits);
        let (group_first, group_last) = (at & !group, at | group);
        if size_bits <= shift || group_first >= span.first && group_last <= span.last {
            return Ok(raw);
        }
        let format = self.format;
        let single = |raw: u64, at: u64| {
            let page = PhysAddr(base | (at & group & !low_mask(shift)));
            format.reshape(raw, level, page, level)
        };
        // Once for the group: at its first entry inside the span.
        if at == group_first.max(span.first & !low_mask(shift)) {
            let first_index = index - ((at - group_first) >> shift);
            for n in 0..1u64 << (size_bits - shift).min(format.index_bits(level)) {
                let page = group_first + (n << shift);
                let outside = page | low_mask(shift) < span.first || page > span.last;
                if outside {
                    let pte = self.entry(table, level, first_index + n);
                    let old = read(self.memory, pte)?;
                    self.changes.add_one(pte, old, single(old, page)?);
                }
            }
        }
        Ok(single(raw, at)?)
    }

    /// Splits the leaf `raw` of `level`, of which the span covers `part`; yields the entry that takes its place.
    fn split<const DROP: bool>(
        &mut self,
        level: u32,
        part: Span,
        raw: u64,
        leaf: &mut impl FnMut(&F, u64, u32) -> Result<u64, EncodeError>,
    ) -> Result<u64, EditError> {
        let shift = self.format.shift(level);
        let below = level.wrapping_sub(1);
        if level == 0 || !self.has_leaves(below) {
            let page = VirtAddr(self.high | (part.first & !low_mask(shift)));
            let inner =
                if part.first & low_mask(shift) != 0 { part.first } else { part.last.wrapping_add(1) };
            let size = PageSize::from_bits(shift).unwrap_or(PageSize::SIZE_4K);
            return Err(EditError::InsidePage { va: VirtAddr(self.high | inner), page, size });
        }
        let format = self.format;
        let Entry::Leaf { base, .. } = format.decode(raw, level) else {
            return Err(EncodeError::Level { level }.into());
        };
        let table = self.fresh.take(&format, below)?;
        let link = format.encode_table(table, level)?;
        let mut run = Run::new(width(&format));
        for (start, count) in runs(0..entries(&format, below)) {
            for n in 0..count {
                let page = PhysAddr(base + ((start + n as u64) << format.shift(below)));
                run.set(n, format.reshape(raw, level, page, below)?);
            }
            run.store(self.memory, self.entry(table.0, below, start), count)?;
        }
        self.rewrite::<DROP>(table.0, below, part, leaf)?;
        Ok(link)
    }

    /// Collects the `table` of `level` and all below it to be freed. Last-level tables are not even read; a table met
    /// twice, as only a damaged tree has it, is collected once.
    fn collect(&mut self, table: u64, level: u32) -> Result<(), EditError> {
        if !self.free(table, level) || level == 0 {
            return Ok(());
        }
        let mut run = Run::new(width(&self.format));
        for (start, count) in runs(0..entries(&self.format, level)) {
            run.load(self.memory, self.entry(table, level, start), count)?;
            for n in 0..count {
                if let Entry::Table(next) = self.format.decode(run.get(n), level) {
                    self.collect(next, level - 1)?;
                }
            }
        }
        Ok(())
    }
}
