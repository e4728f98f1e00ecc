//! The kernel's side: more memory than there is, for more programs than one.
//!
//! [`VirtualMemory`] keeps address spaces over one physical memory. Each space is a list of [`Region`]s, promises of
//! what memory is to be like; pages are made when they are touched, shared until they are written, and put into a
//! [`BackingStore`] when frames run out. It edits the very tables that the hardware's side
//! walks and never holds an [`Mmu`]:
//!
//! ```text
//!   Mmu ──Fault──► embedder ──handle_fault(space, va, kind)──► region ──► page ──► frame ──► table entry
//!    ▲                                                                     │
//!    └───────── tries the access again                                     ▼ none free: policy picks a victim,
//!    ◄── Harts::invalidate(scope) ──────────────────── unmapped everywhere, flushed, written if dirty, reused
//! ```
//!
//! Files: `region` (what a space promises), `page` (one page's life, and the reverse map), `space`, `shared` (memory of
//! several spaces); `fault` brings pages in and copies on write, `evict` puts them out, `edit` changes spaces, `copy` is the kernel's own access;
//! `policy` chooses victims. With the feature `elf`, the module `elf` turns a program's segments into regions.
//!
//! # Protocol
//!
//! * A frame is reused, and a page written out, only after every table entry for it is gone and every hart has been
//!   told ([`Harts`]). Nothing is flushed later than that.
//! * A page in a frame need not be in any table: it may wait there, its content complete. So every operation that
//!   fails half-way stops in a state that the next access continues from, and loses nothing.
//! * Whether a page is dirty is known from the entries' dirty marks where the format has them, and from write faults
//!   where it has not; whether it is used, from accessed marks, or else by unmapping it and seeing it come back.

mod copy;
mod edit;
#[cfg(feature = "elf")]
pub mod elf;
mod error;
mod evict;
mod fault;
mod page;
mod policy;
mod region;
mod shared;
mod space;
mod stats;

#[cfg(test)]
mod tests;

pub use error::VmError;
pub use fault::Resolved;
pub use page::PageId;
pub use policy::{Clock, Fifo, Policy};
pub use region::{Backing, Region, Source};
pub use shared::SharedMemory;
pub use space::SpaceId;
pub use stats::{Usage, VmStats};

use crate::addr::{PageSize, PhysAddr};
use crate::arch::Arch;
use crate::frame::{FrameAllocator, FrameError};
use crate::memory::PhysMemory;
use crate::mmu::Mmu;
use crate::radix::{Encode, EncodeError, Perms};
use crate::store::{BackingStore, Slot};
use crate::tlb::{Scope, Tlb};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use page::Pages;
use space::AddressSpace;

/// Whoever may hold translations of the address spaces: every hart that runs one, all of them at once.
///
/// Implemented by closures over a [`Scope`] and by an [`Mmu`]; `()` is for memory that no hart has seen yet.
pub trait Harts {
    /// Drops what `scope` names from every TLB, before it returns.
    fn invalidate(&mut self, scope: &Scope);
}

impl<H: FnMut(&Scope)> Harts for H {
    fn invalidate(&mut self, scope: &Scope) {
        self(scope);
    }
}

impl<A: Arch, M: PhysMemory, T: Tlb> Harts for Mmu<A, M, T> {
    fn invalidate(&mut self, scope: &Scope) {
        Mmu::invalidate(self, scope);
    }
}

impl Harts for () {
    fn invalidate(&mut self, _scope: &Scope) {}
}

