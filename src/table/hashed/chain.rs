//! Chains of entries in guest memory, found by hashing: what the hashed and the inverted table have in common.
//!
//! ```text
//!   heads                          node, 32 bytes
//!   +----------+    link = node|1  +-------------------------------+ 0
//!   | link     | ----------------> | page address | count | valid  |   tag
//!   | 0        |                   +-------------------------------+ 8
//!   | link     | ---> ...          | entry, as the format has it   |
//!   +----------+                   +-------------------------------+ 16
//!    2^n, 8 bytes each             | link to the next, or 0        |
//!                                  +-------------------------------+ 24
//!                                  | chain's number          | ASID |
//!                                  +-------------------------------+
//! ```
//!
//! A node may be taken for another page while some hart walks through it. A walk therefore reads the tag again after
//! the entry, or the link, and begins anew if it changed: the count in the tag, in the bits below a page address, goes up
//! with every use of the node, so that the same page in the same node is not mistaken for no change. A node that was
//! taken for another chain before the walk came to it says so by the chain's number. (In the same chain it stands in
//! front, and all that stays comes after it.)

use crate::access::Width;
use crate::addr::{Asid, PhysAddr, VirtAddr, low_mask};
use crate::memory::PhysMemory;
use crate::radix::{Encode, EncodeError, Entry, Leaf, Perms, PteRef, PteSource, Stage, Stop};
use crate::table::radix::{put, read, swap};
use crate::table::walker::refusal;
use crate::table::{EditError, Mapping, Physical, Walker};

/// Bytes per node.
pub(super) const NODE: u64 = 32;
/// Bytes per head.
pub(super) const HEAD: u64 = 8;
/// A chain that is longer is taken for damaged, and none is made.
const MAX_CHAIN: u32 = 4096;
/// How often a search that met a node in change begins anew.
const MAX_RACES: u32 = 1 << 10;

const VALID: u64 = 1;
/// Where a chain's number stands above the ASID.
const CHAIN_SHIFT: u32 = 16;

/// The walking half of a [`HashedTable`](super::HashedTable) or [`InvertedTable`](super::InvertedTable): the chains
/// of one address space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chains<F> {
    pub(super) format: F,
    pub(super) heads: PhysAddr,
    /// log2 of the number of chains.
    pub(super) bits: u32,
    pub(super) asid: Asid,
}

/// A node that maps the page looked for.
pub(super) struct Found {
    pub(super) node: u64,
    /// The link that leads to it.
    link: PteRef,
    tag: u64,
    pub(super) raw: u64,
}

const fn word(addr: u64) -> PteRef {
    PteRef { addr, bytes: 8, level: 0, stage: Stage::First }
}

const fn tag(node: u64) -> PteRef {
    word(node)
}

pub(super) const fn pte(node: u64) -> PteRef {
    word(node.wrapping_add(8))
}

const fn next(node: u64) -> PteRef {
    word(node.wrapping_add(16))
}

const fn owner(node: u64) -> PteRef {
    word(node.wrapping_add(24))
}

impl<F: Encode> Chains<F> {
    pub(super) fn page_bits(&self) -> u32 {
        self.format.shift(0)
    }

    /// The chain that would hold the page at `va`.
    fn chain(&self, va: VirtAddr) -> u64 {
        let key = (va.0 >> self.page_bits()) ^ u64::from(self.asid.0).rotate_right(16);
        // Fibonacci hashing: the top bits of a product with 2^64 over the golden ratio.
        let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash.checked_shr(64 - self.bits).unwrap_or(0)
    }

    /// The first link of a chain.
    fn head(&self, chain: u64) -> PteRef {
        word(self.heads.0.wrapping_add(chain * HEAD))
    }

    /// What the last word of this space's nodes in a chain says.
    fn owner(&self, chain: u64) -> u64 {
        chain << CHAIN_SHIFT | u64::from(self.asid.0)
    }

