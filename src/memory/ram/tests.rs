use super::*;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

const BASE: u64 = 0x8000_0000;
const WIDTHS: [Width; 4] = [Width::W1, Width::W2, Width::W4, Width::W8];

fn ram(size: u64) -> Ram {
    Ram::new(PhysAddr(BASE), size).unwrap()
}

#[test]
fn refuses_impossible_ranges() {
    let base = PhysAddr(0x1000);
    let error = |base, size| Ram::new(base, size).unwrap_err();
    assert_eq!(error(base, 0), RamError::Empty { base });
    assert_eq!(error(base, 0x1001), RamError::Misaligned { base, size: 0x1001 });
    let odd = PhysAddr(0x1008);
    assert_eq!(error(odd, 0x1000), RamError::Misaligned { base: odd, size: 0x1000 });
    let top = PhysAddr(0xffff_ffff_ffff_f000);
    assert_eq!(error(top, 0x2000), RamError::Wraps { base: top, size: 0x2000 });
    let size = 1 << 62;
    assert_eq!(error(PhysAddr(0), size), RamError::HostRefused { size });
}

#[test]
fn the_last_page_of_the_space_works_to_its_last_byte() {
    let ram = Ram::new(PhysAddr(0xffff_ffff_ffff_f000), 0x1000).unwrap();
    ram.write(PhysAddr(u64::MAX), Width::W1, 0xab).unwrap();
    assert_eq!(ram.read(PhysAddr(u64::MAX - 7), Width::W8), Ok(0xab << 56));
    for pa in [PhysAddr(u64::MAX - 2), PhysAddr(0), PhysAddr(0xffff_ffff_ffff_effe)] {
        assert_eq!(ram.read(pa, Width::W4), Err(BusError::Unmapped { pa }));
        assert_eq!(ram.write_bytes(pa, &[1, 2, 3, 4]), Err(BusError::Unmapped { pa }));
    }
    assert_eq!(ram.read_bytes(PhysAddr(u64::MAX), &mut []), Ok(()));
}

#[test]
fn sixty_four_gib_cost_nothing_until_touched() {
    let ram = ram(64 << 30);
    let last = PhysAddr(BASE + (64 << 30) - 8);
    assert_eq!(ram.read(last, Width::W8), Ok(0));
    ram.write(last, Width::W8, 7).unwrap();
    assert_eq!(ram.read(last, Width::W8), Ok(7));
}

#[test]
fn compare_exchange_says_what_it_found() {
    let ram = ram(0x1000);
    let pa = PhysAddr(BASE + 8);
    for width in WIDTHS {
        ram.write(pa, Width::W8, 0x1111_1111_1111_1111).unwrap();
        let found = 0x1111_1111_1111_1111 & width.mask();
        assert_eq!(ram.compare_exchange(pa, width, 5, 6), Ok(Err(found)));
        assert_eq!(ram.compare_exchange(pa, width, found, 6), Ok(Ok(())));
        assert_eq!(ram.read(pa, width), Ok(6));
        if width != Width::W8 {
            assert_eq!(ram.compare_exchange(pa, width, 6 | (width.mask() + 1), 9), Ok(Err(6)), "bits above");
        }
    }
    let odd = PhysAddr(BASE + 1);
    assert_eq!(ram.compare_exchange(odd, Width::W2, 0, 1), Err(BusError::Width { pa: odd, bytes: 2 }));
}

#[test]
fn handles_share_bytes_wherever_they_are_seen() {
    let ram = ram(0x2000);
    let other = ram.at(PhysAddr(0x4000)).unwrap();
    ram.write(PhysAddr(BASE + 0x1010), Width::W4, 77).unwrap();
    assert_eq!(other.read(PhysAddr(0x5010), Width::W4), Ok(77));
    assert_ne!(ram.generation(), other.generation());
    assert_eq!(ram.at(PhysAddr(8)).unwrap_err(), RamError::Misaligned { base: PhysAddr(8), size: 0x2000 });
}

#[test]
fn a_host_page_is_where_the_bytes_are() {
    let ram = ram(0x4_0000);
    let pa = PhysAddr(BASE + 0x2_1234);
    let page = ram.host_page(pa, HostAccess::Write).unwrap();
    // SAFETY: the page is valid while `ram` lives and is touched through atomics only.
    unsafe { cells::store(page.as_ptr().add(0x230), Width::W4, 99) };
    assert_eq!(ram.read(PhysAddr(BASE + 0x2_1230), Width::W4), Ok(99));
    assert!(ram.host_page(PhysAddr(BASE + 0x4_0000), HostAccess::Read).is_none());
    assert!(ram.host_page(PhysAddr(BASE - 1), HostAccess::Read).is_none());
    let (at, keep) = (page.as_ptr(), page.mapping().clone());
    drop(ram);
    // SAFETY: `keep` holds the bytes.
    assert_eq!(unsafe { cells::load(at.add(0x230), Width::W4, Ordering::Relaxed) }, 99);
    drop(keep);
}

