//! The TLB: what stays, what goes.

use softmmu::addr::{Asid, VirtAddr};
use softmmu::arch::aarch64::{Granule, RegimeKind, Register, Tlbi, TlbiTarget};

use crate::machine::{
    AF, BLOCK, GUEST, Machine, NG, PAGE, RAM, RO, ROOTS, Read, S2, TCR, USER, USER_MODE, Write, refused,
};

const DATA: u64 = RAM + 0x80_0000;
const EL10: RegimeKind = RegimeKind::El10;

#[test]
fn a_fence_for_one_address_drops_every_fragment_of_its_block() {
    let mut m = Machine::new(TCR, GUEST);
    m.identity();
    m.put(ROOTS[0], 0x20_0000, 2, 0x8000_0000 | BLOCK | AF);
    for page in 0..8u64 {
        m.put(ROOTS[2], 0x8000_0000 + page * 0x1000, 3, DATA + page * 0x1000 | PAGE | S2);
        assert_eq!(m.access(Read, 0x20_0000 + page * 0x1000), Ok(DATA + page * 0x1000));
    }
    m.put(ROOTS[0], 0x20_0000, 2, 0x4000_0000 | BLOCK | AF);
    m.tlbi(Tlbi::page(EL10, 0x20_3000, None, false));
    for page in 0..8u64 {
        assert_eq!(m.access(Read, 0x20_0000 + page * 0x1000), Ok(RAM + page * 0x1000));
    }
}

#[test]
fn a_fence_for_one_page_drops_the_whole_contiguous_run() {
    let mut m = Machine::new(TCR, 0);
    let cont = 1 << 52;
    for page in 0..16u64 {
        m.page(page * 0x1000, DATA + page * 0x1000 | AF | cont);
        assert_eq!(m.access(Read, page * 0x1000), Ok(DATA + page * 0x1000));
    }
    for page in 0..16u64 {
        m.put(ROOTS[0], page * 0x1000, 3, 0);
    }
    m.tlbi(Tlbi::page(EL10, 0x7000, None, true));
    for page in 0..16u64 {
        assert_eq!(refused(m.access(Read, page * 0x1000)), (0x7, 1));
    }
}

#[test]
fn large_pages_are_found_everywhere_in_them() {
    let mut m = Machine::new(TCR, 0);
    m.put(ROOTS[0], 0x4000_0000, 1, RAM | BLOCK | AF);
    assert_eq!(m.access(Read, 0x4000_0000), Ok(RAM));
    let (walks, ()) = m.walks(|m| {
        for offset in [0, 0x1000, 0x12_3450, 0x3fff_fff8] {
            assert_eq!(m.access(Read, 0x4000_0000 + offset), Ok(RAM + offset));
        }
    });
    assert_eq!(walks, 0);
    // And a fence for its last address drops it.
    m.put(ROOTS[0], 0x4000_0000, 1, 0);
    m.tlbi(Tlbi::page(EL10, 0x7fff_f000, None, false));
    assert_eq!(refused(m.access(Read, 0x4000_0000)), (0x5, 1));
}

#[test]
fn global_entries_serve_every_asid_and_others_their_own() {
    let mut m = Machine::new(TCR, 0);
    m.page(0x1000, DATA | AF);
    m.page(0x2000, DATA | AF | NG);
    let space = |asid: u64| asid << 48 | ROOTS[0];
    m.write(Register::Ttbr0El1, space(1));
    assert_eq!(m.walks(|m| m.access(Read, 0x1000)), (1, Ok(DATA)));
    assert_eq!(m.walks(|m| m.access(Read, 0x2000)), (1, Ok(DATA)));
    m.write(Register::Ttbr0El1, space(2));
    assert_eq!(m.walks(|m| m.access(Read, 0x1000)), (0, Ok(DATA)));
    assert_eq!(m.walks(|m| m.access(Read, 0x2000)), (1, Ok(DATA)));
    // ASIDs that differ in their upper half differ with 16 bits, and are one with 8.
    m.write(Register::Ttbr0El1, space(0x102));
    assert_eq!(m.walks(|m| m.access(Read, 0x2000)), (1, Ok(DATA)));
    m.write(Register::TcrEl1, TCR & !(1 << 36));
    assert_eq!(m.walks(|m| m.access(Read, 0x2000)), (1, Ok(DATA)), "a new TCR drops all");
    m.write(Register::Ttbr0El1, space(2));
    assert_eq!(m.walks(|m| m.access(Read, 0x2000)), (0, Ok(DATA)));
    // TCR.A1: the ASID is TTBR1's.
    m.write(Register::TcrEl1, TCR | 1 << 22);
    m.write(Register::Ttbr1El1, 7 << 48 | ROOTS[1]);
    assert_eq!(m.walks(|m| m.access(Read, 0x2000)), (1, Ok(DATA)));
    m.write(Register::Ttbr0El1, space(9));
    assert_eq!(m.walks(|m| m.access(Read, 0x2000)), (0, Ok(DATA)));
}

