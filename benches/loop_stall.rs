//! What slow work does to others: `cargo bench -p ferry-benches --bench loop_stall -- --help`.
#![forbid(unsafe_code)]

fn main() {
    ferry_benches::run("loop_stall", &ferry_benches::programs!(), ferry_benches::loop_stall::all);
}
