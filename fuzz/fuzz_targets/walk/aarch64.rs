//! AArch64's registers and descriptors.

use arbitrary::{Result, Unstructured};
use softmmu::arch::aarch64::{Aarch64, Config, Control, ExceptionLevel, Flavor, Pstate, Register, Registers};

pub struct Target;

const LEVELS: [ExceptionLevel; 3] = [ExceptionLevel::El0, ExceptionLevel::El1, ExceptionLevel::El2];

/// A control register's value that sets up something.
fn written(u: &mut Unstructured<'_>) -> Result<(Register, u64)> {
    let roots =
        [Register::Ttbr0El1, Register::Ttbr1El1, Register::VttbrEl2, Register::Ttbr0El2, Register::Ttbr1El2];
    Ok(match u.int_in_range(0..=8)? {
        0..=2 => (*u.choose(&roots)?, super::place(u)? | u64::from(u.arbitrary::<u16>()?) << 48),
        3 => (*u.choose(&[Register::SctlrEl1, Register::SctlrEl2])?, u.arbitrary::<u64>()? | 1),
        4 => (*u.choose(&[Register::MairEl1, Register::MairEl2])?, u.arbitrary()?),
        5 | 6 => {
            let sizes = u64::from(*u.choose(&[16u8, 25, 34, 12, 0])?);
            let upper = u64::from(*u.choose(&[16u8, 25, 34, 12, 0])?);
            let granule = u.arbitrary::<u64>()? & 0xc000_c000;
            let rest = u.arbitrary::<u64>()? & !0xc03f_c03f;
            let rest = if u.ratio(1, 4)? { rest } else { rest & 0x5 << 32 };
            (*u.choose(&[Register::TcrEl1, Register::TcrEl2])?, sizes | upper << 16 | granule | rest)
        }
        7 => (
            Register::VtcrEl2,
            u64::from(*u.choose(&[16u8, 25, 34, 32])?) | u.arbitrary::<u64>()? & 0x3f_ffc0,
        ),
        _ => (Register::HcrEl2, u.arbitrary::<u64>()? & *u.choose(&[1, 0x8000_0001, u64::MAX])?),
    })
}

impl super::Target for Target {
    type Arch = Aarch64;

    fn arch(u: &mut Unstructured<'_>) -> Result<Aarch64> {
        let mut registers = Registers::default();
        for _ in 0..u.int_in_range(0..=8)? {
            let (register, value) = written(u)?;
            registers.set(register, value);
        }
        let pstate = Pstate { el: *u.choose(&LEVELS)?, pan: u.arbitrary()?, uao: u.arbitrary()? };
        Ok(Aarch64::with_state(
            *u.choose(&[Config::FULL, Config::NEOVERSE_N1, Config::CORTEX_A53])?,
            registers,
            pstate,
        ))
    }

    fn control(u: &mut Unstructured<'_>) -> Result<Control> {
        if u.ratio(1, 3)? {
            let pstate = Pstate { el: *u.choose(&LEVELS)?, pan: u.arbitrary()?, uao: u.arbitrary()? };
            return Ok(Control::Pstate(pstate));
        }
        let (register, value) = written(u)?;
        Ok(Control::Write(register, value))
    }

    fn entry(page: u64, flags: u64, high: u64) -> u64 {
        page << 12 & ((1 << 48) - 1) | flags & 0xfff | high << 48
    }

    fn flavor(u: &mut Unstructured<'_>) -> Result<Flavor> {
        Ok(*u.choose(&[Flavor::Ordinary, Flavor::Unprivileged, Flavor::Aligned, Flavor::CacheMaintenance])?)
    }

    fn spans(word: u64) -> bool {
        word & 1 << 52 != 0
    }
}
