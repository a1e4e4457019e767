//! Many clients at once: `cargo bench -p ferry-benches --bench clients -- --help`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    ferry_bench_kit::run("clients", env!("CARGO_TARGET_TMPDIR"), ferry_bench_kit::clients::all)
}
