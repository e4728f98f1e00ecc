//! Address spaces: everything mapped when it is asked for.

use super::args::Options;
use super::guest::PAGE;
use super::report::Counters;
use super::{Fault, Port};
use softmmu::access::{Access, AccessKind};
use softmmu::addr::{PageSize, PhysAddr, VirtAddr};
use softmmu::arch::riscv::{Cause, Config, Control, Fence, Flavor, Privilege, PteRules, Riscv, Sv39};
use softmmu::arch::{FaultClass, GuestFault};
use softmmu::frame::{BitmapAllocator, FrameAllocator};
use softmmu::memory::{PhysMemory, PhysRange, Ram};
use softmmu::mmu::Mmu;
use softmmu::radix::Perms;
use softmmu::table::{PageTable, RadixTable};
use softmmu::tlb::{Geometry, SetAssociative};
use std::collections::BTreeMap;

/// Where RAM begins, as on most RISC-V boards.
const BASE: PhysAddr = PhysAddr(0x8000_0000);

/// Why there is no room.
#[derive(Debug)]
pub struct Denied(pub String);

impl<E: std::error::Error> From<E> for Denied {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

pub struct Machine {
    ram: Ram,
}

impl Machine {
    pub fn new(options: &Options) -> Result<Self, String> {
        let ram = Ram::new(BASE, options.ram).map_err(|error| format!("--ram: {error}"))?;
        Ok(Self { ram })
    }

    pub fn port(&self, options: &Options) -> Result<Port<'_>, String> {
        let tlb = SetAssociative::new(Geometry::new(options.sets as usize, options.ways as usize))
            .map_err(|error| format!("--tlb: {error}"))?;
        let mut port = Mmu::new(Riscv::new(Config::rv64()), &self.ram, tlb);
        // Hardware sets accessed and dirty bits (Svadu), and guests run in user mode.
        for change in [Control::Menvcfg(1 << 61), Control::Mode { privilege: Privilege::User, virt: false }] {
            port.control(change).map_err(|error| error.to_string())?;
        }
        Ok(port)
    }
}

struct Space {
    table: RadixTable<Sv39>,
    areas: Vec<(u64, u64, Perms)>,
}

pub struct Spaces<'a> {
    ram: &'a Ram,
    frames: BitmapAllocator,
    total: u64,
    spaces: BTreeMap<u32, Space>,
    counters: Counters,
}

impl<'a> Spaces<'a> {
    pub fn new(machine: &'a Machine, options: &Options) -> Result<Self, String> {
        let range = PhysRange::new(BASE, options.ram).ok_or("--ram")?;
        let frames = BitmapAllocator::new(range, PageSize::SIZE_4K).map_err(|error| error.to_string())?;
        let total = frames.free_frames();
        Ok(Self { ram: &machine.ram, frames, total, spaces: BTreeMap::new(), counters: Counters::default() })
    }

    pub fn create(&mut self, pid: u32) -> Result<(), Denied> {
        let table = RadixTable::new(Sv39::new(PteRules::default()), self.ram, &mut self.frames)?;
        self.spaces.insert(pid, Space { table, areas: Vec::new() });
        Ok(())
    }

    pub fn map(
        &mut self,
        pid: u32,
        start: u64,
        bytes: u64,
        perms: Perms,
        content: &[u8],
    ) -> Result<(), Denied> {
        let Some(space) = self.spaces.get_mut(&pid) else { return Err(Denied("no such process".into())) };
        for page in 0..bytes / PAGE {
            let pa = self.frames.allocate(0)?;
            let mut bytes = [0; PAGE as usize];
            let from = content.get((page * PAGE) as usize..).unwrap_or(&[]);
            let length = from.len().min(bytes.len());
            bytes[..length].copy_from_slice(&from[..length]);
            self.ram.write_bytes(pa, &bytes)?;
            let va = VirtAddr(start + page * PAGE);
            space.table.map(self.ram, &mut self.frames, va, pa, PageSize::SIZE_4K, perms)?.forget();
        }
        space.areas.push((start, bytes, perms));
        Ok(())
    }

