//! What is edited: a format's windows, page sizes and rights, and random edits that mean something in each of them.

use proptest::prelude::*;
use softmmu::addr::{PageSize, PhysAddr, VirtAddr};
use softmmu::radix::Perms;

use super::Model;

/// What to edit in a format: where, in which sizes, with which rights.
pub(crate) struct Machine {
    /// Window starts. A window reaches over the lesser of 600 smallest pages and three largest.
    windows: Vec<u64>,
    pub(crate) sizes: Vec<PageSize>,
    pub(crate) frame: PageSize,
    pub(crate) perms: Vec<Perms>,
    /// Whether large pages can be split.
    pub(crate) near: bool,
    /// How many bytes of physical memory an entry can point into.
    pub(crate) physical: u64,
}

impl Machine {
    pub(crate) fn new(windows: &[u64], sizes: &[u32], frame: u32, perms: Vec<Perms>) -> Self {
        let size = |bits: &u32| PageSize::from_bits(*bits).expect("a page size");
        Self {
            windows: windows.to_vec(),
            sizes: sizes.iter().map(size).collect(),
            frame: size(&frame),
            perms,
            near: false,
            physical: u64::MAX,
        }
    }

    /// The same with pages of the smallest size alone.
    pub(crate) fn only_smallest(mut self) -> Self {
        self.sizes.truncate(1);
        self
    }

    /// The same with all pages lying in the lowest megabytes.
    pub(crate) fn near(mut self) -> Self {
        self.near = true;
        self
    }

    /// The same with only so much physical memory.
    pub(crate) fn physical(mut self, bytes: u64) -> Self {
        self.physical = bytes;
        self
    }

    /// Maps a range in the model: the largest pages that fit.
    pub(crate) fn map_model(&self, model: &mut Model, va: VirtAddr, pa: PhysAddr, len: u64, perms: Perms) {
        let mut done = 0;
        while done < len {
            let fits = |size: &&PageSize| {
                ((va.0 + done) | (pa.0 + done)) % size.bytes() == 0 && size.bytes() <= len - done
            };
            let size = *self.sizes.iter().rev().find(fits).expect("whole pages");
            model.0.insert(va.0 + done, (PhysAddr(pa.0 + done), size, perms));
            done += size.bytes();
        }
    }

    /// Puts what a page becomes into the model when only its part in `va..=last` is edited: pages one size smaller,
    /// of which those that still reach over an end are cut again.
    pub(crate) fn split_model(
        &self,
        model: &mut Model,
        (page, pa, size, perms): (VirtAddr, PhysAddr, PageSize, Perms),
        va: VirtAddr,
        last: u64,
    ) {
        let smaller = *self.sizes.iter().rev().find(|&&smaller| smaller < size).expect("a smaller page");
        for offset in (0..size.bytes()).step_by(smaller.bytes() as usize) {
            let (at, to) = (VirtAddr(page.0 + offset), PhysAddr(pa.0 + offset));
            let end = at.0 + (smaller.bytes() - 1);
            let crosses = at < va && end >= va.0 || at.0 <= last && end > last;
            if crosses {
                self.split_model(model, (at, to, smaller, perms), va, last);
            } else {
                model.0.insert(at.0, (to, smaller, perms));
            }
        }
    }

    /// A range that begins at a smallest page and ends anywhere up to a little over a largest page further.
    pub(crate) fn range(&self, step: &Step) -> (VirtAddr, u64) {
        let smallest = self.sizes[0];
        let va = self.va(step.place, smallest);
        let unit = self.sizes[usize::from(step.size >> 4) % self.sizes.len()].bytes();
        let pages = u64::from(step.size & 3) * unit / smallest.bytes() + u64::from(step.size >> 2 & 3);
        (va, pages.max(1) * smallest.bytes())
    }

    /// An address of a page of `size`, drawn from `pick`: low numbers near a window's start, others at each multiple
    /// of larger pages, so that pages of different sizes meet.
    pub(crate) fn va(&self, pick: u16, size: PageSize) -> VirtAddr {
        let window = self.windows[usize::from(pick) % self.windows.len()];
        let spread = self.sizes[usize::from(pick >> 3) % self.sizes.len()];
        let offset =
            u64::from(pick >> 6 & 1) * spread.bytes() + u64::from(pick >> 7 & 3) * self.sizes[0].bytes();
        VirtAddr(window.wrapping_add(offset)).align_down(size.bits())
    }
}

/// One edit, as numbers that a [`Machine`] gives meaning to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) kind: u8,
    pub(crate) place: u16,
    pub(crate) size: u8,
    pub(crate) perms: u8,
    /// Apply the token, or drop it.
    pub(crate) applied: bool,
    /// How many allocations succeed; few make the edit fail.
    pub(crate) budget: Option<u8>,
}

/// Random edits.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let budget = proptest::option::weighted(0.2, 0u8..4);
    let step = (0u8..8, any::<u16>(), any::<u8>(), any::<u8>(), any::<bool>(), budget).prop_map(
        |(kind, place, size, perms, applied, budget)| Step { kind, place, size, perms, applied, budget },
    );
    proptest::collection::vec(step, 1..60)
}
