//! Ranges that drop whole tables: exactly the pages in the range go, exactly the tables without pages are freed, each
//! once, and memory that refuses any store half-way leaves everything as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use proptest::prelude::*;
use softmmu::access::Width;
use softmmu::addr::{PageSize, PhysAddr, VirtAddr};
use softmmu::arch::aarch64::Granule;
use softmmu::memory::{PhysMemory, Ram};
use softmmu::radix::{Encode, Entry, Format, Perms};
use softmmu::table::{PageTable, RadixTable};

use super::edges::Partly;
use super::formats::{self, RW};
use super::pool::Pool;

const MEMORY: u64 = 1 << 20;
const PAGE: PageSize = PageSize::SIZE_4K;

struct Tree<F> {
    ram: Ram,
    pool: Pool,
    table: RadixTable<F>,
    /// What is mapped, page number to frame.
    pages: BTreeMap<u64, u64>,
}

impl<F: Encode> Tree<F> {
    fn new(format: F) -> Self {
        let ram = Ram::new(PhysAddr(0), MEMORY).expect("a megabyte");
        let mut pool = Pool::new(PAGE, MEMORY);
        let table = RadixTable::new(format, &ram, &mut pool).expect("a root");
        Self { ram, pool, table, pages: BTreeMap::new() }
    }

    fn map(&mut self, page: u64, frame: u64) {
        if self.pages.insert(page, frame).is_none() {
            let (va, pa) = (VirtAddr(page << 12), PhysAddr(frame << 12));
            self.table.map(&self.ram, &mut self.pool, va, pa, PAGE, RW).expect("mapped").forget();
        } else {
            let found =
                self.table.translate(&self.ram, VirtAddr(page << 12)).expect("sound").expect("mapped");
            self.pages.insert(page, found.pa.0 >> 12);
        }
    }

    /// As many tables as the pages need: one for each prefix of their numbers, and the root.
    fn tables(&self) -> usize {
        let format = *self.table.format();
        let below = (1..=format.top_level()).map(|level| {
            let prefixes: BTreeSet<u64> =
                self.pages.keys().map(|page| page << 12 >> format.shift(level)).collect();
            prefixes.len()
        });
        1 + below.sum::<usize>()
    }

    /// The table holds the pages and nothing else, in as many frames as that takes.
    fn check(&self) {
        let mut found = BTreeMap::new();
        let visit = |page: softmmu::table::Mapping| {
            found.insert(page.va.0 >> 12, page.pa.0 >> 12);
            ControlFlow::Continue(())
        };
        self.table.translate_range(&self.ram, VirtAddr(0), 1 << 32, visit).expect("a sound table");
        assert_eq!(found, self.pages);
        assert_eq!(self.pool.out.len(), self.tables());
    }

    /// The content of every frame that is out.
    fn content(&self) -> Vec<u8> {
        let mut bytes = vec![0; MEMORY as usize];
        self.ram.read_bytes(PhysAddr(0), &mut bytes).expect("RAM");
        bytes
    }
}

/// Pages in eight tables under two: whole tables of them, lone pages, pages whose frames follow one another and not.
fn pages() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let near = |page: u64| page % 8 << 9 | (page >> 3 & 1) << 18;
    let lone = (any::<u64>(), 0..512u64, 0..4096u64)
        .prop_map(move |(table, at, frame)| vec![(near(table) | at, frame)]);
    let many = (any::<u64>(), 0..512u64, 1..512u64, 0..4096u64, any::<bool>()).prop_map(
        move |(table, at, count, frame, even)| {
            let frame = |n: u64| if even { frame + n } else { frame ^ n * 7 & 0xfff };
            (0..count).map(|n| (near(table) | (at + n) % 512, frame(n))).collect()
        },
    );
    let groups = proptest::collection::vec(prop_oneof![lone, many], 1..12);
    groups.prop_map(|groups| groups.into_iter().flatten().collect())
}

