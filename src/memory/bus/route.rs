//! Where an access goes that does not lie in the largest RAM.

use super::{Bus, Holes, Target};
use crate::access::Width;
use crate::addr::PhysAddr;
use crate::memory::{BusError, Device, DeviceError, HostAccess, PhysMemory, PhysRange, Ram};

/// Who takes an access.
pub(super) enum Route<'a, D> {
    /// All of it lies in this one RAM or ROM.
    Memory(&'a Ram, HostAccess),
    /// All of it lies in this device, from this offset on.
    Device(&'a D, u64),
    /// It lies in several ranges of memory side by side.
    Several,
    /// Nobody, and the bus answers for nobody.
    Hole,
}

impl<D: Device> Bus<D> {
    /// Finds who takes the `len` bytes at `pa`, `len` being at least 1.
    pub(super) fn route(&self, pa: PhysAddr, len: u64) -> Result<Route<'_, D>, BusError> {
        let unmapped = BusError::Unmapped { pa };
        let run = PhysRange::new(pa, len).ok_or(unmapped)?;
        let Some((range, target)) = self.map.find(pa) else {
            let empty = self.map.conflict(run, None).is_none();
            return if empty && self.holes == Holes::ReadOnes { Ok(Route::Hole) } else { Err(unmapped) };
        };
        let whole = range.covers(&run);
        match target {
            Target::Ram(ram) if whole => Ok(Route::Memory(ram, HostAccess::Write)),
            Target::Rom(ram) if whole => Ok(Route::Memory(ram, HostAccess::Read)),
            Target::Device(device) if whole => Ok(Route::Device(device, pa.0 - range.first().0)),
            Target::Device(_) => Err(BusError::Width { pa, bytes: len }),
            Target::Ram(_) | Target::Rom(_) => Ok(Route::Several),
        }
    }

    /// Goes through the memory that holds the run, piece by piece: the RAM, whether it may be stored to, the address
    /// and the place in the run. Ends early, with an error, where the run leaves memory.
    pub(super) fn pieces(
        &self,
        pa: PhysAddr,
        len: u64,
        mut visit: impl FnMut(&Ram, HostAccess, PhysAddr, u64, u64) -> Result<(), BusError>,
    ) -> Result<(), BusError> {
        let unmapped = BusError::Unmapped { pa };
        let mut done = 0;
        while done < len {
            let at = pa.checked_add(done).ok_or(unmapped)?;
            let (range, target) = self.map.find(at).ok_or(unmapped)?;
            let (ram, access) = match target {
                Target::Ram(ram) => (ram, HostAccess::Write),
                Target::Rom(ram) => (ram, HostAccess::Read),
                Target::Device(_) => return Err(unmapped),
            };
            let piece = (range.last().0 - at.0).saturating_add(1).min(len - done);
            visit(ram, access, at, done, piece)?;
            done += piece;
        }
        Ok(())
    }

    #[cold]
    pub(super) fn read_searched(&self, pa: PhysAddr, width: Width) -> Result<u64, BusError> {
        match self.route(pa, width.bytes())? {
            Route::Memory(ram, _) => ram.read(pa, width),
            Route::Device(device, offset) => match device.read(offset, width) {
                Ok(value) => Ok(value & width.mask()),
                Err(error) => Err(device_error(pa, width, error)),
            },
            Route::Several => {
                let mut bytes = [0; 8];
                self.read_bytes(pa, &mut bytes[..width as usize])?;
                Ok(u64::from_le_bytes(bytes))
            }
            Route::Hole => Ok(width.mask()),
        }
    }

    #[cold]
    pub(super) fn write_searched(&self, pa: PhysAddr, width: Width, value: u64) -> Result<(), BusError> {
        match self.route(pa, width.bytes())? {
            Route::Memory(ram, HostAccess::Write) => ram.write(pa, width, value),
            Route::Memory(_, HostAccess::Read) => Err(BusError::ReadOnly { pa }),
            Route::Device(device, offset) => device
                .write(offset, width, value & width.mask())
                .map_err(|error| device_error(pa, width, error)),
            Route::Several => self.write_bytes(pa, &value.to_le_bytes()[..width as usize]),
            Route::Hole => Ok(()),
        }
    }

    #[cold]
    pub(super) fn compare_exchange_searched(
        &self,
        pa: PhysAddr,
        width: Width,
        current: u64,
        new: u64,
    ) -> Result<Result<(), u64>, BusError> {
        match self.route(pa, width.bytes())? {
            Route::Memory(ram, HostAccess::Write) => ram.compare_exchange(pa, width, current, new),
            Route::Memory(_, HostAccess::Read) => Err(BusError::ReadOnly { pa }),
            Route::Device(..) | Route::Several => Err(BusError::Width { pa, bytes: width.bytes() }),
            Route::Hole if current == width.mask() => Ok(Ok(())),
            Route::Hole => Ok(Err(width.mask())),
        }
    }

    #[cold]
    pub(super) fn read_pte_searched(&self, pa: PhysAddr, width: Width) -> Result<u64, BusError> {
        match self.route(pa, width.bytes())? {
            Route::Memory(ram, _) => ram.read_pte(pa, width),
            // Two ROMs side by side may share a word; an entry in it cannot change while it is read.
            Route::Several if pa.0 & (width.bytes() - 1) == 0 => self.read_searched(pa, width),
            Route::Device(..) | Route::Several => Err(BusError::Width { pa, bytes: width.bytes() }),
            Route::Hole => Ok(width.mask()),
        }
    }
}

#[cold]
fn device_error(pa: PhysAddr, width: Width, error: DeviceError) -> BusError {
    match error {
        DeviceError::Width => BusError::Width { pa, bytes: width.bytes() },
        DeviceError::Failed => BusError::Device { pa },
    }
}
