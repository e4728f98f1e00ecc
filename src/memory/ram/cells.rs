//! Bytes shared by threads: every access to RAM ends in one of these functions.
//!
//! The bytes are only ever touched through atomics, so a race between harts is a race of the guest's and nothing
//! worse: each aligned access of 1, 2, 4 or 8 bytes is single-copy atomic, anything else is a sequence of bytes.
//!
//! # Ordering
//!
//! * Loads are *relaxed*: a guest orders its own loads with its own fences, which its emulator executes as host
//!   fences. A walk's loads are ordered by their addresses, each of which is made of the entry loaded before.
//! * Stores are *release*, because a walk follows what it reads: whoever stores an entry that points at a table has
//!   the table's content seen through it, though the walker runs no fence. A plain move on x86 hosts.
//! * Compare-and-swap is sequentially consistent, the strongest that any guest's atomics ask for.
//!
//! The language has no rule yet for unordered accesses of *different* widths to the same bytes (a guest may store a
//! word and load a byte of it from another hart at the same time). Host hardware defines them, and no use is made of
//! the values beyond handing them to the guest.

use crate::access::Width;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// Runs `$body` with `$cell` bound to the atomic of `$width` at `$at`.
macro_rules! with_cell {
    ($at:expr, $width:expr, |$cell:ident, $int:ident| $body:expr) => {
        match $width {
            Width::W1 => with_cell!(@ AtomicU8, u8, $at, $cell, $int, $body),
            Width::W2 => with_cell!(@ AtomicU16, u16, $at, $cell, $int, $body),
            Width::W4 => with_cell!(@ AtomicU32, u32, $at, $cell, $int, $body),
            Width::W8 => with_cell!(@ AtomicU64, u64, $at, $cell, $int, $body),
        }
    };
    (@ $atomic:ident, $type:ident, $at:expr, $cell:ident, $int:ident, $body:expr) => {{
        type $int = $type;
        // SAFETY: the caller of each function below promises that `$at` is aligned to the width, that so many bytes
        // are valid there until the function returns, and that they are touched by atomics only.
        let $cell = unsafe { $atomic::from_ptr($at.cast()) };
        $body
    }};
}

/// Loads the little-endian value at `at`.
///
/// # Safety
/// `at` is aligned to `width`; the bytes are valid until this returns and are touched by atomics only.
#[expect(clippy::useless_conversion, reason = "one of the four widths is that of the result")]
#[inline]
pub(super) unsafe fn load(at: *mut u8, width: Width, ordering: Ordering) -> u64 {
    with_cell!(at, width, |cell, Int| u64::from(Int::from_le(cell.load(ordering))))
}

/// Stores the low `width` bytes of `value` at `at`, little-endian.
///
/// # Safety
/// As for [`load`].
#[inline]
pub(super) unsafe fn store(at: *mut u8, width: Width, value: u64) {
    with_cell!(at, width, |cell, Int| cell.store((value as Int).to_le(), Ordering::Release));
}

/// Stores `new` at `at` if `current` stands there; `Err` says what stands there instead.
///
/// # Safety
/// As for [`load`].
#[expect(clippy::useless_conversion, reason = "one of the four widths is that of the result")]
#[inline]
pub(super) unsafe fn compare_exchange(at: *mut u8, width: Width, current: u64, new: u64) -> Result<(), u64> {
    // A value that the width cannot hold equals nothing that can stand there.
    if current & !width.mask() != 0 {
        // SAFETY: passed on from the caller.
        return Err(unsafe { load(at, width, Ordering::SeqCst) });
    }
    with_cell!(at, width, |cell, Int| {
        cell.compare_exchange(
            (current as Int).to_le(),
            (new as Int).to_le(),
            Ordering::SeqCst,
            Ordering::SeqCst,
        )
        .map(drop)
        .map_err(|found| u64::from(Int::from_le(found)))
    })
}

/// How many bytes of a run of `len` from `at` come before the first 8-byte boundary.
fn head(at: *mut u8, len: usize) -> usize {
    at.align_offset(8).min(len)
}

/// How many words of a run are moved at a time. Page tables are edited in runs, where every instruction counts.
const STRIDE: usize = 16;

/// Loads `out.len()` bytes, whole words at a time where they are aligned.
///
/// # Safety
/// The bytes are valid until this returns and are touched by atomics only.
pub(super) unsafe fn load_run(at: *mut u8, out: &mut [u8]) {
    let (head, rest) = out.split_at_mut(head(at, out.len()));
    let mut offset = 0;
    for byte in head {
        // SAFETY: `offset` counts bytes of the run.
        *byte = unsafe { load(at.add(offset), Width::W1, Ordering::Relaxed) } as u8;
        offset += 1;
    }
    let mut strides = rest.chunks_exact_mut(STRIDE * 8);
    for stride in &mut strides {
        for (n, word) in stride.chunks_exact_mut(8).enumerate() {
            // SAFETY: eight bytes of the run, aligned since the head ended.
            let value = unsafe { load(at.add(offset + n * 8), Width::W8, Ordering::Relaxed) };
            word.copy_from_slice(&value.to_le_bytes());
        }
        offset += STRIDE * 8;
    }
    let mut words = strides.into_remainder().chunks_exact_mut(8);
    for word in &mut words {
        // SAFETY: as above.
        let value = unsafe { load(at.add(offset), Width::W8, Ordering::Relaxed) };
        word.copy_from_slice(&value.to_le_bytes());
        offset += 8;
    }
    for byte in words.into_remainder() {
        // SAFETY: `offset` counts bytes of the run.
        *byte = unsafe { load(at.add(offset), Width::W1, Ordering::Relaxed) } as u8;
        offset += 1;
    }
}

/// Stores `data`, whole words at a time where they are aligned.
///
/// # Safety
/// As for [`load_run`].
pub(super) unsafe fn store_run(at: *mut u8, data: &[u8]) {
    let (head, rest) = data.split_at(head(at, data.len()));
    let mut offset = 0;
    for &byte in head {
        // SAFETY: `offset` counts bytes of the run.
        unsafe { store(at.add(offset), Width::W1, u64::from(byte)) };
        offset += 1;
    }
    let value = |word: &[u8]| word.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
    let mut strides = rest.chunks_exact(STRIDE * 8);
    for stride in &mut strides {
        for (n, word) in stride.chunks_exact(8).enumerate() {
            // SAFETY: eight bytes of the run, aligned since the head ended.
            unsafe { store(at.add(offset + n * 8), Width::W8, value(word)) };
        }
        offset += STRIDE * 8;
    }
    let mut words = strides.remainder().chunks_exact(8);
    for word in &mut words {
        // SAFETY: as above.
        unsafe { store(at.add(offset), Width::W8, value(word)) };
        offset += 8;
    }
    for &byte in words.remainder() {
        // SAFETY: `offset` counts bytes of the run.
        unsafe { store(at.add(offset), Width::W1, u64::from(byte)) };
        offset += 1;
    }
}
