//! Where an access leaves the straight way from lookup to fill: untranslated accesses, walks that do more than read,
//! rights that do not suffice, the second page, the opening of windows, and faults.
//!
//! All of it is out of line and works out the access and its context anew from what fits into registers, so that the
//! straight way need keep neither in memory.

use super::port::Committing;
use super::translate::{Leave, NOWHERE, Place, side};
use super::{AccessError, MAX_RACES, Mmu};
use crate::access::{Access, AccessKind};
use crate::addr::{PhysAddr, VirtAddr};
use crate::arch::{Arch, Lookup, WalkError};
use crate::memory::{BusError, HostAccess, PhysMemory, Through};
use crate::tlb::{Filled, Hit, Key, Line, Space, Tlb, TlbEntry};

/// log2 of the span of a filter window: smaller pages are served by the model alone.
const WINDOW_BITS: u8 = 12;

/// An access but for its address. (Both in one would be passed through memory.)
#[derive(Clone, Copy)]
pub(super) struct What<F> {
    len: u32,
    kind: AccessKind,
    flavor: F,
}

impl<F: Copy> What<F> {
    #[inline(always)]
    pub(super) fn of(access: &Access<F>) -> Self {
        Self { len: access.len, kind: access.kind, flavor: access.flavor }
    }

    pub(super) fn at(self, va: VirtAddr) -> Access<F> {
        Access { va, len: self.len, kind: self.kind, flavor: self.flavor }
    }
}

/// An access and the context that it is made in.
struct Asked<'a, A: Arch> {
    context: &'a A::Context,
    access: &'a Access<A::Flavor>,
}

impl<A: Arch> Clone for Asked<'_, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A: Arch> Copy for Asked<'_, A> {}

/// Why a walk yielded nothing, and whether a structure cache had a part in it.
type Unwalked<A> = (WalkError<<A as Arch>::Fault>, bool);

impl<A: Arch, M: PhysMemory, T: Tlb> Mmu<A, M, T> {
    /// The context of an access: at hand for an ordinary one, asked for otherwise.
    #[inline]
    pub(super) fn context(&self, kind: AccessKind, flavor: A::Flavor) -> A::Context {
        if flavor == A::Flavor::default() { *self.contexts.of(kind) } else { self.arch.context(kind, flavor) }
    }

    /// Goes on from where an access left the straight way; `used` is shown the entry.
    #[cold]
    #[inline(never)]
    pub(super) fn detour(
        &mut self,
        va: VirtAddr,
        what: What<A::Flavor>,
        leave: Leave,
        place: Place,
        used: &mut impl FnMut(&TlbEntry),
    ) -> Result<Place, AccessError<A::Fault>> {
        let access = what.at(va);
        let context = self.context(access.kind, access.flavor);
        self.find_as(Asked { context: &context, access: &access }, leave, place, used)
    }

    /// Likewise, in a context of the caller's.
    fn find_as(
        &mut self,
        at: Asked<'_, A>,
        leave: Leave,
        place: Place,
        used: &mut impl FnMut(&TlbEntry),
    ) -> Result<Place, AccessError<A::Fault>> {
        let Asked { context, access } = at;
        if leave == Leave::Unreached {
            return self.reach(at, place);
        }
        let key = match self.arch.lookup(context, access) {
            Ok(Lookup::Cached(key)) => key,
            Ok(Lookup::Bare) => return self.bare(at, used),
            Err(fault) => return Err(self.faulted(fault)),
        };
        let mut refused = leave == Leave::Refused;
        if leave == Leave::Unordinary {
            if let Some(hit) = self.tlb.lookup(&key, side(access.kind)) {
                self.heed(&hit);
                refused = !self.arch.permits(context, access, &hit.entry);
                if !refused {
                    return self.serve(at, &key, &hit, used);
                }
            }
        }
        // The straight way counts walks before it knows which kind it will be.
        self.stats.walks += u64::from(leave != Leave::Missed);
        self.stats.rewalks += u64::from(refused);
        let entry = self.walk(at, key.space)?;
        let filled = if refused {
            // What is cached may go on answering before what the walk has yielded.
            Filled::from(self.tlb.insert(entry, side(access.kind)))
        } else {
            self.tlb.refill(entry, side(access.kind), &key)
        };
        self.touched(filled.line);
        self.rippled(filled.ripple);
        used(&entry);
        self.reach(at, Place::of(&entry, key.va))
    }

