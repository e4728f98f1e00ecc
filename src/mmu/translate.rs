//! Model TLB, walk, fill: what happens when the filter does not answer.

use super::port::Committing;
use super::{AccessError, MAX_RACES, Mmu};
use crate::access::{Access, AccessKind};
use crate::addr::{PhysAddr, VirtAddr, low_mask};
use crate::arch::{Arch, Lookup, WalkError};
use crate::memory::{BusError, HostAccess, PhysMemory, Through};
use crate::tlb::{Key, Line, Side, Space, Tlb, TlbEntry};

/// log2 of the span of a filter window: smaller pages are served by the model alone.
const WINDOW_BITS: u8 = 12;

/// A translated access, or the part of it that lies in one page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Translation {
    /// Where the first byte lies.
    pub pa: PhysAddr,
    /// How many bytes from there on lie in the same page, at most as many as were asked for.
    pub len: u64,
    /// The translation that was used.
    pub entry: TlbEntry,
}

/// Where an access, or the part of it that lies in one page, has its bytes.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) pa: PhysAddr,
    /// How many bytes from there on lie in the same page, at most as many as were asked for.
    pub(super) len: u64,
}

fn through(kind: AccessKind) -> Through {
    match kind {
        AccessKind::Read => Through::Read,
        AccessKind::Write | AccessKind::ReadWrite => Through::Write,
        AccessKind::Execute => Through::Execute,
    }
}

fn side(kind: AccessKind) -> Side {
    if kind == AccessKind::Execute { Side::Instruction } else { Side::Data }
}

impl<A: Arch, M: PhysMemory, T: Tlb> Mmu<A, M, T> {
    /// Translates an access as if it were made, with all its effects on TLB and tables, and moves no data.
    ///
    /// An access that crosses into another page is translated up to the boundary: [`Translation::len`] says how far.
    ///
    /// # Errors
    /// As for the access itself.
    pub fn translate(&mut self, access: &Access<A::Flavor>) -> Result<Translation, AccessError<A::Fault>> {
        let context = self.context(access.kind, access.flavor);
        let mut entry = None;
        let place = self.find(&context, access, |used| entry = Some(*used))?;
        match entry {
            Some(entry) => Ok(Translation { pa: place.pa, len: place.len, entry }),
            None => Err(AccessError::Contended { va: access.va, tries: 0 }),
        }
    }

    /// The context of an access: at hand for an ordinary one, asked for otherwise.
    #[inline]
    pub(super) fn context(&self, kind: AccessKind, flavor: A::Flavor) -> A::Context {
        if flavor == A::Flavor::default() { *self.contexts.of(kind) } else { self.arch.context(kind, flavor) }
    }

    /// Translates the part of `access` that its first page, at `first`, does not hold, and makes sure that memory would
    /// take both parts. The lower part is refused, if at all, before the upper one is looked at; and each with its own
    /// address.
    #[cold]
    pub(super) fn rest(
        &mut self,
        context: &A::Context,
        access: &Access<A::Flavor>,
        first: &Place,
    ) -> Result<Place, AccessError<A::Fault>> {
        self.backed(context, &Access { len: first.len as u32, ..*access }, first.pa)?;
        let va = VirtAddr(access.va.0.wrapping_add(first.len));
        let rest = Access { va, len: access.len.saturating_sub(first.len as u32), ..*access };
        let second = self.find(&self.arch.upper_part(context), &rest, |_| ())?;
        self.backed(context, &rest, second.pa)?;
        Ok(second)
    }

    /// Whether memory would take this part of an access.
    #[cold]
    fn backed(
        &mut self,
        context: &A::Context,
        part: &Access<A::Flavor>,
        pa: PhysAddr,
    ) -> Result<(), AccessError<A::Fault>> {
        let access = if part.kind.writes() { HostAccess::Write } else { HostAccess::Read };
        let asked = self.memory.check_bytes(pa, u64::from(part.len), access);
        asked.map_err(|error| self.bus_error(context, part, error))
    }

