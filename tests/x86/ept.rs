//! EPT (SDM Vol. 3C, 29.3): violations and their qualifications, misconfigurations, marks, mode-based execute.

use softmmu::access::AccessKind;
use softmmu::addr::{GuestAddr, VirtAddr, Vmid};
use softmmu::arch::x86::{
    Config, Control, Ept, EptQualification as Q, Fault, Fence, Flavor, Guest, Mode, PageFaultCode, Second,
};

use crate::support::*;

const VA: u64 = 0x40_0000;
const PA: u64 = 0x80_0000;
const R: u64 = 1;
const X: u64 = 4;
const XU: u64 = 1 << 10;
const EA: u64 = 1 << 8;
const ED: u64 = 1 << 9;
const WB: u64 = 6 << 3;

fn with(pointer: u64, mode_based_execute: bool) -> Second {
    Second::Ept(Ept { pointer: ROOT2 | pointer, mode_based_execute })
}

/// 4 levels, no marks.
fn plain() -> Second {
    with(6 | 3 << 3, false)
}

fn violation(qualification: Q, gpa: u64, va: u64) -> Result<u64, Fault> {
    Err(Fault::EptViolation { qualification, gpa: GuestAddr(gpa), va: VirtAddr(va) })
}

fn misconfiguration(gpa: u64, va: u64) -> Result<u64, Fault> {
    Err(Fault::EptMisconfiguration { gpa: GuestAddr(gpa), va: VirtAddr(va) })
}

#[test]
fn every_guest_mode_runs_under_ept() {
    for mode in [Mode::Off, Mode::Legacy32, Mode::Pae, Mode::Level4, Mode::Level5] {
        for second in [plain(), ept(), with(6 | 3 << 3 | 1 << 6, true)] {
            let mut pc = Pc::nested(mode, second);
            let pa = if mode == Mode::Off {
                VA
            } else {
                pc.map(VA, 12, PA | OPEN);
                PA
            };
            pc.split2(pa, 0x3a_5000 | EPT_OPEN | XU);
            for touch in [Pc::read, Pc::write, Pc::fetch, Pc::rmw] {
                assert_eq!(touch(&mut pc, VA + 0x123), Ok(0x3a_5123), "{mode:?}");
            }
            pc.split2(pa, 0);
            pc.mmu.fence(Fence::InveptAll);
            // With paging off every address is an open user-mode one.
            let advanced = Q::USER_LINEAR | Q::LINEAR_WRITABLE;
            let expected = violation(Q::READ | Q::LINEAR_VALID | Q::FINAL | advanced, pa + 0x123, VA + 0x123);
            assert_eq!(pc.read(VA + 0x123), expected, "{mode:?}");
        }
    }
}

#[test]
fn a_violation_tells_the_access_and_the_rights() {
    let config = Config { ept_advanced_info: false, ..Config::INTEL };
    let base = Q::LINEAR_VALID | Q::FINAL;
    type Touch = fn(&mut Pc, u64) -> Result<u64, Fault>;
    let touches: [(Touch, Q, u64); 4] = [
        (Pc::read, Q::READ, R),
        (Pc::write, Q::WRITE, W),
        (Pc::fetch, Q::FETCH, X),
        (Pc::rmw, Q::READ | Q::WRITE, R | W),
    ];
    // W without R is a misconfiguration, see below.
    for granted in [R, R | W, X, R | X, R | W | X] {
        let mut pc = Pc::nested_of(config, registers(Mode::Level4), Vmid(1), plain());
        pc.map(VA, 12, PA | OPEN);
        pc.split2(PA, PA | granted | WB);
        for (touch, kind, need) in touches {
            let expected = if granted & need == need {
                Ok(PA + 8)
            } else {
                violation(base | kind | Q::from_bits_truncate(granted << 3), PA + 8, VA + 8)
            };
            // From memory and from the TLB alike.
            assert_eq!(touch(&mut pc, VA + 8), expected, "{granted:#x} {kind:?}");
            assert_eq!(touch(&mut pc, VA + 8), expected, "{granted:#x} {kind:?}");
        }
    }
}

