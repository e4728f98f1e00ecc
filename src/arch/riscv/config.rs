//! What the modelled machine has, and how it decides where the manual leaves the decision to the machine.
//!
//! A [`Config`] is fixed when a [`Riscv`](super::Riscv) is made; the guest cannot change it. Each item of latitude has
//! a name here, and its documentation says what the default follows. Where Spike (the reference simulator) and
//! shipped cores agree, that is the default; where they do not, the item says who does what.

use super::csr::Mode;

/// The width of integer registers and addresses (MXL of `misa`). SXL, UXL and VSXL are fixed to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Xlen {
    /// RV32: Bare and Sv32, 34-bit physical addresses.
    Rv32,
    /// RV64: Bare, Sv39, Sv48 and Sv57, 56-bit physical addresses.
    Rv64,
}

bitflags::bitflags! {
    /// The extensions that matter to address translation.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct Extensions: u16 {
        /// Hardware updates of accessed and dirty bits, switched by `xenvcfg.ADUE`. Without it every machine here is
        /// Svade: a page fault where an update would be due.
        const SVADU = 1;
        /// Naturally aligned 64 KiB runs of 4 KiB pages as one translation.
        const SVNAPOT = 1 << 1;
        /// Memory types in page-table entries, switched by `xenvcfg.PBMTE`.
        const SVPBMT = 1 << 2;
        /// Page-table entry bits 60 and 59 free for software.
        const SVRSW60T59B = 1 << 3;
        /// Shadow stacks, switched by `xenvcfg.SSE`.
        const ZICFISS = 1 << 4;
        /// Pointer masking for U, VS and VU (`senvcfg.PMM`, `henvcfg.PMM`, `hstatus.HUPMM`).
        const SSNPM = 1 << 5;
        /// Pointer masking for S (`menvcfg.PMM`).
        const SMNPM = 1 << 6;
        /// Pointer masking for M (`mseccfg.PMM`).
        const SMMPM = 1 << 7;
        /// Machine-mode lockdown and allow-list policies for PMP (`mseccfg.MML`, `MMWP`, `RLB`).
        const SMEPMP = 1 << 8;
        /// Two-stage translation, VS and VU modes, HLV/HLVX/HSV.
        const H = 1 << 9;
    }
}

/// Which exception a misaligned LR, SC or AMO raises (unprivileged manual, "A" extension: either is allowed).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MisalignedAtomics {
    /// Access fault: tells the trap handler not to emulate the access. Spike.
    AccessFault,
    /// Address-misaligned exception. Rocket, CVA6, QEMU.
    AddressMisaligned,
}

/// The machine: what it has and how it decides.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Config {
    /// Register width.
    pub xlen: Xlen,
    /// Extensions present.
    pub extensions: Extensions,
    /// The widest paging mode. On RV64 a machine with one also has all narrower ones (privileged manual, "Sv48",
    /// "Sv57"); guest-physical modes come in the same widths.
    pub widest: Mode,
    /// Implemented ASID bits, 0 to 16 (RV64) or 9 (RV32).
    pub asid_bits: u8,
    /// Implemented VMID bits, 0 to 14 (RV64) or 7 (RV32).
    pub vmid_bits: u8,
    /// Implemented PMP entries: 0 to 64. With none, physical memory is open to every mode. With any, S and U reach
    /// only what some entry grants. The default is 0; real machines have 8, 16 or 64.
    pub pmp_entries: u8,
    /// PMP granularity G: regions are multiples of `2^(G+2)` bytes. Above 0, NA4 cannot be selected.
    pub pmp_grain: u8,
    /// The exception of a misaligned LR, SC or AMO. Default: as Spike.
    pub misaligned_atomics: MisalignedAtomics,
    /// Whether a misaligned LR, SC or AMO is translated (and may page-fault) before its misalignment is seen. The
    /// manual's table of exception priorities allows both; the default, misalignment first, is Spike's and Rocket's.
    pub misaligned_after_translation: bool,
    /// Whether guest-page faults report the guest-physical address (`htval`/`mtval2`). The manual allows zero
    /// instead; then `tinst` is zero too. Default: reported, as in Spike and every core with H known to us.
    pub report_guest_address: bool,
    /// Whether SFENCE.VMA and HFENCE.VVMA with an address leave cached non-leaf entries alone, as the manual lets
    /// them ("only leaf page table entries"). Default: yes; Rocket does, and Linux relies on no more.
    pub address_fences_spare_tables: bool,
    /// Whether HFENCE.GVMA with an address also drops translations for which a VS-stage *table* may lie at that
    /// address: since a combined translation does not say through which tables it was found, all of the VM's go, but
    /// for those made under a Bare `vsatp`. The manual lets such a translation stay until an HFENCE.VVMA; Spike and
    /// Rocket drop everything. Default: yes.
    pub guest_fences_reach_tables: bool,
    /// Whether a translation that is global at VS-stage and went through the G-stage serves the guest's other ASIDs.
    /// The manual lets a machine make nothing of G. It can be seen here: the walk that is saved would have used other
    /// tables, and would have set A where the G-stage maps those. Default: no; Spike walks. Without a second stage,
    /// global translations always serve every ASID.
    pub share_guest_globals: bool,
}

impl Config {
    /// An RV64 machine with everything ratified but Svrsw60t59b, and without PMP entries.
    #[must_use]
    pub const fn rv64() -> Self {
        Self {
            xlen: Xlen::Rv64,
            extensions: Extensions::all().difference(Extensions::SVRSW60T59B),
            widest: Mode::Sv57,
            asid_bits: 16,
            vmid_bits: 14,
            pmp_entries: 0,
            pmp_grain: 0,
            misaligned_atomics: MisalignedAtomics::AccessFault,
            misaligned_after_translation: false,
            report_guest_address: true,
            address_fences_spare_tables: true,
            guest_fences_reach_tables: true,
            share_guest_globals: false,
        }
    }

    /// An RV32 machine, otherwise alike. Svnapot, Svpbmt and pointer masking do not exist there.
    #[must_use]
    pub const fn rv32() -> Self {
        let absent = Extensions::SVNAPOT
            .union(Extensions::SVPBMT)
            .union(Extensions::SVRSW60T59B)
            .union(Extensions::SSNPM)
            .union(Extensions::SMNPM)
            .union(Extensions::SMMPM);
        Self {
            xlen: Xlen::Rv32,
            extensions: Extensions::all().difference(absent),
            widest: Mode::Sv32,
            asid_bits: 9,
            vmid_bits: 7,
            ..Self::rv64()
        }
    }

    /// Whether the machine has the paging mode.
    #[must_use]
    pub const fn has_mode(&self, mode: Mode) -> bool {
        match (self.xlen, mode) {
            (_, Mode::Bare) => true,
            (Xlen::Rv32, Mode::Sv32) => !matches!(self.widest, Mode::Bare),
            (Xlen::Rv32, _) | (Xlen::Rv64, Mode::Sv32) => false,
            (Xlen::Rv64, mode) => mode as u8 <= self.widest as u8,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::rv64()
    }
}
