//! `VirtualMemory` under real architectures: two harts, three address spaces, twenty frames and a swap file, against
//! an array of bytes for each space.

use softmmu::access::AccessKind;
use softmmu::addr::{Asid, PageSize, PhysAddr, VirtAddr, Vmid};
use softmmu::arch::aarch64::{
    Aarch64, Config, Control, ExceptionLevel, Granule, Pstate, Register, Registers as Aarch64Registers,
    Vmsa64,
};
use softmmu::arch::riscv::{self, PteRules, Riscv, Sv39};
use softmmu::arch::x86::{self, Cr0, Cr4, Efer, LongMode, Registers, X86};
use softmmu::arch::{Arch, FaultClass, GuestFault};
use softmmu::frame::BuddyAllocator;
use softmmu::memory::Ram;
use softmmu::mmu::{AccessError, Mmu};
use softmmu::radix::{Encode, Perms};
use softmmu::store::SwapFile;
use softmmu::tlb::{Geometry, Scope, SetAssociative, Space};
use softmmu::vm::{Region, SpaceId, VirtualMemory, VmError};
use std::sync::Arc;

const PAGE: u64 = 4096;
const PAGES: u64 = 40;
/// Where the regions lie: at the end of a table, so that they need several.
const BASE: u64 = (1 << 30) - 8 * PAGE;
/// Two harts, each on an instruction that needs two pages, and a table of every level twice.
const FRAMES: u64 = 20;

/// What differs between machines.
trait Machine {
    type Arch: Arch;
    type Format: Encode;
    fn format() -> Self::Format;
    fn hart() -> Self::Arch;
    /// The control writes that enter user mode, and those that switch to a space.
    fn start() -> Vec<<Self::Arch as Arch>::Control>;
    fn switch(root: PhysAddr, asid: u16) -> <Self::Arch as Arch>::Control;
}

/// Sv39; `HARDWARE` sets accessed and dirty bits itself, the other faults where they are due.
struct RiscvMachine<const HARDWARE: bool>;

impl<const HARDWARE: bool> Machine for RiscvMachine<HARDWARE> {
    type Arch = Riscv;
    type Format = Sv39;
    fn format() -> Sv39 {
        Sv39::new(PteRules::default())
    }
    fn hart() -> Riscv {
        Riscv::rv64()
    }
    fn start() -> Vec<riscv::Control> {
        vec![
            riscv::Control::Menvcfg(u64::from(HARDWARE) << 61),
            riscv::Control::Mode { privilege: riscv::Privilege::User, virt: false },
        ]
    }
    fn switch(root: PhysAddr, asid: u16) -> riscv::Control {
        riscv::Control::Satp(8 << 60 | u64::from(asid) << 44 | root.0 >> 12)
    }
}

/// 4-level paging with PCIDs.
struct X86Machine;

impl Machine for X86Machine {
    type Arch = X86;
    type Format = LongMode;
    fn format() -> LongMode {
        LongMode::new(&x86::Config::ZEN2, true, false)
    }
    fn hart() -> X86 {
        let registers = Registers {
            cr0: Cr0::PE | Cr0::WP | Cr0::PG,
            cr4: Cr4::PAE | Cr4::PCIDE,
            efer: Efer::LME | Efer::LMA | Efer::NXE,
            ..Registers::default()
        };
        X86::with_registers(x86::Config::ZEN2, registers)
    }
    fn start() -> Vec<x86::Control> {
        vec![x86::Control::Cpl(3)]
    }
    fn switch(root: PhysAddr, asid: u16) -> x86::Control {
        // Bit 63: keep what is cached under this PCID.
        x86::Control::Cr3(1 << 63 | root.0 | u64::from(asid))
    }
}

/// Four levels of 4 KiB pages at EL0, 16-bit ASIDs; `HARDWARE` sets the Access flag and dirty state itself.
struct Aarch64Machine<const HARDWARE: bool>;

impl<const HARDWARE: bool> Machine for Aarch64Machine<HARDWARE> {
    type Arch = Aarch64;
    type Format = Vmsa64;
    fn format() -> Vmsa64 {
        Vmsa64::el1(Granule::K4, 48, false).expect("48 bits")
    }
    fn hart() -> Aarch64 {
        let managed = if HARDWARE { 3 << 39 } else { 0 };
        let mut registers = Aarch64Registers::default();
        for (register, value) in [
            (Register::SctlrEl1, 1),
            (Register::TcrEl1, 16 | 16 << 16 | 2 << 30 | 5 << 32 | 1 << 36 | managed),
            (Register::MairEl1, 0xff),
        ] {
            registers.set(register, value);
        }
        let pstate = Pstate { el: ExceptionLevel::El0, pan: false, uao: false };
        Aarch64::with_state(Config::FULL, registers, pstate)
    }
    fn start() -> Vec<Control> {
        Vec::new()
    }
    fn switch(root: PhysAddr, asid: u16) -> Control {
        Control::Write(Register::Ttbr0El1, u64::from(asid) << 48 | root.0)
    }
}