#[test]
fn fences_by_asid_spare_global_entries_and_fences_by_address_do_not() {
    let mut m = Machine::new(TCR, 0);
    m.write(Register::Ttbr0El1, 3 << 48 | ROOTS[0]);
    m.page(0x1000, DATA | AF);
    m.page(0x2000, DATA | AF | NG);
    let warm = |m: &mut Machine| m.walks(|m| (m.access(Read, 0x1000), m.access(Read, 0x2000))).0;
    assert_eq!(warm(&mut m), 2);
    m.tlbi(Tlbi { regime: EL10, target: TlbiTarget::Asid(Asid(3)) });
    assert_eq!(warm(&mut m), 1);
    m.tlbi(Tlbi { regime: EL10, target: TlbiTarget::Asid(Asid(4)) });
    assert_eq!(warm(&mut m), 0);
    // By address and another ASID: the global entry goes, the other stays.
    m.tlbi(Tlbi::page(EL10, 0x1000, Some(Asid(4)), false));
    m.tlbi(Tlbi::page(EL10, 0x2000, Some(Asid(4)), false));
    assert_eq!(warm(&mut m), 1);
    m.tlbi(Tlbi::page(EL10, 0x2000, None, false));
    assert_eq!(warm(&mut m), 1);
}

#[test]
fn fences_are_of_one_vmid_and_one_regime() {
    let mut m = Machine::new(TCR, GUEST);
    m.identity();
    m.page(0x1000, DATA | AF | NG);
    let vm = |id: u64| id << 48 | ROOTS[2];
    for id in [1, 2] {
        m.write(Register::VttbrEl2, vm(id));
        assert_eq!(m.walks(|m| m.access(Read, 0x1000)), (1, Ok(DATA)));
    }
    m.tlbi(Tlbi { regime: EL10, target: TlbiTarget::All });
    m.write(Register::VttbrEl2, vm(1));
    assert_eq!(m.walks(|m| m.access(Read, 0x1000)), (0, Ok(DATA)));
    m.tlbi(Tlbi { regime: RegimeKind::El2, target: TlbiTarget::All });
    assert_eq!(m.walks(|m| m.access(Read, 0x1000)), (0, Ok(DATA)));
    m.tlbi(Tlbi { regime: EL10, target: TlbiTarget::AllVmids });
    assert_eq!(m.walks(|m| m.access(Read, 0x1000)), (1, Ok(DATA)));
    // Turning stage 2 off is not VMID 0 with stage 2 on.
    m.write(Register::VttbrEl2, vm(0));
    assert_eq!(m.walks(|m| m.access(Read, 0x1000)), (1, Ok(DATA)));
    m.put(ROOTS[2], RAM, 1, 0);
    m.write(Register::HcrEl2, 1 << 31);
    assert_eq!(m.walks(|m| m.access(Read, 0x1000)), (1, Ok(DATA)));
}

