//! The command line and the environment: what to run, and how long.

use std::{env, ffi::OsString, path::PathBuf, process};

/// The amount of work that a bench does.
#[derive(Debug, Clone)]
pub struct Options {
    /// One JSON object a row in place of the table.
    pub json: bool,
    /// The smallest work that still takes every step: for tests.
    pub tiny: bool,
    /// MiB of a large file.
    pub mib: u64,
    /// The number of small files.
    pub files: usize,
    /// The number of clients at once, where as many descriptors may be open.
    pub clients: usize,
    /// The number of turns of each contender.
    pub rounds: usize,
    /// Only the rows whose work has one of these in it; all where there are none.
    only: Vec<String>,
}

/// The ground that a bench stands on. Only its target can name it: Cargo tells where things are to
/// benches and tests, not to libraries.
#[derive(Debug, Clone)]
pub struct Setup {
    /// An executable whose `main` begins with [`helper`](crate::helper()).
    pub helper: PathBuf,
    /// A directory on the disk that the target directory is on.
    pub scratch: PathBuf,
}

const HELP: &str = "\
cargo bench -p ferry-benches [--bench TARGET] -- [OPTIONS] [TEXT ...]

  TEXT        only the rows whose work has TEXT in it
  --json      one JSON object a row
  --tiny      a few MiB, one round: shows that the bench works, and no figure worth quoting

  FERRY_BENCH_MIB=1024       MiB of a large file
  FERRY_BENCH_FILES=5000     small files
  FERRY_BENCH_CLIENTS=19000  clients at once, if as many descriptors may be open
  FERRY_BENCH_ROUNDS=5       turns of each contender
  FERRY_BENCH_PEERS=DIR      where the bench `peers` looks for unpacked programs first; several are separated by `:`

  of the bench `line`; lists are separated by commas:
  FERRY_BENCH_RTT=100        milliseconds there and back
  FERRY_BENCH_LOSS=0,1       percent of the packets that are lost, each way
  FERRY_BENCH_CC=cubic       congestion controls of the kernel
  FERRY_BENCH_RATE=400       Mbit/s, each way
  FERRY_BENCH_LIMIT=60       seconds until a program is cut off
  FERRY_BENCH_BESIDE=TEXT    only programs whose name has one of these in it stand beside ferry
  FERRY_BENCH_SEED=1         seed of the losses
  there FERRY_BENCH_MIB is 200 (50 and 20 with loss), and FERRY_BENCH_ROUNDS 2";

impl Options {
    /// Full size.
    #[must_use]
    pub fn new() -> Options {
        Options { json: false, tiny: false, mib: 1024, files: 5000, clients: 19_000, rounds: 5, only: Vec::new() }
    }

    /// Returns the smallest.
    #[must_use]
    pub fn tiny() -> Options {
        Options { tiny: true, mib: 4, files: 50, clients: 60, rounds: 1, ..Options::new() }
    }

    /// Reads the command line and the environment. Ends the program where they are wrong,
    /// and after `--help`.
    #[must_use]
    pub fn from_command_line() -> Options {
        Options::parse(env::args().skip(1), |variable| env::var(variable).ok()).unwrap_or_else(|message| {
            eprintln!("{message}\n\n{HELP}");
            process::exit(2)
        })
    }

    fn parse(
        words: impl Iterator<Item = String>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Options, String> {
        let mut options = Options::new();
        options.mib = number(&variable, "FERRY_BENCH_MIB", options.mib)?;
        for (name, count) in [
            ("FERRY_BENCH_FILES", &mut options.files),
            ("FERRY_BENCH_CLIENTS", &mut options.clients),
            ("FERRY_BENCH_ROUNDS", &mut options.rounds),
        ] {
            *count = usize::try_from(number(&variable, name, *count as u64)?).map_err(|error| error.to_string())?;
        }
        for word in words {
            match word.as_str() {
                // Cargo says this to every bench.
                "--bench" => {}
                "--json" => options.json = true,
                "--tiny" => options = Options { json: options.json, only: options.only, ..Options::tiny() },
                "--help" | "-h" => {
                    println!("{HELP}");
                    process::exit(0)
                }
                word if word.starts_with('-') => return Err(format!("no option is called {word}")),
                _ => options.only.push(word),
            }
        }
        Ok(options)
    }

    /// Gives all but the form of the report to another process, as its environment and last arguments.
    pub(crate) fn hand_on(&self, command: &mut process::Command) {
        let numbers = [
            ("FERRY_BENCH_MIB", self.mib),
            ("FERRY_BENCH_FILES", self.files as u64),
            ("FERRY_BENCH_CLIENTS", self.clients as u64),
            ("FERRY_BENCH_ROUNDS", self.rounds as u64),
        ];
        command.envs(numbers.map(|(name, number)| (name, number.to_string()))).args(&self.only);
    }

    /// Reads what [`hand_on`](Options::hand_on) gave.
    pub(crate) fn handed_on(words: impl Iterator<Item = OsString>) -> Result<Options, String> {
        Options::parse(words.map(|word| word.to_string_lossy().into_owned()), |variable| env::var(variable).ok())
    }

    /// Returns whether this row was asked for.
    #[must_use]
    pub fn wants(&self, work: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|text| work.contains(text))
    }

    /// Returns the bytes of a large file.
    #[must_use]
    pub fn large_bytes(&self) -> u64 {
        self.mib << 20
    }
}

impl Default for Options {
    fn default() -> Options {
        Options::new()
    }
}

fn number(variable: impl Fn(&str) -> Option<String>, name: &str, default: u64) -> Result<u64, String> {
    match variable(name) {
        None => Ok(default),
        Some(text) => match text.parse() {
            Ok(value) if value > 0 => Ok(value),
            _ => Err(format!("{name} is a number above 0, not {text:?}")),
        },
    }
}

/// `1 GiB`, `300 MiB`.
#[must_use]
pub fn size_label(mib: u64) -> String {
    if mib.is_multiple_of(1024) { format!("{} GiB", mib / 1024) } else { format!("{mib} MiB") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str], mib: Option<&str>) -> Result<Options, String> {
        Options::parse(words.iter().map(|word| (*word).to_owned()), |name| {
            (name == "FERRY_BENCH_MIB").then_some(mib).flatten().map(str::to_owned)
        })
    }

    #[test]
    fn tiny_stands_above_the_environment() {
        assert_eq!(parse(&["--bench"], Some("7")).unwrap().mib, 7);
        let options = parse(&["--json", "PUT", "--tiny"], Some("7")).unwrap();
        assert_eq!((options.mib, options.rounds, options.json), (4, 1, true));
        assert!(options.wants("PUT 4 MiB") && !options.wants("GET 4 MiB"));
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(parse(&["--fast"], None).is_err());
        assert!(parse(&[], Some("0")).is_err());
        assert!(parse(&[], Some("many")).is_err());
    }
}
