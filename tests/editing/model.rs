//! The model, and the run that compares a table with it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use softmmu::access::{Access, AccessKind};
use softmmu::addr::{PageSize, PhysAddr, VirtAddr};
use softmmu::arch::software::{Cause, Marks, Software};
use softmmu::memory::{PhysMemory, Ram};
use softmmu::mmu::{AccessError, Mmu};
use softmmu::radix::Perms;
use softmmu::table::{EditError, Flush, Mapping, PageTable};
use softmmu::tlb::{Geometry, SetAssociative};

use super::pool::Pool;

#[path = "machine.rs"]
mod machine;
pub(crate) use machine::{Machine, Step, steps};

/// Memory for tables.
const TABLES: u64 = 1 << 20;

/// What should be mapped: page start to place, size and rights.
#[derive(Default)]
pub(crate) struct Model(pub(crate) BTreeMap<u64, (PhysAddr, PageSize, Perms)>);

impl Model {
    /// The page that holds `va`.
    fn at(&self, va: VirtAddr) -> Option<(VirtAddr, PhysAddr, PageSize, Perms)> {
        let (&page, &(pa, size, perms)) = self.0.range(..=va.0).next_back()?;
        (va.0 - page < size.bytes()).then_some((VirtAddr(page), pa, size, perms))
    }

    /// Whether anything is mapped in the page of `size` at `va`.
    fn overlaps(&self, va: VirtAddr, size: PageSize) -> bool {
        let last = va.0 + (size.bytes() - 1);
        self.at(va).is_some() || self.0.range(va.0..=last).next().is_some()
    }
}

/// A table under test with all that it stands on.
struct Bench<T: PageTable> {
    /// A hart with a TLB, which drops what the tokens say and nothing else.
    hart: Mmu<Software<T::Walker>, Ram, SetAssociative>,
    ram: Ram,
    pool: Pool,
    table: T,
    model: Model,
}

/// Every byte of every table, and who has which frame.
type Snapshot = (Vec<Vec<u8>>, Pool);

impl<T: PageTable> Bench<T> {
    fn snapshot(&self) -> Snapshot {
        let mut pool = self.pool.clone();
        pool.budget = usize::MAX;
        let content = |(&frame, &order): (&u64, &u32)| {
            use softmmu::frame::FrameAllocator;
            let mut bytes = vec![0; (pool.frame_size().bytes() << order) as usize];
            self.ram.read_bytes(PhysAddr(frame), &mut bytes).expect("tables are RAM");
            bytes
        };
        (pool.out.iter().map(content).collect(), pool)
    }

    /// Pays for an edit: the hart's TLB always, the frames only where the token is `applied`.
    fn settle(&mut self, flush: Flush, applied: bool) {
        if let Some(scope) = flush.scope(Default::default()) {
            self.hart.invalidate(&scope);
        }
        if applied {
            flush.apply(Default::default(), &mut self.pool, |_| {}).expect("its own frames");
        }
    }

    /// What `translate` finds is what the model holds, and so is what the hart finds, whatever its TLB has kept.
    fn compare(&mut self, va: VirtAddr) {
        let there = self.model.at(va);
        for kind in [AccessKind::Read, AccessKind::Write] {
            let found = self.hart.translate(&Access { va, len: 1, kind, flavor: () });
            let right = if kind == AccessKind::Read { Perms::READ } else { Perms::WRITE };
            match (found, there) {
                (Ok(found), Some((page, pa, _, perms))) => {
                    assert!(perms.contains(right), "{kind:?} at {va:?} with {perms:?}");
                    assert_eq!(found.pa.0, pa.0 + (va.0 - page.0), "{kind:?} at {va:?}");
                }
                (Err(AccessError::Fault(fault)), there) => {
                    let cause = if there.is_none() { Cause::Absent } else { Cause::Right };
                    assert_eq!(fault.cause, cause, "{kind:?} at {va:?}");
                    assert!(there.is_none_or(|page| !page.3.contains(right)), "{kind:?} at {va:?}");
                }
                (found, there) => panic!("{found:?} at {va:?}, where {there:?} is mapped"),
            }
        }
        let found = self.table.translate(&self.ram, va).expect("a sound table");
        let found = found.map(|Mapping { va, pa, size, perms, .. }| (va, pa, size, perms));
        assert_eq!(found, self.model.at(va), "at {va:?}");
    }

