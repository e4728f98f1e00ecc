//! What a translation permits, to whom (DDI 0487, D8.4).
//!
//! A TLB entry keeps the answer for every privilege and every setting of WXN, PAN and EPAN at once, one bit each: a
//! context asks for the bits that it needs, and "may it?" is one mask. So a change of PSTATE or of those SCTLR bits acts
//! at once, on hits too.

use super::descriptor::{Descriptor, limit};
use crate::access::AccessKind;

bitflags::bitflags! {
    /// The rights of a translation; what a context needs of one.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct Rights: u64 {
        /// Privileged loads.
        const PRIV_READ = 1;
        /// Privileged stores.
        const PRIV_WRITE = 1 << 1;
        /// Privileged fetches.
        const PRIV_EXECUTE = 1 << 2;
        /// EL0 loads.
        const USER_READ = 1 << 3;
        /// EL0 stores.
        const USER_WRITE = 1 << 4;
        /// EL0 fetches.
        const USER_EXECUTE = 1 << 5;
        /// Privileged fetches while `SCTLR_ELx.WXN` is set.
        const PRIV_EXECUTE_WXN = 1 << 6;
        /// EL0 fetches while `SCTLR_ELx.WXN` is set.
        const USER_EXECUTE_WXN = 1 << 7;
        /// Privileged loads while `PSTATE.PAN` is set.
        const PRIV_READ_PAN = 1 << 8;
        /// Privileged stores while `PSTATE.PAN` is set.
        const PRIV_WRITE_PAN = 1 << 9;
        /// Privileged loads while `PSTATE.PAN` and `SCTLR_ELx.EPAN` are set.
        const PRIV_READ_EPAN = 1 << 10;
        /// Privileged stores while `PSTATE.PAN` and `SCTLR_ELx.EPAN` are set.
        const PRIV_WRITE_EPAN = 1 << 11;
        /// Unaligned data accesses: the memory is Normal.
        const UNALIGNED = 1 << 12;
        /// Addresses of the lower half, for which `E0PD1` leaves EL0 free.
        const LOWER = 1 << 13;
        /// Addresses of the upper half, for which `E0PD0` leaves EL0 free.
        const UPPER = 1 << 14;
        /// Privileged fetches while WXN, `PSTATE.PAN` and `SCTLR_ELx.EPAN` are set, where WXN looks at the stores that PAN
        /// leaves ([`Choices::wxn_sees_pan`](super::Choices::wxn_sees_pan)).
        const PRIV_EXECUTE_WXN_EPAN = 1 << 15;

        /// All loads.
        const READS = Self::PRIV_READ.bits() | Self::USER_READ.bits() | Self::PRIV_READ_PAN.bits()
            | Self::PRIV_READ_EPAN.bits();
        /// All stores.
        const WRITES = Self::PRIV_WRITE.bits() | Self::USER_WRITE.bits() | Self::PRIV_WRITE_PAN.bits()
            | Self::PRIV_WRITE_EPAN.bits();
        /// All privileged fetches.
        const PRIV_FETCHES = Self::PRIV_EXECUTE.bits() | Self::PRIV_EXECUTE_WXN.bits()
            | Self::PRIV_EXECUTE_WXN_EPAN.bits();
        /// All EL0 fetches.
        const USER_FETCHES = Self::USER_EXECUTE.bits() | Self::USER_EXECUTE_WXN.bits();
        /// All fetches.
        const FETCHES = Self::PRIV_FETCHES.bits() | Self::USER_FETCHES.bits();
        /// Everything that permissions decide.
        const ACCESSES = Self::READS.bits() | Self::WRITES.bits() | Self::FETCHES.bits();
        /// The half that the address lies in.
        const HALVES = Self::LOWER.bits() | Self::UPPER.bits();
    }
}

impl Rights {
    /// What an access needs, under the control state that modifies rights.
    pub(super) fn needed(kind: AccessKind, mode: Mode) -> Self {
        let reads = match mode {
            Mode { user: true, .. } => Self::USER_READ,
            Mode { pan: true, epan: true, .. } => Self::PRIV_READ_EPAN,
            Mode { pan: true, .. } => Self::PRIV_READ_PAN,
            _ => Self::PRIV_READ,
        };
        let writes = match mode {
            Mode { user: true, .. } => Self::USER_WRITE,
            Mode { pan: true, epan: true, .. } => Self::PRIV_WRITE_EPAN,
            Mode { pan: true, .. } => Self::PRIV_WRITE_PAN,
            _ => Self::PRIV_WRITE,
        };
        match (kind, mode.user, mode.wxn) {
            (AccessKind::Read, ..) => reads,
            (AccessKind::Write, ..) => writes,
            (AccessKind::ReadWrite, ..) => reads | writes,
            (AccessKind::Execute, false, false) => Self::PRIV_EXECUTE,
            (AccessKind::Execute, false, true) if mode.wxn_sees_pan && mode.pan && mode.epan => {
                Self::PRIV_EXECUTE_WXN_EPAN
            }
            (AccessKind::Execute, false, true) => Self::PRIV_EXECUTE_WXN,
            (AccessKind::Execute, true, false) => Self::USER_EXECUTE,
            (AccessKind::Execute, true, true) => Self::USER_EXECUTE_WXN,
        }
    }

