//! Identification registers.

use softmmu::access::AccessKind::{Execute, Read, Write};
use softmmu::arch::aarch64::{Config, Features, IdRegisters, Register, Tlbi, UnsupportedCore};

use crate::support::*;

#[test]
fn id_registers_say_what_a_core_has() {
    // Cortex-A72's and Neoverse N1's, from their technical reference manuals.
    let a72 = IdRegisters { mmfr0: 0x1124, ..IdRegisters::default() };
    let read = Config::from_id_registers(&a72).expect("a real core");
    assert_eq!((read.features, read.pa_bits), (Config::CORTEX_A72.features, 44));
    let n1 = IdRegisters { mmfr0: 0x10_1125, mmfr1: 0x1021_2122, mmfr2: 0x1011, mmfr3: 0 };
    let read = Config::from_id_registers(&n1).expect("a real core");
    assert_eq!((read.features, read.pa_bits), (Config::NEOVERSE_N1.features, 48));
    // Everything.
    let full = IdRegisters {
        mmfr0: 0x0332_1020_1126 & !(0xf << 36) | 2 << 36 | 1 << 28 | 2 << 20 | 3 << 32 | 3 << 40,
        mmfr1: 0x1031_2122 | 0x1000_0000,
        mmfr2: 1 << 60 | 1 << 40 | 1 << 28 | 1 << 16 | 1 << 4,
        mmfr3: 0,
    };
    assert_eq!(Config::from_id_registers(&full), Ok(Config::FULL));
}

#[test]
fn what_is_not_emulated_is_refused_by_name() {
    let with = |mmfr0, mmfr3| {
        Config::from_id_registers(&IdRegisters { mmfr0, mmfr3, ..IdRegisters::default() })
            .expect_err("refused")
    };
    assert_eq!(with(0x1127, 0), UnsupportedCore::PaRange { value: 7 });
    for (low, name) in
        [(8, "FEAT_S1PIE"), (12, "FEAT_S2PIE"), (16, "FEAT_S1POE"), (20, "FEAT_S2POE"), (32, "FEAT_D128")]
    {
        let error = with(0x1124, 1 << low);
        assert_eq!(error, UnsupportedCore::Feature { feature: name, mmfr3: 1 << low });
        assert!(error.to_string().starts_with(name), "{error}");
    }
}

#[test]
fn bits_of_absent_features_do_nothing() {
    // Armv8.0: no HA, HD, PAN, HPD, E0PD; 8-bit VMIDs; T0SZ up to 39.
    let all = 1 << 39 | 1 << 40 | 1 << 41 | 1 << 55;
    let mut mmu = core(Config::CORTEX_A72, &[(Register::TcrEl1, TCR | all)], &page(DATA));
    assert_eq!(lands(&mut mmu, Read, 0), Err(0xb));
    let mut words = page(DATA | AF | 1 << 6);
    words[0].1 |= 1 << 62;
    let mut mmu = core(Config::CORTEX_A72, &[(Register::TcrEl1, TCR | all)], &words);
    assert_eq!(lands(&mut mmu, Write, 0), Err(0xf), "APTable binds: there is no HPD");
    assert_eq!(lands(&mut mmu, Execute, 0), Ok(DATA));
    let mut mmu = core(Config::CORTEX_A72, &[(Register::TcrEl1, TCR & !0x3f | 40)], &page(DATA | AF));
    assert_eq!(lands(&mut mmu, Read, 0), Err(4));
    // A granule that the core does not have acts as one that it has: 16 KiB as 4 KiB.
    let mut mmu = core(Config::CORTEX_A72, &[(Register::TcrEl1, TCR | 2 << 14)], &page(DATA | AF));
    assert_eq!(lands(&mut mmu, Read, 0x8), Ok(DATA + 8));
    // 44 bits of physical address, whatever IPS says.
    let mut mmu = core(Config::CORTEX_A72, &[(Register::TcrEl1, TCR)], &page(1 << 44 | AF));
    assert_eq!(lands(&mut mmu, Read, 0), Err(3));
    assert!(!Config::CORTEX_A72.has(Features::VHE));
}

#[test]
fn range_operands_name_their_pages() {
    // (NUM + 1) * 2^(5*SCALE + 1).
    assert_eq!(Tlbi::range_pages(0), 2);
    assert_eq!(Tlbi::range_pages(5 << 39), 12);
    assert_eq!(Tlbi::range_pages(31 << 39 | 3 << 44), 32 << 16);
}
