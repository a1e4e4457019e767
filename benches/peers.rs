//! Other servers and programs at the same work: `cargo bench -p ferry-benches --bench peers -- --help`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    ferry_bench_kit::run("peers", env!("CARGO_TARGET_TMPDIR"), ferry_bench_kit::peers::all)
}
