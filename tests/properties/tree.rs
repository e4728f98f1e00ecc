//! Page tables of a fixed shape: which places hold entries is known from the start, what stands there is drawn.
//!
//! ```text
//!   root of space 0 ─┬─ shared ─── (tables that both spaces use: kernel half, global pages)
//!   root of space 1 ─┼─ shared ────┘
//!                    └─ own ────── (tables of one space)
//! ```

use softmmu::addr::low_mask;
use softmmu::radix::Format;

/// How many index values are in use in every table.
const FAN: [u64; 2] = [0, 1];

/// One place for an entry.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// Where the entry stands (in both roots, for the shared root entry).
    pub places: [Option<u64>; 2],
    /// Its table's level, as [`Format`] numbers them.
    pub level: u32,
    /// The first address that it translates.
    pub va: u64,
    /// The table that it points at when it is a table entry.
    pub child: Option<u64>,
    /// Which space uses it; `None` for both.
    pub space: Option<usize>,
}

/// The tables of two address spaces.
#[derive(Clone, Debug)]
pub struct Tree {
    pub roots: [u64; 2],
    /// Every place for an entry but those next to the used ones.
    pub slots: Vec<Slot>,
    /// Where the tables end.
    pub end: u64,
}

impl Tree {
    /// Tables of `format` from `base` on. `high` or-ed to an address of the upper root index makes it canonical.
    pub fn new<F: Format>(format: &F, base: u64, high: u64) -> Self {
        let top = format.top_level();
        let mut tree = Self { roots: [0; 2], slots: Vec::new(), end: base };
        tree.roots = [tree.table(format, top), tree.table(format, top)];
        let bytes = u64::from(format.pte_bytes());
        // The lowest index is each space's own, the highest one is shared.
        let last = low_mask(format.index_bits(top));
        let shared = high | last << format.shift(top);
        let child = tree.below(format, top, shared, None);
        let places = tree.roots.map(|root| Some(root + last * bytes));
        tree.slots.push(Slot { places, level: top, va: shared, child, space: None });
        for space in 0..2 {
            let child = tree.below(format, top, 0, Some(space));
            let places = [Some(tree.roots[space]), None];
            tree.slots.push(Slot { places, level: top, va: 0, child, space: Some(space) });
        }
        tree
    }

    fn table<F: Format>(&mut self, format: &F, level: u32) -> u64 {
        let size = 1 << format.table_bits(level);
        let table = self.end.next_multiple_of(size);
        self.end = table + size;
        table
    }

    /// The table that an entry of `level` at `va` points at, with all its slots.
    fn below<F: Format>(&mut self, format: &F, level: u32, va: u64, space: Option<usize>) -> Option<u64> {
        let level = level.checked_sub(1)?;
        let table = self.table(format, level);
        for index in FAN {
            let va = va | index << format.shift(level);
            let child = self.below(format, level, va, space);
            let place = table + index * u64::from(format.pte_bytes());
            self.slots.push(Slot { places: [Some(place), None], level, va, child, space });
        }
        Some(table)
    }
}
