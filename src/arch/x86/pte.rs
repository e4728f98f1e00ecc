//! Paging-structure entries and the three formats made of them.
//!
//! An entry's low byte reads the same in every mode (SDM Vol. 3A, figures 4-4, 4-7 and 4-11; APM Vol. 2, 5.4):
//!
//! ```text
//!  63 62..59 58..52 51 ........ 12 11..9  8   7    6   5   4   3   2   1   0
//! +--+------+------+--------------+------+---+----+---+---+---+---+---+---+---+
//! |XD| pkey | soft |   address    | soft | G |PS/ | D | A |PCD|PWT|U/S|R/W| P |
//! |  |      |      |              |      |   |PAT |   |   |   |   |   |   |   |
//! +--+------+------+--------------+------+---+----+---+---+---+---+---+---+---+
//!  a large page keeps its PAT bit in bit 12; 32-bit paging ends at bit 31
//! ```
//!
//! Which of these bits are reserved where is for `reserved`; writing entries is for `encode`.

use super::config::Config;
use super::mode::Mode;
use super::reserved;
use super::walk::Marked;
use crate::radix::{Entry, Format};

bitflags::bitflags! {
    /// The flags of a paging-structure entry.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct Pte: u64 {
        /// P: the entry means something.
        const PRESENT = 1;
        /// R/W: writes are allowed, in all that the entry controls.
        const WRITE = 1 << 1;
        /// U/S: user-mode accesses are allowed, in all that the entry controls.
        const USER = 1 << 2;
        /// PWT: with PCD and PAT, the index of a memory type.
        const PWT = 1 << 3;
        /// PCD: with PWT and PAT, the index of a memory type.
        const PCD = 1 << 4;
        /// A: has been used by a translation.
        const ACCESSED = 1 << 5;
        /// D: has been written through. Leaves only.
        const DIRTY = 1 << 6;
        /// PS: the entry maps a large page instead of pointing at a table. Not in a page table, where this is PAT.
        const LARGE = 1 << 7;
        /// PAT of a 4 KiB page.
        const PAT_SMALL = 1 << 7;
        /// G: the translation is global while CR4.PGE is set. Leaves only.
        const GLOBAL = 1 << 8;
        /// PAT of a large page.
        const PAT_LARGE = 1 << 12;
        /// XD (NX): no instruction fetches, in all that the entry controls. Reserved while EFER.NXE is clear.
        const NX = 1 << 63;
    }
}

/// The address field of an 8-byte entry.
pub(super) const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// What the levels pass down: R/W, U/S, "all accessed so far" and "XD clear so far", all by AND (SDM 4.6, 4.8). In the
/// place of XD stands its opposite, so that one AND does.
const ALL: u64 = Pte::WRITE.bits() | Pte::USER.bits() | Pte::ACCESSED.bits() | Pte::NX.bits();

#[inline]
pub(super) const fn combine(above: u64, raw: u64) -> u64 {
    above & (raw ^ Pte::NX.bits())
}

/// Whether XD is clear in all tables that combine to `limits`.
pub(super) const fn executable(limits: u64) -> bool {
    limits & Pte::NX.bits() != 0
}

/// 4-level and 5-level paging (SDM Vol. 3A, 4.5; APM Vol. 2, 5.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LongMode {
    pub(super) top: u32,
    /// Reserved in every entry.
    pub(super) high: u64,
    /// Reserved in a PML4E or PML5E besides.
    pub(super) upper: u64,
    pub(super) page1gb: bool,
}

impl LongMode {
    /// The format of a processor with EFER.NXE as given; five levels or four.
    #[inline]
    #[must_use]
    pub const fn new(config: &Config, nxe: bool, five_levels: bool) -> Self {
        Self {
            top: if five_levels { 4 } else { 3 },
            high: reserved::high(config, nxe, 51),
            upper: reserved::upper(config),
            page1gb: config.page1gb,
        }
    }

