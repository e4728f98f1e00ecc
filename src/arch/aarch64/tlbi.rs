//! TLB maintenance (DDI 0487, D8.17; C5.5): what each TLBI drops.
//!
//! Inner Shareable, Outer Shareable and nXS forms reach further and wait differently; what they drop on one core is the
//! same. TTL hints are not needed. Forms for the "last level" leave paging-structure caches alone.

use super::Aarch64;
use super::descriptor::Granule;
use super::regime::{RegimeKind, regime_number, vmid};
use super::registers::{Register, hcr, sctlr};
use crate::addr::{Asid, Vmid, low_mask};
use crate::tlb::{Scope, Space, Span};

/// What a TLBI names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TlbiTarget {
    /// `VMALLE1`, `VMALLS12E1`, `ALLE2`, `ALLE3`: everything of the regime; of EL1&0, everything of the current VMID.
    All,
    /// `ALLE1`: everything of EL1&0, whatever the VMID.
    AllVmids,
    /// `ASIDE1`: what is not global and has the ASID.
    Asid(Asid),
    /// `VAE1`, `VAE2`, `RVAE1`...: addresses `first..=last`, for the ASID and for global entries. In regimes without
    /// ASIDs, or for `VAAE1` and `RVAAE1`, the ASID is `None`.
    Address {
        /// First address.
        first: u64,
        /// Last address, inclusive.
        last: u64,
        /// The ASID, where one counts.
        asid: Option<Asid>,
        /// Only leaves (`VALE1`, `RVALE1`...).
        last_level: bool,
    },
    /// `IPAS2E1`, `RIPAS2E1`...: intermediate physical addresses `first..=last` of the current VMID. The architecture
    /// drops stage 2 alone and leaves combined entries to a `VMALLE1` that follows; here both go.
    Intermediate {
        /// First address.
        first: u64,
        /// Last address, inclusive.
        last: u64,
        /// Only leaves (`IPAS2LE1`).
        last_level: bool,
    },
}

/// A TLBI instruction, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tlbi {
    /// The regime that it acts on. The `..E1` names act on EL2&0 while `HCR_EL2.{E2H,TGE}` are both set.
    pub regime: RegimeKind,
    /// What it names.
    pub target: TlbiTarget,
}

impl Tlbi {
    /// A TLBI of all addresses in one page: `va` as the register holds it, with bits 55:12 counting.
    #[must_use]
    pub const fn page(regime: RegimeKind, va: u64, asid: Option<Asid>, last_level: bool) -> Self {
        Self::pages(regime, va, 1, Granule::K4, asid, last_level)
    }

    /// A range TLBI: `pages` pages of `granule` from the one that holds `va`. What would pass the top of the address
    /// space ends there.
    #[must_use]
    pub const fn pages(
        regime: RegimeKind,
        va: u64,
        pages: u64,
        granule: Granule,
        asid: Option<Asid>,
        last_level: bool,
    ) -> Self {
        // Bits 63:56 are bit 55's copies where there are two ranges, and nothing where there is one.
        let va = if regime.two_ranges() { ((va << 8) as i64 >> 8) as u64 } else { va & low_mask(56) };
        let (first, last) = range(va, pages, granule);
        Self { regime, target: TlbiTarget::Address { first, last, asid, last_level } }
    }

    /// A TLBI of `pages` pages of intermediate physical addresses from the one that holds `ipa`.
    #[must_use]
    pub const fn intermediate(ipa: u64, pages: u64, granule: Granule, last_level: bool) -> Self {
        let (first, last) = range(ipa, pages, granule);
        Self { regime: RegimeKind::El10, target: TlbiTarget::Intermediate { first, last, last_level } }
    }

    /// How many pages a range TLBI's register operand names: `(NUM + 1) * 2^(5*SCALE + 1)`.
    #[must_use]
    pub const fn range_pages(operand: u64) -> u64 {
        let (scale, num) = (operand >> 44 & 3, operand >> 39 & 0x1f);
        (num + 1) << (5 * scale + 1)
    }

