//! A small machine for tests: RAM from zero, tables made entry by entry, accesses at either privilege.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use softmmu::access::{Access, AccessKind, Width};
use softmmu::addr::{PhysAddr, VirtAddr, Vmid};
use softmmu::arch::x86::{
    Config, Control, Cr0, Cr4, Efer, Ept, Fault, Flavor, Guest, Mode, Npt, PageFaultCode, Registers, Second,
    X86,
};
use softmmu::memory::{PhysMemory, Ram};
use softmmu::mmu::{AccessError, Mmu};
use softmmu::tlb::{Geometry, SetAssociative};

pub const P: u64 = 1;
pub const W: u64 = 1 << 1;
pub const U: u64 = 1 << 2;
pub const A: u64 = 1 << 5;
pub const D: u64 = 1 << 6;
pub const PS: u64 = 1 << 7;
pub const G: u64 = 1 << 8;
pub const NX: u64 = 1 << 63;
/// A page that anybody may use in any way.
pub const OPEN: u64 = P | W | U;
/// An EPT page that may be used in any way, write-back.
pub const EPT_OPEN: u64 = 7 | 6 << 3;

pub const RAM: u64 = 64 << 20;

/// One radix tree in memory.
#[derive(Clone, Copy)]
pub struct Tables {
    pub root: u64,
    shifts: &'static [u32],
    width: u64,
    /// The flags of the entries that point at tables.
    upper: u64,
}

impl Tables {
    pub fn new(mode: Mode, root: u64) -> Self {
        let (shifts, width): (&[u32], u64) = match mode {
            Mode::Off => (&[], 8),
            Mode::Legacy32 => (&[22, 12], 4),
            Mode::Pae => (&[30, 21, 12], 8),
            Mode::Level4 => (&[39, 30, 21, 12], 8),
            Mode::Level5 => (&[48, 39, 30, 21, 12], 8),
        };
        Self { root, shifts, width, upper: OPEN | A }
    }

    /// The tables above leave everything open, fetches from user-mode addresses included.
    pub fn ept(root: u64) -> Self {
        Self { upper: 7 | 1 << 10, ..Self::new(Mode::Level4, root) }
    }

    fn index(&self, va: u64, shift: u32) -> u64 {
        let bits = match (self.width, shift, self.shifts.len()) {
            (4, ..) => 10,
            (_, 30, 3) => 2,
            _ => 9,
        };
        va >> shift & ((1 << bits) - 1)
    }

    /// Where the entry for `va` stands that spans `2^shift` bytes; makes the tables down to it.
    pub fn place(&self, memory: &impl PhysMemory, next: &mut u64, va: u64, shift: u32) -> u64 {
        let mut table = self.root;
        for &level in self.shifts {
            let at = table + self.index(va, level) * self.width;
            if level == shift {
                return at;
            }
            let entry = get(memory, at, self.width);
            table = if entry & 7 != 0 {
                entry & 0xf_ffff_f000
            } else {
                let made = *next;
                *next += 0x1000;
                // A PDPTE of PAE paging has no rights.
                let flags =
                    if self.width == 8 && level == 30 && self.shifts.len() == 3 { P } else { self.upper };
                put(memory, at, self.width, made | flags);
                made
            };
        }
        panic!("no entry spans 2^{shift} bytes here")
    }
}

fn width(bytes: u64) -> Width {
    if bytes == 4 { Width::W4 } else { Width::W8 }
}

pub fn get(memory: &impl PhysMemory, at: u64, bytes: u64) -> u64 {
    memory.read(PhysAddr(at), width(bytes)).expect("a table in RAM")
}

pub fn put(memory: &impl PhysMemory, at: u64, bytes: u64, value: u64) {
    memory.write(PhysAddr(at), width(bytes), value).expect("a table in RAM");
}

/// The machine. `M` is its memory, plain RAM unless a test wants it otherwise.
pub struct Pc<M: PhysMemory = Ram> {
    pub mmu: Mmu<X86, M, SetAssociative>,
    /// The first stage's tables.
    pub tables: Tables,
    /// The second stage's, if there is one.
    pub second: Option<Tables>,
    next: u64,
}

