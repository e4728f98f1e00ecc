//! One run from options to the final table.

use super::args::{Options, Wanted};
use super::guest;
use super::kernel::{End, Kernel, Process};
use super::report::{self, Counters, Screen};
use super::spaces::{Machine, Spaces};
use std::time::{Duration, Instant};

/// How often the progress line is drawn anew.
const REDRAW: Duration = Duration::from_millis(100);

/// What came of a run.
pub struct Outcome {
    /// Every process, in the order of their births.
    pub processes: Vec<Process>,
    /// Whether frames and swap slots are all back, in words.
    leaks: Vec<(bool, String)>,
}

/// Runs the guests that `options` names until all have ended.
///
/// # Errors
/// One line saying what is wrong with the options, the files or the host.
pub fn run(options: &Options, screen: &mut Screen) -> Result<Outcome, String> {
    let wanted = match options.guests.as_slice() {
        [] => guest::BUNDLED.iter().map(|guest| Wanted::plain(guest.name)).collect(),
        wanted => wanted.to_vec(),
    };
    let programs = wanted.iter().map(guest::find).collect::<Result<Vec<_>, _>>()?;
    let machine = Machine::new(options)?;
    let (spaces, port) = (Spaces::new(&machine, options)?, machine.port(options)?);
    let mut kernel = Kernel::new(spaces, port, options, screen);
    for program in &programs {
        kernel.load(program)?;
    }
    let (started, mut drawn) = (Instant::now(), Instant::now());
    while kernel.running() {
        kernel.turn();
        if drawn.elapsed() >= REDRAW {
            drawn = Instant::now();
            kernel.draw_progress(started.elapsed());
        }
    }
    let (spaces, processes) = kernel.finish();
    Ok(Outcome { processes, leaks: spaces.leaks() })
}

impl Outcome {
    /// Prints the tables and the checks. Whether every guest ended as it must, nothing leaked, and the numbers agree.
    pub fn report(&self, screen: &mut Screen) -> bool {
        let (mut total, mut time) = (Counters::default(), Duration::ZERO);
        let (mut runs, mut memory) = (Vec::new(), Vec::new());
        for process in &self.processes {
            total += process.counters;
            time += process.time;
            let verdict = process.right().map_or("-", |right| if right { "right" } else { "WRONG" });
            let end = match process.end() {
                Some(End::Exit(status)) => format!("exit {status}"),
                Some(End::Killed(cause)) => cause.clone(),
                None => "still running".into(),
            };
            runs.push(run_row(&process.name, [&end, verdict], &process.counters, process.time));
            memory.push(memory_row(&process.name, &process.counters));
        }
        runs.push(run_row("total", ["", ""], &total, time));
        memory.push(memory_row("total", &total));
        screen.block(&report::table(
            "guest|ended with|result|instructions|M/s|TLB hits|TLB misses|walks",
            &runs,
        ));
        let header = "guest|minor|major|COW|invalid|protection|clean ev.|dirty ev.|read|written|bytes read|bytes written";
        screen.block(&report::table(header, &memory));
        screen.line("");
        let served = [total.minor, total.major, total.copies, total.invalid, total.protection];
        let checks = [
            report::identity("TLB lookups = hits + misses", total.lookups, &[total.hits, total.misses]),
            report::identity(
                "walks = misses + repeated for a right",
                total.walks,
                &[total.misses, total.rewalks],
            ),
            report::identity("faults = minor + major + COW + invalid + protection", total.faults, &served),
        ];
        let mut right = self.processes.iter().all(|process| process.right() != Some(false));
        for (holds, text) in checks.iter().chain(&self.leaks) {
            right &= holds;
            screen.line(text);
        }
        right
    }
}

fn run_row(name: &str, [end, verdict]: [&str; 2], counters: &Counters, time: Duration) -> Vec<String> {
    let rate = counters.instructions as f64 / 1e6 / time.as_secs_f64().max(1e-9);
    let texts =
        [name.into(), end.into(), verdict.into(), counters.instructions.to_string(), format!("{rate:.1}")];
    let numbers = [counters.hits, counters.misses, counters.walks];
    texts.into_iter().chain(numbers.map(|n| n.to_string())).collect()
}

fn memory_row(name: &str, c: &Counters) -> Vec<String> {
    let faults = [c.minor, c.major, c.copies, c.invalid, c.protection];
    let moved = [c.clean, c.dirty, c.pages_in, c.pages_out, c.bytes_in, c.bytes_out];
    let numbers = faults.iter().chain(&moved).map(u64::to_string);
    [name.to_owned()].into_iter().chain(numbers).collect()
}
