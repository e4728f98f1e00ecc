//! softmmu: x86-64 long mode tables in guest memory.

use std::hint::black_box;
use std::ops::ControlFlow;

use softmmu::access::Width;
use softmmu::addr::{PageSize, PhysAddr, VirtAddr};
use softmmu::arch::x86::{Config, LongMode};
use softmmu::frame::{FrameAllocator, FrameError};
use softmmu::memory::{PhysMemory, Ram};
use softmmu::radix::Perms;
use softmmu::table::{Flush, PageTable, RadixTable};

use crate::frames::shuffle;
use crate::{GIB, LEAVES, PA, SMALL, TIB, VA};

type Measure<'a> = &'a mut dyn FnMut(&mut dyn FnMut());

const RW: Perms = Perms::READ.union(Perms::WRITE).union(Perms::USER);

/// A list of guest frames.
struct Frames(Vec<PhysAddr>);

impl FrameAllocator for Frames {
    fn frame_size(&self) -> PageSize {
        PageSize::SIZE_4K
    }
    fn allocate(&mut self, order: u32) -> Result<PhysAddr, FrameError> {
        self.0.pop().ok_or(FrameError::OutOfFrames { order })
    }
    fn free(&mut self, frame: PhysAddr, _order: u32) -> Result<(), FrameError> {
        self.0.push(frame);
        Ok(())
    }
    fn free_frames(&self) -> u64 {
        self.0.len() as u64
    }
}

struct Machine {
    ram: Ram,
    frames: Frames,
    table: RadixTable<LongMode>,
}

impl Machine {
    fn new() -> Self {
        Self::with(|_| {})
    }

    /// With frames in another order.
    fn with(order: impl FnOnce(&mut [PhysAddr])) -> Self {
        let ram = Ram::new(PhysAddr(0), 8 << 20).expect("RAM");
        let mut frames = Frames((0..2048).rev().map(|n| PhysAddr(n * 4096)).collect());
        for &frame in &frames.0 {
            // The host finds the memory now, not while edits are timed.
            ram.write(frame, Width::W8, 0).expect("RAM");
        }
        order(&mut frames.0);
        let format = LongMode::new(&Config::INTEL, true, false);
        let table = RadixTable::new(format, &ram, &mut frames).expect("a root");
        Self { ram, frames, table }
    }

    /// With the gigabyte mapped.
    fn mapped() -> Self {
        let mut machine = Self::new();
        machine.map(VirtAddr(VA), PhysAddr(PA), GIB);
        machine
    }

    fn map(&mut self, va: VirtAddr, pa: PhysAddr, len: u64) {
        self.table.map_range(&self.ram, &mut self.frames, va, pa, len, RW).expect("mapped").forget();
    }

    /// With every page of the gigabyte somewhere else, so that no run of entries is even.
    fn scattered() -> Self {
        let mut machine = Self::new();
        let Self { ram, frames, table } = &mut machine;
        for n in 0..SMALL {
            let (va, pa) = (VirtAddr(VA + n * 4096), PhysAddr((n * 0x9e37 % SMALL) * 4096));
            table.map(ram, frames, va, pa, PageSize::SIZE_4K, RW).expect("mapped").forget();
        }
        machine
    }

    /// The edit alone: what it obliges to is still to be done.
    fn detach(&mut self, va: VirtAddr, len: u64) -> Flush {
        self.table.unmap_range(&self.ram, &mut self.frames, va, len).expect("unmapped")
    }

    /// All of it: the tables that are dropped are free again.
    fn unmap(&mut self, va: VirtAddr, len: u64) {
        let flush = self.detach(va, len);
        flush
            .apply(Default::default(), &mut self.frames, |scope| {
                black_box(scope);
            })
            .expect("its own frames");
    }
}

pub fn map(measure: Measure) {
    let mut machine = Machine::new();
    measure(&mut || machine.map(VirtAddr(VA), PhysAddr(PA), GIB));
    assert_eq!(machine.frames.free_frames(), 2048 - 3 - 512);
}

pub fn map_singly(measure: Measure) {
    let Machine { ram, mut frames, mut table } = Machine::new();
    measure(&mut || {
        for n in 0..SMALL {
            let (va, pa) = (VirtAddr(VA + n * 4096), PhysAddr(PA + n * 4096));
            table.map(&ram, &mut frames, va, pa, PageSize::SIZE_4K, RW).expect("mapped").forget();
        }
    });
}

pub fn protect(measure: Measure) {
    protect_in(Machine::mapped(), measure);
}

/// The same with every page somewhere else.
pub fn protect_scattered(measure: Measure) {
    protect_in(Machine::scattered(), measure);
}

