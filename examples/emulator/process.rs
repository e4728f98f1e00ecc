//! A guest in the kernel's eyes.

use super::cpu::Registers;
use super::guest::Expect;
use super::report::Counters;
use softmmu::vm::SpaceId;
use std::ops::Range;
use std::time::Duration;

/// How a process came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It exited.
    Exit(i32),
    /// It did what cannot be done.
    Killed(String),
}

/// What a process is doing.
#[derive(Clone, Debug)]
pub enum State {
    Ready,
    /// In `wait4` for this child (or any), its status to be stored there.
    Waiting {
        child: Option<u16>,
        status: u64,
    },
    Ended(End),
}

/// A guest, or a child that one forked.
#[derive(Clone, Debug)]
pub struct Process {
    pub name: String,
    /// Its number, and its ASID.
    pub pid: u16,
    pub parent: Option<u16>,
    /// Whether its parent has been told of its end.
    pub reaped: bool,
    pub state: State,
    pub space: SpaceId,
    pub registers: Registers,
    /// Where code and data are, and the stack.
    pub areas: Vec<Range<u64>>,
    /// The heap, and the end that it may not pass.
    pub heap: Range<u64>,
    pub heap_limit: u64,
    /// Everything that it printed, and how much of it has been shown.
    pub output: Vec<u8>,
    pub shown: usize,
    pub counters: Counters,
    pub time: Duration,
    /// How it must end, and then its children.
    pub expect: &'static [Expect],
    /// Whether it runs with its default arguments, so that its output is known to the letter.
    pub plain: bool,
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
                let checked = !text.is_empty() && text.lines().all(|line| line.ends_with(": right"));
                Some(status == got && if self.plain { text == *output } else { checked })
            }
            (Some(Expect::Faults(expected)), End::Killed(cause)) => Some(*expected == cause),
            (None, End::Exit(_)) => None,
            _ => Some(false),
        }
    }

    /// Whether this is a child of `parent` that it has not been told of, and the one wanted.
    pub fn is_child(&self, parent: u16, wanted: Option<u16>) -> bool {
        self.parent == Some(parent) && !self.reaped && wanted.is_none_or(|wanted| wanted == self.pid)
    }

    /// The copy of it that `fork` makes, in `space`.
    pub fn child(&self, pid: u16, name: String, space: SpaceId) -> Self {
        let mut child = Self {
            name,
            pid,
            parent: Some(self.pid),
            space,
            output: Vec::new(),
            shown: 0,
            counters: Counters::default(),
            time: Duration::ZERO,
            expect: self.expect.get(1..).unwrap_or(&[]),
            ..self.clone()
        };
        child.registers.x[10] = 0;
        child
    }
}
