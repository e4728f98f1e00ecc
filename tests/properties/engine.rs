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

use crate::guest::{Act, DATA, DATA_SIZE, DEVICE_SIZE, Guest, Shown, Step, TABLES, TABLES_SIZE};
use crate::tape::Tape;

/// What a device was asked: where, how wide, and the value where it was a store.
type Asked = (u64, Width, Option<u64>);

/// A device that remembers every access.
#[derive(Clone, Default)]
struct Recorder(Rc<RefCell<Vec<Asked>>>);

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

/// Lets all harts live through the story on `tape` and compares their answers after each access, and their memories at
/// the end. The first is the reference. Harts stand in pairs, which must also count alike.
pub fn run<G: Guest>(tape: &[u64], harts: impl Fn(G::Arch) -> Vec<Box<dyn Hart<G::Arch>>>) {
    if !live::<G>(tape, &harts, false) {
        // Once more, to see where it happens.
        live::<G>(tape, &harts, true);
    }
}

/// Lives through the story; says whether all memories are equal at the end, or panics where they begin to differ.
fn live<G: Guest>(
    tape: &[u64],
    harts: impl Fn(G::Arch) -> Vec<Box<dyn Hart<G::Arch>>>,
    closely: bool,
) -> bool {
    let mut tape = Tape::new(tape);
    let mut guest = G::new(&mut tape);
    let mut harts = harts(guest.arch());
    let mut story: Vec<Step<G::Arch>> = vec![Step::Kernel(guest.start(&mut tape))];
    loop {
        match story.last() {
            Some(Step::Kernel(acts)) => acts.iter().for_each(|act| perform(&mut harts, act)),
            Some(Step::Access(access)) => {
                if let Err(what) = compare(&mut harts, access) {
                    panic!("{what}, {}", tail(&story));
                }
            }
            None => {}
        }
        if closely {
            if let Some(what) = difference(&harts) {
                panic!("{what}, {}", tail(&story));
            }
        }
        if tape.is_empty() {
            break;
        }
        story.push(guest.step(&mut tape));
    }
    for pair in harts.chunks_mut(2) {
        if let [one, other] = pair {
            let (name, counters) = (one.name().to_owned(), one.counters());
            assert_eq!(counters, other.counters(), "{name} and {}, {}", other.name(), tail(&story));
        }
    }
    difference(&harts).is_none()
}

/// The end of a story.
fn tail<A: Shown>(story: &[Step<A>]) -> String {
    let from = story.len().saturating_sub(12);
    let last: Vec<String> = story[from..].iter().map(|step| format!("{step:x?}")).collect();
    format!("after {} steps, the last of which were\n{}", story.len(), last.join("\n"))
}

/// Makes one access on every hart and compares what comes of it with what was foretold, and with the others.
fn compare<A: Shown>(harts: &mut [Box<dyn Hart<A>>], access: &Access<A::Flavor>) -> Result<(), String> {
    let explained = told(&harts[0].explain(access));
    let mut first = None;
    for (at, hart) in harts.iter_mut().enumerate() {
        // One of each pair is probed before every access: it must not be able to tell.
        let foretold = (at % 2 == 0).then(|| (hart.probe(access), told(&hart.explain(access))));
        let answer = hart.access(access);
        if let Some((probed, explanation)) = foretold {
            if explanation != explained {
                return Err(format!("{} explains {explanation}, the first {explained}", hart.name()));
            }
            if disagree(&probed, &answer, access) {
                return Err(format!("{}: probe says {probed:x?}, the access {answer:x?}", hart.name()));
            }
        }
        let answer = told(&answer);
        match &first {
            None => first = Some(answer),
            Some(first) if *first != answer => {
                return Err(format!("{} answers {answer}, the first {first}", hart.name()));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Where some hart's memory or devices are not as the first one's.
fn difference<A: Arch>(harts: &[Box<dyn Hart<A>>]) -> Option<String> {
    let (bytes, devices) = harts[0].state();
    harts[1..].iter().find_map(|hart| {
        let (other, others) = hart.state();
        if devices != others {
            return Some(format!("{}: devices were told {others}, the first {devices}", hart.name()));
        }
        let at = bytes.iter().zip(&other).position(|(one, other)| one != other)?;
        let (base, at) = match at.checked_sub(2 * DATA_SIZE as usize) {
            Some(at) => (TABLES, at as u64),
            None => (DATA[at / DATA_SIZE as usize], at as u64 % DATA_SIZE),
        };
        Some(format!("{}: memory differs at {:#x}", hart.name(), base + at))
    })
}

/// One act, on all harts alike.
fn perform<A: Shown>(harts: &mut [Box<dyn Hart<A>>], act: &Act<A>) {
    match *act {
        Act::Entry(pa, width, value) => harts.iter_mut().for_each(|hart| hart.poke(pa, width, value)),
        Act::Control(control) => {
            let answers: Vec<_> = harts.iter_mut().map(|hart| told(&hart.control(control))).collect();
            assert!(answers.iter().all(|answer| *answer == answers[0]), "{control:x?}: {answers:?}");
        }
        Act::Fence(fence) => harts.iter_mut().for_each(|hart| hart.fence(fence)),
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
