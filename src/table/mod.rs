//! Page tables that can be edited.
//!
//! A [`PageTable`] maps, unmaps, protects and looks up pages in tables that lie in guest-physical memory: the same
//! bits that the hardware's side walks, with no second representation. [`RadixTable`] edits every radix format that
//! can [`Encode`](crate::radix::Encode) its entries; [`HashedTable`] and [`InvertedTable`] stand beside it.
//!
//! ```text
//!     memory, frames ──►  PageTable::map/unmap/update/..  ──►  Flush    (what TLBs must drop, and frames freed)
//!                              │ walker()
//!                              ▼
//!                           Walker  ──►  arch::software::Software  ──►  Mmu    (any table under an Mmu)
//! ```
//!
//! An edit that fails leaves tables, frames and allocator as they were. Every table is edited by one owner
//! (`&mut self`), while other harts may walk it at any time: single-page edits change entries by compare-and-swap, so
//! that no accessed or dirty bit set meanwhile is lost, and new tables are filled before they are linked.

mod error;
mod flush;
mod hashed;
mod radix;
mod range;
mod walker;

pub use error::EditError;
pub use flush::{Flush, Quarantine, Stale};
pub use hashed::{Chains, HashedTable, InvertedTable};
pub use radix::{RadixTable, RadixWalker};
pub use walker::{Mapping, Physical, Walker};

use core::ops::ControlFlow;

use crate::addr::{PageSize, PhysAddr, VirtAddr};
use crate::frame::FrameAllocator;
use crate::memory::PhysMemory;
use crate::radix::Perms;

/// Marks that [`PageTable::protect`] keeps as it finds them: rights change, what happened to the page does not, nor
/// does what it is made of.
const KEPT: Perms = Perms::ACCESSED.union(Perms::DIRTY).union(Perms::DEVICE);

/// A page table in guest-physical memory.
///
/// Memory and frames are handed to each call, so that any number of tables share one memory and one allocator. Frames
/// are taken for tables only; the pages are the caller's.
///
/// Anyone can implement it, in safe code; the [`Mmu`](crate::mmu::Mmu) walks the result through
/// [`Software`](crate::arch::software::Software).
pub trait PageTable {
    /// What walks the table.
    type Walker: Walker;

    /// The table's walker as it stands now (a table that grows may move its root).
    fn walker(&self) -> Self::Walker;

    /// The sizes of page that the table can map, smallest first.
    fn page_sizes(&self) -> impl Iterator<Item = PageSize>;

    /// Maps the page of `size` at `va` to the memory at `pa`, with just `perms`.
    ///
    /// # Errors
    /// [`EditError::Size`], [`EditError::MisalignedVirtual`], [`EditError::MisalignedPhysical`] or
    /// [`EditError::Untranslatable`] for the page itself; [`EditError::AlreadyMapped`] or [`EditError::TableInWay`]
    /// for what stands there; [`EditError::Encode`] for what the format cannot say; [`EditError::Frames`] or
    /// [`EditError::Full`] when a table cannot be made; [`EditError::Table`] or [`EditError::Reserved`] for damaged
    /// tables.
    fn map<M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized>(
        &mut self,
        memory: &M,
        frames: &mut A,
        va: VirtAddr,
        pa: PhysAddr,
        size: PageSize,
        perms: Perms,
    ) -> Result<Flush, EditError>;

    /// Unmaps the page whose first byte is `va`, of whatever size, and says what it was, accessed and dirty bits
    /// included. Tables that become empty are freed with the token.
    ///
    /// # Errors
    /// [`EditError::NotMapped`]; [`EditError::InsidePage`] when `va` is not the page's first byte; otherwise as for
    /// [`map`](Self::map).
    fn unmap<M: PhysMemory + ?Sized>(
        &mut self,
        memory: &M,
        va: VirtAddr,
    ) -> Result<(Mapping, Flush), EditError>;

