//! What random edits hardly meet: refusals by name, damaged tables, memory that refuses, runs that form one page.

use std::ops::ControlFlow;

use softmmu::access::{Access, AccessKind, Width};
use softmmu::addr::{Asid, PageSize, PhysAddr, VirtAddr};
use softmmu::arch::custom::CustomFormat;
use softmmu::arch::riscv::Sv39;
use softmmu::arch::software::{Cause, Marks, Software};
use softmmu::frame::FrameAllocator;
use softmmu::memory::{BusError, PhysMemory, Ram};
use softmmu::mmu::{AccessError, Mmu};
use softmmu::radix::{Encode, Perms};
use softmmu::table::{EditError, Flush, InvertedTable, PageTable, RadixTable, Stale};

use super::formats::{self, RW};
use super::pool::Pool;

/// A small machine with one table.
fn small() -> (Ram, Pool, RadixTable<CustomFormat>) {
    let ram = Ram::new(PhysAddr(0), 1 << 20).expect("a megabyte");
    let mut pool = Pool::new(PageSize::SIZE_4K, 1 << 20);
    let table = RadixTable::new(formats::two_level_32().0, &ram, &mut pool).expect("a root");
    (ram, pool, table)
}

#[test]
fn refusals_name_the_value() {
    let (ram, mut pool, mut table) = small();
    let mut map = |va, pa, size, perms| {
        let outcome = table.map(&ram, &mut pool, VirtAddr(va), PhysAddr(pa), size, perms);
        outcome.map(|flush| assert!(flush.is_nothing())).err()
    };
    let (page, large) = (PageSize::SIZE_4K, PageSize::from_bits(22).expect("4 MiB"));
    assert_eq!(
        map(0x1001, 0x2000, page, RW),
        Some(EditError::MisalignedVirtual { va: VirtAddr(0x1001), size: page })
    );
    assert_eq!(
        map(0x1000, 0x2002, page, RW),
        Some(EditError::MisalignedPhysical { pa: PhysAddr(0x2002), size: page })
    );
    assert_eq!(map(1 << 32, 0, page, RW), Some(EditError::Untranslatable { va: VirtAddr(1 << 32) }));
    assert_eq!(map(0, 0, PageSize::SIZE_2M, RW), Some(EditError::Size { size: PageSize::SIZE_2M }));
    assert!(matches!(map(0, 1 << 32, page, RW), Some(EditError::Encode(_))));
    assert!(matches!(map(0, 0, page, RW | Perms::DEVICE), Some(EditError::Encode(_))));
    assert_eq!(map(0xffff_f000, 0x5000, page, RW), None);
    let twice = EditError::AlreadyMapped {
        va: VirtAddr(0xffff_f000),
        page: VirtAddr(0xffff_f000),
        pa: PhysAddr(0x5000),
        size: page,
    };
    assert_eq!(map(0xffff_f000, 0x6000, page, RW), Some(twice));
    assert!(matches!(map(0xffc0_0000, 0, large, RW), Some(EditError::TableInWay { .. })));
    assert_eq!(
        table.unmap(&ram, VirtAddr(0x1000)).err(),
        Some(EditError::NotMapped { va: VirtAddr(0x1000) })
    );
    assert_eq!(
        table.translate(&ram, VirtAddr(u64::MAX)),
        Err(EditError::Untranslatable { va: VirtAddr(u64::MAX) })
    );
}

#[test]
fn a_table_pointing_at_nothing_is_an_error() {
    use softmmu::memory::PhysMemory;
    let (ram, mut pool, mut table) = small();
    ram.write_bytes(table.root(), &0xfff0_0001u32.to_le_bytes()).expect("the root is RAM");
    let before = pool.clone();
    let (va, pa) = (VirtAddr(0x3000), PhysAddr(0));
    let damaged =
        |error: EditError| matches!(error, EditError::Table { at: PhysAddr(0xfff0_000c), level: 0, .. });
    assert!(damaged(table.map(&ram, &mut pool, va, pa, PageSize::SIZE_4K, RW).expect_err("mapped nowhere")));
    assert!(damaged(table.unmap(&ram, va).expect_err("unmapped from nowhere")));
    assert!(damaged(table.protect(&ram, va, RW).expect_err("protected nowhere")));
    assert!(damaged(table.translate(&ram, va).expect_err("found nowhere")));
    assert_eq!(pool, before);
}

