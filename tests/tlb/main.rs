//! The TLB models against naive reference models.
#![expect(unreachable_pub, reason = "the modules of one test are nobody's interface")]

mod contract;
mod generate;
mod hierarchy;
mod indexed;
mod model;
mod ranges;
mod set_associative;
mod walks;
