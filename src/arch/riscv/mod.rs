//! RISC-V: paging from Bare to Sv57, two-stage translation, physical memory protection, pointer masking.
//!
//! [`Riscv`] holds the control registers of one hart that matter to memory. The files follow the manual's chapters:
//!
//! | file | what it says |
//! | --- | --- |
//! | `config` | what the machine has, and every choice that the manual leaves to it |
//! | `csr` | the registers' fields and their WARL rules |
//! | `control` | register writes |
//! | `context` | effective privilege (MPRV, HLV) and what it comes to |
//! | `masking` | pointer masking |
//! | `pte` | page-table entries and the formats Sv32 to Sv57x4 |
//! | `rights` | R, W, X, U, SUM, MXR and shadow stacks, as one compare |
//! | `walk` | stage one; accessed and dirty bits |
//! | `gstage` | stage two, and stage one's tables behind it |
//! | `pmp` | physical memory protection |
//! | `fence` | SFENCE and HFENCE |
//! | `fault` | exception codes, `tval`, `tval2`, `tinst` |
//!
//! Manuals: "The RISC-V Instruction Set Manual, Volume II: Privileged Architecture" (cited by section title), with
//! the ratified extensions that it now contains: Sv*, Smepmp, Ss/Smnpm, Smmpm, Zicfiss, H.
//!
//! Not modelled: SXL, UXL and VSXL other than MXL, big-endian tables (`mstatus.SBE`), Svadu's speculative setting of A,
//! and the exceptions that an instruction raises before it has an address (TVM, VTVM, HLV without `hstatus.HU`).

pub mod config;
mod context;
mod control;
pub mod csr;
mod fault;
mod fence;
mod gstage;
mod masking;
mod pmp;
mod pte;
mod rights;
mod walk;

pub use config::{Config, Extensions, MisalignedAtomics, Xlen};
pub use context::Context;
pub use control::Control;
pub use csr::Mode;
pub use fault::{Cause, Fault};
pub use fence::Fence;
pub use pmp::{Pmp, PmpFlags};
pub use pte::{MemoryType, PteFlags, PteRules, Sv, Sv32, Sv32x4, Sv39, Sv39x4, Sv48, Sv48x4, Sv57, Sv57x4};

use crate::access::{Access, AccessKind};
use crate::addr::PhysAddr;
use crate::arch::{Arch, FaultClass, Lookup, PteMemory, WalkError};
use crate::memory::BusError;
use crate::tlb::{Key, Scope, TlbEntry};
use context::Special;
use csr::{Atp, envcfg};
use fault::Reported;
use pmp::PmpAccess;
use rights::Use;
use walk::Trouble;

/// A privilege mode.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Privilege {
    /// U, or VU.
    User = 0,
    /// S (HS), or VS.
    Supervisor = 1,
    /// M.
    Machine = 3,
}

impl Privilege {
    /// The mode with this two-bit encoding; the reserved encoding 2 is the less privileged S.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        match bits & 3 {
            0 => Self::User,
            3 => Self::Machine,
            _ => Self::Supervisor,
        }
    }
}

/// What distinguishes an instruction beyond load, store, atomic or fetch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Flavor {
    /// Nothing. With [`AccessKind::ReadWrite`]: an AMO.
    #[default]
    Normal,
    /// LR (a read) or SC (a write): must be aligned.
    LrSc,
    /// HLV (a read) or HSV (a write): as VS or VU by `hstatus.SPVP`, whatever the mode.
    Hlv,
    /// HLVX: like HLV, of what the guest could execute.
    Hlvx,
    /// SSPOPCHK (a read), SSPUSH (a write) or SSAMOSWAP (a read-write): reaches shadow-stack pages alone.
    ShadowStack,
}

/// Where the tables of a first stage begin, and what their entries mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Tables {
    root: u64,
    rules: PteRules,
}

/// The address translation of one hart.
///
/// Made in its reset state: M-mode, every register zero, PMP entries off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Riscv {
    config: Config,
    satp: Atp,
    vsatp: Atp,
    hgatp: Atp,
    mstatus: u64,
    vsstatus: u64,
    hstatus: u64,
    menvcfg: u64,
    henvcfg: u64,
    senvcfg: u64,
    mseccfg: u64,
    privilege: Privilege,
    virt: bool,
    // Derived from the above whenever one of them changes.
    host_tables: Tables,
    guest_tables: Tables,
    second_rules: PteRules,
    /// Contexts of plain data accesses and of fetches.
    data: Context,
    fetch: Context,
    pmp: Pmp,
}

