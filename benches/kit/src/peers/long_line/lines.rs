//! The lines to measure on, by the environment.

use std::{env, process::Command, time::Duration};

use super::emulator::Properties;
use crate::Options;

/// The least room of a queue, where the product of rate and delay is less.
const LEAST_QUEUE_BYTES: u64 = 256 << 10;

/// MiB of a large file: on a line without loss, on one that loses less than [`MUCH_LOSS`], and on others. One flow
/// of the oldest kind would take minutes for more.
const MIB: [u64; 3] = [200, 50, 20];
const MUCH_LOSS: f64 = 0.5;

/// Turns of each program. The line makes their time, so they vary less than elsewhere.
const ROUNDS: usize = 2;

/// A line between two ends.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LongLine {
    /// Milliseconds there and back.
    pub(super) rtt: f64,
    /// Percent of the packets that are lost, each way.
    pub(super) loss: f64,
    /// The kernel's congestion control at both ends.
    pub(super) congestion: String,
    /// Mbit/s, each way.
    pub(super) rate: u64,
    pub(super) seed: u64,
}

impl LongLine {
    /// Returns its name in the work of a row.
    pub(super) fn name(&self) -> String {
        format!("{} ms, loss {} %, {}", self.rtt, self.loss, self.congestion)
    }

    /// Returns the time from one end to the other.
    pub(super) fn delay(&self) -> Duration {
        Duration::from_secs_f64(self.rtt / 2000.0)
    }

    /// Returns the properties of each direction. The queue holds what is on the way at full rate.
    pub(super) fn properties(&self) -> Properties {
        let bits_per_second = self.rate * 1_000_000;
        let on_the_way = (bits_per_second as f64 / 8.0 * self.rtt / 1000.0) as u64;
        let queue_bytes = on_the_way.max(LEAST_QUEUE_BYTES);
        Properties { delay: self.delay(), bits_per_second, queue_bytes, loss: self.loss / 100.0 }
    }
}

/// The work that is to be done.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) lines: Vec<LongLine>,
    pub(super) rounds: usize,
    /// The time after which a program is cut off.
    pub(super) limit: Duration,
    mib: Option<u64>,
    /// Others take part if their name has one of these in it; all do where there are none.
    beside: Vec<String>,
}

impl Plan {
    /// Reads the environment, or returns the smallest plan for the smallest options.
    ///
    /// # Errors
    ///
    /// Fails with words about a variable that makes no sense.
    pub(super) fn new(options: &Options) -> Result<Plan, String> {
        if options.tiny { Plan::parse(options, |_| None) } else { Plan::parse(options, |name| env::var(name).ok()) }
    }

    fn parse(options: &Options, variable: impl Fn(&str) -> Option<String>) -> Result<Plan, String> {
        let list = |name: &str, default: &str| -> Vec<String> {
            let text = variable(name).unwrap_or_else(|| default.into());
            text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
        };
        let numbers = |name: &str, default: &str, most: f64| -> Result<Vec<f64>, String> {
            let parse = |word: String| match word.parse::<f64>() {
                Ok(number) if (0.0..=most).contains(&number) => Ok(number),
                _ => Err(format!("{name} has numbers from 0 to {most}, not {word:?}")),
            };
            list(name, default).into_iter().map(parse).collect()
        };
        let number = |name: &str, default: u64| match variable(name).map(|text| text.parse::<u64>()) {
            None => Ok(default),
            Some(Ok(number)) if number > 0 => Ok(number),
            Some(_) => Err(format!("{name} is a number above 0")),
        };
        let (rtts, losses) = if options.tiny { ("10", "0.1") } else { ("100", "0,1") };
        let rtts = numbers("FERRY_BENCH_RTT", rtts, 10_000.0)?;
        let losses = numbers("FERRY_BENCH_LOSS", losses, 100.0)?;
        let [rate, seed] = [("FERRY_BENCH_RATE", 400), ("FERRY_BENCH_SEED", 1)].map(|(name, own)| number(name, own));
        let (rate, seed) = (rate?, seed?);
        let mut lines = Vec::new();
        for congestion in list("FERRY_BENCH_CC", "cubic") {
            for loss in &losses {
                let of = |rtt: &f64| LongLine { rtt: *rtt, loss: *loss, congestion: congestion.clone(), rate, seed };
                lines.extend(rtts.iter().map(of));
            }
        }
        let asked = |name: &str| options.tiny || variable(name).is_some();
        Ok(Plan {
            lines,
            rounds: if asked("FERRY_BENCH_ROUNDS") { options.rounds } else { ROUNDS },
            limit: Duration::from_secs(number("FERRY_BENCH_LIMIT", 60)?),
            mib: asked("FERRY_BENCH_MIB").then_some(options.mib),
            beside: list("FERRY_BENCH_BESIDE", ""),
        })
    }

