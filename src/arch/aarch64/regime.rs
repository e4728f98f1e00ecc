//! A translation regime as its registers set it up: which tables, in which format, for which half of the address
//! map (DDI 0487, D8.2; `AArch64.GetS1TTWParams`, `AArch64.GetS2TTWParams`).
//!
//! Everything here is worked out once when a register changes; walks and lookups only read it.

use super::attributes::Attributes;
use super::config::{Config, Features};
use super::descriptor::{Shape, Vmsa64};
use super::edit::Style;
use super::registers::{ExceptionLevel, Pstate, Register, Registers, bit, field, hcr, sctlr};
use super::sizes::{Sizes, granule, stage2_start};
use crate::addr::{Asid, Vmid};
use crate::tlb::Space;

/// The stage 1 regimes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RegimeKind {
    /// EL1&0: a guest, or an operating system without VHE.
    El10,
    /// EL2 without VHE: one range, one privilege.
    El2,
    /// EL2&0 (FEAT_VHE, `HCR_EL2.E2H`).
    El20,
    /// EL3.
    El3,
}

/// The numbers that stand for regimes in a TLB's [`Space`]. EL1&0 has three, told apart by which stages are on, so that
/// turning one on or off acts at once; a TLBI leaves their low two bits out of its mask.
pub(super) mod regime_number {
    pub(crate) const EL10: u8 = 0;
    pub(crate) const STAGE1_ONLY: u8 = 0;
    pub(crate) const BOTH: u8 = 1;
    pub(crate) const STAGE2_ONLY: u8 = 2;
    pub(crate) const EL2: u8 = 4;
    pub(crate) const EL20: u8 = 8;
    pub(crate) const EL3: u8 = 12;
    /// The bits of a [`Space`](crate::tlb::Space) that tell regimes apart whatever stages are on.
    pub(crate) const MASK: u64 = crate::tlb::Space::REGIME & !(3 << 32);
}

impl RegimeKind {
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::El10 => regime_number::EL10,
            Self::El2 => regime_number::EL2,
            Self::El20 => regime_number::EL20,
            Self::El3 => regime_number::EL3,
        }
    }

    /// The level that controls the regime and takes its stage 1 aborts.
    pub(super) const fn level(self) -> ExceptionLevel {
        match self {
            Self::El10 => ExceptionLevel::El1,
            Self::El2 | Self::El20 => ExceptionLevel::El2,
            Self::El3 => ExceptionLevel::El3,
        }
    }

    /// Whether it has two address ranges, two privileges and ASIDs.
    pub(super) const fn two_ranges(self) -> bool {
        matches!(self, Self::El10 | Self::El20)
    }
}

/// One translation table, ready to be walked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Table {
    pub(super) format: Vmsa64,
    /// Where the start table is.
    pub(super) base: u64,
    /// `TxSZ`, or stage 2's start level, cannot be: a level 0 Translation fault.
    pub(super) bad_size: bool,
    /// The start table lies beyond the output size: a level 0 Address size fault.
    pub(super) bad_base: bool,
    /// Walks are disabled (`EPDx`).
    pub(super) walks_off: bool,
    /// Hardware sets the Access flag.
    pub(super) access_flag: bool,
    /// Hardware manages dirty state.
    pub(super) dirty_state: bool,
    /// SH for descriptors that have none (LPA2).
    pub(super) share: u8,
}

/// The regime that accesses use now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Regime {
    pub(super) kind: RegimeKind,
    /// Stage 1 is on.
    pub(super) stage1: bool,
    /// The lower and the upper half's tables; one-range regimes have the first alone.
    pub(super) tables: [Table; 2],
    /// Stage 2, where it is on.
    pub(super) stage2: Option<Table>,
    pub(super) space: Space,
    /// Top byte ignored, per half.
    pub(super) tbi: [bool; 2],
    /// Top byte ignored for data only, per half.
    pub(super) tbid: [bool; 2],
    /// EL0 kept out, per half.
    pub(super) e0pd: [bool; 2],
    pub(super) sctlr: u64,
    /// MAIR's entries, as caches on or off (`SCTLR_ELx.C`) leave them.
    pub(super) attributes: [Attributes; 8],
}

