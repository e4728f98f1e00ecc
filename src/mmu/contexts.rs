//! The contexts of ordinary accesses under the present control state, worked out once per change of it.

use crate::access::{Access, AccessKind};
use crate::addr::VirtAddr;
use crate::arch::{Arch, Lookup};

/// One context per kind of access, and whether the TLB is bypassed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Contexts<C> {
    /// Loads, stores, atomics.
    pub(super) data: [C; 3],
    pub(super) fetch: C,
    pub(super) data_bare: bool,
    pub(super) fetch_bare: bool,
}

impl<C: Copy + Eq> Contexts<C> {
    pub(super) fn new<A: Arch<Context = C>>(arch: &A) -> Self {
        let of = |kind| arch.context(kind, A::Flavor::default());
        let data = [AccessKind::Read, AccessKind::Write, AccessKind::ReadWrite].map(of);
        let fetch = of(AccessKind::Execute);
        Self {
            data_bare: is_bare(arch, &data[0], AccessKind::Read),
            fetch_bare: is_bare(arch, &fetch, AccessKind::Execute),
            data,
            fetch,
        }
    }

    /// The context of an ordinary access of `kind`.
    #[inline]
    pub(super) fn of(&self, kind: AccessKind) -> &C {
        let [read, write, atomic] = &self.data;
        match kind {
            AccessKind::Read => read,
            AccessKind::Write => write,
            AccessKind::ReadWrite => atomic,
            AccessKind::Execute => &self.fetch,
        }
    }
}

/// Whether accesses in `context` are not translated.
fn is_bare<A: Arch>(arch: &A, context: &A::Context, kind: AccessKind) -> bool {
    let access = Access { va: VirtAddr(0), len: 1, kind, flavor: A::Flavor::default() };
    matches!(arch.lookup(context, &access), Ok(Lookup::Bare))
}
