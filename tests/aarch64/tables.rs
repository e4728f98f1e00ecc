//! Descriptors and tables as they are written: what is encoded is decoded, and what is mapped the MMU finds.

use std::collections::BTreeMap;

use proptest::prelude::*;
use softmmu::access::{Access, AccessKind};
use softmmu::addr::{PageSize, PhysAddr, VirtAddr, low_mask};
use softmmu::arch::aarch64::{
    Aarch64, Config, Control, ExceptionLevel, Flavor, Granule, Register, Registers, Vmsa64, arm_level,
    engine_level,
};
use softmmu::frame::{BitmapAllocator, FrameAllocator};
use softmmu::memory::{PhysRange, Ram};
use softmmu::mmu::Mmu;
use softmmu::radix::{Encode, EncodeError, Entry, Format, Perms};
use softmmu::table::{PageTable, RadixTable};

use crate::support::at;

const GRANULES: [Granule; 3] = [Granule::K4, Granule::K16, Granule::K64];

/// The register values that set a table up, and the exception level that uses it.
#[derive(Clone, Copy, Debug)]
struct Setup {
    granule: Granule,
    txsz: u64,
    upper: bool,
    ips: u64,
    ds: bool,
    /// HA and HD.
    managed: bool,
    regime: ExceptionLevel,
    second: bool,
}

fn setup() -> impl Strategy<Value = Setup> {
    (0..3usize, 12..49u64, any::<[bool; 4]>(), 0..8u64, 0..3u8).prop_map(
        |(granule, txsz, [upper, ds, managed, second], ips, regime)| {
            let regime = [ExceptionLevel::El1, ExceptionLevel::El2, ExceptionLevel::El3][usize::from(regime)];
            let upper = upper && regime == ExceptionLevel::El1;
            let second = second && regime == ExceptionLevel::El1;
            Setup {
                granule: GRANULES[granule],
                txsz,
                upper: upper && !second,
                ips,
                ds,
                managed,
                regime,
                second,
            }
        },
    )
}

/// The format that the registers come to, if they come to one.
fn format(setup: &Setup) -> Option<Vmsa64> {
    let Setup { granule, txsz, ips, ds, managed, .. } = *setup;
    let (tg0, tg1) = match granule {
        Granule::K4 => (0, 2),
        Granule::K16 => (2, 1),
        Granule::K64 => (1, 3),
    };
    let (ds, both) = (u64::from(ds), if managed { 3 } else { 0 });
    let mut registers = Registers::default();
    let two = txsz | txsz << 16 | tg0 << 14 | tg1 << 30 | ips << 32 | both << 39 | ds << 59;
    let one = txsz | tg0 << 14 | ips << 16 | both << 21 | ds << 32;
    // The start level that a hypervisor would choose, as few levels as will do.
    let levels = (64 - txsz).saturating_sub(u64::from(granule.bits()) + 5) / u64::from(granule.stride());
    let (sl0, sl2) = match (granule, levels) {
        (Granule::K4, 0) => (3, 0),
        (Granule::K4, 4) => (0, 1),
        (Granule::K4, levels) => (levels - 1, 0),
        (_, levels) => (levels, 0),
    };
    for (register, value) in [
        (Register::SctlrEl1, 1),
        (Register::SctlrEl2, 1),
        (Register::SctlrEl3, 1),
        (Register::TcrEl1, two),
        (Register::TcrEl2, one),
        (Register::TcrEl3, one),
        (Register::HcrEl2, u64::from(setup.second)),
        (Register::VtcrEl2, one | sl0 << 6 | sl2 << 33),
    ] {
        registers.set(register, value);
    }
    let core = Aarch64::with_state(Config::FULL, registers, at(setup.regime));
    if setup.second { core.stage2_table() } else { core.stage1_table(setup.upper) }.map(|(format, _)| format)
}

/// Whether the format has entries with just these rights, in plain words.
fn sayable(setup: &Setup, perms: Perms) -> bool {
    let read = perms.contains(Perms::READ);
    let (user, global) = (perms.contains(Perms::USER), perms.contains(Perms::GLOBAL));
    if setup.second {
        user && !global
    } else if setup.regime == ExceptionLevel::El1 {
        read || user && perms.contains(Perms::EXECUTE) && !perms.contains(Perms::WRITE)
    } else {
        read && !user && global
    }
}

/// Whether a level holds leaves.
fn has_leaf(setup: &Setup, format: &Vmsa64, level: u32) -> bool {
    let highest = match setup.granule {
        Granule::K4 if setup.ds => 3,
        Granule::K4 => 2,
        Granule::K16 if setup.ds => 2,
        Granule::K16 => 1,
        Granule::K64 => 2,
    };
    level <= highest && level <= format.top_level()
}