/// Address spaces over one memory, with demand paging, copy-on-write and swap.
///
/// Generic over the table format, the memory, the allocator of its frames, the store, and the replacement
/// [`Policy`]. The page is the allocator's frame; the format must have pages of that size and the store slots.
///
/// ```
/// use softmmu::access::AccessKind;
/// use softmmu::addr::{PageSize, PhysAddr, VirtAddr};
/// use softmmu::arch::custom::Config;
/// use softmmu::frame::BitmapAllocator;
/// use softmmu::memory::Ram;
/// use softmmu::radix::Perms;
/// use softmmu::store::MemoryStore;
/// use softmmu::tlb::Space;
/// use softmmu::vm::{Region, Resolved, VirtualMemory};
///
/// // Eight frames of RAM; two of them will be page tables.
/// let ram = Ram::new(PhysAddr(0), 8 * 4096)?;
/// let frames = BitmapAllocator::new(ram.range(), PageSize::SIZE_4K)?;
/// let store = MemoryStore::new(PageSize::SIZE_4K, 100);
/// let format = Config::two_level_32().build()?;
/// let mut vm = VirtualMemory::new(format, &ram, frames, store)?;
///
/// let space = vm.create(Space::default());
/// let heap = Region::anonymous(VirtAddr(0x1_0000), 32 * 4096, Perms::READ | Perms::WRITE | Perms::USER);
/// vm.map(space, heap)?;
///
/// // What an emulator does when its Mmu reports a fault:
/// let root = vm.activate(space, &mut ())?;
/// let va = VirtAddr(0x1_2345);
/// assert_eq!(vm.handle_fault(space, va, AccessKind::Write, &mut ())?, Resolved::ZeroFilled);
///
/// // 32 pages live in the six frames that are left.
/// for page in 0..32 {
///     vm.write(space, VirtAddr(0x1_0000 + page * 4096), &[page as u8], &mut ())?;
/// }
/// for page in 0..32 {
///     let mut byte = [0];
///     vm.read(space, VirtAddr(0x1_0000 + page * 4096), &mut byte, &mut ())?;
///     assert_eq!(byte, [page as u8]);
/// }
/// assert!(vm.stats().dirty_evictions >= 26);
/// vm.destroy(space, &mut ())?;
/// assert_eq!(vm.usage().leaked_frames(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct VirtualMemory<F, M, A, S, P = Clock> {
    format: F,
    memory: M,
    frames: A,
    store: S,
    policy: P,
    page: PageSize,
    pages: Pages,
    spaces: BTreeMap<SpaceId, AddressSpace<F>>,
    next_space: u32,
    /// Shared memories.
    objects: Vec<shared::Object>,
    /// How many of the pages that an active space's last faults were about stay.
    protected: usize,
    /// One page of host memory, for moving content.
    buffer: Vec<u8>,
    /// Slots that the store would not take back yet.
    unfreed: Vec<Slot>,
    /// Frames that were free at the start.
    frames_total: u64,
    /// Frames in page tables.
    frames_tables: u64,
    stats: VmStats,
}

impl<F: Encode, M: PhysMemory, A: FrameAllocator, S: BackingStore> VirtualMemory<F, M, A, S> {
    /// No address space yet, over the frames of `frames` in `memory`; replacement is by [`Clock`].
    ///
    /// # Errors
    /// [`VmError::PageSize`] when the frames, the slots and the format's pages differ in size;
    /// [`VmError::HostMemory`].
    pub fn new(format: F, memory: M, frames: A, store: S) -> Result<Self, VmError> {
        Self::with_policy(format, memory, frames, store, Clock::default())
    }
}

impl<F: Encode, M: PhysMemory, A: FrameAllocator, S: BackingStore, P: Policy> VirtualMemory<F, M, A, S, P> {
    /// As [`new`](VirtualMemory::new), with a policy of your choice.
    ///
    /// # Errors
    /// As for [`new`](VirtualMemory::new).
    pub fn with_policy(format: F, memory: M, frames: A, store: S, policy: P) -> Result<Self, VmError> {
        let page = frames.frame_size();
        let all = Perms::READ | Perms::WRITE | Perms::EXECUTE;
        let level = (0..=format.top_level()).find(|&level| format.shift(level) == page.bits());
        let has_pages = level.is_some_and(|level| {
            !matches!(format.encode_leaf(PhysAddr(0), level, all), Err(EncodeError::Level { .. }))
        });
        if !has_pages || store.slot_size() != page {
            return Err(VmError::PageSize { frame: page, slot: store.slot_size() });
        }
        let bytes = usize::try_from(page.bytes()).map_err(|_| VmError::HostMemory)?;
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(bytes).map_err(|_| VmError::HostMemory)?;
        buffer.resize(bytes, 0);
        Ok(Self {
            frames_total: frames.free_frames(),
            format,
            memory,
            frames,
            store,
            policy,
            page,
            pages: Pages::default(),
            spaces: BTreeMap::new(),
            next_space: 0,
            objects: Vec::new(),
            protected: 3,
            buffer,
            unfreed: Vec::new(),
            frames_tables: 0,
            stats: VmStats::default(),
        })
    }