    /// What stage 1 gives in a regime of two privileges (EL1&0, EL2&0): AP and the execute-never bits, limited by the
    /// tables above (`AArch64.S1DirectBasePermissions`).
    #[inline(always)]
    pub(super) fn two_privileges(raw: u64, limits: u64) -> Self {
        let leaf = raw >> 6 & 3 | raw >> 51 & 0xc;
        Self::from_bits_retain(u64::from(TWO_PRIVILEGES[(leaf | (limits & limit::ALL) << 4) as usize]))
    }

    /// What stage 1 gives in a regime of one privilege (EL2, EL3): AP\[2\] and XN. PAN has no meaning there.
    pub(super) fn one_privilege(raw: u64, limits: u64) -> Self {
        let leaf = Descriptor::from_bits_retain(raw);
        let write = !leaf.contains(Descriptor::AP2) && limits & limit::AP1 == 0;
        let execute = !leaf.contains(Descriptor::UXN) && limits & limit::XN == 0;
        let mut rights = Self::PRIV_READ | Self::PRIV_READ_PAN | Self::PRIV_READ_EPAN;
        rights.set(Self::PRIV_WRITE | Self::PRIV_WRITE_PAN | Self::PRIV_WRITE_EPAN, write);
        rights.set(Self::PRIV_EXECUTE, execute);
        rights.set(Self::PRIV_EXECUTE_WXN, execute && !write);
        rights
    }

    /// What stage 2 lets through: S2AP, and XN told apart for EL1 and EL0 with FEAT_XNX
    /// (`AArch64.S2DirectBasePermissions`).
    #[inline]
    pub(super) fn second_stage(raw: u64, xnx: bool) -> Self {
        SECOND_STAGE[usize::from(xnx)][(raw >> 6 & 3 | (raw >> 53 & 3) << 2) as usize]
    }

    /// Without any restriction: translation is off.
    pub(super) const OPEN: Self = Self::ACCESSES;
}

/// The rights in a regime of two privileges: by AP\[1\], AP\[2\], PXN and UXN of the leaf, and above these, by what
/// the tables impose.
const TWO_PRIVILEGES: [u16; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < table.len() {
        let (leaf, limits) = (at as u64, at as u64 >> 4);
        let user = leaf & 1 != 0 && limits & limit::AP0 == 0;
        let write = leaf & 2 == 0 && limits & limit::AP1 == 0;
        let pxn = leaf & 4 != 0 || limits & limit::PXN != 0;
        let uxn = leaf & 8 != 0 || limits & limit::XN != 0;
        table[at] = two_privileges(user, write, pxn, uxn).bits() as u16;
        at += 1;
    }
    table
};

const _: () = assert!(Rights::all().bits() <= u16::MAX as u64);

/// What stage 2 lets through, without FEAT_XNX and with it, by S2AP and XN.
const SECOND_STAGE: [[Rights; 16]; 2] = {
    let mut tables = [[Rights::empty(); 16]; 2];
    let mut at = 0;
    while at < 16 {
        tables[0][at] = second_stage(at as u64 & 3, at as u64 >> 2, false);
        tables[1][at] = second_stage(at as u64 & 3, at as u64 >> 2, true);
        at += 1;
    }
    tables
};

const fn second_stage(s2ap: u64, xn: u64, xnx: bool) -> Rights {
    let (privileged, user) = match (xn, xnx) {
        (0, _) | (1, false) => (true, true),
        (1, true) => (false, true),
        (3, true) => (true, false),
        _ => (false, false),
    };
    let given = [
        (Rights::READS, s2ap & 1 != 0),
        (Rights::WRITES, s2ap & 2 != 0),
        (Rights::PRIV_FETCHES, privileged),
        (Rights::USER_FETCHES, user),
    ];
    let mut rights = Rights::empty();
    let mut at = 0;
    while at < given.len() {
        if given[at].1 {
            rights = rights.union(given[at].0);
        }
        at += 1;
    }
    rights
}

const fn two_privileges(user: bool, write: bool, pxn: bool, uxn: bool) -> Rights {
    let user_write = user && write;
    // What EL0 can write, privileged code never executes.
    let px = !pxn && !user_write;
    let given = [
        (Rights::PRIV_READ, true),
        (Rights::PRIV_WRITE, write),
        (Rights::PRIV_EXECUTE, px),
        (Rights::USER_READ, user),
        (Rights::USER_WRITE, user_write),
        (Rights::USER_EXECUTE, !uxn),
        (Rights::PRIV_EXECUTE_WXN, px && !write),
        (Rights::PRIV_EXECUTE_WXN_EPAN, px && !(write && uxn)),
        (Rights::USER_EXECUTE_WXN, !uxn && !user_write),
        (Rights::PRIV_READ_PAN, !user),
        (Rights::PRIV_WRITE_PAN, !user && write),
        (Rights::PRIV_READ_EPAN, !user && uxn),
        (Rights::PRIV_WRITE_EPAN, !user && uxn && write),
    ];
    let mut rights = Rights::empty();
    let mut at = 0;
    while at < given.len() {
        if given[at].1 {
            rights = rights.union(given[at].0);
        }
        at += 1;
    }
    rights
}

/// The control state that modifies what an access needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mode {
    /// The access is unprivileged.
    pub(super) user: bool,
    /// PAN acts on it.
    pub(super) pan: bool,
    /// `SCTLR_ELx.EPAN`.
    pub(super) epan: bool,
    /// `SCTLR_ELx.WXN`.
    pub(super) wxn: bool,
    /// WXN looks at the stores that PAN leaves.
    pub(super) wxn_sees_pan: bool,
}
