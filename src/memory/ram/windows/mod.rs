//! Windows: host pages that a hart may reach without asking anybody, each under one key.
//!
//! This is the storage of the MMU's filter and the only place where a translated guest address becomes a host
//! pointer. A window pairs one 4 KiB page of guest-virtual addresses, in one context, with one host page of RAM. The
//! key that an access presents holds *all* of the address above the page offset, the context's number and the
//! address bits that a naturally aligned access has clear; a window answers only if the whole key is equal. So one
//! compare says: right page, right context, right kind of access, and the access does not leave the page.
//!
//! ```text
//!   63                        12 11          3 2     0
//!  +----------------------------+-------------+-------+
//!  |  virtual page number       |  context    | align |   align = va & (width - 1), zero in every stored key
//!  +----------------------------+-------------+-------+
//! ```
//!
//! The layout is `repr(C)`: generated code may make the same compare (see [`HitLayout`]).

mod value;

#[cfg(test)]
mod tests;

pub use value::Value;

use super::{HostPage, Mapping, cells};
use crate::access::{AccessKind, Width};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem::offset_of;
use core::sync::atomic::Ordering;

/// log2 of the bytes that a window spans.
pub(crate) const WINDOW_BITS: u32 = 12;
/// Windows per side (data, instructions).
pub(crate) const WINDOWS: usize = 512;
/// Where the context's number stands in a key.
pub(crate) const CONTEXT_SHIFT: u32 = 3;
/// Context numbers run from 1 to this; 0 is never a live context, so an all-zero key matches nothing.
pub(crate) const MAX_CONTEXT: u32 = (1 << (WINDOW_BITS - CONTEXT_SHIFT)) - 1;

const OFFSET_MASK: u64 = (1 << WINDOW_BITS) - 1;

/// A key that no access presents: its context is 0.
const DEAD: u64 = 0;

/// What a window lets through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Through {
    /// Loads.
    Read,
    /// Stores and atomics.
    Write,
    /// Instruction fetches.
    Execute,
}

/// One window. `addend` plus a virtual address inside the window is the host address.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
struct Window {
    /// Key of loads on the data side, of fetches on the instruction side; [`DEAD`] where shut.
    read: u64,
    /// Key of stores; always [`DEAD`] on the instruction side.
    write: u64,
    /// Host address minus guest-virtual address, wrapping.
    addend: usize,
    /// For the owner's use: the safe part of the filter keeps its lists here.
    tag: u32,
    next: u32,
}

const SHUT: Window = Window { read: DEAD, write: DEAD, addend: 0, tag: u32::MAX, next: u32::MAX };

/// What accesses, and code generated for them, look at. Boxed, so that its address never changes.
#[repr(C)]
struct Table {
    /// Data windows first, then instruction windows.
    windows: [Window; 2 * WINDOWS],
    /// The context of loads and stores now, shifted into place.
    data: u64,
    /// The context of fetches now, shifted into place.
    fetch: u64,
    /// Accesses answered, by kind, since last taken.
    counts: Counts,
}

/// The windows of one hart.
pub(crate) struct Windows {
    table: Box<Table>,
    /// Keeps every mapping alive that some window points into.
    pins: Vec<Arc<Mapping>>,
}

/// Accesses that windows answered.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[repr(C)]
pub(crate) struct Counts {
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    pub(crate) fetches: u64,
}

/// Which window `va` would be answered by.
#[inline(always)]
const fn index(va: u64) -> usize {
    (va >> WINDOW_BITS) as usize & (WINDOWS - 1)
}

/// The address part of the key that an access of `V` at `va` presents.
#[inline(always)]
fn address_key<V: Value>(va: u64) -> u64 {
    va & address_mask(V::WIDTH)
}

/// The address bits that a key holds: those above the page offset, and those that an aligned access has clear.
#[inline(always)]
const fn address_mask(width: Width) -> u64 {
    !OFFSET_MASK | (width.bytes() - 1)
}

impl Windows {
    pub(crate) fn new() -> Self {
        let context = 1 << CONTEXT_SHIFT;
        let counts = Counts { reads: 0, writes: 0, fetches: 0 };
        let table = Table { data: context, fetch: context, counts, windows: [SHUT; 2 * WINDOWS] };
        Self { table: Box::new(table), pins: Vec::new() }
    }

    /// The host address behind `va` if window `at` is open under `key`.
    #[inline(always)]
    fn host(&self, slot: usize, wanted: u64, key: u64, va: u64) -> Option<*mut u8> {
        if wanted != key {
            return None;
        }
        Some(self.table.windows[slot].addend.wrapping_add(va as usize) as *mut u8)
    }

