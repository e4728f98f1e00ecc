//! One way of one set: the tag in the form in which it is compared, and the rest of the entry beside it.
//!
//! ```text
//!  word:  63        47 46 45      40 39     32 31        16 15         0
//!        | generation | G | size     | regime  | VMID       | ASID       |
//! ```
//!
//! A slot is one cache line. It answers `va` and a wanted word if `((va ^ slot.va) & mask) | ((want ^ word) & care)`
//! is zero: `care` leaves out the ASID of a global entry, and the size where all sizes share one set. The generation
//! is what makes "invalidate everything" a single increment: a slot of an older one matches nothing.

use super::{Space, TlbEntry};

const SPACE: u64 = Space::ASID | Space::VMID | Space::REGIME;
const SIZE_SHIFT: u32 = 40;
const SIZE: u64 = 0x3f << SIZE_SHIFT;
const GLOBAL: u64 = 1 << 46;
const GENERATION_SHIFT: u32 = 47;

/// The generation of slots that hold nothing.
pub(super) const NO_GENERATION: u64 = 0;
/// The highest generation that fits.
pub(super) const LAST_GENERATION: u64 = (1 << (64 - GENERATION_SHIFT)) - 1;

/// The bits of the word that are compared where one set holds all sizes.
pub(super) const ANY_SIZE: u64 = !SIZE;

/// What a lookup wants, but for the space: the generation and the page size of the set probed.
#[inline]
pub(super) const fn want(generation: u64, size_bits: u32) -> u64 {
    generation << GENERATION_SHIFT | (size_bits as u64) << SIZE_SHIFT
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Slot {
    va: u64,
    mask: u64,
    word: u64,
    care: u64,
    pa: u64,
    gpa: u64,
    rights: u64,
    attr: u16,
    size_bits: u8,
    leaf_bits: u8,
    leaf2_bits: u8,
    level: u8,
}

impl Slot {
    pub(super) const EMPTY: Self = Self {
        va: 0,
        mask: 0,
        word: NO_GENERATION << GENERATION_SHIFT,
        care: u64::MAX,
        pa: 0,
        gpa: 0,
        rights: 0,
        attr: 0,
        size_bits: 0,
        leaf_bits: 0,
        leaf2_bits: 0,
        level: 0,
    };

    /// The slot for `entry`. `care` is all ones where sets are chosen by page size, so that a lookup wants one size
    /// at a time, and else [`ANY_SIZE`].
    #[inline]
    pub(super) const fn new(entry: &TlbEntry, generation: u64, care: u64) -> Self {
        let bits = clamp(entry.size_bits);
        let mask = u64::MAX << bits;
        let (global, care) = if entry.global { (GLOBAL, care & !(GLOBAL | Space::ASID)) } else { (0, care) };
        Self {
            va: entry.va & mask,
            mask,
            word: want(generation, bits) | global | entry.space.bits(),
            care,
            pa: entry.pa,
            gpa: entry.gpa,
            rights: entry.rights,
            attr: entry.attr,
            size_bits: entry.size_bits,
            leaf_bits: entry.leaf_bits,
            leaf2_bits: entry.leaf2_bits,
            level: entry.level,
        }
    }

    /// Whether the slot translates `va` for `want`, which is [`want`] with a space in it.
    #[inline]
    pub(super) const fn answers(&self, va: u64, want: u64) -> bool {
        (va ^ self.va) & self.mask | (want ^ self.word) & self.care == 0
    }

    /// Whether `va` lies in the page, whatever the space: most ways of a set fall out by this alone.
    #[inline]
    pub(super) const fn holds(&self, va: u64) -> bool {
        (va ^ self.va) & self.mask == 0
    }

    /// Whether both are cached under one tag. `other` must be of the present generation.
    #[inline]
    pub(super) const fn same_tag(&self, other: &Self) -> bool {
        self.va == other.va
            && (self.word ^ other.word) & other.care == 0
            && self.care == other.care
            && self.mask == other.mask
    }

    /// Whether the page of `inner`, a smaller one, lies in this page and both serve some common space; `generation`
    /// is the present one.
    #[inline]
    pub(super) const fn encloses(&self, inner: &Self) -> bool {
        (inner.va ^ self.va) & self.mask
            | (inner.word ^ self.word) & self.care & inner.care & !(SIZE | GLOBAL)
            == 0
    }

    /// Whether an entry in place of the other changes nothing about what is resident: same space, size, globality
    /// and generation, and no larger a leaf.
    #[inline]
    pub(super) const fn counts_as(&self, new: &Self) -> bool {
        self.word == new.word && new.leaf_bits <= self.leaf_bits
    }

    #[inline]
    pub(super) const fn is_live(&self, generation: u64) -> bool {
        self.word >> GENERATION_SHIFT == generation
    }

    #[inline]
    pub(super) const fn size_bits(&self) -> u8 {
        self.size_bits
    }

    #[inline]
    pub(super) const fn entry(&self) -> TlbEntry {
        TlbEntry {
            va: self.va,
            pa: self.pa,
            gpa: self.gpa,
            rights: self.rights,
            space: Space(self.word & SPACE),
            global: self.word & GLOBAL != 0,
            size_bits: self.size_bits,
            leaf_bits: self.leaf_bits,
            leaf2_bits: self.leaf2_bits,
            level: self.level,
            attr: self.attr,
        }
    }
}

/// A page size as a shift; there are none of 2^64 bytes.
#[inline]
pub(super) const fn clamp(size_bits: u8) -> u32 {
    (size_bits & 63) as u32
}
