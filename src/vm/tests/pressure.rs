//! When frames or slots run out: what goes, what stays, and what is said.

use super::story::heap;
use super::*;
use crate::store::StoreError;
use alloc::vec::Vec;

#[test]
fn out_of_memory_is_an_error_and_loses_nothing() {
    // Ten frames: two tables, eight pages; and three slots.
    let mut machine = Machine::new(64, true, 10, 3, Clock::default(), sound());
    let space = machine.create();
    machine.vm.map(space, heap(64)).unwrap();
    let mut done = 0;
    let error = loop {
        match machine.store(space, done * 64, done as u32) {
            Ok(()) => done += 1,
            Err(error) => break error,
        }
        machine.audit();
    };
    assert!(matches!(error, VmError::OutOfMemory { frames: 10, store_full: true, .. }), "{error}");
    assert_eq!(done, 10, "seven pages in RAM beside three tables, three in slots");
    // No frame is left to bring a page back through; once there is one, every page is there.
    machine.vm.unmap(space, VirtAddr(3 * 64), 128, &mut machine.mmu).unwrap();
    for page in (0..done).filter(|page| ![3, 4].contains(page)) {
        assert_eq!(machine.load(space, page * 64).unwrap(), page as u32);
    }
    machine.store(space, done * 64, 1).unwrap();
    machine.end();
}

#[test]
fn ram_too_small_for_one_instruction_is_out_of_memory_not_a_livelock() {
    // Two tables and one page, and an access that needs two.
    let mut machine = Machine::plain(3);
    let space = machine.create();
    machine.vm.map(space, heap(8)).unwrap();
    assert_eq!(machine.load(space, 8).unwrap(), 0);
    let error = machine.load(space, 62).unwrap_err();
    assert!(matches!(error, VmError::OutOfMemory { frames: 3, tables: 2, store_full: false, .. }), "{error}");
    machine.end();
    // With one more it is enough, again and again.
    let mut machine = Machine::plain(4);
    machine.vm.set_protected(1);
    let space = machine.create();
    machine.vm.map(space, heap(8)).unwrap();
    for _ in 0..3 {
        for page in 1..8 {
            machine.store(space, page * 64 - 2, page as u32).unwrap();
            assert_eq!(machine.load(space, page * 64 - 2).unwrap(), page as u32);
        }
    }
    machine.end();
}

#[test]
fn a_suspended_space_holds_nothing_back() {
    let mut machine = Machine::plain(7);
    let (first, second) = (machine.create(), machine.create());
    for space in [first, second] {
        machine.vm.map(space, heap(8)).unwrap();
    }
    for _ in 0..3 {
        for space in [first, second] {
            // All that seven frames can hold beside the other's root.
            for page in 0..4 {
                machine.store(space, page * 64, page as u32).unwrap();
            }
        }
    }
    machine.end();
}

#[test]
fn tables_of_suspended_spaces_make_room_and_come_back() {
    let mut machine = Machine::plain(8);
    machine.vm.set_protected(2);
    // Four spaces with two or three tables each do not fit together.
    let spaces: Vec<_> = (0..4).map(|_| machine.create()).collect();
    for &space in &spaces {
        machine.vm.map(space, Region::anonymous(VirtAddr(0), 4096, RW)).unwrap();
    }
    for round in 0..3 {
        for (n, &space) in spaces.iter().enumerate() {
            for page in [0, 20, 40, 60] {
                let expected = if round == 0 { 0 } else { 100 * n as u32 + page as u32 + round - 1 };
                assert_eq!(machine.load(space, page * 64).unwrap(), expected);
                machine.store(space, page * 64, 100 * n as u32 + page as u32 + round).unwrap();
            }
            machine.audit();
        }
    }
    assert!(machine.vm.stats().tables_reclaimed > 0);
    machine.end();
}

