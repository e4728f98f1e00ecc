//! What register writes and fences do.

use softmmu::access::{Access, AccessKind};
use softmmu::addr::{PhysAddr, VirtAddr};
use softmmu::arch::riscv::{
    Config, Control, Extensions, Fence, Flavor, MemoryType, Mode, PmpFlags, Privilege, Riscv,
};
use softmmu::arch::{Arch, GuestFault};
use softmmu::memory::{PhysMemory, Ram};
use softmmu::mmu::Mmu;
use softmmu::tlb::{Scope, Space, Span};

type Hart = Mmu<Riscv, Ram, ()>;

fn hart(config: Config) -> Hart {
    Mmu::new(Riscv::new(config), Ram::new(PhysAddr(0x8000_0000), 1 << 20).expect("a megabyte"), ())
}

fn write(hart: &mut Hart, change: Control) {
    hart.control(change).expect("no fault");
}

fn supervisor(hart: &mut Hart) {
    write(hart, Control::Mode { privilege: Privilege::Supervisor, virt: false });
}

fn place(hart: &mut Hart, va: u64) -> Option<u64> {
    let access = Access { va: VirtAddr(va), len: 4, kind: AccessKind::Read, flavor: Flavor::Normal };
    hart.translate(&access).ok().map(|done| done.pa.0)
}

#[test]
fn a_mode_that_the_machine_lacks_is_not_written_to_satp() {
    let mut hart = hart(Config { widest: Mode::Sv39, ..Config::rv64() });
    supervisor(&mut hart);
    assert_eq!(place(&mut hart, 0x8000_0000), Some(0x8000_0000));
    // Sv48, Sv57, and codes of no mode: nothing is written, not even the PPN.
    for mode in [1, 7, 9, 10, 11, 15] {
        write(&mut hart, Control::Satp(mode << 60 | 0x8_0000));
        assert_eq!(place(&mut hart, 0x8000_0000), Some(0x8000_0000), "MODE {mode}");
    }
    write(&mut hart, Control::Satp(8 << 60 | 0x8_0000));
    assert_eq!(place(&mut hart, 0x8000_0000), None);
    write(&mut hart, Control::Satp(9 << 60));
    assert_eq!(place(&mut hart, 0x8000_0000), None);
    write(&mut hart, Control::Satp(0));
    assert_eq!(place(&mut hart, 0x8000_0000), Some(0x8000_0000));
}

#[test]
fn hgatp_takes_what_it_can_of_such_a_write() {
    let mut hart = hart(Config { widest: Mode::Sv39, ..Config::rv64() });
    write(&mut hart, Control::Mode { privilege: Privilege::Supervisor, virt: true });
    write(&mut hart, Control::Hgatp(8 << 60 | 0x8_0000));
    assert_eq!(place(&mut hart, 0x8000_0000), None);
    write(&mut hart, Control::Hgatp(10 << 60 | 0x8_0000));
    assert_eq!(place(&mut hart, 0x8000_0000), Some(0x8000_0000), "Bare");
}

#[test]
fn without_the_hypervisor_extension_nothing_is_virtual() {
    let extensions = Extensions::all() - Extensions::H;
    let mut hart = hart(Config { extensions, ..Config::rv64() });
    write(&mut hart, Control::Hgatp(8 << 60));
    write(&mut hart, Control::Mode { privilege: Privilege::Supervisor, virt: true });
    assert_eq!(hart.arch().mode(), (Privilege::Supervisor, false));
    assert_eq!(place(&mut hart, 0x8000_0000), Some(0x8000_0000));
    // MPV does not exist there.
    write(&mut hart, Control::Mode { privilege: Privilege::Machine, virt: false });
    write(&mut hart, Control::Mstatus(1 << 17 | 1 << 11 | 1 << 39));
    assert_eq!(place(&mut hart, 0x8000_0000), Some(0x8000_0000));
}

