//! Harts that walk a table while it is edited: what they find is some state that the table was in.

use std::sync::atomic::{AtomicBool, Ordering};

use softmmu::access::{Access, AccessKind};
use softmmu::addr::{PageSize, PhysAddr, VirtAddr};
use softmmu::arch::software::{Cause, Software};
use softmmu::memory::Ram;
use softmmu::mmu::{AccessError, Mmu};
use softmmu::radix::Perms;
use softmmu::table::{EditError, HashedTable, PageTable, RadixTable};

use super::formats::{self, RW};
use super::pool::Pool;

const PAGES: u64 = 8;
const VA: u64 = 0x40_0000;

/// Page `n` is only ever mapped here, or here with the highest bit set.
fn place(n: u64, flip: bool) -> PhysAddr {
    PhysAddr(0x10_0000 + n * 0x1000 + if flip { 0x8_0000 } else { 0 })
}

/// One hart stores to eight pages at random while they are mapped and unmapped in turn. It must find each page where
/// it was put or not at all, and a page that it stored to must come back dirty.
fn walk_while_editing<T: PageTable + Send>(make: impl FnOnce(&Ram, &mut Pool) -> Result<T, EditError>)
where
    T::Walker: Send + Sync,
{
    let ram = Ram::new(PhysAddr(0), 4 << 20).expect("RAM");
    let mut pool = Pool::new(PageSize::SIZE_4K, 1 << 20);
    let mut table = make(&ram, &mut pool).expect("a table");
    // One page stays, and with it the tables: a hart is never waited for here, so none may be freed under it.
    let stays = (VirtAddr(VA + PAGES * 4096), PhysAddr(0x10_0000));
    table.map(&ram, &mut pool, stays.0, stays.1, PageSize::SIZE_4K, RW).expect("mapped").forget();
    let walker = table.walker();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let hart = scope.spawn(|| {
            let mut mmu = Mmu::new(Software::new(walker), &ram, ());
            let (mut found, mut n) = (0u64, 0);
            while !done.load(Ordering::Relaxed) {
                n = (n * 5 + 3) % PAGES;
                let access =
                    Access { va: VirtAddr(VA + n * 4096), len: 1, kind: AccessKind::Write, flavor: () };
                match mmu.translate(&access) {
                    Ok(page) => {
                        assert!(
                            page.pa == place(n, false) || page.pa == place(n, true),
                            "page {n}: {page:?}"
                        );
                        found += 1;
                    }
                    Err(AccessError::Fault(fault)) => assert_eq!(fault.cause, Cause::Absent),
                    Err(error) => panic!("{error}"),
                }
            }
            found
        });
        let mut dirty = 0;
        for round in 0..1000u64 {
            let n = round % PAGES;
            let (va, pa) = (VirtAddr(VA + n * 4096), place(n, round & 8 != 0));
            table.map(&ram, &mut pool, va, pa, PageSize::SIZE_4K, RW).expect("mapped").forget();
            if round & 16 != 0 {
                std::thread::yield_now();
            }
            // Rights come and go without losing a mark that the hart sets meanwhile.
            let marked = table.translate(&ram, va).expect("sound").expect("mapped").perms & Perms::DIRTY;
            table.protect(&ram, va, RW | Perms::USER).expect("protected").1.forget();
            let (page, flush) = table.unmap(&ram, va).expect("unmapped");
            assert_eq!(page.pa, pa);
            assert!(page.perms.contains(marked), "a dirty mark was lost");
            dirty += u64::from(page.perms.contains(Perms::DIRTY));
            assert_eq!(flush.frames(), 0);
            flush.forget();
        }
        done.store(true, Ordering::Relaxed);
        let found = hart.join().expect("no wrong page");
        assert!(found >= dirty, "{dirty} pages were dirtied by {found} stores");
    });
    let (_, flush) = table.unmap(&ram, stays.0).expect("unmapped");
    flush.apply(Default::default(), &mut pool, |_| {}).expect("its own frames");
    assert_eq!(pool.out.len(), 1, "frames leaked: {:?}", pool.out);
}

#[test]
fn harts_walk_a_radix_table_while_it_is_edited() {
    walk_while_editing(|ram, pool| RadixTable::new(formats::two_level_32().0, ram, pool));
}

#[test]
fn harts_walk_a_hashed_table_while_it_is_edited() {
    walk_while_editing(|ram, pool| HashedTable::new(formats::two_level_32().0, 1, ram, pool));
}