    /// Finds the node of the page that holds `va`; `Absent` with the place of the last link where there is none.
    pub(super) fn search<S: PteSource>(&self, va: VirtAddr, source: &mut S) -> Result<Found, Stop<S::Error>> {
        let mut load = |at: PteRef| source.read(at).map_err(|error| Stop::Source { at, error });
        let (chain, mask) = (self.chain(va), low_mask(self.page_bits()));
        let mut link = self.head(chain);
        let mut raw = load(link)?;
        let mut races = 0;
        for _ in 0..MAX_CHAIN {
            if raw & VALID == 0 {
                return Err(Stop::Absent { at: link, raw, limits: 0 });
            }
            let node = raw & !VALID;
            let mark = load(tag(node))?;
            let owner = load(owner(node))?;
            let here = (mark ^ va.0) & !mask == 0 && owner == self.owner(chain);
            let word = load(if here { pte(node) } else { next(node) })?;
            // A node that is nobody's, or of another chain, or was taken for another page meanwhile leads elsewhere.
            let stayed = mark & VALID != 0 && owner >> CHAIN_SHIFT == chain && load(tag(node))? == mark;
            match (stayed, here) {
                (true, true) => return Ok(Found { node, link, tag: mark, raw: word }),
                (true, false) => (link, raw) = (next(node), word),
                (false, _) => {
                    races += 1;
                    if races == MAX_RACES {
                        break;
                    }
                    link = self.head(chain);
                    raw = load(link)?;
                }
            }
        }
        Err(Stop::Reserved { at: link, raw, limits: 0 })
    }

    /// The node of the page that holds `va`, if there is one; for editing.
    pub(super) fn lookup<M: PhysMemory + ?Sized>(
        &self,
        memory: &M,
        va: VirtAddr,
    ) -> Result<Option<Found>, EditError> {
        if !self.format.translates(va.0) {
            return Err(EditError::Untranslatable { va });
        }
        match self.search(va, &mut Physical(memory)) {
            Ok(found) => Ok(Some(found)),
            Err(Stop::Absent { .. }) => Ok(None),
            Err(stop) => Err(refusal(stop)),
        }
    }

    /// Refuses a page that is mapped.
    pub(super) fn check_free<M: PhysMemory + ?Sized>(
        &self,
        memory: &M,
        va: VirtAddr,
    ) -> Result<(), EditError> {
        let Some(found) = self.lookup(memory, va)? else { return Ok(()) };
        let leaf = self.leaf(&found).ok_or_else(|| self.reserved(&found))?;
        let Mapping { va: page, pa, size, .. } = self.mapping(va, &leaf);
        Err(EditError::AlreadyMapped { va, page, pa, size })
    }

    /// As [`lookup`](Self::lookup), where there must be one that begins at `va`.
    pub(super) fn page<M: PhysMemory + ?Sized>(&self, memory: &M, va: VirtAddr) -> Result<Found, EditError> {
        let found = self.lookup(memory, va)?.ok_or(EditError::NotMapped { va })?;
        if !va.is_aligned(self.page_bits()) {
            let page = self.mapping(va, &self.leaf(&found).ok_or_else(|| self.reserved(&found))?);
            return Err(EditError::InsidePage { va, page: page.va, size: page.size });
        }
        Ok(found)
    }

    /// Makes the unused `node` the page's, in front of its chain.
    pub(super) fn insert<M: PhysMemory + ?Sized>(
        &self,
        memory: &M,
        node: u64,
        va: VirtAddr,
        raw: u64,
    ) -> Result<(), EditError> {
        let (chain, mask) = (self.chain(va), low_mask(self.page_bits()));
        let head = self.head(chain);
        let count = read(memory, tag(node))? & mask & !VALID;
        put(memory, pte(node), raw)?;
        put(memory, owner(node), self.owner(chain))?;
        put(memory, next(node), read(memory, head)?)?;
        put(memory, tag(node), (va.0 & !mask) | count | VALID)?;
        swap(memory, head, |_| Ok(node | VALID)).map(drop)
    }

