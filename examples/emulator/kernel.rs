//! The kernel: processes, time slices, system calls, and what becomes of a guest that faults.

use super::args::Options;
use super::cpu::{Cpu, Registers, Stop, Trap};
use super::guest::{Expect, PAGE, Program};
use super::report::{Counters, Screen};
use super::spaces::{Denied, Spaces};
use super::{Fault, Port};
use softmmu::addr::VirtAddr;
use softmmu::mmu::AccessError;
use std::time::{Duration, Instant};

/// The stack's size; it lies below the program where there is room, else at the top.
const STACK: u64 = 64 << 10;
/// A heap cannot grow further than this, whatever the memory.
const HEAP_LIMIT: u64 = 1 << 30;
/// How often one instruction may fault in a row before there is not enough memory to run it.
const MAX_FAULTS: u32 = 64;
/// `wait4`'s status for a process that faulted: killed by SIGSEGV.
const KILLED: u32 = 11;

/// Linux's error numbers, as a system call returns them.
const EBADF: i64 = -9;
const ECHILD: i64 = -10;
const ENOMEM: i64 = -12;
const EFAULT: i64 = -14;
const EINVAL: i64 = -22;

/// How a process came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It exited.
    Exit(i32),
    /// It did what cannot be done.
    Killed(String),
}

/// Why a process must end.
#[derive(Clone, Debug)]
enum Cause {
    Trap(Trap),
    UnknownCall(u64),
    OutOfMemory(String),
}

impl<T: Into<Trap>> From<T> for Cause {
    fn from(trap: T) -> Self {
        Self::Trap(trap.into())
    }
}

/// What a process is doing.
#[derive(Clone, Debug)]
enum State {
    Ready,
    /// In `wait4` for this child (or any), its status to be stored there.
    Waiting {
        child: Option<u32>,
        status: u64,
    },
    Ended(End),
}

/// A guest, or a child that one forked.
#[derive(Clone, Debug)]
pub struct Process {
    pub pid: u32,
    pub name: String,
    pub counters: Counters,
    pub time: Duration,
    /// How it must end, and then its children.
    expect: &'static [Expect],
    /// Everything that it printed.
    pub output: Vec<u8>,
    /// Whether it was run with its default arguments, so that its output is known to the letter.
    plain: bool,
    parent: Option<u32>,
    /// Whether its parent has been told of its end.
    reaped: bool,
    registers: Registers,
    heap: std::ops::Range<u64>,
    heap_limit: u64,
    state: State,
    shown: usize,
}

impl Process {
    /// How it ended, if it has.
    pub fn end(&self) -> Option<&End> {
        match &self.state {
            State::Ended(end) => Some(end),
            _ => None,
        }
    }

    /// Whether it ended as it must; `None` where nothing is known of it and it exited by itself.
    pub fn right(&self) -> Option<bool> {
        match (self.expect.first(), self.end()?) {
            (Some(Expect::Prints(status, output)), End::Exit(got)) => {
                let text = String::from_utf8_lossy(&self.output);
                let lines = text.lines().all(|line| line.ends_with(": right"));
                Some(status == got && if self.plain { text == *output } else { lines && !text.is_empty() })
            }
            (Some(Expect::Faults(expected)), End::Killed(cause)) => Some(*expected == cause),
            (None, End::Exit(_)) => None,
            _ => Some(false),
        }
    }
}

/// The machine with all its processes.
pub struct Kernel<'a, 'k, 's> {
    pub processes: Vec<Process>,
    pub spaces: Spaces<'a>,
    pub port: Port<'a>,
    cpu: Cpu,
    random: u64,
    quiet: bool,
    screen: &'k mut Screen<'s>,
    /// The process whose turn it was last.
    turn: usize,
}

impl<'a, 'k, 's> Kernel<'a, 'k, 's> {
    /// A machine without processes.
    pub fn new(spaces: Spaces<'a>, port: Port<'a>, options: &Options, screen: &'k mut Screen<'s>) -> Self {
        // Any seed gives a state other than zero, where the generator would stand still.
        let random = options.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self {
            processes: Vec::new(),
            spaces,
            port,
            cpu: Cpu::default(),
            random,
            quiet: options.quiet,
            screen,
            turn: 0,
        }
    }

