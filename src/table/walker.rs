//! Walking any page table: what the hardware's side needs to know of it.

use super::EditError;
use crate::access::Width;
use crate::addr::{PageSize, PhysAddr, VirtAddr};
use crate::memory::{BusError, PhysMemory};
use crate::radix::{EncodeError, Leaf, Perms, PteRef, PteSource, Stop};

/// One mapped page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// First byte of the page.
    pub va: VirtAddr,
    /// Where it lies.
    pub pa: PhysAddr,
    /// Its size.
    pub size: PageSize,
    /// The rights and marks of its own entry.
    pub perms: Perms,
    /// Its raw entry.
    pub raw: u64,
}

impl Mapping {
    /// Where `va`, an address in this page, lies.
    #[inline]
    #[must_use]
    pub const fn address(&self, va: VirtAddr) -> PhysAddr {
        PhysAddr(self.pa.0 | va.offset_in(self.size.bits()))
    }
}

/// Finds leaves: the reading half of a page table, small and `Copy`, holding no memory.
///
/// [`Software`](crate::arch::software::Software) makes an architecture of any walker, so that an
/// [`Mmu`](crate::mmu::Mmu) runs on the table.
pub trait Walker: Copy {
    /// Finds the leaf that maps `va`. It only reads, and ends whatever the tables say.
    ///
    /// # Errors
    /// [`Stop`] with the place where the search ended.
    fn find<S: PteSource>(&self, va: VirtAddr, source: &mut S) -> Result<Leaf, Stop<S::Error>>;

    /// Whether `va` is an address that the table can translate at all.
    fn translates(&self, va: VirtAddr) -> bool;

    /// The rights and marks of a leaf.
    fn perms(&self, leaf: &Leaf) -> Perms;

    /// The raw entry of `leaf` with other rights and marks: how accessed and dirty bits are set.
    ///
    /// # Errors
    /// [`EncodeError`] when the entry cannot hold them.
    fn with_perms(&self, leaf: &Leaf, perms: Perms) -> Result<u64, EncodeError>;

    /// Which of [`ACCESSED`](Perms::ACCESSED) and [`DIRTY`](Perms::DIRTY) the entries keep.
    #[inline]
    fn marks(&self) -> Perms {
        Perms::ACCESSED | Perms::DIRTY
    }

    /// The leaf as a mapping of the page around `va`.
    #[inline]
    fn mapping(&self, va: VirtAddr, leaf: &Leaf) -> Mapping {
        Mapping {
            va: va.align_down(leaf.size_bits),
            pa: PhysAddr(leaf.base),
            size: PageSize::from_bits(leaf.size_bits).unwrap_or(PageSize::SIZE_4K),
            perms: self.perms(leaf),
            raw: leaf.raw,
        }
    }

    /// What is mapped at `va`; see [`PageTable::translate`](crate::table::PageTable::translate).
    ///
    /// # Errors
    /// [`EditError::Untranslatable`], [`EditError::Table`] or [`EditError::Reserved`].
    fn page_at<M: PhysMemory + ?Sized>(
        &self,
        memory: &M,
        va: VirtAddr,
    ) -> Result<Option<Mapping>, EditError> {
        if !self.translates(va) {
            return Err(EditError::Untranslatable { va });
        }
        match self.find(va, &mut Physical(memory)) {
            Ok(leaf) => Ok(Some(self.mapping(va, &leaf))),
            Err(Stop::Absent { .. }) => Ok(None),
            Err(stop) => Err(refusal(stop)),
        }
    }
}

/// A walk's end other than "not mapped", as an edit reports it.
pub(super) fn refusal(stop: Stop<BusError>) -> EditError {
    match stop {
        Stop::Source { at, error } => EditError::Table { at: PhysAddr(at.addr), level: at.level, error },
        Stop::Reserved { at, raw, .. } | Stop::Absent { at, raw, .. } => {
            EditError::Reserved { at: PhysAddr(at.addr), level: at.level, raw }
        }
    }
}

/// Physical memory as a walk reads it that changes nothing.
#[derive(Clone, Copy, Debug)]
pub struct Physical<'m, M: ?Sized>(pub &'m M);

impl<M: PhysMemory + ?Sized> PteSource for Physical<'_, M> {
    type Error = BusError;

    #[inline]
    fn read(&mut self, at: PteRef) -> Result<u64, BusError> {
        self.0.read_pte(PhysAddr(at.addr), Width::from_bytes(at.bytes).unwrap_or(Width::W8))
    }
}
