//! Why an edit was refused.

use crate::addr::{Asid, PageSize, PhysAddr, VirtAddr};
use crate::frame::FrameError;
use crate::memory::BusError;
use crate::radix::EncodeError;

/// Why a page table was not edited. Everything is as it was before the call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// A page is mapped there already.
    #[error("{va:#x} is mapped already, to {pa:#x} by the {size} page at {page:#x}")]
    AlreadyMapped {
        /// The address that was to be mapped.
        va: VirtAddr,
        /// First byte of the page that holds it.
        page: VirtAddr,
        /// Where that page lies.
        pa: PhysAddr,
        /// How large it is.
        size: PageSize,
    },
    /// A table of smaller pages, not an empty one, stands where a page was to be mapped.
    #[error(
        "a table of smaller pages (at {table:#x}) stands where the {size} page at {va:#x} was to be mapped"
    )]
    TableInWay {
        /// The page that was to be mapped.
        va: VirtAddr,
        /// Its size.
        size: PageSize,
        /// The table that stands there.
        table: PhysAddr,
    },
    /// Nothing is mapped there.
    #[error("nothing is mapped at {va:#x}")]
    NotMapped {
        /// The address.
        va: VirtAddr,
    },
    /// The address, or the end of the range, lies inside a page, and the table cannot split that page.
    #[error("{va:#x} lies inside the {size} page at {page:#x}")]
    InsidePage {
        /// The address.
        va: VirtAddr,
        /// First byte of the page.
        page: VirtAddr,
        /// The page's size.
        size: PageSize,
    },
    /// The virtual address is not a multiple of the page size.
    #[error("virtual address {va:#x} is not aligned to a {size} page")]
    MisalignedVirtual {
        /// The address.
        va: VirtAddr,
        /// The page size.
        size: PageSize,
    },
    /// The physical address is not a multiple of the page size.
    #[error("physical address {pa:#x} is not aligned to a {size} page")]
    MisalignedPhysical {
        /// The address.
        pa: PhysAddr,
        /// The page size.
        size: PageSize,
    },
    /// The mode does not translate this address.
    #[error("{va:#x} is not an address that this page table translates")]
    Untranslatable {
        /// The address.
        va: VirtAddr,
    },
    /// The format has no pages of this size.
    #[error("the page table has no {size} pages")]
    Size {
        /// The size asked for.
        size: PageSize,
    },
    /// The range is empty, is not made of whole pages, or wraps past the top of the address space.
    #[error(
        "{len:#x} bytes from {va:#x} are not a range of whole {size} pages that this page table translates"
    )]
    Range {
        /// The range's first byte.
        va: VirtAddr,
        /// Its length in bytes.
        len: u64,
        /// The smallest page size, which it must be a multiple of.
        size: PageSize,
    },
    /// The entry cannot be made.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// No frame for a table, or one that could not be given back.
    #[error(transparent)]
    Frames(#[from] FrameError),
    /// Every slot that the page could take is in use, and the table cannot grow.
    #[error("no slot is left for {va:#x}")]
    Full {
        /// The page that was to be mapped.
        va: VirtAddr,
    },
    /// The frame is mapped already, and the table has one entry a frame.
    #[error("the frame at {pa:#x} is mapped already, at {va:#x} of space {}", asid.0)]
    FrameInUse {
        /// The frame.
        pa: PhysAddr,
        /// Where it is mapped.
        va: VirtAddr,
        /// In which address space.
        asid: Asid,
    },
    /// A table, or the entry in it, cannot be read or written: it points at nothing, or into read-only memory.
    #[error("page-table entry at {at:#x} (level {level}): {error}")]
    Table {
        /// The entry's place.
        at: PhysAddr,
        /// The level of its table, 0 for the leafmost.
        level: u32,
        /// What the bus said.
        error: BusError,
    },
    /// An entry on the way has a reserved encoding.
    #[error("page-table entry at {at:#x} (level {level}) holds the reserved encoding {raw:#x}")]
    Reserved {
        /// The entry's place.
        at: PhysAddr,
        /// The level of its table.
        level: u32,
        /// What it holds.
        raw: u64,
    },
    /// Someone else kept changing this entry.
    #[error("page-table entry at {at:#x} kept changing while it was edited")]
    Contended {
        /// The entry's place.
        at: PhysAddr,
    },
}