    /// How many address bits are translated.
    pub(super) const fn bits(&self) -> u32 {
        if self.top == 4 { 57 } else { 48 }
    }

    /// An entry that is no plain table and no 4 KiB page.
    #[cold]
    fn special(&self, raw: u64, level: u32) -> Entry {
        if raw & Pte::PRESENT.bits() == 0 {
            return Entry::Absent;
        }
        let large = level == 1 || level == 2 && self.page1gb;
        if raw & self.high != 0 || !large {
            Entry::Reserved
        } else {
            reserved::large_leaf(raw, 12 + 9 * level)
        }
    }
}

impl Format for LongMode {
    #[inline]
    fn pte_bytes(&self) -> u32 {
        8
    }
    #[inline]
    fn top_level(&self) -> u32 {
        self.top
    }
    #[inline]
    fn shift(&self, level: u32) -> u32 {
        12 + 9 * level
    }
    #[inline]
    fn index_bits(&self, _level: u32) -> u32 {
        9
    }
    #[inline(always)]
    fn decode(&self, raw: u64, level: u32) -> Entry {
        // The usual entries are told by one compare.
        let telling = match level {
            0 => self.high | Pte::PRESENT.bits(),
            1 | 2 => self.high | Pte::PRESENT.bits() | Pte::LARGE.bits(),
            _ => self.high | Pte::PRESENT.bits() | self.upper,
        };
        match (raw & telling == Pte::PRESENT.bits(), level) {
            (true, 0) => Entry::Leaf { base: raw & ADDRESS, size_bits: 12 },
            (true, _) => Entry::Table(raw & ADDRESS),
            (false, _) => self.special(raw, level),
        }
    }
    #[inline]
    fn limits(&self, above: u64, raw: u64, _level: u32) -> u64 {
        combine(above, raw)
    }
    #[inline]
    fn initial_limits(&self) -> u64 {
        ALL
    }
}

impl Marked for LongMode {
    #[inline]
    fn accessed(&self, _level: u32) -> u64 {
        Pte::ACCESSED.bits()
    }
    #[inline]
    fn dirty(&self) -> u64 {
        Pte::DIRTY.bits()
    }
}

/// PAE paging (SDM Vol. 3A, 4.4; APM Vol. 2, 5.2.3).
///
/// The top table has four entries, which the processor keeps in registers from MOV to CR3 on; a walk then begins one
/// level lower. Under nested paging, and for who edits the tables, they are entries in memory like any other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pae {
    pub(super) top: u32,
    pub(super) high: u64,
    pub(super) pdpte: u64,
}

impl Pae {
    /// The format below the PDPTE registers: a walk starts at the page directory that a register names.
    #[inline]
    #[must_use]
    pub const fn below_registers(config: &Config, nxe: bool) -> Self {
        Self { top: 1, high: reserved::high(config, nxe, 62), pdpte: reserved::pdpte(config) }
    }

    /// The format with the PDPTEs read from memory on each walk (APM Vol. 2, 15.25.10).
    #[inline]
    #[must_use]
    pub const fn in_memory(config: &Config, nxe: bool) -> Self {
        Self { top: 2, ..Self::below_registers(config, nxe) }
    }
}

impl Format for Pae {
    #[inline]
    fn pte_bytes(&self) -> u32 {
        8
    }
    #[inline]
    fn top_level(&self) -> u32 {
        self.top
    }
    #[inline]
    fn shift(&self, level: u32) -> u32 {
        12 + 9 * level
    }
    #[inline]
    fn index_bits(&self, level: u32) -> u32 {
        if level == 2 { 2 } else { 9 }
    }
    #[inline]
    fn decode(&self, raw: u64, level: u32) -> Entry {
        if raw & Pte::PRESENT.bits() == 0 {
            return Entry::Absent;
        }
        let forbidden = if level == 2 { self.pdpte } else { self.high };
        if raw & forbidden != 0 {
            return Entry::Reserved;
        }
        match level {
            0 => Entry::Leaf { base: raw & ADDRESS, size_bits: 12 },
            1 if raw & Pte::LARGE.bits() != 0 => reserved::large_leaf(raw, 21),
            _ => Entry::Table(raw & ADDRESS),
        }
    }
    #[inline]
    fn limits(&self, above: u64, raw: u64, level: u32) -> u64 {
        // A PDPTE has neither rights nor an accessed bit.
        if level == 2 { above } else { combine(above, raw) }
    }
    #[inline]
    fn initial_limits(&self) -> u64 {
        ALL
    }
}

