//! Linear-address masking (LAM): tags in the upper bits of pointers to data (SDM Vol. 3A, editions from 2024 on, ch. 4).
//!
//! A pointer whose bit 63 is clear is a user's, one where it is set a supervisor's, whoever uses it. Each kind may have
//! its bits 62:48 or 62:57 ignored: the highest bit below them must equal bit 63 and takes their place. What comes of
//! that must be canonical. Fetches and implicit accesses to system structures have no tags.

use super::control::{Cr4, LAM_U48, LAM_U57};
use super::{Flavor, Mode, X86, canonical};
use crate::access::AccessKind;

/// Which bits of an access's addresses are tags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Masking {
    /// An address that is canonical in so many bits is what it seems to be.
    pub(super) plain_bits: u32,
    /// How many bits the mode translates.
    linear_bits: u32,
    /// How many bits are left of user and supervisor pointers; 0 where all of them count.
    kept: [u8; 2],
}

/// What is left of user and supervisor pointers under the registers as they stand.
fn kept(x86: &X86, mode: Mode) -> [u8; 2] {
    if !x86.config.lam || !mode.is_long() {
        return [0; 2];
    }
    let user = match x86.registers.cr3 {
        cr3 if cr3 & LAM_U57 != 0 => 57,
        cr3 if cr3 & LAM_U48 != 0 => 48,
        _ => 0,
    };
    let supervisor = if x86.registers.cr4.contains(Cr4::LAM_SUP) { mode.linear_bits() as u8 } else { 0 };
    [user, supervisor]
}

/// Whether any pointer has tags.
pub(super) fn is_on(x86: &X86) -> bool {
    kept(x86, x86.mode()) != [0; 2]
}

impl Masking {
    pub(super) fn new(x86: &X86, mode: Mode, kind: AccessKind, flavor: Flavor) -> Self {
        let untagged = kind == AccessKind::Execute || flavor == Flavor::ImplicitSupervisor;
        let kept = if untagged { [0; 2] } else { kept(x86, mode) };
        let linear_bits = mode.linear_bits();
        // Under 5-level paging a user's tag may begin below what the mode translates.
        let plain_bits = if kept[0] == 48 { 48 } else { linear_bits };
        Self { plain_bits, linear_bits, kept }
    }

    /// The address without its tag; as it is where that cannot be.
    #[inline]
    pub(super) fn apply(self, va: u64) -> u64 {
        self.unmask(va, 0).unwrap_or(va)
    }

    /// The address of `after + 1` bytes without its tag, if it then is canonical, and so is the last one's.
    pub(super) fn unmask(self, va: u64, after: u64) -> Option<u64> {
        let [user, supervisor] = self.kept;
        let kept = if va >> 63 == 0 { user } else { supervisor };
        let tag = if kept == 0 { 0 } else { 64 - u32::from(kept) };
        let bare = ((va << tag) as i64 >> tag) as u64;
        let whole =
            canonical(bare, self.linear_bits) && canonical(bare.wrapping_add(after), self.linear_bits);
        ((bare ^ va) >> 63 == 0 && whole).then_some(bare)
    }
}
