//! Bugs that shipped in other MMUs, each as the case that would have caught it here: x86.
//!
//! Numbers follow the project's list of such bugs. Not on this architecture:
//!
//! - 8, 9: MXR and HLVX are RISC-V's; reads of execute-only pages are EPT's (12).
//! - 13: there is no physical protection below a page.
//! - 27: replacement and counting are the TLB's and know no architecture (`tests/tlb`).
//! - 28: a walk is given its context as a value; nothing can change it on the way.
//! - 30, 31, 34: devices, hooks and frame allocators know no architecture (`memory`, `mmu`, `frame`).

#[path = "x86/support.rs"]
mod support;

use std::cell::Cell;

use softmmu::access::{AccessKind, Width};
use softmmu::addr::{Asid, GuestAddr, PhysAddr, VirtAddr, Vmid};
use softmmu::arch::x86::{
    Config, Control, Cr0, Cr4, Efer, Ept, EptQualification, Fault, Fence, Flavor, Mode, PageFaultCode,
    Second, Vendor,
};
use softmmu::memory::{Bus, BusError, PhysMemory, Ram};
use softmmu::mmu::AccessError;
use support::*;

use PageFaultCode as Code;

const PAGED: [Mode; 4] = [Mode::Legacy32, Mode::Pae, Mode::Level4, Mode::Level5];
const VA: u64 = 0x40_0000;
const PA: u64 = 0x80_0000;
const PA2: u64 = PA + 0x1000;

fn cr4(x: Cr4) -> softmmu::arch::x86::Registers {
    let mut registers = registers(Mode::Level4);
    registers.cr4 |= x;
    registers
}

#[test]
fn p01_dirty_is_set_by_the_first_write_after_a_read_filled_the_tlb() {
    for mode in PAGED {
        let mut pc = Pc::new(mode);
        let at = pc.map(VA, 12, PA | OPEN);
        assert_eq!(pc.read(VA), Ok(PA));
        assert_eq!(pc.raw(at), PA | OPEN | A, "{mode:?}");
        assert!(pc.cached(VA));
        assert_eq!(pc.write(VA), Ok(PA));
        assert_eq!(pc.raw(at), PA | OPEN | A | D, "{mode:?}");
        // And through the fast path of typed accesses as well.
        let at = pc.map(VA + 0x1000, 12, PA | OPEN);
        pc.mmu.load::<u64>(VirtAddr(VA + 0x1000)).expect("mapped");
        pc.mmu.load::<u64>(VirtAddr(VA + 0x1000)).expect("mapped");
        pc.mmu.store(VirtAddr(VA + 0x1000), 1u64).expect("mapped");
        assert_eq!(pc.raw(at), PA | OPEN | A | D, "{mode:?}");
    }
}

#[test]
fn p02_no_mark_is_left_by_an_access_that_faults() {
    for mode in PAGED {
        let mut pc = Pc::new(mode);
        let at = pc.map(VA, 12, PA | P | U);
        let upper = pc.place(VA, if mode == Mode::Legacy32 { 22 } else { 21 });
        pc.poke(upper, pc.raw(upper) & !A);
        let before = (pc.raw(at), pc.raw(upper));
        assert_eq!(pc.user().write(VA), pf(Code::PRESENT | Code::WRITE | Code::USER, VA));
        assert_eq!((pc.raw(at), pc.raw(upper)), before, "{mode:?}");
        pc.poke(at, PA & !P);
        assert_eq!(pc.read(VA), pf(Code::USER, VA));
        assert_eq!(pc.raw(upper), before.1, "{mode:?}");
    }
}

/// Where a processor marks tables on the way to a fault, it is exactly those that it went through.
#[test]
fn p02_a_named_configuration_marks_the_tables_of_a_faulting_walk() {
    let mut pc = Pc::of(Config::SKYLAKE_CLIENT, registers(Mode::Level4));
    let leaf = pc.map(VA, 12, 0);
    let places = [39, 30, 21].map(|shift| pc.place(VA, shift));
    for at in places {
        pc.poke(at, pc.raw(at) & !A);
    }
    assert_eq!(pc.read(VA), pf(Code::empty(), VA));
    for at in places {
        assert_eq!(pc.raw(at) & A, A);
    }
    assert_eq!(pc.raw(leaf), 0);
}

/// RAM in which another hart takes the write permission of one entry away just before the first compare-and-swap.
struct Racing {
    ram: Ram,
    at: Cell<Option<u64>>,
}

