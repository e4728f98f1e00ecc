//! What each fence and each control change drops, and what it leaves (SDM Vol. 3A 4.10.4, Vol. 3C 29.4.3).
//!
//! A TLB that holds one of everything is set up anew for each instruction; then every entry is looked for.

use softmmu::addr::{Asid, VirtAddr, Vmid};
use softmmu::arch::Arch;
use softmmu::arch::x86::{Config, Control, Cr0, Cr4, Ept, Fence, Guest, Mode, Registers, Second, X86};
use softmmu::memory::Ram;
use softmmu::mmu::Mmu;
use softmmu::tlb::{Key, SetAssociative, Side, Space, Tlb, TlbEntry};

use crate::support::*;

const VA: u64 = 0x40_0000;
const OTHER: u64 = 0x80_0000;
const HOST: u8 = 0;
const GUEST: u8 = 1;

fn entry(regime: u8, vmid: u16, asid: u16, va: u64, global: bool) -> TlbEntry {
    TlbEntry {
        va,
        pa: va,
        gpa: va,
        rights: 0,
        space: Space::new(regime, Vmid(vmid), Asid(asid)),
        global,
        size_bits: 12,
        leaf_bits: 12,
        leaf2_bits: 12,
        level: 0,
        attr: 0,
    }
}

/// Two pages, plain and global, of each PCID of the host, of a guest without EPT, and of one under an EPT root.
fn everything() -> Vec<TlbEntry> {
    let mut all = Vec::new();
    for (regime, vmid) in [(HOST, 0), (GUEST, 1), (GUEST, 2), (2, 1), (3, 2)] {
        for asid in [0, 5, 6] {
            all.extend([VA, OTHER].map(|va| entry(regime, vmid, asid, va, false)));
        }
        all.extend([VA + 0x1000, OTHER + 0x1000].map(|va| entry(regime, vmid, 0, va, true)));
    }
    all
}

fn ept(root: u64) -> Second {
    Second::Ept(Ept { pointer: root | 6 | 3 << 3, mode_based_execute: false })
}

fn host() -> Registers {
    let mut registers = registers(Mode::Level4);
    registers.cr4 |= Cr4::PCIDE;
    registers.cr3 = 0x1005;
    registers
}

type Hart = Mmu<X86, Ram, SetAssociative>;

/// A hart in the given world that has seen EPT roots 0x2000 (regime 2) and 0x3000 (regime 3), and holds everything.
fn hart(guest: Option<Guest>) -> Hart {
    let mut mmu = Mmu::new(X86::new(Config::INTEL), ram(), tlb());
    let mut enter = |guest| {
        mmu.control(Control::Enter { registers: host(), guest, pdptes: None }).expect("a sound state");
    };
    enter(Some(Guest { vmid: Vmid(1), second: Some(ept(0x2000)) }));
    enter(Some(Guest { vmid: Vmid(2), second: Some(ept(0x3000)) }));
    enter(guest);
    for entry in everything() {
        mmu.tlb_mut().insert(entry, Side::Data);
    }
    mmu
}

/// What `act` drops of everything.
fn dropped(guest: Option<Guest>, act: impl FnOnce(&mut Hart)) -> Vec<TlbEntry> {
    let mut mmu = hart(guest);
    act(&mut mmu);
    let mut here = |entry: &TlbEntry| {
        let found = mmu.tlb().peek(&Key { va: entry.va, space: entry.space }, Side::Data);
        found.is_some_and(|found| found == *entry)
    };
    everything().into_iter().filter(|entry| !here(entry)).collect()
}

#[track_caller]
fn check(guest: Option<Guest>, act: impl FnOnce(&mut Hart), expected: impl Fn(&TlbEntry) -> bool) {
    let expected: Vec<_> = everything().into_iter().filter(|entry| expected(entry)).collect();
    let [expected, got] = [expected, dropped(guest, act)].map(|entries| {
        entries
            .iter()
            .map(|e| format!("{:x} {:#x}{}", e.space.bits(), e.va, if e.global { " G" } else { "" }))
            .collect::<Vec<_>>()
    });
    assert_eq!(got, expected);
}

fn is(entry: &TlbEntry, regime: u8, vmid: u16) -> bool {
    entry.space.regime() == regime && entry.space.vmid().0 == vmid
}

/// In the PCID, or global.
fn of_pcid(entry: &TlbEntry, pcid: u16) -> bool {
    entry.global || entry.space.asid().0 == pcid
}

