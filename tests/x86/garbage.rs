//! Whatever stands in memory and in the registers: no panic, no endless walk, and a TLB changes nothing.

use proptest::prelude::*;
use softmmu::access::{Access, AccessKind};
use softmmu::addr::{PhysAddr, VirtAddr, Vmid};
use softmmu::arch::x86::{Config, Control, Cr0, Cr4, Efer, Ept, Flavor, Guest, Npt, Registers, Second, X86};
use softmmu::memory::{PhysMemory, Ram};
use softmmu::mmu::Mmu;
use softmmu::tlb::{Hierarchy, Tlb, presets};

use crate::support::tlb;

/// Small enough that garbage meets itself.
const RAM: u64 = 0x1_0000;

/// Words that are often entries leading somewhere.
fn word() -> impl Strategy<Value = u64> {
    let entry = (any::<u64>(), 0..RAM >> 12, any::<u64>()).prop_map(|(low, frame, high)| {
        // Mostly present, writable and open; seldom large, seldom with high bits.
        (low & 0xfff | 7) & !(high & 0x80)
            | frame << 12
            | high & low & low.rotate_left(7) & 0xffe0_0000_0000_0000
    });
    prop_oneof![4 => entry, 1 => any::<u64>()]
}

fn second() -> impl Strategy<Value = Option<Second>> {
    let ept = (any::<u64>(), any::<bool>()).prop_map(|(raw, mode_based_execute)| {
        Some(Second::Ept(Ept { pointer: raw & (RAM - 1) & !0xf87 | 0x1e, mode_based_execute }))
    });
    let npt = (any::<u64>(), any::<[u64; 2]>()).prop_map(|(ncr3, [cr4, efer])| {
        let (cr4, efer) = (Cr4::from_bits_retain(cr4), Efer::from_bits_retain(efer));
        Some(Second::Npt(Npt { ncr3: ncr3 & (RAM - 1), cr4, efer, pat: !0 }))
    });
    prop_oneof![3 => Just(None), 1 => ept, 1 => npt]
}

#[derive(Clone, Debug)]
struct State {
    words: Vec<u64>,
    registers: Registers,
    guest: Option<Guest>,
    config: Config,
    accesses: Vec<(u64, u8, u8, Option<u64>)>,
}

fn state() -> impl Strategy<Value = State> {
    let words = prop::collection::vec(word(), (RAM / 8) as usize);
    let accesses =
        prop::collection::vec((any::<u64>(), any::<u8>(), any::<u8>(), any::<Option<u64>>()), 1..24);
    (words, any::<[u64; 6]>(), any::<[bool; 4]>(), second(), 0..64u8, accesses).prop_map(
        |(
            words,
            [cr0, cr3, cr4, efer, keys, pat],
            [paging, amd, tables, in_guest],
            second,
            maxphyaddr,
            accesses,
        )| {
            let lam = keys & 8 != 0;
            let paging = if paging { Cr0::PG } else { Cr0::empty() };
            let registers = Registers {
                cr0: Cr0::from_bits_retain(cr0) | Cr0::PE | paging,
                cr3: cr3 & (RAM - 1 | if lam { 3 << 61 } else { 0 }),
                cr4: Cr4::from_bits_retain(cr4),
                efer: Efer::from_bits_retain(efer),
                pkru: keys as u32,
                pkrs: (keys >> 32) as u32,
                pat,
                ac: keys & 1 != 0,
                cpl: (keys >> 1) as u8,
            };
            let preset = if amd { Config::AMD } else { Config::INTEL };
            let preset = if tables {
                Config { accessed_on_fault: Config::ZEN4.accessed_on_fault, ..preset }
            } else {
                preset
            };
            let guest = in_guest.then_some(Guest { vmid: Vmid(u16::from(maxphyaddr & 1)), second });
            State { words, registers, guest, config: Config { maxphyaddr, lam, ..preset }, accesses }
        },
    )
}

