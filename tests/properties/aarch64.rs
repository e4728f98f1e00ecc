//! An AArch64 core at EL1 and EL0 with two processes, alone and as a guest behind stage 2, in all granules.

use std::collections::HashMap;

use softmmu::access::{Access, AccessKind, Width};
use softmmu::addr::{Asid, VirtAddr, low_mask};
use softmmu::arch::aarch64::{
    Aarch64, Config, Control, ExceptionLevel, Flavor, Granule, Pstate, RegimeKind, Register, Registers, Tlbi,
    TlbiTarget, Vmsa64,
};
use softmmu::radix::Format;

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

pub struct Aarch64Guest {
    granule: Granule,
    first: Vmsa64,
    host: Tree,
    guest: Tree,
    second: Tree,
    /// Stage 2's entry for the guest's own tables.
    identity: Slot,
    /// The last access and where it was aimed: edits come back to it, and so do accesses.
    last: Option<(Stage, Slot, Access<Flavor>)>,
    /// What was last written to each slot, by its first place.
    written: HashMap<u64, u64>,
    pstate: Pstate,
    sctlr: u64,
    tcr: u64,
    vtcr: u64,
    /// Stage 2 is on, and the guest's tables are in use.
    virtual_machine: bool,
    space: usize,
    vmid: u64,
}

const VMIDS: [u64; 2] = [1, 2];
const SCTLR: u64 = 0x30d0_0804;
const M: u64 = 1;
const WXN: u64 = 1 << 19;
const EPAN: u64 = 1 << 57;
const AF: u64 = 1 << 10;
const NG: u64 = 1 << 11;
const DBM: u64 = 1 << 51;
/// `HCR_EL2.RW`.
const RW: u64 = 1 << 31;
/// What TCR_EL1 may have besides sizes: HA, HD, HPD0, HPD1, TBI0, TBI1, TBID0, E0PD0, E0PD1.
const TCR_BITS: u64 = 0x3f << 37 | 1 << 51 | 3 << 55;
/// What VTCR_EL2 may: HA, HD.
const VTCR_BITS: u64 = 3 << 21;

/// T0SZ, T1SZ, TG0, TG1 and IPS; T0SZ, SL0, TG0 and PS. Two or three levels at either stage.
fn sizes(granule: Granule) -> (u64, u64) {
    let (size, tg0, tg1, sl0) = match granule {
        Granule::K4 => (25, 0, 2, 1),
        Granule::K16 => (28, 2, 1, 1),
        Granule::K64 => (22, 1, 3, 1),
    };
    (
        size | size << 16 | tg0 << 14 | tg1 << 30 | 5 << 32 | 1 << 36,
        size | sl0 << 6 | tg0 << 14 | 5 << 16 | 1 << 31,
    )
}

impl Aarch64Guest {
    fn root(&self) -> u64 {
        (if self.virtual_machine { &self.guest } else { &self.host }).roots[self.space]
    }

    /// The writes that make the lower half the present process's, and the upper half the first process's always.
    fn spaces(&self) -> [Act<Aarch64>; 3] {
        let tree = if self.virtual_machine { &self.guest } else { &self.host };
        [
            (Register::HcrEl2, RW | u64::from(self.virtual_machine)),
            (Register::Ttbr0El1, (self.space as u64) << 48 | self.root()),
            (Register::Ttbr1El1, tree.roots[0]),
        ]
        .map(|(register, value)| Act::Control(Control::Write(register, value)))
    }

    fn vttbr(&self, vmid: u64) -> Act<Aarch64> {
        Act::Control(Control::Write(Register::VttbrEl2, vmid << 48 | self.second.roots[0]))
    }

    fn shift(&self, slot: &Slot) -> u32 {
        self.first.shift(slot.level)
    }

    /// A leaf's flags: often all that is needed, sometimes anything.
    fn flags(stage: Stage, tape: &mut Tape<'_>) -> u64 {
        let drawn = tape.next();
        if stage == Stage::Second {
            let loose = 3 << 6 | 0xf << 2 | AF;
            return match tape.below(8) {
                0..=4 => loose & !(drawn & AF),
                5..=6 => loose & !(drawn & (1 << 7 | AF)) | drawn & (DBM | 3 << 53),
                _ => drawn & (0x7ff << 2 | DBM | 3 << 53) | 3 << 6,
            };
        }
        let user = 1 << 6;
        match tape.below(8) {
            0..=3 => user | AF & !drawn,
            4..=5 => user | AF | drawn & (1 << 7 | DBM | 3 << 53),
            6 => AF | drawn & (3 << 6 | DBM | 3 << 53),
            // Entry 1 of MAIR is Device memory.
            _ => drawn & (3 << 6 | AF | DBM | 3 << 53 | 1 << 2),
        }
    }