    fn step(&mut self, machine: &Machine, step: &Step) {
        let size = machine.sizes[usize::from(step.size) % machine.sizes.len()];
        let perms = machine.perms[usize::from(step.perms) % machine.perms.len()];
        let va = machine.va(step.place, size);
        // Any place that every format can hold: the largest page of a toy is what there is of memory.
        let pa = PhysAddr((u64::from(step.perms) * size.bytes()) & 0xffff).align_down(size.bits());
        let before = self.snapshot();
        self.pool.budget = step.budget.map_or(usize::MAX, usize::from);
        let outcome = match step.kind {
            0 | 1 => self.map(va, pa, size, perms),
            2 => self.unmap(va),
            3 => self.protect(va, perms),
            _ => {
                let (va, len) = machine.range(step);
                // Mostly as far into a large page as the range begins, so that large pages are used.
                let far = if machine.near || step.perms & 3 == 0 { 0 } else { va.0 & 0x7fff_ffff };
                let pa = PhysAddr((pa.0 + far) % machine.physical);
                self.range(machine, step.kind, va, len, pa, perms)
            }
        };
        self.pool.budget = usize::MAX;
        match outcome {
            Ok(flush) => self.settle(flush, step.applied),
            Err(_) => assert_eq!(self.snapshot(), before, "a failed edit changed something: {step:?}"),
        }
        self.compare(va);
        self.compare(VirtAddr(va.0 + (size.bytes() - 1)));
        for page in self.model.0.keys().copied().step_by(7).collect::<Vec<_>>() {
            self.compare(VirtAddr(page));
        }
    }

    fn map(&mut self, va: VirtAddr, pa: PhysAddr, size: PageSize, perms: Perms) -> Result<Flush, EditError> {
        let outcome = self.table.map(&self.ram, &mut self.pool, va, pa, size, perms);
        let taken = self.model.overlaps(va, size);
        match &outcome {
            Ok(flush) => {
                assert!(!taken, "mapped over a page at {va:?}");
                assert!(flush.is_nothing());
                self.model.0.insert(va.0, (pa, size, perms));
            }
            Err(EditError::AlreadyMapped { page, pa, size, .. }) => {
                let there = self.model.at(va).expect("something is mapped there");
                assert_eq!((*page, *pa, *size), (there.0, there.1, there.2));
            }
            Err(EditError::TableInWay { .. }) => {
                assert!(taken && self.model.at(va).is_none_or(|page| page.2 < size))
            }
            Err(EditError::Frames(_)) => assert!(self.pool.budget < 8 && !taken),
            Err(EditError::FrameInUse { pa, va, .. }) => self.in_use(*pa, *va),
            Err(error) => panic!("{error}"),
        }
        outcome
    }

    fn unmap(&mut self, va: VirtAddr) -> Result<Flush, EditError> {
        let there = self.model.at(va);
        match self.table.unmap(&self.ram, va) {
            Ok((page, flush)) => {
                assert_eq!(Some((page.va, page.pa, page.size, page.perms)), there);
                self.model.0.remove(&va.0);
                assert!(!flush.is_nothing());
                Ok(flush)
            }
            Err(error) => {
                self.refused(error, va);
                Err(error)
            }
        }
    }

    fn protect(&mut self, va: VirtAddr, perms: Perms) -> Result<Flush, EditError> {
        match self.table.protect(&self.ram, va, perms) {
            Ok((page, flush)) => {
                let entry = self.model.0.get_mut(&va.0).expect("mapped there");
                assert_eq!((page.pa, page.size, page.perms), *entry);
                let kept = entry.2 & (Perms::ACCESSED | Perms::DIRTY);
                assert_eq!(flush.is_nothing(), entry.2 == perms | kept);
                entry.2 = perms | kept;
                Ok(flush)
            }
            Err(error) => {
                self.refused(error, va);
                Err(error)
            }
        }
    }

    /// A range edit. The model is cut at the range's ends as the table must be.
    fn range(
        &mut self,
        machine: &Machine,
        kind: u8,
        va: VirtAddr,
        len: u64,
        pa: PhysAddr,
        perms: Perms,
    ) -> Result<Flush, EditError> {
        let last = va.0 + (len - 1);
        let inside: Vec<u64> = self.model.0.range(va.0..=last).map(|(&page, _)| page).collect();
        let reaching = [self.model.at(va), self.model.at(VirtAddr(last))].into_iter().flatten();
        let straddling: Vec<_> =
            reaching.filter(|page| page.0 < va || page.0.0 + (page.2.bytes() - 1) > last).collect();
        let (ram, pool) = (&self.ram, &mut self.pool);
        let outcome = match kind {
            4 | 5 => self.table.map_range(ram, pool, va, pa, len, perms),
            6 => self.table.unmap_range(ram, pool, va, len),
            _ => self.table.protect_range(ram, pool, va, len, perms),
        };
        let free = inside.is_empty() && self.model.at(va).is_none();
        match (&outcome, kind) {
            // A gigabyte of smallest pages needs more tables than there is memory.
            (Err(EditError::Frames(_)), _) => assert!(self.pool.budget < 8 || len > 1 << 28),
            (Err(EditError::FrameInUse { pa, va, .. }), 4 | 5) => self.in_use(*pa, *va),
            (Err(EditError::AlreadyMapped { va: at, page, pa, size }), 4 | 5) => {
                let there = self.model.at(*at).expect("something is mapped there");
                assert_eq!((*page, *pa, *size), (there.0, there.1, there.2));
            }
            (Err(EditError::Encode(_)), 4 | 5) => {
                assert!(pa.0 + len > machine.physical, "{va:?} {len:#x} at {pa:?}");
            }
            (Err(error), _) => panic!("{error}"),
            (Ok(flush), 4 | 5) => {
                assert!(free, "mapped over something");
                assert!(flush.is_nothing());
                machine.map_model(&mut self.model, va, pa, len, perms);
            }
            (Ok(flush), _) => {
                for page in &straddling {
                    self.model.0.remove(&page.0.0);
                    machine.split_model(&mut self.model, *page, va, last);
                }
                let pages: Vec<u64> = self.model.0.range(va.0..=last).map(|(&page, _)| page).collect();
                assert_eq!(pages.is_empty() && kind == 6, flush.is_nothing() && kind == 6);
                for page in pages {
                    if kind == 6 {
                        self.model.0.remove(&page);
                    } else if let Some(entry) = self.model.0.get_mut(&page) {
                        entry.2 = perms | (entry.2 & (Perms::ACCESSED | Perms::DIRTY));
                    }
                }
            }
        }
        if outcome.is_ok() {
            self.compare_range(va, len);
        }
        outcome
    }

