//! The radix engine: every page-table format of every architecture is walked and edited by the code in here.
//!
//! A [`Format`] says where the bits are; [`walk`](walk()) goes down the tables with it, reading entries from a
//! [`PteSource`], and yields the leaf as it stands or the place where the walk stopped. The walk decides nothing: what
//! a leaf permits, which accessed and dirty bits are due and which fault a stop becomes is for [`arch`](crate::arch).

mod format;
mod straight;
mod walk;

pub use format::{Encode, EncodeError, Entry, Format, LeafTest, Perms};
pub(crate) use straight::{Behind, Entries, Page, Straight, straight};
pub use walk::{Leaf, PteRef, PteSource, Stage, Stop, Subtable, walk};