    /// Gives the work on one line to another process, as its environment.
    pub(super) fn hand_on(&self, line: &LongLine, command: &mut Command) {
        command.envs([
            ("FERRY_BENCH_RTT", line.rtt.to_string()),
            ("FERRY_BENCH_LOSS", line.loss.to_string()),
            ("FERRY_BENCH_CC", line.congestion.clone()),
            ("FERRY_BENCH_RATE", line.rate.to_string()),
            ("FERRY_BENCH_SEED", line.seed.to_string()),
            ("FERRY_BENCH_LIMIT", self.limit.as_secs().to_string()),
            ("FERRY_BENCH_ROUNDS", self.rounds.to_string()),
            ("FERRY_BENCH_MIB", self.mib(line).to_string()),
            ("FERRY_BENCH_BESIDE", self.beside.join(",")),
        ]);
    }

    /// Returns the MiB of a large file on `line`.
    pub(super) fn mib(&self, line: &LongLine) -> u64 {
        let by_loss = if line.loss == 0.0 { 0 } else { 1 + usize::from(line.loss >= MUCH_LOSS) };
        self.mib.unwrap_or(MIB[by_loss])
    }

    /// Returns whether the program of that name is to take part.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.beside.is_empty() || self.beside.iter().any(|text| name.contains(text.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(variables: &[(&str, &str)]) -> Result<Plan, String> {
        let get = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Plan::parse(&Options::new(), get)
    }

    #[test]
    fn lines_are_all_that_can_be_combined() {
        let asked = [("FERRY_BENCH_RTT", "1,20"), ("FERRY_BENCH_LOSS", "0, 0.1"), ("FERRY_BENCH_CC", "reno,bbr")];
        let plan = plan(&asked).unwrap();
        let names: Vec<String> = plan.lines.iter().map(LongLine::name).collect();
        assert_eq!(names[..3], ["1 ms, loss 0 %, reno", "20 ms, loss 0 %, reno", "1 ms, loss 0.1 %, reno"]);
        assert_eq!(names.len(), 8);
        assert_eq!([0, 2].map(|index| plan.mib(&plan.lines[index])), [200, 50]);
    }

    #[test]
    fn values_without_sense_are_refused() {
        for (name, value) in [("FERRY_BENCH_RTT", "far"), ("FERRY_BENCH_LOSS", "101"), ("FERRY_BENCH_RATE", "0")] {
            assert!(plan(&[(name, value)]).unwrap_err().contains(name));
        }
    }

    #[test]
    fn a_queue_holds_what_is_on_the_way() {
        let long = &plan(&[]).unwrap().lines[0];
        let Properties { delay, bits_per_second, queue_bytes, .. } = long.properties();
        assert_eq!((delay, bits_per_second, queue_bytes), (Duration::from_millis(50), 400_000_000, 5_000_000));
        let short = LongLine { rtt: 1.0, ..long.clone() };
        assert_eq!(short.properties().queue_bytes, LEAST_QUEUE_BYTES);
    }
}
