//! One run from options to the final table.

use super::args::Options;
use super::guest;
use super::kernel::{End, Kernel, Process};
use super::report::{self, Counters, Screen};
use super::spaces::{self, Spaces};
use std::time::{Duration, Instant};

/// How often the progress line is drawn anew.
const REDRAW: Duration = Duration::from_millis(100);

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Whether every guest ended as it must, nothing leaked, and the numbers agree with one another.
    pub right: bool,
    /// Every process, in the order of their births: name, how it ended, what was counted.
    pub processes: Vec<(String, Option<End>, Counters)>,
}

/// Runs the guests that `options` names until all have ended, and reports line by line.
///
/// # Errors
/// One line saying what is wrong with the options, the files or the host.
pub fn run(options: &Options, screen: &mut Screen) -> Result<Outcome, String> {
    let wanted = match options.guests.as_slice() {
        [] => guest::BUNDLED.iter().map(guest::Bundled::wanted).collect(),
        wanted => wanted.to_vec(),
    };
    let programs = wanted.iter().map(guest::find).collect::<Result<Vec<_>, _>>()?;
    let machine = spaces::machine(options)?;
    let port = machine.port(options)?;
    let mut kernel = Kernel::new(Spaces::new(&machine, options)?, port, options.seed, options.quiet, screen);
    for program in &programs {
        kernel.load(program)?;
    }
    let started = Instant::now();
    let mut drawn = Instant::now();
    while kernel.running() {
        kernel.turn();
        if drawn.elapsed() >= REDRAW {
            drawn = Instant::now();
            kernel.draw_progress(started.elapsed());
        }
    }
    let (spaces, processes) = kernel.finish();
    let right = report(&processes, &spaces, screen);
    let processes = processes.into_iter().map(|p| (p.name.clone(), p.end().cloned(), p.counters)).collect();
    Ok(Outcome { right, processes })
}

/// Prints the tables and the checks; says whether all is well.
fn report(processes: &[Process], spaces: &Spaces<'_>, screen: &mut Screen) -> bool {
    let mut total = Counters::default();
    let mut time = Duration::ZERO;
    let mut all_right = true;
    let (mut runs, mut memory) = (Vec::new(), Vec::new());
    for process in processes {
        total += process.counters;
        time += process.time;
        let verdict = match process.right() {
            Some(true) => "right",
            Some(false) => "WRONG",
            None => "-",
        };
        all_right &= process.right() != Some(false);
        let end = match process.end() {
            Some(End::Exit(status)) => format!("exit {status}"),
            Some(End::Killed { cause, .. }) => cause.clone(),
            None => "still running".into(),
        };
        runs.push(run_row(&process.name, [&end, verdict], &process.counters, process.time));
        memory.push(memory_row(&process.name, &process.counters));
    }
    runs.push(run_row("total", ["", ""], &total, time));
    memory.push(memory_row("total", &total));
    let header = ["guest", "ended with", "result", "instructions", "M/s", "TLB hits", "TLB misses", "walks"];
    screen.block(&report::table(&header, &runs));
    let header = [
        "guest",
        "minor",
        "major",
        "COW",
        "invalid",
        "protection",
        "clean ev.",
        "dirty ev.",
        "read",
        "written",
        "bytes read",
        "bytes written",
    ];
    screen.block(&report::table(&header, &memory));
    let faults = [total.minor, total.major, total.copies, total.invalid, total.protection];
    let checks = [
        report::identity("TLB lookups = hits + misses", total.lookups, &[total.hits, total.misses]),
        report::identity(
            "walks = misses + walks again for a right",
            total.walks,
            &[total.misses, total.rewalks],
        ),
        report::identity(
            "faults = minor + major + copy-on-write + invalid + protection",
            total.faults,
            &faults,
        ),
    ];
    for (holds, text) in checks.into_iter().chain(spaces.leaks()) {
        all_right &= holds;
        screen.line(&text);
    }
    all_right
}

fn run_row(name: &str, [end, verdict]: [&str; 2], counters: &Counters, time: Duration) -> Vec<String> {
    let rate = counters.instructions as f64 / 1e6 / time.as_secs_f64().max(1e-9);
    let mut row =
        vec![name.to_owned(), end.to_owned(), verdict.to_owned(), counters.instructions.to_string()];
    row.push(format!("{rate:.1}"));
    row.extend([counters.hits, counters.misses, counters.walks].map(|n| n.to_string()));
    row
}

fn memory_row(name: &str, c: &Counters) -> Vec<String> {
    let numbers = [
        c.minor,
        c.major,
        c.copies,
        c.invalid,
        c.protection,
        c.clean,
        c.dirty,
        c.pages_in,
        c.pages_out,
        c.bytes_in,
        c.bytes_out,
    ];
    [name.to_owned()].into_iter().chain(numbers.map(|n| n.to_string())).collect()
}
