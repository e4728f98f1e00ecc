use super::*;
use crate::memory::DeviceError;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;
use std::sync::Mutex;

const WIDTHS: [Width; 4] = [Width::W1, Width::W2, Width::W4, Width::W8];

/// An access as a device sees it: offset, width, and the value of a store.
type Seen = (u64, Width, Option<u64>);

/// Remembers every access that reaches it; answers with its number.
#[derive(Clone, Debug)]
struct Probe {
    answer: u64,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Probe {
    fn new(answer: u64) -> Self {
        Self { answer, seen: Arc::default() }
    }
    fn take(&self) -> Vec<Seen> {
        core::mem::take(&mut self.seen.lock().unwrap())
    }
}

impl Device for Probe {
    fn read(&self, offset: u64, width: Width) -> Result<u64, DeviceError> {
        self.seen.lock().unwrap().push((offset, width, None));
        Ok(self.answer)
    }
    fn write(&self, offset: u64, width: Width, value: u64) -> Result<(), DeviceError> {
        self.seen.lock().unwrap().push((offset, width, Some(value)));
        Ok(())
    }
}

struct Broken(DeviceError);

impl Device for Broken {
    fn read(&self, _: u64, _: Width) -> Result<u64, DeviceError> {
        Err(self.0)
    }
    fn write(&self, _: u64, _: Width, _: u64) -> Result<(), DeviceError> {
        Err(self.0)
    }
}

fn ram(base: u64, size: u64) -> Ram {
    Ram::new(PhysAddr(base), size).unwrap()
}

fn span(first: u64, last: u64) -> PhysRange {
    PhysRange::inclusive(first, last)
}

#[test]
fn impossible_ranges_change_nothing() {
    let mut bus = Bus::<Probe>::of();
    bus.add_ram(ram(0x4000, 0x2000)).unwrap();
    bus.add_device(PhysAddr(0x6003), 5, Probe::new(1)).unwrap();
    let before = bus.generation();
    let base = PhysAddr(0x9000);
    assert_eq!(bus.add_device(base, 0, Probe::new(2)), Err(MapError::Empty { base }));
    assert_eq!(bus.add_rom(base, &[]), Err(MapError::Empty { base }));
    let base = PhysAddr(u64::MAX);
    assert_eq!(bus.add_device(base, 2, Probe::new(2)), Err(MapError::Wraps { base, len: 2 }));
    assert_eq!(bus.reserve("x", base, 9), Err(MapError::Wraps { base, len: 9 }));
    assert_eq!(
        bus.add_device(PhysAddr(0x3fff), 2, Probe::new(2)),
        Err(MapError::Overlap { range: span(0x3fff, 0x4000), taken: span(0x4000, 0x5fff) })
    );
    assert_eq!(
        bus.add_rom(PhysAddr(0x6007), &[1, 2]),
        Err(MapError::Overlap { range: span(0x6007, 0x6008), taken: span(0x6003, 0x6007) })
    );
    assert_eq!(
        bus.add_ram(ram(0, 0x10_0000)),
        Err(MapError::Overlap { range: span(0, 0xf_ffff), taken: span(0x4000, 0x5fff) })
    );
    assert_eq!(bus.remove(PhysAddr(0x4001)).unwrap_err(), MapError::NotFound { base: PhysAddr(0x4001) });
    assert_eq!(bus.generation(), before);
    assert_eq!(bus.regions().count(), 2);
    bus.add_device(PhysAddr(u64::MAX), 1, Probe::new(3)).unwrap();
    assert_eq!(bus.read(PhysAddr(u64::MAX), Width::W1), Ok(3));
}

#[test]
fn a_device_gets_each_access_once_and_whole() {
    let mut bus = Bus::<Probe>::of();
    let probe = Probe::new(u64::MAX);
    bus.add_ram(ram(0x1000, 0x1000)).unwrap();
    bus.add_device(PhysAddr(0x2001), 9, probe.clone()).unwrap();
    assert_eq!(bus.read(PhysAddr(0x2002), Width::W4), Ok(0xffff_ffff));
    bus.write(PhysAddr(0x2001), Width::W2, 0x1234_5678).unwrap();
    assert_eq!(probe.take(), [(1, Width::W4, None), (0, Width::W2, Some(0x5678))]);
    // Over either edge, from RAM, or as anything but a plain access: refused untouched.
    for (pa, width) in [(0x2006, Width::W8), (0x2000, Width::W2), (0x1ffe, Width::W8)] {
        let pa = PhysAddr(pa);
        assert!(bus.read(pa, width).is_err(), "{pa}");
        assert!(bus.write(pa, width, 0).is_err(), "{pa}");
    }
    let pa = PhysAddr(0x2002);
    assert_eq!(bus.read_pte(pa, Width::W8), Err(BusError::Width { pa, bytes: 8 }));
    assert_eq!(bus.compare_exchange(pa, Width::W2, 0, 0), Err(BusError::Width { pa, bytes: 2 }));
    assert!(bus.read_bytes(pa, &mut [0; 2]).is_err());
    assert!(bus.write_bytes(PhysAddr(0x1ff0), &[1; 64]).is_err());
    assert_eq!(probe.take(), []);
    assert_eq!(bus.read(PhysAddr(0x1ff0), Width::W8), Ok(0), "nothing was stored before the device");
}

#[test]
fn a_device_says_why() {
    let mut bus = Bus::new();
    bus.add_device(PhysAddr(0), 16, Box::new(Broken(DeviceError::Failed))).unwrap();
    bus.add_device(PhysAddr(16), 16, Box::new(Broken(DeviceError::Width))).unwrap();
    let pa = PhysAddr(8);
    assert_eq!(bus.read(pa, Width::W8), Err(BusError::Device { pa }));
    let pa = PhysAddr(16);
    assert_eq!(bus.write(pa, Width::W2, 0), Err(BusError::Width { pa, bytes: 2 }));
}

#[test]
fn pages_are_lent_only_whole() {
    let mut bus = Bus::<Probe>::of();
    bus.add_ram(ram(0x1000, 0x2000)).unwrap();
    bus.add_rom(PhysAddr(0x3000), &[1; 0x1800]).unwrap();
    bus.add_device(PhysAddr(0x4800), 0x800, Probe::new(1)).unwrap();
    let lent = |pa: u64, access| bus.host_page(PhysAddr(pa), access).is_some();
    assert!(lent(0x2fff, HostAccess::Write));
    assert!(lent(0x3000, HostAccess::Read));
    assert!(!lent(0x3000, HostAccess::Write), "ROM");
    assert!(!lent(0x4000, HostAccess::Read), "half of that page is a device");
    assert!(
        !lent(0x4800, HostAccess::Read) && !lent(0x5000, HostAccess::Read) && !lent(0xfff, HostAccess::Read)
    );
}

#[test]
fn what_is_moved_or_removed_answers_elsewhere_or_not_at_all() {
    let mut bus = Bus::<Probe>::of();
    bus.add_ram(ram(0x1000, 0x3000)).unwrap();
    bus.add_rom(PhysAddr(0x8004), &[9, 8, 7]).unwrap();
    bus.add_device(PhysAddr(0x5000), 4, Probe::new(5)).unwrap();
    bus.write(PhysAddr(0x1010), Width::W8, 42).unwrap();
    let before = bus.generation();

    bus.move_to(PhysAddr(0x1000), PhysAddr(0x2000)).unwrap();
    assert_ne!(bus.generation(), before);
    assert_eq!(bus.read(PhysAddr(0x2010), Width::W8), Ok(42), "it may overlap its old place");
    assert!(bus.read(PhysAddr(0x1010), Width::W8).is_err());
    assert_eq!(
        bus.move_to(PhysAddr(0x2000), PhysAddr(0x3000)),
        Err(MapError::Overlap { range: span(0x3000, 0x5fff), taken: span(0x5000, 0x5003) })
    );
    assert_eq!(
        bus.move_to(PhysAddr(0x2000), PhysAddr(0x1008)),
        Err(MapError::Misaligned { from: PhysAddr(0x2000), to: PhysAddr(0x1008) })
    );
    let top = PhysAddr(u64::MAX - 2);
    assert_eq!(bus.move_to(PhysAddr(0x2000), top), Err(MapError::Wraps { base: top, len: 0x3000 }));
    assert_eq!(bus.read(PhysAddr(0x2010), Width::W8), Ok(42));

    bus.move_to(PhysAddr(0x8004), PhysAddr(0xffff_ffff_ffff_f004)).unwrap();
    assert_eq!(bus.read(PhysAddr(0xffff_ffff_ffff_f005), Width::W2), Ok(0x0708));
    bus.move_to(PhysAddr(0x5000), PhysAddr(0x7)).unwrap();
    assert_eq!(bus.read(PhysAddr(0x7), Width::W4), Ok(5));

    let region = bus.remove(PhysAddr(0x2000)).unwrap();
    assert_eq!(region.range, span(0x2000, 0x4fff));
    assert!(bus.read(PhysAddr(0x2010), Width::W8).is_err(), "the RAM tried first is gone too");
}

#[test]
fn holes_answer_as_set() {
    let mut bus = Bus::<Probe>::of();
    bus.add_ram(ram(0x1000, 0x1000)).unwrap();
    let pa = PhysAddr(0x2000);
    assert_eq!(bus.read(pa, Width::W4), Err(BusError::Unmapped { pa }));
    bus.set_holes(Holes::ReadOnes);
    assert_eq!(bus.read(pa, Width::W4), Ok(0xffff_ffff));
    assert_eq!(bus.read_pte(pa, Width::W8), Ok(u64::MAX));
    assert_eq!(bus.write(pa, Width::W4, 5), Ok(()));
    assert_eq!(bus.compare_exchange(pa, Width::W2, 0xffff, 3), Ok(Ok(())));
    assert_eq!(bus.compare_exchange(pa, Width::W2, 0, 3), Ok(Err(0xffff)));
    let mut bytes = [0; 3];
    bus.read_bytes(pa, &mut bytes).unwrap();
    assert_eq!(bytes, [0xff; 3]);
    let pa = PhysAddr(0x1ffe);
    assert_eq!(bus.read(pa, Width::W4), Err(BusError::Unmapped { pa }), "half memory, half hole");
    let pa = PhysAddr(0xffe);
    assert_eq!(bus.write(pa, Width::W4, 0), Err(BusError::Unmapped { pa }));
}

#[test]
fn reserved_ranges_have_names_and_no_effect() {
    let mut bus = Bus::<Probe>::of();
    bus.add_ram(ram(0x1000, 0x1000)).unwrap();
    bus.reserve("second", PhysAddr(0x1800), 0x10).unwrap();
    bus.reserve("first", PhysAddr(0x1000), 0x100).unwrap();
    assert!(matches!(bus.reserve("third", PhysAddr(0x1080), 0x1000), Err(MapError::Overlap { .. })));
    let names: Vec<_> = bus.reserved().collect();
    assert_eq!(names, [("first", span(0x1000, 0x10ff)), ("second", span(0x1800, 0x180f))]);
    assert_eq!(bus.write(PhysAddr(0x1000), Width::W8, 1), Ok(()));
}

/// What one byte of the naive map is.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Byte {
    Hole,
    Ram(u8),
    Rom(u8),
    Device(usize),
}

