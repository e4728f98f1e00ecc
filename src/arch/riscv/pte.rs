//! Page-table entries and the formats made of them: Sv32, Sv39, Sv48, Sv57 and their x4 second stages.
//!
//! ```text
//!  63 62 61 60    54 53                          10  9 8 7 6 5 4 3 2 1 0
//! +--+-----+--------+------------------------------+----+-+-+-+-+-+-+-+-+
//! |N | PBMT|reserved|             PPN              |RSW |D|A|G|U|X|W|R|V|   Sv39, Sv48, Sv57
//! +--+-----+--------+------------------------------+----+-+-+-+-+-+-+-+-+
//! ```
//!
//! Sv32 has the low 32 bits of this and nothing above. One type, [`Sv`], serves all of them, its number of levels a
//! constant, so that each mode's walk is compiled for itself. What the machine and `xenvcfg` make of the high bits is
//! a [`PteRules`], the only thing that a format carries at run time.

use super::config::{Config, Extensions, Xlen};
use super::csr::envcfg;
use crate::addr::{PhysAddr, low_mask};
use crate::radix::{Encode, EncodeError, Entry, Format, LeafTest, Perms};

bitflags::bitflags! {
    /// The bits of a page-table entry, its PPN aside.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct PteFlags: u64 {
        /// Valid.
        const V = 1;
        /// Readable.
        const R = 1 << 1;
        /// Writable; alone among R, W and X: a shadow-stack page.
        const W = 1 << 2;
        /// Executable.
        const X = 1 << 3;
        /// User page.
        const U = 1 << 4;
        /// Global.
        const G = 1 << 5;
        /// Accessed.
        const A = 1 << 6;
        /// Dirty.
        const D = 1 << 7;
        /// For software, two bits.
        const RSW = 3 << 8;
        /// Svrsw60t59b: two more bits for software.
        const RSW60T59 = 3 << 59;
        /// Svpbmt: non-cacheable main memory.
        const NC = 1 << 61;
        /// Svpbmt: I/O.
        const IO = 1 << 62;
        /// Svnapot: one of 16 entries that make a 64 KiB page.
        const N = 1 << 63;
    }
}

const V: u64 = PteFlags::V.bits();
const R: u64 = PteFlags::R.bits();
const W: u64 = PteFlags::W.bits();
const X: u64 = PteFlags::X.bits();
const RWX: u64 = R | W | X;
pub(super) const U: u64 = PteFlags::U.bits();
pub(super) const G: u64 = PteFlags::G.bits();
pub(super) const A: u64 = PteFlags::A.bits();
pub(super) const D: u64 = PteFlags::D.bits();
const N: u64 = PteFlags::N.bits();
const PBMT: u64 = PteFlags::NC.bits() | PteFlags::IO.bits();
const RSW60T59: u64 = PteFlags::RSW60T59.bits();
/// Bits 63 to 54: all that lies above the PPN.
const HIGH: u64 = !low_mask(54);

/// The memory type that Svpbmt gives a page.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MemoryType {
    /// Whatever the physical memory attributes say.
    Pma,
    /// Non-cacheable, idempotent, weakly ordered main memory.
    Nc,
    /// Non-cacheable, non-idempotent, strongly ordered I/O.
    Io,
}

impl MemoryType {
    pub(super) const fn from_attr(attr: u16) -> Self {
        match attr {
            1 => Self::Nc,
            2 => Self::Io,
            _ => Self::Pma,
        }
    }
}

/// The PBMT field of an entry: 0 PMA, 1 NC, 2 IO. (Its bits lie outside an Sv32 entry.)
#[inline]
pub(super) const fn pbmt(raw: u64) -> u16 {
    (raw >> 61 & 3) as u16
}