    /// A cached translation serves.
    fn serve(
        &mut self,
        at: Asked<'_, A>,
        key: &Key,
        hit: &Hit,
        used: &mut impl FnMut(&TlbEntry),
    ) -> Result<Place, AccessError<A::Fault>> {
        used(&hit.entry);
        let place = self.reach(at, Place::of(&hit.entry, key.va))?;
        if hit.repeat && hit.line.is_some() {
            self.open_on(at.access, place.pa, hit.entry.size_bits, hit.line);
        }
        Ok(place)
    }

    /// Translation is off: the walk yields the identity, and no TLB sees it.
    fn bare(
        &mut self,
        at: Asked<'_, A>,
        used: &mut impl FnMut(&TlbEntry),
    ) -> Result<Place, AccessError<A::Fault>> {
        self.stats.bare += 1;
        let entry = self.walk(at, Space::default())?;
        used(&entry);
        let place = self.reach(at, Place::of(&entry, at.access.va.0))?;
        let ordinary_is_bare = match at.access.kind {
            AccessKind::Execute => self.contexts.fetch_bare,
            _ => self.contexts.data_bare,
        };
        if ordinary_is_bare {
            self.open_on(at.access, place.pa, entry.size_bits, None);
        }
        Ok(place)
    }

    /// Whether the bytes may be reached.
    fn reach(&mut self, at: Asked<'_, A>, place: Place) -> Result<Place, AccessError<A::Fault>> {
        match self.arch.check_physical(at.context, at.access, place.pa, place.len(at.access.len)) {
            Ok(()) => Ok(place),
            Err(fault) => Err(self.faulted(fault)),
        }
    }

    /// Walks, and begins again as long as another hart was faster, and once without structure caches where they led to
    /// a fault. What is cached of upper tables may be out of date, and only memory refuses: a guest that widened rights
    /// there need not have fenced (x86 drops such entries with the fault itself, SDM Vol. 3A 4.10.4.1; elsewhere the
    /// fault would be allowed, and so is none).
    fn walk(&mut self, at: Asked<'_, A>, space: Space) -> Result<TlbEntry, AccessError<A::Fault>> {
        let mut shortcuts = true;
        for _ in 0..MAX_RACES {
            match self.walk_once(at, space, shortcuts) {
                Ok(entry) => return Ok(entry),
                Err((WalkError::Raced, _)) => {
                    self.stats.races += 1;
                    self.tlb.walk_raced();
                }
                Err((_, true)) => shortcuts = false,
                Err((error, false)) => {
                    self.stats.faults += 1;
                    return Err(AccessError::from_walk(error, at.access.va, MAX_RACES));
                }
            }
        }
        self.stats.faults += 1;
        Err(AccessError::Contended { va: at.access.va, tries: MAX_RACES })
    }

    #[inline(always)]
    fn walk_once(
        &mut self,
        at: Asked<'_, A>,
        space: Space,
        shortcuts: bool,
    ) -> Result<TlbEntry, Unwalked<A>> {
        let mut port = Committing::new(&self.memory, &mut self.tlb, space, &mut self.stats.pte_reads);
        port.shortcuts = shortcuts;
        let walked = self.arch.walk(at.context, at.access, &mut port);
        let shortened = port.shortened;
        self.tlb.walk_ended(walked.is_ok());
        walked.map_err(|error| (error, shortened))
    }

