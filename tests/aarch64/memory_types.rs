//! Memory types: MAIR, stage 2's MemAttr, and what both come to.

use softmmu::access::AccessKind::Read;
use softmmu::arch::Arch;
use softmmu::arch::aarch64::{Cacheability, Config, MemoryType, Register, Shareability};

use crate::support::*;

const WRITE_BACK: Cacheability =
    Cacheability::WriteBack { read_allocate: true, write_allocate: true, transient: false };
const NORMAL: MemoryType = MemoryType::Normal {
    inner: WRITE_BACK,
    outer: WRITE_BACK,
    shareability: Shareability::InnerShareable,
    tagged: false,
};
const NON_CACHEABLE: MemoryType = MemoryType::Normal {
    inner: Cacheability::NonCacheable,
    outer: Cacheability::NonCacheable,
    shareability: Shareability::OuterShareable,
    tagged: false,
};

const fn device(gathering: bool, reordering: bool, early_ack: bool) -> MemoryType {
    MemoryType::Device { gathering, reordering, early_ack }
}

/// The type of a page whose MAIR attribute is `attr`, SH = `share`, with stage 2 MemAttr and SH if there is one.
fn of(attr: u64, share: u64, second: Option<(u64, u64)>, hcr: u64, sctlr: u64) -> MemoryType {
    let mut words = page(DATA | AF | 2 << 2 | share << 8).to_vec();
    if let Some((mem_attr, share)) = second {
        // The guest's tables and its page, each a gigabyte of stage 2.
        words.extend([
            (RAM + 0x8008, RAM | 1 | 3 << 6 | 0xf << 2 | AF),
            (RAM + 0x8010, RAM | 1 | 3 << 6 | mem_attr << 2 | share << 8 | AF),
        ]);
        words[2].1 = 0x8080_0000 | AF | 2 << 2 | (words[2].1 & 0x300) | 3;
    }
    let on = if second.is_some() { GUEST } else { 0 };
    let mut mmu = core(
        Config::FULL,
        &[
            (Register::MairEl1, attr << 16 | 0xff),
            (Register::HcrEl2, on | hcr),
            (Register::VtcrEl2, VTCR),
            (Register::VttbrEl2, RAM + 0x8000),
            (Register::SctlrEl1, sctlr),
        ],
        &words,
    );
    let entry = access(&mut mmu, Read, 0).expect("mapped");
    mmu.arch().memory_type(&entry)
}

#[test]
fn mair_says_what_memory_is() {
    assert_eq!(of(0xff, 3, None, 0, SCTLR), NORMAL);
    assert_eq!(
        of(0x44, 0, None, 0, SCTLR),
        NON_CACHEABLE,
        "Non-cacheable is Outer Shareable whatever SH says"
    );
    assert_eq!(of(0x00, 3, None, 0, SCTLR), device(false, false, false));
    assert_eq!(of(0x04, 0, None, 0, SCTLR), device(false, false, true));
    assert_eq!(of(0x08, 0, None, 0, SCTLR), device(false, true, true));
    assert_eq!(of(0x0c, 0, None, 0, SCTLR), device(true, true, true));
    let mixed = MemoryType::Normal {
        outer: Cacheability::WriteThrough { read_allocate: true, write_allocate: false, transient: false },
        inner: Cacheability::WriteBack { read_allocate: false, write_allocate: true, transient: true },
        shareability: Shareability::NonShareable,
        tagged: false,
    };
    assert_eq!(of(0xa5, 0, None, 0, SCTLR), mixed);
    let tagged = of(0xf0, 3, None, 0, SCTLR);
    assert!(matches!(tagged, MemoryType::Normal { tagged: true, inner: WRITE_BACK, .. }), "{tagged:?}");
    // SCTLR_EL1.C off: no data is cached; devices stay what they are.
    assert_eq!(of(0xff, 3, None, 0, SCTLR & !C), NON_CACHEABLE);
    assert_eq!(of(0x0c, 3, None, 0, SCTLR & !C), device(true, true, true));
}

