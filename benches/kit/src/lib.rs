//! The work of the bench targets, as a library, so that the tests run it too.
//!
//! A target (`benches/throughput.rs`, for one) is a `main` of one line: it hands a function of this
//! library to [`run`]. The function makes a [`Workshop`], starts the programs that it compares,
//! lets them take turns with [`alternate`], and reports each [`Row`] as it is done. `tests/tiny.rs`
//! calls the same functions with [`Options::tiny`], so that no bench rots unseen.
//!
//! Every figure stands beside a limit: the barest program that moves the same bytes, measured in
//! turns with ours. Machines differ and drift from minute to minute; the ratio stays.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench whose work fails has no figure to show: it ends, and the message says what failed"
)]

use std::{env, process::ExitCode};

pub mod clients;
mod content;
mod crowd;
mod goal;
mod helper;
mod lanes;
mod latency;
mod line;
pub mod loop_stall;
mod options;
pub mod peers;
mod poll;
mod program;
mod report;
mod rounds;
mod sample;
pub mod scale;
pub mod small_files;
pub mod throughput;
mod told;
mod tree;
mod wire;
mod workshop;

pub use content::Content;
pub use goal::Goal;
pub use helper::{RawLimit, helper};
pub use options::{Options, Setup, size_label};
pub use report::Report;
pub use rounds::{Contender, Row, alternate};
pub use sample::{Sample, Spread, Unit, timed};
pub use tree::descendants;
pub use wire::{Drained, Wire, drain_bare, drain_ferry};
pub use workshop::Workshop;

/// Runs a bench target: reads the command line, calls `work`, and ends the report. Its executable serves
/// as the helper of its own bench. `scratch` is a directory on the disk.
#[must_use]
pub fn run(target: &'static str, scratch: &str, work: impl FnOnce(&Setup, &Options, &mut Report)) -> ExitCode {
    if let Some(ended) = helper() {
        return ended;
    }
    let options = Options::from_command_line();
    let setup = Setup { helper: env::current_exe().expect("this executable has a path"), scratch: scratch.into() };
    let mut report = Report::new(target, options.json);
    work(&setup, &options, &mut report);
    report.end();
    ExitCode::SUCCESS
}
