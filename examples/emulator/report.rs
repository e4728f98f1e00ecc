//! What the run comes to: tables, and checks that the numbers agree with one another.

use std::fmt::Write;
use std::ops::{AddAssign, Sub};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// What is counted for every guest.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)+
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
    /// Instructions completed.
    instructions,
    /// TLB lookups that found a translation.
    hits,
    /// TLB lookups that found none.
    misses,
    /// All lookups.
    lookups,
    /// Page-table walks.
    walks,
    /// Of them, those for a right that the cached translation did not give, or after a lost race.
    rewalks,
    /// Accesses that the MMU refused.
    faults,
    /// Faults served without the store: first touches.
    minor,
    /// Faults that read a page from the store.
    major,
    /// Pages copied because both sides of a fork had them.
    copies,
    /// Faults at addresses where nothing is.
    invalid,
    /// Faults for want of a right.
    protection,
    /// Pages evicted that the store (or the program's file) had already.
    clean,
    /// Pages evicted that had to be written.
    dirty,
    /// Pages read from the store.
    pages_in,
    /// Pages written to the store.
    pages_out,
    /// Bytes read from the store.
    bytes_in,
    /// Bytes written to the store.
    bytes_out,
}

/// Lines up `rows` under `header` (names with bars between): the first column to the left, the others to the right.
pub fn table(header: &str, rows: &[Vec<String>]) -> String {
    let header: Vec<String> = header.split('|').map(str::to_owned).collect();
    let rows = || [&header].into_iter().chain(rows);
    let width = |column: usize| rows().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut text = String::new();
    for row in rows() {
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
