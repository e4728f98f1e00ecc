//! The bus: RAM, ROM and devices in one physical space.
//!
//! An access finds its target by address (`map`): the largest RAM is tried before anything is searched. It then goes
//! to that target whole (`route`); only runs of plain memory may continue from one range into the next. What no range
//! answers is a *hole*.

mod map;
mod route;

#[cfg(test)]
mod tests;

pub use map::{MapError, Region, Reserved};

use super::{BusError, Device, HOST_PAGE, HostAccess, HostPage, PhysMemory, PhysRange, Ram, unique};
use crate::access::Width;
use crate::addr::PhysAddr;
use alloc::borrow::Cow;
use alloc::boxed::Box;
use map::{Sorted, range};
use route::Route;

/// Who answers in a range of a [`Bus`].
#[derive(Clone, Debug)]
pub enum Target<D> {
    /// Memory.
    Ram(Ram),
    /// Memory that the guest cannot store to. The RAM that holds its bytes may be wider than the ROM's range.
    Rom(Ram),
    /// A device.
    Device(D),
}

/// What answers where nothing is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Holes {
    /// A bus error.
    #[default]
    Refuse,
    /// Loads read all ones and stores are dropped, as on a PC. Only for accesses that lie wholly in a hole.
    ReadOnes,
}

/// One physical address space made of RAM, ROM, devices and holes.
///
/// `D` is what the devices are: boxed trait objects unless you say otherwise ([`Bus::of`]).
///
/// ```
/// use softmmu::access::Width;
/// use softmmu::addr::PhysAddr;
/// use softmmu::memory::{Bus, BusError, PhysMemory, Ram};
///
/// let mut bus = Bus::new();
/// bus.add_rom(PhysAddr(0x1000), b"\x13\0\0\0")?;
/// bus.add_ram(Ram::new(PhysAddr(0x8000_0000), 1 << 20)?)?;
/// bus.reserve("firmware", PhysAddr(0x8000_0000), 0x2000)?;
///
/// assert_eq!(bus.read(PhysAddr(0x1000), Width::W4)?, 0x13);
/// assert_eq!(
///     bus.write(PhysAddr(0x1000), Width::W4, 0),
///     Err(BusError::ReadOnly { pa: PhysAddr(0x1000) })
/// );
/// assert!(bus.read(PhysAddr(0x1004), Width::W1).is_err(), "the ROM has four bytes");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Bus<D = Box<dyn Device + Send + Sync>> {
    /// The largest RAM: where nearly every access goes.
    main: Option<Ram>,
    map: Sorted<Target<D>>,
    reserved: Sorted<Cow<'static, str>>,
    holes: Holes,
    generation: u64,
}

impl Bus {
    /// An empty bus.
    #[must_use]
    pub fn new() -> Self {
        Self::of()
    }
}

impl<D: Device> Default for Bus<D> {
    fn default() -> Self {
        Self::of()
    }
}

/// Editing. Whoever holds the bus exclusively may change it; host pages lent before are no longer used.
impl<D: Device> Bus<D> {
    /// An empty bus whose devices are of one type of yours: an enumeration, or a pointer that need not be `Send`.
    #[must_use]
    pub fn of() -> Self {
        Self {
            main: None,
            map: Sorted::new(),
            reserved: Sorted::new(),
            holes: Holes::Refuse,
            generation: unique(),
        }
    }

    /// Maps `ram` at its own addresses.
    ///
    /// # Errors
    /// [`MapError::Overlap`].
    pub fn add_ram(&mut self, ram: Ram) -> Result<(), MapError> {
        self.map.insert(ram.range(), Target::Ram(ram))?;
        self.changed();
        Ok(())
    }

    /// Maps a read-only copy of `bytes` at `base`, which may be any address.
    ///
    /// # Errors
    /// [`MapError`]: no bytes, past the top, bytes taken, or no host memory for them.
    pub fn add_rom(&mut self, base: PhysAddr, bytes: &[u8]) -> Result<(), MapError> {
        let range = range(base, bytes.len() as u64)?;
        if let Some(taken) = self.map.conflict(range, None) {
            return Err(MapError::Overlap { range, taken });
        }
        self.map.insert(range, Target::Rom(rom(range, bytes)?))?;
        self.changed();
        Ok(())
    }

