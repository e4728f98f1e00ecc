//! Reserved encodings and addresses.

use crate::prelude::*;

#[test]
fn p16_p17_reserved_encodings_are_refused() {
    let reserved = Code::PRESENT | Code::RESERVED;
    let check = |config: Config, mode: Mode, shift: u32, raw: u64, bad: bool| {
        let mut pc = Pc::of(config, registers(mode));
        pc.map(VA, shift, raw);
        let got = pc.read(VA);
        if bad {
            assert_eq!(got, pf(reserved, VA), "{mode:?}, 2^{shift}, {raw:#x}");
        } else {
            assert!(
                !matches!(got, Err(Fault::Page { code, .. }) if code == reserved),
                "{mode:?}, 2^{shift}, {raw:#x}"
            );
        }
    };
    let (intel, amd) = (Config::INTEL, Config::AMD);
    // Misaligned large pages; bit 12 is PAT.
    for bit in 13..21 {
        check(intel, Mode::Level4, 21, PA | OPEN | PS | 1 << bit, true);
        check(intel, Mode::Pae, 21, PA | OPEN | PS | 1 << bit, true);
    }
    for bit in 13..30 {
        check(intel, Mode::Level5, 30, OPEN | PS | 1 << bit, true);
    }
    check(intel, Mode::Level4, 21, PA | OPEN | PS | 1 << 12, false);
    check(Config { page1gb: false, ..intel }, Mode::Level4, 30, OPEN | PS, true);
    // PSE-36: the address grows into bits 13 to 20; the rest is reserved.
    for (maxphyaddr, first) in [(32, 13), (36, 17), (40, 21), (52, 21)] {
        for bit in 13..22 {
            check(
                Config { maxphyaddr, ..intel },
                Mode::Legacy32,
                22,
                PA | OPEN | PS | 1 << bit,
                bit >= first,
            );
            check(
                Config { maxphyaddr, pse36: false, ..intel },
                Mode::Legacy32,
                22,
                PA | OPEN | PS | 1 << bit,
                true,
            );
        }
    }
    // Upper tables: PS everywhere, bit 8 by vendor. A table entry may have D set.
    for shift in [39, 48] {
        check(intel, Mode::Level5, shift, 0x10_0000 | OPEN | PS, true);
        check(intel, Mode::Level5, shift, 0x10_0000 | OPEN | G, false);
        check(amd, Mode::Level5, shift, 0x10_0000 | OPEN | G, true);
        assert_eq!(amd.vendor, Vendor::Amd);
    }
    check(intel, Mode::Level4, 30, 0x10_0000 | OPEN | G | D, false);
    // XD where it is off.
    let mut pc = Pc::new(Mode::Level4);
    pc.map(VA, 12, PA | OPEN | NX);
    pc.set(Control::Efer(Efer::LME.bits()));
    assert_eq!(pc.read(VA), pf(reserved, VA));
}

#[test]
fn p18_high_address_bits_are_refused_not_masked() {
    for maxphyaddr in 32..=52u8 {
        let config = Config { maxphyaddr, ..Config::INTEL };
        for bit in 32..63 {
            for (mode, shift) in
                [(Mode::Level4, 12), (Mode::Level4, 30), (Mode::Level5, 48), (Mode::Pae, 12), (Mode::Pae, 21)]
            {
                let mut pc = Pc::of(config, registers(mode));
                let raw = if shift == 12 { PA } else { 0x20_0000 };
                pc.map(VA, shift, raw | OPEN | 1 << bit);
                let last = if mode == Mode::Pae { 62 } else { 51 };
                let reserved = (u32::from(maxphyaddr)..=last).contains(&bit);
                let refused = pf(Code::PRESENT | Code::RESERVED, VA);
                let addressed = bit < u32::from(maxphyaddr);
                if reserved {
                    assert_eq!(pc.read(VA), refused, "M={maxphyaddr} bit {bit} {mode:?} 2^{shift}");
                } else if shift == 12 {
                    let expected = if addressed { PA | 1 << bit } else { PA };
                    assert_eq!(pc.read(VA), Ok(expected), "M={maxphyaddr} bit {bit}");
                }
            }
        }
    }
}

#[test]
fn p19_canonical_form_is_the_modes() {
    for (mode, bits) in [(Mode::Level4, 48), (Mode::Level5, 57)] {
        let mut pc = Pc::new(mode);
        let edges =
            [(1 << (bits - 1)) - 1, 1 << (bits - 1), u64::MAX << (bits - 1), (u64::MAX << (bits - 1)) - 1];
        for (va, good) in edges.into_iter().zip([true, false, true, false]) {
            let fault = pc.read(va).expect_err("nothing is mapped");
            let not_canonical = Fault::GeneralProtection { va: VirtAddr(va) };
            assert_eq!(fault == not_canonical, !good, "{va:#x}");
            let through_stack = pc.touch(AccessKind::Read, va, Flavor::Stack);
            assert_eq!(through_stack == Err(Fault::Stack { va: VirtAddr(va) }), !good);
        }
        // An access whose last byte is not canonical, and one that wraps around the top.
        let last = (1 << (bits - 1)) - 4;
        let error = pc.mmu.load::<u64>(VirtAddr(last)).expect_err("not canonical");
        assert_eq!(error, AccessError::Fault(Fault::GeneralProtection { va: VirtAddr(last) }));
        pc.map(u64::MAX, 12, PA | OPEN);
        pc.map(0, 12, PA2 | OPEN);
        pc.mmu.store(VirtAddr(u64::MAX - 3), 0x1122_3344_5566_7788u64).expect("both are mapped");
        assert_eq!(get(pc.mmu.memory(), PA + 0xff8, 8) >> 32, 0x5566_7788);
        assert_eq!(get(pc.mmu.memory(), PA + 0x1000, 4), 0x1122_3344);
        // INVLPG of a non-canonical address is no operation, of the canonical one it drops the page.
        assert!(pc.cached(u64::MAX));
        pc.mmu.fence(Fence::Invlpg(VirtAddr(u64::MAX >> 1)));
        assert!(pc.cached(u64::MAX));
        pc.mmu.fence(Fence::Invlpg(VirtAddr(u64::MAX)));
        assert!(!pc.cached(u64::MAX));
    }
}

