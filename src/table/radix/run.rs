//! Runs of entries, which are moved between tables and code as a whole: what an edit costs a page is mostly what is
//! done to each entry of a run.

use core::ops::{ControlFlow, Range};

use crate::access::Width;
use crate::addr::PhysAddr;
use crate::memory::PhysMemory;
use crate::radix::{Format, LeafTest, PteRef};
use crate::table::EditError;

/// Entries are moved between table and code in runs of at most so many: enough that what a run costs by itself does
/// not count.
pub(super) const RUN: usize = 256;

/// `$body` with `$int` as the integer of that width and `$wide` as its bytes.
macro_rules! by_width {
    ($width:expr, |$int:ident, $wide:ident| $body:expr) => {
        match $width {
            Width::W1 => by_width!(@ u8, $int, $wide, $body),
            Width::W2 => by_width!(@ u16, $int, $wide, $body),
            Width::W4 => by_width!(@ u32, $int, $wide, $body),
            Width::W8 => by_width!(@ u64, $int, $wide, $body),
        }
    };
    (@ $type:ident, $int:ident, $wide:ident, $body:expr) => {{
        #[allow(dead_code, reason = "not every body needs the type")]
        type $int = $type;
        const $wide: usize = size_of::<$type>();
        $body
    }};
}

/// Entries of which each is more than the one before by the same step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rise {
    pub(super) first: u64,
    pub(super) step: u64,
}

impl Rise {
    /// The same entry over and over.
    pub(super) const fn flat(raw: u64) -> Self {
        Self { first: raw, step: 0 }
    }

    /// Entry `n`.
    #[inline]
    pub(super) const fn get(self, n: u64) -> u64 {
        self.first.wrapping_add(self.step.wrapping_mul(n))
    }

    /// The entries from `n` on.
    pub(super) const fn from(self, n: u64) -> Self {
        Self { first: self.get(n), step: self.step }
    }
}

/// A run of entries as they stand in memory: little-endian, `width` bytes each.
#[derive(Debug)]
pub(super) struct Run {
    bytes: [u8; RUN * 8],
    width: Width,
}

impl Run {
    /// Zeroes.
    pub(super) const fn new(width: Width) -> Self {
        Self { bytes: [0; RUN * 8], width }
    }

    /// The bytes of the first `count` (at most [`RUN`]) entries.
    #[inline]
    pub(super) fn bytes(&mut self, count: usize) -> &mut [u8] {
        let len = (count * self.width.bytes() as usize).min(self.bytes.len());
        &mut self.bytes[..len]
    }

    /// Entry `n`; zero where there is none.
    #[inline]
    pub(super) fn get(&self, n: usize) -> u64 {
        by_width!(self.width, |Int, WIDE| {
            let mut raw = [0; 8];
            if let Some(entry) = self.bytes.get(n * WIDE..n * WIDE + WIDE) {
                raw[..WIDE].copy_from_slice(entry);
            }
            u64::from_le_bytes(raw)
        })
    }

    /// Makes entry `n` read `raw`.
    #[inline]
    pub(super) fn set(&mut self, n: usize, raw: u64) {
        by_width!(self.width, |Int, WIDE| {
            if let Some(entry) = self.bytes.get_mut(n * WIDE..n * WIDE + WIDE) {
                entry.copy_from_slice(&(raw as Int).to_le_bytes());
            }
        });
    }

    /// Loads the first `count` entries from `at` on.
    #[inline]
    pub(super) fn load<M: PhysMemory + ?Sized>(
        &mut self,
        memory: &M,
        at: PteRef,
        count: usize,
    ) -> Result<(), EditError> {
        let pa = PhysAddr(at.addr);
        let loaded = memory.read_bytes(pa, self.bytes(count));
        loaded.map_err(|error| EditError::Table { at: pa, level: at.level, error })
    }

    /// Stores the first `count` entries from `at` on.
    #[inline]
    pub(super) fn store<M: PhysMemory + ?Sized>(
        &mut self,
        memory: &M,
        at: PteRef,
        count: usize,
    ) -> Result<(), EditError> {
        store(memory, at, self.bytes(count))
    }

