//! Formats described at run time: the 16-bit machine of a textbook as well as one that nobody has built yet.
//!
//! A [`Config`] says in plain words how an address is cut and which bit of an entry means what; [`Config::build`]
//! checks it and makes a [`CustomFormat`], which walks and edits like any other format. [`Custom`] is the
//! architecture around it: privilege, ASID, and who sets accessed and dirty bits.

mod config;
mod format;
#[cfg(test)]
mod tests;

pub use config::{Bit, Config, ConfigError, Leaves};
pub use format::CustomFormat;

use super::software::Software;
use crate::table::RadixWalker;

pub use super::software::{Cause, Control, Fault, Fence, Marks};

/// The architecture of a machine whose format is described at run time: textbook rules around a [`CustomFormat`].
///
/// ```
/// use softmmu::addr::{PageSize, PhysAddr, VirtAddr};
/// use softmmu::arch::custom::{Bit, Cause, Config, Custom};
/// # use softmmu::frame::{FrameAllocator, FrameError};
/// use softmmu::memory::Ram;
/// use softmmu::mmu::{AccessError, Mmu};
/// use softmmu::radix::Perms;
/// use softmmu::table::{PageTable, RadixTable};
///
/// # struct Bump(u64);
/// # impl FrameAllocator for Bump {
/// #     fn frame_size(&self) -> PageSize { PageSize::from_bits(6).unwrap() }
/// #     fn allocate(&mut self, order: u32) -> Result<PhysAddr, FrameError> {
/// #         let size = 64 << order;
/// #         let frame = self.0.next_multiple_of(size);
/// #         self.0 = frame + size;
/// #         Ok(PhysAddr(frame))
/// #     }
/// #     fn free(&mut self, _: PhysAddr, _: u32) -> Result<(), FrameError> { Ok(()) }
/// #     fn free_frames(&self) -> u64 { u64::MAX }
/// # }
/// # let mut frames = Bump(0x1000);
/// // A 14-bit machine: 64-byte pages, two levels of 16 entries of two bytes each: valid, writable, 8 bits of frame.
/// let format = Config::new(64, &[4, 4], 2, Bit::high(15)).frame(0, 8).write(Bit::high(14)).build()?;
/// let ram = Ram::new(PhysAddr(0), 0x4000)?;
/// let page = PageSize::from_bytes(64).expect("a power of two");
/// let mut table = RadixTable::new(format, &ram, &mut frames)?;
/// let rights = Perms::READ | Perms::EXECUTE | Perms::USER; // always granted: nothing takes them away
/// table.map(&ram, &mut frames, VirtAddr(0x3f40), PhysAddr(0x200), page, rights)?.forget();
///
/// let mut mmu = Mmu::new(Custom::new(table.walker()), &ram, ());
/// assert_eq!(mmu.load::<u16>(VirtAddr(0x3f42))?, 0);
/// match mmu.store::<u16>(VirtAddr(0x3f42), 1) {
///     Err(AccessError::Fault(fault)) => assert_eq!((fault.cause, fault.level), (Cause::Right, 0)),
///     outcome => panic!("{outcome:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type Custom = Software<RadixWalker<CustomFormat>>;
