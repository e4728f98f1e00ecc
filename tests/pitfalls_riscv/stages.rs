//! Two stages.

use crate::machine::*;

#[test]
fn p15_the_second_stage_checks_atomics_as_stores() {
    let mut hart = Hart::new().identity().mode(Privilege::Supervisor, true);
    hart.map_at(Of::Second, 0x1000, PA, V | R | X | U | A, 0);
    hart.map_at(Of::Guest, VA, 0x1000, OPEN, 0);
    // Filled by a read, asked by an atomic: the hit must say what a walk says.
    for _ in 0..2 {
        assert_eq!(hart.access(Read, VA), Ok(PA));
        assert_eq!(hart.access_as(Read, Flavor::LrSc, VA, 8), Ok(PA));
        let amo = hart.access(ReadWrite, VA).expect_err("read-only");
        assert_eq!((amo.cause, amo.tval2, amo.tinst), (Cause::StoreGuestPageFault, 0x1000 >> 2, 0));
        let sc = hart.access_as(Write, Flavor::LrSc, VA, 8).expect_err("read-only");
        assert_eq!(sc, amo);
    }
}

#[test]
fn p15_the_smaller_page_of_the_two_counts() {
    let mut hart = Hart::new().identity().mode(Privilege::Supervisor, true);
    // 1 GiB over 4 KiB, and 4 KiB over 2 MiB.
    hart.map_at(Of::Guest, 1 << 30, 0, OPEN, 2);
    hart.map_at(Of::Second, 0x1000, PA, OPEN | U, 0);
    assert_eq!(hart.access(Read, (1 << 30) + 0x1008), Ok(PA + 8));
    let beyond = hart.access(Read, (1 << 30) + 0x2000).expect_err("not in the second stage");
    assert_eq!((beyond.cause, beyond.tval2), (Cause::LoadGuestPageFault, 0x2000 >> 2));
    hart.map_at(Of::Guest, VA, PA2 + 0x5000, OPEN, 0);
    assert_eq!(hart.access(Read, VA + 0x10), Ok(PA2 + 0x5010));
    assert_eq!(hart.cause(Read, VA + 0x1000), Some(Cause::LoadPageFault));
}

#[test]
fn p15_stage_one_faults_before_stage_two_on_a_hit_and_on_a_walk() {
    let mut hart = Hart::new().identity().mode(Privilege::Supervisor, true);
    hart.map_at(Of::Second, 0x1000, PA, V | R | U | A, 0);
    hart.map_at(Of::Guest, VA, 0x1000, V | R | A, 0);
    assert_eq!(hart.cause(Write, VA), Some(Cause::StorePageFault), "walk");
    assert_eq!(hart.access(Read, VA), Ok(PA));
    assert_eq!(hart.cause(Write, VA), Some(Cause::StorePageFault), "hit");
}

#[test]
fn p32_a_fault_in_the_guests_tables_names_the_entry() {
    let mut hart = Hart::new().identity().mode(Privilege::User, true);
    let at = hart.map_at(Of::Guest, VA, PA, V | R | W | X | U, 0);
    let table = at & !0xfff;
    // Not there at all: a guest-page fault of the access's own type, for the entry.
    hart.map_at(Of::Second, table, table, 0, 0);
    for (kind, cause) in [
        (Read, Cause::LoadGuestPageFault),
        (Write, Cause::StoreGuestPageFault),
        (Execute, Cause::InstructionGuestPageFault),
    ] {
        let fault = hart.access(kind, VA + 0x128).expect_err("no table");
        assert_eq!((fault.cause, fault.tval, fault.gva), (cause, VA + 0x128, true));
        assert_eq!((fault.tval2, fault.tinst), (at >> 2, 0x3000));
        assert_eq!(fault.guest_address().map(|gpa| gpa.0), Some(at));
    }
    // There but not writable: only the update of A is refused, and says so.
    hart.control(Control::Menvcfg(ADUE));
    hart.control(Control::Henvcfg(ADUE));
    hart.map_at(Of::Second, table, table, V | R | U | A, 0);
    let fault = hart.access(Read, VA).expect_err("A cannot be set");
    assert_eq!((fault.cause, fault.tval2, fault.tinst), (Cause::LoadGuestPageFault, at >> 2, 0x3020));
    assert!(fault.to_string().contains("update"), "{fault}");
    // In memory that is not there: an access fault, without an address.
    hart.map_at(Of::Second, table, RAM + SIZE, OPEN | U, 0);
    let fault = hart.access(Write, VA).expect_err("nothing is there");
    assert_eq!((fault.cause, fault.tval2, fault.tinst), (Cause::StoreAccessFault, 0, 0));
}

#[test]
fn p32_a_machine_may_keep_the_guest_address_to_itself() {
    let mut config = Config::rv64();
    config.report_guest_address = false;
    let mut hart = Hart::of(config).identity().mode(Privilege::User, true);
    hart.control(Control::Vsatp(SV39 | 1));
    let fault = hart.access(Read, VA).expect_err("no table");
    assert_eq!((fault.cause, fault.tval2, fault.tinst), (Cause::LoadGuestPageFault, 0, 0));
}

/// Guest-physical address zero is an address like any other.
#[test]
fn p32_a_fault_at_guest_address_zero_says_so() {
    let mut hart = Hart::new().identity().mode(Privilege::Supervisor, true);
    hart.map_at(Of::Guest, VA, 0, OPEN, 0);
    let fault = hart.access(Read, VA).expect_err("the second stage has no page there");
    assert_eq!((fault.cause, fault.tval2), (Cause::LoadGuestPageFault, 0));
    assert_eq!(fault.guest_address(), Some(softmmu::addr::GuestAddr(0)));
    let mut config = Config::rv64();
    config.report_guest_address = false;
    let mut hart = Hart::of(config).identity().mode(Privilege::Supervisor, true);
    hart.map_at(Of::Guest, VA, PA2 << 4, OPEN, 0);
    let fault = hart.access(Read, VA).expect_err("the second stage has no page there");
    assert_eq!((fault.tval2, fault.guest_address()), (0, None));
}
