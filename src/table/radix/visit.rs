//! Reading a range: every page in it, in order, each table read once.

use core::convert::Infallible;
use core::ops::ControlFlow;

use super::RadixTable;
use super::even::{Even, Known, Step};
use super::range::Span;
use super::raw::entry;
use super::run::{Run, runs, width};
use crate::addr::{PageSize, PhysAddr, VirtAddr, low_mask};
use crate::memory::PhysMemory;
use crate::radix::{Encode, Entry};
use crate::table::{EditError, Mapping};

impl<F: Encode> RadixTable<F> {
    /// Shows the pages of `span`, which lies in the `table` of `level`, to `visit`.
    pub(super) fn visit_span<M: PhysMemory + ?Sized, V: FnMut(Mapping) -> ControlFlow<()>>(
        &self,
        memory: &M,
        (table, level): (u64, u32),
        (span, high): (Span, u64),
        visit: &mut V,
    ) -> Result<ControlFlow<()>, EditError> {
        let format = self.format;
        let absent = format.absent(level);
        let shift = format.shift(level);
        let index = |at: u64| at >> shift & low_mask(format.index_bits(level));
        let first = index(span.first);
        let mut run = Run::new(width(&format));
        let mut step = Step::default();
        for (start, count) in runs(first..index(span.last) + 1) {
            let at = entry(&format, table, level, start);
            run.load(memory, at, count)?;
            let mut va = (span.first & !low_mask(shift)) + ((start - first) << shift);
            if let Some(even) = Even::decode(&format, level, &mut run, count, &mut step) {
                let size = PageSize::from_bits(shift).unwrap_or(PageSize::SIZE_4K);
                let (mut va, mut pa, mut raw) = (high | va, even.base, even.rise.first);
                for _ in 0..count {
                    let page = Mapping { va: VirtAddr(va), pa: PhysAddr(pa), size, perms: even.perms, raw };
                    let seen = visit(page);
                    if seen.is_break() {
                        return Ok(seen);
                    }
                    va = va.wrapping_add(1 << shift);
                    pa = pa.wrapping_add(1 << shift);
                    raw = raw.wrapping_add(even.rise.step);
                }
                continue;
            }
            if let Some(test) = format.usual_leaf(level).filter(|&test| run.passes(test, count).is_some()) {
                let size = PageSize::from_bits(shift).unwrap_or(PageSize::SIZE_4K);
                let mut known = Known::new(test);
                let seen = run.visit(count, |raw| {
                    let perms = known.get(raw, || Ok::<_, Infallible>(format.perms(raw, level)));
                    let here = VirtAddr(high | va);
                    va = va.wrapping_add(1 << shift);
                    match (format.decode(raw, level), perms) {
                        (Entry::Leaf { base, .. }, Ok(perms)) => {
                            visit(Mapping { va: here, pa: PhysAddr(base), size, perms, raw })
                        }
                        // It passed the test, so it is a leaf, and reading rights cannot fail.
                        _ => ControlFlow::Continue(()),
                    }
                });
                if seen.is_break() {
                    return Ok(seen);
                }
                continue;
            }
            for n in 0..count {
                let (here, raw) = (va, run.get(n));
                va = va.wrapping_add(1 << shift);
                if raw == absent {
                    continue;
                }
                match format.decode(raw, level) {
                    Entry::Leaf { base, size_bits } => {
                        let page = here & !low_mask(size_bits);
                        // Several entries that form one page are one page.
                        if size_bits > shift && here > page && here > span.first {
                            continue;
                        }
                        let seen = visit(Mapping {
                            va: VirtAddr(high | page),
                            pa: PhysAddr(base),
                            size: PageSize::from_bits(size_bits).unwrap_or(PageSize::SIZE_4K),
                            perms: format.perms(raw, level),
                            raw,
                        });
                        if seen.is_break() {
                            return Ok(seen);
                        }
                    }
                    Entry::Table(next) if level > 0 => {
                        let part = span.part(here, shift);
                        let seen = self.visit_span(memory, (next, level - 1), (part, high), visit)?;
                        if seen.is_break() {
                            return Ok(seen);
                        }
                    }
                    Entry::Absent => {}
                    Entry::Reserved | Entry::Table(_) => {
                        let at = PhysAddr(entry(&format, table, level, start + n as u64).addr);
                        return Err(EditError::Reserved { at, level, raw });
                    }
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
