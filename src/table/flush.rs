//! What an edit obliges its caller to invalidate, and the table frames that only then may be used again.
//!
//! ```text
//!   unmap ──► Flush { what, frames } ──apply──► TLBs drop `what` ──► frames back to the allocator
//!                │
//!              dropped, unapplied ──► the table's Quarantine keeps the frames
//!                                          │
//!                      flush_all ──► Flush { all, those frames } ──apply──► back to the allocator
//! ```
//!
//! A table that has been unlinked may still be held by a TLB or a walk cache of some hart. Its frame must not be
//! used for anything else before those have let go, so the frame travels inside the [`Flush`] token, and nothing but
//! applying that token returns it. The table's [`Quarantine`] shares every token's list: a token that is dropped
//! cannot take its frames with it, and the next full flush hands them out again.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::addr::{PhysAddr, VirtAddr};
use crate::frame::{FrameAllocator, FrameError};
use crate::radix::Perms;
use crate::table::Mapping;
use crate::tlb::{Scope, Space, Span};

/// A frame run on its way back to the allocator.
#[derive(Debug)]
pub(super) struct Held(AtomicU64);

impl Held {
    /// What stands for a frame that has been returned. Nothing fits into the last byte of all.
    const RETURNED: u64 = u64::MAX;

    pub(super) const fn new(frame: u64) -> Self {
        Self(AtomicU64::new(frame))
    }

    /// The frame, unless it has been returned.
    fn waiting(&self) -> Option<PhysAddr> {
        Some(self.0.load(Ordering::Acquire)).filter(|&frame| frame != Self::RETURNED).map(PhysAddr)
    }

    /// The frame, for who owns it: the edit, and then the token.
    pub(super) fn frame(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Frame runs of one order: owned by the token, known to the quarantine.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) order: u32,
    pub(super) frames: Vec<Held>,
}

impl Batch {
    fn is_returned(&self) -> bool {
        self.frames.iter().all(|held| held.waiting().is_none())
    }

    /// Adds to the batch of its order, or begins one.
    pub(super) fn add(batches: &mut Vec<Self>, frame: PhysAddr, order: u32) {
        let held = Held::new(frame.0);
        match batches.iter_mut().find(|batch| batch.order == order) {
            Some(batch) => batch.frames.push(held),
            None => batches.push(Self { order, frames: alloc::vec![held] }),
        }
    }
}

/// What must be invalidated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stale {
    /// Nothing: no TLB can hold what was changed.
    Nothing,
    /// The translations of `first..=last` in the table's own address space.
    Pages {
        /// First address.
        first: VirtAddr,
        /// Last address, inclusive.
        last: VirtAddr,
        /// Whether pages shared by every address space were, or may have been, among them.
        globals: bool,
        /// Whether only leaves changed, so that paging-structure caches may keep what they hold.
        leaves_only: bool,
    },
    /// Everything translated through this table.
    All,
}

/// The debt of an edit: what every TLB that may hold the table's translations must drop.
///
/// [`apply`](Self::apply) pays it and returns the table frames that the edit freed. A token that is dropped instead
/// returns none of them: they wait in the table's quarantine for
/// [`PageTable::flush_all`](crate::table::PageTable::flush_all).
///
/// ```
/// use softmmu::addr::{Asid, VirtAddr, Vmid};
/// use softmmu::table::Flush;
/// use softmmu::tlb::{Space, Span};
///
/// let flush = Flush::page(VirtAddr(0x1000), 12, false);
/// let scope = flush.scope(Space::new(0, Vmid(0), Asid(7))).expect("something is stale");
/// assert_eq!(scope.span, Span::Virtual { first: 0x1000, last: 0x1fff });
/// assert_eq!(Flush::nothing().scope(Space::default()), None);
/// # flush.forget();
/// ```
#[derive(Debug)]
#[must_use = "TLBs may still hold what was changed: apply the token to every hart that uses the table"]
pub struct Flush {
    stale: Stale,
    frames: Vec<Arc<Batch>>,
}

impl Flush {
    /// Nothing to invalidate, no frames.
    pub const fn nothing() -> Self {
        Self { stale: Stale::Nothing, frames: Vec::new() }
    }

    /// A token for `stale`, without frames.
    pub const fn new(stale: Stale) -> Self {
        Self { stale, frames: Vec::new() }
    }

    /// A token for the leaf of the page of `2^size_bits` bytes that holds `va`.
    pub const fn page(va: VirtAddr, size_bits: u32, global: bool) -> Self {
        let first = va.align_down(size_bits);
        let last = VirtAddr(first.0 | crate::addr::low_mask(size_bits));
        Self::new(Stale::Pages { first, last, globals: global, leaves_only: true })
    }

    /// A token for one page that was changed or unmapped.
    pub fn of(page: &Mapping) -> Self {
        let last = VirtAddr(page.va.0 | (page.size.bytes() - 1));
        let globals = page.perms.contains(Perms::GLOBAL);
        Self::new(Stale::Pages { first: page.va, last, globals, leaves_only: true })
    }

