//! Shadow-stack accesses (SDM Vol. 3A, 4.6.1; APM Vol. 2, 18.4): the page must be one, of the right owner.

use softmmu::access::AccessKind::{Execute, Read, Write};
use softmmu::arch::x86::{Config, Control, Cr4, Flavor, Mode, PageFaultCode as Code};

use crate::support::*;

const VA: u64 = 0x40_0000;
const PA: u64 = 0x80_0000;
const SS: Code = Code::SHADOW_STACK;

fn pc(leaf: u64) -> Pc {
    let mut registers = registers(Mode::Level4);
    registers.cr4 |= Cr4::CET;
    let mut pc = Pc::of(Config::INTEL, registers);
    pc.map(VA, 12, PA | leaf);
    pc
}

#[test]
fn a_shadow_stack_page_is_dirty_and_read_only() {
    for kind in [Read, Write] {
        let write = if kind == Write { Code::WRITE } else { Code::empty() };
        for leaf in 0..8 {
            let bits = P | (leaf & 1) * W | (leaf >> 1 & 1) * D | (leaf >> 2) * U;
            let page = bits & (W | D) == D;
            let user = bits & U != 0;
            let refused = Code::PRESENT | SS | write;
            let mut pc = pc(bits);
            let own = pc.touch(kind, VA, Flavor::ShadowStack);
            assert_eq!(own, if page && !user { Ok(PA) } else { pf(refused, VA) }, "{bits:#x}");
            let wruss = pc.touch(kind, VA, Flavor::UserShadowStack);
            let expected = if page && user { Ok(PA) } else { pf(refused | Code::USER, VA) };
            assert_eq!(wruss, expected, "{bits:#x}");
            assert_eq!(pc.user().touch(kind, VA, Flavor::ShadowStack), expected, "{bits:#x}");
        }
    }
}

#[test]
fn a_table_that_forbids_writes_makes_no_shadow_stack() {
    let mut pc = pc(P | U | D);
    let upper = pc.place(VA, 21);
    pc.poke(upper, pc.raw(upper) & !W);
    let refused = Code::PRESENT | SS | Code::USER;
    assert_eq!(pc.user().touch(Read, VA, Flavor::ShadowStack), pf(refused, VA));
}

#[test]
fn other_accesses_see_a_read_only_page() {
    let mut pc = pc(P | U | D);
    pc.user();
    assert_eq!(pc.read(VA), Ok(PA));
    assert_eq!(pc.fetch(VA), Ok(PA));
    assert_eq!(pc.write(VA), pf(Code::PRESENT | Code::USER | Code::WRITE, VA));
    // What the TLB holds by now serves the shadow stack as well.
    assert_eq!(pc.walks(|pc| assert_eq!(pc.touch(Write, VA, Flavor::ShadowStack), Ok(PA))), 0);
    assert_eq!(pc.touch(Execute, VA, Flavor::Normal), Ok(PA));
}

#[test]
fn protection_keys_hold_for_shadow_stacks() {
    let mut pc = pc(P | U | D | 3 << 59);
    pc.cr4(|cr4| cr4 | Cr4::PKE);
    pc.set(Control::Pkru(2 << 6));
    pc.user();
    assert_eq!(pc.touch(Read, VA, Flavor::ShadowStack), Ok(PA));
    let refused = Code::PRESENT | SS | Code::USER | Code::WRITE | Code::KEY;
    assert_eq!(pc.touch(Write, VA, Flavor::ShadowStack), pf(refused, VA));
}

#[test]
fn a_shadow_stack_behind_a_second_stage() {
    for second in [ept(), npt(Mode::Level4)] {
        let mut registers = registers(Mode::Level4);
        registers.cr4 |= Cr4::CET;
        let mut pc = Pc::nested_of(Config::INTEL, registers, softmmu::addr::Vmid(1), second);
        pc.map(VA, 12, PA | P | U | D);
        let leaf = pc.split2(PA, PA | EPT_OPEN);
        assert_eq!(pc.user().touch(Write, VA, Flavor::ShadowStack), Ok(PA));
        pc.poke(
            leaf,
            PA | if matches!(second, softmmu::arch::x86::Second::Ept(_)) { 1 | 6 << 3 } else { P | U },
        );
        pc.mmu.fence(softmmu::arch::x86::Fence::TlbControlAll);
        let fault = pc.touch(Write, VA, Flavor::ShadowStack).expect_err("read-only in the second stage");
        assert!(fault.guest_address().is_some() && fault.vector().is_none(), "{fault}");
        assert_ne!(
            fault.error_code()
                & if matches!(second, softmmu::arch::x86::Second::Ept(_)) { 1 << 13 } else { 1 << 6 },
            0
        );
    }
}