impl Riscv {
    /// A hart of the machine that `config` describes, as it comes out of reset.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let rules = PteRules::new(&config, 0, false);
        let mut hart = Self {
            config,
            satp: Atp::BARE,
            vsatp: Atp::BARE,
            hgatp: Atp::BARE,
            mstatus: 0,
            vsstatus: 0,
            hstatus: 0,
            menvcfg: 0,
            henvcfg: 0,
            senvcfg: 0,
            mseccfg: 0,
            privilege: Privilege::Machine,
            virt: false,
            host_tables: Tables { root: 0, rules },
            guest_tables: Tables { root: 0, rules },
            second_rules: rules,
            data: Context::RESET,
            fetch: Context::RESET,
            pmp: Pmp::new(config.pmp_entries, config.pmp_grain),
        };
        hart.refresh();
        hart
    }

    /// A hart of a [`Config::rv64`] machine.
    #[must_use]
    pub fn rv64() -> Self {
        Self::new(Config::rv64())
    }

    /// A hart of a [`Config::rv32`] machine.
    #[must_use]
    pub fn rv32() -> Self {
        Self::new(Config::rv32())
    }

    /// The machine.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The privilege mode and the virtualisation mode.
    #[must_use]
    pub const fn mode(&self) -> (Privilege, bool) {
        (self.privilege, self.virt)
    }

    /// The physical memory protection registers, as CSR reads show them.
    #[must_use]
    pub const fn pmp(&self) -> &Pmp {
        &self.pmp
    }

    fn has_hypervisor(&self) -> bool {
        self.config.extensions.contains(Extensions::H)
    }

    /// The `xenvcfg` that governs stage one: fields of `henvcfg` are zero where `menvcfg`'s are ("henvcfg").
    fn stage_envcfg(&self, virt: bool) -> u64 {
        const GATED: u64 = envcfg::ADUE | envcfg::PBMTE | envcfg::SSE;
        if virt { self.henvcfg & (self.menvcfg | !GATED) } else { self.menvcfg }
    }

    /// Whether hardware sets accessed and dirty bits: at VS-stage by `henvcfg`, else by `menvcfg` ("Svadu").
    #[inline]
    fn hardware_marks(&self, virt: bool) -> bool {
        self.menvcfg & if virt { self.henvcfg } else { !0 } & envcfg::ADUE != 0
    }

    /// Stage one's tables: those of `satp`, or of `vsatp`.
    #[inline]
    fn first_stage(&self, virt: bool) -> &Tables {
        if virt { &self.guest_tables } else { &self.host_tables }
    }

    /// Works out anew what is derived from the registers.
    fn refresh(&mut self) {
        let config = &self.config;
        let tables = |atp: Atp, virt| Tables {
            root: atp.root,
            rules: PteRules::new(config, self.stage_envcfg(virt), true),
        };
        let (host, guest) = (tables(self.satp, false), tables(self.vsatp, true));
        self.second_rules = PteRules::new(config, self.menvcfg, false);
        (self.host_tables, self.guest_tables) = (host, guest);
        self.data = Context::new(self, AccessKind::Read, Flavor::Normal);
        self.fetch = Context::new(self, AccessKind::Execute, Flavor::Normal);
    }

    /// Makes a fault of what went wrong at `va`.
    #[cold]
    fn raise(
        &self,
        context: &Context,
        access: &Access<Flavor>,
        va: u64,
        trouble: Trouble,
    ) -> WalkError<Fault> {
        let reported = Reported::of(access.kind, access.flavor == Flavor::ShadowStack);
        WalkError::Fault(match trouble {
            Trouble::Raced => return WalkError::Raced,
            Trouble::Page(class) => Fault::new(reported.page_fault(), va, context.virt, class),
            Trouble::Access(class) => Fault::new(reported.access_fault(), va, context.virt, class),
            Trouble::Guest { gpa, implicit } => {
                let mut fault =
                    Fault::new(reported.guest_page_fault(), va, context.virt, FaultClass::SecondStage);
                if self.config.report_guest_address {
                    fault.tval2 = gpa >> 2;
                    fault.tinst =
                        implicit.map_or(0, |write| fault::pseudo_instruction(self.config.xlen, write));
                }
                fault
            }
        })
    }

    /// The access fault of an access to `va`.
    #[cold]
    fn access_fault(&self, context: &Context, access: &Access<Flavor>, class: FaultClass) -> Fault {
        let reported = Reported::of(access.kind, access.flavor == Flavor::ShadowStack);
        Fault::new(reported.access_fault(), context.effective(access), context.virt, class)
    }

    /// The fault of an access that must be aligned and is not, if it is not.
    fn misaligned(&self, context: &Context, access: &Access<Flavor>) -> Option<Fault> {
        let va = context.effective(access);
        let size = u64::from(access.len).next_power_of_two();
        let aligned = context.special.contains(Special::ALIGNED) || access.kind == AccessKind::ReadWrite;
        if !aligned || va & (size - 1) == 0 {
            return None;
        }
        // A misaligned shadow stack is fatal: never the exception that asks for emulation (Zicfiss).
        let shadow = access.flavor == Flavor::ShadowStack && access.kind != AccessKind::ReadWrite;
        if shadow || self.config.misaligned_atomics == MisalignedAtomics::AccessFault {
            return Some(self.access_fault(context, access, FaultClass::Address));
        }
        let reported = Reported::of(access.kind, access.flavor == Flavor::ShadowStack);
        Some(Fault::new(reported.misaligned(), va, context.virt, FaultClass::Address))
    }

    /// [`Arch::lookup`] of all but the plain paged access.
    fn lookup_special(&self, context: &Context, access: &Access<Flavor>) -> Result<Lookup, Fault> {
        if !self.config.misaligned_after_translation {
            if let Some(fault) = self.misaligned(context, access) {
                return Err(fault);
            }
        }
        if context.special.contains(Special::REFUSED) {
            return Err(self.access_fault(context, access, FaultClass::Protection));
        }
        if context.special.contains(Special::BARE) {
            return Ok(Lookup::Bare);
        }
        Ok(Lookup::Cached(Key { va: context.effective(access), space: context.space }))
    }
}

