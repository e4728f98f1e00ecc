//! Programs against a plain array of bytes per space. The fuzz target `vm` runs it too.

use super::machine::{Machine, Plan, RW};
use crate::addr::{PhysAddr, VirtAddr};
use crate::radix::Perms;
use crate::store::StoreError;
use crate::vm::{Backing, Policy, Region, SharedMemory, SpaceId, VmError, VmStats};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

/// What a space translates.
pub(super) const PAGES: u64 = 64;
/// The pages of RAM that serve as a device, counted from the bottom.
const DEVICE: core::ops::Range<u64> = 52..60;

/// How many pages of a shared memory are ever shown.
const SHARED: u64 = 40;

/// What is done to a space, which is named by any number; the numbers behind it are a first page and how many, or an
/// address.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Create,
    Fork(usize),
    Destroy(usize),
    /// Of what, and whether writable.
    Map(usize, u64, u64, Kind, bool),
    Unmap(usize, u64, u64),
    Protect(usize, u64, u64, bool),
    /// The region, and how many pages it is to have.
    Resize(usize, usize, u64),
    Load(usize, u64),
    Store(usize, u64, u32),
    /// The kernel's own.
    Read(usize, u64, usize),
    Write(usize, u64, u8),
    /// A run of stores, to have pages put out.
    Sweep(usize, u64, u64, u32),
}

/// What a region is made of.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Kind {
    Zero,
    Source,
    /// From this page of the device on.
    Device(u64),
    /// From this page of the shared memory on.
    Shared(u64),
    Guard,
}

impl Kind {
    /// What it is so many pages on.
    fn after(self, pages: u64) -> Self {
        match self {
            Self::Device(at) => Self::Device(at + pages),
            Self::Shared(at) => Self::Shared(at + pages),
            kind => kind,
        }
    }

    /// Whether there is less of it than so many pages: a region that goes on where nothing is, is not of interest here.
    fn runs_out(self, pages: u64) -> bool {
        match self {
            Self::Device(at) => at + pages > DEVICE.end - DEVICE.start,
            Self::Shared(at) => at + pages > SHARED,
            _ => false,
        }
    }
}

#[derive(Clone, Copy)]
struct Page {
    perms: Perms,
    kind: Kind,
}

/// One space as a plain array, and what each page is.
#[derive(Clone)]
struct Model {
    bytes: Vec<u8>,
    pages: Vec<Option<Page>>,
}

impl Model {
    fn allows(&self, page: u64, at: u64, len: u64, right: Perms) -> bool {
        (at / page..=(at + len - 1) / page).all(|number| {
            let there = self.pages.get(number as usize).copied().flatten();
            there.is_some_and(|there| there.kind != Kind::Guard && there.perms.contains(right))
        })
    }

    /// The pages of a range, if they are pages.
    fn range(&mut self, first: u64, count: u64) -> Option<&mut [Option<Page>]> {
        self.pages.get_mut(first as usize..(first + count) as usize)
    }
}

/// What a page of a source holds.
fn source_byte(at: u64) -> u8 {
    (at * 7 + at / 256) as u8 | 1
}

pub(super) struct Setup {
    pub(super) page: u64,
    pub(super) marks: bool,
    pub(super) frames: u64,
    pub(super) slots: u64,
    /// One operation of the store in so many fails.
    pub(super) failing: Option<u64>,
    /// Whether memory may be too small for what a single access needs.
    pub(super) cramped: bool,
}

/// A machine and its model.
pub(super) struct World<P> {
    machine: Machine<P>,
    page: u64,
    spaces: Vec<(SpaceId, Model)>,
    device: Vec<u8>,
    /// What all spaces share, and the handle that keeps it.
    shared: Vec<u8>,
    memory: SharedMemory,
    source: Arc<Vec<u8>>,
    /// What may go wrong without anybody being at fault.
    refusing: bool,
    filling: bool,
}

impl<P: Policy> World<P> {
    pub(super) fn new(setup: &Setup, policy: P) -> Self {
        let Setup { page, marks, frames, slots, failing, cramped } = *setup;
        let plan: Plan = Box::new(move |n, _| {
            failing.is_some_and(|rate| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % rate == 0)
        });
        let mut world = Self {
            machine: Machine::new(page, marks, frames, slots, policy, plan),
            page,
            spaces: Vec::new(),
            device: vec![0; ((DEVICE.end - DEVICE.start) * page) as usize],
            shared: vec![0; (SHARED * page) as usize],
            memory: SharedMemory::new(),
            source: Arc::new((0..PAGES * page).map(source_byte).collect()),
            refusing: failing.is_some(),
            filling: slots < 1000 || cramped,
        };
        world.step(&Op::Create);
        world
    }

    fn excused(&self) -> impl Fn(&VmError) -> bool + use<P> {
        let (refusing, filling) = (self.refusing, self.filling);
        move |error| match error {
            VmError::Store(StoreError::Refused { .. }) => refusing,
            VmError::OutOfMemory { .. } => filling,
            _ => false,
        }
    }