/// A change of control state that concerns rights, or what is reserved: whatever is cached, it acts at once.
fn change(raw: u64, registers: &Registers) -> Control {
    let Registers { cr0, cr4, efer, .. } = *registers;
    let one = |bits: &[u64]| bits[(raw >> 8) as usize % bits.len()];
    let rights = Cr4::SMEP | Cr4::SMAP | Cr4::PKE | Cr4::PKS | Cr4::CET | Cr4::PSE | Cr4::PGE | Cr4::LA57;
    let rights: Vec<u64> = rights.iter().map(|bit| bit.bits()).collect();
    match raw % 8 {
        0 => Control::Cr0((cr0 ^ Cr0::WP).bits()),
        1 => Control::Cr4(cr4.bits() ^ one(&rights)),
        2 | 3 => Control::Efer((efer ^ Efer::NXE).bits()),
        4 => Control::Pkru((raw >> 8) as u32),
        5 => Control::Pkrs((raw >> 8) as u32),
        6 => Control::Ac(!registers.ac),
        _ => Control::Cpl((raw >> 8) as u8),
    }
}

fn live<T: Tlb>(state: &State, tlb: T, filter: bool) -> (String, Vec<u8>) {
    let ram = Ram::new(PhysAddr(0), RAM).expect("RAM");
    let bytes: Vec<u8> = state.words.iter().flat_map(|word| word.to_le_bytes()).collect();
    ram.write_bytes(PhysAddr(0), &bytes).expect("RAM");
    let mut mmu = Mmu::new(X86::new(state.config), ram, tlb);
    mmu.set_filter(filter);
    let entered =
        mmu.control(Control::Enter { registers: state.registers, guest: state.guest, pdptes: None });
    let mut told = format!("{entered:?}");
    for &(raw, kind, flavor, change) in &state.accesses {
        if let Some(raw) = change {
            // It may be refused; that is told, too.
            told += &format!(" {:?}", mmu.control(self::change(raw, mmu.arch().registers())));
        }
        // Few pages, so that they come again.
        let va = raw & 0x8000_0000_4020_1007 | if raw >> 62 & 1 != 0 { !0 << 47 } else { 0 };
        // Tags, of pointers that else are canonical.
        let tag = if state.config.lam { (raw & 1 << 40) << 18 | (raw & 1 << 41) << 9 } else { 0 };
        let va = VirtAddr(if state.config.lam { va & !(1 << 63) | va << 16 & 1 << 63 } else { va } ^ tag);
        let kinds = [AccessKind::Read, AccessKind::Write, AccessKind::Execute, AccessKind::ReadWrite];
        let flavors = [
            Flavor::Normal,
            Flavor::Stack,
            Flavor::ImplicitSupervisor,
            Flavor::ShadowStack,
            Flavor::UserShadowStack,
        ];
        let kind = kinds[usize::from(kind) % 4];
        let flavor =
            if kind == AccessKind::Execute { Flavor::Normal } else { flavors[usize::from(flavor) % 5] };
        let access = Access { va, len: 1 + u32::from(raw as u8 & 7), kind, flavor };
        let probed = mmu.probe(&access).map(|place| (place.pa, place.len));
        let done = mmu.translate(&access).map(|place| (place.pa, place.len));
        assert_eq!(probed, done, "{access:x?}");
        let memory_type =
            mmu.translate(&access).map(|place| softmmu::arch::Arch::memory_type(mmu.arch(), &place.entry));
        told += &format!(" {done:x?} {memory_type:?}");
    }
    let mut bytes = vec![0; RAM as usize];
    mmu.memory().read_bytes(PhysAddr(0), &mut bytes).expect("RAM");
    (told, bytes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn garbage_is_walked_alike_by_all(state in state()) {
        let reference = live(&state, (), false);
        let hierarchy = || Hierarchy::new(&presets::by_name("skylake").expect("a preset")).expect("sound");
        for filter in [false, true] {
            prop_assert_eq!(&live(&state, tlb(), filter), &reference);
            prop_assert_eq!(&live(&state, hierarchy(), filter), &reference);
        }
    }
}
