//! The format made of a [`Config`]: masks and shifts, ready for the walk.

use super::config::{Config, Leaves};
use crate::addr::{PhysAddr, low_mask};
use crate::radix::{Encode, EncodeError, Entry, Format, LeafTest, Perms};

/// Pages have 4 offset bits at least, so no format has more levels than this.
const MAX_LEVELS: usize = 60;

/// A page-table format described at run time; made by [`Config::build`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CustomFormat {
    /// Lowest index bit of each level, level 0 first.
    shifts: [u8; MAX_LEVELS],
    /// Index bits of each level.
    index_bits: [u8; MAX_LEVELS],
    top: u8,
    pte_bytes: u8,
    page_bits: u8,
    frame_low: u8,
    sign_extended: bool,
    any_right: bool,
    /// The frame number's bits, in place at bit 0.
    frame_mask: u64,
    valid: u64,
    /// The large-page flag; 0 where there is none.
    leaf: u64,
    reserved: u64,
    /// The mask of each flag in the order of the bits of [`Perms`]; 0 where there is none.
    flags: [u64; 8],
    /// Every bit that is active-low.
    inverted: u64,
    /// Rights that always hold because they have no flag.
    implied: Perms,
}

impl CustomFormat {
    /// Compiles a checked description.
    pub(super) fn new(config: &Config) -> Self {
        let page_bits = config.page_bytes.trailing_zeros();
        let (mut shifts, mut index_bits) = ([0; MAX_LEVELS], [0; MAX_LEVELS]);
        let mut shift = page_bits;
        for (level, &bits) in config.index_bits.iter().rev().enumerate() {
            (shifts[level], index_bits[level]) = (shift as u8, bits as u8);
            shift += bits;
        }
        let mask = |bit: super::Bit| 1u64 << bit.number;
        let mut inverted = if config.valid.active_low { mask(config.valid) } else { 0 };
        let mut leaf = 0;
        if let Leaves::Flag(bit) = config.leaves {
            leaf = mask(bit);
            inverted |= if bit.active_low { leaf } else { 0 };
        }
        let mut flags = [0; 8];
        let mut implied = Perms::empty();
        for (index, (_, bit)) in config.flags().into_iter().enumerate() {
            match bit {
                Some(bit) => {
                    flags[index] = mask(bit);
                    inverted |= if bit.active_low { flags[index] } else { 0 };
                }
                None => implied |= Perms::from_bits_truncate(1 << index) & ALWAYS,
            }
        }
        Self {
            shifts,
            index_bits,
            top: (config.index_bits.len() - 1) as u8,
            pte_bytes: config.pte_bytes as u8,
            page_bits: page_bits as u8,
            frame_low: config.frame_low as u8,
            sign_extended: config.sign_extended,
            any_right: config.leaves == Leaves::AnyRight,
            frame_mask: low_mask(config.frame_bits),
            valid: mask(config.valid),
            leaf,
            reserved: config.reserved,
            flags,
            inverted,
            implied,
        }
    }

    /// How many address bits are translated.
    #[must_use]
    pub fn address_bits(&self) -> u32 {
        let top = u32::from(self.top);
        self.shift(top) + self.index_bits(top)
    }

    /// The flag bits, as they stand in the entry, that say `perms`.
    fn flag_bits(&self, perms: Perms) -> Result<u64, EncodeError> {
        let mut bits = 0;
        let mut held = self.implied;
        for (index, &mask) in self.flags.iter().enumerate() {
            let perm = Perms::from_bits_truncate(1 << index);
            if mask != 0 && perms.contains(perm) {
                bits |= mask;
                held |= perm;
            }
        }
        if held == perms { Ok(bits) } else { Err(EncodeError::Perms { perms }) }
    }

    /// The frame field that says `base`, which must be a multiple of `2^align` bytes.
    fn frame_field(&self, base: PhysAddr, align: u32, level: u32) -> Result<u64, EncodeError> {
        let number = base.0 >> self.page_bits;
        if !base.is_aligned(align) || number & !self.frame_mask != 0 {
            return Err(EncodeError::Address { base, level });
        }
        Ok(number << self.frame_low)
    }

    fn all_flags(&self) -> u64 {
        self.flags.iter().fold(0, |all, mask| all | mask)
    }
}

/// Rights that hold where no flag can take them away.
const ALWAYS: Perms = Perms::READ.union(Perms::WRITE).union(Perms::EXECUTE).union(Perms::USER);

/// Rights that make an entry a page where the format says so.
const ANY_RIGHT: Perms = Perms::READ.union(Perms::WRITE).union(Perms::EXECUTE);

impl Format for CustomFormat {
    #[inline]
    fn pte_bytes(&self) -> u32 {
        u32::from(self.pte_bytes)
    }

    #[inline]
    fn top_level(&self) -> u32 {
        u32::from(self.top)
    }

