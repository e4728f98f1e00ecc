//! Rights.

use softmmu::arch::aarch64::{Flavor, Pstate, RegimeKind, Register, Tlbi};

use crate::machine::{
    AF, BLOCK, Execute, GUEST, KERNEL, Machine, NG, PAGE, PXN, RAM, RO, ROOTS, Read, ReadWrite, S2, S2W, TCR,
    USER, USER_MODE, UXN, WXN, Write, refused,
};

const DATA: u64 = RAM + 0x80_0000;
const SCTLR: u64 = 0x30d0_0805;
const EPAN: u64 = 1 << 57;

#[test]
fn control_bits_act_at_once_on_what_is_cached() {
    let mut m = Machine::new(TCR, 0);
    m.page(0x1000, DATA | AF | USER | UXN | PXN);
    m.page(0x2000, DATA | AF | UXN);
    m.page(0x3000, DATA | AF | PXN);
    for va in [0x1000, 0x2000, 0x3000] {
        assert_eq!(m.access(Read, va), Ok(DATA));
        assert_eq!(m.access(Write, va), Ok(DATA));
    }
    assert_eq!(m.access(Execute, 0x2000), Ok(DATA));
    // WXN: what can be written cannot be executed.
    m.write(Register::SctlrEl1, SCTLR | WXN);
    assert_eq!(refused(m.access(Execute, 0x2000)), (0xf, 1));
    m.write(Register::SctlrEl1, SCTLR);
    let (walks, outcome) = m.walks(|m| m.access(Execute, 0x2000));
    assert_eq!((walks, outcome), (0, Ok(DATA)), "back again without a walk");
    // PAN: what EL0 may access is closed to EL1; EPAN: also what EL0 may execute.
    let pan = Pstate { pan: true, ..KERNEL };
    m.enter(pan);
    assert_eq!(refused(m.access(Read, 0x1000)), (0xf, 1));
    assert_eq!(m.access(Read, 0x3000), Ok(DATA));
    m.write(Register::SctlrEl1, SCTLR | EPAN);
    assert_eq!(refused(m.access(Read, 0x3000)), (0xf, 1));
    assert_eq!(m.access(Read, 0x2000), Ok(DATA));
    // UAO: unprivileged loads and stores are privileged ones, PAN included.
    m.enter(KERNEL);
    assert_eq!(refused(m.access_as(Read, 0x2000, Flavor::Unprivileged)), (0xf, 1));
    m.enter(Pstate { uao: true, ..KERNEL });
    assert_eq!(m.access_as(Read, 0x2000, Flavor::Unprivileged), Ok(DATA));
    // E0PD0: EL0 out of the lower half.
    m.write(Register::SctlrEl1, SCTLR);
    m.enter(USER_MODE);
    assert_eq!(m.access(Read, 0x1000), Ok(DATA));
    m.write(Register::TcrEl1, TCR | 1 << 55);
    assert_eq!(refused(m.access(Read, 0x1000)), (0x4, 1));
    m.enter(KERNEL);
    assert_eq!(m.access(Read, 0x1000), Ok(DATA));
}

#[test]
fn unprivileged_loads_have_the_rights_of_el0_and_fetches_do_not() {
    let mut m = Machine::new(TCR, 0);
    m.page(0x1000, DATA | AF | USER);
    m.page(0x2000, DATA | AF);
    assert_eq!(m.access_as(Read, 0x1000, Flavor::Unprivileged), Ok(DATA));
    assert_eq!(refused(m.access_as(Read, 0x2000, Flavor::Unprivileged)), (0xf, 1));
    // The translation that the load cached lets EL0 execute; EL1 must not (it is writable at EL0).
    assert_eq!(refused(m.access(Execute, 0x1000)), (0xf, 1));
    m.enter(USER_MODE);
    assert_eq!(m.access(Execute, 0x1000), Ok(DATA));
    // PAN does not act on what is done as EL0.
    m.enter(Pstate { pan: true, ..KERNEL });
    assert_eq!(m.access_as(Write, 0x1000, Flavor::Unprivileged), Ok(DATA));
}

