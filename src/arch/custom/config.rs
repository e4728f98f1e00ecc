//! Describing a format, and refusing descriptions that make no sense.

use alloc::vec::Vec;

use super::format::CustomFormat;
use crate::addr::{PageSize, low_mask};

/// One flag's place in an entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Bit {
    /// The bit's number, 0 for the least significant.
    pub number: u32,
    /// Whether the flag holds when the bit is *clear* (a "no-execute" bit is an active-low execute flag).
    pub active_low: bool,
}

impl Bit {
    /// The flag holds when bit `number` is set.
    #[must_use]
    pub const fn high(number: u32) -> Self {
        Self { number, active_low: false }
    }

    /// The flag holds when bit `number` is clear.
    #[must_use]
    pub const fn low(number: u32) -> Self {
        Self { number, active_low: true }
    }
}

/// Which entries above the last level are pages, not tables.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Leaves {
    /// None: all pages have the smallest size.
    LastLevelOnly,
    /// Those with this flag (x86's page-size bit).
    Flag(Bit),
    /// Those with any of the read, write and execute flags (RISC-V). A last-level entry with none is then reserved.
    AnyRight,
}

/// A page-table format in words.
///
/// Rights without a flag are always granted; [`GLOBAL`](crate::radix::Perms::GLOBAL), accessed, dirty and device
/// marks without a flag never hold.
///
/// ```
/// use softmmu::arch::custom::{Bit, Config, ConfigError};
///
/// // 16-byte pages, two levels of 16 entries of 2 bytes: a 12-bit machine.
/// let format = Config::new(16, &[4, 4], 2, Bit::high(15)).frame(0, 8).write(Bit::low(14)).build()?;
/// // The same with the frame number running into the valid bit is refused.
/// let bad = Config::new(16, &[4, 4], 2, Bit::high(15)).frame(8, 8).build();
/// assert_eq!(bad, Err(ConfigError::Overlap { field: "valid", other: "frame", bit: 15 }));
/// # let _ = format; Ok::<(), ConfigError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The smallest page in bytes: a power of two from 16 up.
    pub page_bytes: u64,
    /// How many address bits index a table of each level, the root's first.
    pub index_bits: Vec<u32>,
    /// Bytes per entry: 1, 2, 4 or 8.
    pub pte_bytes: u32,
    /// Whether addresses are sign-extended from their highest translated bit; otherwise all bits above are zero.
    pub sign_extended: bool,
    /// The lowest bit of the frame number.
    pub frame_low: u32,
    /// How many bits the frame number has: it counts pages of the smallest size, for tables too.
    pub frame_bits: u32,
    /// The entry means something.
    pub valid: Bit,
    /// Loads are allowed.
    pub read: Option<Bit>,
    /// Stores are allowed.
    pub write: Option<Bit>,
    /// Fetches are allowed.
    pub execute: Option<Bit>,
    /// Unprivileged code may use it.
    pub user: Option<Bit>,
    /// It belongs to every address space.
    pub global: Option<Bit>,
    /// It has been used.
    pub accessed: Option<Bit>,
    /// It has been stored to.
    pub dirty: Option<Bit>,
    /// It is device memory.
    pub device: Option<Bit>,
    /// Large pages.
    pub leaves: Leaves,
    /// Bits that must be zero in every valid entry.
    pub reserved: u64,
}

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident),*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(mut self, bit: Bit) -> Self {
            self.$name = Some(bit);
            self
        }
    )*};
}

impl Config {
    /// A format with pages of `page_bytes`, `index_bits` per level (root first) and entries of `pte_bytes`, that has
    /// no other flag than `valid`. The [frame number](Self::frame) is still to be placed.
    #[must_use]
    pub fn new(page_bytes: u64, index_bits: &[u32], pte_bytes: u32, valid: Bit) -> Self {
        Self {
            page_bytes,
            index_bits: index_bits.to_vec(),
            pte_bytes,
            sign_extended: false,
            frame_low: 0,
            frame_bits: 0,
            valid,
            read: None,
            write: None,
            execute: None,
            user: None,
            global: None,
            accessed: None,
            dirty: None,
            device: None,
            leaves: Leaves::LastLevelOnly,
            reserved: 0,
        }
    }

