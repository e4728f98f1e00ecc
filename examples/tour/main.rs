//! Why machines have virtual memory, told on the real machine, one screen a chapter.
//!
//! Each chapter builds a small machine of the crate's parts, runs something on it, and prints what it measured there.
//! No number is written by hand but those that the text calls a price or an assumption; two runs print the same.
//!
//! `cargo run --release --example tour -- --help` says what it takes.

#![expect(unreachable_pub, reason = "the modules of a program, written like those of a library")]

mod contiguous;
mod cost;
mod heap;
mod isolation;
mod lab;
mod locality;
mod overrun;
mod page_size;
mod swap;
mod tables;

use lab::{Screen, Told};
use std::process::ExitCode;

const HELP: &str = "\
Why machines have virtual memory, told on an emulated one.

tour [OPTIONS]
  --chapter N   that chapter only; repeatable (default: all)
  --list        the chapters' titles
  --help        this text";

/// A chapter: its title, and what tells it.
pub(crate) type Chapter = (&'static str, fn(&mut Screen) -> Told);

pub(crate) const CHAPTERS: [Chapter; 9] = [
    ("Enough is free, and yet it does not fit", contiguous::tell),
    ("Two programs in one memory", isolation::tell),
    ("An array overrun, and who notices", overrun::tell),
    ("More program than memory", swap::tell),
    ("What a page table weighs", tables::tell),
    ("How large is a page?", page_size::tell),
    ("Why moving pages pays at all", locality::tell),
    ("What swap costs", cost::tell),
    ("What paging does not cure", heap::tell),
];

fn main() -> ExitCode {
    match run(std::env::args_os().skip(1)) {
        Ok(text) => {
            lab::print(&text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tour: {error}");
            ExitCode::from(2)
        }
    }
}

/// What the command line asks for, as text.
pub(crate) fn run(
    arguments: impl IntoIterator<Item = std::ffi::OsString>,
) -> Result<String, Box<dyn std::error::Error>> {
    use lexopt::prelude::*;
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut wanted = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("help") => return Ok(format!("{HELP}\n")),
            Long("list") => {
                let titles = CHAPTERS.iter().enumerate();
                return Ok(titles.map(|(at, (title, _))| format!("{} {title}\n", at + 1)).collect());
            }
            Long("chapter") => {
                let value = parser.value()?;
                let number = value.to_str().and_then(|text| text.parse().ok());
                let known = number.filter(|number| (1..=CHAPTERS.len()).contains(number));
                wanted.push(known.ok_or(format!("no chapter {value:?}; there are 1 to {}", CHAPTERS.len()))?);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    if wanted.is_empty() {
        wanted = (1..=CHAPTERS.len()).collect();
    }
    wanted.into_iter().map(chapter).collect()
}

/// The text of one chapter, counted from 1.
pub(crate) fn chapter(number: usize) -> Result<String, Box<dyn std::error::Error>> {
    let (title, tell) = CHAPTERS[number - 1];
    let mut screen = Screen::new(number, title);
    tell(&mut screen).map_err(|error| format!("chapter {number}: {error}"))?;
    Ok(screen.finish())
}
