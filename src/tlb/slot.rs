//! One way of one set: the tag in the form in which it is compared, and the rest of the entry beside it.
//!
//! ```text
//!  word:  63        47 46 45      40 39     32 31        16 15         0
//!        | generation | G | size     | regime  | VMID       | ASID       |
//! ```
//!
//! A slot is one cache line. A lookup wants one page size in one generation, so two compares of whole words tell a
//! hit: the page's first byte and the tag's word. Only a global entry, whose ASID does not count, needs a third. The
//! generation is what makes "invalidate everything" a single increment: a slot of an older one matches nothing.

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

/// What a lookup wants, but for the space: the generation and the page size of the set probed.
#[inline]
pub(super) const fn want(generation: u64, size_bits: u32) -> u64 {
    generation << GENERATION_SHIFT | (size_bits as u64) << SIZE_SHIFT
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Slot {
    va: u64,
    word: u64,
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
        word: NO_GENERATION << GENERATION_SHIFT,
        pa: 0,
        gpa: 0,
        rights: 0,
        attr: 0,
        size_bits: 0,
        leaf_bits: 0,
        leaf2_bits: 0,
        level: 0,
    };

    /// The slot for `entry`, `want` being what a lookup of its size wants.
    #[inline(always)]
    pub(super) const fn new(entry: &TlbEntry, want: u64) -> Self {
        let global = if entry.global { GLOBAL } else { 0 };
        Self {
            va: page(entry.va, clamp(entry.size_bits)),
            word: want | entry.space.bits() | global,
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

    /// Whether the slot holds the page that begins at `va` for `want`, which is [`want`] with a space in it.
    #[inline(always)]
    pub(super) const fn answers(&self, va: u64, want: u64) -> bool {
        self.va == va
            && (self.word == want || self.is_global() && (self.word ^ want) & !(GLOBAL | Space::ASID) == 0)
    }

    /// Whether both are cached under one tag, `other` being of the present generation.
    #[inline(always)]
    pub(super) const fn same_tag(&self, other: &Self) -> bool {
        let ignored = if other.is_global() { Space::ASID } else { 0 };
        self.va == other.va && (self.word ^ other.word) & !ignored == 0
    }

    /// Whether the slot holds, for some space of `inner`'s, the page of `2^shift` bytes that `inner`, of the present
    /// generation, is a part of.
    #[inline]
    pub(super) const fn encloses(&self, shift: u32, inner: &Self) -> bool {
        let globals = if self.is_global() || inner.is_global() { Space::ASID } else { 0 };
        let wanted = inner.word & !SIZE | want(0, shift);
        self.va == page(inner.va, shift) && (self.word ^ wanted) & !(GLOBAL | globals) == 0
    }

    /// Whether an entry in place of the other changes nothing about what is resident: same space, size, globality
    /// and generation, and no larger a leaf.
    #[inline(always)]
    pub(super) const fn counts_as(&self, new: &Self) -> bool {
        self.word == new.word && new.leaf_bits <= self.leaf_bits
    }

    #[inline(always)]
    pub(super) const fn is_live(&self, generation: u64) -> bool {
        self.word >> GENERATION_SHIFT == generation
    }

    #[inline(always)]
    const fn is_global(&self) -> bool {
        self.word & GLOBAL != 0
    }

    #[inline(always)]
    pub(super) const fn size_bits(&self) -> u8 {
        self.size_bits
    }

    #[inline(always)]
    pub(super) const fn entry(&self) -> TlbEntry {
        TlbEntry {
            va: self.va,
            pa: self.pa,
            gpa: self.gpa,
            rights: self.rights,
            space: Space(self.word & SPACE),
            global: self.is_global(),
            size_bits: self.size_bits,
            leaf_bits: self.leaf_bits,
            leaf2_bits: self.leaf2_bits,
            level: self.level,
            attr: self.attr,
        }
    }
}

/// The way of a set that [answers](Slot::answers), four compared at a time.
#[inline(always)]
pub(super) fn find_way(mut ways: &[Slot], va: u64, want: u64) -> Option<usize> {
    let mut way = 0;
    while let [a, b, c, d, rest @ ..] = ways {
        if a.answers(va, want) {
            return Some(way);
        }
        if b.answers(va, want) {
            return Some(way + 1);
        }
        if c.answers(va, want) {
            return Some(way + 2);
        }
        if d.answers(va, want) {
            return Some(way + 3);
        }
        ways = rest;
        way += 4;
    }
    ways.iter().position(|slot| slot.answers(va, want)).map(|at| way + at)
}

/// The first byte of the page of `2^shift` bytes around `va`.
#[inline(always)]
pub(super) const fn page(va: u64, shift: u32) -> u64 {
    va >> shift << shift
}

/// A page size as a shift; there are none of 2^64 bytes.
#[inline(always)]
pub(super) const fn clamp(size_bits: u8) -> u32 {
    (size_bits & 63) as u32
}
