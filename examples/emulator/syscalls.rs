//! System calls: Linux's numbers and conventions. `guests/README.md` lists them.

use super::guest::PAGE;
use super::kernel::{Cause, DATA, Kernel, is_bad_address};
use super::machine;
use super::process::{End, Process, State};
use softmmu::addr::VirtAddr;
use softmmu::vm::{Region, VmError};

/// Linux's error numbers, as a system call returns them.
const EBADF: i64 = -9;
const ECHILD: i64 = -10;
const ENOMEM: i64 = -12;
const EFAULT: i64 = -14;
const EINVAL: i64 = -22;
/// Output is shown line by line, up to this many bytes.
const LONGEST_LINE: usize = 1 << 16;
/// The status of a process that faulted: killed by SIGSEGV.
const KILLED: u32 = 11;

impl Kernel<'_, '_, '_> {
    /// The system call that a process has just made. `Ok(true)` ends its time slice.
    pub fn call(&mut self, index: usize) -> Result<bool, Cause> {
        let process = &mut self.processes[index];
        let [number, a, b, c, d] = [17, 10, 11, 12, 13].map(|register: usize| process.registers.x[register]);
        let mut over = false;
        let result = match number {
            64 if !matches!(a, 1 | 2) => EBADF,
            64 => match self.write(index, b, c) {
                Ok(length) => length as i64,
                Err(error) if is_bad_address(&error) => EFAULT,
                Err(error) => return Err(Cause::Memory(error)),
            },
            93 | 94 => {
                self.end(index, End::Exit(i32::from(a as u8)));
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
                let (pid, child) = (process.pid, u16::try_from(a).ok());
                let exists = self.processes.iter().any(|other| other.is_child(pid, child));
                if exists && (child.is_some() || a as i64 == -1) {
                    self.processes[index].state = State::Waiting { child, status: b };
                    self.wake(index);
                    return Ok(true);
                }
                ECHILD
            }
            _ => {
                process.registers.pc -= 4;
                return Err(Cause::UnknownCall(number));
            }
        };
        self.processes[index].registers.x[10] = result as u64;
        Ok(over)
    }

    fn write(&mut self, index: usize, va: u64, length: u64) -> Result<u64, VmError> {
        // As write may, it takes only a part of what is very long.
        let mut text = vec![0; length.min(PAGE) as usize];
        let process = &mut self.processes[index];
        self.memory.read(process.space, VirtAddr(va), &mut text, &mut self.port)?;
        process.output.append(&mut text);
        self.show(index, false);
        Ok(length.min(PAGE))
    }

    /// Prints the lines that a process has completed, or all that it left.
    pub fn show(&mut self, index: usize, all: bool) {
        let process = &mut self.processes[index];
        let new = &process.output[process.shown..];
        let end = new.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let end = if all || new.len() > LONGEST_LINE { new.len() } else { end };
        if !self.quiet {
            for line in String::from_utf8_lossy(&new[..end]).lines() {
                self.screen.line(&format!("[{}] {line}", process.name));
            }
        }
        process.shown += end;
        // What a guest prints without end is not kept: no expectation is that long.
        if process.output.len() > 2 * LONGEST_LINE {
            process.output.drain(..process.shown);
            process.shown = 0;
        }
    }

    /// Moves the end of the heap, in whole pages underneath; returns where it is then.
    fn brk(&mut self, index: usize, wanted: u64) -> i64 {
        let process = &mut self.processes[index];
        if (process.heap.start..=process.heap_limit).contains(&wanted) {
            let (from, to) = (process.heap.end.next_multiple_of(PAGE), wanted.next_multiple_of(PAGE));
            let moved = if to > from {
                self.memory.map(process.space, Region::anonymous(VirtAddr(from), to - from, DATA))
            } else if to < from {
                self.memory.unmap(process.space, VirtAddr(to), from - to, &mut self.port)
            } else {
                Ok(())
            };
            if moved.is_ok() {
                process.heap.end = wanted;
            }
        }
        process.heap.end as i64
    }

    /// Doubles a process: the same memory, copied only where either writes. `None`: no room.
    fn fork(&mut self, index: usize) -> Option<i64> {
        let pid = self.next_pid()?;
        let parent = &self.processes[index];
        let space = self.memory.fork(parent.space, machine::tag(pid), &mut self.port).ok()?;
        let born = self.processes.iter().filter(|other| other.parent == Some(parent.pid)).count();
        let child = parent.child(pid, format!("{}/{}", parent.name, born + 1), space);
        self.processes.push(child);
        Some(i64::from(pid))
    }

    /// Completes the `wait4` of a process, if a child that it waits for has ended.
    pub fn wake(&mut self, index: usize) {
        let Process { pid, space, state: State::Waiting { child, status }, .. } = self.processes[index]
        else {
            return;
        };
        let ended =
            self.processes.iter_mut().find(|other| other.is_child(pid, child) && other.end().is_some());
        let Some(other) = ended else { return };
        other.reaped = true;
        let code = match other.end() {
            Some(End::Exit(code)) => (*code as u32) << 8,
            _ => KILLED,
        };
        let found = other.pid;
        let process = &mut self.processes[index];
        process.state = State::Ready;
        process.registers.x[10] = u64::from(found);
        if status != 0 {
            match self.memory.write(space, VirtAddr(status), &code.to_le_bytes(), &mut self.port) {
                Ok(()) => {}
                Err(error) if is_bad_address(&error) => process.registers.x[10] = EFAULT as u64,
                Err(error) => self.kill(index, Cause::Memory(error)),
            }
        }
    }
}
