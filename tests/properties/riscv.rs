//! A RISC-V hart with two processes, and a guest with two of its own behind a second stage.

use softmmu::access::{Access, AccessKind, Width};
use softmmu::addr::VirtAddr;
use softmmu::arch::riscv::{
    Config, Control, Fence, Flavor, Privilege, PteRules, Riscv, Sv32, Sv32x4, Sv39, Sv39x4, Sv48, Sv48x4,
};
use softmmu::radix::Format;

use crate::guest::{Act, DATA, DATA_SIZE, Guest, Step, TABLES, offset, page, write};
use crate::tape::Tape;
use crate::tree::{Slot, Tree};

/// A paging mode pair: satp and vsatp's MODE, hgatp's MODE.
#[derive(Clone, Copy)]
enum Paging {
    Sv32,
    Sv39,
    Sv48,
}

/// Which tables a slot belongs to.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Host,
    Guest,
    Second,
}

pub struct RiscvGuest {
    paging: Paging,
    host: Tree,
    guest: Tree,
    second: Tree,
    /// The second stage's entry for the guest's own tables.
    identity: Slot,
    shift: fn(u32) -> u32,
    mode: (Privilege, bool),
    space: usize,
    vmid: u64,
    /// Whether there is physical memory protection.
    protected: bool,
}

const VMIDS: [u64; 2] = [1, 2];
const SUM: u64 = 1 << 18;
const MXR: u64 = 1 << 19;
const SVADU: u64 = 1 << 61;
const FULL: u64 = 0xdf;

impl RiscvGuest {
    fn build<S: Format, G: Format>(
        paging: Paging,
        first: &S,
        second: &G,
        high: u64,
        shift: fn(u32) -> u32,
    ) -> Self {
        let host = Tree::new(first, TABLES, high);
        let guest = Tree::new(first, host.end, high);
        let behind = Tree::new(second, guest.end, 0);
        // The guest's tables lie where they lie physically: one large page of the second stage holds them.
        let level = if matches!(paging, Paging::Sv32) { 1 } else { 2 };
        let mut identity = None;
        let mut table = behind.roots[0];
        for at in (level..=second.top_level()).rev() {
            let index = TABLES >> second.shift(at) & ((1 << second.index_bits(at)) - 1);
            let place = table + index * u64::from(second.pte_bytes());
            if at == level {
                let va = TABLES >> second.shift(at) << second.shift(at);
                identity = Some(Slot { places: [Some(place), None], level, va, child: None, space: None });
            } else {
                // Index 0, whose table is known.
                let slot = behind.slots.iter().find(|slot| slot.places[0] == Some(place));
                table = slot.and_then(|slot| slot.child).expect("the lowest index is in use");
            }
        }
        let identity = identity.expect("a level above");
        let mode = (Privilege::Supervisor, false);
        Self {
            paging,
            host,
            guest,
            second: behind,
            identity,
            shift,
            mode,
            space: 0,
            vmid: VMIDS[0],
            protected: false,
        }
    }

    fn width(&self) -> Width {
        if matches!(self.paging, Paging::Sv32) { Width::W4 } else { Width::W8 }
    }

    fn satp(&self, root: u64, asid: u64) -> u64 {
        match self.paging {
            Paging::Sv32 => 1 << 31 | asid << 22 | root >> 12,
            Paging::Sv39 => 8 << 60 | asid << 44 | root >> 12,
            Paging::Sv48 => 9 << 60 | asid << 44 | root >> 12,
        }
    }

    fn hgatp(&self, vmid: u64) -> u64 {
        self.satp(self.second.roots[0], vmid)
    }

    /// A leaf's flags: often all that is needed, sometimes anything.
    fn flags(tape: &mut Tape<'_>, global: bool) -> u64 {
        let drawn = tape.below(0x100);
        let flags = match tape.below(8) {
            0..=3 => FULL & !(drawn & 0xc0),
            4..=5 => drawn & !0x20 | 0x4b,
            6 => drawn & !0x20 | 1,
            _ => drawn & !0x20,
        };
        if global { flags | drawn & 0x20 } else { flags & !0x20 }
    }

    fn entry(&self, stage: Stage, slot: &Slot, tape: &mut Tape<'_>) -> u64 {
        if let Some(child) = slot.child.filter(|_| !tape.chance(15)) {
            let junk = if tape.chance(2) { 1 << tape.pick(&[4, 6, 7, 9]) } else { 0 };
            return child >> 2 | 1 | junk;
        }
        let bits = (self.shift)(slot.level);
        let base = match stage {
            // The guest's pages lie where the second stage has something to say.
            Stage::Guest => {
                let slot = tape.pick(&self.second.slots);
                let near = tape.below(2) * 0x1000 + slot.va;
                let near = if tape.chance(20) { tape.pick(&DATA) } else { near };
                near & !softmmu::addr::low_mask(bits)
            }
            Stage::Host | Stage::Second => page(tape, bits),
        };
        // A global page that stands in two roots is found by one of them: what it would mark in the other is marked.
        let marked = if slot.places[1].is_some() { 0xc0 } else { 0 };
        let misaligned = if tape.chance(2) { 1 << 12 } else { 0 };
        let reserved =
            if tape.chance(2) && self.width() == Width::W8 { 1 << (54 + tape.below(10)) } else { 0 };
        (base | misaligned) >> 2 & ((1 << 54) - 1)
            | reserved & !(1 << 63)
            | marked
            | Self::flags(tape, slot.space.is_none() && stage != Stage::Second)
    }

