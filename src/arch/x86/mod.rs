//! x86: no paging, 32-bit, PAE, 4-level and 5-level paging, EPT and nested paging.
//!
//! [`X86`] holds one logical processor's control state and is the [`Arch`] of its `Mmu`. What a rule of the manual
//! says stands in the file named after it: an access becomes a [`Context`] (`rights`), a walk finds and judges the leaf
//! (`straight` where nothing is unusual, else `first`, `walk`, with the formats of `pte` and the masks of `reserved`),
//! through a second stage where a guest has one (`nested`, `ept`, `npt`); a refusal becomes a [`Fault`] (`fault`).
//! Register writes go through `control`, and what they and the fence instructions drop is said in `invalidate`.
//!
//! | file | Intel SDM | AMD APM Vol. 2 |
//! | --- | --- | --- |
//! | `control`, `mode` | Vol. 3A 2.5, 4.1 | 3.1, 5.1 |
//! | `pte`, `reserved`, `encode` | Vol. 3A 4.3 to 4.5 | 5.2 to 5.4 |
//! | `pdpte` | Vol. 3A 4.4.1 | 5.2.3 |
//! | `rights` | Vol. 3A 4.6 | 5.6 |
//! | `fault` | Vol. 3A 4.7 | 8.4.2 |
//! | `masking` | Vol. 3A, "Linear-Address Pre-Processing" (ch. 4 from 2024 on) | |
//! | `first`, `walk` | Vol. 3A 4.8 | 5.4.2 |
//! | `memtype` | Vol. 3A 4.9, ch. 12 | 7.8 |
//! | `invalidate` | Vol. 3A 4.10 | 5.5 |
//! | `nested`, `ept`, `npt` | Vol. 3C ch. 29 | 15.25 |
//!
//! Section numbers are those of the SDM's editions of 2023; from 2024 on every chapter named here is one higher (paging
//! is chapter 5, EPT 30), and sections within keep their numbers.
//!
//! A page-table entry that no memory answers is reported as the bus error it is: x86 has no fault for it. A machine
//! that reads all ones there has a bus set up to do so.
//!
//! Shadow stacks (CET) are supported as far as translation goes: [`Flavor::ShadowStack`]. Not modelled, and without
//! effect: linear-address space separation (LASS), SGX, the RMP of SEV-SNP, and the EPT and NPT extensions that those
//! files name.

mod config;
mod control;
mod encode;
mod ept;
mod fault;
mod first;
mod invalidate;
mod masking;
mod memtype;
mod mode;
mod nested;
mod npt;
mod pdpte;
mod pte;
mod reserved;
mod rights;
mod straight;
mod walk;

pub use config::{AccessedOnFault, Config, Vendor};
pub use control::{Control, Cr0, Cr4, Efer, Registers};
pub use ept::{Ept, EptFormat, EptPte};
pub use fault::{EptQualification, Fault, PageFaultCode};
pub use invalidate::Fence;
pub use memtype::MemoryType;
pub use mode::Mode;
pub use nested::{Guest, Second};
pub use npt::Npt;
pub use pte::{Legacy32, LongMode, Pae, Pte};
pub use rights::{Context, Rights};

use crate::access::{Access, AccessKind};
use crate::addr::Vmid;
use crate::arch::{Arch, Lookup, NestedPage, PteMemory, WalkError};
use crate::memory::BusError;
use crate::tlb::{Key, Scope, Space, TlbEntry};

/// What distinguishes an access beyond its kind.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Flavor {
    /// An ordinary access at the current privilege level.
    #[default]
    Normal,
    /// Through the stack segment: a non-canonical address is #SS instead of #GP.
    Stack,
    /// An access to a system structure (descriptor tables, TSS): supervisor-mode whatever the CPL, and SMAP holds
    /// whatever RFLAGS.AC says (SDM Vol. 3A, 4.6.1).
    ImplicitSupervisor,
    /// To the shadow stack, at the current privilege level: the page must be a shadow-stack page of that level.
    ShadowStack,
    /// To the user's shadow stack from supervisor mode (WRUSS): checked as a user-mode shadow-stack access.
    UserShadowStack,
}

impl Flavor {
    const fn is_shadow_stack(self) -> bool {
        matches!(self, Self::ShadowStack | Self::UserShadowStack)
    }
}

/// One logical processor's control state.
///
/// ```
/// use softmmu::arch::x86::{Config, Cr0, Cr4, Efer, Mode, Registers, X86};
///
/// let registers = Registers {
///     cr0: Cr0::PE | Cr0::WP | Cr0::PG,
///     cr4: Cr4::PAE,
///     efer: Efer::LME | Efer::LMA | Efer::NXE,
///     ..Registers::default()
/// };
/// let x86 = X86::with_registers(Config::ZEN2, registers);
/// assert_eq!(x86.mode(), Mode::Level4);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct X86 {
    config: Config,
    registers: Registers,
    pdptes: [u64; 4],
    guest: Option<Guest>,
    regime: u8,
    ept_regimes: invalidate::Roots,
    /// What `registers` and `guest` come to: the format walked with, and the address of its top table.
    paging: mode::Paging,
    root: u64,
    /// The second stage's tables, where there is one.
    lower: Option<nested::Lower>,
    /// How the usual walk goes, if it does.
    straight: straight::Straight,
}

