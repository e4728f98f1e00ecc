//! The harness judged itself: what it must refuse, and what it must notice.

use crate::case::{AccessStep, Case, FaultMap, Header, InvalidateStep, Outcome};
use crate::keys::{Keys, NotBuilt, Refusal};
use crate::machine::{Machine, fault_map};
use crate::runner::{TLBS, Verdict, run_case, run_lines};
use crate::sparse::SparseMemory;
use crate::tlb::TestTlb;

/// A disagreement counts once with each TLB.
const EACH: u64 = TLBS.len() as u64;

const HEADER: &str =
    r#"{"corpus":"toy","oracle":"none","oracle_version":"0","arch":"x86","seed":1,"cases":1}"#;

/// A machine without translation, that sets bit 5 of the word at zero with every write and cannot do `cr4`.
struct Toy {
    memory: SparseMemory,
}

impl Machine for Toy {
    const LATITUDE: u64 = 0x20;

    fn new(_: &Header, case: &Case, memory: SparseMemory, _: TestTlb) -> Result<Self, NotBuilt> {
        case.ctl.num("cr3")?;
        Ok(Self { memory })
    }

    fn memory(&self) -> &SparseMemory {
        &self.memory
    }

    fn access(&mut self, step: &AccessStep) -> Result<Outcome, NotBuilt> {
        step.keys.text("priv")?;
        if step.kind.writes() {
            self.memory.poke(0, self.memory.word(0) | 0x20);
        }
        if self.memory.backs(step.va, u64::from(step.size)) {
            return Ok(Outcome::Pa(step.va, None));
        }
        Ok(Outcome::Fault(fault_map([("vector", 14), ("cr2", step.va)])))
    }

    fn invalidate(&mut self, step: &InvalidateStep) -> Result<Option<FaultMap>, NotBuilt> {
        match step.kind.as_str() {
            "invlpg" => step.keys.need("va").map(|_| None),
            kind => Err(NotBuilt::new(kind)),
        }
    }

    fn set(&mut self, ctl: &Keys) -> Result<(), NotBuilt> {
        ctl.num("cr3").map(|_| ())
    }
}

/// A case with the given control state, steps and end.
fn case(ctl: &str, steps: &str, after: &str) -> String {
    format!(
        r#"{{"id":"a","arch":"x86","mode":"4level","ctl":{ctl},"ram":["0x0","0x1000"],"mem":{{"0x0":"0x1"}},"steps":[{steps}],"after":{after}}}"#
    )
}

fn judge(line: &str) -> Result<Verdict, Refusal> {
    let header = Header::parse(HEADER)?;
    let case = Case::parse(&header, line)?;
    let mut verdict = Verdict::default();
    run_case::<Toy>(&header, &case, &mut verdict)?;
    Ok(verdict)
}

fn disagreements(steps: &str, after: &str) -> u64 {
    judge(&case("{}", steps, after)).expect("judged").disagreements
}

const READ: &str = r#"{"op":"read","va":"0x10","priv":"user","pa":"0x10"}"#;
const WRITE: &str = r#"{"op":"write","va":"0x10","size":4,"priv":"user","pa":"0x10"}"#;

