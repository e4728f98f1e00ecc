//! The filter is invisible: with it and without it, an `Mmu` answers, counts and evicts the same, whatever the
//! policy, the invalidations and the mix of page sizes.

use proptest::prelude::*;
use softmmu::addr::{Asid, PageSize, PhysAddr, VirtAddr, Vmid};
use softmmu::arch::custom::{Bit, Config, Control, Custom, CustomFormat, Fault, Leaves};
use softmmu::arch::riscv::Riscv;
use softmmu::arch::software::Fence;
use softmmu::frame::{FrameAllocator, FrameError};
use softmmu::memory::{Bus, Ram};
use softmmu::mmu::{AccessError, Mmu};
use softmmu::radix::Perms;
use softmmu::table::{PageTable, RadixTable};
use softmmu::tlb::policy::{BitPlru, Brrip, Fifo, Nru, Random, Srrip, TreePlru, TrueLru, WayPolicy};
use softmmu::tlb::{Geometry, Scope, SetAssociative, Space, Span, TlbEntry};

/// Physical frames below this are pages; tables lie above.
const PAGES: u64 = 64;
const RAM: u64 = 4 << 20;
/// Two address spaces with tables of their own.
const SPACES: u16 = 2;

/// Tables only, from the top half of RAM up.
struct Tables(u64);

impl FrameAllocator for Tables {
    fn frame_size(&self) -> PageSize {
        PageSize::SIZE_4K
    }
    fn allocate(&mut self, order: u32) -> Result<PhysAddr, FrameError> {
        let at = self.0;
        self.0 += 4096;
        if order == 0 && self.0 <= RAM { Ok(PhysAddr(at)) } else { Err(FrameError::OutOfFrames { order }) }
    }
    fn free(&mut self, _frame: PhysAddr, _order: u32) -> Result<(), FrameError> {
        Ok(())
    }
    fn free_frames(&self) -> u64 {
        (RAM - self.0) >> 12
    }
}

/// Three levels of 16 entries over 4 KiB pages, with 64 KiB pages one level up.
fn format() -> CustomFormat {
    Config::new(4096, &[4, 4, 4], 8, Bit::high(0))
        .frame(12, 20)
        .read(Bit::high(1))
        .write(Bit::high(2))
        .execute(Bit::high(3))
        .user(Bit::high(4))
        .global(Bit::high(5))
        .accessed(Bit::high(6))
        .dirty(Bit::high(7))
        .leaves(Leaves::Flag(Bit::high(8)))
        .build()
        .expect("a sound format")
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Load(u64),
    LoadByte(u64),
    Store(u64, u64),
    Fetch(u64),
    Add(u64, u64),
    Exchange(u64, u64, u64),
    Bytes(u64, usize),
    Switch(u16),
    User(bool),
    Enable(bool),
    Map(u64, bool, u64, Perms),
    Unmap(u64),
    Fence(Fence),
    Range(u64, u64),
}

/// Addresses in 24 pages that share sets, at every alignment now and then.
fn va() -> impl Strategy<Value = u64> {
    let page = prop_oneof![0..8u64, 16..24u64, 32..40u64];
    let offset = prop_oneof![8 => (0..512u64).prop_map(|n| n * 8), 1 => 0..4096u64, 1 => 4089..4096u64];
    (page, offset).prop_map(|(page, offset)| page << 12 | offset)
}

fn perms() -> impl Strategy<Value = Perms> {
    (0..1u16 << 5).prop_map(|bits| Perms::from_bits_truncate(bits) | Perms::READ)
}

fn op() -> impl Strategy<Value = Op> {
    let fence = prop_oneof![
        Just(Fence::All),
        (0..SPACES).prop_map(|asid| Fence::Space(Asid(asid))),
        (va(), 0..SPACES).prop_map(|(va, asid)| Fence::Page(VirtAddr(va), Asid(asid))),
    ];
    prop_oneof![
        20 => va().prop_map(Op::Load),
        4 => va().prop_map(Op::LoadByte),
        12 => (va(), any::<u64>()).prop_map(|(va, value)| Op::Store(va, value)),
        8 => va().prop_map(Op::Fetch),
        2 => (va(), any::<u64>()).prop_map(|(va, value)| Op::Add(va, value)),
        2 => (va(), 0..2u64, any::<u64>()).prop_map(|(va, old, new)| Op::Exchange(va, old, new)),
        2 => (va(), 1..9000usize).prop_map(|(va, len)| Op::Bytes(va, len)),
        3 => (0..SPACES).prop_map(Op::Switch),
        2 => any::<bool>().prop_map(Op::User),
        1 => any::<bool>().prop_map(Op::Enable),
        4 => (va(), any::<bool>(), 0..PAGES, perms()).prop_map(|(va, large, frame, p)| Op::Map(va, large, frame, p)),
        2 => va().prop_map(Op::Unmap),
        1 => fence.prop_map(Op::Fence),
        1 => (va(), 0..0x20000u64).prop_map(|(va, len)| Op::Range(va, len)),
    ]
}

