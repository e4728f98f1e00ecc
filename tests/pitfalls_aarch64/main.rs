//! MMU bugs that shipped in emulators, simulators and cores, each as the case that would have caught it, for AArch64.
//!
//! What cannot arise here, and why:
//!
//! * An entry of 4 bytes accessed as 8: every VMSAv8-64 descriptor has 8.
//! * MXR of the wrong stage, HLVX: AArch64 has neither; what comes nearest, unprivileged loads and stores, is in `rights`.
//! * Sub-page physical protection: there is none (granule protection tables belong to the Realm extension, which is not
//!   emulated).
//! * Page-directory pointers loaded with a register (PAE): every walk reads every level from memory.
//! * ASID or privilege changed in the middle of a walk: a walk borrows the whole `Mmu`, so nothing else can run.
//! * A hook or device that changes mappings during an access: nothing is called back during a walk, and devices are
//!   handed no `Mmu`.
//! * Replacement that is not what it says, misses counted twice, frames handed out twice or freed while cached: of the
//!   TLB and the allocators, whatever the architecture, and tested with them.
#![expect(unreachable_pub, reason = "the modules of one test are nobody's interface")]

mod accesses;
mod encodings;
mod machine;
mod marks;
mod rights;
mod tlb;