impl Arch for Riscv {
    type Fault = Fault;
    type Flavor = Flavor;
    type Context = Context;
    type Control = Control;
    type Fence = Fence;
    type MemoryType = MemoryType;

    #[inline]
    fn context(&self, kind: AccessKind, flavor: Flavor) -> Context {
        match (kind, flavor) {
            (AccessKind::Execute, _) => self.fetch,
            (_, Flavor::Normal) => self.data,
            _ => Context::new(self, kind, flavor),
        }
    }

    #[inline]
    fn lookup(&self, context: &Context, access: &Access<Flavor>) -> Result<Lookup, Fault> {
        // Whether the address is canonical is the walk's to say: no cached translation answers one that is not.
        if context.special.difference(Special::PMP).is_empty() && access.kind != AccessKind::ReadWrite {
            return Ok(Lookup::Cached(Key { va: access.va.0, space: context.space }));
        }
        self.lookup_special(context, access)
    }

    #[inline]
    fn permits(&self, context: &Context, access: &Access<Flavor>, entry: &TlbEntry) -> bool {
        context.need(access.kind).met_by(entry.rights as u32)
    }

    #[inline]
    fn walk<P: PteMemory>(
        &self,
        context: &Context,
        access: &Access<Flavor>,
        memory: &mut P,
    ) -> Result<TlbEntry, WalkError<Fault>> {
        walk::translate(self, context, access, memory)
    }

    #[inline]
    fn check_physical(
        &self,
        context: &Context,
        access: &Access<Flavor>,
        pa: PhysAddr,
        len: u64,
    ) -> Result<(), Fault> {
        if self.config.misaligned_after_translation {
            if let Some(fault) = self.misaligned(context, access) {
                return Err(fault);
            }
        }
        if !context.special.contains(Special::PMP) {
            return Ok(());
        }
        let need = match Context::usage(access.kind, access.flavor) {
            Use::Fetch => PmpFlags::X,
            // "must grant both execute and read permissions".
            Use::LoadExecutable => PmpFlags::R | PmpFlags::X,
            Use::Load => PmpFlags::R,
            // Zicfiss: "extended to require read-write permission".
            Use::ShadowLoad | Use::ShadowStore => PmpFlags::R | PmpFlags::W,
            Use::Store if access.kind == AccessKind::ReadWrite => PmpFlags::R | PmpFlags::W,
            Use::Store => PmpFlags::W,
        };
        let machine = context.privilege == Privilege::Machine;
        if self.pmp.allows(PmpAccess { need, machine }, pa.0, len) {
            return Ok(());
        }
        Err(self.access_fault(context, access, FaultClass::Physical))
    }

    fn bus_fault(&self, context: &Context, access: &Access<Flavor>, _error: BusError) -> Option<Fault> {
        Some(self.access_fault(context, access, FaultClass::Physical))
    }

    fn control<P: PteMemory>(
        &mut self,
        change: Control,
        _memory: &mut P,
        _drop: &mut dyn FnMut(Scope),
    ) -> Result<(), WalkError<Fault>> {
        self.apply(change);
        Ok(())
    }

    fn fence(&self, fence: Fence, drop: &mut dyn FnMut(Scope)) {
        fence::scopes(self, fence, drop);
    }

    #[inline]
    fn memory_type(&self, entry: &TlbEntry) -> MemoryType {
        MemoryType::from_attr(entry.attr)
    }
}
