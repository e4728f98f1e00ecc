//! The kernel: loading, time slices, and what becomes of a guest that faults.

use super::Port;
use super::args::Options;
use super::cpu::{Cpu, Registers, Stop, Trap};
use super::guest::{PAGE, Program, USER_END};
use super::machine::{self, Memory};
use super::process::{End, Process, State};
use super::report::{Counters, Screen};
use softmmu::addr::VirtAddr;
use softmmu::arch::GuestFault;
use softmmu::mmu::AccessError;
use softmmu::radix::Perms;
use softmmu::vm::{Region, VmError};
use std::time::{Duration, Instant};

/// The stack's size; it lies below the program where there is room, else at the top.
const STACK: u64 = 64 << 10;
/// A heap cannot grow further than this, whatever the memory.
const HEAP_LIMIT: u64 = 1 << 30;
/// The fewest instructions in a time slice; the seed decides how many more.
const SLICE: u64 = 150_000;
/// The rights of stack and heap.
pub const DATA: Perms = Perms::READ.union(Perms::WRITE).union(Perms::USER);

/// Why a process must end.
#[derive(Debug)]
pub enum Cause {
    Trap(Trap),
    UnknownCall(u64),
    /// What virtual memory could not do.
    Memory(VmError),
}

impl<T: Into<Trap>> From<T> for Cause {
    fn from(trap: T) -> Self {
        Self::Trap(trap.into())
    }
}

/// The machine with all its processes.
pub struct Kernel<'a, 'k, 's> {
    pub processes: Vec<Process>,
    pub memory: Memory<'a>,
    pub port: Port<'a>,
    pub screen: &'k mut Screen<'s>,
    pub quiet: bool,
    cpu: Cpu,
    random: u64,
    /// The process whose turn it was last.
    turn: usize,
}

impl<'a, 'k, 's> Kernel<'a, 'k, 's> {
    /// A machine without processes.
    pub fn new(memory: Memory<'a>, port: Port<'a>, options: &Options, screen: &'k mut Screen<'s>) -> Self {
        // Any seed gives a state other than zero, where the generator would stand still.
        let random = options.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let (processes, cpu, quiet) = (Vec::new(), Cpu::default(), options.quiet);
        Self { processes, memory, port, screen, quiet, cpu, random, turn: 0 }
    }

    /// A number that no process has had; `None` when ASIDs have run out.
    pub fn next_pid(&self) -> Option<u16> {
        u16::try_from(self.processes.len() + 1).ok()
    }

    /// Gives `program` an address space and puts it in line. Nothing is read in: that is for its first accesses.
    pub fn load(&mut self, program: &Program) -> Result<(), String> {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", program.name);
        let pid = self.next_pid().ok_or_else(|| failed(&"too many processes"))?;
        let space = self.memory.create(machine::tag(pid));
        let mut areas: Vec<_> =
            program.image.regions.iter().map(|region| region.va.0..region.va.0 + region.len).collect();
        let (first, end) = (areas.first().map_or(0, |area| area.start), program.image.end().0);
        // A page stays free on either side of the stack, and the null page too.
        let below = first >= STACK + 3 * PAGE;
        let stack_top = if below { first - PAGE } else { USER_END - PAGE };
        let heap_limit = (if below { USER_END } else { stack_top - STACK }) - PAGE;
        areas.insert(0, stack_top - STACK..stack_top);
        let stack = Region::anonymous(VirtAddr(stack_top - STACK), STACK, DATA);
        for region in program.image.regions.iter().cloned().chain([stack]) {
            self.memory.map(space, region).map_err(|error| failed(&error))?;
        }
        self.processes.push(Process {
            name: program.name.rsplit('/').next().unwrap_or_default().to_owned(),
            pid,
            parent: None,
            reaped: false,
            state: State::Ready,
            space,
            registers: Registers::new(program.image.entry.0, stack_top),
            areas,
            heap: end..end,
            heap_limit: heap_limit.min(end + HEAP_LIMIT),
            output: Vec::new(),
            shown: 0,
            counters: Counters::default(),
            time: Duration::ZERO,
            expect: program.expect,
            plain: program.arguments.is_empty(),
        });
        let argv: Vec<&str> =
            [&program.name].into_iter().chain(&program.arguments).map(String::as_str).collect();
        if let Err(error) = self.push_arguments(self.processes.len() - 1, &argv) {
            self.kill(self.processes.len() - 1, Cause::Memory(error));
        }
        Ok(())
    }

    /// Puts argc, argv, an empty environment and an empty auxiliary vector on the stack, as Linux does.
    fn push_arguments(&mut self, index: usize, argv: &[&str]) -> Result<(), VmError> {
        let process = &mut self.processes[index];
        let sp = &mut process.registers.x[2];
        let mut words = vec![argv.len() as u64];
        for text in argv {
            let bytes = [text.as_bytes(), b"\0"].concat();
            *sp -= bytes.len() as u64;
            self.memory.write(process.space, VirtAddr(*sp), &bytes, &mut self.port)?;
            words.push(*sp);
        }
        words.extend([0, 0, 0, 0]);
        *sp = (*sp - 8 * words.len() as u64) & !15;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.memory.write(process.space, VirtAddr(*sp), &bytes, &mut self.port)
    }

    /// Whether any process has not ended.
    pub fn running(&self) -> bool {
        self.processes.iter().any(|process| process.end().is_none())
    }

    /// Gives the next process that can run its time slice.
    pub fn turn(&mut self) {
        let count = self.processes.len();
        let ready = |index: &usize| matches!(self.processes[*index].state, State::Ready);
        // Some process always is: one that waits does so for a child that has not ended.
        let Some(index) = (1..=count).map(|offset| (self.turn + offset) % count).find(ready) else { return };
        self.turn = index;
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let budget = SLICE + self.random % SLICE;
        self.scheduled(index, |kernel, index| kernel.slice(index, budget));
    }

