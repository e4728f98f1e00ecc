//! What a program, its kernel and its hypervisor do to one hart's MMU, drawn from random numbers.

use std::fmt::Debug;

use softmmu::access::{Access, Width};
use softmmu::arch::Arch;

use crate::tape::Tape;

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

/// One thing that happens.
#[derive(Debug)]
pub enum Step<A: Arch> {
    /// An access.
    Access(Access<A::Flavor>),
    /// Control registers or the privilege change. One that faults changes nothing.
    Control(Vec<A::Control>),
    /// Table entries change, and the fences that the architecture asks for then follow.
    Edit(Vec<(u64, Width, u64)>, Vec<A::Fence>),
    /// A fence without cause.
    Fence(A::Fence),
}

/// A machine with its programs.
pub trait Guest: Sized {
    type Arch: Arch<Control: Debug, Fence: Debug> + Debug + 'static;

    /// Draws a machine.
    fn new(tape: &mut Tape<'_>) -> Self;

    /// Its control state at the start.
    fn arch(&self) -> Self::Arch;

    /// Its page tables at the start.
    fn tables(&mut self, tape: &mut Tape<'_>) -> Vec<(u64, Width, u64)>;

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

/// An offset into a page, near its start, the RAM's end or the page's end.
pub fn offset(tape: &mut Tape<'_>, size_bits: u32) -> u64 {
    let size = 1 << size_bits.min(21);
    let near = tape.pick(&[0, 0x10, size - 8, size - 4, DATA_SIZE.min(size) - 4, size / 2]);
    (near + tape.below(16)) % (size + 8)
}
