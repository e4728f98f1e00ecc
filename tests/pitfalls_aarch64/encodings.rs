//! Reserved encodings and addresses.

use softmmu::addr::{PhysAddr, VirtAddr};
use softmmu::arch::aarch64::{RegimeKind, Register, Status, Tlbi};
use softmmu::memory::Ram;

use crate::machine::{AF, BLOCK, DBM, Execute, Machine, PAGE, RAM, ROOTS, Read, TCR, Write, refused};

const DATA: u64 = RAM + 0x80_0000;

#[test]
fn a_blocks_low_address_bits_count_for_nothing() {
    // They are RES0 (D8.3.1): a block is where its high bits say, and never partly elsewhere.
    let mut m = Machine::new(TCR, 0);
    m.put(ROOTS[0], 0x20_0000, 2, (RAM + 0x80_0000) | 0x3_5000 | BLOCK | AF);
    assert_eq!(m.access(Read, 0x20_0000), Ok(RAM + 0x80_0000));
    assert_eq!(m.access(Read, 0x20_5008), Ok(RAM + 0x80_5008));
}

#[test]
fn reserved_descriptors_are_translation_faults_at_their_level() {
    let mut m = Machine::new(TCR, 0);
    // Level 3 with bit 1 clear.
    m.put(ROOTS[0], 0x1000, 3, DATA | AF | 1);
    assert_eq!(refused(m.access(Read, 0x1000)), (0x7, 1));
    // Bit 0 clear, whatever the rest.
    m.put(ROOTS[0], 0x2000, 3, !1);
    assert_eq!(refused(m.access(Read, 0x2000)), (0x7, 1));
    // A block at level 0: only with LPA2.
    m.write(Register::TcrEl1, TCR & !0x3f | 16);
    m.poke(ROOTS[0] + 8, BLOCK | AF);
    assert_eq!(refused(m.access(Read, 1 << 39)), (0x4, 1));
}

#[test]
fn a_table_descriptor_has_no_marks() {
    // AF, AP and DBM of a table descriptor are ignored, and never written.
    let mut m = Machine::new(TCR | 3 << 39, 0);
    m.page(0x1000, DATA | AF);
    let table = m.word(ROOTS[0]);
    for raw in [table, table | AF | DBM | 0xc0] {
        m.poke(ROOTS[0], raw);
        m.tlbi(Tlbi::page(RegimeKind::El10, 0x1000, None, false));
        assert_eq!(m.access(Write, 0x1000), Ok(DATA));
        assert_eq!(m.word(ROOTS[0]), raw);
    }
}

#[test]
fn address_bits_beyond_the_output_size_are_refused() {
    // IPS = 40 bits: the 41st bit of a leaf, a table or TTBR0 is an Address size fault of its level.
    let small = TCR & !(7 << 32) | 2 << 32;
    let mut m = Machine::new(small, 0);
    m.page(0x1000, DATA | AF | 1 << 40);
    let fault = m.access(Read, 0x1000).expect_err("beyond 40 bits");
    assert_eq!((fault.status, fault.fsc()), (Status::AddressSize, 0x3));
    m.put(ROOTS[0], 0x4000_0000, 1, 1 << 40 | PAGE);
    assert_eq!(refused(m.access(Read, 0x4000_0000)), (0x1, 1));
    m.write(Register::Ttbr0El1, 1 << 40);
    assert_eq!(refused(m.access(Read, 0x1000)), (0x0, 1));
    // Before the Access flag and permissions.
    m.write(Register::Ttbr0El1, ROOTS[0]);
    m.page(0x2000, DATA | 1 << 40);
    assert_eq!(refused(m.access(Write, 0x2000)), (0x3, 1));
}

