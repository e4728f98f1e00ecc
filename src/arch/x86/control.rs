//! The control registers that decide translation, what a write to each checks, and what it drops.
//!
//! A write is carried out on a copy of the state; only when every check has passed, PDPTEs included, does the copy
//! take the state's place and are the drops told. So a write that raises #GP changes nothing.

use super::fault::Fault;
use super::invalidate;
use super::nested::{Guest, GuestTables, Second};
use super::walk::Direct;
use super::{Mode, X86, pdpte};
use crate::arch::{PteMemory, WalkError};
use crate::tlb::Scope;

bitflags::bitflags! {
    /// CR0 (SDM Vol. 3A, 2.5): the bits that matter here. Other bits are kept as written.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Cr0: u64 {
        /// PE: protected mode.
        const PE = 1;
        /// WP: supervisor writes heed R/W.
        const WP = 1 << 16;
        /// NW: not write-through.
        const NW = 1 << 29;
        /// CD: cache disable.
        const CD = 1 << 30;
        /// PG: paging.
        const PG = 1 << 31;
        const _ = !0;
    }
}

bitflags::bitflags! {
    /// CR4 (SDM Vol. 3A, 2.5).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Cr4: u64 {
        /// PSE: 4 MiB pages in 32-bit paging.
        const PSE = 1 << 4;
        /// PAE: 8-byte entries.
        const PAE = 1 << 5;
        /// PGE: global pages.
        const PGE = 1 << 7;
        /// LA57: five levels.
        const LA57 = 1 << 12;
        /// PCIDE: process-context identifiers.
        const PCIDE = 1 << 17;
        /// SMEP: no supervisor fetches from user pages.
        const SMEP = 1 << 20;
        /// SMAP: no supervisor data accesses to user pages while RFLAGS.AC is clear.
        const SMAP = 1 << 21;
        /// PKE: protection keys for user pages.
        const PKE = 1 << 22;
        /// CET: control-flow enforcement, shadow stacks among it.
        const CET = 1 << 23;
        /// PKS: protection keys for supervisor pages.
        const PKS = 1 << 24;
        /// LAM_SUP: tags in supervisor pointers.
        const LAM_SUP = 1 << 28;
        const _ = !0;
    }
}

/// What the presets of [`Config`](super::Config) accept.
impl Cr4 {
    /// VME to OSXMMEXCPT.
    pub(super) const PENTIUM_III: Self = Self::from_bits_retain(0x7ff);
    /// The same with SMXE, VMXE, FSGSBASE, PCIDE, OSXSAVE, SMEP and SMAP.
    pub(super) const SKYLAKE_CLIENT: Self = Self::from_bits_retain(0x0037_67ff);
    /// VME to OSXMMEXCPT with UMIP, FSGSBASE, OSXSAVE, SMEP and SMAP.
    pub(super) const ZEN2: Self = Self::from_bits_retain(0x0035_0fff);
    pub(super) const UMIP: Self = Self::from_bits_retain(1 << 11);
}

/// CR3: tags in user pointers, in bits 62:57 or (where that is clear) 62:48.
pub(super) const LAM_U57: u64 = 1 << 61;
pub(super) const LAM_U48: u64 = 1 << 62;

bitflags::bitflags! {
    /// IA32_EFER (SDM Vol. 3A, 2.2.1).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Efer: u64 {
        /// LME: long mode is entered with paging.
        const LME = 1 << 8;
        /// LMA: long mode is active.
        const LMA = 1 << 10;
        /// NXE: bit 63 of an entry is XD, not reserved.
        const NXE = 1 << 11;
        const _ = !0;
    }
}

/// The registers that decide translation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Registers {
    /// CR0.
    pub cr0: Cr0,
    /// CR3 as it reads back (bit 63 of a MOV is not kept).
    pub cr3: u64,
    /// CR4.
    pub cr4: Cr4,
    /// IA32_EFER.
    pub efer: Efer,
    /// PKRU.
    pub pkru: u32,
    /// IA32_PKRS.
    pub pkrs: u32,
    /// IA32_PAT: eight memory types, one a byte.
    pub pat: u64,
    /// RFLAGS.AC.
    pub ac: bool,
    /// CPL, 0 to 3.
    pub cpl: u8,
}

