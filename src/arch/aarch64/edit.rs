//! Descriptors as table editing writes them: [`Encode`] for [`Vmsa64`].
//!
//! `ACCESSED` is the Access flag. `WRITE` is DBM, and `DIRTY` a writable AP: a page that may be written and is clean is
//! read-only to the hardware, which opens it at the first store where it manages dirty state and raises a Permission
//! fault where the kernel does. (Without FEAT_HAFDBS the DBM bit is ignored, and as good a place as any; Linux uses it
//! so, too.) A dirty page that became read-only is marked in bit 55, the first one left to software. `READ` goes without
//! saying at stage 1, except for pages that EL0 may only execute.

use super::descriptor::{Descriptor, Vmsa64};
use crate::addr::{PhysAddr, low_mask};
use crate::radix::{Encode, EncodeError, Format, LeafTest, Perms};

/// How leaf entries of one regime are written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Style {
    kind: Kind,
    /// The half of the address map that the tables serve.
    upper: bool,
    /// AttrIndx or MemAttr of Normal and Device memory, in place (bits 5:2).
    normal: u8,
    device: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Kind {
    TwoPrivileges,
    OnePrivilege,
    SecondStage,
}

impl Style {
    pub(super) const fn stage1(two_ranges: bool, upper: bool) -> Self {
        let kind = if two_ranges { Kind::TwoPrivileges } else { Kind::OnePrivilege };
        Self { kind, upper, normal: 0, device: 1 << 2 }
    }

    pub(super) const fn stage2(forced: bool) -> Self {
        let normal = if forced { 6 } else { 0xf } << 2;
        Self { kind: Kind::SecondStage, upper: false, normal, device: 1 << 2 }
    }
}

/// The memory attribute bits of a leaf.
const ATTRIBUTES: u64 = 0xf << 2;
/// SH = Inner Shareable.
const INNER_SHAREABLE: u64 = 3 << 8;

impl Vmsa64 {
    /// The same format, whose leaves name these entries of MAIR for Normal and for Device memory (0 and 1 at first).
    /// Stage 2 names no MAIR entries and stays as it is.
    #[must_use]
    pub const fn with_attributes(mut self, normal: u8, device: u8) -> Self {
        if !matches!(self.style.kind, Kind::SecondStage) {
            self.style.normal = (normal & 7) << 2;
            self.style.device = (device & 7) << 2;
        }
        self
    }

    /// The bits that say `perms`, and the bits that it decides.
    fn rights(&self, perms: Perms) -> Result<(Descriptor, Descriptor), EncodeError> {
        let (read, write) = (perms.contains(Perms::READ), perms.contains(Perms::WRITE));
        let (execute, user) = (perms.contains(Perms::EXECUTE), perms.contains(Perms::USER));
        let dirty = perms.contains(Perms::DIRTY);
        let refuse = Err(EncodeError::Perms { perms });

        let mut bits = Descriptor::empty();
        let mut decided = Descriptor::AP2 | Descriptor::AF | Descriptor::DBM | Descriptor::SOFTWARE_DIRTY;
        bits.set(Descriptor::AF, perms.contains(Perms::ACCESSED));
        // Writable in the eyes of the hardware now.
        let open = write && dirty;
        bits.set(Descriptor::DBM, write);
        bits.set(Descriptor::SOFTWARE_DIRTY, dirty && !write);
        match self.style.kind {
            Kind::SecondStage => {
                // Stage 2 knows no privilege and no global pages; what it lets through is open to all.
                if !user || perms.contains(Perms::GLOBAL) {
                    return refuse;
                }
                decided |= Descriptor::S2_READ | Descriptor::S2_WRITE | Descriptor::PXN | Descriptor::UXN;
                bits.set(Descriptor::S2_READ, read);
                bits.set(Descriptor::S2_WRITE, open);
                bits.set(Descriptor::UXN, !execute);
            }
            Kind::OnePrivilege => {
                // All translations of a one-range regime are global; there is no user.
                if !read || user || !perms.contains(Perms::GLOBAL) {
                    return refuse;
                }
                decided |= Descriptor::AP1 | Descriptor::PXN | Descriptor::UXN;
                bits |= Descriptor::AP1;
                bits.set(Descriptor::AP2, !open);
                bits.set(Descriptor::UXN, !execute);
            }
            Kind::TwoPrivileges => {
                let execute_only = user && execute && !read && !write;
                if !read && !execute_only {
                    return refuse;
                }
                decided |= Descriptor::AP1 | Descriptor::PXN | Descriptor::UXN | Descriptor::NG;
                bits.set(Descriptor::AP1, user && !execute_only);
                bits.set(Descriptor::AP2, !open);
                bits.set(Descriptor::UXN, !(execute && user));
                bits.set(Descriptor::PXN, !execute || user);
                bits.set(Descriptor::NG, !perms.contains(Perms::GLOBAL));
            }
        }
        Ok((bits, decided))
    }