#[test]
fn addresses_between_the_halves_are_level_0_translation_faults() {
    let mut m = Machine::new(TCR, 0);
    m.page(0, DATA | AF);
    m.page(!0xfff, DATA | AF);
    assert_eq!(m.access(Read, 0), Ok(DATA));
    assert_eq!(m.access(Read, !0xfff), Ok(DATA));
    // One bit off, anywhere above the 39 that are translated: also where the low bits name what is cached.
    for bit in 39..64 {
        assert_eq!(refused(m.access(Read, 1 << bit)), (0x4, 1), "bit {bit}");
        assert_eq!(refused(m.access(Read, !0xfff ^ 1 << bit)), (0x4, 1), "bit {bit}");
    }
    // With TBI0, the top byte of the lower half means nothing, to loads and to the TLB.
    m.write(Register::TcrEl1, TCR | 1 << 37);
    for bit in 56..64 {
        assert_eq!(m.access(Read, 1 << bit), Ok(DATA), "bit {bit}");
        assert_eq!(refused(m.access(Read, !0xfff ^ 1 << bit)), (0x4, 1), "bit {bit}");
    }
    let fault = m.access(Read, 0x5a << 56 | 0x7000).expect_err("nothing is mapped there");
    assert_eq!(fault.va, VirtAddr(0x5a << 56 | 0x7000), "FAR keeps the tag");
    // TBID0: not for fetches.
    m.write(Register::TcrEl1, TCR | 1 << 37 | 1 << 51);
    assert_eq!(m.access(Read, 1 << 60), Ok(DATA));
    assert_eq!(refused(m.access(Execute, 1 << 60)), (0x4, 1));
    // An invalidation's operand has bits 55:12 alone, and reaches the upper half.
    m.page(!0xfff, DATA + 0x1000 | AF);
    m.tlbi(Tlbi::page(RegimeKind::El10, !0xfff & !(0xff << 56), None, false));
    assert_eq!(m.access(Read, !0xfff), Ok(DATA + 0x1000));
}

#[test]
fn a_root_that_points_at_nothing_is_an_external_abort() {
    let mut m = Machine::new(TCR, 0);
    for root in [0, 0x9_0000_0000, 0xffff_ffff_f000] {
        m.write(Register::Ttbr0El1, root);
        let fault = m.access(Read, 0x1000).expect_err("nothing is there");
        assert_eq!((fault.status, fault.fsc()), (Status::SyncExternalOnWalk, 0x15));
    }
}

#[test]
fn tables_that_point_at_themselves_end() {
    let mut m = Machine::new(TCR, 0);
    m.poke(ROOTS[0], ROOTS[0] | PAGE);
    // Level 3 reads the same entry as a page: the table maps itself.
    assert_eq!(refused(m.access(Read, 0x10)), (0xb, 1));
    m.poke(ROOTS[0], ROOTS[0] | PAGE | AF);
    assert_eq!(m.access(Read, 0x10), Ok(ROOTS[0] + 0x10));
}

#[test]
fn the_last_page_of_physical_memory_is_the_last() {
    // 52 bits of physical address, tables and page at the very top: the 64 KiB granule.
    const TOP: u64 = 1 << 52;
    let high = |pa: u64| pa & 0xffff_ffff_ffff | (pa >> 48) << 12;
    let ram = Ram::new(PhysAddr(TOP - 0x20_0000), 0x20_0000).expect("2 MiB");
    let wide = 22 | 1 << 14 | 25 << 16 | 2 << 30 | 6 << 32;
    let mut m = Machine::over(ram, wide, 0);
    let (root, table) = (TOP - 0x20_0000, TOP - 0x1f_0000);
    m.poke(root, high(table) | PAGE);
    m.poke(table, high(TOP - 0x1_0000) | PAGE | AF);
    m.write(Register::Ttbr0El1, root & 0xffff_ffff_ffff | (root >> 48) << 2);
    assert_eq!(m.access(Read, 0xfff8), Ok(TOP - 8));
    m.mmu.store(VirtAddr(0xfff8), 0x1234_5678_u64).expect("the last word");
    assert_eq!(m.word(TOP - 8), 0x1234_5678);
    // The next page is not there, and the access that runs into it stores nothing.
    let error = m.mmu.store(VirtAddr(0xfffc), u64::MAX).expect_err("half of it lies beyond");
    assert_eq!(crate::machine::fault(error).va, VirtAddr(0x1_0000));
    assert_eq!(m.word(TOP - 8), 0x1234_5678);
}
