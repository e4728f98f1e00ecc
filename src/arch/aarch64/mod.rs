//! AArch64: VMSAv8-64 translation after the Arm Architecture Reference Manual (DDI 0487).
//!
//! [`Aarch64`] holds a core's [`Config`], its [`Registers`] and [`Pstate`], and the translation regime that they come to.
//! A register write works the regime out anew (`regime`); after that, an access asks for a [`Context`] (what it needs,
//! in one mask), looks its address up, and on a miss walks: stage 1 (`stage1`) over descriptors that stage 2
//! (`stage2`) brings, then stage 2 for the result. What a TLB entry keeps is [`Rights`]: the answers for every
//! privilege, PAN, EPAN and WXN at once.
//!
//! ```
//! use softmmu::access::Width;
//! use softmmu::addr::{PhysAddr, VirtAddr};
//! use softmmu::arch::aarch64::{Aarch64, Config, ExceptionLevel, Pstate, Register, Registers};
//! use softmmu::memory::{PhysMemory, Ram};
//! use softmmu::mmu::{AccessError, Mmu};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // One table of 4 KiB pages for 21 bits of address: the start level is 3.
//! let ram = Ram::new(PhysAddr(0x4000_0000), 0x10_0000)?;
//! ram.write(PhysAddr(0x4000_0008), Width::W8, 0x4008_0000 | 1 << 10 | 1 << 7 | 3)?; // page 1: AF, read-only
//!
//! let mut registers = Registers::default();
//! registers.set(Register::TcrEl1, 43 | 5 << 32 | 1 << 23); // T0SZ, IPS = 48 bits, no upper half (EPD1)
//! registers.set(Register::Ttbr0El1, 0x4000_0000);
//! registers.set(Register::SctlrEl1, 1);
//! let el1 = Pstate { el: ExceptionLevel::El1, pan: false, uao: false };
//! let core = Aarch64::with_state(Config::FULL, registers, el1);
//! let mut mmu = Mmu::new(core, ram, ()); // no TLB
//!
//! assert_eq!(mmu.load::<u64>(VirtAddr(0x1008)), Ok(0));
//! let Err(AccessError::Fault(abort)) = mmu.store(VirtAddr(0x1008), 1u64) else { panic!("read-only") };
//! assert_eq!(abort.esr(), 0x9600_004f); // a data abort from EL1: a write, permission fault, level 3
//! # Ok(()) }
//! ```
//!
//! | file | what it says |
//! | --- | --- |
//! | `config` | what the core implements and chooses |
//! | `registers` | the registers that count |
//! | `regime`, `sizes` | what they set up: tables, sizes, spaces |
//! | `descriptor`, `edit` | descriptors as they are read and written |
//! | `walk`, `stage1`, `stage2` | the translations, faults in order |
//! | `straight` | those that have nothing unusual to them |
//! | `rights`, `attributes` | who may, and what memory it is |
//! | `tlbi`, `encodings` | what TLB maintenance drops, and how it is encoded |
//! | `fault` | what the guest is told |
//!
//! Not emulated: Secure and Realm states (one physical space; NS bits are ignored), FEAT_NV's changes to stage 1,
//! permission indirection and overlays, 128-bit descriptors (announcing the last three is an [`UnsupportedCore`]
//! error), memory tagging beyond reporting the memory type, big-endian tables (`SCTLR_ELx.EE`), `TCR.NFD` (what SVE
//! loads that may not fault would find), Access flags of table descriptors (FEAT_HAFT), and faults of blocks with nT
//! (FEAT_BBM). Of what an instruction demands beyond alignment (DC ZVA and exclusives on Device memory) nothing is
//! known here. Cache maintenance that stores marks a clean page dirty.

