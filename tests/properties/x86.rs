//! An x86 processor with two processes, and a guest with two of its own behind EPT or nested paging.

use softmmu::access::{Access, AccessKind, Width};
use softmmu::addr::{Asid, VirtAddr, Vmid, low_mask};
use softmmu::arch::custom::{Bit, Config as Shape};
use softmmu::arch::x86::{
    Config, Control, Cr0, Cr4, Efer, Ept, Fence, Flavor, Guest as Running, Npt, Registers, Second, X86,
};

use crate::guest::{Act, DATA, Guest, Step, TABLES, offset, page, write};
use crate::tape::Tape;
use crate::tree::{Slot, Tree};

/// Which tables a slot belongs to.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Host,
    Guest,
    Second,
}

pub struct X86Guest {
    config: Config,
    host: Tree,
    guest: Tree,
    second: Tree,
    /// The second stage's entry for the guest's own tables.
    identity: Slot,
    ept: bool,
    stage: Second,
    /// The registers of the host and of the guest, and which guest runs.
    registers: [Registers; 2],
    running: Option<Vmid>,
}

const VMIDS: [Vmid; 2] = [Vmid(1), Vmid(2)];
/// Present, writable, user, accessed, dirty.
const FULL: u64 = 0x67;
/// Readable, writable, executable (for users too), write-back, accessed, dirty.
const EPT_FULL: u64 = 0x737;

fn shift(level: u32) -> u32 {
    12 + 9 * level
}

/// CR3 of a process.
fn cr3(tree: &Tree, space: usize) -> u64 {
    tree.roots[space] | pcid(space)
}

fn pcid(space: usize) -> u64 {
    space as u64 + 1
}

impl X86Guest {
    fn enter(&self) -> Act<X86> {
        let guest = self.running.map(|vmid| Running { vmid, second: Some(self.stage) });
        let registers = self.registers[usize::from(guest.is_some())];
        Act::Control(Control::Enter { registers, guest, pdptes: None })
    }

    /// `fences`, executed by the host (or by the guest `vmid`), whoever runs.
    fn with(&self, vmid: Option<Vmid>, fences: impl IntoIterator<Item = Fence>) -> Vec<Act<X86>> {
        let guest = vmid.map(|vmid| Running { vmid, second: Some(self.stage) });
        let registers = self.registers[usize::from(guest.is_some())];
        let mut acts = vec![Act::Control(Control::Enter { registers, guest, pdptes: None })];
        acts.extend(fences.into_iter().map(Act::Fence));
        acts.push(self.enter());
        acts
    }

    fn flags(tape: &mut Tape<'_>, global: bool) -> u64 {
        let drawn = tape.below(1 << 7) | (tape.next() & 0x79 << 57 & !(tape.next() & 1 << 63));
        let key = tape.below(3) << 59;
        let flags = match tape.below(8) {
            0..=3 => FULL & !(drawn & 0x60) | key,
            4..=5 => drawn & 0x66 | 1 | key,
            6 => drawn & (1 << 63 | 0x67) | 1,
            _ => drawn & 0x66,
        };
        if global { flags | tape.below(2) << 8 } else { flags }
    }

    fn ept_flags(tape: &mut Tape<'_>) -> u64 {
        match tape.below(8) {
            0..=4 => EPT_FULL & !(tape.next() & 0x300),
            5..=6 => EPT_FULL & !(tape.next() & 0x307),
            _ => tape.below(0x400) & !0x80,
        }
    }

    fn entry(&self, stage: Stage, slot: &Slot, tape: &mut Tape<'_>) -> u64 {
        let ept = stage == Stage::Second && self.ept;
        // What a walk from one root would mark in its own copy of the shared entry is marked in both.
        let marked = if slot.places[1].is_some() { 0x20 } else { 0 };
        let leaf = slot.level <= if self.config.page1gb { 2 } else { 1 };
        if let Some(child) = slot.child.filter(|_| !leaf || !tape.chance(15)) {
            let rights = if ept { 7 } else { FULL & !0x40 };
            let flags = if tape.chance(10) { tape.below(1 << 5) } else { rights };
            return child | flags & if ept { 7 } else { 0x27 } | marked;
        }
        let bits = shift(slot.level);
        let base = match stage {
            Stage::Guest => {
                let slot = tape.pick(&self.second.slots);
                let near = tape.below(2) * 0x1000 + slot.va;
                let near = if tape.chance(20) { tape.pick(&DATA) } else { near };
                near & !low_mask(bits)
            }
            Stage::Host | Stage::Second => page(tape, bits.min(30)) & !low_mask(bits),
        };
        let flags = match stage {
            Stage::Second if ept => Self::ept_flags(tape),
            Stage::Second => Self::flags(tape, false),
            _ => Self::flags(tape, slot.space.is_none()),
        };
        let misaligned = if tape.chance(2) { 1 << 13 } else { 0 };
        let large = if slot.level > 0 { 0x80 } else { 0 };
        base | misaligned | flags | marked | large
    }

