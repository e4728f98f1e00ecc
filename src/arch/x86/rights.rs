//! Who may do what with a translation (SDM Vol. 3A, 4.6; APM Vol. 2, 5.6).
//!
//! A cached translation keeps what the tables say, in [`Rights`]; the control state of an access is boiled down to the
//! bits that it needs to find there and the protection keys that it must not meet, in [`Context`]. Every rule then
//! takes the same form, "all the needed bits are there", so one test serves a hit and a walk alike, and a change of
//! CR0.WP, CR4.SMEP, CR4.SMAP, RFLAGS.AC, CPL, EFER.NXE, PKRU or PKRS holds from the next access on without dropping
//! anything.

use super::control::{Cr0, Cr4, Efer};
use super::fault::PageFaultCode;
use super::masking::Masking;
use super::mode::Mode;
use super::{Flavor, X86};
use crate::access::AccessKind;
use crate::tlb::Space;

bitflags::bitflags! {
    /// What a translation allows, as the tables of both stages say it. As many bits as possible stand where an entry
    /// has them.
    ///
    /// Bits 62 to 58 are no flags but a number: twice the protection key, plus one on a user page.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct Rights: u64 {
        /// R/W is set at every level.
        const WRITE = 1 << 1;
        /// U/S is set at every level: a user-mode address.
        const USER = 1 << 2;
        /// U/S is clear somewhere: a supervisor-mode address.
        const SUPERVISOR = 1 << 3;
        /// Writes have no dirty bit left to set, in either stage.
        const DIRTY = 1 << 6;
        /// A shadow-stack page: R/W clear and D set in the leaf, R/W set above it.
        const SHADOW = 1 << 10;
        /// The second stage allows reads.
        const READ2 = 1 << 11;
        /// The second stage allows writes.
        const WRITE2 = 1 << 12;
        /// The second stage allows fetches from this linear address.
        const EXECUTE2 = 1 << 13;
        /// XD is clear at every level.
        const EXECUTE = 1 << 63;
        const _ = 0x1f << 58;
    }
}

impl Rights {
    /// The bits that the second stage decides.
    pub const SECOND: Self = Self::READ2.union(Self::WRITE2).union(Self::EXECUTE2);

    /// What holds where there is no paging: everything.
    pub const UNPAGED: Self = Self::USER
        .union(Self::SUPERVISOR)
        .union(Self::WRITE)
        .union(Self::EXECUTE)
        .union(Self::DIRTY)
        .union(Self::SECOND);

    /// The rights of the leaf `raw` under tables that combine to `limits`, with no second stage.
    #[inline]
    pub(super) const fn of_leaf(raw: u64, limits: u64) -> Self {
        let (both, above) = (raw & limits, !raw & limits);
        // R/W and U/S of all levels, R/W set above and clear in the leaf, D of the leaf.
        let flags = FLAGS[(both & 6 | above >> 1 & 1 | raw >> 3 & 8) as usize];
        // XD clear at every level: the limits have its opposite.
        Self::from_bits_retain(flags | raw & 0xf << 59 | above & 1 << 63)
    }

    /// The number of the protection key and owner, 0 to 31.
    #[inline]
    const fn number(self) -> u32 {
        (self.bits() >> 58) as u32 & 0x1f
    }
}

/// The rights of a leaf but for key and execution, by the bits that [`Rights::of_leaf`] makes an index of.
const FLAGS: [u64; 16] = {
    let mut table = [0; 16];
    let mut at = 0;
    while at < table.len() {
        let mut rights = Rights::SECOND;
        if at & 2 != 0 {
            rights = rights.union(Rights::WRITE);
        }
        // The owner is part of the key's number, too.
        rights = match at & 4 {
            0 => rights.union(Rights::SUPERVISOR),
            _ => rights.union(Rights::USER).union(Rights::from_bits_retain(1 << 58)),
        };
        if at & 8 != 0 {
            rights = rights.union(Rights::DIRTY);
        }
        if at & 9 == 9 {
            rights = rights.union(Rights::SHADOW);
        }
        table[at] = rights.bits();
        at += 1;
    }
    table
};

/// The control state of one kind of access, boiled down to what decides its outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Context {
    /// Where it looks.
    pub(super) space: Space,
    /// The [`Rights`] that it needs.
    need: u64,
    /// The keys it may not meet: bit `2 * key + 1` on user pages, bit `2 * key` on supervisor pages.
    keys: u32,
    /// How linear addresses are read.
    pub(super) mode: Mode,
    /// Which of their bits are tags.
    pub(super) masking: Masking,
    /// Whether translation is off altogether.
    pub(super) bare: bool,
    /// Whether the access counts as user-mode (SDM 4.6): CPL 3, and not an implicit supervisor access.
    pub(super) user: bool,
}

