//! Runs one corpus and judges it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use softmmu::access::AccessKind;
use softmmu::radix::Stage;
use softmmu::tlb::{Hierarchy, Shape, TlbConfig, WalkCacheConfig};

use crate::case::{AccessStep, Case, Header, Outcome, Step, show_fault};
use crate::keys::{NotBuilt, Refusal};
use crate::machine::Machine;
use crate::sparse::SparseMemory;
use crate::tlb::TestTlb;
use crate::{aarch64, riscv, x86};

/// The TLBs that every case is run with: one that holds everything, none, and one that hardly holds anything, so that
/// what walks reuse shows.
pub const TLBS: [(&str, usize, bool); 4] = [
    ("TLB on", 1024, false),
    ("TLB off", 0, false),
    ("tiny TLB", 2, false),
    ("tiny TLB and walk caches", 2, true),
];

/// How many disagreements a corpus shows in full.
const SHOWN: usize = 5;

/// What came of a corpus.
#[derive(Debug, Default)]
pub struct Verdict {
    pub name: String,
    pub cases: u64,
    pub accesses: u64,
    pub disagreements: u64,
    /// The first few, in full.
    pub shown: Vec<String>,
    /// Why it was not judged, or not to its end.
    pub refusal: Option<Refusal>,
}

impl Verdict {
    /// The corpus's line.
    pub fn line(&self) -> String {
        match &self.refusal {
            None => format!(
                "{}: {} cases, {} accesses, {} disagreements",
                self.name, self.cases, self.accesses, self.disagreements
            ),
            Some(Refusal::NotBuilt(why)) => format!("{}: not built: {why}", self.name),
            Some(Refusal::Malformed(what)) => format!("{}: malformed: {what}", self.name),
        }
    }
}

/// Runs the corpus in `path`.
pub fn run(path: &Path) -> Verdict {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = name.strip_suffix(".jsonl.gz").unwrap_or(&name).to_owned();
    match File::open(path) {
        Ok(file) => run_lines(name, BufReader::new(flate2::read::MultiGzDecoder::new(file)), by_arch),
        Err(error) => {
            Verdict { name, refusal: Some(Refusal::Malformed(error.to_string())), ..Verdict::default() }
        }
    }
}

/// Runs the corpus in `lines`. What cannot be judged whole is not judged: a refusal forgets all counts.
pub fn run_lines(name: String, lines: impl BufRead, run_case: RunCase) -> Verdict {
    let mut verdict = Verdict { name: name.clone(), ..Verdict::default() };
    match judge(lines, run_case, &mut verdict) {
        Ok(()) => verdict,
        Err(refusal) => Verdict { name, refusal: Some(refusal), ..Verdict::default() },
    }
}

fn judge(lines: impl BufRead, run_case: RunCase, verdict: &mut Verdict) -> Result<(), Refusal> {
    let mut lines =
        lines.lines().map(|line| line.map_err(|error| Refusal::Malformed(format!("unreadable: {error}"))));
    let header = lines.next().ok_or_else(|| Refusal::Malformed("empty".into()))??;
    let header = Header::parse(&header)?;
    let mut ids = std::collections::HashSet::new();
    for line in lines {
        let case = Case::parse(&header, &line?)?;
        if !ids.insert(case.id.clone()) {
            return Err(Refusal::Malformed(format!("id {} comes twice", case.id)));
        }
        verdict.cases += 1;
        verdict.accesses += case.steps.iter().filter(|step| matches!(step, Step::Access(_))).count() as u64;
        run_case(&header, &case, verdict)?;
    }
    if verdict.cases != header.cases {
        return Err(Refusal::Malformed(format!("{} cases, the header says {}", verdict.cases, header.cases)));
    }
    Ok(())
}

/// Runs one case and adds what came of it.
pub type RunCase = fn(&Header, &Case, &mut Verdict) -> Result<(), NotBuilt>;

/// Hands the case to its architecture's driver.
pub fn by_arch(header: &Header, case: &Case, verdict: &mut Verdict) -> Result<(), NotBuilt> {
    match header.arch.as_str() {
        "riscv" => run_case::<riscv::Driver>(header, case, verdict),
        "x86" => run_case::<x86::Driver>(header, case, verdict),
        _ => run_case::<aarch64::Driver>(header, case, verdict),
    }
}

