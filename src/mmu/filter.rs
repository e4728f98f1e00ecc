//! The filter: windows that answer repeated hits so that the modelled TLB need not be asked.
//!
//! A window may be open only while looking its page up again would change nothing in the model but a hit counter.
//! The model says so by naming a [`Line`]: the window *stands* on that line, and every window standing on a line is
//! shut as soon as the model touches the line in any other way. Each line heads a list, threaded through the windows
//! themselves, so shutting costs what opening did. Lines that share a head are shut together, which costs speed and
//! never exactness.
//!
//! Everything that decides rights is interned into a small context number, part of every key, so that a change of
//! privilege, ASID or SUM shuts nothing; coming back finds the old windows open. Emptying the filter takes constant
//! time: the context numbers in use are retired and fresh ones taken; only when the numbers run out are the windows
//! themselves cleared.

use crate::memory::{Counts, HostPage, MAX_CONTEXT, Through, Windows};
use crate::tlb::Line;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Lists of windows. A power of two; more lines than this share heads.
const HEADS: usize = 2048;
/// The end of a list, and the owner of a window that stands on no line.
const NONE: u32 = u32::MAX;

/// One context with the number it has now.
#[derive(Clone, Copy)]
struct Known<C> {
    context: C,
    number: u32,
}

/// The windows, the lines they stand on, and the contexts they are keyed by.
pub(super) struct Filter<C> {
    pub(super) windows: Windows,
    heads: Box<[u32; HEADS]>,
    /// Most recently entered first.
    known: Vec<Known<C>>,
    next_number: u32,
}

impl<C: Copy + Eq> Filter<C> {
    pub(super) fn new() -> Self {
        Self { windows: Windows::new(), heads: Box::new([NONE; HEADS]), known: Vec::new(), next_number: 1 }
    }

    /// Makes `data` and `fetch` the contexts of all further accesses.
    pub(super) fn enter(&mut self, data: &C, fetch: &C) {
        if self.next_number + 1 > MAX_CONTEXT {
            self.clear();
        }
        let (data, fetch) = (self.number(data), self.number(fetch));
        self.windows.enter(data, fetch);
    }

    /// The number of `context`, which becomes the most recent. `clear` has left room for two new ones.
    fn number(&mut self, context: &C) -> u32 {
        match self.known.iter().position(|known| known.context == *context) {
            Some(place) => {
                self.known[..=place].rotate_right(1);
                self.known[0].number
            }
            None => {
                let number = self.next_number;
                self.next_number += 1;
                self.known.insert(0, Known { context: *context, number });
                number
            }
        }
    }

    /// Shuts every window in constant time; `data` and `fetch` are the present contexts.
    pub(super) fn empty(&mut self, data: &C, fetch: &C) {
        self.known.clear();
        self.enter(data, fetch);
    }

    /// Shuts every window and forgets every host page.
    fn clear(&mut self) {
        self.windows.shut_all();
        self.heads.fill(NONE);
        self.known.clear();
        self.next_number = 1;
    }

    /// As [`empty`](Self::empty), and lets go of every host page: the memory's map has changed.
    pub(super) fn forget(&mut self, data: &C, fetch: &C) {
        self.clear();
        self.enter(data, fetch);
    }

    /// The model touched `line`: the windows on it no longer say what it would.
    #[inline]
    pub(super) fn retire(&mut self, line: Line) {
        let head = line.0 as usize & (HEADS - 1);
        let mut slot = core::mem::replace(&mut self.heads[head], NONE);
        while slot != NONE {
            self.windows.shut(slot as usize);
            let (_, next) = self.windows.note(slot as usize);
            self.windows.set_note(slot as usize, NONE, NONE);
            slot = next;
        }
    }

    /// Opens the window of `va` onto `page`, standing on `line` (or on none where translation is off).
    #[inline]
    pub(super) fn open(&mut self, va: u64, through: Through, page: &HostPage<'_>, line: Option<Line>) {
        let slot = Windows::slot(va, through);
        let head = line.map_or(NONE, |line| line.0 & (HEADS as u32 - 1));
        let (owner, _) = self.windows.note(slot);
        if owner != head && owner != NONE {
            self.retire(Line(owner));
        }
        self.windows.open(va, through, page);
        if owner != head && head != NONE {
            let next = core::mem::replace(&mut self.heads[head as usize], slot as u32);
            self.windows.set_note(slot, head, next);
        }
    }

    pub(super) fn take_counts(&mut self) -> Counts {
        self.windows.take_counts()
    }
}
