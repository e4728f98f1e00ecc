//! The regimes, and which accesses use which.

use softmmu::access::AccessKind::{Execute, Read, Write};
use softmmu::addr::Asid;
use softmmu::arch::aarch64::{
    Config, Control, ExceptionLevel, Features, RegimeKind, Register, Tlbi, TlbiTarget,
};

use crate::support::*;

const E2H: u64 = 1 << 34;
const TGE: u64 = 1 << 27;

fn enter(mmu: &mut Core, el: ExceptionLevel) -> RegimeKind {
    mmu.control(Control::Pstate(at(el))).expect("no change of PSTATE faults");
    mmu.arch().regime()
}

#[test]
fn the_exception_level_selects_the_regime() {
    use ExceptionLevel::{El0, El1, El2, El3};
    for (hcr, regimes) in [
        (0, [RegimeKind::El10, RegimeKind::El10, RegimeKind::El2, RegimeKind::El3]),
        (E2H, [RegimeKind::El10, RegimeKind::El10, RegimeKind::El20, RegimeKind::El3]),
        (E2H | TGE, [RegimeKind::El20, RegimeKind::El10, RegimeKind::El20, RegimeKind::El3]),
    ] {
        let mut mmu = core(Config::FULL, &[(Register::HcrEl2, hcr)], &[]);
        assert_eq!([El0, El1, El2, El3].map(|el| enter(&mut mmu, el)), regimes, "HCR_EL2 {hcr:#x}");
    }
    // Without VHE, E2H does nothing; without EL2, nothing of HCR_EL2 does.
    let mut mmu = core(Config::CORTEX_A53, &[(Register::HcrEl2, E2H | TGE)], &[]);
    assert_eq!(enter(&mut mmu, El2), RegimeKind::El2);
    let features = Config::FULL.features - Features::EL2;
    let alone = Config { features, ..Config::FULL };
    let mut mmu = core(alone, &[(Register::HcrEl2, 1 | 1 << 12)], &page(DATA | AF));
    assert_eq!(lands(&mut mmu, Read, 8), Ok(DATA + 8));
}

#[test]
fn el3_has_tables_of_its_own() {
    let words = page(DATA | AF | 1 << 6);
    let registers = [
        (Register::SctlrEl3, 0x30c5_0805),
        (Register::TcrEl3, 25 | 5 << 16),
        (Register::Ttbr0El3, RAM),
        (Register::MairEl3, 0xff),
    ];
    let mut mmu = core(Config::FULL, &registers, &words);
    enter(&mut mmu, ExceptionLevel::El3);
    for kind in [Read, Write, Execute] {
        assert_eq!(lands(&mut mmu, kind, 8), Ok(DATA + 8));
    }
    assert_eq!(lands(&mut mmu, Read, !0xfff), Err(4), "there is no upper half");
    let fault = access(&mut mmu, Read, 0x5000).expect_err("nothing is mapped");
    assert_eq!((fault.target, fault.esr() >> 26), (ExceptionLevel::El3, 0x25));
    // Its own maintenance, and nobody else's.
    let walks = |mmu: &mut Core| {
        let before = mmu.stats().walks;
        access(mmu, Read, 8).expect("mapped");
        mmu.stats().walks - before
    };
    for regime in [RegimeKind::El10, RegimeKind::El2, RegimeKind::El20] {
        mmu.fence(Tlbi { regime, target: TlbiTarget::All });
        assert_eq!(walks(&mut mmu), 0, "{regime:?}");
    }
    mmu.fence(Tlbi::page(RegimeKind::El3, 0, None, false));
    assert_eq!(walks(&mut mmu), 1);
    mmu.fence(Tlbi { regime: RegimeKind::El3, target: TlbiTarget::All });
    assert_eq!(walks(&mut mmu), 1);
}

#[test]
fn a_host_and_its_guest_do_not_see_each_others_translations() {
    // The same virtual page in EL2&0 and in EL1&0, with the same ASID.
    let words = [
        page(DATA | AF | 1 << 11),
        page((DATA + 0x1000) | AF | 1 << 11)
            .map(|(pa, word)| (pa + 0x4000, if word & 0xff_f000 < 0x80_0000 { word + 0x4000 } else { word })),
    ];
    let registers = [
        (Register::HcrEl2, E2H),
        (Register::SctlrEl2, SCTLR),
        (Register::TcrEl2, TCR),
        (Register::Ttbr0El2, RAM + 0x4000),
        (Register::MairEl2, 0xff),
        (Register::MairEl1, 0xff),
    ];
    let mut mmu = core(Config::FULL, &registers, words.as_flattened());
    for _ in 0..2 {
        enter(&mut mmu, ExceptionLevel::El1);
        assert_eq!(lands(&mut mmu, Read, 8), Ok(DATA + 8));
        enter(&mut mmu, ExceptionLevel::El2);
        assert_eq!(lands(&mut mmu, Read, 8), Ok(DATA + 0x1008));
    }
    assert_eq!(mmu.stats().walks, 2);
    mmu.fence(Tlbi { regime: RegimeKind::El20, target: TlbiTarget::Asid(Asid(0)) });
    assert_eq!(lands(&mut mmu, Read, 8), Ok(DATA + 0x1008));
    assert_eq!(mmu.stats().walks, 3);
    enter(&mut mmu, ExceptionLevel::El1);
    assert_eq!(lands(&mut mmu, Read, 8), Ok(DATA + 8));
    assert_eq!(mmu.stats().walks, 3);
}