#[test]
fn a_descriptor_is_read_as_a_read_whatever_the_access() {
    let mut m = Machine::new(TCR, GUEST);
    // The tables' gigabyte can be read at stage 2 and nothing else; the page behind can be written and executed.
    m.put(ROOTS[2], RAM, 1, RAM | BLOCK | S2 & !S2W | 2 << 53);
    m.put(ROOTS[2], 0x8000_0000, 1, RAM | BLOCK | S2);
    m.page(0x1000, 0x8080_0000 | AF);
    assert_eq!(m.access(Write, 0x1000), Ok(DATA));
    assert_eq!(m.access(Execute, 0x1000), Ok(DATA));
    // A refusal is a fault of the original access: an instruction abort from the same level, S1PTW.
    m.put(ROOTS[2], RAM, 1, RAM | BLOCK | S2 & !(1 << 6));
    m.tlbi(Tlbi { regime: RegimeKind::El10, target: softmmu::arch::aarch64::TlbiTarget::All });
    let fetch = m.access(Execute, 0x1000).expect_err("tables cannot be read");
    assert_eq!(fetch.esr(), 0x20 << 26 | 1 << 25 | 1 << 7 | 0xd);
    let store = m.access(Write, 0x1000).expect_err("tables cannot be read");
    assert_eq!(store.esr(), 0x24 << 26 | 1 << 25 | 1 << 7 | 1 << 6 | 0xd);
    assert_eq!(store.ipa().map(|ipa| ipa.0), Some(ROOTS[0]));
}

#[test]
fn execute_only_pages_are_not_readable_through_the_tlb() {
    let mut m = Machine::new(TCR, 0);
    m.page(0x1000, DATA | AF | RO);
    m.enter(USER_MODE);
    assert_eq!(m.access(Execute, 0x1000), Ok(DATA));
    assert_eq!(refused(m.access(Read, 0x1000)), (0xf, 1));
    m.enter(KERNEL);
    assert_eq!(m.access(Read, 0x1000), Ok(DATA));
    m.enter(USER_MODE);
    assert_eq!(refused(m.access(Read, 0x1000)), (0xf, 1));
    // Unmapped and fenced, it is gone.
    m.put(ROOTS[0], 0x1000, 3, 0);
    m.tlbi(Tlbi::page(RegimeKind::El10, 0x1000, None, false));
    assert_eq!(refused(m.access(Execute, 0x1000)), (0x7, 1));
}

#[test]
fn what_a_table_forbids_no_leaf_allows() {
    let mut m = Machine::new(TCR, 0);
    m.page(0x1000, DATA | AF | USER | NG);
    let open = m.word(ROOTS[0]);
    let cases = [
        (1u64 << 59, KERNEL, Execute, true), // PXNTable; what EL0 can write, EL1 does not execute anyway
        (1 << 60, USER_MODE, Execute, false),
        (1 << 61, USER_MODE, Read, false), // APTable[0]
        (1 << 62, USER_MODE, Write, false),
        (1 << 62, USER_MODE, Read, true),
    ];
    for (bits, pstate, kind, allowed) in cases {
        m.poke(ROOTS[0], open | bits);
        m.tlbi(Tlbi::page(RegimeKind::El10, 0x1000, None, false));
        m.enter(pstate);
        let outcome = m.access(kind, 0x1000);
        let refusable = allowed && !(kind == Execute && pstate == KERNEL);
        assert_eq!(outcome.is_ok(), refusable, "{bits:#x} {kind:?}");
    }
    // PXNTable over a page that only EL1 uses.
    m.poke(ROOTS[0], open | 1 << 59);
    m.page(0x1000, DATA | AF);
    m.tlbi(Tlbi::page(RegimeKind::El10, 0x1000, None, false));
    m.enter(KERNEL);
    assert_eq!(refused(m.access(Execute, 0x1000)), (0xf, 1));
    // HPD0 takes the tables' word away, and only theirs.
    m.write(Register::TcrEl1, TCR | 1 << 41);
    assert_eq!(m.access(Execute, 0x1000), Ok(DATA));
    m.page(0x1000, DATA | AF | PXN);
    m.tlbi(Tlbi::page(RegimeKind::El10, 0x1000, None, false));
    assert_eq!(refused(m.access(Execute, 0x1000)), (0xf, 1));
}

