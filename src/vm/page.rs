//! One page's life, and the reverse map from it to every space that has it.
//!
//! ```text
//!            fault                    evicted clean, source has it
//!   (none) ────────► in a frame ─────────────────────────────────► (none)
//!                     │      ▲
//!            evicted  ▼      │ fault
//!                    in a slot
//! ```
//!
//! A page in a frame may have a slot too. If it is clean, the slot holds the same bytes, and it goes out without being
//! written; if it is dirty, the slot's bytes are old and mean nothing.

use super::SpaceId;
use crate::addr::PhysAddr;
use crate::store::Slot;
use alloc::vec::Vec;

/// The name of a page while it exists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PageId(pub u32);

/// What is known of a page. It is in a frame, in a slot, or both.
#[derive(Clone, Debug, Default)]
pub(super) struct Page {
    pub(super) frame: Option<PhysAddr>,
    pub(super) slot: Option<Slot>,
    /// Whether the frame's content is nowhere else (marks in table entries aside).
    pub(super) dirty: bool,
    /// Every place where it is: space and page number.
    pub(super) owners: Vec<(SpaceId, u64)>,
    /// Whether all of them are to see what one stores.
    pub(super) shared: bool,
}

impl Page {
    /// Whether a store needs a copy first.
    pub(super) fn copied_on_write(&self) -> bool {
        !self.shared && self.owners.len() > 1
    }
}

/// All pages.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages {
    pages: Vec<Option<Page>>,
    unused: Vec<u32>,
    resident: u64,
    slots: u64,
}

impl Pages {
    /// Adds a page; `None` when there are as many as can have names.
    pub(super) fn add(&mut self, page: Page) -> Option<PageId> {
        let id = match self.unused.pop() {
            Some(id) => id,
            None => {
                let id = u32::try_from(self.pages.len()).ok()?;
                self.pages.try_reserve(1).ok()?;
                self.pages.push(None);
                id
            }
        };
        self.resident += u64::from(page.frame.is_some());
        self.slots += u64::from(page.slot.is_some());
        *self.pages.get_mut(id as usize)? = Some(page);
        Some(PageId(id))
    }

    pub(super) fn get(&self, id: PageId) -> Option<&Page> {
        self.pages.get(id.0 as usize)?.as_ref()
    }

    /// Changes a page through `change`, keeping count of frames and slots.
    pub(super) fn change<R>(&mut self, id: PageId, change: impl FnOnce(&mut Page) -> R) -> Option<R> {
        let page = self.pages.get_mut(id.0 as usize)?.as_mut()?;
        self.resident -= u64::from(page.frame.is_some());
        self.slots -= u64::from(page.slot.is_some());
        let result = change(page);
        self.resident += u64::from(page.frame.is_some());
        self.slots += u64::from(page.slot.is_some());
        Some(result)
    }

    pub(super) fn remove(&mut self, id: PageId) -> Option<Page> {
        let page = self.pages.get_mut(id.0 as usize)?.take()?;
        self.resident -= u64::from(page.frame.is_some());
        self.slots -= u64::from(page.slot.is_some());
        self.unused.push(id.0);
        Some(page)
    }

    /// How many are in frames.
    pub(super) fn resident(&self) -> u64 {
        self.resident
    }

    /// How many have slots.
    pub(super) fn slots(&self) -> u64 {
        self.slots
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PageId, &Page)> {
        (0..).map(PageId).zip(&self.pages).filter_map(|(id, page)| Some((id, page.as_ref()?)))
    }
}