impl X86 {
    /// A processor after reset: paging off.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self::with_registers(config, Registers::default())
    }

    /// A processor with these registers. Nothing is checked, and no PDPTE is loaded: for a state with PAE paging
    /// use [`Control::Load`].
    #[must_use]
    pub fn with_registers(config: Config, registers: Registers) -> Self {
        let mut x86 = Self {
            config,
            registers,
            pdptes: [0; 4],
            guest: None,
            regime: 0,
            ept_regimes: invalidate::Roots::default(),
            paging: mode::Paging::Off,
            root: 0,
            lower: None,
            straight: straight::Straight::No,
        };
        x86.settle();
        x86
    }

    /// Works out what follows from the registers and the guest.
    fn settle(&mut self) {
        self.paging = mode::Paging::of(self);
        self.root = self.registers.cr3 & pte::root_mask(self.mode());
        self.lower = self.second().map(|second| second.lower(&self.config));
        self.straight = straight::Straight::of(self);
    }

    /// The processor.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The registers as they stand.
    #[must_use]
    pub const fn registers(&self) -> &Registers {
        &self.registers
    }

    /// The PDPTE registers. They mean something in PAE mode only, and nothing under nested paging (NPT).
    #[must_use]
    pub const fn pdptes(&self) -> [u64; 4] {
        self.pdptes
    }

    /// The guest that runs, if one does.
    #[must_use]
    pub const fn guest(&self) -> Option<Guest> {
        self.guest
    }

    /// The paging mode selected.
    #[inline]
    #[must_use]
    pub const fn mode(&self) -> Mode {
        Mode::select(self.registers.cr0, self.registers.cr4, self.registers.efer)
    }

    #[inline]
    const fn second(&self) -> Option<&Second> {
        match &self.guest {
            Some(Guest { second: Some(second), .. }) => Some(second),
            _ => None,
        }
    }

    #[inline]
    const fn has_second_stage(&self) -> bool {
        self.second().is_some()
    }

    #[inline]
    const fn vmid(&self) -> Vmid {
        match &self.guest {
            Some(guest) => guest.vmid,
            None => Vmid(0),
        }
    }

    /// The space that translations are made in now: whom a [`Flush`](crate::table::Flush) of the current tables
    /// concerns.
    #[inline]
    #[must_use]
    pub fn space(&self) -> Space {
        Space::new(self.regime, self.vmid(), invalidate::pcid(self))
    }
}

/// Whether the bits of `va` from `bits - 1` up are all the same.
#[inline]
const fn canonical(va: u64, bits: u32) -> bool {
    let unused = 64 - bits;
    ((va << unused) as i64 >> unused) as u64 == va
}

/// The linear address as the mode sees it: only the 64-bit modes have a high half.
#[inline]
const fn effective(mode: Mode, va: u64) -> u64 {
    if mode.is_long() { va } else { va & 0xffff_ffff }
}

impl Arch for X86 {
    type Fault = Fault;
    type Flavor = Flavor;
    type Context = Context;
    type Control = Control;
    type Fence = Fence;
    type MemoryType = MemoryType;

    fn context(&self, kind: AccessKind, flavor: Flavor) -> Context {
        Context::new(self, kind, flavor)
    }

    #[inline]
    fn lookup(&self, context: &Context, access: &Access<Flavor>) -> Result<Lookup, Fault> {
        let mut va = access.va.0;
        if context.mode.is_long() {
            let (bits, after) = (context.masking.plain_bits, u64::from(access.len.saturating_sub(1)));
            if !(canonical(va, bits) && canonical(va.wrapping_add(after), bits)) {
                va = context.masking.unmask(va, after).ok_or(match access.flavor {
                    Flavor::Stack => Fault::Stack { va: access.va },
                    _ => Fault::GeneralProtection { va: access.va },
                })?;
            }
        }
        if context.bare {
            return Ok(Lookup::Bare);
        }
        Ok(Lookup::Cached(Key { va: effective(context.mode, va), space: context.space }))
    }

    #[inline]
    fn permits(&self, context: &Context, _access: &Access<Flavor>, entry: &TlbEntry) -> bool {
        context.permits(Rights::from_bits_retain(entry.rights))
    }

    #[inline]
    fn walk<P: PteMemory>(
        &self,
        context: &Context,
        access: &Access<Flavor>,
        memory: &mut P,
    ) -> Result<TlbEntry, WalkError<Fault>> {
        first::translate(self, context, access, memory)
    }

    #[inline(always)]
    fn walk_plain<P: PteMemory>(
        &self,
        context: &Context,
        access: &Access<Flavor>,
        memory: &mut P,
    ) -> Option<TlbEntry> {
        straight::single(self, context, access, memory)
    }

    #[inline]
    fn walk_plain_nested<P: PteMemory>(
        &self,
        context: &Context,
        access: &Access<Flavor>,
        memory: &mut P,
    ) -> Option<NestedPage> {
        straight::double(self, context, access, memory)
    }

    fn bus_fault(&self, _: &Context, _: &Access<Flavor>, _: BusError) -> Option<Fault> {
        None
    }

    fn control<P: PteMemory>(
        &mut self,
        change: Control,
        memory: &mut P,
        drop: &mut dyn FnMut(Scope),
    ) -> Result<(), WalkError<Fault>> {
        control::apply(self, change, memory, drop)
    }

    fn fence(&self, fence: Fence, drop: &mut dyn FnMut(Scope)) {
        invalidate::fence(self, fence, drop);
    }

    fn memory_type(&self, entry: &TlbEntry) -> MemoryType {
        memtype::effective(self, entry)
    }
}
