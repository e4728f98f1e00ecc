//! What a program, its kernel and its hypervisor do to one hart's MMU, drawn from random numbers.

use std::fmt::Debug;

use softmmu::access::{Access, Width};
use softmmu::arch::Arch;

use crate::tape::Tape;
use crate::tree::Slot;

/// Where the page tables lie: nothing is ever mapped there, so no store of the guest's changes a table.
pub const TABLES: u64 = 0xc000_0000;
/// Bytes of RAM for tables.
pub const TABLES_SIZE: u64 = 0x10_0000;
/// Where mapped memory lies: RAM at the first and the second of these, as much as [`DATA_SIZE`]. Pages of up to 1 GiB
/// begin at the first, pages of up to 2 MiB at either.
pub const DATA: [u64; 2] = [0x4000_0000, 0x4020_0000];
/// Bytes of RAM at each place. What lies behind it is a device, then nothing.
pub const DATA_SIZE: u64 = 0x8000;
/// Bytes of the device behind each place; its last page is cut short.
pub const DEVICE_SIZE: u64 = 0x1800;

/// An architecture whose every part can be shown when a story goes wrong.
pub trait Shown: Arch<Control: Debug, Fence: Debug> + Debug {}

impl<A: Arch<Control: Debug, Fence: Debug> + Debug> Shown for A {}

/// One thing that happens.
#[derive(Debug)]
pub enum Step<A: Shown> {
    /// An access.
    Access(Access<A::Flavor>),
    /// What a kernel does: one act after the other. Wherever an act changes an entry, the fences that the architecture
    /// asks for are among those that follow.
    Kernel(Vec<Act<A>>),
}

/// One act of a kernel.
#[derive(Debug)]
pub enum Act<A: Shown> {
    /// A table entry changes.
    Entry(u64, Width, u64),
    /// A control register or the privilege changes. One that faults changes nothing.
    Control(A::Control),
    /// A fence.
    Fence(A::Fence),
}

/// A machine with its programs.
pub trait Guest: Sized {
    type Arch: Shown + 'static;

    /// Draws a machine.
    fn new(tape: &mut Tape<'_>) -> Self;

    /// Its control state at the start.
    fn arch(&self) -> Self::Arch;

    /// How it is set up: its page tables, and whatever else.
    fn start(&mut self, tape: &mut Tape<'_>) -> Vec<Act<Self::Arch>>;

    /// What happens next.
    fn step(&mut self, tape: &mut Tape<'_>) -> Step<Self::Arch>;
}

/// A physical page of `size_bits` for a leaf to point at: RAM, device, and sometimes nothing.
pub fn page(tape: &mut Tape<'_>, size_bits: u32) -> u64 {
    let near = tape.pick(&DATA);
    let far =
        if size_bits <= 12 { tape.below((DATA_SIZE + DEVICE_SIZE) >> size_bits) << size_bits } else { 0 };
    let hole = if tape.chance(5) { 0x3000_0000 } else { 0 };
    (near + far + hole) & !softmmu::addr::low_mask(size_bits)
}

/// The acts that put `entry` into all of `slot`'s places.
pub fn write<A: Shown>(slot: &Slot, width: Width, entry: u64) -> Vec<Act<A>> {
    slot.places.into_iter().flatten().map(|pa| Act::Entry(pa, width, entry)).collect()
}

/// An offset into a page, near its start, the RAM's end or the page's end.
pub fn offset(tape: &mut Tape<'_>, size_bits: u32) -> u64 {
    let size = 1 << size_bits.min(21);
    let near = tape.pick(&[0, 0x10, size - 8, size - 4, DATA_SIZE.min(size) - 4, size / 2]);
    (near + tape.below(16)) % (size + 8)
}
