//! A host page lent out to the crate's own fast path.

use super::{HOST_PAGE, Mapping, Ram};
use crate::addr::PhysAddr;
use alloc::sync::Arc;
use core::fmt;
use core::marker::PhantomData;

/// One 4 KiB page of guest memory as the host sees it.
///
/// A [`PhysMemory`](crate::memory::PhysMemory) of your own that keeps its bytes in a [`Ram`] passes on the page that
/// the RAM lends; nothing else can make one, and outside this crate nothing can be read through it. It says *where*
/// bytes are, so it must be lent only for a page whose accesses need no more than the bytes: no part of it a device,
/// no part refused.
#[derive(Clone, Copy)]
pub struct HostPage<'a> {
    at: *mut u8,
    mapping: &'a Arc<Mapping>,
    page: PhantomData<&'a [u8; HOST_PAGE]>,
}

impl<'a> HostPage<'a> {
    /// The page of `ram` that holds `pa`.
    pub(super) fn of(ram: &'a Ram, pa: PhysAddr) -> Option<Self> {
        let offset = ram.offset(pa.align_down(HOST_PAGE.trailing_zeros()), HOST_PAGE as u64)?;
        let at = ram.touch(offset)?;
        Some(Self { at, mapping: ram.mapping(), page: PhantomData })
    }

    /// The page's first byte, valid for 4 KiB as long as the [`mapping`](Self::mapping) lives; to be touched by
    /// atomics only.
    #[inline]
    pub(super) fn as_ptr(&self) -> *mut u8 {
        self.at
    }

    /// What keeps the bytes alive. A copy of the pointer may be kept as long as a clone of this is.
    #[inline]
    pub(super) fn mapping(&self) -> &'a Arc<Mapping> {
        self.mapping
    }
}

impl fmt::Debug for HostPage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostPage").finish_non_exhaustive()
    }
}