    /// Translates the part of `access` that its first page, at `first`, does not hold, and makes sure that memory would
    /// take both parts. The lower part is refused, if at all, before the upper one is looked at; and each with its own
    /// address.
    #[cold]
    pub(super) fn rest(
        &mut self,
        access: Access<A::Flavor>,
        first: &Place,
    ) -> Result<Place, AccessError<A::Fault>> {
        let len = first.len(access.len);
        self.backed(Access { len: len as u32, ..access }, first.pa)?;
        let va = VirtAddr(access.va.0.wrapping_add(len));
        let rest = Access { va, len: access.len.saturating_sub(len as u32), ..access };
        let context = self.context(access.kind, access.flavor);
        let at = Asked { context: &self.arch.upper_part(&context), access: &rest };
        let second = self.find_as(at, Leave::Unordinary, NOWHERE, &mut |_| ())?;
        self.backed(rest, second.pa)?;
        Ok(second)
    }

    /// Whether memory would take this part of an access.
    fn backed(&mut self, part: Access<A::Flavor>, pa: PhysAddr) -> Result<(), AccessError<A::Fault>> {
        let access = if part.kind.writes() { HostAccess::Write } else { HostAccess::Read };
        let asked = self.memory.check_bytes(pa, u64::from(part.len), access);
        asked.map_err(|error| self.bus_error(part.va, What::of(&part), error))
    }

    /// Lets the filter answer for the page from now on, if everything about an access there would be the same.
    #[cold]
    #[inline(never)]
    pub(super) fn open(
        &mut self,
        va: VirtAddr,
        what: What<A::Flavor>,
        pa: PhysAddr,
        size_bits: u8,
        line: Line,
    ) {
        self.open_on(&what.at(va), pa, size_bits, Some(line));
    }

    fn open_on(&mut self, access: &Access<A::Flavor>, pa: PhysAddr, size_bits: u8, line: Option<Line>) {
        if !self.filtering || access.flavor != A::Flavor::default() || size_bits < WINDOW_BITS {
            return;
        }
        let (through, host) = match access.kind {
            AccessKind::Read => (Through::Read, HostAccess::Read),
            AccessKind::Write | AccessKind::ReadWrite => (Through::Write, HostAccess::Write),
            AccessKind::Execute => (Through::Execute, HostAccess::Read),
        };
        let page = pa.align_down(u32::from(WINDOW_BITS));
        let Some(host) = self.memory.host_page(page, host) else { return };
        let context = self.contexts.of(access.kind);
        if self.arch.check_physical(context, access, page, 1 << WINDOW_BITS).is_err() {
            return;
        }
        self.filter.open(access.va.0, through, &host, line);
        if access.kind == AccessKind::ReadWrite {
            self.filter.open(access.va.0, Through::Read, &host, line);
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn faulted(&mut self, fault: A::Fault) -> AccessError<A::Fault> {
        self.stats.faults += 1;
        AccessError::Fault(fault)
    }

    /// A bus error on the translated access, as the architecture reports it.
    #[cold]
    #[inline(never)]
    pub(super) fn bus_error(
        &mut self,
        va: VirtAddr,
        what: What<A::Flavor>,
        error: BusError,
    ) -> AccessError<A::Fault> {
        self.stats.faults += 1;
        self.notice_map();
        let context = self.context(what.kind, what.flavor);
        match self.arch.bus_fault(&context, &what.at(va), error) {
            Some(fault) => AccessError::Fault(fault),
            None => AccessError::Bus(error),
        }
    }

    /// Notices that the memory shows something else: before an access is translated, or after it, since what lies
    /// behind it may have acted.
    #[inline(always)]
    pub(super) fn notice_map(&mut self) {
        if self.memory.generation() != self.generation {
            self.remapped();
        }
    }

    /// The memory's map has changed since it was last looked at.
    #[cold]
    #[inline(never)]
    fn remapped(&mut self) {
        self.generation = self.memory.generation();
        self.settle();
        self.filter.forget(&self.contexts);
    }
}