impl Marked for Pae {
    #[inline]
    fn accessed(&self, level: u32) -> u64 {
        if level == 2 { 0 } else { Pte::ACCESSED.bits() }
    }
    #[inline]
    fn dirty(&self) -> u64 {
        Pte::DIRTY.bits()
    }
}

/// 32-bit paging (SDM Vol. 3A, 4.3; APM Vol. 2, 5.2.1 and 5.2.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Legacy32 {
    /// CR4.PSE: 4 MiB pages exist.
    pub(super) pse: bool,
    /// Reserved in a PDE that maps 4 MiB.
    pub(super) large: u64,
}

impl Legacy32 {
    /// The format of a processor with CR4.PSE as given.
    #[inline]
    #[must_use]
    pub const fn new(config: &Config, pse: bool) -> Self {
        Self { pse, large: reserved::pse36(config) }
    }
}

impl Format for Legacy32 {
    #[inline]
    fn pte_bytes(&self) -> u32 {
        4
    }
    #[inline]
    fn top_level(&self) -> u32 {
        1
    }
    #[inline]
    fn shift(&self, level: u32) -> u32 {
        12 + 10 * level
    }
    #[inline]
    fn index_bits(&self, _level: u32) -> u32 {
        10
    }
    #[inline]
    fn decode(&self, raw: u64, level: u32) -> Entry {
        if raw & Pte::PRESENT.bits() == 0 {
            return Entry::Absent;
        }
        if level == 0 {
            return Entry::Leaf { base: raw & 0xffff_f000, size_bits: 12 };
        }
        if !self.pse || raw & Pte::LARGE.bits() == 0 {
            return Entry::Table(raw & 0xffff_f000);
        }
        if raw & self.large != 0 {
            return Entry::Reserved;
        }
        // PSE-36: bits 13 and up are the address's bits 32 and up.
        Entry::Leaf { base: (raw & 0xffc0_0000) | ((raw >> 13 & 0xff) << 32), size_bits: 22 }
    }
    #[inline]
    fn limits(&self, above: u64, raw: u64, _level: u32) -> u64 {
        combine(above, raw)
    }
    #[inline]
    fn initial_limits(&self) -> u64 {
        ALL
    }
}

impl Marked for Legacy32 {
    #[inline]
    fn accessed(&self, _level: u32) -> u64 {
        Pte::ACCESSED.bits()
    }
    #[inline]
    fn dirty(&self) -> u64 {
        Pte::DIRTY.bits()
    }
}

/// The index of a leaf's memory type: PAT, PCD and PWT as one number of three bits (SDM 4.9.2).
#[inline]
pub(super) const fn pat_index(raw: u64, size_bits: u32) -> u16 {
    let pat = if size_bits == 12 { raw >> 7 } else { raw >> 12 };
    ((pat & 1) << 2 | (raw >> 3 & 3)) as u16
}

/// The mask that turns CR3 into the address of the top table.
#[inline]
pub(super) const fn root_mask(mode: Mode) -> u64 {
    match mode {
        Mode::Off => 0,
        Mode::Legacy32 => 0xffff_f000,
        Mode::Pae => 0xffff_ffe0,
        Mode::Level4 | Mode::Level5 => ADDRESS,
    }
}
