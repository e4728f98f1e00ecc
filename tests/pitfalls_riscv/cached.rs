//! What the TLB keeps, and what fences drop.

use crate::machine::*;
use softmmu::addr::VirtAddr;

const MEGA: u64 = 0x20_0000;

#[test]
fn p22_a_fence_for_one_address_drops_every_fragment_of_its_superpage() {
    let mut hart = Hart::new().identity().mode(Privilege::Supervisor, true);
    // A 2 MiB page of the guest, cut into 4 KiB pages by the second stage.
    for page in (0..0x4000).step_by(0x1000) {
        hart.map_at(Of::Second, MEGA + page, PA + page, OPEN | U, 0);
    }
    let at = hart.map_at(Of::Guest, VA, MEGA, OPEN, 1);
    for page in (0..0x4000).step_by(0x1000) {
        assert_eq!(hart.access(Read, VA + page), Ok(PA + page));
    }
    hart.poke(at, 0);
    hart.mmu.fence(Fence::HfenceVvma { va: Some(VA + 0x1f_f000), asid: None });
    for page in (0..0x4000).step_by(0x1000) {
        assert_eq!(hart.cause(Read, VA + page), Some(Cause::LoadPageFault), "{page:#x}");
    }
}

#[test]
fn p22_a_fence_for_one_address_drops_a_whole_napot_run() {
    let mut hart = Hart::new();
    for slot in 0..16 {
        hart.map(VA + (slot << 12), PA | 8 << 12, OPEN | N);
    }
    assert_eq!(hart.access(Read, VA + 0x3008), Ok(PA + 0x3008));
    let walks = hart.walks(|hart| assert_eq!(hart.access(Read, VA + 0xf000), Ok(PA + 0xf000)));
    assert_eq!(walks, 0, "one entry serves all sixteen pages");
    for slot in 0..16 {
        let at = hart.place(Of::Host, VA + (slot << 12), 0);
        hart.poke(at, 0);
    }
    hart.fence(Some(VA + 0x7000), None);
    assert_eq!(hart.cause(Read, VA + 0x3000), Some(Cause::LoadPageFault));
}

#[test]
fn p23_superpages_are_found_at_each_of_their_addresses_and_at_no_other() {
    let mut hart = Hart::new();
    hart.map_at(Of::Host, VA, PA, OPEN, 1);
    hart.map_at(Of::Host, 1 << 30, RAM, OPEN, 2);
    for offset in [0, 0x1000, 0x1008, 0x12_3450, MEGA - 8] {
        assert_eq!(hart.access(Read, VA + offset), Ok(PA + offset));
        assert_eq!(hart.access(Read, (1 << 30) + offset), Ok(RAM + offset));
    }
    assert_eq!(hart.access(Read, (2 << 30) - 8), Ok(RAM + (1 << 30) - 8));
    assert_eq!(hart.walks(|hart| assert!(hart.access(Read, (1 << 30) + 0x555_5000).is_ok())), 0);
    assert_eq!(hart.cause(Read, VA - 8), Some(Cause::LoadPageFault));
    assert_eq!(hart.cause(Read, VA + MEGA), Some(Cause::LoadPageFault));
    assert_eq!(hart.cause(Read, 2 << 30), Some(Cause::LoadPageFault));
}

#[test]
fn p24_global_pages_serve_every_asid_and_the_others_their_own() {
    let mut hart = Hart::new();
    let own = hart.map(VA, PA, OPEN);
    let global = hart.map(VA + 0x1000, PA, OPEN | G);
    // A global table entry makes what is below it global.
    let below = hart.map(1 << 30, PA, OPEN);
    let above = hart.place(Of::Host, 1 << 30, 1);
    hart.poke(above, hart.word(above) | G);
    for va in [VA, VA + 0x1000, 1 << 30] {
        assert_eq!(hart.access(Read, va), Ok(PA));
    }
    let satp = |asid: u64| Control::Satp(SV39 | asid << 44 | RAM >> 12);
    hart.control(satp(2));
    let walks = hart.walks(|hart| {
        for va in [VA + 0x1000, 1 << 30] {
            assert_eq!(hart.access(Read, va), Ok(PA));
        }
    });
    assert_eq!(walks, 0);
    assert_eq!(hart.walks(|hart| assert_eq!(hart.access(Read, VA), Ok(PA))), 1);
    // A fence for an ASID leaves global pages, and other ASIDs.
    for at in [own, global, below] {
        hart.poke(at, PA2 >> 2 | hart.word(at) & 0x3ff);
    }
    hart.fence(None, Some(2));
    assert_eq!(hart.access(Read, VA), Ok(PA2));
    assert_eq!(hart.access(Read, VA + 0x1000), Ok(PA));
    hart.control(satp(1));
    assert_eq!(hart.access(Read, VA), Ok(PA));
    assert_eq!(hart.access(Read, 1 << 30), Ok(PA));
    hart.fence(Some(VA + 0x1000), None);
    assert_eq!(hart.access(Read, VA + 0x1000), Ok(PA2));
}

