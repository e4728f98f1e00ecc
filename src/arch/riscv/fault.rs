//! The exceptions of address translation, with everything that a trap writes about them.

use super::Flavor;
use super::config::Xlen;
use super::csr::Mode;
use crate::access::AccessKind;
use crate::addr::{GuestAddr, VirtAddr};
use crate::arch::{FaultClass, GuestFault};
use core::fmt;

/// Exception codes (privileged manual, table of `mcause` values).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Cause {
    /// Fetch refused by physical memory or its protection.
    InstructionAccessFault = 1,
    /// Misaligned load or LR.
    LoadAddressMisaligned = 4,
    /// Load refused by physical memory or its protection.
    LoadAccessFault = 5,
    /// Misaligned store, SC or AMO.
    StoreAddressMisaligned = 6,
    /// Store, SC, AMO or shadow-stack access refused by physical memory or its protection.
    StoreAccessFault = 7,
    /// Fetch refused by the page tables.
    InstructionPageFault = 12,
    /// Load refused by the page tables.
    LoadPageFault = 13,
    /// Store, SC, AMO or shadow-stack access refused by the page tables.
    StorePageFault = 15,
    /// Fetch refused by the second stage.
    InstructionGuestPageFault = 20,
    /// Load refused by the second stage.
    LoadGuestPageFault = 21,
    /// Store, SC, AMO or shadow-stack access refused by the second stage.
    StoreGuestPageFault = 23,
}

/// What an access is called in its exception codes: shadow-stack and cache-block instructions are always stores (Zicfiss,
/// Zicbom).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Reported {
    Fetch,
    Load,
    Store,
}

impl Reported {
    pub(super) const fn of(kind: AccessKind, flavor: Flavor) -> Self {
        match (kind, flavor) {
            (AccessKind::Execute, _) => Self::Fetch,
            (_, Flavor::ShadowStack | Flavor::CacheBlock) => Self::Store,
            (AccessKind::Read, _) => Self::Load,
            _ => Self::Store,
        }
    }

    pub(super) const fn page_fault(self) -> Cause {
        match self {
            Self::Fetch => Cause::InstructionPageFault,
            Self::Load => Cause::LoadPageFault,
            Self::Store => Cause::StorePageFault,
        }
    }

    pub(super) const fn access_fault(self) -> Cause {
        match self {
            Self::Fetch => Cause::InstructionAccessFault,
            Self::Load => Cause::LoadAccessFault,
            Self::Store => Cause::StoreAccessFault,
        }
    }

    pub(super) const fn guest_page_fault(self) -> Cause {
        match self {
            Self::Fetch => Cause::InstructionGuestPageFault,
            Self::Load => Cause::LoadGuestPageFault,
            Self::Store => Cause::StoreGuestPageFault,
        }
    }

    pub(super) const fn misaligned(self) -> Cause {
        match self {
            Self::Load => Cause::LoadAddressMisaligned,
            _ => Cause::StoreAddressMisaligned,
        }
    }
}

/// A synchronous exception that a memory access raises.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fault {
    /// For `mcause`/`scause`.
    pub cause: Cause,
    /// For `mtval`/`stval`: the virtual address, after pointer masking; of an access in parts, that of the part that
    /// faulted.
    pub tval: u64,
    /// For `mtval2`/`htval`: the guest-physical address shifted right by 2 on a guest-page fault, else 0.
    pub tval2: u64,
    /// For `mtinst`/`htinst`: the pseudo-instruction of an implicit access to a VS-stage table, else 0 (which the
    /// manual allows; an emulator may put the transformed instruction there).
    pub tinst: u32,
    /// For `hstatus.GVA`: `tval` holds a guest virtual address.
    pub gva: bool,
    class: FaultClass,
    /// `tval2` is an address, be it zero.
    reported: bool,
}

impl Fault {
    pub(super) const fn new(cause: Cause, va: u64, gva: bool, class: FaultClass) -> Self {
        Self { cause, tval: va, tval2: 0, tinst: 0, gva, class, reported: false }
    }

    /// A guest-page fault that reports the guest-physical address, and the pseudo-instruction of an implicit access.
    pub(super) const fn at_guest(cause: Cause, va: u64, gva: bool, gpa: u64, tinst: u32) -> Self {
        let fault = Self::new(cause, va, gva, FaultClass::SecondStage);
        Self { tval2: gpa >> 2, tinst, reported: true, ..fault }
    }

    /// The exception code.
    #[must_use]
    pub const fn code(&self) -> u64 {
        self.cause as u64
    }

    /// On a guest-page fault that reports it, the guest-physical address (its two low bits lost, as in `htval`).
    #[must_use]
    pub const fn guest_address(&self) -> Option<GuestAddr> {
        if self.reported { Some(GuestAddr(self.tval2 << 2)) } else { None }
    }
}

/// `mtinst` for an implicit access to a VS-stage page table (privileged manual, "Transformed Instruction or
/// Pseudoinstruction for mtinst or htinst"): by the width of the entry, and whether it was to be written.
pub(super) const fn pseudo_instruction(xlen: Xlen, write: bool) -> u32 {
    let read = match xlen {
        Xlen::Rv32 => 0x2000,
        Xlen::Rv64 => 0x3000,
    };
    if write { read | 0x20 } else { read }
}

impl GuestFault for Fault {
    #[inline]
    fn va(&self) -> VirtAddr {
        VirtAddr(self.tval)
    }

    #[inline]
    fn class(&self) -> FaultClass {
        self.class
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InstructionAccessFault => "instruction access fault",
            Self::LoadAddressMisaligned => "load address misaligned",
            Self::LoadAccessFault => "load access fault",
            Self::StoreAddressMisaligned => "store/AMO address misaligned",
            Self::StoreAccessFault => "store/AMO access fault",
            Self::InstructionPageFault => "instruction page fault",
            Self::LoadPageFault => "load page fault",
            Self::StorePageFault => "store/AMO page fault",
            Self::InstructionGuestPageFault => "instruction guest-page fault",
            Self::LoadGuestPageFault => "load guest-page fault",
            Self::StoreGuestPageFault => "store/AMO guest-page fault",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.class {
            FaultClass::NotMapped => "not mapped",
            FaultClass::Protection => "not permitted",
            FaultClass::Malformed => "reserved page-table entry",
            FaultClass::Address => "address not valid in this mode",
            FaultClass::Physical => "refused by physical memory",
            FaultClass::SecondStage => "refused by the second stage",
        };
        write!(f, "{} (cause {}) at {:#x}: {why}", self.cause, self.code(), self.tval)?;
        if let Some(gpa) = self.guest_address() {
            write!(f, ", guest-physical {gpa}")?;
        }
        if self.tinst != 0 {
            write!(f, ", in a page-table {}", if self.tinst & 0x20 != 0 { "update" } else { "read" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
