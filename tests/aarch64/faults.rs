//! Syndromes, and what the manual leaves open.

use softmmu::access::AccessKind::{Execute, Read, ReadWrite, Write};
use softmmu::access::{Access, AccessKind};
use softmmu::addr::VirtAddr;
use softmmu::arch::aarch64::{
    Choices, Config, Control, ExceptionLevel, Fault, Flavor, Pstate, RegimeKind, Register, Status, Tlbi,
};
use softmmu::arch::{FaultClass, GuestFault};
use softmmu::mmu::AccessError;

use crate::support::*;

const RO: u64 = 1 << 7;
const DBM: u64 = 1 << 51;
const HA: u64 = 1 << 39;
const HD: u64 = 1 << 40;

fn refused(mmu: &mut Core, kind: AccessKind, va: u64, flavor: Flavor) -> Fault {
    let access = Access { va: VirtAddr(va), len: 8, kind, flavor };
    match mmu.translate(&access) {
        Err(AccessError::Fault(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn syndromes_say_what_was_refused() {
    let mut mmu = core(Config::FULL, &[], &page(DATA | AF | RO));
    let il = 1 << 25;
    let esr = |mmu: &mut Core, kind, va, flavor| refused(mmu, kind, va, flavor).esr();
    // EC 0x25: a data abort from the same level; 0x24: from a lower one. WnR is bit 6, CM bit 8.
    assert_eq!(esr(&mut mmu, Write, 0, Flavor::Ordinary), 0x25 << 26 | il | 1 << 6 | 0xf);
    assert_eq!(esr(&mut mmu, Read, 0x1000, Flavor::Ordinary), 0x25 << 26 | il | 0x7);
    assert_eq!(esr(&mut mmu, Execute, 0x1000, Flavor::Ordinary), 0x21 << 26 | il | 0x7);
    assert_eq!(
        esr(&mut mmu, Read, 0x1000, Flavor::CacheMaintenance),
        0x25 << 26 | il | 1 << 8 | 1 << 6 | 0x7
    );
    // An atomic is refused as a read where a read would have been, else as a write.
    assert_eq!(esr(&mut mmu, ReadWrite, 0x1000, Flavor::Ordinary), 0x25 << 26 | il | 0x7);
    assert_eq!(esr(&mut mmu, ReadWrite, 0, Flavor::Ordinary), 0x25 << 26 | il | 1 << 6 | 0xf);
    mmu.control(Control::Pstate(at(ExceptionLevel::El0))).expect("no change of PSTATE faults");
    assert_eq!(esr(&mut mmu, Read, 0, Flavor::Ordinary), 0x24 << 26 | il | 0xf);
    assert_eq!(esr(&mut mmu, Execute, 0x1000, Flavor::Ordinary), 0x20 << 26 | il | 0x7);
    let fault = refused(&mut mmu, Read, 0, Flavor::Ordinary);
    assert_eq!((fault.from, fault.target), (ExceptionLevel::El0, ExceptionLevel::El1));
    assert_eq!(fault.class(), FaultClass::Protection);
    assert_eq!(fault.to_string(), "data abort at 0x0: permission fault, level 3 (ESR 0x9200000f)");
}

#[test]
fn an_access_flag_may_be_set_although_the_access_is_refused() {
    for despite in [false, true] {
        let choices = Choices { access_flag_despite_fault: despite, ..Choices::MANUAL };
        let mut mmu = core(full(choices), &[(Register::TcrEl1, TCR | HA)], &page(DATA | RO));
        assert_eq!(lands(&mut mmu, Write, 0), Err(0xf));
        assert_eq!(word(&mmu, RAM + 0x2000), DATA | RO | 3 | if despite { AF } else { 0 });
    }
}

#[test]
fn a_clean_page_counts_as_writable_for_stores_or_for_all() {
    let sctlr = SCTLR | 1 << 19;
    for stores_only in [false, true] {
        let choices = Choices { dbm_for_stores_only: stores_only, ..Choices::MANUAL };
        let registers = [(Register::TcrEl1, TCR | HA | HD), (Register::SctlrEl1, sctlr)];
        let mut mmu = core(full(choices), &registers, &page(DATA | RO | DBM | AF));
        // WXN: what can be written is not executed.
        assert_eq!(lands(&mut mmu, Execute, 0).is_ok(), stores_only);
        assert_eq!(word(&mmu, RAM + 0x2000), DATA | RO | DBM | AF | 3);
        assert_eq!(lands(&mut mmu, Read, 0), Ok(DATA));
        // A store still has to mark the page, also when the translation is cached.
        assert_eq!(lands(&mut mmu, Write, 0), Ok(DATA));
        assert_eq!(word(&mmu, RAM + 0x2000), DATA | DBM | AF | 3);
        assert_eq!(lands(&mut mmu, Execute, 0), Err(0xf));
    }
}

#[test]
fn sizes_out_of_range_fault_or_are_as_near_as_can_be() {
    // T0SZ = 50 with TTST acts as 48; 10 is below the minimum, which a core with FEAT_LVA always refuses.
    let table = [(RAM, DATA | AF | 3)];
    for fault in [false, true] {
        let choices = Choices { fault_on_bad_txsz: fault, ..Choices::MANUAL };
        let mut mmu = core(full(choices), &[(Register::TcrEl1, TCR & !0x3f | 50)], &table);
        assert_eq!(lands(&mut mmu, Read, 0x8), if fault { Err(4) } else { Ok(DATA + 8) });
        set(&mut mmu, Register::TcrEl1, TCR & !0x3f | 10);
        assert_eq!(lands(&mut mmu, Read, 0x8), Err(4));
        let old = Config { choices, ..Config::CORTEX_A72 };
        let chain = [(RAM, RAM + 0x1003), (RAM + 0x1000, RAM + 0x2003), (RAM + 0x2000, RAM | 1 | AF)];
        let mut mmu = core(old, &[(Register::TcrEl1, TCR & !0x3f | 10)], &chain);
        assert_eq!(lands(&mut mmu, Read, 0x8), if fault { Err(4) } else { Ok(RAM + 8) });
    }
}

#[test]
fn high_address_bits_count_always_or_above_48_bits_only() {
    // 64 KiB granule, IPS = 48 bits, and a leaf with bits 15:12 set: an Address size fault, or nothing at all.
    let tcr = 22 | 1 << 14 | 25 << 16 | 2 << 30 | 5 << 32;
    let words = [(RAM, RAM + 0x1_0003), (RAM + 0x1_0000, DATA | AF | 0x5000 | 3)];
    for above in [false, true] {
        let choices = Choices { high_bits_only_above_48: above, ..Choices::MANUAL };
        let mut mmu = core(full(choices), &[(Register::TcrEl1, tcr)], &words);
        assert_eq!(lands(&mut mmu, Read, 0x18), if above { Ok(DATA + 0x18) } else { Err(3) });
    }
}

#[test]
fn small_tables_with_52_bit_addresses_stand_at_64_bytes_or_at_their_size() {
    // IPS = 52 bits, T0SZ = 34: level 2 resolves one bit, so two entries of 16 bytes. TTBR bits 5:2 are address bits 51:48.
    let tcr = 34 | 1 << 14 | 25 << 16 | 2 << 30 | 6 << 32;
    for unaligned in [false, true] {
        let choices = Choices { small_52bit_tables_unaligned: unaligned, ..Choices::MANUAL };
        let mut registers = softmmu::arch::aarch64::Registers::default();
        for (register, value) in
            [(Register::SctlrEl1, 1), (Register::TcrEl1, tcr), (Register::Ttbr0El1, RAM | 0x100 | 1 << 4)]
        {
            registers.set(register, value);
        }
        let core =
            softmmu::arch::aarch64::Aarch64::with_state(full(choices), registers, at(ExceptionLevel::El1));
        let (_, base) = core.stage1_table(false).expect("sizes that can be");
        assert_eq!(base, 1 << 50 | RAM | 0x100 | if unaligned { 1 << 4 } else { 0 });
    }
}

#[test]
fn descriptors_in_device_memory_are_refused_if_ptw_says_so() {
    let ptw = 1 << 2;
    let mut words = page(0x8080_0000 | AF).to_vec();
    // The tables' gigabyte is Device memory at stage 2, and was not used yet.
    words.extend([(RAM + 0x8008, RAM | 1 | 3 << 6), (RAM + 0x8010, RAM | 1 | 3 << 6 | 0xf << 2 | AF)]);
    for (last, hcr, expected) in [(false, 0, None), (false, ptw, Some(0xd)), (true, ptw, Some(0xc))] {
        let choices = Choices { walk_protection_last: last, ..Choices::MANUAL };
        let registers = [
            (Register::HcrEl2, GUEST | hcr),
            (Register::VtcrEl2, VTCR | 1 << 21),
            (Register::VttbrEl2, RAM + 0x8000),
        ];
        let mut mmu = core(full(choices), &registers, &words);
        let answer = access(&mut mmu, Read, 0);
        match expected {
            None => assert!(answer.is_ok()),
            Some(fsc) => {
                let fault = answer.expect_err("protected");
                assert_eq!((fault.fsc(), fault.status, fault.s1ptw), (fsc, Status::Permission, true));
                let marked = word(&mmu, RAM + 0x8008) & AF != 0;
                assert_eq!(marked, last);
            }
        }
    }
}

#[test]
fn wxn_looks_past_pan_or_not() {
    // A page that EL1 may write and EL0 may execute: EPAN closes it to EL1's stores.
    let sctlr = SCTLR | 1 << 19 | 1 << 57;
    for sees in [false, true] {
        let choices = Choices { wxn_sees_pan: sees, ..Choices::MANUAL };
        let mut mmu = core(full(choices), &[(Register::SctlrEl1, sctlr)], &page(DATA | AF));
        assert_eq!(lands(&mut mmu, Execute, 0), Err(0xf));
        mmu.control(Control::Pstate(Pstate { pan: true, ..at(ExceptionLevel::El1) })).expect("no fault");
        assert_eq!(lands(&mut mmu, Write, 0), Err(0xf));
        assert_eq!(lands(&mut mmu, Execute, 0), if sees { Ok(DATA) } else { Err(0xf) });
    }
}

#[test]
fn fetching_from_a_device_is_a_choice() {
    for refuse in [false, true] {
        let choices = Choices { fault_on_device_fetch: refuse, ..Choices::MANUAL };
        let mut mmu = core(full(choices), &[(Register::MairEl1, 0xff00)], &page(DATA | AF));
        assert_eq!(lands(&mut mmu, Execute, 0).is_err(), refuse);
        assert_eq!(lands(&mut mmu, Read, 0), Ok(DATA));
        assert_eq!(lands(&mut mmu, Execute, 0).is_err(), refuse, "cached now");
    }
}

/// It is for either stage to refuse the fetch (`AArch64.S2CheckPermissions`).
#[test]
fn fetching_from_a_device_of_stage_2_is_the_same_choice() {
    let mut words = page(0x8080_0000 | AF).to_vec();
    words.extend([(RAM + 0x8008, RAM | 1 | 3 << 6 | 0xf << 2 | AF), (RAM + 0x8010, RAM | 1 | 3 << 6 | AF)]);
    for refuse in [false, true] {
        let choices = Choices { fault_on_device_fetch: refuse, ..Choices::MANUAL };
        let registers =
            [(Register::HcrEl2, GUEST), (Register::VtcrEl2, VTCR), (Register::VttbrEl2, RAM + 0x8000)];
        let registers = [&registers[..], &[(Register::MairEl1, 0xff)]].concat();
        let mut mmu = core(full(choices), &registers, &words);
        for _ in 0..2 {
            let fetched = access(&mut mmu, Execute, 0).map_err(|fault| (fault.fsc(), fault.second_stage));
            assert_eq!(fetched.map(|_| ()), if refuse { Err((0xd, true)) } else { Ok(()) });
            assert_eq!(lands(&mut mmu, Read, 0), Ok(DATA));
        }
    }
}

/// Stage 1's Device memory takes no misaligned access, also where stage 2 forces it to be Normal (D8.15: stage 1's
/// alignment faults come before all of stage 2), and also when cached.
#[test]
fn forced_write_back_does_not_take_alignment_away() {
    const FWB: u64 = 1 << 46;
    let mut words = page(DATA | AF).to_vec();
    // MemAttr 0b0110: Write-Back whatever stage 1 says.
    words.push((RAM + 0x8008, RAM | 1 | 3 << 6 | 6 << 2 | AF));
    let registers = [
        (Register::HcrEl2, GUEST | FWB),
        (Register::VtcrEl2, VTCR),
        (Register::VttbrEl2, RAM + 0x8000),
        (Register::MairEl1, 0),
    ];
    let mut mmu = core(Config::FULL, &registers, &words);
    assert_eq!(lands(&mut mmu, Read, 4), Err(0x21));
    assert_eq!(lands(&mut mmu, Read, 8), Ok(DATA + 8));
    assert_eq!(lands(&mut mmu, Read, 4), Err(0x21), "cached now");
}

/// Start level -1 (4 KiB granule) and a stage 2 of level 0 (16 KiB) need 52-bit physical addresses
/// (`AArch64.S2InvalidSL`).
#[test]
fn stage_2_starts_no_higher_than_physical_addresses_need() {
    for (pa_bits, works) in [(48, false), (52, true)] {
        let config = Config { pa_bits, ..Config::FULL };
        // 48 bits of input, from level -1: the start table has two entries.
        let vtcr = 16 | 1 << 33 | 1 << 32 | if pa_bits == 52 { 6 } else { 5 } << 16 | 1 << 31;
        let registers =
            [(Register::HcrEl2, GUEST), (Register::VtcrEl2, vtcr & !0x3f | if works { 12 } else { 16 })];
        let mmu = core(config, &registers, &[]);
        assert_eq!(mmu.arch().stage2_table().is_some(), works, "{pa_bits} bits");
        // 16 KiB granule, SL0 = 3.
        let vtcr = 16 | 3 << 6 | 2 << 14 | 1 << 32 | if pa_bits == 52 { 6 } else { 5 } << 16 | 1 << 31;
        let mmu = core(config, &[(Register::HcrEl2, GUEST), (Register::VtcrEl2, vtcr)], &[]);
        assert_eq!(mmu.arch().stage2_table().is_some(), works, "{pa_bits} bits, 16 KiB");
    }
}

/// Privileged code that cleans a cache needs no right to the page; EL0 needs to be able to read it, and invalidation
/// needs the right to store (`AArch64.S1CheckPermissions`, `AArch64.S2CheckPermissions`). No address is misaligned.
#[test]
fn cache_maintenance_needs_no_more_rights_than_it_should() {
    let mut words = page(DATA | AF | RO).to_vec();
    // Stage 2 lets nothing through, and is Device memory.
    words.push((RAM + 0x8008, RAM | 1 | 1 << 6 | 0xf << 2 | AF));
    words.push((RAM + 0x8010, RAM | 1 | AF));
    words.push((RAM + 0x2008, 0x8080_0000 | AF | 1 << 6 | 3));
    let registers =
        [(Register::HcrEl2, GUEST), (Register::VtcrEl2, VTCR), (Register::VttbrEl2, RAM + 0x8000)];
    let mut mmu = core(Config::FULL, &registers, &words);
    let mut maintain = |el, kind, va| {
        mmu.control(Control::Pstate(at(el))).expect("no change of PSTATE faults");
        let access = Access { va: VirtAddr(va), len: 8, kind, flavor: Flavor::CacheMaintenance };
        match mmu.translate(&access) {
            Ok(_) => None,
            Err(AccessError::Fault(fault)) => Some((fault.fsc(), fault.second_stage)),
            Err(other) => panic!("{other}"),
        }
    };
    let (user, kernel) = (ExceptionLevel::El0, ExceptionLevel::El1);
    assert_eq!(maintain(kernel, Read, 0x1004), None);
    assert_eq!(maintain(user, Read, 0x1004), Some((0xd, true)));
    assert_eq!(maintain(kernel, Write, 0x1004), Some((0xd, true)));
    assert_eq!(maintain(kernel, Read, 0x4), None);
    assert_eq!(maintain(user, Read, 0x4), Some((0xf, false)));
    assert_eq!(maintain(kernel, Write, 0x4), Some((0xf, false)));
}

#[test]
fn a_run_is_one_entry_where_the_hint_is_trusted() {
    let contiguous = 1 << 52;
    let mut words = page(0).to_vec();
    words.extend((0..16).map(|page| (RAM + 0x2000 + page * 8, (DATA + page * 0x1000) | AF | contiguous | 3)));
    // Another run, whose pages lie elsewhere than the hint promises: it is not believed.
    words.extend(
        (16..32).map(|page| (RAM + 0x2000 + page * 8, (DATA + 0x1000 + page * 0x1000) | AF | contiguous | 3)),
    );
    for trust in [false, true] {
        let choices = Choices { trust_contiguous: trust, ..Choices::MANUAL };
        let mut mmu = core(full(choices), &[], &words);
        let entry = access(&mut mmu, Read, 0x3008).expect("mapped");
        assert_eq!((entry.size_bits, entry.leaf_bits), (if trust { 16 } else { 12 }, 16));
        for page in 0..16 {
            assert_eq!(lands(&mut mmu, Read, page * 0x1000), Ok(DATA + page * 0x1000));
        }
        assert_eq!(mmu.stats().walks, if trust { 1 } else { 16 });
        mmu.fence(Tlbi::page(RegimeKind::El10, 0xf000, None, true));
        let before = mmu.stats().walks;
        assert_eq!(lands(&mut mmu, Read, 0), Ok(DATA));
        assert_eq!(mmu.stats().walks, before + 1);
        let entry = access(&mut mmu, Read, 0x1_0000).expect("mapped");
        assert_eq!((entry.size_bits, entry.pa), (12, DATA + 0x1_1000));
    }
}

#[test]
fn what_a_control_write_drops_is_a_choice() {
    for drop in [false, true] {
        let choices = Choices { drop_on_control_write: drop, ..Choices::MANUAL };
        let mut mmu = core(full(choices), &[], &page(DATA | AF));
        assert_eq!(lands(&mut mmu, Read, 0), Ok(DATA));
        // EPD0 forbids walks; what is cached stays good until it goes.
        set(&mut mmu, Register::TcrEl1, TCR | 1 << 7);
        assert_eq!(lands(&mut mmu, Read, 0), if drop { Err(4) } else { Ok(DATA) });
    }
}