    /// Replaces the rights and marks of the page whose first byte is `va` by what `change` makes of them, in one
    /// atomic step (`change` may be asked again if a hart sets a mark meanwhile). Says what the page was before.
    ///
    /// # Errors
    /// As for [`unmap`](Self::unmap); [`EditError::Encode`] for rights that the format cannot hold.
    fn update<M: PhysMemory + ?Sized>(
        &mut self,
        memory: &M,
        va: VirtAddr,
        change: impl FnMut(Perms) -> Perms,
    ) -> Result<(Mapping, Flush), EditError>;

    /// A token for everything, carrying the table frames that dropped tokens left in quarantine.
    fn flush_all(&mut self) -> Flush;

    /// Gives the page whose first byte is `va` the rights `perms`; accessed and dirty marks stay (or are added, where
    /// `perms` names them), and so does its memory type.
    ///
    /// # Errors
    /// As for [`update`](Self::update).
    fn protect<M: PhysMemory + ?Sized>(
        &mut self,
        memory: &M,
        va: VirtAddr,
        perms: Perms,
    ) -> Result<(Mapping, Flush), EditError> {
        self.update(memory, va, |old| perms | (old & KEPT))
    }

    /// What is mapped at `va`, anywhere inside its page; changes nothing.
    ///
    /// # Errors
    /// [`EditError::Untranslatable`], [`EditError::Table`] or [`EditError::Reserved`].
    fn translate<M: PhysMemory + ?Sized>(
        &self,
        memory: &M,
        va: VirtAddr,
    ) -> Result<Option<Mapping>, EditError> {
        self.walker().translate(memory, va)
    }

    /// Maps `len` bytes from `va` on to the memory from `pa` on, with the largest pages that fit. Nothing may be
    /// mapped there yet.
    ///
    /// # Errors
    /// As for [`map`](Self::map); [`EditError::Range`] for a range that is empty, not made of whole pages, or that
    /// wraps.
    fn map_range<M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized>(
        &mut self,
        memory: &M,
        frames: &mut A,
        va: VirtAddr,
        pa: PhysAddr,
        len: u64,
        perms: Perms,
    ) -> Result<Flush, EditError> {
        range::map(self, memory, frames, (va, pa, len), perms)
    }

    /// Unmaps whatever is mapped in the `len` bytes from `va` on; holes are no error. Pages that reach out of the
    /// range are split where the table can do that. Tables that become empty are freed with the token.
    ///
    /// Accessed and dirty marks that other harts set while the range is being unmapped may be lost: where they
    /// matter, [`unmap`](Self::unmap) page by page.
    ///
    /// # Errors
    /// [`EditError::Range`]; [`EditError::InsidePage`] where a page cannot be split; [`EditError::Frames`] when there
    /// is no frame to split one; [`EditError::Table`] or [`EditError::Reserved`] for damaged tables.
    fn unmap_range<M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized>(
        &mut self,
        memory: &M,
        frames: &mut A,
        va: VirtAddr,
        len: u64,
    ) -> Result<Flush, EditError> {
        range::unmap(self, memory, frames, va, len)
    }

    /// Gives whatever is mapped in the `len` bytes from `va` on the rights `perms`, as [`protect`](Self::protect)
    /// does; otherwise as [`unmap_range`](Self::unmap_range).
    ///
    /// # Errors
    /// As for [`unmap_range`](Self::unmap_range); [`EditError::Encode`] for rights that the format cannot hold.
    fn protect_range<M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized>(
        &mut self,
        memory: &M,
        frames: &mut A,
        va: VirtAddr,
        len: u64,
        perms: Perms,
    ) -> Result<Flush, EditError> {
        let _ = frames;
        range::protect(self, memory, va, len, perms)
    }

    /// Shows every page that has a byte in the `len` bytes from `va` on to `visit`, in order, until that breaks off;
    /// changes nothing.
    ///
    /// # Errors
    /// [`EditError::Range`], [`EditError::Untranslatable`]; [`EditError::Table`] or [`EditError::Reserved`] for
    /// damaged tables, after the pages before them.
    fn translate_range<M: PhysMemory + ?Sized>(
        &self,
        memory: &M,
        va: VirtAddr,
        len: u64,
        visit: impl FnMut(Mapping) -> ControlFlow<()>,
    ) -> Result<(), EditError> {
        range::visit(self, memory, va, len, visit)
    }
}
