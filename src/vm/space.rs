//! One address space.

use super::Harts;
use super::page::PageId;
use super::region::Regions;
use super::stats::VmStats;
use crate::addr::VirtAddr;
use crate::frame::FrameAllocator;
use crate::memory::PhysMemory;
use crate::radix::{Encode, Perms};
use crate::table::{EditError, PageTable, RadixTable};
use crate::tlb::Space;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;

/// The name of an address space; never used again for another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SpaceId(pub(super) u32);

impl fmt::Display for SpaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

#[derive(Debug)]
pub(super) struct AddressSpace<F> {
    /// How its translations are tagged in TLBs.
    pub(super) tag: Space,
    pub(super) regions: Regions,
    /// Its pages by page number, whether mapped or not.
    pub(super) pages: BTreeMap<u64, PageId>,
    /// Numbers of the device pages in its table.
    pub(super) devices: BTreeSet<u64>,
    /// Its page table, if it has one now.
    pub(super) table: Option<RadixTable<F>>,
    /// The numbers of the pages that its last faults were about, the newest at the end: an instruction may not be
    /// done with them. Empty while it is suspended.
    pub(super) recent: Vec<u64>,
    /// Whether a hart may be walking the table.
    pub(super) active: bool,
    pub(super) stats: VmStats,
}

impl<F> AddressSpace<F> {
    pub(super) fn new(tag: Space) -> Self {
        Self {
            tag,
            regions: Regions::default(),
            pages: BTreeMap::new(),
            devices: BTreeSet::new(),
            table: None,
            recent: Vec::new(),
            active: false,
            stats: VmStats::default(),
        }
    }

    /// A fault was about page `number`; no more than `protected` of them are remembered.
    pub(super) fn touch(&mut self, number: u64, protected: usize) {
        self.recent.retain(|&other| other != number);
        self.recent.push(number);
        self.recent.drain(..self.recent.len().saturating_sub(protected));
    }
}

impl<F: Encode> AddressSpace<F> {
    /// The marks of the entry for `va`, of which the accessed mark is cleared, so that the next asking tells of later
    /// uses alone. An entry that cannot be read counts as used: its page is better left alone.
    pub(super) fn forget_use<M: PhysMemory, A: FrameAllocator>(
        &mut self,
        va: VirtAddr,
        memory: &M,
        frames: &mut A,
        harts: &mut (impl Harts + ?Sized),
    ) -> Perms {
        let Some(table) = &mut self.table else { return Perms::empty() };
        let asked = if table.format().marks().contains(Perms::ACCESSED) {
            table.update(memory, va, |old| old - Perms::ACCESSED)
        } else {
            // No mark to look at, so the entry itself is taken: a page that is used comes back by a fault.
            table.unmap(memory, va).map(|(mut old, flush)| {
                old.perms |= Perms::ACCESSED;
                (old, flush)
            })
        };
        match asked {
            Ok((old, flush)) => match flush.apply(self.tag, frames, |scope| harts.invalidate(scope)) {
                Ok(()) => old.perms,
                Err(_) => old.perms | Perms::ACCESSED,
            },
            Err(EditError::NotMapped { .. }) => Perms::empty(),
            Err(_) => Perms::ACCESSED,
        }
    }
}
