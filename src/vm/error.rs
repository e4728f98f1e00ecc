//! Why the kernel's side could not do as asked.

use super::{PageId, SpaceId};
use crate::access::AccessKind;
use crate::addr::{PageSize, VirtAddr};
use crate::frame::FrameError;
use crate::memory::BusError;
use crate::radix::Perms;
use crate::store::StoreError;
use crate::table::EditError;
use alloc::boxed::Box;

/// Why an operation of [`VirtualMemory`](super::VirtualMemory) failed. Every page still has its content.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmError {
    /// There is no such address space (any more).
    #[error("there is no address space {space}")]
    NoSpace {
        /// The one named.
        space: SpaceId,
    },
    /// The address space is not active: it may have no page table.
    #[error("address space {space} is suspended: activate it first")]
    Suspended {
        /// The one named.
        space: SpaceId,
    },
    /// No region covers the address.
    #[error("nothing is at {va:#x}")]
    Unmapped {
        /// The address.
        va: VirtAddr,
    },
    /// The address is in a guard region.
    #[error("{va:#x} is in a guard")]
    Guard {
        /// The address.
        va: VirtAddr,
    },
    /// The region does not allow this access.
    #[error("{kind:?} at {va:#x} is not allowed: the region is {perms:?}")]
    Protection {
        /// The address.
        va: VirtAddr,
        /// The access.
        kind: AccessKind,
        /// What the region allows.
        perms: Perms,
    },
    /// The range is empty, not made of whole pages, or not one that the page table translates.
    #[error(
        "{len:#x} bytes from {va:#x} are not a range of whole {page} pages that the page table translates"
    )]
    Range {
        /// First address.
        va: VirtAddr,
        /// Length in bytes.
        len: u64,
        /// The page size.
        page: PageSize,
    },
    /// The range shares pages with a region.
    #[error("the range from {va:#x} shares pages with the region {first:#x}..={last:#x}")]
    Overlap {
        /// First address of the range asked for.
        va: VirtAddr,
        /// First address of the region.
        first: VirtAddr,
        /// Its last address.
        last: VirtAddr,
    },
    /// No frame is free and none can be made free.
    #[error(
        "out of memory: {pages} of {frames} frames hold pages, {tables} hold page tables, and none can be put out{}",
        if *store_full { "; the backing store is full" } else { "" }
    )]
    OutOfMemory {
        /// Frames that there are.
        frames: u64,
        /// Frames that hold pages.
        pages: u64,
        /// Frames that hold page tables.
        tables: u64,
        /// Whether pages could not be put out because the store has no slot for them.
        store_full: bool,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A region's source could not be read.
    #[error("the content of the page at {va:#x} cannot be read: {error}")]
    Source {
        /// First address of the page.
        va: VirtAddr,
        /// What the source said.
        error: Box<dyn core::error::Error + Send + Sync>,
    },
    /// A page table could not be edited.
    #[error(transparent)]
    Table(#[from] EditError),
    /// The allocator did not take a frame back.
    #[error(transparent)]
    Frames(#[from] FrameError),
    /// A frame is not readable and writable memory.
    #[error(transparent)]
    Memory(#[from] BusError),
    /// Frames, slots and the format's pages differ in size.
    #[error("frames of {frame} and slots of {slot} are not both pages of the table format")]
    PageSize {
        /// The size of a frame.
        frame: PageSize,
        /// The size of a slot.
        slot: PageSize,
    },
    /// A page is in neither a frame nor a slot. Cannot happen: please report it.
    #[error("page {} is nowhere", page.0)]
    Inconsistent {
        /// The page.
        page: PageId,
    },
    /// The host has no memory for the bookkeeping.
    #[error("the host has no memory for the books of virtual memory")]
    HostMemory,
}
