//! A core over 16 MiB with 39-bit halves of 4 KiB pages.

use softmmu::access::{Access, AccessKind, Width};
use softmmu::addr::{PhysAddr, VirtAddr};
use softmmu::arch::aarch64::{
    Aarch64, Choices, Config, Control, ExceptionLevel, Fault, Flavor, Pstate, Register, Registers,
};
use softmmu::memory::{PhysMemory, Ram};
use softmmu::mmu::{AccessError, Mmu};
use softmmu::tlb::{Geometry, SetAssociative, TlbEntry};

pub(crate) const RAM: u64 = 0x4000_0000;
pub(crate) const DATA: u64 = RAM + 0x80_0000;
pub(crate) const TCR: u64 = 25 | 25 << 16 | 2 << 30 | 5 << 32;
pub(crate) const AF: u64 = 1 << 10;
pub(crate) const M: u64 = 1;
pub(crate) const C: u64 = 1 << 2;
pub(crate) const SCTLR: u64 = 0x30d0_0800 | M | C;
pub(crate) const GUEST: u64 = 1 << 31 | 1;
pub(crate) const VTCR: u64 = 25 | 1 << 6 | 5 << 16 | 1 << 31;

pub(crate) type Core = Mmu<Aarch64, Ram, SetAssociative>;

/// A core at EL1 in the state that `registers` lists, its memory as `words` lists it.
pub(crate) fn core(config: Config, registers: &[(Register, u64)], words: &[(u64, u64)]) -> Core {
    let mut all = Registers::default();
    for (register, value) in [(Register::SctlrEl1, SCTLR), (Register::TcrEl1, TCR), (Register::Ttbr0El1, RAM)]
    {
        all.set(register, value);
    }
    for &(register, value) in registers {
        all.set(register, value);
    }
    let ram = Ram::new(PhysAddr(RAM), 0x100_0000).expect("16 MiB");
    for &(pa, word) in words {
        ram.write(PhysAddr(pa), Width::W8, word).expect("RAM");
    }
    let core = Aarch64::with_state(config, all, at(ExceptionLevel::El1));
    Mmu::new(core, ram, SetAssociative::new(Geometry::new(16, 4)).expect("a real geometry"))
}

pub(crate) fn at(el: ExceptionLevel) -> Pstate {
    Pstate { el, pan: false, uao: false }
}

/// Everything, with these choices.
pub(crate) fn full(choices: Choices) -> Config {
    Config::FULL.with_choices(choices)
}

/// Tables in which VA 0 to 2 MiB is cut into pages, of which `raw` is the first: start table at [`RAM`].
pub(crate) fn page(raw: u64) -> [(u64, u64); 3] {
    [(RAM, RAM + 0x1003), (RAM + 0x1000, RAM + 0x2003), (RAM + 0x2000, raw | 3)]
}

pub(crate) fn access(mmu: &mut Core, kind: AccessKind, va: u64) -> Result<TlbEntry, Fault> {
    let len = if kind == AccessKind::Execute { 4 } else { 8 };
    let access = Access { va: VirtAddr(va), len, kind, flavor: Flavor::Ordinary };
    let entry = mmu.probe(&access).map(|done| done.entry);
    let made = mmu.translate(&access).map(|done| done.pa);
    let foretold = entry.map(|entry| PhysAddr(entry.address(va & 0xff_ffff_ffff_ffff)));
    assert_eq!(foretold, made, "{kind:?} at {va:#x}");
    entry.map_err(|error| match error {
        AccessError::Fault(fault) => fault,
        other => panic!("no guest fault: {other}"),
    })
}

/// Where an access lands, or its fault status code.
pub(crate) fn lands(mmu: &mut Core, kind: AccessKind, va: u64) -> Result<u64, u8> {
    access(mmu, kind, va).map(|entry| entry.address(va)).map_err(|fault| fault.fsc())
}

pub(crate) fn set(mmu: &mut Core, register: Register, value: u64) {
    mmu.control(Control::Write(register, value)).expect("no register write faults");
}

pub(crate) fn word(mmu: &Core, pa: u64) -> u64 {
    mmu.memory().read(PhysAddr(pa), Width::W8).expect("RAM")
}
