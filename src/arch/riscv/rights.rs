//! What an access needs of a page: step 5 of "Virtual Address Translation Process", as one masked compare.
//!
//! The TLB keeps rights *unresolved*: for each stage what the leaf says, with the few combinations that control state
//! chooses among (readable, readable under MXR, readable with shadow stacks on ...) as bits of their own. Control
//! state and the kind of access make a [`Need`], so that SUM, MXR, SSE and the privilege act at once on what is cached:
//!
//! ```text
//!   leaf entries --rights_of--> rights word --+
//!                                             +--> rights & mask == want
//!   CSRs, access --Need::new--> mask, want ---+
//! ```
//!
//! Stage one is in the low half of the word, stage two in the high half.

use super::pte::{A, D};

bitflags::bitflags! {
    /// The rights of one stage's leaf.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub(super) struct Rights: u32 {
        /// R.
        const READ = 1;
        /// W, but not of a shadow-stack page.
        const WRITE = 1 << 1;
        /// X.
        const EXECUTE = 1 << 2;
        /// A shadow-stack page (`xwr` = 010).
        const SHADOW = 1 << 3;
        /// READ or EXECUTE: what a load may reach under MXR.
        const READ_MXR = 1 << 4;
        /// READ or SHADOW: what a load may reach with shadow stacks enabled.
        const READ_SSE = 1 << 5;
        /// All three.
        const READ_MXR_SSE = 1 << 6;
        /// U.
        const USER = 1 << 7;
        /// A.
        const ACCESSED = 1 << 8;
        /// D.
        const DIRTY = 1 << 9;
    }
}

/// How far the second stage's rights are from the first's.
pub(super) const SECOND: u32 = 16;

/// The rights that the low byte of a valid leaf gives.
const fn rights_of_flags(flags: u32) -> u16 {
    /// `rights` if the bit is 1, else none.
    const fn when(bit: u32, rights: Rights) -> u32 {
        bit * rights.bits()
    }
    let (r, w, x) = (flags >> 1 & 1, flags >> 2 & 1, flags >> 3 & 1);
    let shadow = (w & !r & !x) & 1;
    let rights = when(r, Rights::READ)
        | when(w & r, Rights::WRITE)
        | when(x, Rights::EXECUTE)
        | when(shadow, Rights::SHADOW)
        | when(r | x, Rights::READ_MXR)
        | when(r | shadow, Rights::READ_SSE)
        | when(r | x | shadow, Rights::READ_MXR_SSE)
        | when(flags >> 4 & 1, Rights::USER)
        | when(flags >> 6 & 1, Rights::ACCESSED)
        | when(flags >> 7 & 1, Rights::DIRTY);
    rights as u16
}

const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut flags = 0;
    while flags < 256 {
        table[flags] = rights_of_flags(flags as u32);
        flags += 1;
    }
    table
};

/// The rights of a valid leaf.
#[inline]
pub(super) fn rights_of(raw: u64) -> u32 {
    u32::from(TABLE[usize::from(raw as u8)])
}

/// The rights of a stage that does not translate: everything, shadow stacks apart.
pub(super) const OPEN: u32 = Rights::all().difference(Rights::SHADOW).bits();

/// What an access does, as far as rights go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Use {
    Fetch,
    Load,
    Store,
    /// HLVX: a load of what could be fetched.
    LoadExecutable,
    ShadowLoad,
    ShadowStore,
    /// CBO.CLEAN and its like: allowed where loads are, but for shadow stacks.
    Manage,
}

/// Rights that must (and must not) be there, for one stage or, combined, for both.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Need {
    mask: u32,
    want: u32,
}

/// Accessed and dirty: due bits that a walk can set, unlike the rest.
const MARKS: u32 = Rights::ACCESSED.bits() | Rights::DIRTY.bits();

impl Need {
    /// Nothing.
    pub(super) const NONE: Self = Self { mask: 0, want: 0 };

