//! Bugs that shipped in other MMUs, each as the case that would have caught it here: x86.
//!
//! Numbers follow the project's list of such bugs. Not on this architecture:
//!
//! - 8, 9: MXR and HLVX are RISC-V's; reads of execute-only pages are EPT's (12).
//! - 13: there is no physical protection below a page.
//! - 27: replacement and counting are the TLB's and know no architecture (`tests/tlb`).
//! - 28: a walk is given its context as a value; nothing can change it on the way.
//! - 30, 31, 34: devices, hooks and frame allocators know no architecture (`memory`, `mmu`, `frame`).

#![expect(unreachable_pub, reason = "the modules of one test are nobody's interface")]

#[path = "../x86/support.rs"]
mod support;

mod accesses;
mod cached;
mod encodings;
mod marks;
mod rights;

/// What all of these speak of.
mod prelude {
    pub use std::cell::Cell;

    pub use softmmu::access::{AccessKind, Width};
    pub use softmmu::addr::{Asid, GuestAddr, PhysAddr, VirtAddr, Vmid};
    pub use softmmu::arch::x86::{
        Config, Control, Cr0, Cr4, Efer, Ept, EptQualification, Fault, Fence, Flavor, Mode,
        PageFaultCode as Code, Registers, Second, Vendor,
    };
    pub use softmmu::memory::{Bus, BusError, PhysMemory, Ram};
    pub use softmmu::mmu::AccessError;

    pub use crate::support::*;

    pub const PAGED: [Mode; 4] = [Mode::Legacy32, Mode::Pae, Mode::Level4, Mode::Level5];
    pub const VA: u64 = 0x40_0000;
    pub const PA: u64 = 0x80_0000;
    pub const PA2: u64 = PA + 0x1000;

    /// 4-level paging with more of CR4 on.
    pub fn cr4(more: Cr4) -> Registers {
        let mut registers = registers(Mode::Level4);
        registers.cr4 |= more;
        registers
    }
}