impl PhysMemory for Racing {
    fn read(&self, pa: PhysAddr, width: Width) -> Result<u64, BusError> {
        self.ram.read(pa, width)
    }
    fn write(&self, pa: PhysAddr, width: Width, value: u64) -> Result<(), BusError> {
        self.ram.write(pa, width, value)
    }
    fn compare_exchange(
        &self,
        pa: PhysAddr,
        width: Width,
        old: u64,
        new: u64,
    ) -> Result<Result<(), u64>, BusError> {
        if let Some(at) = self.at.take() {
            put(&self.ram, at, width.bytes(), get(&self.ram, at, width.bytes()) & !W);
        }
        self.ram.compare_exchange(pa, width, old, new)
    }
    fn read_bytes(&self, pa: PhysAddr, out: &mut [u8]) -> Result<(), BusError> {
        self.ram.read_bytes(pa, out)
    }
    fn write_bytes(&self, pa: PhysAddr, data: &[u8]) -> Result<(), BusError> {
        self.ram.write_bytes(pa, data)
    }
    fn read_pte(&self, pa: PhysAddr, width: Width) -> Result<u64, BusError> {
        self.ram.read_pte(pa, width)
    }
}

#[test]
fn p03_a_mark_is_set_only_in_the_entry_that_was_judged() {
    for mode in PAGED {
        let racing = Racing { ram: ram(), at: Cell::new(None) };
        let mut pc = Pc::on(racing, Config::INTEL, registers(mode));
        let at = pc.map(VA, 12, PA | OPEN);
        // The leaf changes before it is marked: the walk is made again and refuses.
        pc.mmu.memory().at.set(Some(at));
        assert_eq!(pc.write(VA), pf(Code::PRESENT | Code::WRITE, VA));
        assert_eq!(pc.raw(at) & D, 0, "{mode:?}");
        assert_eq!(pc.mmu.stats().races, 1);
        // The leaf changes while the table above it is marked.
        let upper = pc.place(VA, if mode == Mode::Legacy32 { 22 } else { 21 });
        pc.poke(at, PA | OPEN);
        pc.poke(upper, pc.raw(upper) & !A);
        pc.mmu.memory().at.set(Some(at));
        assert_eq!(pc.write(VA), pf(Code::PRESENT | Code::WRITE, VA));
        assert_eq!(pc.raw(at) & D, 0, "{mode:?}");
    }
}

#[test]
fn p04_marks_in_rom_are_a_bus_error() {
    // A one-entry page table in ROM, accessed but not dirty.
    let mut bytes = vec![0; 0x1000];
    bytes[..8].copy_from_slice(&(PA | OPEN | A).to_le_bytes());
    let mut bus: Bus = Bus::new();
    bus.add_ram(ram()).expect("RAM");
    bus.add_rom(PhysAddr(RAM), &bytes).expect("ROM");
    let mut pc = Pc::on(bus, Config::INTEL, registers(Mode::Level4));
    pc.map(0, 21, RAM | OPEN | A);
    assert_eq!(pc.read(0), Ok(PA));
    let error = pc.mmu.store(VirtAddr(0), 1u64).expect_err("no mark can be set");
    assert_eq!(error, AccessError::Bus(BusError::ReadOnly { pa: PhysAddr(RAM) }));
    assert_eq!(pc.mmu.memory().read(PhysAddr(PA), Width::W8), Ok(0), "nothing was stored");
}

#[test]
fn p05_entries_of_32_bit_paging_are_four_bytes() {
    let mut pc = Pc::new(Mode::Legacy32);
    // The table's last entry is the last word of RAM; its neighbour below must not change.
    let table = RAM - 0x1000;
    pc.map(0xffc0_0000, 22, table | OPEN);
    put(pc.mmu.memory(), RAM - 8, 4, 0xdead_be00);
    put(pc.mmu.memory(), RAM - 4, 4, PA | OPEN);
    assert_eq!(pc.write(0xffff_f123), Ok(PA + 0x123));
    assert_eq!(get(pc.mmu.memory(), RAM - 8, 8), (PA | OPEN | A | D) << 32 | 0xdead_be00);
}

#[test]
fn p06_dirty_follows_write_protect_as_it_stands() {
    for mode in PAGED {
        let mut pc = Pc::new(mode);
        let at = pc.map(VA, 12, PA | P);
        assert_eq!(pc.write(VA), pf(Code::PRESENT | Code::WRITE, VA));
        assert_eq!(pc.raw(at), PA | P);
        pc.wp(false);
        assert_eq!(pc.write(VA), Ok(PA));
        assert_eq!(pc.raw(at), PA | P | A | D, "{mode:?}: a supervisor write to a read-only page marks it");
        pc.wp(true);
        assert_eq!(pc.write(VA), pf(Code::PRESENT | Code::WRITE, VA));
    }
}

