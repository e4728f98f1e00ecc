//! The tour example: every chapter is told, the same every time, and fits a screen.

#[path = "../examples/tour/main.rs"]
#[expect(dead_code, reason = "an example's `main` is not called by its test")]
mod tour;

use std::ffi::OsString;

fn run(arguments: &[&str]) -> Result<String, String> {
    tour::run(arguments.iter().map(OsString::from)).map_err(|error| error.to_string())
}

/// A chapter's text, having been told twice alike, on one screen.
fn chapter(number: usize) -> String {
    let text = run(&["--chapter", &number.to_string()]).expect("the chapter is told to its end");
    assert_eq!(run(&["--chapter", &number.to_string()]).as_deref(), Ok(text.as_str()));
    assert!(text.lines().count() <= 24, "chapter {number} has {} lines", text.lines().count());
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "chapter {number}: too long: {line}");
    }
    text
}

fn holds(number: usize, phrases: &[&str]) {
    let text = chapter(number);
    for phrase in phrases {
        assert!(text.contains(phrase), "chapter {number} does not say {phrase:?}:\n{text}");
    }
}

#[test]
fn contiguous_memory_fails_where_pages_do_not() {
    holds(
        1,
        &["Free: 30 frames", "no run of 2^3 frames is free", "wrote 4096 words", "read 4096 of them back"],
    );
}

#[test]
fn programs_corrupt_each_other_until_they_are_isolated() {
    holds(
        2,
        &["first program counted 29, the second 30", "first program counted 20, the second 10", "Absent"],
    );
}

#[test]
fn an_overrun_is_seen_at_the_page_boundary_only() {
    holds(3, &["the variable was 7, is 0", "element 512 was caught", "element 100 was caught"]);
}

#[test]
fn the_whole_is_its_chapters() {
    let whole = run(&[]).expect("all chapters are told");
    let parts: String = (1..=tour::CHAPTERS.len()).map(chapter).collect();
    assert_eq!(whole, parts);
}

#[test]
fn the_list_names_every_chapter() {
    let list = run(&["--list"]).expect("a list");
    assert_eq!(list.lines().count(), tour::CHAPTERS.len());
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    for arguments in [&["--chapter", "0"][..], &["--chapter", "99"], &["--chapter", "one"], &["--chapter"]] {
        assert!(run(arguments).is_err(), "{arguments:?}");
    }
    assert!(run(&["--nonsense"]).is_err_and(|error| error.contains("nonsense")));
}
