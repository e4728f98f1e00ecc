//! A machine with a table format of its own and the plainest rules.

use softmmu::access::{Access, AccessKind, Width};
use softmmu::addr::{Asid, PhysAddr, VirtAddr};
use softmmu::arch::custom::{Config, CustomFormat};
use softmmu::arch::software::{Control, Fence, Marks, Software};
use softmmu::radix::{Encode, Format, Perms};
use softmmu::table::RadixWalker;

use crate::guest::{Act, Guest, Step, TABLES, offset, page, write};
use crate::tape::Tape;
use crate::tree::{Slot, Tree};

pub struct SoftwareGuest {
    format: CustomFormat,
    tree: Tree,
    marks: Marks,
}

impl SoftwareGuest {
    fn entry(&self, slot: &Slot, tape: &mut Tape<'_>) -> u64 {
        if slot.child.is_some() && !tape.chance(15) {
            let child = PhysAddr(slot.child.unwrap_or_default());
            return self.format.encode_table(child, slot.level).expect("a table");
        }
        let mut perms = Perms::from_bits_truncate(tape.next() as u16 | Perms::READ.bits()) - Perms::DEVICE;
        if tape.chance(50) {
            perms |= Perms::READ | Perms::WRITE | Perms::EXECUTE | Perms::USER | Perms::ACCESSED;
        }
        if slot.space.is_some() {
            perms -= Perms::GLOBAL;
        }
        // A global page that stands in two roots is found by one of them: what it would mark in the other is marked.
        if slot.places[1].is_some() {
            perms |= Perms::ACCESSED | Perms::DIRTY;
        }
        let base = page(tape, self.format.shift(slot.level));
        match tape.below(8) {
            0 => 0,
            _ => self.format.encode_leaf(PhysAddr(base), slot.level, perms).expect("a leaf"),
        }
    }

    fn walker(&self, space: usize) -> RadixWalker<CustomFormat> {
        RadixWalker { format: self.format, root: PhysAddr(self.tree.roots[space]) }
    }
}

impl Guest for SoftwareGuest {
    type Arch = Software<RadixWalker<CustomFormat>>;

    fn new(tape: &mut Tape<'_>) -> Self {
        let format = Config::two_level_32().build().expect("a preset");
        let marks = tape.pick(&[Marks::Hardware, Marks::Software, Marks::Ignored]);
        Self { format, tree: Tree::new(&format, TABLES, 0), marks }
    }

    fn arch(&self) -> Self::Arch {
        Software::new(self.walker(0)).with_marks(self.marks)
    }

    fn start(&mut self, tape: &mut Tape<'_>) -> Vec<Act<Self::Arch>> {
        let slots = self.tree.slots.clone();
        slots.iter().flat_map(|slot| write(slot, Width::W4, self.entry(slot, tape))).collect()
    }

    fn step(&mut self, tape: &mut Tape<'_>) -> Step<Self::Arch> {
        let slot = tape.pick(&self.tree.slots);
        match tape.below(16) {
            0..=10 => {
                let kinds = [AccessKind::Read, AccessKind::Write, AccessKind::Execute, AccessKind::ReadWrite];
                let va = slot.va + offset(tape, self.format.shift(slot.level));
                let va = VirtAddr(if tape.chance(3) { va | 1 << 32 } else { va });
                let len = tape.pick(&[1, 2, 4, 8]);
                Step::Access(Access { va, len, kind: tape.pick(&kinds), flavor: () })
            }
            11 => Step::Kernel(vec![Act::Control(Control::User(tape.chance(50)))]),
            12 => {
                let space = tape.below(2) as usize;
                Step::Kernel(vec![Act::Control(Control::Table(self.walker(space), Asid(space as u16)))])
            }
            13 => Step::Kernel(vec![Act::Fence(match tape.below(3) {
                0 => Fence::All,
                1 => Fence::Space(Asid(tape.below(2) as u16)),
                _ => Fence::Page(VirtAddr(slot.va), Asid(tape.below(2) as u16)),
            })]),
            _ => {
                let mut acts = write(&slot, Width::W4, self.entry(&slot, tape));
                // One page's translations go with a fence for any of its addresses; a table's only with all.
                let va = VirtAddr(slot.va + tape.below(1 << self.format.shift(slot.level)));
                let fences = match slot.space {
                    Some(space) if slot.level == 0 && tape.chance(70) => {
                        vec![Fence::Page(va, Asid(space as u16))]
                    }
                    Some(space) if tape.chance(70) => vec![Fence::Space(Asid(space as u16))],
                    None if slot.level == 0 && tape.chance(70) => {
                        vec![Fence::Page(va, Asid(0)), Fence::Page(va, Asid(1))]
                    }
                    _ => vec![Fence::All],
                };
                acts.extend(fences.into_iter().map(Act::Fence));
                Step::Kernel(acts)
            }
        }
    }
}
