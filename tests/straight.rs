//! A walk that nobody follows step by step takes a short way where it can. That must not show: over tables in which
//! random bits were flipped it ends as a followed walk does, in entry, fault, marks and counters.

#[allow(dead_code, unreachable_pub, reason = "shared with the benches")]
#[path = "../benches/support/tables.rs"]
mod tables;

use softmmu::access::{Access, AccessKind, Width};
use softmmu::addr::{PhysAddr, VirtAddr, Vmid};
use softmmu::arch::Arch;
use softmmu::arch::aarch64::{self, Aarch64, ExceptionLevel, Pstate, Register};
use softmmu::arch::riscv::{self, Privilege, Riscv};
use softmmu::arch::x86::{self, Cr0, Cr4, Efer, Ept, Guest, Npt, Second, X86};
use softmmu::memory::{PhysMemory, Ram};
use softmmu::mmu::Mmu;
use softmmu::tlb::{Hit, Inserted, Key, Scope, Side, Tlb, TlbEntry};
use tables::{Ept4, Granule4k, Long, Shape, Stage2, Sv, Sv39x4};

const BASE: u64 = 0x4000_0000;
const SIZE: u64 = 1 << 20;
const ROOTS: [u64; 2] = [BASE, BASE + 0x4000];
const TABLES: u64 = BASE + 0x1_0000;
/// The pages that are mapped, one after another, and where they lie.
const VIRTUAL: u64 = 0x1f_ff1f_e000;
const PAGES: u64 = 4;
const DATA: u64 = BASE + 0x8_0000;
const CASES: u64 = 2_000;

/// Caches nothing and follows every walk.
struct Follower;

impl Tlb for Follower {
    fn lookup(&mut self, _: &Key, _: Side) -> Option<Hit> {
        None
    }
    fn peek(&self, _: &Key, _: Side) -> Option<TlbEntry> {
        None
    }
    fn insert(&mut self, _: TlbEntry, _: Side) -> Inserted {
        Inserted { line: None, touched: None, ripple: false, evicted: None }
    }
    fn invalidate(&mut self, _: &Scope) -> u64 {
        0
    }
    fn follows_walks(&self) -> bool {
        true
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % n
    }
}

/// Tables as they are before anything is flipped: words, by place.
fn plain<S: Shape, S2: Shape>() -> Vec<(u64, u64)> {
    let ram = Ram::new(PhysAddr(BASE), SIZE).expect("RAM");
    let mut next = TABLES;
    for page in 0..PAGES {
        S::map(&ram, ROOTS[0], VIRTUAL + page * 4096, DATA + page * 4096, &mut next);
    }
    for page in (BASE..BASE + SIZE).step_by(4096) {
        S2::map(&ram, ROOTS[1], page, page, &mut next);
    }
    assert!(next <= DATA, "tables end at {next:#x}");
    let words = (BASE..DATA).step_by(8).map(|at| (at, word(&ram, at)));
    words.filter(|&(_, word)| word != 0).collect()
}

fn word(ram: &Ram, at: u64) -> u64 {
    ram.read(PhysAddr(at), Width::W8).expect("RAM")
}

/// The entries that a walk of `va` reads, with those of the second stage before each.
fn path<S: Shape, S2: Shape>(words: &[(u64, u64)], va: u64, both: bool) -> Vec<u64> {
    let get = |at| words.iter().find(|(place, _)| *place == at).map_or(0, |(_, word)| *word);
    let mut places = Vec::new();
    let second = |places: &mut Vec<u64>, gpa| {
        let mut table = ROOTS[1];
        for level in (0..S2::LEVELS).rev().filter(|_| both) {
            places.push(S2::place(table, gpa, level));
            table = S2::address(get(S2::place(table, gpa, level)));
        }
    };
    let mut table = ROOTS[0];
    for level in (0..S::LEVELS).rev() {
        let place = S::place(table, va, level);
        second(&mut places, place);
        places.push(place);
        table = S::address(get(place));
    }
    second(&mut places, table);
    places
}