    /// What a stage-one leaf must give. `user`: the effective privilege is U. `mxr`, `sum`, `sse`: as they stand for
    /// that stage.
    pub(super) fn first(what: Use, user: bool, mxr: bool, sum: bool, sse: bool) -> Self {
        let load = match (mxr, sse) {
            (false, false) => Rights::READ,
            (true, false) => Rights::READ_MXR,
            (false, true) => Rights::READ_SSE,
            (true, true) => Rights::READ_MXR_SSE,
        };
        let rights = match what {
            Use::Fetch | Use::LoadExecutable => Rights::EXECUTE,
            Use::Load => load,
            Use::Manage if mxr => Rights::READ_MXR,
            Use::Manage => Rights::READ,
            Use::Store => Rights::WRITE | Rights::DIRTY,
            // While shadow stacks are off, what is cached of them must not serve: no page has both of these rights.
            Use::ShadowLoad | Use::ShadowStore if !sse => Rights::SHADOW | Rights::READ,
            Use::ShadowLoad => Rights::SHADOW,
            Use::ShadowStore => Rights::SHADOW | Rights::DIRTY,
        };
        let want = (rights | Rights::ACCESSED).bits();
        // U-mode needs U = 1. S-mode needs U = 0, unless SUM lets its loads and stores (never fetches) ignore U.
        let user_bit = Rights::USER.bits();
        match (user, sum && what != Use::Fetch) {
            (true, _) => Self { mask: want | user_bit, want: want | user_bit },
            (false, false) => Self { mask: want | user_bit, want },
            (false, true) => Self { mask: want, want },
        }
    }

    /// What a second-stage leaf must give: U always ("all memory accesses are considered to be user-level"), and
    /// read and write for a shadow-stack access, which knows no shadow-stack pages there (Zicfiss).
    pub(super) fn second(what: Use, mxr: bool) -> Self {
        let rights = match what {
            Use::Fetch | Use::LoadExecutable => Rights::EXECUTE,
            Use::Load | Use::Manage if mxr => Rights::READ_MXR,
            Use::Load | Use::Manage => Rights::READ,
            Use::Store => Rights::WRITE | Rights::DIRTY,
            Use::ShadowLoad => Rights::READ | Rights::WRITE,
            Use::ShadowStore => Rights::READ | Rights::WRITE | Rights::DIRTY,
        };
        let want = (rights | Rights::USER | Rights::ACCESSED).bits();
        Self { mask: want, want }
    }

    /// Both stages' needs as one, for the combined rights word of a cached translation.
    pub(super) const fn with_second(self, second: Self) -> Self {
        Self { mask: self.mask | second.mask << SECOND, want: self.want | second.want << SECOND }
    }

    /// What stage one alone must give.
    #[inline]
    pub(super) const fn first_half(self) -> Self {
        let half = (1 << SECOND) - 1;
        Self { mask: self.mask & half, want: self.want & half }
    }

    /// What stage two alone must give, in the place of stage one's.
    #[inline]
    pub(super) const fn second_half(self) -> Self {
        Self { mask: self.mask >> SECOND, want: self.want >> SECOND }
    }

    /// Whether `rights` meet the need, marks included.
    #[inline]
    pub(super) const fn met_by(self, rights: u32) -> bool {
        rights & self.mask == self.want
    }

    /// Whether the access is allowed, accessed and dirty bits aside.
    #[inline]
    pub(super) const fn allowed_by(self, rights: u32) -> bool {
        rights & self.mask & !MARKS == self.want & !MARKS
    }

    /// Whether the U bit alone refuses.
    pub(super) const fn refused_by_user_bit(self, rights: u32) -> bool {
        (rights ^ self.want) & self.mask & Rights::USER.bits() != 0
    }

    /// The A and D bits of the entry that are due and not set.
    #[inline]
    pub(super) const fn due(self, rights: u32) -> u64 {
        let missing = (self.want & !rights & MARKS) as u64;
        // The rights word has A and D two places above where the entry has them.
        missing >> 2
    }
}

const _: () = assert!((Rights::ACCESSED.bits() >> 2) as u64 == A && (Rights::DIRTY.bits() >> 2) as u64 == D);
