//! The context of an access: which registers govern it, and what that comes to.
//!
//! The effective privilege comes first (MPRV, then HLV and HSV), then which `atp` registers are active there, then the
//! rights it needs. All of it is worked out when control state changes; an access only picks its context up.

use super::csr::{Mode, envcfg, hstatus, mstatus};
use super::masking::Masking;
use super::rights::{Need, Use};
use super::{Flavor, Privilege, Riscv};
use crate::access::{Access, AccessKind};
use crate::addr::{Asid, Vmid};
use crate::tlb::Space;

/// Numbers of the TLB's regimes.
pub(super) mod regime {
    /// M, HS and U: `satp`.
    pub(crate) const HOST: u8 = 0;
    /// VS and VU: `vsatp`, over `hgatp`.
    pub(crate) const GUEST: u8 = 1;
    /// VS and VU with `vsatp` Bare: `hgatp` alone. Apart from the former, since a change between Bare and another
    /// mode in `vsatp` acts at once, without a fence (privileged manual, "satp").
    pub(crate) const GUEST_BARE: u8 = 2;
}

bitflags::bitflags! {
    /// What sets an access apart from a plain, paged one on RV64.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub(super) struct Special: u8 {
        /// Nothing is translated.
        const BARE = 1;
        /// LR, SC or shadow stack: must be aligned. (An AMO must too, but shares the context of loads and stores.)
        const ALIGNED = 1 << 1;
        /// The address is changed before use: pointer masking, or 32 bits.
        const MASKED = 1 << 2;
        /// A shadow-stack access where stage one does not translate: always refused.
        const REFUSED = 1 << 3;
        /// Physical memory protection has something to say.
        const PMP = 1 << 4;
        /// Alignment is looked at after translation.
        const ALIGNED_LATE = 1 << 5;
        /// What matters only once the access has been translated.
        const LATE = Self::PMP.bits() | Self::ALIGNED_LATE.bits();
    }
}

/// The kinds in the order in which [`Context`] keeps their needs.
const KINDS: [AccessKind; 4] =
    [AccessKind::Read, AccessKind::Write, AccessKind::ReadWrite, AccessKind::Execute];

const _: () = {
    let mut at = 0;
    while at < 4 {
        assert!(KINDS[at] as usize == at);
        at += 1;
    }
};

/// Which of the walks does it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Route {
    /// A single stage in this mode, no PMP to ask, and addresses as they are (on RV32: their low half).
    Sv32,
    Sv39,
    Sv48,
    Sv57,
    /// Likewise with both stages in this mode.
    Sv32x4,
    Sv39x4,
    Sv48x4,
    Sv57x4,
    /// Everything else.
    General,
}

/// The control state that decides where an access looks and what it may reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Context {
    pub(super) space: Space,
    /// What loads and stores need, or fetches in a fetch's context; by [`AccessKind`].
    pub(super) need: [Need; 4],
    /// Changes of PMP so far: what physical protection allows is part of the context.
    pub(super) pmp_epoch: u32,
    pub(super) special: Special,
    pub(super) route: Route,
    pub(super) masking: Masking,
    /// The stages' modes; `first` is Bare in M-mode, `second` is Bare without virtualisation.
    pub(super) first: Mode,
    pub(super) second: Mode,
    /// Effective privilege.
    pub(super) privilege: Privilege,
    /// Effective virtualisation mode.
    pub(super) virt: bool,
}

impl Context {
    /// M-mode's, with nothing on.
    pub(super) const RESET: Self = Self {
        space: Space::new(regime::HOST, Vmid(0), Asid(0)),
        need: [Need::NONE; 4],
        pmp_epoch: 0,
        special: Special::BARE,
        route: Route::General,
        masking: Masking::NONE,
        first: Mode::Bare,
        second: Mode::Bare,
        privilege: Privilege::Machine,
        virt: false,
    };

    /// What an access of this kind and flavor does, as far as rights go.
    pub(super) const fn usage(kind: AccessKind, flavor: Flavor) -> Use {
        match (flavor, kind) {
            (_, AccessKind::Execute) => Use::Fetch,
            (Flavor::Hlvx, AccessKind::Read) => Use::LoadExecutable,
            (Flavor::ShadowStack, AccessKind::Read) => Use::ShadowLoad,
            (Flavor::ShadowStack, _) => Use::ShadowStore,
            (Flavor::CacheBlock, _) => Use::Manage,
            (_, AccessKind::Read) => Use::Load,
            _ => Use::Store,
        }
    }

    /// The access's address as translation sees it: after pointer masking.
    #[inline]
    pub(super) const fn effective(&self, access: &Access<Flavor>) -> u64 {
        if self.special.contains(Special::MASKED) { self.masking.apply(access.va.0) } else { access.va.0 }
    }