    /// What `translate_range` shows is what the model holds.
    fn compare_range(&self, va: VirtAddr, len: u64) {
        let last = va.0 + (len - 1);
        let mut wanted: Vec<_> = self.model.at(va).filter(|page| page.0 < va).into_iter().collect();
        let within = self.model.0.range(va.0..=last);
        wanted.extend(within.map(|(&page, &(pa, size, perms))| (VirtAddr(page), pa, size, perms)));
        let mut found = Vec::new();
        let visit = |page: Mapping| {
            found.push((page.va, page.pa, page.size, page.perms));
            ControlFlow::Continue(())
        };
        self.table.translate_range(&self.ram, va, len, visit).expect("a sound table");
        assert_eq!(found, wanted, "in {len:#x} bytes from {va:?}");
    }

    /// A table with one entry a frame refused a frame: the page at `va` has it.
    fn in_use(&self, pa: PhysAddr, va: VirtAddr) {
        assert_eq!(self.model.at(va).map(|page| (page.0, page.1)), Some((va, pa)));
    }

    fn refused(&self, error: EditError, va: VirtAddr) {
        match (error, self.model.at(va)) {
            (EditError::NotMapped { va: named }, None) => assert_eq!(named, va),
            (EditError::InsidePage { page, size, .. }, Some(there)) => {
                assert_eq!((page, size), (there.0, there.2));
                assert_ne!(page, va);
            }
            (error, there) => panic!("{error} where {there:?} is mapped"),
        }
    }

    /// An `Mmu` on the table finds every page.
    fn walk(&self) {
        let arch = Software::new(self.table.walker()).with_marks(Marks::Ignored);
        let mut mmu = Mmu::new(arch, &self.ram, ());
        for (&page, &(pa, size, perms)) in &self.model.0 {
            let va = VirtAddr(page + size.bytes() / 3);
            let translation = mmu.translate(&Access { va, len: 1, kind: AccessKind::Read, flavor: () });
            let translation = translation.expect("a readable page");
            assert_eq!(translation.pa.0, pa.0 + size.bytes() / 3);
            assert_eq!(translation.entry.size_bits as u32, size.bits());
            assert_eq!(translation.entry.global, perms.contains(Perms::GLOBAL));
        }
    }
}

/// Applies `steps` to a new table and to the model.
pub(crate) fn run<T: PageTable>(
    machine: &Machine,
    steps: &[Step],
    make: impl FnOnce(&Ram, &mut Pool) -> Result<T, EditError>,
) {
    let ram = Ram::new(PhysAddr(0), TABLES).expect("a megabyte");
    let mut pool = Pool::new(machine.frame, TABLES.min(machine.frame.bytes() << 12));
    let table = make(&ram, &mut pool).expect("an empty table");
    let empty = pool.out.clone();
    let arch = Software::new(table.walker()).with_marks(Marks::Ignored);
    let tlb = SetAssociative::new(Geometry::new(16, 4)).expect("a small TLB");
    let hart = Mmu::new(arch, ram.clone(), tlb);
    let mut bench = Bench { hart, ram, pool, table, model: Model::default() };
    for step in steps {
        bench.step(machine, step);
    }
    bench.walk();
    for va in bench.model.0.keys().copied().collect::<Vec<_>>() {
        bench.compare(VirtAddr(va));
        let flush = bench.unmap(VirtAddr(va)).expect("mapped");
        bench.settle(flush, va & 1 == 0);
    }
    let rest = bench.table.flush_all();
    bench.settle(rest, true);
    assert_eq!(bench.pool.out, empty, "frames leaked");
}
