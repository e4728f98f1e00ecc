//! Formats described at run time: the 16-bit machine of a textbook as well as one that nobody has built yet.
//!
//! A [`Config`] says in plain words how an address is cut and which bit of an entry means what; [`Config::build`]
//! checks it and makes a [`CustomFormat`], which walks and edits like any other format. [`Custom`] is the
//! architecture around it: privilege, ASID, and who sets accessed and dirty bits.

mod config;
mod format;

pub use config::{Bit, Config, ConfigError, Leaves};
pub use format::CustomFormat;

use super::software::Software;
use crate::table::RadixWalker;

pub use super::software::{Cause, Control, Fault, Fence, Marks};

/// The architecture of a machine whose format is described at run time: textbook rules around a [`CustomFormat`].
pub type Custom = Software<RadixWalker<CustomFormat>>;