#[test]
fn a_dropped_token_keeps_its_frames_until_the_next_full_flush() {
    let (ram, mut pool, mut table) = small();
    let (va, pa) = (VirtAddr(0x40_0000), PhysAddr(0x8000));
    table.map(&ram, &mut pool, va, pa, PageSize::SIZE_4K, RW).expect("mapped").forget();
    assert_eq!(pool.out.len(), 2);
    let (_, flush) = table.unmap(&ram, va).expect("unmapped");
    assert_eq!(flush.frames(), 1);
    // A token that is still about keeps its frames for itself.
    assert_eq!(table.flush_all().frames(), 0);
    drop(flush);
    assert_eq!(pool.out.len(), 2);
    drop(table.flush_all());
    let all = table.flush_all();
    assert_eq!(all.frames(), 1);
    let mut told = 0;
    all.apply(Default::default(), &mut pool, |_| told += 1).expect("taken back");
    assert_eq!((told, pool.out.len()), (1, 1));
    assert_eq!(table.flush_all().frames(), 0);
    assert_eq!(pool.free_frames(), 255);
}

#[test]
fn a_frame_that_another_allocator_gets_stays_quarantined() {
    let (ram, mut pool, mut table) = small();
    let va = VirtAddr(0);
    table.map(&ram, &mut pool, va, PhysAddr(0), PageSize::SIZE_4K, RW).expect("mapped").forget();
    let (_, flush) = table.unmap(&ram, va).expect("unmapped");
    let mut stranger = Pool::new(PageSize::SIZE_4K, 1 << 16);
    flush.apply(Default::default(), &mut stranger, |_| {}).expect_err("not its frame");
    table.flush_all().apply(Default::default(), &mut pool, |_| {}).expect("its frame");
    assert_eq!(pool.out.len(), 1);
}

/// Pages of a range as pairs of address and size.
fn pages<T: PageTable>(table: &T, ram: &Ram, va: u64, len: u64) -> Vec<(u64, u64, u64)> {
    let mut found = Vec::new();
    let visit = |page: softmmu::table::Mapping| {
        found.push((page.va.0, page.pa.0, page.size.bytes()));
        ControlFlow::Continue(())
    };
    table.translate_range(ram, VirtAddr(va), len, visit).expect("a sound table");
    found
}

/// An Sv39 table with a 64 KiB page of sixteen entries at 0x20_0000, in a table with one page after it.
fn with_run() -> (Ram, Pool, RadixTable<Sv39>) {
    let ram = Ram::new(PhysAddr(0), 1 << 20).expect("a megabyte");
    let mut pool = Pool::new(PageSize::SIZE_4K, 1 << 20);
    let mut table = RadixTable::new(Sv39::default(), &ram, &mut pool).expect("a root");
    table
        .map_range(&ram, &mut pool, VirtAddr(0x20_0000), PhysAddr(0x80_1000), 0x1_1000, RW)
        .expect("mapped")
        .forget();
    let page = table.translate(&ram, VirtAddr(0x20_0000)).expect("sound").expect("mapped");
    let run = Sv39::default().encode_napot(PhysAddr(0x70_0000), RW).expect("a 64 KiB page");
    // Where the entry stands: the only place that holds it.
    let mut bytes = [0; 4096];
    let holds = |frame: &&u64| {
        ram.read_bytes(PhysAddr(**frame), &mut bytes).expect("a table");
        bytes[..8] == page.raw.to_le_bytes()
    };
    let leaves = *pool.out.keys().find(holds).expect("a leaf table");
    for n in 0..16 {
        ram.write(PhysAddr(leaves + n * 8), Width::W8, run).expect("a table");
    }
    (ram, pool, table)
}

const RUN: (u64, u64, u64) = (0x20_0000, 0x70_0000, 0x1_0000);
const AFTER: (u64, u64, u64) = (0x21_0000, 0x81_1000, 0x1000);

