//! What the benches share.
#![allow(dead_code, reason = "each bench uses its part")]

pub mod kernels;
pub mod machine;
pub mod reference;
pub mod replay;
pub mod trace;
