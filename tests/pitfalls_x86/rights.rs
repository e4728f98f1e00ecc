//! Rights.

use crate::prelude::*;

#[test]
fn p07_p25_a_change_of_rights_holds_at_once_and_drops_nothing() {
    let mut pc = Pc::of(Config::INTEL, cr4(Cr4::SMAP | Cr4::SMEP | Cr4::PKE | Cr4::PKS));
    let (user, kernel) = (VA, VA + 0x1000);
    pc.map(user, 12, PA | OPEN | 5 << 59);
    pc.map(kernel, 12, PA | P | W | 6 << 59);
    pc.set(Control::Ac(true));
    assert_eq!(pc.write(user), Ok(PA));
    assert_eq!(pc.write(kernel), Ok(PA));
    let both = Code::PRESENT | Code::WRITE;

    pc.set(Control::Ac(false));
    assert_eq!(pc.write(user), pf(both, user), "SMAP");
    assert_eq!(pc.touch(AccessKind::Write, user, Flavor::ImplicitSupervisor), pf(both, user));
    pc.set(Control::Ac(true));
    assert_eq!(pc.walks(|pc| assert_eq!(pc.write(user), Ok(PA))), 0);
    assert_eq!(
        pc.touch(AccessKind::Write, user, Flavor::ImplicitSupervisor),
        pf(both, user),
        "AC does not help"
    );

    assert_eq!(pc.fetch(user), pf(Code::PRESENT | Code::FETCH, user), "SMEP");
    pc.cr4(|cr4| cr4 - Cr4::SMEP);
    assert_eq!(pc.fetch(user), Ok(PA));

    pc.set(Control::Pkru(0b10 << 10));
    assert_eq!(pc.write(user), pf(both | Code::KEY, user), "PKRU.WD5");
    assert_eq!(pc.walks(|pc| assert_eq!(pc.read(user), Ok(PA))), 0);
    pc.set(Control::Pkru(0b01 << 10));
    assert_eq!(pc.read(user), pf(Code::PRESENT | Code::KEY, user), "PKRU.AD5");
    assert_eq!(pc.fetch(user), Ok(PA), "keys do not concern fetches");
    pc.set(Control::Pkru(0));
    pc.set(Control::Pkrs(0b10 << 12));
    assert_eq!(pc.write(kernel), pf(both | Code::KEY, kernel), "PKRS.WD6");
    pc.wp(false);
    assert_eq!(pc.walks(|pc| assert_eq!(pc.write(kernel), Ok(PA))), 0, "WD needs WP for supervisor writes");
    pc.wp(true);
    pc.set(Control::Pkrs(0));
    assert_eq!(pc.walks(|pc| assert_eq!(pc.write(kernel), Ok(PA))), 0);

    assert_eq!(pc.user().read(kernel), pf(Code::PRESENT | Code::USER, kernel));
    assert_eq!(pc.walks(|pc| assert_eq!(pc.kernel().read(kernel), Ok(PA))), 0);
}

#[test]
fn p07_p25_nxe_changes_what_a_cached_translation_means() {
    for mode in [Mode::Pae, Mode::Level4, Mode::Level5] {
        let mut pc = Pc::new(mode);
        pc.map(VA, 12, PA | OPEN | NX);
        assert_eq!(pc.read(VA), Ok(PA));
        let efer = pc.mmu.arch().registers().efer;
        pc.set(Control::Efer((efer - Efer::NXE).bits()));
        assert_eq!(pc.read(VA), pf(Code::PRESENT | Code::RESERVED, VA), "{mode:?}: XD is reserved now");
        pc.set(Control::Efer(efer.bits()));
        assert_eq!(pc.read(VA), Ok(PA));
        assert_eq!(pc.fetch(VA), pf(Code::PRESENT | Code::FETCH, VA));
    }
}

#[test]
fn p10_p12_a_translation_made_for_data_is_none_for_fetches_nor_the_reverse() {
    let mut pc = Pc::new(Mode::Level4);
    pc.map(VA, 12, PA | OPEN | NX);
    assert_eq!(pc.write(VA), Ok(PA));
    assert_eq!(pc.fetch(VA), pf(Code::PRESENT | Code::FETCH, VA));

    let mut pc = Pc::nested(Mode::Level4, ept());
    pc.map(VA, 12, PA | OPEN);
    pc.split2(PA, PA | 4);
    assert_eq!(pc.fetch(VA), Ok(PA));
    assert!(matches!(pc.read(VA), Err(Fault::EptViolation { qualification, .. })
        if qualification.contains(EptQualification::READ | EptQualification::EXECUTABLE)));
}

