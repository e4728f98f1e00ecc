//! Accesses.

use softmmu::addr::VirtAddr;
use softmmu::arch::aarch64::{
    Aarch64, Choices, Config, Fault, Flavor, MemoryType, RegimeKind, Register, Status, Tlbi,
};
use softmmu::mmu::Mmu;

use crate::machine::{
    AF, BLOCK, Execute, GUEST, Machine, PAGE, RAM, RO, ROOTS, Read, S2, TCR, USER_MODE, Write, fault, refused,
};

const DATA: u64 = RAM + 0x80_0000;
/// AttrIndx 1: Device-nGnRnE.
const DEVICE: u64 = 1 << 2;

#[test]
fn a_crossing_access_moves_nothing_unless_both_pages_take_it() {
    let mut m = Machine::new(TCR, 0);
    m.page(0x1000, DATA | AF);
    m.page(0x2000, DATA + 0x3000 | AF | RO);
    m.poke(DATA + 0xff8, 0x1111_1111_1111_1111);
    let error = m.mmu.store(VirtAddr(0x1ffc), u64::MAX).expect_err("the second page is read-only");
    let refusal: Fault = fault(error);
    assert_eq!((refusal.va, refusal.fsc()), (VirtAddr(0x2000), 0xf));
    assert_eq!(m.word(DATA + 0xff8), 0x1111_1111_1111_1111);
    assert_eq!(m.mmu.load::<u64>(VirtAddr(0x1ffc)), Ok(0x1111_1111));
    // The first page's fault has the access's own address.
    m.put(ROOTS[0], 0x1000, 3, 0);
    m.tlbi(Tlbi::page(RegimeKind::El10, 0x1000, None, false));
    assert_eq!(fault(m.mmu.load::<u64>(VirtAddr(0x1ffc)).expect_err("unmapped")).va, VirtAddr(0x1ffc));
}

#[test]
fn device_memory_takes_no_misaligned_access() {
    let mut m = Machine::new(TCR, 0);
    m.page(0x1000, DATA | AF | DEVICE);
    m.page(0x2000, DATA | AF);
    assert_eq!(m.access(Read, 0x1008), Ok(DATA + 8));
    for (kind, va) in [(Read, 0x1001), (Write, 0x1004), (Read, 0x100c)] {
        assert_eq!(refused(m.access(kind, va)), (0x21, 1), "{kind:?} at {va:#x}, which is cached");
    }
    assert_eq!(m.access(Read, 0x2001), Ok(DATA + 1));
    // Exclusives and SCTLR_EL1.A ask for alignment in any memory, before anything is translated.
    assert_eq!(refused(m.access_as(Read, 0x2004, Flavor::Aligned)), (0x21, 1));
    m.write(Register::SctlrEl1, 0x30d0_0807);
    assert_eq!(refused(m.access(Read, 0x7004)), (0x21, 1));
    assert_eq!(refused(m.access(Read, 0x7008)), (0x7, 1));
}

/// What lies on a Device page of an access that begins on Normal memory faults with its own address, before a byte
/// has moved: bytes of a misaligned access are accesses of their own, each with its page's type.
#[test]
fn device_memory_takes_no_upper_part_of_a_crossing_access() {
    let mut m = Machine::new(TCR, 0);
    m.page(0x1000, DATA | AF);
    m.page(0x2000, DATA + 0x1000 | AF | DEVICE);
    m.page(0x3000, DATA + 0x2000 | AF);
    m.poke(DATA + 0xff8, 0x1111_1111_1111_1111);
    for _ in 0..2 {
        let store = fault(m.mmu.store(VirtAddr(0x1ffc), u64::MAX).expect_err("the second page is Device"));
        assert_eq!((store.va, store.fsc(), store.second_stage), (VirtAddr(0x2000), 0x21, false));
        assert_eq!(m.word(DATA + 0xff8), 0x1111_1111_1111_1111);
        let load = fault(m.mmu.load::<u32>(VirtAddr(0x1fff)).expect_err("the second page is Device"));
        assert_eq!((load.va, load.fsc()), (VirtAddr(0x2000), 0x21));
        let first = fault(m.mmu.load::<u64>(VirtAddr(0x2ffc)).expect_err("the first page is Device"));
        assert_eq!((first.va, first.fsc()), (VirtAddr(0x2ffc), 0x21));
        m.mmu.load::<u64>(VirtAddr(0x2000)).expect("aligned");
    }
    let choices = Choices { crossing_keeps_type: true, ..Choices::MANUAL };
    let (registers, pstate) = (*m.mmu.arch().registers(), m.mmu.arch().pstate());
    let arch = Aarch64::with_state(Config::FULL.with_choices(choices), registers, pstate);
    let mut mmu = Mmu::new(arch, m.mmu.memory(), ());
    mmu.store(VirtAddr(0x1ffc), u64::MAX).expect("all of it is Normal");
    assert_eq!(mmu.load::<u32>(VirtAddr(0x2000)), Ok(u32::MAX));
    assert!(mmu.load::<u64>(VirtAddr(0x2ffc)).is_err(), "all of it is Device");
}

