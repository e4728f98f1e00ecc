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
/// [`Software`](crate::arch::software::Software). Here is the table of a first lecture, an array with an entry for
/// each page there is; the methods for ranges come by themselves:
///
/// ```
/// use softmmu::access::Width;
/// use softmmu::addr::{PageSize, PhysAddr, VirtAddr};
/// use softmmu::arch::software::Software;
/// use softmmu::frame::FrameAllocator;
/// use softmmu::memory::{PhysMemory, Ram};
/// use softmmu::mmu::Mmu;
/// use softmmu::radix::{EncodeError, Leaf, Perms, PteRef, PteSource, Stage, Stop};
/// use softmmu::table::{EditError, Flush, Mapping, PageTable, Walker};
///
/// /// 256 pages of 4 KiB. An entry is 8 bytes: frame, rights, and bit 11 for "valid".
/// #[derive(Clone, Copy)]
/// struct Linear(PhysAddr);
///
/// const VALID: u64 = 1 << 11;
///
/// impl Linear {
///     fn at(&self, va: VirtAddr) -> PteRef {
///         PteRef { addr: self.0.0 + (va.0 >> 12) * 8, bytes: 8, level: 0, stage: Stage::First }
///     }
///     fn set<M: PhysMemory + ?Sized>(&self, memory: &M, va: VirtAddr, raw: u64) -> Result<(), EditError> {
///         let at = PhysAddr(self.at(va).addr);
///         memory.write(at, Width::W8, raw).map_err(|error| EditError::Table { at, level: 0, error })
///     }
///     fn page<M: PhysMemory + ?Sized>(&self, memory: &M, va: VirtAddr) -> Result<Mapping, EditError> {
///         match self.translate(memory, va)? {
///             Some(page) if page.va == va => Ok(page),
///             Some(page) => Err(EditError::InsidePage { va, page: page.va, size: page.size }),
///             None => Err(EditError::NotMapped { va }),
///         }
///     }
/// }
///
/// impl Walker for Linear {
///     fn find<S: PteSource>(&self, va: VirtAddr, source: &mut S) -> Result<Leaf, Stop<S::Error>> {
///         let at = self.at(va);
///         let raw = source.read(at).map_err(|error| Stop::Source { at, error })?;
///         if raw & VALID == 0 {
///             return Err(Stop::Absent { at, raw, limits: 0 });
///         }
///         Ok(Leaf { base: raw & !0xfff, size_bits: 12, raw, at, limits: 0 })
///     }
///     fn translates(&self, va: VirtAddr) -> bool {
///         va.0 < 256 << 12
///     }
///     fn perms(&self, leaf: &Leaf) -> Perms {
///         Perms::from_bits_truncate(leaf.raw as u16 & 0xff)
///     }
///     fn with_perms(&self, leaf: &Leaf, perms: Perms) -> Result<u64, EncodeError> {
///         Ok(leaf.raw & !0xff | u64::from(perms.bits()))
///     }
/// }
///
/// impl PageTable for Linear {
///     type Walker = Self;
///
///     fn walker(&self) -> Self {
///         *self
///     }
///     fn page_sizes(&self) -> impl Iterator<Item = PageSize> {
///         [PageSize::SIZE_4K].into_iter()
///     }
///     fn map<M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized>(
///         &mut self, memory: &M, _: &mut A, va: VirtAddr, pa: PhysAddr, size: PageSize, perms: Perms,
///     ) -> Result<Flush, EditError> {
///         if let Some(Mapping { va: page, pa, size, .. }) = self.translate(memory, va)? {
///             return Err(EditError::AlreadyMapped { va, page, pa, size });
///         }
///         if !pa.is_aligned(12) {
///             return Err(EditError::MisalignedPhysical { pa, size });
///         }
///         self.set(memory, va, pa.0 | u64::from(perms.bits()) | VALID)?;
///         Ok(Flush::nothing())
///     }
///     fn unmap<M: PhysMemory + ?Sized>(
///         &mut self, memory: &M, va: VirtAddr,
///     ) -> Result<(Mapping, Flush), EditError> {
///         let page = self.page(memory, va)?;
///         self.set(memory, va, 0)?;
///         Ok((page, Flush::of(&page)))
///     }
///     fn update<M: PhysMemory + ?Sized>(
///         &mut self, memory: &M, va: VirtAddr, mut change: impl FnMut(Perms) -> Perms,
///     ) -> Result<(Mapping, Flush), EditError> {
///         let page = self.page(memory, va)?;
///         self.set(memory, va, page.raw & !0xff | u64::from(change(page.perms).bits()))?;
///         Ok((page, Flush::of(&page)))
///     }
///     fn flush_all(&mut self) -> Flush {
///         Flush::new(softmmu::table::Stale::All) // it frees no frames, so none wait for this
///     }
/// }
///
/// # struct Nothing;
/// # impl FrameAllocator for Nothing {
/// #     fn frame_size(&self) -> PageSize { PageSize::SIZE_4K }
/// #     fn allocate(&mut self, order: u32) -> Result<PhysAddr, softmmu::frame::FrameError> {
/// #         Err(softmmu::frame::FrameError::OutOfFrames { order })
/// #     }
/// #     fn free(&mut self, frame: PhysAddr, _: u32) -> Result<(), softmmu::frame::FrameError> {
/// #         Err(softmmu::frame::FrameError::Foreign { frame })
/// #     }
/// #     fn free_frames(&self) -> u64 { 0 }
/// # }
/// let ram = Ram::new(PhysAddr(0), 1 << 20)?;
/// let mut table = Linear(PhysAddr(0x8000));
/// let rights = Perms::READ | Perms::WRITE;
/// table.map_range(&ram, &mut Nothing, VirtAddr(0x10_000), PhysAddr(0x20_000), 0x4000, rights)?.forget();
///
/// let mut mmu = Mmu::new(Software::new(table.walker()), &ram, ());
/// mmu.store::<u32>(VirtAddr(0x12_004), 7)?;
/// assert_eq!(ram.read(PhysAddr(0x22_004), Width::W4)?, 7);
/// let page = table.translate(&ram, VirtAddr(0x12_000))?.expect("mapped");
/// assert!(page.perms.contains(Perms::ACCESSED | Perms::DIRTY));
/// assert!(mmu.load::<u32>(VirtAddr(0x14_000)).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
        self.walker().page_at(memory, va)
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
