//! Random programs against a plain array of bytes per space.

use super::*;
use crate::store::StoreError;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

const PAGES: u64 = 64;

#[derive(Clone, Debug)]
enum Op {
    Create,
    Fork(usize),
    Destroy(usize),
    /// Space, first page, pages, whether from a source, whether writable.
    Map(usize, u64, u64, bool, bool),
    Unmap(usize, u64, u64),
    Protect(usize, u64, u64, bool),
    Load(usize, u64),
    Store(usize, u64, u32),
    /// The kernel's own.
    Read(usize, u64, usize),
    Write(usize, u64, u8),
    /// A run of stores, to have pages put out.
    Sweep(usize, u64, u64, u32),
}

fn op(page: u64) -> impl Strategy<Value = Op> {
    let s = any::<usize>;
    // Few pages, so that the same ones are met again; offsets that cross pages now and then.
    let at = move || {
        let offset = prop_oneof![3 => 0..page - 3, 1 => page - 3..page];
        (0..PAGES, offset).prop_map(move |(number, offset)| number * page + offset)
    };
    let run = || (0..PAGES, 1..24u64);
    prop_oneof![
        1 => Just(Op::Create),
        2 => s().prop_map(Op::Fork),
        1 => s().prop_map(Op::Destroy),
        4 => (s(), run(), any::<bool>(), prop::bool::weighted(0.8))
            .prop_map(|(s, (first, count), source, w)| Op::Map(s, first, count, source, w)),
        2 => (s(), run()).prop_map(|(s, (first, count))| Op::Unmap(s, first, count)),
        2 => (s(), run(), any::<bool>()).prop_map(|(s, (first, count), w)| Op::Protect(s, first, count, w)),
        8 => (s(), at()).prop_map(|(s, at)| Op::Load(s, at)),
        10 => (s(), at(), any::<u32>()).prop_map(|(s, at, value)| Op::Store(s, at, value)),
        3 => (s(), at(), 0..200usize).prop_map(|(s, at, len)| Op::Read(s, at, len)),
        3 => (s(), at(), any::<u8>()).prop_map(|(s, at, value)| Op::Write(s, at, value)),
        4 => (s(), run(), any::<u32>()).prop_map(|(s, (first, count), value)| Op::Sweep(s, first, count, value)),
    ]
}

/// One space as a plain array, and what may be done with each page.
#[derive(Clone)]
struct Model {
    bytes: Vec<u8>,
    rights: Vec<Option<Perms>>,
}

impl Model {
    fn allows(&self, page: u64, at: u64, len: u64, right: Perms) -> bool {
        (at / page..=(at + len - 1) / page).all(|number| {
            self.rights.get(number as usize).is_some_and(|r| r.is_some_and(|r| r.contains(right)))
        })
    }
}

/// What a page of a source holds.
fn source_byte(at: u64) -> u8 {
    (at * 7 + at / 256) as u8 | 1
}

struct Setup {
    page: u64,
    marks: bool,
    frames: u64,
    slots: u64,
    /// One operation of the store in so many fails.
    failing: Option<u64>,
}

