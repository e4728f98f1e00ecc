//! Guests that miss at every access: more pages than a 64x4 TLB has lines, gone through in turn, so that true LRU has
//! always just dropped the one that comes next. All pages share a few frames and their tables are small, so that the
//! host finds both in its first-level cache.

use super::machine::{BASE, VIRTUAL};
use super::tables::{Ept4, Granule4k, Long, Shape, Stage2, Sv39, Sv39x4, Sv48};
use softmmu::addr::{PhysAddr, VirtAddr, Vmid};
use softmmu::arch::aarch64::{self, Aarch64, ExceptionLevel, Pstate, Register};
use softmmu::arch::riscv::{Privilege, Riscv};
use softmmu::arch::x86::{self, Cr0, Cr4, Efer, Ept, Guest, Second, X86};
use softmmu::arch::{Arch, riscv};
use softmmu::memory::Ram;
use softmmu::mmu::Mmu;
use softmmu::tlb::{Geometry, SetAssociative};

/// Pages that are gone through.
pub const PAGES: u64 = 1024;
/// Frames that they share.
const FRAMES: u64 = 16;
/// Small enough to be kept as an array by [`Hand`](super::hand::Hand).
pub const RAM: u64 = 4 << 20;
/// The root of the first stage, and of the second.
pub const ROOTS: [u64; 2] = [BASE, BASE + 0x4000];
const TABLES: u64 = BASE + 0x8000;
const DATA: u64 = BASE + 0x20_0000;

/// The address of access number `step`.
#[inline(always)]
pub fn paged(step: u64) -> u64 {
    VIRTUAL + ((step & (PAGES - 1)) << 12 | (step * 64 & 0xfc0))
}

/// A guest of `arch`, tables and all.
pub type Guested<A> = Mmu<A, Ram, SetAssociative>;

/// RAM with the pages mapped by tables of shape `S`, and beneath them all of RAM mapped to itself by a second stage.
fn tables<S: Shape, S2: Shape>() -> Ram {
    let ram = Ram::new(PhysAddr(BASE), RAM).expect("a small RAM");
    let mut next = TABLES;
    for page in 0..PAGES {
        S::map(&ram, ROOTS[0], VIRTUAL + page * 4096, DATA + page % FRAMES * 4096, &mut next);
    }
    for page in (BASE..BASE + RAM).step_by(4096) {
        S2::map(&ram, ROOTS[1], page, page, &mut next);
    }
    assert!(next <= DATA, "tables end at {next:#x}");
    ram
}

/// The guest, once it has been seen to miss at every load and to read `reads` entries each time.
fn checked<A: Arch>(arch: A, ram: Ram, changes: &[A::Control], reads: u64) -> Guested<A> {
    let mut mmu = Mmu::new(arch, ram, SetAssociative::new(Geometry::new(64, 4)).expect("a real geometry"));
    for &change in changes {
        assert!(mmu.control(change).is_ok(), "a control change faults");
    }
    for step in 0..2 * PAGES {
        assert_eq!(mmu.load::<u64>(VirtAddr(paged(step))).ok(), Some(0), "access {step}");
    }
    let stats = mmu.stats();
    assert_eq!((stats.walks, stats.pte_reads), (2 * PAGES, 2 * PAGES * reads));
    mmu
}

fn satp(mode: u64, stage: usize) -> u64 {
    mode << 60 | ROOTS[stage] >> 12
}

fn supervisor(virt: bool) -> riscv::Control {
    riscv::Control::Mode { privilege: Privilege::Supervisor, virt }
}

pub fn sv39() -> Guested<Riscv> {
    let changes = [riscv::Control::Satp(satp(8, 0)), supervisor(false)];
    checked(Riscv::rv64(), tables::<Sv39, Sv39x4>(), &changes, 3)
}

pub fn sv48() -> Guested<Riscv> {
    let changes = [riscv::Control::Satp(satp(9, 0)), supervisor(false)];
    checked(Riscv::rv64(), tables::<Sv48, Sv39x4>(), &changes, 4)
}

/// Sv39 over Sv39x4: three entries, each behind three of the second stage's, and three more for the page.
pub fn sv39x4() -> Guested<Riscv> {
    let (guest, second) = (riscv::Control::Vsatp(satp(8, 0)), riscv::Control::Hgatp(satp(8, 1)));
    checked(Riscv::rv64(), tables::<Sv39, Sv39x4>(), &[guest, second, supervisor(true)], 15)
}

fn long_mode() -> x86::Registers {
    x86::Registers {
        cr0: Cr0::PE | Cr0::WP | Cr0::PG,
        cr3: ROOTS[0],
        cr4: Cr4::PAE | Cr4::PGE,
        efer: Efer::NXE | Efer::LME | Efer::LMA,
        ..x86::Registers::default()
    }
}

/// Four levels.
pub fn x86() -> Guested<X86> {
    checked(
        X86::with_registers(x86::Config::INTEL, long_mode()),
        tables::<Long, Ept4>(),
        &[x86::Control::Cpl(0)],
        4,
    )
}

/// Four levels over four of EPT.
pub fn x86_ept() -> Guested<X86> {
    let pointer = ROOTS[1] | 6 | 3 << 3 | 1 << 6;
    let second = Some(Second::Ept(Ept { pointer, mode_based_execute: false }));
    let guest = Some(Guest { vmid: Vmid(1), second });
    let enter = x86::Control::Enter { registers: long_mode(), guest, pdptes: None };
    checked(X86::new(x86::Config::INTEL), tables::<Long, Ept4>(), &[enter], 24)
}

/// 48-bit halves of 4 KiB pages at EL1, with or without a second stage of the same size.
fn core(second: bool, reads: u64) -> Guested<Aarch64> {
    let mut registers = aarch64::Registers::default();
    for (register, value) in [
        (Register::SctlrEl1, 0x30d0_0805),
        (Register::TcrEl1, 16 | 16 << 16 | 2 << 30 | 5 << 32),
        (Register::Ttbr0El1, ROOTS[0]),
        (Register::MairEl1, 0xff),
        (Register::HcrEl2, 1 << 31 | u64::from(second)),
        (Register::VtcrEl2, 16 | 2 << 6 | 5 << 16 | 1 << 31),
        (Register::VttbrEl2, ROOTS[1]),
    ] {
        registers.set(register, value);
    }
    let el1 = Pstate { el: ExceptionLevel::El1, pan: false, uao: false };
    let core = Aarch64::with_state(aarch64::Config::FULL, registers, el1);
    checked(core, tables::<Granule4k, Stage2>(), &[], reads)
}

pub fn aarch64() -> Guested<Aarch64> {
    core(false, 4)
}

pub fn aarch64_two_stage() -> Guested<Aarch64> {
    core(true, 24)
}
