//! Bugs that shipped in other MMUs and that have nothing to do with an architecture: devices, page-crossing accesses,
//! a bus that changes, the top of memory, replacement, frames. Each is the case that would have caught it here.
//!
//! `tests/PITFALLS.md` says where each number is tested; those of one architecture are in `pitfalls_*`.
//!
//! Number 28 (ASID or privilege changed in the middle of a walk) cannot arise: a walk is given its context as a
//! value, and control state changes only through `&mut Mmu`, which nobody else holds while an access is under way.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use softmmu::access::{Access, AccessKind, Width};
use softmmu::addr::{PageSize, PhysAddr, VirtAddr};
use softmmu::arch::custom::{Config, CustomFormat};
use softmmu::arch::software::{Cause, Fence, Software};
use softmmu::frame::{BitmapAllocator, BuddyAllocator, FrameAllocator, FrameError};
use softmmu::memory::{Bus, BusError, Device, DeviceError, MapError, PhysMemory, PhysRange, Ram, RamError};
use softmmu::mmu::{AccessError, Mmu};
use softmmu::radix::{Encode, Perms};
use softmmu::table::RadixWalker;
use softmmu::tlb::{Geometry, SetAssociative, Side};

const RAM: u64 = 0x8000_0000;
const RAM_SIZE: u64 = 0x1_0000;
/// The root, and the leaf table for addresses below 4 MiB.
const ROOT: u64 = RAM;
const LEAVES: u64 = RAM + 0x1000;
/// A page of RAM.
const PAGE: u64 = RAM + 0x4000;
/// Where a device is, right behind 0x800 bytes of ROM, and how long.
const ROM: u64 = 0x1000_0000;
const DEVICE: u64 = ROM + 0x800;
const DEVICE_SIZE: u64 = 0x400;

const ALL: Perms = Perms::READ.union(Perms::WRITE).union(Perms::EXECUTE).union(Perms::USER);

type Walker = RadixWalker<CustomFormat>;
type Error = AccessError<softmmu::arch::software::Fault>;

/// What a device was asked: where, how wide, and the value where it was a store.
type Asked = (u64, Width, Option<u64>);

/// Remembers what it was asked; what it does besides can be chosen.
#[derive(Clone, Default)]
struct Probe {
    log: Rc<RefCell<Vec<Asked>>>,
    /// A word of guest memory that the device changes whenever it is stored to: a descriptor ring, a page table.
    stores: Rc<Cell<Option<(u64, u32)>>>,
    ram: Rc<RefCell<Option<Ram>>>,
}

impl Device for Probe {
    fn read(&self, offset: u64, width: Width) -> Result<u64, DeviceError> {
        self.log.borrow_mut().push((offset, width, None));
        Ok(0xd0)
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<(), DeviceError> {
        self.log.borrow_mut().push((offset, width, Some(value)));
        if let (Some((pa, word)), Some(ram)) = (self.stores.get(), &*self.ram.borrow()) {
            ram.write(PhysAddr(pa), Width::W4, word.into()).map_err(|_| DeviceError::Failed)?;
        }
        Ok(())
    }
}

struct Machine {
    mmu: Mmu<Software<Walker>, Bus<Probe>>,
    device: Probe,
}

fn format() -> CustomFormat {
    Config::two_level_32().build().expect("a preset")
}

impl Machine {
    fn new() -> Self {
        let ram = Ram::new(PhysAddr(RAM), RAM_SIZE).expect("host memory");
        let device = Probe::default();
        *device.ram.borrow_mut() = Some(ram.clone());
        let mut bus = Bus::of();
        bus.add_ram(ram).expect("free");
        bus.add_rom(PhysAddr(ROM), &[0x0f; 0x800]).expect("free");
        bus.add_device(PhysAddr(DEVICE), DEVICE_SIZE, device.clone()).expect("free");
        let walker = RadixWalker { format: format(), root: PhysAddr(ROOT) };
        let tlb = SetAssociative::new(Geometry::new(4, 4)).expect("a sound geometry");
        let mut machine = Self { mmu: Mmu::new(Software::new(walker), bus, tlb), device };
        machine.poke(ROOT, format().encode_table(PhysAddr(LEAVES), 1).expect("a table") as u32);
        machine
    }

