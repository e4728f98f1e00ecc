//! Replays recorded cases: what independent implementations of each architecture answered, this crate must answer.
//!
//! The corpora are taken from the folder named by `SOFTMMU_CONFORMANCE`, else from `../shared/conformance`, else from
//! the sample in `tests/data`. `SOFTMMU_CORPUS=text` runs only those whose name holds `text`. Every case runs with a
//! TLB, without one and with a tiny one; each corpus gets one line, and a corpus that asks for what is not built
//! says so instead of being judged by halves. The cases in `tests/data/manual`, made from the manuals for what no
//! recorded corpus reaches, run always.
//!
//! ```text
//! case.rs, keys.rs   the format, strictly: an unknown key is never ignored
//! sparse.rs, tlb.rs  the memory and the TLBs that cases run on
//! machine.rs         what an architecture's driver has to do; riscv.rs, x86.rs, aarch64.rs do it
//! runner.rs          runs a corpus and compares; selftest.rs judges the judge
//! ```

#![expect(unreachable_pub, reason = "the modules of one test are nobody's interface")]

mod aarch64;
mod case;
mod keys;
mod machine;
mod riscv;
mod runner;
mod selftest;
mod sparse;
mod tlb;
mod x86;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use keys::Refusal;
use runner::Verdict;

/// The folder that the corpora are in.
fn folder() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    if let Some(named) = std::env::var_os("SOFTMMU_CONFORMANCE") {
        return named.into();
    }
    let shared = here.join("../shared/conformance");
    if shared.is_dir() { shared } else { here.join("tests/data") }
}

/// The corpora in `folder`, by name; those not wanted left out.
fn corpora(folder: &Path) -> Vec<PathBuf> {
    let wanted = std::env::var("SOFTMMU_CORPUS").unwrap_or_default();
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("folder entry").path()).collect();
    paths.retain(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        name.ends_with(".jsonl.gz") && name.contains(&wanted)
    });
    paths.sort();
    paths
}

/// Runs all corpora on as many threads as there are cores, in whatever order; verdicts come in theirs.
fn run_all(paths: &[PathBuf]) -> Vec<Verdict> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(paths.len()).max(1);
    let queue = Mutex::new(paths.iter().enumerate());
    let verdicts = Mutex::new(Vec::new());
    let take = || queue.lock().expect("queue").next();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((at, path)) = take() {
                    // A driver that panics spoils its own corpus only.
                    let verdict =
                        std::panic::catch_unwind(|| runner::run(path)).unwrap_or_else(|_| Verdict {
                            name: path.display().to_string(),
                            refusal: Some(Refusal::Malformed("panicked (see above)".into())),
                            ..Verdict::default()
                        });
                    verdicts.lock().expect("verdicts").push((at, verdict));
                }
            });
        }
    });
    let mut verdicts = verdicts.into_inner().expect("verdicts");
    verdicts.sort_by_key(|(at, _)| *at);
    verdicts.into_iter().map(|(_, verdict)| verdict).collect()
}

#[test]
fn corpora_agree() {
    let folder = folder();
    let paths = corpora(&folder);
    let some_left_out = std::env::var_os("SOFTMMU_CORPUS").is_some();
    assert!(some_left_out || !paths.is_empty(), "no corpus in {}", folder.display());
    judge(&paths);
}

/// Cases made from the manuals for what no recorded corpus reaches.
#[test]
fn cases_from_the_manuals_agree() {
    judge(&corpora(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/manual")));
}

fn judge(paths: &[PathBuf]) {
    let verdicts = run_all(paths);
    // Straight to the terminal: the lines are meant to be seen when the test passes, too.
    let mut out = std::io::stdout().lock();
    writeln!(out).expect("stdout");
    for verdict in &verdicts {
        writeln!(out, "{}", verdict.line()).expect("stdout");
        for shown in &verdict.shown {
            writeln!(out, "    {shown}").expect("stdout");
        }
    }
    let sum = |part: fn(&Verdict) -> u64| verdicts.iter().map(part).sum::<u64>();
    let unbuilt = verdicts.iter().filter(|v| matches!(v.refusal, Some(Refusal::NotBuilt(_)))).count();
    let malformed = verdicts.iter().filter(|v| matches!(v.refusal, Some(Refusal::Malformed(_)))).count();
    let disagreements = sum(|v| v.disagreements);
    writeln!(
        out,
        "total: {} corpora, {} cases, {} accesses, {disagreements} disagreements, {unbuilt} not built, {malformed} malformed",
        verdicts.len(),
        sum(|v| v.cases),
        sum(|v| v.accesses),
    )
    .expect("stdout");
    assert_eq!(disagreements, 0, "the crate and the recorded machines disagree");
    assert_eq!(malformed, 0, "corpora that could not be read");
}