impl Context {
    pub(super) fn new(x86: &X86, kind: AccessKind, flavor: Flavor) -> Self {
        let user = match flavor {
            Flavor::ImplicitSupervisor => false,
            Flavor::UserShadowStack => true,
            _ => x86.registers.cpl == 3,
        };
        let mode = x86.mode();
        let first_need = match mode {
            Mode::Off => Rights::empty(),
            _ => first_need(x86, kind, flavor, user),
        };
        Self {
            space: x86.space(),
            keys: if mode.is_long() && kind != AccessKind::Execute {
                keys(x86, kind.writes(), user)
            } else {
                0
            },
            need: first_need.union(second_need(kind)).bits(),
            mode,
            masking: Masking::new(x86, mode, kind, flavor),
            bare: mode == Mode::Off && !x86.has_second_stage(),
            user,
        }
    }

    /// Whether `rights` allow the access at once: both stages agree and no dirty bit is due.
    #[inline]
    pub(super) const fn permits(&self, rights: Rights) -> bool {
        rights.bits() & self.need == self.need && self.keys >> rights.number() & 1 == 0
    }

    /// Whether the first stage has nothing against the access; a dirty bit may be due.
    #[inline]
    pub(super) const fn first_stage_permits(&self, rights: Rights) -> bool {
        self.permits(rights.union(Rights::SECOND).union(Rights::DIRTY))
    }

    /// What the first stage has against the access that it does not permit, in the bits that the error code adds to P.
    pub(super) fn refusal(&self, rights: Rights, efer: Efer) -> PageFaultCode {
        if !efer.contains(Efer::NXE) && !rights.contains(Rights::EXECUTE) {
            // Only a cached upper table can bring XD here while NXE is clear: the bit is reserved now.
            return PageFaultCode::RESERVED;
        }
        let key = self.keys >> rights.number() & 1 != 0;
        if key { PageFaultCode::KEY } else { PageFaultCode::empty() }
    }
}

/// What an access needs of the second stage. A write also needs that no dirty bit is due.
const fn second_need(kind: AccessKind) -> Rights {
    match kind {
        AccessKind::Read => Rights::READ2,
        AccessKind::Write => Rights::WRITE2.union(Rights::DIRTY),
        AccessKind::ReadWrite => Rights::READ2.union(Rights::WRITE2).union(Rights::DIRTY),
        AccessKind::Execute => Rights::EXECUTE2,
    }
}

/// What an access needs of the first stage (SDM 4.6.1, "Determination of Access Rights").
fn first_need(x86: &X86, kind: AccessKind, flavor: Flavor, user: bool) -> Rights {
    let registers = &x86.registers;
    // With NXE clear a set XD bit is reserved: nothing may be done with such a page.
    let xd = if registers.efer.contains(Efer::NXE) { Rights::empty() } else { Rights::EXECUTE };
    let owner = if user {
        Rights::USER
    } else {
        let kept_out = match (kind, flavor) {
            (_, Flavor::ShadowStack) => true,
            (AccessKind::Execute, _) => registers.cr4.contains(Cr4::SMEP),
            (_, Flavor::ImplicitSupervisor) => registers.cr4.contains(Cr4::SMAP),
            _ => registers.cr4.contains(Cr4::SMAP) && !registers.ac,
        };
        if kept_out { Rights::SUPERVISOR } else { Rights::empty() }
    };
    let what = match (kind, flavor) {
        (AccessKind::Execute, _) => Rights::EXECUTE,
        (_, Flavor::ShadowStack | Flavor::UserShadowStack) => Rights::SHADOW,
        (AccessKind::Read, _) => Rights::empty(),
        _ if user || registers.cr0.contains(Cr0::WP) => Rights::WRITE,
        _ => Rights::empty(),
    };
    xd.union(owner).union(what)
}

/// The protection keys that deny a data access (SDM 4.6.2): PKRU for user pages, IA32_PKRS for supervisor pages.
fn keys(x86: &X86, writes: bool, user: bool) -> u32 {
    const ACCESS_DISABLE: u32 = 0x5555_5555;
    let registers = &x86.registers;
    let write_disable = writes && (user || registers.cr0.contains(Cr0::WP));
    let denied = |on: bool, register: u32| {
        let bits = if write_disable { register | register >> 1 } else { register };
        if on { bits & ACCESS_DISABLE } else { 0 }
    };
    denied(registers.cr4.contains(Cr4::PKE), registers.pkru) << 1
        | denied(registers.cr4.contains(Cr4::PKS), registers.pkrs)
}