#[test]
fn pmp_registers_keep_what_warl_and_locks_allow() {
    let mut hart = hart(Config { pmp_entries: 16, pmp_grain: 10, ..Config::rv64() });
    let entry = |hart: &Hart, index| hart.arch().pmp().entry(index);
    let cfg = |index, value| Control::PmpCfg { index, value };
    let addr = |index, value| Control::PmpAddr { index, value };
    assert_eq!(entry(&hart, 16), None);
    // Granularity: NA4 cannot be had; low bits of pmpaddr read as zeros (TOR, OFF) or ones (NAPOT).
    write(&mut hart, addr(0, u64::MAX));
    write(&mut hart, cfg(0, 2 << 3 | 1));
    assert_eq!(entry(&hart, 0), Some((1, (1 << 54) - 1 & !0x3ff)));
    write(&mut hart, addr(0, 0));
    write(&mut hart, cfg(0, 3 << 3 | 1));
    assert_eq!(entry(&hart, 0), Some((3 << 3 | 1, 0x1ff)));
    // W without R is reserved.
    write(&mut hart, cfg(0, 3 << 3 | 2));
    assert_eq!(entry(&hart, 0), Some((3 << 3 | 1, 0x1ff)));
    // A locked TOR entry locks its own registers and the address below it.
    write(&mut hart, cfg(3, PmpFlags::L.bits() | 1 << 3 | 1));
    for (index, value) in [(2, 0x400), (3, 0x800)] {
        write(&mut hart, addr(index, value));
        assert_eq!(entry(&hart, index.into()).map(|(_, addr)| addr), Some(0));
    }
    write(&mut hart, cfg(3, 0));
    assert_eq!(entry(&hart, 3).map(|(cfg, _)| cfg), Some(0x89));
    // Rule-locking bypass cannot be switched on any more, and what is above the entries does not exist.
    write(&mut hart, Control::Mseccfg(4));
    write(&mut hart, cfg(3, 0));
    assert_eq!(entry(&hart, 3).map(|(cfg, _)| cfg), Some(0x89));
    write(&mut hart, cfg(200, 7));
    write(&mut hart, addr(255, 7));
}

#[test]
fn rule_locking_bypass_opens_locked_entries() {
    let mut hart = hart(Config { pmp_entries: 4, ..Config::rv64() });
    write(&mut hart, Control::Mseccfg(4));
    write(&mut hart, Control::PmpCfg { index: 0, value: 0x80 | 3 << 3 });
    write(&mut hart, Control::PmpCfg { index: 0, value: 3 << 3 | 7 });
    assert_eq!(hart.arch().pmp().entry(0), Some((3 << 3 | 7, 0)));
    // With MML, rules that let M-mode execute need RLB.
    write(&mut hart, Control::Mseccfg(1));
    write(&mut hart, Control::PmpCfg { index: 1, value: 0x80 | 3 << 3 | 5 });
    assert_eq!(hart.arch().pmp().entry(1), Some((0, 0)));
    write(&mut hart, Control::PmpCfg { index: 1, value: 0x80 | 3 << 3 | 1 });
    assert_eq!(hart.arch().pmp().entry(1), Some((0x80 | 3 << 3 | 1, 0)));
}

/// All scopes of a fence.
fn scopes(hart: &Riscv, fence: Fence) -> Vec<Scope> {
    let mut scopes = Vec::new();
    hart.fence(fence, &mut |scope| scopes.push(scope));
    scopes
}