#[test]
fn agreement_is_seen() {
    assert_eq!(disagreements(READ, "{}"), 0);
    assert_eq!(disagreements(WRITE, r#"{"0x0":"0x21"}"#), 0);
    let fault = r#"{"op":"read","va":"0x1000","priv":"user","fault":{"vector":14,"cr2":"0x1000"}}"#;
    assert_eq!(disagreements(fault, "{}"), 0);
}

#[test]
fn disagreement_is_seen_with_every_tlb() {
    let wrong = [
        (r#"{"op":"read","va":"0x10","priv":"user","pa":"0x18"}"#, "{}"),
        (r#"{"op":"read","va":"0x10","priv":"user","pa":"0x10","pa2":"0x18"}"#, "{}"),
        (r#"{"op":"read","va":"0x10","priv":"user","bus":true,"bus_pa":"0x10"}"#, "{}"),
        (r#"{"op":"read","va":"0x10","priv":"user","fault":{"vector":14}}"#, "{}"),
        (r#"{"op":"read","va":"0x1000","priv":"user","fault":{"vector":14}}"#, "{}"),
        (r#"{"op":"invalidate","kind":"invlpg","va":"0x0","fault":{"vector":13}}"#, "{}"),
        // A walk that changed what it should not have, did not change what it should have, or otherwise.
        (WRITE, "{}"),
        (WRITE, r#"{"0x0":"0x61"}"#),
        (READ, r#"{"0x0":"0x21"}"#),
        (READ, r#"{"0x8":"0x20"}"#),
    ];
    for (steps, after) in wrong {
        assert_eq!(disagreements(steps, after), EACH, "{steps} {after}");
    }
}

#[test]
fn pokes_are_no_changes_by_walks() {
    let poke = r#"{"op":"poke","pa":"0x0","value":"0x5"}"#;
    assert_eq!(disagreements(poke, "{}"), 0);
    assert_eq!(disagreements(&format!("{WRITE},{poke}"), "{}"), 0);
    assert_eq!(disagreements(&format!("{poke},{WRITE}"), r#"{"0x0":"0x25"}"#), 0);
    assert_eq!(disagreements(&format!("{poke},{WRITE}"), "{}"), EACH);
}

#[test]
fn latitude_leaves_only_its_bits_open() {
    let with = |after: &str, latitude: &str| {
        let line =
            case("{}", WRITE, after).replace("\"after\"", &format!("\"a_latitude\":{latitude},\"after\""));
        judge(&line).expect("judged").disagreements
    };
    assert_eq!(with("{}", r#"["0x0"]"#), 0);
    assert_eq!(with("{}", r#"["0x8"]"#), EACH);
    assert_eq!(with("{}", r#"["0x4"]"#), EACH);
    assert_eq!(with(r#"{"0x0":"0x61"}"#, r#"["0x0"]"#), EACH);
}

#[test]
fn what_is_not_understood_is_not_judged() {
    let unbuilt = [
        case(r#"{"cr9":"0x0"}"#, READ, "{}"),
        // Named by the format, but nobody took it.
        case(r#"{"cr4":"0x0"}"#, READ, "{}"),
        case("{}", r#"{"op":"read","va":"0x10","priv":"user","stack":true,"pa":"0x10"}"#, "{}"),
        case("{}", r#"{"op":"read","va":"0x10","priv":"user","colour":1,"pa":"0x10"}"#, "{}"),
        case("{}", r#"{"op":"read","va":"0x10","priv":"user","fault":{"colour":1}}"#, "{}"),
        case("{}", r#"{"op":"invalidate","kind":"invlpg","va":"0x0","pcid":1}"#, "{}"),
        case("{}", r#"{"op":"invalidate","kind":"invept"}"#, "{}"),
        case("{}", r#"{"op":"set","ctl":{"cr4":"0x0"}}"#, "{}"),
        case("{}", r#"{"op":"jump"}"#, "{}"),
        case("{}", READ, "{}").replace("\"after\"", "\"colour\":1,\"after\""),
        case("{}", READ, "{}").replace("\"after\"", "\"ext\":[],\"after\""),
    ];
    for line in unbuilt {
        assert!(matches!(judge(&line), Err(Refusal::NotBuilt(_))), "{line}");
    }
}

#[test]
fn damaged_corpora_are_told_apart() {
    let good = case("{}", "", "{}");
    let malformed = [
        String::new(),
        "{".to_owned(),
        // Fewer cases than the header says, one twice, one that is none.
        HEADER.to_owned(),
        format!("{HEADER}\n{good}\n{good}\n"),
        format!("{HEADER}\n[]\n"),
        format!("{HEADER}\n{}\n", good.replace("\"id\":\"a\",", "")),
        format!("{HEADER}\n{}\n", good.replace("\"x86\"", "\"riscv\"")),
        // An access must end in exactly one way.
        format!("{HEADER}\n{}\n", case("{}", r#"{"op":"read","va":"0x10","priv":"user"}"#, "{}")),
        format!("{HEADER}\n{}\n", case("{}", &READ.replace("\"pa\"", "\"fault\":{},\"pa\""), "{}")),
        format!("{HEADER}\n{}\n", case("{}", &READ.replace("\"va\"", "\"size\":3,\"va\""), "{}")),
    ];
    for text in malformed {
        let verdict = run_lines("toy".to_owned(), text.as_bytes(), run_case::<Toy>);
        assert!(matches!(verdict.refusal, Some(Refusal::Malformed(_))), "{text}: {:?}", verdict.refusal);
        assert_eq!((verdict.cases, verdict.accesses, verdict.disagreements), (0, 0, 0));
    }
}
