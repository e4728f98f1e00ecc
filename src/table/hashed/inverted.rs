//! The inverted table: an entry for each frame of memory, whoever's page it holds.

use super::chain::{Chains, HEAD, NODE, clear};
use crate::addr::{Asid, PageSize, PhysAddr, VirtAddr};
use crate::frame::FrameAllocator;
use crate::memory::PhysMemory;
use crate::radix::{Encode, EncodeError, Perms};
use crate::table::{EditError, Flush, Mapping, PageTable, Walker, range};

/// An inverted page table, seen from one of its address spaces.
///
/// All of it lies in guest memory; this is a small handle. [`in_space`](Self::in_space) gives that of another space
/// of the same table. Edits of one table through several handles are the caller's to keep apart.
///
/// Each frame can be mapped once: a second mapping of it, in whatever space, is refused with
/// [`EditError::FrameInUse`].
#[derive(Clone, Copy, Debug)]
pub struct InvertedTable<F> {
    chains: Chains<F>,
    nodes: PhysAddr,
    /// The memory whose frames have entries.
    first: PhysAddr,
    count: u64,
}

impl<F: Encode> InvertedTable<F> {
    /// An empty table for the `count` frames from `first` on, seen from space 0: takes frames for all entries, and
    /// for as many chains.
    ///
    /// # Errors
    /// [`EditError::MisalignedPhysical`]; [`EditError::Frames`] without frames; [`EditError::Table`] when they are
    /// not writable memory.
    pub fn new<M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized>(
        format: F,
        (first, count): (PhysAddr, u64),
        memory: &M,
        frames: &mut A,
    ) -> Result<Self, EditError> {
        let size = page_size(&format);
        if !first.is_aligned(size.bits()) {
            return Err(EditError::MisalignedPhysical { pa: first, size });
        }
        let count = count.clamp(1, 1 << 32);
        let bits = count.next_power_of_two().trailing_zeros();
        let node_bits = bits + NODE.trailing_zeros();
        let order = |bits: u32| bits.saturating_sub(frames.frame_size().bits());
        let (head_order, node_order) = (order(bits + HEAD.trailing_zeros()), order(node_bits));
        let heads = frames.allocate(head_order)?;
        let nodes = match frames.allocate(node_order) {
            Ok(nodes) => nodes,
            Err(error) => {
                frames.free(heads, head_order)?;
                return Err(error.into());
            }
        };
        let cleared = clear(memory, heads, HEAD << bits).and_then(|()| clear(memory, nodes, count * NODE));
        if let Err(error) = cleared {
            frames.free(heads, head_order)?;
            frames.free(nodes, node_order)?;
            return Err(error);
        }
        Ok(Self { chains: Chains { format, heads, bits, asid: Asid(0) }, nodes, first, count })
    }

    /// The same table, seen from another address space.
    #[must_use]
    pub fn in_space(mut self, asid: Asid) -> Self {
        self.chains.asid = asid;
        self
    }

    /// Whose page the frame at `pa` holds; nobody's where the table has no entry for it.
    ///
    /// # Errors
    /// [`EditError::Table`] when the entry cannot be read.
    pub fn owner<M: PhysMemory + ?Sized>(
        &self,
        memory: &M,
        pa: PhysAddr,
    ) -> Result<Option<(VirtAddr, Asid)>, EditError> {
        self.node(pa).map_or(Ok(None), |node| self.chains.is_used(memory, node))
    }

    /// The entry that a page would take, and what it would say, if it can be mapped.
    fn check<M: PhysMemory + ?Sized>(
        &self,
        memory: &M,
        va: VirtAddr,
        pa: PhysAddr,
        perms: Perms,
    ) -> Result<(u64, u64), EditError> {
        let raw = self.chains.format.encode_leaf(pa, 0, perms)?;
        let node = self.node(pa).ok_or(EncodeError::Address { base: pa, level: 0 })?;
        self.chains.check_free(memory, va)?;
        match self.chains.is_used(memory, node)? {
            Some((va, asid)) => Err(EditError::FrameInUse { pa, va, asid }),
            None => Ok((node, raw)),
        }
    }

    /// The entry of the frame that holds `pa`.
    fn node(&self, pa: PhysAddr) -> Option<u64> {
        let index = pa.0.checked_sub(self.first.0)? >> self.chains.page_bits();
        (index < self.count).then(|| self.nodes.0.wrapping_add(index * NODE))
    }
}

fn page_size<F: Encode>(format: &F) -> PageSize {
    PageSize::from_bits(format.shift(0)).unwrap_or(PageSize::SIZE_4K)
}

impl<F: Encode> PageTable for InvertedTable<F> {
    type Walker = Chains<F>;

    fn walker(&self) -> Chains<F> {
        self.chains
    }

    fn page_sizes(&self) -> impl Iterator<Item = PageSize> {
        core::iter::once(page_size(&self.chains.format))
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
        if size != page_size(&self.chains.format) {
            return Err(EditError::Size { size });
        }
        self.map_range(memory, frames, va, pa, size.bytes(), perms)
    }

    fn map_range<M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized>(
        &mut self,
        memory: &M,
        _frames: &mut A,
        va: VirtAddr,
        pa: PhysAddr,
        len: u64,
        perms: Perms,
    ) -> Result<Flush, EditError> {
        let size = range::check_mapping(self, va, pa, len)?;
        let page = |n: u64| (VirtAddr(va.0 + (n << size.bits())), PhysAddr(pa.0 + (n << size.bits())));
        let count = len >> size.bits();
        for (va, pa) in (0..count).map(page) {
            self.check(memory, va, pa, perms)?;
        }
        for n in 0..count {
            // Checked above, but several pages of the range may share a chain.
            let (va, pa) = page(n);
            let mapped = self.check(memory, va, pa, perms).and_then(|(node, raw)| {
                self.chains.has_room(memory, va)?;
                self.chains.insert(memory, node, va, raw)
            });
            if let Err(error) = mapped {
                for n in 0..n {
                    self.unmap(memory, page(n).0)?.1.forget();
                }
                return Err(error);
            }
        }
        Ok(Flush::nothing())
    }

    fn unmap<M: PhysMemory + ?Sized>(
        &mut self,
        memory: &M,
        va: VirtAddr,
    ) -> Result<(Mapping, Flush), EditError> {
        let mut found = self.chains.page(memory, va)?;
        found.raw = self.chains.remove(memory, &found)?;
        let leaf = self.chains.leaf(&found).ok_or_else(|| self.chains.reserved(&found))?;
        let page = self.chains.mapping(va, &leaf);
        Ok((page, Flush::of(&page)))
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

    /// Nothing is ever freed, so nothing waits: everything is to be dropped, and no frame comes back.
    fn flush_all(&mut self) -> Flush {
        Flush::new(crate::table::Stale::All)
    }
}