    /// The identity page of the second stage: mostly as the guest's tables need it.
    fn identity_entry(&self, tape: &mut Tape<'_>) -> u64 {
        let full = if self.ept { EPT_FULL } else { FULL };
        let flags = match tape.below(5) {
            0 if self.ept => Self::ept_flags(tape),
            0 => Self::flags(tape, false),
            _ => full & !(tape.next() & if self.ept { 0x300 } else { 0x60 }),
        };
        self.identity.va | flags | 0x80
    }

    fn control(&mut self, tape: &mut Tape<'_>) -> Vec<Act<X86>> {
        let inside = usize::from(self.running.is_some());
        let tree = if inside == 1 { &self.guest } else { &self.host };
        let registers = &mut self.registers[inside];
        let control = match tape.below(9) {
            0..=1 => {
                let guests = [None, None, Some(VMIDS[0]), Some(VMIDS[1])];
                self.running = tape.pick(&guests);
                return vec![self.enter()];
            }
            2..=3 => {
                registers.cr3 = cr3(tree, tape.below(2) as usize);
                Control::Cr3(registers.cr3 | tape.below(2) << 63)
            }
            4..=5 => {
                registers.cpl = tape.pick(&[0, 3]);
                Control::Cpl(registers.cpl)
            }
            6 => {
                registers.ac = tape.chance(50);
                Control::Ac(registers.ac)
            }
            7 => {
                registers.cr0.set(Cr0::WP, tape.chance(50));
                Control::Cr0(registers.cr0.bits())
            }
            _ => match tape.below(4) {
                0 => {
                    registers.efer.set(Efer::NXE, tape.chance(70));
                    Control::Efer(registers.efer.bits())
                }
                1 => {
                    registers.pkru = tape.next() as u32 & 0x3f;
                    Control::Pkru(registers.pkru)
                }
                _ => {
                    let drawn = Cr4::from_bits_retain(tape.next());
                    for bit in [Cr4::PGE, Cr4::SMEP, Cr4::SMAP, Cr4::PKE] {
                        registers.cr4.set(bit, drawn.contains(bit));
                    }
                    Control::Cr4(registers.cr4.bits())
                }
            },
        };
        vec![Act::Control(control)]
    }

    fn edit(&mut self, tape: &mut Tape<'_>) -> Vec<Act<X86>> {
        let (stage, tree) = match tape.below(4) {
            0..=1 => (Stage::Host, &self.host),
            2 => (Stage::Guest, &self.guest),
            _ => (Stage::Second, &self.second),
        };
        let mut acts;
        let slot = tape.pick(&tree.slots);
        let va = VirtAddr(slot.va.wrapping_add(tape.below(1 << shift(slot.level))));
        let leaf = slot.level == 0 && tape.chance(70);
        let own = slot.space.map(|space| Asid(pcid(space) as u16));
        if stage == Stage::Second && tape.chance(30) {
            acts = write(&self.identity, Width::W8, self.identity_entry(tape));
        } else {
            acts = write(&slot, Width::W8, self.entry(stage, &slot, tape));
        }
        match stage {
            Stage::Host => {
                let fence = match own {
                    Some(asid) if leaf => Fence::InvpcidAddress(asid, va),
                    Some(asid) if tape.chance(70) => Fence::InvpcidContext(asid),
                    _ => Fence::InvpcidAll,
                };
                acts.extend(self.with(None, [fence]));
            }
            Stage::Guest => {
                for vmid in VMIDS {
                    match own {
                        Some(asid) if leaf => {
                            acts.extend(self.with(Some(vmid), [Fence::InvpcidAddress(asid, va)]))
                        }
                        _ if leaf && self.ept => acts.push(Act::Fence(Fence::InvvpidAddress(vmid, va))),
                        _ if self.ept => acts.push(Act::Fence(Fence::InvvpidContext(vmid))),
                        _ => acts.push(Act::Fence(Fence::TlbControlGuest(vmid))),
                    }
                }
            }
            Stage::Second => match self.stage {
                Second::Ept(ept) if tape.chance(50) => {
                    acts.push(Act::Fence(Fence::InveptContext(ept.pointer)))
                }
                Second::Ept(_) => acts.push(Act::Fence(Fence::InveptAll)),
                Second::Npt(_) => acts.extend(VMIDS.map(|vmid| Act::Fence(Fence::TlbControlGuest(vmid)))),
            },
        }
        acts
    }
}

