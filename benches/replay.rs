//! Replays a recorded memory trace through configured MMUs.
//!
//! `cargo bench --bench replay` takes the trace named by `SOFTMMU_TRACE`, else the one beside the checkout, checks
//! every record's outcome against it in a pass of its own, and then prints for several TLBs: nanoseconds an access,
//! hits, walks and table reads per walk, beside a bare direct-mapped table that knows no rights. Instructions are
//! counted under `valgrind --tool=callgrind`, if it is installed, with the loop that only decodes the trace subtracted.
#![allow(missing_docs, unreachable_pub, reason = "a program")]

mod support;

use softmmu::tlb::policy::{TreePlru, TrueLru, WayPolicy};
use softmmu::tlb::{Geometry, SetAssociative};
use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::time::Instant;
use support::replay::{Guest, Switching, decode};
use support::trace::{self, BARE, Trace};

/// Records that are counted; callgrind is slow.
const COUNTED: usize = 2_000_000;

/// Replays that many records of a trace, tells what was counted, and returns how many outcomes were wrong.
type Run = fn(&Trace, usize, &mut dyn FnMut(&str)) -> u64;

struct Case {
    name: &'static str,
    run: Run,
}

fn modelled<P: WayPolicy>(
    trace: &Trace,
    records: usize,
    geometry: Geometry,
    switching: Switching,
    tell: &mut dyn FnMut(&str),
) -> u64 {
    let tlb = SetAssociative::<P>::new(geometry).expect("a real geometry");
    let mut guest = Guest::new(trace, tlb, switching);
    let wrong = guest.replay(&trace.records[..records]);
    let stats = guest.mmu.stats();
    let tlb = guest.mmu.tlb().stats();
    let (hits, misses) = (tlb.hits.iter().sum::<u64>(), tlb.misses.iter().sum::<u64>());
    tell(&format!(
        "{:.4} % hits, {misses} misses, {} walks, {:.2} table reads a walk, {:.1} % of hits by the filter",
        100.0 * hits as f64 / (hits + misses).max(1) as f64,
        stats.walks,
        stats.pte_reads as f64 / stats.walks.max(1) as f64,
        100.0 * stats.filter_hits as f64 / hits.max(1) as f64,
    ));
    wrong
}

const CASES: &[Case] = &[
    Case {
        name: "64x4 LRU, ASIDs",
        run: |trace, n, tell| modelled::<TrueLru>(trace, n, Geometry::new(64, 4), Switching::Asids, tell),
    },
    Case {
        name: "64x4 LRU, flush",
        run: |trace, n, tell| modelled::<TrueLru>(trace, n, Geometry::new(64, 4), Switching::Flush, tell),
    },
    Case {
        name: "128x8 tree PLRU, ASIDs",
        run: |trace, n, tell| modelled::<TreePlru>(trace, n, Geometry::new(128, 8), Switching::Asids, tell),
    },
    Case {
        name: "1x32 LRU, ASIDs",
        run: |trace, n, tell| {
            modelled::<TrueLru>(trace, n, Geometry::fully_associative(32), Switching::Asids, tell)
        },
    },
    Case {
        name: "16x2 LRU, ASIDs",
        run: |trace, n, tell| modelled::<TrueLru>(trace, n, Geometry::new(16, 2), Switching::Asids, tell),
    },
    Case {
        name: "64x4 LRU, ASIDs, no filter",
        run: |trace, n, _| {
            let tlb = SetAssociative::<TrueLru>::new(Geometry::new(64, 4)).expect("a real geometry");
            let mut guest = Guest::new(trace, tlb, Switching::Asids);
            guest.mmu.set_filter(false);
            guest.replay(&trace.records[..n])
        },
    },
    Case { name: "reference, direct-mapped", run: |trace, n, _| reference(trace, n) },
    Case { name: "decoding alone", run: |trace, n, _| nothing_wrong(decode(&trace.records[..n])) },
];

/// A direct-mapped table of 16-byte slots, emptied at every change of space, mapping each page to itself: no rights,
/// no tables, no model.
fn reference(trace: &Trace, records: usize) -> u64 {
    const SLOTS: usize = 512;
    let mut slots = vec![(1u64, 0u64); SLOTS];
    let page = vec![0u64; 512];
    let (mut satp, mut sum) = (0, 0u64);
    for record in &trace.records[..records] {
        if record.satp != satp {
            satp = record.satp;
            slots.fill((1, 0));
        }
        let at = (record.va >> 12) as usize & (SLOTS - 1);
        let (tag, host) = slots[at];
        if tag != record.va & !0xff8 {
            slots[at] = (record.va & !0xfff, 0);
        }
        sum = sum.wrapping_add(page[(host as usize + (record.va as usize & 0xff8)) / 8]);
    }
    nothing_wrong(sum)
}

/// For cases that have no outcomes to be wrong.
fn nothing_wrong(sum: u64) -> u64 {
    black_box(sum);
    0
}

/// One case by itself, to be counted.
fn run_one(trace: &Trace, name: &str, records: &str) -> ExitCode {
    let case = CASES.iter().find(|known| known.name == name);
    let (Some(case), Ok(records)) = (case, records.parse::<usize>()) else { return ExitCode::FAILURE };
    let wrong = (case.run)(trace, records.min(trace.records.len()), &mut |_| ());
    if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn main() -> ExitCode {
    let path = trace::path();
    let trace = match trace::load(&path) {
        Ok(trace) => trace,
        Err(why) => {
            println!("no trace to replay: {why}");
            return ExitCode::SUCCESS;
        }
    };
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let all = trace.records.len();
    match args.as_slice() {
        [run, case, records] if run == "run" => return run_one(&trace, case, records),
        _ => {}
    }
    println!("{}: {all} records", path.display());
    for switching in [Switching::Asids, Switching::Flush] {
        let tlb = SetAssociative::<TrueLru>::new(Geometry::new(64, 4)).expect("a real geometry");
        let wrong = Guest::new(&trace, tlb, switching).check(&trace.records);
        println!("checked: {wrong} of {all} outcomes differ from the trace");
        if wrong > 0 {
            return ExitCode::FAILURE;
        }
    }
    let bare = trace.records.iter().filter(|record| record.flags & BARE != 0).count();
    println!("{bare} records are untranslated");
    let decoding = count("decoding alone", all);
    for case in CASES {
        let mut told = String::new();
        let began = Instant::now();
        let wrong = (case.run)(&trace, all, &mut |line| told = line.to_owned());
        let ns = began.elapsed().as_nanos() as f64 / all as f64;
        let counted = decoding.and_then(|base| Some((count(case.name, all)?, base)));
        let instructions = counted.map_or_else(
            || "no valgrind".to_owned(),
            |(count, base)| format!("{:6.2} instructions net of decoding", count - base),
        );
        println!("{:<28} {ns:6.2} ns, {instructions}; {wrong} wrong", case.name);
        if !told.is_empty() {
            println!("{:<28} {told}", "");
        }
    }
    ExitCode::SUCCESS
}

/// Instructions per record.
fn count(case: &str, all: usize) -> Option<f64> {
    let total = |records: usize| {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(std::env::current_exe().ok()?)
            .args(["run", case, &records.to_string()])
            .output()
            .ok()?;
        let report = String::from_utf8(output.stderr).ok()?;
        let line = report.lines().find(|line| line.contains("Collected"))?;
        line.rsplit(' ').next()?.parse::<u64>().ok()
    };
    let records = COUNTED.min(all);
    // The difference to a run of no records leaves out loading the trace and building the guest.
    Some((total(records)? - total(0)?) as f64 / records as f64)
}
