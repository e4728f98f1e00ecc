//! What a page-table format is: geometry and the meaning of a raw entry, and nothing else.

/// What a raw entry at some level says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Not present: the walk ends in an ordinary page (translation) fault.
    Absent,
    /// An encoding that the architecture reserves.
    Reserved,
    /// The address of the next table.
    Table(u64),
    /// A page.
    Leaf {
        /// First byte of the page.
        base: u64,
        /// log2 of the page's size. More than the level's own span where several entries form one page
        /// (RISC-V Svnapot, the AArch64 contiguous hint); then `base` is aligned to it already.
        size_bits: u32,
    },
}

/// A radix page-table format: how an address is cut into indices and what an entry means.
///
/// Levels are numbered as the RISC-V manual does: the level that maps the smallest pages is 0, the root is
/// [`top_level`](Self::top_level). A format is data: two words or a table of them, `Copy`, with no access to memory.
pub trait Format: Copy {
    /// Bytes per entry: 1, 2, 4 or 8.
    fn pte_bytes(&self) -> u32;

    /// The root's level.
    fn top_level(&self) -> u32;

    /// The lowest address bit that indexes a table of `level`: log2 of what one entry there spans.
    fn shift(&self, level: u32) -> u32;

    /// How many address bits index a table of `level`.
    fn index_bits(&self, level: u32) -> u32;

    /// What `raw` says in a table of `level`.
    fn decode(&self, raw: u64, level: u32) -> Entry;

    /// What a table entry passes down to everything below it (hierarchical rights, "all accessed so far"),
    /// given what came from above. The root starts with [`initial_limits`](Self::initial_limits).
    #[inline]
    fn limits(&self, above: u64, raw: u64, level: u32) -> u64 {
        let _ = (raw, level);
        above
    }

    /// The limits that hold at the root.
    #[inline]
    fn initial_limits(&self) -> u64 {
        0
    }

    /// log2 of the bytes that a table of `level` takes.
    #[inline]
    fn table_bits(&self, level: u32) -> u32 {
        self.index_bits(level) + self.pte_bytes().trailing_zeros()
    }
}
