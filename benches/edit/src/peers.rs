//! The same work by published crates, each in the way its documentation suggests for ranges.

use std::hint::black_box;

use crate::frames::{Arena, FRAMES};
use crate::{GIB, LARGE, LEAVES, PA, SMALL, TIB, VA};

type Measure<'a> = &'a mut dyn FnMut(&mut dyn FnMut());

/// `x86_64`: `OffsetPageTable`, page by page (it has no ranges).
pub mod offset {
    use super::*;
    use x86_64::structures::paging::mapper::{Mapper, OffsetPageTable, Translate};
    use x86_64::structures::paging::{FrameAllocator, Page, PageTable, PageTableFlags, PhysFrame};
    use x86_64::structures::paging::{Size1GiB, Size4KiB};
    use x86_64::{PhysAddr, VirtAddr};

    const FLAGS: PageTableFlags =
        PageTableFlags::PRESENT.union(PageTableFlags::WRITABLE).union(PageTableFlags::USER_ACCESSIBLE);

    // SAFETY: every frame is handed out once.
    unsafe impl FrameAllocator<Size4KiB> for Arena {
        fn allocate_frame(&mut self) -> Option<PhysFrame<Size4KiB>> {
            let frame = self.take()?;
            Some(PhysFrame::containing_address(PhysAddr::new(frame as u64)))
        }
    }

    /// Physical addresses are host addresses: an offset of zero.
    fn machine() -> (Arena, OffsetPageTable<'static>) {
        let mut arena = Arena::new();
        let root = arena.take().expect("a root").cast::<PageTable>();
        // SAFETY: a zeroed page that nobody else uses; every frame lies where its address says.
        let table = unsafe { OffsetPageTable::new(&mut *root, VirtAddr::new(0)) };
        (arena, table)
    }

    fn page(n: u64) -> (Page<Size4KiB>, PhysFrame<Size4KiB>) {
        let page = Page::containing_address(VirtAddr::new(VA + n * 4096));
        (page, PhysFrame::containing_address(PhysAddr::new(PA + n * 4096)))
    }

    fn fill(arena: &mut Arena, table: &mut OffsetPageTable) {
        for n in 0..SMALL {
            let (page, frame) = page(n);
            // SAFETY: nothing is accessed through these mappings.
            unsafe { table.map_to(page, frame, FLAGS, arena) }.expect("mapped").ignore();
        }
    }

    pub fn map(measure: Measure) {
        let (mut arena, mut table) = machine();
        measure(&mut || fill(&mut arena, &mut table));
    }

    pub fn translate(measure: Measure) {
        let (mut arena, mut table) = machine();
        fill(&mut arena, &mut table);
        measure(&mut || {
            for n in 0..SMALL {
                black_box(table.translate_addr(VirtAddr::new(VA + n * 4096)).expect("mapped"));
            }
        });
    }

    pub fn unmap(measure: Measure) {
        let (mut arena, mut table) = machine();
        fill(&mut arena, &mut table);
        measure(&mut || {
            for n in 0..SMALL {
                let (_, flush) = table.unmap(page(n).0).expect("unmapped");
                flush.ignore();
            }
        });
    }

    fn fill_large(arena: &mut Arena, table: &mut OffsetPageTable) {
        for n in 0..LARGE {
            let at = TIB + n * GIB;
            let page: Page<Size1GiB> = Page::containing_address(VirtAddr::new(at));
            let frame = PhysFrame::containing_address(PhysAddr::new(at));
            // SAFETY: nothing is accessed through these mappings.
            unsafe { table.map_to(page, frame, FLAGS, arena) }.expect("mapped").ignore();
        }
    }

    pub fn map_large(measure: Measure) {
        let (mut arena, mut table) = machine();
        measure(&mut || fill_large(&mut arena, &mut table));
    }

    pub fn unmap_large(measure: Measure) {
        let (mut arena, mut table) = machine();
        fill_large(&mut arena, &mut table);
        measure(&mut || {
            for n in 0..LARGE {
                let page: Page<Size1GiB> = Page::containing_address(VirtAddr::new(TIB + n * GIB));
                let (_, flush) = table.unmap(page).expect("unmapped");
                flush.ignore();
            }
        });
    }
}

