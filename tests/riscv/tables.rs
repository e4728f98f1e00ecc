//! Tables edited by the kernel's side and walked by the hardware's.

#[expect(dead_code, reason = "shared with the tests of editing; this one needs less")]
#[path = "../editing/model.rs"]
mod model;
#[path = "../editing/pool.rs"]
mod pool;

use model::{Machine, run};
use pool::Pool;
use proptest::prelude::*;
use softmmu::access::{Access, AccessKind};
use softmmu::addr::{PageSize, PhysAddr, VirtAddr};
use softmmu::arch::riscv::{
    Cause, Config, Control, Flavor, Privilege, Riscv, Sv32, Sv39, Sv39x4, Sv48, Sv57, Sv57x4,
};
use softmmu::memory::Ram;
use softmmu::mmu::Mmu;
use softmmu::radix::{Encode, Perms};
use softmmu::table::{PageTable, RadixTable};

const RW: Perms = Perms::READ.union(Perms::WRITE);

fn rights(global: bool) -> Vec<Perms> {
    let mut all = vec![
        Perms::READ,
        RW | Perms::USER,
        RW | Perms::EXECUTE | Perms::USER | Perms::ACCESSED | Perms::DIRTY,
        RW,
    ];
    if global {
        all.push(Perms::READ | Perms::EXECUTE | Perms::GLOBAL);
    }
    all
}

macro_rules! editing {
    ($($test:ident: $format:ty, $windows:expr, $sizes:expr, $global:literal, $physical:literal;)*) => {$(
        proptest! {
            #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
            #[test]
            fn $test(steps in model::steps()) {
                let machine = Machine::new(&$windows, &$sizes, 12, rights($global)).physical(1 << $physical);
                run(&machine, &steps, |ram, pool| RadixTable::new(<$format>::default(), ram, pool));
            }
        }
    )*};
}

editing! {
    sv32: Sv32, [0x40_0000, 0xf000_0000], [12, 22], true, 34;
    sv39: Sv39, [0, 0xffff_ffe0_0000_0000], [12, 21, 30], true, 56;
    sv48: Sv48, [0x4000_0000, 0xffff_8000_0000_0000], [12, 21, 30], true, 56;
    sv57: Sv57, [0x4000_0000, 0xff00_0000_0000_0000], [12, 21, 30], true, 56;
    sv39x4: Sv39x4, [0, 0x100_0000_0000], [12, 21, 30], false, 56;
    sv57x4: Sv57x4, [0x4000_0000, 0x400_0000_0000_0000], [12, 21, 30], false, 56;
}

/// A page to be mapped: where, how large, with what rights.
#[derive(Clone, Copy, Debug)]
struct Page {
    slot: u64,
    large: bool,
    to: u64,
    perms: Perms,
}

impl Page {
    const fn size(&self) -> PageSize {
        if self.large { PageSize::SIZE_2M } else { PageSize::SIZE_4K }
    }

    /// The first of its 2 MiB: pages do not meet.
    fn va(&self, base: u64) -> u64 {
        base + (self.slot << 21)
    }

    /// What `kind` from this privilege gives, by the rights as one would say them (Svade).
    fn allows(&self, kind: AccessKind, user: bool) -> bool {
        let right = match kind {
            AccessKind::Read => Perms::READ,
            AccessKind::Execute => Perms::EXECUTE,
            _ => Perms::WRITE | Perms::DIRTY,
        };
        self.perms.contains(right | Perms::ACCESSED) && self.perms.contains(Perms::USER) == user
    }
}

fn pages() -> impl Strategy<Value = Vec<Page>> {
    let page = (0u64..12, any::<bool>(), 60u64..76, any::<u16>()).prop_map(|(slot, large, to, bits)| {
        let mut perms = Perms::from_bits_truncate(bits) - Perms::DEVICE - Perms::GLOBAL;
        if !perms.intersects(Perms::READ | Perms::EXECUTE) || perms.contains(Perms::WRITE) {
            perms |= Perms::READ;
        }
        Page { slot, large, to, perms }
    });
    proptest::collection::vec(page, 1..8)
}

const KINDS: [AccessKind; 4] =
    [AccessKind::Read, AccessKind::Write, AccessKind::Execute, AccessKind::ReadWrite];

/// Maps the pages, a later one in a slot being left out; where each went.
fn build<F: Encode>(
    format: F,
    ram: &Ram,
    pool: &mut Pool,
    base: u64,
    pages: &[Page],
) -> (RadixTable<F>, Vec<Page>) {
    let mut table = RadixTable::new(format, ram, pool).expect("a root");
    let mut mapped: Vec<Page> = Vec::new();
    for page in pages {
        if mapped.iter().any(|other| other.slot == page.slot) {
            continue;
        }
        let (va, pa) = (VirtAddr(page.va(base)), PhysAddr(page.to << 21));
        table.map(ram, pool, va, pa, page.size(), page.perms).expect("free").forget();
        mapped.push(*page);
    }
    (table, mapped)
}

