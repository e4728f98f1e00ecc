//! A bus under any sequence of edits and accesses, beside a list of bytes and their owners.
#![no_main]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use softmmu::access::Width;
use softmmu::addr::PhysAddr;
use softmmu::memory::{Bus, Device, DeviceError, Holes, HostAccess, PhysMemory, Ram};

/// An address near one of the places where things go wrong.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Place {
    near: u8,
    offset: u16,
}

impl Place {
    fn address(self) -> u64 {
        let anchors =
            [0, 0x1000, 0x2000, 0x3000, 0x8000_0000, 0x8000_2000, 0u64.wrapping_sub(0x2000), u64::MAX];
        anchors[usize::from(self.near) % anchors.len()]
            .wrapping_add(u64::from(self.offset % 0x1100))
            .wrapping_sub(0x80)
    }

    fn page(self) -> u64 {
        self.address().wrapping_add(0x80) & !0xfff
    }
}

#[derive(Arbitrary, Debug)]
enum Op {
    AddRam { at: Place, pages: u8 },
    AddRom { at: Place, bytes: Vec<u8> },
    AddDevice { at: Place, len: u16 },
    Remove { region: u8 },
    Move { region: u8, to: Place },
    Holes { ones: bool },
    Read { at: Place, width: u8 },
    Write { at: Place, width: u8, value: u64 },
    Exchange { at: Place, width: u8, new: u64, right: bool },
    ReadBytes { at: Place, len: u8 },
    WriteBytes { at: Place, bytes: Vec<u8> },
    Pte { at: Place, width: u8 },
    HostPage { at: Place, write: bool },
}

/// Answers with its offset and counts its calls.
#[derive(Clone, Default)]
struct Counting(Rc<Cell<u64>>);