/// A guest of two address spaces on one hart.
struct Machine<P: WayPolicy> {
    mmu: Mmu<Custom, Ram, SetAssociative<P>>,
    tables: Vec<RadixTable<CustomFormat>>,
    frames: Tables,
    asid: u16,
    on: bool,
}

type Answer = Result<u64, AccessError<Fault>>;

impl<P: WayPolicy> Machine<P> {
    fn new(geometry: Geometry, filter: bool) -> Self {
        let ram = Ram::new(PhysAddr(0), RAM).expect("a small RAM");
        let mut frames = Tables(RAM / 2);
        let tables: Vec<_> = (0..SPACES)
            .map(|_| RadixTable::new(format(), &ram, &mut frames).expect("room for a root"))
            .collect();
        let mut arch = Custom::new(tables[0].walker());
        arch = arch.with_asid(Asid(0));
        let mut mmu = Mmu::new(arch, ram, SetAssociative::new(geometry).expect("a real geometry"));
        mmu.set_filter(filter);
        let mut machine = Self { mmu, tables, frames, asid: 0, on: true };
        for page in 0..16 {
            let all = Perms::READ | Perms::WRITE | Perms::EXECUTE;
            for asid in 0..SPACES {
                machine.switch(asid);
                machine.map(page << 12, false, page + 8 * u64::from(asid), all);
            }
        }
        machine
    }

    fn switch(&mut self, asid: u16) {
        self.asid = asid;
        let walker = self.tables[usize::from(asid)].walker();
        self.mmu.control(Control::Table(walker, Asid(asid))).expect("no fault");
    }

    /// Maps a page, replacing what is there, with no fence at all unless the table asks for one.
    fn map(&mut self, va: u64, large: bool, frame: u64, perms: Perms) {
        let size = PageSize::from_bits(if large { 16 } else { 12 }).expect("a size");
        let va = VirtAddr(va).align_down(size.bits());
        let pa = PhysAddr(frame << 12).align_down(size.bits());
        let (table, mmu) = (&mut self.tables[usize::from(self.asid)], &mut self.mmu);
        let space = Space::new(0, Vmid(0), Asid(self.asid));
        let ram = mmu.memory().clone();
        if let Ok((_, flush)) = table.unmap(&ram, va) {
            flush.apply(space, &mut self.frames, |scope| mmu.invalidate(scope)).expect("own frames");
        }
        if let Ok(flush) = table.map(&ram, &mut self.frames, va, pa, size, perms) {
            flush.apply(space, &mut self.frames, |scope| mmu.invalidate(scope)).expect("own frames");
        }
    }

    fn run(&mut self, op: Op) -> Answer {
        match op {
            Op::Load(va) => self.mmu.load::<u64>(VirtAddr(va)),
            Op::LoadByte(va) => self.mmu.load::<u8>(VirtAddr(va)).map(u64::from),
            // Below a bound: with translation off, addresses are physical and tables must stay whole.
            Op::Store(va, value) => self.mmu.store::<u64>(VirtAddr(va), value).map(|()| 0),
            Op::Fetch(va) => self.mmu.fetch::<u32>(VirtAddr(va)).map(u64::from),
            Op::Add(va, value) => self.mmu.rmw::<u64>(VirtAddr(va), |old| old.wrapping_add(value)),
            Op::Exchange(va, old, new) => self
                .mmu
                .compare_exchange::<u32>(VirtAddr(va), old as u32, new as u32)
                .map(|done| done.map_or_else(u64::from, u64::from)),
            Op::Bytes(va, len) => {
                let mut bytes = vec![0; len];
                self.mmu.read_bytes(VirtAddr(va), &mut bytes)?;
                self.mmu.write_bytes(VirtAddr(va ^ 0x1000), &bytes)?;
                Ok(bytes.iter().map(|byte| u64::from(*byte)).sum())
            }
            Op::Switch(asid) => {
                self.switch(asid);
                Ok(0)
            }
            Op::User(user) => self.mmu.control(Control::User(user)).map(|()| 0),
            Op::Enable(on) => {
                self.on = on;
                self.mmu.control(Control::Enable(on)).map(|()| 0)
            }
            Op::Map(va, large, frame, perms) => {
                self.map(va, large, frame, perms);
                Ok(0)
            }
            Op::Unmap(va) => {
                let ram = self.mmu.memory().clone();
                let table = &mut self.tables[usize::from(self.asid)];
                let Ok((mapping, flush)) = table.unmap(&ram, VirtAddr(va).align_down(12)) else {
                    return Ok(1);
                };
                let space = Space::new(0, Vmid(0), Asid(self.asid));
                let mmu = &mut self.mmu;
                flush.apply(space, &mut self.frames, |scope| mmu.invalidate(scope)).expect("own frames");
                Ok(mapping.pa.0)
            }
            Op::Fence(fence) => {
                self.mmu.fence(fence);
                Ok(0)
            }
            Op::Range(first, len) => {
                let span = Span::Virtual { first, last: first + len };
                self.mmu.invalidate(&Scope { span, ..Scope::ALL });
                Ok(0)
            }
        }
    }

