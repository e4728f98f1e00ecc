//! A policy chosen at run time. Hits on the way touched last never ask it, so the choice costs nothing there.

use super::{BitPlru, Brrip, Fifo, Nru, Random, Srrip, TreePlru, TrueLru, WayPolicy};
use crate::tlb::{Geometry, GeometryError};
use alloc::string::String;
use core::fmt;
use core::str::FromStr;

macro_rules! policies {
    ($($(#[$doc:meta])* $kind:ident($policy:ty) = $name:literal,)*) => {
        /// The name of a built-in policy.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[non_exhaustive]
        pub enum PolicyKind {
            $($(#[$doc])* $kind,)*
        }

        impl PolicyKind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The short name, as [`FromStr`] reads it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            /// The most ways that the policy can order.
            #[must_use]
            pub const fn max_ways(self) -> usize {
                match self {
                    $(Self::$kind => <$policy as WayPolicy>::MAX_WAYS,)*
                }
            }
        }

        #[derive(Clone, Debug)]
        enum Policy {
            $($kind($policy),)*
        }

        impl AnyPolicy {
            /// The policy called `kind`.
            ///
            /// # Errors
            /// [`GeometryError`] for an impossible shape or more ways than the policy orders.
            pub fn of(kind: PolicyKind, geometry: Geometry) -> Result<Self, GeometryError> {
                geometry.check(kind.max_ways())?;
                Ok(Self(match kind {
                    $(PolicyKind::$kind => Policy::$kind(WayPolicy::new(geometry)),)*
                }))
            }
        }

        impl WayPolicy for AnyPolicy {
            /// True LRU.
            fn new(geometry: Geometry) -> Self {
                Self(Policy::TrueLru(TrueLru::new(geometry)))
            }
            #[inline]
            fn touch(&mut self, set: usize, way: usize) -> bool {
                match &mut self.0 {
                    $(Policy::$kind(policy) => policy.touch(set, way),)*
                }
            }
            #[inline]
            fn fill(&mut self, set: usize, way: usize) -> bool {
                match &mut self.0 {
                    $(Policy::$kind(policy) => policy.fill(set, way),)*
                }
            }
            #[inline]
            fn victim(&mut self, set: usize) -> usize {
                match &mut self.0 {
                    $(Policy::$kind(policy) => policy.victim(set),)*
                }
            }
            #[inline]
            fn replace(&mut self, set: usize, ways: usize) -> (usize, bool) {
                match &mut self.0 {
                    $(Policy::$kind(policy) => policy.replace(set, ways),)*
                }
            }
        }
    };
}

policies! {
    /// [`TrueLru`].
    #[default]
    TrueLru(TrueLru) = "lru",
    /// [`TreePlru`].
    TreePlru(TreePlru) = "tree-plru",
    /// [`BitPlru`].
    BitPlru(BitPlru) = "bit-plru",
    /// [`Nru`].
    Nru(Nru) = "nru",
    /// [`Fifo`].
    Fifo(Fifo) = "fifo",
    /// [`Random`].
    Random(Random) = "random",
    /// [`Srrip`].
    Srrip(Srrip) = "srrip",
    /// [`Brrip`].
    Brrip(Brrip) = "brrip",
}

/// One of the built-in policies.
#[derive(Clone, Debug)]
pub struct AnyPolicy(Policy);

impl fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No built-in policy is called so.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "no replacement policy is called {0:?}: there are lru, tree-plru, bit-plru, nru, fifo, random, srrip, brrip"
)]
pub struct UnknownPolicy(pub String);

impl FromStr for PolicyKind {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name).ok_or_else(|| UnknownPolicy(name.into()))
    }
}
