//! What walk caches save, counted through an `Mmu`: three levels of 16 entries over 4 KiB pages. And what they may
//! answer, whatever they are told.

use crate::generate::walk_ops;
use crate::model::walks::Walks;
use proptest::prelude::*;
use softmmu::addr::{Asid, PageSize, PhysAddr, VirtAddr, Vmid};
use softmmu::arch::custom::{Bit, Config, Custom, CustomFormat, Leaves};
use softmmu::frame::{FrameAllocator, FrameError};
use softmmu::memory::Ram;
use softmmu::mmu::Mmu;
use softmmu::radix::{Leaf, Perms, PteRef, Stage};
use softmmu::table::{PageTable, RadixTable};
use softmmu::tlb::{Hierarchy, Scope, Shape, Space, Span, Tlb, TlbConfig, WalkCacheConfig, WalkStats};

/// Frames one after another.
struct Frames(u64);

impl FrameAllocator for Frames {
    fn frame_size(&self) -> PageSize {
        PageSize::SIZE_4K
    }
    fn allocate(&mut self, order: u32) -> Result<PhysAddr, FrameError> {
        self.0 += 4096;
        if order == 0 { Ok(PhysAddr(self.0)) } else { Err(FrameError::OutOfFrames { order }) }
    }
    fn free(&mut self, _frame: PhysAddr, _order: u32) -> Result<(), FrameError> {
        Ok(())
    }
    fn free_frames(&self) -> u64 {
        0
    }
}

fn format() -> CustomFormat {
    Config::new(4096, &[4, 4, 4], 8, Bit::high(0))
        .frame(12, 20)
        .read(Bit::high(1))
        .write(Bit::high(2))
        .execute(Bit::high(3))
        .user(Bit::high(4))
        .global(Bit::high(5))
        .accessed(Bit::high(6))
        .dirty(Bit::high(7))
        .leaves(Leaves::Flag(Bit::high(8)))
        .build()
        .expect("a sound format")
}

/// A guest whose pages 0, 1, 16 and 256 are mapped, with room for one translation and caches of these levels.
fn guest(levels: &[(u32, u32)]) -> Mmu<Custom, Ram, Hierarchy> {
    let ram = Ram::new(PhysAddr(0), 1 << 20).expect("a small RAM");
    let mut frames = Frames(0x1_0000);
    let mut table = RadixTable::new(format(), &ram, &mut frames).expect("room for a root");
    for page in [0, 1, 16, 256_u64] {
        let (va, pa) = (VirtAddr(page << 12), PhysAddr(0x8000));
        let flush = table.map(&ram, &mut frames, va, pa, PageSize::SIZE_4K, Perms::READ | Perms::WRITE);
        drop(flush.expect("room for tables"));
    }
    let cache = |&(min_level, max_level): &(u32, u32)| WalkCacheConfig {
        stage: Stage::First,
        min_level,
        max_level,
        shape: Shape::full(4),
    };
    let config =
        TlbConfig { walk_caches: levels.iter().map(cache).collect(), ..TlbConfig::unified(Shape::full(1)) };
    let arch = Custom::new(table.walker()).with_asid(Asid(1));
    Mmu::new(arch, ram, Hierarchy::new(&config).expect("a sound configuration"))
}

fn loads(mmu: &mut Mmu<Custom, Ram, Hierarchy>, pages: &[u64]) -> WalkStats {
    for page in pages {
        mmu.load::<u64>(VirtAddr(page << 12)).expect("mapped");
    }
    mmu.tlb().stats().walks
}

/// Table entries read by level, leafmost first, and walks begun at each level's tables.
fn counts(stats: &WalkStats) -> ([u64; 3], [u64; 3]) {
    let first = |levels: &[u64]| [levels[0], levels[1], levels[2]];
    (first(&stats.pte_reads[0]), first(&stats.resumed[0]))
}

#[test]
fn without_caches_every_walk_reads_every_level() {
    let stats = loads(&mut guest(&[]), &[0, 1, 16, 256]);
    assert_eq!(stats.walks, [4, 0]);
    assert_eq!(counts(&stats), ([4, 4, 4], [0, 0, 0]));
}