#[test]
fn tge_turns_a_guests_translation_off() {
    // HCR_EL2.TGE without E2H: EL0 runs untranslated, and its aborts go to EL2.
    let mut mmu = core(Config::FULL, &[(Register::HcrEl2, TGE | 1)], &page(DATA | AF | 1 << 6));
    enter(&mut mmu, ExceptionLevel::El0);
    assert_eq!(lands(&mut mmu, Read, DATA), Ok(DATA));
    let fault = access(&mut mmu, Read, 1 << 52).expect_err("beyond physical addresses");
    assert_eq!((fault.fsc(), fault.target), (0, ExceptionLevel::El2));
}

#[test]
fn without_any_translation_addresses_are_physical() {
    let mut mmu = core(Config::CORTEX_A72, &[(Register::SctlrEl1, 0)], &[]);
    assert_eq!(lands(&mut mmu, Write, DATA + 8), Ok(DATA + 8));
    assert_eq!(mmu.stats().bare, 1);
    assert_eq!(lands(&mut mmu, Read, 1 << 44), Err(0), "44 bits are an address size fault of level 0");
    // TBI0 lets the top byte be.
    set(&mut mmu, Register::TcrEl1, TCR | 1 << 37);
    assert_eq!(lands(&mut mmu, Read, 0x12 << 56 | 0x1000), Ok(0x1000));
}

#[test]
fn encoded_invalidations_are_what_they_name() {
    use softmmu::arch::aarch64::Granule;
    let decode = |hcr, op1, crm, op2, operand| {
        let mmu = core(Config::FULL, &[(Register::HcrEl2, hcr), (Register::TcrEl1, TCR | 1 << 36)], &[]);
        Tlbi::decode(mmu.arch(), op1, crm, op2, operand)
    };
    let all = |regime, target| Some(Tlbi { regime, target });
    let (el10, el20) = (RegimeKind::El10, RegimeKind::El20);
    // VMALLE1, ALLE1IS, VMALLS12E1OS, ALLE2, ALLE3.
    assert_eq!(decode(0, 0, 7, 0, 0), all(el10, TlbiTarget::All));
    assert_eq!(decode(0, 4, 3, 4, 0), all(el10, TlbiTarget::AllVmids));
    assert_eq!(decode(0, 4, 1, 6, 0), all(el10, TlbiTarget::All));
    assert_eq!(decode(0, 4, 7, 0, 0), all(RegimeKind::El2, TlbiTarget::All));
    assert_eq!(decode(0, 6, 7, 0, 0), all(RegimeKind::El3, TlbiTarget::All));
    // The ..E1 names act on EL2&0 under E2H and TGE.
    assert_eq!(decode(E2H | TGE, 0, 7, 0, 0), all(el20, TlbiTarget::All));
    assert_eq!(decode(E2H, 0, 7, 0, 0), all(el10, TlbiTarget::All));
    assert_eq!(decode(E2H, 4, 7, 0, 0), all(el20, TlbiTarget::All));
    // ASIDE1; VAE1 and VAALE1IS of an address in the upper half.
    assert_eq!(decode(0, 0, 7, 2, 0x1234 << 48), all(el10, TlbiTarget::Asid(Asid(0x1234))));
    let operand = 0x1234 << 48 | 0xfff_ffff_f123;
    let va = 0xffff_ffff_ff12_3000;
    assert_eq!(decode(0, 0, 7, 1, operand), Some(Tlbi::page(el10, va, Some(Asid(0x1234)), false)));
    assert_eq!(decode(0, 0, 3, 7, operand), Some(Tlbi::page(el10, va, None, true)));
    // RVAE1 and RIPAS2LE1: 12 pages of 16 KiB from BaseADDR 5.
    let operand = 7 << 48 | 2 << 46 | 5 << 39 | 5;
    let range = Tlbi::pages(el10, 5 << 14, 12, Granule::K16, Some(Asid(7)), false);
    assert_eq!(decode(0, 0, 6, 1, operand), Some(range));
    assert_eq!(decode(0, 4, 4, 6, operand), Some(Tlbi::intermediate(5 << 14, 12, Granule::K16, true)));
    assert_eq!(decode(0, 4, 4, 1, 5), Some(Tlbi::intermediate(5 << 12, 1, Granule::K4, false)));
    // A reserved granule, encodings without a meaning.
    assert_eq!(decode(0, 0, 6, 1, 5 << 39), None);
    assert_eq!([decode(0, 0, 7, 4, 0), decode(0, 3, 7, 0, 0), decode(0, 6, 7, 2, 0)], [None; 3]);
}

/// LDTR and STTR are EL0's at EL1, and at EL2 only while `HCR_EL2.{E2H,TGE}` are both set (C6.2, LDTR).
#[test]
fn unprivileged_accesses_are_el0s_where_the_level_has_an_el0() {
    use softmmu::access::Access;
    use softmmu::addr::VirtAddr;
    use softmmu::arch::aarch64::Flavor;
    // A page that EL0 may not use.
    for (hcr, el, as_el0) in [
        (0, ExceptionLevel::El1, true),
        (E2H, ExceptionLevel::El1, true),
        (E2H | TGE, ExceptionLevel::El2, true),
        (E2H, ExceptionLevel::El2, false),
        (0, ExceptionLevel::El2, false),
    ] {
        let registers = [
            (Register::HcrEl2, hcr),
            (Register::SctlrEl2, SCTLR),
            (Register::TcrEl2, if hcr & E2H != 0 { TCR } else { 25 | 5 << 16 }),
            (Register::Ttbr0El2, RAM),
        ];
        let mut mmu = core(Config::FULL, &registers, &page(DATA | AF));
        enter(&mut mmu, el);
        let access = Access { va: VirtAddr(8), len: 8, kind: Read, flavor: Flavor::Unprivileged };
        assert_eq!(mmu.translate(&access).is_err(), as_el0, "{el:?}, HCR_EL2 {hcr:#x}");
    }
}
