//! Many small files over loopback: `cargo bench -p ferry-benches --bench small_files -- --help`.
#![forbid(unsafe_code)]

fn main() {
    ferry_benches::run("small_files", &ferry_benches::programs!(), ferry_benches::small_files::all);
}
