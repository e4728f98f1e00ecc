//! The radix table: edits every format that can encode its entries.
//!
//! Single pages (`single`) begin with the walk that the hardware's side does and end with one compare-and-swap; what is
//! new is built aside and linked by that one. Ranges (`range`, which is `fill` for mapping and `rewrite` for the rest;
//! `visit` for reading) go down each table once and move entries in runs (`run`), looking at runs of usual or `even`
//! leaves as a whole. What they are to store waits in `changes`; a table that they empty or cover is `unlinked` without a
//! look at what it maps. All speak of *tables* by their physical address and of *entries* by [`PteRef`]; how an entry is
//! cut into bits is the format's business alone.

mod changes;
mod even;
mod fill;
mod range;
mod raw;
mod rewrite;
mod run;
mod single;
mod unlinked;
mod visit;

use core::ops::ControlFlow;

use super::walker::refusal;
use super::{EditError, Flush, Mapping, PageTable, Physical, Quarantine, Walker};
use crate::addr::{PageSize, PhysAddr, VirtAddr, low_mask};
use crate::frame::FrameAllocator;
use crate::memory::{BusError, PhysMemory};
use crate::radix::{Encode, EncodeError, Entry, Format, Leaf, Perms, PteRef, PteSource, Stage, Stop, walk};
use changes::Changes;
use raw::Fresh;
pub(super) use raw::{put, read, swap};

/// No format has more levels than an address has bits.
const MAX_LEVELS: usize = 64;

/// A radix page table of format `F`, with its root in guest-physical memory.
///
/// ```
/// # use softmmu::arch::custom::Config;
/// # use softmmu::memory::PhysMemory;
/// # use softmmu::frame::FrameAllocator;
/// use softmmu::addr::{PageSize, PhysAddr, VirtAddr};
/// use softmmu::radix::Perms;
/// use softmmu::table::{EditError, PageTable, RadixTable};
///
/// # fn demo(memory: &impl PhysMemory, frames: &mut impl FrameAllocator) -> Result<(), EditError> {
/// let format = Config::two_level_32().build().expect("a preset");
/// let mut table = RadixTable::new(format, memory, frames)?;
/// let (va, pa) = (VirtAddr(0x40_0000), PhysAddr(0x8000));
/// let rights = Perms::READ | Perms::WRITE | Perms::USER;
///
/// // Mapping what was absent leaves nothing stale in any TLB.
/// assert!(table.map(memory, frames, va, pa, PageSize::SIZE_4K, rights)?.is_nothing());
/// let page = table.translate(memory, VirtAddr(0x40_0123))?.expect("just mapped");
/// assert_eq!(page.address(VirtAddr(0x40_0123)), PhysAddr(0x8123));
///
/// let (page, flush) = table.unmap(memory, va)?;
/// assert_eq!((page.pa, flush.frames()), (pa, 1)); // the leaf table went with its only page
/// flush.apply(Default::default(), frames, |scope| { /* every hart's TLB drops `scope` */ })?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct RadixTable<F> {
    format: F,
    root: PhysAddr,
    /// Bit `n`: the format has leaves at level `n`.
    leaf_levels: u64,
    /// The size of the frames that its tables are made of.
    frame_size: PageSize,
    quarantine: Quarantine,
    /// Empty, but for the memory that the next edit of a range will need.
    changes: Changes,
}

/// The walking half of a [`RadixTable`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RadixWalker<F> {
    /// The format of the entries.
    pub format: F,
    /// The root table's first byte.
    pub root: PhysAddr,
}

impl<F: Encode> RadixTable<F> {
    /// An empty table: takes a frame for the root and fills it.
    ///
    /// # Errors
    /// [`EditError::Frames`] without a frame, [`EditError::Table`] when the frame is not writable memory.
    pub fn new<M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized>(
        format: F,
        memory: &M,
        frames: &mut A,
    ) -> Result<Self, EditError> {
        let frame_size = frames.frame_size();
        let mut fresh = Fresh::new(frames);
        let root = fresh.table(memory, &format, format.top_level())?;
        fresh.keep();
        Ok(Self::adopt(format, root, frame_size))
    }

