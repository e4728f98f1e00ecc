//! The tour example: every chapter is told, the same every time, and fits a screen.
#![cfg(feature = "std")]

#[path = "../examples/tour/main.rs"]
#[expect(dead_code, reason = "an example's `main` is not called by its test")]
mod tour;

use std::ffi::OsString;
use std::sync::OnceLock;

fn run(arguments: &[&str]) -> Result<String, String> {
    tour::run(arguments.iter().map(OsString::from)).map_err(|error| error.to_string())
}

/// The whole tour.
fn whole() -> &'static str {
    static WHOLE: OnceLock<String> = OnceLock::new();
    WHOLE.get_or_init(|| run(&[]).expect("all chapters are told"))
}

/// A chapter's text: on one screen, and the same alone as in the whole.
fn chapter(number: usize) -> String {
    let text = run(&["--chapter", &number.to_string()]).expect("the chapter is told to its end");
    assert!(whole().contains(&text), "chapter {number} is told otherwise alone:\n{text}");
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
fn a_store_lets_a_program_be_larger_than_memory() {
    holds(4, &["it gets 14 pages far", "out of memory", "read back 32 of 32 pages right"]);
}

#[test]
fn a_tree_of_tables_weighs_what_is_mapped() {
    holds(5, &["20          8192 KiB           8192 KiB", "10+10          8 KiB             32 KiB"]);
}

#[test]
fn the_page_size_trades_faults_for_bytes() {
    holds(6, &["64 B           6     2504        160256", "4 KiB          2       40        163840"]);
}

#[test]
fn order_decides_what_a_fault_is_worth() {
    holds(7, &["in order, word by word               256           512.0"]);
}

#[test]
fn swap_is_free_until_what_is_in_use_does_not_fit() {
    holds(8, &["110 %         0             0         100 ns (1 x)"]);
}

#[test]
fn a_heap_fragments_whatever_the_pages() {
    holds(9, &["A block of 2048 bytes? no.", "could be given back: 0 of 16"]);
}

#[test]
fn the_whole_has_every_chapter_in_order() {
    let headings: Vec<&str> = whole().lines().filter(|line| line.starts_with("== ")).collect();
    assert_eq!(headings.len(), tour::CHAPTERS.len());
    for (index, (heading, (title, _))) in headings.iter().zip(tour::CHAPTERS).enumerate() {
        assert_eq!(*heading, format!("== {}. {title} ==", index + 1));
    }
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
