//! AArch64: VMSAv8-64 translation after the Arm Architecture Reference Manual (DDI 0487).
//!
//! [`Aarch64`] holds a core's [`Config`], its [`Registers`] and [`Pstate`], and the translation regime that they come to.
//! A register write works the regime out anew (`regime`); after that, an access asks for a [`Context`] (what it needs,
//! in one mask), looks its address up, and on a miss walks: stage 1 (`stage1`) over descriptors that stage 2
//! (`stage2`) brings, then stage 2 for the result. What a TLB entry keeps is [`Rights`]: the answers for every
//! privilege, PAN, EPAN and WXN at once.
//!
//! | file | what it says |
//! | --- | --- |
//! | `config` | what the core implements and chooses |
//! | `registers` | the registers that count |
//! | `regime` | what they set up: tables, sizes, spaces |
//! | `descriptor`, `edit` | descriptors as they are read and written |
//! | `stage1`, `stage2` | the translations, faults in order |
//! | `rights`, `attributes` | who may, and what memory it is |
//! | `tlbi` | what TLB maintenance drops |
//! | `fault` | what the guest is told |
//!
//! Not emulated: Secure and Realm states (one physical space; NS bits are ignored), FEAT_NV's changes to stage 1,
//! permission indirection and overlays, 128-bit descriptors (announcing the last three is an [`UnsupportedCore`]
//! error), memory tagging beyond reporting the memory type.

mod attributes;
mod config;
mod descriptor;
mod edit;
mod fault;
mod regime;
mod registers;
mod rights;
mod stage1;
mod stage2;
mod tlbi;

pub use attributes::{Cacheability, MemoryType, Shareability};
pub use config::{Choices, Config, Features, IdRegisters, UnsupportedCore};
pub use descriptor::{Descriptor, Granule, HighBits, Vmsa64, arm_level, engine_level};
pub use edit::Style;
pub use fault::{Fault, Status};
pub use regime::RegimeKind;
pub use registers::{ExceptionLevel, Pstate, Register, Registers};
pub use rights::Rights;
pub use tlbi::{Tlbi, TlbiTarget};

use crate::access::{Access, AccessKind};
use crate::arch::{Arch, Lookup, PteMemory, WalkError};
use crate::memory::BusError;
use crate::tlb::{Key, Scope, Space, TlbEntry};
use attributes::Attributes;
use fault::Cause;
use regime::Regime;
use registers::{hcr, sctlr};
use rights::Mode;
use stage1::First;
use stage2::{Descriptors, Halt, Stage2};

/// What distinguishes an access beyond its kind.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Flavor {
    /// An ordinary load, store or fetch.
    #[default]
    Ordinary,
    /// LDTR, STTR and their like: made as EL0 would, unless `PSTATE.UAO` is set.
    Unprivileged,
    /// An access that must be aligned to its size whatever the memory and `SCTLR_ELx.A` (exclusives, atomics).
    Aligned,
    /// Cache maintenance by address, of the kind whose right it needs: PAN does not act on it, and its aborts say CM.
    CacheMaintenance,
}

/// The control state that decides an access's lookup and rights.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Context {
    space: Space,
    need: Rights,
    /// The top byte is ignored in the lower (bit 0) and the upper (bit 1) half.
    tags: u8,
    /// No stage is on.
    bare: bool,
    /// Misaligned accesses fault before they are translated.
    aligned: bool,
    cache_maintenance: bool,
}

/// A change of control state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Control {
    /// A system register is written.
    Write(Register, u64),
    /// PSTATE changes: an exception, a return, an MSR.
    Pstate(Pstate),
}

/// A core's address translation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Aarch64 {
    config: Config,
    registers: Registers,
    pstate: Pstate,
    regime: Regime,
    /// `HCR_EL2` as it acts on the regime.
    hcr: u64,
}

