//! The control registers' fields: where they are, and what a write to one makes of the value (WARL).
//!
//! Only the fields that translation depends on are kept apart; the rest of each register belongs to the emulator.
//! On RV32 the 64-bit registers (`menvcfg`, `henvcfg`, `mstatus` with `mstatush`, `mseccfg`) are taken whole.

use super::config::{Config, Extensions, Xlen};
use crate::addr::low_mask;

/// A paging mode, as `satp.MODE` selects it; for the second stage the same name stands for its x4 variant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Mode {
    /// No translation.
    Bare,
    /// Two levels of 4-byte entries, 32-bit addresses.
    Sv32,
    /// Three levels, 39-bit addresses.
    Sv39,
    /// Four levels, 48-bit addresses.
    Sv48,
    /// Five levels, 57-bit addresses.
    Sv57,
}

/// `mstatus` (privileged manual, "Machine Status Registers") and the fields that `vsstatus` shares with it.
pub mod mstatus {
    /// Previous privilege mode, two bits.
    pub const MPP_SHIFT: u32 = 11;
    /// Loads and stores translate as MPP and MPV say.
    pub const MPRV: u64 = 1 << 17;
    /// S-mode may reach user pages.
    pub const SUM: u64 = 1 << 18;
    /// Executable pages are readable.
    pub const MXR: u64 = 1 << 19;
    /// Previous virtualisation mode.
    pub const MPV: u64 = 1 << 39;
}

/// `menvcfg`, `henvcfg` and `senvcfg`, which place the same field at the same bit.
pub mod envcfg {
    /// Shadow stacks enabled for the next lower mode.
    pub const SSE: u64 = 1 << 3;
    /// Pointer masking of the next lower mode, two bits.
    pub const PMM_SHIFT: u32 = 32;
    /// Hardware updates of accessed and dirty bits.
    pub const ADUE: u64 = 1 << 61;
    /// Memory types in page-table entries.
    pub const PBMTE: u64 = 1 << 62;
}

/// `hstatus`.
pub mod hstatus {
    /// Supervisor previous virtual privilege: HLV and HSV access as VS rather than VU.
    pub const SPVP: u64 = 1 << 8;
    /// Pointer masking of HLV and HSV executed in U-mode, two bits.
    pub const HUPMM_SHIFT: u32 = 48;
}

/// `mseccfg` (Smepmp, Smmpm).
pub mod mseccfg {
    /// Machine-mode lockdown.
    pub const MML: u64 = 1;
    /// Machine-mode allow-list policy.
    pub const MMWP: u64 = 1 << 1;
    /// Rule-locking bypass.
    pub const RLB: u64 = 1 << 2;
    /// Pointer masking of M-mode, two bits.
    pub const PMM_SHIFT: u32 = 32;
}

/// A `satp`, `vsatp` or `hgatp`, taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Atp {
    pub(super) mode: Mode,
    /// ASID or VMID.
    pub(super) id: u16,
    /// First byte of the root table.
    pub(super) root: u64,
}

impl Atp {
    pub(super) const BARE: Self = Self { mode: Mode::Bare, id: 0, root: 0 };

    /// The register's fields; `None` where MODE is one that the machine does not have.
    fn decode(
        config: &Config,
        raw: u64,
        rv32_id: (u32, u32),
        rv64_id: (u32, u32),
        id_bits: u8,
    ) -> Option<Self> {
        let (code, ppn_bits, (id_shift, id_width)) = match config.xlen {
            Xlen::Rv32 => (raw >> 31 & 1, 22, rv32_id),
            Xlen::Rv64 => (raw >> 60, 44, rv64_id),
        };
        let mode = match (config.xlen, code) {
            (_, 0) => Mode::Bare,
            (Xlen::Rv32, _) => Mode::Sv32,
            (_, 8) => Mode::Sv39,
            (_, 9) => Mode::Sv48,
            (_, 10) => Mode::Sv57,
            _ => return None,
        };
        if !config.has_mode(mode) {
            return None;
        }
        let id = raw >> id_shift & low_mask(id_width.min(u32::from(id_bits)));
        Some(Self { mode, id: id as u16, root: (raw & low_mask(ppn_bits)) << 12 })
    }

