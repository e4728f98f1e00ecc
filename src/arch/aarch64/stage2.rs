//! Stage 2: from intermediate to physical addresses (DDI 0487, D8.5; `AArch64.S2Translate`), for accesses and for the
//! descriptors of stage 1.

use super::config::Choices;
use super::descriptor::{Descriptor, arm_level};
use super::fault::{Cause, Status};
use super::regime::Table;
use super::rights::Rights;
use crate::addr::low_mask;
use crate::arch::{PteMemory, WalkError};
use crate::memory::BusError;
use crate::radix::{Leaf, PteRef, PteSource, Stage, Stop, Subtable, walk};

/// Why a walk stopped: [`WalkError`] before the fault knows its access.
pub(super) type Halt = WalkError<Cause>;

/// What stage 2 is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Request {
    pub(super) ipa: u64,
    /// The rights that the access needs.
    pub(super) need: Rights,
    /// It stores.
    pub(super) store: bool,
    /// It is not aligned, which Device memory does not allow.
    pub(super) unaligned: bool,
    /// It is for a stage 1 descriptor.
    pub(super) descriptor: bool,
}

/// A stage 2 translation, with what its users decide by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Translated {
    /// First byte of the leaf.
    pub(super) base: u64,
    /// log2 of the leaf's size.
    pub(super) size_bits: u32,
    /// log2 of the contiguous run that the leaf belongs to.
    pub(super) run_bits: u32,
    /// Its raw descriptor, as updated.
    pub(super) raw: u64,
    pub(super) rights: Rights,
}

/// Stage 2 as the control state has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stage2<'a> {
    pub(super) table: &'a Table,
    /// FEAT_XNX.
    pub(super) xnx: bool,
    /// `HCR_EL2.PTW`, with the FWB setting that says what Device memory is.
    pub(super) protect_walks: bool,
    pub(super) forced: bool,
    pub(super) choices: &'a Choices,
}

impl Stage2<'_> {
    /// Translates, with the faults in the architecture's order: setup, walk, Access flag, permission; then commits
    /// the Access flag and dirty state.
    pub(super) fn translate<P: PteMemory>(
        &self,
        request: Request,
        memory: &mut P,
    ) -> Result<Translated, Halt> {
        let (table, ipa) = (self.table, request.ipa);
        let format = &table.format;
        let fault = |status, level| {
            let cause = Cause::stage2(status, level, ipa);
            WalkError::Fault(Cause { s1ptw: request.descriptor, ..cause })
        };
        if table.bad_size || ipa >> format.input_bits != 0 {
            return Err(fault(Status::Translation, 0));
        }
        if table.bad_base {
            return Err(fault(Status::AddressSize, 0));
        }
        let leaf = walk(format, Stage::Second, table.base, ipa, memory).map_err(|stop| match stop {
            Stop::Absent { at, .. } => fault(Status::Translation, arm_level(at.level)),
            Stop::Reserved { at, .. } => fault(Status::AddressSize, arm_level(at.level)),
            Stop::Source { at, .. } => fault(Status::SyncExternalOnWalk, arm_level(at.level)),
        })?;
        let level = arm_level(leaf.at.level);
        let Some(raw) = managed(table, leaf.raw, request.store, |raw| raw | Descriptor::S2_WRITE.bits())
        else {
            return Err(fault(Status::AccessFlag, level));
        };
        let device = is_device(raw, self.forced);
        // HCR_EL2.PTW: no descriptors in Device memory.
        let protected = self.protect_walks && request.descriptor && device;
        let mut rights = Rights::second_stage(raw, self.xnx);
        if self.choices.fault_on_device_fetch && device {
            rights -= Rights::FETCHES;
        }
        let need = request.need & Rights::ACCESSES;
        let refused = if request.unaligned && device {
            Some(Status::Alignment)
        } else if !rights.contains(need) || protected && !self.choices.walk_protection_last {
            Some(Status::Permission)
        } else {
            None
        };
        let new = match refused {
            None => raw,
            Some(_) if self.choices.access_flag_despite_fault => leaf.raw | raw & Descriptor::AF.bits(),
            Some(_) => leaf.raw,
        };
        commit(leaf.at, leaf.raw, new, memory)
            .map_err(|halt| halt_as(halt, || fault(Status::SyncExternalOnWalk, level)))?;
        match refused {
            Some(status) => {
                let read_passes = status == Status::Permission && rights.contains(need & Rights::READS);
                let cause = Cause::stage2(status, level, ipa);
                Err(WalkError::Fault(Cause { s1ptw: request.descriptor, read_passes, ..cause }))
            }
            None if protected => Err(fault(Status::Permission, 0)),
            None => Ok(Translated {
                base: leaf.base,
                size_bits: leaf.size_bits,
                run_bits: format.run_bits(raw, leaf.at.level, leaf.size_bits),
                raw,
                rights,
            }),
        }
    }
}

impl Translated {
    /// Where `ipa` lands.
    #[inline]
    pub(super) const fn address(&self, ipa: u64) -> u64 {
        self.base | ipa & low_mask(self.size_bits)
    }
}

