//! What the emulated core implements: features as its ID registers announce them, and the choices that the
//! architecture leaves to an implementation.
//!
//! A [`Config`] never changes while a core runs; [`Registers`](super::Registers) do. It is made from the values of
//! `ID_AA64MMFR0_EL1` and its siblings (DDI 0487, D24.2), by hand or by a preset named after a real core.

bitflags::bitflags! {
    /// Features of the memory model, one bit each.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct Features: u32 {
        /// 16-bit ASIDs (`ASIDBits`).
        const ASID16 = 1;
        /// FEAT_VMID16: 16-bit VMIDs (`VMIDBits`).
        const VMID16 = 1 << 1;
        /// 4 KiB granule at stage 1 (`TGran4`).
        const GRANULE_4K = 1 << 2;
        /// 16 KiB granule at stage 1 (`TGran16`).
        const GRANULE_16K = 1 << 3;
        /// 64 KiB granule at stage 1 (`TGran64`).
        const GRANULE_64K = 1 << 4;
        /// 4 KiB granule at stage 2 (`TGran4_2`).
        const GRANULE_4K_S2 = 1 << 5;
        /// 16 KiB granule at stage 2 (`TGran16_2`).
        const GRANULE_16K_S2 = 1 << 6;
        /// 64 KiB granule at stage 2 (`TGran64_2`).
        const GRANULE_64K_S2 = 1 << 7;
        /// FEAT_LPA2 with the 4 KiB granule at stage 1.
        const LPA2_4K = 1 << 8;
        /// FEAT_LPA2 with the 16 KiB granule at stage 1.
        const LPA2_16K = 1 << 9;
        /// FEAT_LPA2 with the 4 KiB granule at stage 2.
        const LPA2_4K_S2 = 1 << 10;
        /// FEAT_LPA2 with the 16 KiB granule at stage 2.
        const LPA2_16K_S2 = 1 << 11;
        /// FEAT_LVA: 52-bit virtual addresses with the 64 KiB granule (`VARange`).
        const LVA = 1 << 12;
        /// FEAT_TTST: small translation tables (`ST`).
        const TTST = 1 << 13;
        /// FEAT_HAFDBS: hardware updates of the Access flag.
        const HAF = 1 << 14;
        /// FEAT_HAFDBS: hardware management of dirty state as well.
        const HDBS = 1 << 15;
        /// FEAT_HPDS: hierarchical permission disables.
        const HPDS = 1 << 16;
        /// FEAT_PAN: Privileged Access Never.
        const PAN = 1 << 17;
        /// FEAT_PAN3: `SCTLR_ELx.EPAN`.
        const PAN3 = 1 << 18;
        /// FEAT_UAO: User Access Override.
        const UAO = 1 << 19;
        /// FEAT_XNX: execute-never at stage 2 told apart for EL1 and EL0.
        const XNX = 1 << 20;
        /// FEAT_S2FWB: `HCR_EL2.FWB`.
        const S2FWB = 1 << 21;
        /// FEAT_E0PD: preventing EL0 access to halves of the address map.
        const E0PD = 1 << 22;
        /// FEAT_VHE: `HCR_EL2.E2H` and the EL2&0 regime.
        const VHE = 1 << 23;
        /// EL2 is implemented.
        const EL2 = 1 << 24;
        /// EL3 is implemented.
        const EL3 = 1 << 25;
    }
}

/// The ID registers that describe the memory model.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct IdRegisters {
    /// `ID_AA64MMFR0_EL1`.
    pub mmfr0: u64,
    /// `ID_AA64MMFR1_EL1`.
    pub mmfr1: u64,
    /// `ID_AA64MMFR2_EL1`.
    pub mmfr2: u64,
    /// `ID_AA64MMFR3_EL1`; zero before Armv8.9.
    pub mmfr3: u64,
}

/// Why a set of ID registers describes no core that this crate can emulate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnsupportedCore {
    /// `ID_AA64MMFR0_EL1.PARange` has a value without meaning here (FEAT_D128's 56 bits included).
    #[error("PARange {value:#x} names no physical address size of VMSAv8-64")]
    PaRange {
        /// The field's value.
        value: u8,
    },
    /// A feature of `ID_AA64MMFR3_EL1` that changes what descriptors mean and is not emulated.
    #[error("{feature} is not emulated (ID_AA64MMFR3_EL1 is {mmfr3:#x})")]
    Feature {
        /// Its architectural name.
        feature: &'static str,
        /// The register that announces it.
        mmfr3: u64,
    },
}

