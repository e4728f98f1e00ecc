#![allow(missing_docs)]
use softmmu::access::{Access, AccessKind};
use softmmu::addr::{PhysAddr, VirtAddr};
use softmmu::arch::riscv::*;
use softmmu::memory::{PhysMemory, Ram};
use softmmu::mmu::Mmu;
use std::hint::black_box;
fn main() {
    let n: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let what = std::env::args().nth(2).unwrap_or_default();
    let ram = Ram::new(PhysAddr(0), 64 << 20).unwrap();
    let w = |pa: u64, v: u64| ram.write(PhysAddr(pa), softmmu::access::Width::W8, v).unwrap();
    w(0x1000, 0x2000 >> 2 | 1);
    w(0x2000, 0x3000 >> 2 | 1);
    for i in 0..512u64 {
        w(0x3000 + 8 * i, (0x10_0000 + 0x1000 * i) >> 2 | 0xcf);
    }
    let mut hart = Mmu::new(Riscv::rv64(), &ram, ());
    hart.control(Control::Satp(8 << 60 | 1)).unwrap();
    hart.control(Control::Mode { privilege: Privilege::Supervisor, virt: false }).unwrap();
    if what == "filteroff" {
        hart.set_filter(false);
    }
    let mut sum = 0;
    for i in 0..n {
        let va = VirtAddr((i & 511) << 12);
        if what == "translate" {
            sum += hart
                .translate(&Access { va, len: 8, kind: AccessKind::Read, flavor: Flavor::Normal })
                .unwrap()
                .pa
                .0;
        } else {
            sum += hart.load::<u64>(va).unwrap();
        }
    }
    black_box(sum);
}
