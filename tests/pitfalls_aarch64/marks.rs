//! Accessed and dirty: the Access flag and dirty state.

use std::cell::Cell;

use softmmu::access::Width;
use softmmu::addr::PhysAddr;
use softmmu::arch::aarch64::{Register, Status};
use softmmu::memory::{Bus, BusError, PhysMemory, Ram};

use crate::machine::{
    AF, BLOCK, DBM, GUEST, HA, HD, Machine, PAGE, RAM, RO, ROOTS, Read, ReadWrite, S2, S2W, TCR, USER, VTCR,
    Write, refused,
};

const DATA: u64 = RAM + 0x80_0000;
const CLEAN: u64 = DATA | AF | RO | DBM;

#[test]
fn the_first_store_after_a_load_makes_the_page_dirty() {
    let mut m = Machine::new(TCR | HA | HD, 0);
    let entry = m.page(0x1000, CLEAN);
    assert_eq!(m.access(Read, 0x1000), Ok(DATA));
    assert_eq!(m.word(entry), CLEAN | PAGE, "a load dirties nothing");
    assert_eq!(m.access(Write, 0x1008), Ok(DATA + 8));
    assert_eq!(m.word(entry), CLEAN & !RO | PAGE);
    // An atomic is a store as well.
    let entry = m.page(0x2000, CLEAN);
    assert_eq!(m.access(Read, 0x2000), Ok(DATA));
    assert_eq!(m.access(ReadWrite, 0x2000), Ok(DATA));
    assert_eq!(m.word(entry), CLEAN & !RO | PAGE);
}

#[test]
fn the_access_flag_stays_clear_when_the_access_is_refused() {
    let mut m = Machine::new(TCR | HA | HD, 0);
    let young = DATA | RO;
    let entry = m.page(0x1000, young);
    assert_eq!(refused(m.access(Write, 0x1000)), (0xf, 1));
    assert_eq!(m.word(entry), young | PAGE);
    // Dirty state neither, where a table above forbids stores (APTable[1]).
    let clean = DATA | RO | DBM;
    let entry = m.page(0x20_0000, clean);
    let above = m.word(ROOTS[0]);
    m.poke(ROOTS[0], above | 1 << 62);
    assert_eq!(refused(m.access(Write, 0x20_0000)), (0xf, 1));
    assert_eq!(m.word(entry), clean | PAGE);
    assert_eq!(m.access(Read, 0x20_0000), Ok(DATA));
    assert_eq!(m.word(entry), clean | AF | PAGE);
}

#[test]
fn stage_1_is_marked_although_stage_2_then_refuses() {
    // Stage 1 is done, its update included, before stage 2 sees the result (AArch64.FullTranslate).
    let mut m = Machine::new(TCR | HA | HD, GUEST);
    m.identity();
    let young = 0x9_0000_0000 | DBM | RO;
    let entry = m.page(0x1000, young);
    assert_eq!(refused(m.access(Write, 0x1000)), (0x5, 2));
    assert_eq!(m.word(entry), young & !RO | AF | PAGE);
}

/// RAM in which another hart changes an entry just before it is updated.
struct Racing {
    ram: Ram,
    instead: Cell<Option<u64>>,
}

impl PhysMemory for Racing {
    fn read(&self, pa: PhysAddr, width: Width) -> Result<u64, BusError> {
        self.ram.read(pa, width)
    }
    fn write(&self, pa: PhysAddr, width: Width, value: u64) -> Result<(), BusError> {
        self.ram.write(pa, width, value)
    }
    fn compare_exchange(
        &self,
        pa: PhysAddr,
        width: Width,
        current: u64,
        new: u64,
    ) -> Result<Result<(), u64>, BusError> {
        if let Some(instead) = self.instead.take() {
            self.ram.write(pa, width, instead)?;
        }
        self.ram.compare_exchange(pa, width, current, new)
    }
    fn read_bytes(&self, pa: PhysAddr, out: &mut [u8]) -> Result<(), BusError> {
        self.ram.read_bytes(pa, out)
    }
    fn write_bytes(&self, pa: PhysAddr, data: &[u8]) -> Result<(), BusError> {
        self.ram.write_bytes(pa, data)
    }
    fn read_pte(&self, pa: PhysAddr, width: Width) -> Result<u64, BusError> {
        self.ram.read_pte(pa, width)
    }
}

