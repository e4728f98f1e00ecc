//! A core over a little memory, with tables built by hand.

use softmmu::access::{Access, AccessKind, Width};
use softmmu::addr::{PhysAddr, VirtAddr};
use softmmu::arch::aarch64::{
    Aarch64, Config, Control, ExceptionLevel, Fault, Flavor, Pstate, Register, Registers, Tlbi,
};
use softmmu::memory::{PhysMemory, Ram};
use softmmu::mmu::{AccessError, Mmu};
use softmmu::tlb::{Geometry, SetAssociative};

pub const RAM: u64 = 0x4000_0000;
const SIZE: u64 = 0x100_0000;
/// The start tables: lower half, upper half, stage 2.
pub const ROOTS: [u64; 3] = [RAM, RAM + 0x1000, RAM + 0x2000];

pub const PAGE: u64 = 3;
pub const BLOCK: u64 = 1;
pub const USER: u64 = 1 << 6;
pub const RO: u64 = 1 << 7;
pub const AF: u64 = 1 << 10;
pub const NG: u64 = 1 << 11;
pub const DBM: u64 = 1 << 51;
pub const PXN: u64 = 1 << 53;
pub const UXN: u64 = 1 << 54;
/// Stage 2: readable, writable, Normal memory, used.
pub const S2: u64 = 3 << 6 | 0xf << 2 | AF;
pub const S2W: u64 = 1 << 7;

/// `TCR_EL1`: 39-bit halves of 4 KiB pages, 48-bit output, 16-bit ASIDs.
pub const TCR: u64 = 25 | 25 << 16 | 2 << 30 | 5 << 32 | 1 << 36;
pub const HA: u64 = 1 << 39;
pub const HD: u64 = 1 << 40;
/// `VTCR_EL2`: 39 bits of 4 KiB pages from level 1, 48-bit output.
pub const VTCR: u64 = 25 | 1 << 6 | 5 << 16 | 1 << 31;
/// `HCR_EL2.{RW,VM}`.
pub const GUEST: u64 = 1 << 31 | 1;
pub const WXN: u64 = 1 << 19;

pub const USER_MODE: Pstate = Pstate { el: ExceptionLevel::El0, pan: false, uao: false };
pub const KERNEL: Pstate = Pstate { el: ExceptionLevel::El1, pan: false, uao: false };

pub use AccessKind::{Execute, Read, ReadWrite, Write};

pub struct Machine<M: PhysMemory = Ram> {
    pub mmu: Mmu<Aarch64, M, SetAssociative>,
    next_table: u64,
}

impl Machine {
    /// A kernel at EL1 with both halves' start tables empty; `hcr` says whether there is a second stage.
    pub fn new(tcr: u64, hcr: u64) -> Self {
        Self::over(Ram::new(PhysAddr(RAM), SIZE).expect("16 MiB"), tcr, hcr)
    }
}

impl<M: PhysMemory> Machine<M> {
    /// The same over another memory.
    pub fn over(memory: M, tcr: u64, hcr: u64) -> Self {
        let mut registers = Registers::default();
        for (register, value) in [
            (Register::SctlrEl1, 0x30d0_0805),
            (Register::TcrEl1, tcr),
            (Register::Ttbr0El1, ROOTS[0]),
            (Register::Ttbr1El1, ROOTS[1]),
            (Register::MairEl1, 0xff),
            (Register::HcrEl2, hcr),
            (Register::VtcrEl2, VTCR),
            (Register::VttbrEl2, ROOTS[2]),
        ] {
            registers.set(register, value);
        }
        let core = Aarch64::with_state(Config::FULL, registers, KERNEL);
        let tlb = SetAssociative::new(Geometry::new(16, 4)).expect("a real geometry");
        Self { mmu: Mmu::new(core, memory, tlb), next_table: RAM + 0x1_0000 }
    }

    pub fn word(&self, pa: u64) -> u64 {
        self.mmu.memory().read(PhysAddr(pa), Width::W8).expect("RAM")
    }

    pub fn poke(&self, pa: u64, value: u64) {
        self.mmu.memory().write(PhysAddr(pa), Width::W8, value).expect("RAM");
    }

    /// Writes `raw` for `va` at `level` (1 to 3) of the tables under `root`, making tables on the way. Where it stands.
    pub fn put(&mut self, root: u64, va: u64, level: u32, raw: u64) -> u64 {
        let mut table = root;
        for at in 1..=level {
            let entry = table + (va >> (39 - 9 * at) & 0x1ff) * 8;
            if at == level {
                self.poke(entry, raw);
                return entry;
            }
            if self.word(entry) & 1 == 0 {
                self.poke(entry, self.next_table | PAGE);
                self.next_table += 0x1000;
            }
            table = self.word(entry) & 0xffff_ffff_f000;
        }
        unreachable!("levels 1 to 3");
    }

    /// A leaf for `va` at level 3 of the lower or upper half.
    pub fn page(&mut self, va: u64, raw: u64) -> u64 {
        self.put(ROOTS[(va >> 55 & 1) as usize], va, 3, raw | PAGE)
    }

    /// A guest's tables are where they seem to be: the first gigabyte of RAM maps onto itself at stage 2.
    pub fn identity(&mut self) {
        self.put(ROOTS[2], RAM, 1, RAM | BLOCK | S2);
    }

    /// Makes an access of 8 bytes (a fetch: of 4) and says where it went.
    pub fn access(&mut self, kind: AccessKind, va: u64) -> Result<u64, Fault> {
        self.access_as(kind, va, Flavor::Ordinary)
    }

    pub fn access_as(&mut self, kind: AccessKind, va: u64, flavor: Flavor) -> Result<u64, Fault> {
        let len = if kind == Execute { 4 } else { 8 };
        let access = Access { va: VirtAddr(va), len, kind, flavor };
        // What a debugger foretells is what happens.
        let foretold = self.mmu.probe(&access).map(|translation| translation.pa.0);
        let made = self.mmu.translate(&access).map(|translation| translation.pa.0);
        assert_eq!(foretold, made, "{kind:?} at {va:#x}");
        made.map_err(fault)
    }

    pub fn write(&mut self, register: Register, value: u64) {
        self.mmu.control(Control::Write(register, value)).expect("no register write faults");
    }

    pub fn enter(&mut self, pstate: Pstate) {
        self.mmu.control(Control::Pstate(pstate)).expect("no change of PSTATE faults");
    }

    pub fn tlbi(&mut self, tlbi: Tlbi) {
        self.mmu.fence(tlbi);
    }

    /// How many walks `what` takes.
    pub fn walks<T>(&mut self, what: impl FnOnce(&mut Self) -> T) -> (u64, T) {
        let before = self.mmu.stats().walks;
        let result = what(self);
        (self.mmu.stats().walks - before, result)
    }
}

pub fn fault(error: AccessError<Fault>) -> Fault {
    match error {
        AccessError::Fault(fault) => fault,
        other => panic!("no guest fault: {other}"),
    }
}

/// The fault status code of a refused access, and the stage.
pub fn refused(outcome: Result<u64, Fault>) -> (u8, u8) {
    let fault = outcome.expect_err("it should have faulted");
    (fault.fsc(), if fault.second_stage { 2 } else { 1 })
}