#[test]
fn fences_name_just_what_the_manual_does() {
    let mut mmu = hart(Config { asid_bits: 8, vmid_bits: 7, ..Config::rv64() });
    write(&mut mmu, Control::Hgatp(8 << 60 | 0x3ff << 44));
    supervisor(&mut mmu);
    let sfence = |va, asid| Fence::SfenceVma { va, asid };
    let arch = *mmu.arch();
    let all = scopes(&arch, sfence(None, None));
    assert_eq!(all.len(), 1);
    assert!(all[0].globals && all[0].span == Span::All && !all[0].leaves_only);
    assert_eq!((all[0].space.regime(), all[0].mask & Space::ASID), (0, 0));
    // Bits of rs2 above the implemented ones are ignored.
    let one = scopes(&arch, sfence(Some(0x1234), Some(0xff12)));
    assert!(!one[0].globals && one[0].leaves_only);
    assert_eq!((one[0].space.asid().0, one[0].mask & Space::ASID), (0x12, Space::ASID));
    assert_eq!(one[0].span, Span::Virtual { first: 0x1234, last: 0x1234 });
    // Executed with V = 1, SFENCE.VMA is HFENCE.VVMA.
    let hfence = scopes(&arch, Fence::HfenceVvma { va: None, asid: Some(3) });
    write(&mut mmu, Control::Mode { privilege: Privilege::Supervisor, virt: true });
    assert_eq!(scopes(mmu.arch(), sfence(None, Some(3))), hfence);
    assert_eq!((hfence[0].space.vmid().0, hfence[0].space.regime()), (0x7f, 1));
    // HFENCE.GVMA names both regimes of guests, and any VMID or one.
    let every = scopes(&arch, Fence::HfenceGvma { gpa: None, vmid: None });
    assert_eq!(every.iter().map(|scope| scope.space.regime()).collect::<Vec<_>>(), [1, 2]);
    assert!(every.iter().all(|scope| scope.mask & Space::VMID == 0 && scope.span == Span::All));
    let page = scopes(&arch, Fence::HfenceGvma { gpa: Some(0x5000), vmid: Some(0x1ff) });
    assert!(page.iter().all(|scope| scope.space.vmid().0 == 0x7f && scope.mask & Space::VMID != 0));
    assert_eq!(page[1].span, Span::Guest { first: 0x5000, last: 0x5000 });
    let strict = Riscv::new(Config { guest_fences_reach_tables: false, ..Config::rv64() });
    let page = scopes(&strict, Fence::HfenceGvma { gpa: Some(0x5000), vmid: None });
    assert!(page.iter().all(|scope| scope.span == Span::Guest { first: 0x5000, last: 0x5000 }));
}

#[test]
fn memory_types_of_both_stages_combine() {
    const PBMTE: u64 = 1 << 62;
    let mut hart = hart(Config::rv64());
    let word = |hart: &Hart, at: u64, value: u64| {
        hart.memory().write(PhysAddr(at), softmmu::access::Width::W8, value).expect("RAM");
    };
    write(&mut hart, Control::Mode { privilege: Privilege::Supervisor, virt: true });
    write(&mut hart, Control::Hgatp(8 << 60 | 0x8_0000));
    write(&mut hart, Control::Vsatp(8 << 60 | 0x8_0004));
    write(&mut hart, Control::Menvcfg(PBMTE));
    write(&mut hart, Control::Henvcfg(PBMTE));
    // One gigapage each: the guest's from 0 to RAM, the host's of all RAM to itself.
    let gigapage = |kind: u64| 0x8000_0000 >> 2 | kind << 61 | 0xdf;
    let types = [MemoryType::Pma, MemoryType::Nc, MemoryType::Io];
    for (first, one) in types.into_iter().enumerate() {
        for (second, other) in types.into_iter().enumerate() {
            word(&hart, 0x8000_0000 + 16, gigapage(second as u64));
            word(&hart, 0x8000_4000, gigapage(first as u64) & !0x10);
            let access =
                Access { va: VirtAddr(0x5000), len: 8, kind: AccessKind::Read, flavor: Flavor::Normal };
            let found = hart.translate(&access).expect("mapped");
            let expected = if one == MemoryType::Pma { other } else { one };
            assert_eq!(hart.arch().memory_type(&found.entry), expected, "{one:?} over {other:?}");
        }
    }
    // henvcfg.PBMTE is zero where menvcfg's is.
    write(&mut hart, Control::Menvcfg(0));
    word(&hart, 0x8000_0000 + 16, gigapage(0));
    assert_eq!(place(&mut hart, 0x5000), None);
}

#[test]
fn faults_say_what_happened() {
    let mut hart = hart(Config::rv64());
    supervisor(&mut hart);
    write(&mut hart, Control::Satp(8 << 60 | 0x8_0000));
    let fault = hart.load::<u32>(VirtAddr(0x1234)).expect_err("nothing is mapped");
    assert_eq!(fault.to_string(), "load page fault (cause 13) at 0x1234: not mapped");
    let fault = fault.fault().copied().expect("the guest's");
    assert_eq!((fault.va(), fault.code()), (VirtAddr(0x1234), 13));
}
