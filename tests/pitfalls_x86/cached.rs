//! What the TLB holds.

use crate::prelude::*;

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

/// A guest that only widens rights, in a table above the leaf, need not fence: the fault that it may see drops what was
/// cached of that table, and trying again helps. With walk caches in front it sees none.
#[test]
fn p25_p27_rights_widened_in_an_upper_table_need_no_fence() {
    let skylake = softmmu::tlb::presets::by_name("skylake").expect("a preset");
    for mode in [Mode::Pae, Mode::Level4, Mode::Level5] {
        let mut pc = Pc::new(mode);
        pc.map(VA, 12, PA | OPEN);
        pc.map(VA + 0x1000, 12, PA2 | OPEN);
        let upper = pc.place(VA, 21);
        let open = pc.raw(upper);
        pc.poke(upper, open & !(U | W) | NX);
        let (arch, ram) = (*pc.mmu.arch(), pc.mmu.memory());
        let tlb = softmmu::tlb::Hierarchy::new(&skylake).expect("a sound preset");
        let mut mmu = softmmu::mmu::Mmu::new(arch, ram, tlb);
        mmu.load::<u8>(VirtAddr(VA)).expect("a supervisor may read");
        put(ram, upper, 8, open);
        mmu.control(Control::Cpl(3)).expect("no fault");
        // The first page is cached itself, the second only as far as its table.
        for va in [VA + 0x1000, VA] {
            mmu.store(VirtAddr(va), 1u8).unwrap_or_else(|error| panic!("{mode:?}: {error}"));
            mmu.fetch::<u8>(VirtAddr(va)).unwrap_or_else(|error| panic!("{mode:?}: {error}"));
        }
    }
}

/// INVLPG drops all cached tables of the PCID, whatever the address (SDM Vol. 3A, 4.10.4.1).
#[test]
fn p22_one_invlpg_is_enough_for_all_tables() {
    let skylake = softmmu::tlb::presets::by_name("skylake").expect("a preset");
    let mut pc = Pc::new(Mode::Level4);
    let far = VA + (3 << 21);
    for va in [VA, far] {
        pc.map(va, 12, PA | OPEN);
        pc.map(va + 0x1000, 12, PA | OPEN);
    }
    let places = [VA, far].map(|va| (va, pc.place(va, 21)));
    let (arch, ram) = (*pc.mmu.arch(), pc.mmu.memory());
    let tlb = softmmu::tlb::Hierarchy::new(&skylake).expect("a sound preset");
    let mut mmu = softmmu::mmu::Mmu::new(arch, ram, tlb);
    for (va, _) in places {
        mmu.load::<u8>(VirtAddr(va)).expect("mapped");
    }
    for (_, at) in places {
        put(ram, at, 8, 0);
    }
    mmu.fence(Fence::Invlpg(VirtAddr(VA)));
    let mut load = |va| mmu.load::<u8>(VirtAddr(va)).is_ok();
    assert!(!load(VA) && !load(VA + 0x1000));
    assert!(load(far), "this page is cached itself");
    assert!(!load(far + 0x1000), "and this one would be found by the table");
}