#[test]
fn stage_2_checks_atomics_and_hits_as_walks() {
    let mut m = Machine::new(TCR, GUEST);
    m.identity();
    m.put(ROOTS[2], 0x8000_0000, 1, RAM | BLOCK | S2 & !S2W);
    m.page(0x1000, 0x8080_0000 | AF);
    let cold = m.access(ReadWrite, 0x1000).expect_err("stage 2 is read-only");
    assert_eq!((cold.fsc(), cold.second_stage, cold.write), (0xd, true, true));
    assert_eq!(m.access(Read, 0x1000), Ok(DATA));
    assert_eq!(m.access(ReadWrite, 0x1000), Err(cold), "a hit and a walk fault alike");
    // Where neither is allowed, the atomic's read is refused first: WnR is clear.
    m.put(ROOTS[2], 0x8000_0000, 1, RAM | BLOCK | S2 & !S2W & !(1 << 6));
    m.tlbi(Tlbi::intermediate(0x8080_0000, 1, softmmu::arch::aarch64::Granule::K4, false));
    let none = m.access(ReadWrite, 0x1000).expect_err("no right at all");
    assert_eq!((none.fsc(), none.write), (0xd, false));
}

#[test]
fn stage_1_faults_come_before_stage_2_faults() {
    let mut m = Machine::new(TCR, GUEST);
    m.identity();
    // Nothing at all lies behind the page at stage 2, and stage 1 refuses the store: stage 1 has the word.
    let nowhere = 0x1_0000_0000 | AF | RO;
    m.page(0x1000, nowhere);
    assert_eq!(refused(m.access(Write, 0x1000)), (0xf, 1));
    assert_eq!(refused(m.access(Read, 0x1000)), (0x5, 2));
    // On a hit, too.
    m.put(ROOTS[2], 0x1_0000_0000, 1, RAM | BLOCK | S2 & !S2W);
    assert_eq!(m.access(Read, 0x1000), Ok(RAM));
    assert_eq!(refused(m.access(Write, 0x1000)), (0xf, 1));
}

#[test]
fn a_translation_is_as_large_as_the_smaller_stage() {
    let mut m = Machine::new(TCR, GUEST);
    m.identity();
    // 2 MiB at stage 1, whose pages stage 2 maps each elsewhere, or not at all.
    m.put(ROOTS[0], 0x20_0000, 2, 0x8000_0000 | BLOCK | AF);
    m.put(ROOTS[2], 0x8000_0000, 3, DATA | PAGE | S2);
    m.put(ROOTS[2], 0x8000_1000, 3, (DATA + 0x5000) | PAGE | S2);
    assert_eq!(m.access(Read, 0x20_0010), Ok(DATA + 0x10));
    assert_eq!(m.access(Read, 0x20_1010), Ok(DATA + 0x5010));
    assert_eq!(refused(m.access(Read, 0x20_2010)), (0x7, 2));
    // And the other way around.
    m.page(0x40_0000, RAM + 0x3000 | AF);
    m.page(0x40_1000, RAM + 0x9000 | AF);
    assert_eq!(m.access(Read, 0x40_0008), Ok(RAM + 0x3008));
    assert_eq!(m.access(Read, 0x40_1008), Ok(RAM + 0x9008));
}
