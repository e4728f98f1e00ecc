//! A translation regime as its registers set it up: which tables, in which format, for which half of the address
//! map (DDI 0487, D8.2; `AArch64.GetS1TTWParams`, `AArch64.GetS2TTWParams`).
//!
//! Everything here is worked out once when a register changes; walks and lookups only read it.

use super::config::{Config, Features, pa_size};
use super::descriptor::{Granule, HighBits, Vmsa64, engine_level};
use super::edit::Style;
use super::registers::{ExceptionLevel, Pstate, Register, Registers, bit, field, hcr, sctlr};
use crate::addr::{Asid, Vmid, low_mask};
use crate::radix::Format;
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
    pub(super) mair: u64,
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
            mair,
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

/// The granules of TG0 and of VTCR (`TG1` numbers them otherwise); a reserved or absent one acts as the smallest that
/// the core has.
fn granule(config: &Config, code: u64, upper: bool, second_stage: bool) -> Granule {
    let asked = match (code, upper) {
        (0, false) | (2, true) => Some(Granule::K4),
        (2, false) | (1, true) => Some(Granule::K16),
        (1, false) | (3, true) => Some(Granule::K64),
        _ => None,
    };
    let present = |granule: Granule| {
        config.has(match (granule, second_stage) {
            (Granule::K4, false) => Features::GRANULE_4K,
            (Granule::K16, false) => Features::GRANULE_16K,
            (Granule::K64, false) => Features::GRANULE_64K,
            (Granule::K4, true) => Features::GRANULE_4K_S2,
            (Granule::K16, true) => Features::GRANULE_16K_S2,
            (Granule::K64, true) => Features::GRANULE_64K_S2,
        })
    };
    let all = [asked.unwrap_or(Granule::K4), Granule::K4, Granule::K16, Granule::K64];
    all.into_iter().find(|&granule| present(granule)).unwrap_or(Granule::K4)
}

/// What a register's size fields come to.
struct Sizes {
    granule: Granule,
    /// LPA2 is in use.
    ds: bool,
    input_bits: u32,
    /// The size field is out of range and raises faults.
    bad: bool,
    output_bits: u32,
}

impl Sizes {
    fn new(config: &Config, granule: Granule, txsz: u64, ps: u64, ds: bool, second_stage: bool) -> Self {
        let lpa2 = match (granule, second_stage) {
            (Granule::K4, false) => Features::LPA2_4K,
            (Granule::K4, true) => Features::LPA2_4K_S2,
            (Granule::K16, false) => Features::LPA2_16K,
            (Granule::K16, true) => Features::LPA2_16K_S2,
            (Granule::K64, _) => Features::empty(),
        };
        let ds = ds && granule != Granule::K64 && config.has(lpa2);
        // D8.2.1: TxSZ's bounds (AArch64.S1MinTxSZ, AArch64.MaxTxSZ).
        let large = ds || granule == Granule::K64 && config.has(Features::LVA);
        let limit = if large { 52 } else { 48 };
        // Stage 2's input is no larger than physical addresses (AArch64.S2MinTxSZ).
        let minimum = 64 - u64::from(if second_stage { config.pa_bits.min(limit) } else { limit });
        let maximum = match (config.has(Features::TTST), granule) {
            (false, _) => 39,
            (true, Granule::K64) => 47,
            (true, _) => 48,
        };
        let out_of_range = txsz < minimum || txsz > maximum;
        let bad =
            out_of_range && (config.choices.fault_on_bad_txsz || config.has(Features::LVA) && txsz < minimum);
        // The output size: PS limited by what the core has, and by what descriptors of the format can hold.
        let asked = u32::from(pa_size(ps.min(6) as u8).unwrap_or(52));
        let holds = if ds || granule == Granule::K64 { 52 } else { 48 };
        let output_bits = asked.min(u32::from(config.pa_bits)).min(holds);
        Self { granule, ds, input_bits: 64 - txsz.clamp(minimum, maximum) as u32, bad, output_bits }
    }

