//! Accessed and dirty bits.

use crate::prelude::*;

#[test]
fn p01_dirty_is_set_by_the_first_write_after_a_read_filled_the_tlb() {
    for mode in PAGED {
        let mut pc = Pc::new(mode);
        let at = pc.map(VA, 12, PA | OPEN);
        assert_eq!(pc.read(VA), Ok(PA));
        assert_eq!(pc.raw(at), PA | OPEN | A, "{mode:?}");
        assert!(pc.cached(VA));
        assert_eq!(pc.write(VA), Ok(PA));
        assert_eq!(pc.raw(at), PA | OPEN | A | D, "{mode:?}");
        // And through the fast path of typed accesses as well.
        let at = pc.map(VA + 0x1000, 12, PA | OPEN);
        pc.mmu.load::<u64>(VirtAddr(VA + 0x1000)).expect("mapped");
        pc.mmu.load::<u64>(VirtAddr(VA + 0x1000)).expect("mapped");
        pc.mmu.store(VirtAddr(VA + 0x1000), 1u64).expect("mapped");
        assert_eq!(pc.raw(at), PA | OPEN | A | D, "{mode:?}");
    }
}

#[test]
fn p02_no_mark_is_left_by_an_access_that_faults() {
    for mode in PAGED {
        let mut pc = Pc::new(mode);
        let at = pc.map(VA, 12, PA | P | U);
        let upper = pc.place(VA, if mode == Mode::Legacy32 { 22 } else { 21 });
        pc.poke(upper, pc.raw(upper) & !A);
        let before = (pc.raw(at), pc.raw(upper));
        assert_eq!(pc.user().write(VA), pf(Code::PRESENT | Code::WRITE | Code::USER, VA));
        assert_eq!((pc.raw(at), pc.raw(upper)), before, "{mode:?}");
        pc.poke(at, PA & !P);
        assert_eq!(pc.read(VA), pf(Code::USER, VA));
        assert_eq!(pc.raw(upper), before.1, "{mode:?}");
    }
}

/// Where a processor marks tables on the way to a fault, it is exactly those that it went through.
#[test]
fn p02_a_named_configuration_marks_the_tables_of_a_faulting_walk() {
    let mut pc = Pc::of(Config::SKYLAKE_CLIENT, registers(Mode::Level4));
    let leaf = pc.map(VA, 12, 0);
    let places = [39, 30, 21].map(|shift| pc.place(VA, shift));
    for at in places {
        pc.poke(at, pc.raw(at) & !A);
    }
    assert_eq!(pc.read(VA), pf(Code::empty(), VA));
    for at in places {
        assert_eq!(pc.raw(at) & A, A);
    }
    assert_eq!(pc.raw(leaf), 0);
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
            put(&self.ram, at, width.bytes(), get(&self.ram, at, width.bytes()) & !W);
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
fn p03_a_mark_is_set_only_in_the_entry_that_was_judged() {
    for mode in PAGED {
        let racing = Racing { ram: ram(), at: Cell::new(None) };
        let mut pc = Pc::on(racing, Config::INTEL, registers(mode));
        let at = pc.map(VA, 12, PA | OPEN);
        // The leaf changes before it is marked: the walk is made again and refuses.
        pc.mmu.memory().at.set(Some(at));
        assert_eq!(pc.write(VA), pf(Code::PRESENT | Code::WRITE, VA));
        assert_eq!(pc.raw(at) & D, 0, "{mode:?}");
        assert_eq!(pc.mmu.stats().races, 1);
        // The leaf changes while the table above it is marked.
        let upper = pc.place(VA, if mode == Mode::Legacy32 { 22 } else { 21 });
        pc.poke(at, PA | OPEN);
        pc.poke(upper, pc.raw(upper) & !A);
        pc.mmu.memory().at.set(Some(at));
        assert_eq!(pc.write(VA), pf(Code::PRESENT | Code::WRITE, VA));
        assert_eq!(pc.raw(at) & D, 0, "{mode:?}");
    }
}

#[test]
fn p04_marks_in_rom_are_a_bus_error() {
    // A one-entry page table in ROM, accessed but not dirty.
    let mut bytes = vec![0; 0x1000];
    bytes[..8].copy_from_slice(&(PA | OPEN | A).to_le_bytes());
    let mut bus: Bus = Bus::new();
    bus.add_ram(ram()).expect("RAM");
    bus.add_rom(PhysAddr(RAM), &bytes).expect("ROM");
    let mut pc = Pc::on(bus, Config::INTEL, registers(Mode::Level4));
    pc.map(0, 21, RAM | OPEN | A);
    assert_eq!(pc.read(0), Ok(PA));
    let error = pc.mmu.store(VirtAddr(0), 1u64).expect_err("no mark can be set");
    assert_eq!(error, AccessError::Bus(BusError::ReadOnly { pa: PhysAddr(RAM) }));
    assert_eq!(pc.mmu.memory().read(PhysAddr(PA), Width::W8), Ok(0), "nothing was stored");
}

#[test]
fn p05_entries_of_32_bit_paging_are_four_bytes() {
    let mut pc = Pc::new(Mode::Legacy32);
    // The table's last entry is the last word of RAM; its neighbour below must not change.
    let table = RAM - 0x1000;
    pc.map(0xffc0_0000, 22, table | OPEN);
    put(pc.mmu.memory(), RAM - 8, 4, 0xdead_be00);
    put(pc.mmu.memory(), RAM - 4, 4, PA | OPEN);
    assert_eq!(pc.write(0xffff_f123), Ok(PA + 0x123));
    assert_eq!(get(pc.mmu.memory(), RAM - 8, 8), (PA | OPEN | A | D) << 32 | 0xdead_be00);
}

#[test]
fn p06_dirty_follows_write_protect_as_it_stands() {
    for mode in PAGED {
        let mut pc = Pc::new(mode);
        let at = pc.map(VA, 12, PA | P);
        assert_eq!(pc.write(VA), pf(Code::PRESENT | Code::WRITE, VA));
        assert_eq!(pc.raw(at), PA | P);
        pc.wp(false);
        assert_eq!(pc.write(VA), Ok(PA));
        assert_eq!(pc.raw(at), PA | P | A | D, "{mode:?}: a supervisor write to a read-only page marks it");
        pc.wp(true);
        assert_eq!(pc.write(VA), pf(Code::PRESENT | Code::WRITE, VA));
    }
}
