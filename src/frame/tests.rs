use super::*;
use crate::access::Width;
use crate::memory::{PhysMemory, PhysRange, Ram};
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

const FRAME: PageSize = PageSize::SIZE_4K;

fn range(base: u64, len: u64) -> PhysRange {
    PhysRange::new(PhysAddr(base), len).unwrap()
}

fn pages(first: u64, count: u64) -> PhysRange {
    range(first << 12, count << 12)
}

#[test]
fn bump_goes_up_and_back_only_by_its_last_step() {
    let mut frames = BumpAllocator::new(range(0x1001, 0x6fff), FRAME);
    assert_eq!(frames.free_frames(), 6, "partial frames at both ends are left out");
    let a = frames.allocate(0).unwrap();
    let b = frames.allocate(1).unwrap();
    assert_eq!((a, b), (PhysAddr(0x2000), PhysAddr(0x4000)));
    frames.free(a, 0).unwrap();
    assert_eq!(frames.free_frames(), 2);
    frames.free(b, 1).unwrap();
    assert_eq!(frames.free_frames(), 4);
    assert_eq!(frames.free(b, 1), Err(FrameError::NotAllocated { frame: b, order: 1 }));
    let odd = PhysAddr(0x2001);
    assert_eq!(frames.free(odd, 0), Err(FrameError::Foreign { frame: odd }));
    assert_eq!(frames.allocate(3), Err(FrameError::OutOfFrames { order: 3 }));
    assert_eq!(frames.allocate(64), Err(FrameError::OutOfFrames { order: 64 }));
    assert_eq!(frames.allocate(63), Err(FrameError::OutOfFrames { order: 63 }));
}

#[test]
fn frames_reach_the_top_of_the_space() {
    let top = range(0xffff_ffff_ffff_e000, 0x2000);
    let mut bump = BumpAllocator::new(top, FRAME);
    let mut bitmap = BitmapAllocator::new(top, FRAME).unwrap();
    let mut buddy = BuddyAllocator::new(top, FRAME).unwrap();
    let last = PhysAddr(0xffff_ffff_ffff_f000);
    let all: [&mut dyn FrameAllocator; 3] = [&mut bump, &mut bitmap, &mut buddy];
    for frames in all {
        assert_eq!(frames.allocate(0), Ok(top.first()));
        assert_eq!(frames.allocate(0), Ok(last));
        assert_eq!(frames.allocate(0), Err(FrameError::OutOfFrames { order: 0 }));
        frames.free(last, 0).unwrap();
    }
}

#[test]
fn impossible_pools_are_refused() {
    assert_eq!(
        BitmapAllocator::new(range(0x1001, 0x1ffe), FRAME).unwrap_err(),
        PoolError::Empty { frame: FRAME }
    );
    let (first, second) = (pages(1, 3), pages(3, 2));
    assert_eq!(
        BuddyAllocator::with_reserved([second, first], [], FRAME).unwrap_err(),
        PoolError::Overlap { first, second }
    );
    let whole = range(0, u64::MAX);
    let byte = PageSize::from_bits(0).unwrap();
    assert_eq!(BitmapAllocator::new(whole, byte).unwrap_err(), PoolError::HostRefused { range: whole });
}

#[test]
fn buddies_grow_together_again() {
    // 3..45: neither end is aligned.
    let mut frames = BuddyAllocator::new(pages(3, 42), FRAME).unwrap();
    let runs = |frames: &mut BuddyAllocator| -> Vec<u32> {
        let mut orders = vec![];
        for order in (0..6).rev() {
            let mut probe = frames.clone();
            while probe.allocate(order).is_ok() {
                orders.push(order);
            }
        }
        orders
    };
    let before = runs(&mut frames);
    assert_eq!(before.iter().filter(|&&order| order == 4).count(), 1, "16..32 alone");
    let mut out: Vec<_> = (0..42).map(|_| frames.allocate(0).unwrap()).collect();
    assert_eq!(frames.allocate(0), Err(FrameError::OutOfFrames { order: 0 }));
    // Every second one first, so that nothing can join until the end.
    out.sort_by_key(|frame| (frame.0 >> 12 & 1, frame.0));
    for frame in out {
        frames.free(frame, 0).unwrap();
    }
    assert_eq!(runs(&mut frames), before);
}

#[test]
fn a_run_may_lie_across_two_ranges_side_by_side() {
    fn check<Z: Zone>() {
        let mut pool = Pool::<Z>::with_reserved([pages(33, 15), pages(1, 32)], [], FRAME).unwrap();
        assert_eq!(pool.allocate(4), Ok(PhysAddr(16 << 12)));
        assert_eq!(pool.allocate(4), Ok(PhysAddr(32 << 12)));
    }
    check::<Bitmap>();
    check::<Buddy>();
}

#[test]
fn the_bitmap_goes_on_where_it_stopped() {
    let mut frames = BitmapAllocator::new(pages(0, 256), FRAME).unwrap();
    let first = frames.allocate(0).unwrap();
    for _ in 1..100 {
        frames.allocate(0).unwrap();
    }
    frames.free(first, 0).unwrap();
    assert_eq!(frames.allocate(0), Ok(PhysAddr(100 << 12)), "not back to the start");
    for _ in 101..256 {
        frames.allocate(0).unwrap();
    }
    assert_eq!(frames.allocate(0), Ok(first), "but round, when it must");
}

