//! Extended page tables (SDM Vol. 3C, 29.3).
//!
//! ```text
//!  63 51 ........ 12 11  10   9   8   7   6    5..3    2   1   0
//! +--+--------------+--+----+---+---+---+----+-------+---+---+---+
//! |  |   address    |  | XU | D | A |PS |IPAT|memtype| X | W | R |     XU: only with mode-based execute control
//! +--+--------------+--+----+---+---+---+----+-------+---+---+---+     A, D: only with EPTP bit 6
//! ```
//!
//! An entry that grants nothing is absent. What cannot be granted (write without read), reserved bits and reserved
//! memory types are a *misconfiguration*; anything else that stops an access is a *violation*. Sub-page write
//! permissions, supervisor shadow-stack control, paging-write and guest-paging verification are not modelled: their
//! entry bits are ignored, as on a processor without them.

use super::config::Config;
use super::fault::{EptQualification, Fault};
use super::nested::{Mapped, Request};
use super::pte::ADDRESS;
use super::rights::Rights;
use super::walk::{Direct, Job, Judge, Marked};
use super::{X86, memtype, reserved};
use crate::addr::GuestAddr;
use crate::arch::{PteMemory, WalkError};
use crate::radix::{Entry, Format, Leaf, Stage};

bitflags::bitflags! {
    /// The flags of an EPT entry.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct EptPte: u64 {
        /// R: reads.
        const READ = 1;
        /// W: writes.
        const WRITE = 1 << 1;
        /// X: fetches; with mode-based execute control, from supervisor-mode linear addresses.
        const EXECUTE = 1 << 2;
        /// Ignore the guest's PAT. Leaves only.
        const IGNORE_PAT = 1 << 6;
        /// The entry maps a large page.
        const LARGE = 1 << 7;
        /// Has been used, while the EPT pointer asks for it.
        const ACCESSED = 1 << 8;
        /// Has been written through, while the EPT pointer asks for it. Leaves only.
        const DIRTY = 1 << 9;
        /// XU: fetches from user-mode linear addresses, with mode-based execute control.
        const USER_EXECUTE = 1 << 10;
    }
}

/// The EPT controls of a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ept {
    /// The EPT pointer (SDM 25.6.11): root, walk length, and bit 6 for accessed and dirty bits.
    pub pointer: u64,
    /// Mode-based execute control.
    pub mode_based_execute: bool,
}

/// The root that identifies translations made under an EPT pointer (EP4TA).
pub(super) const fn root(pointer: u64) -> u64 {
    pointer & ADDRESS
}

impl Ept {
    pub(super) const fn root(&self) -> u64 {
        root(self.pointer)
    }

    /// Whether entries are marked.
    pub(super) const fn marks(&self) -> bool {
        self.pointer & 1 << 6 != 0
    }

    /// The format of the tables.
    #[must_use]
    pub const fn format(&self, config: &Config) -> EptFormat {
        let five_levels = self.pointer >> 3 & 7 == 4;
        EptFormat {
            top: if five_levels { 4 } else { 3 },
            high: reserved::high(config, true, 51),
            execute_only: config.ept_execute_only,
            page1gb: config.ept_page1gb,
            mode_based_execute: self.mode_based_execute,
            marks: self.marks(),
        }
    }

    /// The tables, ready to be walked.
    pub(super) const fn tables(&self, config: &Config) -> EptTables {
        EptTables { format: self.format(config), root: self.root() }
    }
}

/// The tables that an EPT pointer names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct EptTables {
    pub(super) format: EptFormat,
    pub(super) root: u64,
}

impl EptTables {
    pub(super) fn translate<P: PteMemory>(
        &self,
        x86: &X86,
        request: Request,
        memory: &mut P,
    ) -> Result<Mapped, WalkError<Fault>> {
        let Self { format, root } = *self;
        let judge = Violation { tables: *self, x86, request };
        // Bits that the tables cannot index must be zero (SDM 29.3.2).
        if request.gpa >> (if format.top_level() == 4 { 57 } else { 48 }) != 0 {
            return Err(WalkError::Fault(judge.absent(0)));
        }
        let job = Job {
            format,
            stage: Stage::Second,
            root,
            va: request.gpa,
            writes: request.writes(),
            on_fault: x86.config.accessed_on_fault,
        };
        let (Leaf { base, size_bits, raw, .. }, entry) = job.run(&mut Direct(memory), judge)?;
        Ok(self.mapped(base, size_bits, raw, entry, &request))
    }