    /// Maps `device` at the `len` bytes from `base`; both may be any number. What shares a page with it keeps its own
    /// bytes.
    ///
    /// # Errors
    /// [`MapError`]: no bytes, past the top, or bytes taken.
    pub fn add_device(&mut self, base: PhysAddr, len: u64, device: D) -> Result<(), MapError> {
        self.map.insert(range(base, len)?, Target::Device(device))?;
        self.changed();
        Ok(())
    }

    /// Unmaps the range that begins at `base` and gives it back.
    ///
    /// # Errors
    /// [`MapError::NotFound`].
    pub fn remove(&mut self, base: PhysAddr) -> Result<Region<D>, MapError> {
        let (range, target) = self.map.remove(base)?;
        self.changed();
        Ok(Region { range, target })
    }

    /// Moves the range that begins at `from` so that it begins at `to`. It may overlap its old place.
    ///
    /// # Errors
    /// [`MapError`]: none begins there, past the top, bytes taken, or memory moved by less than whole pages.
    pub fn move_to(&mut self, from: PhysAddr, to: PhysAddr) -> Result<(), MapError> {
        let (old, target) = self.map.get(from)?;
        let new = to
            .checked_add(old.span())
            .map(|last| PhysRange::inclusive(to.0, last.0))
            .ok_or(MapError::Wraps { base: to, len: old.span().saturating_add(1) })?;
        if let Some(taken) = self.map.conflict(new, Some(from)) {
            return Err(MapError::Overlap { range: new, taken });
        }
        let memory = match target {
            Target::Ram(ram) | Target::Rom(ram) => {
                let base = ram.base().0.wrapping_add(to.0.wrapping_sub(from.0));
                Some(ram.at(PhysAddr(base)).map_err(|_| MapError::Misaligned { from, to })?)
            }
            Target::Device(_) => None,
        };
        let (_, target) = self.map.remove(from)?;
        let target = match (target, memory) {
            (Target::Ram(_), Some(ram)) => Target::Ram(ram),
            (Target::Rom(_), Some(ram)) => Target::Rom(ram),
            (target, _) => target,
        };
        self.map.insert(new, target)?;
        self.changed();
        Ok(())
    }

    /// Names the `len` bytes from `base` as reserved: a frame allocator made from this bus leaves them alone. What
    /// answers there does not change.
    ///
    /// # Errors
    /// [`MapError`]: no bytes, past the top, or some of them reserved already.
    pub fn reserve(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        base: PhysAddr,
        len: u64,
    ) -> Result<(), MapError> {
        self.reserved.insert(range(base, len)?, name.into())
    }

    /// Decides what answers where nothing is mapped.
    pub fn set_holes(&mut self, holes: Holes) {
        self.holes = holes;
        self.changed();
    }

    /// After a change of the map: host pages lent before are void, and the largest RAM is tried first.
    fn changed(&mut self) {
        self.generation = unique();
        let rams = self.map.iter().filter_map(|(_, target)| match target {
            Target::Ram(ram) => Some(ram),
            _ => None,
        });
        self.main = rams.max_by_key(|ram| (ram.size(), !ram.base().0)).cloned();
    }
}

/// Whole pages of RAM around a ROM's range, holding its bytes.
fn rom(range: PhysRange, bytes: &[u8]) -> Result<Ram, MapError> {
    let refused = MapError::HostRefused { len: bytes.len() as u64 };
    let page = HOST_PAGE as u64;
    let base = range.first().0 & !(page - 1);
    let size = (range.last().0 - base) / page * page + page;
    let ram = Ram::new(PhysAddr(base), size).map_err(|_| refused.clone())?;
    ram.write_bytes(range.first(), bytes).map_err(|_| refused)?;
    Ok(ram)
}

/// Looking at the map.
impl<D> Bus<D> {
    /// What is mapped, by ascending address.
    pub fn regions(&self) -> impl Iterator<Item = (PhysRange, &Target<D>)> {
        self.map.iter().map(|(range, target)| (*range, target))
    }

    /// The ranges that hold RAM, by ascending address.
    pub fn ram(&self) -> impl Iterator<Item = &Ram> {
        self.map.iter().filter_map(|(_, target)| match target {
            Target::Ram(ram) => Some(ram),
            _ => None,
        })
    }

    /// The ranges that were reserved, by ascending address.
    pub fn reserved(&self) -> impl Iterator<Item = (&str, PhysRange)> {
        self.reserved.iter().map(|(range, name)| (&**name, *range))
    }

    /// What answers where nothing is mapped.
    #[must_use]
    pub fn holes(&self) -> Holes {
        self.holes
    }
}

