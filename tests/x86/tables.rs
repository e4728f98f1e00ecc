//! Entries and tables as they are written: what the formats encode they decode, and what is mapped the MMU finds.

use std::collections::BTreeMap;

use proptest::prelude::*;
use softmmu::access::AccessKind;
use softmmu::addr::{PageSize, PhysAddr, VirtAddr, Vmid, low_mask};
use softmmu::arch::x86::{
    Config, Control, Ept, EptFormat, Fault, Flavor, Guest, Legacy32, LongMode, Mode, Npt, Pae, Second,
};
use softmmu::frame::{BitmapAllocator, BumpAllocator};
use softmmu::memory::PhysRange;
use softmmu::radix::{Encode, EncodeError, Entry, Format, Perms};
use softmmu::table::{EditError, PageTable, RadixTable};

use crate::support::*;

const RIGHTS: Perms = Perms::READ.union(Perms::WRITE).union(Perms::EXECUTE);

fn ept_format(config: &Config, marks: bool, mode_based_execute: bool) -> EptFormat {
    Ept { pointer: 6 | 3 << 3 | u64::from(marks) << 6, mode_based_execute }.format(config)
}

/// A processor: any width, each feature on or off.
fn config() -> impl Strategy<Value = Config> {
    (32..=52u8, any::<[bool; 5]>()).prop_map(
        |(maxphyaddr, [amd, page1gb, pse36, execute_only, ept_page1gb])| {
            let preset = if amd { Config::AMD } else { Config::INTEL };
            Config { maxphyaddr, page1gb, pse36, ept_execute_only: execute_only, ept_page1gb, ..preset }
        },
    )
}

/// Whether a format has entries with just these rights.
type Sayable = Box<dyn Fn(&Config, Perms) -> bool>;

/// What a format can say, in plain words.
struct Can {
    /// Bits of physical address, by level.
    width: fn(&Config, u32) -> u32,
    leaf: fn(&Config, u32) -> bool,
    perms: Sayable,
}

/// Encodes one leaf and one table and reads them back.
fn round_trip<F: Encode>(
    format: &F,
    can: &Can,
    config: &Config,
    level: u32,
    base: u64,
    perms: Perms,
    other: Perms,
) -> Result<(), TestCaseError> {
    let leaf = format.encode_leaf(PhysAddr(base), level, perms);
    let size = format.shift(level);
    let fits = base & low_mask(size) == 0 && base >> (can.width)(config, level) == 0;
    if !(can.leaf)(config, level) {
        prop_assert_eq!(leaf, Err(EncodeError::Level { level }));
    } else if !(can.perms)(config, perms) {
        let error = leaf.expect_err("rights that the format has not");
        prop_assert!(error == EncodeError::Perms { perms } || !fits, "{error}");
    } else if !fits {
        prop_assert_eq!(leaf, Err(EncodeError::Address { base: PhysAddr(base), level }));
    } else {
        let raw = leaf.expect("sayable");
        prop_assert_eq!(format.decode(raw, level), Entry::Leaf { base, size_bits: size }, "{:#x}", raw);
        prop_assert_eq!(format.perms(raw, level), perms);
        // Other rights leave the rest: software's own bits and, if it stays what it is, the memory type.
        let soft = raw | 1 << 11;
        match format.with_perms(soft, level, other) {
            Ok(changed) => {
                prop_assert!((can.perms)(config, other));
                prop_assert_eq!(format.perms(changed, level), other);
                prop_assert_eq!(format.decode(changed, level), Entry::Leaf { base, size_bits: size });
                prop_assert_eq!(format.with_perms(changed, level, perms), Ok(soft));
            }
            Err(error) => {
                prop_assert_eq!(error, EncodeError::Perms { perms: other });
                prop_assert!(!(can.perms)(config, other));
            }
        }
    }
    match format.encode_table(PhysAddr(base), level) {
        Ok(raw) => {
            prop_assert_eq!(format.decode(raw, level), Entry::Table(base), "{:#x}", raw);
            let initial = format.initial_limits();
            let narrowed = initial & !format.limits(initial, raw, level);
            // A fresh table narrows nothing but "all accessed so far" (bit 5, bit 8 in EPT).
            prop_assert_eq!(narrowed & !(1 << 5 | 1 << 8), 0);
        }
        Err(error) => {
            let address = EncodeError::Address { base: PhysAddr(base), level };
            let no_level = EncodeError::Level { level };
            prop_assert!(error == no_level || error == address);
            let top = level == 0 || level > format.top_level();
            prop_assert!(top || base & 0xfff != 0 || base >> (can.width)(config, 0) != 0, "{error}");
        }
    }
    Ok(())
}

fn ordinary(xd: bool) -> Sayable {
    Box::new(move |_, perms| perms.contains(Perms::READ) && (xd || perms.contains(Perms::EXECUTE)))
}

fn m(config: &Config, _: u32) -> u32 {
    u32::from(config.maxphyaddr)
}