#[test]
fn p07_p25_a_change_of_rights_holds_at_once_and_drops_nothing() {
    let mut pc = Pc::of(Config::INTEL, cr4(Cr4::SMAP | Cr4::SMEP | Cr4::PKE | Cr4::PKS));
    let (user, kernel) = (VA, VA + 0x1000);
    pc.map(user, 12, PA | OPEN | 5 << 59);
    pc.map(kernel, 12, PA | P | W | 6 << 59);
    pc.set(Control::Ac(true));
    assert_eq!(pc.write(user), Ok(PA));
    assert_eq!(pc.write(kernel), Ok(PA));
    let both = Code::PRESENT | Code::WRITE;

    pc.set(Control::Ac(false));
    assert_eq!(pc.write(user), pf(both, user), "SMAP");
    assert_eq!(pc.touch(AccessKind::Write, user, Flavor::ImplicitSupervisor), pf(both, user));
    pc.set(Control::Ac(true));
    assert_eq!(pc.walks(|pc| assert_eq!(pc.write(user), Ok(PA))), 0);
    assert_eq!(
        pc.touch(AccessKind::Write, user, Flavor::ImplicitSupervisor),
        pf(both, user),
        "AC does not help"
    );

    assert_eq!(pc.fetch(user), pf(Code::PRESENT | Code::FETCH, user), "SMEP");
    pc.cr4(|cr4| cr4 - Cr4::SMEP);
    assert_eq!(pc.fetch(user), Ok(PA));

    pc.set(Control::Pkru(0b10 << 10));
    assert_eq!(pc.write(user), pf(both | Code::KEY, user), "PKRU.WD5");
    assert_eq!(pc.walks(|pc| assert_eq!(pc.read(user), Ok(PA))), 0);
    pc.set(Control::Pkru(0b01 << 10));
    assert_eq!(pc.read(user), pf(Code::PRESENT | Code::KEY, user), "PKRU.AD5");
    assert_eq!(pc.fetch(user), Ok(PA), "keys do not concern fetches");
    pc.set(Control::Pkru(0));
    pc.set(Control::Pkrs(0b10 << 12));
    assert_eq!(pc.write(kernel), pf(both | Code::KEY, kernel), "PKRS.WD6");
    pc.wp(false);
    assert_eq!(pc.walks(|pc| assert_eq!(pc.write(kernel), Ok(PA))), 0, "WD needs WP for supervisor writes");
    pc.wp(true);
    pc.set(Control::Pkrs(0));
    assert_eq!(pc.walks(|pc| assert_eq!(pc.write(kernel), Ok(PA))), 0);

    assert_eq!(pc.user().read(kernel), pf(Code::PRESENT | Code::USER, kernel));
    assert_eq!(pc.walks(|pc| assert_eq!(pc.kernel().read(kernel), Ok(PA))), 0);
}

#[test]
fn p07_p25_nxe_changes_what_a_cached_translation_means() {
    for mode in [Mode::Pae, Mode::Level4, Mode::Level5] {
        let mut pc = Pc::new(mode);
        pc.map(VA, 12, PA | OPEN | NX);
        assert_eq!(pc.read(VA), Ok(PA));
        let efer = pc.mmu.arch().registers().efer;
        pc.set(Control::Efer((efer - Efer::NXE).bits()));
        assert_eq!(pc.read(VA), pf(Code::PRESENT | Code::RESERVED, VA), "{mode:?}: XD is reserved now");
        pc.set(Control::Efer(efer.bits()));
        assert_eq!(pc.read(VA), Ok(PA));
        assert_eq!(pc.fetch(VA), pf(Code::PRESENT | Code::FETCH, VA));
    }
}

#[test]
fn p10_p12_a_translation_made_for_data_is_none_for_fetches_nor_the_reverse() {
    let mut pc = Pc::new(Mode::Level4);
    pc.map(VA, 12, PA | OPEN | NX);
    assert_eq!(pc.write(VA), Ok(PA));
    assert_eq!(pc.fetch(VA), pf(Code::PRESENT | Code::FETCH, VA));

    let mut pc = Pc::nested(Mode::Level4, ept());
    pc.map(VA, 12, PA | OPEN);
    pc.split2(PA, PA | 4);
    assert_eq!(pc.fetch(VA), Ok(PA));
    assert!(matches!(pc.read(VA), Err(Fault::EptViolation { qualification, .. })
        if qualification.contains(EptQualification::READ | EptQualification::EXECUTABLE)));
}