    /// The byte at `at` of a space, which is there.
    fn byte(&mut self, space: usize, at: u64) -> &mut u8 {
        let (model, page) = (&mut self.spaces[space].1, self.page);
        let there = model.pages[(at / page) as usize];
        let (bytes, at) = match there.map(|there| there.kind) {
            Some(Kind::Device(first)) => (&mut self.device, first * page + at % page),
            Some(Kind::Shared(first)) => (&mut self.shared, first * page + at % page),
            _ => (&mut model.bytes, at),
        };
        &mut bytes[at as usize]
    }

    pub(super) fn step(&mut self, op: &Op) {
        let (page, alive) = (self.page, self.spaces.len());
        match *op {
            Op::Create if alive < 5 => {
                let bytes = vec![0; (PAGES * page) as usize];
                let model = Model { bytes, pages: vec![None; PAGES as usize] };
                self.spaces.push((self.machine.create(), model));
            }
            Op::Fork(n) if alive < 5 => {
                let (space, model) = self.spaces[n % alive].clone();
                let child = self.machine.fork(space).expect("takes no frame");
                self.spaces.push((child, model));
            }
            Op::Create | Op::Fork(_) => {}
            Op::Destroy(n) => {
                if alive > 1 {
                    let (space, _) = self.spaces.swap_remove(n % alive);
                    self.machine.destroy(space).expect("sound tables");
                }
            }
            Op::Map(n, first, count, kind, write) => self.map(n % alive, first, count, kind, write),
            Op::Unmap(n, first, count) => {
                let (space, model) = &mut self.spaces[n % alive];
                let pages = model.range(first, count);
                let (va, len) = (VirtAddr(first * page), count * page);
                let done = self.machine.vm.unmap(*space, va, len, &mut self.machine.mmu);
                assert_eq!(done.is_ok(), pages.is_some(), "{done:?}");
                if let Some(pages) = pages {
                    pages.fill(None);
                }
            }
            Op::Protect(n, first, count, write) => {
                let (space, model) = &mut self.spaces[n % alive];
                let pages = model.range(first, count).filter(|pages| pages.iter().all(Option::is_some));
                let perms = if write { RW } else { Perms::READ };
                let (va, len) = (VirtAddr(first * page), count * page);
                let done = self.machine.vm.protect(*space, va, len, perms, &mut self.machine.mmu);
                assert_eq!(done.is_ok(), pages.is_some(), "{done:?}");
                pages.into_iter().flatten().flatten().for_each(|page| page.perms = perms);
            }
            Op::Resize(n, region, count) => self.resize(n % alive, region, count),
            Op::Load(n, at) => self.load(n % alive, at),
            Op::Store(n, at, value) => self.store(n % alive, at, value),
            Op::Sweep(n, first, count, value) => {
                for number in first..(first + count).min(PAGES) {
                    self.store(n % alive, number * page + u64::from(value) % (page - 4), value);
                }
            }
            Op::Read(n, at, len) => self.read(n % alive, at, len),
            Op::Write(n, at, value) => {
                let (space, model) = &self.spaces[n % alive];
                let allowed = model.allows(page, at, 1, Perms::WRITE);
                let done = self.machine.vm.write(*space, VirtAddr(at), &[value], &mut self.machine.mmu);
                self.settle(done.as_ref().err(), allowed);
                if done.is_ok() {
                    *self.byte(n % alive, at) = value;
                }
            }
        }
        self.machine.audit();
    }

    /// What an access came to: made if it is allowed, unless something is short.
    fn settle(&self, error: Option<&VmError>, allowed: bool) {
        match error {
            None => assert!(allowed),
            Some(error) => assert!(!allowed || self.excused()(error), "{error}"),
        }
    }

    fn map(&mut self, n: usize, first: u64, count: u64, kind: Kind, write: bool) {
        let page = self.page;
        let (va, len) = (VirtAddr(first * page), count * page);
        let perms = if write { RW } else { Perms::READ };
        let backing = match kind {
            kind if kind.runs_out(count) => return,
            Kind::Zero => Backing::Zero,
            // Not all of the region comes from the source.
            Kind::Source => {
                Backing::Source { source: self.source.clone(), offset: va.0, at: va, len: len - page / 2 }
            }
            Kind::Device(at) => Backing::Device { pa: PhysAddr(0x4000 + (DEVICE.start + at) * page), at: va },
            Kind::Shared(at) => Backing::Shared { memory: self.memory.clone(), offset: at * page, at: va },
            Kind::Guard => Backing::Guard,
        };
        let (space, model) = &mut self.spaces[n];
        let pages = model.range(first, count).filter(|pages| pages.iter().all(Option::is_none));
        let done = self.machine.vm.map(*space, Region { va, len, perms, backing });
        assert_eq!(done.is_ok(), pages.is_some(), "{done:?}");
        for (number, slot) in (0..).zip(pages.into_iter().flatten()) {
            *slot = Some(Page { perms, kind: kind.after(number) });
        }
        if done.is_ok() {
            for at in va.0..va.0 + len {
                let from_source = kind == Kind::Source && at - va.0 < len - page / 2;
                model.bytes[at as usize] = if from_source { source_byte(at) } else { 0 };
            }
        }
    }

