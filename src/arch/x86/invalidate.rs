//! What each instruction and each control change drops (SDM Vol. 3A 4.10.4 and 12.9, Vol. 3C 29.4.3; APM Vol. 2
//! 5.5.2, 15.16).
//!
//! Translations are tagged by PCID (as [`Asid`]), by VPID or, on AMD, the guest's ASID (as [`Vmid`]), and by a regime:
//! the host, a guest without EPT, or a guest under one particular EPT root. The processor tags by the root itself; here
//! the last few roots each hold a regime of their own, and one that must make room drops what it held.

use super::control::{Control, Cr0, Cr4};
use super::nested::{Guest, Second};
use super::{Fault, Mode, X86};
use crate::addr::{Asid, VirtAddr, Vmid};
use crate::tlb::{Scope, Space, Span};

/// The regime of translations made outside any guest.
const HOST: u8 = 0;
/// The regime of guests whose translations do not depend on an EPT root.
const GUEST: u8 = 1;
/// The regime of the first EPT root.
const FIRST_EPT: u8 = 2;
/// How many EPT roots keep their translations at a time.
const ROOTS: usize = 8;

/// A fence instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fence {
    /// INVLPG: one page of the current PCID, global translations and all fragments of a large page included.
    Invlpg(VirtAddr),
    /// INVPCID type 0: one page of one PCID, global translations excepted.
    InvpcidAddress(Asid, VirtAddr),
    /// INVPCID type 1: one PCID, global translations excepted.
    InvpcidContext(Asid),
    /// INVPCID type 2: everything, global translations included.
    InvpcidAll,
    /// INVPCID type 3: everything, global translations excepted.
    InvpcidAllRetainingGlobal,
    /// INVVPID type 0: one page of one VPID, in every PCID.
    InvvpidAddress(Vmid, VirtAddr),
    /// INVVPID type 1: one VPID.
    InvvpidContext(Vmid),
    /// INVVPID type 2: every VPID but 0.
    InvvpidAll,
    /// INVVPID type 3: one VPID, global translations excepted.
    InvvpidContextRetainingGlobal(Vmid),
    /// INVEPT type 1: what was made under the EPT root that this EPT pointer names.
    InveptContext(u64),
    /// INVEPT type 2: what was made under any EPT root.
    InveptAll,
    /// INVLPGA: one page of one guest's ASID; ASID 0 is the host.
    Invlpga(VirtAddr, Vmid),
    /// VMRUN with TLB_CONTROL 1: everything.
    TlbControlAll,
    /// VMRUN with TLB_CONTROL 3: everything of this guest's ASID.
    TlbControlGuest(Vmid),
    /// VMRUN with TLB_CONTROL 7: everything of this guest's ASID, global translations excepted.
    TlbControlGuestNonGlobal(Vmid),
}

impl X86 {
    /// The fence that INVPCID with this type and descriptor is (SDM Vol. 2, INVPCID).
    ///
    /// # Errors
    /// #GP for an unknown type, reserved descriptor bits, a PCID without CR4.PCIDE, or a non-canonical address.
    pub fn invpcid(&self, kind: u64, descriptor: [u64; 2]) -> Result<Fence, Fault> {
        let [pcid, va] = descriptor;
        let bad = Fault::BAD_CONTROL;
        if kind > 3 || pcid >> 12 != 0 {
            return Err(bad);
        }
        if kind <= 1 && pcid != 0 && !self.registers.cr4.contains(Cr4::PCIDE) {
            return Err(bad);
        }
        let asid = Asid(pcid as u16);
        Ok(match kind {
            0 if self.mode().is_long() && !super::canonical(va, self.mode().linear_bits()) => {
                return Err(bad);
            }
            0 => Fence::InvpcidAddress(asid, VirtAddr(va)),
            1 => Fence::InvpcidContext(asid),
            2 => Fence::InvpcidAll,
            _ => Fence::InvpcidAllRetainingGlobal,
        })
    }
}

