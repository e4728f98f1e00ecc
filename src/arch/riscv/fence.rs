//! SFENCE.VMA, HFENCE.VVMA, HFENCE.GVMA and their Svinval halves: what each drops.

use super::context::regime;
use super::{Riscv, Xlen};
use crate::addr::{Asid, Vmid, low_mask};
use crate::tlb::{Scope, Space, Span};

/// A fence instruction. An operand is `None` where the instruction names `x0`.
///
/// SINVAL.VMA, HINVAL.VVMA and HINVAL.GVMA drop just what their fences drop ("Svinval"): use the same variants. The
/// ordering halves, SFENCE.W.INVAL and SFENCE.INVAL.IR, drop nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fence {
    /// SFENCE.VMA: the translations of `satp`; executed with V = 1, those of `vsatp` under the present VMID.
    SfenceVma {
        /// rs1: a virtual address. Not subject to pointer masking.
        va: Option<u64>,
        /// rs2: an ASID; global translations stay.
        asid: Option<u16>,
    },
    /// HFENCE.VVMA: the VS-stage translations under the present VMID.
    HfenceVvma {
        /// rs1: a guest virtual address.
        va: Option<u64>,
        /// rs2: a guest's ASID; global translations stay.
        asid: Option<u16>,
    },
    /// HFENCE.GVMA: the G-stage translations, of every VM or of one.
    HfenceGvma {
        /// rs1 shifted left by 2: a guest-physical address.
        gpa: Option<u64>,
        /// rs2: a VMID.
        vmid: Option<u16>,
    },
}

/// What the fence drops on this hart.
pub(super) fn scopes(hart: &Riscv, fence: Fence, drop: &mut dyn FnMut(Scope)) {
    match fence {
        Fence::SfenceVma { va, asid } if !hart.virt => drop(first_stage(hart, regime::HOST, 0, va, asid)),
        // Where `vsatp` is Bare there is nothing of the VS-stage to drop.
        Fence::SfenceVma { va, asid } | Fence::HfenceVvma { va, asid } => {
            drop(first_stage(hart, regime::GUEST, hart.hgatp.id, va, asid));
        }
        Fence::HfenceGvma { gpa, vmid } => {
            let id = vmid.unwrap_or(0) & low_mask(u32::from(hart.config.vmid_bits)) as u16;
            let mask = if vmid.is_some() { Space::REGIME | Space::VMID } else { Space::REGIME };
            let page = gpa.map_or(Span::All, |gpa| {
                let gpa = within(hart, gpa, 34);
                Span::Guest { first: gpa, last: gpa }
            });
            let paged = if hart.config.guest_fences_reach_tables { Span::All } else { page };
            for (regime, span) in [(regime::GUEST, paged), (regime::GUEST_BARE, page)] {
                let space = Space::new(regime, Vmid(id), Asid(0));
                drop(Scope { space, mask, globals: true, span, leaves_only: false });
            }
        }
    }
}

/// The address as far as RV32 has bits for it.
fn within(hart: &Riscv, address: u64, bits: u32) -> u64 {
    match hart.config.xlen {
        Xlen::Rv32 => address & low_mask(bits),
        Xlen::Rv64 => address,
    }
}

/// One regime's stage-one translations. An address that no mode can translate is on no page, and drops nothing.
fn first_stage(hart: &Riscv, regime: u8, vmid: u16, va: Option<u64>, asid: Option<u16>) -> Scope {
    // Bits of rs2 above the implemented ASID bits are ignored.
    let id = asid.unwrap_or(0) & low_mask(u32::from(hart.config.asid_bits)) as u16;
    let mask = Space::REGIME | Space::VMID | if asid.is_some() { Space::ASID } else { 0 };
    Scope {
        space: Space::new(regime, Vmid(vmid), Asid(id)),
        mask,
        globals: asid.is_none(),
        span: va.map_or(Span::All, |va| {
            let va = within(hart, va, 32);
            Span::Virtual { first: va, last: va }
        }),
        leaves_only: va.is_some() && hart.config.address_fences_spare_tables,
    }
}