/// Whether a leaf makes its page Device memory, FWB being on (`forced`) or off.
#[inline]
pub(super) const fn is_device(raw: u64, forced: bool) -> bool {
    // MemAttr[3:2] = 0 without FWB; with it, MemAttr[2] = 0 (0b0100 is reserved and acts as Device).
    let mem_attr = raw >> 2 & 0xf;
    if forced { mem_attr & 7 <= 4 } else { mem_attr >> 2 == 0 }
}

/// A leaf as hardware would update it for an access: the Access flag set if hardware manages it, the leaf opened for a
/// store if it manages dirty state. `None` is an Access flag fault. Whether the update happens is up to the checks
/// that follow.
#[inline]
pub(super) fn managed(table: &Table, raw: u64, store: bool, open: impl Fn(u64) -> u64) -> Option<u64> {
    let mut new = raw;
    if raw & Descriptor::AF.bits() == 0 {
        if !table.access_flag {
            return None;
        }
        new |= Descriptor::AF.bits();
    }
    if store && table.dirty_state && raw & Descriptor::DBM.bits() != 0 {
        new = open(new);
    }
    Some(new)
}

/// Stores an updated descriptor, if it changed.
#[inline]
pub(super) fn commit<P: PteMemory>(
    at: PteRef,
    old: u64,
    new: u64,
    memory: &mut P,
) -> Result<(), WalkError<BusError>> {
    if old == new {
        return Ok(());
    }
    match memory.update(at, old, new) {
        Ok(true) => Ok(()),
        Ok(false) => Err(WalkError::Raced),
        Err(error) => Err(WalkError::Fault(error)),
    }
}

/// Turns a refusal of [`commit`] into the architecture's fault.
pub(super) fn halt_as(halt: WalkError<BusError>, fault: impl FnOnce() -> Halt) -> Halt {
    match halt {
        WalkError::Raced => WalkError::Raced,
        WalkError::Fault(_) | WalkError::Bus(_) => fault(),
    }
}

/// Where a stage 1 walk finds its descriptors and updates them (`AArch64.S1Walk`).
pub(super) trait Tables: PteSource<Error = Halt> {
    /// Updates the descriptor at `at`, if it changed.
    fn update(&mut self, at: PteRef, old: u64, new: u64) -> Result<(), Halt>;
}

/// Without stage 2: descriptors are where they seem to be.
pub(super) struct Direct<'a, P>(pub(super) &'a mut P);

/// Descriptors are named by intermediate addresses and reached through stage 2.
pub(super) struct Nested<'a, P> {
    pub(super) stage2: Stage2<'a>,
    pub(super) memory: &'a mut P,
}

impl<P: PteMemory> Nested<'_, P> {
    /// Where a descriptor lies in physical memory, for a load of it or an update.
    fn place(&mut self, at: PteRef, store: bool) -> Result<PteRef, Halt> {
        let need = if store { Rights::PRIV_READ | Rights::PRIV_WRITE } else { Rights::PRIV_READ };
        let request = Request { ipa: at.addr, need, store, unaligned: false, descriptor: true };
        let translated = self.stage2.translate(request, self.memory)?;
        Ok(PteRef { addr: translated.address(at.addr), ..at })
    }
}

/// The bus refused a stage 1 descriptor.
#[cold]
fn aborted(at: PteRef) -> Halt {
    WalkError::Fault(Cause::stage1(Status::SyncExternalOnWalk, arm_level(at.level)))
}

impl<P: PteMemory> Tables for Direct<'_, P> {
    #[inline]
    fn update(&mut self, at: PteRef, old: u64, new: u64) -> Result<(), Halt> {
        commit(at, old, new, self.0).map_err(|halt| halt_as(halt, || aborted(at)))
    }
}

impl<P: PteMemory> Tables for Nested<'_, P> {
    /// A store, in the eyes of stage 2.
    fn update(&mut self, at: PteRef, old: u64, new: u64) -> Result<(), Halt> {
        if old == new {
            return Ok(());
        }
        let place = self.place(at, true)?;
        commit(place, old, new, self.memory).map_err(|halt| halt_as(halt, || aborted(at)))
    }
}

macro_rules! caches_of_memory {
    ($memory:tt) => {
        #[inline]
        fn resume(&mut self, stage: Stage, va: u64) -> Option<Subtable> {
            self.$memory.resume(stage, va)
        }

        #[inline]
        fn recall(&mut self, stage: Stage, va: u64) -> Option<Leaf> {
            self.$memory.recall(stage, va)
        }

        #[inline]
        fn reached(&mut self, stage: Stage, va: u64, leaf: &Leaf) {
            self.$memory.reached(stage, va, leaf);
        }

        #[inline]
        fn descended(&mut self, stage: Stage, va: u64, table: Subtable) {
            self.$memory.descended(stage, va, table);
        }
    };
}

impl<P: PteMemory> PteSource for Direct<'_, P> {
    type Error = Halt;

    #[inline(always)]
    fn read(&mut self, at: PteRef) -> Result<u64, Halt> {
        self.0.read(at).map_err(|_| aborted(at))
    }

    caches_of_memory!(0);
}

impl<P: PteMemory> PteSource for Nested<'_, P> {
    type Error = Halt;

    #[inline]
    fn read(&mut self, at: PteRef) -> Result<u64, Halt> {
        let place = self.place(at, false)?;
        self.memory.read(place).map_err(|_| aborted(at))
    }

    caches_of_memory!(memory);
}