/// What the architecture leaves to the implementation (IMPLEMENTATION DEFINED, CONSTRAINED UNPREDICTABLE), and where
/// a widely used emulator reads the manual in its own way.
///
/// The default is the plainest reading of the manual's pseudocode; [`Choices::qemu`] is what QEMU does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Choices {
    /// A `TxSZ` out of range raises a level 0 Translation fault; otherwise it acts as the nearest value in range
    /// (IMPLEMENTATION DEFINED without FEAT_LVA, D8.2.1). Below the minimum, a core with FEAT_LVA faults anyway.
    pub fault_on_bad_txsz: bool,
    /// A TLB entry made from a leaf with the Contiguous bit covers the whole run (D8.7.1); otherwise each page
    /// has an entry of its own, and an invalidation anywhere in the run drops them all just the same.
    pub trust_contiguous: bool,
    /// With `HA`, the Access flag is set although the access then takes a Permission fault (`Unpredictable_AFUPDATE`).
    pub access_flag_despite_fault: bool,
    /// With `HD`, a clean leaf with DBM counts as writable for stores alone. The pseudocode
    /// (`AArch64.S1ApplyOutputPerms`) lets it count for WXN and for privileged fetches of EL0-writable pages too.
    pub dbm_for_stores_only: bool,
    /// The bits of descriptors and TTBRs that hold address bits above 49 (64 KiB granule: 48) away from the address field
    /// are looked at only when the effective output size exceeds 48 bits; otherwise they are part of the address
    /// whenever the format has them, and must be zero for a smaller output size.
    pub high_bits_only_above_48: bool,
    /// A 52-bit table of fewer than eight entries may stand at any multiple of its own size; otherwise the low six bits
    /// of its address count as zero.
    pub small_52bit_tables_unaligned: bool,
    /// WXN looks at the stores that PAN leaves, so that a privileged fetch passes where PAN closes the page to stores.
    /// In the pseudocode PAN does nothing to a fetch, WXN's part of it included.
    pub wxn_sees_pan: bool,
    /// `HCR_EL2.PTW` refuses a stage 1 descriptor in Device memory only after its stage 2 leaf was updated, and says
    /// level 0; otherwise it is one more permission of the leaf, at the leaf's level.
    pub walk_protection_last: bool,
    /// A fetch from Device memory takes a Permission fault, of the stage that makes it Device memory; otherwise it is an
    /// ordinary fetch (CONSTRAINED UNPREDICTABLE, K1.2).
    pub fault_on_device_fetch: bool,
    /// An access that crosses from a page of Normal memory into one of Device memory has the first page's type, and is
    /// carried out; otherwise each part has its own page's, and an Alignment fault reports the second page (CONSTRAINED
    /// UNPREDICTABLE, K1.2).
    pub crossing_keeps_type: bool,
    /// A write to TCR, MAIR or VTCR that changes the register drops its regime's cached translations. The architecture
    /// asks software for the TLBI; to do it early is always allowed.
    pub drop_on_control_write: bool,
}

impl Choices {
    /// The manual's pseudocode.
    pub const MANUAL: Self = Self {
        fault_on_bad_txsz: true,
        trust_contiguous: false,
        access_flag_despite_fault: false,
        dbm_for_stores_only: false,
        high_bits_only_above_48: false,
        small_52bit_tables_unaligned: false,
        wxn_sees_pan: false,
        walk_protection_last: false,
        fault_on_device_fetch: false,
        crossing_keeps_type: false,
        drop_on_control_write: true,
    };

    /// QEMU 10.0, as its `target/arm/ptw.c` behaves.
    #[must_use]
    pub const fn qemu() -> Self {
        Self {
            dbm_for_stores_only: true,
            high_bits_only_above_48: true,
            small_52bit_tables_unaligned: true,
            wxn_sees_pan: true,
            walk_protection_last: true,
            ..Self::MANUAL
        }
    }
}

impl Default for Choices {
    fn default() -> Self {
        Self::MANUAL
    }
}

/// A core: features, physical address size, choices.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Config {
    /// Features.
    pub features: Features,
    /// Width of physical addresses in bits, 32 to 52.
    pub pa_bits: u8,
    /// Implementation choices.
    pub choices: Choices,
}

