//! A case's memory: one run of RAM, of which only the words that hold something take room.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use softmmu::access::Width;
use softmmu::addr::PhysAddr;
use softmmu::memory::{BusError, HostAccess, PhysMemory};

/// Words are found by a multiplicative hash of their address: nobody attacks a test.
#[derive(Default)]
pub struct WordHasher(u64);

impl Hasher for WordHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
}

type Words = HashMap<u64, u64, BuildHasherDefault<WordHasher>>;

/// RAM `base..base + size`, with nothing outside.
///
/// A store by an access is checked and then *dropped*: the recorded cases say nothing of the values stored, and what
/// is left in memory is exactly what walks and pokes put there.
///
/// It remembers where accesses went, table entries aside: see [`take_log`](Self::take_log).
pub struct SparseMemory {
    base: u64,
    size: u64,
    words: RefCell<Words>,
    log: RefCell<Vec<u64>>,
}

impl SparseMemory {
    pub fn new((base, size): (u64, u64), words: &[(u64, u64)]) -> Self {
        Self { base, size, words: RefCell::new(words.iter().copied().collect()), log: RefCell::default() }
    }

    /// Whether all of `pa..pa + len` is RAM.
    pub fn backs(&self, pa: u64, len: u64) -> bool {
        let offset = pa.wrapping_sub(self.base);
        pa >= self.base && offset <= self.size && len <= self.size - offset
    }

    /// Sets the word at `pa` (8-aligned) behind everybody's back.
    pub fn poke(&self, pa: u64, value: u64) {
        self.words.borrow_mut().insert(pa, value);
    }

    /// The word at `pa` (8-aligned).
    pub fn word(&self, pa: u64) -> u64 {
        self.words.borrow().get(&pa).copied().unwrap_or(0)
    }

    /// Every word that has ever been set.
    pub fn words(&self) -> Vec<(u64, u64)> {
        self.words.borrow().iter().map(|(&pa, &word)| (pa, word)).collect()
    }

    /// The places that loads and stores went to since the last call, each named once, in order.
    pub fn take_log(&self) -> Vec<u64> {
        self.log.take()
    }

    fn note(&self, pa: PhysAddr) {
        let mut log = self.log.borrow_mut();
        if !log.contains(&pa.0) {
            log.push(pa.0);
        }
    }

    /// The value at `pa`, which is RAM.
    fn value(&self, pa: PhysAddr, width: Width) -> u64 {
        let (first, shift) = (pa.0 & !7, (pa.0 & 7) * 8);
        let low = self.word(first) >> shift;
        let high = if shift == 0 { 0 } else { self.word(first.wrapping_add(8)) << (64 - shift) };
        (low | high) & width.mask()
    }

    fn check(&self, pa: PhysAddr, len: u64) -> Result<(), BusError> {
        if self.backs(pa.0, len) { Ok(()) } else { Err(BusError::Unmapped { pa }) }
    }
}

impl PhysMemory for SparseMemory {
    fn read(&self, pa: PhysAddr, width: Width) -> Result<u64, BusError> {
        self.check(pa, width.bytes())?;
        self.note(pa);
        Ok(self.value(pa, width))
    }

    fn write(&self, pa: PhysAddr, width: Width, _value: u64) -> Result<(), BusError> {
        self.check(pa, width.bytes())?;
        self.note(pa);
        Ok(())
    }

    fn compare_exchange(
        &self,
        pa: PhysAddr,
        width: Width,
        current: u64,
        new: u64,
    ) -> Result<Result<(), u64>, BusError> {
        self.check(pa, width.bytes())?;
        let found = self.value(pa, width);
        assert_eq!(pa.0 % width.bytes(), 0, "compare_exchange at {pa:?}, misaligned");
        if found != current & width.mask() {
            return Ok(Err(found));
        }
        let shift = (pa.0 & 7) * 8;
        let word = self.word(pa.0 & !7);
        self.poke(pa.0 & !7, word & !(width.mask() << shift) | (new & width.mask()) << shift);
        Ok(Ok(()))
    }

    fn read_bytes(&self, pa: PhysAddr, out: &mut [u8]) -> Result<(), BusError> {
        self.check(pa, out.len() as u64)?;
        self.note(pa);
        for (at, byte) in (pa.0..).zip(out) {
            *byte = (self.word(at & !7) >> ((at & 7) * 8)) as u8;
        }
        Ok(())
    }

    fn write_bytes(&self, pa: PhysAddr, data: &[u8]) -> Result<(), BusError> {
        self.check(pa, data.len() as u64)?;
        self.note(pa);
        Ok(())
    }

    fn read_pte(&self, pa: PhysAddr, width: Width) -> Result<u64, BusError> {
        assert_eq!(pa.0 % width.bytes(), 0, "a table entry at {pa:?}, misaligned");
        self.check(pa, width.bytes())?;
        Ok(self.value(pa, width))
    }

    fn check_bytes(&self, pa: PhysAddr, len: u64, _access: HostAccess) -> Result<(), BusError> {
        self.check(pa, len)
    }
}