/// Runs cases of `arch`, brought into one of the states that `states` lists before each access; says how many walks
/// ended in a translation.
///
/// `clean` are flags that say together that hardware is to mark an entry.
fn run<S: Shape, S2: Shape, A: Arch<Fault: PartialEq>>(
    arch: A,
    states: &[&[A::Control]],
    clean: u64,
    both: bool,
) -> u64 {
    let words = plain::<S, S2>();
    let mut random = Random(1);
    let mut found = 0;
    for case in 0..CASES {
        let rams = [(); 2].map(|()| Ram::new(PhysAddr(BASE), SIZE).expect("RAM"));
        let va = VIRTUAL + random.below(PAGES) * 4096 + random.below(512) * 8;
        let mut changed = words.clone();
        let path = path::<S, S2>(&words, va, both);
        for _ in 0..random.below(4) {
            let place = path[random.below(path.len() as u64) as usize];
            let entry = changed.iter_mut().find(|(at, _)| *at == place).expect("a table entry");
            // Mostly flags, which are low or high.
            entry.1 ^= match random.below(4) {
                0 => clean,
                1 => 1 << random.below(64),
                2 => 1 << (48 + random.below(16)),
                _ => 1 << random.below(12),
            };
        }
        for ram in &rams {
            for &(at, word) in &changed {
                ram.write(PhysAddr(at), Width::W8, word).expect("RAM");
            }
        }
        let mut alone = Mmu::new(arch, &rams[0], ());
        let mut followed = Mmu::new(arch, &rams[1], Follower);
        for access in 0..4 {
            for &change in states[random.below(states.len() as u64) as usize] {
                assert_eq!(alone.control(change).is_ok(), followed.control(change).is_ok());
            }
            use AccessKind::{Execute, Read, ReadWrite, Write};
            let kind = [Read, Write, ReadWrite, Execute][random.below(4) as usize];
            let va = VirtAddr(va ^ if random.below(8) == 0 { 1 << random.below(64) } else { 0 });
            let access_made = Access { va, len: 8, kind, flavor: A::Flavor::default() };
            let (one, other) = (alone.translate(&access_made), followed.translate(&access_made));
            assert_eq!(one, other, "case {case}, access {access}: {kind:?} at {va:#x}");
            assert_eq!(alone.stats(), followed.stats(), "case {case}, access {access}");
            found += u64::from(one.is_ok());
        }
        for place in path {
            assert_eq!(word(&rams[0], place), word(&rams[1], place), "case {case}, entry at {place:#x}");
        }
    }
    found
}

/// A test that finds hardly any page, or no fault, would show little.
fn telling(found: u64) {
    assert!((CASES / 2..4 * CASES - CASES / 2).contains(&found), "{found} of {} found a page", 4 * CASES);
}

fn privileged(virt: bool) -> [[riscv::Control; 1]; 2] {
    [Privilege::User, Privilege::Supervisor].map(|privilege| [riscv::Control::Mode { privilege, virt }])
}

fn riscv<const LEVELS: u32, S2: Shape>(mode: u64, both: bool) -> u64 {
    use riscv::Control::{Henvcfg, Hgatp, Menvcfg, Mstatus, Satp, Vsatp, Vsstatus};
    let atp = |stage: usize| mode << 60 | ROOTS[stage] >> 12;
    let [user, supervisor] = privileged(both);
    let setup = [Satp(atp(0)), Vsatp(atp(0)), Hgatp(if both { atp(1) } else { 0 })];
    let marking = [Menvcfg(3 << 61), Henvcfg(3 << 61)];
    let open = [Mstatus(3 << 18), Vsstatus(3 << 18)];
    let first = [&setup[..], &supervisor].concat();
    let (second, third) = ([&first[..], &marking].concat(), [&setup[..], &user].concat());
    let fourth = [&first[..], &open].concat();
    run::<Sv<LEVELS>, S2, _>(Riscv::rv64(), &[&first, &second, &third, &fourth], 0xc0, both)
}

/// The second stage of RISC-V with four and five levels.
struct Wide<const LEVELS: u32>;

impl<const N: u32> Shape for Wide<N> {
    const LEVELS: u32 = N;
    const ROOT_BITS: u32 = 11;
    const ADDRESS: u64 = Sv39x4::ADDRESS;
    const SHIFT: u32 = 2;
    const TABLE: u64 = Sv39x4::TABLE;
    const TABLE_BITS: u64 = Sv39x4::TABLE_BITS;
    const LEAF: u64 = Sv39x4::LEAF;
    const READABLE: u64 = Sv39x4::READABLE;
}

#[test]
fn riscv_one_stage() {
    telling(riscv::<3, Sv39x4>(8, false));
    telling(riscv::<4, Sv39x4>(9, false));
    telling(riscv::<5, Sv39x4>(10, false));
}

#[test]
fn riscv_two_stages() {
    telling(riscv::<3, Sv39x4>(8, true));
    telling(riscv::<4, Wide<4>>(9, true));
    telling(riscv::<5, Wide<5>>(10, true));
}

fn long_mode() -> x86::Registers {
    x86::Registers {
        cr0: Cr0::PE | Cr0::WP | Cr0::PG,
        cr3: ROOTS[0],
        cr4: Cr4::PAE | Cr4::PGE,
        efer: Efer::NXE | Efer::LME | Efer::LMA,
        ..x86::Registers::default()
    }
}

fn x86<S2: Shape>(config: x86::Config, second: Option<Second>) -> u64 {
    let enter = |cr4: Cr4, efer: Efer, cpl| {
        let registers =
            x86::Registers { cr4: long_mode().cr4 | cr4, efer: long_mode().efer - efer, cpl, ..long_mode() };
        let guest = second.map(|second| Guest { vmid: Vmid(1), second: Some(second) });
        [x86::Control::Enter { registers, guest, pdptes: None }]
    };
    let none = (Cr4::empty(), Efer::empty());
    let states = [
        enter(none.0, none.1, 0),
        enter(none.0, none.1, 3),
        enter(Cr4::SMAP | Cr4::SMEP | Cr4::PKE, none.1, 0),
        enter(none.0, Efer::NXE, 0),
    ];
    let states: Vec<_> = states.iter().map(|state| &state[..]).collect();
    run::<Long, S2, _>(X86::new(config), &states, 0x60, second.is_some())
}

