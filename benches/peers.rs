//! Other servers and programs at the same work: `cargo bench -p ferry-benches --bench peers -- --help`.
#![forbid(unsafe_code)]

fn main() {
    ferry_benches::run("peers", &ferry_benches::programs!(), ferry_benches::peers::all);
}