    /// The table whose root stands at `root` already, built by a guest or restored. Tables below it are taken to be
    /// its own, made of frames of `frame_size`: unmapping frees those that become empty.
    #[must_use]
    pub fn adopt(format: F, root: PhysAddr, frame_size: PageSize) -> Self {
        let all = Perms::READ | Perms::WRITE | Perms::EXECUTE | Perms::ACCESSED | Perms::DIRTY;
        let has_leaves = |level: &u32| {
            !matches!(format.encode_leaf(PhysAddr(0), *level, all), Err(EncodeError::Level { .. }))
        };
        let leaf_levels = (0..=format.top_level()).filter(has_leaves).fold(0, |set, level| set | 1 << level);
        let (quarantine, changes) = Default::default();
        Self { format, root, leaf_levels, frame_size, quarantine, changes }
    }

    /// The root table's first byte: what goes into the machine's root register.
    #[must_use]
    pub const fn root(&self) -> PhysAddr {
        self.root
    }

    /// The format.
    #[must_use]
    pub const fn format(&self) -> &F {
        &self.format
    }

    #[inline]
    fn walker_now(&self) -> RadixWalker<F> {
        RadixWalker { format: self.format, root: self.root }
    }

    /// The level whose leaves have `size`.
    #[inline]
    fn level_of(&self, size: PageSize) -> Result<u32, EditError> {
        (0..=self.format.top_level())
            .find(|&level| self.leaf_levels >> level & 1 != 0 && self.format.shift(level) == size.bits())
            .ok_or(EditError::Size { size })
    }

    /// Refuses a page that the mode cannot translate or that is misaligned.
    #[inline]
    fn check_page(&self, va: VirtAddr, size: PageSize) -> Result<(), EditError> {
        if !va.is_aligned(size.bits()) {
            return Err(EditError::MisalignedVirtual { va, size });
        }
        let last = va.0 | low_mask(size.bits());
        if !self.format.translates(va.0) || !self.format.translates(last) {
            return Err(EditError::Untranslatable { va });
        }
        Ok(())
    }

    /// The entry for `va` in the `table` of `level`.
    fn entry(&self, table: u64, level: u32, va: u64) -> PteRef {
        let index = va >> self.format.shift(level) & low_mask(self.format.index_bits(level));
        raw::entry(&self.format, table, level, index)
    }
}

impl<F: Encode> PageTable for RadixTable<F> {
    type Walker = RadixWalker<F>;

    #[inline]
    fn walker(&self) -> RadixWalker<F> {
        self.walker_now()
    }

    fn page_sizes(&self) -> impl Iterator<Item = PageSize> {
        let levels = (0..=self.format.top_level()).filter(|level| self.leaf_levels >> level & 1 != 0);
        levels.filter_map(|level| PageSize::from_bits(self.format.shift(level)))
    }

    #[inline]
    fn map<M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized>(
        &mut self,
        memory: &M,
        frames: &mut A,
        va: VirtAddr,
        pa: PhysAddr,
        size: PageSize,
        perms: Perms,
    ) -> Result<Flush, EditError> {
        self.map_page(memory, frames, va, pa, size, perms)
    }

    #[inline]
    fn unmap<M: PhysMemory + ?Sized>(
        &mut self,
        memory: &M,
        va: VirtAddr,
    ) -> Result<(Mapping, Flush), EditError> {
        self.unmap_page(memory, va)
    }

    #[inline]
    fn update<M: PhysMemory + ?Sized>(
        &mut self,
        memory: &M,
        va: VirtAddr,
        change: impl FnMut(Perms) -> Perms,
    ) -> Result<(Mapping, Flush), EditError> {
        self.update_page(memory, va, change)
    }