#[test]
fn x86_one_stage() {
    telling(x86::<Ept4>(x86::Config::INTEL, None));
    telling(x86::<Ept4>(x86::Config::ZEN2, None));
}

#[test]
fn x86_over_ept() {
    for (marks, mode_based_execute) in [(0, false), (1, false), (1, true)] {
        let pointer = ROOTS[1] | 6 | 3 << 3 | marks << 6;
        let second = Some(Second::Ept(Ept { pointer, mode_based_execute }));
        telling(x86::<Ept4>(x86::Config::INTEL, second));
        telling(x86::<Ept4>(x86::Config::SKYLAKE_CLIENT, second));
    }
}

/// The host's own tables under nested paging: what a guest does counts as done by a user.
struct Host;

impl Shape for Host {
    const LEVELS: u32 = 4;
    const ADDRESS: u64 = Long::ADDRESS;
    const TABLE: u64 = Long::TABLE | 4;
    const TABLE_BITS: u64 = Long::TABLE_BITS;
    const LEAF: u64 = Long::LEAF | 4;
    const READABLE: u64 = Long::READABLE | 4;
}

#[test]
fn x86_over_nested_paging() {
    let x86::Registers { cr4, efer, pat, .. } = long_mode();
    let second = Some(Second::Npt(Npt { ncr3: ROOTS[1], cr4, efer, pat }));
    telling(x86::<Host>(x86::Config::AMD, second));
    telling(x86::<Host>(x86::Config::ZEN2, second));
}

/// The 4 KiB granule from level 1, and from there a start table of four.
struct From1<const ROOT: u32, S>(S);

impl<const ROOT: u32, S: Shape> Shape for From1<ROOT, S> {
    const LEVELS: u32 = 3;
    const ROOT_BITS: u32 = ROOT;
    const ADDRESS: u64 = S::ADDRESS;
    const TABLE: u64 = S::TABLE;
    const TABLE_BITS: u64 = S::TABLE_BITS;
    const LEAF: u64 = S::LEAF;
    const READABLE: u64 = S::READABLE;
}

fn aarch64<S: Shape, S2: Shape>(bits: u64, bits2: Option<u64>) -> u64 {
    use aarch64::Control::{Pstate as Enter, Write};
    let tcr = (64 - bits) | (64 - bits) << 16 | 2 << 30 | 5 << 32;
    let vtcr = bits2.map_or(0, |bits2| 64 - bits2 | u64::from(S2::LEVELS - 2) << 6 | 5 << 16 | 1 << 31);
    let mut registers = aarch64::Registers::default();
    for (register, value) in [
        (Register::SctlrEl1, 0x30d0_0805),
        (Register::TcrEl1, tcr),
        (Register::Ttbr0El1, ROOTS[0]),
        // Index 1 is Device memory.
        (Register::MairEl1, 0x44_00ff),
        (Register::HcrEl2, 1 << 31 | u64::from(bits2.is_some())),
        (Register::VtcrEl2, vtcr),
        (Register::VttbrEl2, ROOTS[1]),
    ] {
        registers.set(register, value);
    }
    let kernel = Pstate { el: ExceptionLevel::El1, pan: false, uao: false };
    let (user, pan) = (Pstate { el: ExceptionLevel::El0, ..kernel }, Pstate { pan: true, ..kernel });
    let marking = Write(Register::TcrEl1, tcr | 3 << 39);
    let marking2 = Write(Register::VtcrEl2, vtcr | 3 << 21);
    let forced = Write(Register::HcrEl2, 1 << 31 | 1 << 46 | u64::from(bits2.is_some()));
    let states: [&[aarch64::Control]; 5] =
        [&[Enter(kernel)], &[Enter(user)], &[Enter(pan)], &[Enter(kernel), marking, marking2], &[forced]];
    let core = Aarch64::with_state(aarch64::Config::FULL, registers, kernel);
    run::<S, S2, _>(core, &states, 1 << 51 | 1 << 7, bits2.is_some())
}

#[test]
fn aarch64_one_stage() {
    telling(aarch64::<Granule4k, Stage2>(48, None));
    telling(aarch64::<From1<9, Granule4k>, Stage2>(39, None));
}

#[test]
fn aarch64_two_stages() {
    telling(aarch64::<Granule4k, Stage2>(48, Some(48)));
    telling(aarch64::<From1<9, Granule4k>, Stage2>(39, Some(48)));
    telling(aarch64::<Granule4k, From1<9, Stage2>>(48, Some(39)));
    telling(aarch64::<From1<9, Granule4k>, From1<11, Stage2>>(39, Some(41)));
}