    pub fn map_stack(&mut self, pid: u32, start: u64, bytes: u64) -> Result<(), Denied> {
        self.map(pid, start, bytes, Perms::READ | Perms::WRITE | Perms::USER, &[])
    }

    pub fn map_heap(&mut self, pid: u32, start: u64, bytes: u64) -> Result<(), Denied> {
        self.map_stack(pid, start, bytes)
    }

    pub fn unmap(&mut self, _pid: u32, _start: u64, _bytes: u64, _port: &mut Port<'a>) -> Result<(), Denied> {
        Err(Denied("cannot shrink".into()))
    }

    pub fn fork(&mut self, parent: u32, child: u32, _port: &mut Port<'a>) -> Result<(), Denied> {
        self.create(child)?;
        let areas = self.spaces.get(&parent).map_or(Vec::new(), |space| space.areas.clone());
        for (start, bytes, perms) in areas {
            let mut content = vec![0; bytes as usize];
            for page in 0..bytes / PAGE {
                let va = VirtAddr(start + page * PAGE);
                let Some(space) = self.spaces.get(&parent) else { continue };
                let Some(mapping) = space.table.translate(self.ram, va)? else { continue };
                self.ram.read_bytes(mapping.pa, &mut content[(page * PAGE) as usize..][..PAGE as usize])?;
            }
            self.map(child, start, bytes, perms, &content)?;
        }
        Ok(())
    }

    pub fn destroy(&mut self, pid: u32, port: &mut Port<'a>) {
        port.fence(Fence::SfenceVma { va: None, asid: Some(pid as u16) });
        self.spaces.remove(&pid);
    }

    pub fn switch(&mut self, pid: u32, port: &mut Port<'a>) {
        if let Some(space) = self.spaces.get(&pid) {
            let satp = 8 << 60 | u64::from(pid) << 44 | space.table.root().0 >> 12;
            let _ = port.control(Control::Satp(satp));
        }
    }

    pub fn fault(&mut self, _pid: u32, fault: &Fault, _port: &mut Port<'a>) -> Result<bool, Denied> {
        match fault.class() {
            FaultClass::NotMapped => self.counters.invalid += 1,
            _ => self.counters.protection += 1,
        }
        Ok(false)
    }

    pub fn shortage(&self, _: Option<u64>) -> String {
        String::new()
    }

    pub fn counters(&self, port: &mut Port<'a>) -> Counters {
        let mmu = port.stats();
        let tlb = *port.tlb().stats();
        Counters {
            hits: tlb.all_hits(),
            misses: tlb.all_misses(),
            lookups: tlb.all_hits() + tlb.all_misses(),
            walks: mmu.walks,
            rewalks: mmu.rewalks + mmu.races,
            faults: mmu.faults,
            ..self.counters
        }
    }

    pub fn explain(&self, fault: &Fault, port: &Port<'a>) -> Vec<String> {
        let kind = match fault.cause {
            Cause::InstructionAccessFault | Cause::InstructionPageFault => AccessKind::Execute,
            Cause::LoadAccessFault | Cause::LoadPageFault => AccessKind::Read,
            _ => AccessKind::Write,
        };
        let access = Access { va: fault.va(), len: 1, kind, flavor: Flavor::Normal };
        let steps = port.explain(&access).steps;
        steps
            .iter()
            .map(|step| match step.read {
                Ok(raw) => format!("level {} entry at {:#x}: {raw:#x}", step.at.level, step.at.addr),
                Err(error) => format!("level {} entry at {:#x}: {error}", step.at.level, step.at.addr),
            })
            .collect()
    }

    pub fn leaks(&self) -> Vec<(bool, String)> {
        Vec::new()
    }
}
