//! Page tables edited at random, in a damaged state too. While they are sound, every address must be where a plain map
//! says. An edit that fails must leave tables and frames as they were. Nothing may panic.
#![no_main]

use std::collections::BTreeMap;

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use softmmu::access::Width;
use softmmu::addr::{PageSize, PhysAddr, VirtAddr};
use softmmu::arch::custom::Config;
use softmmu::arch::riscv::{Sv39, Sv48};
use softmmu::arch::x86::{Config as X86, LongMode};
use softmmu::memory::{PhysMemory, Ram};
use softmmu::radix::{Encode, Perms};
use softmmu::table::{EditError, PageTable, RadixTable};

#[path = "../../tests/editing/pool.rs"]
#[allow(dead_code)]
mod pool;

use pool::Pool;

const FRAMES: u64 = 32;
const PAGE: u64 = 4096;

/// An address near a place where tables meet.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Place {
    near: u8,
    page: u8,
    off: bool,
}

impl Place {
    fn va(self) -> VirtAddr {
        let near =
            [0, 0x20_0000, 0x3f_f000, 0x3fe0_0000, 0x3f_ffff_f000, 0xffff_ffff_ffe0_0000, 1 << 40, 1 << 32];
        let va = near[usize::from(self.near) % 8] + u64::from(self.page % 16) * PAGE;
        VirtAddr(va.wrapping_add(u64::from(self.off && self.near > 0x80)))
    }