    fn entry(&self, stage: Stage, slot: &Slot, tape: &mut Tape<'_>) -> u64 {
        if tape.chance(4) {
            return tape.next() & !1;
        }
        let large = if stage == Stage::Guest { 40 } else { 15 };
        if let Some(child) = slot.child.filter(|_| !tape.chance(large)) {
            let bound = if stage != Stage::Second && tape.chance(8) { 1 << (59 + tape.below(4)) } else { 0 };
            return child | 3 | bound;
        }
        let bits = self.shift(slot);
        let base = match stage {
            // The guest's pages lie where stage 2 has something to say.
            Stage::Guest => {
                let near = tape.pick(&self.second.slots).va + (tape.below(2) << self.granule.bits());
                let near = if tape.chance(20) { tape.pick(&DATA) } else { near };
                near & !low_mask(bits)
            }
            Stage::Host | Stage::Second => page(tape, bits),
        };
        let beyond = if tape.chance(2) { 1 << 48 >> tape.below(4) } else { 0 };
        let run = if tape.chance(8) { 1 << 52 } else { 0 };
        let kind = if slot.level == 0 { 3 } else { 1 };
        let flags = Self::flags(stage, tape);
        // A page that stands in two roots is found by one of them: what it would mark in the other is marked.
        let flags = if slot.places[1].is_some() { (flags | AF) & !DBM } else { flags };
        let local = if stage == Stage::Second || slot.space.is_none() && tape.chance(50) { 0 } else { NG };
        base | beyond & 0xffff_ffff_f000 | run | kind | flags | local
    }

    /// Stage 2's page for the guest's tables: mostly as they need it.
    fn identity_entry(&self, tape: &mut Tape<'_>) -> u64 {
        let flags = if tape.chance(80) {
            3 << 6 | 0xf << 2 | AF & !tape.next()
        } else {
            Self::flags(Stage::Second, tape)
        };
        self.identity.va | 1 | flags
    }

    fn pstate(&mut self, tape: &mut Tape<'_>) -> Act<Aarch64> {
        let el = tape.pick(&[ExceptionLevel::El1, ExceptionLevel::El0]);
        self.pstate = Pstate { el, pan: tape.chance(20), uao: tape.chance(20) };
        Act::Control(Control::Pstate(self.pstate))
    }

    fn control(&mut self, tape: &mut Tape<'_>) -> Vec<Act<Aarch64>> {
        let everything = Act::Fence(Tlbi { regime: RegimeKind::El10, target: TlbiTarget::AllVmids });
        match tape.below(10) {
            0..=2 => vec![self.pstate(tape)],
            3..=4 => {
                self.space = tape.below(2) as usize;
                self.spaces().into()
            }
            5 => {
                self.virtual_machine = tape.chance(60);
                self.spaces().into()
            }
            6 => {
                self.vmid = tape.pick(&VMIDS);
                vec![self.vttbr(self.vmid)]
            }
            7..=8 => {
                // These act at once, without any fence.
                let off = if tape.chance(15) { M } else { 0 };
                self.sctlr = (SCTLR | M | tape.next() & (WXN | EPAN)) & !off;
                vec![Act::Control(Control::Write(Register::SctlrEl1, self.sctlr))]
            }
            _ => {
                let bits = tape.next();
                self.tcr = self.tcr & !TCR_BITS | bits & TCR_BITS & tape.next();
                self.vtcr = self.vtcr & !VTCR_BITS | bits & VTCR_BITS;
                vec![
                    Act::Control(Control::Write(Register::TcrEl1, self.tcr)),
                    Act::Control(Control::Write(Register::VtcrEl2, self.vtcr)),
                    everything,
                ]
            }
        }
    }

