//! Replaying a trace through an `Mmu`: the guest's tables are rebuilt from the trace's translation events.

use super::tables::{Shape, Sv39};
use super::trace::{BARE, FAULTED, FETCH, LOAD, MXR, Record, SUM, Trace};
use softmmu::access::{Access, AccessKind, Width};
use softmmu::addr::{PhysAddr, VirtAddr};
use softmmu::arch::riscv::{Control, Fence, Flavor, Privilege, Riscv};
use softmmu::memory::{Bus, Device, DeviceError, Ram};
use softmmu::mmu::Mmu;
use softmmu::tlb::Tlb;
use std::collections::HashMap;

/// Where the rebuilt tables lie, above anything that the trace touches.
const TABLES: u64 = 0x10_0000_0000;
const TABLES_SIZE: u64 = 64 << 20;

/// A device register file that reads as zero.
pub struct Silent;

impl Device for Silent {
    fn read(&self, _offset: u64, _width: Width) -> Result<u64, DeviceError> {
        Ok(0)
    }
    fn write(&self, _offset: u64, _width: Width, _value: u64) -> Result<(), DeviceError> {
        Ok(())
    }
}

/// How the guest's address spaces are told apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Switching {
    /// As recorded: ASID 0 and a full flush at every switch.
    Flush,
    /// An ASID for every space, and no flush.
    Asids,
}

/// A guest that a trace is replayed through.
pub struct Guest<'t, T: Tlb> {
    pub mmu: Mmu<Riscv, Bus<Silent>, T>,
    trace: &'t Trace,
    switching: Switching,
    next_frame: u64,
    next_event: usize,
    next_fence: usize,
    satp: u32,
    /// Privilege and flag bits that the control state stands at.
    state: (u8, u8),
    /// What is mapped, kept only by the checking pass.
    mapped: HashMap<(u32, u64), (u64, u8)>,
}

impl<'t, T: Tlb> Guest<'t, T> {
    pub fn new(trace: &'t Trace, tlb: T, switching: Switching) -> Self {
        let mut bus = Bus::of();
        bus.add_ram(Ram::new(PhysAddr(trace.ram_base), trace.ram_size).expect("the trace's RAM"))
            .expect("free");
        bus.add_ram(Ram::new(PhysAddr(TABLES), TABLES_SIZE).expect("RAM for tables")).expect("free");
        bus.add_device(PhysAddr(0), trace.ram_base, Silent).expect("free");
        let mmu = Mmu::new(Riscv::rv64(), bus, tlb);
        let next_frame = TABLES + 4096 * trace.satps.len() as u64;
        let (next_event, next_fence) = (0, 0);
        let mut guest = Self {
            mmu,
            trace,
            switching,
            next_frame,
            next_event,
            next_fence,
            satp: u32::MAX,
            state: (u8::MAX, 0),
            mapped: HashMap::new(),
        };
        // Accessed and dirty bits by hardware.
        guest.set(Control::Menvcfg(1 << 61));
        guest
    }

    fn set(&mut self, change: Control) {
        self.mmu.control(change).expect("RISC-V control writes do not fault");
    }

    fn asid(&self, satp: u32) -> u16 {
        if self.switching == Switching::Asids { satp as u16 + 1 } else { 0 }
    }

    /// Brings fences, tables and control state up to record `n`.
    #[inline]
    pub fn prepare(&mut self, n: u64, record: &Record, events: u64) {
        if n >= events {
            self.catch_up(n, false);
        }
        if record.satp != self.satp || (record.privilege, record.flags & (SUM | MXR | BARE)) != self.state {
            self.enter(record);
        }
    }

    /// The number of the next record that needs [`catch_up`](Self::catch_up).
    pub fn next_change(&self) -> u64 {
        let event = self.trace.events.get(self.next_event).map_or(u64::MAX, |event| event.at);
        let fence = self.trace.fences.get(self.next_fence).map_or(u64::MAX, |fence| fence.at);
        event.min(fence)
    }