fn run<P: Policy>(setup: &Setup, policy: P, ops: &[Op]) -> Result<VmStats, TestCaseError> {
    let Setup { page, marks, frames, slots, failing } = *setup;
    let plan: Plan = Box::new(move |n, _| {
        failing.is_some_and(|rate| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % rate == 0)
    });
    let mut machine = Machine::new(page, marks, frames, slots, policy, plan);
    let mut spaces: Vec<(SpaceId, Model)> = Vec::new();
    let source: Arc<Vec<u8>> = Arc::new((0..PAGES * page).map(source_byte).collect());
    // What may go wrong without anybody being at fault.
    let excused = |error: &VmError| match error {
        VmError::Store(StoreError::Refused { .. }) => failing.is_some(),
        VmError::OutOfMemory { .. } => slots < 1000,
        _ => false,
    };
    let empty = || Model { bytes: vec![0; (PAGES * page) as usize], rights: vec![None; PAGES as usize] };
    spaces.push((machine.create(), empty()));
    for op in ops {
        let alive = spaces.len();
        match *op {
            Op::Create if alive < 5 => spaces.push((machine.create(), empty())),
            Op::Fork(n) if alive < 5 => {
                let (space, model) = spaces[n % alive].clone();
                spaces.push((machine.fork(space).unwrap(), model));
            }
            Op::Create | Op::Fork(_) => {}
            Op::Destroy(n) => {
                if alive > 1 {
                    machine.destroy(spaces.swap_remove(n % alive).0).unwrap();
                }
            }
            Op::Map(n, first, count, from_source, write) => {
                let (space, model) = &mut spaces[n % alive];
                let last = first + count;
                let pages = first as usize..last.min(PAGES) as usize;
                let fits = last <= PAGES && model.rights[pages.clone()].iter().all(Option::is_none);
                let perms = if write { RW } else { Perms::READ };
                let (va, len) = (VirtAddr(first * page), count * page);
                let region = match from_source {
                    false => Region::anonymous(va, len, perms),
                    true => {
                        let offset = va.0;
                        // Not all of the region comes from the source.
                        let backing =
                            Backing::Source { source: source.clone(), offset, at: va, len: len - page / 2 };
                        Region { va, len, perms, backing }
                    }
                };
                prop_assert_eq!(machine.vm.map(*space, region).is_ok(), fits);
                if fits {
                    model.rights[pages].fill(Some(perms));
                    for at in va.0..va.0 + len {
                        let from_source = from_source && at - va.0 < len - page / 2;
                        model.bytes[at as usize] = if from_source { source_byte(at) } else { 0 };
                    }
                }
            }
            Op::Unmap(n, first, count) => {
                let (space, model) = &mut spaces[n % alive];
                let fits = first + count <= PAGES;
                let (va, len) = (VirtAddr(first * page), count * page);
                prop_assert_eq!(machine.vm.unmap(*space, va, len, &mut machine.mmu).is_ok(), fits);
                if fits {
                    model.rights[first as usize..(first + count) as usize].fill(None);
                }
            }
            Op::Protect(n, first, count, write) => {
                let (space, model) = &mut spaces[n % alive];
                let pages = first as usize..(first + count).min(PAGES) as usize;
                let fits = first + count <= PAGES && model.rights[pages.clone()].iter().all(Option::is_some);
                let perms = if write { RW } else { Perms::READ };
                let (va, len) = (VirtAddr(first * page), count * page);
                let done = machine.vm.protect(*space, va, len, perms, &mut machine.mmu);
                prop_assert_eq!(done.is_ok(), fits);
                if fits {
                    model.rights[pages].fill(Some(perms));
                }
            }
            Op::Load(n, at) => {
                let (space, model) = &spaces[n % alive];
                let found = machine.load(*space, at);
                check_load(model, page, at, found, excused)?;
            }
            Op::Store(n, at, value) => {
                let (space, model) = &mut spaces[n % alive];
                let done = machine.store(*space, at, value);
                check_store(model, page, at, value, done, excused)?;
            }
            Op::Sweep(n, first, count, value) => {
                let (space, model) = &mut spaces[n % alive];
                for number in first..(first + count).min(PAGES) {
                    let at = number * page + u64::from(value) % (page - 4);
                    let done = machine.store(*space, at, value);
                    check_store(model, page, at, value, done, excused)?;
                }
            }
            Op::Read(n, at, len) => {
                let (space, model) = &spaces[n % alive];
                let mut out = vec![0; len];
                let done = machine.vm.read(*space, VirtAddr(at), &mut out, &mut machine.mmu);
                let allowed = len == 0 || model.allows(page, at, len as u64, Perms::READ);
                match done {
                    Ok(()) => {
                        prop_assert!(allowed);
                        prop_assert_eq!(
                            &out[..],
                            model.bytes.get(at as usize..at as usize + len).unwrap_or(&[])
                        );
                    }
                    Err(error) => prop_assert!(!allowed || excused(&error), "{}", error),
                }
            }
            Op::Write(n, at, value) => {
                let (space, model) = &mut spaces[n % alive];
                let done = machine.vm.write(*space, VirtAddr(at), &[value], &mut machine.mmu);
                let allowed = model.allows(page, at, 1, Perms::WRITE);
                match done {
                    Ok(()) => {
                        prop_assert!(allowed);
                        model.bytes[at as usize] = value;
                    }
                    Err(error) => prop_assert!(!allowed || excused(&error), "{}", error),
                }
            }
        }
        machine.audit();
    }
    // Everything, once more; what fails now and then does not fail for ever.
    for (space, model) in &spaces {
        for number in 0..PAGES {
            let mut out = vec![0; page as usize];
            let va = number * page;
            let allowed = model.allows(page, va, page, Perms::READ);
            let read = (0..20)
                .map(|_| machine.vm.read(*space, VirtAddr(va), &mut out, &mut machine.mmu))
                .find(|done| !done.as_ref().is_err_and(excused));
            match read {
                Some(done) => prop_assert_eq!(done.is_ok(), allowed),
                // A full store stays full.
                None => continue,
            }
            if allowed {
                prop_assert!(
                    out == model.bytes[va as usize..(va + page) as usize],
                    "page {} of {}",
                    number,
                    space
                );
            }
        }
    }
    let stats = machine.vm.stats();
    prop_assert_eq!(stats.pages_written, stats.dirty_evictions);
    prop_assert_eq!(stats.bytes_read, stats.pages_read * page);
    machine.end();
    Ok(stats)
}

