//! Entries, against the manual's text put down once more, and against themselves.

use proptest::prelude::*;
use softmmu::addr::PhysAddr;
use softmmu::arch::riscv::{Config, Extensions, PteRules, Sv, Sv32, Sv39, Sv48, Sv57};
use softmmu::radix::{Encode, EncodeError, Entry, Format, Perms};

const SSE: u64 = 1 << 3;
const PBMTE: u64 = 1 << 62;

/// What an entry of a machine is, read field by field in the order of "Virtual Address Translation Process".
fn by_the_book(raw: u64, level: u32, rv32: bool, ext: Extensions, pbmte: bool, shadow: bool) -> Entry {
    let bit = |n: u32| raw >> n & 1 == 1;
    let field = |high: u32, low: u32| raw >> low & ((1 << (high - low + 1)) - 1);
    let (v, r, w, x) = (bit(0), bit(1), bit(2), bit(3));
    let marked = bit(4) || bit(6) || bit(7);
    let ppn = if rv32 { field(31, 10) } else { field(53, 10) };
    let (n, pbmt) = if rv32 { (false, 0) } else { (bit(63), field(62, 61)) };
    // Step 3.
    if !v {
        return Entry::Absent;
    }
    if !r && w && (x || !shadow) {
        return Entry::Reserved;
    }
    if !rv32 {
        let software = if ext.contains(Extensions::SVRSW60T59B) { 0 } else { field(60, 59) };
        if field(58, 54) != 0 || software != 0 {
            return Entry::Reserved;
        }
        if n && !ext.contains(Extensions::SVNAPOT) || pbmt != 0 && !pbmte || pbmt == 3 {
            return Entry::Reserved;
        }
    }
    // Step 4.
    if !r && !w && !x {
        let leaf_only = marked || n || pbmt != 0;
        return if leaf_only || level == 0 { Entry::Reserved } else { Entry::Table(ppn << 12) };
    }
    // Svnapot.
    if n {
        return if level == 0 && ppn & 0xf == 0b1000 {
            Entry::Leaf { base: (ppn >> 4) << 16, size_bits: 16 }
        } else {
            Entry::Reserved
        };
    }
    // Step 6.
    let below = level * if rv32 { 10 } else { 9 };
    if ppn & ((1 << below) - 1) != 0 {
        return Entry::Reserved;
    }
    Entry::Leaf { base: ppn << 12, size_bits: 12 + below }
}

/// Raw entries that mean something now and then.
fn raw() -> impl Strategy<Value = u64> {
    let flags = 0u64..0x400;
    let ppn = prop_oneof![
        Just(0u64),
        any::<u64>(),
        any::<u64>().prop_map(|n| n << 9),
        any::<u64>().prop_map(|n| n << 18),
        any::<u64>().prop_map(|n| n << 4 | 8),
    ];
    let high = prop_oneof![
        4 => Just(0u64),
        1 => (54u32..64).prop_map(|n| 1 << n),
        1 => any::<u64>().prop_map(|n| n << 54),
    ];
    (flags, ppn, high).prop_map(|(flags, ppn, high)| flags | (ppn & ((1 << 44) - 1)) << 10 | high)
}

fn rules(ext: Extensions, pbmte: bool, shadow: bool) -> PteRules {
    let config = Config { extensions: ext, ..Config::rv64() };
    PteRules::new(&config, if pbmte { PBMTE } else { 0 } | if shadow { SSE } else { 0 }, true)
}

/// What table walks do with a pointer at level 0 is theirs to say; by the book it is reserved.
fn walked(entry: Entry, level: u32) -> Entry {
    if level == 0 && matches!(entry, Entry::Table(_)) { Entry::Reserved } else { entry }
}

const RIGHTS: [Perms; 5] =
    [Perms::READ, Perms::WRITE, Perms::EXECUTE, Perms::READ.union(Perms::WRITE), Perms::empty()];

fn perms() -> impl Strategy<Value = Perms> {
    any::<u16>().prop_map(Perms::from_bits_truncate)
}

