//! Bugs that shipped in other MMUs, each as the case that would have caught it here: RISC-V.
//!
//! Numbers follow the project's list of such bugs. Not on this architecture:
//!
//! - 14: there are no hierarchical rights; U, A and D in a table entry are reserved (17).
//! - 21: no entry is ever loaded with a register.
//! - 27: replacement and counting are the TLB's and know no architecture (`tests/tlb`).
//! - 28: a walk is given its context as a value; nothing can change it on the way.
//! - 30, 31, 34: devices, hooks and frame allocators know no architecture (`memory`, `mmu`, `frame`).

#![expect(unreachable_pub, reason = "the modules of one test are nobody's interface")]

mod accesses;
mod cached;
mod encodings;
mod machine;
mod marks;
mod rights;
mod stages;
