//! Typed accesses: loads, stores, fetches and atomics of 1, 2, 4 or 8 bytes.

use super::detour::What;
use super::translate::{Leave, Place};
use super::{AccessError, MAX_RACES, Mmu, Value};
use crate::access::{Access, AccessKind};
use crate::addr::{PhysAddr, VirtAddr};
use crate::arch::Arch;
use crate::memory::{BusError, HostAccess, PhysMemory};
use crate::tlb::Tlb;

type Outcome<V, A> = Result<V, AccessError<<A as Arch>::Fault>>;

impl<A: Arch, M: PhysMemory, T: Tlb> Mmu<A, M, T> {
    /// Loads a `V` (little-endian) at `va`.
    ///
    /// Aligned loads are single-copy atomic. One that crosses into another page translates both pages first.
    ///
    /// # Errors
    /// The fault that the load raises, or a bus error.
    #[inline(always)]
    pub fn load<V: Value>(&mut self, va: VirtAddr) -> Outcome<V, A> {
        match self.filter.windows.load(va.0) {
            Some(value) => Ok(value),
            None => self.load_slow(va),
        }
    }

    /// Stores `value` (little-endian) at `va`.
    ///
    /// Aligned stores are single-copy atomic. One that crosses into another page translates both pages first.
    ///
    /// # Errors
    /// The fault that the store raises, or a bus error; nothing was stored.
    #[inline(always)]
    pub fn store<V: Value>(&mut self, va: VirtAddr, value: V) -> Outcome<(), A> {
        if self.filter.windows.store(va.0, value) {
            return Ok(());
        }
        self.store_slow(va, value)
    }

    /// Fetches a `V` of instruction bytes at `va`.
    ///
    /// # Errors
    /// The fault that the fetch raises, or a bus error.
    #[inline(always)]
    pub fn fetch<V: Value>(&mut self, va: VirtAddr) -> Outcome<V, A> {
        match self.filter.windows.fetch(va.0) {
            Some(value) => Ok(value),
            None => self.fetch_slow(va),
        }
    }

    /// Replaces the `V` at `va` by what `change` makes of it, in one atomic step, and returns what stood there.
    /// `change` may be called more than once when harts compete.
    ///
    /// An address that is not a multiple of the width is accepted where the architecture accepts it; such an access
    /// is not atomic towards other harts.
    ///
    /// # Errors
    /// The fault that the atomic raises, or a bus error; nothing was stored.
    #[inline]
    pub fn rmw<V: Value>(&mut self, va: VirtAddr, mut change: impl FnMut(V) -> V) -> Outcome<V, A> {
        match self.filter.windows.update(va.0, MAX_RACES, &mut change) {
            Some(Some(old)) => Ok(old),
            Some(None) => Err(AccessError::Contended { va, tries: MAX_RACES }),
            None => self.rmw_slow(va, A::Flavor::default(), &mut change),
        }
    }

    /// Stores `new` at `va` if `current` stands there, in one atomic step. `Ok(Err(found))` says what stood there
    /// instead. Needs the right to write either way, as the architectures' own instructions do.
    ///
    /// # Errors
    /// As for [`rmw`](Self::rmw).
    #[inline]
    pub fn compare_exchange<V: Value>(
        &mut self,
        va: VirtAddr,
        current: V,
        new: V,
    ) -> Outcome<Result<V, V>, A> {
        match self.filter.windows.compare_exchange(va.0, current, new) {
            Some(done) => Ok(done),
            None => self.compare_exchange_slow(va, current, new, A::Flavor::default()),
        }
    }

    /// Loads as [`load`](Self::load) does, in a special manner: see the architecture's flavors.
    ///
    /// # Errors
    /// The fault that the load raises, or a bus error.
    pub fn load_as<V: Value>(&mut self, va: VirtAddr, flavor: A::Flavor) -> Outcome<V, A> {
        self.read_value(va, AccessKind::Read, flavor)
    }

    /// Stores as [`store`](Self::store) does, in a special manner: see the architecture's flavors.
    ///
    /// # Errors
    /// The fault that the store raises, or a bus error; nothing was stored.
    pub fn store_as<V: Value>(&mut self, va: VirtAddr, value: V, flavor: A::Flavor) -> Outcome<(), A> {
        self.write_value(va, value, flavor)
    }