mod attributes;
mod config;
mod descriptor;
mod edit;
mod encodings;
mod fault;
mod regime;
mod registers;
mod rights;
mod sizes;
mod stage1;
mod stage2;
mod straight;
mod tlbi;
mod walk;

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
use crate::arch::{Arch, Lookup, NestedPage, PteMemory, WalkError};
use crate::memory::BusError;
use crate::tlb::{Key, Scope, Space, TlbEntry};
use attributes::Attributes;
use fault::Cause;
use regime::Regime;
use registers::{hcr, sctlr};
use rights::Mode;

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
    /// Cache maintenance by address: a write for invalidation, which needs the right to store, else a read, which only
    /// EL0 needs the right to. PAN does not act on it, no address is misaligned, and its aborts say CM.
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
    /// The access began on the page before.
    upper_part: bool,
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
    /// How the usual walk of either half goes, if it does.
    straight: [straight::Straight; 2],
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
        let mut core =
            Self { config, registers, pstate, regime, hcr, straight: [straight::Straight::NONE; 2] };
        core.straight = straight::Straight::of(&core);
        core
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

    /// As much of `raw` as is an ASID in `regime`: 8 bits unless the core and `TCR.AS` say 16.
    fn asid_of(&self, regime: RegimeKind, raw: u64) -> u16 {
        let tcr = if regime == RegimeKind::El10 { Register::TcrEl1 } else { Register::TcrEl2 };
        let wide = self.config.has(Features::ASID16) && registers::bit(self.registers.get(tcr), 36);
        if wide { raw as u16 } else { raw as u16 & 0xff }
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
}

/// Whether a data access of a machine width is not aligned to it, or is what is left of one that was not and crossed
/// into this page. Longer runs are no single access.
#[inline]
fn is_unaligned(context: &Context, access: &Access<Flavor>) -> bool {
    let below = access.len.wrapping_sub(1);
    let misaligned = access.va.0 & u64::from(below) != 0 && below < 16 && access.len & below == 0;
    (misaligned || context.upper_part) && access.kind != AccessKind::Execute && !context.cache_maintenance
}

/// The rights that the access needs of a cached translation.
#[inline]
fn needed_of_entry(context: &Context, access: &Access<Flavor>) -> u64 {
    let unaligned = if is_unaligned(context, access) { Rights::UNALIGNED.bits() } else { 0 };
    context.need.bits() | unaligned
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
        // At EL2 there is an EL0 to act as only while HCR_EL2.{E2H,TGE} are both set.
        let has_el0 = self.pstate.el != ExceptionLevel::El2 || self.hcr & hcr::TGE != 0;
        let as_el0 =
            flavor == Flavor::Unprivileged && has_el0 && !(self.pstate.uao && self.config.has(Features::UAO));
        let user = two && (el0 || as_el0);
        let cache_maintenance = flavor == Flavor::CacheMaintenance;
        let mode = Mode {
            user,
            pan: two && self.pstate.pan && self.config.has(Features::PAN) && !cache_maintenance,
            epan: regime.sctlr & sctlr::EPAN != 0 && self.config.has(Features::PAN3),
            wxn: regime.sctlr & sctlr::WXN != 0,
            wxn_sees_pan: self.config.choices.wxn_sees_pan,
        };
        let fetch = kind == AccessKind::Execute;
        let [lower, upper] = [0, 1].map(|half| regime.tbi[half] && !(fetch && regime.tbid[half]));
        let mut need = match kind {
            // Privileged code may clean what it may not read.
            AccessKind::Read if cache_maintenance && !user => Rights::empty(),
            _ => Rights::needed(kind, mode),
        };
        need.set(Rights::UPPER, user && regime.e0pd[0]);
        need.set(Rights::LOWER, user && regime.e0pd[1]);
        Context {
            space: regime.space,
            need,
            tags: u8::from(lower) | u8::from(upper) << 1,
            bare: !regime.stage1 && regime.stage2.is_none(),
            aligned: flavor == Flavor::Aligned || regime.sctlr & sctlr::A != 0,
            cache_maintenance,
            upper_part: false,
        }
    }

    #[inline]
    fn upper_part(&self, context: &Context) -> Context {
        Context { upper_part: !self.config.choices.crossing_keeps_type, ..*context }
    }

    #[inline]
    fn lookup(&self, context: &Context, access: &Access<Flavor>) -> Result<Lookup, Fault> {
        if context.aligned && is_unaligned(context, access) {
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
        needed_of_entry(context, access) & !entry.rights == 0
    }

    #[inline]
    fn walk<P: PteMemory>(
        &self,
        context: &Context,
        access: &Access<Flavor>,
        memory: &mut P,
    ) -> Result<TlbEntry, WalkError<Fault>> {
        self.full_walk(context, access, memory)
    }

    #[inline(always)]
    fn walk_plain<P: PteMemory>(
        &self,
        context: &Context,
        access: &Access<Flavor>,
        memory: &mut P,
    ) -> Option<TlbEntry> {
        self.straight_single(context, access, memory)
    }

    #[inline]
    fn walk_plain_nested<P: PteMemory>(
        &self,
        context: &Context,
        access: &Access<Flavor>,
        memory: &mut P,
    ) -> Option<NestedPage> {
        self.straight_double(context, access, memory)
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
