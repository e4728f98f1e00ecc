//! Which page goes when a frame is needed.

use super::PageId;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// Chooses victims among the pages that are in frames.
///
/// ```
/// use softmmu::vm::{PageId, Policy};
///
/// /// Puts out whatever came in last.
/// #[derive(Default)]
/// struct Lifo(Vec<PageId>);
///
/// impl Policy for Lifo {
///     fn insert(&mut self, page: PageId) {
///         self.0.push(page);
///     }
///     fn remove(&mut self, page: PageId) {
///         self.0.retain(|&other| other != page);
///     }
///     fn victim(&mut self, _used: &mut dyn FnMut(PageId) -> bool) -> Option<PageId> {
///         // Asked again, the last answer was no good: another one.
///         self.0.rotate_right(1);
///         self.0.first().copied()
///     }
/// }
/// # let mut policy = Lifo::default();
/// # policy.insert(PageId(1));
/// # policy.insert(PageId(2));
/// # assert_eq!(policy.victim(&mut |_| false), Some(PageId(2)));
/// # assert_eq!(policy.victim(&mut |_| false), Some(PageId(1)));
/// ```
pub trait Policy {
    /// `page` came into a frame.
    fn insert(&mut self, page: PageId);

    /// `page` left its frame.
    fn remove(&mut self, page: PageId);

    /// The page to put out next; it stays until it is [removed](Self::remove). Asked again without that, the policy
    /// names another one, for this one could not go.
    ///
    /// `used` says whether a page was used since it was last asked about, and forgets it; for a page that must stay
    /// it always says so.
    fn victim(&mut self, used: &mut dyn FnMut(PageId) -> bool) -> Option<PageId>;
}

/// Second chance: a hand goes round over the pages and puts out the first that was not used since it came by last.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    ring: Vec<Option<PageId>>,
    places: BTreeMap<PageId, usize>,
    /// Places without a page.
    holes: Vec<usize>,
    hand: usize,
}

impl Policy for Clock {
    fn insert(&mut self, page: PageId) {
        let place = self.holes.pop().unwrap_or(self.ring.len());
        match self.ring.get_mut(place) {
            Some(hole) => *hole = Some(page),
            None => self.ring.push(Some(page)),
        }
        self.places.insert(page, place);
    }

    fn remove(&mut self, page: PageId) {
        if let Some(place) = self.places.remove(&page) {
            self.holes.push(place);
            if let Some(entry) = self.ring.get_mut(place) {
                *entry = None;
            }
        }
    }

    fn victim(&mut self, used: &mut dyn FnMut(PageId) -> bool) -> Option<PageId> {
        // Once round to clear the marks, once more to find one clear.
        for _ in 0..=2 * self.ring.len() {
            let place = self.hand;
            self.hand = if place + 1 < self.ring.len() { place + 1 } else { 0 };
            if let Some(&Some(page)) = self.ring.get(place) {
                if !used(page) {
                    return Some(page);
                }
            }
        }
        None
    }
}

/// First in, first out, used or not.
#[derive(Clone, Debug, Default)]
pub struct Fifo {
    queue: VecDeque<PageId>,
}

impl Policy for Fifo {
    fn insert(&mut self, page: PageId) {
        self.queue.push_back(page);
    }

    fn remove(&mut self, page: PageId) {
        self.queue.retain(|&other| other != page);
    }

    fn victim(&mut self, _used: &mut dyn FnMut(PageId) -> bool) -> Option<PageId> {
        let page = self.queue.pop_front()?;
        self.queue.push_back(page);
        Some(page)
    }
}