    /// What must be invalidated.
    #[must_use]
    pub const fn stale(&self) -> Stale {
        self.stale
    }

    /// Whether there is nothing to invalidate (the token then carries no frames either, or only unused ones).
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        matches!(self.stale, Stale::Nothing)
    }

    /// How many frame runs the token carries.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.frames.iter().map(|batch| batch.frames.len()).sum()
    }

    /// The fence that pays for the token where the table is used as `space`; `None` when nothing is stale.
    #[must_use]
    pub const fn scope(&self, space: Space) -> Option<Scope> {
        let mask = Space::ASID | Space::VMID | Space::REGIME;
        Some(match self.stale {
            Stale::Nothing => return None,
            Stale::Pages { first, last, globals, leaves_only } => Scope {
                space,
                mask,
                globals,
                span: Span::Virtual { first: first.0, last: last.0 },
                leaves_only,
            },
            Stale::All => Scope { space, mask, globals: true, span: Span::All, leaves_only: false },
        })
    }

    /// Both debts as one token: the smallest single range that covers both.
    pub fn and(mut self, mut other: Self) -> Self {
        self.stale = match (self.stale, other.stale) {
            (Stale::Nothing, stale) | (stale, Stale::Nothing) => stale,
            (Stale::All, _) | (_, Stale::All) => Stale::All,
            (
                Stale::Pages { first, last, globals, leaves_only },
                Stale::Pages { first: first2, last: last2, globals: globals2, leaves_only: leaves_only2 },
            ) => Stale::Pages {
                first: first.min(first2),
                last: last.max(last2),
                globals: globals | globals2,
                leaves_only: leaves_only & leaves_only2,
            },
        };
        self.frames.append(&mut other.frames);
        self
    }

    /// Pays: calls `invalidate` with what the TLBs of *every* hart that may use the table as `space` must drop (not
    /// at all when nothing is stale), then returns the freed table frames to `frames`.
    ///
    /// # Errors
    /// [`FrameError`] when `frames` does not take a frame back; the others are returned, that one stays quarantined.
    pub fn apply<A: FrameAllocator + ?Sized>(
        self,
        space: Space,
        frames: &mut A,
        invalidate: impl FnOnce(&Scope),
    ) -> Result<(), FrameError> {
        if let Some(scope) = self.scope(space) {
            invalidate(&scope);
        }
        let mut outcome = Ok(());
        for batch in &self.frames {
            for held in &batch.frames {
                match frames.free(PhysAddr(held.frame()), batch.order) {
                    Ok(()) => held.0.store(Held::RETURNED, Ordering::Release),
                    Err(error) => outcome = outcome.and(Err(error)),
                }
            }
        }
        outcome
    }

    /// Leaves the debt unpaid on purpose, as a kernel does that only cleared an accessed bit. Same as dropping it.
    pub fn forget(self) {}
}

/// The frames of a page table that no allocator has back yet: those of tokens still about, and those of tokens that
/// were dropped.
#[derive(Debug, Default)]
pub struct Quarantine {
    batches: Vec<Arc<Batch>>,
}

impl Quarantine {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self { batches: Vec::new() }
    }

    /// Puts freed table frames, each with its order, into a token for `stale`.
    pub fn hold(&mut self, stale: Stale, frames: impl IntoIterator<Item = (PhysAddr, u32)>) -> Flush {
        let mut batches = Vec::new();
        for (frame, order) in frames {
            Batch::add(&mut batches, frame, order);
        }
        self.hold_all(stale, batches)
    }

    /// Puts freed table frames into a token for `stale`.
    pub(super) fn hold_all(&mut self, stale: Stale, batches: Vec<Batch>) -> Flush {
        if batches.is_empty() {
            return Flush::new(stale);
        }
        self.batches.retain(|batch| !batch.is_returned());
        let frames: Vec<Arc<Batch>> = batches.into_iter().map(Arc::new).collect();
        self.batches.extend_from_slice(&frames);
        Flush { stale, frames }
    }

    /// A token for everything, carrying what dropped tokens left behind.
    pub fn flush_all(&mut self) -> Flush {
        let mut abandoned = Vec::new();
        // `get_mut` and not `strong_count`: it synchronises with the thread that let the token go.
        self.batches.retain_mut(|batch| match Arc::get_mut(batch) {
            Some(batch) => {
                let waiting = batch.frames.iter().filter_map(Held::waiting);
                waiting.for_each(|frame| Batch::add(&mut abandoned, frame, batch.order));
                false
            }
            None => true,
        });
        self.hold_all(Stale::All, abandoned)
    }

    /// How many frame runs wait here because their token was dropped.
    #[must_use]
    pub fn abandoned(&mut self) -> usize {
        let unowned = self.batches.iter_mut().filter_map(Arc::get_mut);
        unowned.map(|batch| batch.frames.iter().filter_map(Held::waiting).count()).sum()
    }
}