    /// Replaces as [`rmw`](Self::rmw) does, in a special manner: SSAMOSWAP to a RISC-V shadow stack, an AArch64 atomic,
    /// which must be aligned.
    ///
    /// # Errors
    /// The fault that the atomic raises, or a bus error; nothing was stored.
    pub fn rmw_as<V: Value>(
        &mut self,
        va: VirtAddr,
        flavor: A::Flavor,
        mut change: impl FnMut(V) -> V,
    ) -> Outcome<V, A> {
        self.rmw_slow(va, flavor, &mut change)
    }

    /// Compares and exchanges as [`compare_exchange`](Self::compare_exchange) does, in a special manner: the store half
    /// of an LR/SC pair that is emulated by comparing what LR found.
    ///
    /// # Errors
    /// As for [`rmw_as`](Self::rmw_as).
    pub fn compare_exchange_as<V: Value>(
        &mut self,
        va: VirtAddr,
        current: V,
        new: V,
        flavor: A::Flavor,
    ) -> Outcome<Result<V, V>, A> {
        self.compare_exchange_slow(va, current, new, flavor)
    }

    #[cold]
    #[inline(never)]
    fn load_slow<V: Value>(&mut self, va: VirtAddr) -> Outcome<V, A> {
        self.read_value(va, AccessKind::Read, A::Flavor::default())
    }

    #[cold]
    #[inline(never)]
    fn store_slow<V: Value>(&mut self, va: VirtAddr, value: V) -> Outcome<(), A> {
        self.write_value(va, value, A::Flavor::default())
    }

    #[cold]
    #[inline(never)]
    fn fetch_slow<V: Value>(&mut self, va: VirtAddr) -> Outcome<V, A> {
        self.read_value(va, AccessKind::Execute, A::Flavor::default())
    }

    #[inline(always)]
    fn read_value<V: Value>(&mut self, va: VirtAddr, kind: AccessKind, flavor: A::Flavor) -> Outcome<V, A> {
        let access = Access { va, len: V::WIDTH.bytes() as u32, kind, flavor };
        let (place, leave) = self.straight(&access, &mut |_| ());
        if let Some(leave) = leave {
            return self.read_on(va, What::of(&access), leave, place.pa, place.after);
        }
        match self.memory.read(place.pa, V::WIDTH) {
            Ok(raw) => {
                self.notice_map();
                Ok(V::from_u64(raw))
            }
            Err(error) => Err(self.bus_error(va, What::of(&access), error)),
        }
    }

    /// Loads what the straight way does not lead to.
    #[cold]
    #[inline(never)]
    fn read_on<V: Value>(
        &mut self,
        va: VirtAddr,
        what: What<A::Flavor>,
        leave: Leave,
        pa: PhysAddr,
        after: u64,
    ) -> Outcome<V, A> {
        let place = self.detour(va, what, leave, Place { pa, after }, &mut |_| ())?;
        if place.after < V::WIDTH.bytes() - 1 {
            return self.read_across(what.at(va), &place).map(V::from_u64);
        }
        let read = self.memory.read(place.pa, V::WIDTH);
        self.notice_map();
        read.map(V::from_u64).map_err(|error| self.bus_error(va, what, error))
    }

    #[inline(always)]
    fn write_value<V: Value>(&mut self, va: VirtAddr, value: V, flavor: A::Flavor) -> Outcome<(), A> {
        let access = Access { va, len: V::WIDTH.bytes() as u32, kind: AccessKind::Write, flavor };
        let (place, leave) = self.straight(&access, &mut |_| ());
        if let Some(leave) = leave {
            return self.write_on(va, What::of(&access), leave, place.pa, place.after, value);
        }
        match self.memory.write(place.pa, V::WIDTH, value.to_u64()) {
            Ok(()) => {
                self.notice_map();
                Ok(())
            }
            Err(error) => Err(self.bus_error(va, What::of(&access), error)),
        }
    }

    /// Stores where the straight way does not lead to.
    #[cold]
    #[inline(never)]
    fn write_on<V: Value>(
        &mut self,
        va: VirtAddr,
        what: What<A::Flavor>,
        leave: Leave,
        pa: PhysAddr,
        after: u64,
        value: V,
    ) -> Outcome<(), A> {
        let place = self.detour(va, what, leave, Place { pa, after }, &mut |_| ())?;
        if place.after < V::WIDTH.bytes() - 1 {
            return self.write_across(what.at(va), &place, value.to_u64());
        }
        let written = self.memory.write(place.pa, V::WIDTH, value.to_u64());
        self.notice_map();
        written.map_err(|error| self.bus_error(va, what, error))
    }