/// `page_table_multiarch`: regions by cursor.
pub mod multiarch {
    use super::*;
    use memory_addr::{PhysAddr, VirtAddr};
    use page_table_entry::MappingFlags;
    use page_table_entry::x86_64::X64PTE;
    use page_table_multiarch::{PageTable64, PagingHandler, PagingMetaData};
    use std::cell::RefCell;

    /// Its own x86-64 description, but for the TLB: flushing that is privileged.
    struct Meta;

    impl PagingMetaData for Meta {
        const LEVELS: usize = 4;
        const PA_MAX_BITS: usize = 52;
        const VA_MAX_BITS: usize = 48;
        type VirtAddr = VirtAddr;
        fn flush_tlb(_vaddr: Option<VirtAddr>) {}
    }

    thread_local! {
        static ARENA: RefCell<Arena> = RefCell::new(Arena::new());
    }

    struct Handler;

    impl PagingHandler for Handler {
        fn alloc_frames(num: usize, _align: usize) -> Option<PhysAddr> {
            assert_eq!(num, 1);
            ARENA.with_borrow_mut(|arena| Some(PhysAddr::from(arena.take()? as usize)))
        }
        fn dealloc_frames(paddr: PhysAddr, _num: usize) {
            ARENA.with_borrow_mut(|arena| arena.give(paddr.as_usize() as *mut u8));
        }
        fn phys_to_virt(paddr: PhysAddr) -> VirtAddr {
            VirtAddr::from(paddr.as_usize())
        }
    }

    type Table = PageTable64<Meta, X64PTE, Handler>;

    fn flags() -> MappingFlags {
        MappingFlags::READ | MappingFlags::WRITE | MappingFlags::USER
    }

    fn table() -> Table {
        Table::try_new().expect("a root")
    }

    fn fill(table: &mut Table) {
        let place = |va: VirtAddr| PhysAddr::from(va.as_usize() - VA as usize + PA as usize);
        let at = VirtAddr::from(VA as usize);
        table.cursor().map_region(at, place, GIB as usize, flags(), true).expect("mapped");
    }

    pub fn map(measure: Measure) {
        let mut table = table();
        measure(&mut || fill(&mut table));
    }

    pub fn protect(measure: Measure) {
        let mut table = table();
        fill(&mut table);
        measure(&mut || {
            let flags = MappingFlags::READ | MappingFlags::USER;
            let at = VirtAddr::from(VA as usize);
            table.cursor().protect_region(at, GIB as usize, flags).expect("protected");
        });
    }

    pub fn translate(measure: Measure) {
        let mut table = table();
        fill(&mut table);
        measure(&mut || {
            for n in 0..SMALL {
                let at = VirtAddr::from((VA + n * 4096) as usize);
                black_box(table.query(at).expect("mapped").0);
            }
        });
    }

    pub fn unmap(measure: Measure) {
        let mut table = table();
        fill(&mut table);
        measure(&mut || {
            table.cursor().unmap_region(VirtAddr::from(VA as usize), GIB as usize).expect("unmapped");
        });
    }

    pub fn unmap_leaves(measure: Measure) {
        let mut table = table();
        fill(&mut table);
        measure(&mut || {
            for n in 0..GIB >> 21 {
                let at = VirtAddr::from((VA + (n << 21)) as usize);
                table.cursor().unmap_region(at, LEAVES as usize).expect("unmapped");
            }
        });
    }

    fn fill_large(table: &mut Table) {
        let place = |va: VirtAddr| PhysAddr::from(va.as_usize());
        let at = VirtAddr::from(TIB as usize);
        table.cursor().map_region(at, place, TIB as usize, flags(), true).expect("mapped");
    }

    pub fn map_large(measure: Measure) {
        let mut table = table();
        measure(&mut || fill_large(&mut table));
    }

    pub fn unmap_large(measure: Measure) {
        let mut table = table();
        fill_large(&mut table);
        measure(&mut || {
            table.cursor().unmap_region(VirtAddr::from(TIB as usize), TIB as usize).expect("unmapped");
        });
    }
}

/// `aarch64-paging`: ranges of an inactive table.
pub mod google {
    use super::*;
    use aarch64_paging::descriptor::{El1Attributes, PhysicalAddress, UpdatableDescriptor};
    use aarch64_paging::paging::{Constraints, El1And0, MemoryRegion, PageTable, Translation, VaRange};
    use std::ptr::NonNull;

