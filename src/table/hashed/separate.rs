//! The hashed table: an entry for each mapped page, from frames taken as needed.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::chain::{Chains, HEAD, NODE, clear};
use crate::addr::{Asid, PageSize, PhysAddr, VirtAddr};
use crate::frame::FrameAllocator;
use crate::memory::PhysMemory;
use crate::radix::{Encode, Perms};
use crate::table::{EditError, Flush, Mapping, PageTable, Quarantine, Stale, Walker, range};

/// A hashed page table of one address space, with entries as `F` encodes its smallest pages.
///
/// ```
/// use softmmu::access::{Access, AccessKind};
/// use softmmu::addr::{PageSize, PhysAddr, VirtAddr};
/// use softmmu::arch::custom::Config;
/// use softmmu::arch::software::Software;
/// # use softmmu::frame::{FrameAllocator, FrameError};
/// use softmmu::memory::Ram;
/// use softmmu::mmu::Mmu;
/// use softmmu::radix::Perms;
/// use softmmu::table::{HashedTable, PageTable};
///
/// # struct Bump(u64);
/// # impl FrameAllocator for Bump {
/// #     fn frame_size(&self) -> PageSize { PageSize::SIZE_4K }
/// #     fn allocate(&mut self, order: u32) -> Result<PhysAddr, FrameError> {
/// #         let frame = PhysAddr(self.0);
/// #         self.0 += 4096 << order;
/// #         Ok(frame)
/// #     }
/// #     fn free(&mut self, _: PhysAddr, _: u32) -> Result<(), FrameError> { Ok(()) }
/// #     fn free_frames(&self) -> u64 { u64::MAX }
/// # }
/// # let mut frames = Bump(0);
/// let ram = Ram::new(PhysAddr(0), 1 << 20)?;
/// let format = Config::two_level_32().build()?;
/// let mut table = HashedTable::new(format, 6, &ram, &mut frames)?; // 2^6 chains
/// let (va, pa) = (VirtAddr(0x1234_5000), PhysAddr(0x8000));
/// table.map(&ram, &mut frames, va, pa, PageSize::SIZE_4K, Perms::READ)?.forget();
///
/// let mut mmu = Mmu::new(Software::new(table.walker()), &ram, ());
/// let access = Access { va: VirtAddr(0x1234_5678), len: 4, kind: AccessKind::Read, flavor: () };
/// assert_eq!(mmu.translate(&access)?.pa, PhysAddr(0x8678));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct HashedTable<F> {
    chains: Chains<F>,
    frame_size: PageSize,
    /// The frames that hold nodes, with the numbers of those that are nobody's.
    frames: BTreeMap<u64, Vec<u16>>,
    /// Those of them that have such nodes.
    open: BTreeSet<u64>,
    quarantine: Quarantine,
}

impl<F: Encode> HashedTable<F> {
    /// An empty table of `2^bits` chains (`bits` at most 32): takes the frames for their heads.
    ///
    /// # Errors
    /// [`EditError::Frames`] without frames, [`EditError::Table`] when they are not writable memory.
    pub fn new<M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized>(
        format: F,
        bits: u32,
        memory: &M,
        frames: &mut A,
    ) -> Result<Self, EditError> {
        let (bits, frame_size) = (bits.min(32), frames.frame_size());
        let order = (bits + HEAD.trailing_zeros()).saturating_sub(frame_size.bits());
        let heads = frames.allocate(order)?;
        if let Err(error) = clear(memory, heads, HEAD << bits) {
            frames.free(heads, order)?;
            return Err(error);
        }
        let chains = Chains { format, heads, bits, asid: Asid(0) };
        Ok(Self {
            chains,
            frame_size,
            frames: BTreeMap::new(),
            open: BTreeSet::new(),
            quarantine: Quarantine::new(),
        })
    }

    fn nodes_per_frame(&self) -> u64 {
        (self.frame_size.bytes() / NODE).clamp(1, u64::from(u16::MAX))
    }

    /// A run of frames for nodes: one frame, or as many as one node needs.
    fn node_order(&self) -> u32 {
        NODE.trailing_zeros().saturating_sub(self.frame_size.bits())
    }

    /// Takes frames until `count` nodes are nobody's. Yields the frames taken.
    fn reserve<M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized>(
        &mut self,
        memory: &M,
        frames: &mut A,
        count: u64,
    ) -> Result<Vec<u64>, EditError> {
        let mut idle: u64 = 0;
        for frame in &self.open {
            idle += self.frames.get(frame).map_or(0, |nodes| nodes.len() as u64);
            if idle >= count {
                return Ok(Vec::new());
            }
        }
        let mut taken = Vec::new();
        while idle < count {
            let ready = frames.allocate(self.node_order()).map_err(EditError::from).and_then(|frame| {
                taken.push(frame.0);
                clear(memory, frame, self.nodes_per_frame() * NODE)
            });
            if let Err(error) = ready {
                self.unreserve(frames, &taken);
                return Err(error);
            }
            if let Some(&frame) = taken.last() {
                self.frames.insert(frame, (0..self.nodes_per_frame() as u16).rev().collect());
                self.open.insert(frame);
            }
            idle += self.nodes_per_frame();
        }
        Ok(taken)
    }

    /// Gives frames back of which nothing was used.
    fn unreserve<A: FrameAllocator + ?Sized>(&mut self, frames: &mut A, taken: &[u64]) {
        for &frame in taken {
            self.frames.remove(&frame);
            self.open.remove(&frame);
            // The allocator handed it out a moment ago; one that does not take it back has lost it by itself.
            let _ = frames.free(PhysAddr(frame), self.node_order());
        }
    }