    fn high_bits(&self, config: &Config) -> HighBits {
        let look = self.output_bits > 48 || !config.choices.high_bits_only_above_48;
        match (self.granule, self.ds) {
            (Granule::K64, _) if config.pa_bits == 52 && look => HighBits::Lpa,
            (_, true) if look => HighBits::Lpa2,
            (_, true) => HighBits::Lpa2Low,
            _ => HighBits::None,
        }
    }

    /// The largest level that holds blocks (`AArch64.BlockDescSupported`).
    fn max_block(&self, config: &Config) -> u8 {
        let arm = match self.granule {
            Granule::K4 if self.ds => 0,
            Granule::K4 => 1,
            Granule::K16 if self.ds => 1,
            Granule::K64 if config.pa_bits == 52 => 1,
            Granule::K16 | Granule::K64 => 2,
        };
        engine_level(arm) as u8
    }

    /// The start table that `register` names, aligned as its size asks (`AArch64.S1TTBaseAddress`); and whether it lies
    /// beyond the output size.
    fn base(&self, config: &Config, register: u64, format: &Vmsa64) -> (u64, bool) {
        let mut align = format.table_bits(format.top_level());
        let mut base = register & low_mask(48);
        let wide = self.ds || self.granule == Granule::K64 && self.output_bits == 52;
        if wide && (self.output_bits > 48 || !config.choices.high_bits_only_above_48) {
            if !config.choices.small_52bit_tables_unaligned {
                align = align.max(6);
            }
            base |= field(register, 2, 4) << 48;
        }
        // The unaligned low bits count as zero, also when judging the size.
        let base = base & !low_mask(align);
        (base, base >> self.output_bits != 0)
    }
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
        let format = Vmsa64 {
            granule,
            input_bits: sizes.input_bits as u8,
            top: Vmsa64::stage1_top(granule, sizes.input_bits) as u8,
            max_block: sizes.max_block(config),
            output_bits: sizes.output_bits as u8,
            high: sizes.high_bits(config),
            hierarchical,
            style: Style::stage1(two, upper, dirty_state),
        };
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
        let format = Vmsa64 {
            granule,
            input_bits: sizes.input_bits as u8,
            top: start.unwrap_or(0) as u8,
            max_block: sizes.max_block(config),
            output_bits: sizes.output_bits as u8,
            high: sizes.high_bits(config),
            hierarchical: false,
            style: Style::stage2(effective_hcr(config, registers) & hcr::FWB != 0, dirty_state),
        };
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

/// Stage 2's start level as an engine level, from SL0 and SL2; `None` where the fields cannot be, or do not go with
/// the input size (`AArch64.S2InvalidSL`, `AArch64.S2InconsistentSL`).
fn stage2_start(config: &Config, sizes: &Sizes, vtcr: u64) -> Option<u32> {
    let (sl0, sl2) = (field(vtcr, 6, 2), bit(vtcr, 33));
    let level: i8 = match (sizes.granule, sl0) {
        (Granule::K4, _) if sizes.ds && sl2 => {
            if sl0 != 0 {
                return None;
            }
            -1
        }
        (Granule::K4, 2) if config.pa_bits < 44 => return None,
        (Granule::K4, 3) if !config.has(Features::TTST) => return None,
        (Granule::K4, 3) => 3,
        (Granule::K4, sl0) => 2 - sl0 as i8,
        (Granule::K16, 2) if config.pa_bits < 42 => return None,
        (Granule::K16, 3) if !sizes.ds => return None,
        (Granule::K64, 2) if config.pa_bits < 44 => return None,
        (Granule::K64, 3) => return None,
        (Granule::K16 | Granule::K64, sl0) => 3 - sl0 as i8,
    };
    let top = engine_level(level);
    // At least one bit is left for the start level, and at most sixteen full tables are joined there.
    let below = sizes.granule.bits() + top * sizes.granule.stride();
    let consistent = sizes.input_bits > below && sizes.input_bits <= below + sizes.granule.stride() + 4;
    consistent.then_some(top)
}