impl Device for Counting {
    fn read(&self, offset: u64, width: Width) -> Result<u64, DeviceError> {
        self.0.set(self.0.get() + 1);
        Ok(offset & width.mask())
    }
    fn write(&self, _offset: u64, width: Width, value: u64) -> Result<(), DeviceError> {
        assert_eq!(value & !width.mask(), 0);
        self.0.set(self.0.get() + 1);
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Owner {
    Ram,
    Rom,
    Device,
}

/// One mapped range, both ends inclusive, its bytes by offset.
struct Region {
    first: u64,
    last: u64,
    owner: Owner,
    bytes: BTreeMap<u64, u8>,
}

#[derive(Default)]
struct Model {
    regions: Vec<Region>,
    ones: bool,
}

impl Model {
    fn region(&self, pa: u64) -> Option<&Region> {
        self.regions.iter().find(|region| (region.first..=region.last).contains(&pa))
    }

    fn free(&self, first: u64, last: u64) -> bool {
        self.regions.iter().all(|region| last < region.first || region.last < first)
    }

    fn byte(&self, pa: u64) -> u8 {
        let region = self.region(pa).expect("owned");
        region.bytes.get(&(pa - region.first)).copied().unwrap_or(0)
    }

    fn set(&mut self, pa: u64, byte: u8) {
        let region = self.regions.iter_mut().find(|region| (region.first..=region.last).contains(&pa));
        let region = region.expect("owned");
        region.bytes.insert(pa - region.first, byte);
    }

    /// The one owner of a run, if the run has one: memory may go on in other memory, a device may not; `None` as an
    /// owner is a hole.
    fn run(&self, pa: u64, len: u64) -> Option<Option<Owner>> {
        let last = pa.checked_add(len - 1)?;
        let first = self.region(pa);
        if first.is_none() {
            return self.free(pa, last).then_some(None);
        }
        let owners: Vec<Option<Owner>> =
            (pa..=last).map(|at| self.region(at).map(|region| region.owner)).collect();
        if owners.iter().all(|owner| matches!(owner, Some(Owner::Ram))) {
            return Some(Some(Owner::Ram));
        }
        if owners.iter().all(|owner| matches!(owner, Some(Owner::Ram | Owner::Rom))) {
            return Some(Some(Owner::Rom));
        }
        let region = first?;
        (region.owner == Owner::Device && last <= region.last).then_some(Some(Owner::Device))
    }

    fn value(&self, pa: u64, len: u64) -> u64 {
        (0..len).rev().fold(0, |value, at| value << 8 | u64::from(self.byte(pa + at)))
    }

    /// Whether an atomic or a table entry finds one range of memory that holds all of it.
    fn whole(&self, pa: u64, len: u64) -> bool {
        self.region(pa).is_some_and(|region| pa.checked_add(len - 1).is_some_and(|last| last <= region.last))
    }
}

fn width(raw: u8) -> Width {
    [Width::W1, Width::W2, Width::W4, Width::W8][usize::from(raw) % 4]
}

fn run(ops: &[Op]) {
    let mut bus: Bus<Counting> = Bus::of();
    let device = Counting::default();
    let mut model = Model::default();
    for op in ops {
        let calls = device.0.get();
        let mut expected_calls = 0;
        match op {
            Op::AddRam { at, pages } => {
                let (first, size) = (at.page(), (u64::from(*pages) % 3) * 0x1000);
                let fits = size > 0 && first.checked_add(size - 1).is_some();
                match Ram::new(PhysAddr(first), size) {
                    Ok(ram) => {
                        assert!(fits);
                        let free = model.free(first, first + (size - 1));
                        assert_eq!(bus.add_ram(ram).is_ok(), free);
                        if free {
                            add(&mut model, first, size, Owner::Ram, BTreeMap::new());
                        }
                    }
                    Err(error) => assert!(!fits, "{error}"),
                }
            }
            Op::AddRom { at, bytes } => {
                let (first, len) = (at.address(), bytes.len() as u64);
                let free = len > 0 && first.checked_add(len - 1).is_some_and(|last| model.free(first, last));
                assert_eq!(bus.add_rom(PhysAddr(first), bytes).is_ok(), free);
                if free {
                    add(&mut model, first, len, Owner::Rom, (0..).zip(bytes.iter().copied()).collect());
                }
            }
            Op::AddDevice { at, len } => {
                let (first, len) = (at.address(), u64::from(len % 0x1200));
                let free = len > 0 && first.checked_add(len - 1).is_some_and(|last| model.free(first, last));
                assert_eq!(bus.add_device(PhysAddr(first), len, device.clone()).is_ok(), free);
                if free {
                    add(&mut model, first, len, Owner::Device, BTreeMap::new());
                }
            }
            Op::Remove { region } => {
                let Some(at) = pick(&model, *region) else { continue };
                let gone = model.regions.remove(at);
                assert!(gone.first == gone.last || bus.remove(PhysAddr(gone.first + 1)).is_err());
                let region = bus.remove(PhysAddr(gone.first)).expect("mapped");
                assert_eq!((region.range.first().0, region.range.last().0), (gone.first, gone.last));
            }
            Op::Move { region, to } => {
                let Some(at) = pick(&model, *region) else { continue };
                let (from, span) =
                    (model.regions[at].first, model.regions[at].last - model.regions[at].first);
                let memory = model.regions[at].owner != Owner::Device;
                let to = if memory { to.page() | from & 0xfff } else { to.address() };
                let gone = model.regions.remove(at);
                let fits = to.checked_add(span).is_some_and(|last| model.free(to, last));
                assert_eq!(bus.move_to(PhysAddr(from), PhysAddr(to)).is_ok(), fits);
                let first = if fits { to } else { from };
                model.regions.push(Region { first, last: first + span, ..gone });
            }
            Op::Holes { ones } => {
                bus.set_holes(if *ones { Holes::ReadOnes } else { Holes::Refuse });
                model.ones = *ones;
            }
            Op::Read { at, width: w } => {
                let (pa, w) = (at.address(), width(*w));
                let expected = match model.run(pa, w.bytes()) {
                    Some(Some(Owner::Device)) => {
                        expected_calls = 1;
                        Some((pa - model.region(pa).expect("owned").first) & w.mask())
                    }
                    Some(Some(_)) => Some(model.value(pa, w.bytes())),
                    Some(None) if model.ones => Some(w.mask()),
                    _ => None,
                };
                assert_eq!(bus.read(PhysAddr(pa), w).ok(), expected, "read {w:?} at {pa:#x}");
            }
            Op::Write { at, width: w, value } => {
                let (pa, w) = (at.address(), width(*w));
                let owner = model.run(pa, w.bytes());
                let done = match owner {
                    Some(Some(Owner::Rom)) | None => false,
                    Some(None) => model.ones,
                    Some(Some(_)) => true,
                };
                assert_eq!(bus.write(PhysAddr(pa), w, *value).is_ok(), done, "write {w:?} at {pa:#x}");
                match owner {
                    Some(Some(Owner::Device)) => expected_calls = 1,
                    Some(Some(Owner::Ram)) => store(&mut model, pa, &value.to_le_bytes()[..w as usize]),
                    _ => {}
                }
            }
            Op::Exchange { at, width: w, new, right } => {
                let w = width(*w);
                let pa = at.address() & !(w.bytes() - 1);
                let memory = model.run(pa, w.bytes()) == Some(Some(Owner::Ram)) && model.whole(pa, w.bytes());
                if memory {
                    let old = model.value(pa, w.bytes());
                    let current = if *right { old } else { !old & w.mask() };
                    let expected = if *right { Ok(()) } else { Err(old) };
                    assert_eq!(bus.compare_exchange(PhysAddr(pa), w, current, *new), Ok(expected));
                    if *right {
                        store(&mut model, pa, &new.to_le_bytes()[..w as usize]);
                    }
                } else if model.run(pa, w.bytes()) != Some(None) || !model.ones {
                    assert!(bus.compare_exchange(PhysAddr(pa), w, 0, *new).is_err());
                }
            }
            Op::ReadBytes { at, len } => {
                let (pa, len) = (at.address(), u64::from(*len));
                let mut out = vec![0; len as usize];
                let done = bus.read_bytes(PhysAddr(pa), &mut out).is_ok();
                if len > 0 {
                    match model.run(pa, len) {
                        Some(Some(Owner::Device)) | None => assert!(!done),
                        Some(None) => assert_eq!(done, model.ones),
                        Some(Some(_)) => {
                            assert!(done);
                            assert!((0..len).all(|at| out[at as usize] == model.byte(pa + at)));
                        }
                    }
                }
            }
            Op::WriteBytes { at, bytes } => {
                let pa = at.address();
                let done = bus.write_bytes(PhysAddr(pa), bytes).is_ok();
                if !bytes.is_empty() {
                    match model.run(pa, bytes.len() as u64) {
                        Some(Some(Owner::Ram)) => {
                            assert!(done);
                            store(&mut model, pa, bytes);
                        }
                        Some(None) => assert_eq!(done, model.ones),
                        _ => assert!(!done),
                    }
                }
            }
            Op::Pte { at, width: w } => {
                let w = width(*w);
                let pa = at.address() & !(w.bytes() - 1);
                let got = bus.read_pte(PhysAddr(pa), w).ok();
                match model.run(pa, w.bytes()) {
                    Some(Some(Owner::Ram | Owner::Rom)) if model.whole(pa, w.bytes()) => {
                        assert_eq!(got, Some(model.value(pa, w.bytes())));
                    }
                    Some(None) if model.ones => {}
                    _ => assert_eq!(got, None),
                }
            }
            Op::HostPage { at, write } => {
                let (pa, page) = (at.address(), at.address() & !0xfff);
                let access = if *write { HostAccess::Write } else { HostAccess::Read };
                if bus.host_page(PhysAddr(pa), access).is_some() {
                    // A borrowed page is memory from its first byte to its last, all of one range.
                    let owner =
                        model.region(pa).map(|region| (region.owner, region.first <= page, region.last));
                    let (owner, from, last) = owner.expect("somebody's");
                    assert!(from && page + 0xfff <= last);
                    assert!(owner == Owner::Ram || owner == Owner::Rom && !*write);
                }
            }
        }
        assert_eq!(device.0.get() - calls, expected_calls, "{op:?} called a device");
    }
}

fn pick(model: &Model, region: u8) -> Option<usize> {
    (!model.regions.is_empty()).then(|| usize::from(region) % model.regions.len())
}

fn add(model: &mut Model, first: u64, len: u64, owner: Owner, bytes: BTreeMap<u64, u8>) {
    model.regions.push(Region { first, last: first + (len - 1), owner, bytes });
}

fn store(model: &mut Model, pa: u64, bytes: &[u8]) {
    for (at, byte) in (pa..=u64::MAX).zip(bytes) {
        model.set(at, *byte);
    }
}

fuzz_target!(|ops: Vec<Op>| run(&ops[..ops.len().min(64)]));
