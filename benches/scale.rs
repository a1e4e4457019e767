//! The reach of one machine: `cargo bench -p ferry-benches --bench scale -- --help`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    ferry_bench_kit::run("scale", env!("CARGO_TARGET_TMPDIR"), ferry_bench_kit::scale::all)
}
