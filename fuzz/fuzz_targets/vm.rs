//! Programs over far too little memory and a store that fails: regions mapped, touched, forked, resized and unmapped,
//! pages put out and read back. Every byte is what a plain array says, and no frame or slot is ever lost.
#![no_main]

extern crate alloc;

use arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
// The modules that are shared with the crate's own tests name its parts as the crate does.
use softmmu::{addr, arch, frame, memory, mmu, radix, store, table, tlb, vm};

#[path = "../../src/vm/tests/machine.rs"]
#[allow(dead_code)]
mod machine;
#[path = "../../src/vm/tests/model.rs"]
mod model;

use model::{Kind, Op, PAGES, Setup, World};
use vm::{Clock, Fifo, PageId, Policy};

/// A policy that names whatever comes to its mind.
struct Wild {
    known: Vec<PageId>,
    state: u32,
}

impl Policy for Wild {
    fn insert(&mut self, page: PageId) {
        self.known.push(page);
    }
    fn remove(&mut self, page: PageId) {
        // Not all that is forgotten is gone, and not all that is gone forgotten.
        if self.state & 0x30 != 0 {
            self.known.retain(|&known| known != page);
        }
    }
    fn victim(&mut self, used: &mut dyn FnMut(PageId) -> bool) -> Option<PageId> {
        self.state = self.state.wrapping_mul(0x915f_77f5).wrapping_add(1);
        let choice = (self.state >> 16) as usize;
        let page = match choice & 15 {
            0 => None,
            1 => Some(PageId(choice as u32 >> 4)),
            _ => self.known.get((choice >> 4) % self.known.len().max(1)).copied(),
        };
        page.filter(|&page| choice & 1 == 0 || !used(page))
    }
}

fn kind(u: &mut Unstructured<'_>) -> Result<Kind> {
    Ok(match u.int_in_range(0..=9)? {
        0 => Kind::Guard,
        1 => Kind::Device(u.int_in_range(0..=7)?),
        2 | 3 => Kind::Source,
        4 | 5 => Kind::Shared(u.int_in_range(0..=15)?),
        _ => Kind::Zero,
    })
}

fn op(u: &mut Unstructured<'_>, page: u64) -> Result<Op> {
    let n = usize::from(u.arbitrary::<u8>()?);
    let first = u.int_in_range(0..=PAGES - 1)?;
    let count = u.int_in_range(1..=24)?;
    let at = first * page
        + if u.ratio(1, 4)? { page - u.int_in_range(1..=4)? } else { u.int_in_range(0..=page - 4)? };
    let write = !u.ratio(1, 4)?;
    Ok(match u.int_in_range(0..=31)? {
        0 => Op::Create,
        1..=2 => Op::Fork(n),
        3 => Op::Destroy(n),
        4..=8 => Op::Map(n, first, count, kind(u)?, write),
        9..=10 => Op::Unmap(n, first, count),
        11..=12 => Op::Protect(n, first, count, write),
        13 => Op::Resize(n, u.arbitrary::<u8>()?.into(), count - 1),
        14..=18 => Op::Load(n, at),
        19..=24 => Op::Store(n, at, u.arbitrary()?),
        25..=26 => Op::Read(n, at, usize::from(u.arbitrary::<u8>()?)),
        27..=28 => Op::Write(n, at, u.arbitrary()?),
        _ => Op::Sweep(n, first, count, u.arbitrary()?),
    })
}

fn program<P: Policy>(u: &mut Unstructured<'_>, setup: &Setup, policy: P) -> Result<()> {
    let mut world = World::new(setup, policy);
    for _ in 0..300 {
        if u.is_empty() {
            break;
        }
        world.step(&op(u, setup.page)?);
    }
    world.end();
    Ok(())
}

fn live(u: &mut Unstructured<'_>) -> Result<()> {
    let policy = u.int_in_range(0..=5)?;
    let frames = u.int_in_range(1..=20)?;
    let setup = Setup {
        page: if u.ratio(1, 16)? { 4096 } else { 64 },
        marks: u.arbitrary()?,
        frames,
        slots: *u.choose(&[1000, 1000, 0, 3, 10])?,
        failing: if u.arbitrary()? { Some(u.int_in_range(1..=30)?) } else { None },
        cramped: frames < 9 || policy == 0,
    };
    match policy {
        0 => {
            let policy = Wild { known: Vec::new(), state: u.arbitrary()? };
            program(u, &setup, policy)
        }
        1..=2 => program(u, &setup, Fifo::default()),
        _ => program(u, &setup, Clock::default()),
    }
}

fuzz_target!(|data: &[u8]| {
    let _ = live(&mut Unstructured::new(data));
});