    /// What the access needs of a page.
    #[inline]
    pub(super) const fn need(&self, kind: AccessKind) -> Need {
        self.need[kind as usize & 3]
    }

    /// Works the context out from the registers. Of the kind it only matters whether it is a fetch.
    pub(super) fn new(hart: &Riscv, kind: AccessKind, flavor: Flavor) -> Self {
        let (privilege, virt) = effective_privilege(hart, kind, flavor);
        let atp = if virt { hart.vsatp } else { hart.satp };
        let first = if privilege == Privilege::Machine { Mode::Bare } else { atp.mode };
        let second = if virt { hart.hgatp.mode } else { Mode::Bare };

        let host_mxr = hart.mstatus & mstatus::MXR != 0;
        let status = if virt { hart.vsstatus } else { hart.mstatus };
        let mxr = host_mxr || status & mstatus::MXR != 0;
        let sum = status & mstatus::SUM != 0;
        let sse = hart.stage_envcfg(virt) & envcfg::SSE != 0;
        let need = |kind| {
            let what = Self::usage(kind, flavor);
            let user = privilege == Privilege::User;
            let first = if first == Mode::Bare { Need::NONE } else { Need::first(what, user, mxr, sum, sse) };
            if second == Mode::Bare { first } else { first.with_second(Need::second(what, host_mxr)) }
        };
        let fetch = kind == AccessKind::Execute;
        let need = KINDS.map(|kind| if fetch { need(AccessKind::Execute) } else { need(kind) });

        let (regime, asid) = match (virt, first) {
            (false, _) => (regime::HOST, atp.id),
            (true, Mode::Bare) => (regime::GUEST_BARE, 0),
            (true, _) => (regime::GUEST, atp.id),
        };
        let vmid = if virt { hart.hgatp.id } else { 0 };
        let masking = Masking::new(hart, kind, flavor, privilege, virt, first);

        let shadow = flavor == Flavor::ShadowStack && !fetch;
        let mut special = Special::empty();
        special.set(Special::BARE, first == Mode::Bare && second == Mode::Bare);
        special.set(Special::ALIGNED, shadow || flavor == Flavor::LrSc);
        special.set(Special::MASKED, !masking.is_none());
        special.set(Special::REFUSED, shadow && first == Mode::Bare);
        special.set(Special::PMP, hart.pmp.is_active());
        special.set(Special::ALIGNED_LATE, hart.config.misaligned_after_translation);

        let route = match (first, second) {
            _ if hart.pmp.is_active() => Route::General,
            (Mode::Sv39 | Mode::Sv48 | Mode::Sv57, _) if !masking.is_none() => Route::General,
            (Mode::Sv32, Mode::Bare) => Route::Sv32,
            (Mode::Sv39, Mode::Bare) => Route::Sv39,
            (Mode::Sv48, Mode::Bare) => Route::Sv48,
            (Mode::Sv57, Mode::Bare) => Route::Sv57,
            (Mode::Sv32, Mode::Sv32) => Route::Sv32x4,
            (Mode::Sv39, Mode::Sv39) => Route::Sv39x4,
            (Mode::Sv48, Mode::Sv48) => Route::Sv48x4,
            (Mode::Sv57, Mode::Sv57) => Route::Sv57x4,
            _ => Route::General,
        };

        Self {
            space: Space::new(regime, Vmid(vmid), Asid(asid)),
            need,
            pmp_epoch: hart.pmp.epoch(),
            special,
            route,
            masking,
            first,
            second,
            privilege,
            virt,
        }
    }
}

/// The privilege and virtualisation mode that an access is made with.
///
/// MPRV concerns explicit loads and stores only (privileged manual, "Memory Privilege in mstatus Register"): with MPP
/// other than M, MPV says whether they are virtual. HLV, HLVX and HSV are virtual whatever MPRV says, as VS or VU by
/// `hstatus.SPVP` ("Hypervisor Virtual-Machine Load and Store Instructions").
fn effective_privilege(hart: &Riscv, kind: AccessKind, flavor: Flavor) -> (Privilege, bool) {
    if kind != AccessKind::Execute {
        if matches!(flavor, Flavor::Hlv | Flavor::Hlvx) {
            let supervisor = hart.hstatus & hstatus::SPVP != 0;
            return (if supervisor { Privilege::Supervisor } else { Privilege::User }, true);
        }
        if hart.mstatus & mstatus::MPRV != 0 {
            let mpp = Privilege::from_bits(hart.mstatus >> mstatus::MPP_SHIFT);
            return (mpp, hart.mstatus & mstatus::MPV != 0 && mpp != Privilege::Machine);
        }
    }
    (hart.privilege, hart.virt)
}
