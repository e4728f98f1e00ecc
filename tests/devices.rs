//! What lies behind an access may act: a register that changes what other addresses show, a device that counts its reads.

use std::cell::Cell;

use softmmu::access::Width;
use softmmu::addr::{PhysAddr, VirtAddr};
use softmmu::arch::riscv::Riscv;
use softmmu::memory::{Bus, BusError, Device, DeviceError, HostAccess, HostPage, PhysMemory, Ram};
use softmmu::mmu::Mmu;

/// The window onto one of two banks, and the register that says which.
const WINDOW: u64 = 0x1000;
const SELECT: u64 = 0x2000;

/// A board that shows one of its banks at a time.
struct Banked {
    banks: [Ram; 2],
    selected: Cell<usize>,
}

impl Banked {
    fn new() -> Self {
        let bank = || Ram::new(PhysAddr(WINDOW), 0x1000).expect("a page");
        Self { banks: [bank(), bank()], selected: Cell::new(0) }
    }

    fn shown(&self) -> &Ram {
        &self.banks[self.selected.get()]
    }
}

impl PhysMemory for &Banked {
    fn read(&self, pa: PhysAddr, width: Width) -> Result<u64, BusError> {
        // Reading the register selects the other bank.
        if pa.0 == SELECT {
            self.selected.set(1 - self.selected.get());
            return Ok(self.selected.get() as u64);
        }
        self.shown().read(pa, width)
    }
    fn write(&self, pa: PhysAddr, width: Width, value: u64) -> Result<(), BusError> {
        if pa.0 == SELECT {
            self.selected.set(value as usize & 1);
            return Ok(());
        }
        self.shown().write(pa, width, value)
    }
    fn compare_exchange(
        &self,
        pa: PhysAddr,
        width: Width,
        current: u64,
        new: u64,
    ) -> Result<Result<(), u64>, BusError> {
        self.shown().compare_exchange(pa, width, current, new)
    }
    fn read_bytes(&self, pa: PhysAddr, out: &mut [u8]) -> Result<(), BusError> {
        self.shown().read_bytes(pa, out)
    }
    fn write_bytes(&self, pa: PhysAddr, data: &[u8]) -> Result<(), BusError> {
        self.shown().write_bytes(pa, data)
    }
    fn read_pte(&self, pa: PhysAddr, width: Width) -> Result<u64, BusError> {
        self.shown().read_pte(pa, width)
    }
    fn host_page(&self, pa: PhysAddr, access: HostAccess) -> Option<HostPage<'_>> {
        self.shown().host_page(pa, access)
    }
    fn generation(&self) -> u64 {
        self.shown().generation()
    }
}

/// A memory may change what it shows by an access of the hart's own: the next access sees it.
#[test]
fn banks_switched_by_an_access_are_seen_by_the_next() {
    let board = Banked::new();
    for bank in [1, 0] {
        board.banks[bank].write(PhysAddr(WINDOW), Width::W8, 10 + bank as u64).expect("RAM");
    }
    let mut hart = Mmu::new(Riscv::rv64(), &board, ());
    let mut shown = 0;
    for round in 0..20u64 {
        // Often enough that the filter answers.
        for _ in 0..4 {
            assert_eq!(hart.load::<u64>(VirtAddr(WINDOW)), Ok(10 + shown), "round {round}");
            hart.store(VirtAddr(WINDOW + 8), round).expect("RAM");
        }
        shown = 1 - shown;
        if round % 2 == 0 {
            hart.store(VirtAddr(SELECT), shown).expect("the register");
        } else {
            assert_eq!(hart.load::<u64>(VirtAddr(SELECT)), Ok(shown));
        }
    }
    let last = |bank: usize| board.banks[bank].read(PhysAddr(WINDOW + 8), Width::W8);
    assert_eq!([last(0), last(1)], [Ok(18), Ok(19)]);
    assert!(hart.stats().filter_hits > 0, "or this shows nothing");
}

/// A register that counts how often it was read.
struct Counter(Cell<u64>);

impl Device for &Counter {
    fn read(&self, _offset: u64, _width: Width) -> Result<u64, DeviceError> {
        self.0.set(self.0.get() + 1);
        Ok(self.0.get())
    }
    fn write(&self, _offset: u64, _width: Width, _value: u64) -> Result<(), DeviceError> {
        panic!("nobody stores here")
    }
}

/// Devices take no atomics: one is refused before the device has noticed.
#[test]
fn an_atomic_that_a_device_refuses_does_not_read_it() {
    let counter = Counter(Cell::new(0));
    let mut bus: Bus<&Counter> = Bus::of();
    bus.add_device(PhysAddr(0x1000), 0x10, &counter).expect("free");
    bus.add_rom(PhysAddr(0x2000), &[7; 16]).expect("free");
    let mut hart = Mmu::new(Riscv::rv64(), bus, ());
    hart.rmw::<u32>(VirtAddr(0x1004), |old| old + 1).expect_err("no atomics");
    hart.compare_exchange::<u64>(VirtAddr(0x1008), 0, 1).expect_err("no atomics");
    assert_eq!(counter.0.get(), 0);
    let mut asked = false;
    hart.rmw::<u32>(VirtAddr(0x2000), |old| {
        asked = true;
        old
    })
    .expect_err("read-only");
    assert!(!asked, "nothing is made of a value that cannot be replaced");
}
