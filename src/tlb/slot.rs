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
    /// The entry's small numbers, a byte each from the lowest: page size, leaf, second leaf, level; above them the
    /// attributes.
    shape: u64,
}

impl Slot {
    pub(super) const EMPTY: Self =
        Self { va: 0, word: NO_GENERATION << GENERATION_SHIFT, pa: 0, gpa: 0, rights: 0, shape: 0 };

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
            shape: entry.size_bits as u64
                | (entry.leaf_bits as u64) << 8
                | (entry.leaf2_bits as u64) << 16
                | (entry.level as u64) << 24
                | (entry.attr as u64) << 32,
        }
    }

    /// The slot as words, which unlike itself can be passed in registers: all but the page's first byte.
    #[inline(always)]
    pub(super) const fn words(self) -> (u64, u64, u64, u64, u64) {
        (self.word, self.pa, self.gpa, self.rights, self.shape)
    }

    /// The slot of these [words](Self::words) for the page at `va`.
    pub(super) const fn of_words(va: u64, (word, pa, gpa, rights, shape): (u64, u64, u64, u64, u64)) -> Self {
        Self { va, word, pa, gpa, rights, shape }
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
        self.word == new.word && new.shape as u16 >> 8 <= self.shape as u16 >> 8
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
        self.shape as u8
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
            size_bits: self.shape as u8,
            leaf_bits: (self.shape >> 8) as u8,
            leaf2_bits: (self.shape >> 16) as u8,
            level: (self.shape >> 24) as u8,
            attr: (self.shape >> 32) as u16,
        }
    }
}

/// The way of a set that [answers](Slot::answers), four compared at a time.
#[inline(always)]
pub(super) fn find_way(ways: &[Slot], va: u64, want: u64) -> Option<usize> {
    // Spelt out: of the shapes that TLBs have, the one with the least to do besides.
    if let [a, b, c, d] = ways {
        return if a.answers(va, want) {
            Some(0)
        } else if b.answers(va, want) {
            Some(1)
        } else if c.answers(va, want) {
            Some(2)
        } else if d.answers(va, want) {
            Some(3)
        } else {
            None
        };
    }
    find_way_of_many(ways, va, want)
}

#[inline(always)]
fn find_way_of_many(mut ways: &[Slot], va: u64, want: u64) -> Option<usize> {
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
