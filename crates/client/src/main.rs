//! `ferry`: the shell on top of the client library.
#![forbid(unsafe_code)]

mod shell;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    shell::run(&shell::Args::parse())
}
