//! Writing entries: what table editing needs of the formats (see [`Encode`]).
//!
//! The ordinary formats can say every combination of rights that includes [`READ`](Perms::READ); one without
//! [`EXECUTE`](Perms::EXECUTE) needs XD, which 32-bit paging does not have and the others only with EFER.NXE.
//! [`DEVICE`](Perms::DEVICE) is PCD and PWT, UC in the PAT as reset leaves it. EPT has no user bit: its pages are open
//! to all of the guest, so [`USER`](Perms::USER) always holds there, as it must be set in nested and other second
//! stages.

use super::ept::{EptFormat, EptPte};
use super::pte::{ADDRESS, Legacy32, LongMode, Pae, Pte};
use crate::addr::{PhysAddr, low_mask};
use crate::radix::{Encode, EncodeError, Format, LeafTest, Perms};

/// Flags that stand one for one in an ordinary entry.
const PLAIN: [(Perms, Pte); 5] = [
    (Perms::WRITE, Pte::WRITE),
    (Perms::USER, Pte::USER),
    (Perms::GLOBAL, Pte::GLOBAL),
    (Perms::ACCESSED, Pte::ACCESSED),
    (Perms::DIRTY, Pte::DIRTY),
];

/// PCD and PWT together select UC.
const DEVICE: Pte = Pte::PCD.union(Pte::PWT);

/// The flags that say `perms`, memory type aside.
fn flags(perms: Perms, xd: bool) -> Result<Pte, EncodeError> {
    let executable = perms.contains(Perms::EXECUTE);
    if !perms.contains(Perms::READ) || !(executable || xd) {
        return Err(EncodeError::Perms { perms });
    }
    let mut flags = if executable { Pte::PRESENT } else { Pte::PRESENT | Pte::NX };
    for (perm, flag) in PLAIN {
        flags.set(flag, perms.contains(perm));
    }
    Ok(flags)
}

fn perms_of(raw: u64) -> Perms {
    let entry = Pte::from_bits_retain(raw);
    let mut perms = Perms::READ;
    for (perm, flag) in PLAIN {
        perms.set(perm, entry.contains(flag));
    }
    perms.set(Perms::EXECUTE, !entry.contains(Pte::NX));
    perms.set(Perms::DEVICE, entry.contains(Pte::PCD));
    perms
}

fn with_perms(raw: u64, perms: Perms, xd: bool) -> Result<u64, EncodeError> {
    let flags = flags(perms, xd)?;
    let mut kept = Pte::from_bits_retain(raw) - Pte::NX - Pte::PRESENT;
    for (_, flag) in PLAIN {
        kept -= flag;
    }
    if perms.contains(Perms::DEVICE) != perms_of(raw).contains(Perms::DEVICE) {
        kept.set(DEVICE, perms.contains(Perms::DEVICE));
    }
    Ok((kept | flags).bits())
}

/// A page of `2^bits` bytes at `base` with `perms`.
fn leaf(base: PhysAddr, level: u32, bits: u32, perms: Perms, xd: bool) -> Result<u64, EncodeError> {
    let mut flags = flags(perms, xd)?;
    flags.set(DEVICE, perms.contains(Perms::DEVICE));
    flags.set(Pte::LARGE, level > 0);
    if !base.is_aligned(bits) {
        return Err(EncodeError::Address { base, level });
    }
    Ok(flags.bits() | base.0)
}

/// The leaf `raw` of `level` as one of level `to` at `base`: PAT moves, what software keeps stays.
const fn reshaped(raw: u64, level: u32, base: u64, to: u32) -> u64 {
    let pat = if level > 0 { Pte::PAT_LARGE } else { Pte::PAT_SMALL };
    let large = Pte::LARGE.bits() | if raw & pat.bits() == 0 { 0 } else { Pte::PAT_LARGE.bits() };
    let small = if raw & pat.bits() == 0 { 0 } else { Pte::PAT_SMALL.bits() };
    raw & !(ADDRESS | Pte::LARGE.bits()) | base | if to > 0 { large } else { small }
}

/// The address of a table or page, if no bit of it is in `forbidden`.
fn place(base: PhysAddr, level: u32, forbidden: u64) -> Result<u64, EncodeError> {
    if base.0 & !ADDRESS != 0 || base.0 & forbidden != 0 {
        return Err(EncodeError::Address { base, level });
    }
    Ok(base.0)
}

/// A table's flags: everything below decides for itself.
const OPEN: u64 = Pte::PRESENT.bits() | Pte::WRITE.bits() | Pte::USER.bits();

/// What the usual leaves of an 8-byte entry pass, where the bits `high` are reserved: a large one has nothing between
/// its PAT bit and its address.
const fn usual(high: u64, level: u32, bits: u32) -> LeafTest {
    let present = Pte::PRESENT.bits();
    if level == 0 {
        return LeafTest { mask: high | present, value: present, address: ADDRESS };
    }
    let value = present | Pte::LARGE.bits();
    let mask = high | value | low_mask(bits) & !low_mask(13);
    LeafTest { mask, value, address: ADDRESS & !low_mask(bits) }
}

