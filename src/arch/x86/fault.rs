//! Faults with the exact codes that the guest, or its hypervisor, sees.
//!
//! #PF and its error code: SDM Vol. 3A 4.7, APM Vol. 2 8.4.2. #GP and #SS of non-canonical addresses: SDM Vol. 1
//! 3.3.7.1. EPT violations and misconfigurations: SDM Vol. 3C 28.2.1, 29.3.3. Nested page faults: APM Vol. 2 15.25.6.

use core::fmt;

use super::control::{Cr4, Efer};
use super::rights::Context;
use super::{Flavor, X86};
use crate::access::{Access, AccessKind};
use crate::addr::{GuestAddr, VirtAddr};
use crate::arch::{FaultClass, GuestFault};

bitflags::bitflags! {
    /// The error code of #PF; the low half of a nested page fault's EXITINFO1 reads the same.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct PageFaultCode: u32 {
        /// P: a translation exists; the access was refused.
        const PRESENT = 1;
        /// W/R: the access was a write.
        const WRITE = 1 << 1;
        /// U/S: a user-mode access.
        const USER = 1 << 2;
        /// RSVD: an entry has a reserved bit set.
        const RESERVED = 1 << 3;
        /// I/D: an instruction fetch, where the processor distinguishes them (SMEP or XD enabled).
        const FETCH = 1 << 4;
        /// PK: a protection key denied the access.
        const KEY = 1 << 5;
        /// SS: a shadow-stack access.
        const SHADOW_STACK = 1 << 6;
    }
}

bitflags::bitflags! {
    /// The exit qualification of an EPT violation (SDM Vol. 3C, table 28-7).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct EptQualification: u64 {
        /// The access was a data read.
        const READ = 1;
        /// The access was a data write.
        const WRITE = 1 << 1;
        /// The access was an instruction fetch.
        const FETCH = 1 << 2;
        /// The entries allow reads.
        const READABLE = 1 << 3;
        /// The entries allow writes.
        const WRITABLE = 1 << 4;
        /// The entries allow fetches (from supervisor-mode addresses, with mode-based execute control).
        const EXECUTABLE = 1 << 5;
        /// The entries allow fetches from user-mode addresses (with mode-based execute control only).
        const USER_EXECUTABLE = 1 << 6;
        /// A linear address led here.
        const LINEAR_VALID = 1 << 7;
        /// The access is the one to the translated linear address, not one to a paging structure.
        const FINAL = 1 << 8;
        /// The linear address is a user-mode one (advanced information; with `FINAL`).
        const USER_LINEAR = 1 << 9;
        /// The guest's tables allow writes (advanced information; with `FINAL`).
        const LINEAR_WRITABLE = 1 << 10;
        /// The guest's tables forbid fetches (advanced information; with `FINAL`).
        const LINEAR_NX = 1 << 11;
        /// The access was a shadow-stack access.
        const SHADOW_STACK = 1 << 13;
    }
}

/// What an access or a control-register write raised.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// #PF, vector 14.
    Page {
        /// The error code.
        code: PageFaultCode,
        /// CR2: the linear address.
        cr2: VirtAddr,
    },
    /// #GP, vector 13, error code 0: a non-canonical address, or a value that a control register does not take.
    GeneralProtection {
        /// The address that was not canonical; 0 for a control-register write.
        va: VirtAddr,
    },
    /// #SS, vector 12, error code 0: a non-canonical address through the stack segment.
    Stack {
        /// The address.
        va: VirtAddr,
    },
    /// VM exit: EPT violation (basic reason 48).
    EptViolation {
        /// The exit qualification.
        qualification: EptQualification,
        /// The guest-physical address.
        gpa: GuestAddr,
        /// The guest linear address; means something with [`EptQualification::LINEAR_VALID`].
        va: VirtAddr,
    },
    /// VM exit: EPT misconfiguration (basic reason 49).
    EptMisconfiguration {
        /// The guest-physical address.
        gpa: GuestAddr,
        /// The guest linear address of the access (not reported by the processor).
        va: VirtAddr,
    },
    /// #VMEXIT(NPF), exit code 400h.
    NestedPage {
        /// EXITINFO1: a page-fault error code, with bit 32 for a final access or bit 33 for one to a guest table.
        info: u64,
        /// EXITINFO2: the guest-physical address.
        gpa: GuestAddr,
        /// The guest linear address of the access (not reported by the processor).
        va: VirtAddr,
    },
}

