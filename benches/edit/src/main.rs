//! What editing page tables costs, in instructions per page, beside published crates on the same work.
//!
//! ```text
//! cargo run --release                    every case under callgrind, as a table (needs valgrind)
//! cargo run --release -- --time          the same, in nanoseconds per page
//! cargo run --release -- CASE            one case, to be run under a profiler
//! ```
//!
//! Every case maps 1 GiB in 4 KiB pages (the memory lies one page off, so that nobody can use larger ones) or 1 TiB
//! in 1 GiB pages, or edits what was so mapped. `unmap` takes the whole range at once: who can drops whole tables and
//! frees them, in one go (aarch64-paging) or, as here, by way of the token that says what TLBs must drop first;
//! `unmap-unapplied` leaves that token. `unmap-shuffled` is the same where frames come in no order, `unmap-leaves`
//! leaves one page in each table, so that every entry must go by itself; `-singly` is a call a page. Frames come from the same kind of list for all. What is counted is the edit alone: under callgrind
//! only what happens inside `measured` is collected.

mod frames;
mod ours;
mod peers;

use std::process::{Command, ExitCode};
use std::time::Instant;

/// Where the pages are mapped.
const VA: u64 = 1 << 38;
/// Where they lie: not aligned to anything larger than a page.
const PA: u64 = (1 << 32) + 4096;
/// How much is mapped in small pages.
const GIB: u64 = 1 << 30;
/// How much is mapped in large pages.
const TIB: u64 = 1 << 40;

/// One case: makes ready, then hands the work to be measured to its argument.
type Case = fn(&mut dyn FnMut(&mut dyn FnMut()));

/// What one table maps, but for its last page.
const LEAVES: u64 = (2 << 20) - 4096;

const SMALL: u64 = GIB / 4096;
const LARGE: u64 = TIB / GIB;

/// Name, pages edited, case.
const CASES: &[(&str, u64, Case)] = &[
    ("softmmu map 1G/4K", SMALL, |m| ours::map(m)),
    ("softmmu map-singly 1G/4K", SMALL, |m| ours::map_singly(m)),
    ("softmmu protect 1G/4K", SMALL, |m| ours::protect(m)),
    ("softmmu protect-scattered 1G/4K", SMALL, |m| ours::protect_scattered(m)),
    ("softmmu protect-singly 1G/4K", SMALL, |m| ours::protect_singly(m)),
    ("softmmu translate 1G/4K", SMALL, |m| ours::translate(m)),
    ("softmmu translate-scattered 1G/4K", SMALL, |m| ours::translate_scattered(m)),
    ("softmmu translate-singly 1G/4K", SMALL, |m| ours::translate_singly(m)),
    ("softmmu unmap 1G/4K", SMALL, |m| ours::unmap(m)),
    ("softmmu unmap-unapplied 1G/4K", SMALL, |m| ours::unmap_unapplied(m)),
    ("softmmu unmap-shuffled 1G/4K", SMALL, |m| ours::unmap_shuffled(m)),
    ("softmmu unmap-leaves 1G/4K", SMALL, |m| ours::unmap_leaves(m)),
    ("softmmu unmap-leaves-scattered 1G/4K", SMALL, |m| ours::unmap_leaves_scattered(m)),
    ("softmmu unmap-1M-pieces 1G/4K", SMALL, |m| ours::unmap_pieces(m)),
    ("softmmu unmap-singly 1G/4K", SMALL, |m| ours::unmap_singly(m)),
    ("softmmu map 1T/1G", LARGE, |m| ours::map_large(m)),
    ("softmmu unmap 1T/1G", LARGE, |m| ours::unmap_large(m)),
    ("x86_64 map 1G/4K", SMALL, |m| peers::offset::map(m)),
    ("x86_64 translate 1G/4K", SMALL, |m| peers::offset::translate(m)),
    ("x86_64 unmap 1G/4K", SMALL, |m| peers::offset::unmap(m)),
    ("x86_64 map 1T/1G", LARGE, |m| peers::offset::map_large(m)),
    ("x86_64 unmap 1T/1G", LARGE, |m| peers::offset::unmap_large(m)),
    ("page_table_multiarch map 1G/4K", SMALL, |m| peers::multiarch::map(m)),
    ("page_table_multiarch protect 1G/4K", SMALL, |m| peers::multiarch::protect(m)),
    ("page_table_multiarch translate 1G/4K", SMALL, |m| peers::multiarch::translate(m)),
    ("page_table_multiarch unmap 1G/4K", SMALL, |m| peers::multiarch::unmap(m)),
    ("page_table_multiarch unmap-leaves 1G/4K", SMALL, |m| peers::multiarch::unmap_leaves(m)),
    ("page_table_multiarch map 1T/1G", LARGE, |m| peers::multiarch::map_large(m)),
    ("page_table_multiarch unmap 1T/1G", LARGE, |m| peers::multiarch::unmap_large(m)),
    ("aarch64-paging map 1G/4K", SMALL, |m| peers::google::map(m)),
    ("aarch64-paging protect 1G/4K", SMALL, |m| peers::google::protect(m)),
    ("aarch64-paging translate 1G/4K", SMALL, |m| peers::google::translate(m)),
    ("aarch64-paging unmap 1G/4K", SMALL, |m| peers::google::unmap(m)),
    ("aarch64-paging unmap-shuffled 1G/4K", SMALL, |m| peers::google::unmap_shuffled(m)),
    ("aarch64-paging unmap-leaves 1G/4K", SMALL, |m| peers::google::unmap_leaves(m)),
    ("aarch64-paging map 1T/1G", LARGE, |m| peers::google::map_large(m)),
    ("aarch64-paging unmap 1T/1G", LARGE, |m| peers::google::unmap_large(m)),
];