    /// A node that is nobody's; there is one after [`reserve`](Self::reserve).
    fn take(&mut self) -> Option<u64> {
        let frame = *self.open.first()?;
        let nodes = self.frames.get_mut(&frame)?;
        let node = nodes.pop()?;
        if nodes.is_empty() {
            self.open.remove(&frame);
        }
        Some(frame + u64::from(node) * NODE)
    }

    /// Gives a node back. Yields its frame when that holds no other.
    fn give(&mut self, node: u64) -> Option<(PhysAddr, u32)> {
        let (&frame, nodes) = self.frames.range_mut(..=node).next_back()?;
        nodes.push(((node - frame) / NODE) as u16);
        self.open.insert(frame);
        if (nodes.len() as u64) < self.nodes_per_frame() {
            return None;
        }
        self.frames.remove(&frame);
        self.open.remove(&frame);
        Some((PhysAddr(frame), self.node_order()))
    }

    /// What the page would be, if it can be mapped.
    fn encode<M: PhysMemory + ?Sized>(
        &self,
        memory: &M,
        va: VirtAddr,
        pa: PhysAddr,
        perms: Perms,
    ) -> Result<u64, EditError> {
        let raw = self.chains.format.encode_leaf(pa, 0, perms)?;
        self.chains.check_free(memory, va)?;
        self.chains.has_room(memory, va)?;
        Ok(raw)
    }

    /// Maps whole pages, all or none.
    fn map_pages<M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized>(
        &mut self,
        memory: &M,
        frames: &mut A,
        (va, pa, count): (VirtAddr, PhysAddr, u64),
        perms: Perms,
    ) -> Result<Flush, EditError> {
        let bits = self.chains.page_bits();
        let page = |n: u64| (VirtAddr(va.0 + (n << bits)), PhysAddr(pa.0.wrapping_add(n << bits)));
        for n in 0..count {
            let (va, pa) = page(n);
            self.encode(memory, va, pa, perms)?;
        }
        let taken = self.reserve(memory, frames, count)?;
        let mut mapped = 0;
        let outcome = (0..count).try_for_each(|n| {
            let (va, pa) = page(n);
            // Checked above, but several pages of the range may share a chain.
            let raw = self.encode(memory, va, pa, perms)?;
            let node = self.take().ok_or(EditError::Full { va })?;
            self.chains.insert(memory, node, va, raw).inspect_err(|_| {
                self.give(node);
            })?;
            mapped = n + 1;
            Ok(())
        });
        if outcome.is_err() {
            for n in 0..mapped {
                self.unlink(memory, page(n).0)?;
            }
            self.unreserve(frames, &taken);
        }
        outcome.map(|()| Flush::nothing())
    }

    /// Unmaps one page; yields what it was, and its frame of nodes if that is empty now.
    fn unlink<M: PhysMemory + ?Sized>(
        &mut self,
        memory: &M,
        va: VirtAddr,
    ) -> Result<(Mapping, Option<(PhysAddr, u32)>), EditError> {
        let mut found = self.chains.page(memory, va)?;
        found.raw = self.chains.remove(memory, &found)?;
        let leaf = self.chains.leaf(&found).ok_or_else(|| self.chains.reserved(&found))?;
        Ok((self.chains.mapping(va, &leaf), self.give(found.node)))
    }
}

impl<F: Encode> PageTable for HashedTable<F> {
    type Walker = Chains<F>;

    fn walker(&self) -> Chains<F> {
        self.chains
    }

    fn page_sizes(&self) -> impl Iterator<Item = PageSize> {
        PageSize::from_bits(self.chains.page_bits()).into_iter()
    }

    fn map<M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized>(
        &mut self,
        memory: &M,
        frames: &mut A,
        va: VirtAddr,
        pa: PhysAddr,
        size: PageSize,
        perms: Perms,
    ) -> Result<Flush, EditError> {
        if self.page_sizes().all(|only| only != size) {
            return Err(EditError::Size { size });
        }
        self.map_range(memory, frames, va, pa, size.bytes(), perms)
    }

    fn unmap<M: PhysMemory + ?Sized>(
        &mut self,
        memory: &M,
        va: VirtAddr,
    ) -> Result<(Mapping, Flush), EditError> {
        let (page, frame) = self.unlink(memory, va)?;
        let stale = Stale::Pages {
            first: va,
            last: VirtAddr(va.0 | (page.size.bytes() - 1)),
            globals: page.perms.contains(Perms::GLOBAL),
            leaves_only: frame.is_none(),
        };
        Ok((page, self.quarantine.hold(stale, frame)))
    }

    fn update<M: PhysMemory + ?Sized>(
        &mut self,
        memory: &M,
        va: VirtAddr,
        change: impl FnMut(Perms) -> Perms,
    ) -> Result<(Mapping, Flush), EditError> {
        let mut found = self.chains.page(memory, va)?;
        let changed = self.chains.change(memory, &mut found, change)?;
        let leaf = self.chains.leaf(&found).ok_or_else(|| self.chains.reserved(&found))?;
        let page = self.chains.mapping(va, &leaf);
        Ok((page, if changed { Flush::of(&page) } else { Flush::nothing() }))
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
        let size = range::check_mapping(self, va, pa, len)?;
        self.map_pages(memory, frames, (va, pa, len >> size.bits()), perms)
    }
}
