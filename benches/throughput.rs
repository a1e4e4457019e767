//! Large files over loopback: `cargo bench -p ferry-benches --bench throughput -- --help`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    ferry_bench_kit::run("throughput", env!("CARGO_TARGET_TMPDIR"), ferry_bench_kit::throughput::all)
}