    /// Makes the first `count` entries those of `rise`.
    #[inline]
    pub(super) fn rise(&mut self, rise: Rise, count: usize) {
        by_width!(self.width, |Int, WIDE| {
            let mut next = rise.first as Int;
            for entry in self.bytes(count).chunks_exact_mut(WIDE) {
                entry.copy_from_slice(&next.to_le_bytes());
                next = next.wrapping_add(rise.step as Int);
            }
        });
    }

    /// Whether the first `count` entries are those of `rise`.
    #[inline]
    pub(super) fn rises(&mut self, rise: Rise, count: usize) -> bool {
        by_width!(self.width, |Int, WIDE| {
            let (mut wanted, mut differs) = (rise.first as Int, 0);
            for bytes in self.bytes(count).chunks_exact(WIDE) {
                let mut entry = [0; WIDE];
                entry.copy_from_slice(bytes);
                differs |= Int::from_le_bytes(entry) ^ wanted;
                wanted = wanted.wrapping_add(rise.step as Int);
            }
            differs == 0
        })
    }

    /// Whether each of the first `count` entries reads `raw`.
    #[inline]
    pub(super) fn is_flat(&mut self, raw: u64, count: usize) -> bool {
        let (first, width) = (self.get(0), self.width);
        let bytes = self.bytes(count);
        // All the same if each is as the next: one comparison of memory with itself.
        let wide = width.bytes() as usize;
        let rest = bytes.len().saturating_sub(wide);
        count == 0 || first == raw & width.mask() && bytes.get(wide..) == bytes.get(..rest)
    }

    /// Where each of the first `count` entries passes `test`, the bits that are not the same in all of them.
    #[expect(clippy::useless_conversion, reason = "one of the four widths is that of the test")]
    #[inline]
    pub(super) fn passes(&mut self, test: LeafTest, count: usize) -> Option<u64> {
        let LeafTest { mask, value, .. } = test;
        if self.get(0) & mask != value {
            return None;
        }
        by_width!(self.width, |Int, WIDE| {
            // What every entry has, and what any of them has.
            let (mut every, mut any) = (Int::MAX, 0);
            for bytes in self.bytes(count).chunks_exact(WIDE) {
                let mut entry = [0; WIDE];
                entry.copy_from_slice(bytes);
                every &= Int::from_le_bytes(entry);
                any |= Int::from_le_bytes(entry);
            }
            let passes = u64::from(every) & value == value && u64::from(any) & mask == value;
            passes.then_some(u64::from(every ^ any))
        })
    }

    /// Shows each of the first `count` entries to `visit`, until that breaks off.
    #[inline]
    pub(super) fn visit<B>(
        &mut self,
        count: usize,
        mut visit: impl FnMut(u64) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        by_width!(self.width, |Int, WIDE| {
            for bytes in self.bytes(count).chunks_exact(WIDE) {
                let mut entry = [0; 8];
                entry[..WIDE].copy_from_slice(bytes);
                visit(u64::from_le_bytes(entry))?;
            }
        });
        ControlFlow::Continue(())
    }

    /// Makes the bits `mask` of each of the first `count` entries read `value`.
    #[inline]
    pub(super) fn write(&mut self, mask: u64, value: u64, count: usize) {
        by_width!(self.width, |Int, WIDE| {
            let (keep, value) = (!mask as Int, value as Int);
            for bytes in self.bytes(count).chunks_exact_mut(WIDE) {
                let mut entry = [0; WIDE];
                entry.copy_from_slice(bytes);
                bytes.copy_from_slice(&(Int::from_le_bytes(entry) & keep | value).to_le_bytes());
            }
        });
    }
}

/// Cuts entries into runs: the first index of each and its length.
pub(super) fn runs(entries: Range<u64>) -> impl Iterator<Item = (u64, usize)> {
    let end = entries.end;
    entries.step_by(RUN).map(move |first| (first, (end - first).min(RUN as u64) as usize))
}

/// The width of a format's entries.
pub(super) fn width<F: Format>(format: &F) -> Width {
    Width::from_bytes(format.pte_bytes()).unwrap_or(Width::W8)
}

/// Stores `bytes`, whole entries, from `at` on.
#[inline]
pub(super) fn store<M: PhysMemory + ?Sized>(memory: &M, at: PteRef, bytes: &[u8]) -> Result<(), EditError> {
    let pa = PhysAddr(at.addr);
    memory.write_bytes(pa, bytes).map_err(|error| EditError::Table { at: pa, level: at.level, error })
}