#[test]
fn fences_of_the_host() {
    let fence = |fence| move |mmu: &mut Hart| mmu.fence(fence);
    let host = |entry: &TlbEntry| is(entry, HOST, 0);
    check(None, fence(Fence::Invlpg(VirtAddr(VA + 0xabc))), |e| host(e) && e.va == VA && of_pcid(e, 5));
    check(None, fence(Fence::Invlpg(VirtAddr(VA + 0x1000))), |e| host(e) && e.va == VA + 0x1000);
    check(None, fence(Fence::InvpcidAddress(Asid(6), VirtAddr(VA))), |e| {
        host(e) && e.va == VA && e.space.asid() == Asid(6) && !e.global
    });
    check(None, fence(Fence::InvpcidAddress(Asid(5), VirtAddr(VA + 0x1000))), |_| false);
    check(None, fence(Fence::InvpcidContext(Asid(6))), |e| host(e) && e.space.asid() == Asid(6) && !e.global);
    check(None, fence(Fence::InvpcidAll), host);
    check(None, fence(Fence::InvpcidAllRetainingGlobal), |e| host(e) && !e.global);
}

#[test]
fn fences_of_a_guest_stay_in_its_vmid_under_every_root() {
    let fence = |fence| move |mmu: &mut Hart| mmu.fence(fence);
    let own = |entry: &TlbEntry| entry.space.vmid() == Vmid(1);
    for second in [None, Some(ept(0x2000)), Some(npt(Mode::Level4))] {
        let guest = Some(Guest { vmid: Vmid(1), second });
        check(guest, fence(Fence::Invlpg(VirtAddr(VA))), |e| own(e) && e.va == VA && of_pcid(e, 5));
        check(guest, fence(Fence::InvpcidContext(Asid(5))), |e| {
            own(e) && e.space.asid() == Asid(5) && !e.global
        });
        check(guest, fence(Fence::InvpcidAll), own);
    }
}

#[test]
fn fences_of_a_hypervisor() {
    let fence = |fence| move |mmu: &mut Hart| mmu.fence(fence);
    let vmid = |n| move |e: &TlbEntry| e.space.vmid() == Vmid(n);
    check(None, fence(Fence::InvvpidAddress(Vmid(2), VirtAddr(OTHER))), |e| vmid(2)(e) && e.va == OTHER);
    check(None, fence(Fence::InvvpidContext(Vmid(1))), vmid(1));
    check(None, fence(Fence::InvvpidContextRetainingGlobal(Vmid(1))), |e| vmid(1)(e) && !e.global);
    check(None, fence(Fence::InvvpidAll), |e| e.space.vmid() != Vmid(0));
    check(None, fence(Fence::InveptContext(0x2000 | 6 | 3 << 3 | 1 << 6)), |e| e.space.regime() == 2);
    check(None, fence(Fence::InveptContext(0x7000)), |_| false);
    check(None, fence(Fence::InveptAll), |e| e.space.regime() >= 2);
    check(None, fence(Fence::Invlpga(VirtAddr(VA + 0x1000), Vmid(2))), |e| vmid(2)(e) && e.va == VA + 0x1000);
    check(None, fence(Fence::Invlpga(VirtAddr(VA), Vmid(0))), |e| vmid(0)(e) && e.va == VA);
    check(None, fence(Fence::TlbControlAll), |_| true);
    check(None, fence(Fence::TlbControlGuest(Vmid(2))), vmid(2));
    check(None, fence(Fence::TlbControlGuestNonGlobal(Vmid(2))), |e| vmid(2)(e) && !e.global);
}

#[test]
fn control_writes() {
    let write = |change| move |mmu: &mut Hart| mmu.control(change).expect("a sound value");
    let host = |entry: &TlbEntry| is(entry, HOST, 0);
    let Registers { cr0, cr4, efer, .. } = self::host();
    // MOV to CR3: the new PCID's, without its global ones; nothing with bit 63.
    check(None, write(Control::Cr3(0x2006)), |e| host(e) && e.space.asid() == Asid(6) && !e.global);
    check(None, write(Control::Cr3(0x1005)), |e| host(e) && e.space.asid() == Asid(5) && !e.global);
    check(None, write(Control::Cr3(1 << 63 | 0x2006)), |_| false);
    // MOV to CR4.
    let cr4_with = |change: Cr4| write(Control::Cr4((cr4 ^ change).bits()));
    for all in [Cr4::PGE, Cr4::PSE, Cr4::PCIDE, Cr4::PGE | Cr4::SMEP] {
        check(None, cr4_with(all), host);
    }
    check(None, cr4_with(Cr4::SMEP), |e| host(e) && of_pcid(e, 5));
    for none in [Cr4::SMAP, Cr4::PKE, Cr4::PKS, Cr4::CET, Cr4::empty()] {
        check(None, cr4_with(none), |_| false);
    }
    let smep_off = |mmu: &mut Hart| {
        mmu.control(Control::Cr4((cr4 | Cr4::SMEP).bits())).expect("sound");
        for entry in everything() {
            mmu.tlb_mut().insert(entry, Side::Data);
        }
        mmu.control(Control::Cr4(cr4.bits())).expect("sound");
    };
    check(None, smep_off, |_| false);
    // MOV to CR0 and the rest.
    check(None, write(Control::Cr0((cr0 - Cr0::WP).bits())), |_| false);
    let paging_off = |mmu: &mut Hart| {
        mmu.control(Control::Cr3(1 << 63 | 0x1000)).expect("sound");
        mmu.control(Control::Cr4((cr4 - Cr4::PCIDE).bits())).expect("sound");
        for entry in everything() {
            mmu.tlb_mut().insert(entry, Side::Data);
        }
        mmu.control(Control::Cr0((cr0 - Cr0::PG).bits())).expect("sound");
    };
    check(None, paging_off, host);
    let efer_without = |bit| write(Control::Efer((efer - bit).bits()));
    check(None, efer_without(softmmu::arch::x86::Efer::NXE), |_| false);
    for change in [
        Control::Pkru(!0),
        Control::Pkrs(!0),
        Control::Ac(true),
        Control::Cpl(3),
        Control::Pat(0x0606_0606_0606_0606),
    ] {
        check(None, write(change), |_| false);
    }
    check(None, write(Control::Load(self::host())), |_| true);
    // In a guest: its own, under every root.
    let guest = Some(Guest { vmid: Vmid(1), second: Some(ept(0x2000)) });
    check(guest, write(Control::Cr3(0x2006)), |e| {
        e.space.vmid() == Vmid(1) && e.space.asid() == Asid(6) && !e.global
    });
    check(guest, cr4_with(Cr4::PGE), |e| e.space.vmid() == Vmid(1));
}