    /// The way from model TLB to translation; `used` is shown the entry. Inlined into each slow path, so that nothing
    /// is copied that the path does not use.
    #[inline(always)]
    pub(super) fn find(
        &mut self,
        context: &A::Context,
        access: &Access<A::Flavor>,
        used: impl FnOnce(&TlbEntry),
    ) -> Result<Place, AccessError<A::Fault>> {
        self.notice_map();
        let key = match self.arch.lookup(context, access) {
            Ok(Lookup::Cached(key)) => key,
            Ok(Lookup::Bare) => {
                let entry = self.walk_bare(context, access)?;
                used(&entry);
                let place = self.reach(context, access, access.va.0, &entry)?;
                if self.is_bare(access.kind) {
                    self.open(context, access, place.pa, entry.size_bits, None);
                }
                return Ok(place);
            }
            Err(fault) => return Err(self.faulted(AccessError::Fault(fault))),
        };
        let mut rewalk = false;
        if let Some(hit) = self.tlb.lookup(&key, side(access.kind)) {
            if !hit.repeat {
                self.touched(hit.line);
            }
            self.rippled(hit.ripple);
            if self.arch.permits(context, access, &hit.entry) {
                used(&hit.entry);
                let place = self.reach(context, access, key.va, &hit.entry)?;
                // A window is worth its opening where the line is touched twice in a row.
                if hit.repeat && hit.line.is_some() {
                    self.open(context, access, place.pa, hit.entry.size_bits, hit.line);
                }
                return Ok(place);
            }
            rewalk = true;
        }
        self.miss(context, access, &key, rewalk, used)
    }

    /// Nothing cached serves: walks, and caches what the walk yields.
    ///
    /// No window is opened: where another cached translation answered and did not give the right, it may go on
    /// answering before the new one. The next lookup will tell.
    #[inline(never)]
    fn miss(
        &mut self,
        context: &A::Context,
        access: &Access<A::Flavor>,
        key: &Key,
        rewalk: bool,
        used: impl FnOnce(&TlbEntry),
    ) -> Result<Place, AccessError<A::Fault>> {
        self.stats.walks += 1;
        self.stats.rewalks += u64::from(rewalk);
        let mut walked = self.walk(context, access, key.space, true);
        if let Err(error) = walked {
            walked = self.walk_again(context, access, key.space, error);
        }
        let entry = match &walked {
            Ok(entry) => entry,
            Err((error, _)) => return Err(self.walk_failed(access, *error)),
        };
        let side = side(access.kind);
        let inserted = if rewalk { self.tlb.insert(*entry, side) } else { self.tlb.refill(*entry, side, key) };
        self.touched(inserted.touched);
        self.rippled(inserted.ripple);
        used(entry);
        self.reach(context, access, key.va, entry)
    }

    /// Translation is off: the walk yields the identity, and no TLB sees it.
    #[inline(never)]
    fn walk_bare(
        &mut self,
        context: &A::Context,
        access: &Access<A::Flavor>,
    ) -> Result<TlbEntry, AccessError<A::Fault>> {
        self.stats.bare += 1;
        self.walk(context, access, Space::default(), true)
            .or_else(|error| self.walk_again(context, access, Space::default(), error))
            .map_err(|(error, _)| self.walk_failed(access, error))
    }

    /// From a translation to the bytes: how far it reaches, and whether they may be reached.
    #[inline(always)]
    fn reach(
        &mut self,
        context: &A::Context,
        access: &Access<A::Flavor>,
        va: u64,
        entry: &TlbEntry,
    ) -> Result<Place, AccessError<A::Fault>> {
        let pa = PhysAddr(entry.address(va));
        // Bytes after the first one: a page of all 2^64 bytes would not fit otherwise.
        let after = !va & low_mask(u32::from(entry.size_bits));
        let len = u64::from(access.len).saturating_sub(1).min(after) + 1;
        match self.arch.check_physical(context, access, pa, len) {
            Ok(()) => Ok(Place { pa, len }),
            Err(fault) => Err(self.faulted(AccessError::Fault(fault))),
        }
    }

    #[cold]
    fn faulted(&mut self, error: AccessError<A::Fault>) -> AccessError<A::Fault> {
        self.stats.faults += 1;
        error
    }

    /// Notices that the memory shows something else: before an access is translated, and after it, since what lies
    /// behind it may have acted.
    #[inline(always)]
    pub(super) fn notice_map(&mut self) {
        if self.memory.generation() != self.generation {
            self.remapped();
        }
    }