    /// The fences for one entry of stage 1, for every VMID: by address, ASID or range where they suffice.
    fn fences(&self, slot: &Slot, va: u64, by_address: bool, tape: &mut Tape<'_>) -> Vec<Act<Aarch64>> {
        let regime = RegimeKind::El10;
        let all = |target| Act::Fence(Tlbi { regime, target });
        if !by_address || tape.chance(20) {
            if tape.chance(50) {
                return vec![all(TlbiTarget::AllVmids)];
            }
            let each = VMIDS.into_iter().flat_map(|vmid| [self.vttbr(vmid), all(TlbiTarget::All)]);
            return each.chain([self.vttbr(self.vmid)]).collect();
        }
        let named = slot.space.map(|space| Asid(space as u16));
        let lower = match (tape.below(4), named) {
            (0, Some(asid)) => all(TlbiTarget::Asid(asid)),
            (1, _) => {
                let pages = 1 + tape.below(3);
                Act::Fence(Tlbi::pages(regime, va, pages, self.granule, named, true))
            }
            (2, _) => Act::Fence(Tlbi::page(regime, va, None, false)),
            _ => Act::Fence(Tlbi::page(regime, va, named, true)),
        };
        // The upper half is the first process's table again, under whatever ASID.
        let upper = Tlbi::page(regime, va | !low_mask(self.first.input_bits()), None, tape.chance(50));
        let mut acts = Vec::new();
        for vmid in VMIDS {
            let Act::Fence(lower) = lower else { continue };
            acts.extend([self.vttbr(vmid), Act::Fence(lower), Act::Fence(upper)]);
        }
        acts.push(self.vttbr(self.vmid));
        acts
    }

    /// An entry changes.
    fn edit(&mut self, tape: &mut Tape<'_>) -> Vec<Act<Aarch64>> {
        let aimed = self.last.filter(|_| tape.chance(50));
        let (stage, tree) = match (aimed, tape.below(4)) {
            (Some((Stage::Host, ..)), _) | (None, 0..=1) => (Stage::Host, &self.host),
            (Some((Stage::Guest, ..)), _) | (None, 2) => (Stage::Guest, &self.guest),
            _ => (Stage::Second, &self.second),
        };
        if stage == Stage::Second && tape.chance(30) {
            let mut acts = write(&self.identity, Width::W8, self.identity_entry(tape));
            acts.push(Act::Fence(Tlbi { regime: RegimeKind::El10, target: TlbiTarget::AllVmids }));
            return acts;
        }
        let slot = aimed.map_or_else(|| tape.pick(&tree.slots), |(_, slot, _)| slot);
        let entry = self.entry(stage, &slot, tape);
        let mut acts = write(&slot, Width::W8, entry);
        let va = slot.va + tape.below(1 << self.shift(&slot));
        // What a leaf translated goes with one address of it, however large; what a table led to goes as a whole.
        let place = slot.places.into_iter().flatten().next();
        let old = place.and_then(|place| self.written.insert(place, entry));
        let by_address = slot.level == 0 || old.is_none_or(|old| old & 3 != 3);
        if stage != Stage::Second || !by_address {
            acts.extend(self.fences(&slot, va, by_address, tape));
        } else {
            for vmid in VMIDS {
                let fence = Tlbi::intermediate(va, 1 + tape.below(2), self.granule, tape.chance(50));
                acts.extend([self.vttbr(vmid), Act::Fence(fence)]);
            }
            acts.push(self.vttbr(self.vmid));
        }
        acts
    }
}

impl Guest for Aarch64Guest {
    type Arch = Aarch64;

    fn new(tape: &mut Tape<'_>) -> Self {
        let granule = tape.pick(&[Granule::K4, Granule::K16, Granule::K64]);
        let (tcr, vtcr) = sizes(granule);
        let mut registers = Registers::default();
        for (register, value) in [
            (Register::SctlrEl1, SCTLR | M),
            (Register::TcrEl1, tcr),
            (Register::VtcrEl2, vtcr),
            (Register::HcrEl2, RW | 1),
        ] {
            registers.set(register, value);
        }
        let pstate = Pstate { el: ExceptionLevel::El1, pan: false, uao: false };
        let core = Aarch64::with_state(Config::FULL, registers, pstate);
        let (first, _) = core.stage1_table(false).expect("sizes that can be");
        let (second, _) = core.stage2_table().expect("sizes that can be");
        let host = Tree::new(&first, TABLES, 0);
        let guest = Tree::new(&first, host.end, 0);
        let behind = Tree::new(&second, guest.end, 0);
        // The guest's tables lie where they lie physically: one block of the start level holds them all.
        let level = second.top_level();
        let index = TABLES >> second.shift(level);
        let identity = Slot {
            places: [Some(behind.roots[0] + index * 8), None],
            level,
            va: index << second.shift(level),
            child: None,
            space: None,
        };
        Self {
            granule,
            first,
            host,
            guest,
            second: behind,
            identity,
            last: None,
            written: HashMap::new(),
            pstate,
            sctlr: SCTLR | M,
            tcr,
            vtcr,
            virtual_machine: false,
            space: 0,
            vmid: VMIDS[0],
        }
    }

