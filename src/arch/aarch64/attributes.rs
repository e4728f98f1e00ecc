//! Memory types: MAIR attributes, stage 2's MemAttr, how they combine, and shareability (DDI 0487, D8.6).
//!
//! A TLB entry carries the combined result in MAIR's own encoding, with the shareability above it.

use super::descriptor::HighBits;
use super::registers::{bit, hcr, sctlr};

/// How far coherence goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Shareability {
    /// This core alone.
    NonShareable,
    /// The outer domain.
    OuterShareable,
    /// The inner domain.
    InnerShareable,
}

/// Cacheability of Normal memory at one level.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cacheability {
    /// Not cached.
    NonCacheable,
    /// Write-Through.
    WriteThrough {
        /// Allocate on reads.
        read_allocate: bool,
        /// Allocate on writes.
        write_allocate: bool,
        /// Transient.
        transient: bool,
    },
    /// Write-Back.
    WriteBack {
        /// Allocate on reads.
        read_allocate: bool,
        /// Allocate on writes.
        write_allocate: bool,
        /// Transient.
        transient: bool,
    },
}

/// The memory type of a translation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MemoryType {
    /// Device memory, always Outer Shareable.
    Device {
        /// Gathering allowed.
        gathering: bool,
        /// Reordering allowed.
        reordering: bool,
        /// Early write acknowledgement allowed.
        early_ack: bool,
    },
    /// Normal memory.
    Normal {
        /// Inner cacheability.
        inner: Cacheability,
        /// Outer cacheability.
        outer: Cacheability,
        /// Shareability.
        shareability: Shareability,
        /// Tagged (FEAT_MTE2).
        tagged: bool,
    },
}

/// An attribute byte as MAIR holds it, with SH in bits 9:8.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Attributes(pub(super) u16);

const NON_CACHEABLE: u8 = 0x44;
const WRITE_BACK: u8 = 0xff;
const TAGGED: u8 = 0xf0;
const OUTER: u8 = 2;
const INNER: u8 = 3;

impl Attributes {
    /// Device-nGnRnE.
    pub(super) const DEVICE: Self = Self::new(0, OUTER);

    const fn new(attr: u8, share: u8) -> Self {
        Self((share as u16) << 8 | attr as u16)
    }

    /// With the shareability that counts in the end: Device memory and memory that no cache holds are always Outer
    /// Shareable. Whether that is applied before stage 2 has its say is IMPLEMENTATION DEFINED; here it is not.
    pub(super) const fn effective(self) -> Self {
        let uncached = self.is_device() || matches!(self.attr(), NON_CACHEABLE | 0x40);
        if uncached { Self::new(self.attr(), OUTER) } else { self }
    }

    const fn attr(self) -> u8 {
        self.0 as u8
    }

    const fn share(self) -> u8 {
        (self.0 >> 8 & 3) as u8
    }

    /// Whether this is any type of Device memory.
    #[inline]
    pub(super) const fn is_device(self) -> bool {
        self.0 & 0xf0 == 0
    }

    /// An entry of MAIR, with caches on or off (`SCTLR_ELx.C`) and no shareability yet.
    pub(super) fn of_mair(mair: u64, index: usize, control: u64) -> Self {
        let attr = (mair >> (index * 8)) as u8;
        // Encodings 0b0000dd1x and 0bxxxx0000 have no meaning; they act as the nearest Device type and as Non-cacheable.
        let attr = match attr {
            device if device & 0xf0 == 0 => device & 0xc,
            TAGGED => TAGGED,
            _ if control & sctlr::C == 0 => NON_CACHEABLE,
            normal if normal & 0xf == 0 => normal & 0xf0 | 4,
            normal => normal,
        };
        Self::new(attr, 0)
    }

    /// What a stage 1 leaf says, given MAIR's entries. `default_share` is TCR's SH field, which counts where
    /// descriptors have none.
    #[inline]
    pub(super) fn stage1(raw: u64, entries: &[Self; 8], high: HighBits, default_share: u8) -> Self {
        let share = match high {
            HighBits::Lpa2 | HighBits::Lpa2Low => u16::from(default_share),
            HighBits::None | HighBits::Lpa => (raw >> 8 & 3) as u16,
        };
        Self(entries[(raw >> 2 & 7) as usize].0 | share << 8)
    }

    /// What stage 1 says while it is off (`AArch64.S1DisabledOutput`): Device-nGnRnE, or what `HCR_EL2.DC` asks for.
    pub(super) const fn stage1_off(hcr: u64) -> Self {
        if hcr & hcr::DC == 0 {
            Self::DEVICE
        } else if hcr & hcr::DCT != 0 {
            Self::new(TAGGED, 0)
        } else {
            Self::new(WRITE_BACK, 0)
        }
    }

    /// A fetch's attributes while stage 1 is off: Normal, Write-Through if `SCTLR_ELx.I` says so.
    pub(super) const fn fetch_off(control: u64) -> Self {
        if control & sctlr::I != 0 { Self::new(0xee, OUTER) } else { Self::new(NON_CACHEABLE, OUTER) }
    }

