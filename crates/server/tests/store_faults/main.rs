//! The fault sweep of the store. Each system call of each request fails once, and fails for good,
//! with each error that a disk, a quota or a table of descriptors can give.
//!
//! For every request the calls of an undisturbed run are counted. Then, for every call and
//! every error, the request is made anew on a fresh store in which that call fails: once, or
//! together with all later ones of its kind. [`sweep`] says what must hold then; [`cases`] lists the
//! requests; [`saboteur`] makes the calls fail.
//!
//! `FERRY_SWEEP=more` adds to each call the errors that differ most, `full` all of them, and what takes long;
//! `FERRY_SWEEP_DIR` chooses where the stores are made.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod cases;
#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "the other sweep uses the rest")]
mod common;
mod saboteur;
mod sweep;

use cases::Case;
use common::{enough, lack::Lack, none, show};
use sweep::Figures;

/// Sweeps some requests, and does `further`.
fn sweep(what: &str, cases: Vec<Case>, further: fn(&mut Figures)) {
    let mut figures = Figures::default();
    for case in cases {
        let before = figures.clone();
        sweep::sweep(&case, &mut figures);
        show(format_args!("  {:<28} {}", case.name, figures.since(&before)));
    }
    further(&mut figures);
    show(format_args!("store faults, {what}: {figures}"));
    enough(figures.faults, 250);
    none(&figures.violations);
}

#[test]
fn reading_gives_what_is_there_or_a_failure() {
    let cold = cases::reads().into_iter().map(|case| Case { cold: true, ..case });
    sweep("reads", cases::reads().into_iter().chain(cold).collect(), |_| {});
}

#[test]
fn an_upload_is_there_whole_or_the_old_file_is() {
    sweep("PUT", cases::puts(), |_| {});
}

#[test]
fn a_resumable_upload_is_published_or_kept_and_told_truly() {
    sweep("RESUME", cases::resumes(), |_| {});
}

#[test]
fn the_tree_changes_or_it_does_not() {
    sweep("changes of the tree", cases::changes(), |figures| sweep::sweep_batch(Lack::Nothing, figures));
}

#[test]
fn a_store_opens_and_cleans_up_or_says_why_not() {
    sweep("open and clean", cases::housekeeping(), |_| {});
}

#[test]
fn the_same_holds_where_a_file_system_lacks_something() {
    sweep("where something is lacking", cases::lacking(), |figures| sweep::sweep_batch(Lack::Kind, figures));
}

#[test]
fn a_file_that_is_spoilt_as_it_is_published_is_found_out() {
    let case = cases::puts().into_iter().find(|case| case.name == "put, replacing").unwrap();
    let violations = sweep::spoilt(&case);
    assert!(!violations.is_empty(), "the sweep does not see a file that is half of another");
}

#[test]
fn a_failure_that_is_not_told_is_found_out() {
    let case = cases::puts().into_iter().find(|case| case.name == "put, new").unwrap();
    let violations = sweep::hushed(&case);
    assert!(!violations.is_empty(), "the sweep does not see that a failed fsync was told as SAVED");
}