/// Which bits of an entry mean something on this machine, at this moment, for one of the stages.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PteRules {
    /// Of a valid leaf, these bits are V alone: V, and what is reserved.
    leaf: u64,
    /// Of a valid table entry, these bits are V alone: those, R, W and X, and what only leaves may have.
    table: u64,
    /// Whether `xwr` = 010 is a shadow-stack page rather than reserved.
    shadow: bool,
}

impl PteRules {
    /// The rules for a stage governed by `envcfg` (`menvcfg` for `satp` and `hgatp`, `henvcfg` for `vsatp`).
    /// `shadow`: whether the stage can hold shadow-stack pages (the second cannot).
    #[must_use]
    pub const fn new(config: &Config, envcfg: u64, shadow: bool) -> Self {
        let ext = config.extensions;
        let mut reserved = HIGH;
        if ext.contains(Extensions::SVNAPOT) {
            reserved &= !N;
        }
        if ext.contains(Extensions::SVPBMT) && envcfg & envcfg::PBMTE != 0 {
            reserved &= !PBMT;
        }
        if ext.contains(Extensions::SVRSW60T59B) {
            reserved &= !RSW60T59;
        }
        if matches!(config.xlen, Xlen::Rv32) {
            reserved = 0;
        }
        let shadow = shadow && ext.contains(Extensions::ZICFISS) && envcfg & envcfg::SSE != 0;
        Self { leaf: V | reserved, table: V | reserved | RWX | A | D | U | N | PBMT, shadow }
    }
}

impl PteRules {
    /// The bits of a valid leaf that are V alone.
    #[inline]
    pub(super) const fn leaf(&self) -> u64 {
        self.leaf
    }

    /// The bits of an entry that points at a table that are V alone.
    #[inline]
    pub(super) const fn table(&self) -> u64 {
        self.table
    }
}

impl Default for PteRules {
    /// An RV64 machine with Svnapot, and with Svpbmt enabled.
    fn default() -> Self {
        Self::new(&Config::rv64(), envcfg::PBMTE, false)
    }
}

/// A RISC-V page-table format of `LEVELS` levels, whose root has `WIDE` more index bits than the other tables: 0, or
/// 2 for a second stage (Sv32x4 and so on).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Sv<const LEVELS: u32, const WIDE: u32 = 0> {
    rules: PteRules,
}

/// 32-bit addresses, two levels of 4-byte entries (privileged manual, "Sv32").
pub type Sv32 = Sv<2>;
/// 39-bit addresses, three levels (privileged manual, "Sv39").
pub type Sv39 = Sv<3>;
/// 48-bit addresses, four levels (privileged manual, "Sv48").
pub type Sv48 = Sv<4>;
/// 57-bit addresses, five levels (privileged manual, "Sv57").
pub type Sv57 = Sv<5>;
/// 34-bit guest-physical addresses (privileged manual, "Guest Physical Address Translation").
pub type Sv32x4 = Sv<2, 2>;
/// 41-bit guest-physical addresses.
pub type Sv39x4 = Sv<3, 2>;
/// 50-bit guest-physical addresses.
pub type Sv48x4 = Sv<4, 2>;
/// 59-bit guest-physical addresses.
pub type Sv57x4 = Sv<5, 2>;

impl<const LEVELS: u32, const WIDE: u32> Sv<LEVELS, WIDE> {
    const INDEX_BITS: u32 = {
        assert!(LEVELS >= 2 && LEVELS <= 5 && (WIDE == 0 || WIDE == 2), "not a RISC-V paging mode");
        if LEVELS == 2 { 10 } else { 9 }
    };
    const PPN_BITS: u32 = if LEVELS == 2 { 22 } else { 44 };
    /// How many low bits of an address are translated.
    pub(super) const VA_BITS: u32 = 12 + LEVELS * Self::INDEX_BITS + WIDE;
    const PBMT: u64 = if LEVELS == 2 { 0 } else { PBMT };

    /// The format under these rules.
    #[inline]
    #[must_use]
    pub const fn new(rules: PteRules) -> Self {
        Self { rules }
    }

