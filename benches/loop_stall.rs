//! The effect of slow work on other clients: `cargo bench -p ferry-benches --bench loop_stall -- --help`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    ferry_bench_kit::run("loop_stall", env!("CARGO_TARGET_TMPDIR"), ferry_bench_kit::loop_stall::all)
}
