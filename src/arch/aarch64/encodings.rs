//! TLBI instructions as they are encoded: `SYS` with op0 = 1 and CRn = 8 (CRn = 9 with FEAT_XS) (DDI 0487, C5.5).

use super::descriptor::Granule;
use super::regime::RegimeKind;
use super::registers::{Register, bit, hcr};
use super::tlbi::{Tlbi, TlbiTarget};
use super::{Aarch64, Features};
use crate::addr::Asid;

/// The forms that have a register of addresses, by the low bits of op2.
const LAST_LEVEL: u8 = 4;

impl Tlbi {
    /// The TLBI of `op1`, `crm` and `op2`, with its register operand, on `core` as it stands; `None` if there is none of
    /// that encoding (or it acts on EL3 or EL2 and the core has no such level). How far it reaches (Inner Shareable,
    /// Outer Shareable) is not told: broadcasting it is the embedder's.
    #[must_use]
    pub fn decode(core: &Aarch64, op1: u8, crm: u8, op2: u8, operand: u64) -> Option<Self> {
        let hcr = core.hcr;
        let host = hcr & hcr::E2H != 0;
        let regime = match op1 {
            0 if host && hcr & hcr::TGE != 0 => RegimeKind::El20,
            0 => RegimeKind::El10,
            4 if !core.config.has(Features::EL2) => return None,
            4 if host => RegimeKind::El20,
            4 => RegimeKind::El2,
            6 if core.config.has(Features::EL3) => RegimeKind::El3,
            _ => return None,
        };
        let asid = Asid(core.asid_of(regime, operand >> 48));
        let last_level = op2 & LAST_LEVEL != 0;
        let all = |regime, target| Some(Self { regime, target });
        match (op1, crm, op2) {
            (_, 1 | 3 | 7, 0) => all(regime, TlbiTarget::All),
            (0, 1 | 3 | 7, 2) => all(regime, TlbiTarget::Asid(asid)),
            (4, 1 | 3 | 7, 4) => all(RegimeKind::El10, TlbiTarget::AllVmids),
            (4, 1 | 3 | 7, 6) => all(RegimeKind::El10, TlbiTarget::All),
            (_, 1 | 3 | 7, 1 | 5) => Some(Self::page(regime, operand << 12, Some(asid), last_level)),
            (0, 1 | 3 | 7, 3 | 7) => Some(Self::page(regime, operand << 12, None, last_level)),
            (_, 2 | 5 | 6, 1 | 5) => range(core, regime, operand, Some(asid), last_level),
            (0, 2 | 5 | 6, 3 | 7) => range(core, regime, operand, None, last_level),
            (4, 0, 1 | 5) | (4, 4, 0 | 1 | 4 | 5) => {
                let ipa = (operand & ((1 << 40) - 1)) << 12;
                Some(Self::intermediate(ipa, 1, Granule::K4, last_level))
            }
            (4, 0, 2 | 6) | (4, 4, 2 | 3 | 6 | 7) => {
                let granule = granule(operand)?;
                let ipa = (operand & ((1 << 37) - 1))
                    << unit(granule, bit(core.registers.get(Register::VtcrEl2), 32));
                Some(Self::intermediate(ipa, Self::range_pages(operand), granule, last_level))
            }
            _ => None,
        }
    }
}

/// A range operand's TG field; the reserved value names nothing.
fn granule(operand: u64) -> Option<Granule> {
    match operand >> 46 & 3 {
        1 => Some(Granule::K4),
        2 => Some(Granule::K16),
        3 => Some(Granule::K64),
        _ => None,
    }
}

/// log2 of the unit that BaseADDR counts in: the granule, or 64 KiB while LPA2 is in use.
const fn unit(granule: Granule, ds: bool) -> u32 {
    if ds { 16 } else { granule.bits() }
}

fn range(
    core: &Aarch64,
    regime: RegimeKind,
    operand: u64,
    asid: Option<Asid>,
    last_level: bool,
) -> Option<Tlbi> {
    let granule = granule(operand)?;
    let (tcr, ds) = match regime {
        RegimeKind::El10 => (Register::TcrEl1, 59),
        RegimeKind::El20 => (Register::TcrEl2, 59),
        RegimeKind::El2 => (Register::TcrEl2, 32),
        RegimeKind::El3 => (Register::TcrEl3, 32),
    };
    // BaseADDR has 37 bits, the topmost of which two-range regimes extend.
    let base =
        if regime.two_ranges() { (operand << 27) as i64 >> 27 } else { (operand & ((1 << 37) - 1)) as i64 };
    let va = (base as u64) << unit(granule, bit(core.registers.get(tcr), ds));
    Some(Tlbi::pages(regime, va, Tlbi::range_pages(operand), granule, asid, last_level))
}
