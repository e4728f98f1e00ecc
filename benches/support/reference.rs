//! The yardstick: the least that a software MMU can do. A direct-mapped table of 16-byte slots, a tag and a host
//! address each, with no rights, no counters, no context and no model behind it.
#![allow(unsafe_code)]

const SLOTS: usize = 512;

/// A direct-mapped table in front of a plain block of memory.
pub struct Reference {
    slots: Box<[(u64, usize); SLOTS]>,
    ram: Box<[u64]>,
    mapping: Vec<(u64, u64)>,
}

impl Reference {
    /// Memory of `bytes` bytes, with `mapping` of virtual to physical page addresses.
    pub fn new(bytes: usize, mapping: Vec<(u64, u64)>) -> Self {
        let ram = vec![0u64; bytes / 8].into_boxed_slice();
        Self { slots: Box::new([(1, 0); SLOTS]), ram, mapping }
    }

    /// Loads a `u64`.
    #[inline(always)]
    pub fn load(&mut self, va: u64) -> Option<u64> {
        let (tag, addend) = self.slots[(va >> 12) as usize & (SLOTS - 1)];
        if tag == va & !0xff8 {
            // SAFETY: a tag equal to `va`'s page, alignment bits clear, stands beside that page's host address.
            return Some(unsafe { *(addend.wrapping_add(va as usize) as *const u64) });
        }
        self.fill(va)
    }

    /// Stores a `u64`.
    #[inline(always)]
    pub fn store(&mut self, va: u64, value: u64) -> bool {
        let (tag, addend) = self.slots[(va >> 12) as usize & (SLOTS - 1)];
        if tag == va & !0xff8 {
            // SAFETY: as in `load`; `ram` is this value's own.
            unsafe { *(addend.wrapping_add(va as usize) as *mut u64) = value };
            return true;
        }
        self.fill(va).is_some() && self.store_filled(va, value)
    }

    #[cold]
    #[inline(never)]
    fn store_filled(&mut self, va: u64, value: u64) -> bool {
        let (tag, _) = self.slots[(va >> 12) as usize & (SLOTS - 1)];
        tag == va & !0xff8 && self.store(va, value)
    }

    #[cold]
    #[inline(never)]
    fn fill(&mut self, va: u64) -> Option<u64> {
        let page = va & !0xfff;
        let &(_, pa) = self.mapping.iter().find(|(from, _)| *from == page)?;
        let host = (self.ram.as_mut_ptr() as usize).wrapping_add(pa as usize);
        self.ram.get((pa as usize + 0xfff) / 8)?;
        self.slots[(va >> 12) as usize & (SLOTS - 1)] = (page, host.wrapping_sub(page as usize));
        if va & 7 != 0 { None } else { self.load(va) }
    }
}
