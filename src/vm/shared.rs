//! Memory that several spaces see at once.
//!
//! The pages of a [`SharedMemory`] belong to a hidden address space without a table, which owns each of them beside
//! the spaces that have touched it. So a page outlives any of those, goes out and comes back as any other does, and is
//! freed with the hidden space: once neither a region nor a handle names the memory.

use super::fault::Place;
use super::page::{Page, PageId};
use super::region::{Backing, Region};
use super::space::AddressSpace;
use super::{Policy, SpaceId, VirtualMemory, VmError};
use crate::frame::FrameAllocator;
use crate::memory::PhysMemory;
use crate::radix::Encode;
use crate::store::BackingStore;
use crate::tlb::Space;
use alloc::sync::Arc;

/// A handle of memory to be shared: zeros at first, as long as the regions that show it. Clones name the same memory.
/// It lives as long as any handle or region does; what the last one leaves behind is freed when regions end next, or
/// when frames run out.
///
/// ```
/// # use softmmu::addr::{PageSize, PhysAddr, VirtAddr};
/// # use softmmu::arch::custom::Config;
/// # use softmmu::frame::BitmapAllocator;
/// # use softmmu::memory::Ram;
/// # use softmmu::radix::Perms;
/// # use softmmu::store::MemoryStore;
/// # use softmmu::tlb::Space;
/// use softmmu::vm::{Region, SharedMemory, VirtualMemory};
/// # let ram = Ram::new(PhysAddr(0), 8 * 4096)?;
/// # let frames = BitmapAllocator::new(ram.range(), PageSize::SIZE_4K)?;
/// # let store = MemoryStore::new(PageSize::SIZE_4K, 100);
/// # let format = Config::two_level_32().build()?;
/// let mut vm = VirtualMemory::new(format, &ram, frames, store)?;
/// let [one, other] = [Space::default(); 2].map(|tag| vm.create(tag));
/// let (memory, rights) = (SharedMemory::new(), Perms::READ | Perms::WRITE | Perms::USER);
/// vm.map(one, Region::shared(VirtAddr(0x1000), 0x4000, rights, &memory, 0))?;
/// // Elsewhere, from the second page on, and not to be written.
/// vm.map(other, Region::shared(VirtAddr(0x8000), 0x1000, rights - Perms::WRITE, &memory, 0x1000))?;
///
/// vm.write(one, VirtAddr(0x2000), b"seen", &mut ())?;
/// let mut found = [0; 4];
/// vm.read(other, VirtAddr(0x8000), &mut found, &mut ())?;
/// assert_eq!(&found, b"seen");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct SharedMemory {
    name: Arc<Name>,
}

/// Something to have an address.
#[derive(Debug, Default)]
struct Name(#[expect(dead_code, reason = "only its address counts")] u8);

impl SharedMemory {
    /// Memory that nobody else has.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// A shared memory, and the hidden space that owns its pages.
pub(super) type Object = (SharedMemory, SpaceId);

impl<F: Encode, M: PhysMemory, A: FrameAllocator, S: BackingStore, P: Policy> VirtualMemory<F, M, A, S, P> {
    fn object(&self, memory: &SharedMemory) -> Option<SpaceId> {
        let same = |(other, _): &&Object| Arc::ptr_eq(&other.name, &memory.name);
        self.objects.iter().find(same).map(|(_, space)| *space)
    }

    /// Whether `space` is one that only owns shared pages.
    pub(super) fn is_hidden(&self, space: SpaceId) -> bool {
        self.objects.iter().any(|(_, hidden)| *hidden == space)
    }

    /// Takes note of the memory that a new region shows.
    pub(super) fn show(&mut self, region: &Region) {
        let Backing::Shared { memory, .. } = &region.backing else { return };
        if self.object(memory).is_none() {
            let hidden = self.new_space(AddressSpace::new(Space::default()));
            self.objects.push((memory.clone(), hidden));
        }
    }

    /// Where the page at `place` is in the shared memory that `region` shows, if it shows one: hidden space and number.
    fn place_in_object(&self, place: Place, region: &Region) -> Option<(SpaceId, u64)> {
        let Backing::Shared { memory, offset, at } = &region.backing else { return None };
        let offset = offset.wrapping_add(place.va.0.wrapping_sub(at.0));
        Some((self.object(memory)?, offset >> self.page.bits()))
    }

    /// Gives the space a shared page that another has touched already, if there is one for `place`.
    pub(super) fn join(&mut self, place: Place, region: &Region) {
        let Some((object, number)) = self.place_in_object(place, region) else { return };
        let found = self.spaces.get(&object).and_then(|object| object.pages.get(&number).copied());
        let (Some(id), Some(space)) = (found, self.spaces.get_mut(&place.space)) else { return };
        if space.pages.insert(place.number, id).is_none() {
            self.pages.change(id, |page| page.owners.push((place.space, place.number)));
        }
    }

    /// Makes the new page `id` of `place` one of the shared memory that `region` shows, if it shows one.
    pub(super) fn share(&mut self, place: Place, region: &Region, id: PageId) {
        let Some((object, number)) = self.place_in_object(place, region) else { return };
        if let Some(space) = self.spaces.get_mut(&object) {
            space.pages.insert(number, id);
            self.pages.change(id, |page: &mut Page| {
                page.shared = true;
                page.owners.push((object, number));
            });
        }
    }

    /// Frees the shared memories that nothing names any more. Says whether there were any.
    pub(super) fn forget_objects(&mut self) -> Result<bool, VmError> {
        let mut any = false;
        while let Some(at) = self.objects.iter().position(|(memory, _)| Arc::strong_count(&memory.name) == 1)
        {
            let (_, hidden) = self.objects.swap_remove(at);
            self.drop_pages(hidden, 0, u64::MAX)?;
            self.spaces.remove(&hidden);
            any = true;
        }
        Ok(any)
    }
}
