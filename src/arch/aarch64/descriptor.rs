//! VMSAv8-64 descriptors: the geometry of the three granules and what a 64-bit descriptor says (DDI 0487, D8.3).
//!
//! ```text
//!  63   59 58  55 54  53  52   51  50 49 ............ 12  11 10 9 8 7 6 5 4  2 1 0
//! | table | soft | XN|PXN|Cont|DBM|GP|  output address  | nG|AF| SH| AP|NS|Attr| 1|V|   stage 1 page
//! | attrs |      |  XN   |Cont|DBM|  |                  |   |AF| SH|S2AP| MemAttr| 1|V|   stage 2 page
//! ```
//!
//! Bit 1 clear makes a block (not at level 3, where it is reserved); above level 3, set, a table. With LPA2 (`DS` = 1)
//! the SH field holds OA\[51:50\] and bits 49:48 are address; with the 64 KiB granule and FEAT_LPA bits 15:12 hold
//! OA\[51:48\].
//!
//! The architecture counts levels downwards, from -1 or 0 to 3; the radix engine upwards from the leaf. [`arm_level`]
//! is the one place where they meet.

use crate::addr::low_mask;
use crate::radix::{Entry, Format};

bitflags::bitflags! {
    /// The bits of descriptors that are no part of an address.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct Descriptor: u64 {
        /// Valid.
        const VALID = 1;
        /// Table (levels -1 to 2) or page (level 3).
        const TABLE = 1 << 1;
        /// AP\[1\]: open to EL0.
        const AP1 = 1 << 6;
        /// AP\[2\]: read-only.
        const AP2 = 1 << 7;
        /// S2AP\[0\]: readable at stage 2.
        const S2_READ = 1 << 6;
        /// S2AP\[1\]: writable at stage 2.
        const S2_WRITE = 1 << 7;
        /// Access flag.
        const AF = 1 << 10;
        /// Not global.
        const NG = 1 << 11;
        /// Dirty Bit Modifier.
        const DBM = 1 << 51;
        /// One of a contiguous run.
        const CONTIGUOUS = 1 << 52;
        /// Privileged execute-never.
        const PXN = 1 << 53;
        /// Unprivileged execute-never; execute-never in regimes of one privilege.
        const UXN = 1 << 54;
        /// The first bit left to software, by convention (Linux's too) "dirty".
        const SOFTWARE_DIRTY = 1 << 55;
    }
}

/// What table descriptors impose on everything below them, as [`Format::limits`] accumulates it: bits 62:59 of the
/// descriptor (APTable\[1\], APTable\[0\], XNTable, PXNTable), moved down to bit 0.
pub(super) mod limit {
    pub(crate) const PXN: u64 = 1;
    pub(crate) const XN: u64 = 1 << 1;
    pub(crate) const AP0: u64 = 1 << 2;
    pub(crate) const AP1: u64 = 1 << 3;
    pub(crate) const ALL: u64 = 0xf;
}

/// A translation granule.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Granule {
    /// 4 KiB.
    K4 = 12,
    /// 16 KiB.
    K16 = 14,
    /// 64 KiB.
    K64 = 16,
}

impl Granule {
    /// log2 of its size in bytes.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u32 {
        self as u32
    }

    /// Address bits that one full table resolves.
    #[inline]
    #[must_use]
    pub const fn stride(self) -> u32 {
        self as u32 - 3
    }

    /// log2 of the number of entries that the Contiguous bit joins at an engine `level`; zero where it is reserved
    /// (D8.7.1).
    #[inline]
    #[must_use]
    pub const fn contiguous_bits(self, level: u32) -> u32 {
        match (self, level) {
            (Self::K4, 0..=2) => 4,
            (Self::K16, 0) => 7,
            (Self::K16, 1) | (Self::K64, 0 | 1) => 5,
            _ => 0,
        }
    }
}

/// The architecture's number of an engine level.
#[inline]
#[must_use]
pub const fn arm_level(engine: u32) -> i8 {
    3 - engine as i8
}

