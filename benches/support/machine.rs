//! A RISC-V Sv39 guest whose pages are mapped by tables in its own RAM, and the same guest's mapping as a list.

use softmmu::access::Width;
use softmmu::addr::PhysAddr;
use softmmu::arch::riscv::{Control, Privilege, Riscv};
use softmmu::memory::{PhysMemory, Ram};
use softmmu::mmu::Mmu;
use softmmu::tlb::Tlb;

pub const BASE: u64 = 0x8000_0000;
/// Where the pages are seen by the guest.
pub const VIRTUAL: u64 = 0x10_0000_0000;
/// Where the pages lie in RAM.
const PAGES: u64 = 0x10_0000;
const RAM: u64 = 64 << 20;

/// Writes one Sv39 leaf into tables below `root`; `next` is the next free frame for a table.
pub fn map<M: PhysMemory>(memory: &M, root: u64, va: u64, level: u32, leaf: u64, next: &mut u64) {
    let mut table = root;
    for at in (level..3).rev() {
        let entry = PhysAddr(table + ((va >> (12 + 9 * at)) & 0x1ff) * 8);
        if at == level {
            memory.write(entry, Width::W8, leaf).expect("tables lie in RAM");
            return;
        }
        let raw = memory.read(entry, Width::W8).expect("tables lie in RAM");
        table = if raw & 1 == 0 {
            let frame = *next;
            *next += 4096;
            memory.write(entry, Width::W8, (frame >> 2) | 1).expect("tables lie in RAM");
            frame
        } else {
            raw >> 10 << 12
        };
    }
}

/// A guest with `pages` consecutive pages of read-write-execute memory at [`VIRTUAL`], in supervisor mode.
pub fn guest<T: Tlb>(pages: u64, tlb: T) -> Mmu<Riscv, Ram, T> {
    let ram = Ram::new(PhysAddr(BASE), RAM).expect("a small RAM");
    let root = BASE;
    let mut next = BASE + 4096;
    for page in 0..pages {
        let frame = BASE + PAGES + page * 4096;
        map(&ram, root, VIRTUAL + page * 4096, 0, (frame >> 2) | 0xcf, &mut next);
    }
    let mut mmu = Mmu::new(Riscv::rv64(), ram, tlb);
    mmu.control(Control::Mode { privilege: Privilege::Supervisor, virt: false }).expect("no fault");
    mmu.control(Control::Satp(8 << 60 | root >> 12)).expect("no fault");
    mmu
}

/// The same mapping, relative to the start of RAM.
pub fn mapping(pages: u64) -> Vec<(u64, u64)> {
    (0..pages).map(|page| (VIRTUAL + page * 4096, PAGES + page * 4096)).collect()
}