    fn flush_all(&mut self) -> Flush {
        self.quarantine.flush_all()
    }

    fn map_range<M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized>(
        &mut self,
        memory: &M,
        frames: &mut A,
        va: VirtAddr,
        pa: PhysAddr,
        len: u64,
        perms: Perms,
    ) -> Result<Flush, EditError> {
        self.map_span(memory, frames, (va, pa, len), perms)
    }

    fn unmap_range<M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized>(
        &mut self,
        memory: &M,
        frames: &mut A,
        va: VirtAddr,
        len: u64,
    ) -> Result<Flush, EditError> {
        self.unmap_span(memory, frames, va, len)
    }

    fn protect_range<M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized>(
        &mut self,
        memory: &M,
        frames: &mut A,
        va: VirtAddr,
        len: u64,
        perms: Perms,
    ) -> Result<Flush, EditError> {
        self.protect_span(memory, frames, (va, len), perms)
    }

    #[inline]
    fn translate_range<M: PhysMemory + ?Sized>(
        &self,
        memory: &M,
        va: VirtAddr,
        len: u64,
        mut visit: impl FnMut(Mapping) -> ControlFlow<()>,
    ) -> Result<(), EditError> {
        let span = self.span(va, len)?;
        let root = (self.root.0, self.format.top_level());
        self.visit_span(memory, root, span, &mut visit).map(drop)
    }
}

/// A format of which only the leaf's own entry counts: a walk need not gather what the tables above it impose.
#[derive(Clone, Copy)]
struct LeafAlone<F>(F);

impl<F: Format> Format for LeafAlone<F> {
    #[inline(always)]
    fn pte_bytes(&self) -> u32 {
        self.0.pte_bytes()
    }
    #[inline(always)]
    fn top_level(&self) -> u32 {
        self.0.top_level()
    }
    #[inline(always)]
    fn shift(&self, level: u32) -> u32 {
        self.0.shift(level)
    }
    #[inline(always)]
    fn index_bits(&self, level: u32) -> u32 {
        self.0.index_bits(level)
    }
    #[inline(always)]
    fn decode(&self, raw: u64, level: u32) -> Entry {
        self.0.decode(raw, level)
    }
}

impl<F: Encode> RadixWalker<F> {
    /// Where a walk of `va` ends, as far as edits want to know.
    #[inline]
    fn end<M: PhysMemory + ?Sized>(&self, memory: &M, va: VirtAddr) -> Result<Leaf, Stop<BusError>> {
        walk(&LeafAlone(self.format), Stage::First, self.root.0, va.0, &mut Physical(memory))
    }
}

impl<F: Encode> Walker for RadixWalker<F> {
    #[inline]
    fn find<S: PteSource>(&self, va: VirtAddr, source: &mut S) -> Result<Leaf, Stop<S::Error>> {
        walk(&self.format, Stage::First, self.root.0, va.0, source)
    }

    #[inline]
    fn translates(&self, va: VirtAddr) -> bool {
        self.format.translates(va.0)
    }

    #[inline]
    fn perms(&self, leaf: &Leaf) -> Perms {
        self.format.perms(leaf.raw, leaf.at.level)
    }

    #[inline]
    fn with_perms(&self, leaf: &Leaf, perms: Perms) -> Result<u64, EncodeError> {
        self.format.with_perms(leaf.raw, leaf.at.level, perms)
    }

    #[inline]
    fn marks(&self) -> Perms {
        self.format.marks()
    }

    #[inline]
    fn page_at<M: PhysMemory + ?Sized>(
        &self,
        memory: &M,
        va: VirtAddr,
    ) -> Result<Option<Mapping>, EditError> {
        if !self.translates(va) {
            return Err(EditError::Untranslatable { va });
        }
        match self.end(memory, va) {
            Ok(leaf) => Ok(Some(self.mapping(va, &leaf))),
            Err(Stop::Absent { .. }) => Ok(None),
            Err(stop) => Err(refusal(stop)),
        }
    }
}