#[test]
fn junk_fills_what_was_freed_and_only_that() {
    let ram = Ram::new(PhysAddr(0), 0x8000).unwrap();
    let mut frames = JunkFill::new(BuddyAllocator::new(ram.range(), FRAME).unwrap(), &ram);
    let (run, other) = (frames.allocate(1).unwrap(), frames.allocate(0).unwrap());
    ram.write(other, Width::W8, 1).unwrap();
    assert!(frames.free(other, 1).is_err());
    frames.free(run, 1).unwrap();
    assert_eq!(ram.read(other, Width::W8), Ok(1));
    if cfg!(debug_assertions) {
        let mut bytes = [0; 0x2000];
        ram.read_bytes(run, &mut bytes).unwrap();
        assert_eq!(bytes, [0xa5; 0x2000]);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Allocate(u32),
    /// The n-th run that is out.
    Free(usize),
    /// Something that may or may not be out.
    FreeWild(u64, u32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => prop_oneof![4 => Just(0u32), 2 => 0..5u32, 1 => 0..9u32].prop_map(Op::Allocate),
        3 => any::<usize>().prop_map(Op::Free),
        1 => (0..700u64, 0..9u32).prop_map(|(frame, order)| Op::FreeWild(frame, order)),
    ]
}

/// Runs `ops` against a model that knows each frame, then frees and allocates all.
fn check<Z: Zone>(
    ranges: &[(u64, u64)],
    reserved: &[(u64, u64)],
    ops: &[Op],
) -> Result<(), proptest::test_runner::TestCaseError> {
    let spans: Vec<_> = ranges.iter().map(|&(first, count)| pages(first, count)).collect();
    // A reserved range that begins and ends inside frames takes those frames whole.
    let kept = reserved.iter().map(|&(first, count)| range((first << 12) + 1, (count << 12) - 2));
    let mut pool = Pool::<Z>::with_reserved(spans, kept, FRAME).unwrap();
    let usable = |frame: u64| {
        let inside = |&(first, count): &(u64, u64)| (first..first + count).contains(&frame);
        ranges.iter().any(inside) && !reserved.iter().any(inside)
    };
    let total = (0..1000).filter(|&frame| usable(frame)).count() as u64;
    let mut owner: BTreeMap<u64, u64> = BTreeMap::new();
    let mut out: Vec<(u64, u32)> = vec![];
    prop_assert_eq!(pool.free_frames(), total);
    for op in ops {
        match *op {
            Op::Allocate(order) => match pool.allocate(order) {
                Ok(pa) => {
                    let first = pa.0 >> 12;
                    prop_assert!(pa.is_aligned(12 + order));
                    for frame in first..first + (1 << order) {
                        prop_assert!(usable(frame), "frame {} is not ours", frame);
                        prop_assert!(owner.insert(frame, first).is_none(), "frame {} is out", frame);
                    }
                    out.push((first, order));
                }
                Err(error) => {
                    prop_assert_eq!(error, FrameError::OutOfFrames { order });
                    let run = 1u64 << order;
                    let free = |frame: u64| usable(frame) && !owner.contains_key(&frame);
                    // The buddy keeps free memory joined, so both find a run whenever there is one.
                    let missed = (0..1000 / run).find(|n| (n * run..(n + 1) * run).all(free));
                    prop_assert_eq!(missed, None);
                }
            },
            Op::Free(n) if !out.is_empty() => {
                let (first, order) = out.swap_remove(n % out.len());
                owner.retain(|_, head| *head != first);
                prop_assert_eq!(pool.free(PhysAddr(first << 12), order), Ok(()));
            }
            Op::Free(_) => {}
            Op::FreeWild(frame, order) => {
                if !out.contains(&(frame, order)) {
                    let error = pool.free(PhysAddr(frame << 12), order).unwrap_err();
                    let foreign = !usable(frame) || frame % (1 << order) != 0;
                    prop_assert_eq!(matches!(error, FrameError::Foreign { .. }), foreign);
                }
            }
        }
        prop_assert_eq!(pool.free_frames(), total - owner.len() as u64);
    }
    for (first, order) in out {
        pool.free(PhysAddr(first << 12), order).unwrap();
        prop_assert!(pool.free(PhysAddr(first << 12), order).is_err(), "freed twice");
    }
    for _ in 0..total {
        prop_assert!(pool.allocate(0).is_ok());
    }
    prop_assert!(pool.allocate(0).is_err());
    Ok(())
}

proptest! {
    #[test]
    fn frames_are_out_once_and_come_back(
        first in 0..150u64,
        count in 1..300u64,
        gap in 0..100u64,
        second in 1..100u64,
        reserved in proptest::collection::vec((0..500u64, 1..40u64), 0..4),
        ops in proptest::collection::vec(op(), 1..120),
    ) {
        let ranges = [(first, count), (first + count + gap, second)];
        check::<Bitmap>(&ranges, &reserved, &ops)?;
        check::<Buddy>(&ranges, &reserved, &ops)?;
    }
}