    /// `satp` and `vsatp`: a write with a MODE that the machine lacks has no effect at all.
    pub(super) fn satp(config: &Config, raw: u64) -> Option<Self> {
        Self::decode(config, raw, (22, 9), (44, 16), config.asid_bits)
    }

    /// `hgatp`: a write with a MODE that the machine lacks makes it Bare, with VMID 0 (its fields are WARL). The root
    /// is 16 KiB large and aligned: the two lowest PPN bits read as zero.
    pub(super) fn hgatp(config: &Config, raw: u64) -> Self {
        let known = Self::decode(config, raw, (22, 7), (44, 14), config.vmid_bits);
        let atp = known.unwrap_or(Self::BARE);
        Self { root: atp.root & !0x3fff, ..atp }
    }
}

/// The values that a PMM field can hold: a write of the reserved value 1, or without the extension, clears it.
fn warl_pmm(raw: u64, shift: u32, present: bool) -> u64 {
    let field = raw >> shift & 3;
    let kept = if present && field != 1 { field } else { 0 };
    raw & !(3 << shift) | kept << shift
}

fn keep_if(raw: u64, field: u64, present: bool) -> u64 {
    if present { raw } else { raw & !field }
}

/// What `mstatus` holds after a write: MPV does not exist without the H extension.
pub(super) fn warl_mstatus(config: &Config, raw: u64) -> u64 {
    keep_if(raw, mstatus::MPV, config.extensions.contains(Extensions::H))
}

/// What `menvcfg` holds after a write.
pub(super) fn warl_menvcfg(config: &Config, raw: u64) -> u64 {
    let ext = config.extensions;
    let raw = keep_if(raw, envcfg::ADUE, ext.contains(Extensions::SVADU));
    let raw = keep_if(raw, envcfg::PBMTE, ext.contains(Extensions::SVPBMT));
    let raw = keep_if(raw, envcfg::SSE, ext.contains(Extensions::ZICFISS));
    warl_pmm(raw, envcfg::PMM_SHIFT, ext.contains(Extensions::SMNPM))
}

/// What `henvcfg` or `senvcfg` holds after a write. That ADUE, PBMTE and SSE also need their bit in `menvcfg` is seen
/// where they are used, since `menvcfg` may change later.
pub(super) fn warl_envcfg(config: &Config, raw: u64) -> u64 {
    let raw = keep_if(raw, envcfg::SSE, config.extensions.contains(Extensions::ZICFISS));
    warl_pmm(raw, envcfg::PMM_SHIFT, config.extensions.contains(Extensions::SSNPM))
}

/// What `hstatus` holds after a write.
pub(super) fn warl_hstatus(config: &Config, raw: u64) -> u64 {
    warl_pmm(raw, hstatus::HUPMM_SHIFT, config.extensions.contains(Extensions::SSNPM))
}

/// What `mseccfg` holds after a write over `old`: MML and MMWP stay once set, RLB cannot be set again while any
/// entry is locked (Smepmp).
pub(super) fn warl_mseccfg(config: &Config, old: u64, raw: u64, any_locked: bool) -> u64 {
    use mseccfg::{MML, MMWP, PMM_SHIFT, RLB};
    let raw = warl_pmm(raw, PMM_SHIFT, config.extensions.contains(Extensions::SMMPM));
    if !config.extensions.contains(Extensions::SMEPMP) {
        return raw & !(MML | MMWP | RLB);
    }
    let sticky = raw | old & (MML | MMWP);
    if old & RLB == 0 && any_locked { sticky & !RLB } else { sticky }
}