    fn poke(&mut self, pa: u64, word: u32) {
        self.mmu.memory().write(PhysAddr(pa), Width::W4, word.into()).expect("RAM");
    }

    fn entry(pa: u64, perms: Perms) -> u32 {
        format().encode_leaf(PhysAddr(pa), 0, perms).expect("a page") as u32
    }

    /// Maps the page at `va` (below 4 MiB), and fences.
    fn map(&mut self, va: u64, pa: u64, perms: Perms) {
        self.poke(LEAVES + (va >> 12) * 4, Self::entry(pa, perms));
        self.mmu.fence(Fence::All);
    }

    fn word(&self, pa: u64) -> u64 {
        self.mmu.memory().read(PhysAddr(pa), Width::W8).expect("RAM")
    }

    /// Loads, stores, fetches and swaps at `va` often enough for whatever is cached to be used.
    fn touch(&mut self, va: u64) {
        for _ in 0..4 {
            let va = VirtAddr(va);
            self.mmu.load::<u8>(va).expect("readable");
            self.mmu.fetch::<u8>(va).expect("executable");
            let old = self.mmu.load::<u8>(va).expect("readable");
            self.mmu.store(va, old).expect("writable");
        }
    }

    fn log(&self) -> Vec<Asked> {
        self.device.log.take()
    }
}

fn cause(error: Error) -> (Cause, u64) {
    let fault = *error.fault().expect("a fault");
    (fault.cause, fault.va.0)
}

#[test]
fn p20_tables_that_point_at_nothing_are_an_error() {
    let mut machine = Machine::new();
    let nowhere = format().encode_table(PhysAddr(0x4000_0000), 1).expect("a table") as u32;
    machine.poke(ROOT + 4, nowhere);
    let error = machine.mmu.load::<u32>(VirtAddr(0x40_0000)).expect_err("there is no such table");
    assert_eq!(error, AccessError::Bus(BusError::Unmapped { pa: PhysAddr(0x4000_0000) }));
    // A table in a device is refused without the device being asked.
    let device = format().encode_table(PhysAddr(ROM), 1).expect("a table") as u32;
    machine.poke(ROOT + 4, device);
    machine.mmu.load::<u32>(VirtAddr(0x40_0000 + (0x800 << 10))).expect_err("no table is a device");
    assert_eq!(machine.log(), []);
}

#[test]
fn p26_a_changed_bus_is_seen_at_once() {
    let mut machine = Machine::new();
    machine.map(0x5000, PAGE, ALL);
    machine.touch(0x5000);
    // The RAM goes away and comes back elsewhere: host memory that was lent is not used again.
    let bus = machine.mmu.memory_mut();
    let tables = Ram::new(PhysAddr(RAM), 0x4000).expect("host memory");
    for at in (0..0x4000).step_by(8) {
        let word = bus.read(PhysAddr(RAM + at), Width::W8).expect("RAM");
        tables.write(PhysAddr(RAM + at), Width::W8, word).expect("RAM");
    }
    bus.remove(PhysAddr(RAM)).expect("mapped");
    bus.add_ram(tables).expect("free");
    let gone = AccessError::Bus(BusError::Unmapped { pa: PhysAddr(PAGE) });
    assert_eq!(machine.mmu.load::<u8>(VirtAddr(0x5000)), Err(gone));
    assert_eq!(machine.mmu.store(VirtAddr(0x5000), 1u8), Err(gone));
    assert_eq!(machine.mmu.fetch::<u8>(VirtAddr(0x5000)), Err(gone));
    machine.mmu.memory_mut().add_rom(PhysAddr(PAGE), &[7; 0x1000]).expect("free");
    assert_eq!(machine.mmu.load::<u8>(VirtAddr(0x5000)), Ok(7));
    let refused = AccessError::Bus(BusError::ReadOnly { pa: PhysAddr(PAGE) });
    assert_eq!(machine.mmu.store(VirtAddr(0x5000), 1u8), Err(refused));
}

#[test]
fn p26_a_copy_on_write_break_leaves_the_old_frame() {
    let mut machine = Machine::new();
    machine.map(0x5000, PAGE, ALL - Perms::WRITE);
    for _ in 0..4 {
        machine.mmu.load::<u64>(VirtAddr(0x5000)).expect("readable");
    }
    let error = machine.mmu.store(VirtAddr(0x5000), 1u64).expect_err("read-only");
    assert_eq!(cause(error), (Cause::Right, 0x5000));
    machine.map(0x5000, PAGE + 0x1000, ALL);
    machine.mmu.store(VirtAddr(0x5000), 2u64).expect("writable");
    assert_eq!((machine.word(PAGE), machine.word(PAGE + 0x1000)), (0, 2));
    assert_eq!(machine.mmu.load::<u64>(VirtAddr(0x5000)), Ok(2));
}

#[test]
fn p27_the_least_recently_used_goes_and_a_miss_is_counted_once() {
    for filter in [false, true] {
        let mut machine = Machine::new();
        for page in 0..3 {
            machine.map(page << 12, PAGE + (page << 12), ALL);
        }
        *machine.mmu.tlb_mut() =
            SetAssociative::new(Geometry::fully_associative(2)).expect("a sound geometry");
        machine.mmu.set_filter(filter);
        let walks = machine.mmu.stats().walks;
        // Two pages fit; the first is used again before the third comes, so the second has to go.
        for (page, hit) in [(0, false), (1, false), (0, true), (2, false), (0, true), (1, false)] {
            let before = machine.mmu.tlb().stats().misses[Side::Data as usize];
            machine.mmu.load::<u8>(VirtAddr(page << 12)).expect("mapped");
            let misses = machine.mmu.tlb().stats().misses[Side::Data as usize] - before;
            assert_eq!(misses, u64::from(!hit), "page {page}");
        }
        assert_eq!(machine.mmu.stats().walks - walks, 4);
        assert_eq!(machine.mmu.tlb().stats().accesses(Side::Data), 6);
    }
}

#[test]
fn p29_a_crossing_access_moves_nothing_unless_both_pages_allow_it() {
    let mut machine = Machine::new();
    machine.map(0x5000, PAGE, ALL);
    machine.map(0x6000, PAGE + 0x1000, ALL - Perms::WRITE);
    machine.touch(0x5000);
    // The second page refuses: the fault names the second page, and the first half was not stored.
    let error = machine.mmu.store(VirtAddr(0x5ffc), !0u64).expect_err("the second page is read-only");
    assert_eq!(cause(error), (Cause::Right, 0x6000));
    let error = machine.mmu.rmw(VirtAddr(0x5ffe), |_: u32| !0).expect_err("the second page is read-only");
    assert_eq!(cause(error), (Cause::Right, 0x6000));
    assert_eq!(machine.word(PAGE + 0xff8), 0);
    // The first page refuses: it is the one named, whatever the second says.
    let error = machine.mmu.store(VirtAddr(0x6ffc), !0u64).expect_err("the first page is read-only");
    assert_eq!(cause(error), (Cause::Right, 0x6ffc));
    // Neither refuses, and the pages do not lie side by side.
    machine.map(0x6000, PAGE + 0x3000, ALL);
    machine.mmu.store(VirtAddr(0x5ffc), 0x1122_3344_5566_7788u64).expect("both are writable");
    assert_eq!(machine.word(PAGE + 0xff8), 0x5566_7788_0000_0000);
    assert_eq!(machine.word(PAGE + 0x3000), 0x1122_3344);
    assert_eq!(machine.mmu.load::<u64>(VirtAddr(0x5ffc)), Ok(0x1122_3344_5566_7788));
    assert_eq!(machine.mmu.fetch::<u32>(VirtAddr(0x5ffe)), Ok(0x3344_5566));
}

#[test]
fn p29_a_crossing_access_touches_no_device() {
    let mut machine = Machine::new();
    machine.map(0x5000, PAGE, ALL);
    machine.map(0x6000, ROM, ALL);
    machine.map(0x7000, PAGE + 0x1000, ALL);
    // The device begins a page here: the bytes before it must not be stored, nor the device see a part.
    machine.mmu.memory_mut().move_to(PhysAddr(DEVICE), PhysAddr(ROM + 0x1000)).expect("free");
    machine.map(0x6000, ROM + 0x1000, ALL);
    machine.mmu.store(VirtAddr(0x5ffc), !0u64).expect_err("a device takes no part of an access");
    assert_eq!(machine.word(PAGE + 0xff8), 0);
    machine.mmu.load::<u64>(VirtAddr(0x5ffc)).expect_err("a device gives no part of an access");
    assert_eq!(machine.log(), []);
}

#[test]
fn p30_a_device_sees_each_access_once_with_its_own_width() {
    let mut machine = Machine::new();
    machine.map(0x5000, ROM, ALL);
    let at = |offset: u64| VirtAddr(0x5800 + offset);
    for _ in 0..3 {
        assert_eq!(machine.mmu.load::<u16>(at(6)), Ok(0xd0));
        assert_eq!(machine.mmu.load::<u32>(at(3)), Ok(0xd0));
        machine.mmu.store(at(5), 0x1234_5678u32).expect("the device takes it");
        machine.mmu.store(at(0), u64::MAX).expect("the device takes it");
        let seen = [
            (6, Width::W2, None),
            (3, Width::W4, None),
            (5, Width::W4, Some(0x1234_5678)),
            (0, Width::W8, Some(u64::MAX)),
        ];
        assert_eq!(machine.log(), seen);
    }
    // Looking is no access.
    let access = Access { va: at(0), len: 4, kind: AccessKind::Read, flavor: () };
    machine.mmu.probe(&access).expect("mapped");
    machine.mmu.explain(&access).outcome.expect("mapped");
    assert_eq!(machine.log(), []);
}

#[test]
fn p30_what_shares_a_page_with_a_device_stays_what_it_is() {
    let mut machine = Machine::new();
    machine.map(0x5000, ROM, ALL);
    for _ in 0..3 {
        // ROM before it, nothing behind it; an access that lies in two of them is refused whole.
        assert_eq!(machine.mmu.load::<u64>(VirtAddr(0x57f8)), Ok(0x0f0f_0f0f_0f0f_0f0f));
        machine.mmu.store(VirtAddr(0x57f8), 0u64).expect_err("ROM");
        machine.mmu.load::<u64>(VirtAddr(0x57fc)).expect_err("half ROM, half device");
        machine.mmu.load::<u64>(VirtAddr(0x5bfc)).expect_err("half device, half nothing");
        machine.mmu.load::<u8>(VirtAddr(0x5c00)).expect_err("nothing");
        assert_eq!(machine.log(), []);
        machine.mmu.load::<u32>(VirtAddr(0x5bfc)).expect("the device's last word");
        assert_eq!(machine.log(), [(0x3fc, Width::W4, None)]);
    }
}

#[test]
fn p31_a_device_may_change_page_tables_while_it_is_accessed() {
    let mut machine = Machine::new();
    machine.map(0x5000, ROM, ALL);
    machine.map(0x6000, PAGE, ALL);
    machine.touch(0x6000);
    // The device unmaps itself and remaps another page: this very access is not disturbed, and what is cached stays
    // until the fence, after which everything is as the device left it.
    for (page, pa) in [(6, PAGE + 0x1000), (5, PAGE + 0x2000)] {
        machine.device.stores.set(Some((LEAVES + page * 4, Machine::entry(pa, ALL))));
        machine.mmu.store(VirtAddr(0x5800), 1u32).expect("the device takes it");
    }
    assert_eq!(machine.log().len(), 2);
    machine.mmu.fence(Fence::All);
    machine.mmu.store(VirtAddr(0x6000), 6u64).expect("writable");
    machine.mmu.store(VirtAddr(0x5800), 5u64).expect("writable");
    assert_eq!((machine.word(PAGE + 0x1000), machine.word(PAGE + 0x2800)), (6, 5));
    assert_eq!(machine.log(), []);
}

#[test]
fn p33_the_last_byte_of_memory_is_the_last() {
    let top = 0u64.wrapping_sub(0x1000);
    let mut bus = Bus::new();
    bus.add_ram(Ram::new(PhysAddr(top), 0x1000).expect("host memory")).expect("free");
    bus.write(PhysAddr(u64::MAX - 7), Width::W8, 0x0102_0304_0506_0708).expect("RAM");
    assert_eq!(bus.read(PhysAddr(u64::MAX), Width::W1), Ok(1));
    bus.read(PhysAddr(u64::MAX), Width::W2).expect_err("runs over the top");
    bus.write(PhysAddr(u64::MAX - 2), Width::W4, 0).expect_err("runs over the top");
    bus.read_bytes(PhysAddr(u64::MAX - 3), &mut [0; 8]).expect_err("runs over the top");
    assert_eq!(bus.read(PhysAddr(u64::MAX), Width::W1), Ok(1));
    assert!(matches!(Ram::new(PhysAddr(top), 0x2000), Err(RamError::Wraps { .. })));
    let wraps = bus.reserve("firmware", PhysAddr(u64::MAX), 2);
    assert!(matches!(wraps, Err(MapError::Wraps { .. })), "{wraps:?}");
    // Translation off: the guest's own address is the physical one.
    let walker = RadixWalker { format: format(), root: PhysAddr(ROOT) };
    let mut mmu = Mmu::new(Software::new(walker), bus, ());
    mmu.control(softmmu::arch::software::Control::Enable(false)).expect("no fault");
    for _ in 0..3 {
        assert_eq!(mmu.load::<u64>(VirtAddr(u64::MAX - 7)), Ok(0x0102_0304_0506_0708));
        mmu.load::<u64>(VirtAddr(u64::MAX - 3)).expect_err("the rest would be at zero, and nothing is there");
    }
}

#[test]
fn p34_no_frame_is_handed_out_twice_or_taken_back_twice() {
    let range = PhysRange::new(PhysAddr(0x10_0000), 0x2_0000).expect("a range");
    let bitmap = BitmapAllocator::new(range, PageSize::SIZE_4K);
    let buddy = BuddyAllocator::new(range, PageSize::SIZE_4K);
    twice(bitmap.expect("a sound range"));
    twice(buddy.expect("a sound range"));
}

fn twice(mut frames: impl FrameAllocator) {
    let total = frames.free_frames();
    let mut out: Vec<PhysAddr> = std::iter::from_fn(|| frames.allocate(0).ok()).collect();
    assert_eq!(out.len() as u64, total);
    out.sort_unstable();
    out.dedup();
    assert_eq!(out.len() as u64, total, "a frame was handed out twice");
    frames.free(out[0], 0).expect("it is out");
    assert!(matches!(frames.free(out[0], 0), Err(FrameError::NotAllocated { .. })));
    assert!(matches!(frames.free(PhysAddr(0), 0), Err(FrameError::Foreign { .. })));
    assert_eq!(frames.allocate(0), Ok(out[0]));
}

/// Every test that the table names is there.
#[test]
fn the_table_of_pitfalls_is_true() {
    fn sources(folder: &std::path::Path, all: &mut String) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                sources(&path, all);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                all.push_str(&std::fs::read_to_string(&path).expect("a source file"));
            }
        }
    }
    let mut all = String::new();
    sources(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"), &mut all);
    let rows: Vec<&str> =
        include_str!("PITFALLS.md").lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    for (number, row) in (1..=34).zip(&rows) {
        assert!(row.starts_with(&format!("| {number} |")), "{row}");
        let cells = row.rsplit('|').nth(1).expect("three cells");
        for name in cells.split('`').skip(1).step_by(2) {
            let known = name == "&mut Mmu" || all.contains(&format!("fn {name}("));
            assert!(known, "{number}: there is no test {name}");
        }
    }
    assert_eq!(rows.len(), 34);
}