const fn has_xd(high: u64) -> bool {
    high & Pte::NX.bits() == 0
}

impl Encode for LongMode {
    fn translates(&self, va: u64) -> bool {
        super::canonical(va, self.bits())
    }

    fn encode_table(&self, base: PhysAddr, level: u32) -> Result<u64, EncodeError> {
        if level == 0 || level > self.top {
            return Err(EncodeError::Level { level });
        }
        Ok(place(base, level, self.high)? | OPEN)
    }

    fn encode_leaf(&self, base: PhysAddr, level: u32, perms: Perms) -> Result<u64, EncodeError> {
        if level > 2 || (level == 2 && !self.page1gb) {
            return Err(EncodeError::Level { level });
        }
        place(base, level, self.high)?;
        leaf(base, level, self.shift(level), perms, has_xd(self.high))
    }

    fn with_perms(&self, raw: u64, _level: u32, perms: Perms) -> Result<u64, EncodeError> {
        with_perms(raw, perms, has_xd(self.high))
    }

    fn usual_leaf(&self, level: u32) -> Option<LeafTest> {
        let exists = level < 2 || level == 2 && self.page1gb;
        exists.then(|| usual(self.high, level, self.shift(level)))
    }

    fn reshape(&self, raw: u64, level: u32, base: PhysAddr, to: u32) -> Result<u64, EncodeError> {
        // As a page with no rights to speak of would be placed.
        self.encode_leaf(base, to, Perms::READ | Perms::EXECUTE)?;
        Ok(reshaped(raw, level, base.0, to))
    }

    fn perms(&self, raw: u64, _level: u32) -> Perms {
        perms_of(raw)
    }
}

impl Encode for Pae {
    fn translates(&self, va: u64) -> bool {
        // A walk that begins below the PDPTE registers sees the gigabyte of one of them.
        va >> (self.shift(self.top) + self.index_bits(self.top)) == 0
    }

    fn encode_table(&self, base: PhysAddr, level: u32) -> Result<u64, EncodeError> {
        match level {
            1 => Ok(place(base, level, self.high)? | OPEN),
            2 if self.top == 2 => Ok(place(base, level, self.pdpte)? | Pte::PRESENT.bits()),
            _ => Err(EncodeError::Level { level }),
        }
    }

    fn encode_leaf(&self, base: PhysAddr, level: u32, perms: Perms) -> Result<u64, EncodeError> {
        if level > 1 {
            return Err(EncodeError::Level { level });
        }
        place(base, level, self.high)?;
        leaf(base, level, self.shift(level), perms, has_xd(self.high))
    }

    fn with_perms(&self, raw: u64, _level: u32, perms: Perms) -> Result<u64, EncodeError> {
        with_perms(raw, perms, has_xd(self.high))
    }

    fn usual_leaf(&self, level: u32) -> Option<LeafTest> {
        (level < 2).then(|| usual(self.high, level, self.shift(level)))
    }

    fn reshape(&self, raw: u64, level: u32, base: PhysAddr, to: u32) -> Result<u64, EncodeError> {
        self.encode_leaf(base, to, Perms::READ | Perms::EXECUTE)?;
        Ok(reshaped(raw, level, base.0, to))
    }

    fn perms(&self, raw: u64, _level: u32) -> Perms {
        perms_of(raw)
    }
}

impl Encode for Legacy32 {
    fn translates(&self, va: u64) -> bool {
        va >> 32 == 0
    }

    fn encode_table(&self, base: PhysAddr, level: u32) -> Result<u64, EncodeError> {
        if level != 1 {
            return Err(EncodeError::Level { level });
        }
        Ok(place(base, level, !0xffff_f000)? | OPEN)
    }

    fn encode_leaf(&self, base: PhysAddr, level: u32, perms: Perms) -> Result<u64, EncodeError> {
        match level {
            0 => place(base, level, !0xffff_f000).and_then(|_| leaf(base, level, 12, perms, false)),
            1 if self.pse => {
                let raw = leaf(base, level, 22, perms, false)?;
                // PSE-36: the address from bit 32 up goes to bits 13 and up.
                let high = base.0 >> 32;
                if high > 0xff || high << 13 & self.large != 0 {
                    return Err(EncodeError::Address { base, level });
                }
                Ok(raw & 0xffff_ffff | high << 13)
            }
            _ => Err(EncodeError::Level { level }),
        }
    }

    fn with_perms(&self, raw: u64, _level: u32, perms: Perms) -> Result<u64, EncodeError> {
        with_perms(raw, perms, false)
    }

    fn usual_leaf(&self, level: u32) -> Option<LeafTest> {
        let (present, large) = (Pte::PRESENT.bits(), Pte::LARGE.bits());
        match level {
            0 => Some(LeafTest { mask: present, value: present, address: !low_mask(12) }),
            _ if self.pse => {
                let mask = present | large | self.large;
                Some(LeafTest { mask, value: present | large, address: !low_mask(13) })
            }
            _ => None,
        }
    }

