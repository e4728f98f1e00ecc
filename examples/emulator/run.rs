//! One run from options to the final table.

use super::args::{Options, Wanted};
use super::kernel::Kernel;
use super::process::{End, Process};
use super::report::{self, Counters, Screen};
use super::{guest, machine};
use std::time::{Duration, Instant};

/// How often the progress line is drawn anew.
const REDRAW: Duration = Duration::from_millis(100);

/// What came of a run.
pub struct Outcome {
    /// Every process, in the order of their births.
    pub processes: Vec<Process>,
    /// Page tables that were taken from suspended spaces.
    reclaimed: u64,
    /// Whether frames and swap slots are all back, in words.
    leaks: [(bool, String); 2],
}

/// Runs the guests that `options` names until all have ended.
pub fn run(options: &Options, screen: &mut Screen) -> Result<Outcome, String> {
    let wanted = match options.guests.as_slice() {
        [] => guest::BUNDLED.iter().map(|guest| Wanted::plain(guest.name)).collect(),
        wanted => wanted.to_vec(),
    };
    let programs = wanted.iter().map(guest::find).collect::<Result<Vec<_>, _>>()?;
    let ram = machine::ram(options)?;
    let (memory, port) = (machine::memory(&ram, options)?, machine::port(&ram, options)?);
    let mut kernel = Kernel::new(memory, port, options, screen);
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
    let reclaimed = kernel.memory.stats().tables_reclaimed;
    Ok(Outcome { reclaimed, leaks: machine::leaks(&kernel.memory), processes: kernel.processes })
}

impl Outcome {
    /// Prints the tables and the checks. Whether every guest ended as it must, nothing leaked, and the numbers agree.
    pub fn report(&self, screen: &mut Screen) -> bool {
        let (mut total, mut time) = (Counters::default(), Duration::ZERO);
        let titles = |titles: &[&str]| titles.iter().map(|&title| title.to_owned()).collect::<Vec<_>>();
        let (first, second) = Counters::TITLES.split_at(Counters::MEMORY);
        let mut runs = vec![[titles(&["guest", "ended with", "result", "M/s"]), titles(first)].concat()];
        let mut memory = vec![[titles(&["guest"]), titles(second)].concat()];
        let mut row = |name: &str, end: &str, verdict: &str, counters: &Counters, time: Duration| {
            let rate = counters.instructions as f64 / 1e6 / time.as_secs_f64().max(1e-9);
            let values = counters.values();
            let (first, second) = values.split_at(Counters::MEMORY);
            runs.push([&[name.into(), end.into(), verdict.into(), format!("{rate:.1}")], first].concat());
            memory.push([&[name.to_owned()], second].concat());
        };
        let mut right = true;
        for process in &self.processes {
            total += process.counters;
            time += process.time;
            right &= process.right() != Some(false);
            let verdict = process.right().map_or("-", |right| if right { "right" } else { "WRONG" });
            let end = match process.end() {
                Some(End::Exit(status)) => format!("exit {status}"),
                Some(End::Killed(cause)) => cause.clone(),
                None => "still running".into(),
            };
            row(&process.name, &end, verdict, &process.counters, process.time);
        }
        row("total", "", "", &total, time);
        screen.block(&report::table(&runs));
        screen.block(&report::table(&memory));
        screen.line("");
        let causes = [total.minor, total.major, total.invalid, total.protection, total.refused];
        let checks = [
            report::identity(
                "TLB lookups = hits + misses",
                total.hits + total.misses,
                &[total.hits, total.misses],
            ),
            report::identity("walks = misses + walks again", total.walks, &[total.misses, total.rewalks]),
            report::identity(
                "faults = minor + major + invalid + protection + refused",
                total.faults,
                &causes,
            ),
        ];
        screen.line(&format!("page tables of suspended spaces reclaimed: {}", self.reclaimed));
        for (holds, text) in checks.iter().chain(&self.leaks) {
            right &= holds;
            screen.line(text);
        }
        right
    }
}