impl Regime {
    /// The regime that `pstate` and the registers select (`TranslationRegime`).
    pub(super) fn new(config: &Config, registers: &Registers, pstate: &Pstate) -> Self {
        let hcr = effective_hcr(config, registers);
        let host = hcr & hcr::E2H != 0;
        let kind = match pstate.el {
            ExceptionLevel::El3 => RegimeKind::El3,
            ExceptionLevel::El2 if host => RegimeKind::El20,
            ExceptionLevel::El2 => RegimeKind::El2,
            ExceptionLevel::El0 if host && hcr & hcr::TGE != 0 => RegimeKind::El20,
            ExceptionLevel::El0 | ExceptionLevel::El1 => RegimeKind::El10,
        };
        let [sctlr, tcr, ttbr0, ttbr1, mair] = match kind {
            RegimeKind::El10 => [
                Register::SctlrEl1,
                Register::TcrEl1,
                Register::Ttbr0El1,
                Register::Ttbr1El1,
                Register::MairEl1,
            ],
            RegimeKind::El2 | RegimeKind::El20 => [
                Register::SctlrEl2,
                Register::TcrEl2,
                Register::Ttbr0El2,
                Register::Ttbr1El2,
                Register::MairEl2,
            ],
            RegimeKind::El3 => [
                Register::SctlrEl3,
                Register::TcrEl3,
                Register::Ttbr0El3,
                Register::Ttbr0El3,
                Register::MairEl3,
            ],
        }
        .map(|register| registers.get(register));

        let guest = kind == RegimeKind::El10;
        // HCR_EL2.DC turns a guest's stage 1 off and its stage 2 on; so does TGE turn both off.
        let stage1 = sctlr & sctlr::M != 0 && !(guest && hcr & (hcr::DC | hcr::TGE) != 0);
        let second = guest && hcr & (hcr::VM | hcr::DC) != 0 && hcr & hcr::TGE == 0;
        let two = kind.two_ranges();
        let half = |upper| Table::stage1(config, kind, tcr, if upper { ttbr1 } else { ttbr0 }, upper);
        let at = |lower: u32, upper: u32, single: u32| {
            if two { [bit(tcr, lower), bit(tcr, upper)] } else { [bit(tcr, single); 2] }
        };
        let e0pd = two && config.has(Features::E0PD);
        Self {
            kind,
            stage1,
            tables: [half(false), half(two)],
            stage2: second.then(|| Table::stage2(config, registers)),
            space: space(config, registers, kind, stage1, second, [tcr, ttbr0, ttbr1]),
            tbi: at(37, 38, 20),
            tbid: at(51, 52, 29),
            e0pd: [e0pd && bit(tcr, 55), e0pd && bit(tcr, 56)],
            sctlr,
            attributes: core::array::from_fn(|index| Attributes::of_mair(mair, index, sctlr)),
        }
    }
}

/// `HCR_EL2` as it acts: nothing without EL2, and only what the core implements.
pub(super) fn effective_hcr(config: &Config, registers: &Registers) -> u64 {
    if !config.has(Features::EL2) {
        return 0;
    }
    let mut hcr = registers.get(Register::HcrEl2);
    if !config.has(Features::VHE) {
        hcr &= !hcr::E2H;
    }
    if !config.has(Features::S2FWB) {
        hcr &= !hcr::FWB;
    }
    hcr
}

/// The VMID in use; 8 bits unless the core and `VTCR_EL2.VS` say 16.
pub(super) fn vmid(config: &Config, registers: &Registers) -> Vmid {
    if !config.has(Features::EL2) {
        return Vmid(0);
    }
    let wide = config.has(Features::VMID16) && bit(registers.get(Register::VtcrEl2), 19);
    let raw = registers.get(Register::VttbrEl2) >> 48;
    Vmid(if wide { raw } else { raw & 0xff } as u16)
}

