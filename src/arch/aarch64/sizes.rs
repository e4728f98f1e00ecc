//! What the size fields of a register come to: granule, input and output size, start level, base address (DDI 0487,
//! D8.2).

use super::config::{Config, Features, pa_size};
use super::descriptor::{Granule, HighBits, Vmsa64, engine_level};
use super::registers::{bit, field};
use crate::addr::low_mask;
use crate::radix::Format;

/// The granules of TG0 and of VTCR (`TG1` numbers them otherwise); a reserved or absent one acts as the smallest that
/// the core has.
pub(super) fn granule(config: &Config, code: u64, upper: bool, second_stage: bool) -> Granule {
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
pub(super) struct Sizes {
    pub(super) granule: Granule,
    /// LPA2 is in use.
    pub(super) ds: bool,
    pub(super) input_bits: u32,
    /// The size field is out of range and raises faults.
    pub(super) bad: bool,
    pub(super) output_bits: u32,
}

impl Sizes {
    pub(super) fn new(
        config: &Config,
        granule: Granule,
        txsz: u64,
        ps: u64,
        ds: bool,
        second_stage: bool,
    ) -> Self {
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
        // Where the minimum is what a later extension allows, less is a fault for certain.
        let strict = if second_stage { config.pa_bits == 52 } else { config.has(Features::LVA) };
        let bad = out_of_range && (config.choices.fault_on_bad_txsz || strict && txsz < minimum);
        // The output size: PS limited by what the core has, and by what descriptors of the format can hold.
        let asked = u32::from(pa_size(ps.min(6) as u8).unwrap_or(52));
        let holds = if ds || granule == Granule::K64 { 52 } else { 48 };
        let output_bits = asked.min(u32::from(config.pa_bits)).min(holds);
        Self { granule, ds, input_bits: 64 - txsz.clamp(minimum, maximum) as u32, bad, output_bits }
    }

    pub(super) fn high_bits(&self, config: &Config) -> HighBits {
        let look = self.output_bits > 48 || !config.choices.high_bits_only_above_48;
        match (self.granule, self.ds) {
            (Granule::K64, _) if config.pa_bits == 52 && look => HighBits::Lpa,
            (_, true) if look => HighBits::Lpa2,
            (_, true) => HighBits::Lpa2Low,
            _ => HighBits::None,
        }
    }

    /// The largest level that holds blocks (`AArch64.BlockDescSupported`).
    pub(super) fn max_block(&self, config: &Config) -> u32 {
        let arm = match self.granule {
            Granule::K4 if self.ds => 0,
            Granule::K4 => 1,
            Granule::K16 if self.ds => 1,
            Granule::K64 if config.pa_bits == 52 => 1,
            Granule::K16 | Granule::K64 => 2,
        };
        engine_level(arm)
    }

    /// The start table that `register` names, aligned as its size asks (`AArch64.S1TTBaseAddress`); and whether it lies
    /// beyond the output size.
    pub(super) fn base(&self, config: &Config, register: u64, format: &Vmsa64) -> (u64, bool) {
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

/// Stage 2's start level as an engine level, from SL0 and SL2; `None` where the fields cannot be, or do not go with
/// the input size (`AArch64.S2InvalidSL`, `AArch64.S2InconsistentSL`).
pub(super) fn stage2_start(config: &Config, sizes: &Sizes, vtcr: u64) -> Option<u32> {
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
        (Granule::K16, 3) if !sizes.ds || config.pa_bits < 52 => return None,
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