    /// The identity page of the second stage: mostly as the guest's tables need it.
    fn identity_entry(&self, tape: &mut Tape<'_>) -> u64 {
        let flags = if tape.chance(80) { FULL & !(tape.next() & 0xc0) } else { Self::flags(tape, false) };
        self.identity.va >> 2 | flags
    }

    fn control(&mut self, tape: &mut Tape<'_>) -> Vec<Act<Riscv>> {
        let everything = Fence::SfenceVma { va: None, asid: None };
        let control = match tape.below(11) {
            0..=2 => {
                let privileges = [Privilege::Supervisor, Privilege::User, Privilege::Machine];
                self.mode = (tape.pick(&privileges), tape.chance(60));
                return vec![self.enter()];
            }
            3 => {
                self.space = tape.below(2) as usize;
                Control::Satp(self.satp(self.host.roots[self.space], self.space as u64))
            }
            4 => {
                let space = tape.below(2);
                Control::Vsatp(self.satp(self.guest.roots[space as usize], space))
            }
            5 => {
                self.vmid = tape.pick(&VMIDS);
                Control::Hgatp(self.hgatp(self.vmid))
            }
            6 => {
                let mprv = if tape.chance(30) {
                    1 << 17 | tape.pick(&[0, 1, 3]) << 11 | tape.below(2) << 39
                } else {
                    0
                };
                Control::Mstatus(tape.next() & (SUM | MXR) | mprv)
            }
            7 => Control::Vsstatus(tape.next() & (SUM | MXR)),
            8 => Control::Hstatus(tape.next() & 1 << 8),
            9 => {
                // A region of data, from eight bytes to pages, gets rights of its own.
                let size = 8 << tape.below(12);
                let base = (tape.pick(&DATA) + tape.below(DATA_SIZE)) & !(size - 1);
                let (index, cfg) = (tape.below(3) as u8, tape.next() as u8);
                let addr = base >> 2 | (size / 8 - 1);
                let mut acts = vec![Act::Control(Control::PmpLoad { index, cfg, addr })];
                acts.extend(self.fence_all(everything));
                return acts;
            }
            _ => {
                // Who updates A and D changes: everything is fenced, as the manual asks.
                let envcfg = if tape.chance(50) { Control::Menvcfg } else { Control::Henvcfg };
                let value = tape.next() & SVADU;
                let mut acts = vec![Act::Control(envcfg(value))];
                acts.extend(self.fence_all(everything));
                return acts;
            }
        };
        vec![Act::Control(control)]
    }

    fn enter(&self) -> Act<Riscv> {
        Act::Control(Control::Mode { privilege: self.mode.0, virt: self.mode.1 })
    }

    /// `host`, executed in HS-mode, and everything of the guest's.
    fn fence_all(&self, host: Fence) -> Vec<Act<Riscv>> {
        let supervisor = Control::Mode { privilege: Privilege::Supervisor, virt: false };
        let second = Fence::HfenceGvma { gpa: None, vmid: None };
        vec![Act::Control(supervisor), Act::Fence(host), Act::Fence(second), self.enter()]
    }

    /// An entry changes.
    fn edit(&mut self, tape: &mut Tape<'_>) -> Vec<Act<Riscv>> {
        let (stage, tree) = match tape.below(4) {
            0..=1 => (Stage::Host, &self.host),
            2 => (Stage::Guest, &self.guest),
            _ => (Stage::Second, &self.second),
        };
        if stage == Stage::Second && tape.chance(30) {
            let mut acts = write(&self.identity, self.width(), self.identity_entry(tape));
            acts.push(Act::Fence(Fence::HfenceGvma { gpa: None, vmid: None }));
            return acts;
        }
        let slot = tape.pick(&tree.slots);
        let mut acts = write(&slot, self.width(), self.entry(stage, &slot, tape));
        let va = slot.va + tape.below(1 << (self.shift)(slot.level));
        let leaf = slot.level == 0;
        match stage {
            Stage::Host => {
                let named = slot.space.map(|space| space as u16).filter(|_| tape.chance(70));
                let va = (leaf && tape.chance(70)).then_some(va);
                let supervisor = Control::Mode { privilege: Privilege::Supervisor, virt: false };
                acts.extend([
                    Act::Control(supervisor),
                    Act::Fence(Fence::SfenceVma { va, asid: named }),
                    self.enter(),
                ]);
            }
            Stage::Guest => {
                let named = slot.space.map(|space| space as u16).filter(|_| tape.chance(70));
                let va = (leaf && tape.chance(70)).then_some(va);
                for vmid in VMIDS {
                    acts.push(Act::Control(Control::Hgatp(self.hgatp(vmid))));
                    acts.push(Act::Fence(Fence::HfenceVvma { va, asid: named }));
                }
                acts.push(Act::Control(Control::Hgatp(self.hgatp(self.vmid))));
            }
            Stage::Second => {
                let gpa = (leaf && tape.chance(70)).then_some(va);
                if tape.chance(50) {
                    acts.push(Act::Fence(Fence::HfenceGvma { gpa, vmid: None }));
                } else {
                    acts.extend(
                        VMIDS.map(|vmid| Act::Fence(Fence::HfenceGvma { gpa, vmid: Some(vmid as u16) })),
                    );
                }
            }
        }
        acts
    }
}