    #[cold]
    #[inline(never)]
    fn rmw_slow<V: Value>(
        &mut self,
        va: VirtAddr,
        flavor: A::Flavor,
        change: &mut dyn FnMut(V) -> V,
    ) -> Outcome<V, A> {
        let access = Access { va, len: V::WIDTH.bytes() as u32, kind: AccessKind::ReadWrite, flavor };
        let first = self.find(access, |_| ())?;
        if first.after < V::WIDTH.bytes() - 1 {
            // Both halves are read before either is written; other harts may come in between.
            let old = V::from_u64(self.read_across(access, &first)?);
            self.write_across(access, &first, change(old).to_u64())?;
            return Ok(old);
        }
        match self.exchange(first.pa, va, change) {
            Ok(Some(old)) => Ok(old),
            Ok(None) => Err(AccessError::Contended { va, tries: MAX_RACES }),
            Err(error) => Err(self.bus_error(access.va, What::of(&access), error)),
        }
    }

    /// The atomic itself, once translated; `None` when others always were faster.
    fn exchange<V: Value>(
        &self,
        pa: PhysAddr,
        va: VirtAddr,
        change: &mut dyn FnMut(V) -> V,
    ) -> Result<Option<V>, BusError> {
        // A device would notice the read below.
        self.memory.check_bytes(pa, V::WIDTH.bytes(), HostAccess::Write)?;
        let mut old = self.memory.read(pa, V::WIDTH)?;
        if va.0 & (V::WIDTH.bytes() - 1) != 0 {
            self.memory.write(pa, V::WIDTH, change(V::from_u64(old)).to_u64())?;
            return Ok(Some(V::from_u64(old)));
        }
        for _ in 0..MAX_RACES {
            let new = change(V::from_u64(old)).to_u64();
            match self.memory.compare_exchange(pa, V::WIDTH, old, new)? {
                Ok(()) => return Ok(Some(V::from_u64(old))),
                Err(found) => old = found,
            }
        }
        Ok(None)
    }

    #[cold]
    #[inline(never)]
    fn compare_exchange_slow<V: Value>(
        &mut self,
        va: VirtAddr,
        current: V,
        new: V,
        flavor: A::Flavor,
    ) -> Outcome<Result<V, V>, A> {
        let old = self.rmw_slow(va, flavor, &mut |old| if old == current { new } else { old })?;
        Ok(if old == current { Ok(old) } else { Err(old) })
    }

    /// Loads what begins at `first` and goes on on the next page, which is translated before the first byte moves.
    #[cold]
    fn read_across(&mut self, access: Access<A::Flavor>, first: &Place) -> Outcome<u64, A> {
        let second = self.rest(access, first)?;
        let mut bytes = [0; 8];
        let (head, tail) = bytes.split_at_mut(first.len(access.len) as usize & 7);
        let tail = &mut tail[..second.len(access.len.saturating_sub(head.len() as u32)) as usize & 7];
        let read =
            self.memory.read_bytes(first.pa, head).and_then(|()| self.memory.read_bytes(second.pa, tail));
        match read {
            Ok(()) => Ok(u64::from_le_bytes(bytes)),
            Err(error) => Err(self.bus_error(access.va, What::of(&access), error)),
        }
    }

    /// Stores what begins at `first` and goes on on the next page: both parts or none.
    #[cold]
    fn write_across(&mut self, access: Access<A::Flavor>, first: &Place, value: u64) -> Outcome<(), A> {
        let second = self.rest(access, first)?;
        let bytes = value.to_le_bytes();
        let (head, tail) = bytes.split_at(first.len(access.len) as usize & 7);
        let tail = &tail[..second.len(access.len.saturating_sub(head.len() as u32)) as usize & 7];
        let memory = &self.memory;
        let written = memory.write_bytes(first.pa, head).and_then(|()| memory.write_bytes(second.pa, tail));
        written.map_err(|error| self.bus_error(access.va, What::of(&access), error))
    }
}
