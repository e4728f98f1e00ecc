//! RISC-V's registers and entries.

use arbitrary::{Result, Unstructured};
use softmmu::arch::riscv::{Config, Control, Flavor, Privilege, Riscv};

pub struct Target;

impl super::Target for Target {
    type Arch = Riscv;

    fn arch(u: &mut Unstructured<'_>) -> Result<Riscv> {
        let mut config = if u.ratio(1, 4)? { Config::rv32() } else { Config::rv64() };
        config.pmp_entries = *u.choose(&[0, 0, 16])?;
        Ok(Riscv::new(config))
    }

    fn control(u: &mut Unstructured<'_>) -> Result<Control> {
        let atp = |u: &mut Unstructured<'_>| {
            let mode = *u.choose(&[0, 8 << 60, 9 << 60, 10 << 60, 1 << 31])?;
            Ok::<u64, arbitrary::Error>(mode | super::place(u)? >> 12 | u64::from(u.arbitrary::<u8>()?) << 44)
        };
        Ok(match u.int_in_range(0..=14)? {
            0 | 1 => Control::Satp(atp(u)?),
            2 => Control::Vsatp(atp(u)?),
            3 => Control::Hgatp(atp(u)?),
            4 => Control::Mstatus(u.arbitrary()?),
            5 => Control::Vsstatus(u.arbitrary()?),
            6 => Control::Hstatus(u.arbitrary()?),
            7 => Control::Menvcfg(u.arbitrary()?),
            8 => Control::Henvcfg(u.arbitrary()?),
            9 => Control::Senvcfg(u.arbitrary()?),
            10 => Control::Mseccfg(u.arbitrary()?),
            11 => Control::PmpCfg { index: u.int_in_range(0..=20)?, value: u.arbitrary()? },
            12 => Control::PmpAddr {
                index: u.int_in_range(0..=20)?,
                value: super::place(u)? >> 2 | u.arbitrary::<u8>()? as u64,
            },
            _ => {
                let privilege = *u.choose(&[Privilege::User, Privilege::Supervisor, Privilege::Machine])?;
                Control::Mode { privilege, virt: u.arbitrary()? }
            }
        })
    }

    fn entry(page: u64, flags: u64, high: u64) -> u64 {
        page << 10 | flags & 0x3ff | high << 54
    }

    fn flavor(u: &mut Unstructured<'_>) -> Result<Flavor> {
        Ok(*u.choose(&[Flavor::Normal, Flavor::LrSc, Flavor::Hlv, Flavor::Hlvx, Flavor::ShadowStack])?)
    }

    fn spans(word: u64) -> bool {
        word >> 63 != 0
    }
}
