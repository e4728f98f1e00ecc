//! Typed accesses in a special manner: shadow stacks, LR and SC, hypervisor loads.

use softmmu::access::{Access, AccessKind, Width};
use softmmu::addr::{PhysAddr, VirtAddr};
use softmmu::arch::riscv::{Cause, Control, Fault, Flavor, Privilege, Riscv};
use softmmu::memory::{PhysMemory, Ram};
use softmmu::mmu::{AccessError, Mmu};
use softmmu::tlb::{Geometry, SetAssociative};

const RAM: u64 = 0x8000_0000;
/// The first gigabyte: what the flags say. The second: an ordinary one.
const STACK: VirtAddr = VirtAddr(0x8000_8000);
const PLAIN: VirtAddr = VirtAddr(0x4000_8000);

const SSE: u64 = 1 << 3;
const ADUE: u64 = 1 << 61;

/// S-mode with one gigabyte page of ordinary memory and one of shadow stacks, both over the RAM.
fn hart() -> Mmu<Riscv, Ram, SetAssociative> {
    let ram = Ram::new(PhysAddr(RAM), 1 << 20).expect("1 MiB");
    let page = |flags: u64| RAM >> 2 | flags;
    // V, R, W, A and D; V, W, A and D.
    ram.write(PhysAddr(RAM + 8), Width::W8, page(0xc7)).expect("RAM");
    ram.write(PhysAddr(RAM + 16), Width::W8, page(0xc5)).expect("RAM");
    let tlb = SetAssociative::new(Geometry::new(16, 4)).expect("a real geometry");
    let mut mmu = Mmu::new(Riscv::rv64(), ram, tlb);
    for change in [
        Control::Menvcfg(SSE | ADUE),
        Control::Satp(8 << 60 | RAM >> 12),
        Control::Mode { privilege: Privilege::Supervisor, virt: false },
    ] {
        mmu.control(change).expect("no write faults");
    }
    mmu
}

fn cause<T>(outcome: Result<T, AccessError<Fault>>) -> Option<Cause> {
    outcome.err().and_then(|error| error.fault().map(|fault| fault.cause))
}

#[test]
fn ssamoswap_swaps_on_shadow_stacks_alone() {
    let mut hart = hart();
    hart.store(PLAIN, 5u64).expect("ordinary memory");
    assert_eq!(hart.rmw_as(STACK, Flavor::ShadowStack, |_| 6u64), Ok(5));
    assert_eq!(hart.load::<u64>(STACK), Ok(6), "loads may look");
    let swapped = hart.compare_exchange_as(STACK, 6u64, 7, Flavor::ShadowStack);
    assert_eq!(swapped, Ok(Ok(6)));
    assert_eq!(hart.compare_exchange_as(STACK, 6u64, 8, Flavor::ShadowStack), Ok(Err(7)));
    assert_eq!(hart.load::<u64>(PLAIN), Ok(7));
    // Neither an ordinary atomic there, nor this one elsewhere; and nothing has changed.
    assert_eq!(cause(hart.rmw(STACK, |old: u64| old + 1)), Some(Cause::StoreAccessFault));
    let elsewhere = hart.rmw_as(PLAIN, Flavor::ShadowStack, |old: u64| old + 1);
    assert_eq!(cause(elsewhere), Some(Cause::StoreAccessFault));
    assert_eq!(hart.load::<u64>(PLAIN), Ok(7));
    // With shadow stacks off, what is cached of them serves no longer.
    hart.control(Control::Menvcfg(ADUE)).expect("no write faults");
    assert_eq!(cause(hart.rmw_as(STACK, Flavor::ShadowStack, |old: u64| old)), Some(Cause::StorePageFault));
}

#[test]
fn lr_and_sc_are_aligned_and_translate_as_load_and_store() {
    let mut hart = hart();
    hart.store(PLAIN, 1u64).expect("ordinary memory");
    let found: u64 = hart.load_as(PLAIN, Flavor::LrSc).expect("aligned");
    assert_eq!(hart.compare_exchange_as(PLAIN, found, 2, Flavor::LrSc), Ok(Ok(1)));
    assert_eq!(hart.compare_exchange_as(PLAIN, found, 3, Flavor::LrSc), Ok(Err(2)));
    let odd = VirtAddr(PLAIN.0 + 4);
    assert_eq!(cause(hart.load_as::<u64>(odd, Flavor::LrSc)), Some(Cause::LoadAccessFault));
    let store = hart.compare_exchange_as(odd, 0u64, 1, Flavor::LrSc);
    assert_eq!(cause(store), Some(Cause::StoreAccessFault));
}

/// Zicbom: allowed where loads (or stores) are, refused as a store; no byte becomes dirty. Zicfiss: shadow stacks are
/// not for it.
#[test]
fn cache_blocks_are_managed_where_loads_are_allowed() {
    let mut hart = hart();
    let manage = |hart: &mut Mmu<Riscv, Ram, SetAssociative>, va: u64| {
        let access = Access { va: VirtAddr(va), len: 64, kind: AccessKind::Read, flavor: Flavor::CacheBlock };
        cause(hart.translate(&access))
    };
    assert_eq!(manage(&mut hart, PLAIN.0 + 3), None);
    assert_eq!(manage(&mut hart, STACK.0), Some(Cause::StoreAccessFault));
    assert_eq!(manage(&mut hart, 0xc000_0000), Some(Cause::StorePageFault));
    // The fourth gigabyte: executable alone, not used yet; the fifth: read-only, not used yet.
    for (slot, flags) in [(3, 0x9), (4, 0x3)] {
        hart.memory().write(PhysAddr(RAM + 8 * slot), Width::W8, RAM >> 2 | flags).expect("RAM");
    }
    assert_eq!(manage(&mut hart, 0xc000_0000), Some(Cause::StorePageFault));
    assert_eq!(manage(&mut hart, 0x1_0000_0000), None);
    assert_eq!(hart.memory().read(PhysAddr(RAM + 32), Width::W8), Ok(RAM >> 2 | 0x43), "used, not dirty");
    hart.control(Control::Mstatus(1 << 19)).expect("no write faults");
    assert_eq!(manage(&mut hart, 0xc000_0000), None, "MXR");
    assert_eq!(manage(&mut hart, STACK.0), Some(Cause::StoreAccessFault), "cached or not");
}
