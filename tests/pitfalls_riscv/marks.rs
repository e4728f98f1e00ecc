//! Accessed and dirty bits.

use crate::machine::*;
use softmmu::access::Width;
use softmmu::addr::{PhysAddr, VirtAddr};
use softmmu::memory::Bus;
use std::cell::Cell;

fn svadu() -> Hart {
    let mut hart = Hart::new();
    hart.control(Control::Menvcfg(ADUE));
    hart.control(Control::Henvcfg(ADUE));
    hart
}

#[test]
fn p01_dirty_is_set_by_the_first_write_after_a_read_filled_the_tlb() {
    let mut hart = svadu();
    let at = hart.map(VA, PA, V | R | W);
    assert_eq!(hart.access(Read, VA), Ok(PA));
    assert_eq!(hart.word(at) & (A | D), A);
    assert_eq!(hart.access(Write, VA), Ok(PA));
    assert_eq!(hart.word(at) & (A | D), A | D);
    // And through the fast path of typed accesses as well.
    let at = hart.map(VA + 0x1000, PA, V | R | W);
    for _ in 0..2 {
        hart.mmu.load::<u64>(VirtAddr(VA + 0x1000)).expect("mapped");
    }
    hart.mmu.store(VirtAddr(VA + 0x1000), 1u64).expect("mapped");
    assert_eq!(hart.word(at) & (A | D), A | D);
}

#[test]
fn p02_no_mark_is_left_by_an_access_that_its_stage_refuses() {
    let mut hart = svadu();
    let read_only = hart.map(VA, PA, V | R);
    let user = hart.map(VA + 0x1000, PA, V | R | W | U);
    // A run of 32 KiB is not one that Svnapot has.
    let bad_napot = hart.map(VA + 0x2000, PA | 4 << 12, V | R | W | N);
    let misaligned = hart.map_at(Of::Host, 2 * VA, PA + 0x1000, V | R | W, 1);
    for (at, va) in [(read_only, VA), (user, VA + 0x1000), (bad_napot, VA + 0x2000), (misaligned, 2 * VA)] {
        let before = hart.word(at);
        assert_eq!(hart.cause(Write, va), Some(Cause::StorePageFault));
        assert_eq!(hart.word(at), before, "{va:#x}");
    }
}

/// The other way round, as recorded: what stage one has marked stays marked when stage two, or the bus, refuses.
#[test]
fn p02_marks_stay_when_a_later_part_of_the_access_faults() {
    let mut hart = svadu().identity().mode(Privilege::Supervisor, true);
    let at = hart.map_at(Of::Guest, VA, 0x1000, V | R | W, 0);
    assert_eq!(hart.cause(Write, VA), Some(Cause::StoreGuestPageFault));
    assert_eq!(hart.word(at) & (A | D), A | D);
    hart.enter(Privilege::Supervisor, false);
    let at = hart.map(VA, RAM + SIZE, V | R | W);
    assert!(hart.mmu.store(VirtAddr(VA), 0u64).is_err());
    assert_eq!(hart.word(at) & (A | D), A | D);
}

