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

use super::contexts::Contexts;
use crate::memory::{Counts, HostPage, MAX_CONTEXT, Through, Windows};
use crate::tlb::Line;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Lists of windows. A power of two; more lines than this share heads.
const HEADS: usize = 2048;
/// The end of a list, and the owner of a window that stands on no line.
const NONE: u32 = u32::MAX;

/// Numbers for the contexts of one side, never given twice before [`reset`](Self::reset).
struct Numbers<C> {
    /// Most recently used first.
    known: Vec<(C, u32)>,
    next: u32,
}

impl<C: Copy + Eq> Numbers<C> {
    const fn new() -> Self {
        Self { known: Vec::new(), next: 1 }
    }

    /// The number of `context`; `None` when they have run out.
    fn of(&mut self, context: &C) -> Option<u32> {
        if let Some(place) = self.known.iter().position(|(known, _)| known == context) {
            self.known[..=place].rotate_right(1);
            return self.known.first().map(|(_, number)| *number);
        }
        if self.next > MAX_CONTEXT {
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.known.insert(0, (*context, number));
        Some(number)
    }

    /// Forgets every context. Their numbers stay used.
    fn retire(&mut self) {
        self.known.clear();
    }

    /// Begins again.
    fn reset(&mut self) {
        *self = Self::new();
    }
}

/// The windows, the lines they stand on, and the numbers they are keyed by.
pub(super) struct Filter<C> {
    pub(super) windows: Windows,
    heads: Box<[u32; HEADS]>,
    data: Numbers<[C; 3]>,
    fetch: Numbers<C>,
}

impl<C: Copy + Eq> Filter<C> {
    pub(super) fn new() -> Self {
        Self {
            windows: Windows::new(),
            heads: Box::new([NONE; HEADS]),
            data: Numbers::new(),
            fetch: Numbers::new(),
        }
    }

    /// Makes `contexts` those of all further accesses.
    pub(super) fn enter(&mut self, contexts: &Contexts<C>) {
        let numbers = (self.data.of(&contexts.data), self.fetch.of(&contexts.fetch));
        match numbers {
            (Some(data), Some(fetch)) => self.windows.enter(data, fetch),
            _ => self.forget(contexts),
        }
    }

    /// Shuts every window, in constant time but for one call in some hundreds.
    pub(super) fn empty(&mut self, contexts: &Contexts<C>) {
        self.data.retire();
        self.fetch.retire();
        self.enter(contexts);
    }

    /// Shuts every window and lets go of every host page.
    pub(super) fn forget(&mut self, contexts: &Contexts<C>) {
        self.windows.shut_all();
        self.heads.fill(NONE);
        self.data.reset();
        self.fetch.reset();
        if let (Some(data), Some(fetch)) = (self.data.of(&contexts.data), self.fetch.of(&contexts.fetch)) {
            self.windows.enter(data, fetch);
        }
    }

    /// The model touched `line`: the windows on it no longer say what it would.
    #[inline(always)]
    pub(super) fn retire(&mut self, line: Line) {
        let head = line.0 as usize & (HEADS - 1);
        if self.heads[head] != NONE {
            self.shut_from(head);
        }
    }

    #[cold]
    #[inline(never)]
    fn shut_from(&mut self, head: usize) {
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
