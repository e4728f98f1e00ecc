//! A hart over a little memory, with Sv39 tables built by hand.

pub use softmmu::access::AccessKind::{Execute, Read, ReadWrite, Write};
use softmmu::access::{Access, AccessKind, Width};
use softmmu::addr::{PhysAddr, VirtAddr};
pub use softmmu::arch::riscv::{Cause, Config, Control, Fault, Fence, Flavor, Privilege, Riscv};
pub use softmmu::memory::{BusError, PhysMemory, Ram};
use softmmu::mmu::{AccessError, Mmu};
use softmmu::tlb::{Geometry, SetAssociative};

pub const V: u64 = 1;
pub const R: u64 = 2;
pub const W: u64 = 4;
pub const X: u64 = 8;
pub const U: u64 = 16;
pub const G: u64 = 32;
pub const A: u64 = 64;
pub const D: u64 = 128;
pub const N: u64 = 1 << 63;
/// A kernel page, used and written.
pub const OPEN: u64 = V | R | W | X | A | D;

pub const ADUE: u64 = 1 << 61;
pub const SUM: u64 = 1 << 18;
pub const MXR: u64 = 1 << 19;

pub const RAM: u64 = 0x8000_0000;
pub const SIZE: u64 = 0x100_0000;
/// Where pages to be mapped lie, above the tables.
pub const PA: u64 = RAM + 0x80_0000;
pub const PA2: u64 = PA + 0x20_0000;
pub const VA: u64 = 0x40_0000;

/// Which tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Of {
    /// `satp`'s.
    Host,
    /// `vsatp`'s, at the same guest-physical as physical addresses.
    Guest,
    /// `hgatp`'s.
    Second,
}

pub const SV39: u64 = 8 << 60;

impl Of {
    fn root(self) -> u64 {
        match self {
            Self::Host => RAM,
            Self::Guest => RAM + 0x1000,
            Self::Second => RAM + 0x4000,
        }
    }
}

pub struct Hart<M: PhysMemory = Ram> {
    pub mmu: Mmu<Riscv, M, SetAssociative>,
    next_table: u64,
}

impl Hart {
    /// S-mode under Sv39 with an empty root, ASID 1; a guest of VMID 1 with empty roots, its ASID 1.
    pub fn new() -> Self {
        Self::of(Config::rv64())
    }

    pub fn of(config: Config) -> Self {
        Self::over(Ram::new(PhysAddr(RAM), SIZE).expect("16 MiB"), config)
    }
}

impl<M: PhysMemory> Hart<M> {
    pub fn over(memory: M, config: Config) -> Self {
        let tlb = SetAssociative::new(Geometry::new(16, 4)).expect("a real geometry");
        let mut hart = Self { mmu: Mmu::new(Riscv::new(config), memory, tlb), next_table: RAM + 0x1_0000 };
        hart.control(Control::Satp(SV39 | 1 << 44 | Of::Host.root() >> 12));
        hart.control(Control::Vsatp(SV39 | 1 << 44 | Of::Guest.root() >> 12));
        hart.control(Control::Hgatp(SV39 | 1 << 44 | Of::Second.root() >> 12));
        hart.mode(Privilege::Supervisor, false)
    }

    pub fn control(&mut self, change: Control) {
        self.mmu.control(change).expect("no write faults");
    }

    pub fn mode(mut self, privilege: Privilege, virt: bool) -> Self {
        self.enter(privilege, virt);
        self
    }

    pub fn enter(&mut self, privilege: Privilege, virt: bool) {
        self.control(Control::Mode { privilege, virt });
    }

    pub fn word(&self, pa: u64) -> u64 {
        self.mmu.memory().read(PhysAddr(pa), Width::W8).expect("memory")
    }

    pub fn poke(&self, pa: u64, value: u64) {
        self.mmu.memory().write(PhysAddr(pa), Width::W8, value).expect("RAM");
    }

    /// Where the entry for `va` stands at `level`, tables being made on the way.
    pub fn place(&mut self, of: Of, va: u64, level: u32) -> u64 {
        let mut table = of.root();
        for at in (level + 1..=2).rev() {
            let slot = Self::slot(of, table, va, at);
            if self.word(slot) == 0 {
                self.poke(slot, self.next_table >> 2 | V);
                self.next_table += 0x1000;
            }
            table = self.word(slot) >> 10 << 12;
        }
        Self::slot(of, table, va, level)
    }

    fn slot(of: Of, table: u64, va: u64, level: u32) -> u64 {
        let bits = if of == Of::Second && level == 2 { 0x7ff } else { 0x1ff };
        table + 8 * (va >> (12 + 9 * level) & bits)
    }

    /// Maps `va` to `pa` by an entry of `level` with just these flags; returns where the entry is.
    pub fn map_at(&mut self, of: Of, va: u64, pa: u64, flags: u64, level: u32) -> u64 {
        let at = self.place(of, va, level);
        self.poke(at, pa >> 2 | flags);
        at
    }

    /// Maps a 4 KiB page of the host.
    pub fn map(&mut self, va: u64, pa: u64, flags: u64) -> u64 {
        self.map_at(Of::Host, va, pa, flags, 0)
    }

    /// The second stage maps all RAM to itself, in 4 KiB pages up to `PA` and one 2 MiB page from `PA2` on.
    pub fn identity(mut self) -> Self {
        for page in (RAM..RAM + 0x10_0000).step_by(0x1000) {
            self.map_at(Of::Second, page, page, OPEN | U, 0);
        }
        self.map_at(Of::Second, PA, PA, OPEN | U, 0);
        self.map_at(Of::Second, PA2, PA2, OPEN | U, 1);
        self
    }

    pub fn access(&mut self, kind: AccessKind, va: u64) -> Result<u64, Fault> {
        self.access_as(kind, Flavor::Normal, va, 8)
    }

    pub fn access_as(&mut self, kind: AccessKind, flavor: Flavor, va: u64, len: u32) -> Result<u64, Fault> {
        let access = Access { va: VirtAddr(va), len, kind, flavor };
        match self.mmu.translate(&access) {
            Ok(done) => Ok(done.pa.0),
            Err(AccessError::Fault(fault)) => Err(fault),
            Err(other) => panic!("{other}"),
        }
    }

    /// The cause of the fault that the access must raise.
    pub fn cause(&mut self, kind: AccessKind, va: u64) -> Option<Cause> {
        self.access(kind, va).err().map(|fault| fault.cause)
    }

    pub fn fence(&mut self, va: Option<u64>, asid: Option<u16>) {
        self.mmu.fence(Fence::SfenceVma { va, asid });
    }

    /// The walks that `what` takes.
    pub fn walks(&mut self, what: impl FnOnce(&mut Self)) -> u64 {
        let before = self.mmu.stats().walks;
        what(self);
        self.mmu.stats().walks - before
    }

    /// A PMP entry: NAPOT over `base..base + size`.
    pub fn protect(&mut self, index: u8, flags: u8, base: u64, size: u64) {
        self.control(Control::PmpLoad { index, cfg: 3 << 3 | flags, addr: base >> 2 | (size / 8 - 1) });
    }
}
