//! Every refusal of a description, and what a sound one encodes.

use alloc::vec;

use super::{Bit, Config, ConfigError, Leaves};
use crate::addr::PhysAddr;
use crate::radix::{Encode, EncodeError, Entry, Format, Perms};

fn sound() -> Config {
    Config::two_level_32()
}

fn refused(config: Config) -> ConfigError {
    config.build().expect_err("makes no sense")
}

#[test]
fn refusals_name_the_value() {
    use ConfigError as E;
    for bytes in [0, 8, 24, 4097, u64::MAX] {
        assert_eq!(refused(Config { page_bytes: bytes, ..sound() }), E::PageSize { bytes });
    }
    for bytes in [0, 3, 16] {
        assert_eq!(refused(Config { pte_bytes: bytes, ..sound() }), E::PteBytes { bytes });
    }
    assert_eq!(refused(Config { index_bits: vec![], ..sound() }), E::NoLevels);
    for bits in [0, 33, u32::MAX] {
        let config = Config { index_bits: vec![10, bits], ..sound() };
        assert_eq!(refused(config), E::IndexBits { position: 1, bits });
    }
    assert_eq!(refused(Config { index_bits: vec![20, 20, 13], ..sound() }), E::AddressBits { bits: 65 });
    for bits in [0, 53, u32::MAX] {
        assert_eq!(refused(sound().frame(0, bits)), E::FrameBits { bits, page_bytes: 4096 });
    }
    assert_eq!(refused(sound().frame(13, 20)), E::Outside { field: "frame", bit: 32, width: 32 });
    assert_eq!(refused(sound().frame(u32::MAX, 20)), E::Outside { field: "frame", bit: u32::MAX, width: 32 });
    assert_eq!(refused(sound().write(Bit::low(32))), E::Outside { field: "write", bit: 32, width: 32 });
    assert_eq!(refused(sound().reserved(1 << 40)), E::Outside { field: "reserved", bit: 40, width: 32 });
    assert_eq!(refused(sound().user(Bit::high(0))), E::Overlap { field: "user", other: "valid", bit: 0 });
    assert_eq!(refused(sound().dirty(Bit::low(31))), E::Overlap { field: "dirty", other: "frame", bit: 31 });
    assert_eq!(refused(sound().reserved(1 << 8)), E::Overlap { field: "reserved", other: "leaf", bit: 8 });
    let blind = Config { read: None, ..sound() }.leaves(Leaves::AnyRight);
    assert_eq!(refused(blind), E::NoRights);
}

#[test]
fn presets_and_extremes_build() {
    for config in [Config::toy16(), Config::two_level_32()] {
        config.build().expect("a preset");
    }
    let deepest = Config::new(16, &[1; 60], 8, Bit::high(63)).frame(0, 60).build().expect("60 levels");
    assert_eq!((deepest.address_bits(), deepest.top_level()), (64, 59));
    assert!(deepest.translates(u64::MAX));
    let widest = Config::new(1 << 32, &[32], 8, Bit::low(63)).frame(0, 32).build().expect("one level");
    assert_eq!(widest.address_bits(), 64);
}

#[test]
fn active_low_bits_are_read_and_written_that_way() {
    let config = Config::new(4096, &[10, 10], 4, Bit::low(0))
        .frame(12, 20)
        .write(Bit::low(1))
        .execute(Bit::high(2))
        .leaves(Leaves::Flag(Bit::low(3)))
        .reserved(1 << 4);
    let format = config.build().expect("sound");
    assert_eq!(format.absent(0), 1);
    assert_eq!(format.decode(format.absent(1), 1), Entry::Absent);
    let implied = Perms::READ | Perms::USER;
    let page = format.encode_leaf(PhysAddr(0x5000), 0, implied | Perms::WRITE).expect("sayable");
    assert_eq!(page, 0x5000 | 1 << 3, "valid and writable are clear bits; a page at level 0 needs no flag");
    assert_eq!(format.perms(page, 0), implied | Perms::WRITE);
    let large = format.encode_leaf(PhysAddr(0x40_0000), 1, implied | Perms::EXECUTE).expect("sayable");
    assert_eq!(large, 0x40_0000 | 1 << 1 | 1 << 2);
    assert_eq!(format.decode(large, 1), Entry::Leaf { base: 0x40_0000, size_bits: 22 });
    assert_eq!(format.decode(large | 1 << 3, 1), Entry::Table(0x40_0000));
    assert_eq!(format.decode(large | 1 << 4, 1), Entry::Reserved);
    assert_eq!(format.decode(large | 0x1000, 1), Entry::Reserved, "a misaligned large page");
    // READ has no flag that could take it away, GLOBAL none that could say it.
    for perms in [Perms::USER, implied | Perms::GLOBAL, implied | Perms::ACCESSED] {
        assert_eq!(format.encode_leaf(PhysAddr(0), 0, perms), Err(EncodeError::Perms { perms }));
    }
}
