//! How far one machine goes: `cargo bench -p ferry-benches --bench scale -- --help`.
#![forbid(unsafe_code)]

fn main() {
    ferry_benches::run("scale", &ferry_benches::programs!(), ferry_benches::scale::all);
}
