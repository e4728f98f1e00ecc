//! RISC-V beyond what cases in a file can say: entries read as the manual has them, tables edited and then walked, what
//! register writes and fences do.

mod entries;
mod flavors;
mod pmp;
mod registers;
mod tables;
