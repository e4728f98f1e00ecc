//! What is counted.

/// Events, as a paper would print them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct VmStats {
    /// Faults resolved without the store: a page made, found in its frame, or given the marks that it lacked.
    pub minor_faults: u64,
    /// Faults that read a page back from the store.
    pub major_faults: u64,
    /// Of all resolved faults, those that had to copy a shared page.
    pub cow_breaks: u64,
    /// Faults at addresses that no region covers, and in guards.
    pub invalid_faults: u64,
    /// Faults that the region's rights do not allow.
    pub protection_faults: u64,
    /// Pages made of zeros.
    pub zero_fills: u64,
    /// Pages filled from a region's source.
    pub source_fills: u64,
    /// Pages put out without writing: the store, the source or a zero page has the same content.
    pub clean_evictions: u64,
    /// Pages put out by writing them to the store.
    pub dirty_evictions: u64,
    /// Pages read from the store.
    pub pages_read: u64,
    /// Their bytes.
    pub bytes_read: u64,
    /// Pages written to the store.
    pub pages_written: u64,
    /// Their bytes.
    pub bytes_written: u64,
    /// Page tables taken from suspended spaces.
    pub tables_reclaimed: u64,
}

/// Where every frame and slot is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Usage {
    /// Frames that the allocator had at the start.
    pub frames_total: u64,
    /// Frames that it has now.
    pub frames_free: u64,
    /// Frames that hold pages.
    pub frames_pages: u64,
    /// Frames that hold page tables.
    pub frames_tables: u64,
    /// Slots that the store can have.
    pub slots_capacity: u64,
    /// Slots in use, as the store counts them.
    pub slots_used: u64,
    /// Slots that hold a page of some space (or that the store failed to free).
    pub slots_pages: u64,
}

impl Usage {
    /// Frames that are neither free nor known to hold anything; 0, unless someone else uses the same allocator.
    #[must_use]
    pub const fn leaked_frames(&self) -> i64 {
        self.frames_total as i64 - (self.frames_free + self.frames_pages + self.frames_tables) as i64
    }

    /// Slots in use that hold nothing; 0, unless someone else uses the same store.
    #[must_use]
    pub const fn leaked_slots(&self) -> i64 {
        self.slots_used as i64 - self.slots_pages as i64
    }
}
