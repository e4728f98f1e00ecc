//! Shared memory: what one space stores, all see, whatever was put out, forked or ended in between.

use super::*;
use alloc::vec::Vec;
use proptest::prelude::*;

const PAGES: u64 = 8;

fn shown(va: u64, pages: u64, memory: &SharedMemory, first: u64) -> Region {
    Region::shared(VirtAddr(va), pages * 64, RW, memory, first * 64)
}

#[test]
fn spaces_see_each_others_stores() {
    let mut machine = Machine::plain(30);
    let (one, other) = (machine.create(), machine.create());
    let memory = SharedMemory::new();
    machine.vm.map(one, shown(0, 4, &memory, 0)).unwrap();
    machine.vm.map(other, shown(1024, 2, &memory, 1)).unwrap();
    machine.store(one, 64, 7).unwrap();
    let frames = machine.vm.usage().frames_pages;
    assert_eq!(machine.load(other, 1024).unwrap(), 7);
    assert_eq!(machine.vm.usage().frames_pages, frames, "the same page");
    machine.store(other, 1024 + 4, 8).unwrap();
    machine.store(other, 1024 + 64, 9).unwrap();
    assert_eq!([64 + 4, 128].map(|va| machine.load(one, va).unwrap()), [8, 9]);
    // The kernel's own accesses too.
    machine.vm.write(one, VirtAddr(64), &[1, 0, 0, 0], &mut machine.mmu).unwrap();
    assert_eq!(machine.load(other, 1024).unwrap(), 1);
    assert_eq!((machine.vm.stats().cow_breaks, machine.vm.spaces().count()), (0, 2));
    // It outlives the spaces as long as somebody has the handle.
    machine.destroy(one).unwrap();
    machine.destroy(other).unwrap();
    let third = machine.create();
    machine.vm.map(third, shown(0, 4, &memory, 0)).unwrap();
    assert_eq!(machine.load(third, 64 + 4).unwrap(), 8);
    drop(memory);
    assert_eq!(machine.load(third, 128).unwrap(), 9, "a region is enough");
    machine.end();
}

#[test]
fn a_fork_shares_it_and_copies_the_rest() {
    let mut machine = Machine::plain(30);
    let parent = machine.create();
    machine.vm.map(parent, shown(0, 2, &SharedMemory::new(), 0)).unwrap();
    machine.vm.map(parent, Region::anonymous(VirtAddr(128), 64, RW)).unwrap();
    for va in [0, 128] {
        machine.store(parent, va, 1).unwrap();
    }
    let child = machine.fork(parent).unwrap();
    for va in [0, 64, 128] {
        machine.store(child, va, 2).unwrap();
    }
    assert_eq!([0, 64, 128].map(|va| machine.load(parent, va).unwrap()), [2, 2, 1]);
    assert_eq!(machine.vm.stats().cow_breaks, 1);
    machine.end();
}

#[test]
fn each_region_has_its_own_rights() {
    let mut machine = Machine::plain(30);
    let (one, other) = (machine.create(), machine.create());
    let memory = SharedMemory::new();
    machine.vm.map(one, shown(0, 2, &memory, 0)).unwrap();
    machine.vm.map(other, Region { perms: Perms::READ, ..shown(0, 2, &memory, 0) }).unwrap();
    machine.store(one, 0, 1).unwrap();
    assert_eq!(machine.load(other, 0).unwrap(), 1);
    assert!(matches!(machine.store(other, 0, 2), Err(VmError::Protection { .. })));
    machine.vm.protect(other, VirtAddr(0), 64, RW, &mut machine.mmu).unwrap();
    machine.store(other, 0, 2).unwrap();
    assert_eq!(machine.load(one, 0).unwrap(), 2);
    // The same memory twice in one space, and what is none of it.
    machine.vm.map(one, shown(256, 1, &memory, 0)).unwrap();
    machine.store(one, 256, 3).unwrap();
    assert_eq!([machine.load(one, 0).unwrap(), machine.load(other, 0).unwrap()], [3, 3]);
    let odd = Region::shared(VirtAddr(512), 64, RW, &memory, 32);
    assert!(matches!(machine.vm.map(one, odd), Err(VmError::Range { va: VirtAddr(32), .. })));
    let beyond = Region::shared(VirtAddr(512), 128, RW, &memory, u64::MAX - 63);
    assert!(matches!(machine.vm.map(one, beyond), Err(VmError::Range { .. })));
    machine.vm.unmap(one, VirtAddr(0), 64, &mut machine.mmu).unwrap();
    assert_eq!(machine.load(one, 256).unwrap(), 3, "the other region shows it still");
    drop(memory);
    machine.end();
}