type Hart<M> = Mmu<<M as Machine>::Arch, Arc<Ram>, SetAssociative>;
type Vm<M> = VirtualMemory<<M as Machine>::Format, Arc<Ram>, BuddyAllocator, SwapFile>;

/// One address space: its name, its ASID, what it must hold, and whether each page may be written.
struct Process {
    space: SpaceId,
    asid: u16,
    bytes: Vec<u8>,
    writable: Vec<bool>,
}

struct Kernel<M: Machine> {
    vm: Vm<M>,
    harts: [Hart<M>; 2],
    /// Which process each hart runs, by its ASID.
    running: [Option<u16>; 2],
    processes: Vec<Process>,
    next_asid: u16,
    random: u64,
}

/// Tells every hart.
fn all<'a, A: Arch, const N: usize>(
    harts: &'a mut [Mmu<A, Arc<Ram>, SetAssociative>; N],
) -> impl FnMut(&Scope) + 'a {
    move |scope| harts.iter_mut().for_each(|hart| hart.invalidate(scope))
}

fn tag(asid: u16) -> Space {
    Space::new(0, Vmid(0), Asid(asid))
}

impl<M: Machine> Kernel<M> {
    fn new(seed: u64) -> Self {
        let ram = Arc::new(Ram::new(PhysAddr(0x10_0000), FRAMES * PAGE).expect("a small RAM"));
        let frames = BuddyAllocator::new(ram.range(), PageSize::SIZE_4K).expect("whole frames");
        let file = tempfile::tempfile().expect("a temporary file");
        let swap = SwapFile::new(file, PageSize::SIZE_4K, 1 << 20);
        let harts = [0, 1].map(|_| {
            let tlb = SetAssociative::new(Geometry::new(8, 2)).expect("a small TLB");
            let mut hart = Mmu::new(M::hart(), ram.clone(), tlb);
            for change in M::start() {
                hart.control(change).unwrap_or_else(|error| panic!("{error}"));
            }
            hart
        });
        let mut vm = VirtualMemory::new(M::format(), ram, frames, swap).expect("pages fit");
        vm.set_protected(2);
        Self { vm, harts, running: [None; 2], processes: Vec::new(), next_asid: 1, random: seed | 1 }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    fn spawn(&mut self) {
        let asid = self.next_asid;
        self.next_asid += 1;
        let space = self.vm.create(tag(asid));
        let rights = Perms::READ | Perms::WRITE | Perms::USER;
        let text: Vec<u8> = (0..8 * PAGE).map(|i| (i / 5) as u8).collect();
        let mut bytes = text.clone();
        bytes.resize((PAGES * PAGE) as usize, 0);
        let source = Arc::new(text);
        let file = Region::from_source(VirtAddr(BASE), 8 * PAGE, rights, source);
        self.vm.map(space, file).expect("free");
        let heap = Region::anonymous(VirtAddr(BASE + 8 * PAGE), (PAGES - 8) * PAGE, rights);
        self.vm.map(space, heap).expect("free");
        self.processes.push(Process { space, asid, bytes, writable: vec![true; PAGES as usize] });
    }

    fn fork(&mut self, n: usize) {
        let asid = self.next_asid;
        self.next_asid += 1;
        let parent = &self.processes[n];
        let space = self.vm.fork(parent.space, tag(asid), &mut all(&mut self.harts)).expect("fork");
        let (bytes, writable) = (parent.bytes.clone(), parent.writable.clone());
        self.processes.push(Process { space, asid, bytes, writable });
    }

    fn end(&mut self, n: usize) {
        let process = self.processes.swap_remove(n);
        for running in &mut self.running {
            *running = running.filter(|&asid| asid != process.asid);
        }
        self.vm.destroy(process.space, &mut all(&mut self.harts)).expect("destroy");
    }

    /// Lets hart `h` run process `n`.
    fn switch(&mut self, h: usize, n: usize) {
        let asid = self.processes[n].asid;
        if self.running[h] == Some(asid) {
            return;
        }
        if let Some(old) = self.running[h].take() {
            // Unless the other hart runs it still.
            if !self.running.contains(&Some(old)) {
                let old = self.processes.iter().find(|process| process.asid == old).expect("alive");
                self.vm.suspend(old.space).expect("alive");
            }
        }
        let root = self.vm.activate(self.processes[n].space, &mut all(&mut self.harts)).expect("a root fits");
        self.harts[h].control(M::switch(root, asid)).unwrap_or_else(|error| panic!("{error}"));
        self.running[h] = Some(asid);
    }

    /// Makes an access on hart `h` as process `n`; `None` when the process may not.
    fn access<R>(
        &mut self,
        h: usize,
        n: usize,
        kind: AccessKind,
        mut access: impl FnMut(&mut Hart<M>) -> Result<R, AccessError<<M::Arch as Arch>::Fault>>,
    ) -> Option<R> {
        self.switch(h, n);
        let space = self.processes[n].space;
        for _ in 0..50 {
            let fault = match access(&mut self.harts[h]) {
                Ok(done) => return Some(done),
                Err(AccessError::Fault(fault)) => fault,
                Err(error) => panic!("{error}"),
            };
            assert!(matches!(fault.class(), FaultClass::NotMapped | FaultClass::Protection), "{fault}");
            match self.vm.handle_fault(space, fault.va(), kind, &mut all(&mut self.harts)) {
                Ok(_) => {}
                Err(VmError::Protection { .. } | VmError::Unmapped { .. }) => return None,
                Err(error) => panic!("{error}"),
            }
        }
        panic!("no progress");
    }
}

fn run<M: Machine>(seed: u64) {
    let mut kernel = Kernel::<M>::new(seed);
    kernel.spawn();
    for _ in 0..4000 {
        let alive = kernel.processes.len() as u64;
        let (h, n) = (kernel.random(2) as usize, kernel.random(alive) as usize);
        // Often within a word of a page's end, now and then across it.
        let at = kernel.random(PAGES) * PAGE + [0, 8, PAGE - 8, PAGE - 4][kernel.random(4) as usize];
        let inside = at + 8 <= PAGES * PAGE;
        let (first, last) = ((at / PAGE) as usize, ((at + 7) / PAGE) as usize);
        let va = VirtAddr(BASE + at);
        match kernel.random(100) {
            0 if alive < 3 => kernel.spawn(),
            1 if alive < 4 => kernel.fork(n),
            2 if alive > 1 => kernel.end(n),
            3..6 => {
                let write = kernel.random(3) > 0;
                let perms = Perms::READ | Perms::USER | if write { Perms::WRITE } else { Perms::empty() };
                let page = VirtAddr(BASE + first as u64 * PAGE);
                let process = &mut kernel.processes[n];
                process.writable[first] = write;
                let harts = &mut all(&mut kernel.harts);
                kernel.vm.protect(process.space, page, PAGE, perms, harts).expect("mapped");
            }
            6..50 => {
                let found = kernel.access(h, n, AccessKind::Read, |hart| hart.load::<u64>(va));
                let expected = inside.then(|| {
                    let bytes = &kernel.processes[n].bytes[at as usize..at as usize + 8];
                    u64::from_le_bytes(bytes.try_into().expect("eight"))
                });
                assert_eq!(found, expected, "hart {h}, process {n}, {va}");
            }
            50..60 => {
                let add = kernel.random(u64::MAX >> 33);
                let at = at as usize & !7;
                let aligned = VirtAddr(va.0 & !7);
                let may = kernel.processes[n].writable[first];
                let kind = AccessKind::ReadWrite;
                let found =
                    kernel.access(h, n, kind, |hart| hart.rmw::<u64>(aligned, |old| old.wrapping_add(add)));
                let bytes = &mut kernel.processes[n].bytes[at..at + 8];
                let old = u64::from_le_bytes(bytes.try_into().expect("eight"));
                assert_eq!(found, may.then_some(old), "hart {h}, process {n}, {aligned}");
                if may {
                    bytes.copy_from_slice(&old.wrapping_add(add).to_le_bytes());
                }
            }
            _ => {
                let value = kernel.random(u64::MAX >> 33) << 20 | 1;
                let may = inside && kernel.processes[n].writable[first..=last].iter().all(|&may| may);
                let done = kernel.access(h, n, AccessKind::Write, |hart| hart.store::<u64>(va, value));
                assert_eq!(done.is_some(), may, "hart {h}, process {n}, {va}");
                if may {
                    let bytes = &mut kernel.processes[n].bytes[at as usize..at as usize + 8];
                    bytes.copy_from_slice(&value.to_le_bytes());
                }
            }
        }
        let usage = kernel.vm.usage();
        assert_eq!((usage.leaked_frames(), usage.leaked_slots()), (0, 0));
    }
    let Kernel { vm, harts, processes, .. } = &mut kernel;
    for process in processes.iter() {
        let mut found = vec![0; (PAGES * PAGE) as usize];
        vm.read(process.space, VirtAddr(BASE), &mut found, &mut all(harts)).expect("all of it");
        assert!(found == process.bytes, "space {}", process.space);
    }
    let stats = vm.stats();
    assert!(stats.major_faults > 500 && stats.dirty_evictions > 500 && stats.cow_breaks > 0, "{stats:?}");
    while !kernel.processes.is_empty() {
        kernel.end(0);
    }
    let usage = kernel.vm.usage();
    assert_eq!((usage.frames_free, usage.slots_used), (FRAMES, 0), "{usage:?}");
}

#[test]
fn on_riscv_whose_harts_set_accessed_and_dirty_bits() {
    run::<RiscvMachine<true>>(1);
}

#[test]
fn on_riscv_whose_kernel_sets_them() {
    run::<RiscvMachine<false>>(2);
}

#[test]
fn on_x86_64() {
    run::<X86Machine>(3);
}

#[test]
fn on_aarch64_whose_harts_set_the_access_flag_and_dirty_state() {
    run::<Aarch64Machine<true>>(4);
}

#[test]
fn on_aarch64_whose_kernel_sets_them() {
    run::<Aarch64Machine<false>>(5);
}