/// The engine's number of one of the architecture's levels (-1 to 3).
#[inline]
#[must_use]
pub const fn engine_level(arm: i8) -> u32 {
    (3 - arm) as u32
}

/// Where descriptors keep the bits of an output address that lie above bit 47.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HighBits {
    /// Nowhere: output addresses have at most 48 bits.
    None,
    /// FEAT_LPA, 64 KiB granule: OA\[51:48\] in bits 15:12.
    Lpa,
    /// FEAT_LPA2 (`DS` = 1), 4 and 16 KiB granules: OA\[49:48\] in place, OA\[51:50\] in bits 9:8.
    Lpa2,
    /// As [`Lpa2`](Self::Lpa2) while the output size is at most 48 bits and bits 9:8 are not looked at
    /// ([`Choices::high_bits_only_above_48`](super::Choices::high_bits_only_above_48)).
    Lpa2Low,
}

/// One stage's table format: granule, input size, start level, output size.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Vmsa64 {
    /// The bits of a descriptor that hold the address in place.
    field: u64,
    /// The bits that no output address has.
    pub(super) beyond: u64,
    pub(super) granule: Granule,
    /// log2 of the input address space.
    pub(super) input_bits: u8,
    /// Engine level of the start table.
    top: u8,
    /// Highest engine level that may hold blocks.
    pub(super) max_block: u8,
    /// The address bits elsewhere: a mask, where they stand and where they belong.
    moved: (u8, u8, u8),
    pub(super) high: HighBits,
    /// The bits of table descriptors that limit what is below, moved down by 59: none at stage 2 and with HPD.
    limits: u8,
    /// How entries are written; walking does not look at it.
    pub(super) style: super::edit::Style,
}

/// What a [`Vmsa64`] is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) granule: Granule,
    pub(super) input_bits: u32,
    /// Engine level of the start table.
    pub(super) top: u32,
    /// Highest engine level that may hold blocks.
    pub(super) max_block: u32,
    /// Output addresses must be below `2^output_bits`.
    pub(super) output_bits: u32,
    pub(super) high: HighBits,
    /// Whether table descriptors limit what is below them (stage 1 without HPD).
    pub(super) hierarchical: bool,
    pub(super) style: super::edit::Style,
}

impl Vmsa64 {
    /// The stage 1 format of the EL1&0 and EL2&0 regimes: one half of the address map, of `input_bits` bits, with 48-bit
    /// output addresses and without LPA2 or HPD. `None` unless `input_bits` is 16 to 48 (17 to 48
    /// for the 64 KiB granule).
    ///
    /// What registers set up otherwise, [`Aarch64::stage1_table`](super::Aarch64::stage1_table) tells.
    #[must_use]
    pub const fn el1(granule: Granule, input_bits: u32, upper: bool) -> Option<Self> {
        if input_bits > 48 || input_bits <= if matches!(granule, Granule::K64) { 16 } else { 15 } {
            return None;
        }
        Some(Self::new(Shape {
            granule,
            input_bits,
            top: Self::stage1_top(granule, input_bits),
            max_block: if matches!(granule, Granule::K4) { 2 } else { 1 },
            output_bits: 48,
            high: HighBits::None,
            hierarchical: true,
            style: super::edit::Style::stage1(true, upper),
        }))
    }

    pub(super) const fn new(shape: Shape) -> Self {
        let (in_place, moved) = match shape.high {
            HighBits::None => (48, (0, 0, 0)),
            HighBits::Lpa => (48, (0xf, 12, 48)),
            HighBits::Lpa2 => (50, (3, 8, 50)),
            HighBits::Lpa2Low => (50, (0, 0, 0)),
        };
        Self {
            field: low_mask(in_place) & !low_mask(shape.granule.bits()),
            beyond: !low_mask(shape.output_bits),
            granule: shape.granule,
            input_bits: shape.input_bits as u8,
            top: shape.top as u8,
            max_block: shape.max_block as u8,
            moved,
            high: shape.high,
            limits: if shape.hierarchical { limit::ALL as u8 } else { 0 },
            style: shape.style,
        }
    }

