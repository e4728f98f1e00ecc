//! Random numbers that proptest can shrink: a list, read once from front to back.

/// What is left of the list. Past its end every number is zero.
pub struct Tape<'a>(&'a [u64]);

impl<'a> Tape<'a> {
    pub fn new(numbers: &'a [u64]) -> Self {
        Self(numbers)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True `chances` times in a hundred.
    pub fn chance(&mut self, chances: u64) -> bool {
        // The numbers that proptest shrinks to, the small ones, mean no.
        self.below(100) >= 100 - chances
    }

    /// One of the list.
    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }
}
