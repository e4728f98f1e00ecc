//! Windows against a list that says what each was opened onto.

use super::*;
use crate::addr::PhysAddr;
use crate::memory::{HostAccess, PhysMemory, Ram};
use proptest::prelude::*;
use std::collections::HashMap;

const PAGES: u64 = 8;

/// RAM whose every word holds its own address.
fn ram() -> Ram {
    let ram = Ram::new(PhysAddr(0), PAGES << WINDOW_BITS).expect("a small RAM");
    for word in (0..PAGES << WINDOW_BITS).step_by(8) {
        ram.write(PhysAddr(word), Width::W8, word).expect("inside");
    }
    ram
}

fn page(ram: &Ram, number: u64) -> HostPage<'_> {
    ram.host_page(PhysAddr(number << WINDOW_BITS), HostAccess::Write).expect("inside")
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Open { va: u64, through: Through, page: u64 },
    Shut { slot: usize },
    Enter { data: u32, fetch: u32 },
    Access { va: u64, through: Through },
    ShutAll,
}

/// Virtual addresses that share windows, differ only above bit 48, or lie at the top of the space.
fn va() -> impl Strategy<Value = u64> {
    let page =
        prop_oneof![0..4u64, (0..4u64).prop_map(|n| n + WINDOWS as u64), Just((1 << 52) - 1), Just(1 << 51)];
    (page, prop_oneof![0..4096u64, (0..512u64).prop_map(|n| n * 8), 4088..4096u64])
        .prop_map(|(page, offset)| page << WINDOW_BITS | offset)
}

fn through() -> impl Strategy<Value = Through> {
    prop_oneof![Just(Through::Read), Just(Through::Write), Just(Through::Execute)]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (va(), through(), 0..PAGES).prop_map(|(va, through, page)| Op::Open { va, through, page }),
        1 => (0..2 * WINDOWS).prop_map(|slot| Op::Shut { slot }),
        1 => (1..4u32, 1..4u32).prop_map(|(data, fetch)| Op::Enter { data, fetch }),
        12 => (va(), through()).prop_map(|(va, through)| Op::Access { va, through }),
        1 => Just(Op::ShutAll),
    ]
}

/// What one window shows: the page number seen, its context, the RAM page behind, and the kinds let through.
type Shown = (u64, u32, u64, Vec<Through>);

proptest! {
    #[test]
    fn windows_show_what_was_opened(ops in prop::collection::vec(op(), 1..200)) {
        let ram = ram();
        let mut windows = Windows::new();
        let (mut data, mut fetch) = (1, 1);
        let mut model: HashMap<usize, Shown> = HashMap::new();
        for op in ops {
            match op {
                Op::Open { va, through, page: number } => {
                    windows.open(va, through, &page(&ram, number));
                    let context = if through == Through::Execute { fetch } else { data };
                    let slot = Windows::slot(va, through);
                    let shown = model.entry(slot).or_insert((0, 0, 0, Vec::new()));
                    let same = (shown.0, shown.1, shown.2) == (va >> WINDOW_BITS, context, number);
                    if !same {
                        *shown = (va >> WINDOW_BITS, context, number, Vec::new());
                    }
                    shown.3.push(through);
                }
                Op::Shut { slot } => {
                    windows.shut(slot);
                    model.remove(&slot);
                }
                Op::Enter { data: d, fetch: f } => {
                    (data, fetch) = (d, f);
                    windows.enter(d, f);
                }
                Op::ShutAll => {
                    windows.shut_all();
                    model.clear();
                }
                Op::Access { va, through } => {
                    let context = if through == Through::Execute { fetch } else { data };
                    let expected = model.get(&Windows::slot(va, through)).and_then(|(seen, in_, number, kinds)| {
                        let here = *seen == va >> WINDOW_BITS && *in_ == context;
                        (here && va % 8 == 0 && kinds.contains(&through))
                            .then_some(*number << WINDOW_BITS | va & OFFSET_MASK)
                    });
                    match through {
                        Through::Read => prop_assert_eq!(windows.load::<u64>(va), expected),
                        Through::Execute => prop_assert_eq!(windows.fetch::<u64>(va), expected),
                        Through::Write => {
                            // What is stored is what stands there, so that words keep holding their addresses.
                            let word = expected.unwrap_or(0xbad);
                            prop_assert_eq!(windows.store::<u64>(va, word), expected.is_some());
                        }
                    }
                }
            }
        }
        for word in (0..PAGES << WINDOW_BITS).step_by(8) {
            prop_assert_eq!(ram.read(PhysAddr(word), Width::W8), Ok(word), "no store strayed");
        }
    }
}

