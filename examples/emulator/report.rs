//! What the run comes to: tables, and checks that the numbers agree with one another.

use std::fmt::Write;
use std::ops::{AddAssign, Sub};

macro_rules! counters {
    ($($name:ident $title:literal $(#[$doc:meta])*),+ $(,)?) => {
        /// What is counted for every guest.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl Counters {
            /// The titles of its columns, in order.
            pub const TITLES: &[&str] = &[$($title),+];

            /// Its columns.
            pub fn values(&self) -> Vec<String> {
                vec![$(self.$name.to_string()),+]
            }
        }

        impl Sub for Counters {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self { $($name: self.$name - other.$name,)+ }
            }
        }

        impl AddAssign for Counters {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)+
            }
        }
    };
}

counters! {
    instructions "instructions" /** Completed. */,
    hits "TLB hits",
    misses "TLB misses",
    walks "walks" /** Of page tables, for any reason. */,
    rewalks "again" /** Walks for a right that the cached translation did not give, or after a lost race. */,
    faults "faults" /** Accesses that the MMU refused. */,
    minor "minor" /** Faults served without the store. */,
    major "major" /** Faults that read a page from the store. */,
    copies "COW" /** Of these faults, those that copied a page which both sides of a fork had. */,
    invalid "invalid" /** Faults at addresses where nothing is. */,
    protection "protection" /** Faults for want of a right. */,
    refused "refused" /** Faults for which there was no memory. */,
    clean "clean ev." /** Pages evicted that the store, or the program's file, had already. */,
    dirty "dirty ev." /** Pages evicted that had to be written. */,
    pages_in "read" /** Pages read from the store. */,
    pages_out "written" /** Pages written to it. */,
    bytes_in "bytes read",
    bytes_out "bytes written",
}

impl Counters {
    /// Where the columns of the second table begin: what became of faults, and the traffic with the store.
    pub const MEMORY: usize = 6;
}

/// Lines up rows, the first of them the titles: the first column to the left, the others to the right.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let _ =
                if column == 0 { write!(text, "{cell:<width$}") } else { write!(text, "  {cell:>width$}") };
        }
        text.push('\n');
    }
    text
}

/// One equation that the counters must satisfy, in words and numbers.
pub fn identity(text: &str, left: u64, right: &[u64]) -> (bool, String) {
    let sum: u64 = right.iter().sum();
    let terms: Vec<String> = right.iter().map(u64::to_string).collect();
    let verdict = if left == sum { "holds" } else { "DOES NOT HOLD" };
    (left == sum, format!("{text}: {left} = {}: {verdict}", terms.join(" + ")))
}

/// Where lines go; with a progress line below them on a terminal.
pub struct Screen<'s> {
    sink: &'s mut dyn FnMut(&str),
    progress: bool,
    drawn: bool,
}

impl<'s> Screen<'s> {
    /// Lines go to `sink`; the progress line, if there is to be one, to standard error.
    pub fn new(sink: &'s mut dyn FnMut(&str), progress: bool) -> Self {
        Self { sink, progress, drawn: false }
    }

    /// One line for good.
    pub fn line(&mut self, text: &str) {
        self.clear();
        (self.sink)(text);
    }

    /// Several lines with an empty one before them.
    pub fn block(&mut self, text: &str) {
        self.line("");
        text.lines().for_each(|line| self.line(line));
    }

    /// The line that is drawn over itself.
    pub fn progress(&mut self, text: &str) {
        if self.progress {
            eprint!("\r\x1b[K{text}");
            self.drawn = true;
        }
    }

    /// Takes the progress line away.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            eprint!("\r\x1b[K");
        }
    }
}