#[test]
fn entries_that_form_one_page_are_edited_as_one() {
    let (ram, _, mut table) = with_run();
    assert_eq!(pages(&table, &ram, 0x20_0000, 0x10_0000), [RUN, AFTER]);
    assert_eq!(pages(&table, &ram, 0x20_7000, 0x1000), [RUN]);
    let inside = EditError::InsidePage {
        va: VirtAddr(0x20_1000),
        page: VirtAddr(0x20_0000),
        size: PageSize::from_bits(16).expect("64 KiB"),
    };
    assert_eq!(table.unmap(&ram, VirtAddr(0x20_1000)).err(), Some(inside));
    let (page, flush) = table.protect(&ram, VirtAddr(0x20_0000), Perms::READ).expect("protected");
    assert_eq!(page.perms, RW);
    let whole = Stale::Pages {
        first: VirtAddr(0x20_0000),
        last: VirtAddr(0x20_ffff),
        globals: false,
        leaves_only: true,
    };
    assert_eq!(flush.stale(), whole);
    for n in 0..16 {
        let found = table.translate(&ram, VirtAddr(0x20_0000 + n * 4096)).expect("sound").expect("mapped");
        assert_eq!(found.perms, Perms::READ);
    }
    let (page, _) = table.unmap(&ram, VirtAddr(0x20_0000)).expect("unmapped");
    assert_eq!((page.pa, page.size.bits()), (PhysAddr(0x70_0000), 16));
    assert_eq!(pages(&table, &ram, 0x20_0000, 0x10_0000), [AFTER]);
}

#[test]
fn entries_that_form_one_page_come_apart_where_a_range_cuts_them() {
    for (va, len) in [(0x20_3000, 0x2000), (0x20_0000, 0x1000), (0x20_f000, 0x1000), (0x20_f000, 0x2000)] {
        let (ram, mut pool, mut table) = with_run();
        table.unmap_range(&ram, &mut pool, VirtAddr(va), len).expect("unmapped").forget();
        let single = |n: u64| (0x20_0000 + n * 4096, 0x70_0000 + n * 4096, 4096);
        let mut left: Vec<_> = (0..16).map(single).chain([AFTER]).collect();
        left.retain(|page| page.0 < va || page.0 >= va + len);
        assert_eq!(pages(&table, &ram, 0x20_0000, 0x10_0000), left, "{va:#x} {len:#x}");
    }
    // A range that covers the run leaves nothing to take apart.
    let (ram, mut pool, mut table) = with_run();
    table.protect_range(&ram, &mut pool, VirtAddr(0x20_0000), 0x1_0000, Perms::READ).expect("done").forget();
    assert_eq!(pages(&table, &ram, 0x20_0000, 0x10_0000), [RUN, AFTER]);
}

/// RAM of which the stores to one place are refused.
pub(super) struct Partly<'a>(pub(super) &'a Ram, pub(super) u64);

impl Partly<'_> {
    fn check(&self, pa: PhysAddr, len: u64) -> Result<(), BusError> {
        let hit = (pa.0..pa.0 + len).contains(&self.1);
        if hit { Err(BusError::ReadOnly { pa }) } else { Ok(()) }
    }
}

impl PhysMemory for Partly<'_> {
    fn read(&self, pa: PhysAddr, width: Width) -> Result<u64, BusError> {
        self.0.read(pa, width)
    }
    fn write(&self, pa: PhysAddr, width: Width, value: u64) -> Result<(), BusError> {
        self.check(pa, width.bytes())?;
        self.0.write(pa, width, value)
    }
    fn compare_exchange(
        &self,
        pa: PhysAddr,
        width: Width,
        old: u64,
        new: u64,
    ) -> Result<Result<(), u64>, BusError> {
        self.check(pa, width.bytes())?;
        self.0.compare_exchange(pa, width, old, new)
    }
    fn read_bytes(&self, pa: PhysAddr, out: &mut [u8]) -> Result<(), BusError> {
        self.0.read_bytes(pa, out)
    }
    fn write_bytes(&self, pa: PhysAddr, data: &[u8]) -> Result<(), BusError> {
        self.check(pa, data.len() as u64)?;
        self.0.write_bytes(pa, data)
    }
    fn read_pte(&self, pa: PhysAddr, width: Width) -> Result<u64, BusError> {
        self.0.read_pte(pa, width)
    }
}