impl Default for Registers {
    /// The state after reset (SDM Vol. 3A, table 10-1).
    fn default() -> Self {
        Self {
            cr0: Cr0::from_bits_retain(0x6000_0010),
            cr3: 0,
            cr4: Cr4::empty(),
            efer: Efer::empty(),
            pkru: 0,
            pkrs: 0,
            pat: 0x0007_0406_0007_0406,
            ac: false,
            cpl: 0,
        }
    }
}

/// A change of control state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Control {
    /// MOV to CR0.
    Cr0(u64),
    /// MOV to CR3, with bit 63 as in the instruction's operand: with CR4.PCIDE it asks to keep the TLB.
    Cr3(u64),
    /// MOV to CR4.
    Cr4(u64),
    /// WRMSR to IA32_EFER. LMA is the processor's and not written.
    Efer(u64),
    /// WRPKRU.
    Pkru(u32),
    /// WRMSR to IA32_PKRS.
    Pkrs(u32),
    /// WRMSR to IA32_PAT.
    Pat(u64),
    /// RFLAGS.AC changes (STAC, CLAC, POPF, a system call...).
    Ac(bool),
    /// The privilege level changes.
    Cpl(u8),
    /// The four PDPTE registers are loaded from elsewhere than memory (the VMCS).
    Pdptes([u64; 4]),
    /// All registers at once: reset, or a snapshot restored. The TLB is emptied. PDPTEs are loaded where the new
    /// state uses them.
    Load(Registers),
    /// VM entry or VM exit: another set of registers, and the guest that they belong to, or the host.
    Enter {
        /// The registers of the other side.
        registers: Registers,
        /// The guest entered; `None` returns to the host.
        guest: Option<Guest>,
        /// The PDPTE registers of the other side; `None` loads them from memory where the state uses them.
        pdptes: Option<[u64; 4]>,
    },
}

/// Carries out a change that concerns rights alone: nothing to check and nothing to drop. False for any other.
fn set_right(registers: &mut Registers, change: Control) -> bool {
    match change {
        Control::Pkru(value) => registers.pkru = value,
        Control::Pkrs(value) => registers.pkrs = value,
        Control::Ac(value) => registers.ac = value,
        Control::Cpl(value) => registers.cpl = value & 3,
        _ => return false,
    }
    true
}