    fn reshape(&self, raw: u64, level: u32, base: PhysAddr, to: u32) -> Result<u64, EncodeError> {
        let placed = self.encode_leaf(base, to, Perms::READ | Perms::EXECUTE)? & 0xffff_e000;
        let page = if to == 0 { base.0 } else { placed };
        Ok(reshaped(raw & 0x1fff, level, page, to))
    }

    fn perms(&self, raw: u64, _level: u32) -> Perms {
        perms_of(raw)
    }
}

impl EptFormat {
    /// Both execute bits where there are two.
    fn execute(&self) -> EptPte {
        if self.mode_based_execute { EptPte::EXECUTE | EptPte::USER_EXECUTE } else { EptPte::EXECUTE }
    }

    fn flags(&self, perms: Perms) -> Result<EptPte, EncodeError> {
        let mut flags = EptPte::empty();
        flags.set(EptPte::READ, perms.contains(Perms::READ));
        flags.set(EptPte::WRITE, perms.contains(Perms::WRITE));
        flags.set(self.execute(), perms.contains(Perms::EXECUTE));
        flags.set(EptPte::ACCESSED, perms.contains(Perms::ACCESSED));
        flags.set(EptPte::DIRTY, perms.contains(Perms::DIRTY));
        let grants = perms.intersects(Perms::READ | Perms::WRITE | Perms::EXECUTE);
        let marks = (perms & (Perms::ACCESSED | Perms::DIRTY)) - self.marks();
        let sayable = grants
            && marks.is_empty()
            && perms.contains(Perms::USER)
            && !perms.contains(Perms::GLOBAL)
            && !self.misconfigured(flags.bits());
        if sayable { Ok(flags) } else { Err(EncodeError::Perms { perms }) }
    }
}

/// The memory type field of an EPT leaf, and write-back in it; 0 is uncacheable.
const MEMORY_TYPE: u64 = 7 << 3;
const WRITE_BACK: u64 = 6 << 3;

impl Encode for EptFormat {
    fn translates(&self, va: u64) -> bool {
        va >> (self.shift(self.top_level()) + 9) == 0
    }

    fn marks(&self) -> Perms {
        if self.marks { Perms::ACCESSED | Perms::DIRTY } else { Perms::empty() }
    }

    fn encode_table(&self, base: PhysAddr, level: u32) -> Result<u64, EncodeError> {
        if level == 0 || level > self.top_level() {
            return Err(EncodeError::Level { level });
        }
        let open = EptPte::READ | EptPte::WRITE | self.execute();
        Ok(place(base, level, self.high)? | open.bits())
    }

    fn encode_leaf(&self, base: PhysAddr, level: u32, perms: Perms) -> Result<u64, EncodeError> {
        if level > 2 || (level == 2 && !self.page1gb) {
            return Err(EncodeError::Level { level });
        }
        let address = place(base, level, self.high | low_mask(self.shift(level)) & ADDRESS)?;
        let mut flags = self.flags(perms)?;
        flags.set(EptPte::LARGE, level > 0);
        let memory = if perms.contains(Perms::DEVICE) { 0 } else { WRITE_BACK };
        Ok(address | flags.bits() | memory)
    }

    fn with_perms(&self, raw: u64, level: u32, perms: Perms) -> Result<u64, EncodeError> {
        let flags = self.flags(perms)?;
        let own = EptPte::READ | EptPte::WRITE | self.execute();
        let own = if self.marks { own | EptPte::ACCESSED | EptPte::DIRTY } else { own };
        let mut kept = raw & !own.bits();
        if perms.contains(Perms::DEVICE) != self.perms(raw, level).contains(Perms::DEVICE) {
            kept &= !MEMORY_TYPE;
            kept |= if perms.contains(Perms::DEVICE) { 0 } else { WRITE_BACK };
        }
        Ok(kept | flags.bits())
    }

    /// Readable 4 KiB pages of ordinary memory.
    fn usual_leaf(&self, level: u32) -> Option<LeafTest> {
        let value = EptPte::READ.bits() | WRITE_BACK;
        let test = LeafTest { mask: self.high | value | MEMORY_TYPE, value, address: ADDRESS };
        (level == 0).then_some(test)
    }

    fn reshape(&self, raw: u64, _level: u32, base: PhysAddr, to: u32) -> Result<u64, EncodeError> {
        let page = self.encode_leaf(base, to, Perms::READ | Perms::USER)? & (ADDRESS | EptPte::LARGE.bits());
        Ok(raw & !(ADDRESS | EptPte::LARGE.bits()) | page)
    }

    fn perms(&self, raw: u64, _level: u32) -> Perms {
        let entry = EptPte::from_bits_retain(raw);
        let mut perms = Perms::USER;
        perms.set(Perms::READ, entry.contains(EptPte::READ));
        perms.set(Perms::WRITE, entry.contains(EptPte::WRITE));
        perms.set(Perms::EXECUTE, entry.contains(EptPte::EXECUTE));
        perms.set(Perms::ACCESSED, self.marks && entry.contains(EptPte::ACCESSED));
        perms.set(Perms::DIRTY, self.marks && entry.contains(EptPte::DIRTY));
        perms.set(Perms::DEVICE, raw & MEMORY_TYPE == 0);
        perms
    }
}