/// A range of pages: as it comes, or of whole tables.
fn range() -> impl Strategy<Value = (u64, u64)> {
    let any = (0..8 * 512u64, 1..5 * 512u64);
    let whole = (0..8u64, 1..9u64).prop_map(|(first, count)| (first << 9, count << 9));
    let far = (0..2u64, 0..2u64).prop_map(|(first, more)| (first << 18, (1 + more) << 18));
    prop_oneof![any, whole, far]
}

fn drops<F: Encode>(format: F, mapped: &[(u64, u64)], ranges: &[(u64, u64)], applied: bool) {
    let mut tree = Tree::new(format);
    for &(page, frame) in mapped {
        tree.map(page, frame);
    }
    tree.check();
    let mut quarantined = 0;
    for &(first, count) in ranges {
        let before = tree.tables();
        tree.pages.retain(|page, _| !(first..first + count).contains(page));
        let (va, len) = (VirtAddr(first << 12), count << 12);
        let flush = tree.table.unmap_range(&tree.ram, &mut tree.pool, va, len).expect("unmapped");
        assert_eq!(flush.frames(), before - tree.tables());
        quarantined += flush.frames();
        if applied {
            flush.apply(Default::default(), &mut tree.pool, |_| {}).expect("each frame once");
            tree.check();
        }
    }
    if !applied {
        let flush = tree.table.flush_all();
        assert_eq!(flush.frames(), quarantined);
        flush.apply(Default::default(), &mut tree.pool, |_| {}).expect("each frame once");
    }
    tree.check();
}