    /// Gives `program` an address space and puts it in line.
    ///
    /// # Errors
    /// One line saying why it cannot be loaded.
    pub fn load(&mut self, program: &Program) -> Result<(), String> {
        let failed = |what: &str, error: Denied| format!("{}: {what}: {}", program.name, error.0);
        let pid = self.processes.len() as u32 + 1;
        self.spaces.create(pid).map_err(|error| failed("no address space", error))?;
        for segment in &program.segments {
            let content = program.file.get(segment.content.clone()).unwrap_or(&[]);
            self.spaces
                .map(pid, segment.start, segment.bytes, segment.perms, content)
                .map_err(|error| failed("a segment", error))?;
        }
        let first = program.segments.first().map_or(0, |segment| segment.start);
        let end = program.segments.last().map_or(0, |segment| segment.start + segment.bytes);
        // A page stays free on either side of the stack, and the null page too.
        let stack_top = if first >= STACK + 3 * PAGE { first - PAGE } else { (1 << 38) - PAGE };
        self.spaces.map_stack(pid, stack_top - STACK, STACK).map_err(|error| failed("the stack", error))?;
        let registers = Registers::new(program.entry, stack_top);
        let room = if stack_top > end { stack_top - STACK - PAGE - end } else { (1 << 38) - PAGE - end };
        self.processes.push(Process {
            pid,
            name: program.name.rsplit('/').next().unwrap_or_default().to_owned(),
            counters: Counters::default(),
            time: Duration::ZERO,
            expect: program.expect,
            output: Vec::new(),
            plain: program.arguments.is_empty(),
            parent: None,
            reaped: false,
            registers,
            heap: end..end,
            heap_limit: end + room.min(HEAP_LIMIT),
            state: State::Ready,
            shown: 0,
        });
        let index = self.processes.len() - 1;
        let before = self.enter(index);
        let argv: Vec<&str> =
            [program.name.as_str()].into_iter().chain(program.arguments.iter().map(String::as_str)).collect();
        if let Err(cause) = self.push_arguments(index, &argv) {
            self.kill(index, cause);
        }
        self.leave(index, before);
        Ok(())
    }

    /// Puts argc, argv, an empty environment and an empty auxiliary vector on the stack, as Linux does.
    fn push_arguments(&mut self, index: usize, argv: &[&str]) -> Result<(), Cause> {
        let mut sp = self.processes[index].registers.x[2];
        let mut words = vec![argv.len() as u64];
        for text in argv {
            let bytes = [text.as_bytes(), b"\0"].concat();
            sp -= bytes.len() as u64;
            self.copy_out(index, sp, &bytes)?;
            words.push(sp);
        }
        words.extend([0, 0, 0, 0]);
        sp = (sp - 8 * words.len() as u64) & !15;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.copy_out(index, sp, &bytes)?;
        self.processes[index].registers.x[2] = sp;
        Ok(())
    }

    /// Whether any process has not ended.
    pub fn running(&self) -> bool {
        self.processes.iter().any(|process| process.end().is_none())
    }

    /// Gives the next process that can run its time slice.
    pub fn turn(&mut self) {
        let count = self.processes.len();
        let ready = |offset: &usize| matches!(self.processes[*offset].state, State::Ready);
        let Some(index) = (1..=count).map(|offset| (self.turn + offset) % count).find(ready) else {
            // All that are left wait for one another's children: a wait for nothing never begins, so this cannot be.
            for index in 0..count {
                self.end(index, End::Killed("deadlock".into()));
            }
            return;
        };
        self.turn = index;
        let before = self.enter(index);
        let started = Instant::now();
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.slice(index, 150_000 + self.random % 100_000);
        self.processes[index].time += started.elapsed();
        self.leave(index, before);
    }

    /// Draws how far the guests are.
    pub fn draw_progress(&mut self, time: Duration) {
        let running = self.processes.iter().filter(|process| process.end().is_none());
        let names: Vec<&str> = running.map(|process| process.name.as_str()).collect();
        let instructions: u64 = self.processes.iter().map(|process| process.counters.instructions).sum();
        let (seconds, millions) = (time.as_secs_f64(), instructions as f64 / 1e6);
        self.screen.progress(&format!(
            "{seconds:5.1} s, {millions:.0} M instructions, running: {}",
            names.join(" ")
        ));
    }

    /// Hands out what is left when all is done.
    pub fn finish(self) -> (Spaces<'a>, Vec<Process>) {
        (self.spaces, self.processes)
    }

    /// Switches to a process: another root and ASID, and nothing is flushed.
    fn enter(&mut self, index: usize) -> Counters {
        self.spaces.switch(self.processes[index].pid, &mut self.port);
        self.spaces.counters(&mut self.port)
    }

    fn leave(&mut self, index: usize, before: Counters) {
        let spent = self.spaces.counters(&mut self.port) - before;
        self.processes[index].counters += spent;
    }

