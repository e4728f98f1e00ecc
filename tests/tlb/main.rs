//! The TLB models against naive reference models.

mod contract;
mod generate;
mod hierarchy;
mod indexed;
mod naive;
mod ranges;
mod set_associative;
