//! Rights and the state that changes them.

use crate::machine::*;
use softmmu::addr::VirtAddr;

#[test]
fn p07_sum_and_mxr_act_at_once_on_what_is_cached() {
    let mut hart = Hart::new();
    hart.map(VA, PA, OPEN | U);
    hart.map(VA + 0x1000, PA, V | X | A);
    hart.control(Control::Mstatus(SUM | MXR));
    assert_eq!(hart.access(Read, VA), Ok(PA));
    assert_eq!(hart.access(Read, VA + 0x1000), Ok(PA));
    hart.mmu.load::<u64>(VirtAddr(VA)).expect("readable");
    hart.control(Control::Mstatus(0));
    assert_eq!(hart.cause(Read, VA), Some(Cause::LoadPageFault));
    assert!(hart.mmu.load::<u64>(VirtAddr(VA)).is_err());
    assert_eq!(hart.cause(Read, VA + 0x1000), Some(Cause::LoadPageFault));
    hart.control(Control::Mstatus(SUM | MXR));
    let walks = hart.walks(|hart| {
        assert_eq!(hart.access(Write, VA), Ok(PA));
        assert_eq!(hart.access(Read, VA + 0x1000), Ok(PA));
        // SUM is for loads and stores.
        assert_eq!(hart.cause(Execute, VA), Some(Cause::InstructionPageFault));
    });
    assert_eq!(walks, 1, "only the fetch that faults");
    hart.enter(Privilege::User, false);
    assert_eq!(hart.access(Execute, VA), Ok(PA));
}

#[test]
fn p08_the_guests_mxr_is_for_stage_one_and_for_no_reserved_encoding() {
    let mut hart = Hart::new().identity().mode(Privilege::Supervisor, true);
    hart.map_at(Of::Second, PA + 0x1000, PA, V | X | U | A, 0);
    hart.map_at(Of::Guest, VA, PA + 0x1000, OPEN, 0);
    hart.map_at(Of::Guest, VA + 0x1000, PA, V | X | A, 0);
    hart.map_at(Of::Guest, VA + 0x2000, PA, V | W | A | D, 0);
    hart.control(Control::Vsstatus(MXR));
    assert_eq!(hart.cause(Read, VA), Some(Cause::LoadGuestPageFault));
    assert_eq!(hart.access(Read, VA + 0x1000), Ok(PA));
    assert_eq!(hart.cause(Read, VA + 0x2000), Some(Cause::LoadPageFault));
    // HS-level MXR is for both.
    hart.control(Control::Vsstatus(0));
    hart.control(Control::Mstatus(MXR));
    assert_eq!(hart.access(Read, VA), Ok(PA));
    assert_eq!(hart.access(Read, VA + 0x1000), Ok(PA));
}

#[test]
fn p08_mxr_is_not_for_the_reading_of_tables() {
    let mut hart = Hart::new().identity().mode(Privilege::Supervisor, true);
    let at = hart.map_at(Of::Guest, VA, PA, OPEN, 0);
    hart.map_at(Of::Second, at & !0xfff, at & !0xfff, V | X | U | A, 0);
    hart.control(Control::Mstatus(MXR));
    let fault = hart.access(Read, VA).expect_err("tables must be readable");
    assert_eq!((fault.cause, fault.tval2, fault.tinst), (Cause::LoadGuestPageFault, at >> 2, 0x3000));
}

#[test]
fn p09_hlvx_needs_execute_at_both_stages_and_its_own_physical_check() {
    let mut config = Config::rv64();
    config.pmp_entries = 8;
    let mut hart = Hart::of(config);
    hart.protect(7, 7, 0, 1 << 56);
    let mut hart = hart.identity();
    hart.control(Control::Hstatus(1 << 8));
    let hlvx = |hart: &mut Hart, first: u64, second: u64| {
        hart.map_at(Of::Guest, VA, PA, V | A | first, 0);
        hart.map_at(Of::Second, PA, PA, V | U | A | second, 0);
        hart.mmu.fence(Fence::HfenceGvma { gpa: None, vmid: None });
        hart.access_as(Read, Flavor::Hlvx, VA, 4).map_err(|fault| fault.cause)
    };
    assert_eq!(hlvx(&mut hart, X, X), Ok(PA));
    assert_eq!(hlvx(&mut hart, R, X), Err(Cause::LoadPageFault));
    assert_eq!(hlvx(&mut hart, X, R), Err(Cause::LoadGuestPageFault));
    hart.protect(0, 4, PA, 0x1000);
    assert_eq!(hlvx(&mut hart, X, X), Err(Cause::LoadAccessFault), "PMP: execute-only");
    hart.protect(0, 1, PA, 0x1000);
    assert_eq!(hlvx(&mut hart, X, X), Err(Cause::LoadAccessFault), "PMP: read-only");
    hart.protect(0, 5, PA, 0x1000);
    assert_eq!(hlvx(&mut hart, X, X), Ok(PA));
}