    /// Does something in the address space of a process, and counts and times it there. Switching changes the root
    /// and the ASID, and flushes nothing; the tables of a suspended space may be taken away until its next turn.
    fn scheduled(&mut self, index: usize, work: impl FnOnce(&mut Self, usize)) {
        let (started, before) = (Instant::now(), machine::counters(&self.memory, &mut self.port));
        let (space, pid) = (self.processes[index].space, self.processes[index].pid);
        match self.memory.activate(space, &mut self.port) {
            Ok(root) => {
                // A write to satp raises no fault.
                let _ = self.port.control(machine::satp(pid, root));
                work(self, index);
                // A process that ended has no space any more.
                let _ = self.memory.suspend(space);
            }
            Err(error) => self.kill(index, Cause::Memory(error)),
        }
        let process = &mut self.processes[index];
        process.counters += machine::counters(&self.memory, &mut self.port) - before;
        process.time += started.elapsed();
    }

    fn slice(&mut self, index: usize, budget: u64) {
        let mut left = budget;
        while left > 0 && matches!(self.processes[index].state, State::Ready) {
            let process = &mut self.processes[index];
            let (done, stop) = self.cpu.run(&mut process.registers, &mut self.port, left);
            process.counters.instructions += done;
            left -= done;
            let outcome = match stop {
                Stop::Slice => Ok(false),
                Stop::Call => self.call(index),
                Stop::Trap(trap) => self.resolve(index, trap).map(|()| false),
            };
            match outcome {
                Ok(false) => {}
                Ok(true) => return,
                Err(cause) => self.kill(index, cause),
            }
        }
    }

    /// Has the fault served, if it can be; the access is then tried again.
    fn resolve(&mut self, index: usize, trap: Trap) -> Result<(), Cause> {
        let Trap::Access(AccessError::Fault(fault)) = trap else { return Err(trap.into()) };
        let space = self.processes[index].space;
        match self.memory.handle_fault(space, fault.va(), machine::kind(&fault), &mut self.port) {
            Ok(_) => Ok(()),
            Err(error) if is_bad_address(&error) => Err(trap.into()),
            Err(error) => {
                self.processes[index].counters.refused += 1;
                Err(Cause::Memory(error))
            }
        }
    }

    /// Ends a process for what it did, and says so.
    pub fn kill(&mut self, index: usize, cause: Cause) {
        let process = &self.processes[index];
        let (mut walk, named) = (Vec::new(), |cause: &str, details: String| (cause.to_owned(), details));
        let (cause, details) = match cause {
            Cause::Trap(Trap::Access(AccessError::Fault(fault))) => {
                walk = machine::explain(&fault, &self.port);
                (fault.cause.to_string(), format!(" (cause {}) at address {:#x}", fault.code(), fault.tval))
            }
            Cause::Trap(Trap::Access(error)) => named("bus error", format!(" ({error})")),
            Cause::Trap(Trap::Misaligned(va)) => named("misaligned atomic", format!(" at address {va:#x}")),
            Cause::Trap(Trap::Illegal(raw)) => named("illegal instruction", format!(" {raw:#x}")),
            Cause::Trap(Trap::Breakpoint) => named("breakpoint", String::new()),
            Cause::UnknownCall(number) => named("unknown system call", format!(" {number}")),
            Cause::Memory(error @ VmError::OutOfMemory { store_full: false, .. }) => {
                let minimum = machine::minimum(&process.areas, &process.heap) >> 10;
                named("out of memory", format!(" ({error}; it needs at least --ram {minimum}K)"))
            }
            Cause::Memory(error @ VmError::OutOfMemory { .. }) => {
                named("out of memory", format!(" ({error})"))
            }
            Cause::Memory(error) => named("memory failure", format!(" ({error})")),
        };
        if !self.quiet {
            let (name, pc) = (&process.name, process.registers.pc);
            self.screen.line(&format!("[{name}] ended: {cause}{details}, pc {pc:#x}"));
            walk.iter().for_each(|step| self.screen.line(&format!("    {step}")));
        }
        self.end(index, End::Killed(cause));
    }

    /// Gives everything that a process had back, and tells its parent.
    pub fn end(&mut self, index: usize, end: End) {
        let Process { space, parent, .. } = self.processes[index];
        self.processes[index].state = State::Ended(end);
        self.show(index, true);
        if let Err(error) = self.memory.destroy(space, &mut self.port) {
            self.screen.line(&format!("[{}] could not be cleared away: {error}", self.processes[index].name));
        }
        if let Some(parent) = self.processes.iter().position(|other| Some(other.pid) == parent) {
            self.wake(parent);
        }
    }

    /// Draws how far the guests are.
    pub fn draw_progress(&mut self, time: Duration) {
        let running = self.processes.iter().filter(|process| process.end().is_none());
        let names: Vec<&str> = running.map(|process| process.name.as_str()).collect();
        let instructions: u64 = self.processes.iter().map(|process| process.counters.instructions).sum();
        let (seconds, millions) = (time.as_secs_f64(), instructions as f64 / 1e6);
        self.screen
            .progress(&format!("{seconds:.1} s, {millions:.0} M instructions, running: {}", names.join(" ")));
    }
}

/// Whether the program is to blame: it had no business there.
pub fn is_bad_address(error: &VmError) -> bool {
    matches!(error, VmError::Unmapped { .. } | VmError::Guard { .. } | VmError::Protection { .. })
}