impl Config {
    /// The core that the ID registers describe, with EL2 and EL3 and the manual's [choices](Choices::MANUAL).
    ///
    /// # Errors
    /// [`UnsupportedCore`] when the registers announce what changes descriptors in a way not emulated here:
    /// permission indirection (FEAT_S1PIE, FEAT_S2PIE), permission overlays (FEAT_S1POE, FEAT_S2POE), 128-bit
    /// descriptors (FEAT_D128).
    pub fn from_id_registers(id: &IdRegisters) -> Result<Self, UnsupportedCore> {
        let field = |register: u64, low: u32| (register >> low & 0xf) as u8;
        let unsupported = [
            (8, "FEAT_S1PIE"),
            (12, "FEAT_S2PIE"),
            (16, "FEAT_S1POE"),
            (20, "FEAT_S2POE"),
            (32, "FEAT_D128"),
        ];
        for (low, feature) in unsupported {
            if field(id.mmfr3, low) != 0 {
                return Err(UnsupportedCore::Feature { feature, mmfr3: id.mmfr3 });
            }
        }
        let pa_range = field(id.mmfr0, 0);
        let pa_bits = pa_size(pa_range).ok_or(UnsupportedCore::PaRange { value: pa_range })?;

        let mut features = Features::EL2 | Features::EL3;
        let (tgran4, tgran16, tgran64) = (field(id.mmfr0, 28), field(id.mmfr0, 20), field(id.mmfr0, 24));
        features.set(Features::GRANULE_4K, tgran4 != 0xf);
        features.set(Features::LPA2_4K, tgran4 == 1);
        features.set(Features::GRANULE_16K, tgran16 != 0);
        features.set(Features::LPA2_16K, tgran16 == 2);
        features.set(Features::GRANULE_64K, tgran64 != 0xf);
        // The stage 2 fields: 0 as stage 1, 1 absent, 2 present, 3 with 52 bits.
        let second = |value: u8, first: bool| if value == 0 { first } else { value >= 2 };
        let (tgran4_2, tgran16_2, tgran64_2) =
            (field(id.mmfr0, 40), field(id.mmfr0, 32), field(id.mmfr0, 36));
        features.set(Features::GRANULE_4K_S2, second(tgran4_2, tgran4 != 0xf));
        features.set(Features::LPA2_4K_S2, tgran4_2 == 3 || tgran4_2 == 0 && tgran4 == 1);
        features.set(Features::GRANULE_16K_S2, second(tgran16_2, tgran16 != 0));
        features.set(Features::LPA2_16K_S2, tgran16_2 == 3 || tgran16_2 == 0 && tgran16 == 2);
        features.set(Features::GRANULE_64K_S2, second(tgran64_2, tgran64 != 0xf));

        features.set(Features::ASID16, field(id.mmfr0, 4) == 2);
        features.set(Features::HAF, field(id.mmfr1, 0) >= 1);
        features.set(Features::HDBS, field(id.mmfr1, 0) >= 2);
        features.set(Features::VMID16, field(id.mmfr1, 4) == 2);
        features.set(Features::VHE, field(id.mmfr1, 8) >= 1);
        features.set(Features::HPDS, field(id.mmfr1, 12) >= 1);
        features.set(Features::PAN, field(id.mmfr1, 20) >= 1);
        features.set(Features::PAN3, field(id.mmfr1, 20) >= 3);
        features.set(Features::XNX, field(id.mmfr1, 28) >= 1);
        features.set(Features::UAO, field(id.mmfr2, 4) >= 1);
        features.set(Features::LVA, field(id.mmfr2, 16) >= 1);
        features.set(Features::TTST, field(id.mmfr2, 28) >= 1);
        features.set(Features::S2FWB, field(id.mmfr2, 40) >= 1);
        features.set(Features::E0PD, field(id.mmfr2, 60) >= 1);
        Ok(Self { features, pa_bits, choices: Choices::MANUAL })
    }

    /// Everything that this crate emulates, with 52-bit addresses everywhere.
    pub const FULL: Self = Self { features: Features::all(), pa_bits: 52, choices: Choices::MANUAL };

    /// Cortex-A53 (its TRM's reset values: 40-bit addresses, no 16 KiB granule, Armv8.0).
    pub const CORTEX_A53: Self = Self {
        features: Features::ASID16
            .union(Features::GRANULE_4K)
            .union(Features::GRANULE_64K)
            .union(Features::GRANULE_4K_S2)
            .union(Features::GRANULE_64K_S2)
            .union(Features::EL2)
            .union(Features::EL3),
        pa_bits: 40,
        choices: Choices { trust_contiguous: true, ..Choices::MANUAL },
    };

    /// Cortex-A72: as Cortex-A53 with 44-bit addresses.
    pub const CORTEX_A72: Self = Self { pa_bits: 44, ..Self::CORTEX_A53 };

    /// Neoverse N1: Armv8.2 with VHE, HAFDBS, PAN2, XNX, UAO, 48-bit addresses and all granules.
    pub const NEOVERSE_N1: Self = Self {
        features: Self::CORTEX_A53
            .features
            .union(Features::GRANULE_16K)
            .union(Features::GRANULE_16K_S2)
            .union(Features::VMID16)
            .union(Features::HAF)
            .union(Features::HDBS)
            .union(Features::HPDS)
            .union(Features::PAN)
            .union(Features::XNX)
            .union(Features::UAO)
            .union(Features::VHE),
        pa_bits: 48,
        choices: Choices { trust_contiguous: true, ..Choices::MANUAL },
    };

    /// The same core with other choices.
    #[must_use]
    pub const fn with_choices(self, choices: Choices) -> Self {
        Self { choices, ..self }
    }

    /// Whether all of `features` are there.
    #[inline]
    #[must_use]
    pub const fn has(&self, features: Features) -> bool {
        self.features.contains(features)
    }
}

/// The address size in bits that a PARange, IPS or PS field of `value` names; `None` for reserved values.
#[must_use]
pub(super) const fn pa_size(value: u8) -> Option<u8> {
    Some(match value {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        5 => 48,
        6 => 52,
        _ => return None,
    })
}
