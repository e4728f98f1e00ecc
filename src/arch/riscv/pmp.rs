//! Physical memory protection (privileged manual, "Physical Memory Protection"; Smepmp).
//!
//! Entries are kept as the guest writes them, and beside them the byte range that each one matches, so that a check
//! is a short scan. Nothing is cached per page: every access is checked over exactly its own bytes.

use super::csr::mseccfg;
use crate::addr::low_mask;

/// The most entries that the architecture has.
pub(super) const MAX_ENTRIES: usize = 64;

bitflags::bitflags! {
    /// `pmpNcfg`, its address-matching field aside.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct PmpFlags: u8 {
        /// Loads.
        const R = 1;
        /// Stores.
        const W = 1 << 1;
        /// Fetches.
        const X = 1 << 2;
        /// Locked: binds M-mode too, and cannot be written until reset.
        const L = 1 << 7;
    }
}

/// The address-matching field of `pmpNcfg`.
const MATCH_SHIFT: u32 = 3;
const OFF: u8 = 0;
const TOR: u8 = 1;
const NA4: u8 = 2;
/// Bits of `pmpNcfg` that exist.
const CFG_BITS: u8 = 0x9f;

/// What an access asks of physical memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PmpAccess {
    /// The rights it needs, all of them.
    pub(super) need: PmpFlags,
    /// Whether it is made with M-mode's privilege.
    pub(super) machine: bool,
}

/// The PMP registers of one hart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pmp {
    cfg: [u8; MAX_ENTRIES],
    addr: [u64; MAX_ENTRIES],
    /// First and last byte that each entry matches; first > last for none.
    range: [(u64, u64); MAX_ENTRIES],
    implemented: u8,
    grain: u8,
    mseccfg: u64,
    epoch: u32,
}

const NOWHERE: (u64, u64) = (1, 0);

impl Pmp {
    /// All entries off.
    pub(super) const fn new(implemented: u8, grain: u8) -> Self {
        Self {
            cfg: [0; MAX_ENTRIES],
            addr: [0; MAX_ENTRIES],
            range: [NOWHERE; MAX_ENTRIES],
            implemented: if implemented as usize > MAX_ENTRIES { MAX_ENTRIES as u8 } else { implemented },
            grain: if grain > 52 { 52 } else { grain },
            mseccfg: 0,
            epoch: 0,
        }
    }

    /// How often the registers changed.
    pub(super) const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whether a check can refuse anything.
    pub(super) const fn is_active(&self) -> bool {
        self.implemented > 0 || self.mseccfg & (mseccfg::MML | mseccfg::MMWP) != 0
    }

    /// Whether a locked entry exists.
    pub(super) fn any_locked(&self) -> bool {
        self.cfg.iter().any(|cfg| cfg & PmpFlags::L.bits() != 0)
    }

    /// `pmpNcfg` and `pmpaddrN` as a CSR read gives them; `None` past the implemented entries.
    ///
    /// With a granularity above 4 bytes the low bits of `pmpaddrN` read as ones (NAPOT) or zeros (OFF, TOR), whatever
    /// was written.
    #[must_use]
    pub fn entry(&self, index: usize) -> Option<(u8, u64)> {
        if index >= usize::from(self.implemented) {
            return None;
        }
        let (cfg, addr) = (*self.cfg.get(index)?, *self.addr.get(index)?);
        let grain = u32::from(self.grain);
        let shown = match (cfg >> MATCH_SHIFT & 3, grain) {
            (_, 0) => addr,
            (OFF | TOR, _) => addr & !low_mask(grain),
            _ => addr | low_mask(grain - 1),
        };
        Some((cfg, shown))
    }

    fn locked(&self, index: usize) -> bool {
        self.mseccfg & mseccfg::RLB == 0
            && self.cfg.get(index).is_some_and(|cfg| cfg & PmpFlags::L.bits() != 0)
    }

    pub(super) fn set_mseccfg(&mut self, value: u64) {
        if self.mseccfg != value {
            self.mseccfg = value;
            self.epoch = self.epoch.wrapping_add(1);
        }
    }

    /// A CSR write of one `pmpNcfg` byte: ignored for a locked entry, and for values that WARL excludes.
    pub(super) fn write_cfg(&mut self, index: usize, value: u8) {
        if index >= usize::from(self.implemented) || self.locked(index) {
            return;
        }
        let mut value = value & CFG_BITS;
        let lockdown = self.mseccfg & mseccfg::MML != 0;
        let flags = PmpFlags::from_bits_truncate(value);
        let shared = flags.contains(PmpFlags::W) && !flags.contains(PmpFlags::R);
        if shared && !lockdown {
            // R = 0 with W = 1 is reserved without MML.
            return;
        }
        // With MML and without RLB, no new rule may make memory executable for M-mode alone, nor locked for M and the
        // others (Smepmp, rule 4): the locked encodings with X other than RWX, and those with W and not R.
        let read_only = flags.contains(PmpFlags::R | PmpFlags::W | PmpFlags::X);
        let executable = shared || flags.contains(PmpFlags::X) && !read_only;
        if lockdown && self.mseccfg & mseccfg::RLB == 0 && flags.contains(PmpFlags::L) && executable {
            return;
        }
        if self.grain > 0 && value >> MATCH_SHIFT & 3 == NA4 {
            value =
                value & !(3 << MATCH_SHIFT) | self.cfg.get(index).copied().unwrap_or(0) & 3 << MATCH_SHIFT;
        }
        let addr = self.addr.get(index).copied().unwrap_or(0);
        self.load(index, value, addr);
    }