#[test]
fn world_switches() {
    let enter = |guest| {
        move |mmu: &mut Hart| {
            mmu.control(Control::Enter { registers: host(), guest, pdptes: None }).expect("sound");
        }
    };
    let tagged = Some(Guest { vmid: Vmid(1), second: Some(ept(0x2000)) });
    let untagged = Some(Guest { vmid: Vmid(0), second: Some(ept(0x2000)) });
    check(None, enter(tagged), |_| false);
    check(tagged, enter(None), |_| false);
    // Without a VPID, VPID 0 is shared, and goes at each transition.
    check(None, enter(untagged), |e| e.space.vmid() == Vmid(0));
    check(untagged, enter(None), |e| e.space.vmid() == Vmid(0));
}

#[test]
fn each_ept_root_is_a_regime_until_there_are_too_many() {
    let mut mmu = hart(None);
    let mut enter = |root: u64| {
        let guest = Some(Guest { vmid: Vmid(1), second: Some(ept(root)) });
        mmu.control(Control::Enter { registers: host(), guest, pdptes: None }).expect("sound");
        (mmu.arch().space().regime(), mmu.tlb().len())
    };
    let full = everything().len();
    // 0x2000 and 0x3000 are known; six more find room.
    for (root, regime) in
        [(0x2000, 2), (0x3000, 3), (0x4000, 4), (0x9000, 5), (0xa000, 6), (0xb000, 7), (0xc000, 8)]
    {
        assert_eq!(enter(root), (regime, full));
        assert_eq!(enter(root), (regime, full));
    }
    assert_eq!(enter(0xd000), (9, full));
    assert_eq!(enter(0x2000), (2, full));
    // The ninth begins anew, and whatever was made under any root goes.
    let under_roots = everything().iter().filter(|e| e.space.regime() >= 2).count();
    assert_eq!(enter(0xe000), (2, full - under_roots));
    assert_eq!(enter(0x2000), (3, full - under_roots));
}

#[test]
fn invpcid_checks_its_operands() {
    let x86 = *hart(None).arch();
    assert_eq!(x86.invpcid(0, [5, VA]), Ok(Fence::InvpcidAddress(Asid(5), VirtAddr(VA))));
    assert_eq!(x86.invpcid(1, [5, 1 << 60]), Ok(Fence::InvpcidContext(Asid(5))));
    assert_eq!(x86.invpcid(2, [0, 0]), Ok(Fence::InvpcidAll));
    assert_eq!(x86.invpcid(3, [0, 0]), Ok(Fence::InvpcidAllRetainingGlobal));
    for (kind, descriptor) in [(4, [0, 0]), (0, [1 << 12, VA]), (2, [1 << 63, 0]), (0, [5, 1 << 60])] {
        assert!(x86.invpcid(kind, descriptor).is_err(), "{kind} {descriptor:x?}");
    }
    let without = X86::with_registers(Config::INTEL, registers(Mode::Level4));
    assert!(without.invpcid(0, [5, VA]).is_err(), "a PCID without CR4.PCIDE");
    assert!(without.invpcid(0, [0, VA]).is_ok());
    let _: fn(&X86, Fence, &mut dyn FnMut(softmmu::tlb::Scope)) = X86::fence;
}
