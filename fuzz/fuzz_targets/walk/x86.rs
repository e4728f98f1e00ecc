//! x86's registers and entries.

use arbitrary::{Result, Unstructured};
use softmmu::addr::Vmid;
use softmmu::arch::x86::{Config, Control, Cr0, Cr4, Efer, Ept, Flavor, Guest, Npt, Registers, Second, X86};

pub struct Target;

fn registers(u: &mut Unstructured<'_>) -> Result<Registers> {
    Ok(Registers {
        cr0: Cr0::PE | Cr0::PG | Cr0::from_bits_retain(u64::from(u.arbitrary::<u8>()?) << 12) & Cr0::WP,
        cr3: super::place(u)?,
        cr4: Cr4::from_bits_retain(u64::from(u.arbitrary::<u32>()?)),
        efer: *u.choose(&[
            Efer::empty(),
            Efer::NXE,
            Efer::LME | Efer::LMA,
            Efer::LME | Efer::LMA | Efer::NXE,
        ])?,
        pkru: u.arbitrary()?,
        pkrs: u.arbitrary()?,
        pat: u.arbitrary()?,
        ac: u.arbitrary()?,
        cpl: *u.choose(&[0, 3])?,
    })
}

impl super::Target for Target {
    type Arch = X86;

    fn arch(u: &mut Unstructured<'_>) -> Result<X86> {
        let config = *u.choose(&[Config::INTEL, Config::AMD, Config::ZEN2])?;
        let page1gb = u.arbitrary()?;
        Ok(X86::with_registers(Config { page1gb, ..config }, registers(u)?))
    }

    fn control(u: &mut Unstructured<'_>) -> Result<Control> {
        Ok(match u.int_in_range(0..=11)? {
            0 => Control::Cr0(u.arbitrary()?),
            1 | 2 => Control::Cr3(super::place(u)?),
            3 => Control::Cr4(u64::from(u.arbitrary::<u32>()?)),
            4 => Control::Efer(u.arbitrary()?),
            5 => Control::Pkru(u.arbitrary()?),
            6 => Control::Ac(u.arbitrary()?),
            7 => Control::Cpl(*u.choose(&[0, 3])?),
            8 => Control::Load(registers(u)?),
            9 => Control::Pdptes(u.arbitrary()?),
            _ => {
                let second = match u.int_in_range(0..=3)? {
                    0 => None,
                    1 => {
                        let flags = u64::from(u.arbitrary::<u8>()?);
                        let pointer = super::place(u)? | if u.arbitrary()? { 0x1e } else { flags };
                        Some(Second::Ept(Ept { pointer, mode_based_execute: u.arbitrary()? }))
                    }
                    _ => {
                        let Registers { cr3, cr4, efer, pat, .. } = registers(u)?;
                        Some(Second::Npt(Npt { ncr3: cr3, cr4, efer, pat }))
                    }
                };
                let guest = Guest { vmid: Vmid(u.int_in_range(0..=2)?), second };
                let guest = if u.ratio(3, 4)? { Some(guest) } else { None };
                Control::Enter { registers: registers(u)?, guest, pdptes: u.arbitrary()? }
            }
        })
    }

    fn entry(page: u64, flags: u64, high: u64) -> u64 {
        page << 12 & ((1 << 52) - 1) | flags & 0xfff | high << 52
    }

    fn flavor(u: &mut Unstructured<'_>) -> Result<Flavor> {
        Ok(*u.choose(&[
            Flavor::Normal,
            Flavor::Stack,
            Flavor::ImplicitSupervisor,
            Flavor::ShadowStack,
            Flavor::UserShadowStack,
        ])?)
    }

    fn spans(_word: u64) -> bool {
        false
    }
}
