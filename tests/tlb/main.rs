//! The TLB models against naive reference models.

mod generate;
mod naive;
mod ranges;
mod set_associative;