impl Guest for RiscvGuest {
    type Arch = Riscv;

    fn new(tape: &mut Tape<'_>) -> Self {
        let rules = PteRules::default();
        let shift39 = |level| 12 + 9 * level;
        let protected = tape.chance(50);
        let guest = match tape.below(3) {
            0 => {
                let (first, second) = (Sv39::new(rules), Sv39x4::new(rules));
                Self::build(Paging::Sv39, &first, &second, !0 << 39, shift39)
            }
            1 => {
                let (first, second) = (Sv48::new(rules), Sv48x4::new(rules));
                Self::build(Paging::Sv48, &first, &second, !0 << 48, shift39)
            }
            _ => {
                let (first, second) = (Sv32::new(rules), Sv32x4::new(rules));
                Self::build(Paging::Sv32, &first, &second, 0, |level| 12 + 10 * level)
            }
        };
        Self { protected, ..guest }
    }

    fn arch(&self) -> Riscv {
        let config = if matches!(self.paging, Paging::Sv32) { Config::rv32() } else { Config::rv64() };
        Riscv::new(Config { pmp_entries: if self.protected { 4 } else { 0 }, ..config })
    }

    fn start(&mut self, tape: &mut Tape<'_>) -> Vec<Act<Riscv>> {
        let mut acts = Vec::new();
        for (stage, tree) in
            [(Stage::Host, &self.host), (Stage::Guest, &self.guest), (Stage::Second, &self.second)]
        {
            for slot in &tree.slots {
                acts.extend(write(slot, self.width(), self.entry(stage, slot, tape)));
            }
        }
        acts.extend(write(&self.identity, self.width(), self.identity.va >> 2 | FULL));
        acts.push(Act::Control(Control::PmpLoad { index: 3, cfg: 3 << 3 | 7, addr: u64::MAX }));
        acts.push(Act::Control(Control::Satp(self.satp(self.host.roots[0], 0))));
        acts.push(Act::Control(Control::Vsatp(self.satp(self.guest.roots[0], 0))));
        acts.push(Act::Control(Control::Hgatp(self.hgatp(self.vmid))));
        acts.push(Act::Control(Control::Menvcfg(SVADU & tape.next())));
        acts.push(Act::Control(Control::Henvcfg(SVADU & tape.next())));
        acts.push(self.enter());
        acts
    }

    fn step(&mut self, tape: &mut Tape<'_>) -> Step<Riscv> {
        match tape.below(16) {
            0..=10 => {
                let (kind, flavor) = match tape.below(16) {
                    0..=5 => (AccessKind::Read, Flavor::Normal),
                    6..=9 => (AccessKind::Write, Flavor::Normal),
                    10..=11 => (AccessKind::Execute, Flavor::Normal),
                    12 => (AccessKind::ReadWrite, Flavor::Normal),
                    13 => (tape.pick(&[AccessKind::Read, AccessKind::Write]), Flavor::LrSc),
                    14 => (tape.pick(&[AccessKind::Read, AccessKind::Write]), Flavor::Hlv),
                    _ => (AccessKind::Read, Flavor::Hlvx),
                };
                // HLV and its kin are not for virtual modes.
                let flavor = if self.mode.1 && flavor != Flavor::LrSc { Flavor::Normal } else { flavor };
                let guest = self.mode.1 || matches!(flavor, Flavor::Hlv | Flavor::Hlvx);
                let tree = if guest { &self.guest } else { &self.host };
                let slot = tape.pick(&tree.slots);
                let va = slot.va.wrapping_add(offset(tape, (self.shift)(slot.level)));
                let va = if tape.chance(2) { va ^ 1 << 50 } else { va };
                let va = if matches!(self.paging, Paging::Sv32) { va & 0xffff_ffff } else { va };
                Step::Access(Access { va: VirtAddr(va), len: tape.pick(&[1, 2, 4, 8]), kind, flavor })
            }
            11..=13 => Step::Kernel(self.control(tape)),
            _ => Step::Kernel(self.edit(tape)),
        }
    }
}