/// Refuses each store that the edit makes, one after another.
fn refusals<F: Encode>(format: F, mapped: &[(u64, u64)], (first, count): (u64, u64), protect: bool) {
    let make = || {
        let mut tree = Tree::new(format);
        mapped.iter().for_each(|&(page, frame)| tree.map(page, frame));
        tree
    };
    let edit = |tree: &mut Tree<F>, memory: &dyn PhysMemory| {
        let (va, len) = (VirtAddr(first << 12), count << 12);
        if protect {
            tree.table.protect_range(memory, &mut tree.pool, va, len, Perms::READ)
        } else {
            tree.table.unmap_range(memory, &mut tree.pool, va, len)
        }
    };
    let mut tree = make();
    let before = tree.content();
    let ram = tree.ram.clone();
    edit(&mut tree, &ram).expect("no refusal").forget();
    let after = tree.content();
    let changed: BTreeSet<u64> =
        (0..MEMORY).filter(|&at| before[at as usize] != after[at as usize]).map(|at| at & !0x3f).collect();
    for at in changed {
        // The first changed byte of these eight entries.
        let at = (at..).find(|&at| before[at as usize] != after[at as usize]).expect("it changed");
        let mut tree = make();
        let frames = tree.pool.clone();
        let ram = tree.ram.clone();
        edit(&mut tree, &Partly(&ram, at)).expect_err("refused");
        assert!(tree.content() == before, "the refusal at {at:#x} left traces");
        assert_eq!(tree.pool, frames);
        tree.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn just_the_tables_without_pages_are_freed(
        mapped in pages(), ranges in proptest::collection::vec(range(), 1..4), applied in any::<bool>(),
    ) {
        drops(formats::sv39().0, &mapped, &ranges, applied);
        drops(formats::long_mode(false).0, &mapped, &ranges, applied);
        drops(formats::any_right().0, &mapped, &ranges, applied);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_store_refused_half_way_leaves_everything_as_it_was(
        mapped in pages(), range in range(), protect in any::<bool>(),
    ) {
        refusals(formats::long_mode(false).0, &mapped, range, protect);
        refusals(formats::any_right().0, &mapped, range, protect);
    }
}

#[test]
fn tables_that_a_damaged_tree_links_twice_are_freed_once() {
    let mut tree = Tree::new(formats::sv39().0);
    let format = *tree.table.format();
    for page in [0, 1 << 9, 2 << 9, 1 << 18] {
        tree.map(page, 5);
    }
    let at = |table: u64, index: u64| PhysAddr(table + index * 8);
    let read = |at| tree.ram.read(at, Width::W8).expect("a table");
    let write = |at, raw| tree.ram.write(at, Width::W8, raw).expect("a table");
    let root = tree.table.root().0;
    let Entry::Table(middle) = format.decode(read(at(root, 0)), 2) else { panic!("a table") };
    let Entry::Table(leaf) = format.decode(read(at(middle, 0)), 1) else { panic!("a table") };
    let link = |table, level| format.encode_table(PhysAddr(table), level).expect("a table");
    // A last-level table twice; the root and the table itself as last-level tables; the middle table twice.
    write(at(middle, 7), link(leaf, 1));
    write(at(middle, 8), link(root, 1));
    write(at(middle, 9), link(middle, 1));
    write(at(root, 5), link(middle, 2));
    let before = tree.pool.out.len();
    let flush =
        tree.table.unmap_range(&tree.ram, &mut tree.pool, VirtAddr(0), 8 << 30).expect("dropped unread");
    assert_eq!(flush.frames(), before - 1);
    // The pool refuses a frame that comes back a second time, and the root's is still out.
    flush.apply(Default::default(), &mut tree.pool, |_| {}).expect("each frame once");
    assert_eq!(tree.pool.out.keys().copied().collect::<Vec<_>>(), [root]);
}

/// What passes a format's test for usual leaves is a leaf by itself, and the usual leaves pass.
fn usual<F: Encode>(format: F, usual: Perms, noise: u64) {
    let mut tests = 0;
    for level in 0..=format.top_level() {
        let Some(test) = format.usual_leaf(level) else { continue };
        assert_eq!(test.value & !test.mask, 0, "level {level}");
        let bits = format.pte_bytes() * 8;
        let raw = (noise & !test.mask | test.value) & (u64::MAX >> (64 - bits));
        let entry = format.decode(raw, level);
        let span = format.shift(level);
        assert!(
            matches!(entry, Entry::Leaf { size_bits, .. } if size_bits == span),
            "level {level}, {raw:#x}: {entry:?}"
        );
        // Where the page lies is nothing to its flags, nor they to that.
        let moved = raw ^ noise.rotate_left(32) & test.address & (u64::MAX >> (64 - bits));
        assert_eq!(format.perms(moved, level), format.perms(raw, level), "level {level}, {raw:#x}");
        let changed = [raw, moved].map(|raw| format.with_perms(raw, level, usual).map(|new| new ^ raw));
        assert_eq!(changed[0], changed[1], "level {level}, {raw:#x}");
        assert!(changed[0].is_ok_and(|changed| changed & test.address == 0), "level {level}, {raw:#x}");
        let base = PhysAddr((noise & 0xffff) >> span << span);
        if let Ok(raw) = format.encode_leaf(base, level, usual) {
            assert_eq!(raw & test.mask, test.value, "level {level}, {raw:#x}");
            tests += 1;
        }
        for absent in [format.absent(level), noise & !1] {
            if format.decode(absent, level) == Entry::Absent {
                assert_ne!(absent & test.mask, test.value, "level {level}, {absent:#x}");
            }
        }
    }
    assert!(tests > 0, "no level has a test");
}

proptest! {
    #[test]
    fn usual_leaves_are_leaves(noise in any::<u64>()) {
        let rights = RW | Perms::USER | Perms::EXECUTE;
        usual(formats::two_level_32().0, rights, noise);
        usual(formats::any_right().0, rights, noise);
        usual(formats::tiny().0, rights, noise);
        usual(formats::sv32().0, rights, noise);
        usual(formats::sv39().0, rights, noise);
        usual(formats::sv48().0, rights, noise);
        usual(formats::sv57().0, rights, noise);
        usual(formats::long_mode(false).0, rights, noise);
        usual(formats::long_mode(true).0, rights, noise);
        usual(formats::pae().0, rights, noise);
        usual(formats::legacy32().0, rights, noise);
        for granule in [Granule::K4, Granule::K16, Granule::K64] {
            usual(formats::vmsa(granule, false).0, rights, noise);
        }
    }
}