#[test]
fn rights_are_those_of_all_levels_together() {
    let mut pc = Pc::nested(Mode::Level4, plain());
    let at = pc.map(VA, 12, PA | P | W | NX);
    let upper = pc.second.expect("EPT").place(pc.mmu.memory(), &mut 0, PA, 39);
    let open = pc.raw(upper);
    pc.poke(upper, open & !W);
    let granted = Q::READABLE | Q::EXECUTABLE | Q::LINEAR_VALID;
    // The guest's tables are only read while EPT keeps no marks; but its accessed bit is due, and that is a write.
    assert_eq!(pc.read(VA), violation(granted | Q::READ | Q::WRITE, at, VA));
    pc.poke(upper, open);
    pc.mmu.fence(Fence::InveptAll);
    assert_eq!(pc.read(VA), Ok(PA));
    pc.poke(upper, open & !W);
    pc.mmu.fence(Fence::InveptAll);
    assert_eq!(pc.read(VA), Ok(PA), "nothing is due");
    assert_eq!(pc.write(VA), violation(granted | Q::READ | Q::WRITE, at, VA), "the dirty bit is");
    pc.poke(at, pc.raw(at) | D);
    let guest = Q::FINAL | Q::LINEAR_WRITABLE | Q::LINEAR_NX;
    assert_eq!(pc.write(VA), violation(granted | guest | Q::WRITE, PA, VA));
    pc.poke(upper, open & !4);
    pc.mmu.fence(Fence::InveptAll);
    pc.poke(at, pc.raw(at) & !NX);
    let granted = Q::READABLE | Q::WRITABLE | Q::LINEAR_VALID | Q::FINAL | Q::LINEAR_WRITABLE;
    assert_eq!(pc.fetch(VA), violation(granted | Q::FETCH, PA, VA));
}

#[test]
fn guest_tables_are_written_as_far_as_ept_keeps_marks() {
    for (second, kind) in [(plain(), Q::READ), (ept(), Q::READ | Q::WRITE)] {
        let mut pc = Pc::nested(Mode::Level4, second);
        let at = pc.map(VA, 12, PA | OPEN | A | D);
        let page = at & !0xfff;
        // Readable, not writable: enough where reading is reading.
        pc.split2(page, page | R | WB);
        let readable = Q::READABLE | Q::LINEAR_VALID;
        let expected = if kind == Q::READ { Ok(PA) } else { violation(kind | readable, at, VA) };
        assert_eq!(pc.fetch(VA), expected);
        // Not even readable.
        pc.split2(page, page | X | WB);
        pc.mmu.fence(Fence::InveptAll);
        assert_eq!(pc.fetch(VA), violation(kind | Q::EXECUTABLE | Q::LINEAR_VALID, at, VA));
        pc.split2(page, 0);
        assert_eq!(pc.fetch(VA), violation(kind | Q::LINEAR_VALID, at, VA));
    }
}

#[test]
fn marks_are_set_in_both_stages() {
    let mut pc = Pc::nested(Mode::Level4, ept());
    let guest = pc.map(VA, 12, PA | OPEN);
    let leaf = pc.split2(PA, PA | EPT_OPEN);
    let table = pc.split2(guest & !0xfff, guest & !0xfff | EPT_OPEN);
    assert_eq!(pc.read(VA), Ok(PA));
    assert_eq!(pc.raw(guest), PA | OPEN | A);
    assert_eq!(pc.raw(leaf), PA | EPT_OPEN | EA, "read");
    assert_eq!(pc.raw(table), guest & !0xfff | EPT_OPEN | EA | ED, "accesses to guest tables are writes");
    assert_eq!(pc.write(VA), Ok(PA));
    assert_eq!(pc.raw(guest), PA | OPEN | A | D);
    assert_eq!(pc.raw(leaf), PA | EPT_OPEN | EA | ED);
    // A hypervisor that takes the dirty bit away is told again after its fence.
    pc.poke(leaf, PA | EPT_OPEN | EA);
    pc.mmu.fence(Fence::InveptAll);
    assert_eq!(pc.read(VA), Ok(PA));
    assert_eq!(pc.raw(leaf), PA | EPT_OPEN | EA);
    assert_eq!(pc.write(VA), Ok(PA));
    assert_eq!(pc.raw(leaf), PA | EPT_OPEN | EA | ED);

    let mut pc = Pc::nested(Mode::Level4, plain());
    pc.map(VA, 12, PA | OPEN);
    let leaf = pc.split2(PA, PA | EPT_OPEN);
    assert_eq!(pc.write(VA), Ok(PA));
    assert_eq!(pc.raw(leaf), PA | EPT_OPEN, "without EPTP bit 6 the bits are the hypervisor's");
}

