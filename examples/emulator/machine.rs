//! The machine under the kernel: RAM, the swap file, the processor's port into memory, and virtual memory over them.

use super::args::Options;
use super::report::Counters;
use super::{Fault, Port};
use softmmu::access::{Access, AccessKind};
use softmmu::addr::{Asid, PageSize, PhysAddr, Vmid};
use softmmu::arch::GuestFault;
use softmmu::arch::riscv::{Cause, Control, Flavor, Privilege, PteRules, Riscv, Sv39};
use softmmu::frame::BitmapAllocator;
use softmmu::memory::Ram;
use softmmu::mmu::Mmu;
use softmmu::radix::{Encode, Entry, Format, Perms};
use softmmu::store::SwapFile;
use softmmu::tlb::{Geometry, SetAssociative, Space};
use softmmu::vm::VirtualMemory;
use std::collections::BTreeSet;
use std::ops::Range;

/// Where RAM begins, as on most RISC-V boards.
const BASE: PhysAddr = PhysAddr(0x8000_0000);
/// `menvcfg.ADUE`: the hardware sets accessed and dirty bits.
const ADUE: u64 = 1 << 61;
/// `satp.MODE` for Sv39.
const SV39: u64 = 8 << 60;

/// The pages that one instruction may need: two that it lies on, two that it accesses. While the last of them is
/// brought in, the others must stay.
const PAGES_AT_ONCE: usize = 4;

/// The guests' address spaces: Sv39 tables in RAM, pages in RAM or in the swap file.
pub type Memory<'a> = VirtualMemory<Sv39, &'a Ram, BitmapAllocator, SwapFile>;

/// RAM of the size asked for.
pub fn ram(options: &Options) -> Result<Ram, String> {
    Ram::new(BASE, options.ram).map_err(|error| format!("--ram: {error}"))
}

/// The processor's port: user mode, with a TLB of the geometry asked for.
pub fn port<'a>(ram: &'a Ram, options: &Options) -> Result<Port<'a>, String> {
    let tlb = SetAssociative::new(Geometry::new(options.sets, options.ways));
    let mut port = Mmu::new(Riscv::rv64(), ram, tlb.map_err(|error| format!("--tlb: {error}"))?);
    for change in [Control::Menvcfg(ADUE), Control::Mode { privilege: Privilege::User, virt: false }] {
        port.control(change).map_err(|error| error.to_string())?;
    }
    Ok(port)
}

/// Virtual memory over all of `ram`, with the swap file asked for or a temporary one.
pub fn memory<'a>(ram: &'a Ram, options: &Options) -> Result<Memory<'a>, String> {
    let page = PageSize::SIZE_4K;
    let swap = match &options.swap {
        Some((file, limit)) => SwapFile::create(file, page, *limit)
            .map_err(|error| format!("--swap: {}: {error}", file.display()))?,
        None => {
            let file = tempfile::tempfile().map_err(|error| format!("no temporary swap file: {error}"))?;
            SwapFile::new(file, page, u64::MAX)
        }
    };
    let frames = BitmapAllocator::new(ram.range(), page).map_err(|error| format!("--ram: {error}"))?;
    let memory = VirtualMemory::new(Sv39::new(PteRules::default()), ram, frames, swap);
    let mut memory = memory.map_err(|error| error.to_string())?;
    memory.set_protected(PAGES_AT_ONCE - 1);
    Ok(memory)
}

/// How translations of a process are tagged: its number is its ASID.
pub fn tag(pid: u16) -> Space {
    Space::new(0, Vmid(0), Asid(pid))
}

/// The value of `satp` for a process whose root table lies at `root`.
pub fn satp(pid: u16, root: PhysAddr) -> Control {
    Control::Satp(SV39 | u64::from(pid) << 44 | root.0 >> 12)
}