    /// A CSR write of `pmpaddrN`: ignored where the entry, or a TOR entry that it is the bottom of, is locked.
    pub(super) fn write_addr(&mut self, index: usize, value: u64) {
        let bottom_of_locked = self.locked(index + 1)
            && self.cfg.get(index + 1).is_some_and(|cfg| cfg >> MATCH_SHIFT & 3 == TOR);
        if index >= usize::from(self.implemented) || self.locked(index) || bottom_of_locked {
            return;
        }
        let cfg = self.cfg.get(index).copied().unwrap_or(0);
        self.load(index, cfg, value);
    }

    /// Puts an entry in place whatever is locked, as a reset or a restored snapshot does.
    pub(super) fn load(&mut self, index: usize, cfg: u8, addr: u64) {
        if index >= usize::from(self.implemented) {
            return;
        }
        if let (Some(c), Some(a)) = (self.cfg.get_mut(index), self.addr.get_mut(index)) {
            *c = cfg & CFG_BITS;
            *a = addr;
        }
        // The address is also the bottom of the next entry, should that be TOR.
        for changed in [index, index + 1] {
            let range = self.matched(changed);
            if let Some(slot) = self.range.get_mut(changed) {
                *slot = range;
            }
        }
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// The bytes that entry `index` matches ("Address Matching").
    fn matched(&self, index: usize) -> (u64, u64) {
        let (Some(&cfg), Some(&addr)) = (self.cfg.get(index), self.addr.get(index)) else { return NOWHERE };
        let grain = u32::from(self.grain);
        match cfg >> MATCH_SHIFT & 3 {
            OFF => NOWHERE,
            TOR => {
                let below = index.checked_sub(1).and_then(|i| self.addr.get(i)).copied().unwrap_or(0);
                let (bottom, top) = ((below & !low_mask(grain)) << 2, (addr & !low_mask(grain)) << 2);
                if bottom < top { (bottom, top - 1) } else { NOWHERE }
            }
            NA4 => (addr << 2, addr << 2 | 3),
            _ => {
                let addr = if grain > 0 { addr | low_mask(grain - 1) } else { addr };
                let size_bits = addr.trailing_ones() + 3;
                let base = (addr << 2) & !low_mask(size_bits);
                (base, base | low_mask(size_bits))
            }
        }
    }

    /// Whether the bytes `pa..pa + len` may be accessed: the lowest-numbered entry that matches any of them decides,
    /// and refuses unless it matches them all ("Priority and Matching Logic").
    pub(super) fn allows(&self, access: PmpAccess, pa: u64, len: u64) -> bool {
        let last = pa.saturating_add(len.saturating_sub(1));
        let lockdown = self.mseccfg & mseccfg::MML != 0;
        for (&cfg, &(first_byte, last_byte)) in
            self.cfg.iter().zip(&self.range).take(usize::from(self.implemented))
        {
            if first_byte > last || last_byte < pa || first_byte > last_byte {
                continue;
            }
            if pa < first_byte || last > last_byte {
                return false;
            }
            return granted(cfg, access.machine, lockdown).contains(access.need);
        }
        // No entry matches. M-mode may, unless the allow-list policy forbids it; under MML it may not fetch. S and U
        // may only where no entry is implemented at all.
        if access.machine {
            return self.mseccfg & mseccfg::MMWP == 0 && !(lockdown && access.need.contains(PmpFlags::X));
        }
        self.implemented == 0
    }
}

/// What a matching entry grants.
fn granted(cfg: u8, machine: bool, lockdown: bool) -> PmpFlags {
    let flags = PmpFlags::from_bits_truncate(cfg);
    let rwx = flags & (PmpFlags::R | PmpFlags::W | PmpFlags::X);
    let locked = flags.contains(PmpFlags::L);
    if !lockdown {
        return if machine && !locked { PmpFlags::R | PmpFlags::W | PmpFlags::X } else { rwx };
    }
    // Smepmp's truth table with MML set. W without R means a region shared by M and the others.
    if flags.contains(PmpFlags::W) && !flags.contains(PmpFlags::R) {
        let (r, w, x) = (PmpFlags::R, PmpFlags::W, PmpFlags::X);
        return match (locked, flags.contains(x), machine) {
            (false, false, true) => r | w,
            (false, false, false) => r,
            (false, true, _) => r | w,
            (true, false, _) => x,
            (true, true, true) => r | x,
            (true, true, false) => x,
        };
    }
    if locked && rwx.contains(PmpFlags::R | PmpFlags::W | PmpFlags::X) {
        // Locked RWX: a read-only region shared by all.
        return PmpFlags::R;
    }
    // Otherwise locked rules are M-mode's alone, and the rest S and U's alone.
    if machine == locked { rwx } else { PmpFlags::empty() }
}