#[test]
fn the_clock_spares_what_is_used() {
    fn majors<P: Policy>(marks: bool, policy: P) -> u64 {
        let mut machine = Machine::new(64, marks, 12, 100, policy, sound());
        machine.vm.set_protected(1);
        let space = machine.create();
        machine.vm.map(space, heap(64)).unwrap();
        machine.store(space, 0, 1).unwrap();
        let mut majors = 0;
        for page in 1..60 {
            machine.store(space, page * 64, 1).unwrap();
            let before = machine.vm.stats().major_faults;
            machine.load(space, 0).unwrap();
            majors += machine.vm.stats().major_faults - before;
        }
        machine.end();
        majors
    }
    for marks in [true, false] {
        // Page 0 is used between any two others; where all are used alike, the hand takes the first.
        let (clock, fifo) = (majors(marks, Clock::default()), majors(marks, Fifo::default()));
        assert!(clock <= 2 && fifo >= 6, "{clock} against {fifo}");
    }
}

#[test]
fn first_in_first_out_shows_beladys_anomaly() {
    // The reference string of Belady, Nelson and Shedler (1969): nine faults with three frames, ten with four.
    let faults = |frames: u64| {
        let mut machine = Machine::new(64, true, frames + 2, 100, Fifo::default(), sound());
        machine.vm.set_protected(1);
        let space = machine.create();
        machine.vm.map(space, heap(8)).unwrap();
        for page in [0u64, 1, 2, 3, 0, 1, 4, 0, 1, 2, 3, 4] {
            machine.load(space, page * 64).unwrap();
        }
        let stats = machine.vm.stats();
        machine.end();
        stats.zero_fills
    };
    assert_eq!((faults(3), faults(4)), (9, 10));
}

#[test]
fn ram_and_store_together_hold_all_that_fits() {
    // Eight page frames and eight slots: fifteen dirty pages, and one frame to move them through.
    let mut machine = Machine::new(64, true, 11, 8, Clock::default(), sound());
    machine.vm.set_protected(1);
    let space = machine.create();
    machine.vm.map(space, heap(15)).unwrap();
    for round in 0..4 {
        for page in 0..15 {
            machine.store(space, page * 64, round * 100 + page as u32).unwrap();
        }
        for page in (0..15).rev() {
            assert_eq!(machine.load(space, page * 64).unwrap(), round * 100 + page as u32);
        }
    }
    assert_eq!(machine.vm.usage().slots_used, 8);
    machine.end();
}

#[test]
fn a_store_that_fails_loses_only_that_access() {
    // Whichever operation it is that fails.
    let run = |failing: u64| {
        let plan: Plan = Box::new(move |n, _| n == failing);
        let mut machine = Machine::new(64, true, 9, 100, Clock::default(), plan);
        let space = machine.create();
        machine.vm.map(space, heap(20)).unwrap();
        let mut errors = 0;
        let mut retry = |machine: &mut Machine, access: &dyn Fn(&mut Machine) -> Result<u32, VmError>| {
            access(machine).unwrap_or_else(|error| {
                assert!(matches!(error, VmError::Store(StoreError::Refused { .. })), "{error}");
                errors += 1;
                machine.audit();
                access(machine).unwrap()
            })
        };
        for page in 0..20 {
            retry(&mut machine, &|machine| machine.store(space, page * 64, page as u32 + 1).map(|()| 0));
        }
        let child = machine.fork(space).unwrap();
        for page in 0..20 {
            retry(&mut machine, &|machine| machine.store(child, page * 64 + 4, 9).map(|()| 0));
        }
        for page in 0..20 {
            for of in [space, child] {
                let found = retry(&mut machine, &|machine| machine.load(of, page * 64));
                assert_eq!(found, page as u32 + 1, "page {page} of {of}");
            }
            assert_eq!(retry(&mut machine, &|machine| machine.load(space, page * 64 + 4)), 0);
            assert_eq!(retry(&mut machine, &|machine| machine.load(child, page * 64 + 4)), 9);
        }
        machine.destroy(child).unwrap();
        machine.end();
        assert!(machine.vm.store().inner().used() <= 1, "one slot may be waiting to be freed");
        (machine.vm.store().operations(), errors)
    };
    let (operations, errors) = run(u64::MAX);
    assert_eq!(errors, 0);
    assert!(operations > 100, "{operations}");
    let failed: u64 = (0..operations).map(|failing| run(failing).1).sum();
    assert!(failed > 0, "some failures are seen");
}
