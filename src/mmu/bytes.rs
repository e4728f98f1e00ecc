//! Runs of bytes, across as many pages as they take.

use super::detour::What;
use super::{AccessError, Mmu, Translation};
use crate::access::{Access, AccessKind};
use crate::addr::VirtAddr;
use crate::arch::Arch;
use crate::memory::{HostAccess, PhysMemory};
use crate::tlb::Tlb;
use alloc::vec::Vec;

/// Bytes translated at a time at most, which bounds the length that an access can state.
const CHUNK: usize = 1 << 30;

type Outcome<V, A> = Result<V, AccessError<<A as Arch>::Fault>>;

impl<A: Arch, M: PhysMemory, T: Tlb> Mmu<A, M, T> {
    /// Loads `out.len()` bytes from `va` on, page by page, as byte loads would. Devices refuse.
    ///
    /// # Errors
    /// The fault of the first page that has one, or a bus error; `out` is then unspecified.
    pub fn read_bytes(&mut self, va: VirtAddr, out: &mut [u8]) -> Outcome<(), A> {
        let mut done = 0;
        while done < out.len() {
            done += self.read_run(va.0.wrapping_add(done as u64), AccessKind::Read, &mut out[done..])?;
        }
        Ok(())
    }

    /// Stores `data` from `va` on, as byte stores would. Devices refuse.
    ///
    /// # Errors
    /// The fault of the first page that has one, or a bus error. Every page is translated (and marked), and the memory
    /// behind it asked, before the first byte moves, so nothing was stored.
    pub fn write_bytes(&mut self, va: VirtAddr, data: &[u8]) -> Outcome<(), A> {
        let mut done = 0;
        let mut places = Vec::new();
        while done < data.len() {
            let (access, place) =
                self.place_run(va.0.wrapping_add(done as u64), data.len() - done, AccessKind::Write)?;
            if let Err(error) = self.memory.check_bytes(place.pa, place.len, HostAccess::Write) {
                return Err(self.bus_error(access.va, What::of(&access), error));
            }
            done += place.len as usize;
            places.push((access, place.pa, place.len));
        }
        // In order: two of the pages may be one in memory.
        let mut rest = data;
        for (access, pa, len) in places {
            let (chunk, after) = rest.split_at(len as usize);
            if let Err(error) = self.memory.write_bytes(pa, chunk) {
                return Err(self.bus_error(access.va, What::of(&access), error));
            }
            rest = after;
        }
        Ok(())
    }

    /// Fetches instruction bytes from `va` to the end of its page, or until `out` is full, in one translation;
    /// returns how many. A decoder calls it once a page.
    ///
    /// # Errors
    /// The fault that a fetch at `va` raises, or a bus error.
    pub fn fetch_page(&mut self, va: VirtAddr, out: &mut [u8]) -> Outcome<usize, A> {
        self.read_run(va.0, AccessKind::Execute, out)
    }

    fn read_run(&mut self, va: u64, kind: AccessKind, out: &mut [u8]) -> Outcome<usize, A> {
        if out.is_empty() {
            return Ok(0);
        }
        let (access, place) = self.place_run(va, out.len(), kind)?;
        let out = &mut out[..place.len as usize];
        match self.memory.read_bytes(place.pa, out) {
            Ok(()) => Ok(out.len()),
            Err(error) => Err(self.bus_error(access.va, What::of(&access), error)),
        }
    }

    fn place_run(
        &mut self,
        va: u64,
        len: usize,
        kind: AccessKind,
    ) -> Outcome<(Access<A::Flavor>, Translation), A> {
        let access = run::<A>(va, len, kind);
        let place = self.translate(&access)?;
        Ok((access, place))
    }
}

fn run<A: Arch>(va: u64, len: usize, kind: AccessKind) -> Access<A::Flavor> {
    let len = len.min(CHUNK);
    // Bytes are never misaligned; a run that looks like one misaligned access gives up its last byte.
    let misaligned = len.is_power_of_two() && va & (len as u64 - 1) != 0;
    Access {
        va: VirtAddr(va),
        len: (len - usize::from(misaligned)) as u32,
        kind,
        flavor: A::Flavor::default(),
    }
}