    fn slice(&mut self, index: usize, budget: u64) {
        let (mut left, mut faults) = (budget, 0);
        while left > 0 && matches!(self.processes[index].state, State::Ready) {
            let process = &mut self.processes[index];
            let (done, stop) = self.cpu.run(&mut process.registers, &mut self.port, left);
            process.counters.instructions += done;
            left -= done;
            if done > 0 {
                faults = 0;
            }
            match stop {
                Stop::Slice => {}
                Stop::Call => {
                    if self.call(index).unwrap_or_else(|cause| self.kill(index, cause)) {
                        return;
                    }
                }
                Stop::Trap(trap) => {
                    faults += 1;
                    if let Err(cause) = self.resolve(index, trap, faults) {
                        self.kill(index, cause);
                    }
                }
            }
        }
    }

    /// Serves the fault, if it can be served; the access is then tried again.
    fn resolve(&mut self, index: usize, trap: Trap, faults: u32) -> Result<(), Cause> {
        let Trap::Access(AccessError::Fault(fault)) = trap else { return Err(trap.into()) };
        let served = self.spaces.fault(self.processes[index].pid, &fault, &mut self.port);
        match served {
            Ok(true) if faults < MAX_FAULTS => Ok(()),
            Ok(true) => Err(Cause::OutOfMemory(self.spaces.shortage(None))),
            Ok(false) => Err(trap.into()),
            Err(denied) => Err(Cause::OutOfMemory(denied.0)),
        }
    }

