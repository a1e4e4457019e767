//! `ferry`: the shell on top of the client library.
#![forbid(unsafe_code)]

mod shell;

use std::process::ExitCode;

fn main() -> ExitCode {
    shell::run()
}