impl Aarch64 {
    /// A core at its highest exception level with all translation off.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let el = if config.has(Features::EL3) {
            ExceptionLevel::El3
        } else if config.has(Features::EL2) {
            ExceptionLevel::El2
        } else {
            ExceptionLevel::El1
        };
        Self::with_state(config, Registers::default(), Pstate { el, pan: false, uao: false })
    }

    /// A core in a given state.
    #[must_use]
    pub fn with_state(config: Config, registers: Registers, pstate: Pstate) -> Self {
        let regime = Regime::new(&config, &registers, &pstate);
        let hcr = regime::effective_hcr(&config, &registers);
        Self { config, registers, pstate, regime, hcr }
    }

    /// What the core implements.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The registers.
    #[must_use]
    pub const fn registers(&self) -> &Registers {
        &self.registers
    }

    /// PSTATE.
    #[must_use]
    pub const fn pstate(&self) -> Pstate {
        self.pstate
    }

    /// The regime that accesses use now.
    #[must_use]
    pub const fn regime(&self) -> RegimeKind {
        self.regime.kind
    }

    /// Stage 1's table format and start table for the lower or the upper half, as the registers set them up; `None`
    /// while stage 1 is off or the set-up raises faults. For table editing and dumps.
    #[must_use]
    pub fn stage1_table(&self, upper: bool) -> Option<(Vmsa64, u64)> {
        let table = &self.regime.tables[usize::from(upper)];
        let usable = self.regime.stage1 && !table.bad_size && !table.bad_base;
        usable.then_some((table.format, table.base))
    }

    /// Stage 2's, likewise.
    #[must_use]
    pub fn stage2_table(&self) -> Option<(Vmsa64, u64)> {
        let table = self.regime.stage2.as_ref()?;
        (!table.bad_size && !table.bad_base).then_some((table.format, table.base))
    }

    /// The address without its tag, and whether the upper half's tables serve it.
    #[inline]
    fn untag(&self, context: &Context, va: u64) -> (u64, bool) {
        let upper = va >> 55 & 1;
        if context.tags >> upper & 1 == 0 {
            return (va, upper != 0);
        }
        // Two-range regimes extend bit 55; one-range regimes and stage 1 off have zeros above it.
        let extend = upper != 0 && self.regime.kind.two_ranges() && self.regime.stage1;
        (if extend { va | 0xff << 56 } else { va & !(0xff << 56) }, upper != 0)
    }

    fn fault(&self, context: &Context, access: &Access<Flavor>, cause: Cause) -> Fault {
        let level = self.regime.kind.level();
        // EL1 does not exist under a host that runs EL0 itself.
        let level = if level == ExceptionLevel::El1 && self.hcr & hcr::TGE != 0 {
            ExceptionLevel::El2
        } else {
            level
        };
        Fault::new(cause, access, context.cache_maintenance, self.pstate.el, level)
    }

    fn stage2(&self) -> Option<Stage2<'_>> {
        self.regime.stage2.as_ref().map(|table| Stage2 {
            table,
            xnx: self.config.has(Features::XNX),
            protect_walks: self.hcr & hcr::PTW != 0,
            forced: self.hcr & hcr::FWB != 0,
            choices: &self.config.choices,
        })
    }

    /// Both stages (`AArch64.FullTranslate`).
    fn translate<P: PteMemory>(
        &self,
        context: &Context,
        access: &Access<Flavor>,
        memory: &mut P,
    ) -> Result<TlbEntry, Halt> {
        let (va, upper) = self.untag(context, access.va.0);
        let upper = upper && self.regime.kind.two_ranges();
        let fetch = access.kind == AccessKind::Execute;
        let (need, store) = (context.need, access.kind.writes());
        let unaligned = is_unaligned(access);
        let request = stage1::Request { va, upper, need, store, fetch, unaligned };
        let mut descriptors = Descriptors { stage2: self.stage2(), memory };
        let first = if self.regime.stage1 {
            stage1::translate(&self.regime, &self.config.choices, &request, &mut descriptors)?
        } else {
            let guest = self.regime.kind == RegimeKind::El10;
            let attributes = match Attributes::stage1_off(if guest { self.hcr } else { 0 }) {
                // Cached entries serve fetches and data alike, so only an uncached one tells them apart.
                Attributes::DEVICE if fetch && context.bare => Attributes::fetch_off(self.regime.sctlr),
                attributes => attributes,
            };
            stage1::flat(&request, self.config.pa_bits, attributes)?
        };
        // E0PD is about the halves' tables: without tables nobody is kept out.
        let half = if !self.regime.kind.two_ranges() || !self.regime.stage1 {
            Rights::HALVES
        } else if upper {
            Rights::UPPER
        } else {
            Rights::LOWER
        };
        let ipa = first.base | va & crate::addr::low_mask(first.size_bits);
        match descriptors.stage2 {
            None => Ok(self.entry(va, ipa, &first, half, None)),
            Some(stage2) => {
                let request = stage2::Request { ipa, need, store, unaligned, descriptor: false };
                let second = stage2.translate(request, descriptors.memory)?;
                Ok(self.entry(va, ipa, &first, half, Some((&stage2, &second))))
            }
        }
    }

    /// What the TLB may keep: both stages' rights, types and sizes combined.
    fn entry(
        &self,
        va: u64,
        ipa: u64,
        first: &First,
        half: Rights,
        second: Option<(&Stage2<'_>, &stage2::Translated)>,
    ) -> TlbEntry {
        // A run counts as one page only where its pages lie as the hint promises.
        let trusted = |size: u32, run: u32, from: u64, to: u64| {
            let aligned = (from ^ to) & crate::addr::low_mask(run) == 0;
            if self.config.choices.trust_contiguous && aligned { run.max(size) } else { size }
        };
        // Uncached identities (no stage is on) are handed out by the page.
        let size1 = match (first.size_bits, second) {
            (64, None) => Granule::K4.bits(),
            (size, _) => trusted(size, first.run_bits, va, ipa),
        };
        let (pa, size, rights, attributes, run2) = match second {
            None => (ipa, size1, first.rights, first.attributes.effective(), 0),
            Some((stage2, second)) => {
                let pa = second.leaf.address(ipa);
                let format = &stage2.table.format;
                let run = format.run_bits(second.raw, second.leaf.at.level);
                let size = size1.min(trusted(second.leaf.size_bits, run, ipa, pa));
                let attributes =
                    first.attributes.with_stage2(second.raw, format.high, stage2.table.share, self.hcr);
                (pa, size, first.rights & second.rights, attributes, run.max(second.leaf.size_bits))
            }
        };
        let mut rights = rights | half;
        rights.set(Rights::UNALIGNED, !attributes.is_device());
        let page = !crate::addr::low_mask(size);
        TlbEntry {
            va: va & page,
            pa: pa & page,
            gpa: ipa & page,
            rights: rights.bits(),
            space: self.regime.space,
            global: first.global,
            size_bits: size as u8,
            leaf_bits: if self.regime.stage1 { first.run_bits.max(size) } else { size } as u8,
            leaf2_bits: run2 as u8,
            level: first.level as u8,
            attr: attributes.0,
        }
    }
}

