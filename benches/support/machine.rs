//! A RISC-V Sv39 guest whose pages are mapped by tables in its own RAM, and the same guest's mapping as a list.

use super::tables::{Shape, Sv39};
use softmmu::addr::PhysAddr;
use softmmu::arch::riscv::{Control, Privilege, Riscv};
use softmmu::memory::Ram;
use softmmu::mmu::Mmu;
use softmmu::tlb::Tlb;

pub const BASE: u64 = 0x8000_0000;
/// Where the pages are seen by the guest.
pub const VIRTUAL: u64 = 0x10_0000_0000;
/// Where the pages lie in RAM.
const PAGES: u64 = 0x10_0000;
const RAM: u64 = 64 << 20;

/// A guest with `pages` consecutive pages of read-write-execute memory at [`VIRTUAL`], in supervisor mode.
pub fn guest<T: Tlb>(pages: u64, tlb: T) -> Mmu<Riscv, Ram, T> {
    let ram = Ram::new(PhysAddr(BASE), RAM).expect("a small RAM");
    let root = BASE;
    let mut next = BASE + 4096;
    for page in 0..pages {
        let frame = BASE + PAGES + page * 4096;
        Sv39::map(&ram, root, VIRTUAL + page * 4096, frame, &mut next);
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
