//! Which bits of a present entry must be zero, from MAXPHYADDR (M), the vendor and the features.
//!
//! | entry | reserved | source |
//! | --- | --- | --- |
//! | any of 4-level and 5-level paging | 51:M; 63 while EFER.NXE = 0 | SDM Vol. 3A 4.5 |
//! | PML5E, PML4E | 7; also 8 on AMD | SDM 4.5; APM Vol. 2 5.3.3 |
//! | PDPTE with PS = 1 | 29:13, or PS itself without 1 GiB pages | SDM table 4-16 |
//! | PDE with PS = 1 | 20:13 | SDM table 4-18 |
//! | any of PAE paging but PDPTEs | 62:M; 63 while EFER.NXE = 0 | SDM 4.4.2 |
//! | PDPTE of PAE paging | 63:M, 8:5, 2:1 | SDM table 4-8 |
//! | PDE of 32-bit paging that maps 4 MiB | 21:(M-19), M at most 40; 21:13 without PSE-36 | SDM table 4-4 |

use super::config::{Config, Vendor};
use super::pte::{ADDRESS, Pte};
use crate::addr::low_mask;
use crate::radix::Entry;

/// The address bits that do not exist, up to and including bit `last`, and XD where it is off.
#[inline]
pub(super) const fn high(config: &Config, nxe: bool, last: u32) -> u64 {
    let address = low_mask(last + 1) & !config.physical_mask();
    if nxe { address } else { address | Pte::NX.bits() }
}

/// What a PML4E or PML5E reserves besides.
#[inline]
pub(super) const fn upper(config: &Config) -> u64 {
    match config.vendor {
        Vendor::Intel => Pte::LARGE.bits(),
        Vendor::Amd => Pte::LARGE.bits() | Pte::GLOBAL.bits(),
    }
}

/// A PDPTE of PAE paging.
#[inline]
pub(super) const fn pdpte(config: &Config) -> u64 {
    !config.physical_mask() | 0x1e6
}

/// A PDE of 32-bit paging that maps 4 MiB.
#[inline]
pub(super) const fn pse36(config: &Config) -> u64 {
    let width = if !config.pse36 {
        32
    } else if config.physical_bits() > 40 {
        40
    } else {
        config.physical_bits()
    };
    low_mask(22) & !low_mask(width - 19)
}

/// A large page of `2^bits` bytes in an 8-byte entry: between the PAT bit and the page's own address all is reserved.
#[inline]
pub(super) const fn large_leaf(raw: u64, bits: u32) -> Entry {
    if raw & low_mask(bits) & !low_mask(13) != 0 {
        return Entry::Reserved;
    }
    Entry::Leaf { base: raw & ADDRESS & !low_mask(bits), size_bits: bits }
}