/// Page 1 lies in the table of page 0, page 16 in another of the same directory, page 256 in another directory.
#[test]
fn a_cached_table_is_where_the_walk_begins() {
    let stats = loads(&mut guest(&[(0, 0)]), &[0, 1, 16, 256]);
    assert_eq!(counts(&stats), ([4, 3, 3], [1, 0, 0]));
    let stats = loads(&mut guest(&[(1, 1)]), &[0, 1, 16, 256]);
    assert_eq!(counts(&stats), ([4, 4, 2], [0, 2, 0]));
    let stats = loads(&mut guest(&[(0, 0), (1, 1)]), &[0, 1, 16, 256]);
    assert_eq!(counts(&stats), ([4, 3, 2], [1, 1, 0]));
    let stats = loads(&mut guest(&[(0, 3)]), &[0, 1, 16, 256]);
    assert_eq!(counts(&stats), ([4, 3, 2], [1, 1, 0]));
}

/// A fence for one page's leaf spares the tables; any other takes those above the page with it.
#[test]
fn fences_reach_the_tables() {
    let mut mmu = guest(&[(0, 0)]);
    loads(&mut mmu, &[0, 16]);
    let span = Span::Virtual { first: 0, last: 0xfff };
    let space = Space::new(0, Vmid(0), Asid(1));
    mmu.invalidate(&Scope { leaves_only: true, span, space, ..Scope::ALL });
    assert_eq!(counts(&loads(&mut mmu, &[0])).1, [1, 0, 0], "still cached");
    mmu.invalidate(&Scope { span, ..Scope::ALL });
    assert_eq!(counts(&loads(&mut mmu, &[1])).1, [1, 0, 0], "gone with page 0, which it translates too");
    assert_eq!(
        counts(&loads(&mut mmu, &[16])).1,
        [1, 0, 0],
        "gone too: a fence that means tables means all of the space"
    );
    mmu.invalidate(&Scope::ALL);
    assert_eq!(counts(&loads(&mut mmu, &[0])).1, [1, 0, 0]);
}

/// A walk that fails leaves nothing behind: the table that software then corrects needs no fence.
#[test]
fn failed_walks_are_not_cached() {
    let mut mmu = guest(&[(0, 3)]);
    // Page 2 is absent in the table of pages 0 and 1.
    mmu.load::<u64>(VirtAddr(2 << 12)).expect_err("not mapped");
    let stats = loads(&mut mmu, &[0]);
    assert_eq!(stats.resumed, WalkStats::default().resumed);
}

/// A second-stage leaf that grew without a fence lies beside the page that it swallowed, each in its own place: nothing
/// of another machine that stood there before is found again.
#[test]
fn a_leaf_beside_a_smaller_one_at_its_address() {
    let config = TlbConfig { nested: Some(Shape::full(2)), ..TlbConfig::unified(Shape::full(1)) };
    let mut tlb = Hierarchy::new(&config).unwrap();
    let [mine, other] = [1, 2].map(|vmid| Space::new(0, Vmid(vmid), Asid(0)));
    let leaf = |base, size_bits| {
        let at = PteRef { addr: base, bytes: 8, level: 0, stage: Stage::Second };
        Leaf { base, size_bits, raw: base, at, limits: 0 }
    };
    tlb.walk_reached(mine, Stage::Second, 0, &leaf(0x1000, 12));
    tlb.walk_reached(other, Stage::Second, 0, &leaf(0x2000, 12));
    tlb.walk_ended(true);
    let scope = Scope { space: other, mask: Space::VMID, globals: true, span: Span::All, leaves_only: false };
    tlb.invalidate(&scope);
    tlb.walk_reached(mine, Stage::Second, 0, &leaf(0x20_0000, 21));
    tlb.walk_ended(true);
    assert_eq!(tlb.walk_recall(mine, Stage::Second, 0x1000), Some(leaf(0x20_0000, 21)));
}

proptest! {
    /// Only what a walk has told them, and what no fence has taken since.
    #[test]
    fn what_was_told_and_not_fenced(ops in walk_ops(), ways in 1_usize..6, split in any::<bool>()) {
        let cache = |stage, min_level, max_level| WalkCacheConfig { stage, min_level, max_level, shape: Shape::new(2, ways) };
        let mut walk_caches = vec![cache(Stage::Second, 0, 2), cache(Stage::First, 0, if split { 0 } else { 2 })];
        if split {
            walk_caches.push(cache(Stage::First, 1, 2));
        }
        let nested = Some(Shape::full(ways));
        let config = TlbConfig { walk_caches, nested, ..TlbConfig::unified(Shape::full(1)) };
        let (mut tlb, mut walks) = (Hierarchy::new(&config).unwrap(), Walks::default());
        ops.iter().for_each(|op| walks.step(&mut tlb, op));
    }
}