/// Carries out `change` on `x86`; see [`Arch::control`](crate::arch::Arch::control).
pub(super) fn apply<P: PteMemory>(
    x86: &mut X86,
    change: Control,
    memory: &mut P,
    drop: &mut dyn FnMut(Scope),
) -> Result<(), WalkError<Fault>> {
    if set_right(&mut x86.registers, change) {
        return Ok(());
    }
    let old = *x86;
    let mut next = old;
    let registers = &mut next.registers;
    let mut load_pdptes = false;
    match change {
        Control::Cr0(value) => {
            registers.cr0 = Cr0::from_bits_retain(value);
            settle_lma(registers);
            check_cr0(&old.registers, registers)?;
            // SDM 4.4.1: MOV to CR0 that changes CD, NW or PG.
            load_pdptes = (registers.cr0 ^ old.registers.cr0).intersects(Cr0::CD | Cr0::NW | Cr0::PG);
        }
        Control::Cr3(value) => {
            let keep = if registers.cr4.contains(Cr4::PCIDE) { 1 << 63 } else { 0 };
            let lam = if old.config.lam { LAM_U57 | LAM_U48 } else { 0 };
            refuse_if(value & !keep & !lam & !old.config.physical_mask() != 0)?;
            registers.cr3 = value & !keep;
            load_pdptes = true;
        }
        Control::Cr4(value) => {
            registers.cr4 = Cr4::from_bits_retain(value);
            refuse_if(!old.config.cr4.contains(registers.cr4))?;
            check_cr4(&old.registers, registers)?;
            // SDM 4.4.1: MOV to CR4 that changes PAE, PGE, PSE or SMEP.
            load_pdptes =
                (registers.cr4 ^ old.registers.cr4).intersects(Cr4::PAE | Cr4::PGE | Cr4::PSE | Cr4::SMEP);
        }
        Control::Efer(value) => {
            registers.efer = Efer::from_bits_retain(value);
            let lme = (registers.efer ^ old.registers.efer).contains(Efer::LME);
            refuse_if(lme && registers.cr0.contains(Cr0::PG))?;
            settle_lma(registers);
        }
        Control::Pkru(_) | Control::Pkrs(_) | Control::Ac(_) | Control::Cpl(_) => {}
        Control::Pat(value) => {
            // SDM 12.12.2: encodings 2, 3 and 8 up are reserved.
            refuse_if(value.to_le_bytes().iter().any(|ty| matches!(ty, 2 | 3 | 8..)))?;
            registers.pat = value;
        }
        Control::Pdptes(values) => {
            pdpte::check(&next.config, &values)?;
            next.pdptes = values;
        }
        Control::Load(value) => {
            *registers = value;
            settle_lma(registers);
            load_pdptes = true;
        }
        Control::Enter { registers: value, guest, pdptes } => {
            *registers = value;
            settle_lma(registers);
            next.guest = guest;
            next.regime = invalidate::regime(&mut next.ept_regimes, guest.as_ref());
            load_pdptes = pdptes.is_none();
            next.pdptes = pdptes.unwrap_or(next.pdptes);
        }
    }
    if load_pdptes && next.mode() == Mode::Pae && !matches!(next.second(), Some(Second::Npt(_))) {
        next.pdptes = match next.second() {
            None => pdpte::load(&next, &mut Direct(memory))?,
            Some(second) => {
                let lower = &second.lower(&next.config);
                pdpte::load(&next, &mut GuestTables { lower, x86: &next, linear: None, memory })?
            }
        };
    }
    next.settle();
    *x86 = next;
    invalidate::control(&old, &next, change, drop);
    Ok(())
}

fn refuse_if(bad: bool) -> Result<(), WalkError<Fault>> {
    if bad { Err(WalkError::Fault(Fault::BAD_CONTROL)) } else { Ok(()) }
}

/// EFER.LMA follows LME and PG (SDM Vol. 3A, 4.1.1).
fn settle_lma(registers: &mut Registers) {
    let active = registers.efer.contains(Efer::LME) && registers.cr0.contains(Cr0::PG);
    registers.efer.set(Efer::LMA, active);
}

/// MOV to CR0 (SDM Vol. 2, MOV to control registers; Vol. 3A 4.1.2).
fn check_cr0(old: &Registers, new: &Registers) -> Result<(), WalkError<Fault>> {
    let (cr0, cr4) = (new.cr0, new.cr4);
    refuse_if(cr0.bits() >> 32 != 0)?;
    refuse_if(cr0.contains(Cr0::PG) && !cr0.contains(Cr0::PE))?;
    refuse_if(cr0.contains(Cr0::NW) && !cr0.contains(Cr0::CD))?;
    refuse_if(cr0.contains(Cr0::PG) && new.efer.contains(Efer::LME) && !cr4.contains(Cr4::PAE))?;
    let leaves = old.cr0.contains(Cr0::PG) && !cr0.contains(Cr0::PG);
    refuse_if(leaves && cr4.contains(Cr4::PCIDE))?;
    refuse_if(cr4.contains(Cr4::CET) && !cr0.contains(Cr0::WP))
}

/// MOV to CR4 (SDM Vol. 2, MOV to control registers; Vol. 3A 4.1.2, 4.10.1).
fn check_cr4(old: &Registers, new: &Registers) -> Result<(), WalkError<Fault>> {
    let changed = new.cr4 ^ old.cr4;
    let long = new.efer.contains(Efer::LMA);
    refuse_if(long && changed.intersects(Cr4::PAE | Cr4::LA57))?;
    let pcide = changed & new.cr4 & Cr4::PCIDE == Cr4::PCIDE;
    refuse_if(pcide && (!long || old.cr3 & 0xfff != 0))?;
    refuse_if(new.cr4.contains(Cr4::CET) && !new.cr0.contains(Cr0::WP))
}
