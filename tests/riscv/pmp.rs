//! Physical memory protection and pointer masking against models that go byte by byte and bit by bit.

use proptest::prelude::*;
use softmmu::access::{Access, AccessKind};
use softmmu::addr::{PhysAddr, VirtAddr};
use softmmu::arch::riscv::{Cause, Config, Control, Flavor, Privilege, Riscv};
use softmmu::memory::Ram;
use softmmu::mmu::Mmu;

const BASE: u64 = 0x8000_0000;
const SIZE: u64 = 0x1000;

/// One entry: `pmpNcfg` and `pmpaddrN`, near the first page of RAM.
fn entry() -> impl Strategy<Value = (u8, u64)> {
    let near = (0u64..SIZE / 4, 0u32..9)
        .prop_map(|(slot, ones)| (BASE >> 2 | slot) & !((1 << ones) - 1) | ((1 << ones) - 1) >> 1);
    let addr = prop_oneof![
        6 => near,
        1 => Just(0u64),
        1 => Just((1u64 << 54) - 1),
        1 => (0u64..2 * SIZE / 4).prop_map(|slot| (BASE >> 2) + slot),
    ];
    (any::<u8>().prop_map(|cfg| cfg & 0x9f), addr)
}

/// Which entry matches the byte at `pa`, by "Address Matching".
fn matching(entries: &[(u8, u64)], pa: u64) -> Option<usize> {
    entries.iter().enumerate().position(|(at, &(cfg, addr))| match cfg >> 3 & 3 {
        0 => false,
        1 => {
            let bottom = if at == 0 { 0 } else { entries[at - 1].1 };
            bottom <= pa >> 2 && pa >> 2 < addr
        }
        2 => pa >> 2 == addr,
        _ => {
            // yyyy...0111: the bits above the lowest zero name the region.
            let ignored = addr ^ (addr + 1);
            (pa >> 2 | ignored) == (addr | ignored)
        }
    })
}

/// What the entry grants: `r`, `w`, `x`, by the tables of the manual and of Smepmp.
fn grants(cfg: u8, machine: bool, lockdown: bool) -> &'static str {
    let (r, w, x, l) = (cfg & 1 != 0, cfg & 2 != 0, cfg & 4 != 0, cfg & 0x80 != 0);
    if lockdown {
        return match (l, r, w, x, machine) {
            (false, false, true, false, true) | (false, false, true, true, _) => "rw",
            (false, false, true, false, false) => "r",
            (true, false, true, false, _) | (true, false, true, true, false) => "x",
            (true, false, true, true, true) => "rx",
            (true, true, true, true, _) => "r",
            _ if machine != l => "",
            _ => plain(r, w, x),
        };
    }
    if machine && !l { "rwx" } else { plain(r, w, x) }
}

fn plain(r: bool, w: bool, x: bool) -> &'static str {
    match (r, w, x) {
        (false, false, false) => "",
        (true, false, false) => "r",
        (false, true, false) => "w",
        (true, true, false) => "rw",
        (false, false, true) => "x",
        (true, false, true) => "rx",
        (false, true, true) => "wx",
        (true, true, true) => "rwx",
    }
}