/// The RAM tried first takes the access if it holds all of it; else the map is searched.
macro_rules! main_first {
    ($self:ident, $pa:ident, $width:ident, |$ram:ident| $direct:expr, $searched:expr) => {
        match &$self.main {
            Some($ram) if $ram.holds($pa, $width.bytes()) => $direct,
            _ => $searched,
        }
    };
}

impl<D: Device> PhysMemory for Bus<D> {
    #[inline]
    fn read(&self, pa: PhysAddr, width: Width) -> Result<u64, BusError> {
        main_first!(self, pa, width, |ram| ram.read(pa, width), self.read_searched(pa, width))
    }

    #[inline]
    fn write(&self, pa: PhysAddr, width: Width, value: u64) -> Result<(), BusError> {
        main_first!(self, pa, width, |ram| ram.write(pa, width, value), self.write_searched(pa, width, value))
    }

    #[inline]
    fn compare_exchange(
        &self,
        pa: PhysAddr,
        width: Width,
        current: u64,
        new: u64,
    ) -> Result<Result<(), u64>, BusError> {
        main_first!(
            self,
            pa,
            width,
            |ram| ram.compare_exchange(pa, width, current, new),
            self.compare_exchange_searched(pa, width, current, new)
        )
    }

    fn read_bytes(&self, pa: PhysAddr, out: &mut [u8]) -> Result<(), BusError> {
        if out.is_empty() {
            return Ok(());
        }
        match self.route(pa, out.len() as u64)? {
            Route::Memory(ram, _) => ram.read_bytes(pa, out),
            Route::Device(..) => Err(BusError::Width { pa, bytes: out.len() as u64 }),
            Route::Several => self.pieces(pa, out.len() as u64, |ram, _, at, done, piece| {
                ram.read_bytes(at, &mut out[done as usize..(done + piece) as usize])
            }),
            Route::Hole => {
                out.fill(0xff);
                Ok(())
            }
        }
    }

    fn write_bytes(&self, pa: PhysAddr, data: &[u8]) -> Result<(), BusError> {
        let len = data.len() as u64;
        self.check_bytes(pa, len, HostAccess::Write)?;
        if data.is_empty() {
            return Ok(());
        }
        match self.route(pa, len)? {
            Route::Memory(ram, _) => ram.write_bytes(pa, data),
            Route::Device(..) => Err(BusError::Width { pa, bytes: len }),
            Route::Several => self.pieces(pa, len, |ram, _, at, done, piece| {
                ram.write_bytes(at, &data[done as usize..(done + piece) as usize])
            }),
            Route::Hole => Ok(()),
        }
    }

    #[inline]
    fn read_pte(&self, pa: PhysAddr, width: Width) -> Result<u64, BusError> {
        main_first!(self, pa, width, |ram| ram.read_pte(pa, width), self.read_pte_searched(pa, width))
    }

    fn check_bytes(&self, pa: PhysAddr, len: u64, access: HostAccess) -> Result<(), BusError> {
        if len == 0 {
            return Ok(());
        }
        let allowed = |found: HostAccess| match (found, access) {
            (HostAccess::Read, HostAccess::Write) => Err(BusError::ReadOnly { pa }),
            _ => Ok(()),
        };
        match self.route(pa, len)? {
            Route::Memory(_, found) => allowed(found),
            Route::Device(..) => Err(BusError::Width { pa, bytes: len }),
            Route::Several => self.pieces(pa, len, |_, found, _, _, _| allowed(found)),
            Route::Hole => Ok(()),
        }
    }

    #[inline]
    fn host_page(&self, pa: PhysAddr, access: HostAccess) -> Option<HostPage<'_>> {
        let page = pa.align_down(HOST_PAGE.trailing_zeros());
        if let Some(ram) = self.main.as_ref().filter(|ram| ram.holds(page, HOST_PAGE as u64)) {
            return ram.host_page(page, access);
        }
        let page = PhysRange::new(page, HOST_PAGE as u64)?;
        let (range, target) = self.map.find(pa)?;
        if !range.covers(&page) {
            return None;
        }
        match target {
            Target::Ram(ram) => ram.host_page(pa, access),
            Target::Rom(ram) if access == HostAccess::Read => ram.host_page(pa, access),
            Target::Rom(_) | Target::Device(_) => None,
        }
    }

    #[inline]
    fn generation(&self) -> u64 {
        self.generation
    }
}
