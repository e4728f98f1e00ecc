//! An MMU you can put inside your program.
//!
//! # Layers
//!
//! Each module uses only those above it in this list:
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`addr`], [`access`] | the words that everyone speaks: addresses, identities, accesses |
//! | [`memory`] | guest-physical memory: RAM, ROM, devices, holes |
//! | [`frame`] | who owns which physical frame |
//! | [`radix`] | the one radix engine: formats and the pure walk |
//! | [`tlb`] | cached translations |
//! | [`table`] | page tables that can be edited: radix tables of every format, hashed tables |
//! | [`arch`] | what each architecture says: control state, rights, faults |
//! | [`mmu`] | one hart's port into memory |
//! | [`store`] | where pages go when frames run out |
//! | [`vm`] | the kernel's side: address spaces, demand paging, copy on write, replacement |
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod access;
pub mod addr;
pub mod arch;
pub mod frame;
pub mod memory;
pub mod mmu;
pub mod radix;
pub mod store;
pub mod table;
pub mod tlb;
pub mod vm;
