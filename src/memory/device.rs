//! Memory-mapped devices.

use crate::access::Width;
use alloc::boxed::Box;
use alloc::sync::Arc;

/// Why a device refused an access. The bus adds the address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DeviceError {
    /// No register there takes an access of this width or alignment.
    #[error("the device does not take accesses of this width here")]
    Width,
    /// The device signals an error of its own.
    #[error("the device signalled an error")]
    Failed,
}

/// A device that answers loads and stores at the physical addresses where a [`Bus`](super::Bus) maps it.
///
/// An access arrives once, with the guest's own width, at an offset from the device's first byte: it is never split,
/// merged or widened, and never arrives unless all of its bytes are the device's. The same device may be called from
/// several harts, so what it keeps, it keeps behind interior mutability; on a [`Bus`](super::Bus) of the default kind
/// it must be `Send + Sync`.
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use std::sync::Arc;
/// use softmmu::access::Width;
/// use softmmu::addr::PhysAddr;
/// use softmmu::memory::{Bus, Device, DeviceError, PhysMemory};
///
/// /// One 32-bit register that counts up by what is stored to it.
/// #[derive(Default)]
/// struct Counter(AtomicU32);
///
/// impl Device for Counter {
///     fn read(&self, offset: u64, width: Width) -> Result<u64, DeviceError> {
///         match (offset, width) {
///             (0, Width::W4) => Ok(self.0.load(Ordering::Relaxed).into()),
///             _ => Err(DeviceError::Width),
///         }
///     }
///     fn write(&self, offset: u64, width: Width, value: u64) -> Result<(), DeviceError> {
///         match (offset, width) {
///             (0, Width::W4) => {
///                 self.0.fetch_add(value as u32, Ordering::Relaxed);
///                 Ok(())
///             }
///             _ => Err(DeviceError::Width),
///         }
///     }
/// }
///
/// let counter = Arc::new(Counter::default());
/// let mut bus = Bus::new();
/// bus.add_device(PhysAddr(0x1000_0000), 4, Box::new(counter.clone()))?;
/// bus.write(PhysAddr(0x1000_0000), Width::W4, 40)?;
/// bus.write(PhysAddr(0x1000_0000), Width::W4, 2)?;
/// assert_eq!(counter.0.load(Ordering::Relaxed), 42);
/// assert!(bus.read(PhysAddr(0x1000_0000), Width::W1).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Device {
    /// Loads `width` bytes at `offset`. Bits beyond the width are ignored.
    ///
    /// # Errors
    /// [`DeviceError`]; the guest sees a bus error.
    fn read(&self, offset: u64, width: Width) -> Result<u64, DeviceError>;

    /// Stores the low `width` bytes of `value` at `offset`; the other bits are zero.
    ///
    /// # Errors
    /// [`DeviceError`]; the guest sees a bus error.
    fn write(&self, offset: u64, width: Width, value: u64) -> Result<(), DeviceError>;
}

/// A pointer to a device is that device.
macro_rules! forward {
    ($pointer:ty) => {
        impl<D: Device + ?Sized> Device for $pointer {
            fn read(&self, offset: u64, width: Width) -> Result<u64, DeviceError> {
                (**self).read(offset, width)
            }
            fn write(&self, offset: u64, width: Width, value: u64) -> Result<(), DeviceError> {
                (**self).write(offset, width, value)
            }
        }
    };
}

forward!(&D);
forward!(Box<D>);
forward!(Arc<D>);

const _: () = {
    // Devices of different types hang on one bus.
    fn _object_safe(_: &dyn Device) {}
};
