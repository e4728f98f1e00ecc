//! A large page that is split keeps what its entry said beyond rights: memory types and software's own bits.

use softmmu::access::Width;
use softmmu::addr::{PageSize, PhysAddr, VirtAddr};
use softmmu::arch::aarch64::Granule;
use softmmu::memory::{PhysMemory, Ram};
use softmmu::radix::{Encode, Entry, Perms};
use softmmu::table::{PageTable, RadixTable};

use super::formats;
use super::pool::Pool;

/// Maps a large page, or-s `extra` into its entry, cuts a page out of its middle, and yields the entries of the pages
/// before and after, after checking where they lie.
fn cut<F: Encode>(format: F, va: u64, large: PageSize, small: PageSize, extra: u64) -> [u64; 2] {
    let ram = Ram::new(PhysAddr(0), 1 << 20).expect("a megabyte");
    let mut pool = Pool::new(small, 1 << 20);
    let mut table = RadixTable::new(format, &ram, &mut pool).expect("a root");
    let (va, pa) = (VirtAddr(va), PhysAddr(3 * large.bytes()));
    let rights = Perms::READ | Perms::EXECUTE | Perms::ACCESSED | Perms::USER;
    table.map(&ram, &mut pool, va, pa, large, rights).expect("mapped").forget();

    // The entry stands where the tables hold it.
    let raw = table.translate(&ram, va).expect("sound").expect("mapped").raw;
    let width = Width::from_bytes(format.pte_bytes()).expect("a width");
    let places = pool
        .out
        .keys()
        .flat_map(|frame| (0..small.bytes() / width.bytes()).map(move |n| frame + n * width.bytes()));
    let holds = |place: &u64| ram.read(PhysAddr(*place), width) == Ok(raw);
    let place = places.into_iter().find(holds).expect("a table holds the entry");
    ram.write(PhysAddr(place), width, raw | extra).expect("a table");
    let level = (0..=format.top_level()).find(|&level| format.shift(level) == large.bits()).expect("a level");
    assert!(matches!(format.decode(raw | extra, level), Entry::Leaf { .. }), "not a page any more");

    let hole = VirtAddr(va.0 + 5 * small.bytes());
    table.unmap_range(&ram, &mut pool, hole, small.bytes()).expect("cut").forget();
    assert_eq!(table.translate(&ram, hole), Ok(None));
    [4, 6].map(|n| {
        let page = table.translate(&ram, VirtAddr(va.0 + n * small.bytes())).expect("sound").expect("mapped");
        assert_eq!((page.pa.0, page.size, page.perms), (pa.0 + n * small.bytes(), small, rights));
        page.raw
    })
}

const M2: PageSize = PageSize::SIZE_2M;
const K4: PageSize = PageSize::SIZE_4K;

#[test]
fn riscv_keeps_pbmt_and_rsw() {
    let (nc, rsw) = (1 << 61, 3 << 8);
    for raw in cut(formats::sv39().0, 0, M2, K4, nc | rsw) {
        assert_eq!(raw & (3 << 61 | rsw), nc | rsw);
    }
}

#[test]
fn x86_moves_pat_and_keeps_pwt_and_available_bits() {
    let (pwt, available) = (1 << 3, 7 << 9 | 0x3f << 52);
    let (pat_large, pat_small) = (1 << 12, 1 << 7);
    for raw in cut(formats::long_mode(false).0, 0, M2, K4, pat_large | pwt | available) {
        assert_eq!(raw & (pat_small | pwt | available), pat_small | pwt | available);
    }
    for raw in cut(formats::pae().0, 0, M2, K4, pwt) {
        assert_eq!(raw & (pat_small | pwt), pwt);
    }
    let m4 = PageSize::from_bits(22).expect("4 MiB");
    for raw in cut(formats::legacy32().0, 0, m4, K4, pat_large | pwt | 7 << 9) {
        assert_eq!(raw & (pat_small | pwt | 7 << 9), pat_small | pwt | 7 << 9);
    }
}

#[test]
fn aarch64_keeps_attributes_and_software_bits() {
    // AttrIndx 3, bits 58:56.
    let extra = 3 << 2 | 7 << 56;
    let m32 = PageSize::from_bits(25).expect("32 MiB");
    let k16 = PageSize::from_bits(14).expect("16 KiB");
    for raw in cut(formats::vmsa(Granule::K4, false).0, 0, M2, K4, extra).into_iter().chain(cut(
        formats::vmsa(Granule::K16, false).0,
        0,
        m32,
        k16,
        extra,
    )) {
        assert_eq!(raw & (7 << 2 | 7 << 56), extra);
        assert_eq!(raw & 3, 3, "a page");
    }
}

#[test]
fn custom_keeps_unused_bits() {
    let m4 = PageSize::from_bits(22).expect("4 MiB");
    for raw in cut(formats::two_level_32().0, 0, m4, K4, 7 << 9) {
        assert_eq!(raw & (7 << 9 | 1 << 8), 7 << 9, "software's bits stay, the large-page flag goes");
    }
}