    /// How many of the pages that an active space faulted for last are not put out to make room for the next: one less
    /// than its harts' instructions can need together. It is 3 at first, enough for one hart whose instructions may lie
    /// across a page boundary and access memory across another. Where the pages do not fit, the access ends in
    /// [`VmError::OutOfMemory`]; otherwise the instruction would never complete.
    pub fn set_protected(&mut self, pages: usize) {
        self.protected = pages;
    }

    /// The size of a page.
    pub fn page_size(&self) -> PageSize {
        self.page
    }

    /// The memory.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// The store.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The allocator of frames.
    pub fn frames(&self) -> &A {
        &self.frames
    }

    /// The replacement policy.
    pub fn policy(&self) -> &P {
        &self.policy
    }

    /// The spaces that exist, in the order of their making.
    pub fn spaces(&self) -> impl Iterator<Item = SpaceId> {
        self.spaces.keys().copied().filter(|&space| !self.is_hidden(space))
    }

    /// What has been counted, all spaces together, those destroyed included.
    pub fn stats(&self) -> VmStats {
        self.stats
    }

    /// What accesses to `space` have caused. Evictions and writes are nobody's: only [`stats`](Self::stats) has them.
    ///
    /// # Errors
    /// [`VmError::NoSpace`].
    pub fn space_stats(&self, space: SpaceId) -> Result<VmStats, VmError> {
        Ok(self.space(space)?.stats)
    }

    /// Where frames and slots are now.
    pub fn usage(&self) -> Usage {
        Usage {
            frames_total: self.frames_total,
            frames_free: self.frames.free_frames(),
            frames_pages: self.pages.resident(),
            frames_tables: self.frames_tables,
            slots_capacity: self.store.capacity(),
            slots_used: self.store.used(),
            slots_pages: self.pages.slots() + self.unfreed.len() as u64,
        }
    }

    fn space(&self, space: SpaceId) -> Result<&AddressSpace<F>, VmError> {
        self.spaces.get(&space).ok_or(VmError::NoSpace { space })
    }

    fn space_mut(&mut self, space: SpaceId) -> Result<&mut AddressSpace<F>, VmError> {
        self.spaces.get_mut(&space).ok_or(VmError::NoSpace { space })
    }

    /// Counts something for `space` and for all.
    fn count(&mut self, space: SpaceId, count: impl Fn(&mut VmStats)) {
        count(&mut self.stats);
        if let Some(space) = self.spaces.get_mut(&space) {
            count(&mut space.stats);
        }
    }
}

/// The allocator as page tables see it: what they take and give back is counted.
struct TableFrames<'a, A> {
    frames: &'a mut A,
    count: &'a mut u64,
}

impl<A: FrameAllocator> FrameAllocator for TableFrames<'_, A> {
    fn frame_size(&self) -> PageSize {
        self.frames.frame_size()
    }

    fn allocate(&mut self, order: u32) -> Result<PhysAddr, FrameError> {
        let frame = self.frames.allocate(order)?;
        *self.count += 1 << order;
        Ok(frame)
    }

    fn free(&mut self, frame: PhysAddr, order: u32) -> Result<(), FrameError> {
        self.frames.free(frame, order)?;
        *self.count -= 1 << order;
        Ok(())
    }

    fn free_frames(&self) -> u64 {
        self.frames.free_frames()
    }
}