fn some_perms() -> impl Strategy<Value = Perms> {
    any::<u16>().prop_map(Perms::from_bits_truncate)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_is_decoded(
        setup in setup(), level in 0..5u32, raw in any::<u64>(), down in 12..60u32, up in 0..40u32,
        perms in some_perms(), other in some_perms(),
    ) {
        let Some(format) = format(&setup) else { return Ok(()) };
        let base = raw >> down << up;
        let output = match (setup.ips, setup.ds || setup.granule == Granule::K64) {
            (6 | 7, true) => 52,
            (5..=7, _) => 48,
            (ips, _) => [32, 36, 40, 42, 44][ips as usize],
        };
        let size = format.shift(level);
        let fits = base & low_mask(size) == 0 && base >> output == 0;
        let leaf = format.encode_leaf(PhysAddr(base), level, perms);
        if !has_leaf(&setup, &format, level) {
            prop_assert_eq!(leaf, Err(EncodeError::Level { level }));
        } else if !sayable(&setup, perms) {
            prop_assert_eq!(leaf, Err(EncodeError::Perms { perms }));
        } else if !fits {
            prop_assert_eq!(leaf, Err(EncodeError::Address { base: PhysAddr(base), level }));
        } else {
            let leaf = leaf.expect("sayable");
            prop_assert_eq!(format.decode(leaf, level), Entry::Leaf { base, size_bits: size }, "{:#x}", leaf);
            prop_assert_eq!(format.perms(leaf, level), perms);
            // Other rights leave the rest: software's bits 58:56, GP and the contiguous hint.
            let kept = leaf | 7 << 56 | 1 << 52 | 1 << 50;
            match format.with_perms(kept, level, other) {
                Ok(changed) => {
                    prop_assert!(sayable(&setup, other));
                    prop_assert_eq!(format.perms(changed, level), other);
                    prop_assert_eq!(format.decode(changed, level), Entry::Leaf { base, size_bits: size });
                    prop_assert_eq!(format.with_perms(changed, level, perms), Ok(kept));
                }
                Err(error) => {
                    prop_assert_eq!(error, EncodeError::Perms { perms: other });
                    prop_assert!(!sayable(&setup, other));
                }
            }
        }
        let table = format.encode_table(PhysAddr(base), level);
        if level == 0 || level > format.top_level() {
            prop_assert_eq!(table, Err(EncodeError::Level { level }));
        } else if base & low_mask(setup.granule.bits()) != 0 || base >> output != 0 {
            prop_assert_eq!(table, Err(EncodeError::Address { base: PhysAddr(base), level }));
        } else {
            let table = table.expect("aligned and low enough");
            prop_assert_eq!(format.decode(table, level), Entry::Table(base));
            prop_assert_eq!(format.limits(format.initial_limits(), table, level), format.initial_limits());
        }
    }

    /// Whatever stands in memory: leaves are aligned, and no address is wider than the output size.
    #[test]
    fn nothing_decoded_is_out_of_bounds(setup in setup(), level in 0..5u32, raw in any::<u64>()) {
        let Some(format) = format(&setup) else { return Ok(()) };
        let level = level.min(format.top_level());
        match format.decode(raw, level) {
            Entry::Leaf { base, size_bits } => {
                prop_assert!(raw & 1 != 0 && base & low_mask(size_bits) == 0 && base >> 52 == 0);
                prop_assert!(has_leaf(&setup, &format, level));
            }
            Entry::Table(base) => {
                prop_assert!(raw & 3 == 3 && level > 0 && base & low_mask(setup.granule.bits()) == 0 && base >> 52 == 0);
            }
            Entry::Reserved => prop_assert!(raw & 1 != 0),
            Entry::Absent => {}
        }
    }
}

#[test]
fn levels_are_converted_both_ways() {
    for arm in -1..=3 {
        assert_eq!(arm_level(engine_level(arm)), arm);
    }
    assert_eq!((arm_level(0), arm_level(4)), (3, -1));
}

#[test]
fn formats_by_hand_are_what_registers_come_to() {
    for granule in GRANULES {
        for input_bits in 0..64 {
            let by_hand = Vmsa64::el1(granule, input_bits, false);
            let smallest = if granule == Granule::K64 { 17 } else { 16 };
            assert_eq!(by_hand.is_some(), (smallest..=48).contains(&input_bits));
            let Some(by_hand) = by_hand else { continue };
            let levels =
                (0..).find(|n| granule.bits() + n * granule.stride() >= input_bits).expect("few levels");
            assert_eq!(by_hand.start_level(), 4 - levels as i8, "{granule:?} {input_bits}");
            assert!(
                by_hand.translates(low_mask(input_bits)) && !by_hand.translates(low_mask(input_bits) + 1)
            );
            let upper = Vmsa64::el1(granule, input_bits, true).expect("the same sizes");
            assert!(upper.translates(!low_mask(input_bits)) && !upper.translates(0));
        }
    }
}