    /// Makes an access in a process's name until it no longer faults.
    fn access(
        &mut self,
        index: usize,
        mut access: impl FnMut(&mut Port<'a>) -> Result<(), AccessError<Fault>>,
    ) -> Result<(), Cause> {
        let mut faults = 0;
        while let Err(error) = access(&mut self.port) {
            faults += 1;
            self.resolve(index, error.into(), faults)?;
        }
        Ok(())
    }

    fn copy_out(&mut self, index: usize, va: u64, bytes: &[u8]) -> Result<(), Cause> {
        self.access(index, |port| port.write_bytes(VirtAddr(va), bytes))
    }

    fn copy_in(&mut self, index: usize, va: u64, bytes: &mut [u8]) -> Result<(), Cause> {
        self.access(index, |port| port.read_bytes(VirtAddr(va), bytes))
    }

    /// The system call that a process has just made. `Ok(true)` ends its time slice.
    fn call(&mut self, index: usize) -> Result<bool, Cause> {
        let process = &mut self.processes[index];
        let [number, a, b, c, d] = [17, 10, 11, 12, 13].map(|register: usize| process.registers.x[register]);
        let mut over = false;
        let result = match number {
            64 if !matches!(a, 1 | 2) => EBADF,
            64 => self.write(index, b, c).unwrap_or(EFAULT),
            93 | 94 => {
                self.end(index, End::Exit(a as u8 as i32));
                return Ok(true);
            }
            124 => {
                over = true;
                0
            }
            172 => i64::from(process.pid),
            214 => self.brk(index, a),
            220 if a != 17 || b != 0 => EINVAL,
            220 => self.fork(index).unwrap_or(ENOMEM),
            260 if c != 0 || d != 0 => EINVAL,
            260 => {
                let child = if a as i32 == -1 { None } else { Some(a as u32) };
                let pid = process.pid;
                if !self.processes.iter().any(|other| is_child(other, pid, child)) {
                    ECHILD
                } else {
                    self.processes[index].state = State::Waiting { child, status: b };
                    self.wake(index);
                    return Ok(true);
                }
            }
            _ => return Err(Cause::UnknownCall(number)),
        };
        self.processes[index].registers.x[10] = result as u64;
        Ok(over)
    }

    fn write(&mut self, index: usize, va: u64, length: u64) -> Option<i64> {
        let mut buffer = [0; PAGE as usize];
        let length = length.min(1 << 20);
        let mut done = 0;
        while done < length {
            let at = va.checked_add(done)?;
            let part = (length - done).min(PAGE - at % PAGE) as usize;
            self.copy_in(index, at, &mut buffer[..part]).ok()?;
            self.processes[index].output.extend_from_slice(&buffer[..part]);
            done += part as u64;
        }
        self.show(index);
        Some(length as i64)
    }

    /// Prints the lines that a process has completed.
    fn show(&mut self, index: usize) {
        let process = &mut self.processes[index];
        let new = &process.output[process.shown..];
        let Some(end) = new.iter().rposition(|&byte| byte == b'\n') else { return };
        if !self.quiet {
            for line in String::from_utf8_lossy(&new[..end]).lines() {
                self.screen.line(&format!("[{}] {line}", process.name));
            }
        }
        process.shown += end + 1;
    }

    /// Moves the end of the heap, in whole pages underneath.
    fn brk(&mut self, index: usize, wanted: u64) -> i64 {
        let process = &mut self.processes[index];
        let (pid, start, end) = (process.pid, process.heap.start, process.heap.end);
        if !(start..=process.heap_limit).contains(&wanted) {
            return end as i64;
        }
        let (from, to) = (end.next_multiple_of(PAGE), wanted.next_multiple_of(PAGE));
        let moved = if to > from {
            self.spaces.map_heap(pid, from, to - from)
        } else if to < from {
            self.spaces.unmap(pid, to, from - to, &mut self.port)
        } else {
            Ok(())
        };
        if moved.is_ok() {
            self.processes[index].heap.end = wanted;
        }
        self.processes[index].heap.end as i64
    }

    /// Doubles a process: the same memory, copied only where either writes.
    fn fork(&mut self, index: usize) -> Option<i64> {
        let pid = self.processes.len() as u32 + 1;
        let parent = &self.processes[index];
        self.spaces.fork(parent.pid, pid, &mut self.port).ok()?;
        let children = self.processes.iter().filter(|other| other.parent == Some(parent.pid)).count();
        let mut child = Process {
            pid,
            name: format!("{}/{}", parent.name, children + 1),
            counters: Counters::default(),
            time: Duration::ZERO,
            output: Vec::new(),
            shown: 0,
            expect: parent.expect.get(1..).unwrap_or(&[]),
            parent: Some(parent.pid),
            ..parent.clone()
        };
        child.registers.x[10] = 0;
        self.processes.push(child);
        Some(i64::from(pid))
    }

    /// Completes the `wait4` of a process, if a child that it waits for has ended.
    fn wake(&mut self, index: usize) {
        let State::Waiting { child, status } = self.processes[index].state else { return };
        let pid = self.processes[index].pid;
        let ended = |other: &&mut Process| is_child(other, pid, child) && other.end().is_some();
        let Some(other) = self.processes.iter_mut().find(ended) else { return };
        other.reaped = true;
        let code = match other.end() {
            Some(End::Exit(code)) => (*code as u32) << 8,
            _ => KILLED,
        };
        let found = other.pid;
        self.processes[index].state = State::Ready;
        self.processes[index].registers.x[10] = u64::from(found);
        if status != 0 {
            self.spaces.switch(pid, &mut self.port);
            if let Err(cause) = self.copy_out(index, status, &code.to_le_bytes()) {
                self.kill(index, cause);
            }
        }
    }

    /// Ends a process for what it did, and says so. Always `true`: the time slice is over.
    fn kill(&mut self, index: usize, cause: Cause) -> bool {
        let process = &self.processes[index];
        let pc = process.registers.pc;
        let mut walk = Vec::new();
        let (cause, details) = match cause {
            Cause::Trap(Trap::Access(AccessError::Fault(fault))) => {
                walk = self.spaces.explain(&fault, &self.port);
                (
                    fault.cause.to_string(),
                    format!("(cause {}) at address {:#x}, pc {pc:#x}", fault.code(), fault.tval),
                )
            }
            Cause::Trap(Trap::Access(error)) => ("bus error".into(), format!("at pc {pc:#x}: {error}")),
            Cause::Trap(Trap::Misaligned { va, load }) => {
                let kind = if load { "load" } else { "store/AMO" };
                (format!("{kind} address misaligned"), format!("at address {va:#x}, pc {pc:#x}"))
            }
            Cause::Trap(Trap::Illegal(raw)) => {
                ("illegal instruction".into(), format!("{raw:#x} at pc {pc:#x}"))
            }
            Cause::Trap(Trap::Breakpoint) => ("breakpoint".into(), format!("at pc {pc:#x}")),
            Cause::UnknownCall(number) => {
                ("unknown system call".into(), format!("number {number} at pc {:#x}", pc - 4))
            }
            Cause::OutOfMemory(why) => ("out of memory".into(), format!("at pc {pc:#x}: {why}")),
        };
        if !self.quiet {
            self.screen.line(&format!("[{}] ended: {cause} {details}", process.name));
            walk.iter().for_each(|step| self.screen.line(&format!("    {step}")));
        }
        self.end(index, End::Killed(cause));
        true
    }

    /// Gives everything that a process had back, and tells its parent.
    fn end(&mut self, index: usize, end: End) {
        let (pid, parent) = (self.processes[index].pid, self.processes[index].parent);
        self.processes[index].state = State::Ended(end);
        self.spaces.destroy(pid, &mut self.port);
        if let Some(parent) = self.processes.iter().position(|other| Some(other.pid) == parent) {
            self.wake(parent);
        }
    }
}

/// Whether `other` is a child of `pid` that has not been waited for, and the one wanted.
fn is_child(other: &Process, pid: u32, wanted: Option<u32>) -> bool {
    other.parent == Some(pid) && !other.reaped && wanted.is_none_or(|wanted| wanted == other.pid)
}
