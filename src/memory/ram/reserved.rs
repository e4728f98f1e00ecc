//! Where RAM's bytes are on a Unix host: one stretch of address space, reserved whole and committed by touching it.

use super::RamError;
use memmap2::{MmapOptions, MmapRaw};

/// The host memory behind a RAM. Zero at first.
pub(super) struct Mapping {
    bytes: MmapRaw,
}

impl Mapping {
    /// Whether every byte is found from the first by addition.
    pub(super) const CONTIGUOUS: bool = true;

    /// Reserves `size` bytes, a multiple of the host page.
    pub(super) fn new(size: u64) -> Result<Self, RamError> {
        let refused = RamError::HostRefused { size };
        let len = usize::try_from(size).map_err(|_| refused)?;
        // No swap is reserved either: the kernel would refuse a guest larger than what it could ever back.
        let bytes = MmapOptions::new().len(len).no_reserve_swap().map_anon().map_err(|_| refused)?;
        Ok(Self { bytes: bytes.into() })
    }

    /// The first byte.
    pub(super) fn start(&self) -> *mut u8 {
        self.bytes.as_mut_ptr()
    }

    /// The byte at `offset`, which is less than the size.
    #[inline]
    pub(super) fn touch(&self, offset: usize) -> Option<*mut u8> {
        // Wrapping only in name: the caller's bound keeps it inside the mapping.
        Some(self.start().wrapping_add(offset))
    }

    /// As [`touch`](Self::touch).
    #[inline]
    pub(super) fn peek(&self, offset: usize) -> Option<*mut u8> {
        self.touch(offset)
    }
}