/// A run of bytes is as many byte accesses: nothing of it is misaligned.
#[test]
fn runs_of_bytes_are_never_misaligned() {
    let mut m = Machine::new(TCR, 0);
    m.page(0x1000, DATA | AF);
    m.page(0x2000, DATA + 0x1000 | AF | DEVICE);
    // SCTLR_EL1.A.
    m.write(Register::SctlrEl1, 0x30d0_0807);
    for len in 1..=17 {
        let written: Vec<u8> = (0..len).collect();
        for va in [0x1001, 0x1ffd, 0x2001] {
            m.mmu.write_bytes(VirtAddr(va), &written).unwrap_or_else(|error| panic!("{len}: {error}"));
            let mut read = vec![0; written.len()];
            m.mmu.read_bytes(VirtAddr(va), &mut read).unwrap_or_else(|error| panic!("{len}: {error}"));
            assert_eq!(read, written);
        }
    }
}

#[test]
fn stage_2_makes_memory_a_device_for_both_stages() {
    let mut m = Machine::new(TCR, GUEST);
    m.identity();
    m.put(ROOTS[2], 0x8000_0000, 1, RAM | BLOCK | S2 & !0x3c);
    m.page(0x1000, 0x8080_0000 | AF);
    assert_eq!(m.access(Read, 0x1000), Ok(DATA));
    assert_eq!(refused(m.access(Read, 0x1001)), (0x21, 2));
    let access =
        softmmu::access::Access { va: VirtAddr(0x1000), len: 8, kind: Read, flavor: Flavor::Ordinary };
    let entry = m.mmu.probe(&access).expect("mapped").entry;
    let kind = softmmu::arch::Arch::memory_type(m.mmu.arch(), &entry);
    assert_eq!(kind, MemoryType::Device { gathering: false, reordering: false, early_ack: false });
}

#[test]
fn nested_faults_say_which_stage_and_where() {
    let mut m = Machine::new(TCR, GUEST);
    m.identity();
    m.page(0x1000, 0x9_8765_4000 | AF);
    // The result: HPFAR has the page of the intermediate address, FAR the whole virtual one.
    let result = m.access(Read, 0x1238).expect_err("stage 2 knows nothing of it");
    assert_eq!((result.fsc(), result.second_stage, result.s1ptw), (0x5, true, false));
    assert_eq!((result.va, result.hpfar()), (VirtAddr(0x1238), Some(0x987_6540)));
    // A descriptor: the intermediate address is the descriptor's.
    m.put(ROOTS[0], 0x20_0000, 2, 0x7_0000_0000 | PAGE);
    let descriptor = m.access(Write, 0x20_3000).expect_err("the table is nowhere");
    assert_eq!((descriptor.fsc(), descriptor.second_stage, descriptor.s1ptw), (0x5, true, true));
    assert_eq!(descriptor.ipa().map(|ipa| ipa.0), Some(0x7_0000_0018));
    // A stage 1 fault has none.
    let own = m.access(Execute, 0x5000).expect_err("nothing is mapped");
    assert_eq!((own.fsc(), own.hpfar()), (0x7, None));
    // From EL0, aborts come from a lower level: EC 0x24 and 0x20.
    m.enter(USER_MODE);
    let user = m.access(Execute, 0x5000).expect_err("nothing is mapped");
    assert_eq!(user.esr() >> 26, 0x20);
}

#[test]
fn memory_that_is_not_there_is_an_external_abort() {
    let mut m = Machine::new(TCR, 0);
    m.page(0x1000, 0x7_0000_0000 | AF);
    let error = fault(m.mmu.load::<u32>(VirtAddr(0x1000)).expect_err("nothing answers"));
    assert_eq!((error.status, error.fsc()), (Status::SyncExternal, 0x10));
    assert_eq!(error.esr(), 0x25 << 26 | 1 << 25 | 0x10);
}
