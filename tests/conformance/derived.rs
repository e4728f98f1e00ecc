//! Cases derived by hand from the manuals, for what no recorded corpus reaches: `tests/data/derived/*.jsonl`.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use crate::runner::{by_arch, run_lines};

#[test]
fn derived_cases_agree() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/derived");
    let wanted = std::env::var("SOFTMMU_CORPUS").unwrap_or_default();
    let mut bad = Vec::new();
    let mut cases = 0;
    for entry in folder.read_dir().expect("the folder of derived cases") {
        let path = entry.expect("folder entry").path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(name) = name.strip_suffix(".jsonl").filter(|name| name.contains(&wanted)) else { continue };
        let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let verdict = run_lines(name.to_owned(), BufReader::new(file), by_arch);
        cases += verdict.cases;
        if verdict.refusal.is_some() || verdict.disagreements > 0 {
            bad.push(verdict.line());
            bad.extend(verdict.shown);
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n    "));
    assert!(cases > 0 || !wanted.is_empty(), "no derived cases in {}", folder.display());
}
