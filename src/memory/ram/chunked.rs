//! Where RAM's bytes are on other hosts: chunks from the allocator, made when first stored to.
//!
//! ```text
//!   offset:  | root index | 12 bits: leaf index | 16 bits: byte in chunk |
//!   root (one pointer for 256 MiB) -> leaf (4096 pointers) -> chunk (64 KiB)
//! ```
//!
//! Pointers only ever go from null to final: a loser of the race to make a chunk frees its own and uses the winner's.
//! Nothing is freed before the whole mapping is, so a pointer found once stays good as long as the mapping lives.

use super::RamError;
use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

const CHUNK_BITS: u32 = 16;
const LEAF_BITS: u32 = 12;
const CHUNK: usize = 1 << CHUNK_BITS;
const LEAF: usize = 1 << LEAF_BITS;
/// 256 TiB, for which the root takes 8 MiB.
const LIMIT: u64 = 1 << 48;
/// Chunks are aligned like host pages, so that pages of the guest are pages of the host.
const CHUNK_LAYOUT: Layout = match Layout::from_size_align(CHUNK, super::HOST_PAGE) {
    Ok(layout) => layout,
    Err(_) => panic!("a chunk has a layout"),
};

/// Pointers to chunks, null where there is none yet.
type Leaf = [AtomicPtr<u8>; LEAF];

/// The host memory behind a RAM. Zero at first.
pub(super) struct Mapping {
    root: Box<[AtomicPtr<Leaf>]>,
}

impl Mapping {
    /// Whether every byte is found from the first by addition.
    pub(super) const CONTIGUOUS: bool = false;

    /// Makes room for the pointers of `size` bytes, and for none of the bytes.
    pub(super) fn new(size: u64) -> Result<Self, RamError> {
        let refused = RamError::HostRefused { size };
        let bytes = usize::try_from(size).ok().filter(|_| size <= LIMIT).ok_or(refused)?;
        let leaves = bytes.div_ceil(CHUNK << LEAF_BITS);
        let mut root = Vec::new();
        root.try_reserve_exact(leaves).map_err(|_| refused)?;
        root.resize_with(leaves, || AtomicPtr::new(null_mut()));
        Ok(Self { root: root.into_boxed_slice() })
    }

    /// No one stretch of bytes exists.
    pub(super) fn start(&self) -> *mut u8 {
        null_mut()
    }

    /// The byte at `offset`, which is less than the size; `None` when the host has no memory for it.
    pub(super) fn touch(&self, offset: usize) -> Option<*mut u8> {
        let slot = self.root.get(offset >> (CHUNK_BITS + LEAF_BITS))?;
        // SAFETY: all zero is a leaf of null pointers.
        let leaf = unsafe { made(slot, Layout::new::<Leaf>()) }?;
        // SAFETY: leaves are freed with the mapping only, and changed through their atomics.
        let slot = unsafe { &(*leaf)[offset >> CHUNK_BITS & (LEAF - 1)] };
        // SAFETY: any bytes are a chunk.
        let chunk = unsafe { made(slot, CHUNK_LAYOUT) }?;
        Some(chunk.wrapping_add(offset & (CHUNK - 1)))
    }

    /// The byte at `offset`; `None` where nothing was ever stored, which reads as zero.
    pub(super) fn peek(&self, offset: usize) -> Option<*mut u8> {
        let leaf = self.root.get(offset >> (CHUNK_BITS + LEAF_BITS))?.load(Ordering::Acquire);
        if leaf.is_null() {
            return None;
        }
        // SAFETY: as in `touch`.
        let slot = unsafe { &(*leaf)[offset >> CHUNK_BITS & (LEAF - 1)] };
        let chunk = slot.load(Ordering::Acquire);
        (!chunk.is_null()).then(|| chunk.wrapping_add(offset & (CHUNK - 1)))
    }
}

/// What `slot` points at, made of zeros by the first who asks. `None` when the allocator has nothing left.
///
/// # Safety
/// Zeros of `layout` are a valid `T`, and every pointer in `slot` comes from here with the same `layout`.
unsafe fn made<T>(slot: &AtomicPtr<T>, layout: Layout) -> Option<*mut T> {
    let found = slot.load(Ordering::Acquire);
    if !found.is_null() {
        return Some(found);
    }
    // SAFETY: both layouts used have a size.
    let fresh = unsafe { alloc_zeroed(layout) }.cast::<T>();
    if fresh.is_null() {
        return None;
    }
    // Release: whoever finds the pointer finds the zeros.
    match slot.compare_exchange(null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Some(fresh),
        Err(winner) => {
            // SAFETY: made above with this layout, and seen by nobody else.
            unsafe { dealloc(fresh.cast(), layout) };
            Some(winner)
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        for leaf in &mut self.root {
            let leaf = *leaf.get_mut();
            if leaf.is_null() {
                continue;
            }
            // SAFETY: made by `made`, and nobody else holds the mapping any more.
            for chunk in unsafe { &mut *leaf } {
                let chunk = *chunk.get_mut();
                if !chunk.is_null() {
                    // SAFETY: made by `made` with this layout.
                    unsafe { dealloc(chunk, CHUNK_LAYOUT) };
                }
            }
            // SAFETY: made by `made` with this layout.
            unsafe { dealloc(leaf.cast(), Layout::new::<Leaf>()) };
        }
    }
}
