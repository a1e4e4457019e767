//! Large files over loopback: `cargo bench -p ferry-benches --bench throughput -- --help`.
#![forbid(unsafe_code)]

fn main() {
    ferry_benches::run("throughput", &ferry_benches::programs!(), ferry_benches::throughput::all);
}
