//! Faults as the guest sees them: fault status code, ESR, FAR, HPFAR (DDI 0487, D24.2.40).

use super::registers::ExceptionLevel;
use crate::access::{Access, AccessKind};
use crate::addr::{GuestAddr, VirtAddr};
use crate::arch::{FaultClass, GuestFault};
use core::fmt;

/// What went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Status {
    /// An address beyond the output size, of a leaf, a table or a table base register.
    AddressSize,
    /// No valid descriptor, or an address that the regime does not translate.
    Translation,
    /// The Access flag is clear and hardware does not manage it.
    AccessFlag,
    /// The access is not permitted.
    Permission,
    /// Physical memory refused the access itself.
    SyncExternal,
    /// Physical memory refused a descriptor.
    SyncExternalOnWalk,
    /// An unaligned access where alignment is demanded.
    Alignment,
}

/// Why and where a translation stopped, before it is known for whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cause {
    pub(super) status: Status,
    /// The architecture's level, -1 to 3.
    pub(super) level: i8,
    /// The second stage stopped it.
    pub(super) second_stage: bool,
    /// It was the address of a stage 1 descriptor that the second stage stopped.
    pub(super) s1ptw: bool,
    /// The intermediate physical address that the second stage was asked for.
    pub(super) ipa: u64,
    /// A load would have passed: what refuses an atomic is that it stores.
    pub(super) read_passes: bool,
}

impl Cause {
    /// A stop at stage 1.
    pub(super) const fn stage1(status: Status, level: i8) -> Self {
        Self { status, level, second_stage: false, s1ptw: false, ipa: 0, read_passes: false }
    }

    /// A stop at stage 2.
    pub(super) const fn stage2(status: Status, level: i8, ipa: u64) -> Self {
        Self { status, level, second_stage: true, s1ptw: false, ipa, read_passes: false }
    }
}

/// An instruction or data abort.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What FAR_ELx reports: the address as the instruction presented it, tag included.
    pub va: VirtAddr,
    /// What went wrong.
    pub status: Status,
    /// The level, -1 to 3; without meaning for alignment faults and external aborts on the access itself.
    pub level: i8,
    /// The second stage refused.
    pub second_stage: bool,
    /// It refused the address of a stage 1 descriptor (ISS.S1PTW).
    pub s1ptw: bool,
    /// ISS.WnR: a write was refused. Set for cache maintenance; clear for an atomic whose read is refused already.
    pub write: bool,
    /// An instruction fetch.
    pub fetch: bool,
    /// ISS.CM: a cache maintenance instruction.
    pub cache_maintenance: bool,
    /// Where the access was made.
    pub from: ExceptionLevel,
    /// Where the abort is taken to, as far as translation decides it: EL2 for stage 2, else the regime's own level
    /// (`HCR_EL2.TEA`, `SCR_EL3.EA` and the like are the CPU's business).
    pub target: ExceptionLevel,
    pub(super) ipa: u64,
}

impl Fault {
    pub(super) fn new<F>(
        cause: Cause,
        access: &Access<F>,
        cache_maintenance: bool,
        from: ExceptionLevel,
        regime_level: ExceptionLevel,
    ) -> Self {
        Self {
            va: access.va,
            status: cause.status,
            level: cause.level,
            second_stage: cause.second_stage,
            s1ptw: cause.s1ptw,
            write: match access.kind {
                AccessKind::Write => true,
                AccessKind::ReadWrite => cause.read_passes,
                AccessKind::Read | AccessKind::Execute => cache_maintenance,
            },
            fetch: access.kind == AccessKind::Execute,
            cache_maintenance,
            from,
            target: if cause.second_stage { ExceptionLevel::El2 } else { regime_level },
            ipa: cause.ipa,
        }
    }

    /// The fault status code (DFSC, IFSC).
    #[must_use]
    pub const fn fsc(&self) -> u8 {
        let (base, below_zero) = match self.status {
            Status::AddressSize => (0x00, 0x29),
            Status::Translation => (0x04, 0x2b),
            Status::AccessFlag => (0x08, 0x08),
            Status::Permission => (0x0c, 0x0c),
            Status::SyncExternalOnWalk => (0x14, 0x13),
            Status::SyncExternal => return 0x10,
            Status::Alignment => return 0x21,
        };
        if self.level < 0 { below_zero } else { base | self.level as u8 & 3 }
    }

    /// The intermediate physical address, where the architecture reports one: stage 2 Translation, Access flag and
    /// Address size faults, and Permission faults on stage 1 descriptors. Otherwise HPFAR_EL2 is UNKNOWN.
    #[must_use]
    pub const fn ipa(&self) -> Option<GuestAddr> {
        let known = match self.status {
            Status::Translation | Status::AccessFlag | Status::AddressSize => true,
            Status::Permission => self.s1ptw,
            Status::SyncExternal | Status::SyncExternalOnWalk | Status::Alignment => false,
        };
        if self.second_stage && known { Some(GuestAddr(self.ipa)) } else { None }
    }

    /// HPFAR_EL2 where it is known: the page of [`ipa`](Self::ipa), from bit 4 up.
    #[must_use]
    pub const fn hpfar(&self) -> Option<u64> {
        match self.ipa() {
            Some(ipa) => Some((ipa.0 >> 12) << 4),
            None => None,
        }
    }

    /// The instruction specific syndrome. ISV is clear: which register the instruction uses is not known here.
    #[must_use]
    pub const fn iss(&self) -> u32 {
        let write = !self.fetch && self.write;
        (self.cache_maintenance as u32) << 8
            | (self.s1ptw as u32) << 7
            | (write as u32) << 6
            | self.fsc() as u32
    }

    /// ESR_ELx: exception class, IL (always set: aborts report it so), ISS.
    #[must_use]
    pub const fn esr(&self) -> u64 {
        let same_level = (self.from as u8 == self.target as u8) as u64;
        let class = if self.fetch { 0x20 } else { 0x24 } | same_level;
        class << 26 | 1 << 25 | self.iss() as u64
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.status {
            Status::AddressSize => "address size fault",
            Status::Translation => "translation fault",
            Status::AccessFlag => "access flag fault",
            Status::Permission => "permission fault",
            Status::SyncExternal => "synchronous external abort",
            Status::SyncExternalOnWalk => "synchronous external abort on a table walk",
            Status::Alignment => "alignment fault",
        };
        let kind = if self.fetch { "instruction" } else { "data" };
        write!(f, "{kind} abort at {:#x}: {what}", self.va)?;
        if !matches!(self.status, Status::SyncExternal | Status::Alignment) {
            write!(f, ", level {}", self.level)?;
        }
        if self.second_stage {
            write!(f, ", stage 2{}", if self.s1ptw { " of a stage 1 descriptor" } else { "" })?;
        }
        write!(f, " (ESR {:#x})", self.esr())
    }
}

impl GuestFault for Fault {
    fn va(&self) -> VirtAddr {
        self.va
    }

    fn class(&self) -> FaultClass {
        match self.status {
            Status::SyncExternal | Status::SyncExternalOnWalk => FaultClass::Physical,
            _ if self.second_stage => FaultClass::SecondStage,
            Status::Translation | Status::AccessFlag => FaultClass::NotMapped,
            Status::Permission => FaultClass::Protection,
            Status::AddressSize => FaultClass::Malformed,
            Status::Alignment => FaultClass::Address,
        }
    }
}
