//! Accesses and their faults.

use crate::prelude::*;

#[test]
fn p29_a_crossing_access_reports_the_second_page_and_stores_nothing() {
    for mode in PAGED {
        let mut pc = Pc::new(mode);
        pc.map(VA, 12, PA | OPEN);
        let at = pc.map(VA + 0x1000, 12, PA2 | P);
        let error = pc.mmu.store(VirtAddr(VA + 0xffd), u64::MAX).expect_err("the second page is read-only");
        let expected = pf(Code::PRESENT | Code::WRITE, VA + 0x1000);
        assert_eq!(error, AccessError::Fault(expected.expect_err("a fault")), "{mode:?}");
        assert_eq!(get(pc.mmu.memory(), PA + 0xff8, 8), 0);
        assert_eq!(pc.mmu.stats().faults, 1);
        pc.poke(at, PA2 | OPEN);
        pc.mmu.store(VirtAddr(VA + 0xffd), u64::MAX).expect("both are writable");
        assert_eq!(get(pc.mmu.memory(), PA + 0xff8, 8), u64::MAX << 40);
        assert_eq!(get(pc.mmu.memory(), PA + 0x1000, 8), u64::MAX >> 24);
        // The first page's fault comes first.
        let error = pc.mmu.load::<u64>(VirtAddr(VA - 4)).expect_err("not mapped");
        assert_eq!(error, AccessError::Fault(pf(Code::empty(), VA - 4).expect_err("a fault")));
    }
}

#[test]
fn p32_nested_faults_carry_their_type_and_guest_address() {
    let mut pc = Pc::nested(Mode::Level4, npt(Mode::Level4));
    pc.map(VA, 12, PA | OPEN);
    let final_fault = |info: u64, offset: u64| {
        Err(Fault::NestedPage {
            info: 1 << 32 | info,
            gpa: GuestAddr(PA + offset),
            va: VirtAddr(VA + offset),
        })
    };
    pc.split2(PA, 0);
    assert_eq!(pc.read(VA + 0x123), final_fault(4, 0x123));
    assert_eq!(pc.write(VA + 8), final_fault(6, 8));
    assert_eq!(pc.fetch(VA + 8), final_fault(0x14, 8));
    pc.split2(PA, PA | OPEN | NX);
    assert_eq!(pc.fetch(VA + 8), final_fault(0x15, 8));
    pc.split2(PA, PA | P | W);
    assert_eq!(pc.read(VA), final_fault(5, 0), "every nested access is a user access");
    pc.split2(PA, PA | OPEN | 1 << 51);
    assert_eq!(pc.read(VA), Ok(PA | 1 << 51), "52 address bits");
    // The guest's own refusal comes before the final nested one, and is the guest's.
    pc.split2(PA, 0);
    pc.map(VA, 12, PA | P | W);
    pc.mmu.fence(Fence::Invlpg(VirtAddr(VA)));
    assert_eq!(pc.user().read(VA), pf(Code::PRESENT | Code::USER, VA));
}

#[test]
fn p33_the_top_of_physical_memory_does_not_wrap() {
    let top = 0xf_ffff_ffff_f000;
    let mut pc = Pc::new(Mode::Level4);
    pc.map(VA, 12, top | OPEN);
    assert_eq!(pc.read(VA + 0xfff), Ok(top + 0xfff));
    let error = pc.mmu.load::<u64>(VirtAddr(VA + 0xff8)).expect_err("no memory there");
    assert_eq!(error, AccessError::Bus(BusError::Unmapped { pa: PhysAddr(top + 0xff8) }));
    // A table there, and a root as high as CR3 holds.
    pc.map(0x8000_0000, 30, top | OPEN | A);
    let error = pc.mmu.load::<u64>(VirtAddr(0x8000_0000 + 0x3fff_fff8)).expect_err("no memory there");
    assert_eq!(error, AccessError::Bus(BusError::Unmapped { pa: PhysAddr(top + 511 * 8) }));
    pc.set(Control::Cr3(top));
    let error = pc.mmu.load::<u64>(VirtAddr(u64::MAX - 7)).expect_err("no memory there");
    assert_eq!(error, AccessError::Bus(BusError::Unmapped { pa: PhysAddr(top + 511 * 8) }));
}