    /// Combined with what a stage 2 leaf says (D8.6.5, with FEAT_S2FWB D8.6.6).
    #[inline]
    pub(super) fn with_stage2(self, raw: u64, high: HighBits, default_share: u8, hcr: u64) -> Self {
        let share2 = match high {
            HighBits::Lpa2 | HighBits::Lpa2Low => default_share,
            HighBits::None | HighBits::Lpa => (raw >> 8 & 3) as u8,
        };
        let share = match (self.share(), share2) {
            (OUTER, _) | (_, OUTER) => OUTER,
            (INNER, _) | (_, INNER) => INNER,
            _ => 0,
        };
        let mem_attr = (raw >> 2 & 0xf) as u8;
        // Write-Back at stage 2 leaves all types as they are.
        let attr = if mem_attr == 0xf && hcr & (hcr::FWB | hcr::CD) == 0 {
            self.attr()
        } else {
            self.type_with_stage2(mem_attr, hcr)
        };
        Self::new(attr, share).effective()
    }

    fn type_with_stage2(self, mem_attr: u8, hcr: u64) -> u8 {
        let untagged = if self.attr() == TAGGED { WRITE_BACK } else { self.attr() };
        let attr = if hcr & hcr::FWB != 0 {
            forced(untagged, mem_attr)
        } else {
            combined(untagged, stage2_as_mair(mem_attr, hcr & hcr::CD != 0))
        };
        if self.attr() == TAGGED && attr == WRITE_BACK { TAGGED } else { attr }
    }

    /// In words.
    pub(super) fn memory_type(self) -> MemoryType {
        let attr = u64::from(self.attr());
        if self.is_device() {
            // 00 nGnRnE, 01 nGnRE, 10 nGRE, 11 GRE.
            let kind = attr >> 2;
            return MemoryType::Device { gathering: kind == 3, reordering: kind >= 2, early_ack: kind >= 1 };
        }
        let tagged = self.attr() == TAGGED;
        let attr = if tagged { u64::from(WRITE_BACK) } else { attr };
        let shareability = match self.share() {
            OUTER => Shareability::OuterShareable,
            INNER => Shareability::InnerShareable,
            _ => Shareability::NonShareable,
        };
        MemoryType::Normal {
            inner: cacheability(attr & 0xf),
            outer: cacheability(attr >> 4),
            shareability,
            tagged,
        }
    }
}

/// MAIR's four bits for one level of cache.
fn cacheability(nibble: u64) -> Cacheability {
    let (read_allocate, write_allocate) = (bit(nibble, 1), bit(nibble, 0));
    match nibble >> 2 {
        _ if nibble == 0 || nibble == 4 => Cacheability::NonCacheable,
        0 => Cacheability::WriteThrough { read_allocate, write_allocate, transient: true },
        1 => Cacheability::WriteBack { read_allocate, write_allocate, transient: true },
        2 => Cacheability::WriteThrough { read_allocate, write_allocate, transient: false },
        _ => Cacheability::WriteBack { read_allocate, write_allocate, transient: false },
    }
}

/// Stage 2's four bits in MAIR's encoding, allocating everywhere: stage 2 has no hints.
fn stage2_as_mair(mem_attr: u8, caches_off: bool) -> u8 {
    let level = |two: u8| match two {
        2 => 0xb,
        3 => 0xf,
        _ => 4,
    };
    match mem_attr >> 2 {
        0 => (mem_attr & 3) << 2,
        _ if caches_off => NON_CACHEABLE,
        outer => level(outer) << 4 | level(mem_attr & 3),
    }
}

/// The weaker of both stages: Device over Normal, then Non-cacheable, Write-Through, Write-Back; hints are stage 1's.
fn combined(first: u8, second: u8) -> u8 {
    let device = |attr: u8| attr & 0xf0 == 0;
    match (device(first), device(second)) {
        (true, true) => first.min(second),
        (true, false) => first,
        (false, true) => second,
        (false, false) => level(first >> 4, second >> 4) << 4 | level(first & 0xf, second & 0xf),
    }
}

/// One level of [`combined`] Normal memory.
fn level(first: u8, second: u8) -> u8 {
    let write_through = |nibble: u8| nibble >> 2 == 0 || nibble >> 2 == 2;
    if first == 4 || second == 4 {
        4
    } else if write_through(second) && !write_through(first) {
        8 | first & 3
    } else {
        first
    }
}

/// `HCR_EL2.FWB`: stage 2 decides, unless it says "as stage 1" (MemAttr 0b0111).
fn forced(first: u8, mem_attr: u8) -> u8 {
    let device = first & 0xf0 == 0;
    let write_back = |nibble: u8| if nibble == 4 { 0xf } else { nibble | 4 };
    match mem_attr & 7 {
        7 => first,
        6 if device => WRITE_BACK,
        6 => write_back(first >> 4) << 4 | write_back(first & 0xf),
        5 if device => first,
        5 => NON_CACHEABLE,
        // 0b0100 is reserved; it acts as the strictest Device type.
        4 => 0,
        kind => kind << 2,
    }
}
