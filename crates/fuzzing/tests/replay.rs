//! The corpus of every fuzz target, and random mutations of it, without a fuzzer.
//!
//! `FERRY_FUZZ_MUTATIONS` says how many mutations of each target's corpus are tried, `FERRY_FUZZ_SEED`
//! where they begin.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests are tests")]

use std::{collections::BTreeSet, fs, panic, path::PathBuf};

use ferry_fuzzing::{TARGETS, Target};

const DEFAULT_MUTATIONS: u64 = 300;

/// The corpus of `target`, in the order of its names.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", directory.display());
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// The package of the fuzz targets is no member of the workspace, so nothing else keeps it in step.
#[test]
fn every_target_has_a_program_and_a_corpus() {
    let fuzz = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let names = |directory: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(fuzz.join(directory)).unwrap();
        entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("fuzz_targets"), targets);
    assert_eq!(names("corpus"), targets);
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for name in targets {
        let path = format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"");
        assert!(manifest.contains(&path), "fuzz/Cargo.toml has no program {name}");
    }
}

#[test]
fn the_corpus_of_every_target() {
    for (name, target) in TARGETS {
        let files = corpus(name);
        for (path, input) in &files {
            if let Err(finding) = panic::catch_unwind(|| target(input)) {
                println!("{} is a finding", path.display());
                panic::resume_unwind(finding);
            }
        }
        println!("{name}: {} files", files.len());
    }
}

#[test]
fn mutations_of_the_corpus() {
    let number = |name: &str, otherwise| {
        std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    let mutations = number("FERRY_FUZZ_MUTATIONS", DEFAULT_MUTATIONS);
    let seed = number("FERRY_FUZZ_SEED", 1);
    println!("FERRY_FUZZ_MUTATIONS={mutations} FERRY_FUZZ_SEED={seed}");
    for (name, target) in TARGETS {
        let files: Vec<_> = corpus(name).into_iter().map(|(_, input)| input).collect();
        for index in 0..mutations {
            try_one(name, target, &files, seed.wrapping_add(index));
        }
        println!("{name}: {mutations} mutations");
    }
}

fn try_one(name: &str, target: Target, files: &[Vec<u8>], seed: u64) {
    let mut dice = Dice(seed);
    let mut input = files[dice.below(files.len())].clone();
    for _ in 0..=dice.below(5) {
        let other = &files[dice.below(files.len())];
        mutate(&mut input, other, &mut dice);
    }
    if let Err(finding) = panic::catch_unwind(|| target(&input)) {
        println!("{name}: seed {seed} is a finding: {}", input.escape_ascii());
        panic::resume_unwind(finding);
    }
}

fn mutate(input: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    let at = dice.below(input.len() + 1);
    let end = at + dice.below((input.len() - at).min(40) + 1);
    match dice.below(6) {
        0 if at < input.len() => input[at] ^= 1 << dice.below(8),
        1 if at < input.len() => input[at] = dice.number() as u8,
        2 => drop(input.drain(at..end)),
        3 => {
            let again = input[at..end].to_vec();
            input.splice(at..at, again);
        }
        4 => {
            let from = dice.below(other.len() + 1);
            input.splice(at..end, other[from..].iter().copied());
        }
        _ => input.insert(at, dice.number() as u8),
    }
    input.truncate(1 << 16);
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }
}
