//! The kernel's side of a [`Machine`]: rules one by one, programs of its own, and random ones against a model.

#[cfg(feature = "elf")]
mod elf;
mod machine;
mod model;
mod pressure;
mod random;
mod shared;
mod story;

use super::*;
use crate::access::AccessKind;
use crate::addr::VirtAddr;
use crate::frame::BitmapAllocator;
use crate::memory::Ram;
use crate::store::MemoryStore;
#[cfg(feature = "elf")]
use crate::tlb::Space;
use alloc::boxed::Box;
use machine::{Machine, Plan, RW, format, sound};