    /// What the rights `granted` by all levels together are to the request; `None` if they do not suffice.
    #[inline]
    pub(super) fn granted(&self, granted: u64, request: &Request) -> Option<EptPte> {
        let need = if request.kind.contains(EptQualification::FETCH) {
            execute_bit(self.format.mode_based_execute, request).bits()
        } else {
            // READ and WRITE of the qualification are R and W of the entry.
            request.kind.bits() & 3
        };
        (granted & need == need).then_some(EptPte::from_bits_retain(granted))
    }

    /// What the stage answers where the leaf `raw` maps the page at `base` with the rights `granted` by all levels.
    #[inline]
    pub(super) fn mapped(
        &self,
        base: u64,
        size_bits: u32,
        raw: u64,
        granted: EptPte,
        request: &Request,
    ) -> Mapped {
        // R and W of the entry, in the place of READ2 and WRITE2; and the bit that allows fetches.
        let data = granted.bits() << 11 & (Rights::READ2.bits() | Rights::WRITE2.bits());
        let mut rights = Rights::from_bits_retain(data);
        rights.set(Rights::EXECUTE2, granted.contains(execute_bit(self.format.mode_based_execute, request)));
        let dirty = self.format.dirty();
        rights.set(Rights::DIRTY, raw & dirty == dirty);
        Mapped { base, size_bits, rights, attr: memtype::ept(raw >> 3 & 7, raw >> 6 & 1 != 0) }
    }
}

const _: () = assert!(
    EptPte::READ.bits() << 11 == Rights::READ2.bits() && EptPte::WRITE.bits() << 11 == Rights::WRITE2.bits()
);

/// The bit that allows fetches from the request's linear address.
#[inline]
fn execute_bit(mode_based_execute: bool, request: &Request) -> EptPte {
    let user = request.last.is_some_and(|rights| rights.contains(Rights::USER));
    if mode_based_execute && user { EptPte::USER_EXECUTE } else { EptPte::EXECUTE }
}

/// What EPT makes of the ends of its walks.
#[derive(Clone, Copy)]
struct Violation<'a> {
    tables: EptTables,
    x86: &'a X86,
    request: Request,
}

impl Violation<'_> {
    /// The violation, with the rights `granted` by all levels together.
    #[cold]
    fn violation(&self, granted: u64) -> Fault {
        let request = &self.request;
        let mut what = request.kind | EptQualification::from_bits_truncate((granted & 7) << 3);
        let user_execute =
            self.tables.format.mode_based_execute && granted & EptPte::USER_EXECUTE.bits() != 0;
        what.set(EptQualification::USER_EXECUTABLE, user_execute);
        what.set(EptQualification::LINEAR_VALID, request.linear.is_some());
        what.set(EptQualification::SHADOW_STACK, request.shadow_stack);
        if let Some(rights) = request.last {
            what |= EptQualification::FINAL;
            if self.x86.config.ept_advanced_info {
                what.set(EptQualification::USER_LINEAR, rights.contains(Rights::USER));
                what.set(EptQualification::LINEAR_WRITABLE, rights.contains(Rights::WRITE));
                what.set(EptQualification::LINEAR_NX, !rights.contains(Rights::EXECUTE));
            }
        }
        Fault::EptViolation { qualification: what, gpa: GuestAddr(request.gpa), va: request.va() }
    }
}

impl Judge for Violation<'_> {
    /// The rights of all levels together.
    type Granted = EptPte;

    fn absent(&self, _limits: u64) -> Fault {
        self.violation(0)
    }
    fn reserved(&self) -> Fault {
        Fault::EptMisconfiguration { gpa: GuestAddr(self.request.gpa), va: self.request.va() }
    }
    #[inline]
    fn grants(&self, leaf: &Leaf) -> Option<EptPte> {
        self.tables.granted(leaf.raw & leaf.limits, &self.request)
    }
    fn refusal(&self, leaf: &Leaf) -> Fault {
        self.violation(leaf.raw & leaf.limits)
    }
}