#[test]
fn p24_asid_bits_and_address_bits_do_not_mix() {
    let mut hart = Hart::new();
    hart.map(VA, PA, OPEN);
    assert_eq!(hart.access(Read, VA), Ok(PA));
    let at = hart.place(Of::Host, VA, 0);
    hart.poke(at, PA2 >> 2 | OPEN);
    for bit in 0..16 {
        hart.control(Control::Satp(SV39 | (1 ^ 1 << bit) << 44 | RAM >> 12));
        assert_eq!(hart.access(Read, VA), Ok(PA2), "ASID bit {bit}");
    }
    // Host and guest are apart with the same ASID, VMID 0 included.
    let mut hart = Hart::new().identity();
    hart.control(Control::Hgatp(SV39 | (RAM + 0x4000) >> 12));
    hart.map(VA, PA, OPEN);
    hart.map_at(Of::Guest, VA, PA2, OPEN, 0);
    assert_eq!(hart.access(Read, VA), Ok(PA));
    hart.enter(Privilege::Supervisor, true);
    assert_eq!(hart.access(Read, VA), Ok(PA2));
    hart.enter(Privilege::Supervisor, false);
    assert_eq!(hart.walks(|hart| assert_eq!(hart.access(Read, VA), Ok(PA))), 0);
}

#[test]
fn p25_an_asid_used_again_is_clean_after_its_fence() {
    let mut hart = Hart::new();
    hart.map(VA, PA, OPEN);
    assert_eq!(hart.access(Write, VA), Ok(PA));
    // Another program with the same ASID and a root of its own, empty.
    hart.control(Control::Satp(SV39 | 1 << 44 | (RAM + 0x2000) >> 12));
    hart.fence(None, Some(1));
    assert_eq!(hart.cause(Write, VA), Some(Cause::StorePageFault));
}

#[test]
fn p25_fences_by_guest_physical_address_and_vmid() {
    for bare in [false, true] {
        let mut hart = Hart::new().identity().mode(Privilege::Supervisor, true);
        let at = hart.map_at(Of::Second, 0x1000, PA, OPEN | U, 0);
        hart.map_at(Of::Guest, VA, 0x1000, OPEN, 0);
        let va = if bare { 0x1000 } else { VA };
        if bare {
            hart.control(Control::Vsatp(0));
        }
        let (both, other) = (hart.access(Read, va), SV39 | 2 << 44 | (RAM + 0x4000) >> 12);
        assert_eq!(both, Ok(PA));
        hart.control(Control::Hgatp(other));
        assert_eq!(hart.access(Read, va), Ok(PA));
        hart.poke(at, PA2 >> 2 | OPEN | U);
        hart.mmu.fence(Fence::HfenceGvma { gpa: Some(0x1ff8), vmid: Some(2) });
        assert_eq!(hart.access(Read, va), Ok(PA2));
        hart.control(Control::Hgatp(SV39 | 1 << 44 | (RAM + 0x4000) >> 12));
        assert_eq!(hart.access(Read, va), Ok(PA), "VMID 1 has not been fenced");
        hart.mmu.fence(Fence::HfenceGvma { gpa: Some(0x1000), vmid: None });
        assert_eq!(hart.access(Read, va), Ok(PA2));
    }
}

#[test]
fn p25_a_vsatp_switched_to_bare_and_back_acts_at_once() {
    let mut hart = Hart::new().identity().mode(Privilege::Supervisor, true);
    hart.map_at(Of::Second, VA, PA2, OPEN | U, 0);
    hart.map_at(Of::Guest, VA, PA, OPEN, 0);
    let paged = SV39 | 1 << 44 | (RAM + 0x1000) >> 12;
    for _ in 0..2 {
        hart.control(Control::Vsatp(paged));
        assert_eq!(hart.access(Read, VA), Ok(PA));
        hart.control(Control::Vsatp(0));
        assert_eq!(hart.access(Read, VA), Ok(PA2));
    }
}

#[test]
fn p26_no_host_pointer_outlives_its_mapping() {
    let mut hart = Hart::new();
    let at = hart.map(VA, PA, OPEN);
    hart.poke(PA, 1);
    hart.poke(PA2, 2);
    for _ in 0..3 {
        assert_eq!(hart.mmu.load::<u64>(VirtAddr(VA)).ok(), Some(1));
    }
    // Copy on write: the page moves, and is written where it now is.
    hart.poke(at, PA2 >> 2 | OPEN);
    hart.fence(Some(VA), Some(1));
    hart.mmu.store(VirtAddr(VA), 3u64).expect("writable");
    assert_eq!((hart.word(PA), hart.word(PA2)), (1, 3));
    assert_eq!(hart.mmu.load::<u64>(VirtAddr(VA)).ok(), Some(3));
    hart.poke(at, 0);
    hart.fence(Some(VA), Some(1));
    assert!(hart.mmu.load::<u64>(VirtAddr(VA)).is_err());
}