#[test]
fn narrow_and_misaligned() {
    let ram = ram();
    let mut windows = Windows::new();
    windows.open(0x7000, Through::Read, &page(&ram, 1));
    assert_eq!(windows.load::<u8>(0x7fff), Some(0));
    assert_eq!(windows.load::<u16>(0x7ff8), Some(0x1ff8));
    assert_eq!(windows.load::<u32>(0x7ff8), Some(0x1ff8));
    assert_eq!(windows.load::<u16>(0x7fff), None, "crosses the page");
    assert_eq!(windows.load::<u32>(0x7002), None, "misaligned");
    assert_eq!(windows.load::<u64>(0x8000), None, "the next page");
    assert_eq!(windows.compare_exchange::<u64>(0x7000, 0x1000, 1), None, "not open for stores");
    windows.open(0x7000, Through::Write, &page(&ram, 1));
    assert_eq!(windows.compare_exchange::<u64>(0x7000, 0x1000, 1), Some(Ok(0x1000)));
    assert_eq!(windows.compare_exchange::<u64>(0x7000, 0x1000, 2), Some(Err(1)));
    assert_eq!(windows.update::<u16>(0x7000, 9, |old| old + 1), Some(Some(1)));
    assert_eq!(ram.read(PhysAddr(0x1000), Width::W8), Ok(2));
    let counts = windows.take_counts();
    assert_eq!((counts.reads, counts.writes, counts.fetches), (3, 3, 0));
}

#[test]
fn windows_outlive_the_ram_value() {
    let ram = ram();
    let mut windows = Windows::new();
    windows.open(0x3000, Through::Read, &page(&ram, 2));
    drop(ram);
    assert_eq!(windows.load::<u64>(0x3008), Some(0x2008), "the mapping is pinned");
}

/// Makes the compare that [`HitLayout`] describes, as generated code would.
#[test]
fn layout_is_what_it_says() {
    let ram = ram();
    let mut windows = Windows::new();
    windows.enter(5, 6);
    for (va, through, number) in
        [(0x7000, Through::Read, 1), (0x9000, Through::Write, 3), (0xffff_f000, Through::Execute, 2)]
    {
        windows.open(va, through, &page(&ram, number));
        let kind = match through {
            Through::Read => AccessKind::Read,
            Through::Write => AccessKind::Write,
            Through::Execute => AccessKind::Execute,
        };
        let hit = HitLayout::of(kind, Width::W8);
        let table = windows.table();
        let va = va + 0x18;
        let window = hit.windows
            + ((va >> HitLayout::PAGE_BITS) & HitLayout::INDEX_MASK) as usize * HitLayout::WINDOW_BYTES;
        // SAFETY: the offsets lie in the table, which `windows` owns.
        let (context, key, addend) = unsafe {
            (
                table.add(hit.context).cast::<u64>().read(),
                table.add(window + hit.key).cast::<u64>().read(),
                table.add(window + hit.addend).cast::<usize>().read(),
            )
        };
        assert_eq!(va & hit.address_mask | context, key);
        let host = addend.wrapping_add(va as usize) as *mut u8;
        // SAFETY: the keys are equal, so the contract of `HitLayout` says that the word is there.
        let word = unsafe { cells::load(host, Width::W8, Ordering::Relaxed) };
        assert_eq!(word, number << WINDOW_BITS | 0x18);
        // SAFETY: as above; counters may be written.
        unsafe { *table.add(hit.counter).cast::<u64>() += 1 };
    }
    let counts = windows.take_counts();
    assert_eq!((counts.reads, counts.writes, counts.fetches), (1, 1, 1));
}
