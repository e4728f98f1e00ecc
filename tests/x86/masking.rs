//! Linear-address masking against the rule in words, bit by bit.

use softmmu::access::AccessKind;
use softmmu::addr::VirtAddr;
use softmmu::arch::x86::{Config, Control, Cr4, Fault, Flavor, Mode};

use crate::support::*;

const LAM: Config = Config { lam: true, ..Config::INTEL };
const U57: u64 = 1 << 61;
const U48: u64 = 1 << 62;

/// What `va` is without its tag, or `None` where it is not canonical: bits `62..=low` are ignored, and bit 63 must be
/// what the bit below them is.
fn bare(va: u64, low: Option<u32>, mode: Mode) -> Option<u64> {
    let mut bits: Vec<bool> = (0..64).map(|bit| va >> bit & 1 != 0).collect();
    if let Some(low) = low {
        let sign = bits[low as usize - 1];
        if bits[63] != sign {
            return None;
        }
        bits[low as usize..].fill(sign);
    }
    let top = mode.linear_bits() as usize - 1;
    let canonical = bits[top..].iter().all(|&bit| bit == bits[63]);
    canonical.then(|| bits.iter().rev().fold(0, |all, &bit| all << 1 | u64::from(bit)))
}

#[test]
fn tags_are_ignored_where_the_registers_say_so() {
    let places =
        [0x0000_1234_5678_9000, 0x00f5_1234_5678_9000, !0 << 20, !0 << 47, !0 << 56, 1 << 47, 1 << 50];
    let tags = (48..64).map(|bit| 1u64 << bit).chain([0, 0x7fff << 48, 0x3f << 57, 0x55 << 56]);
    let tags: Vec<u64> = tags.collect();
    for (mode, cr3, sup) in [Mode::Level4, Mode::Level5].into_iter().flat_map(|mode| {
        [0, U48, U57, U48 | U57].into_iter().flat_map(move |cr3| [false, true].map(|sup| (mode, cr3, sup)))
    }) {
        let mut pc = Pc::of(LAM, registers(mode));
        pc.set(Control::Cr3(0x1000 | cr3));
        pc.cr4(|cr4| if sup { cr4 | Cr4::LAM_SUP } else { cr4 });
        let user = if cr3 & U57 != 0 { Some(57) } else { (cr3 != 0).then_some(48) };
        let supervisor = sup.then_some(mode.linear_bits());
        for va in places.into_iter().flat_map(|place| tags.iter().map(move |tag| place ^ tag)) {
            let low = if va >> 63 == 0 { user } else { supervisor };
            let told = |fault: Result<u64, Fault>| match fault.expect_err("nothing is mapped") {
                Fault::Page { cr2, .. } => Some(cr2.0),
                Fault::GeneralProtection { va: named } => {
                    assert_eq!(named, VirtAddr(va));
                    None
                }
                other => panic!("{other}"),
            };
            let setting = format!("{va:#x}, {mode:?}, CR3 {cr3:#x}, LAM_SUP {sup}");
            assert_eq!(told(pc.read(va)), bare(va, low, mode), "{setting}");
            assert_eq!(told(pc.fetch(va)), bare(va, None, mode), "{setting}, a fetch");
            let implicit = pc.touch(AccessKind::Read, va, Flavor::ImplicitSupervisor);
            assert_eq!(told(implicit), bare(va, None, mode), "{setting}, implicit");
        }
    }
}

#[test]
fn a_tagged_pointer_reaches_what_the_plain_one_does() {
    let mut pc = Pc::of(LAM, registers(Mode::Level4));
    pc.map(0x40_0000, 12, 0x50_0000 | OPEN);
    let tagged = 0x40_0008 | 0x2a << 57;
    assert!(pc.read(tagged).is_err(), "off");
    pc.set(Control::Cr3(0x1000 | U57));
    assert_eq!(pc.read(0x40_0008), Ok(0x50_0008));
    assert!(pc.cached(tagged), "one translation for all tags");
    for round in 0..4u64 {
        pc.mmu.store(VirtAddr(tagged), round).expect("mapped");
        assert_eq!(pc.mmu.load::<u64>(VirtAddr(0x40_0008)), Ok(round));
        assert_eq!(pc.mmu.load::<u64>(VirtAddr(tagged)), Ok(round));
    }
    // What is turned off again is refused again, opened windows or not.
    pc.set(Control::Cr3(0x1000));
    assert!(pc.mmu.load::<u64>(VirtAddr(tagged)).is_err());
    // Nothing wraps out of the user's half.
    pc.set(Control::Cr3(0x1000 | U57));
    assert!(matches!(pc.mmu.load::<u64>(VirtAddr(0x2a << 57 | 0x7fff_ffff_fffc)), Err(error)
        if matches!(error.fault(), Some(Fault::GeneralProtection { .. }))));
}

#[test]
fn without_lam_cr3_refuses_its_bits() {
    let mut pc = Pc::new(Mode::Level4);
    for bit in [U48, U57] {
        assert_eq!(pc.try_set(Control::Cr3(0x1000 | bit)), Err(Fault::GeneralProtection { va: VirtAddr(0) }));
    }
    pc.cr4(|cr4| cr4 | Cr4::LAM_SUP);
    assert!(matches!(pc.read(1 << 63), Err(Fault::GeneralProtection { .. })));
}
