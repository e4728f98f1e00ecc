//! Several MMUs live through the same story; whatever they cache, they must tell it the same way.

use std::cell::RefCell;
use std::fmt::Debug;
use std::rc::Rc;

use softmmu::access::{Access, AccessKind, Width};
use softmmu::addr::PhysAddr;
use softmmu::arch::{Arch, FaultClass, GuestFault};
use softmmu::memory::{Bus, Device, DeviceError, PhysMemory, Ram, Value};
use softmmu::mmu::{AccessError, Mmu};
use softmmu::tlb::Tlb;

use crate::guest::{DATA, DATA_SIZE, DEVICE_SIZE, Guest, Step, TABLES, TABLES_SIZE};
use crate::tape::Tape;

/// A device that remembers every access.
#[derive(Clone, Default)]
struct Recorder(Rc<RefCell<Vec<(u64, Width, Option<u64>)>>>);

impl Device for Recorder {
    fn read(&self, offset: u64, width: Width) -> Result<u64, DeviceError> {
        self.0.borrow_mut().push((offset, width, None));
        Ok(offset.wrapping_mul(0x0101_0101_0101_0101) & width.mask())
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<(), DeviceError> {
        self.0.borrow_mut().push((offset, width, Some(value)));
        if offset % width.bytes() == 0 { Ok(()) } else { Err(DeviceError::Width) }
    }
}

/// One MMU with a memory of its own, whatever its TLB.
pub trait Hart<A: Arch> {
    fn name(&self) -> &str;
    fn access(&mut self, access: &Access<A::Flavor>) -> Result<u64, AccessError<A::Fault>>;
    /// What `probe` says: the first byte's place, and how many bytes it speaks for.
    fn probe(&self, access: &Access<A::Flavor>) -> Result<(u64, u64), AccessError<A::Fault>>;
    /// The same from `explain`, which asks no TLB.
    fn explain(&self, access: &Access<A::Flavor>) -> Result<(u64, u64), AccessError<A::Fault>>;
    fn control(&mut self, control: A::Control) -> Result<(), AccessError<A::Fault>>;
    fn fence(&mut self, fence: A::Fence);
    fn poke(&mut self, pa: u64, width: Width, value: u64);
    /// All RAM, and everything that devices were told.
    fn state(&self) -> (Vec<u8>, String);
    /// Counters that do not depend on the filter.
    fn counters(&mut self) -> String;
}

struct Machine<A: Arch, T: Tlb> {
    name: String,
    mmu: Mmu<A, Bus<Recorder>, T>,
    devices: Recorder,
    counters: fn(&T) -> String,
}

/// A machine named `name` with the TLB `tlb`, whose counters `counters` prints.
pub fn machine<'a, A: Arch + 'a, T: Tlb + 'a>(
    name: &str,
    arch: A,
    tlb: T,
    filter: bool,
    counters: fn(&T) -> String,
) -> Box<dyn Hart<A> + 'a> {
    let devices = Recorder::default();
    let mut bus = Bus::of();
    for base in DATA {
        let ram = Ram::new(PhysAddr(base), DATA_SIZE).expect("host memory");
        let bytes: Vec<u8> =
            (0..DATA_SIZE).map(|at| ((base >> 21) + (at >> 12) * 17 + at * 7) as u8).collect();
        ram.write_bytes(PhysAddr(base), &bytes).expect("RAM");
        bus.add_ram(ram).expect("free");
        bus.add_device(PhysAddr(base + DATA_SIZE), DEVICE_SIZE, devices.clone()).expect("free");
    }
    bus.add_ram(Ram::new(PhysAddr(TABLES), TABLES_SIZE).expect("host memory")).expect("free");
    let mut mmu = Mmu::new(arch, bus, tlb);
    mmu.set_filter(filter);
    Box::new(Machine { name: format!("{name}, filter {filter}"), mmu, devices, counters })
}

impl<A: Arch, T: Tlb> Machine<A, T> {
    fn typed<V: Value>(&mut self, access: &Access<A::Flavor>) -> Result<u64, AccessError<A::Fault>> {
        let Access { va, kind, flavor, .. } = *access;
        let ordinary = flavor == A::Flavor::default();
        // What is stored depends on where, so that a store gone astray shows.
        let stored = V::from_u64(va.0.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        match kind {
            AccessKind::Read if ordinary => self.mmu.load::<V>(va).map(V::to_u64),
            AccessKind::Read => self.mmu.load_as::<V>(va, flavor).map(V::to_u64),
            AccessKind::Write if ordinary => self.mmu.store(va, stored).map(|()| 0),
            AccessKind::Write => self.mmu.store_as(va, stored, flavor).map(|()| 0),
            AccessKind::Execute if ordinary => self.mmu.fetch::<V>(va).map(V::to_u64),
            AccessKind::ReadWrite if ordinary => {
                self.mmu.rmw(va, |old: V| V::from_u64(old.to_u64() ^ stored.to_u64())).map(V::to_u64)
            }
            AccessKind::Execute | AccessKind::ReadWrite => self.mmu.translate(access).map(|done| done.pa.0),
        }
    }
}

impl<A: Arch, T: Tlb> Hart<A> for Machine<A, T> {
    fn name(&self) -> &str {
        &self.name
    }

    fn access(&mut self, access: &Access<A::Flavor>) -> Result<u64, AccessError<A::Fault>> {
        match access.len {
            1 => self.typed::<u8>(access),
            2 => self.typed::<u16>(access),
            4 => self.typed::<u32>(access),
            _ => self.typed::<u64>(access),
        }
    }

