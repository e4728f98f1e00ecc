//! Unmapping and protecting a range: leaves are rewritten in runs, large pages split at the range's ends, and tables
//! that a range covers dropped without a look at what they map.

use core::ops::{ControlFlow, Range};

use super::changes::Values;
use super::even::Known;
use super::range::{Edit, Span};
use super::raw::{entries, is_empty, read};
use super::run::{RUN, Rise, Run, runs, width};
use crate::addr::{PageSize, PhysAddr, VirtAddr, low_mask};
use crate::frame::FrameAllocator;
use crate::memory::PhysMemory;
use crate::radix::{Encode, EncodeError, Entry, PteRef};
use crate::table::EditError;

/// What became of a table, or of a run of its entries.
#[derive(Clone, Copy, Default)]
pub(super) struct Done {
    /// Some entry is another now.
    pub(super) changed: bool,
    /// Something is left where the span is.
    left: bool,
    /// Nothing is left in the table.
    emptied: bool,
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
        let (first, last) = (self.index(level, span.first), self.index(level, span.last));
        if first == last && level > 0 {
            // The range lies below one entry, as most do far up: no run to be gone through, unless that is a large page.
            let at = self.entry(table, level, first);
            let raw = read(self.memory, at)?;
            if let Entry::Table(next) = self.format.decode(raw, level) {
                let (became, changed) = self.rewrite_below::<DROP>(next, (at, raw), span, leaf)?;
                if became != raw {
                    self.changes.add_one(at, raw, became);
                }
                let done = Done { changed, left: became == raw, emptied: false };
                return self.emptied::<DROP>(table, level, first..last + 1, done);
            }
        }
        self.rewrite_entries::<DROP>(table, level, span, leaf)
    }

    /// Does so entry by entry.
    #[inline(never)]
    fn rewrite_entries<const DROP: bool>(
        &mut self,
        table: u64,
        level: u32,
        span: Span,
        leaf: &mut impl FnMut(&F, u64, u32) -> Result<u64, EncodeError>,
    ) -> Result<Done, EditError> {
        let (first, last) = (self.index(level, span.first), self.index(level, span.last));
        let mut done = Done::default();
        let mut run = Run::new(width(&self.format));
        for (start, count) in runs(first..last + 1) {
            let part = self.rewrite_run::<DROP>((table, level), (start, count), span, &mut run, leaf)?;
            done.changed |= part.changed;
            done.left |= part.left;
        }
        self.emptied::<DROP>(table, level, first..last + 1, done)
    }

    /// Looks whether a table holds nothing any more, after its `entries` were rewritten.
    #[inline]
    fn emptied<const DROP: bool>(
        &self,
        table: u64,
        level: u32,
        entries: Range<u64>,
        done: Done,
    ) -> Result<Done, EditError> {
        // The root stays, whatever is left in it.
        if !DROP || done.left || level == self.format.top_level() {
            return Ok(done);
        }
        let emptied = is_empty(self.memory, &self.format, table, level, entries)?;
        Ok(Done { emptied, ..done })
    }

    /// Does so in the table `next`, which the entry `at`, now `raw`, links, and of which the range covers `part`. Yields
    /// what that entry is to be, and whether anything changes.
    fn rewrite_below<const DROP: bool>(
        &mut self,
        next: u64,
        (at, raw): (PteRef, u64),
        part: Span,
        leaf: &mut impl FnMut(&F, u64, u32) -> Result<u64, EncodeError>,
    ) -> Result<(u64, bool), EditError> {
        let level = at.level;
        let absent = self.format.absent(level);
        if DROP && part.is_whole(self.format.shift(level)) {
            self.collect(next, level - 1)?;
            return Ok((absent, true));
        }
        let below = self.rewrite::<DROP>(next, level - 1, part, leaf)?;
        // The root is nobody's to free: a link to it stays.
        if !below.emptied || next == self.root {
            return Ok((raw, below.changed));
        }
        self.unlink(next, level - 1);
        Ok((absent, true))
    }

    /// Rewrites the `count` entries from `start` on.
    fn rewrite_run<const DROP: bool>(
        &mut self,
        (table, level): (u64, u32),
        (start, count): (u64, usize),
        span: Span,
        run: &mut Run,
        leaf: &mut impl FnMut(&F, u64, u32) -> Result<u64, EncodeError>,
    ) -> Result<Done, EditError> {
        let format = self.format;
        let absent = format.absent(level);
        let shift = format.shift(level);
        let first = self.index(level, span.first);
        let at = self.entry(table, level, start);
        run.load(self.memory, at, count)?;
        // Only the ends of the span can cover less than their entry.
        let ends = [span.first, span.last].map(|end| span.part(end, shift));
        if level == 0 || ends.into_iter().all(|end| end.is_whole(shift)) {
            let done = self.rewrite_leaves::<DROP>(at, run, count, leaf)?;
            if let Some(done) = done {
                return Ok(done);
            }
        }

        let mut done = Done::default();
        let mut old = None;
        for n in 0..count.min(RUN) {
            let raw = run.get(n);
            if raw == absent {
                continue;
            }
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
                    let link = (self.entry(table, level, index), raw);
                    let (became, changed) =
                        self.rewrite_below::<DROP>(next, link, part.unwrap_or(span), leaf)?;
                    done.changed |= changed;
                    became
                }
                Entry::Reserved | Entry::Table(_) => {
                    let at = PhysAddr(self.entry(table, level, index).addr);
                    return Err(EditError::Reserved { at, level, raw });
                }
            };
            done.left |= became != absent;
            if became != raw {
                old = old.or_else(|| Some(self.changes.save(run, count)));
                run.set(n, became);
            }
        }
        if let Some(old) = old {
            let new = self.changes.save(run, count);
            self.changes.add(at, count, old, new);
            done.changed = true;
        }
        Ok(done)
    }

    /// Rewrites the first `count` entries of a run at once, if they are usual leaves that all change alike.
    fn rewrite_leaves<const DROP: bool>(
        &mut self,
        at: PteRef,
        run: &mut Run,
        count: usize,
        leaf: &mut impl FnMut(&F, u64, u32) -> Result<u64, EncodeError>,
    ) -> Result<Option<Done>, EditError> {
        let (format, level) = (self.format, at.level);
        let Some(test) = format.usual_leaf(level) else { return Ok(None) };
        let Some(varying) = run.passes(test, count) else { return Ok(None) };
        if DROP {
            let old = self.changes.save(run, count);
            self.changes.add(at, count, old, Values::Rise(Rise::flat(format.absent(level))));
            return Ok(Some(Done { changed: true, ..Done::default() }));
        }
        // Which bits change, and what they become.
        let mut change = |raw| leaf(&format, raw, level).map(|new| (raw ^ new, new & (raw ^ new)));
        let (mask, value) = change(run.get(0))?;
        if varying & !test.address != 0 {
            let mut known = Known::new(test);
            let differs = run.visit(count, |raw| match known.get(raw, || change(raw)) {
                Ok(same) if same == (mask, value) => ControlFlow::Continue(()),
                differs => ControlFlow::Break(differs.map(drop)),
            });
            if let ControlFlow::Break(differs) = differs {
                differs?;
                return Ok(None);
            }
        }
        if mask != 0 {
            let old = Values::Bits { mask, value: mask & !value };
            self.changes.add(at, count, old, Values::Bits { mask, value });
        }
        Ok(Some(Done { changed: mask != 0, left: true, emptied: false }))
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

    /// Notes the `table` of `level` and all below it as unlinked. Last-level tables are not even read, and the others
    /// are gone through once, though a damaged tree may link them more often.
    fn collect(&mut self, table: u64, level: u32) -> Result<(), EditError> {
        if !self.unlink(table, level) {
            return Ok(());
        }
        let format = self.format;
        let mut run = Run::new(width(&format));
        for (start, count) in runs(0..entries(&format, level)) {
            run.load(self.memory, self.entry(table, level, start), count)?;
            if format.usual_leaf(level).is_some_and(|test| run.passes(test, count).is_some()) {
                continue;
            }
            if level == 1 {
                let link = |raw| match format.decode(raw, 1) {
                    Entry::Table(next) => Some(next),
                    _ => None,
                };
                self.unlinked.last_level_of(&mut run, count, link);
                continue;
            }
            for n in 0..count {
                if let Entry::Table(next) = format.decode(run.get(n), level) {
                    self.collect(next, level - 1)?;
                }
            }
        }
        Ok(())
    }
}
