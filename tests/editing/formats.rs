//! The formats that are edited, each with what to edit in it.

use softmmu::arch::aarch64::{self, Aarch64, ExceptionLevel, Granule, Pstate, Register, Registers, Vmsa64};
use softmmu::arch::custom::{Bit, Config, CustomFormat, Leaves};
use softmmu::arch::riscv::{Sv32, Sv39, Sv48, Sv57};
use softmmu::arch::x86::{self, Legacy32, LongMode, Pae};
use softmmu::radix::Perms;

use super::model::Machine;

pub(crate) const RW: Perms = Perms::READ.union(Perms::WRITE);
const USED: Perms = Perms::ACCESSED.union(Perms::DIRTY);

/// Rights that most formats can hold.
fn common() -> Vec<Perms> {
    vec![
        Perms::READ,
        RW | Perms::USER,
        RW | Perms::EXECUTE | Perms::USER | USED,
        Perms::READ | Perms::EXECUTE | Perms::GLOBAL,
    ]
}

/// The classic 32-bit machine.
pub(crate) fn two_level_32() -> (CustomFormat, Machine) {
    let format = Config::two_level_32().build().expect("a preset");
    (format, Machine::new(&[0x40_0000, 0xf000_0000], &[12, 22], 12, common()))
}

/// The textbook's 16-bit machine: one level, and the memory there is.
pub(crate) fn toy16() -> (CustomFormat, Machine) {
    let base = RW | Perms::EXECUTE | Perms::USER;
    let perms = vec![base, base | Perms::ACCESSED, base - Perms::WRITE];
    (Config::toy16().build().expect("a preset"), Machine::new(&[0], &[12], 12, perms).physical(1 << 16))
}

/// 16-byte pages, 5 levels of uneven widths, 2-byte entries with an active-low valid and write bit.
pub(crate) fn tiny() -> (CustomFormat, Machine) {
    let config = Config::new(16, &[2, 1, 3, 2, 4], 2, Bit::low(15))
        .frame(0, 12)
        .write(Bit::low(14))
        .execute(Bit::high(13))
        .leaves(Leaves::Flag(Bit::high(12)))
        .sign_extended();
    let perms = vec![Perms::READ | Perms::USER, RW | Perms::USER, RW | Perms::EXECUTE | Perms::USER];
    let windows = [0, 0x400, (-0x4000i64) as u64];
    (config.build().expect("sound"), Machine::new(&windows, &[4, 8, 10], 4, perms).physical(1 << 16))
}

/// Pages known by their rights, three levels, 8-byte entries.
pub(crate) fn any_right() -> (CustomFormat, Machine) {
    let config = Config::new(4096, &[9, 9, 9], 8, Bit::high(0))
        .frame(10, 44)
        .read(Bit::high(1))
        .write(Bit::high(2))
        .execute(Bit::high(3))
        .user(Bit::high(4))
        .global(Bit::high(5))
        .accessed(Bit::high(6))
        .dirty(Bit::high(7))
        .leaves(Leaves::AnyRight)
        .sign_extended();
    let windows = [0, 0xffff_ffe0_0000_0000];
    (config.build().expect("sound"), Machine::new(&windows, &[12, 21, 30], 12, common()))
}

pub(crate) fn sv32() -> (Sv32, Machine) {
    (Sv32::default(), Machine::new(&[0, 0xf000_0000], &[12, 22], 12, common()))
}

pub(crate) fn sv39() -> (Sv39, Machine) {
    (Sv39::default(), Machine::new(&[0, 0xffff_ffe0_0000_0000], &[12, 21, 30], 12, common()))
}

pub(crate) fn sv48() -> (Sv48, Machine) {
    (Sv48::default(), Machine::new(&[0, 0xffff_8000_0000_0000], &[12, 21, 30], 12, common()))
}

pub(crate) fn sv57() -> (Sv57, Machine) {
    (Sv57::default(), Machine::new(&[0, 0xff80_0000_0000_0000], &[12, 21, 30], 12, common()))
}

pub(crate) fn long_mode(five_levels: bool) -> (LongMode, Machine) {
    let high = if five_levels { 0xff80_0000_0000_0000 } else { 0xffff_8000_0000_0000 };
    let format = LongMode::new(&x86::Config::INTEL, true, five_levels);
    (format, Machine::new(&[0, high], &[12, 21, 30], 12, common()))
}

pub(crate) fn pae() -> (Pae, Machine) {
    let format = Pae::in_memory(&x86::Config::INTEL, true);
    (format, Machine::new(&[0, 0xc000_0000], &[12, 21], 12, common()))
}

/// 32-bit paging cannot forbid execution.
pub(crate) fn legacy32() -> (Legacy32, Machine) {
    let read = Perms::READ | Perms::EXECUTE;
    let perms = vec![read, read | Perms::WRITE | Perms::USER, read | Perms::GLOBAL, read | USED];
    (Legacy32::new(&x86::Config::INTEL, true), Machine::new(&[0, 0xf000_0000], &[12, 22], 12, perms))
}

/// EL1&0, lower or upper half, in the tables that a granule makes of 36 to 42 address bits.
pub(crate) fn vmsa(granule: Granule, upper: bool) -> (Vmsa64, Machine) {
    let (size, tg0, tg1, page, block) = match granule {
        Granule::K4 => (25, 0, 2, 12, 21),
        Granule::K16 => (28, 2, 1, 14, 25),
        Granule::K64 => (22, 1, 3, 16, 29),
    };
    let mut registers = Registers::default();
    registers.set(Register::SctlrEl1, 1);
    registers.set(Register::TcrEl1, size | size << 16 | tg0 << 14 | tg1 << 30 | 5 << 32);
    let pstate = Pstate { el: ExceptionLevel::El1, pan: false, uao: false };
    let core = Aarch64::with_state(aarch64::Config::FULL, registers, pstate);
    let (format, _) = core.stage1_table(upper).expect("tables are set up");
    let perms = vec![
        Perms::READ | Perms::USER,
        RW | Perms::USER | Perms::ACCESSED,
        Perms::READ | Perms::EXECUTE | Perms::USER,
        RW | Perms::GLOBAL | Perms::ACCESSED,
    ];
    let start = if upper { u64::MAX << (64 - size) } else { 0 };
    (format, Machine::new(&[start, start + (1 << 32)], &[page, block], page, perms))
}