/// A space of 16 KiB as one byte after the other.
struct Model {
    bytes: Vec<Byte>,
    devices: Vec<(u64, u64, Probe)>,
}

impl Model {
    fn run(&self, at: u64, len: u64) -> Option<&[Byte]> {
        self.bytes.get(at as usize..(at + len) as usize)
    }
    fn memory(&self, at: u64, len: u64, store: bool) -> Option<Vec<u8>> {
        let byte = |byte: &Byte| match byte {
            Byte::Ram(value) => Some(*value),
            Byte::Rom(value) if !store => Some(*value),
            _ => None,
        };
        self.run(at, len)?.iter().map(byte).collect()
    }
    fn device(&self, at: u64, len: u64) -> Option<&(u64, u64, Probe)> {
        match *self.run(at, len)?.first()? {
            Byte::Device(n) => self.devices.get(n).filter(|(base, size, _)| at + len <= base + size),
            _ => None,
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    AddRam(u64, u64),
    AddRom(u64, Vec<u8>),
    AddDevice(u64, u64),
    Remove(u64),
    Read(u64, Width),
    Write(u64, Width, u64),
    Swap(u64, Width, u64, u64),
    ReadBytes(u64, u64),
    WriteBytes(u64, Vec<u8>),
}

fn op() -> impl Strategy<Value = Op> {
    // Mostly near borders of pages, where ranges meet.
    let at =
        || (0..4u64, prop_oneof![0..16u64, 0xff0..0x1000u64, 0..0x1000u64]).prop_map(|(p, o)| p << 12 | o);
    let width = || proptest::sample::select(&WIDTHS[..]);
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        (0..4u64, 1..3u64).prop_map(|(page, pages)| Op::AddRam(page << 12, pages << 12)),
        (at(), bytes()).prop_map(|(at, bytes)| Op::AddRom(at, bytes)),
        (at(), 0..40u64).prop_map(|(at, len)| Op::AddDevice(at, len)),
        (0..4u64).prop_map(|page| Op::Remove(page << 12)),
        (at(), width()).prop_map(|(at, width)| Op::Read(at, width)),
        (at(), width(), any::<u64>()).prop_map(|(at, width, value)| Op::Write(at, width, value)),
        (at(), width(), 0..2u64, any::<u64>()).prop_map(|(at, w, old, new)| Op::Swap(at & !7, w, old, new)),
        (at(), 0..5000u64).prop_map(|(at, len)| Op::ReadBytes(at, len)),
        (at(), bytes()).prop_map(|(at, data)| Op::WriteBytes(at, data)),
    ]
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn is_a_space_of_bytes(ops in proptest::collection::vec(op(), 1..80)) {
        let mut bus = Bus::<Probe>::of();
        let mut model = Model { bytes: vec![Byte::Hole; 0x6000], devices: vec![] };
        for op in ops {
            let free = |model: &Model, at, len| {
                len > 0 && model.run(at, len).is_some_and(|run| run.iter().all(|&byte| byte == Byte::Hole))
            };
            match op {
                Op::AddRam(base, size) => {
                    let fits = free(&model, base, size);
                    prop_assert_eq!(bus.add_ram(ram(base, size)).is_ok(), fits);
                    if fits {
                        model.bytes[base as usize..(base + size) as usize].fill(Byte::Ram(0));
                    }
                }
                Op::AddRom(base, bytes) => {
                    let fits = free(&model, base, bytes.len() as u64);
                    prop_assert_eq!(bus.add_rom(PhysAddr(base), &bytes).is_ok(), fits);
                    if fits {
                        for (i, byte) in bytes.into_iter().enumerate() {
                            model.bytes[base as usize + i] = Byte::Rom(byte);
                        }
                    }
                }
                Op::AddDevice(base, len) => {
                    let fits = free(&model, base, len);
                    let n = model.devices.len();
                    let probe = Probe::new(0x0101_0101_0101_0101 * n as u64);
                    prop_assert_eq!(bus.add_device(PhysAddr(base), len, probe.clone()).is_ok(), fits);
                    if fits {
                        model.bytes[base as usize..(base + len) as usize].fill(Byte::Device(n));
                        model.devices.push((base, len, probe));
                    }
                }
                Op::Remove(base) => {
                    if let Ok(region) = bus.remove(PhysAddr(base)) {
                        let (first, last) = (region.range.first().0, region.range.last().0);
                        prop_assert_eq!(first, base);
                        model.bytes[first as usize..=last as usize].fill(Byte::Hole);
                    }
                }
                Op::Read(at, width) => {
                    let found = bus.read(PhysAddr(at), width).ok();
                    let len = width.bytes();
                    match model.device(at, len) {
                        Some((base, _, probe)) => {
                            prop_assert_eq!(found, Some(probe.answer & width.mask()));
                            prop_assert_eq!(probe.take(), [(at - base, width, None)]);
                        }
                        None => prop_assert_eq!(found, model.memory(at, len, false).map(|run| word(&run))),
                    }
                    if at % len == 0 {
                        let expected = model.memory(at, len, false).map(|run| word(&run));
                        prop_assert_eq!(bus.read_pte(PhysAddr(at), width).ok(), expected);
                    }
                }
                Op::Write(at, width, value) => {
                    let done = bus.write(PhysAddr(at), width, value).is_ok();
                    let len = width.bytes();
                    if let Some((base, _, probe)) = model.device(at, len) {
                        prop_assert!(done);
                        prop_assert_eq!(probe.take(), [(at - base, width, Some(value & width.mask()))]);
                    } else {
                        prop_assert_eq!(done, model.memory(at, len, true).is_some());
                        if done {
                            for (i, byte) in value.to_le_bytes()[..len as usize].iter().enumerate() {
                                model.bytes[at as usize + i] = Byte::Ram(*byte);
                            }
                        }
                    }
                }
                Op::Swap(at, width, old, new) => {
                    let len = width.bytes();
                    let found = model.memory(at, len, true).map(|run| word(&run));
                    let expected = found.map(|found| if found == old { Ok(()) } else { Err(found) });
                    prop_assert_eq!(bus.compare_exchange(PhysAddr(at), width, old, new).ok(), expected);
                    if expected == Some(Ok(())) {
                        for (i, byte) in new.to_le_bytes()[..len as usize].iter().enumerate() {
                            model.bytes[at as usize + i] = Byte::Ram(*byte);
                        }
                    }
                }
                Op::ReadBytes(at, len) => {
                    let mut out = vec![0; len as usize];
                    let expected = if len == 0 { Some(vec![]) } else { model.memory(at, len, false) };
                    let found = bus.read_bytes(PhysAddr(at), &mut out).ok().map(|()| out);
                    prop_assert_eq!(found, expected);
                }
                Op::WriteBytes(at, data) => {
                    let len = data.len() as u64;
                    let expected = len == 0 || model.memory(at, len, true).is_some();
                    let check = bus.check_bytes(PhysAddr(at), len, HostAccess::Write);
                    prop_assert_eq!(check.is_ok(), expected);
                    prop_assert_eq!(bus.write_bytes(PhysAddr(at), &data), check);
                    if expected {
                        for (i, byte) in data.into_iter().enumerate() {
                            model.bytes[at as usize + i] = Byte::Ram(byte);
                        }
                    }
                }
            }
            // No access may reach a device that it does not name.
            for (_, _, probe) in &model.devices {
                prop_assert!(probe.take().is_empty());
            }
        }
    }
}