/// Whether a data access of a machine width is not aligned to it. Longer runs are no single access.
#[inline]
fn is_unaligned(access: &Access<Flavor>) -> bool {
    let below = access.len.wrapping_sub(1);
    access.va.0 & u64::from(below) != 0
        && below < 16
        && access.len & below == 0
        && access.kind != AccessKind::Execute
}

impl Arch for Aarch64 {
    type Fault = Fault;
    type Flavor = Flavor;
    type Context = Context;
    type Control = Control;
    type Fence = Tlbi;
    type MemoryType = MemoryType;

    #[inline]
    fn context(&self, kind: AccessKind, flavor: Flavor) -> Context {
        let regime = &self.regime;
        let el0 = self.pstate.el == ExceptionLevel::El0;
        let two = regime.kind.two_ranges();
        let as_el0 = flavor == Flavor::Unprivileged && !(self.pstate.uao && self.config.has(Features::UAO));
        let user = two && (el0 || as_el0);
        let mode = Mode {
            user,
            pan: two
                && self.pstate.pan
                && self.config.has(Features::PAN)
                && flavor != Flavor::CacheMaintenance,
            epan: regime.sctlr & sctlr::EPAN != 0 && self.config.has(Features::PAN3),
            wxn: regime.sctlr & sctlr::WXN != 0,
        };
        let fetch = kind == AccessKind::Execute;
        let [lower, upper] = [0, 1].map(|half| regime.tbi[half] && !(fetch && regime.tbid[half]));
        let mut need = Rights::needed(kind, mode);
        need.set(Rights::UPPER, user && regime.e0pd[0]);
        need.set(Rights::LOWER, user && regime.e0pd[1]);
        Context {
            space: regime.space,
            need,
            tags: u8::from(lower) | u8::from(upper) << 1,
            bare: !regime.stage1 && regime.stage2.is_none(),
            aligned: flavor == Flavor::Aligned || regime.sctlr & sctlr::A != 0,
            cache_maintenance: flavor == Flavor::CacheMaintenance,
        }
    }