#[test]
fn threads_lose_no_increment_and_tear_no_word() {
    let ram = ram(0x20_0000);
    let (counter, word) = (PhysAddr(BASE + 0x10_0000), PhysAddr(BASE + 0x1f_0000));
    let patterns = [0, 0x1111_1111_1111_1111, u64::MAX];
    let rounds = if cfg!(miri) { 50 } else { 20_000 };
    std::thread::scope(|scope| {
        for pattern in patterns {
            let ram = ram.clone();
            scope.spawn(move || {
                for _ in 0..rounds {
                    let mut old = ram.read(counter, Width::W8).unwrap();
                    while let Err(found) = ram.compare_exchange(counter, Width::W8, old, old + 1).unwrap() {
                        old = found;
                    }
                    ram.write(word, Width::W8, pattern).unwrap();
                    assert!(patterns.contains(&ram.read(word, Width::W8).unwrap()), "torn");
                }
            });
        }
    });
    assert_eq!(ram.read(counter, Width::W8), Ok(3 * rounds));
}

#[derive(Clone, Debug)]
enum Op {
    Read(u64, Width),
    Write(u64, Width, u64),
    ReadBytes(u64, usize),
    WriteBytes(u64, Vec<u8>),
}

fn op() -> impl Strategy<Value = Op> {
    // Offsets around both ends and the border between two chunks of the chunked mapping.
    let at = prop_oneof![0..24u64, 0xffe0..0x1_0020u64, 0x1_ffe0..0x2_0010u64].prop_map(|at| BASE + at - 8);
    let width = proptest::sample::select(&WIDTHS[..]);
    prop_oneof![
        (at.clone(), width.clone()).prop_map(|(at, width)| Op::Read(at, width)),
        (at.clone(), width, any::<u64>()).prop_map(|(at, width, value)| Op::Write(at, width, value)),
        (at.clone(), 0..40usize).prop_map(|(at, len)| Op::ReadBytes(at, len)),
        (at, proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(at, data)| Op::WriteBytes(at, data)),
    ]
}

proptest! {
    #[test]
    fn is_an_array_of_bytes(ops in proptest::collection::vec(op(), 1..60)) {
        let ram = ram(0x2_0000);
        let mut model = vec![0u8; 0x2_0000];
        let inside = |at: u64, len: usize| {
            let start = at.checked_sub(BASE)? as usize;
            (start + len <= 0x2_0000).then_some(start..start + len)
        };
        for op in ops {
            match op {
                Op::Read(at, width) => {
                    let expected = inside(at, width as usize).map(|run| {
                        let mut bytes = [0; 8];
                        bytes[..run.len()].copy_from_slice(&model[run]);
                        u64::from_le_bytes(bytes)
                    });
                    prop_assert_eq!(ram.read(PhysAddr(at), width).ok(), expected);
                    // Entries lie at multiples of their width.
                    let entry = expected.filter(|_| at % width.bytes() == 0);
                    prop_assert_eq!(ram.read_pte(PhysAddr(at), width).ok(), entry);
                }
                Op::Write(at, width, value) => {
                    let run = inside(at, width as usize);
                    prop_assert_eq!(ram.write(PhysAddr(at), width, value).is_ok(), run.is_some());
                    if let Some(run) = run {
                        model[run].copy_from_slice(&value.to_le_bytes()[..width as usize]);
                    }
                }
                Op::ReadBytes(at, len) => {
                    let mut out = vec![0; len];
                    let run = inside(at, len);
                    let done = ram.read_bytes(PhysAddr(at), &mut out);
                    prop_assert_eq!(done.is_ok(), run.is_some());
                    if let Some(run) = run {
                        prop_assert_eq!(&out[..], &model[run]);
                    }
                }
                Op::WriteBytes(at, data) => {
                    let run = inside(at, data.len());
                    let check = ram.check_bytes(PhysAddr(at), data.len() as u64, HostAccess::Write);
                    prop_assert_eq!(check.is_ok(), run.is_some());
                    prop_assert_eq!(ram.write_bytes(PhysAddr(at), &data), check);
                    if let Some(run) = run {
                        model[run].copy_from_slice(&data);
                    }
                }
            }
        }
        let mut all = vec![0; 0x2_0000];
        ram.read_bytes(PhysAddr(BASE), &mut all).unwrap();
        prop_assert!(all == model);
    }
}