#[test]
fn p12_p26_an_unmapped_or_moved_page_is_gone_after_its_fence() {
    let mut pc = Pc::new(Mode::Level4);
    let at = pc.map(VA, 12, PA | OPEN);
    pc.mmu.store(VirtAddr(VA), 1u64).expect("mapped");
    // Copy on write: another frame.
    pc.poke(at, PA2 | OPEN);
    pc.mmu.fence(Fence::Invlpg(VirtAddr(VA + 0x234)));
    pc.mmu.store(VirtAddr(VA), 2u64).expect("mapped");
    assert_eq!(get(pc.mmu.memory(), PA, 8), 1);
    assert_eq!(get(pc.mmu.memory(), PA + 0x1000, 8), 2);
    pc.poke(at, 0);
    pc.mmu.fence(Fence::Invlpg(VirtAddr(VA)));
    assert_eq!(pc.read(VA), pf(Code::empty(), VA));
}

#[test]
fn p11_guest_tables_are_read_as_tables_whatever_the_access() {
    for host in PAGED {
        let mut pc = Pc::nested(Mode::Level4, npt(host));
        let at = pc.map(VA, 12, PA | OPEN | A | D);
        let page = at & !0xfff;
        pc.split2(page, page | P | U);
        for touch in [Pc::read, Pc::write, Pc::fetch] {
            let expected = Fault::NestedPage { info: 1 << 33 | 7, gpa: GuestAddr(at), va: VirtAddr(VA) };
            assert_eq!(touch(&mut pc, VA), Err(expected), "{host:?}: a write by the user, never a fetch");
        }
    }
}

#[test]
fn p14_no_leaf_widens_what_a_table_narrows() {
    for mode in PAGED {
        let shift = if mode == Mode::Legacy32 { 22 } else { 21 };
        let narrowed: [(u64, fn(&mut Pc, u64) -> Result<u64, Fault>, Code); 3] = [
            (U, |pc, va| pc.user().read(va), Code::PRESENT | Code::USER),
            (W, |pc, va| pc.user().write(va), Code::PRESENT | Code::USER | Code::WRITE),
            (NX, |pc, va| pc.user().fetch(va), Code::PRESENT | Code::USER | Code::FETCH),
        ];
        for (bit, touch, code) in narrowed {
            if bit == NX && mode == Mode::Legacy32 {
                continue;
            }
            let mut pc = Pc::new(mode);
            pc.map(VA, 12, PA | OPEN);
            let upper = pc.place(VA, shift);
            pc.poke(upper, pc.raw(upper) ^ bit);
            assert_eq!(touch(&mut pc, VA), pf(code, VA), "{mode:?}");
        }
    }
}

#[test]
fn p15_atomics_need_the_second_stage_to_allow_writes() {
    let mut pc = Pc::nested(Mode::Level4, npt(Mode::Level4));
    pc.map(VA, 12, PA | OPEN);
    pc.split2(PA, PA | P | U);
    assert_eq!(pc.read(VA), Ok(PA));
    let expected = Fault::NestedPage { info: 1 << 32 | 7, gpa: GuestAddr(PA), va: VirtAddr(VA) };
    // On a hit and on a miss alike.
    assert_eq!(pc.rmw(VA), Err(expected));
    pc.mmu.fence(Fence::InvpcidAll);
    assert_eq!(pc.rmw(VA), Err(expected));
}

#[test]
fn p15_the_cached_page_is_the_smaller_of_both_stages() {
    for second in [ept(), npt(Mode::Level4)] {
        let mut pc = Pc::nested(Mode::Level4, second);
        pc.map(VA, 21, PA | OPEN | PS);
        pc.split2(
            PA + 0x1000,
            (PA + 0x5000) | if matches!(second, Second::Ept(_)) { EPT_OPEN } else { OPEN },
        );
        assert_eq!(pc.read(VA), Ok(PA));
        assert_eq!(pc.read(VA + 0x1000), Ok(PA + 0x5000));
        assert_eq!(pc.read(VA + 0x2000), Ok(PA + 0x2000));
        // Small guest pages in a large host page as well.
        pc.map(0x60_0000, 12, 0x3ff_f000 | OPEN);
        pc.map(0x60_1000, 12, 0x12_3000 | OPEN);
        assert_eq!(pc.read(0x60_0ff0), Ok(0x3ff_fff0));
        assert_eq!(pc.read(0x60_1ff0), Ok(0x12_3ff0));
    }
}