    fn arch(&self) -> Aarch64 {
        Aarch64::with_state(Config::FULL, Registers::default(), self.pstate)
    }

    fn start(&mut self, tape: &mut Tape<'_>) -> Vec<Act<Aarch64>> {
        let mut acts = Vec::new();
        let mut written = HashMap::new();
        for (stage, tree) in
            [(Stage::Host, &self.host), (Stage::Guest, &self.guest), (Stage::Second, &self.second)]
        {
            for slot in &tree.slots {
                let entry = self.entry(stage, slot, tape);
                acts.extend(write(slot, Width::W8, entry));
                written.extend(slot.places.into_iter().flatten().next().map(|place| (place, entry)));
            }
        }
        self.written = written;
        acts.extend(write(&self.identity, Width::W8, self.identity.va | 1 | 3 << 6 | 0xf << 2 | AF));
        self.tcr |= tape.next() & 3 << 39;
        self.vtcr |= tape.next() & VTCR_BITS;
        for (register, value) in [
            (Register::SctlrEl1, self.sctlr),
            (Register::TcrEl1, self.tcr),
            (Register::VtcrEl2, self.vtcr),
            (Register::MairEl1, 0xff),
        ] {
            acts.push(Act::Control(Control::Write(register, value)));
        }
        acts.extend(self.spaces());
        acts.push(self.vttbr(self.vmid));
        acts
    }

    fn step(&mut self, tape: &mut Tape<'_>) -> Step<Aarch64> {
        match tape.below(16) {
            0..=10 => {
                let (kind, flavor) = match tape.below(16) {
                    0..=5 => (AccessKind::Read, Flavor::Ordinary),
                    6..=9 => (AccessKind::Write, Flavor::Ordinary),
                    10..=11 => (AccessKind::Execute, Flavor::Ordinary),
                    12 => (AccessKind::ReadWrite, Flavor::Ordinary),
                    13 => (tape.pick(&[AccessKind::Read, AccessKind::Write]), Flavor::Aligned),
                    14 => (AccessKind::Read, Flavor::CacheMaintenance),
                    _ => (tape.pick(&[AccessKind::Read, AccessKind::Write]), Flavor::Unprivileged),
                };
                let flat = self.sctlr & M == 0;
                let (stage, tree) = match (self.virtual_machine, flat) {
                    (true, true) => (Stage::Second, &self.second),
                    (true, false) => (Stage::Guest, &self.guest),
                    (false, _) => (Stage::Host, &self.host),
                };
                if let Some((_, _, access)) = self.last.filter(|_| tape.chance(30)) {
                    return Step::Access(access);
                }
                let slot = tape.pick(&tree.slots);
                let va = slot.va.wrapping_add(offset(tape, self.shift(&slot)));
                let va = if flat && !self.virtual_machine { tape.pick(&DATA) + offset(tape, 12) } else { va };
                let upper = if !flat && tape.chance(20) { !low_mask(self.first.input_bits()) } else { 0 };
                let tag = if tape.chance(10) { tape.next() << 56 } else { 0 };
                let bent = if tape.chance(2) { 1 << 50 } else { 0 };
                let va = VirtAddr((va | upper) ^ tag ^ bent);
                let access = Access { va, len: tape.pick(&[1, 2, 4, 8]), kind, flavor };
                self.last = Some((stage, slot, access));
                Step::Access(access)
            }
            11..=13 => Step::Kernel(self.control(tape)),
            _ => Step::Kernel(self.edit(tape)),
        }
    }
}
