//! Effective memory types (SDM Vol. 3A 12.5 and 12.12, Vol. 3C 29.3.7; APM Vol. 2 15.25.8).

use softmmu::access::{Access, AccessKind};
use softmmu::addr::VirtAddr;
use softmmu::arch::Arch;
use softmmu::arch::x86::{Control, Cr0, Ept, Flavor, MemoryType, Mode, Second};

use crate::support::*;
use MemoryType::{
    Uncacheable as Uc, UncacheableMinus as UcMinus, WriteBack as Wb, WriteCombining as Wc,
    WriteProtected as Wp, WriteThrough as Wt,
};

const VA: u64 = 0x40_0000;
const PA: u64 = 0x80_0000;
const TYPES: [MemoryType; 6] = [Uc, UcMinus, Wc, Wt, Wb, Wp];
/// A PAT that holds each type once.
const PAT: u64 = 0x00_07_05_06_04_01_07_00;
const IN_PAT: [MemoryType; 8] = [Uc, UcMinus, Wc, Wt, Wb, Wp, UcMinus, Uc];

fn type_at(pc: &mut Pc, va: u64) -> MemoryType {
    let access = Access { va: VirtAddr(va), len: 1, kind: AccessKind::Read, flavor: Flavor::Normal };
    let entry = pc.mmu.translate(&access).expect("mapped").entry;
    pc.mmu.arch().memory_type(&entry)
}

/// The flags of a leaf that select entry `index` of the PAT.
fn select(index: u64, large: bool) -> u64 {
    (index & 3) << 3 | (index >> 2) << if large { 12 } else { 7 }
}

#[test]
fn the_pat_index_is_pat_pcd_pwt() {
    for (mode, large) in [(Mode::Legacy32, 22), (Mode::Pae, 21), (Mode::Level4, 21), (Mode::Level5, 30)] {
        let mut pc = Pc::new(mode);
        pc.set(Control::Pat(PAT));
        for (index, expected) in IN_PAT.into_iter().enumerate() {
            let va = VA + 0x1000 * index as u64;
            pc.map(va, 12, PA | OPEN | select(index as u64, false));
            assert_eq!(type_at(&mut pc, va), expected, "{mode:?} {index}");
            let mut pc = Pc::new(mode);
            pc.set(Control::Pat(PAT));
            pc.map(0x4000_0000, large, OPEN | PS | select(index as u64, true));
            assert_eq!(type_at(&mut pc, 0x4000_0000), expected, "{mode:?} {index}, large");
            // A change of the PAT needs no walk; with caching off all is uncacheable.
            pc.set(Control::Pat(0x0606_0606_0606_0606));
            assert_eq!(type_at(&mut pc, 0x4000_0000), Wb);
            let cr0 = pc.mmu.arch().registers().cr0;
            pc.set(Control::Cr0((cr0 | Cr0::CD).bits()));
            assert_eq!(type_at(&mut pc, 0x4000_0000), Uc);
        }
    }
}

/// Table 12-7: a row for each range type, in the order of `TYPES` for the page's.
#[test]
fn ranges_and_pages_combine_as_the_table_says() {
    let rows = [
        (Uc, [Uc, Uc, Wc, Uc, Uc, Uc]),
        (Wc, [Uc, Wc, Wc, Uc, Wc, Uc]),
        (Wt, [Uc, Uc, Wc, Wt, Wt, Wp]),
        (Wb, [Uc, Uc, Wc, Wt, Wb, Wp]),
        (Wp, [Uc, Wc, Wc, Wt, Wp, Wp]),
    ];
    for (range, row) in rows {
        for (page, expected) in TYPES.into_iter().zip(row) {
            assert_eq!(page.within(range), expected, "{page:?} in {range:?}");
        }
    }
}

#[test]
fn ept_types_take_the_place_of_ranges() {
    for (encoding, range) in [(0, Uc), (1, Wc), (4, Wt), (5, Wp), (6, Wb)] {
        for ignore_pat in [0, 1 << 6] {
            let second = Second::Ept(Ept { pointer: ROOT2 | 6 | 3 << 3, mode_based_execute: false });
            let mut pc = Pc::nested(Mode::Level4, second);
            pc.set(Control::Pat(PAT));
            pc.split2(PA, PA | 7 | encoding << 3 | ignore_pat);
            for (index, page) in IN_PAT.into_iter().enumerate() {
                let va = VA + 0x1000 * index as u64;
                pc.map(va, 12, PA | OPEN | select(index as u64, false));
                let expected = if ignore_pat == 0 { page.within(range) } else { range };
                assert_eq!(type_at(&mut pc, va), expected, "{page:?} in {range:?}");
            }
            let mut pc = Pc::nested(Mode::Off, second);
            pc.split2(PA, PA | 7 | encoding << 3 | ignore_pat);
            assert_eq!(type_at(&mut pc, PA), range, "without paging there is no PAT");
        }
    }
}

/// APM table 15-19: a row for each guest type, in the order UC, UC-, WC, WP, WT, WB of the host's.
#[test]
fn guest_and_host_pats_combine_as_the_table_says() {
    let host = [Uc, UcMinus, Wc, Wp, Wt, Wb];
    let rows = [
        (Uc, [Uc, Uc, Uc, Uc, Uc, Uc]),
        (UcMinus, [Uc, Uc, Wc, Uc, Uc, Uc]),
        (Wc, [Wc, Wc, Wc, Wc, Wc, Wc]),
        (Wp, [Uc, Uc, Wc, Wp, Uc, Wp]),
        (Wt, [Uc, Uc, Wc, Uc, Wt, Wt]),
        (Wb, [Uc, Uc, Wc, Wp, Wt, Wb]),
    ];
    for (guest, row) in rows {
        for (host, expected) in host.into_iter().zip(row) {
            assert_eq!(MemoryType::nested(guest, host), expected, "{guest:?} on {host:?}");
        }
    }
    // And through a walk: the host's index is looked up in the host's PAT.
    let Second::Npt(mut second) = npt(Mode::Level4) else { unreachable!() };
    second.pat = PAT;
    let mut pc = Pc::nested(Mode::Level4, Second::Npt(second));
    for (index, host) in IN_PAT.into_iter().enumerate() {
        let pa = PA + 0x1000 * index as u64;
        pc.split2(pa, pa | OPEN | select(index as u64, false));
        pc.map(VA + 0x1000 * index as u64, 12, pa | OPEN);
        assert_eq!(type_at(&mut pc, VA + 0x1000 * index as u64), MemoryType::nested(Wb, host));
    }
}