impl Fault {
    /// EXITINFO1 of a nested page fault at the final guest-physical address.
    pub const NPF_FINAL: u64 = 1 << 32;
    /// EXITINFO1 of a nested page fault at a guest page table.
    pub const NPF_TABLE: u64 = 1 << 33;

    /// The exception vector; `None` for a VM exit.
    #[must_use]
    pub const fn vector(&self) -> Option<u8> {
        match self {
            Self::Page { .. } => Some(14),
            Self::GeneralProtection { .. } => Some(13),
            Self::Stack { .. } => Some(12),
            Self::EptViolation { .. } | Self::EptMisconfiguration { .. } | Self::NestedPage { .. } => None,
        }
    }

    /// The exception's error code; EXITINFO1 or the exit qualification of a VM exit (0 for a misconfiguration).
    #[must_use]
    pub const fn error_code(&self) -> u64 {
        match self {
            Self::Page { code, .. } => code.bits() as u64,
            Self::NestedPage { info, .. } => *info,
            Self::EptViolation { qualification, .. } => qualification.bits(),
            Self::GeneralProtection { .. } | Self::Stack { .. } | Self::EptMisconfiguration { .. } => 0,
        }
    }

    /// The guest-physical address of a VM exit.
    #[must_use]
    pub const fn guest_address(&self) -> Option<GuestAddr> {
        match self {
            Self::EptViolation { gpa, .. }
            | Self::EptMisconfiguration { gpa, .. }
            | Self::NestedPage { gpa, .. } => Some(*gpa),
            _ => None,
        }
    }

    /// A refused value for a control register.
    pub(super) const BAD_CONTROL: Self = Self::GeneralProtection { va: VirtAddr(0) };
}

impl GuestFault for Fault {
    fn va(&self) -> VirtAddr {
        match *self {
            Self::Page { cr2, .. } => cr2,
            Self::GeneralProtection { va }
            | Self::Stack { va }
            | Self::EptViolation { va, .. }
            | Self::EptMisconfiguration { va, .. }
            | Self::NestedPage { va, .. } => va,
        }
    }

    fn class(&self) -> FaultClass {
        match self {
            Self::Page { code, .. } if code.contains(PageFaultCode::RESERVED) => FaultClass::Malformed,
            Self::Page { code, .. } if code.contains(PageFaultCode::PRESENT) => FaultClass::Protection,
            Self::Page { .. } => FaultClass::NotMapped,
            Self::GeneralProtection { .. } | Self::Stack { .. } => FaultClass::Address,
            Self::EptViolation { .. } | Self::EptMisconfiguration { .. } | Self::NestedPage { .. } => {
                FaultClass::SecondStage
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Page { code, cr2 } => write!(f, "#PF({:#x}) at {cr2:#x}", code.bits()),
            Self::GeneralProtection { va: VirtAddr(0) } => f.write_str("#GP(0)"),
            Self::GeneralProtection { va } => write!(f, "#GP(0): {va:#x} is not canonical"),
            Self::Stack { va } => write!(f, "#SS(0): {va:#x} is not canonical"),
            Self::EptViolation { qualification, gpa, va } => {
                write!(f, "EPT violation ({:#x}) at {gpa:#x}, linear {va:#x}", qualification.bits())
            }
            Self::EptMisconfiguration { gpa, va } => {
                write!(f, "EPT misconfiguration at {gpa:#x}, linear {va:#x}")
            }
            Self::NestedPage { info, gpa, va } => {
                write!(f, "nested page fault ({info:#x}) at {gpa:#x}, linear {va:#x}")
            }
        }
    }
}

/// Whether fetches are told apart in error codes: SMEP, or XD as far as it can be enabled (SDM 4.7, bit 4).
pub(super) const fn reports_fetches(cr4: Cr4, efer: Efer) -> bool {
    cr4.contains(Cr4::SMEP) || (cr4.contains(Cr4::PAE) && efer.contains(Efer::NXE))
}

/// The bits of #PF's error code that the access alone decides.
pub(super) fn access_code(x86: &X86, context: &Context, access: &Access<Flavor>) -> PageFaultCode {
    let registers = &x86.registers;
    let mut code = PageFaultCode::empty();
    code.set(PageFaultCode::WRITE, access.kind.writes());
    code.set(PageFaultCode::USER, context.user);
    let fetch = access.kind == AccessKind::Execute && reports_fetches(registers.cr4, registers.efer);
    code.set(PageFaultCode::FETCH, fetch);
    code.set(PageFaultCode::SHADOW_STACK, access.flavor.is_shadow_stack());
    code
}
