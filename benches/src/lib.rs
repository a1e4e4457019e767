//! What the bench targets share, and their work itself, so that the tests run it too.
//!
//! A target (`throughput.rs` beside this directory, for one) is a `main` of three lines:
//! it hands a function of this library to [`run`]. That function makes a [`Workshop`], starts what
//! it compares, lets them take turns with [`alternate`], and reports each [`Row`] as it is done.
//! `tests/tiny.rs` calls the same functions with [`Options::tiny`], so that no bench rots unseen.
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

mod child;
pub mod clients;
mod content;
mod crowd;
mod goal;
mod lanes;
mod latency;
pub mod loop_stall;
mod options;
pub mod peers;
mod program;
mod report;
mod rounds;
mod sample;
pub mod scale;
pub mod small_files;
pub mod throughput;
mod tree;
mod wire;
mod workshop;

pub use child::RawLimit;
pub use content::Content;
pub use goal::Goal;
pub use options::{Options, Programs, size_label};
pub use report::Report;
pub use rounds::{Contender, Row, alternate};
pub use sample::{Sample, Spread, Unit, timed};
pub use tree::descendants;
pub use wire::{Drained, Wire, drain_bare, drain_ferry};
pub use workshop::Workshop;

/// What a bench target does: reads the command line, calls `work`, and ends the report.
pub fn run(target: &'static str, programs: &Programs, work: impl FnOnce(&Programs, &Options, &mut Report)) {
    let options = Options::from_command_line();
    let mut report = Report::new(target, options.json);
    work(programs, &options, &mut report);
    report.end();
}