    /// Physical addresses are host addresses.
    struct Host(Arena);

    impl Translation<El1Attributes> for Host {
        fn allocate_table(&mut self) -> (NonNull<PageTable<El1Attributes>>, PhysicalAddress) {
            let table = NonNull::new(self.0.take().expect("a frame")).expect("not null");
            (table.cast(), PhysicalAddress(table.as_ptr() as usize))
        }
        unsafe fn deallocate_table(&mut self, table: NonNull<PageTable<El1Attributes>>) {
            self.0.give(table.as_ptr().cast());
        }
        fn physical_to_virtual(&self, pa: PhysicalAddress) -> NonNull<PageTable<El1Attributes>> {
            NonNull::new(pa.0 as *mut _).expect("not null")
        }
    }

    type Table = aarch64_paging::Mapping<Host, El1And0>;

    fn flags() -> El1Attributes {
        El1Attributes::VALID | El1Attributes::ACCESSED | El1Attributes::USER | El1Attributes::NON_GLOBAL
    }

    fn table() -> Table {
        table_in(Arena::new())
    }

    fn table_in(arena: Arena) -> Table {
        Table::with_asid_and_va_range(Host(arena), 1, 0, El1And0, VaRange::Lower)
    }

    fn region() -> MemoryRegion {
        MemoryRegion::new(VA as usize, (VA + GIB) as usize)
    }

    fn fill(table: &mut Table) {
        let pa = PhysicalAddress(PA as usize);
        table.map_range(&region(), pa, flags(), Constraints::empty()).expect("mapped");
    }

    pub fn map(measure: Measure) {
        let mut table = table();
        measure(&mut || fill(&mut table));
    }

    pub fn protect(measure: Measure) {
        let mut table = table();
        fill(&mut table);
        measure(&mut || {
            let restrict = |_: &MemoryRegion, entry: &mut UpdatableDescriptor<El1Attributes>| {
                if entry.is_table() {
                    return Ok(());
                }
                entry.modify_flags(El1Attributes::READ_ONLY, El1Attributes::empty())
            };
            table.modify_range(&region(), &restrict).expect("protected");
        });
    }

    pub fn translate(measure: Measure) {
        let mut table = table();
        fill(&mut table);
        measure(&mut || {
            let mut sum = 0;
            table
                .walk_range(&region(), &mut |page, entry, _| {
                    sum ^= page.start().0 ^ entry.output_address().0;
                    Ok(())
                })
                .expect("mapped");
            black_box(sum);
        });
    }

    fn clear(table: &mut Table, region: &MemoryRegion) {
        let nothing = El1Attributes::empty();
        let anywhere = PhysicalAddress(0);
        table.map_range(region, anywhere, nothing, Constraints::empty()).expect("unmapped");
    }

    pub fn unmap(measure: Measure) {
        drop_all(table(), measure);
    }

    pub fn unmap_shuffled(measure: Measure) {
        drop_all(table_in(Arena::shuffled()), measure);
    }

    fn drop_all(mut table: Table, measure: Measure) {
        fill(&mut table);
        measure(&mut || clear(&mut table, &region()));
        // The root stays, and the table below it.
        assert_eq!(table.translation().0.left(), FRAMES - 2);
    }

    pub fn unmap_leaves(measure: Measure) {
        let mut table = table();
        fill(&mut table);
        measure(&mut || {
            for n in 0..GIB >> 21 {
                let first = VA + (n << 21);
                clear(&mut table, &MemoryRegion::new(first as usize, (first + LEAVES) as usize));
            }
        });
    }

    fn large() -> MemoryRegion {
        MemoryRegion::new(TIB as usize, 2 * TIB as usize)
    }

    fn fill_large(table: &mut Table) {
        let pa = PhysicalAddress(TIB as usize);
        table.map_range(&large(), pa, flags(), Constraints::empty()).expect("mapped");
    }

    pub fn map_large(measure: Measure) {
        let mut table = table();
        measure(&mut || fill_large(&mut table));
    }

    pub fn unmap_large(measure: Measure) {
        let mut table = table();
        fill_large(&mut table);
        measure(&mut || clear(&mut table, &large()));
    }
}