#[test]
fn p16_p17_reserved_encodings_are_refused() {
    let reserved = Code::PRESENT | Code::RESERVED;
    let check = |config: Config, mode: Mode, shift: u32, raw: u64, bad: bool| {
        let mut pc = Pc::of(config, registers(mode));
        pc.map(VA, shift, raw);
        let got = pc.read(VA);
        if bad {
            assert_eq!(got, pf(reserved, VA), "{mode:?}, 2^{shift}, {raw:#x}");
        } else {
            assert!(
                !matches!(got, Err(Fault::Page { code, .. }) if code == reserved),
                "{mode:?}, 2^{shift}, {raw:#x}"
            );
        }
    };
    let (intel, amd) = (Config::INTEL, Config::AMD);
    // Misaligned large pages; bit 12 is PAT.
    for bit in 13..21 {
        check(intel, Mode::Level4, 21, PA | OPEN | PS | 1 << bit, true);
        check(intel, Mode::Pae, 21, PA | OPEN | PS | 1 << bit, true);
    }
    for bit in 13..30 {
        check(intel, Mode::Level5, 30, OPEN | PS | 1 << bit, true);
    }
    check(intel, Mode::Level4, 21, PA | OPEN | PS | 1 << 12, false);
    check(Config { page1gb: false, ..intel }, Mode::Level4, 30, OPEN | PS, true);
    // PSE-36: the address grows into bits 13 to 20; the rest is reserved.
    for (maxphyaddr, first) in [(32, 13), (36, 17), (40, 21), (52, 21)] {
        for bit in 13..22 {
            check(
                Config { maxphyaddr, ..intel },
                Mode::Legacy32,
                22,
                PA | OPEN | PS | 1 << bit,
                bit >= first,
            );
            check(
                Config { maxphyaddr, pse36: false, ..intel },
                Mode::Legacy32,
                22,
                PA | OPEN | PS | 1 << bit,
                true,
            );
        }
    }
    // Upper tables: PS everywhere, bit 8 by vendor. A table entry may have D set.
    for shift in [39, 48] {
        check(intel, Mode::Level5, shift, 0x10_0000 | OPEN | PS, true);
        check(intel, Mode::Level5, shift, 0x10_0000 | OPEN | G, false);
        check(amd, Mode::Level5, shift, 0x10_0000 | OPEN | G, true);
        assert_eq!(amd.vendor, Vendor::Amd);
    }
    check(intel, Mode::Level4, 30, 0x10_0000 | OPEN | G | D, false);
    // XD where it is off.
    let mut pc = Pc::new(Mode::Level4);
    pc.map(VA, 12, PA | OPEN | NX);
    pc.set(Control::Efer(Efer::LME.bits()));
    assert_eq!(pc.read(VA), pf(reserved, VA));
}

#[test]
fn p18_high_address_bits_are_refused_not_masked() {
    for maxphyaddr in 32..=52u8 {
        let config = Config { maxphyaddr, ..Config::INTEL };
        for bit in 32..63 {
            for (mode, shift) in
                [(Mode::Level4, 12), (Mode::Level4, 30), (Mode::Level5, 48), (Mode::Pae, 12), (Mode::Pae, 21)]
            {
                let mut pc = Pc::of(config, registers(mode));
                let raw = if shift == 12 { PA } else { 0x20_0000 };
                pc.map(VA, shift, raw | OPEN | 1 << bit);
                let last = if mode == Mode::Pae { 62 } else { 51 };
                let reserved = (u32::from(maxphyaddr)..=last).contains(&bit);
                let refused = pf(Code::PRESENT | Code::RESERVED, VA);
                let addressed = bit < u32::from(maxphyaddr);
                if reserved {
                    assert_eq!(pc.read(VA), refused, "M={maxphyaddr} bit {bit} {mode:?} 2^{shift}");
                } else if shift == 12 {
                    let expected = if addressed { PA | 1 << bit } else { PA };
                    assert_eq!(pc.read(VA), Ok(expected), "M={maxphyaddr} bit {bit}");
                }
            }
        }
    }
}

#[test]
fn p19_canonical_form_is_the_modes() {
    for (mode, bits) in [(Mode::Level4, 48), (Mode::Level5, 57)] {
        let mut pc = Pc::new(mode);
        let edges =
            [(1 << (bits - 1)) - 1, 1 << (bits - 1), u64::MAX << (bits - 1), (u64::MAX << (bits - 1)) - 1];
        for (va, good) in edges.into_iter().zip([true, false, true, false]) {
            let fault = pc.read(va).expect_err("nothing is mapped");
            let not_canonical = Fault::GeneralProtection { va: VirtAddr(va) };
            assert_eq!(fault == not_canonical, !good, "{va:#x}");
            let through_stack = pc.touch(AccessKind::Read, va, Flavor::Stack);
            assert_eq!(through_stack == Err(Fault::Stack { va: VirtAddr(va) }), !good);
        }
        // An access whose last byte is not canonical, and one that wraps around the top.
        let last = (1 << (bits - 1)) - 4;
        let error = pc.mmu.load::<u64>(VirtAddr(last)).expect_err("not canonical");
        assert_eq!(error, AccessError::Fault(Fault::GeneralProtection { va: VirtAddr(last) }));
        pc.map(u64::MAX, 12, PA | OPEN);
        pc.map(0, 12, PA2 | OPEN);
        pc.mmu.store(VirtAddr(u64::MAX - 3), 0x1122_3344_5566_7788u64).expect("both are mapped");
        assert_eq!(get(pc.mmu.memory(), PA + 0xff8, 8) >> 32, 0x5566_7788);
        assert_eq!(get(pc.mmu.memory(), PA + 0x1000, 4), 0x1122_3344);
        // INVLPG of a non-canonical address is no operation, of the canonical one it drops the page.
        assert!(pc.cached(u64::MAX));
        pc.mmu.fence(Fence::Invlpg(VirtAddr(u64::MAX >> 1)));
        assert!(pc.cached(u64::MAX));
        pc.mmu.fence(Fence::Invlpg(VirtAddr(u64::MAX)));
        assert!(!pc.cached(u64::MAX));
    }
}

