//! Stage 1: from virtual to intermediate physical addresses (DDI 0487, D8.2 to D8.4; `AArch64.S1Translate`).

use super::attributes::Attributes;
use super::config::Choices;
use super::descriptor::{Descriptor, arm_level};
use super::fault::{Cause, Status};
use super::regime::Regime;
use super::rights::Rights;
use super::stage2::{Halt, Tables, managed};
use crate::addr::low_mask;
use crate::arch::WalkError;
use crate::radix::{Stage, Stop, walk};

/// What stage 1 found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct First {
    /// First byte of the leaf in intermediate physical memory.
    pub(super) base: u64,
    /// log2 of the leaf's size; 64 while stage 1 is off.
    pub(super) size_bits: u32,
    /// log2 of the contiguous run that the leaf belongs to.
    pub(super) run_bits: u32,
    /// Engine level of the leaf.
    pub(super) level: u32,
    pub(super) rights: Rights,
    pub(super) attributes: Attributes,
    pub(super) global: bool,
}

/// An access as stage 1 sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Request {
    /// The address without its tag.
    pub(super) va: u64,
    /// The upper half's tables serve it.
    pub(super) upper: bool,
    pub(super) need: Rights,
    pub(super) store: bool,
    pub(super) fetch: bool,
    pub(super) unaligned: bool,
}

fn fault(status: Status, level: i8) -> Halt {
    WalkError::Fault(Cause::stage1(status, level))
}

/// Stage 1 off: the address is the output, as long as it is one (`AArch64.S1DisabledOutput`).
#[cold]
pub(super) fn flat(request: &Request, pa_bits: u8, attributes: Attributes) -> Result<First, Halt> {
    if request.va >> pa_bits != 0 {
        return Err(fault(Status::AddressSize, 0));
    }
    if request.unaligned && attributes.is_device() {
        return Err(fault(Status::Alignment, 0));
    }
    let rights = Rights::OPEN;
    Ok(First { base: 0, size_bits: 64, run_bits: 0, level: 0, rights, attributes, global: true })
}

/// Stage 1 on: the faults in the architecture's order, then the update of the leaf.
#[inline]
pub(super) fn translate<T: Tables>(
    regime: &Regime,
    choices: &Choices,
    request: &Request,
    memory: &mut T,
) -> Result<First, Halt> {
    let [lower, upper] = &regime.tables;
    let (table, half) = if request.upper { (upper, Rights::UPPER) } else { (lower, Rights::LOWER) };
    let format = &table.format;
    let above = !low_mask(u32::from(format.input_bits));
    let beyond = request.va & above != if request.upper { above } else { 0 };
    // A context that E0PD keeps out of a half needs the right to be in the other one.
    let kept_out = !half.contains(request.need & Rights::HALVES);
    if table.bad_size || beyond || table.walks_off || kept_out {
        return Err(fault(Status::Translation, 0));
    }
    if table.bad_base {
        return Err(fault(Status::AddressSize, 0));
    }
    let leaf = walk(format, Stage::First, table.base, request.va, memory).map_err(|stop| match stop {
        Stop::Absent { at, .. } => fault(Status::Translation, arm_level(at.level)),
        Stop::Reserved { at, .. } => fault(Status::AddressSize, arm_level(at.level)),
        Stop::Source { error, .. } => error,
    })?;
    let level = arm_level(leaf.at.level);
    let Some(raw) = managed(table, leaf.raw, request.store, |raw| raw & !Descriptor::AP2.bits()) else {
        return Err(fault(Status::AccessFlag, level));
    };

    let two = regime.kind.two_ranges();
    let resolve = |raw| {
        if two { Rights::two_privileges(raw, leaf.limits) } else { Rights::one_privilege(raw, leaf.limits) }
    };
    let mut rights = resolve(raw);
    if table.dirty_state && raw & Descriptor::DBM.bits() != 0 && !choices.dbm_for_stores_only {
        // A clean leaf counts as writable; only the stores themselves have to pass here.
        let open = resolve(raw & !Descriptor::AP2.bits());
        rights = open.difference(Rights::WRITES) | rights & Rights::WRITES;
    }
    let attributes = Attributes::stage1(raw, &regime.attributes, format.high, table.share);

    // D8.15: alignment (by memory type), then permission, then anything of stage 2.
    let need = request.need & Rights::ACCESSES;
    if choices.fault_on_device_fetch && attributes.is_device() {
        rights -= Rights::FETCHES;
    }
    let refused = if request.unaligned && attributes.is_device() {
        Some(Status::Alignment)
    } else if !rights.contains(need) {
        Some(Status::Permission)
    } else {
        None
    };
    let new = match refused {
        None => raw,
        Some(_) if choices.access_flag_despite_fault => leaf.raw | raw & Descriptor::AF.bits(),
        Some(_) => leaf.raw,
    };
    memory.update(leaf.at, leaf.raw, new)?;
    if let Some(status) = refused {
        let read_passes = status == Status::Permission && rights.contains(need & Rights::READS);
        return Err(WalkError::Fault(Cause { read_passes, ..Cause::stage1(status, level) }));
    }
    Ok(First {
        base: leaf.base,
        size_bits: leaf.size_bits,
        run_bits: format.run_bits(raw, leaf.at.level, leaf.size_bits),
        level: leaf.at.level,
        rights,
        attributes,
        global: !two || raw & Descriptor::NG.bits() == 0,
    })
}
