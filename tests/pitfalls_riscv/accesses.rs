//! Accesses in parts.

use crate::machine::*;
use softmmu::addr::VirtAddr;

#[test]
fn p29_a_crossing_access_reports_the_part_that_faults_and_moves_nothing() {
    let mut hart = Hart::new();
    hart.map(VA, PA, OPEN);
    hart.poke(PA + 0xff8, 0x1111_1111_1111_1111);
    let edge = VirtAddr(VA + 0xffc);
    let store = hart.mmu.store(edge, 0u64).expect_err("half of it is nowhere");
    let fault = store.fault().copied().expect("the guest's");
    assert_eq!((fault.cause, fault.tval), (Cause::StorePageFault, VA + 0x1000));
    assert_eq!(hart.word(PA + 0xff8), 0x1111_1111_1111_1111);
    // The lower part first.
    hart.map(VA + 0x2000, PA, OPEN);
    let load = hart.mmu.load::<u64>(VirtAddr(VA + 0x1ffe)).expect_err("half of it is nowhere");
    assert_eq!(load.fault().map(|fault| fault.tval), Some(VA + 0x1ffe));
    // Onto another page, which need not be beside the first.
    hart.map(VA + 0x1000, PA2, OPEN);
    hart.mmu.store(edge, 0x8877_6655_4433_2211u64).expect("mapped");
    assert_eq!(hart.word(PA + 0xff8) >> 32, 0x4433_2211);
    assert_eq!(hart.word(PA2) & 0xffff_ffff, 0x8877_6655);
}

#[test]
fn p29_misaligned_atomics_fault_before_they_are_translated() {
    let mut hart = Hart::new();
    let misaligned = |hart: &mut Hart| {
        let lr = hart.access_as(Read, Flavor::LrSc, VA + 4, 8).map_err(|fault| fault.cause);
        let sc = hart.access_as(Write, Flavor::LrSc, VA + 2, 4).map_err(|fault| fault.cause);
        let amo = hart.access_as(ReadWrite, Flavor::Normal, VA + 1, 4).map_err(|fault| fault.cause);
        [lr, sc, amo]
    };
    let access = [Err(Cause::LoadAccessFault), Err(Cause::StoreAccessFault), Err(Cause::StoreAccessFault)];
    assert_eq!(misaligned(&mut hart), access, "nothing is mapped: alignment comes first");
    hart.map(VA, PA, OPEN);
    assert_eq!(misaligned(&mut hart), access);
    assert_eq!(hart.access_as(ReadWrite, Flavor::Normal, VA + 4, 4), Ok(PA + 4));

    let mut config = Config::rv64();
    config.misaligned_atomics = softmmu::arch::riscv::MisalignedAtomics::AddressMisaligned;
    config.misaligned_after_translation = true;
    let mut hart = Hart::of(config);
    let page = [Err(Cause::LoadPageFault), Err(Cause::StorePageFault), Err(Cause::StorePageFault)];
    assert_eq!(misaligned(&mut hart), page, "translated first");
    hart.map(VA, PA, OPEN);
    let address = [
        Err(Cause::LoadAddressMisaligned),
        Err(Cause::StoreAddressMisaligned),
        Err(Cause::StoreAddressMisaligned),
    ];
    assert_eq!(misaligned(&mut hart), address);
}

#[test]
fn p29_rv32_addresses_wrap_at_the_top() {
    let ram = Ram::new(softmmu::addr::PhysAddr(RAM), SIZE).expect("16 MiB");
    let mut hart = Hart::over(ram, Config::rv32());
    let root = RAM + 0x2000;
    let megapage = |pa: u64| pa >> 22 << 20 | OPEN;
    hart.poke(root, megapage(PA) | megapage(RAM + 0x40_0000) << 32);
    hart.poke(root + 0xff8, megapage(RAM) << 32);
    hart.control(Control::Satp(1 << 31 | root >> 12));
    hart.poke(RAM + 0x3f_fff8, 0x2222_1111_0000_0000);
    hart.poke(PA & !0x3f_ffff, 0x4444_3333);
    assert_eq!(hart.mmu.load::<u64>(VirtAddr(0xffff_fffc)).ok(), Some(0x4444_3333_2222_1111));
    assert_eq!(hart.mmu.load::<u64>(VirtAddr(0x1_0000_0000)).ok(), Some(0x4444_3333));
}

/// As addresses of accesses have only 32 bits there, those of fences have too.
#[test]
fn p19_rv32_fences_name_addresses_of_32_bits() {
    let ram = Ram::new(softmmu::addr::PhysAddr(RAM), SIZE).expect("16 MiB");
    let mut hart = Hart::over(ram, Config::rv32());
    let root = RAM + 0x2000;
    let megapage = |pa: u64| pa >> 22 << 20 | OPEN;
    hart.control(Control::Satp(1 << 31 | root >> 12));
    // The last 4 MiB.
    hart.poke(root + 0xff8, megapage(RAM) << 32);
    assert_eq!(hart.access(Read, 0xffff_f000), Ok(RAM + 0x3f_f000));
    hart.poke(root + 0xff8, megapage(PA) << 32);
    assert_eq!(hart.access(Read, 0xffff_f000), Ok(RAM + 0x3f_f000), "cached");
    // The register's value as a 64-bit host extends it.
    hart.fence(Some(0xffff_ffff_ffff_f000), None);
    assert_eq!(hart.access(Read, 0xffff_f000), Ok((PA & !0x3f_ffff) + 0x3f_f000));
}

/// Two pages of a run may be one in memory: bytes are stored in the order of their addresses.
#[test]
fn p29_a_run_is_stored_in_order() {
    let mut hart = Hart::new();
    hart.map(VA, PA, OPEN);
    hart.map(VA + 0x1000, PA, OPEN);
    let mut run = [1; 0x2000];
    run[0x1000..].fill(2);
    hart.mmu.write_bytes(VirtAddr(VA), &run).expect("mapped");
    assert_eq!(hart.word(PA), 0x0202_0202_0202_0202);
}