    fn probe(&self, access: &Access<A::Flavor>) -> Result<(u64, u64), AccessError<A::Fault>> {
        self.mmu.probe(access).map(|done| (done.pa.0, done.len))
    }

    fn explain(&self, access: &Access<A::Flavor>) -> Result<(u64, u64), AccessError<A::Fault>> {
        self.mmu.explain(access).outcome.map(|done| (done.pa.0, done.len))
    }

    fn control(&mut self, control: A::Control) -> Result<(), AccessError<A::Fault>> {
        self.mmu.control(control)
    }

    fn fence(&mut self, fence: A::Fence) {
        self.mmu.fence(fence);
    }

    fn poke(&mut self, pa: u64, width: Width, value: u64) {
        self.mmu.memory().write(PhysAddr(pa), width, value).expect("tables lie in RAM");
    }

    fn state(&self) -> (Vec<u8>, String) {
        let mut bytes = Vec::new();
        for ram in self.mmu.memory().ram() {
            let at = bytes.len();
            bytes.resize(at + ram.size() as usize, 0);
            ram.read_bytes(ram.base(), &mut bytes[at..]).expect("RAM");
        }
        (bytes, format!("{:?}", self.devices.0.borrow()))
    }

    fn counters(&mut self) -> String {
        let mut stats = self.mmu.stats();
        stats.filter_hits = 0;
        format!("{stats:?} {}", (self.counters)(self.mmu.tlb()))
    }
}

/// Two answers in one shape: faults are compared by all that they show.
fn told<V: Debug, F: GuestFault>(answer: &Result<V, AccessError<F>>) -> String {
    format!("{answer:?}")
}

/// Lets all `harts` live through the story on `tape` and compares them after each access, and their memories at the
/// end. The first is the reference. Those of the names in `twins` must also count alike.
pub fn run<G: Guest>(tape: &[u64], harts: impl Fn(G::Arch) -> Vec<Box<dyn Hart<G::Arch>>>) {
    let mut tape = Tape::new(tape);
    let mut guest = G::new(&mut tape);
    let mut harts = harts(guest.arch());
    for (pa, width, value) in guest.tables(&mut tape) {
        harts.iter_mut().for_each(|hart| hart.poke(pa, width, value));
    }
    let mut story = Vec::new();
    while !tape.is_empty() {
        let step = guest.step(&mut tape);
        match &step {
            Step::Access(access) => {
                let explained = told(&harts[0].explain(access));
                let mut answers = Vec::new();
                for (at, hart) in harts.iter_mut().enumerate() {
                    // One of two twins is probed before every access: it must not be able to tell.
                    let probed = (at % 2 == 0).then(|| (hart.probe(access), told(&hart.explain(access))));
                    let answer = hart.access(access);
                    if let Some((probed, explanation)) = probed {
                        assert_eq!(
                            explanation,
                            explained,
                            "{}: explain of {access:x?} after {story:x?}",
                            hart.name()
                        );
                        let wrong = disagree(&probed, &answer, access);
                        assert!(
                            !wrong,
                            "{}: {access:x?}: {probed:x?} foretold, {answer:x?} came, after {story:x?}",
                            hart.name()
                        );
                    }
                    answers.push((told(&answer), hart.name().to_owned()));
                }
                for (answer, name) in &answers {
                    assert_eq!(answer, &answers[0].0, "{name}: {access:x?} after {story:x?}");
                }
            }
            Step::Control(controls) => {
                for &control in controls {
                    let answers: Vec<_> = harts.iter_mut().map(|hart| told(&hart.control(control))).collect();
                    assert!(
                        answers.iter().all(|answer| *answer == answers[0]),
                        "{control:x?} after {story:x?}"
                    );
                }
            }
            Step::Edit(entries, fences) => {
                for hart in &mut harts {
                    entries.iter().for_each(|&(pa, width, value)| hart.poke(pa, width, value));
                    fences.iter().for_each(|&fence| hart.fence(fence));
                }
            }
            Step::Fence(fence) => harts.iter_mut().for_each(|hart| hart.fence(*fence)),
        }
        story.push(step);
    }
    let states: Vec<_> = harts.iter().map(|hart| hart.state()).collect();
    for (hart, (bytes, devices)) in harts.iter().zip(&states) {
        assert!(*bytes == states[0].0, "{}: memory differs after {story:x?}", hart.name());
        assert_eq!(*devices, states[0].1, "{}: devices after {story:x?}", hart.name());
    }
    // Twins stand side by side: the same TLB with the filter and without. So do their counters.
    for pair in harts.chunks_mut(2) {
        if let [one, other] = pair {
            assert_eq!(
                one.counters(),
                other.counters(),
                "{} and {} after {story:x?}",
                one.name(),
                other.name()
            );
        }
    }
}

/// `probe` foretells the access: the same fault, or a way to memory that only the bus can still refuse.
fn disagree<F: GuestFault, L>(
    probed: &Result<(u64, u64), AccessError<F>>,
    answer: &Result<u64, AccessError<F>>,
    access: &Access<L>,
) -> bool {
    match (probed, answer) {
        (Ok(_), Ok(_)) => false,
        (Ok((_, len)), Err(error)) => {
            let physical = error.fault().is_none_or(|fault| fault.class() == FaultClass::Physical);
            // Probe speaks for the part on the first page only.
            !physical && *len == u64::from(access.len)
        }
        (Err(_), Ok(_)) => true,
        (Err(foretold), Err(came)) => format!("{foretold:?}") != format!("{came:?}"),
    }
}