    /// Everything that the model holds.
    fn model(&mut self) -> (Vec<(usize, TlbEntry)>, String) {
        let tlb = self.mmu.tlb();
        (tlb.entries().collect(), format!("{:?}", tlb.stats()))
    }
}

fn agree<P: WayPolicy>(geometry: Geometry, ops: &[Op]) -> Result<(), TestCaseError> {
    let (mut with, mut without) = (Machine::<P>::new(geometry, true), Machine::<P>::new(geometry, false));
    for (n, op) in ops.iter().enumerate() {
        prop_assert_eq!(with.run(*op), without.run(*op), "answers to {} {:?}", n, op);
        prop_assert_eq!(with.model(), without.model(), "models after {} {:?}", n, op);
    }
    let (mut on, mut off) = (with.mmu.stats(), without.mmu.stats());
    prop_assert_eq!(off.filter_hits, 0);
    (on.filter_hits, off.filter_hits) = (0, 0);
    prop_assert_eq!(on, off);
    Ok(())
}

fn geometry() -> impl Strategy<Value = Geometry> {
    prop_oneof![
        Just(Geometry::new(4, 2)),
        Just(Geometry::new(1, 5)),
        Just(Geometry::new(3, 3)),
        Just(Geometry::new(8, 1)),
        Just(Geometry::new(16, 4)),
    ]
}

macro_rules! policies {
    ($($name:ident: $policy:ty;)*) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(96))]
            $(#[test]
            fn $name(geometry in geometry(), ops in prop::collection::vec(op(), 1..300)) {
                agree::<$policy>(geometry, &ops)?;
            })*
        }
    };
}

policies! {
    true_lru: TrueLru;
    tree_plru: TreePlru;
    bit_plru: BitPlru;
    fifo: Fifo;
    nru: Nru;
    random: Random;
    srrip: Srrip;
    brrip: Brrip;
}

/// The test above would pass if the filter never opened.
#[test]
fn the_filter_answers() {
    let mut machine = Machine::<TrueLru>::new(Geometry::new(16, 4), true);
    for round in 0..10 {
        for page in 0..16u64 {
            machine.run(Op::Store(page << 12, round)).expect("mapped");
            machine.run(Op::Load(page << 12)).expect("mapped");
            machine.run(Op::Fetch(page << 12)).expect("mapped");
        }
    }
    let stats = machine.mmu.stats();
    // Round 0 walks for the store, and its load and fetch touch the line again, which opens their windows; the window
    // for stores opens in round 1.
    assert_eq!(stats.filter_hits, 8 * 16 * 3 + 16 * 2, "{stats:?}");
}

/// A run that memory refuses on its second page has stored nothing on its first.
#[test]
fn a_refused_run_stores_nothing() {
    let mut bus = Bus::new();
    bus.add_ram(Ram::new(PhysAddr(0x1000), 0x1000).expect("a page")).expect("free");
    bus.add_rom(PhysAddr(0x2000), &[7; 0x1000]).expect("free");
    let mut hart: Mmu<Riscv, Bus, ()> = Mmu::new(Riscv::rv64(), bus, ());
    hart.write_bytes(VirtAddr(0x1ff0), &[1; 16]).expect("RAM alone");
    hart.write_bytes(VirtAddr(0x1ff0), &[2; 17]).expect_err("the last byte is ROM's");
    assert_eq!(hart.load::<u64>(VirtAddr(0x1ff0)), Ok(0x0101_0101_0101_0101));
}