#[test]
fn p19_modes_without_a_high_half_use_32_bits() {
    for mode in [Mode::Off, Mode::Legacy32, Mode::Pae] {
        let mut pc = Pc::new(mode);
        if mode != Mode::Off {
            pc.map(PA, 12, PA | OPEN);
        }
        assert_eq!(pc.read(PA + 4), Ok(PA + 4));
        assert_eq!(pc.read(0xffff_ffff_0000_0000 | (PA + 4)), Ok(PA + 4), "{mode:?}");
    }
}

#[test]
fn p20_a_root_without_memory_is_a_bus_error() {
    for mode in PAGED {
        let mut pc = Pc::new(mode);
        let root = 0xf000_0000;
        let loaded = pc.mmu.control(Control::Cr3(root));
        let nothing = BusError::Unmapped { pa: PhysAddr(root) };
        if mode == Mode::Pae {
            assert_eq!(loaded, Err(AccessError::Bus(nothing)), "PDPTEs are loaded at once");
            assert_eq!(pc.mmu.arch().registers().cr3, 0x1000, "and CR3 stays");
            continue;
        }
        assert_eq!(loaded, Ok(()));
        let error = pc.mmu.load::<u8>(VirtAddr(0)).expect_err("no table");
        assert_eq!(error, AccessError::Bus(nothing), "{mode:?}");
    }
}

#[test]
fn p21_pdptes_are_those_loaded_with_cr3() {
    let mut pc = Pc::new(Mode::Pae);
    pc.map(VA, 12, PA | OPEN);
    let pdpte = pc.place(VA, 30);
    let (old, cr3) = (pc.raw(pdpte), pc.mmu.arch().registers().cr3);
    // Memory changes, the registers do not; not even INVLPG reloads them.
    pc.poke(pdpte, 0);
    pc.mmu.fence(Fence::Invlpg(VirtAddr(VA)));
    assert_eq!(pc.read(VA), Ok(PA));
    pc.set(Control::Cr3(cr3));
    assert_eq!(pc.read(VA), pf(Code::empty(), VA));
    // A bad one is refused and changes nothing: neither CR3, nor the registers, nor the TLB.
    pc.poke(pdpte, old);
    pc.set(Control::Cr3(cr3));
    assert_eq!(pc.read(VA), Ok(PA));
    for bad in [W, U, A, D, PS, G, NX, 1 << 52] {
        pc.poke(pdpte, old | bad);
        assert_eq!(
            pc.try_set(Control::Cr3(cr3 | 8)),
            Err(Fault::GeneralProtection { va: VirtAddr(0) }),
            "{bad:#x}"
        );
        assert_eq!(pc.mmu.arch().registers().cr3, cr3);
        assert!(pc.cached(VA));
        pc.mmu.fence(Fence::InvpcidAll);
        assert_eq!(pc.read(VA), Ok(PA));
    }
    // Not present, anything may stand there.
    pc.poke(pdpte, (old | W | NX) & !P);
    pc.set(Control::Cr3(cr3));
    assert_eq!(pc.read(VA), pf(Code::empty(), VA));
}

#[test]
fn p21_under_nested_paging_pdptes_are_read_on_each_walk() {
    let mut pc = Pc::nested(Mode::Pae, npt(Mode::Level4));
    pc.map(VA, 12, PA | OPEN);
    let pdpte = pc.place(VA, 30);
    let old = pc.raw(pdpte);
    assert_eq!(pc.read(VA), Ok(PA));
    pc.poke(pdpte, old | W);
    pc.set(Control::Cr3(0x1000));
    assert_eq!(pc.read(VA), pf(Code::PRESENT | Code::RESERVED, VA), "no #GP at MOV to CR3, #PF at use");
    pc.poke(pdpte, 0);
    assert_eq!(pc.read(VA), pf(Code::empty(), VA));
    pc.poke(pdpte, old);
    assert_eq!(pc.read(VA), Ok(PA));
    assert_eq!(pc.raw(pdpte), old, "a PDPTE gets no accessed bit");
    // With EPT they are registers, loaded through it.
    let mut pc = Pc::nested(Mode::Pae, ept());
    pc.map(VA, 12, PA | OPEN);
    pc.poke(pdpte, 0);
    assert_eq!(pc.read(VA), Ok(PA));
}

