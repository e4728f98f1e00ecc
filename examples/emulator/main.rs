//! Runs RISC-V programs side by side on an emulated MMU: real ELF files made by a real compiler, each in an address
//! space of its own, sharing one small memory.
//!
//! ```text
//!   args ──► guest (ELF) ──► kernel ──► cpu ──► Port (the Mmu) ──► RAM
//!                               │  faults, switches, forks
//!                               └──────► Memory (VirtualMemory) ──► swap file
//! ```
//!
//! `cargo run --release --example emulator -- --help` says what it takes.
#![expect(unreachable_pub, reason = "the modules of a program, written like those of a library")]

pub(crate) mod args;
pub(crate) mod cpu;
pub(crate) mod expand;
pub(crate) mod guest;
pub(crate) mod kernel;
pub(crate) mod machine;
pub(crate) mod process;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod syscalls;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

/// The faults that guests raise.
pub type Fault = softmmu::arch::riscv::Fault;
/// What the processor reaches memory through.
pub type Port<'a> = softmmu::mmu::Mmu<softmmu::arch::riscv::Riscv, &'a softmmu::memory::Ram>;

fn main() -> ExitCode {
    let options = match args::parse(std::env::args_os().skip(1)) {
        Ok(options) => options,
        Err(error) => return fail(&error),
    };
    if options.help {
        println!("{}", args::HELP);
        return ExitCode::SUCCESS;
    }
    if options.list {
        for guest in &guest::BUNDLED {
            println!("{:<10} {}", guest.name, guest.about);
        }
        return ExitCode::SUCCESS;
    }
    // A reader that has gone away is no reason to stop.
    let mut print = |line: &str| drop(writeln!(std::io::stdout(), "{line}"));
    let mut screen = report::Screen::new(&mut print, std::io::stderr().is_terminal());
    let outcome = run::run(&options, &mut screen);
    screen.clear();
    match outcome {
        Ok(outcome) if outcome.report(&mut screen) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => fail(&error),
    }
}

fn fail(error: &str) -> ExitCode {
    eprintln!("emulator: {error}");
    ExitCode::from(2)
}