fn check_load(
    model: &Model,
    page: u64,
    at: u64,
    found: Result<u32, VmError>,
    excused: impl Fn(&VmError) -> bool,
) -> Result<(), TestCaseError> {
    let allowed = model.allows(page, at, 4, Perms::READ);
    match found {
        Ok(found) => {
            prop_assert!(allowed);
            let bytes: [u8; 4] = model.bytes[at as usize..at as usize + 4].try_into().unwrap();
            prop_assert_eq!(found, u32::from_le_bytes(bytes), "at {:#x}", at);
        }
        Err(error) => prop_assert!(!allowed || excused(&error), "{}", error),
    }
    Ok(())
}

fn check_store(
    model: &mut Model,
    page: u64,
    at: u64,
    value: u32,
    done: Result<(), VmError>,
    excused: impl Fn(&VmError) -> bool,
) -> Result<(), TestCaseError> {
    let allowed = model.allows(page, at, 4, Perms::WRITE);
    match done {
        Ok(()) => {
            prop_assert!(allowed);
            model.bytes[at as usize..at as usize + 4].copy_from_slice(&value.to_le_bytes());
        }
        Err(error) => prop_assert!(!allowed || excused(&error), "{}", error),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn spaces_are_arrays_of_bytes(
        ops in proptest::collection::vec(op(64), 1..160),
        frames in 9..20u64,
        marks in any::<bool>(),
    ) {
        let setup = Setup { page: 64, marks, frames, slots: 1000, failing: None };
        let first = run(&setup, Clock::default(), &ops)?;
        prop_assert_eq!(first, run(&setup, Clock::default(), &ops)?, "the same again gives the same counters");
        run(&setup, Fifo::default(), &ops)?;
    }

    #[test]
    fn also_with_pages_as_large_as_the_hosts(
        ops in proptest::collection::vec(op(4096), 1..100),
        frames in 9..20u64,
        marks in any::<bool>(),
    ) {
        run(&Setup { page: 4096, marks, frames, slots: 1000, failing: None }, Clock::default(), &ops)?;
    }

    #[test]
    fn a_store_that_fails_or_is_full_loses_nothing(
        ops in proptest::collection::vec(op(64), 1..160),
        frames in 9..20u64,
        slots in prop_oneof![0..12u64, Just(1000)],
        rate in 2..30u64,
        marks in any::<bool>(),
    ) {
        let failing = (rate > 3).then_some(rate);
        run(&Setup { page: 64, marks, frames, slots, failing }, Clock::default(), &ops)?;
    }
}