#[test]
fn p22_one_fence_drops_every_fragment_of_a_large_page() {
    for second in [ept(), npt(Mode::Level4), npt(Mode::Pae)] {
        let mut pc = Pc::nested(Mode::Level4, second);
        pc.map(VA, 21, PA | OPEN | PS | G);
        let open = if matches!(second, Second::Ept(_)) { EPT_OPEN } else { OPEN };
        pc.split2(PA, PA | open);
        let offsets = [0, 0x1000, 0x5000, 0x1f_f000];
        for offset in offsets {
            pc.read(VA + offset).expect("mapped");
            assert!(pc.cached(VA + offset));
        }
        pc.mmu.fence(Fence::Invlpg(VirtAddr(VA + 0x9123)));
        for offset in offsets {
            assert!(!pc.cached(VA + offset), "{offset:#x}");
        }
    }
}

#[test]
fn p23_a_large_page_is_one_entry_found_at_every_offset() {
    for (mode, shift) in
        [(Mode::Legacy32, 22), (Mode::Pae, 21), (Mode::Level4, 21), (Mode::Level4, 30), (Mode::Level5, 30)]
    {
        let mut pc = Pc::new(mode);
        pc.map(0x4000_0000, shift, OPEN | PS);
        let walks = pc.walks(|pc| {
            for offset in (0..1 << shift).step_by(0x5_3210) {
                assert_eq!(pc.read(0x4000_0000 + offset), Ok(offset));
            }
        });
        assert_eq!(walks, 1, "{mode:?} 2^{shift}");
    }
}

#[test]
fn p24_global_pages_serve_every_pcid_and_others_only_theirs() {
    let mut pc = Pc::of(Config::INTEL, cr4(Cr4::PCIDE));
    pc.map(VA, 12, PA | OPEN);
    pc.map(VA + 0x1000, 12, PA | OPEN | G);
    let keep = 1 << 63;
    pc.read(VA).expect("mapped");
    pc.read(VA + 0x1000).expect("mapped");
    for pcid in [1, 0x800, 0xfff] {
        pc.set(Control::Cr3(keep | 0x1000 | pcid));
        assert!(pc.cached(VA + 0x1000), "global");
        assert!(!pc.cached(VA), "PCID {pcid:#x} has its own");
        assert!(pc.cached(VA));
    }
    // Nothing was dropped on the way.
    pc.set(Control::Cr3(keep | 0x1000));
    assert!(pc.cached(VA));
    // Without bit 63 the new PCID's entries go, global ones stay; others' stay too.
    pc.set(Control::Cr3(0x1001));
    assert!(!pc.cached(VA));
    assert!(pc.cached(VA + 0x1000));
    pc.set(Control::Cr3(keep | 0x1800));
    assert!(pc.cached(VA));
}

#[test]
fn p25_second_stage_changes_act_after_their_fence() {
    let Second::Ept(Ept { pointer, .. }) = ept() else { unreachable!() };
    let mut pc = Pc::nested(Mode::Level4, ept());
    pc.map(VA, 12, PA | OPEN);
    let at = pc.split2(PA, PA | EPT_OPEN);
    assert_eq!(pc.read(VA), Ok(PA));
    pc.poke(at, PA2 | EPT_OPEN);
    assert_eq!(pc.read(VA), Ok(PA), "still cached");
    pc.mmu.fence(Fence::InveptContext(pointer));
    assert_eq!(pc.read(VA), Ok(PA + 0x1000));
}

#[test]
fn p29_a_crossing_access_reports_the_second_page_and_stores_nothing() {
    for mode in PAGED {
        let mut pc = Pc::new(mode);
        pc.map(VA, 12, PA | OPEN);
        let at = pc.map(VA + 0x1000, 12, PA2 | P);
        let error = pc.mmu.store(VirtAddr(VA + 0xffd), u64::MAX).expect_err("the second page is read-only");
        let expected = pf(Code::PRESENT | Code::WRITE, VA + 0x1000);
        assert_eq!(error, AccessError::Fault(expected.expect_err("a fault")), "{mode:?}");
        assert_eq!(get(pc.mmu.memory(), PA + 0xff8, 8), 0);
        assert_eq!(pc.mmu.stats().faults, 1);
        pc.poke(at, PA2 | OPEN);
        pc.mmu.store(VirtAddr(VA + 0xffd), u64::MAX).expect("both are writable");
        assert_eq!(get(pc.mmu.memory(), PA + 0xff8, 8), u64::MAX << 40);
        assert_eq!(get(pc.mmu.memory(), PA + 0x1000, 8), u64::MAX >> 24);
        // The first page's fault comes first.
        let error = pc.mmu.load::<u64>(VirtAddr(VA - 4)).expect_err("not mapped");
        assert_eq!(error, AccessError::Fault(pf(Code::empty(), VA - 4).expect_err("a fault")));
    }
}