/// A leaf comes back as what it was made from, or was refused for a reason.
fn round_trip<const L: u32, const W: u32>(base: u64, level: u32, perms: Perms) -> Result<(), TestCaseError> {
    let format = Sv::<L, W>::new(rules(Config::rv64().extensions, true, false));
    let index_bits = if L == 2 { 10 } else { 9 };
    let width = if L == 2 { 34 } else { 56 };
    let readable = perms.intersects(Perms::READ | Perms::EXECUTE)
        && perms & (Perms::READ | Perms::WRITE) != Perms::WRITE
        && !(W != 0 && perms.contains(Perms::GLOBAL))
        && !(L == 2 && perms.contains(Perms::DEVICE));
    match format.encode_leaf(PhysAddr(base), level, perms) {
        Ok(raw) => {
            prop_assert!(readable && level < L && base >> width == 0);
            let size_bits = 12 + level * index_bits;
            prop_assert_eq!(format.decode(raw, level), Entry::Leaf { base, size_bits });
            prop_assert_eq!(format.perms(raw, level), perms);
            // Other rights on the same page keep what is not a right.
            let marked = raw | 3 << 8;
            for other in RIGHTS {
                match format.with_perms(marked, level, other) {
                    Ok(changed) => {
                        prop_assert_eq!(format.perms(changed, level), other);
                        prop_assert_eq!(format.decode(changed, level), Entry::Leaf { base, size_bits });
                        prop_assert_eq!(changed >> 8 & 3, 3);
                    }
                    Err(error) => prop_assert_eq!(error, EncodeError::Perms { perms: other }),
                }
            }
        }
        Err(EncodeError::Level { .. }) => prop_assert!(level >= L),
        Err(EncodeError::Perms { .. }) => prop_assert!(!readable),
        Err(EncodeError::Address { .. }) => {
            let aligned = base & ((1 << (12 + level * index_bits)) - 1) == 0;
            prop_assert!(base >> width != 0 || !aligned);
        }
        Err(other) => prop_assert!(false, "{other}"),
    }
    match format.encode_table(PhysAddr(base), level) {
        Ok(raw) => prop_assert_eq!(format.decode(raw, level), Entry::Table(base)),
        Err(EncodeError::Level { .. }) => prop_assert!(level == 0 || level >= L),
        Err(_) => prop_assert!(base >> width != 0 || base & 0xfff != 0),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn entries_are_read_by_the_book(
        raw in raw(), level in 0u32..5, ext in any::<u16>(), pbmte: bool, shadow: bool,
    ) {
        let ext = Extensions::from_bits_truncate(ext);
        let pbmte = pbmte && ext.contains(Extensions::SVPBMT);
        let shadow = shadow && ext.contains(Extensions::ZICFISS);
        let expected = by_the_book(raw, level, false, ext, pbmte, shadow);
        let rules = rules(ext, pbmte, shadow);
        prop_assert_eq!(walked(Sv57::new(rules).decode(raw, level), level), expected);
        if level < 4 {
            prop_assert_eq!(walked(Sv48::new(rules).decode(raw, level), level), expected);
        }
        if level < 3 {
            prop_assert_eq!(walked(Sv39::new(rules).decode(raw, level), level), expected);
        }
    }

    #[test]
    fn four_byte_entries_are_read_by_the_book(raw: u32, level in 0u32..2, shadow: bool) {
        let raw = u64::from(raw);
        let ext = if shadow { Extensions::ZICFISS } else { Extensions::empty() };
        let config = Config { extensions: ext, ..Config::rv32() };
        let format = Sv32::new(PteRules::new(&config, SSE, true));
        let expected = by_the_book(raw, level, true, ext, false, shadow);
        prop_assert_eq!(walked(format.decode(raw, level), level), expected);
    }

    #[test]
    fn what_is_written_is_read(base: u64, shift in 0u32..64, level in 0u32..6, perms in perms()) {
        let base = base >> shift & !0xfff;
        for base in [base, base & !((1 << 21) - 1), base & !((1 << 30) - 1), base & !((1 << 22) - 1)] {
            round_trip::<2, 0>(base, level, perms)?;
            round_trip::<3, 0>(base, level, perms)?;
            round_trip::<4, 0>(base, level, perms)?;
            round_trip::<5, 0>(base, level, perms)?;
            round_trip::<2, 2>(base, level, perms)?;
            round_trip::<3, 2>(base, level, perms)?;
            round_trip::<4, 2>(base, level, perms)?;
            round_trip::<5, 2>(base, level, perms)?;
        }
    }
}

#[test]
fn napot_entries_are_written_for_64_kib_alone() {
    let format = Sv39::default();
    let perms = Perms::READ | Perms::ACCESSED;
    let raw = format.encode_napot(PhysAddr(0x8123_0000), perms).expect("64 KiB");
    assert_eq!(format.decode(raw, 0), Entry::Leaf { base: 0x8123_0000, size_bits: 16 });
    assert_eq!(format.decode(raw, 1), Entry::Reserved);
    assert_eq!(format.perms(raw, 0), perms);
    let base = PhysAddr(0x8123_1000);
    assert_eq!(format.encode_napot(base, perms), Err(EncodeError::Address { base, level: 0 }));
    let without = Sv39::new(rules(Extensions::empty(), false, false));
    assert_eq!(without.encode_napot(PhysAddr(0), perms), Err(EncodeError::Level { level: 0 }));
}

#[test]
fn addresses_that_each_mode_translates() {
    fn edges<const L: u32, const W: u32>(inside: &[u64], outside: &[u64]) {
        let format = Sv::<L, W>::default();
        inside.iter().for_each(|&va| assert!(format.translates(va), "{L} levels: {va:#x}"));
        outside.iter().for_each(|&va| assert!(!format.translates(va), "{L} levels: {va:#x}"));
    }
    edges::<2, 0>(&[0, 0xffff_ffff], &[1 << 32, !0]);
    edges::<3, 0>(&[0, (1 << 38) - 1, !0 << 38, !0], &[1 << 38, (!0 << 38) - 1, 1 << 63]);
    edges::<4, 0>(&[0, (1 << 47) - 1, !0 << 47, !0], &[1 << 47, (!0 << 47) - 1, 1 << 63]);
    edges::<5, 0>(&[0, (1 << 56) - 1, !0 << 56, !0], &[1 << 56, (!0 << 56) - 1, 1 << 63]);
    edges::<2, 2>(&[0, (1 << 34) - 1], &[1 << 34, !0]);
    edges::<3, 2>(&[0, (1 << 41) - 1], &[1 << 41, !0]);
    edges::<4, 2>(&[0, (1 << 50) - 1], &[1 << 50, !0]);
    edges::<5, 2>(&[0, (1 << 59) - 1], &[1 << 59, !0]);
}
