//! An MMU you can put inside your program.
//!
//! `softmmu` does in software what the hardware and the kernel do together. The hardware's side translates, bit for bit:
//! it walks page tables that lie in guest-physical memory, caches translations in TLBs, dispatches to devices and
//! raises the exact architectural faults. The kernel's side manages: it hands out frames, edits page tables, keeps
//! address spaces of regions, pages on demand, copies on write and swaps. The hardware's side is whole without the
//! kernel's: an emulator whose guest brings its own kernel never touches [`vm`].
//!
//! Four traits are the spine, and each part can be replaced by a safe implementation of yours:
//! [`PageTable`](table::PageTable), [`Tlb`](tlb::Tlb), [`FrameAllocator`](frame::FrameAllocator) and
//! [`BackingStore`](store::BackingStore); beside them [`PhysMemory`](memory::PhysMemory) and
//! [`Device`](memory::Device).
//!
//! # Where to begin
//!
//! * To emulate a CPU: [`Mmu`](mmu::Mmu) over a [`Bus`](memory::Bus), with the architecture from [`arch`].
//! * To teach: the example `tour`, [`arch::custom`] for machines of your own, [`Mmu::explain`](mmu::Mmu::explain).
//! * To build a kernel or simulate one: [`VirtualMemory`](vm::VirtualMemory).
//!
//! # Layers
//!
//! Each module uses only those above it in this list:
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`addr`], [`access`] | the words that everyone speaks: addresses, identities, accesses |
//! | [`memory`] | guest-physical memory: RAM, ROM, devices, holes |
//! | [`frame`] | who owns which physical frame |
//! | [`radix`] | the one radix engine: formats and the pure walk |
//! | [`tlb`] | cached translations |
//! | [`table`] | page tables that can be edited: radix tables of every format, hashed tables |
//! | [`arch`] | what each architecture says: control state, rights, faults |
//! | [`mmu`] | one hart's port into memory |
//! | [`store`] | where pages go when frames run out |
//! | [`vm`] | the kernel's side: address spaces, demand paging, copy on write, replacement |
//!
//! # What is supported
//!
//! "Config" marks what an architecture's `Config` turns on, off or chooses. What is not supported is without effect
//! unless an error is named.
//!
//! | | RISC-V ([`arch::riscv`]) | x86 ([`arch::x86`]) | AArch64 ([`arch::aarch64`]) |
//! | --- | --- | --- | --- |
//! | Paging modes | Bare, Sv32, Sv39, Sv48, Sv57 | none, 32-bit with PSE and PSE-36, PAE, 4-level, 5-level | VMSAv8-64 in 4K, 16K and 64K granules, any TxSZ and start level; not VMSAv8-32 |
//! | Wide addresses | 56-bit physical | MAXPHYADDR 32 to 52 (config) | LPA, LPA2, LVA by ID register |
//! | Large pages | every level, Svnapot (config) | 4 MiB, 2 MiB, 1 GiB (config) | blocks, contiguous hint |
//! | Second stage | Sv32x4 to Sv57x4 under any first stage | EPT and NPT under every guest mode | stage 2 with concatenated tables |
//! | Regimes | M, HS/U, VS/VU | host, guests by VPID, ASID and EPT root | EL1&0, EL2, EL2&0 (VHE), EL3; not Secure or Realm spaces |
//! | Accessed, dirty | Svade and Svadu, by `xenvcfg.ADUE` | always; A on faulting walks (config) | AF faults, HA and HD, both stages |
//! | Privileged access to user pages | SUM | SMAP with AC | PAN, EPAN, UAO |
//! | Execute control | X, MXR | NXE, SMEP, mode-based execute (EPT) | UXN, PXN, XNX, WXN |
//! | Protection keys, overlays | the architecture has none | PKU, PKS | permission indirection and overlays: not, a typed error |
//! | Shadow stacks | Zicfiss (config) | CET, as far as translation goes | GCS: not |
//! | Physical protection | PMP of up to 64 entries, Smepmp | the architecture has none (SEV-SNP's RMP: not) | granule protection: not |
//! | Tagged addresses | Ssnpm, Smnpm, Smmpm | LAM (config) | TBI |
//! | Address-space tags | ASID 0 to 16 bits, VMID (config) | PCID, VPID or ASID | ASID 8 or 16, VMID 8 or 16 |
//! | Fences | SFENCE, HFENCE, Svinval, each operand form | INVLPG, INVPCID, INVEPT, INVVPID, INVLPGA, MOV CR3 with and without bit 63 | TLBI by VA, VAA, ASID, IPA, range, last level, all |
//! | Memory types | Svpbmt (config) | PAT, PCD and PWT, EPT and NPT types; not MTRRs | MAIR, shareability, FWB, Device alignment faults |
//! | Faults | cause, tval, tval2, gva, tinst | #PF code and CR2, #GP, #SS, EXITINFO, EPT qualification | FSC and ISS, FAR, HPFAR, S1PTW |
//! | Software bits | RSW, Svrsw60t59b (config) | ignored bits by level and vendor | ignored bits |
//!
//! Formats described at run time are in [`arch::custom`]; [`arch::software`] runs an `Mmu` on any page table, and
//! a TLB that the guest refills by itself.
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod access;
pub mod addr;
pub mod arch;
pub mod frame;
pub mod memory;
pub mod mmu;
pub mod radix;
pub mod store;
pub mod table;
pub mod tlb;
pub mod vm;

/// The README's example is compiled and run.
#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