    #[inline]
    fn shift(&self, level: u32) -> u32 {
        self.shifts.get(level as usize).map_or(63, |&shift| u32::from(shift))
    }

    #[inline]
    fn index_bits(&self, level: u32) -> u32 {
        self.index_bits.get(level as usize).map_or(0, |&bits| u32::from(bits))
    }

    #[inline]
    fn decode(&self, raw: u64, level: u32) -> Entry {
        let says = raw ^ self.inverted;
        if says & self.valid == 0 {
            return Entry::Absent;
        }
        if raw & self.reserved != 0 {
            return Entry::Reserved;
        }
        let right = self.flags[0] | self.flags[1] | self.flags[2];
        let leaf = match (self.any_right, level) {
            (true, _) => says & right != 0,
            (false, 0) => true,
            (false, _) => says & self.leaf != 0,
        };
        let base = (raw >> self.frame_low & self.frame_mask) << self.page_bits;
        let size_bits = self.shift(level);
        match (leaf, level) {
            (true, _) if base & low_mask(size_bits) != 0 => Entry::Reserved,
            (true, _) => Entry::Leaf { base, size_bits },
            (false, 0) => Entry::Reserved,
            (false, _) => Entry::Table(base),
        }
    }
}

impl Encode for CustomFormat {
    fn translates(&self, va: u64) -> bool {
        let bits = self.address_bits();
        if bits >= 64 {
            return true;
        }
        let above = (va as i64) >> (bits - u32::from(self.sign_extended));
        above == 0 || self.sign_extended && above == -1
    }

    fn absent(&self, _level: u32) -> u64 {
        self.inverted & self.valid
    }

    fn marks(&self) -> Perms {
        let kept = |index: usize, perm| if self.flags[index] != 0 { perm } else { Perms::empty() };
        kept(5, Perms::ACCESSED) | kept(6, Perms::DIRTY)
    }

    fn encode_table(&self, base: PhysAddr, level: u32) -> Result<u64, EncodeError> {
        if level == 0 {
            return Err(EncodeError::Level { level });
        }
        // Where rights make the page, a table is what has none; elsewhere its flags mean nothing and stay clear.
        let frame = self.frame_field(base, u32::from(self.page_bits), level)?;
        Ok((frame | self.valid) ^ self.inverted)
    }

    fn encode_leaf(&self, base: PhysAddr, level: u32, perms: Perms) -> Result<u64, EncodeError> {
        if level > self.top_level() || level > 0 && self.leaf == 0 && !self.any_right {
            return Err(EncodeError::Level { level });
        }
        if self.any_right && !perms.intersects(ANY_RIGHT) {
            return Err(EncodeError::Perms { perms });
        }
        let flags = self.flag_bits(perms)?;
        let leaf = if level > 0 { self.leaf } else { 0 };
        let frame = self.frame_field(base, self.shift(level), level)?;
        Ok((frame | flags | leaf | self.valid) ^ self.inverted)
    }

    fn with_perms(&self, raw: u64, _level: u32, perms: Perms) -> Result<u64, EncodeError> {
        if self.any_right && !perms.intersects(ANY_RIGHT) {
            return Err(EncodeError::Perms { perms });
        }
        let flags = self.all_flags();
        Ok(raw & !flags | (self.flag_bits(perms)? ^ self.inverted) & flags)
    }

    fn usual_leaf(&self, level: u32) -> Option<LeafTest> {
        // What makes a page of it: a flag, or one of the rights.
        let makes = match (self.any_right, level) {
            (true, _) => *self.flags.get(..3)?.iter().find(|&&right| right != 0)?,
            (false, 0) => 0,
            (false, _) => Some(self.leaf).filter(|&leaf| leaf != 0)?,
        };
        let field = |number: u64| (number & self.frame_mask) << self.frame_low;
        let below = field(low_mask(self.shift(level)) >> self.page_bits);
        let set = self.valid | makes;
        let mask = set | self.reserved | below;
        Some(LeafTest { mask, value: set & !self.inverted, address: field(u64::MAX) })
    }

    fn reshape(&self, raw: u64, _level: u32, base: PhysAddr, to: u32) -> Result<u64, EncodeError> {
        if to > self.top_level() || to > 0 && self.leaf == 0 && !self.any_right {
            return Err(EncodeError::Level { level: to });
        }
        let frame = self.frame_field(base, self.shift(to), to)?;
        let leaf = (if to > 0 { self.leaf } else { 0 } ^ self.inverted) & self.leaf;
        Ok(raw & !(self.frame_mask << self.frame_low | self.leaf) | frame | leaf)
    }

    #[inline]
    fn perms(&self, raw: u64, _level: u32) -> Perms {
        let says = raw ^ self.inverted;
        let mut perms = self.implied;
        for (index, &mask) in self.flags.iter().enumerate() {
            if says & mask != 0 {
                perms |= Perms::from_bits_truncate(1 << index);
            }
        }
        perms
    }
}
