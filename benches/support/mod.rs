//! What the benches share.
#![allow(dead_code, reason = "each bench uses its part")]

pub mod hand;
pub mod kernels;
pub mod machine;
pub mod misses;
pub mod reference;
pub mod replay;
pub mod tables;
pub mod trace;
