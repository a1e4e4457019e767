//! Many small files over loopback: `cargo bench -p ferry-benches --bench small_files -- --help`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    ferry_bench_kit::run("small_files", env!("CARGO_TARGET_TMPDIR"), ferry_bench_kit::small_files::all)
}
