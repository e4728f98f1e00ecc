//! Frames for tables: host pages on a list, for every crate alike.

/// Host pages, zeroed, and those that came back.
pub struct Arena {
    free: Vec<*mut u8>,
}

/// Enough for the tables of 1 GiB in 4 KiB pages.
pub const FRAMES: usize = 1200;

impl Arena {
    pub fn new() -> Self {
        let layout = std::alloc::Layout::from_size_align(FRAMES * 4096, 4096).expect("a layout");
        // SAFETY: the size is not zero. The memory is never given back: the process ends soon.
        let start = unsafe { std::alloc::alloc_zeroed(layout) };
        assert!(!start.is_null());
        for n in 0..FRAMES {
            // SAFETY: within the allocation. The host finds the memory now, not while edits are timed.
            unsafe { start.add(n * 4096).write_volatile(0) };
        }
        Self { free: (0..FRAMES).rev().map(|n| start.wrapping_add(n * 4096)).collect() }
    }

    /// Frames that are handed out in no order, as those of a machine that has run for long.
    pub fn shuffled() -> Self {
        let mut arena = Self::new();
        shuffle(&mut arena.free);
        arena
    }

    /// How many frames are free.
    pub fn left(&self) -> usize {
        self.free.len()
    }

    pub fn take(&mut self) -> Option<*mut u8> {
        self.free.pop()
    }

    pub fn give(&mut self, frame: *mut u8) {
        self.free.push(frame);
    }
}

/// Puts a list out of order, the same way on every run.
pub fn shuffle<T>(list: &mut [T]) {
    let mut random = 1u64;
    for n in (1..list.len()).rev() {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        list.swap(n, (random >> 33) as usize % (n + 1));
    }
}