fn hart(ram: &Ram) -> Mmu<Riscv, &Ram, ()> {
    Mmu::new(Riscv::new(Config::rv64()), ram, ())
}

fn enter(hart: &mut Mmu<Riscv, &Ram, ()>, user: bool, virt: bool) {
    let privilege = if user { Privilege::User } else { Privilege::Supervisor };
    hart.control(Control::Mode { privilege, virt }).expect("no fault");
}

/// The place that an access reaches, or the cause of its fault.
fn go(hart: &mut Mmu<Riscv, &Ram, ()>, kind: AccessKind, va: u64) -> Result<u64, Cause> {
    let access = Access { va: VirtAddr(va), len: 4, kind, flavor: Flavor::Normal };
    hart.translate(&access)
        .map(|done| done.pa.0)
        .map_err(|error| error.fault().map_or_else(|| panic!("{error}"), |fault| fault.cause))
}

fn walk_what_was_mapped<F: Encode>(
    format: F,
    mode: u64,
    base: u64,
    pages: &[Page],
) -> Result<(), TestCaseError> {
    let ram = Ram::new(PhysAddr(0), 1 << 20).expect("a megabyte");
    let mut pool = Pool::new(PageSize::SIZE_4K, 1 << 20);
    let (table, mapped) = build(format, &ram, &mut pool, base, pages);
    let mut hart = hart(&ram);
    hart.control(Control::Satp(mode << 60 | table.root().0 >> 12)).expect("no fault");
    for user in [false, true] {
        enter(&mut hart, user, false);
        for page in &mapped {
            for (kind, offset) in KINDS.into_iter().zip([0, 0x7f8, 0xffc, 0x10]) {
                let got = go(&mut hart, kind, page.va(base) + offset);
                if page.allows(kind, user) {
                    prop_assert_eq!(got, Ok((page.to << 21) + offset));
                } else {
                    prop_assert!(got.is_err(), "{page:?} {kind:?} user {user}");
                }
            }
            let beyond = go(&mut hart, AccessKind::Read, page.va(base) + page.size().bytes());
            let next = mapped.iter().any(|other| page.large && other.slot == page.slot + 1);
            prop_assert!(next || beyond == Err(Cause::LoadPageFault), "{beyond:?}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_walk_gives_what_was_mapped(pages in pages()) {
        for high in [false, true] {
            let base = |bits: u32| if high { !0 << bits } else { 0 };
            walk_what_was_mapped(Sv39::default(), 8, base(38), &pages)?;
            walk_what_was_mapped(Sv48::default(), 9, base(47), &pages)?;
            walk_what_was_mapped(Sv57::default(), 10, base(56), &pages)?;
        }
    }

    #[test]
    fn a_walk_of_two_stages_gives_both_maps(first in pages(), second in pages()) {
        let ram = Ram::new(PhysAddr(0), 1 << 20).expect("a megabyte");
        let mut pool = Pool::new(PageSize::SIZE_4K, 1 << 20);
        let (guest, mapped) = build(Sv39::default(), &ram, &mut pool, 0, &first);
        // Guest-physical: tables where they are, pages from slot 64 on, one slot for each.
        let (mut host, placed) = build(Sv39x4::default(), &ram, &mut pool, 64 << 21, &second);
        let open = RW | Perms::USER | Perms::ACCESSED | Perms::DIRTY;
        for table in (0..1u64 << 20).step_by(0x1000) {
            let (gpa, pa) = (VirtAddr(table), PhysAddr(table));
            host.map(&ram, &mut pool, gpa, pa, PageSize::SIZE_4K, open).expect("free").forget();
        }
        let mut hart = hart(&ram);
        hart.control(Control::Hgatp(8 << 60 | host.root().0 >> 12)).expect("no fault");
        hart.control(Control::Vsatp(8 << 60 | guest.root().0 >> 12)).expect("no fault");
        for user in [false, true] {
            enter(&mut hart, user, true);
            for page in &mapped {
                // A page of the guest whose number is that of a placed slot lies in that.
                let there = placed.iter().find(|slot| 64 + slot.slot == page.to);
                for kind in KINDS {
                    let got = go(&mut hart, kind, page.va(0) + 0x20);
                    match there {
                        _ if !page.allows(kind, user) => {
                            let cause = got.err();
                            prop_assert!(cause.is_some_and(|cause| (cause as u8) < 16), "{cause:?}");
                        }
                        Some(slot) if slot.allows(kind, true) => {
                            prop_assert_eq!(got, Ok((slot.to << 21) + 0x20));
                        }
                        _ if page.to == 0 && there.is_none() => {}
                        _ => {
                            let cause = got.err();
                            prop_assert!(cause.is_some_and(|cause| cause as u8 >= 20), "{cause:?}");
                        }
                    }
                }
            }
        }
    }
}
