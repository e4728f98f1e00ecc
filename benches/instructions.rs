//! Instructions per access, counted and not timed: the same figure on any load of the machine.
//!
//! `cargo bench --bench instructions` runs each kernel under `valgrind --tool=callgrind` (which must be installed)
//! with two lengths and prints the difference by iteration, so that set-up cancels out, beside the same loop with no
//! access in it. `instructions run KERNEL N` runs one kernel by itself, for a profiler of your own.
#![allow(missing_docs, unreachable_pub, reason = "a program")]

mod support;

use std::process::{Command, ExitCode};
use support::kernels::{KERNELS, Kernel};

const SHORT: u64 = 20_000;
const LONG: u64 = 120_000;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.as_slice() {
        [run, name, length] if run == "run" => return run_one(name, length),
        _ => {}
    }
    let wanted = args.first().filter(|arg| !arg.starts_with("--")).map_or("", String::as_str);
    let Some(empty) = instructions("loop") else {
        eprintln!("valgrind is not installed, or did not run: nothing to count with");
        return ExitCode::SUCCESS;
    };
    println!("{:<34} {:>12} {:>12}", "kernel", "instructions", "net of loop");
    for kernel in KERNELS.iter().filter(|kernel| kernel.name.contains(wanted)) {
        match instructions(kernel.name) {
            Some(count) => println!("{:<34} {count:>12.2} {:>12.2}", kernel.name, count - empty),
            None => println!("{:<34} {:>12}", kernel.name, "failed"),
        }
    }
    ExitCode::SUCCESS
}

fn run_one(name: &str, length: &str) -> ExitCode {
    let (Some(Kernel { run, .. }), Ok(length)) =
        (KERNELS.iter().find(|kernel| kernel.name == name), length.parse())
    else {
        eprintln!("usage: instructions run KERNEL N, with KERNEL one of:");
        KERNELS.iter().for_each(|kernel| eprintln!("  {}", kernel.name));
        return ExitCode::FAILURE;
    };
    println!("{}", run(length));
    ExitCode::SUCCESS
}

/// Instructions per iteration of kernel `name`.
fn instructions(name: &str) -> Option<f64> {
    let (short, long) = (count(name, SHORT)?, count(name, LONG)?);
    Some((long - short) as f64 / (LONG - SHORT) as f64)
}

/// Instructions of a whole run of `length` iterations.
fn count(name: &str, length: u64) -> Option<u64> {
    let myself = std::env::current_exe().ok()?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(myself)
        .args(["run", name, &length.to_string()])
        .output()
        .ok()?;
    let report = String::from_utf8(output.stderr).ok()?;
    let line = report.lines().find(|line| line.contains("Collected"))?;
    line.rsplit(' ').next()?.parse().ok()
}
