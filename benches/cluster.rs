//! Several servers over one file system: `cargo bench -p ferry-benches --bench cluster -- --help`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    ferry_bench_kit::run("cluster", env!("CARGO_TARGET_TMPDIR"), ferry_bench_kit::peers::cluster::all)
}
