//! AArch64 beyond what cases in a file can say: descriptors as they are written, memory types, syndromes, choices,
//! identification registers, regimes and contiguous runs.

mod config;
mod faults;
mod memory_types;
mod regimes;
mod support;
mod tables;