fn protect_in(machine: Machine, measure: Measure) {
    let Machine { ram, mut frames, mut table } = machine;
    measure(&mut || {
        let rights = Perms::READ | Perms::USER;
        table.protect_range(&ram, &mut frames, VirtAddr(VA), GIB, rights).expect("protected").forget();
    });
}

pub fn translate(measure: Measure) {
    let machine = Machine::mapped();
    measure(&mut || {
        let mut sum = 0;
        let visit = |page: softmmu::table::Mapping| {
            sum ^= page.va.0 ^ page.pa.0;
            ControlFlow::Continue(())
        };
        machine.table.translate_range(&machine.ram, VirtAddr(VA), GIB, visit).expect("mapped");
        black_box(sum);
    });
}

/// The same with every page somewhere else.
pub fn translate_scattered(measure: Measure) {
    let machine = Machine::scattered();
    measure(&mut || {
        let mut sum = 0;
        let visit = |page: softmmu::table::Mapping| {
            sum ^= page.va.0 ^ page.pa.0;
            ControlFlow::Continue(())
        };
        machine.table.translate_range(&machine.ram, VirtAddr(VA), GIB, visit).expect("mapped");
        black_box(sum);
    });
}

pub fn translate_singly(measure: Measure) {
    let machine = Machine::mapped();
    measure(&mut || {
        for n in 0..SMALL {
            let page = machine.table.translate(&machine.ram, VirtAddr(VA + n * 4096)).expect("sound");
            black_box(page.expect("mapped").pa);
        }
    });
}

pub fn unmap(measure: Measure) {
    let mut machine = Machine::mapped();
    measure(&mut || machine.unmap(VirtAddr(VA), GIB));
    assert_eq!(machine.frames.free_frames(), 2047);
}

pub fn unmap_unapplied(measure: Measure) {
    let mut machine = Machine::mapped();
    let mut flush = Flush::nothing();
    measure(&mut || flush = machine.detach(VirtAddr(VA), GIB));
    assert_eq!(flush.frames(), 2 + 512);
}

/// The tables lie in no order.
pub fn unmap_shuffled(measure: Measure) {
    let mut machine = Machine::with(shuffle);
    machine.map(VirtAddr(VA), PhysAddr(PA), GIB);
    measure(&mut || machine.unmap(VirtAddr(VA), GIB));
    assert_eq!(machine.frames.free_frames(), 2047);
}

/// All but the last page of each table, so that no table goes.
pub fn unmap_leaves(measure: Measure) {
    leaves(Machine::mapped(), measure);
}

/// The same with every page somewhere else.
pub fn unmap_leaves_scattered(measure: Measure) {
    leaves(Machine::scattered(), measure);
}

fn leaves(mut machine: Machine, measure: Measure) {
    measure(&mut || {
        for n in 0..GIB >> 21 {
            machine.unmap(VirtAddr(VA + (n << 21)), LEAVES);
        }
    });
    assert_eq!(machine.frames.free_frames(), 2048 - 3 - 512);
}

/// In pieces of half a table, so that no table can be dropped unread.
pub fn unmap_pieces(measure: Measure) {
    let mut machine = Machine::mapped();
    measure(&mut || {
        for n in 0..GIB >> 20 {
            machine.unmap(VirtAddr(VA + (n << 20)), 1 << 20);
        }
    });
    assert_eq!(machine.frames.free_frames(), 2047);
}

pub fn protect_singly(measure: Measure) {
    let Machine { ram, mut table, .. } = Machine::mapped();
    let rights = Perms::READ | Perms::USER;
    measure(&mut || {
        for n in 0..SMALL {
            let (page, flush) = table.protect(&ram, VirtAddr(VA + n * 4096), rights).expect("protected");
            black_box(page.pa);
            flush.forget();
        }
    });
}

pub fn unmap_singly(measure: Measure) {
    let Machine { ram, mut frames, mut table } = Machine::mapped();
    measure(&mut || {
        for n in 0..SMALL {
            let (_, flush) = table.unmap(&ram, VirtAddr(VA + n * 4096)).expect("unmapped");
            flush
                .apply(Default::default(), &mut frames, |scope| {
                    black_box(scope);
                })
                .expect("its own frames");
        }
    });
}

pub fn map_large(measure: Measure) {
    let mut machine = Machine::new();
    measure(&mut || machine.map(VirtAddr(TIB), PhysAddr(TIB), TIB));
}

pub fn unmap_large(measure: Measure) {
    let mut machine = Machine::new();
    machine.map(VirtAddr(TIB), PhysAddr(TIB), TIB);
    measure(&mut || machine.unmap(VirtAddr(TIB), TIB));
    assert_eq!(machine.frames.free_frames(), 2047);
}