impl Guest for X86Guest {
    type Arch = X86;

    fn new(tape: &mut Tape<'_>) -> Self {
        let ept = tape.chance(50);
        let config = if ept { Config::INTEL } else { Config::AMD };
        let shape = Shape::new(4096, &[9, 9, 9, 9], 8, Bit::high(0)).frame(12, 40).build().expect("a shape");
        let host = Tree::new(&shape, TABLES, !0 << 48);
        let guest = Tree::new(&shape, host.end, !0 << 48);
        let second = Tree::new(&shape, guest.end, 0);
        // The guest's tables lie where they lie physically: one page of 1 GiB holds them.
        let below = second.slots.iter().find(|slot| slot.places[0] == Some(second.roots[0]));
        let table = below.and_then(|slot| slot.child).expect("the lowest index is in use");
        let place = table + (TABLES >> 30) * 8;
        let identity = Slot { places: [Some(place), None], level: 2, va: TABLES, child: None, space: None };
        let registers = |tree: &Tree| Registers {
            cr0: Cr0::PE | Cr0::WP | Cr0::PG,
            cr3: cr3(tree, 0),
            cr4: Cr4::PAE | Cr4::PGE | Cr4::PCIDE | Cr4::PKE,
            efer: Efer::LME | Efer::LMA | Efer::NXE,
            ..Registers::default()
        };
        let pat = Registers::default().pat;
        let stage = if ept {
            let marks = if tape.chance(50) { 1 << 6 } else { 0 };
            Second::Ept(Ept { pointer: second.roots[0] | 0x1e | marks, mode_based_execute: false })
        } else {
            let cr4 = Cr4::PAE;
            Second::Npt(Npt { ncr3: second.roots[0], cr4, efer: Efer::LME | Efer::LMA | Efer::NXE, pat })
        };
        let registers = [registers(&host), registers(&guest)];
        Self { config, host, guest, second, identity, ept, stage, registers, running: None }
    }

    fn arch(&self) -> X86 {
        X86::with_registers(self.config, self.registers[0])
    }

    fn start(&mut self, tape: &mut Tape<'_>) -> Vec<Act<X86>> {
        let mut acts = Vec::new();
        for (stage, tree) in
            [(Stage::Host, &self.host), (Stage::Guest, &self.guest), (Stage::Second, &self.second)]
        {
            for slot in &tree.slots {
                acts.extend(write(slot, Width::W8, self.entry(stage, slot, tape)));
            }
        }
        let full = if self.ept { EPT_FULL } else { FULL };
        acts.extend(write(&self.identity, Width::W8, self.identity.va | full | 0x80));
        acts.push(self.enter());
        acts
    }

    fn step(&mut self, tape: &mut Tape<'_>) -> Step<X86> {
        match tape.below(16) {
            0..=10 => {
                let kinds = [AccessKind::Read, AccessKind::Write, AccessKind::Execute, AccessKind::ReadWrite];
                let flavors = [
                    Flavor::Normal,
                    Flavor::Normal,
                    Flavor::Normal,
                    Flavor::Stack,
                    Flavor::ImplicitSupervisor,
                ];
                let kind = tape.pick(&kinds);
                let data = matches!(kind, AccessKind::Read | AccessKind::Write);
                let flavor = if data { tape.pick(&flavors) } else { Flavor::Normal };
                let tree = if self.running.is_some() { &self.guest } else { &self.host };
                let slot = tape.pick(&tree.slots);
                let va = slot.va.wrapping_add(offset(tape, shift(slot.level)));
                let va = VirtAddr(if tape.chance(2) { va ^ 1 << 50 } else { va });
                Step::Access(Access { va, len: tape.pick(&[1, 2, 4, 8]), kind, flavor })
            }
            11..=13 => Step::Kernel(self.control(tape)),
            _ => Step::Kernel(self.edit(tape)),
        }
    }
}