/// The ASID in use: `TCR.A1` names the TTBR that holds it, `TCR.AS` its width.
fn space(
    config: &Config,
    registers: &Registers,
    kind: RegimeKind,
    stage1: bool,
    second: bool,
    [tcr, ttbr0, ttbr1]: [u64; 3],
) -> Space {
    let asid = if kind.two_ranges() && stage1 {
        let raw = if bit(tcr, 22) { ttbr1 } else { ttbr0 } >> 48;
        let wide = config.has(Features::ASID16) && bit(tcr, 36);
        Asid(if wide { raw } else { raw & 0xff } as u16)
    } else {
        Asid(0)
    };
    if kind != RegimeKind::El10 {
        return Space::new(kind.number(), Vmid(0), asid);
    }
    let number = match (stage1, second) {
        (_, false) => regime_number::STAGE1_ONLY,
        (true, true) => regime_number::BOTH,
        (false, true) => regime_number::STAGE2_ONLY,
    };
    Space::new(number, vmid(config, registers), asid)
}

impl Table {
    /// One half of a stage 1 regime.
    fn stage1(config: &Config, kind: RegimeKind, tcr: u64, ttbr: u64, upper: bool) -> Self {
        let two = kind.two_ranges();
        // TCR_EL1's layout, or that of the one-range registers (D24.2.191, .192).
        let at = |pair: (u32, u32), single: u32| match (two, upper) {
            (false, _) => single,
            (true, false) => pair.0,
            (true, true) => pair.1,
        };
        let flag = |pair, single| bit(tcr, at(pair, single));
        let granule = granule(config, field(tcr, at((14, 30), 14), 2), two && upper, false);
        let sizes = Sizes::new(
            config,
            granule,
            field(tcr, at((0, 16), 0), 6),
            field(tcr, at((32, 32), 16), 3),
            flag((59, 59), 32),
            false,
        );
        let hierarchical = !(config.has(Features::HPDS) && flag((41, 42), 24));
        let access_flag = config.has(Features::HAF) && flag((39, 39), 21);
        let dirty_state = access_flag && config.has(Features::HDBS) && flag((40, 40), 22);
        let format = Vmsa64::new(Shape {
            granule,
            input_bits: sizes.input_bits,
            top: Vmsa64::stage1_top(granule, sizes.input_bits),
            max_block: sizes.max_block(config),
            output_bits: sizes.output_bits,
            high: sizes.high_bits(config),
            hierarchical,
            style: Style::stage1(two, upper),
        });
        let (base, bad_base) = sizes.base(config, ttbr, &format);
        Self {
            format,
            base,
            bad_size: sizes.bad,
            bad_base,
            walks_off: two && flag((7, 23), 0),
            access_flag,
            dirty_state,
            share: field(tcr, at((12, 28), 12), 2) as u8,
        }
    }

    /// A guest's stage 2.
    fn stage2(config: &Config, registers: &Registers) -> Self {
        let vtcr = registers.get(Register::VtcrEl2);
        let granule = granule(config, field(vtcr, 14, 2), false, true);
        let sizes = Sizes::new(config, granule, field(vtcr, 0, 6), field(vtcr, 16, 3), bit(vtcr, 32), true);
        let start = stage2_start(config, &sizes, vtcr);
        let access_flag = config.has(Features::HAF) && bit(vtcr, 21);
        let dirty_state = access_flag && config.has(Features::HDBS) && bit(vtcr, 22);
        let format = Vmsa64::new(Shape {
            granule,
            input_bits: sizes.input_bits,
            top: start.unwrap_or(0),
            max_block: sizes.max_block(config),
            output_bits: sizes.output_bits,
            high: sizes.high_bits(config),
            hierarchical: false,
            style: Style::stage2(effective_hcr(config, registers) & hcr::FWB != 0),
        });
        let (base, bad_base) = sizes.base(config, registers.get(Register::VttbrEl2), &format);
        Self {
            format,
            base,
            bad_size: sizes.bad || start.is_none(),
            bad_base,
            walks_off: false,
            access_flag,
            dirty_state,
            share: field(vtcr, 12, 2) as u8,
        }
    }
}