fn base() -> impl Strategy<Value = u64> {
    // Mostly aligned and low enough.
    (any::<u64>(), 12..64u32, 0..40u32).prop_map(|(raw, down, up)| raw >> down.min(63) << up)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_is_decoded(
        config in config(), level in 0..6u32, base in base(),
        perms in any::<u16>().prop_map(Perms::from_bits_truncate), other in any::<u16>().prop_map(Perms::from_bits_truncate),
        [nxe, flag] in any::<[bool; 2]>(),
    ) {
        let long = Can { width: m, leaf: |c, level| level < 2 || level == 2 && c.page1gb, perms: ordinary(nxe) };
        round_trip(&LongMode::new(&config, nxe, flag), &long, &config, level, base, perms, other)?;
        let pae = Can { width: m, leaf: |_, level| level < 2, perms: ordinary(nxe) };
        round_trip(&Pae::in_memory(&config, nxe), &pae, &config, level.min(2), base, perms, other)?;
        round_trip(&Pae::below_registers(&config, nxe), &pae, &config, level.min(1), base, perms, other)?;
        let legacy = Can {
            width: |c, level| if level == 1 && c.pse36 { u32::from(c.maxphyaddr).min(40) } else { 32 },
            leaf: if flag { |_, level| level < 2 } else { |_, level| level == 0 },
            perms: ordinary(false),
        };
        round_trip(&Legacy32::new(&config, flag), &legacy, &config, level.min(1), base, perms, other)?;
        let ept = Can {
            width: m,
            leaf: |c, level| level < 2 || level == 2 && c.ept_page1gb,
            perms: Box::new(move |c, perms| {
                let rights = perms & RIGHTS;
                let readable = perms.contains(Perms::READ);
                let marks = nxe || !perms.intersects(Perms::ACCESSED | Perms::DIRTY);
                let rights = readable || rights == Perms::EXECUTE && c.ept_execute_only;
                rights && marks && perms.contains(Perms::USER) && !perms.contains(Perms::GLOBAL)
            }),
        };
        round_trip(&ept_format(&config, nxe, flag), &ept, &config, level.min(3), base, perms, other)?;
    }

    /// Whatever stands in memory, a leaf is aligned and no wider than the processor's addresses.
    #[test]
    fn any_entry_decodes_to_something_sound(config in config(), raw in any::<u64>(), level in 0..5u32, [nxe, flag] in any::<[bool; 2]>()) {
        fn check<F: Format>(format: &F, level: u32, raw: u64, width: u32) -> Result<(), TestCaseError> {
            match format.decode(raw, level) {
                Entry::Leaf { base, size_bits } => {
                    prop_assert_eq!(size_bits, format.shift(level));
                    prop_assert!(base & low_mask(size_bits) == 0 && base >> width == 0, "{:#x}", base);
                }
                Entry::Table(table) => prop_assert!(level > 0 && table & 0xfff == 0 && table >> width == 0),
                Entry::Absent | Entry::Reserved => {}
            }
            Ok(())
        }
        let width = u32::from(config.maxphyaddr);
        check(&LongMode::new(&config, nxe, true), level, raw, width)?;
        check(&Pae::in_memory(&config, nxe), level.min(2), raw, width)?;
        check(&ept_format(&config, nxe, flag), level.min(3), raw, width)?;
        check(&Legacy32::new(&config, flag), level.min(1), raw & 0xffff_ffff, if level == 0 { 32 } else { 40 })?;
    }
}

/// One mapping to make: index of a page size, place, target, rights.
type Wish = (usize, u64, u64, u16);