    /// The PPN field, in place as an address.
    #[inline]
    pub(super) const fn address(raw: u64) -> u64 {
        (raw >> 10 & low_mask(Self::PPN_BITS)) << 12
    }

    fn ppn(base: PhysAddr, span_bits: u32, level: u32) -> Result<u64, EncodeError> {
        if base.0 >> 12 > low_mask(Self::PPN_BITS) || !base.is_aligned(span_bits) {
            return Err(EncodeError::Address { base, level });
        }
        Ok(base.0 >> 12 << 10)
    }

    /// The leaf entry for one of the sixteen 4 KiB slots of a 64 KiB page at `base` (Svnapot); all sixteen are alike.
    ///
    /// # Errors
    /// [`EncodeError::Address`] when `base` is not 64 KiB-aligned or too large, [`EncodeError::Level`] where N is
    /// reserved, [`EncodeError::Perms`].
    pub fn encode_napot(&self, base: PhysAddr, perms: Perms) -> Result<u64, EncodeError> {
        if LEVELS == 2 || self.rules.leaf & N != 0 {
            return Err(EncodeError::Level { level: 0 });
        }
        Ok(Self::ppn(base, 16, 0)? | 8 << 10 | N | self.leaf_flags(perms)?)
    }

    /// The flags of a leaf with just these rights.
    fn leaf_flags(&self, perms: Perms) -> Result<u64, EncodeError> {
        const PAIRS: [(Perms, u64); 7] = [
            (Perms::READ, R),
            (Perms::WRITE, W),
            (Perms::EXECUTE, X),
            (Perms::USER, U),
            (Perms::GLOBAL, G),
            (Perms::ACCESSED, A),
            (Perms::DIRTY, D),
        ];
        let mut flags = V;
        for (perm, flag) in PAIRS {
            if perms.contains(perm) {
                flags |= flag;
            }
        }
        if perms.contains(Perms::DEVICE) {
            flags |= PteFlags::IO.bits();
        }
        // No rights at all would be a table, W without R is reserved, and G-stage entries have no global bit.
        let refused = flags & RWX == 0
            || flags & (R | W) == W
            || WIDE != 0 && flags & G != 0
            || flags & PBMT & (self.rules.leaf | !Self::PBMT) != 0;
        if refused { Err(EncodeError::Perms { perms }) } else { Ok(flags) }
    }
}

impl<const LEVELS: u32, const WIDE: u32> Format for Sv<LEVELS, WIDE> {
    #[inline]
    fn pte_bytes(&self) -> u32 {
        if LEVELS == 2 { 4 } else { 8 }
    }

    #[inline]
    fn top_level(&self) -> u32 {
        LEVELS - 1
    }

    #[inline]
    fn shift(&self, level: u32) -> u32 {
        12 + level * Self::INDEX_BITS
    }

    #[inline]
    fn index_bits(&self, level: u32) -> u32 {
        if level == LEVELS - 1 { Self::INDEX_BITS + WIDE } else { Self::INDEX_BITS }
    }

    /// Steps 3, 4 and 6 of "Virtual Address Translation Process": what is reserved is refused whatever the rights.
    #[inline(always)]
    fn decode(&self, raw: u64, level: u32) -> Entry {
        let base = Self::address(raw);
        if level > 0 && raw & self.rules.table == V {
            return Entry::Table(base);
        }
        if raw & self.rules.leaf != V || raw & RWX == 0 {
            return if raw & V == 0 { Entry::Absent } else { Entry::Reserved };
        }
        let span_bits = self.shift(level);
        let without_read = raw & (R | W) == W && (raw & X != 0 || !self.rules.shadow);
        if without_read || base & low_mask(span_bits) != 0 {
            return Entry::Reserved;
        }
        if LEVELS > 2 && raw & (N | PBMT) != 0 {
            if raw & PBMT == PBMT {
                return Entry::Reserved;
            }
            if raw & N != 0 {
                // Svnapot: only 64 KiB runs of level-0 entries, marked by PPN[3:0] = 1000.
                let slot = base >> 12 & 0xf;
                return if level == 0 && slot == 8 {
                    Entry::Leaf { base: base & !0xffff, size_bits: 16 }
                } else {
                    Entry::Reserved
                };
            }
        }
        Entry::Leaf { base, size_bits: span_bits }
    }