const RIGHTS: [Perms; 8] = [
    Perms::READ.union(Perms::ACCESSED),
    Perms::READ.union(Perms::WRITE).union(Perms::USER).union(Perms::ACCESSED).union(Perms::DIRTY),
    Perms::READ.union(Perms::EXECUTE).union(Perms::USER).union(Perms::ACCESSED).union(Perms::GLOBAL),
    Perms::READ.union(Perms::WRITE).union(Perms::EXECUTE).union(Perms::ACCESSED),
    Perms::EXECUTE.union(Perms::USER).union(Perms::ACCESSED),
    Perms::READ.union(Perms::WRITE),
    Perms::READ.union(Perms::WRITE).union(Perms::USER).union(Perms::ACCESSED),
    Perms::READ.union(Perms::USER).union(Perms::ACCESSED).union(Perms::DIRTY),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Pages of every size, mapped by the editor, are what the MMU finds, right by right.
    #[test]
    fn what_is_mapped_the_mmu_finds(
        granule in 0..3usize, input_bits in 30..49u32, upper in any::<bool>(),
        pages in proptest::collection::vec((any::<u64>(), 0..3u32, 0..8usize), 1..40),
    ) {
        let granule = GRANULES[granule];
        let format = Vmsa64::el1(granule, input_bits, upper).expect("sizes that can be");
        let (base, size) = (0x1_0000_0000, 0x400_0000);
        let ram = Ram::new(PhysAddr(base), size).expect("64 MiB");
        let frame = PageSize::from_bits(granule.bits()).expect("a granule");
        let range = PhysRange::new(PhysAddr(base), size).expect("in range");
        let mut frames = BitmapAllocator::new(range, frame).expect("frames");
        let mut table = RadixTable::new(format, &ram, &mut frames).expect("a root");
        let sizes: Vec<PageSize> = table.page_sizes().collect();
        let mut mapped = BTreeMap::new();
        for (number, (place, size, rights)) in pages.into_iter().enumerate() {
            let size = sizes[size as usize % sizes.len()];
            let half = if upper { !low_mask(input_bits) } else { 0 };
            // Few distinct places, so that pages of different sizes meet.
            let va = (half | place & low_mask(input_bits) & (0x7 << 45 | 0x3 << 30 | 0x3 << 25 | 0x3 << 21 | 0x7 << 12)) & !low_mask(size.bits());
            let pa = ((number as u64 + 1) << 40) & low_mask(48) & !low_mask(size.bits());
            if let Ok(flush) = table.map(&ram, &mut frames, VirtAddr(va), PhysAddr(pa), size, RIGHTS[rights]) {
                prop_assert!(flush.is_nothing());
                flush.forget();
                mapped.insert(va, (pa, size, RIGHTS[rights]));
            }
        }
        prop_assert!(!mapped.is_empty() && frames.free_frames() > 0);
        let (tg0, tg1) = match granule {
            Granule::K4 => (0, 2),
            Granule::K16 => (2, 1),
            Granule::K64 => (1, 3),
        };
        let txsz = u64::from(64 - input_bits);
        let mut registers = Registers::default();
        for (register, value) in [
            (Register::SctlrEl1, 1),
            (Register::TcrEl1, txsz | txsz << 16 | tg0 << 14 | tg1 << 30 | 5 << 32),
            (Register::Ttbr0El1, if upper { 0 } else { table.root().0 }),
            (Register::Ttbr1El1, if upper { table.root().0 } else { 0 }),
            (Register::MairEl1, 0xff),
        ] {
            registers.set(register, value);
        }
        let core = Aarch64::with_state(Config::FULL, registers, at(ExceptionLevel::El1));
        let mut mmu = Mmu::new(core, &ram, ());
        for (&va, &(pa, size, perms)) in &mapped {
            for offset in [0, size.bytes() - 8, size.bytes() / 2] {
                for el in [ExceptionLevel::El0, ExceptionLevel::El1] {
                    mmu.control(Control::Pstate(at(el))).expect("no change of PSTATE faults");
                    for kind in [AccessKind::Read, AccessKind::Write, AccessKind::Execute] {
                        let access = Access { va: VirtAddr(va + offset), len: 8, kind, flavor: Flavor::Ordinary };
                        let user = el == ExceptionLevel::El0;
                        let right = match kind {
                            AccessKind::Execute => Perms::EXECUTE,
                            AccessKind::Read => Perms::READ,
                            _ => Perms::WRITE,
                        };
                        // EL1 reads everything, executes what is not EL0's, and writes what can be written at all.
                        // Nobody manages dirty state here: a clean page takes no store.
                        let clean = kind == AccessKind::Write && !perms.contains(Perms::DIRTY);
                        let allowed = perms.contains(Perms::ACCESSED) && !clean && if user {
                            perms.contains(right | Perms::USER)
                        } else {
                            match kind {
                                AccessKind::Read => true,
                                AccessKind::Execute => perms.contains(right) && !perms.contains(Perms::USER),
                                _ => perms.contains(right),
                            }
                        };
                        let found = mmu.translate(&access).map(|done| done.pa);
                        if allowed {
                            prop_assert_eq!(found, Ok(PhysAddr(pa + offset)));
                        } else {
                            let fault = found.expect_err("a right that the page has not");
                            let softmmu::mmu::AccessError::Fault(fault) = fault else { panic!("{fault}") };
                            let level = arm_level((size.bits() - granule.bits()) / granule.stride()) as u8;
                            let base = if perms.contains(Perms::ACCESSED) { 0xc } else { 0x8 };
                            prop_assert_eq!(fault.fsc(), base | level);
                        }
                    }
                }
            }
        }
    }
}