#[test]
fn p32_nested_faults_carry_their_type_and_guest_address() {
    let mut pc = Pc::nested(Mode::Level4, npt(Mode::Level4));
    pc.map(VA, 12, PA | OPEN);
    let final_fault = |info: u64, offset: u64| {
        Err(Fault::NestedPage {
            info: 1 << 32 | info,
            gpa: GuestAddr(PA + offset),
            va: VirtAddr(VA + offset),
        })
    };
    pc.split2(PA, 0);
    assert_eq!(pc.read(VA + 0x123), final_fault(4, 0x123));
    assert_eq!(pc.write(VA + 8), final_fault(6, 8));
    assert_eq!(pc.fetch(VA + 8), final_fault(0x14, 8));
    pc.split2(PA, PA | OPEN | NX);
    assert_eq!(pc.fetch(VA + 8), final_fault(0x15, 8));
    pc.split2(PA, PA | P | W);
    assert_eq!(pc.read(VA), final_fault(5, 0), "every nested access is a user access");
    pc.split2(PA, PA | OPEN | 1 << 51);
    assert_eq!(pc.read(VA), Ok(PA | 1 << 51), "52 address bits");
    // The guest's own refusal comes before the final nested one, and is the guest's.
    pc.split2(PA, 0);
    pc.map(VA, 12, PA | P | W);
    pc.mmu.fence(Fence::Invlpg(VirtAddr(VA)));
    assert_eq!(pc.user().read(VA), pf(Code::PRESENT | Code::USER, VA));
}

#[test]
fn p33_the_top_of_physical_memory_does_not_wrap() {
    let top = 0xf_ffff_ffff_f000;
    let mut pc = Pc::new(Mode::Level4);
    pc.map(VA, 12, top | OPEN);
    assert_eq!(pc.read(VA + 0xfff), Ok(top + 0xfff));
    let error = pc.mmu.load::<u64>(VirtAddr(VA + 0xff8)).expect_err("no memory there");
    assert_eq!(error, AccessError::Bus(BusError::Unmapped { pa: PhysAddr(top + 0xff8) }));
    // A table there, and a root as high as CR3 holds.
    pc.map(0x8000_0000, 30, top | OPEN | A);
    let error = pc.mmu.load::<u64>(VirtAddr(0x8000_0000 + 0x3fff_fff8)).expect_err("no memory there");
    assert_eq!(error, AccessError::Bus(BusError::Unmapped { pa: PhysAddr(top + 511 * 8) }));
    pc.set(Control::Cr3(top));
    let error = pc.mmu.load::<u64>(VirtAddr(u64::MAX - 7)).expect_err("no memory there");
    assert_eq!(error, AccessError::Bus(BusError::Unmapped { pa: PhysAddr(top + 511 * 8) }));
}

#[test]
fn p25_reused_vmids_and_pcids_are_dropped_by_name() {
    let mut pc = Pc::of(Config::INTEL, cr4(Cr4::PCIDE));
    let at = pc.map(VA, 12, PA | OPEN);
    pc.set(Control::Cr3(1 << 63 | 0x1005));
    pc.read(VA).expect("mapped");
    pc.poke(at, PA2 | OPEN);
    pc.mmu.fence(Fence::InvpcidContext(Asid(4)));
    assert_eq!(pc.read(VA), Ok(PA), "another PCID's fence");
    pc.mmu.fence(Fence::InvpcidContext(Asid(5)));
    assert_eq!(pc.read(VA), Ok(PA + 0x1000));

    let mut pc = Pc::nested(Mode::Level4, npt(Mode::Level4));
    let at = pc.map(VA, 12, PA | OPEN);
    pc.read(VA).expect("mapped");
    pc.poke(at, PA2 | OPEN);
    pc.mmu.fence(Fence::TlbControlGuest(Vmid(2)));
    assert_eq!(pc.read(VA), Ok(PA), "another guest's flush");
    pc.mmu.fence(Fence::TlbControlGuest(Vmid(1)));
    assert_eq!(pc.read(VA), Ok(PA + 0x1000));
    assert!(pc.mmu.arch().registers().cr0.contains(Cr0::PG));
}