    /// A global table entry makes everything below it global ("Sv32: Addressing and Memory Protection").
    #[inline]
    fn limits(&self, above: u64, raw: u64, _level: u32) -> u64 {
        // Only G is looked at in the end; the other bits cost nothing.
        above | raw
    }
}

impl<const LEVELS: u32, const WIDE: u32> Encode for Sv<LEVELS, WIDE> {
    /// Readable, so neither a table nor write-only; aligned; no Svnapot run and plain memory.
    #[inline]
    fn usual_leaf(&self, level: u32) -> Option<LeafTest> {
        let below = low_mask(self.shift(level)) >> 12 << 10;
        let mask = self.rules.leaf | R | N | PBMT | below;
        Some(LeafTest { mask, value: V | R, address: low_mask(Self::PPN_BITS) << 10 })
    }

    /// Bits above the translated ones repeat the highest of them; guest-physical and 32-bit addresses have zeros.
    #[inline]
    fn translates(&self, va: u64) -> bool {
        if WIDE != 0 || LEVELS == 2 {
            va >> Self::VA_BITS == 0
        } else {
            let spare = 64 - Self::VA_BITS;
            ((va << spare) as i64 >> spare) as u64 == va
        }
    }

    fn encode_table(&self, base: PhysAddr, level: u32) -> Result<u64, EncodeError> {
        if level == 0 || level >= LEVELS {
            return Err(EncodeError::Level { level });
        }
        Ok(Self::ppn(base, 12, level)? | V)
    }

    fn encode_leaf(&self, base: PhysAddr, level: u32, perms: Perms) -> Result<u64, EncodeError> {
        if level >= LEVELS {
            return Err(EncodeError::Level { level });
        }
        Ok(Self::ppn(base, self.shift(level), level)? | self.leaf_flags(perms)?)
    }

    fn with_perms(&self, raw: u64, _level: u32, perms: Perms) -> Result<u64, EncodeError> {
        let flags = self.leaf_flags(perms)?;
        // NC has no word among the shared rights: it stays unless the page is made a device or was one.
        let device = (flags | raw) & PteFlags::IO.bits() & Self::PBMT != 0;
        let replaced = V | RWX | U | G | A | D | if device { Self::PBMT } else { 0 };
        Ok(raw & !replaced | flags)
    }

    fn reshape(&self, raw: u64, _level: u32, base: PhysAddr, to: u32) -> Result<u64, EncodeError> {
        if to >= LEVELS {
            return Err(EncodeError::Level { level: to });
        }
        let single = if LEVELS == 2 { raw } else { raw & !N };
        Ok(single & !(low_mask(Self::PPN_BITS) << 10) | Self::ppn(base, self.shift(to), to)?)
    }

    fn perms(&self, raw: u64, _level: u32) -> Perms {
        let mut perms = Perms::empty();
        perms.set(Perms::READ, raw & RWX == W || raw & R != 0);
        perms.set(Perms::WRITE, raw & (R | W) == R | W);
        perms.set(Perms::EXECUTE, raw & X != 0);
        perms.set(Perms::USER, raw & U != 0);
        perms.set(Perms::GLOBAL, raw & G != 0);
        perms.set(Perms::ACCESSED, raw & A != 0);
        perms.set(Perms::DIRTY, raw & D != 0);
        perms.set(Perms::DEVICE, raw & Self::PBMT == PteFlags::IO.bits());
        perms
    }
}
