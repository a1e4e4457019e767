//! The helper of the benches as a program by itself, for the tests of this package.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ferry_bench_kit::helper().unwrap_or_else(|| {
        eprintln!("bench-helper (--raw-limit | --keeper) [ARGUMENT ...]");
        ExitCode::FAILURE
    })
}