#[test]
fn a_fence_by_intermediate_address_is_exact() {
    let mut m = Machine::new(TCR, GUEST);
    m.identity();
    for page in 0..4u64 {
        m.put(ROOTS[2], 0x8000_0000 + page * 0x1000, 3, DATA + page * 0x1000 | PAGE | S2);
        m.page(0x1_0000 + page * 0x1000, 0x8000_0000 + page * 0x1000 | AF);
        assert_eq!(m.access(Read, 0x1_0000 + page * 0x1000), Ok(DATA + page * 0x1000));
    }
    m.put(ROOTS[2], 0x8000_2000, 3, DATA + 0xf000 | PAGE | S2);
    m.tlbi(Tlbi::intermediate(0x8000_2000, 1, Granule::K4, false));
    let (walks, outcome) = m.walks(|m| m.access(Read, 0x1_2000));
    assert_eq!((walks, outcome), (1, Ok(DATA + 0xf000)));
    for page in [0, 1, 3u64] {
        let (walks, _) = m.walks(|m| m.access(Read, 0x1_0000 + page * 0x1000));
        assert_eq!(walks, 0, "page {page} was not meant");
    }
}

#[test]
fn a_reused_asid_brings_nothing_back() {
    let mut m = Machine::new(TCR, 0);
    m.write(Register::Ttbr0El1, 5 << 48 | ROOTS[0]);
    m.page(0x1000, DATA | AF | NG | USER);
    assert_eq!(m.access(Write, 0x1000), Ok(DATA));
    m.tlbi(Tlbi { regime: EL10, target: TlbiTarget::Asid(Asid(5)) });
    m.page(0x1000, DATA + 0x1000 | AF | NG | RO);
    assert_eq!(m.access(Read, 0x1000), Ok(DATA + 0x1000));
    assert_eq!(refused(m.access(Write, 0x1000)), (0xf, 1));
}

#[test]
fn a_broken_copy_on_write_reaches_the_new_frame() {
    let mut m = Machine::new(TCR, 0);
    m.page(0x1000, DATA | AF | NG | RO);
    m.poke(DATA, 1);
    m.poke(DATA + 0x1000, 1);
    for _ in 0..3 {
        assert_eq!(m.mmu.load::<u64>(VirtAddr(0x1000)), Ok(1));
    }
    m.mmu.store(VirtAddr(0x1000), 2u64).expect_err("read-only");
    m.page(0x1000, DATA + 0x1000 | AF | NG);
    m.tlbi(Tlbi::page(EL10, 0x1000, Some(Asid(0)), true));
    m.mmu.store(VirtAddr(0x1000), 2u64).expect("its own copy");
    assert_eq!(m.mmu.load::<u64>(VirtAddr(0x1000)), Ok(2));
    assert_eq!((m.word(DATA), m.word(DATA + 0x1000)), (1, 2));
}

#[test]
fn a_fence_by_intermediate_address_drops_every_fragment_of_its_block() {
    let mut m = Machine::new(TCR, GUEST);
    m.identity();
    m.put(ROOTS[2], 0x8000_0000, 2, RAM + 0x80_0000 | BLOCK | S2);
    for page in 0..4u64 {
        m.page(0x1_0000 + page * 0x1000, 0x8000_0000 + page * 0x1000 | AF);
        assert_eq!(m.access(Read, 0x1_0000 + page * 0x1000), Ok(DATA + page * 0x1000));
    }
    m.put(ROOTS[2], 0x8000_0000, 2, RAM + 0x40_0000 | BLOCK | S2);
    m.tlbi(Tlbi::intermediate(0x801f_f000, 1, Granule::K4, true));
    for page in 0..4u64 {
        assert_eq!(m.access(Read, 0x1_0000 + page * 0x1000), Ok(RAM + 0x40_0000 + page * 0x1000));
    }
}

#[test]
fn turning_stage_1_off_lets_nobody_be_kept_out_by_its_tables() {
    // E0PD0 speaks of TTBR0's tables; with stage 1 off there are none, and a hit is a hit.
    let mut m = Machine::new(TCR | 1 << 55, GUEST);
    m.identity();
    m.enter(USER_MODE);
    m.write(Register::SctlrEl1, 0x30d0_0804);
    assert_eq!(m.access(Read, DATA), Ok(DATA));
    assert_eq!(m.walks(|m| m.access(Read, DATA)), (0, Ok(DATA)));
}