#[test]
fn an_update_that_loses_a_race_looks_again() {
    let ram = Ram::new(PhysAddr(RAM), 0x100_0000).expect("16 MiB");
    let mut m = Machine::over(Racing { ram, instead: Cell::new(None) }, TCR | HA | HD, 0);
    let entry = m.page(0x1000, DATA);
    let other = DATA + 0x1000;
    // The page moved meanwhile: the new place is used, and marked.
    m.mmu.memory().instead.set(Some(other | PAGE));
    assert_eq!(m.mmu.load::<u64>(softmmu::addr::VirtAddr(0x1000)), Ok(0));
    assert_eq!(m.word(entry), other | PAGE | AF);
    assert_eq!(m.access(Read, 0x1000), Ok(other));
    assert_eq!(m.mmu.stats().races, 1);
    // The page went away: a translation fault, and nothing is written.
    let entry = m.page(0x2000, DATA);
    m.mmu.memory().instead.set(Some(0));
    let error = m.mmu.load::<u64>(softmmu::addr::VirtAddr(0x2000)).expect_err("nothing is mapped any more");
    assert_eq!(crate::machine::fault(error).fsc(), 7);
    assert_eq!(m.word(entry), 0);
}

#[test]
fn an_update_that_the_bus_refuses_is_an_external_abort_on_the_walk() {
    // The leaf's table lies in ROM.
    let mut rom = vec![0; 0x1000];
    rom[8..16].copy_from_slice(&(DATA | PAGE).to_le_bytes());
    let mut bus = Bus::new();
    bus.add_ram(Ram::new(PhysAddr(RAM), 0x100_0000).expect("16 MiB")).expect("room");
    bus.add_rom(PhysAddr(0x1000_0000), &rom).expect("room");
    let mut m = Machine::over(bus, TCR | HA, 0);
    m.put(ROOTS[0], 0, 2, 0x1000_0000 | PAGE);
    let fault = m.mmu.load::<u64>(softmmu::addr::VirtAddr(0x1000)).map_err(crate::machine::fault);
    let fault = fault.expect_err("ROM takes no update");
    assert_eq!((fault.status, fault.fsc()), (Status::SyncExternalOnWalk, 0x17));
}

#[test]
fn dirty_state_is_managed_only_while_it_is_switched_on() {
    let mut m = Machine::new(TCR | HA | HD, 0);
    let entry = m.page(0x1000, CLEAN | USER);
    assert_eq!(m.access(Read, 0x1000), Ok(DATA));
    m.write(Register::TcrEl1, TCR | HA);
    assert_eq!(refused(m.access(Write, 0x1000)), (0xf, 1));
    assert_eq!(m.word(entry), CLEAN | USER | PAGE);
    // HD without HA does nothing, and neither does HA for stage 2's sake.
    m.write(Register::TcrEl1, TCR | HD);
    assert_eq!(refused(m.access(Write, 0x1000)), (0xf, 1));
    let mut m = Machine::new(TCR | HA | HD, GUEST);
    m.put(ROOTS[2], RAM, 1, RAM | BLOCK | S2 & !AF);
    m.page(0x1000, DATA);
    assert_eq!(refused(m.access(Read, 0x1000)), (0x9, 2));
    m.write(Register::VtcrEl2, VTCR | 1 << 21);
    assert_eq!(m.access(Read, 0x1000), Ok(DATA));
    assert_eq!(m.word(ROOTS[2] + 8), RAM | BLOCK | S2);
}

#[test]
fn an_update_of_stage_1_makes_its_table_dirty_at_stage_2() {
    let mut m = Machine::new(TCR | HA, GUEST);
    m.write(Register::VtcrEl2, VTCR | 3 << 21);
    let clean = RAM | BLOCK | S2 & !S2W | DBM;
    m.put(ROOTS[2], RAM, 1, clean);
    m.put(ROOTS[2], 0x8000_0000, 1, RAM | BLOCK | S2);
    let entry = m.page(0x1000, 0x8080_0000);
    assert_eq!(m.access(Read, 0x1000), Ok(DATA));
    assert_eq!(m.word(entry), 0x8080_0000 | AF | PAGE);
    assert_eq!(m.word(ROOTS[2] + 8), clean | S2W);
}