#[test]
fn what_nothing_names_is_freed_before_anything_is_put_out() {
    let mut machine = Machine::plain(12);
    let space = machine.create();
    let memory = SharedMemory::new();
    machine.vm.map(space, shown(0, 8, &memory, 0)).unwrap();
    for page in 0..8 {
        machine.store(space, page * 64, 1).unwrap();
    }
    machine.vm.unmap(space, VirtAddr(0), 512, &mut machine.mmu).unwrap();
    assert_eq!(machine.vm.usage().frames_pages, 8, "the handle keeps them");
    drop(memory);
    machine.vm.map(space, Region::anonymous(VirtAddr(0), 512, RW)).unwrap();
    for page in 0..8 {
        assert_eq!(machine.load(space, page * 64).unwrap(), 0);
    }
    let stats = machine.vm.stats();
    assert_eq!((stats.clean_evictions, stats.dirty_evictions), (0, 0));
    machine.end();
}

#[derive(Clone, Debug)]
enum Op {
    Load(usize, u64),
    Store(usize, u64, u32),
    Fork(usize),
    Destroy(usize),
    /// Drops the page and shows it again.
    Remap(usize, u64),
}

fn op() -> impl Strategy<Value = Op> {
    let (s, page) = (any::<usize>, || 0..2 * PAGES);
    prop_oneof![
        6 => (s(), page()).prop_map(|(s, page)| Op::Load(s, page)),
        8 => (s(), page(), any::<u32>()).prop_map(|(s, page, value)| Op::Store(s, page, value)),
        1 => s().prop_map(Op::Fork),
        1 => s().prop_map(Op::Destroy),
        2 => (s(), 0..PAGES).prop_map(|(s, page)| Op::Remap(s, page)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Pages `0..PAGES` of each space are shared, the rest its own.
    #[test]
    fn shared_and_private_pages_keep_their_content(
        ops in proptest::collection::vec(op(), 1..200),
        frames in 9..20u64,
        marks in any::<bool>(),
        rate in 2..30u64,
    ) {
        let failing = (rate > 3).then_some(rate);
        let plan: Plan = Box::new(move |n, _| failing.is_some_and(|rate| n % rate == 0));
        let mut machine = Machine::new(64, marks, frames, 1000, Clock::default(), plan);
        let memory = SharedMemory::new();
        let first = machine.create();
        machine.vm.map(first, shown(0, PAGES, &memory, 3)).unwrap();
        machine.vm.map(first, Region::anonymous(VirtAddr(PAGES * 64), PAGES * 64, RW)).unwrap();
        let mut shared = [0; PAGES as usize];
        let mut spaces = Vec::from([(first, [0; PAGES as usize])]);
        for op in ops {
            // An operation that the store makes fail is tried again: nothing may be lost by it.
            let again = |machine: &mut Machine, act: &mut dyn FnMut(&mut Machine) -> Result<(), VmError>| {
                (0..100).find_map(|_| act(machine).ok()).expect("an operation goes through in the end");
            };
            match op {
                Op::Load(s, page) => {
                    let (space, own) = spaces[s % spaces.len()];
                    let mut found = 0;
                    again(&mut machine, &mut |machine| {
                        found = machine.load(space, page * 64)?;
                        Ok(())
                    });
                    let at = (page % PAGES) as usize;
                    prop_assert_eq!(found, if page < PAGES { shared[at] } else { own[at] });
                }
                Op::Store(s, page, value) => {
                    let s = s % spaces.len();
                    let space = spaces[s].0;
                    again(&mut machine, &mut |machine| machine.store(space, page * 64, value));
                    let at = (page % PAGES) as usize;
                    *(if page < PAGES { &mut shared[at] } else { &mut spaces[s].1[at] }) = value;
                }
                Op::Fork(s) if spaces.len() < 4 => {
                    let (space, own) = spaces[s % spaces.len()];
                    spaces.push((machine.fork(space).unwrap(), own));
                }
                Op::Destroy(s) if spaces.len() > 1 => {
                    let (space, _) = spaces.remove(s % spaces.len());
                    machine.destroy(space).unwrap();
                }
                Op::Remap(s, page) => {
                    let (space, _) = spaces[s % spaces.len()];
                    let va = VirtAddr(page * 64);
                    machine.vm.unmap(space, va, 64, &mut machine.mmu).unwrap();
                    machine.vm.map(space, shown(page * 64, 1, &memory, 3 + page)).unwrap();
                }
                Op::Fork(_) | Op::Destroy(_) => {}
            }
            machine.audit();
        }
        drop(memory);
        machine.end();
    }
}
