//! One stage's walk with its marks: find the leaf, judge it, set the accessed and dirty bits that are due.
//!
//! ```text
//! walk (reads only) -> leaf -> judge -> all marks there? -> done
//!                        |       |             | no
//!                        v       v             v
//!                      fault   fault    walk again, marking: each entry by compare-and-swap, root first,
//!                                       the leaf only if it is still the one that was judged
//! ```
//!
//! Most walks find every mark set and never write. The radix engine does both passes; the second has a source that
//! marks as it reads. Accessed and dirty: SDM Vol. 3A 4.8, APM Vol. 2 5.4.2.

use super::config::AccessedOnFault;
use super::fault::Fault;
use crate::arch::{PteMemory, WalkError};
use crate::radix::{Entry, Format, Leaf, PteRef, PteSource, Stage, Stop, Subtable, walk};

/// A format whose entries are marked when they are used.
pub(super) trait Marked: Format + Copy {
    /// The bit that an entry of `level` gets when a translation uses it; 0 where it gets none. The same bit of the
    /// limits says whether all tables above have theirs.
    fn accessed(&self, level: u32) -> u64;
    /// The bit that a leaf gets when it is written through; 0 where it gets none.
    fn dirty(&self) -> u64;
}

/// Where a walk finds its tables: in physical memory, or behind a second stage.
pub(super) trait Tables: PteSource<Error = WalkError<Fault>> {
    /// Replaces the entry `at`, which reads `old`, by `new`; [`WalkError::Raced`] if it no longer reads so.
    fn update(&mut self, at: PteRef, old: u64, new: u64) -> Result<(), WalkError<Fault>>;
}

/// Tables in physical memory.
pub(super) struct Direct<'a, P>(pub(super) &'a mut P);

impl<P: PteMemory> PteSource for Direct<'_, P> {
    type Error = WalkError<Fault>;

    #[inline(always)]
    fn read(&mut self, at: PteRef) -> Result<u64, Self::Error> {
        self.0.read(at).map_err(WalkError::Bus)
    }
    #[inline]
    fn resume(&mut self, stage: Stage, va: u64) -> Option<Subtable> {
        self.0.resume(stage, va)
    }

    fn recall(&mut self, stage: Stage, va: u64) -> Option<Leaf> {
        self.0.recall(stage, va)
    }

    fn reached(&mut self, stage: Stage, va: u64, leaf: &Leaf) {
        self.0.reached(stage, va, leaf);
    }
    #[inline]
    fn descended(&mut self, stage: Stage, va: u64, table: Subtable) {
        self.0.descended(stage, va, table);
    }
}

impl<P: PteMemory> Tables for Direct<'_, P> {
    #[inline]
    fn update(&mut self, at: PteRef, old: u64, new: u64) -> Result<(), WalkError<Fault>> {
        match self.0.update(at, old, new) {
            Ok(true) => Ok(()),
            Ok(false) => Err(WalkError::Raced),
            Err(error) => Err(WalkError::Bus(error)),
        }
    }
}

/// What a stage makes of the ends of its walks.
pub(super) trait Judge: Copy {
    /// What the stage keeps of a leaf.
    type Granted: Copy;
    /// The walk met an entry that is not present, under tables that combine to `limits`.
    fn absent(&self, limits: u64) -> Fault;
    /// The walk met a reserved encoding.
    fn reserved(&self) -> Fault;
    /// The walk met a leaf: what does it grant, if the access is allowed?
    fn grants(&self, leaf: &Leaf) -> Option<Self::Granted>;
    /// The fault of an access that the leaf does not allow.
    fn refusal(&self, leaf: &Leaf) -> Fault;
}

/// One stage's walk to be made.
#[derive(Clone, Copy)]
pub(super) struct Job<F> {
    pub(super) format: F,
    pub(super) stage: Stage,
    pub(super) root: u64,
    pub(super) va: u64,
    /// Whether a permitted access sets the dirty bit.
    pub(super) writes: bool,
    pub(super) on_fault: AccessedOnFault,
}

