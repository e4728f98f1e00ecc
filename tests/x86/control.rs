//! What control-register writes refuse: #GP, and nothing has changed (SDM Vol. 2, MOV to control registers).

use softmmu::addr::VirtAddr;
use softmmu::arch::x86::{Config, Control, Cr0, Cr4, Efer, Fault, Mode};

use crate::support::*;

const GP: Result<(), Fault> = Err(Fault::GeneralProtection { va: VirtAddr(0) });

#[track_caller]
fn refused(pc: &mut Pc, change: Control) {
    let before = *pc.mmu.arch();
    assert_eq!(pc.try_set(change), GP, "{change:?}");
    assert_eq!(*pc.mmu.arch(), before, "{change:?}");
}

#[test]
fn cr0() {
    let mut pc = Pc::new(Mode::Level4);
    let cr0 = pc.mmu.arch().registers().cr0;
    refused(&mut pc, Control::Cr0((cr0 - Cr0::PE).bits()));
    refused(&mut pc, Control::Cr0((cr0 | Cr0::NW).bits()));
    refused(&mut pc, Control::Cr0(cr0.bits() | 1 << 32));
    // Paging goes off only without PCIDs, write protection only without shadow stacks.
    pc.cr4(|cr4| cr4 | Cr4::PCIDE | Cr4::CET);
    refused(&mut pc, Control::Cr0((cr0 - Cr0::PG).bits()));
    refused(&mut pc, Control::Cr0((cr0 - Cr0::WP).bits()));
    pc.cr4(|cr4| cr4 - Cr4::PCIDE - Cr4::CET);
    pc.set(Control::Cr0((cr0 - Cr0::PG).bits()));
    assert_eq!(pc.mmu.arch().mode(), Mode::Off);
    assert!(!pc.mmu.arch().registers().efer.contains(Efer::LMA));
    // Long mode needs PAE.
    pc.cr4(|cr4| cr4 - Cr4::PAE);
    refused(&mut pc, Control::Cr0(cr0.bits()));
    pc.cr4(|cr4| cr4 | Cr4::PAE | Cr4::LA57);
    pc.set(Control::Cr0(cr0.bits()));
    assert_eq!(pc.mmu.arch().mode(), Mode::Level5);
    assert!(pc.mmu.arch().registers().efer.contains(Efer::LMA));
}

#[test]
fn cr4_and_efer() {
    let mut pc = Pc::new(Mode::Level4);
    let cr4 = pc.mmu.arch().registers().cr4;
    refused(&mut pc, Control::Cr4((cr4 - Cr4::PAE).bits()));
    refused(&mut pc, Control::Cr4((cr4 | Cr4::LA57).bits()));
    pc.set(Control::Cr3(0x1008));
    refused(&mut pc, Control::Cr4((cr4 | Cr4::PCIDE).bits()));
    pc.set(Control::Cr3(0x1000));
    pc.cr4(|cr4| cr4 | Cr4::PCIDE);
    pc.wp(false);
    refused(&mut pc, Control::Cr4((cr4 | Cr4::CET).bits()));
    refused(&mut pc, Control::Efer(Efer::NXE.bits()));
    // LMA is not written.
    pc.set(Control::Efer((Efer::LME | Efer::NXE).bits()));
    assert_eq!(pc.mmu.arch().mode(), Mode::Level4);
    let mut pc = Pc::new(Mode::Legacy32);
    refused(&mut pc, Control::Cr4((Cr4::PSE | Cr4::PCIDE).bits()));
    // A processor refuses what it does not have.
    let mut pc = Pc::of(Config::ZEN2, registers(Mode::Level4));
    refused(&mut pc, Control::Cr4((cr4 | Cr4::PCIDE).bits()));
    refused(&mut pc, Control::Cr4((cr4 | Cr4::PKE).bits()));
    pc.cr4(|cr4| cr4 | Cr4::SMEP | Cr4::SMAP);
}

#[test]
fn cr3_and_pat() {
    let mut pc = Pc::of(Config { maxphyaddr: 40, ..Config::INTEL }, registers(Mode::Level4));
    for bit in 40..64 {
        refused(&mut pc, Control::Cr3(0x1000 | 1 << bit));
    }
    pc.cr4(|cr4| cr4 | Cr4::PCIDE);
    pc.set(Control::Cr3(0x1000 | 1 << 63));
    assert_eq!(pc.mmu.arch().registers().cr3, 0x1000);
    for (at, ty) in [(0, 2), (3, 3), (7, 8), (5, 0x80)] {
        refused(&mut pc, Control::Pat(ty << (8 * at)));
    }
    pc.set(Control::Pat(0x0001_0405_0607_0000));
}

#[test]
fn pae_reloads_its_pdptes_with_cr0_and_cr4() {
    type Reload = fn(&mut Pc) -> Result<(), Fault>;
    let reload: [Reload; 4] = [
        |pc| pc.try_set(Control::Cr0((pc.mmu.arch().registers().cr0 ^ Cr0::CD).bits())),
        |pc| pc.try_set(Control::Cr4((pc.mmu.arch().registers().cr4 ^ Cr4::PGE).bits())),
        |pc| pc.try_set(Control::Cr4((pc.mmu.arch().registers().cr4 ^ Cr4::SMEP).bits())),
        |pc| pc.try_set(Control::Cr4((pc.mmu.arch().registers().cr4 ^ Cr4::PSE).bits())),
    ];
    for reload in reload {
        let mut pc = Pc::new(Mode::Pae);
        pc.map(0, 12, 0x5000 | OPEN);
        let pdpte = pc.place(0, 30);
        let good = pc.raw(pdpte);
        pc.poke(pdpte, good | W);
        let before = *pc.mmu.arch();
        assert_eq!(reload(&mut pc), GP);
        assert_eq!(*pc.mmu.arch(), before);
        pc.poke(pdpte, 0);
        assert_eq!(reload(&mut pc), Ok(()));
        assert_eq!(pc.mmu.arch().pdptes()[0], 0);
    }
    // Writes that change none of those bits load nothing.
    let mut pc = Pc::new(Mode::Pae);
    let pdpte = pc.place(0, 30);
    pc.poke(pdpte, 0);
    pc.wp(false);
    pc.cr4(|cr4| cr4 | Cr4::SMAP);
    pc.set(Control::Efer(0));
    assert_ne!(pc.mmu.arch().pdptes()[0], 0);
}

#[test]
fn a_guest_switches_through_all_modes() {
    // Reset, 32-bit paging, PAE, 4-level, 5-level, and back, as a boot loader does it.
    let mut pc = Pc::new(Mode::Off);
    assert_eq!(pc.read(0x1234), Ok(0x1234));
    for mode in
        [Mode::Legacy32, Mode::Pae, Mode::Level4, Mode::Level5, Mode::Level4, Mode::Pae, Mode::Legacy32]
    {
        let wanted = registers(mode);
        let off = pc.mmu.arch().registers().cr0 - Cr0::PG;
        pc.set(Control::Cr0(off.bits()));
        pc.set(Control::Cr4(wanted.cr4.bits()));
        pc.set(Control::Efer(wanted.efer.bits()));
        let root = 0x40_0000 + 0x10_0000 * mode as u64;
        pc.tables = Tables::new(mode, root);
        pc.map(0x1000, 12, 0x7000 | OPEN);
        pc.set(Control::Cr3(root));
        pc.set(Control::Cr0(wanted.cr0.bits()));
        assert_eq!(pc.mmu.arch().mode(), mode);
        assert_eq!(pc.read(0x1234), Ok(0x7234), "{mode:?}");
    }
}
