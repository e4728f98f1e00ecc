//! The model, and the run that compares a table with it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use proptest::prelude::*;
use softmmu::access::{Access, AccessKind};
use softmmu::addr::{PageSize, PhysAddr, VirtAddr};
use softmmu::arch::software::{Marks, Software};
use softmmu::memory::{PhysMemory, Ram};
use softmmu::mmu::Mmu;
use softmmu::radix::Perms;
use softmmu::table::{EditError, Flush, Mapping, PageTable};

use super::pool::Pool;

/// Memory for tables.
const TABLES: u64 = 1 << 20;

/// What to edit in a format: where, in which sizes, with which rights.
pub(crate) struct Machine {
    /// Window starts. A window reaches over the lesser of 600 smallest pages and three largest.
    windows: Vec<u64>,
    sizes: Vec<PageSize>,
    frame: PageSize,
    perms: Vec<Perms>,
    /// Whether large pages can be split.
    near: bool,
    /// How many bytes of physical memory an entry can point into.
    physical: u64,
}

impl Machine {
    pub(crate) fn new(windows: &[u64], sizes: &[u32], frame: u32, perms: Vec<Perms>) -> Self {
        let size = |bits: &u32| PageSize::from_bits(*bits).expect("a page size");
        Self {
            windows: windows.to_vec(),
            sizes: sizes.iter().map(size).collect(),
            frame: size(&frame),
            perms,
            near: false,
            physical: u64::MAX,
        }
    }

    /// The same with pages of the smallest size alone.
    pub(crate) fn only_smallest(mut self) -> Self {
        self.sizes.truncate(1);
        self
    }

    /// The same with all pages lying in the lowest megabytes.
    pub(crate) fn near(mut self) -> Self {
        self.near = true;
        self
    }

    /// The same with only so much physical memory.
    pub(crate) fn physical(mut self, bytes: u64) -> Self {
        self.physical = bytes;
        self
    }

    /// Maps a range in the model: the largest pages that fit.
    fn map_model(&self, model: &mut Model, va: VirtAddr, pa: PhysAddr, len: u64, perms: Perms) {
        let mut done = 0;
        while done < len {
            let fits = |size: &&PageSize| {
                ((va.0 + done) | (pa.0 + done)) % size.bytes() == 0 && size.bytes() <= len - done
            };
            let size = *self.sizes.iter().rev().find(fits).expect("whole pages");
            model.0.insert(va.0 + done, (PhysAddr(pa.0 + done), size, perms));
            done += size.bytes();
        }
    }

    /// Puts what a page becomes into the model when only its part in `va..=last` is edited: pages one size smaller,
    /// of which those that still reach over an end are cut again.
    fn split_model(
        &self,
        model: &mut Model,
        (page, pa, size, perms): (VirtAddr, PhysAddr, PageSize, Perms),
        va: VirtAddr,
        last: u64,
    ) {
        let smaller = *self.sizes.iter().rev().find(|&&smaller| smaller < size).expect("a smaller page");
        for offset in (0..size.bytes()).step_by(smaller.bytes() as usize) {
            let (at, to) = (VirtAddr(page.0 + offset), PhysAddr(pa.0 + offset));
            let end = at.0 + (smaller.bytes() - 1);
            let crosses = at < va && end >= va.0 || at.0 <= last && end > last;
            if crosses {
                self.split_model(model, (at, to, smaller, perms), va, last);
            } else {
                model.0.insert(at.0, (to, smaller, perms));
            }
        }
    }

    /// A range that begins at a smallest page and ends anywhere up to a little over a largest page further.
    fn range(&self, step: &Step) -> (VirtAddr, u64) {
        let smallest = self.sizes[0];
        let va = self.va(step.place, smallest);
        let unit = self.sizes[usize::from(step.size >> 4) % self.sizes.len()].bytes();
        let pages = u64::from(step.size & 3) * unit / smallest.bytes() + u64::from(step.size >> 2 & 3);
        (va, pages.max(1) * smallest.bytes())
    }

    /// An address of a page of `size`, drawn from `pick`: low numbers near a window's start, others at each multiple
    /// of larger pages, so that pages of different sizes meet.
    fn va(&self, pick: u16, size: PageSize) -> VirtAddr {
        let window = self.windows[usize::from(pick) % self.windows.len()];
        let spread = self.sizes[usize::from(pick >> 3) % self.sizes.len()];
        let offset =
            u64::from(pick >> 6 & 1) * spread.bytes() + u64::from(pick >> 7 & 3) * self.sizes[0].bytes();
        VirtAddr(window.wrapping_add(offset)).align_down(size.bits())
    }
}

/// One edit, as numbers that a [`Machine`] gives meaning to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    kind: u8,
    place: u16,
    size: u8,
    perms: u8,
    /// Apply the token, or drop it.
    applied: bool,
    /// How many allocations succeed; few make the edit fail.
    budget: Option<u8>,
}

/// Random edits.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let budget = proptest::option::weighted(0.2, 0u8..4);
    let step = (0u8..8, any::<u16>(), any::<u8>(), any::<u8>(), any::<bool>(), budget).prop_map(
        |(kind, place, size, perms, applied, budget)| Step { kind, place, size, perms, applied, budget },
    );
    proptest::collection::vec(step, 1..60)
}

/// What should be mapped: page start to place, size and rights.
#[derive(Default)]
struct Model(BTreeMap<u64, (PhysAddr, PageSize, Perms)>);

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
struct Bench<T> {
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

    fn settle(&mut self, flush: Flush, applied: bool) {
        if applied {
            flush.apply(Default::default(), &mut self.pool, |_| {}).expect("its own frames");
        }
    }

    /// What `translate` finds is what the model holds.
    fn compare(&self, va: VirtAddr) {
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
        self.compare_range(va, len);
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
    let mut bench = Bench { ram, pool, table, model: Model::default() };
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
