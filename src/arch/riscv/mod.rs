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
//! | `translate` | from an access to a translation or a fault: where the others come together |
//! | `masking` | pointer masking |
//! | `pte` | page-table entries and the formats Sv32 to Sv57x4 |
//! | `rights` | R, W, X, U, SUM, MXR and shadow stacks, as one compare |
//! | `walk` | stage one; accessed and dirty bits |
//! | `straight` | the walk that has nothing unusual to it |
//! | `gstage` | stage two, and stage one's tables behind it |
//! | `pmp` | physical memory protection |
//! | `fence` | SFENCE and HFENCE |
//! | `fault` | exception codes, `tval`, `tval2`, `tinst` |
//!
//! ```
//! use softmmu::addr::{PageSize, PhysAddr, VirtAddr};
//! use softmmu::arch::riscv::{Cause, Control, Privilege, Riscv, Sv39};
//! use softmmu::frame::BumpAllocator;
//! use softmmu::memory::{PhysRange, Ram};
//! use softmmu::mmu::Mmu;
//! use softmmu::radix::Perms;
//! use softmmu::table::{PageTable, RadixTable};
//! use softmmu::tlb::{Geometry, SetAssociative};
//!
//! let base = PhysAddr(0x8000_0000);
//! let ram = Ram::new(base, 1 << 20)?;
//! let mut frames = BumpAllocator::new(PhysRange::new(base, 1 << 16).ok_or("no frames")?, PageSize::SIZE_4K);
//! let mut table = RadixTable::new(Sv39::default(), &ram, &mut frames)?;
//! let perms = Perms::READ | Perms::USER | Perms::ACCESSED;
//! let (va, pa) = (VirtAddr(0x1000), PhysAddr(0x8008_0000));
//! table.map(&ram, &mut frames, va, pa, PageSize::SIZE_4K, perms)?.forget();
//!
//! let tlb: SetAssociative = SetAssociative::new(Geometry::new(64, 4))?;
//! let mut hart = Mmu::new(Riscv::rv64(), &ram, tlb);
//! hart.control(Control::Satp(8 << 60 | table.root().0 >> 12))?;
//! hart.control(Control::Mode { privilege: Privilege::User, virt: false })?;
//! assert_eq!(hart.load::<u64>(VirtAddr(0x1008))?, 0);
//! let error = hart.store(VirtAddr(0x1008), 1u64).unwrap_err();
//! assert_eq!(error.fault().map(|fault| fault.cause), Some(Cause::StorePageFault));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
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
mod straight;
mod translate;
mod walk;

pub use config::{Config, Extensions, MisalignedAtomics, Xlen};
pub use context::Context;
pub use control::Control;
pub use csr::Mode;
pub use fault::{Cause, Fault};
pub use fence::Fence;
pub use pmp::{Pmp, PmpFlags};
pub use pte::{MemoryType, PteFlags, PteRules, Sv, Sv32, Sv32x4, Sv39, Sv39x4, Sv48, Sv48x4, Sv57, Sv57x4};

use crate::access::AccessKind;
use csr::{Atp, envcfg};

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
    /// CBO.CLEAN, CBO.FLUSH or CBO.INVAL (a read): allowed where loads are, but for shadow stacks, and reported as a
    /// store. (CBO.ZERO is an ordinary store.)
    CacheBlock,
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
}