    /// The start level of a stage 1 walk over `input_bits`, as an engine level: as few levels as will do
    /// (`AArch64.S1StartLevel`).
    pub(super) const fn stage1_top(granule: Granule, input_bits: u32) -> u32 {
        (input_bits - granule.bits() - 1) / granule.stride()
    }

    /// The granule.
    #[must_use]
    pub const fn granule(&self) -> Granule {
        self.granule
    }

    /// log2 of the input address space.
    #[must_use]
    pub const fn input_bits(&self) -> u32 {
        self.input_bits as u32
    }

    /// The start level, as the architecture counts.
    #[must_use]
    pub const fn start_level(&self) -> i8 {
        arm_level(self.top as u32)
    }

    /// The whole address field of `raw`: of the next table, or of the leaf with bits below the leaf's size undefined.
    #[inline]
    pub(super) const fn address(&self, raw: u64) -> u64 {
        let (mask, from, to) = self.moved;
        raw & self.field | (raw >> from & mask as u64) << to
    }

    /// What table descriptors may limit, as [`limit`] numbers it.
    pub(super) const fn table_limits(&self) -> u64 {
        self.limits as u64
    }

    /// Whether an output address may be `address`.
    #[inline]
    pub(super) const fn reaches(&self, address: u64) -> bool {
        address & self.beyond == 0
    }

    /// The bits of a descriptor that hold its address.
    pub(super) const fn address_bits(&self) -> u64 {
        let (mask, from, _) = self.moved;
        self.field | (mask as u64) << from
    }

    /// The address field that says `base`.
    pub(super) const fn place(&self, base: u64) -> u64 {
        match self.high {
            HighBits::None => base,
            HighBits::Lpa => base & low_mask(48) | (base >> 48 & 0xf) << 12,
            HighBits::Lpa2 | HighBits::Lpa2Low => base & low_mask(50) | (base >> 50 & 3) << 8,
        }
    }

    /// log2 of the contiguous run that a leaf of `level` and `size_bits` belongs to; its own size without the
    /// Contiguous bit.
    #[inline]
    pub(super) fn run_bits(&self, raw: u64, level: u32, size_bits: u32) -> u32 {
        if raw & Descriptor::CONTIGUOUS.bits() == 0 {
            return size_bits;
        }
        // No run is larger than the address space that it lies in.
        let run = size_bits + self.granule.contiguous_bits(level);
        run.min(u32::from(self.input_bits).max(size_bits))
    }
}

impl Format for Vmsa64 {
    #[inline]
    fn pte_bytes(&self) -> u32 {
        8
    }

    #[inline]
    fn top_level(&self) -> u32 {
        u32::from(self.top)
    }

    #[inline]
    fn shift(&self, level: u32) -> u32 {
        self.granule.bits() + level * self.granule.stride()
    }

    /// The start table takes what is left of the input address: less than a full table, or more where stage 2
    /// concatenates up to sixteen (D8.2.5).
    #[inline]
    fn index_bits(&self, level: u32) -> u32 {
        if level == self.top_level() {
            u32::from(self.input_bits).saturating_sub(self.shift(level))
        } else {
            self.granule.stride()
        }
    }

    /// Encodings that are reserved raise Translation faults just as invalid ones do (D8.3.1), so both are
    /// [`Entry::Absent`]; [`Entry::Reserved`] is an output address beyond the output size (an Address size fault).
    #[inline(always)]
    fn decode(&self, raw: u64, level: u32) -> Entry {
        let kind = raw & (Descriptor::VALID | Descriptor::TABLE).bits();
        let block = kind == Descriptor::VALID.bits();
        if kind & 1 == 0 || block && (level == 0 || level > u32::from(self.max_block)) {
            return Entry::Absent;
        }
        let address = self.address(raw);
        if !self.reaches(address) {
            return Entry::Reserved;
        }
        if level > 0 && !block {
            return Entry::Table(address);
        }
        let size_bits = self.shift(level);
        Entry::Leaf { base: address & !low_mask(size_bits), size_bits }
    }

    #[inline]
    fn limits(&self, above: u64, raw: u64, _level: u32) -> u64 {
        above | raw >> 59 & u64::from(self.limits)
    }
}