#[test]
fn memory_that_refuses_any_one_store_leaves_everything_as_it_was() {
    let mut refused = 0;
    // Every eighth word of the tables in use and of the next frames to be taken.
    for place in (0..0x6000).step_by(0x40) {
        let (ram, mut pool, mut table) = small();
        let span = (VirtAddr(0x3f_c000), 0x8000);
        table.map_range(&ram, &mut pool, span.0, PhysAddr(0x10_0000), span.1, RW).expect("mapped").forget();
        let partly = Partly(&ram, place);
        let edit = |n, table: &mut RadixTable<CustomFormat>, pool: &mut Pool| match n {
            0 => table.unmap_range(&partly, pool, VirtAddr(0x3f_d000), 0x6000),
            1 => table.protect_range(&partly, pool, VirtAddr(0x3f_d000), 0x6000, Perms::READ),
            2 => table.map_range(&partly, pool, VirtAddr(0x40_4000), PhysAddr(0x20_0000), 0x40_0000, RW),
            3 => table.unmap(&partly, VirtAddr(0x40_3000)).map(|(_, flush)| flush),
            4 => table.protect(&partly, VirtAddr(0x3f_c000), Perms::READ).map(|(_, flush)| flush),
            _ => table.map(&partly, pool, VirtAddr(0x100_0000), PhysAddr(0), PageSize::SIZE_4K, RW),
        };
        for n in 0..6 {
            let (before, frames) = (pages(&table, &ram, 0, 1 << 31), pool.out.clone());
            match edit(n, &mut table, &mut pool) {
                Err(error) => {
                    assert!(
                        matches!(error, EditError::Table { error: BusError::ReadOnly { .. }, .. }),
                        "{error}"
                    );
                    assert_eq!(pages(&table, &ram, 0, 1 << 31), before, "edit {n}, {place:#x}");
                    assert_eq!(pool.out, frames, "edit {n}, {place:#x}");
                    refused += 1;
                }
                Ok(flush) => flush.forget(),
            }
        }
    }
    assert!(refused > 20, "only {refused} edits met the refused word");
}

#[test]
fn a_table_that_points_at_itself_ends() {
    let ram = Ram::new(PhysAddr(0), 1 << 20).expect("a megabyte");
    let mut pool = Pool::new(PageSize::SIZE_4K, 1 << 20);
    let format = Sv39::default();
    let mut table = RadixTable::new(format, &ram, &mut pool).expect("a root");
    let link = format.encode_table(table.root(), 2).expect("a table");
    for n in 0..512 {
        ram.write(PhysAddr(table.root().0 + n * 8), Width::W8, link).expect("the root");
    }
    let all = (VirtAddr(0), 1 << 38);
    let flush = table.unmap_range(&ram, &mut pool, all.0, all.1).expect("dropped");
    // The root is everybody's child here, and is freed by nobody.
    assert_eq!(flush.frames(), 0);
    assert!(matches!(
        table.map(&ram, &mut pool, VirtAddr(1 << 38).align_down(12), PhysAddr(0), PageSize::SIZE_4K, RW),
        Err(EditError::Untranslatable { .. })
    ));
}

#[test]
fn ranges_that_make_no_sense_are_refused() {
    let (ram, mut pool, mut table) = small();
    let size = PageSize::SIZE_4K;
    let mut map = |va, pa, len| {
        table.map_range(&ram, &mut pool, VirtAddr(va), PhysAddr(pa), len, RW).map(Flush::forget).err()
    };
    let range = |va, len| Some(EditError::Range { va: VirtAddr(va), len, size });
    assert_eq!(map(0x1000, 0, 0), range(0x1000, 0));
    assert_eq!(map(0x1000, 0, 0x1001), range(0x1000, 0x1001));
    assert_eq!(map(0x2000, 0, !0xfff), range(0x2000, !0xfff));
    assert_eq!(map(0x1001, 0, 0x1000), Some(EditError::MisalignedVirtual { va: VirtAddr(0x1001), size }));
    assert_eq!(map(0x1000, 1, 0x1000), Some(EditError::MisalignedPhysical { pa: PhysAddr(1), size }));
    assert_eq!(map(0xffff_f000, 0, 0x2000), Some(EditError::Untranslatable { va: VirtAddr(0x1_0000_0fff) }));
    assert!(matches!(map(0x1000, !0xfff, 0x2000), Some(EditError::Encode(_))));
    assert_eq!(pool.out.len(), 1);

    // From one half of the address space to the other, over the hole.
    let mut table = RadixTable::new(Sv39::default(), &ram, &mut pool).expect("a root");
    let (va, len) = (0x3f_ffff_f000, 0xffff_ff80_0000_2000);
    let outcome = table.map_range(&ram, &mut pool, VirtAddr(va), PhysAddr(0), len, RW);
    assert_eq!(outcome.err(), range(va, len));
}