    #[inline]
    fn lookup(&self, context: &Context, access: &Access<Flavor>) -> Result<Lookup, Fault> {
        if context.aligned && is_unaligned(access) {
            return Err(self.fault(context, access, Cause::stage1(Status::Alignment, 0)));
        }
        if context.bare {
            return Ok(Lookup::Bare);
        }
        let (va, _) = self.untag(context, access.va.0);
        Ok(Lookup::Cached(Key { va, space: context.space }))
    }

    #[inline]
    fn permits(&self, context: &Context, access: &Access<Flavor>, entry: &TlbEntry) -> bool {
        let unaligned = if is_unaligned(access) { Rights::UNALIGNED.bits() } else { 0 };
        (context.need.bits() | unaligned) & !entry.rights == 0
    }

    fn walk<P: PteMemory>(
        &self,
        context: &Context,
        access: &Access<Flavor>,
        memory: &mut P,
    ) -> Result<TlbEntry, WalkError<Fault>> {
        self.translate(context, access, memory).map_err(|halt| match halt {
            WalkError::Fault(cause) => WalkError::Fault(self.fault(context, access, cause)),
            WalkError::Bus(error) => WalkError::Bus(error),
            WalkError::Raced => WalkError::Raced,
        })
    }

    /// A synchronous external abort. Cores may report one later, as an SError; here it is always precise.
    fn bus_fault(&self, context: &Context, access: &Access<Flavor>, _error: BusError) -> Option<Fault> {
        Some(self.fault(context, access, Cause::stage1(Status::SyncExternal, 0)))
    }

    /// Which translations a write drops is a [choice](Choices::drop_on_control_write): the architecture leaves it to
    /// software's TLBI. Bits that may not be cached, and those of SCTLR and HCR that may, act at once by themselves.
    fn control<P: PteMemory>(
        &mut self,
        change: Control,
        _memory: &mut P,
        drop: &mut dyn FnMut(Scope),
    ) -> Result<(), WalkError<Fault>> {
        match change {
            Control::Pstate(pstate) => {
                *self = Self::with_state(self.config, self.registers, pstate);
            }
            Control::Write(register, value) => {
                let changed = self.registers.get(register) ^ value;
                self.registers.set(register, value);
                *self = Self::with_state(self.config, self.registers, self.pstate);
                if self.config.choices.drop_on_control_write {
                    tlbi::dropped_by_write(self, register, changed, drop);
                }
            }
        }
        Ok(())
    }

    fn fence(&self, fence: Tlbi, drop: &mut dyn FnMut(Scope)) {
        fence.scopes(regime::vmid(&self.config, &self.registers), drop);
    }

    fn memory_type(&self, entry: &TlbEntry) -> MemoryType {
        Attributes(entry.attr).memory_type()
    }
}