impl<F: Marked> Job<F> {
    /// Finds the leaf, has it judged and marks what is due. The leaf is returned as it stands in memory then, with
    /// what it grants then.
    #[inline]
    pub(super) fn run<T: Tables, J: Judge>(
        self,
        tables: &mut T,
        judge: J,
    ) -> Result<(Leaf, J::Granted), WalkError<Fault>> {
        match walk(&self.format, self.stage, self.root, self.va, tables) {
            Ok(leaf) => match judge.grants(&leaf) {
                Some(granted) if self.due(&leaf) == 0 => Ok((leaf, granted)),
                _ => {
                    let found = leaf;
                    self.settle(tables, judge, found)
                }
            },
            Err(stop) => Err(self.stopped(tables, judge, stop)),
        }
    }

    /// Where the leaf as it stands does not do: refuses the access, or marks what is due.
    #[cold]
    #[inline(never)]
    fn settle<T: Tables, J: Judge>(
        self,
        tables: &mut T,
        judge: J,
        leaf: Leaf,
    ) -> Result<(Leaf, J::Granted), WalkError<Fault>> {
        if judge.grants(&leaf).is_none() {
            return Err(self.faulted(tables, judge.refusal(&leaf)));
        }
        let due = self.due(&leaf);
        let leaf = self.walk_marking(tables, Some((leaf, due)))?.ok_or(WalkError::Raced)?;
        match judge.grants(&leaf) {
            Some(granted) => Ok((leaf, granted)),
            None => Err(WalkError::Fault(judge.refusal(&leaf))),
        }
    }

    /// The walk met no leaf.
    #[cold]
    #[inline(never)]
    fn stopped<T: Tables, J: Judge>(
        self,
        tables: &mut T,
        judge: J,
        stop: Stop<WalkError<Fault>>,
    ) -> WalkError<Fault> {
        match stop {
            Stop::Absent { limits, .. } => self.faulted(tables, judge.absent(limits)),
            Stop::Reserved { .. } => self.faulted(tables, judge.reserved()),
            Stop::Source { error, .. } => error,
        }
    }

    /// The access faults, after the marks that this processor leaves then.
    fn faulted<T: Tables>(&self, tables: &mut T, fault: Fault) -> WalkError<Fault> {
        if self.on_fault == AccessedOnFault::Tables {
            if let Err(error) = self.walk_marking(tables, None) {
                return error;
            }
        }
        WalkError::Fault(fault)
    }

    /// The marks that the leaf is to get, if it or a table above it lacks one; else 0.
    #[inline]
    fn due(&self, leaf: &Leaf) -> u64 {
        let accessed = self.format.accessed(leaf.at.level);
        let due = if self.writes { accessed | self.format.dirty() } else { accessed };
        if leaf.raw & due == due && leaf.limits & accessed == accessed { 0 } else { due }
    }

    /// The second pass; `None` where it met no leaf.
    #[cold]
    fn walk_marking<T: Tables>(
        &self,
        tables: &mut T,
        leaf: Option<(Leaf, u64)>,
    ) -> Result<Option<Leaf>, WalkError<Fault>> {
        let mut marking = Marking { format: &self.format, tables, leaf };
        match walk(&self.format, self.stage, self.root, self.va, &mut marking) {
            Ok(leaf) => Ok(Some(leaf)),
            Err(Stop::Source { error, .. }) => Err(error),
            Err(Stop::Absent { .. } | Stop::Reserved { .. }) => Ok(None),
        }
    }
}

/// Tables that are marked as they are read.
struct Marking<'a, F, T> {
    format: &'a F,
    tables: &'a mut T,
    /// The leaf that was judged, and the bits it is to get. Any other leaf means that the tables have changed since.
    leaf: Option<(Leaf, u64)>,
}

impl<F: Marked, T: Tables> PteSource for Marking<'_, F, T> {
    type Error = WalkError<Fault>;

    fn read(&mut self, at: PteRef) -> Result<u64, Self::Error> {
        let raw = self.tables.read(at)?;
        let due = match (self.format.decode(raw, at.level), &self.leaf) {
            (Entry::Table(_), _) => self.format.accessed(at.level),
            (Entry::Leaf { .. }, Some((leaf, due))) if leaf.at == at && leaf.raw == raw => *due,
            (Entry::Leaf { .. }, Some(_)) => return Err(WalkError::Raced),
            _ => 0,
        };
        if raw & due != due {
            self.tables.update(at, raw, raw | due)?;
        }
        Ok(raw | due)
    }

    // No resuming: the entries above a cached table want their marks too.

    fn descended(&mut self, stage: Stage, va: u64, table: Subtable) {
        self.tables.descended(stage, va, table);
    }
}