    /// The textbook's 16-bit machine: sixteen 4 KiB pages over sixteen frames, one table of one-byte entries
    /// (valid, writable, accessed, dirty, and four bits of frame number).
    #[must_use]
    pub fn toy16() -> Self {
        Self::new(4096, &[4], 1, Bit::high(7))
            .frame(0, 4)
            .write(Bit::high(6))
            .accessed(Bit::high(5))
            .dirty(Bit::high(4))
    }

    /// The classic two-level table of a 32-bit machine: 10 + 10 + 12 address bits, 4-byte entries with every flag,
    /// 4 KiB and 4 MiB pages.
    #[must_use]
    pub fn two_level_32() -> Self {
        Self::new(4096, &[10, 10], 4, Bit::high(0))
            .frame(12, 20)
            .read(Bit::high(1))
            .write(Bit::high(2))
            .execute(Bit::high(3))
            .user(Bit::high(4))
            .global(Bit::high(5))
            .accessed(Bit::high(6))
            .dirty(Bit::high(7))
            .leaves(Leaves::Flag(Bit::high(8)))
    }

    /// Places the frame number: `bits` bits from bit `low` up.
    #[must_use]
    pub fn frame(mut self, low: u32, bits: u32) -> Self {
        (self.frame_low, self.frame_bits) = (low, bits);
        self
    }

    /// Says which upper-level entries are large pages.
    #[must_use]
    pub fn leaves(mut self, leaves: Leaves) -> Self {
        self.leaves = leaves;
        self
    }

    /// Makes the addresses sign-extended.
    #[must_use]
    pub fn sign_extended(mut self) -> Self {
        self.sign_extended = true;
        self
    }

    /// Reserves the bits of `mask`.
    #[must_use]
    pub fn reserved(mut self, mask: u64) -> Self {
        self.reserved = mask;
        self
    }

    flags! {
        /// Places the read flag.
        read,
        /// Places the write flag.
        write,
        /// Places the execute flag.
        execute,
        /// Places the user flag.
        user,
        /// Places the global flag.
        global,
        /// Places the accessed flag.
        accessed,
        /// Places the dirty flag.
        dirty,
        /// Places the device flag.
        device
    }