    const fn attributes(&self, perms: Perms) -> u64 {
        (if perms.contains(Perms::DEVICE) { self.style.device } else { self.style.normal }) as u64
    }

    fn fits(&self, base: PhysAddr, level: u32, align: u32) -> Result<u64, EncodeError> {
        if base.is_aligned(align) && self.reaches(base.0) {
            Ok(self.place(base.0))
        } else {
            Err(EncodeError::Address { base, level })
        }
    }
}

impl Encode for Vmsa64 {
    fn translates(&self, va: u64) -> bool {
        let above = !low_mask(u32::from(self.input_bits));
        va & above == if self.style.upper { above } else { 0 }
    }

    fn encode_table(&self, base: PhysAddr, level: u32) -> Result<u64, EncodeError> {
        if level == 0 || level > self.top_level() {
            return Err(EncodeError::Level { level });
        }
        let place = self.fits(base, level, self.granule.bits())?;
        Ok(place | (Descriptor::VALID | Descriptor::TABLE).bits())
    }

    fn encode_leaf(&self, base: PhysAddr, level: u32, perms: Perms) -> Result<u64, EncodeError> {
        if level > u32::from(self.max_block).min(self.top_level()) {
            return Err(EncodeError::Level { level });
        }
        let (rights, _) = self.rights(perms)?;
        let place = self.fits(base, level, self.shift(level))?;
        let kind = if level == 0 { Descriptor::VALID | Descriptor::TABLE } else { Descriptor::VALID };
        // With LPA2 the SH field is address, and shareability is TCR's.
        let share = if self.high == super::HighBits::None || self.high == super::HighBits::Lpa {
            INNER_SHAREABLE
        } else {
            0
        };
        Ok(place | kind.bits() | rights.bits() | share | self.attributes(perms))
    }

    fn with_perms(&self, raw: u64, level: u32, perms: Perms) -> Result<u64, EncodeError> {
        let (rights, decided) = self.rights(perms)?;
        let device = self.perms(raw, level).contains(Perms::DEVICE);
        let raw = if device == perms.contains(Perms::DEVICE) {
            raw
        } else {
            raw & !ATTRIBUTES | self.attributes(perms)
        };
        Ok(raw & !decided.bits() | rights.bits())
    }

    fn usual_leaf(&self, level: u32) -> Option<LeafTest> {
        let (valid, table) = (Descriptor::VALID.bits(), Descriptor::TABLE.bits());
        let address = self.address_bits();
        let mask = valid | table | address & self.place(self.beyond);
        let value = if level == 0 { valid | table } else { valid };
        (level <= u32::from(self.max_block)).then_some(LeafTest { mask, value, address })
    }

    fn reshape(&self, raw: u64, _level: u32, base: PhysAddr, to: u32) -> Result<u64, EncodeError> {
        if to > u32::from(self.max_block).min(self.top_level()) {
            return Err(EncodeError::Level { level: to });
        }
        let place = self.fits(base, to, self.shift(to))?;
        let field = self.place(!self.beyond & !low_mask(self.granule.bits()));
        let kind = if to == 0 { Descriptor::TABLE.bits() } else { 0 };
        Ok(raw & !(field | (Descriptor::TABLE | Descriptor::CONTIGUOUS).bits()) | kind | place)
    }

    fn perms(&self, raw: u64, _level: u32) -> Perms {
        let leaf = Descriptor::from_bits_retain(raw);
        let mut perms = Perms::empty();
        let uxn = leaf.contains(Descriptor::UXN);
        let open = match self.style.kind {
            Kind::SecondStage => {
                perms.set(Perms::READ, leaf.contains(Descriptor::S2_READ));
                perms.set(Perms::EXECUTE, !uxn);
                perms |= Perms::USER;
                leaf.contains(Descriptor::S2_WRITE)
            }
            Kind::OnePrivilege => {
                perms |= Perms::READ | Perms::GLOBAL;
                perms.set(Perms::EXECUTE, !uxn);
                !leaf.contains(Descriptor::AP2)
            }
            Kind::TwoPrivileges => {
                let user = leaf.contains(Descriptor::AP1);
                let execute_only = !user && !uxn;
                perms.set(Perms::READ, !execute_only);
                perms.set(Perms::USER, user || execute_only);
                let execute = if user { !uxn } else { execute_only || !leaf.contains(Descriptor::PXN) };
                perms.set(Perms::EXECUTE, execute);
                perms.set(Perms::GLOBAL, !leaf.contains(Descriptor::NG));
                !leaf.contains(Descriptor::AP2)
            }
        };
        perms.set(Perms::WRITE, open || leaf.contains(Descriptor::DBM));
        perms.set(Perms::DIRTY, open || leaf.contains(Descriptor::SOFTWARE_DIRTY));
        perms.set(Perms::ACCESSED, leaf.contains(Descriptor::AF));
        perms.set(Perms::DEVICE, raw & ATTRIBUTES == u64::from(self.style.device));
        perms
    }
}
