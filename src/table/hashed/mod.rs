//! Page tables that are found by hashing.
//!
//! A radix table's size follows the address space that is used, a hashed one's the pages that are mapped, and an
//! inverted one's the memory there is:
//!
//! | table | one entry for | takes frames | pages may be shared |
//! | --- | --- | --- | --- |
//! | [`HashedTable`] | each mapped page of one space | as pages are mapped | yes |
//! | [`InvertedTable`] | each frame of memory, for all spaces | once | no: a frame has one entry |
//!
//! Both keep their entries, in the level-0 encoding of any format, in [`Chains`] in guest memory, and both are walked
//! by an `Mmu` through [`Software`](crate::arch::software::Software).

mod chain;
mod inverted;
mod separate;

pub use chain::Chains;
pub use inverted::InvertedTable;
pub use separate::HashedTable;