#[test]
fn p12_p26_an_unmapped_or_moved_page_is_gone_after_its_fence() {
    let mut pc = Pc::new(Mode::Level4);
    let at = pc.map(VA, 12, PA | OPEN);
    pc.mmu.store(VirtAddr(VA), 1u64).expect("mapped");
    // Copy on write: another frame.
    pc.poke(at, PA2 | OPEN);
    pc.mmu.fence(Fence::Invlpg(VirtAddr(VA + 0x234)));
    pc.mmu.store(VirtAddr(VA), 2u64).expect("mapped");
    assert_eq!(get(pc.mmu.memory(), PA, 8), 1);
    assert_eq!(get(pc.mmu.memory(), PA + 0x1000, 8), 2);
    pc.poke(at, 0);
    pc.mmu.fence(Fence::Invlpg(VirtAddr(VA)));
    assert_eq!(pc.read(VA), pf(Code::empty(), VA));
}

#[test]
fn p11_guest_tables_are_read_as_tables_whatever_the_access() {
    for host in PAGED {
        let mut pc = Pc::nested(Mode::Level4, npt(host));
        let at = pc.map(VA, 12, PA | OPEN | A | D);
        let page = at & !0xfff;
        pc.split2(page, page | P | U);
        for touch in [Pc::read, Pc::write, Pc::fetch] {
            let expected = Fault::NestedPage { info: 1 << 33 | 7, gpa: GuestAddr(at), va: VirtAddr(VA) };
            assert_eq!(touch(&mut pc, VA), Err(expected), "{host:?}: a write by the user, never a fetch");
        }
    }
}

#[test]
fn p14_no_leaf_widens_what_a_table_narrows() {
    for mode in PAGED {
        let shift = if mode == Mode::Legacy32 { 22 } else { 21 };
        type Touch = fn(&mut Pc, u64) -> Result<u64, Fault>;
        let narrowed: [(u64, Touch, Code); 3] = [
            (U, |pc, va| pc.user().read(va), Code::PRESENT | Code::USER),
            (W, |pc, va| pc.user().write(va), Code::PRESENT | Code::USER | Code::WRITE),
            (NX, |pc, va| pc.user().fetch(va), Code::PRESENT | Code::USER | Code::FETCH),
        ];
        for (bit, touch, code) in narrowed {
            if bit == NX && mode == Mode::Legacy32 {
                continue;
            }
            let mut pc = Pc::new(mode);
            pc.map(VA, 12, PA | OPEN);
            let upper = pc.place(VA, shift);
            pc.poke(upper, pc.raw(upper) ^ bit);
            assert_eq!(touch(&mut pc, VA), pf(code, VA), "{mode:?}");
        }
    }
}

#[test]
fn p15_atomics_need_the_second_stage_to_allow_writes() {
    let mut pc = Pc::nested(Mode::Level4, npt(Mode::Level4));
    pc.map(VA, 12, PA | OPEN);
    pc.split2(PA, PA | P | U);
    assert_eq!(pc.read(VA), Ok(PA));
    let expected = Fault::NestedPage { info: 1 << 32 | 7, gpa: GuestAddr(PA), va: VirtAddr(VA) };
    // On a hit and on a miss alike.
    assert_eq!(pc.rmw(VA), Err(expected));
    pc.mmu.fence(Fence::InvpcidAll);
    assert_eq!(pc.rmw(VA), Err(expected));
}

#[test]
fn p15_the_cached_page_is_the_smaller_of_both_stages() {
    for second in [ept(), npt(Mode::Level4)] {
        let mut pc = Pc::nested(Mode::Level4, second);
        pc.map(VA, 21, PA | OPEN | PS);
        pc.split2(
            PA + 0x1000,
            (PA + 0x5000) | if matches!(second, Second::Ept(_)) { EPT_OPEN } else { OPEN },
        );
        assert_eq!(pc.read(VA), Ok(PA));
        assert_eq!(pc.read(VA + 0x1000), Ok(PA + 0x5000));
        assert_eq!(pc.read(VA + 0x2000), Ok(PA + 0x2000));
        // Small guest pages in a large host page as well.
        pc.map(0x60_0000, 12, 0x3ff_f000 | OPEN);
        pc.map(0x60_1000, 12, 0x12_3000 | OPEN);
        assert_eq!(pc.read(0x60_0ff0), Ok(0x3ff_fff0));
        assert_eq!(pc.read(0x60_1ff0), Ok(0x12_3ff0));
    }
}