/// EPT tables as a format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EptFormat {
    top: u32,
    pub(super) high: u64,
    execute_only: bool,
    pub(super) page1gb: bool,
    pub(super) mode_based_execute: bool,
    pub(super) marks: bool,
}

impl EptFormat {
    const RIGHTS: u64 =
        EptPte::READ.bits() | EptPte::WRITE.bits() | EptPte::EXECUTE.bits() | EptPte::USER_EXECUTE.bits();

    pub(super) const fn has_four_levels(&self) -> bool {
        self.top == 3
    }

    /// The bits that grant something.
    #[inline]
    const fn rights(&self) -> u64 {
        if self.mode_based_execute { Self::RIGHTS } else { Self::RIGHTS & !EptPte::USER_EXECUTE.bits() }
    }

    /// Of an entry that points at a table: PS, and what only leaves have.
    pub(super) const TABLE_RESERVED: u64 = EptPte::LARGE.bits() | 0x78;

    /// An entry that is none of the usual.
    #[cold]
    fn special(&self, raw: u64, level: u32) -> Entry {
        if raw & self.rights() == 0 {
            return Entry::Absent;
        }
        if raw & self.high != 0 || self.misconfigured(raw) {
            return Entry::Reserved;
        }
        let large = raw & EptPte::LARGE.bits() != 0;
        let leaf = level == 0 || (large && (level == 1 || (level == 2 && self.page1gb)));
        if leaf {
            let bits = 12 + 9 * level;
            // Everything between the flags and the page's address is reserved.
            if reserved_type(raw) || raw & crate::addr::low_mask(bits) & !0xfff != 0 {
                return Entry::Reserved;
            }
            return Entry::Leaf { base: raw & ADDRESS, size_bits: bits };
        }
        if raw & Self::TABLE_RESERVED != 0 { Entry::Reserved } else { Entry::Table(raw & ADDRESS) }
    }

    /// Combinations of rights that do not exist (SDM 29.3.3.1).
    #[inline]
    pub(super) const fn misconfigured(&self, raw: u64) -> bool {
        let execute = self.rights() & !(EptPte::READ.bits() | EptPte::WRITE.bits());
        raw & EptPte::READ.bits() == 0
            && (raw & EptPte::WRITE.bits() != 0 || (!self.execute_only && raw & execute != 0))
    }
}

/// Whether a leaf's memory type is one of the reserved ones: 2, 3, 7.
#[inline]
const fn reserved_type(raw: u64) -> bool {
    0b1000_1100 >> (raw >> 3 & 7) & 1 != 0
}

impl Format for EptFormat {
    #[inline]
    fn pte_bytes(&self) -> u32 {
        8
    }
    #[inline]
    fn top_level(&self) -> u32 {
        self.top
    }
    #[inline]
    fn shift(&self, level: u32) -> u32 {
        12 + 9 * level
    }
    #[inline]
    fn index_bits(&self, _level: u32) -> u32 {
        9
    }
    #[inline]
    fn decode(&self, raw: u64, level: u32) -> Entry {
        // The usual entries, which can at least be read, are told by one compare; 4 KiB pages by their type besides.
        let readable = EptPte::READ.bits();
        if level > 0 && raw & (self.high | Self::TABLE_RESERVED | readable) == readable {
            return Entry::Table(raw & ADDRESS);
        }
        if level == 0 && raw & (self.high | readable) == readable && !reserved_type(raw) {
            return Entry::Leaf { base: raw & ADDRESS, size_bits: 12 };
        }
        self.special(raw, level)
    }
    #[inline]
    fn limits(&self, above: u64, raw: u64, _level: u32) -> u64 {
        above & raw
    }
    #[inline]
    fn initial_limits(&self) -> u64 {
        self.rights() | EptPte::ACCESSED.bits()
    }
}

impl Marked for EptFormat {
    #[inline]
    fn accessed(&self, _level: u32) -> u64 {
        if self.marks { EptPte::ACCESSED.bits() } else { 0 }
    }
    #[inline]
    fn dirty(&self) -> u64 {
        if self.marks { EptPte::DIRTY.bits() } else { 0 }
    }
}
