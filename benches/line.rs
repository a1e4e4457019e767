//! A long line beside other programs: `cargo bench -p ferry-benches --bench line -- --help`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    ferry_bench_kit::run("line", env!("CARGO_TARGET_TMPDIR"), ferry_bench_kit::peers::long_line::all)
}