/// Tables of all levels and second-stage leaves.
fn walk_caches() -> Hierarchy {
    let tables = |stage| WalkCacheConfig { stage, min_level: 0, max_level: 4, shape: Shape::new(1, 8) };
    let config = TlbConfig {
        walk_caches: vec![tables(Stage::First), tables(Stage::Second)],
        nested: Some(Shape::new(1, 8)),
        ..TlbConfig::unified(Shape::new(1, 1))
    };
    Hierarchy::new(&config).expect("a sound configuration")
}

/// Runs one case with every TLB.
pub fn run_case<M: Machine>(header: &Header, case: &Case, verdict: &mut Verdict) -> Result<(), NotBuilt> {
    for (name, room, caches) in TLBS {
        let list = TestTlb::new(room);
        let tlb = if caches { list.with_walk_caches(walk_caches()) } else { list };
        let machine = M::new(header, case, SparseMemory::new(case.ram, &case.mem), tlb)?;
        let differences = run_steps(machine, header, case)?;
        verdict.disagreements += differences.len() as u64;
        let left = SHOWN.saturating_sub(verdict.shown.len());
        verdict
            .shown
            .extend(differences.into_iter().take(left).map(|what| format!("{} ({name}) {what}", case.id)));
    }
    Ok(())
}

fn run_steps<M: Machine>(mut machine: M, header: &Header, case: &Case) -> Result<Vec<String>, NotBuilt> {
    case.ctl.all_taken()?;
    header.machine.all_taken()?;
    case.ext_taken()?;
    let mut differences = Vec::new();
    // What memory would hold if no walk had ever changed it.
    let mut untouched: BTreeMap<u64, u64> = case.mem.iter().copied().collect();
    for (at, step) in case.steps.iter().enumerate() {
        match step {
            Step::Access(step) => {
                let got = machine.access(step)?;
                step.keys.all_taken()?;
                if got.told(step.va) != step.expected.told(step.va) {
                    let (kind, va, size) = (step.kind, step.va, step.size);
                    differences.push(format!(
                        "step {at}, {kind:?} of {size} at {va:#x}: expected {:?}, got {got:?}",
                        step.expected
                    ));
                }
            }
            Step::Poke { pa, value } => {
                machine.memory().poke(*pa, *value);
                untouched.insert(*pa, *value);
            }
            Step::Invalidate(step) => {
                let got = machine.invalidate(step)?;
                step.keys.all_taken()?;
                if got != step.expected {
                    let show = |fault: &Option<_>| fault.as_ref().map_or("no fault".into(), show_fault);
                    differences.push(format!(
                        "step {at}, {}: expected {}, got {}",
                        step.kind,
                        show(&step.expected),
                        show(&got)
                    ));
                }
            }
            Step::Set(ctl) => {
                machine.set(ctl)?;
                ctl.all_taken()?;
            }
        }
    }
    compare_memory::<M>(machine.memory(), case, &untouched, &mut differences);
    Ok(differences)
}

/// Every word must be what `after` says; where that says nothing, what it was before, pokes included. Words that a
/// step's own store reached are left out: what was stored is not recorded, and memory here drops stores.
fn compare_memory<M: Machine>(
    memory: &SparseMemory,
    case: &Case,
    untouched: &BTreeMap<u64, u64>,
    differences: &mut Vec<String>,
) {
    let mut expected = untouched.clone();
    for (pa, _) in memory.words() {
        expected.entry(pa).or_insert(0);
    }
    for step in &case.steps {
        if let Step::Access(AccessStep {
            kind: AccessKind::Write,
            size,
            expected: Outcome::Pa(pa, second),
            ..
        }) = step
        {
            let first = u64::from(*size).min(0x1000 - pa % 0x1000);
            expected.remove(&(pa & !7));
            expected.remove(&((pa + first - 1) & !7));
            if let Some(second) = second {
                expected.remove(&(second & !7));
            }
        }
    }
    expected.extend(case.after.iter().map(|(&pa, &word)| (pa, word)));
    for (pa, word) in expected {
        let open = case.latitude.iter().filter(|&&entry| entry & !7 == pa);
        let open = open.fold(0, |bits, entry| bits | M::LATITUDE << ((entry & 7) * 8));
        let got = memory.word(pa);
        if (got ^ word) & !open != 0 {
            differences.push(format!("after, at {pa:#x}: expected {word:#x}, got {got:#x}"));
        }
    }
}