    /// The memory's map has changed since it was last looked at.
    #[cold]
    fn remapped(&mut self) {
        self.generation = self.memory.generation();
        self.settle();
        self.filter.forget(&self.contexts);
    }

    /// The model changed on `line`.
    #[inline]
    fn touched(&mut self, line: Option<Line>) {
        if let Some(line) = line {
            self.filter.retire(line);
        }
    }

    /// The model changed on lines that it does not name.
    #[inline]
    fn rippled(&mut self, ripple: bool) {
        if ripple {
            self.empty_filter();
        }
    }

    /// Whether ordinary accesses of `kind` are untranslated now.
    #[inline]
    fn is_bare(&self, kind: AccessKind) -> bool {
        if kind == AccessKind::Execute { self.contexts.fetch_bare } else { self.contexts.data_bare }
    }

    /// Lets the filter answer for the page from now on, if everything about an access there would be the same.
    #[inline(never)]
    fn open(
        &mut self,
        context: &A::Context,
        access: &Access<A::Flavor>,
        pa: PhysAddr,
        size_bits: u8,
        line: Option<Line>,
    ) {
        let through = through(access.kind);
        if !self.filtering || access.flavor != A::Flavor::default() || size_bits < WINDOW_BITS {
            return;
        }
        let host = if through == Through::Write { HostAccess::Write } else { HostAccess::Read };
        let page = pa.align_down(u32::from(WINDOW_BITS));
        let Some(host) = self.memory.host_page(page, host) else { return };
        if self.arch.check_physical(context, access, page, 1 << WINDOW_BITS).is_err() {
            return;
        }
        self.filter.open(access.va.0, through, &host, line);
        if access.kind == AccessKind::ReadWrite {
            self.filter.open(access.va.0, Through::Read, &host, line);
        }
    }

    /// Walks once; an error comes with whether a structure cache had a part in it.
    #[inline(always)]
    fn walk(
        &mut self,
        context: &A::Context,
        access: &Access<A::Flavor>,
        space: Space,
        shortcuts: bool,
    ) -> Result<TlbEntry, (WalkError<A::Fault>, bool)> {
        let mut port = Committing { shortcuts, ..Committing::new(&self.memory, &mut self.tlb, space) };
        let walked = self.arch.walk(context, access, &mut port);
        let shortened = port.shortened;
        self.stats.pte_reads += port.reads;
        self.tlb.walk_ended(walked.is_ok());
        walked.map_err(|error| (error, shortened))
    }

    /// After a walk that ended in `error`: begins again as long as another hart was faster, and once without structure
    /// caches where they led to a fault. What is cached of upper tables may be out of date, and only memory refuses:
    /// a guest that widened rights there need not have fenced (x86 drops such entries with the fault itself, SDM
    /// Vol. 3A 4.10.4.1; elsewhere the fault would be allowed, and so is none).
    #[cold]
    #[inline(never)]
    fn walk_again(
        &mut self,
        context: &A::Context,
        access: &Access<A::Flavor>,
        space: Space,
        mut error: (WalkError<A::Fault>, bool),
    ) -> Result<TlbEntry, (WalkError<A::Fault>, bool)> {
        let mut shortcuts = true;
        for _ in 1..MAX_RACES {
            match error {
                (WalkError::Raced, _) => {
                    self.stats.races += 1;
                    self.tlb.walk_raced();
                }
                (_, true) => shortcuts = false,
                (_, false) => break,
            }
            match self.walk(context, access, space, shortcuts) {
                Ok(entry) => return Ok(entry),
                Err(other) => error = other,
            }
        }
        Err(error)
    }

    /// What a walk that failed for good is to the access.
    #[cold]
    fn walk_failed(
        &mut self,
        access: &Access<A::Flavor>,
        error: WalkError<A::Fault>,
    ) -> AccessError<A::Fault> {
        self.faulted(AccessError::from_walk(error, access.va, MAX_RACES))
    }

    /// A bus error on the translated access, as the architecture reports it.
    pub(super) fn bus_error(
        &mut self,
        context: &A::Context,
        access: &Access<A::Flavor>,
        error: BusError,
    ) -> AccessError<A::Fault> {
        self.stats.faults += 1;
        match self.arch.bus_fault(context, access, error) {
            Some(fault) => AccessError::Fault(fault),
            None => AccessError::Bus(error),
        }
    }
}