#[test]
fn misconfigurations_are_told_from_violations() {
    let strict = Config { ept_execute_only: false, ept_page1gb: false, maxphyaddr: 40, ..Config::INTEL };
    let check = |config: Config, shift: u32, raw: u64, bad: bool| {
        let mut pc = Pc::nested_of(config, registers(Mode::Level4), Vmid(1), plain());
        pc.map(VA, 12, 0x80_0000_0000 | OPEN);
        let at = pc.map2(0x80_0000_0000, shift, raw);
        let got = pc.fetch(VA);
        let expected = misconfiguration(0x80_0000_0000, VA);
        assert_eq!(got == expected, bad, "2^{shift} {raw:#x}: {got:?}");
        assert_eq!(pc.raw(at), raw);
    };
    check(Config::INTEL, 12, PA | W | WB, true);
    check(Config::INTEL, 12, PA | W | X | WB, true);
    check(Config::INTEL, 12, PA | X | WB, false);
    check(strict, 12, PA | X | WB, true);
    for memory_type in 0..8 {
        check(Config::INTEL, 12, PA | 7 | memory_type << 3, matches!(memory_type, 2 | 3 | 7));
        check(Config::INTEL, 21, PA | 7 | PS | memory_type << 3, matches!(memory_type, 2 | 3 | 7));
    }
    for bit in 40..52 {
        check(strict, 12, PA | EPT_OPEN | 1 << bit, true);
        check(strict, 30, 0x20_0000 | 7 | 1 << bit, true);
    }
    check(strict, 12, PA | EPT_OPEN | 1 << 52, false);
    for bit in 12..21 {
        check(Config::INTEL, 21, PA | EPT_OPEN | PS | 1 << bit, true);
    }
    check(Config::INTEL, 30, EPT_OPEN | PS, false);
    check(strict, 30, EPT_OPEN | PS, true);
    // Tables keep bits 6:3 clear, a PML4E bit 7 too.
    for bit in 3..=6 {
        check(Config::INTEL, 30, 0x20_0000 | 7 | 1 << bit, true);
    }
    check(Config::INTEL, 39, 0x20_0000 | 7 | PS, true);
    // What is absent cannot be misconfigured.
    check(strict, 12, PA | 3 << 3 | 1 << 45, false);
    // XU alone makes an entry present only with mode-based execute control.
    check(Config::INTEL, 12, PA | XU | 3 << 3, false);
}

#[test]
fn mode_based_execute_goes_by_the_linear_address() {
    let mut pc = Pc::nested(Mode::Level4, with(6 | 3 << 3, true));
    let (user, kernel) = (VA, VA + 0x1000);
    pc.map(user, 12, PA | OPEN);
    pc.map(kernel, 12, PA | P | W);
    let open = Q::READABLE | Q::WRITABLE | Q::LINEAR_VALID | Q::FINAL | Q::LINEAR_WRITABLE;
    pc.split2(PA, PA | R | W | X | WB);
    assert_eq!(pc.fetch(kernel), Ok(PA));
    assert_eq!(pc.fetch(user), violation(Q::FETCH | Q::EXECUTABLE | Q::USER_LINEAR | open, PA, user));
    pc.split2(PA, PA | R | W | XU | WB);
    pc.mmu.fence(Fence::InveptAll);
    assert_eq!(pc.fetch(kernel), violation(Q::FETCH | Q::USER_EXECUTABLE | open, PA, kernel));
    assert_eq!(pc.fetch(user), Ok(PA));
    assert_eq!(pc.user().fetch(user), Ok(PA));
    // Only XU: execute-only for user-mode addresses.
    pc.split2(PA, PA | XU | WB);
    pc.mmu.fence(Fence::InveptAll);
    assert_eq!(pc.fetch(user), Ok(PA));
}

