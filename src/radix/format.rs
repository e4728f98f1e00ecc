//! What a page-table format is: geometry and the meaning of a raw entry, and nothing else.

use crate::addr::PhysAddr;

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

bitflags::bitflags! {
    /// Rights and marks of a page in words that every format shares; what table editing speaks.
    ///
    /// A format says which combinations it can hold; what it cannot is an [`EncodeError`], never rounded.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct Perms: u16 {
        /// Loads.
        const READ = 1;
        /// Stores.
        const WRITE = 1 << 1;
        /// Instruction fetches.
        const EXECUTE = 1 << 2;
        /// Open to unprivileged code.
        const USER = 1 << 3;
        /// The same in every address space.
        const GLOBAL = 1 << 4;
        /// Has been used.
        const ACCESSED = 1 << 5;
        /// Has been stored to.
        const DIRTY = 1 << 6;
        /// Device memory: not cacheable, strongly ordered as far as the format can say it.
        const DEVICE = 1 << 7;
    }
}

/// Why an entry could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The format has no entry with just these rights.
    #[error("the format cannot express the rights {perms:?}")]
    Perms {
        /// The rights asked for.
        perms: Perms,
    },
    /// The format has no leaf at this level.
    #[error("the format has no pages at level {level}")]
    Level {
        /// The level asked for.
        level: u32,
    },
    /// The physical address is wider than the format holds, or not aligned to the page.
    #[error("the format cannot hold physical address {base:#x} at level {level}")]
    Address {
        /// The address asked for.
        base: PhysAddr,
        /// The level asked for.
        level: u32,
    },
}

/// What raw entries are compared with; see [`Encode::usual_leaf`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeafTest {
    /// The bits that tell.
    pub mask: u64,
    /// How they read; zero outside `mask`.
    pub value: u64,
    /// The bits that say where the page lies: [`Encode::perms`] does not look at them, and
    /// [`Encode::with_perms`] neither looks at them nor changes them.
    pub address: u64,
}

/// A format whose entries can also be written: what table editing needs on top of walking.
pub trait Encode: Format {
    /// Whether the mode can translate `va` at all (canonical, in range).
    fn translates(&self, va: u64) -> bool;

    /// The entry that maps nothing: what a fresh table of `level` is filled with, and what unmapping leaves behind.
    #[inline]
    fn absent(&self, level: u32) -> u64 {
        let _ = level;
        0
    }

    /// Which of [`ACCESSED`](Perms::ACCESSED) and [`DIRTY`](Perms::DIRTY) a leaf can hold.
    #[inline]
    fn marks(&self) -> Perms {
        Perms::ACCESSED | Perms::DIRTY
    }

    /// The entry that points at the table at `base` from a table of `level`, restricting nothing below it.
    ///
    /// # Errors
    /// [`EncodeError::Address`].
    fn encode_table(&self, base: PhysAddr, level: u32) -> Result<u64, EncodeError>;

    /// The leaf entry for the page at `base` in a table of `level`.
    ///
    /// # Errors
    /// [`EncodeError`].
    fn encode_leaf(&self, base: PhysAddr, level: u32, perms: Perms) -> Result<u64, EncodeError>;

    /// The leaf `raw` with other rights, everything else (address, memory type, software bits) as it was.
    ///
    /// # Errors
    /// [`EncodeError::Perms`].
    fn with_perms(&self, raw: u64, level: u32, perms: Perms) -> Result<u64, EncodeError>;

    /// The rights and marks that a leaf entry holds by itself.
    fn perms(&self, raw: u64, level: u32) -> Perms;

    /// A test that the usual leaves of `level` pass, and nothing but leaves of just the level's span: what reads `value`
    /// under `mask` is one. Not passing it means nothing. Where pages go in bulk, it spares a look at each.
    #[inline]
    fn usual_leaf(&self, level: u32) -> Option<LeafTest> {
        let _ = level;
        None
    }

    /// The leaf of level `to` for the page at `base` that says everything else as the leaf `raw` of `level` does: how
    /// a page is split, and how one of several entries that form a page becomes a page by itself. The body given here
    /// carries over what [`Perms`] can say; a format with more memory types or software bits carries those too.
    ///
    /// # Errors
    /// [`EncodeError::Level`] when `to` has no pages; [`EncodeError::Address`].
    fn reshape(&self, raw: u64, level: u32, base: PhysAddr, to: u32) -> Result<u64, EncodeError> {
        self.encode_leaf(base, to, self.perms(raw, level))
    }
}
