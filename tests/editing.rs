//! Editing page tables, judged by a map of what should be mapped: every table, every format, the same operations.
//!
//! Each case keeps a `BTreeMap` beside a table in guest memory and applies the same random edits to both. Errors must
//! be the model's errors, a failed edit must leave every byte of every table and every frame as it was, the walk of an
//! `Mmu` must find what was mapped, and when all is unmapped only the root's frame may be out.

#[path = "editing/formats.rs"]
mod formats;
#[path = "editing/model.rs"]
mod model;
#[path = "editing/pool.rs"]
mod pool;

use formats::RW;
use model::{Machine, run};
use proptest::prelude::*;
use softmmu::addr::{PageSize, PhysAddr, VirtAddr};
use softmmu::arch::aarch64::Granule;
use softmmu::arch::custom::CustomFormat;
use softmmu::frame::FrameAllocator;
use softmmu::memory::Ram;
use softmmu::radix::{Encode, Perms};
use softmmu::table::{EditError, HashedTable, InvertedTable, PageTable, RadixTable};

use pool::Pool;

macro_rules! editing {
    ($($test:ident: $made:expr, $table:expr;)*) => {$(
        proptest! {
            #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
            #[test]
            fn $test(steps in model::steps()) {
                let (format, machine) = $made;
                run(&machine, &steps, |ram, pool| $table(format, ram, pool));
            }
        }
    )*};
}

/// Few chains, so that they grow long.
fn hashed<F: Encode>(format: F, ram: &Ram, pool: &mut Pool) -> Result<HashedTable<F>, EditError> {
    HashedTable::new(format, 2, ram, pool)
}

/// An entry for each page that the edits may map.
fn inverted<F: Encode>(format: F, ram: &Ram, pool: &mut Pool) -> Result<InvertedTable<F>, EditError> {
    let count = (4 << 20) >> format.shift(0).max(12);
    InvertedTable::new(format, (PhysAddr(0), count), ram, pool)
}

editing! {
    custom_two_level_32: formats::two_level_32(), RadixTable::new;
    custom_toy16: formats::toy16(), RadixTable::new;
    custom_tiny: formats::tiny(), RadixTable::new;
    custom_any_right: formats::any_right(), RadixTable::new;
    riscv_sv32: formats::sv32(), RadixTable::new;
    riscv_sv39: formats::sv39(), RadixTable::new;
    riscv_sv48: formats::sv48(), RadixTable::new;
    riscv_sv57: formats::sv57(), RadixTable::new;
    x86_4level: formats::long_mode(false), RadixTable::new;
    x86_5level: formats::long_mode(true), RadixTable::new;
    x86_pae: formats::pae(), RadixTable::new;
    x86_legacy32: formats::legacy32(), RadixTable::new;
    aarch64_4k: formats::vmsa(Granule::K4, false), RadixTable::new;
    aarch64_16k: formats::vmsa(Granule::K16, true), RadixTable::new;
    aarch64_64k: formats::vmsa(Granule::K64, true), RadixTable::new;
    hashed_two_level_32: smallest(formats::two_level_32()), hashed;
    hashed_sv39: smallest(formats::sv39()), hashed;
    hashed_4level: smallest(formats::long_mode(false)), hashed;
    hashed_tiny: smallest(formats::tiny()), hashed;
    inverted_two_level_32: few_frames(formats::two_level_32()), inverted;
    inverted_sv39: few_frames(formats::sv39()), inverted;
    inverted_aarch64_16k: few_frames(formats::vmsa(Granule::K16, false)), inverted;
}

/// Only the smallest pages of a format.
fn smallest<F>((format, machine): (F, Machine)) -> (F, Machine) {
    (format, machine.only_smallest())
}

/// Only the smallest pages, and memory that lies near the bottom.
fn few_frames<F>((format, machine): (F, Machine)) -> (F, Machine) {
    (format, machine.only_smallest().near())
}

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