    /// Loads through the data window of `va`, if it is open in the present context.
    #[inline(always)]
    pub(crate) fn load<V: Value>(&mut self, va: u64) -> Option<V> {
        let slot = index(va);
        let host =
            self.host(slot, self.table.windows[slot].read, address_key::<V>(va) | self.table.data, va)?;
        self.table.counts.reads = self.table.counts.reads.wrapping_add(1);
        // SAFETY: `open` stores a live key only beside the addend of a pinned host page, for the very window of
        // virtual addresses whose number the key holds. The keys being equal, `va` lies in that window and is
        // aligned to `V`, so the sum lies in the page with room for `V`, aligned. RAM is only accessed atomically.
        Some(V::from_u64(unsafe { cells::load(host, V::WIDTH, Ordering::Relaxed) }))
    }

    /// Stores through the data window of `va`, if it is open for stores in the present context.
    #[inline(always)]
    pub(crate) fn store<V: Value>(&mut self, va: u64, value: V) -> bool {
        let slot = index(va);
        let Some(host) =
            self.host(slot, self.table.windows[slot].write, address_key::<V>(va) | self.table.data, va)
        else {
            return false;
        };
        self.table.counts.writes = self.table.counts.writes.wrapping_add(1);
        // SAFETY: as in `load`; host pages are writable bytes, whatever the guest may do with them.
        unsafe { cells::store(host, V::WIDTH, value.to_u64()) };
        true
    }

    /// Compares and exchanges through the data window of `va`, if it is open both ways in the present context: there
    /// are write-only pages (AArch64 stage 2), where a store may pass and an atomic may not.
    #[inline(always)]
    pub(crate) fn compare_exchange<V: Value>(&mut self, va: u64, current: V, new: V) -> Option<Result<V, V>> {
        let host = self.atomic::<V>(va)?;
        self.table.counts.writes = self.table.counts.writes.wrapping_add(1);
        // SAFETY: as in `store`.
        let done = unsafe { cells::compare_exchange(host, V::WIDTH, current.to_u64(), new.to_u64()) };
        Some(done.map(|()| current).map_err(V::from_u64))
    }

    /// Replaces the value at `va` by what `change` makes of it, atomically, and returns what stood there; under the
    /// condition of [`compare_exchange`](Self::compare_exchange). `Some(None)` if others changed it `tries` times.
    #[inline(always)]
    pub(crate) fn update<V: Value>(
        &mut self,
        va: u64,
        tries: u32,
        mut change: impl FnMut(V) -> V,
    ) -> Option<Option<V>> {
        let host = self.atomic::<V>(va)?;
        self.table.counts.writes = self.table.counts.writes.wrapping_add(1);
        // SAFETY: as in `load`.
        let mut old = unsafe { cells::load(host, V::WIDTH, Ordering::Relaxed) };
        for _ in 0..tries {
            let new = change(V::from_u64(old)).to_u64();
            // SAFETY: as in `store`.
            match unsafe { cells::compare_exchange(host, V::WIDTH, old, new) } {
                Ok(()) => return Some(Some(V::from_u64(old))),
                Err(found) => old = found,
            }
        }
        Some(None)
    }

    #[inline(always)]
    fn atomic<V: Value>(&self, va: u64) -> Option<*mut u8> {
        let slot = index(va);
        let wanted = address_key::<V>(va) | self.table.data;
        if self.table.windows[slot].read != wanted {
            return None;
        }
        self.host(slot, self.table.windows[slot].write, wanted, va)
    }

    /// Fetches through the instruction window of `va`, if it is open in the present context.
    #[inline(always)]
    pub(crate) fn fetch<V: Value>(&mut self, va: u64) -> Option<V> {
        let slot = WINDOWS + index(va);
        let host =
            self.host(slot, self.table.windows[slot].read, address_key::<V>(va) | self.table.fetch, va)?;
        self.table.counts.fetches = self.table.counts.fetches.wrapping_add(1);
        // SAFETY: as in `load`; instruction windows are opened by the same `open`.
        Some(V::from_u64(unsafe { cells::load(host, V::WIDTH, Ordering::Relaxed) }))
    }

    /// Which window an access to `va` uses.
    #[inline]
    pub(crate) fn slot(va: u64, through: Through) -> usize {
        index(va) + if through == Through::Execute { WINDOWS } else { 0 }
    }

    /// Opens the window of `va` onto `page` for `through`, in the present context. What it showed before stays only
    /// if it is the same page in the same context.
    pub(crate) fn open(&mut self, va: u64, through: Through, page: &HostPage<'_>) {
        self.pin(page.mapping());
        let context = if through == Through::Execute { self.table.fetch } else { self.table.data };
        let key = (va & !OFFSET_MASK) | context;
        let addend = (page.as_ptr() as usize).wrapping_sub((va & !OFFSET_MASK) as usize);
        let window = &mut self.table.windows[Self::slot(va, through)];
        if window.addend != addend {
            (window.read, window.write, window.addend) = (DEAD, DEAD, addend);
        }
        let (mine, other) = match through {
            Through::Write => (&mut window.write, &mut window.read),
            Through::Read | Through::Execute => (&mut window.read, &mut window.write),
        };
        *mine = key;
        if *other != key {
            *other = DEAD;
        }
    }

