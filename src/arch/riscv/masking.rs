//! Pointer masking (Ssnpm, Smnpm, Smmpm): the "ignore" transformation of effective addresses.

use super::config::Xlen;
use super::csr::{Mode, envcfg, hstatus, mseccfg, mstatus};
use super::{Flavor, Privilege, Riscv};
use crate::access::AccessKind;

/// What happens to an access's address before anything else.
///
/// The upper PMLEN bits are replaced: by copies of the next lower bit where the address is virtual, by zeros where
/// the active `satp` or `vsatp` is Bare (or the mode M). RV32 is served by the same means: of the 64 bits of a
/// [`VirtAddr`](crate::addr::VirtAddr) the upper 32 are replaced by zeros, so that addresses wrap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Masking {
    /// Upper bits to replace.
    bits: u8,
    /// By zeros, not by the sign.
    zeros: bool,
}

impl Masking {
    pub(super) const NONE: Self = Self { bits: 0, zeros: true };

    /// For an access as made by `hart` with this effective privilege, under stage-one mode `first`.
    pub(super) fn new(
        hart: &Riscv,
        kind: AccessKind,
        flavor: Flavor,
        privilege: Privilege,
        virt: bool,
        first: Mode,
    ) -> Self {
        let bits = match hart.config.xlen {
            Xlen::Rv32 => return Self { bits: 32, zeros: true },
            Xlen::Rv64 => pmlen(hart, kind, flavor, privilege, virt),
        };
        Self { bits, zeros: first == Mode::Bare }
    }

    /// Whether addresses stay as they are.
    pub(super) const fn is_none(self) -> bool {
        self.bits == 0
    }

    /// The transformed address.
    #[inline]
    pub(super) const fn apply(self, va: u64) -> u64 {
        let shifted = va << self.bits;
        if self.zeros { shifted >> self.bits } else { (shifted as i64 >> self.bits) as u64 }
    }
}

/// How many upper bits of the address the access ignores (pointer masking manual, "Memory Accesses Subject to Pointer
/// Masking" and "ISA Extensions").
fn pmlen(hart: &Riscv, kind: AccessKind, flavor: Flavor, privilege: Privilege, virt: bool) -> u8 {
    // Fetches are implicit accesses; HLVX stands for one.
    if kind == AccessKind::Execute || flavor == Flavor::Hlvx {
        return 0;
    }
    // Where MXR is in effect, loads may be after instructions, which have no tags. That holds for stores too, and
    // where nothing is translated; but never for M, whose addressing the supervisor must not decide.
    let virtual_mxr = if virt { hart.vsstatus & mstatus::MXR } else { 0 };
    let mxr = (hart.mstatus & mstatus::MXR | virtual_mxr) != 0;
    if mxr && privilege != Privilege::Machine {
        return 0;
    }
    let pmm = match (privilege, virt) {
        (Privilege::Machine, _) => hart.mseccfg >> mseccfg::PMM_SHIFT,
        (Privilege::Supervisor, false) => hart.menvcfg >> envcfg::PMM_SHIFT,
        (Privilege::Supervisor, true) => hart.henvcfg >> envcfg::PMM_SHIFT,
        // HLV and HSV as though in VU-mode, executed in U-mode, have a field of their own.
        (Privilege::User, _) if flavor == Flavor::Hlv && hart.privilege == Privilege::User => {
            hart.hstatus >> hstatus::HUPMM_SHIFT
        }
        (Privilege::User, _) => hart.senvcfg >> envcfg::PMM_SHIFT,
    };
    match pmm & 3 {
        2 => 7,
        3 => 16,
        _ => 0,
    }
}