#[test]
fn p19_modes_without_a_high_half_use_32_bits() {
    for mode in [Mode::Off, Mode::Legacy32, Mode::Pae] {
        let mut pc = Pc::new(mode);
        if mode != Mode::Off {
            pc.map(PA, 12, PA | OPEN);
        }
        assert_eq!(pc.read(PA + 4), Ok(PA + 4));
        assert_eq!(pc.read(0xffff_ffff_0000_0000 | (PA + 4)), Ok(PA + 4), "{mode:?}");
    }
}

#[test]
fn p20_a_root_without_memory_is_a_bus_error() {
    for mode in PAGED {
        let mut pc = Pc::new(mode);
        let root = 0xf000_0000;
        let loaded = pc.mmu.control(Control::Cr3(root));
        let nothing = BusError::Unmapped { pa: PhysAddr(root) };
        if mode == Mode::Pae {
            assert_eq!(loaded, Err(AccessError::Bus(nothing)), "PDPTEs are loaded at once");
            assert_eq!(pc.mmu.arch().registers().cr3, 0x1000, "and CR3 stays");
            continue;
        }
        assert_eq!(loaded, Ok(()));
        let error = pc.mmu.load::<u8>(VirtAddr(0)).expect_err("no table");
        assert_eq!(error, AccessError::Bus(nothing), "{mode:?}");
    }
}

#[test]
fn p21_pdptes_are_those_loaded_with_cr3() {
    let mut pc = Pc::new(Mode::Pae);
    pc.map(VA, 12, PA | OPEN);
    let pdpte = pc.place(VA, 30);
    let (old, cr3) = (pc.raw(pdpte), pc.mmu.arch().registers().cr3);
    // Memory changes, the registers do not; not even INVLPG reloads them.
    pc.poke(pdpte, 0);
    pc.mmu.fence(Fence::Invlpg(VirtAddr(VA)));
    assert_eq!(pc.read(VA), Ok(PA));
    pc.set(Control::Cr3(cr3));
    assert_eq!(pc.read(VA), pf(Code::empty(), VA));
    // A bad one is refused and changes nothing: neither CR3, nor the registers, nor the TLB.
    pc.poke(pdpte, old);
    pc.set(Control::Cr3(cr3));
    assert_eq!(pc.read(VA), Ok(PA));
    for bad in [W, U, A, D, PS, G, NX, 1 << 52] {
        pc.poke(pdpte, old | bad);
        assert_eq!(
            pc.try_set(Control::Cr3(cr3 | 8)),
            Err(Fault::GeneralProtection { va: VirtAddr(0) }),
            "{bad:#x}"
        );
        assert_eq!(pc.mmu.arch().registers().cr3, cr3);
        assert!(pc.cached(VA));
        pc.mmu.fence(Fence::InvpcidAll);
        assert_eq!(pc.read(VA), Ok(PA));
    }
    // Not present, anything may stand there.
    pc.poke(pdpte, (old | W | NX) & !P);
    pc.set(Control::Cr3(cr3));
    assert_eq!(pc.read(VA), pf(Code::empty(), VA));
}

#[test]
fn p21_under_nested_paging_pdptes_are_read_on_each_walk() {
    let mut pc = Pc::nested(Mode::Pae, npt(Mode::Level4));
    pc.map(VA, 12, PA | OPEN);
    let pdpte = pc.place(VA, 30);
    let old = pc.raw(pdpte);
    assert_eq!(pc.read(VA), Ok(PA));
    pc.poke(pdpte, old | W);
    pc.set(Control::Cr3(0x1000));
    assert_eq!(pc.read(VA), pf(Code::PRESENT | Code::RESERVED, VA), "no #GP at MOV to CR3, #PF at use");
    pc.poke(pdpte, 0);
    assert_eq!(pc.read(VA), pf(Code::empty(), VA));
    pc.poke(pdpte, old);
    assert_eq!(pc.read(VA), Ok(PA));
    assert_eq!(pc.raw(pdpte), old, "a PDPTE gets no accessed bit");
    // With EPT they are registers, loaded through it.
    let mut pc = Pc::nested(Mode::Pae, ept());
    pc.map(VA, 12, PA | OPEN);
    pc.poke(pdpte, 0);
    assert_eq!(pc.read(VA), Ok(PA));
}