    fn pin(&mut self, mapping: &Arc<Mapping>) {
        if !self.pins.iter().any(|pin| Arc::ptr_eq(pin, mapping)) {
            self.pins.push(Arc::clone(mapping));
        }
    }

    /// Shuts one window.
    #[inline]
    pub(crate) fn shut(&mut self, slot: usize) {
        let window = &mut self.table.windows[slot & (2 * WINDOWS - 1)];
        (window.read, window.write) = (DEAD, DEAD);
    }

    /// Shuts every window and lets go of the RAM behind them.
    pub(crate) fn shut_all(&mut self) {
        self.table.windows.fill(SHUT);
        self.pins.clear();
    }

    /// Makes context numbers `data` and `fetch` (1 to [`MAX_CONTEXT`]) the present ones.
    #[inline]
    pub(crate) fn enter(&mut self, data: u32, fetch: u32) {
        self.table.data = u64::from(data & MAX_CONTEXT) << CONTEXT_SHIFT;
        self.table.fetch = u64::from(fetch & MAX_CONTEXT) << CONTEXT_SHIFT;
    }

    /// Takes the counts of answered accesses.
    #[inline]
    pub(crate) fn take_counts(&mut self) -> Counts {
        core::mem::take(&mut self.table.counts)
    }

    /// The two words that the owner keeps with a window.
    #[inline]
    pub(crate) fn note(&self, slot: usize) -> (u32, u32) {
        let window = &self.table.windows[slot & (2 * WINDOWS - 1)];
        (window.tag, window.next)
    }

    /// Sets the two words that the owner keeps with a window.
    #[inline]
    pub(crate) fn set_note(&mut self, slot: usize, tag: u32, next: u32) {
        let window = &mut self.table.windows[slot & (2 * WINDOWS - 1)];
        (window.tag, window.next) = (tag, next);
    }
}

/// What generated code compares and adds to answer aligned accesses of one kind and width the way
/// [`Mmu::load`](crate::mmu::Mmu::load), `store` and `fetch` do. All numbers are constants to be compiled in.
///
/// For an access at `va`, with `table` from [`Mmu::hit_table`](crate::mmu::Mmu::hit_table):
///
/// ```text
/// window  = table + windows + ((va >> PAGE_BITS) & INDEX_MASK) * WINDOW_BYTES
/// wanted  = (va & address_mask) | *(table + context)
/// hit     = wanted == *(window + key)
/// address = *(window + addend) + va                       (wrapping)
/// *(table + counter) += 1
/// ```
///
/// On a hit the code may access its bytes at `address`, atomically, before the next call into this `Mmu`; else it calls
/// the method. All words are 64 bits wide, but the addend has a host pointer's width. An atomic read-modify-write
/// takes the recipe of a write and compares the `key` of a read as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HitLayout {
    /// The bits of the address that take part in the compare.
    pub address_mask: u64,
    /// Offset in the table of the word to be or-ed in: the context that the hart is in.
    pub context: usize,
    /// Offset in the table of the first window.
    pub windows: usize,
    /// Offset in a window of the word to compare with.
    pub key: usize,
    /// Offset in a window of the word to add.
    pub addend: usize,
    /// Offset in the table of the word that counts such accesses.
    pub counter: usize,
}

impl HitLayout {
    /// log2 of a window's span of virtual addresses.
    pub const PAGE_BITS: u32 = WINDOW_BITS;
    /// Mask of a window's index.
    pub const INDEX_MASK: u64 = WINDOWS as u64 - 1;
    /// Bytes from one window to the next.
    pub const WINDOW_BYTES: usize = size_of::<Window>();

    /// What to compare and add for ordinary accesses of `kind` and `width`.
    #[must_use]
    pub const fn of(kind: AccessKind, width: Width) -> Self {
        let counts = offset_of!(Table, counts);
        let (side, key, context, counter) = match kind {
            AccessKind::Read => {
                (0, offset_of!(Window, read), offset_of!(Table, data), offset_of!(Counts, reads))
            }
            AccessKind::Write | AccessKind::ReadWrite => {
                (0, offset_of!(Window, write), offset_of!(Table, data), offset_of!(Counts, writes))
            }
            AccessKind::Execute => {
                (WINDOWS, offset_of!(Window, read), offset_of!(Table, fetch), offset_of!(Counts, fetches))
            }
        };
        Self {
            address_mask: address_mask(width),
            context,
            windows: offset_of!(Table, windows) + side * size_of::<Window>(),
            key,
            addend: offset_of!(Window, addend),
            counter: counts + counter,
        }
    }
}

impl Windows {
    /// The address of the table, for generated code. It holds as long as this value lives; writing anything but the
    /// counters through it breaks what [`open`](Self::open) guarantees.
    pub(crate) fn table(&mut self) -> *mut u8 {
        core::ptr::from_mut(&mut *self.table).cast()
    }
}
