//! One hart's port into memory.
//!
//! An [`Mmu`] joins an architecture's control state ([`Arch`]), a [`Tlb`] and a [`PhysMemory`]. An access flows
//! through it in one direction:
//!
//! ```text
//!   load/store/fetch --> filter --hit--> RAM
//!                          | miss
//!                          v
//!                      model TLB --hit, rights suffice--> open the filter (second touch in a row) --> bus
//!                          | miss, or rights do not suffice
//!                          v
//!                        walk --> accessed/dirty bits --> TLB fill --> bus
//!                          |
//!                          v
//!                        fault
//! ```
//!
//! The filter is invisible but for its speed: counters, evictions and faults are the model's, bit for bit (see the
//! source of `filter` for why). Faults come from the walk alone: a cached translation whose rights do not suffice is
//! walked again and the walk decides, so a hit and a miss cannot disagree about the fault or its priority.
//!
//! Files: `translate` (the middle of the picture), `detour` (what is rare there), `access` (typed accesses), `bytes`
//! (runs of bytes), `look` (the side-effect-free twins), `filter`, `contexts` and `port` (both ends), `stats`.

mod access;
mod bytes;
mod contexts;
mod detour;
mod error;
mod filter;
mod look;
mod port;
mod stats;
mod translate;

pub use crate::memory::Value;
pub use error::AccessError;
pub use look::Explanation;
pub use port::Step;
pub use stats::MmuStats;
pub use translate::Translation;

use crate::arch::Arch;
use crate::memory::PhysMemory;
use crate::tlb::{Scope, SetAssociative, Side, Space, Tlb};
use contexts::Contexts;
use filter::Filter;

/// How often a walk or an atomic that lost a race is begun again before the access is given up.
const MAX_RACES: u32 = 1 << 16;

/// One hart's MMU: an architecture's control state, a TLB and a memory.
///
/// `M` is usually a shared handle (`&Bus`, `Arc<Bus>`): one memory serves any number of harts.
pub struct Mmu<A: Arch, M: PhysMemory, T: Tlb = SetAssociative> {
    filter: Filter<A::Context>,
    arch: A,
    tlb: T,
    memory: M,
    /// Of ordinary accesses under the present control state.
    contexts: Contexts<A::Context>,
    /// Whether windows are opened at all.
    filtering: bool,
    generation: u64,
    stats: MmuStats,
}

impl<A: Arch, M: PhysMemory, T: Tlb> Mmu<A, M, T> {
    /// A hart's MMU over `memory`, with an empty `tlb`.
    pub fn new(arch: A, memory: M, tlb: T) -> Self {
        let contexts = Contexts::new(&arch);
        let mut mmu = Self {
            filter: Filter::new(),
            generation: memory.generation(),
            contexts,
            arch,
            tlb,
            memory,
            filtering: true,
            stats: MmuStats::default(),
        };
        mmu.filter.enter(&contexts);
        mmu
    }

    /// Turns the filter off, or on again. What a guest sees and what is counted is the same either way.
    pub fn set_filter(&mut self, on: bool) {
        self.filtering = on;
        self.settle();
        self.filter.forget(&self.contexts);
    }

    /// The control state.
    pub fn arch(&self) -> &A {
        &self.arch
    }

    /// The memory.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// The memory, to be changed. Every shortcut into it is given up first.
    pub fn memory_mut(&mut self) -> &mut M {
        self.settle();
        self.filter.forget(&self.contexts);
        &mut self.memory
    }

    /// The TLB, its counters up to date.
    pub fn tlb(&mut self) -> &T {
        self.settle();
        &self.tlb
    }

    /// The TLB, to be changed by hand (a software-managed one by its guest's instructions).
    pub fn tlb_mut(&mut self) -> &mut T {
        self.settle();
        self.filter.empty(&self.contexts);
        &mut self.tlb
    }

    /// Where generated code finds what [`HitLayout`](crate::memory::HitLayout) describes. The address is good as long
    /// as this `Mmu` lives, also when it moves.
    pub fn hit_table(&mut self) -> *mut u8 {
        self.filter.windows.table()
    }

    /// What has been counted so far.
    pub fn stats(&mut self) -> MmuStats {
        self.settle();
        self.stats
    }

    /// Changes a control register or the privilege, and drops exactly what the architecture drops with it.
    ///
    /// # Errors
    /// The fault that the write raises; then nothing has changed.
    pub fn control(&mut self, change: A::Control) -> Result<(), AccessError<A::Fault>> {
        let mut dropped = 0;
        let tlb = &mut self.tlb;
        let (mut nothing, mut reads) = ((), 0);
        let mut port = port::Committing::new(&self.memory, &mut nothing, Space::default(), &mut reads);
        let done = self.arch.control(change, &mut port, &mut |scope| dropped += tlb.invalidate(&scope));
        done.map_err(|error| AccessError::from_walk(error, crate::addr::VirtAddr(0), 1))?;
        self.dropped(dropped);
        self.enter();
        Ok(())
    }

    /// Executes a fence instruction.
    pub fn fence(&mut self, fence: A::Fence) {
        let mut dropped = 0;
        let tlb = &mut self.tlb;
        self.arch.fence(fence, &mut |scope| dropped += tlb.invalidate(&scope));
        self.dropped(dropped);
    }

    /// Drops what `scope` covers: for whoever edits tables from outside the guest.
    pub fn invalidate(&mut self, scope: &Scope) {
        let dropped = self.tlb.invalidate(scope);
        self.dropped(dropped);
    }

    fn dropped(&mut self, entries: u64) {
        if entries > 0 {
            self.empty_filter();
        }
    }

    #[cold]
    fn empty_filter(&mut self) {
        self.settle();
        self.filter.empty(&self.contexts);
    }

    /// Takes up the contexts that the control state gives now.
    fn enter(&mut self) {
        let contexts = Contexts::new(&self.arch);
        if contexts != self.contexts {
            self.settle();
            self.contexts = contexts;
            self.filter.enter(&contexts);
        }
    }

    /// Hands the filter's counts on to whom they belong.
    fn settle(&mut self) {
        let counts = self.filter.take_counts();
        self.stats.filter_hits += counts.reads + counts.writes + counts.fetches;
        let data = counts.reads + counts.writes;
        if self.contexts.data_bare {
            self.stats.bare += data;
        } else {
            self.tlb.repeats(Side::Data, data);
        }
        if self.contexts.fetch_bare {
            self.stats.bare += counts.fetches;
        } else {
            self.tlb.repeats(Side::Instruction, counts.fetches);
        }
    }
}