/// Maps `wishes` in a table, walks them with an MMU, and compares with a list of what was mapped.
fn mapped_is_found<F: Encode>(
    format: F,
    mode: Mode,
    second: bool,
    wishes: &[Wish],
) -> Result<(), TestCaseError> {
    let mut pc = Pc::new(Mode::Off);
    let range = PhysRange::new(PhysAddr(0x10_0000), 0x200_0000).expect("a range");
    let mut frames = BumpAllocator::new(range, PageSize::SIZE_4K);
    let mut table = RadixTable::new(format, pc.mmu.memory(), &mut frames).expect("room");
    let sizes: Vec<PageSize> = table.page_sizes().collect();
    let mut model: BTreeMap<u64, (PageSize, u64, Perms)> = BTreeMap::new();
    let top = match mode {
        Mode::Level5 => 57,
        Mode::Level4 => 48,
        _ => 32,
    };
    for &(size, va, pa, perms) in wishes {
        let size = sizes[size % sizes.len()];
        let fold = |x: u64, bits: u32| x & low_mask(bits) & !low_mask(size.bits());
        // Few enough places that they meet.
        let va = fold(va & 0x8000_0080_4060_7000_u64, top);
        let va = if second || mode == Mode::Pae || mode == Mode::Legacy32 || va >> (top - 1) == 0 {
            va
        } else {
            va | !low_mask(top)
        };
        let perms = Perms::from_bits_truncate(perms) - Perms::DEVICE
            | if second { Perms::USER } else { Perms::empty() };
        let pa = fold(pa, 32);
        let done = table.map(pc.mmu.memory(), &mut frames, VirtAddr(va), PhysAddr(pa), size, perms);
        match done {
            Ok(_) => drop(model.insert(va, (size, pa, perms))),
            Err(EditError::AlreadyMapped { .. } | EditError::TableInWay { .. } | EditError::Encode(_)) => {}
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
    let root = table.root().0;
    let registers = registers(if second { Mode::Off } else { mode });
    if second {
        let npt = self::registers(mode);
        let second = match mode {
            Mode::Off => Second::Ept(Ept { pointer: root | 6 | 3 << 3 | 1 << 6, mode_based_execute: false }),
            _ => Second::Npt(Npt { ncr3: root, cr4: npt.cr4, efer: npt.efer, pat: npt.pat }),
        };
        let guest = Some(Guest { vmid: Vmid(1), second: Some(second) });
        pc.set(Control::Enter { registers, guest, pdptes: None });
    } else {
        pc.set(Control::Load(softmmu::arch::x86::Registers { cr3: root, ..registers }));
    }
    for (&va, &(size, pa, perms)) in &model {
        for (kind, right) in [
            (AccessKind::Read, Perms::READ),
            (AccessKind::Write, Perms::WRITE),
            (AccessKind::Execute, Perms::EXECUTE),
        ] {
            // Without paging a guest address has 32 bits.
            if second && va >> 32 != 0 {
                continue;
            }
            pc.user();
            let last = va | low_mask(size.bits());
            let allowed = perms.contains(right | Perms::USER);
            prop_assert_eq!(
                pc.touch(kind, va, Flavor::Normal).ok(),
                allowed.then_some(pa),
                "{:?} {:#x} {:?}",
                kind,
                va,
                perms
            );
            let end = pa | low_mask(size.bits());
            prop_assert_eq!(pc.touch(kind, last, Flavor::Normal).ok(), allowed.then_some(end));
        }
        // Marks appear as the accesses made them.
        let found = table.translate(pc.mmu.memory(), VirtAddr(va)).expect("sound").expect("mapped");
        let used = perms.contains(Perms::USER) && (perms.intersects(RIGHTS)) && !(second && va >> 32 != 0);
        prop_assert_eq!(found.perms.contains(Perms::ACCESSED), used || perms.contains(Perms::ACCESSED));
        prop_assert_eq!(found.perms - Perms::ACCESSED - Perms::DIRTY, perms - Perms::ACCESSED - Perms::DIRTY);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_mapped_is_found(wishes in prop::collection::vec(any::<Wish>(), 1..40)) {
        let config = Config::INTEL;
        for five in [false, true] {
            let mode = if five { Mode::Level5 } else { Mode::Level4 };
            mapped_is_found(LongMode::new(&config, true, five), mode, false, &wishes)?;
            mapped_is_found(LongMode::new(&config, true, five), mode, true, &wishes)?;
        }
        for second in [false, true] {
            mapped_is_found(Pae::in_memory(&config, true), Mode::Pae, second, &wishes)?;
            mapped_is_found(Legacy32::new(&config, true), Mode::Legacy32, second, &wishes)?;
        }
        mapped_is_found(ept_format(&config, true, false), Mode::Off, true, &wishes)?;
    }
}

#[test]
fn a_kernel_edits_and_flushes_by_token() {
    let mut pc = Pc::new(Mode::Level4);
    let range = PhysRange::new(PhysAddr(0x200_0000), 0x100_0000).expect("a range");
    let mut frames = BitmapAllocator::new(range, PageSize::SIZE_4K).expect("frames");
    let format = LongMode::new(pc.mmu.arch().config(), true, false);
    let mut table = RadixTable::new(format, pc.mmu.memory(), &mut frames).expect("room");
    pc.set(Control::Cr3(table.root().0));
    let va = VirtAddr(0x40_0000);
    let fresh = table.map(pc.mmu.memory(), &mut frames, va, PhysAddr(0x80_0000), PageSize::SIZE_4K, RIGHTS);
    assert!(fresh.expect("room").is_nothing());
    assert_eq!(pc.write(va.0), Ok(0x80_0000));
    // Less than it had: the token names the page.
    let (_, flush) = table.protect(pc.mmu.memory(), va, Perms::READ | Perms::EXECUTE).expect("mapped");
    assert_eq!(pc.write(va.0), Ok(0x80_0000), "the TLB still holds it");
    let space = pc.mmu.arch().space();
    let mut scope = None;
    flush.apply(space, &mut frames, |s| scope = Some(*s)).expect("frames");
    pc.mmu.invalidate(&scope.expect("something is stale"));
    assert!(matches!(pc.write(va.0), Err(Fault::Page { .. })));
}