#[test]
fn guest_addresses_wider_than_the_tables_are_violations() {
    let mut pc = Pc::nested(Mode::Level4, plain());
    let gpa = 1 << 48;
    pc.map(VA, 12, gpa | OPEN);
    let advanced = Q::USER_LINEAR | Q::LINEAR_WRITABLE;
    assert_eq!(pc.read(VA), violation(Q::READ | Q::LINEAR_VALID | Q::FINAL | advanced, gpa, VA));
    // Five levels reach further.
    let mut pc = Pc::nested(Mode::Level4, plain());
    let five = 0x3000;
    put(pc.mmu.memory(), five, 8, ROOT2 | 7);
    put(pc.mmu.memory(), five + 8, 8, ROOT2 | 7);
    pc.map(VA, 12, gpa | PA | OPEN);
    let second = Second::Ept(Ept { pointer: five | 6 | 4 << 3, mode_based_execute: false });
    let registers = *pc.mmu.arch().registers();
    pc.set(Control::Enter {
        registers,
        guest: Some(Guest { vmid: Vmid(1), second: Some(second) }),
        pdptes: None,
    });
    assert_eq!(pc.read(VA), Ok(PA));
}

#[test]
fn pdptes_are_loaded_through_ept() {
    let mut pc = Pc::nested(Mode::Pae, ept());
    pc.map(VA, 12, PA | OPEN);
    let page = 0x1000;
    let leaf = pc.split2(page, page | R | WB);
    // A read of the guest's tables, though not by a linear address: no write even with marks on.
    pc.set(Control::Cr3(page));
    assert_eq!(pc.raw(leaf), page | R | WB | EA);
    pc.split2(page, page | X | WB);
    let expected = violation(Q::READ | Q::EXECUTABLE, page, 0).map(|_| ());
    assert_eq!(pc.try_set(Control::Cr3(page)), expected);
    assert_eq!(pc.read(VA), Ok(PA), "the old PDPTEs stand");
    // Or they come from the VMCS.
    let registers = *pc.mmu.arch().registers();
    let (guest, pdptes) = (pc.mmu.arch().guest(), pc.mmu.arch().pdptes());
    pc.set(Control::Enter { registers, guest, pdptes: Some([0; 4]) });
    pc.mmu.fence(Fence::InveptAll);
    assert_eq!(pc.read(VA), pf(PageFaultCode::empty(), VA));
    pc.set(Control::Pdptes(pdptes));
    assert_eq!(pc.read(VA), Ok(PA));
    assert!(pc.try_set(Control::Pdptes([P | W; 4])).is_err());
}

#[test]
fn the_guests_refusal_comes_before_the_final_translation() {
    for second in [ept(), npt(Mode::Level4), npt(Mode::Legacy32)] {
        let mut pc = Pc::nested(Mode::Level4, second);
        pc.map(VA, 12, PA | P | U);
        pc.split2(PA, 0);
        assert_eq!(pc.write(VA), pf(PageFaultCode::PRESENT | PageFaultCode::WRITE, VA));
        assert_eq!(
            pc.touch(AccessKind::Read, 1 << 60, Flavor::Stack),
            Err(Fault::Stack { va: VirtAddr(1 << 60) })
        );
    }
}

/// With paging off nothing is cached under a linear address, only under guest-physical ones (SDM Vol. 3C 29.4.2): a
/// hypervisor that turns its guest's paging on need not drop anything.
#[test]
fn what_was_used_with_paging_off_is_no_translation_of_a_linear_address() {
    for second in [ept(), npt(Mode::Level4)] {
        let mut pc = Pc::nested(Mode::Level4, second);
        pc.map(0x40_0000, 12, 0x50_0000 | OPEN);
        let guest = pc.mmu.arch().guest();
        let enter = |pc: &mut Pc, mode| {
            pc.set(Control::Enter { registers: registers(mode), guest, pdptes: None });
        };
        enter(&mut pc, Mode::Off);
        assert_eq!(pc.read(0x40_0000), Ok(0x40_0000));
        assert!(pc.cached(0x40_0000));
        enter(&mut pc, Mode::Level4);
        assert_eq!(pc.read(0x40_0000), Ok(0x50_0000));
        enter(&mut pc, Mode::Off);
        assert_eq!(pc.read(0x40_0000), Ok(0x40_0000));
        assert!(pc.cached(0x40_0000), "still");
        // MOV to CR3 drops what was cached of linear addresses, though paging is off.
        pc.set(Control::Cr3(0x1000));
        pc.map(0x40_0000, 12, 0x60_0000 | OPEN);
        enter(&mut pc, Mode::Level4);
        assert_eq!(pc.read(0x40_0000), Ok(0x60_0000));
    }
}