/// Whether the access may be made.
fn allowed(
    entries: &[(u8, u64)],
    (pa, len): (u64, u64),
    right: &[char],
    machine: bool,
    (lockdown, listed): (bool, bool),
) -> bool {
    let matches: Vec<_> = (pa..pa + len).map(|byte| matching(entries, byte)).collect();
    match matches.iter().flatten().min() {
        None if machine => !(listed || lockdown && right == ['x']),
        None => false,
        Some(&first) => {
            // That entry must match them all, though another comes first for none of them.
            let whole = (pa..pa + len).all(|byte| matching(&entries[..=first], byte) == Some(first));
            let granted = grants(entries[first].0, machine, lockdown);
            whole && right.iter().all(|&right| granted.contains(right))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn protection_goes_byte_by_byte(
        entries in proptest::collection::vec(entry(), 0..6),
        lockdown: bool,
        listed: bool,
        accesses in proptest::collection::vec((0u64..SIZE, 0u32..4, 0usize..4, 0usize..3), 1..60),
    ) {
        let config = Config { pmp_entries: 16, ..Config::rv64() };
        let ram = Ram::new(PhysAddr(BASE), 2 * SIZE).expect("two pages");
        let mut hart = Mmu::new(Riscv::new(config), ram, ());
        hart.control(Control::Mseccfg(u64::from(lockdown) | u64::from(listed) << 1)).expect("no fault");
        for (index, &(cfg, addr)) in (0..).zip(&entries) {
            hart.control(Control::PmpLoad { index, cfg, addr }).expect("no fault");
        }
        for (offset, width, kind, privilege) in accesses {
            let privilege = [Privilege::User, Privilege::Supervisor, Privilege::Machine][privilege];
            hart.control(Control::Mode { privilege, virt: false }).expect("no fault");
            let (kind, right, cause): (_, &[char], _) = [
                (AccessKind::Read, &['r'][..], Cause::LoadAccessFault),
                (AccessKind::Write, &['w'][..], Cause::StoreAccessFault),
                (AccessKind::Execute, &['x'][..], Cause::InstructionAccessFault),
                (AccessKind::ReadWrite, &['r', 'w'][..], Cause::StoreAccessFault),
            ][kind];
            let len = 1 << width;
            let offset = if kind == AccessKind::ReadWrite { offset & !(len - 1) } else { offset };
            // On one page: a crossing access is two.
            let pa = BASE + offset.min(SIZE - len);
            let access = Access { va: VirtAddr(pa), len: len as u32, kind, flavor: Flavor::Normal };
            // Twice, and as a real load between: the filter must know no better.
            for _ in 0..2 {
                let got = hart.translate(&access).map_err(|error| error.fault().map(|fault| fault.cause));
                let machine = privilege == Privilege::Machine;
                let expected = allowed(&entries, (pa, len), right, machine, (lockdown, listed));
                prop_assert_eq!(
                    got.map(|done| done.pa.0),
                    if expected { Ok(pa) } else { Err(Some(cause)) },
                    "{:x?} {:?}", access, privilege
                );
                if len == 8 && kind == AccessKind::Read {
                    prop_assert_eq!(hart.load::<u64>(VirtAddr(pa)).is_ok(), expected);
                }
            }
        }
    }

    #[test]
    fn masking_replaces_just_the_upper_bits(va: u64, pmm in 0u64..4, bare: bool, kind in 0usize..3) {
        let ram = Ram::new(PhysAddr(0), 0x10_0000).expect("a megabyte");
        let mut hart = Mmu::new(Riscv::rv64(), ram, ());
        let kind = [AccessKind::Read, AccessKind::Write, AccessKind::Execute][kind];
        if !bare {
            hart.control(Control::Satp(10 << 60)).expect("no fault");
        }
        hart.control(Control::Menvcfg(pmm << 32)).expect("no fault");
        hart.control(Control::Mode { privilege: Privilege::Supervisor, virt: false }).expect("no fault");
        let masked = [0, 0, 7, 16][pmm as usize];
        let mut expected = va;
        if kind != AccessKind::Execute {
            let fill = !bare && va >> (63 - masked) & 1 == 1;
            for bit in 64 - masked..64 {
                expected = expected & !(1 << bit) | u64::from(fill) << bit;
            }
        }
        // The address shows in the translation, or in the fault.
        let access = Access { va: VirtAddr(va), len: 1, kind, flavor: Flavor::Normal };
        match hart.translate(&access) {
            Ok(done) => {
                prop_assert!(bare);
                prop_assert_eq!(done.pa.0, expected);
            }
            Err(error) => prop_assert_eq!(error.fault().map(|fault| fault.tval), Some(expected)),
        }
    }
}

/// `pmpaddrN` has 32 bits on RV32, whatever a wider host register holds above them.
#[test]
fn rv32_pmp_addresses_have_32_bits() {
    let mut hart = Mmu::new(
        Riscv::new(Config { pmp_entries: 1, ..Config::rv32() }),
        Ram::new(PhysAddr(BASE), SIZE).expect("RAM"),
        (),
    );
    let value = 0xffff_ffff_0000_0000 | BASE >> 2 | 0x1ff;
    hart.control(Control::PmpAddr { index: 0, value }).expect("no write faults");
    hart.control(Control::PmpCfg { index: 0, value: 3 << 3 | 1 }).expect("no write faults");
    assert_eq!(hart.arch().pmp().entry(0), Some((3 << 3 | 1, BASE >> 2 | 0x1ff)));
    hart.control(Control::Mode { privilege: Privilege::User, virt: false }).expect("no write faults");
    assert!(hart.load::<u32>(VirtAddr(BASE)).is_ok());
    assert!(hart.store(VirtAddr(BASE), 1u32).is_err());
}
