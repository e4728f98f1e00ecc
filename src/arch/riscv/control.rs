//! Writes to the control registers.
//!
//! None of them drops a cached translation: the manual ties no invalidation to any CSR. Rights that a write changes
//! (SUM, MXR, SSE, privilege) act at once on what is cached; ADUE, PBMTE, PMP and the tables themselves take effect with
//! the fence that the manual asks software for.

use super::csr::{self, Atp};
use super::{Privilege, Riscv, Xlen};
use crate::addr::low_mask;

/// A change of control state. CSR values are those that the instruction writes: what WARL makes of them is done here.
/// RV32's high halves (`mstatush`, `menvcfgh` ...) are given together with the low ones, as one 64-bit value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Control {
    /// `satp`. A MODE that the machine lacks makes the write a no-op.
    Satp(u64),
    /// `mstatus` (or `sstatus` merged into it): MPRV, MPP, MPV, SUM and MXR count.
    Mstatus(u64),
    /// `menvcfg`.
    Menvcfg(u64),
    /// `senvcfg`.
    Senvcfg(u64),
    /// `mseccfg`.
    Mseccfg(u64),
    /// `vsatp`. A MODE that the machine lacks makes the write a no-op.
    Vsatp(u64),
    /// `hgatp`. A MODE that the machine lacks becomes Bare.
    Hgatp(u64),
    /// `hstatus`: SPVP and HUPMM count.
    Hstatus(u64),
    /// `henvcfg`.
    Henvcfg(u64),
    /// `vsstatus`: SUM and MXR count.
    Vsstatus(u64),
    /// `pmpNcfg`, one byte of a `pmpcfg` register. Ignored where locked.
    PmpCfg {
        /// N.
        index: u8,
        /// The byte.
        value: u8,
    },
    /// `pmpaddrN`. Ignored where locked.
    PmpAddr {
        /// N.
        index: u8,
        /// Bits 55 to 2 of an address (RV32: 33 to 2).
        value: u64,
    },
    /// An entry put in place whatever is locked: reset, or a snapshot restored. Not an instruction.
    PmpLoad {
        /// N.
        index: u8,
        /// `pmpNcfg`.
        cfg: u8,
        /// `pmpaddrN`.
        addr: u64,
    },
    /// The hart enters another mode: a trap, a return, or the embedder's wish.
    Mode {
        /// The privilege mode.
        privilege: Privilege,
        /// The virtualisation mode V: VS and VU rather than S and U. Ignored without the H extension and in M-mode.
        virt: bool,
    },
}

/// The bits that `pmpaddrN` has: of an address shifted right by 2, 34 or 56 bits wide.
const fn pmpaddr_bits(xlen: Xlen) -> u64 {
    low_mask(match xlen {
        Xlen::Rv32 => 32,
        Xlen::Rv64 => 54,
    })
}

impl Riscv {
    /// Carries a change out.
    pub(super) fn apply(&mut self, change: Control) {
        let config = &self.config;
        match change {
            Control::Satp(raw) => {
                if let Some(satp) = Atp::satp(config, raw) {
                    self.satp = satp;
                }
            }
            Control::Vsatp(raw) => {
                if let Some(vsatp) = Atp::satp(config, raw) {
                    self.vsatp = vsatp;
                }
            }
            Control::Hgatp(raw) => self.hgatp = Atp::hgatp(config, raw),
            Control::Mstatus(raw) => self.mstatus = csr::warl_mstatus(config, raw),
            Control::Vsstatus(raw) => self.vsstatus = raw,
            Control::Hstatus(raw) => self.hstatus = csr::warl_hstatus(config, raw),
            Control::Menvcfg(raw) => self.menvcfg = csr::warl_menvcfg(config, raw),
            Control::Senvcfg(raw) => self.senvcfg = csr::warl_envcfg(config, raw),
            Control::Henvcfg(raw) => self.henvcfg = csr::warl_envcfg(config, raw),
            Control::Mseccfg(raw) => {
                let value = csr::warl_mseccfg(config, self.mseccfg, raw, self.pmp.any_locked());
                self.mseccfg = value;
                self.pmp.set_mseccfg(value);
            }
            Control::PmpCfg { index, value } => self.pmp.write_cfg(usize::from(index), value),
            Control::PmpAddr { index, value } => {
                self.pmp.write_addr(usize::from(index), value & pmpaddr_bits(config.xlen));
            }
            Control::PmpLoad { index, cfg, addr } => {
                self.pmp.load(usize::from(index), cfg, addr & pmpaddr_bits(config.xlen));
            }
            Control::Mode { privilege, virt } => {
                self.privilege = privilege;
                self.virt = virt && privilege != Privilege::Machine && self.has_hypervisor();
            }
        }
        self.refresh();
    }
}