/// RAM in which another hart takes the write permission of one entry away just before the first compare-and-swap.
struct Racing {
    ram: Ram,
    at: Cell<Option<u64>>,
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
        old: u64,
        new: u64,
    ) -> Result<Result<(), u64>, BusError> {
        if let Some(at) = self.at.take() {
            let entry = self.ram.read(PhysAddr(at), Width::W8)?;
            self.ram.write(PhysAddr(at), Width::W8, entry & !W)?;
        }
        self.ram.compare_exchange(pa, width, old, new)
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
fn p03_an_update_checks_again_what_it_read() {
    let ram = Ram::new(PhysAddr(RAM), SIZE).expect("16 MiB");
    let mut hart = Hart::over(Racing { ram, at: Cell::new(None) }, Config::rv64());
    hart.control(Control::Menvcfg(ADUE));
    let at = hart.map(VA, PA, V | R | W);
    hart.mmu.memory().at.set(Some(at));
    assert_eq!(hart.cause(Write, VA), Some(Cause::StorePageFault));
    assert_eq!(hart.word(at), PA >> 2 | V | R, "neither mark was set on the entry as it then stood");
    assert_eq!(hart.mmu.stats().races, 1);
}

#[test]
fn p04_an_update_that_protection_refuses_is_an_access_fault() {
    let mut config = Config::rv64();
    config.pmp_entries = 16;
    let mut hart = Hart::of(config);
    hart.control(Control::Menvcfg(ADUE));
    hart.protect(0, 1, RAM, 0x10_0000);
    hart.protect(1, 7, 0, 1 << 56);
    let at = hart.map(VA, PA, V | R | W);
    assert_eq!(hart.cause(Read, VA), Some(Cause::LoadAccessFault));
    assert_eq!(hart.cause(Write, VA), Some(Cause::StoreAccessFault));
    assert_eq!(hart.word(at), PA >> 2 | V | R | W);
}

#[test]
fn p04_an_update_that_the_bus_refuses_is_an_access_fault() {
    let mut rom = vec![0; 0x1000];
    rom[..8].copy_from_slice(&(RAM >> 2 | V | R | W).to_le_bytes());
    let mut bus = Bus::new();
    bus.add_ram(Ram::new(PhysAddr(RAM), SIZE).expect("16 MiB")).expect("free");
    bus.add_rom(PhysAddr(0x1000), &rom).expect("free");
    let mut hart = Hart::over(bus, Config::rv64());
    hart.control(Control::Menvcfg(ADUE));
    let above = hart.place(Of::Host, 0, 1);
    hart.poke(above, 0x1000 >> 2 | V);
    assert_eq!(hart.cause(Read, 0), Some(Cause::LoadAccessFault));
    assert_eq!(hart.cause(Execute, 0), Some(Cause::InstructionPageFault));
    assert_eq!(hart.word(0x1000), RAM >> 2 | V | R | W);
}

#[test]
fn p05_a_four_byte_entry_is_read_as_four_bytes() {
    // The root is the last page of RAM, and the entry its last four bytes: eight would not be there.
    let ram = Ram::new(PhysAddr(RAM), 0x2000).expect("8 KiB");
    let mut hart = Hart::over(ram, Config::rv32());
    hart.control(Control::Menvcfg(ADUE));
    hart.control(Control::Satp(1 << 31 | (RAM + 0x1000) >> 12));
    let leaf = RAM >> 22 << 20 | V | R | W;
    hart.mmu.memory().write(PhysAddr(RAM + 0x1ffc), Width::W4, leaf).expect("RAM");
    assert_eq!(hart.access(Write, 0xffc0_0000), Ok(RAM));
    let marked = hart.mmu.memory().read(PhysAddr(RAM + 0x1ffc), Width::W4);
    assert_eq!(marked, Ok(leaf | A | D));
}

#[test]
fn p06_a_late_dirty_bit_obeys_the_control_state_of_that_moment() {
    let mut hart = svadu();
    let at = hart.map(VA, PA, V | R | W);
    assert_eq!(hart.access(Read, VA), Ok(PA));
    hart.control(Control::Menvcfg(0));
    assert_eq!(hart.cause(Write, VA), Some(Cause::StorePageFault), "Svade now");
    assert_eq!(hart.word(at) & (A | D), A);
}

/// A run of bytes over two pages, of which the second's entry lies where it cannot be marked: nothing is stored.
#[test]
fn p29_a_run_is_not_stored_where_a_mark_is_refused() {
    let mut bus: Bus<Box<dyn softmmu::memory::Device + Send + Sync>> = Bus::new();
    bus.add_ram(Ram::new(PhysAddr(RAM), SIZE).expect("16 MiB")).expect("free");
    let rom = RAM + SIZE;
    let mut table = [0; 0x1000];
    table[..8].copy_from_slice(&((PA + 0x1000) >> 2 | V | R | W).to_le_bytes());
    bus.add_rom(PhysAddr(rom), &table).expect("free");
    let mut hart = Hart::over(bus, Config::rv64());
    hart.control(Control::Menvcfg(ADUE));
    let (last, first) = (VA + 0x1f_f000, VA + 0x20_0000);
    hart.map(last, PA, V | R | W);
    let upper = hart.place(Of::Host, first, 1);
    hart.poke(upper, rom >> 2 | V);
    let error = hart.mmu.write_bytes(VirtAddr(last + 0xff8), &[0x55; 16]).expect_err("the mark is refused");
    assert_eq!(error.fault().map(|fault| (fault.cause, fault.tval)), Some((Cause::StoreAccessFault, first)));
    assert_eq!(hart.word(PA + 0xff8), 0, "nothing was stored");
}