    #[cold]
    #[inline(never)]
    pub fn catch_up(&mut self, n: u64, keep: bool) {
        while let Some(fence) = self.trace.fences.get(self.next_fence).filter(|fence| fence.at <= n) {
            self.next_fence += 1;
            if self.switching == Switching::Flush && fence.kind == 1 {
                self.mmu.fence(Fence::SfenceVma { va: None, asid: None });
            }
        }
        while let Some(event) = self.trace.events.get(self.next_event).filter(|event| event.at <= n) {
            self.next_event += 1;
            let leaf = (event.pa >> 2) | u64::from(event.flags);
            let root = TABLES + u64::from(event.satp) * 4096;
            let memory = self.mmu.memory();
            Sv39::put(memory, root, event.va, u32::from(event.level), leaf, &mut self.next_frame);
            let asid = self.asid(event.satp);
            self.mmu.fence(Fence::SfenceVma { va: Some(event.va), asid: Some(asid) });
            self.mmu.fence(Fence::SfenceVma { va: Some(event.va), asid: None });
            if keep {
                self.mapped.insert((event.satp, event.va >> 12), (event.pa, event.flags));
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn enter(&mut self, record: &Record) {
        let (privilege, flags) = (record.privilege, record.flags & (SUM | MXR | BARE));
        if (privilege, flags) != self.state {
            self.state = (privilege, flags);
            let sum = u64::from(flags & SUM != 0) << 18;
            let mxr = u64::from(flags & MXR != 0) << 19;
            self.set(Control::Mstatus(sum | mxr));
            let privilege =
                if flags & BARE != 0 { Privilege::Machine } else { Privilege::from_bits(privilege.into()) };
            self.set(Control::Mode { privilege, virt: false });
        }
        if record.satp != self.satp {
            self.satp = record.satp;
            let root = TABLES + u64::from(record.satp) * 4096;
            self.set(Control::Satp(8 << 60 | u64::from(self.asid(record.satp)) << 44 | root >> 12));
        }
    }

    /// Makes the access of `record`; whether it went through.
    #[inline]
    pub fn access(&mut self, record: &Record) -> bool {
        let (mmu, va) = (&mut self.mmu, VirtAddr(record.va));
        match (record.kind, record.size) {
            (FETCH, _) => mmu.fetch::<u16>(va).is_ok(),
            (LOAD, 8) => mmu.load::<u64>(va).is_ok(),
            (LOAD, 4) => mmu.load::<u32>(va).is_ok(),
            (LOAD, 2) => mmu.load::<u16>(va).is_ok(),
            (LOAD, _) => mmu.load::<u8>(va).is_ok(),
            (_, 8) => mmu.store::<u64>(va, 0).is_ok(),
            (_, 4) => mmu.store::<u32>(va, 0).is_ok(),
            (_, 2) => mmu.store::<u16>(va, 0).is_ok(),
            _ => mmu.store::<u8>(va, 0).is_ok(),
        }
    }

    /// Replays all records; how many did not go as the trace says.
    pub fn replay(&mut self, records: &[Record]) -> u64 {
        let mut wrong = 0;
        let mut change = self.next_change();
        for (n, record) in records.iter().enumerate() {
            let n = n as u64;
            self.prepare(n, record, change);
            if n >= change {
                change = self.next_change();
            }
            let expected = record.flags & FAULTED == 0;
            wrong += u64::from(self.access(record) != expected);
        }
        wrong
    }

    /// Replays all records, comparing every physical address with the trace's; how many differ.
    pub fn check(&mut self, records: &[Record]) -> u64 {
        let mut wrong = 0;
        for (n, record) in records.iter().enumerate() {
            let n = n as u64;
            if n >= self.next_change() {
                self.catch_up(n, true);
            }
            self.prepare(n, record, u64::MAX);
            let kind = match record.kind {
                FETCH => AccessKind::Execute,
                LOAD => AccessKind::Read,
                _ => AccessKind::Write,
            };
            let access =
                Access { va: VirtAddr(record.va), len: u32::from(record.size), kind, flavor: Flavor::Normal };
            let found = self.mmu.translate(&access).ok().map(|found| found.pa.0);
            let expected = if record.flags & BARE != 0 {
                Some(record.va)
            } else {
                let mapped =
                    self.mapped.get(&(record.satp, record.va >> 12)).filter(|(_, flags)| flags & 1 != 0);
                mapped.map(|(pa, _)| pa | record.va & 0xfff)
            };
            let expected = expected.filter(|_| record.flags & FAULTED == 0);
            wrong += u64::from(found != expected);
        }
        wrong
    }
}

/// The loop of [`Guest::replay`] with nothing in it but the reading of the records.
pub fn decode(records: &[Record]) -> u64 {
    let mut sum = 0u64;
    let mut state = (0, 0, 0);
    for (n, record) in records.iter().enumerate() {
        if (record.satp, record.privilege, record.flags & (SUM | MXR | BARE)) != state {
            state = (record.satp, record.privilege, record.flags & (SUM | MXR | BARE));
            sum = sum.wrapping_add(std::hint::black_box(n as u64));
        }
        sum = sum.wrapping_add(match (record.kind, record.size) {
            (FETCH, _) => record.va ^ 1,
            (LOAD, 8) => record.va ^ 2,
            (LOAD, 4) => record.va ^ 3,
            (LOAD, 2) => record.va ^ 4,
            (LOAD, _) => record.va ^ 5,
            (_, 8) => record.va ^ 6,
            (_, 4) => record.va ^ 7,
            (_, 2) => record.va ^ 8,
            _ => record.va ^ 9,
        });
    }
    sum
}
