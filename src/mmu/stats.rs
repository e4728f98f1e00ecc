//! What an `Mmu` counts by itself. Hits and misses are the TLB's to count.

/// Counters of one hart since it was made. Deterministic: the same accesses give the same numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct MmuStats {
    /// Accesses that the TLB's counters hold as hits and that the filter answered; no part of the model.
    pub filter_hits: u64,
    /// Accesses made with translation off, which no TLB sees.
    pub bare: u64,
    /// Walks begun on behalf of accesses.
    pub walks: u64,
    /// Table entries that those walks read.
    pub pte_reads: u64,
    /// Walks begun because a cached translation did not give the right (first stores to clean pages included).
    pub rewalks: u64,
    /// Walks begun again after losing a race for an accessed or dirty bit.
    pub races: u64,
    /// Accesses that ended in a fault.
    pub faults: u64,
}