/// CR0, CR4 and EFER that select `mode`, with WP and NXE on.
pub fn registers(mode: Mode) -> Registers {
    let (cr4, efer) = match mode {
        Mode::Off | Mode::Legacy32 => (Cr4::PSE, Efer::empty()),
        Mode::Pae => (Cr4::PAE, Efer::NXE),
        Mode::Level4 => (Cr4::PAE, Efer::NXE | Efer::LME),
        Mode::Level5 => (Cr4::PAE | Cr4::LA57, Efer::NXE | Efer::LME),
    };
    let paging = if mode == Mode::Off { Cr0::empty() } else { Cr0::PG };
    Registers {
        cr0: Cr0::PE | Cr0::WP | paging,
        cr3: 0x1000,
        cr4: cr4 | Cr4::PGE,
        efer,
        ..Registers::default()
    }
}

pub fn ram() -> Ram {
    Ram::new(PhysAddr(0), RAM).expect("RAM")
}

/// A TLB large enough to lose nothing in these tests.
pub fn tlb() -> SetAssociative {
    SetAssociative::new(Geometry::fully_associative(64)).expect("a TLB")
}

impl Pc {
    pub fn new(mode: Mode) -> Self {
        Self::of(Config::INTEL, registers(mode))
    }

    pub fn of(config: Config, registers: Registers) -> Self {
        Self::on(ram(), config, registers)
    }

    /// A guest whose tables lie where the second stage maps them to themselves: all of RAM in 2 MiB (4 MiB) pages.
    pub fn nested(mode: Mode, second: Second) -> Self {
        Self::nested_of(Config::INTEL, registers(mode), Vmid(1), second)
    }

    pub fn nested_of(config: Config, registers: Registers, vmid: Vmid, second: Second) -> Self {
        let mut pc = Self::of(config, self::registers(Mode::Off));
        let (tables, shift, leaf) = match &second {
            Second::Ept(ept) => (Tables::ept(ept.pointer & !0xfff), 21, EPT_OPEN | PS),
            Second::Npt(npt) => {
                let mode = npt.mode();
                let large = if mode == Mode::Legacy32 { 22 } else { 21 };
                (Tables::new(mode, npt.ncr3), large, OPEN | PS)
            }
        };
        pc.second = Some(tables);
        for base in (0..RAM).step_by(1 << shift) {
            pc.map2(base, shift, base | leaf);
        }
        pc.tables = Tables::new(select(&registers), 0x1000);
        if select(&registers) == Mode::Pae {
            // The top table must be there when CR3 is loaded.
            for gigabyte in 0..4 {
                pc.tables.place(pc.mmu.memory(), &mut pc.next, gigabyte << 30, 21);
            }
        }
        pc.set(Control::Enter { registers, guest: Some(Guest { vmid, second: Some(second) }), pdptes: None });
        pc
    }
}

fn select(registers: &Registers) -> Mode {
    X86::with_registers(Config::INTEL, lma(*registers)).mode()
}

fn lma(mut registers: Registers) -> Registers {
    registers.efer.set(Efer::LMA, registers.efer.contains(Efer::LME) && registers.cr0.contains(Cr0::PG));
    registers
}

/// The root of every second stage here.
pub const ROOT2: u64 = 0x2000;

/// 4-level EPT with accessed and dirty bits.
pub fn ept() -> Second {
    Second::Ept(Ept { pointer: ROOT2 | 6 | 3 << 3 | 1 << 6, mode_based_execute: false })
}

/// Nested paging under a host in `mode`.
pub fn npt(mode: Mode) -> Second {
    let Registers { cr4, efer, pat, .. } = registers(mode);
    Second::Npt(Npt { ncr3: ROOT2, cr4, efer, pat })
}

impl<M: PhysMemory> Pc<M> {
    pub fn on(memory: M, config: Config, registers: Registers) -> Self {
        let mode = select(&registers);
        let tables = Tables::new(mode, 0x1000);
        let mut next = 0x10_0000;
        if mode == Mode::Pae {
            for gigabyte in 0..4 {
                tables.place(&memory, &mut next, gigabyte << 30, 21);
            }
        }
        let mut pc = Self { mmu: Mmu::new(X86::new(config), memory, tlb()), tables, second: None, next };
        pc.set(Control::Load(registers));
        pc
    }

    /// Writes the leaf `raw` for the page of `2^shift` bytes at `va`; says where it stands.
    pub fn map(&mut self, va: u64, shift: u32, raw: u64) -> u64 {
        let at = self.place(va, shift);
        put(self.mmu.memory(), at, self.tables.width, raw);
        at
    }

