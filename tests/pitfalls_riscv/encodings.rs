//! Reserved encodings and addresses.

use crate::machine::*;
use softmmu::addr::PhysAddr;

const PAGE_FAULTS: [(softmmu::access::AccessKind, Cause); 3] =
    [(Read, Cause::LoadPageFault), (Write, Cause::StorePageFault), (Execute, Cause::InstructionPageFault)];

fn refused(hart: &mut Hart, va: u64) {
    for (kind, cause) in PAGE_FAULTS {
        assert_eq!(hart.cause(kind, va), Some(cause), "{va:#x}");
    }
}

#[test]
fn p16_a_misaligned_superpage_is_a_page_fault_of_any_access() {
    let mut hart = Hart::new();
    for (level, stray) in [(1, 0x1000), (1, 0x10_0000), (2, 0x1000), (2, 0x2000_0000)] {
        hart.map_at(Of::Host, 0x40_0000_0000 - (u64::from(level) << 30), PA + stray, OPEN, level);
        refused(&mut hart, 0x40_0000_0000 - (u64::from(level) << 30));
    }
    // Reserved before rights: a page that would refuse the access anyway faults alike.
    hart.map_at(Of::Host, 2 * VA, PA + 0x1000, V | X | U, 1);
    refused(&mut hart, 2 * VA);
}

#[test]
fn p17_marks_in_a_table_entry_and_write_without_read_are_reserved() {
    let mut hart = Hart::new();
    hart.map(VA, PA, OPEN);
    let table = hart.place(Of::Host, VA, 1);
    let sound = hart.word(table);
    for junk in [A, D, U, N, 1 << 61, 1 << 62] {
        hart.poke(table, sound | junk);
        hart.fence(None, None);
        refused(&mut hart, VA);
    }
    // G and the software bits are not.
    hart.poke(table, sound | G | 3 << 8);
    hart.fence(None, None);
    assert_eq!(hart.access(Read, VA), Ok(PA));
    for flags in [W, W | X] {
        hart.map(VA, PA, V | A | D | flags);
        hart.fence(None, None);
        refused(&mut hart, VA);
    }
    // A pointer where no further table can be.
    hart.map(VA, PA, V);
    refused(&mut hart, VA);
}

#[test]
fn p18_high_bits_of_an_entry_are_refused_not_masked() {
    let mut hart = Hart::new();
    for bit in 54..=60 {
        hart.map(VA, PA, OPEN | 1 << bit);
        hart.fence(None, None);
        refused(&mut hart, VA);
    }
    // Svpbmt off: 61 and 62 are reserved too.
    for bit in [61, 62] {
        hart.map(VA, PA, OPEN | 1 << bit);
        hart.fence(None, None);
        refused(&mut hart, VA);
    }
    // All 44 PPN bits are an address: what is not there is an access fault.
    hart.map(VA, 1 << 55, OPEN);
    hart.fence(None, None);
    assert_eq!(hart.access(Read, VA), Ok(1 << 55));
    assert!(hart.mmu.load::<u64>(softmmu::addr::VirtAddr(VA)).is_err());
}

#[test]
fn p19_non_canonical_addresses_fault_whatever_is_cached_below_them() {
    let mut hart = Hart::new();
    let high = !0 << 38;
    hart.map(VA, PA, OPEN);
    hart.map(high, PA2, OPEN);
    assert_eq!(hart.access(Read, VA), Ok(PA));
    assert_eq!(hart.access(Read, high), Ok(PA2));
    for bit in 39..64 {
        refused(&mut hart, VA ^ 1 << bit);
        refused(&mut hart, high ^ 1 << bit);
    }
    refused(&mut hart, 1 << 38);
    refused(&mut hart, !(1 << 38));
}

#[test]
fn p19_fences_find_addresses_in_the_upper_half() {
    let mut hart = Hart::new();
    let high = !0 << 38;
    let at = hart.map(high, PA, OPEN);
    assert_eq!(hart.access(Read, high + 8), Ok(PA + 8));
    hart.poke(at, PA2 >> 2 | OPEN);
    hart.fence(Some(high + 0xff8), None);
    assert_eq!(hart.access(Read, high + 8), Ok(PA2 + 8));
}

#[test]
fn p20_a_root_in_memory_that_is_not_there_is_an_access_fault() {
    let mut hart = Hart::new();
    for root in [0, RAM + SIZE, 0xff_ffff_ffff_f000, !0 << 12] {
        hart.control(Control::Satp(SV39 | (root >> 12 & ((1 << 44) - 1))));
        for (kind, cause) in [
            (Read, Cause::LoadAccessFault),
            (Write, Cause::StoreAccessFault),
            (Execute, Cause::InstructionAccessFault),
        ] {
            assert_eq!(hart.cause(kind, VA), Some(cause), "{root:#x}");
        }
    }
    // Of the second stage likewise.
    let mut hart = Hart::new().mode(Privilege::User, true);
    hart.control(Control::Hgatp(SV39 | (1 << 44) - 4));
    let fault = hart.access(Write, VA).expect_err("nothing is there");
    assert_eq!((fault.cause, fault.tval2, fault.gva), (Cause::StoreAccessFault, 0, true));
}

#[test]
fn p33_the_top_of_physical_memory_does_not_overflow() {
    let top = (1 << 56) - 0x1000;
    let ram = Ram::new(PhysAddr(top), 0x1000).expect("a page");
    let mut hart = Hart::over(ram, Config::rv64()).mode(Privilege::Machine, false);
    assert_eq!(hart.mmu.load::<u64>(softmmu::addr::VirtAddr(top + 0xff8)).ok(), Some(0));
    for va in [top + 0xff9, top + 0xfff, u64::MAX - 7, u64::MAX - 3, u64::MAX] {
        let fault = hart.mmu.load::<u64>(softmmu::addr::VirtAddr(va)).expect_err("nothing is there");
        assert_eq!(fault.fault().map(|fault| fault.cause), Some(Cause::LoadAccessFault), "{va:#x}");
    }
    let mut config = Config::rv64();
    config.pmp_entries = 4;
    let mut hart = Hart::of(config).mode(Privilege::Machine, false);
    // NAPOT of the whole space, and TOR up to its end.
    hart.control(Control::PmpLoad { index: 0, cfg: 3 << 3 | 1, addr: u64::MAX });
    hart.control(Control::PmpLoad { index: 1, cfg: 1 << 3 | 7, addr: u64::MAX });
    assert!(hart.access(Read, u64::MAX).is_ok(), "beyond what PMP can name, and M-mode");
    hart.enter(Privilege::Supervisor, false);
    hart.control(Control::Satp(0));
    assert!(hart.access(Read, (1 << 56) - 8).is_ok());
    assert_eq!(hart.cause(Write, (1 << 56) - 8), Some(Cause::StoreAccessFault));
}
