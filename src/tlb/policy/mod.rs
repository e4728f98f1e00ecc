//! Replacement: which way of a full set makes room.
//!
//! A policy is told of hits and fills and asked for victims; it sees set and way numbers, never addresses. It keeps
//! whatever it needs for all sets itself. First-in first-out by a pointer, for example:
//!
//! ```
//! use softmmu::tlb::{Geometry, SetAssociative, policy::WayPolicy};
//!
//! /// Each set's pointer goes round.
//! struct RoundRobin {
//!     next: Vec<usize>,
//!     ways: usize,
//! }
//!
//! impl WayPolicy for RoundRobin {
//!     fn new(geometry: Geometry) -> Self {
//!         Self { next: vec![0; geometry.sets], ways: geometry.ways }
//!     }
//!     fn touch(&mut self, _set: usize, _way: usize) -> bool {
//!         false
//!     }
//!     fn victim(&mut self, set: usize) -> usize {
//!         let way = self.next[set];
//!         self.next[set] = (way + 1) % self.ways;
//!         way
//!     }
//! }
//!
//! let tlb = SetAssociative::<RoundRobin>::new(Geometry::new(16, 3)).unwrap();
//! assert_eq!(tlb.geometry().entries(), 48);
//! ```

mod any;
mod list;
mod lru;
mod plru;
mod random;
mod rrip;

pub use any::{AnyPolicy, PolicyKind, UnknownPolicy};
pub use lru::{Fifo, TrueLru};
pub use plru::{BitPlru, Nru, TreePlru};
pub use random::Random;
pub use rrip::{Brrip, Rrip, Srrip};

use super::Geometry;

/// A replacement policy for all the sets of one array.
///
/// Victims are asked for only when every way of the set is valid; an invalid way is filled first, the lowest one.
/// Invalidations are not told: what a policy remembers of a dropped way stays until the way is filled again.
pub trait WayPolicy {
    /// Whether touching a way twice in a row differs from touching it once. If so, every hit must be told, and no
    /// hit can be answered without the TLB. Recency policies need no such thing.
    const COUNTS_TOUCHES: bool = false;

    /// The most ways per set that the policy can order.
    const MAX_WAYS: usize = usize::MAX;

    /// The policy for sets in which nothing has happened yet.
    fn new(geometry: Geometry) -> Self;

    /// `way` of `set` was hit. Returns whether the policy's state has changed.
    fn touch(&mut self, set: usize, way: usize) -> bool;

    /// `way` of `set` has got a new entry; by default this is a touch. Returns whether a [`touch`](Self::touch) of it
    /// right now would change nothing.
    #[inline]
    fn fill(&mut self, set: usize, way: usize) -> bool {
        self.touch(set, way);
        true
    }

    /// The way of `set` to give up. A [`fill`](Self::fill) of it follows.
    fn victim(&mut self, set: usize) -> usize;

    /// [`victim`](Self::victim) and [`fill`](Self::fill) in one: the way, below `ways`, and what the latter returns.
    #[inline]
    fn replace(&mut self, set: usize, ways: usize) -> (usize, bool) {
        let way = self.victim(set).min(ways.saturating_sub(1));
        (way, self.fill(set, way))
    }
}

/// A small generator (xorshift64*), so that a seed gives the same evictions everywhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        // The state must not be zero; the multiplier spreads small seeds.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `below`, 0 if that is 0.
    #[inline]
    pub(super) fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        ((high * below as u64) >> 32) as usize
    }
}