    fn pa(self) -> PhysAddr {
        PhysAddr(
            u64::from(self.near) << 21
                | u64::from(self.page) * PAGE
                | u64::from(self.off && self.near > 0xe0),
        )
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Op {
    Map { va: Place, pa: Place, large: bool, perms: u16 },
    Unmap { va: Place },
    Protect { va: Place, perms: u16 },
    MapRange { va: Place, pa: Place, pages: u16, perms: u16 },
    UnmapRange { va: Place, pages: u16 },
    ProtectRange { va: Place, pages: u16, perms: u16 },
    Starve { budget: u8 },
    Damage { frame: u8, index: u16, value: u64 },
}

fn perms(raw: u16) -> Perms {
    // Usually something that every format can say.
    let plain = Perms::READ | Perms::EXECUTE | Perms::USER | Perms::ACCESSED;
    match raw % 4 {
        0 => Perms::from_bits_truncate(raw >> 2),
        1 => plain | Perms::WRITE | Perms::DIRTY,
        _ => plain,
    }
}

struct World<F> {
    ram: Ram,
    pool: Pool,
    table: RadixTable<F>,
    /// Where each smallest page is, and its rights, while the tables are sound.
    model: Option<BTreeMap<u64, (u64, Perms)>>,
}

impl<F: Encode> World<F> {
    fn new(format: F) -> Self {
        let ram = Ram::new(PhysAddr(0), FRAMES * PAGE).expect("host memory");
        let mut pool = Pool::new(PageSize::SIZE_4K, FRAMES * PAGE);
        let table = RadixTable::new(format, &ram, &mut pool).expect("a root");
        Self { ram, pool, table, model: Some(BTreeMap::new()) }
    }

    /// What the tables hold. The content of free frames is nobody's.
    fn bytes(&self) -> Vec<(u64, Vec<u8>)> {
        let tables = self.pool.out.iter().map(|(&frame, &order)| {
            let mut bytes = vec![0; (PAGE << order) as usize];
            self.ram.read_bytes(PhysAddr(frame), &mut bytes).expect("RAM");
            (frame, bytes)
        });
        tables.collect()
    }

    fn step(&mut self, op: Op) {
        let (bytes, pool) = (self.bytes(), self.pool.clone());
        let large = PageSize::SIZE_2M;
        let Self { ram, pool: frames, table, model } = self;
        let mut empty = BTreeMap::new();
        let map = model.as_mut().unwrap_or(&mut empty);
        let done = match op {
            Op::Map { va, pa, large: wide, perms: rights } => {
                let size = if wide { large } else { PageSize::SIZE_4K };
                let done = table.map(ram, frames, va.va(), pa.pa(), size, perms(rights));
                if done.is_ok() {
                    insert(map, va.va().0, pa.pa().0, size.bytes() / PAGE, perms(rights));
                }
                done
            }
            Op::MapRange { va, pa, pages, perms: rights } => {
                let pages = u64::from(pages % 1500);
                let done = table.map_range(ram, frames, va.va(), pa.pa(), pages * PAGE, perms(rights));
                if done.is_ok() {
                    insert(map, va.va().0, pa.pa().0, pages, perms(rights));
                }
                done
            }
            Op::Unmap { va } => table.unmap(ram, va.va()).map(|(page, flush)| {
                (0..page.size.bytes() / PAGE).for_each(|at| {
                    map.remove(&(page.va.0 + at * PAGE));
                });
                flush
            }),
            Op::UnmapRange { va, pages } => {
                let pages = u64::from(pages % 1500);
                let done = table.unmap_range(ram, frames, va.va(), pages * PAGE);
                if done.is_ok() {
                    (0..pages).for_each(|at| {
                        map.remove(&va.va().0.wrapping_add(at * PAGE));
                    });
                }
                done
            }
            Op::Protect { va, perms: rights } => {
                table.protect(ram, va.va(), perms(rights)).map(|(page, flush)| {
                    protect(map, page.va.0, page.size.bytes() / PAGE, perms(rights));
                    flush
                })
            }
            Op::ProtectRange { va, pages, perms: rights } => {
                let pages = u64::from(pages % 1500);
                let done = table.protect_range(ram, frames, va.va(), pages * PAGE, perms(rights));
                if done.is_ok() {
                    protect(map, va.va().0, pages, perms(rights));
                }
                done
            }
            Op::Starve { budget } => {
                frames.budget = usize::from(budget % 8);
                return;
            }
            Op::Damage { frame, index, value } => {
                let at = PhysAddr(u64::from(frame) % FRAMES * PAGE + u64::from(index % 512) * 8);
                ram.write(at, Width::W8, value).expect("RAM");
                *model = None;
                return;
            }
        };
        frames.budget = usize::MAX;
        let sound = model.is_some();
        match done {
            Ok(flush) => {
                let freed = flush.apply(Default::default(), frames, |_| {});
                assert!(freed.is_ok() || !sound, "a frame that is not the table's: {freed:?}");
            }
            Err(error) => {
                // Where damage makes two entries share a table, a range meets its own half-done work in it.
                if sound || matches!(op, Op::Map { .. } | Op::Unmap { .. } | Op::Protect { .. }) {
                    assert!(
                        bytes == self.bytes(),
                        "{op:?} failed with {error} and left traces (sound: {sound})"
                    );
                    assert_eq!(pool.out, self.pool.out, "{op:?} failed with {error} and kept frames");
                }
            }
        }
        if let Some(model) = &self.model {
            check(&self.table, &self.ram, model, op);
        }
    }
}

fn insert(model: &mut BTreeMap<u64, (u64, Perms)>, va: u64, pa: u64, pages: u64, perms: Perms) {
    for at in (0..pages).map(|page| page * PAGE) {
        assert!(model.insert(va.wrapping_add(at), (pa + at, perms)).is_none(), "{va:#x} was mapped already");
    }
}

fn protect(model: &mut BTreeMap<u64, (u64, Perms)>, va: u64, pages: u64, perms: Perms) {
    let kept = Perms::ACCESSED | Perms::DIRTY | Perms::DEVICE;
    for at in 0..pages {
        if let Some((_, old)) = model.get_mut(&va.wrapping_add(at * PAGE)) {
            *old = perms | *old & kept;
        }
    }
}

/// Every page of the model is where it should be, at its ends; what lies around is mapped exactly if the model says so.
fn check<F: Encode>(table: &RadixTable<F>, ram: &Ram, model: &BTreeMap<u64, (u64, Perms)>, op: Op) {
    let look = |va: u64| match table.translate(ram, VirtAddr(va)) {
        Ok(found) => found.map(|page| (page.address(VirtAddr(va)).0, page.perms)),
        Err(EditError::Untranslatable { .. }) => None,
        Err(error) => panic!("{op:?} left damage: {error}"),
    };
    let step = (model.len() / 64).max(1);
    for (&va, &(pa, perms)) in model.iter().step_by(step) {
        assert_eq!(look(va + 0xfff), Some((pa + 0xfff, perms)), "{va:#x} after {op:?}");
    }
    let (Op::Map { va, .. } | Op::Unmap { va } | Op::UnmapRange { va, .. } | Op::MapRange { va, .. }) = op
    else {
        return;
    };
    for around in [-1i64, 0, 1, 15, 16, 511, 512, 1023] {
        let va = (va.va().0 & !0xfff).wrapping_add_signed(around * PAGE as i64);
        assert_eq!(look(va), model.get(&va).copied(), "{va:#x} after {op:?}");
    }
}

fn live<F: Encode>(format: F, u: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    let mut world = World::new(format);
    for op in u.arbitrary_iter::<Op>()?.take(48) {
        world.step(op?);
    }
    if world.model.is_some() {
        // Everything unmapped, only the root's frame is out.
        for va in world.model.take().into_iter().flatten().map(|(va, _)| va) {
            if let Ok((_, flush)) = world.table.unmap(&world.ram, VirtAddr(va)) {
                flush.apply(Default::default(), &mut world.pool, |_| {}).expect("the table's frames");
            }
        }
        let all = world.table.flush_all();
        all.apply(Default::default(), &mut world.pool, |_| {}).expect("the table's frames");
        assert_eq!(world.pool.out.len(), 1, "frames leaked");
    }
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    let mut u = Unstructured::new(data);
    let _ = match u.int_in_range(0..=3) {
        Ok(0) => live(Sv39::default(), &mut u),
        Ok(1) => live(Sv48::default(), &mut u),
        Ok(2) => live(LongMode::new(&X86::ZEN2, true, false), &mut u),
        _ => live(Config::two_level_32().build().expect("a preset"), &mut u),
    };
});