#[test]
fn the_stricter_stage_wins() {
    // MemAttr 0b1111 is Write-Back, 0b0101 Non-cacheable, 0b00xx the Device types.
    assert_eq!(of(0xff, 3, Some((0xf, 3)), 0, SCTLR), NORMAL);
    assert_eq!(of(0xff, 3, Some((0x5, 3)), 0, SCTLR), NON_CACHEABLE);
    assert_eq!(of(0x44, 3, Some((0xf, 3)), 0, SCTLR), NON_CACHEABLE);
    assert_eq!(of(0x0c, 3, Some((0xf, 3)), 0, SCTLR), device(true, true, true));
    assert_eq!(of(0xff, 3, Some((0x1, 3)), 0, SCTLR), device(false, false, true));
    assert_eq!(of(0x0c, 3, Some((0x1, 3)), 0, SCTLR), device(false, false, true));
    assert_eq!(of(0x04, 3, Some((0x3, 3)), 0, SCTLR), device(false, false, true));
    // Write-Through at stage 2 weakens Write-Back; stage 1's allocation hints remain.
    let through = Cacheability::WriteThrough { read_allocate: true, write_allocate: true, transient: false };
    let weaker = of(0xff, 3, Some((0xa, 3)), 0, SCTLR);
    assert!(
        matches!(weaker, MemoryType::Normal { inner, outer, .. } if inner == through && outer == through)
    );
    // The wider shareability wins.
    for (first, second, both) in [
        (0, 0, Shareability::NonShareable),
        (0, 3, Shareability::InnerShareable),
        (3, 0, Shareability::InnerShareable),
        (3, 2, Shareability::OuterShareable),
        (2, 0, Shareability::OuterShareable),
    ] {
        let kind = of(0xff, first, Some((0xf, second)), 0, SCTLR);
        assert!(matches!(kind, MemoryType::Normal { shareability, .. } if shareability == both), "{kind:?}");
    }
    // HCR_EL2.CD: nothing is cached at stage 2.
    assert_eq!(of(0xff, 3, Some((0xf, 3)), 1 << 32, SCTLR), NON_CACHEABLE);
}

#[test]
fn forced_write_back_lets_stage_2_decide() {
    const FWB: u64 = 1 << 46;
    assert_eq!(of(0x44, 3, Some((6, 3)), FWB, SCTLR), NORMAL);
    assert_eq!(of(0x00, 3, Some((6, 3)), FWB, SCTLR), NORMAL);
    assert_eq!(of(0x08, 3, Some((7, 3)), FWB, SCTLR), device(false, true, true));
    assert_eq!(of(0xff, 3, Some((7, 3)), FWB, SCTLR), NORMAL);
    assert_eq!(of(0xff, 3, Some((5, 3)), FWB, SCTLR), NON_CACHEABLE);
    assert_eq!(of(0x08, 3, Some((5, 3)), FWB, SCTLR), device(false, true, true));
    assert_eq!(of(0xff, 3, Some((2, 3)), FWB, SCTLR), device(false, true, true));
    assert_eq!(of(0x00, 3, Some((3, 3)), FWB, SCTLR), device(true, true, true));
}

#[test]
fn memory_without_stage_1_is_a_device_unless_dc_says_otherwise() {
    let words = [(RAM + 0x8008, RAM | 1 | 3 << 6 | 0xf << 2 | AF | 3 << 8)];
    let registers = |hcr| {
        [
            (Register::SctlrEl1, 0x30d0_0800),
            (Register::HcrEl2, hcr),
            (Register::VtcrEl2, VTCR),
            (Register::VttbrEl2, RAM + 0x8000),
        ]
    };
    let mut mmu = core(Config::FULL, &registers(GUEST), &words);
    let entry = access(&mut mmu, Read, RAM + 0x100).expect("stage 2 maps it");
    assert_eq!(mmu.arch().memory_type(&entry), device(false, false, false));
    // HCR_EL2.DC turns stage 2 on by itself, and stage 1 off whatever SCTLR_EL1.M says.
    let mut mmu = core(Config::FULL, &registers(1 << 31 | 1 << 12), &words);
    set(&mut mmu, Register::SctlrEl1, SCTLR);
    let entry = access(&mut mmu, Read, RAM + 0x100).expect("stage 2 maps it");
    assert_eq!(mmu.arch().memory_type(&entry), NORMAL);
}
