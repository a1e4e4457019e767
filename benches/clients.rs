//! Many clients at once: `cargo bench -p ferry-benches --bench clients -- --help`.
#![forbid(unsafe_code)]

fn main() {
    ferry_benches::run("clients", &ferry_benches::programs!(), ferry_benches::clients::all);
}