/// The function whose instructions callgrind collects.
#[inline(never)]
#[unsafe(no_mangle)]
fn measured(work: &mut dyn FnMut()) {
    work();
}

fn main() -> ExitCode {
    let argument = std::env::args().nth(1);
    match argument.as_deref() {
        None => table("instructions", count),
        Some("--time") => table("ns", time),
        Some(name) => match CASES.iter().find(|case| case.0 == name) {
            Some((_, _, case)) => {
                case(&mut |work| measured(work));
                ExitCode::SUCCESS
            }
            None => {
                eprintln!("no case {name:?}; there are:");
                CASES.iter().for_each(|case| eprintln!("    {}", case.0));
                ExitCode::FAILURE
            }
        },
    }
}

fn table(unit: &str, mut cost: impl FnMut(&str, Case) -> Result<f64, String>) -> ExitCode {
    println!("{:44} {:>12} per page", "case", unit);
    for &(name, pages, case) in CASES {
        match cost(name, case) {
            Ok(cost) => println!("{name:44} {:12.3}", cost / pages as f64),
            Err(error) => {
                eprintln!("{name}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// Nanoseconds, the best of five.
fn time(_name: &str, case: Case) -> Result<f64, String> {
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        case(&mut |work| {
            let start = Instant::now();
            measured(work);
            best = best.min(start.elapsed().as_secs_f64() * 1e9);
        });
    }
    Ok(best)
}

/// Instructions, as callgrind counts them in a process of its own.
fn count(name: &str, _case: Case) -> Result<f64, String> {
    let me = std::env::current_exe().map_err(|error| error.to_string())?;
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=measured"])
        .arg(me)
        .arg(name)
        .output()
        .map_err(|error| format!("valgrind: {error} (try --time)"))?;
    let said = String::from_utf8_lossy(&out.stderr);
    let line = said.lines().find_map(|line| line.split_once("Collected : "));
    let counted = line.and_then(|(_, count)| count.trim().parse().ok());
    counted.ok_or_else(|| format!("callgrind counted nothing:\n{said}"))
}