    fn resize(&mut self, n: usize, region: usize, count: u64) {
        let page = self.page;
        let (space, model) = &mut self.spaces[n];
        let regions: Vec<_> = self.machine.vm.regions(*space).expect("alive").cloned().collect();
        let Some(region) = regions.get(region % regions.len().max(1)) else { return };
        let (va, len) = (region.va, count * page);
        let first = va.0 / page;
        let old = region.len / page;
        // What it grows into must be free.
        let grown = first + old..first + count.max(old);
        let free = model.pages.get(grown.start as usize..grown.end as usize);
        let fits = count > 0 && free.is_some_and(|pages| pages.iter().all(Option::is_none));
        let there = model.pages[first as usize].expect("a region's page");
        if fits && there.kind.runs_out(count) {
            return;
        }
        let done = self.machine.vm.resize(*space, va, len, &mut self.machine.mmu);
        assert_eq!(done.is_ok(), fits, "{done:?}");
        if !fits {
            return;
        }
        for number in grown {
            model.pages[number as usize] = Some(Page { kind: there.kind.after(number - first), ..there });
            for byte in number * page..(number + 1) * page {
                model.bytes[byte as usize] = match region.backing {
                    Backing::Source { at, len, .. } if byte - at.0 < len => source_byte(byte),
                    _ => 0,
                };
            }
        }
        for number in first + count..first + old {
            model.pages[number as usize] = None;
        }
    }

    fn load(&mut self, n: usize, at: u64) {
        let (space, model) = &self.spaces[n];
        let allowed = model.allows(self.page, at, 4, Perms::READ);
        let found = self.machine.load(*space, at);
        self.settle(found.as_ref().err(), allowed);
        if let Ok(found) = found {
            let bytes = [0, 1, 2, 3].map(|byte| *self.byte(n, at + byte));
            assert_eq!(found, u32::from_le_bytes(bytes), "at {at:#x}");
        }
    }

    fn store(&mut self, n: usize, at: u64, value: u32) {
        let (space, model) = &self.spaces[n];
        let allowed = model.allows(self.page, at, 4, Perms::WRITE);
        let done = self.machine.store(*space, at, value);
        self.settle(done.as_ref().err(), allowed);
        if done.is_ok() {
            for (at, byte) in (at..).zip(value.to_le_bytes()) {
                *self.byte(n, at) = byte;
            }
        }
    }

    fn read(&mut self, n: usize, at: u64, len: usize) {
        let (space, model) = &self.spaces[n];
        let allowed = len == 0 || model.allows(self.page, at, len as u64, Perms::READ);
        let mut out = vec![0; len];
        let done = self.machine.vm.read(*space, VirtAddr(at), &mut out, &mut self.machine.mmu);
        self.settle(done.as_ref().err(), allowed);
        if done.is_ok() {
            let expected: Vec<_> = (at..at + len as u64).map(|at| *self.byte(n, at)).collect();
            assert_eq!(out, expected, "at {at:#x}");
        }
    }

    /// Everything, once more; what fails now and then does not fail for ever. Then all of it goes, and everything is
    /// free.
    pub(super) fn end(mut self) -> VmStats {
        let (page, excused) = (self.page, self.excused());
        for n in 0..self.spaces.len() {
            for va in (0..PAGES).map(|number| number * page) {
                let (space, model) = &self.spaces[n];
                let (space, allowed) = (*space, model.allows(page, va, page, Perms::READ));
                let mut out = vec![0; page as usize];
                let mut read = || self.machine.vm.read(space, VirtAddr(va), &mut out, &mut self.machine.mmu);
                let mut done = read();
                for _ in 0..20 {
                    if done.as_ref().is_err_and(&excused) {
                        done = read();
                    }
                }
                // A full store stays full.
                if done.as_ref().is_err_and(&excused) {
                    continue;
                }
                assert_eq!(done.is_ok(), allowed);
                if allowed {
                    let expected: Vec<_> = (va..va + page).map(|at| *self.byte(n, at)).collect();
                    assert!(out == expected, "page {va:#x} of {space}");
                }
            }
        }
        // With the last handle and the last region goes what was shared.
        self.memory = SharedMemory::new();
        let stats = self.machine.vm.stats();
        assert_eq!(stats.pages_written, stats.dirty_evictions);
        assert_eq!(stats.bytes_read, stats.pages_read * page);
        self.machine.end();
        stats
    }
}