#[test]
fn an_inverted_table_knows_its_spaces_and_frames() {
    let ram = Ram::new(PhysAddr(0), 1 << 20).expect("a megabyte");
    let mut pool = Pool::new(PageSize::SIZE_4K, 1 << 20);
    let format = formats::two_level_32().0;
    let mut one = InvertedTable::new(format, (PhysAddr(0x8_0000), 16), &ram, &mut pool).expect("a table");
    let mut two = one.in_space(Asid(2));
    let (va, size) = (VirtAddr(0x7000), PageSize::SIZE_4K);
    one.map(&ram, &mut pool, va, PhysAddr(0x8_1000), size, RW).expect("mapped").forget();
    two.map(&ram, &mut pool, va, PhysAddr(0x8_2000), size, Perms::READ).expect("mapped").forget();
    let shared = two.map(&ram, &mut pool, VirtAddr(0x9000), PhysAddr(0x8_1000), size, RW);
    assert_eq!(shared.err(), Some(EditError::FrameInUse { pa: PhysAddr(0x8_1000), va, asid: Asid(0) }));
    assert!(matches!(
        one.map(&ram, &mut pool, VirtAddr(0x9000), PhysAddr(0x9_0000), size, RW),
        Err(EditError::Encode(_))
    ));
    let walk = |table: &InvertedTable<CustomFormat>, asid| {
        let arch = Software::new(table.walker()).with_asid(asid).with_marks(Marks::Ignored);
        let read = Access { va: VirtAddr(0x7008), len: 8, kind: AccessKind::Read, flavor: () };
        Mmu::new(arch, &ram, ()).translate(&read).map(|found| found.pa)
    };
    assert_eq!(walk(&one, Asid(0)).ok(), Some(PhysAddr(0x8_1008)));
    assert_eq!(walk(&two, Asid(2)).ok(), Some(PhysAddr(0x8_2008)));
    assert_eq!(two.owner(&ram, PhysAddr(0x8_1fff)), Ok(Some((va, Asid(0)))));
    assert_eq!(two.owner(&ram, PhysAddr(0x8_3000)), Ok(None));
    one.unmap(&ram, va).expect("unmapped").1.forget();
    assert_eq!(two.translate(&ram, va).map(|page| page.is_some()), Ok(true));
    two.map(&ram, &mut pool, VirtAddr(0x9000), PhysAddr(0x8_1000), size, RW).expect("free now").forget();
}

#[test]
fn faults_of_a_custom_machine_say_why() {
    let (ram, mut pool, mut table) = small();
    let (va, size) = (VirtAddr(0x7000), PageSize::SIZE_4K);
    table.map(&ram, &mut pool, va, PhysAddr(0x8_0000), size, Perms::READ).expect("mapped").forget();
    let user = VirtAddr(0x8000);
    table.map(&ram, &mut pool, user, PhysAddr(0x9_0000), size, RW | Perms::USER).expect("mapped").forget();
    let cause = |arch: Software<_>, va, kind| {
        let access = Access { va, len: 1, kind, flavor: () };
        match Mmu::new(arch, &ram, ()).translate(&access) {
            Err(AccessError::Fault(fault)) => {
                assert_eq!((fault.va, fault.kind), (va, kind));
                Some((fault.cause, fault.level))
            }
            outcome => {
                outcome.expect("no bus error");
                None
            }
        }
    };
    let arch = Software::new(table.walker());
    let (read, write, fetch) = (AccessKind::Read, AccessKind::Write, AccessKind::Execute);
    assert_eq!(cause(arch, VirtAddr(0x40_0000), read), Some((Cause::Absent, 1)));
    assert_eq!(cause(arch, VirtAddr(0x9000), read), Some((Cause::Absent, 0)));
    assert_eq!(cause(arch, VirtAddr(1 << 32), read), Some((Cause::Address, 0)));
    assert_eq!(cause(arch, va, write), Some((Cause::Right, 0)));
    assert_eq!(cause(arch, va, fetch), Some((Cause::Right, 0)));
    assert_eq!(cause(arch.unprivileged(), va, read), Some((Cause::Privilege, 0)));
    let software = arch.with_marks(Marks::Software);
    assert_eq!(cause(software, user, write), Some((Cause::NotAccessed, 0)));
    // The faults left no mark; the walk of a machine that sets them does.
    assert_eq!(cause(arch, user, read), None);
    assert_eq!(cause(software, user, read), None);
    assert_eq!(cause(software, user, write), Some((Cause::NotDirty, 0)));
    assert_eq!(cause(arch, user, write), None);
    assert_eq!(cause(software.unprivileged(), user, write), None);
    let page = table.translate(&ram, user).expect("sound").expect("mapped");
    assert!(page.perms.contains(Perms::ACCESSED | Perms::DIRTY));
}