    /// What it drops while `vmid` is the current VMID, told through `drop`.
    pub(super) fn scopes(self, vmid: Vmid, drop: &mut dyn FnMut(Scope)) {
        let scope = self.scope(vmid);
        if matches!((self.regime, self.target), (RegimeKind::El10, TlbiTarget::Asid(_))) {
            // One whole space after the other: a TLB that keeps spaces apart finds each at once.
            for stages in [regime_number::STAGE1_ONLY, regime_number::BOTH] {
                let space = Space::new(stages, scope.space.vmid(), scope.space.asid());
                drop(Scope { space, mask: scope.mask | Space::REGIME, ..scope });
            }
        } else {
            drop(scope);
        }
    }

    fn scope(self, vmid: Vmid) -> Scope {
        let guest = matches!(self.regime, RegimeKind::El10);
        let vmid_mask = if guest { Space::VMID } else { 0 };
        let vmid = if guest { vmid } else { Vmid(0) };
        let base = Scope {
            space: Space::new(self.regime.number(), vmid, Asid(0)),
            mask: regime_number::MASK | vmid_mask,
            globals: true,
            span: Span::All,
            leaves_only: false,
        };
        let with_asid = |asid: Option<Asid>, scope: Scope| match asid {
            Some(asid) if self.regime.two_ranges() => Scope {
                space: Space::new(self.regime.number(), vmid, asid),
                mask: scope.mask | Space::ASID,
                ..scope
            },
            _ => scope,
        };
        match self.target {
            TlbiTarget::All => base,
            TlbiTarget::AllVmids => Scope { mask: regime_number::MASK, ..base },
            TlbiTarget::Asid(asid) => with_asid(Some(asid), Scope { globals: false, ..base }),
            TlbiTarget::Address { first, last, asid, last_level } => with_asid(
                asid,
                Scope { span: Span::Virtual { first, last }, leaves_only: last_level, ..base },
            ),
            TlbiTarget::Intermediate { first, last, last_level } => {
                Scope { span: Span::Guest { first, last }, leaves_only: last_level, ..base }
            }
        }
    }
}

/// First and last byte of `pages` pages from the one that holds `address`.
const fn range(address: u64, pages: u64, granule: Granule) -> (u64, u64) {
    let first = address & !low_mask(granule.bits());
    let last = first.saturating_add(pages.saturating_mul(1 << granule.bits()).saturating_sub(1));
    (first, last)
}

/// What a register write that flips the bits `changed` makes stale, for
/// [`Choices::drop_on_control_write`](super::Choices): the regime's entries (EL1&0: those of the current VMID).
/// A TTBR or VTTBR names another space by its ASID or VMID and drops nothing.
pub(super) fn dropped_by_write(
    core: &Aarch64,
    register: Register,
    changed: u64,
    drop: &mut dyn FnMut(Scope),
) {
    let host = core.hcr & hcr::E2H != 0;
    let counts = match register {
        // What acts at once by itself needs nothing dropped; caches on or off are in the entries' memory types.
        Register::SctlrEl1 | Register::SctlrEl2 | Register::SctlrEl3 => sctlr::C,
        Register::HcrEl2 => hcr::FWB | hcr::CD | hcr::PTW | hcr::DCT,
        _ => u64::MAX,
    };
    if changed & counts == 0 {
        return;
    }
    let regime = match register {
        Register::SctlrEl1 | Register::TcrEl1 | Register::MairEl1 => RegimeKind::El10,
        Register::VtcrEl2 | Register::HcrEl2 => RegimeKind::El10,
        Register::SctlrEl2 | Register::TcrEl2 | Register::MairEl2 if host => RegimeKind::El20,
        Register::SctlrEl2 | Register::TcrEl2 | Register::MairEl2 => RegimeKind::El2,
        Register::SctlrEl3 | Register::TcrEl3 | Register::MairEl3 => RegimeKind::El3,
        _ => return,
    };
    Tlbi { regime, target: TlbiTarget::All }.scopes(vmid(&core.config, &core.registers), drop);
}