#[test]
fn p10_a_translation_for_mprv_serves_no_fetch() {
    let mut hart = Hart::new();
    hart.map(PA, PA2, OPEN);
    hart.enter(Privilege::Machine, false);
    hart.control(Control::Mstatus(1 << 17 | 1 << 11));
    assert_eq!(hart.access(Read, PA), Ok(PA2));
    assert_eq!(hart.access(Write, PA), Ok(PA2));
    assert_eq!(hart.access(Execute, PA), Ok(PA));
    hart.mmu.load::<u64>(VirtAddr(PA)).expect("mapped");
    hart.mmu.memory().write(softmmu::addr::PhysAddr(PA), softmmu::access::Width::W8, 7).expect("RAM");
    assert_eq!(hart.mmu.fetch::<u64>(VirtAddr(PA)).ok(), Some(7));
    assert_eq!(hart.mmu.load::<u64>(VirtAddr(PA)).ok(), Some(0));
}

#[test]
fn p11_tables_are_read_as_reads_and_refused_as_the_access() {
    let mut config = Config::rv64();
    config.pmp_entries = 8;
    let mut hart = Hart::of(config);
    hart.map(VA, PA, OPEN);
    hart.protect(1, 7, 0, 1 << 56);
    // Readable tables are enough for a fetch, and for a store that marks nothing.
    hart.protect(0, 1, RAM, 0x10_0000);
    assert_eq!(hart.access(Execute, VA), Ok(PA));
    hart.fence(None, None);
    assert_eq!(hart.access(Write, VA), Ok(PA));
    hart.fence(None, None);
    for flags in [0, 4] {
        hart.protect(0, flags, RAM, 0x10_0000);
        assert_eq!(hart.cause(Read, VA), Some(Cause::LoadAccessFault));
        assert_eq!(hart.cause(Write, VA), Some(Cause::StoreAccessFault));
        assert_eq!(hart.cause(ReadWrite, VA), Some(Cause::StoreAccessFault));
        assert_eq!(hart.cause(Execute, VA), Some(Cause::InstructionAccessFault));
    }
}

#[test]
fn p12_rights_taken_away_are_gone_after_the_fence() {
    let mut hart = Hart::new();
    let at = hart.map(VA, PA, OPEN);
    hart.mmu.load::<u64>(VirtAddr(VA)).expect("readable");
    hart.poke(at, PA >> 2 | V | X | A);
    hart.fence(Some(VA), None);
    assert!(hart.mmu.load::<u64>(VirtAddr(VA)).is_err(), "execute-only");
    assert!(hart.mmu.fetch::<u32>(VirtAddr(VA)).is_ok());
    hart.poke(at, 0);
    hart.fence(Some(VA), None);
    assert!(hart.mmu.fetch::<u32>(VirtAddr(VA)).is_err(), "unmapped");
}

#[test]
fn p13_protection_below_a_page_is_exact_whatever_is_cached() {
    let mut config = Config::rv64();
    config.pmp_entries = 8;
    let mut hart = Hart::of(config);
    hart.map(VA, PA, OPEN);
    hart.protect(0, 1, PA, 16);
    hart.protect(1, 7, 0, 1 << 56);
    for _ in 0..2 {
        assert!(hart.mmu.store(VirtAddr(VA + 16), 1u64).is_ok());
        assert!(hart.mmu.load::<u64>(VirtAddr(VA + 8)).is_ok());
        assert!(hart.mmu.store(VirtAddr(VA + 8), 1u64).is_err());
        assert!(hart.mmu.store(VirtAddr(VA + 15), 1u8).is_err());
        assert!(hart.mmu.store(VirtAddr(VA + 12), 1u64).is_err(), "partly protected");
    }
}

#[test]
fn p25_the_privilege_acts_at_once() {
    let mut hart = Hart::new();
    hart.map(VA, PA, OPEN);
    hart.map(VA + 0x1000, PA2, OPEN | U);
    assert!(hart.mmu.load::<u64>(VirtAddr(VA)).is_ok());
    hart.enter(Privilege::User, false);
    assert!(hart.mmu.load::<u64>(VirtAddr(VA)).is_err());
    assert!(hart.mmu.load::<u64>(VirtAddr(VA + 0x1000)).is_ok());
    hart.enter(Privilege::Supervisor, false);
    assert!(hart.mmu.load::<u64>(VirtAddr(VA + 0x1000)).is_err());
    assert!(hart.mmu.fetch::<u32>(VirtAddr(VA)).is_ok());
    assert!(hart.mmu.fetch::<u32>(VirtAddr(VA + 0x1000)).is_err());
}
