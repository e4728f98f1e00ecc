//! Memory types: PAT, PCD and PWT, and what the second stage makes of them (SDM Vol. 3A 12.5 and 12.12, Vol. 3C
//! 29.3.7; APM Vol. 2 7.8 and 15.25.8).
//!
//! A cached translation holds indices and the second stage's type in [`TlbEntry::attr`]; the type itself is made when
//! it is asked for, from the PAT as it stands then.
//!
//! ```text
//! attr:  9..8 second stage (0 none, 1 EPT, 2 NPT)   7 ignore PAT   6..4 its type   3 paging on   2..0 PAT index
//! ```

use super::X86;
use super::control::Cr0;
use crate::tlb::TlbEntry;

/// A memory type, by its architectural encoding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum MemoryType {
    /// UC: uncacheable, strongly ordered.
    Uncacheable = 0,
    /// WC: write combining.
    WriteCombining = 1,
    /// WT: write through.
    WriteThrough = 4,
    /// WP: write protected.
    WriteProtected = 5,
    /// WB: write back.
    WriteBack = 6,
    /// UC-: uncacheable unless the range registers say WC.
    UncacheableMinus = 7,
}

use MemoryType::{
    Uncacheable as Uc, UncacheableMinus as UcMinus, WriteBack as Wb, WriteCombining as Wc,
    WriteProtected as Wp, WriteThrough as Wt,
};

impl MemoryType {
    /// The type with this encoding; reserved ones (2, 3) read as UC.
    #[must_use]
    pub const fn from_encoding(encoding: u8) -> Self {
        match encoding {
            1 => Wc,
            4 => Wt,
            5 => Wp,
            6 => Wb,
            7 => UcMinus,
            _ => Uc,
        }
    }

    /// The effective type of a page of this PAT type in a range whose MTRR (or EPT entry) says `range`
    /// (SDM Vol. 3A, table 12-7).
    #[must_use]
    pub const fn within(self, range: Self) -> Self {
        match (range, self) {
            (_, Wc) => Wc,
            (Wc | Wp, UcMinus) => Wc,
            (_, Uc | UcMinus) | (Uc | UcMinus, _) => Uc,
            (Wc, Wb) => Wc,
            (Wc, _) => Uc,
            (Wt, Wp) => Wp,
            (Wt, _) => Wt,
            (Wb, pat) => pat,
            (Wp, Wt) => Wt,
            (Wp, _) => Wp,
        }
    }

    /// The type that a guest's PAT type and the host's make together under nested paging (APM Vol. 2, table 15-19).
    #[must_use]
    pub const fn nested(guest: Self, host: Self) -> Self {
        match (guest, host) {
            (Uc, _) => Uc,
            (Wc, _) | (_, Wc) => Wc,
            (UcMinus, _) | (_, Uc | UcMinus) => Uc,
            (Wp, Wp | Wb) | (Wb, Wp) => Wp,
            (Wp, _) | (Wt, Wp) => Uc,
            (Wt, _) | (Wb, Wt) => Wt,
            (Wb, Wb) => Wb,
        }
    }
}

const PAGED: u16 = 1 << 3;
const IGNORE_PAT: u16 = 1 << 7;
const EPT: u16 = 1 << 8;
const NPT: u16 = 2 << 8;

/// The attributes of a first-stage leaf.
pub(super) const fn first(pat_index: u16) -> u16 {
    PAGED | pat_index
}

/// The attributes that an EPT leaf adds.
pub(super) const fn ept(encoding: u64, ignore_pat: bool) -> u16 {
    EPT | (encoding as u16 & 7) << 4 | if ignore_pat { IGNORE_PAT } else { 0 }
}

/// The attributes that an NPT leaf adds.
pub(super) const fn npt(host: MemoryType) -> u16 {
    NPT | (host as u16) << 4
}

/// The type at `index` of a PAT.
pub(super) const fn lookup(pat: u64, index: u16) -> MemoryType {
    MemoryType::from_encoding((pat >> ((index & 7) * 8)) as u8 & 7)
}

/// The effective type of a translation. Range registers (MTRRs) are the embedder's:
/// [`within`](MemoryType::within) combines.
pub(super) fn effective(x86: &X86, entry: &TlbEntry) -> MemoryType {
    if x86.registers.cr0.contains(Cr0::CD) {
        return Uc;
    }
    let attr = entry.attr;
    let paged = attr & PAGED != 0;
    let page = if paged { lookup(x86.registers.pat, attr) } else { Wb };
    let second = MemoryType::from_encoding((attr >> 4 & 7) as u8);
    match attr & (EPT | NPT) {
        EPT if !paged || attr & IGNORE_PAT != 0 => second,
        EPT => page.within(second),
        NPT => MemoryType::nested(page, second),
        _ => page,
    }
}