/// What has been counted up to now, by all guests together.
pub fn counters(memory: &Memory<'_>, port: &mut Port<'_>) -> Counters {
    let (mmu, tlb, vm) = (port.stats(), *port.tlb().stats(), memory.stats());
    Counters {
        instructions: 0,
        hits: tlb.all_hits(),
        misses: tlb.all_misses(),
        walks: mmu.walks,
        rewalks: mmu.rewalks + mmu.races,
        faults: mmu.faults,
        minor: vm.minor_faults,
        major: vm.major_faults,
        copies: vm.cow_breaks,
        invalid: vm.invalid_faults,
        protection: vm.protection_faults,
        refused: 0,
        clean: vm.clean_evictions,
        dirty: vm.dirty_evictions,
        pages_in: vm.pages_read,
        pages_out: vm.pages_written,
        bytes_in: vm.bytes_read,
        bytes_out: vm.bytes_written,
    }
}

/// Of which kind the access was that faulted.
pub fn kind(fault: &Fault) -> AccessKind {
    match fault.cause {
        Cause::InstructionAccessFault | Cause::InstructionPageFault => AccessKind::Execute,
        Cause::LoadAccessFault | Cause::LoadPageFault => AccessKind::Read,
        _ => AccessKind::Write,
    }
}

/// The walk that ends in `fault`, one line for every table entry read.
pub fn explain(fault: &Fault, port: &Port<'_>) -> Vec<String> {
    let access = Access { va: fault.va(), len: 1, kind: kind(fault), flavor: Flavor::Normal };
    let format = Sv39::new(PteRules::default());
    let describe = |raw: u64, level: u32| match format.decode(raw, level) {
        Entry::Absent => "nothing".into(),
        Entry::Reserved => "a reserved encoding".into(),
        Entry::Table(next) => format!("the table at {next:#x}"),
        Entry::Leaf { base, .. } => {
            let perms = format.perms(raw, level);
            let letter = |right, letter| if perms.contains(right) { letter } else { '-' };
            let (r, w) = (letter(Perms::READ, 'R'), letter(Perms::WRITE, 'W'));
            let (x, u) = (letter(Perms::EXECUTE, 'X'), letter(Perms::USER, 'U'));
            format!("the page at {base:#x}, {r}{w}{x}{u}")
        }
    };
    let line = |step: &softmmu::mmu::Step| match step.read {
        Ok(raw) => {
            let meaning = describe(raw, step.at.level);
            format!("level {}, entry at {:#x} = {raw:#x}: {meaning}", step.at.level, step.at.addr)
        }
        Err(error) => format!("level {}: {error}", step.at.level),
    };
    match port.explain(&access).steps.as_slice() {
        [] => vec!["no walk: Sv39 does not translate this address".into()],
        steps => steps.iter().map(line).collect(),
    }
}

/// The memory without which a process with these areas cannot run: one instruction's pages, and the tables to them.
pub fn minimum(areas: &[Range<u64>], heap: &Range<u64>) -> u64 {
    let tables = |bits: u32| {
        let used = areas.iter().chain([heap]).filter(|area| !area.is_empty());
        let numbers = used.flat_map(|area| area.start >> bits..=(area.end - 1) >> bits);
        numbers.collect::<BTreeSet<u64>>().len().min(PAGES_AT_ONCE)
    };
    (PAGES_AT_ONCE + 1 + tables(30) + tables(21)) as u64 * PageSize::SIZE_4K.bytes()
}

/// Whether every frame and slot is back, and in words.
pub fn leaks(memory: &Memory<'_>) -> [(bool, String); 2] {
    let usage = memory.usage();
    let verdict = |leaked: bool| if leaked { "LEAKED" } else { "none leaked" };
    let (frames, slots) = (usage.frames_free != usage.frames_total, usage.slots_used != 0);
    let (free, total, tables) = (usage.frames_free, usage.frames_total, usage.frames_tables);
    [
        (!frames, format!("frames: {free} of {total} free, {tables} in page tables: {}", verdict(frames))),
        (!slots, format!("swap slots: {} in use: {}", usage.slots_used, verdict(slots))),
    ]
}