    /// Takes a node out of its chain; yields its entry as it stood at the end.
    pub(super) fn remove<M: PhysMemory + ?Sized>(&self, memory: &M, found: &Found) -> Result<u64, EditError> {
        let after = read(memory, next(found.node))?;
        swap(memory, found.link, |_| Ok(after))?;
        let count = found.tag.wrapping_add(2) & low_mask(self.page_bits()) & !VALID;
        put(memory, tag(found.node), count)?;
        // No walk sets marks here any more: none that finds the entry finds its tag again.
        let raw = swap(memory, pte(found.node), |_| Ok(self.format.absent(0)))?;
        Ok(raw)
    }

    /// Whether a chain still has room for one more.
    pub(super) fn has_room<M: PhysMemory + ?Sized>(&self, memory: &M, va: VirtAddr) -> Result<(), EditError> {
        let mut link = self.head(self.chain(va));
        for _ in 0..MAX_CHAIN - 1 {
            let raw = read(memory, link)?;
            if raw & VALID == 0 {
                return Ok(());
            }
            link = next(raw & !VALID);
        }
        Err(EditError::Full { va })
    }

    /// Whether `node` is somebody's.
    pub(super) fn is_used<M: PhysMemory + ?Sized>(
        &self,
        memory: &M,
        node: u64,
    ) -> Result<Option<(VirtAddr, Asid)>, EditError> {
        let mark = read(memory, tag(node))?;
        if mark & VALID == 0 {
            return Ok(None);
        }
        let owner = Asid(read(memory, owner(node))? as u16);
        Ok(Some((VirtAddr(mark & !low_mask(self.page_bits())), owner)))
    }

    pub(super) fn leaf(&self, found: &Found) -> Option<Leaf> {
        match self.format.decode(found.raw, 0) {
            Entry::Leaf { base, size_bits } if size_bits == self.page_bits() => {
                Some(Leaf { base, size_bits, raw: found.raw, at: pte(found.node), limits: 0 })
            }
            _ => None,
        }
    }

    pub(super) fn reserved(&self, found: &Found) -> EditError {
        EditError::Reserved { at: PhysAddr(pte(found.node).addr), level: 0, raw: found.raw }
    }

    /// Replaces the rights and marks of a node's entry; yields it as it was, and whether it is another now.
    pub(super) fn change<M: PhysMemory + ?Sized>(
        &self,
        memory: &M,
        found: &mut Found,
        mut change: impl FnMut(Perms) -> Perms,
    ) -> Result<bool, EditError> {
        let mut same = true;
        found.raw = swap(memory, pte(found.node), |raw| {
            let new = self.format.with_perms(raw, 0, change(self.format.perms(raw, 0)))?;
            same = new == raw;
            Ok(new)
        })?;
        Ok(!same)
    }
}

impl<F: Encode> Walker for Chains<F> {
    fn find<S: PteSource>(&self, va: VirtAddr, source: &mut S) -> Result<Leaf, Stop<S::Error>> {
        let found = self.search(va, source)?;
        self.leaf(&found).ok_or(Stop::Reserved { at: pte(found.node), raw: found.raw, limits: 0 })
    }

    fn translates(&self, va: VirtAddr) -> bool {
        self.format.translates(va.0)
    }

    fn perms(&self, leaf: &Leaf) -> Perms {
        self.format.perms(leaf.raw, 0)
    }

    fn with_perms(&self, leaf: &Leaf, perms: Perms) -> Result<u64, EncodeError> {
        self.format.with_perms(leaf.raw, 0, perms)
    }

    fn marks(&self) -> Perms {
        self.format.marks()
    }
}

/// Fills `len` bytes from `at` on with zeros: heads without chains, nodes that are nobody's.
pub(super) fn clear<M: PhysMemory + ?Sized>(memory: &M, at: PhysAddr, len: u64) -> Result<(), EditError> {
    for offset in (0..len).step_by(Width::W8 as usize) {
        put(memory, word(at.0.wrapping_add(offset)), 0)?;
    }
    Ok(())
}