/// What stands for a PCID while a guest's paging is off. What is cached then is guest-physical (SDM Vol. 3C, 29.4.2), and
/// no translation of a linear address once paging is on: a hypervisor that turns it on need drop nothing.
const UNPAGED: Asid = Asid(0x1000);

/// The PCID that translations are made under.
pub(super) fn pcid(x86: &X86) -> Asid {
    if x86.mode() == Mode::Off {
        return UNPAGED;
    }
    let mask = if x86.registers.cr4.contains(Cr4::PCIDE) { 0xfff } else { 0 };
    Asid((x86.registers.cr3 & mask) as u16)
}

/// What tells one PCID from the others in a fence. With paging off, all are meant: those of before, too.
fn pcid_mask(x86: &X86) -> u64 {
    if x86.mode() == Mode::Off { 0 } else { Space::ASID }
}

/// The regime of `guest`, which is given one if its EPT root has none.
pub(super) fn regime(roots: &mut Roots, guest: Option<&Guest>) -> u8 {
    match guest {
        None => HOST,
        Some(Guest { second: Some(Second::Ept(ept)), .. }) => roots.enter(ept.root()),
        Some(_) => GUEST,
    }
}

/// The EPT roots that hold a regime, latest first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Roots {
    /// Root and regime, packed: roots are page-aligned.
    slots: [u64; ROOTS],
    used: u8,
}

impl Roots {
    fn find(&self, root: u64) -> Option<u8> {
        let slots = self.slots.iter().take(usize::from(self.used));
        slots.zip(FIRST_EPT..).find(|(slot, _)| **slot == root).map(|(_, regime)| regime)
    }

    fn enter(&mut self, root: u64) -> u8 {
        if let Some(regime) = self.find(root) {
            return regime;
        }
        if usize::from(self.used) == ROOTS {
            // All are taken: begin anew; `control` sees the count fall and drops what the old ones held.
            self.used = 0;
        }
        let place = usize::from(self.used);
        if let Some(slot) = self.slots.get_mut(place) {
            *slot = root;
        }
        self.used += 1;
        FIRST_EPT + place as u8
    }
}

/// The current translations of `x86`, in all PCIDs.
///
/// A fence reaches its VPID under every EPT root; VPID 0 alone is shared by host and guests, and told apart.
const fn own(x86: &X86, space: Space) -> Scope {
    let mask = if x86.vmid().0 == 0 { Space::REGIME | Space::VMID } else { Space::VMID };
    Scope { space, mask, globals: true, span: Span::All, leaves_only: false }
}

fn page(x86: &X86, va: VirtAddr) -> Option<Span> {
    let bits = x86.mode().linear_bits();
    if !x86.mode().is_long() {
        let va = va.0 & 0xffff_ffff;
        return Some(Span::Virtual { first: va, last: va });
    }
    // INVLPG of a non-canonical address does nothing (SDM Vol. 2, INVLPG).
    super::canonical(va.0, bits).then_some(Span::Virtual { first: va.0, last: va.0 })
}

fn vmid_scope(vmid: Vmid) -> Scope {
    Scope { space: Space::new(HOST, vmid, Asid(0)), mask: Space::VMID, ..Scope::ALL }
}

fn regime_scope(regime: u8) -> Scope {
    Scope { space: Space::new(regime, Vmid(0), Asid(0)), mask: Space::REGIME, ..Scope::ALL }
}