    pub fn place(&mut self, va: u64, shift: u32) -> u64 {
        self.tables.place(self.mmu.memory(), &mut self.next, va, shift)
    }

    /// The same in the second stage.
    pub fn map2(&mut self, gpa: u64, shift: u32, raw: u64) -> u64 {
        let tables = self.second.expect("a second stage");
        let at = tables.place(self.mmu.memory(), &mut self.next, gpa, shift);
        put(self.mmu.memory(), at, tables.width, raw);
        at
    }

    /// Breaks the second stage's large page around `gpa` into 4 KiB pages and writes the one of `gpa`.
    pub fn split2(&mut self, gpa: u64, raw: u64) -> u64 {
        let tables = self.second.expect("a second stage");
        let shift = if tables.width == 4 { 22 } else { 21 };
        let at = tables.place(self.mmu.memory(), &mut self.next, gpa, shift);
        let large = get(self.mmu.memory(), at, tables.width);
        if large & PS != 0 {
            put(self.mmu.memory(), at, tables.width, 0);
            let base = gpa & !((1 << shift) - 1);
            for page in (base..base + (1 << shift)).step_by(0x1000) {
                self.map2(page, 12, page | large & !PS & 0x3ff);
            }
        }
        self.map2(gpa, 12, raw)
    }

    pub fn raw(&self, at: u64) -> u64 {
        get(self.mmu.memory(), at, self.tables.width)
    }

    pub fn poke(&self, at: u64, raw: u64) {
        put(self.mmu.memory(), at, self.tables.width, raw);
    }

    /// A control change that must succeed.
    pub fn set(&mut self, change: Control) {
        self.mmu.control(change).unwrap_or_else(|error| panic!("{change:?}: {error}"));
    }

    pub fn try_set(&mut self, change: Control) -> Result<(), Fault> {
        self.mmu.control(change).map_err(fault)
    }

    pub fn cr4(&mut self, change: impl FnOnce(Cr4) -> Cr4) {
        let cr4 = change(self.mmu.arch().registers().cr4);
        self.set(Control::Cr4(cr4.bits()));
    }

    pub fn wp(&mut self, on: bool) {
        let mut cr0 = self.mmu.arch().registers().cr0;
        cr0.set(Cr0::WP, on);
        self.set(Control::Cr0(cr0.bits()));
    }

    pub fn user(&mut self) -> &mut Self {
        self.set(Control::Cpl(3));
        self
    }

    pub fn kernel(&mut self) -> &mut Self {
        self.set(Control::Cpl(0));
        self
    }

    pub fn touch(&mut self, kind: AccessKind, va: u64, flavor: Flavor) -> Result<u64, Fault> {
        let access = Access { va: VirtAddr(va), len: 1, kind, flavor };
        self.mmu.translate(&access).map(|translation| translation.pa.0).map_err(fault)
    }

    /// Each yields the physical address that the access reaches.
    pub fn read(&mut self, va: u64) -> Result<u64, Fault> {
        self.touch(AccessKind::Read, va, Flavor::Normal)
    }

    pub fn write(&mut self, va: u64) -> Result<u64, Fault> {
        self.touch(AccessKind::Write, va, Flavor::Normal)
    }

    pub fn fetch(&mut self, va: u64) -> Result<u64, Fault> {
        self.touch(AccessKind::Execute, va, Flavor::Normal)
    }

    pub fn rmw(&mut self, va: u64) -> Result<u64, Fault> {
        self.touch(AccessKind::ReadWrite, va, Flavor::Normal)
    }

    /// Whether an access walks, told by the walk counter.
    pub fn walks(&mut self, mut access: impl FnMut(&mut Self)) -> u64 {
        let before = self.mmu.stats().walks;
        access(self);
        self.mmu.stats().walks - before
    }

    /// Whether reading `va` is answered by the TLB.
    pub fn cached(&mut self, va: u64) -> bool {
        self.walks(|pc| _ = pc.read(va)) == 0
    }
}

fn fault(error: AccessError<Fault>) -> Fault {
    match error {
        AccessError::Fault(fault) => fault,
        other => panic!("no fault: {other}"),
    }
}

/// A #PF with this error code.
pub fn pf(code: PageFaultCode, va: u64) -> Result<u64, Fault> {
    Err(Fault::Page { code, cr2: VirtAddr(va) })
}
