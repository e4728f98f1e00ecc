//! A tiny machine: one hart, a few frames, a store that can be told to fail. The fuzz target `vm` is made of it too.

use crate::addr::{Asid, PageSize, PhysAddr, VirtAddr, Vmid};
use crate::arch::custom::{Bit, Config, CustomFormat};
use crate::arch::software::{Control, Fault, Software};
use crate::frame::{BitmapAllocator, BumpAllocator, JunkFill};
use crate::memory::{PhysRange, Ram};
use crate::mmu::{AccessError, Mmu};
use crate::radix::Perms;
use crate::store::{Faulty, MemoryStore, Operation};
use crate::table::{PageTable, RadixTable, RadixWalker};
use crate::tlb::{Geometry, SetAssociative, Space};
use crate::vm::{Clock, Policy, SpaceId, VirtualMemory, VmError};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

pub(super) type Plan = Box<dyn FnMut(u64, Operation) -> bool>;
pub(super) type Frames = JunkFill<BitmapAllocator, Ram>;
pub(super) type Vm<P = Clock> = VirtualMemory<CustomFormat, Ram, Frames, Faulty<MemoryStore, Plan>, P>;
pub(super) type Hart = Mmu<Software<RadixWalker<CustomFormat>>, Ram, SetAssociative>;

pub(super) const RW: Perms = Perms::READ.union(Perms::WRITE);

/// Two levels of eight entries each: 64 pages.
pub(super) fn format(page: u64, marks: bool) -> CustomFormat {
    let mut config = Config::new(page, &[3, 3], 4, Bit::high(0))
        .frame(8, 20)
        .read(Bit::high(1))
        .write(Bit::high(2))
        .execute(Bit::high(3))
        .user(Bit::high(6));
    if marks {
        config = config.accessed(Bit::high(4)).dirty(Bit::high(5));
    }
    config.build().unwrap()
}

pub(super) struct Machine<P = Clock> {
    pub(super) vm: Vm<P>,
    pub(super) mmu: Hart,
    /// The space that the hart runs, and the ASID of each.
    running: Option<SpaceId>,
    asids: BTreeMap<SpaceId, Asid>,
    next_asid: u16,
}

/// A store that never fails.
pub(super) fn sound() -> Plan {
    Box::new(|_, _| false)
}

impl Machine {
    pub(super) fn plain(frames: u64) -> Self {
        Self::new(64, true, frames, 1000, Clock::default(), sound())
    }
}

impl<P: Policy> Machine<P> {
    pub(super) fn new(page: u64, marks: bool, frames: u64, slots: u64, policy: P, plan: Plan) -> Self {
        let size = PageSize::from_bytes(page).unwrap();
        let ram = Ram::new(PhysAddr(0x4000), page * 64).unwrap();
        let range = PhysRange::new(ram.base(), frames * page).unwrap();
        let pool = JunkFill::new(BitmapAllocator::new(range, size).unwrap(), ram.clone());
        let store = Faulty::new(MemoryStore::new(size, slots), plan);
        let format = format(page, marks);
        // A table to begin with: the hart runs nothing yet.
        let elsewhere = PhysRange::new(PhysAddr(0x4000 + 48 * page), page).unwrap();
        let idle = RadixTable::new(format, &ram, &mut BumpAllocator::new(elsewhere, size)).unwrap();
        let tlb = SetAssociative::new(Geometry::new(4, 2)).unwrap();
        Self {
            vm: VirtualMemory::with_policy(format, ram.clone(), pool, store, policy).unwrap(),
            mmu: Mmu::new(Software::new(idle.walker()), ram, tlb),
            running: None,
            asids: BTreeMap::new(),
            next_asid: 1,
        }
    }

    pub(super) fn tag(&mut self) -> (Asid, Space) {
        let asid = Asid(self.next_asid);
        self.next_asid += 1;
        (asid, Space::new(0, Vmid(0), asid))
    }

    pub(super) fn create(&mut self) -> SpaceId {
        let (asid, tag) = self.tag();
        let space = self.vm.create(tag);
        self.asids.insert(space, asid);
        space
    }

    pub(super) fn fork(&mut self, parent: SpaceId) -> Result<SpaceId, VmError> {
        let (asid, tag) = self.tag();
        let space = self.vm.fork(parent, tag, &mut self.mmu)?;
        self.asids.insert(space, asid);
        Ok(space)
    }

    pub(super) fn destroy(&mut self, space: SpaceId) -> Result<(), VmError> {
        if self.running == Some(space) {
            self.running = None;
        }
        self.vm.destroy(space, &mut self.mmu)
    }

    /// Lets the hart run `space`.
    pub(super) fn switch(&mut self, space: SpaceId) -> Result<(), VmError> {
        if self.running == Some(space) {
            return Ok(());
        }
        if let Some(old) = self.running.take() {
            self.vm.suspend(old)?;
        }
        let root = self.vm.activate(space, &mut self.mmu)?;
        let walker = self.vm.table(space)?.unwrap().walker();
        assert_eq!(walker.root, root);
        self.mmu.control(Control::Table(walker, self.asids[&space])).unwrap();
        self.running = Some(space);
        Ok(())
    }

    /// Tries an access until it is made or refused.
    pub(super) fn access<R>(
        &mut self,
        space: SpaceId,
        mut access: impl FnMut(&mut Hart) -> Result<R, AccessError<Fault>>,
    ) -> Result<R, VmError> {
        self.switch(space)?;
        for _ in 0..100 {
            match access(&mut self.mmu) {
                Ok(done) => return Ok(done),
                Err(AccessError::Fault(fault)) => {
                    self.vm.handle_fault(space, fault.va, fault.kind, &mut self.mmu)?;
                }
                Err(error) => panic!("{error}"),
            }
        }
        panic!("no progress");
    }

    pub(super) fn load(&mut self, space: SpaceId, va: u64) -> Result<u32, VmError> {
        self.access(space, |mmu| mmu.load::<u32>(VirtAddr(va)))
    }

    pub(super) fn store(&mut self, space: SpaceId, va: u64, value: u32) -> Result<(), VmError> {
        self.access(space, |mmu| mmu.store::<u32>(VirtAddr(va), value))
    }

    /// Nothing is where the books do not say it is.
    pub(super) fn audit(&self) {
        let usage = self.vm.usage();
        assert_eq!((usage.leaked_frames(), usage.leaked_slots()), (0, 0), "{usage:?}");
    }

    /// Ends everything; then everything is free.
    pub(super) fn end(&mut self) {
        let spaces: Vec<_> = self.vm.spaces().collect();
        for space in spaces {
            self.destroy(space).unwrap();
        }
        let usage = self.vm.usage();
        assert_eq!(usage.frames_free, usage.frames_total, "{usage:?}");
        assert_eq!((usage.frames_pages, usage.frames_tables), (0, 0), "{usage:?}");
        self.audit();
    }
}