/// Tells what `fence` drops.
pub(super) fn fence(x86: &X86, fence: Fence, drop: &mut dyn FnMut(Scope)) {
    let space = x86.space();
    let own = own(x86, space);
    let of_pcid = |asid| {
        let space = Space::new(space.regime(), space.vmid(), asid);
        Scope { space, mask: own.mask | pcid_mask(x86), ..own }
    };
    match fence {
        Fence::Invlpg(va) => {
            if let Some(span) = page(x86, va) {
                drop(Scope { span, ..of_pcid(space.asid()) });
            }
        }
        Fence::InvpcidAddress(asid, va) => {
            if let Some(span) = page(x86, va) {
                drop(Scope { span, globals: false, ..of_pcid(asid) });
            }
        }
        Fence::InvpcidContext(asid) => drop(Scope { globals: false, ..of_pcid(asid) }),
        Fence::InvpcidAll => drop(own),
        Fence::InvpcidAllRetainingGlobal => drop(Scope { globals: false, ..own }),
        Fence::InvvpidAddress(vmid, VirtAddr(va)) => {
            drop(Scope { span: Span::Virtual { first: va, last: va }, ..vmid_scope(vmid) });
        }
        Fence::InvvpidContext(vmid) | Fence::TlbControlGuest(vmid) => drop(vmid_scope(vmid)),
        Fence::InvvpidContextRetainingGlobal(vmid) | Fence::TlbControlGuestNonGlobal(vmid) => {
            drop(Scope { globals: false, ..vmid_scope(vmid) });
        }
        Fence::InvvpidAll => (GUEST..FIRST_EPT + x86.ept_regimes.used).for_each(|r| drop(regime_scope(r))),
        Fence::InveptContext(eptp) => {
            if let Some(regime) = x86.ept_regimes.find(super::ept::root(eptp)) {
                drop(regime_scope(regime));
            }
        }
        Fence::InveptAll => (FIRST_EPT..FIRST_EPT + x86.ept_regimes.used).for_each(|r| drop(regime_scope(r))),
        Fence::Invlpga(VirtAddr(va), vmid) => {
            let span = Span::Virtual { first: va, last: va };
            drop(Scope { span, ..vmid_scope(vmid) });
        }
        Fence::TlbControlAll => drop(Scope::ALL),
    }
}

/// Tells what `change` drops, which led from `old` to `new`.
pub(super) fn control(old: &X86, new: &X86, change: Control, drop: &mut dyn FnMut(Scope)) {
    let space = new.space();
    let own = own(new, space);
    match change {
        // PG or PE changes: everything (SDM 12.9). The rest of CR0 changes rights, and those are not cached.
        Control::Cr0(_) => {
            if (old.registers.cr0 ^ new.registers.cr0).intersects(Cr0::PG | Cr0::PE) {
                drop(own);
            }
        }
        Control::Cr3(value) => {
            let keep = value >> 63 != 0 && new.registers.cr4.contains(Cr4::PCIDE);
            if !keep {
                drop(Scope { mask: own.mask | pcid_mask(new), globals: false, ..own });
            }
        }
        Control::Cr4(_) => {
            let changed = old.registers.cr4 ^ new.registers.cr4;
            let pcide_off = changed & old.registers.cr4 & Cr4::PCIDE == Cr4::PCIDE;
            let smep_on = changed & new.registers.cr4 & Cr4::SMEP == Cr4::SMEP;
            if pcide_off || changed.intersects(Cr4::PSE | Cr4::PAE | Cr4::PGE | Cr4::LA57) {
                drop(own);
            } else if smep_on {
                drop(Scope { mask: own.mask | pcid_mask(new), ..own });
            }
        }
        Control::Load(_) => drop(Scope::ALL),
        // Without a VPID, host and guest share VPID 0 and each transition drops all of it (SDM 29.4.3.1).
        Control::Enter { .. } => {
            if old.ept_regimes.used > new.ept_regimes.used {
                (FIRST_EPT..FIRST_EPT + ROOTS as u8).for_each(|r| drop(regime_scope(r)));
            }
            if untagged(old) || untagged(new) {
                drop(vmid_scope(Vmid(0)));
            }
        }
        Control::Efer(_)
        | Control::Pkru(_)
        | Control::Pkrs(_)
        | Control::Pat(_)
        | Control::Ac(_)
        | Control::Cpl(_)
        | Control::Pdptes(_) => {}
    }
}

fn untagged(x86: &X86) -> bool {
    x86.guest.is_some_and(|guest| guest.vmid.0 == 0)
}
