//! Page tables of four-kilobyte pages, written entry by entry: what the guests of the benches walk.

use softmmu::access::Width;
use softmmu::addr::PhysAddr;
use softmmu::memory::PhysMemory;

/// How one architecture writes its tables, and what a load that is made by hand checks in them.
pub trait Shape {
    const LEVELS: u32;
    /// How many address bits index the root.
    const ROOT_BITS: u32 = 9;
    /// The address in an entry: these bits, this much too far to the right.
    const ADDRESS: u64;
    const SHIFT: u32 = 0;
    /// The flags of an entry that points at a table, and the bits by which it is told.
    const TABLE: u64;
    const TABLE_BITS: u64;
    /// The flags of a leaf that may be read and written and needs no marking, and those that a load asks for.
    const LEAF: u64;
    const READABLE: u64;

    #[inline(always)]
    fn entry(pa: u64, flags: u64) -> u64 {
        pa >> Self::SHIFT | flags
    }

    #[inline(always)]
    fn address(raw: u64) -> u64 {
        (raw & Self::ADDRESS) << Self::SHIFT
    }

    /// Where the entry for `va` lies in the table of `level` at `table`.
    #[inline(always)]
    fn place(table: u64, va: u64, level: u32) -> u64 {
        let bits = if level + 1 == Self::LEVELS { Self::ROOT_BITS } else { 9 };
        table + (va >> (12 + 9 * level) & ((1 << bits) - 1)) * 8
    }

    /// Writes the entry for `va` in a table of `level`, making tables on the way; `next` is the next free frame.
    fn put<M: PhysMemory>(memory: &M, root: u64, va: u64, level: u32, entry: u64, next: &mut u64) {
        let mut table = root;
        for at in (level + 1..Self::LEVELS).rev() {
            let place = PhysAddr(Self::place(table, va, at));
            let raw = memory.read(place, Width::W8).expect("tables lie in RAM");
            table = if raw & 1 == 0 {
                let frame = *next;
                *next += 4096;
                memory.write(place, Width::W8, Self::entry(frame, Self::TABLE)).expect("tables lie in RAM");
                frame
            } else {
                Self::address(raw)
            };
        }
        let place = PhysAddr(Self::place(table, va, level));
        memory.write(place, Width::W8, entry).expect("tables lie in RAM");
    }

    /// Maps the page at `va` to the one at `pa`.
    fn map<M: PhysMemory>(memory: &M, root: u64, va: u64, pa: u64, next: &mut u64) {
        Self::put(memory, root, va, 0, Self::entry(pa, Self::LEAF), next);
    }
}

/// RISC-V: of `LEVELS` levels.
pub struct Sv<const LEVELS: u32>;
pub type Sv39 = Sv<3>;
pub type Sv48 = Sv<4>;

impl<const N: u32> Shape for Sv<N> {
    const LEVELS: u32 = N;
    const ADDRESS: u64 = ((1 << 44) - 1) << 10;
    const SHIFT: u32 = 2;
    const TABLE: u64 = 1;
    const TABLE_BITS: u64 = 0xf;
    const LEAF: u64 = 0xcf;
    const READABLE: u64 = 0x43;
}

/// RISC-V's second stage: a root of four pages, every leaf open to user mode.
pub struct Sv39x4;

impl Shape for Sv39x4 {
    const LEVELS: u32 = 3;
    const ROOT_BITS: u32 = 11;
    const ADDRESS: u64 = Sv39::ADDRESS;
    const SHIFT: u32 = 2;
    const TABLE: u64 = 1;
    const TABLE_BITS: u64 = 0xf;
    const LEAF: u64 = 0xdf;
    const READABLE: u64 = 0x53;
}

/// x86-64 with four levels: present, writable, accessed, dirty.
pub struct Long;

impl Shape for Long {
    const LEVELS: u32 = 4;
    const ADDRESS: u64 = 0xf_ffff_ffff_f000;
    const TABLE: u64 = 0x23;
    const TABLE_BITS: u64 = 0xa1;
    const LEAF: u64 = 0x63;
    const READABLE: u64 = 0x21;
}

/// Extended page tables with accessed and dirty flags.
pub struct Ept4;

impl Shape for Ept4 {
    const LEVELS: u32 = 4;
    const ADDRESS: u64 = Long::ADDRESS;
    const TABLE: u64 = 0x107;
    const TABLE_BITS: u64 = 0x187;
    const LEAF: u64 = 0x337;
    const READABLE: u64 = 0x101;
}

/// AArch64, 4 KiB granule, 48 bits: used, Normal memory of attribute index 0.
pub struct Granule4k;

impl Shape for Granule4k {
    const LEVELS: u32 = 4;
    const ADDRESS: u64 = 0xffff_ffff_f000;
    const TABLE: u64 = 3;
    const TABLE_BITS: u64 = 3;
    const LEAF: u64 = 0x703;
    const READABLE: u64 = 0x403;
}

/// AArch64's second stage, the same size: readable, writable, write-back.
pub struct Stage2;

impl Shape for Stage2 {
    const LEVELS: u32 = 4;
    const ADDRESS: u64 = Granule4k::ADDRESS;
    const TABLE: u64 = 3;
    const TABLE_BITS: u64 = 3;
    const LEAF: u64 = 0x7ff;
    const READABLE: u64 = 0x443;
}