    /// The flags that rights and marks are kept in, in the order of the bits of
    /// [`Perms`](crate::radix::Perms).
    pub(super) fn flags(&self) -> [(&'static str, Option<Bit>); 8] {
        [
            ("read", self.read),
            ("write", self.write),
            ("execute", self.execute),
            ("user", self.user),
            ("global", self.global),
            ("accessed", self.accessed),
            ("dirty", self.dirty),
            ("device", self.device),
        ]
    }

    /// Checks the description and makes the format.
    ///
    /// # Errors
    /// [`ConfigError`] naming the first value that makes no sense.
    pub fn build(&self) -> Result<CustomFormat, ConfigError> {
        self.check_geometry()?;
        self.check_fields()?;
        Ok(CustomFormat::new(self))
    }

    fn check_geometry(&self) -> Result<(), ConfigError> {
        let page = PageSize::from_bytes(self.page_bytes).filter(|page| page.bits() >= 4);
        let page = page.ok_or(ConfigError::PageSize { bytes: self.page_bytes })?;
        if !matches!(self.pte_bytes, 1 | 2 | 4 | 8) {
            return Err(ConfigError::PteBytes { bytes: self.pte_bytes });
        }
        if self.index_bits.is_empty() {
            return Err(ConfigError::NoLevels);
        }
        let mut total = u64::from(page.bits());
        for (position, &bits) in self.index_bits.iter().enumerate() {
            if !(1..=32).contains(&bits) {
                return Err(ConfigError::IndexBits { position, bits });
            }
            total += u64::from(bits);
        }
        if total > 64 {
            return Err(ConfigError::AddressBits { bits: total });
        }
        let physical = u64::from(page.bits()) + u64::from(self.frame_bits);
        if self.frame_bits == 0 || physical > 64 {
            return Err(ConfigError::FrameBits { bits: self.frame_bits, page_bytes: self.page_bytes });
        }
        Ok(())
    }

    fn check_fields(&self) -> Result<(), ConfigError> {
        let width = self.pte_bytes * 8;
        let mut fields: Vec<(&'static str, u64)> = Vec::new();
        let mut place = |field: &'static str, low: u32, bits: u32| {
            if low >= width || bits > width - low {
                return Err(ConfigError::Outside { field, bit: low.saturating_add(bits - 1), width });
            }
            let mask = low_mask(bits) << low;
            if let Some((other, taken)) = fields.iter().find(|(_, taken)| taken & mask != 0) {
                return Err(ConfigError::Overlap { field, other, bit: (taken & mask).trailing_zeros() });
            }
            fields.push((field, mask));
            Ok(())
        };
        place("frame", self.frame_low, self.frame_bits)?;
        place("valid", self.valid.number, 1)?;
        if let Leaves::Flag(bit) = self.leaves {
            place("leaf", bit.number, 1)?;
        }
        for (name, bit) in self.flags() {
            if let Some(bit) = bit {
                place(name, bit.number, 1)?;
            }
        }
        let beyond = self.reserved & !low_mask(width);
        if beyond != 0 {
            return Err(ConfigError::Outside { field: "reserved", bit: beyond.ilog2(), width });
        }
        if let Some((other, taken)) = fields.iter().find(|(_, taken)| taken & self.reserved != 0) {
            let bit = (taken & self.reserved).trailing_zeros();
            return Err(ConfigError::Overlap { field: "reserved", other, bit });
        }
        let rights = [self.read, self.write, self.execute];
        if self.leaves == Leaves::AnyRight && rights.iter().any(Option::is_none) {
            return Err(ConfigError::NoRights);
        }
        Ok(())
    }
}

/// What makes no sense in a [`Config`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The page size is not a power of two from 16 up.
    #[error("a page of {bytes} bytes: not a power of two from 16 bytes up")]
    PageSize {
        /// The page size given.
        bytes: u64,
    },
    /// Entries are not 1, 2, 4 or 8 bytes.
    #[error("entries of {bytes} bytes: not 1, 2, 4 or 8")]
    PteBytes {
        /// The entry size given.
        bytes: u32,
    },
    /// There is no level.
    #[error("a page table without levels")]
    NoLevels,
    /// A level indexes by no bits, or by more than 32.
    #[error("{bits} index bits at position {position} from the root: not 1 to 32")]
    IndexBits {
        /// Which of the index widths, 0 for the root's.
        position: usize,
        /// The width given.
        bits: u32,
    },
    /// Index and offset bits add up to more than an address has.
    #[error("an address of {bits} bits: more than 64")]
    AddressBits {
        /// The sum.
        bits: u64,
    },
    /// The frame number has no bits, or more than physical addresses have.
    #[error("{bits} bits of frame number over pages of {page_bytes} bytes: none, or beyond 64 address bits")]
    FrameBits {
        /// The width given.
        bits: u32,
        /// The page size.
        page_bytes: u64,
    },
    /// A field lies outside the entry.
    #[error("the {field} field reaches bit {bit} of a {width}-bit entry")]
    Outside {
        /// The field.
        field: &'static str,
        /// The bit that does not exist.
        bit: u32,
        /// The entry's width in bits.
        width: u32,
    },
    /// Two fields share a bit.
    #[error("the {field} and {other} fields share bit {bit}")]
    Overlap {
        /// The field placed later.
        field: &'static str,
        /// The field that holds the bit.
        other: &'static str,
        /// The lowest bit they share.
        bit: u32,
    },
    /// [`Leaves::AnyRight`] needs read, write and execute flags.
    #[error("pages are to be known by their rights, but read, write and execute do not all have a flag")]
    NoRights,
}
