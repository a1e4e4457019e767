//! Turns, samples, and what is told of them.

use std::time::Instant;

use ferry_e2e::Figures;

/// What one turn showed.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// In the unit of its row: GB/s, files/s ...
    pub value: f64,
    /// CPU seconds of the other side's process, per unit of work.
    pub cpu: f64,
}

/// Times `work`, which moves `amount` units with the process `server` at the other end.
pub fn timed(server: u32, amount: f64, work: impl FnOnce()) -> Sample {
    let cpu_before = cpu_seconds(server);
    let start = Instant::now();
    work();
    let seconds = start.elapsed().as_secs_f64();
    let cpu = cpu_seconds(server) - cpu_before;
    Sample { value: amount / seconds, cpu: cpu / amount }
}

/// Of all threads, those that have ended included. The kernel tells it in hundredths of a second.
fn cpu_seconds(pid: u32) -> f64 {
    Figures::of(pid).cpu_time.as_secs_f64()
}

/// One who takes turns with others.
pub struct Contender<'a> {
    turn: Box<dyn FnMut() -> Sample + 'a>,
}

impl<'a> Contender<'a> {
    /// One whose turn is `turn`. What must be made ready or checked around the timed part happens
    /// in `turn` as well, outside of [`timed`].
    pub fn new(turn: impl FnMut() -> Sample + 'a) -> Contender<'a> {
        Contender { turn: Box::new(turn) }
    }
}

/// Lets `contenders` take turns, A B A B, and gives what each showed: round by round, in the order
/// of `contenders`. A round before the first, to warm up, is not counted.
pub fn alternate<const N: usize>(rounds: usize, mut contenders: [Contender<'_>; N]) -> [Vec<Sample>; N] {
    let mut samples = [const { Vec::new() }; N];
    for round in 0..=rounds {
        for (contender, samples) in contenders.iter_mut().zip(&mut samples) {
            let sample = (contender.turn)();
            if round > 0 {
                samples.push(sample);
            }
        }
    }
    samples
}

/// One line of a report: ours beside the limit.
#[derive(Debug, Clone)]
pub struct Row {
    /// What was done, as a user would say it.
    pub work: String,
    /// What the limit is.
    pub limit_is: &'static str,
    /// Of the values.
    pub unit: &'static str,
    /// Of the CPU time.
    pub cpu_unit: &'static str,
    /// What ferry showed, round by round.
    pub ours: Vec<Sample>,
    /// What the limit showed in the same rounds.
    pub limit: Vec<Sample>,
}

impl Row {
    /// Ours by the limit, of each round.
    #[must_use]
    pub fn ratio(&self) -> Spread {
        Spread::of(self.ours.iter().zip(&self.limit).map(|(ours, limit)| ours.value / limit.value))
    }
}

/// The middle of some values, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Half of the values are below it; of two in the middle, their mean.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of at least one value.
    ///
    /// # Panics
    ///
    /// Where there is none.
    pub fn of(values: impl Iterator<Item = f64>) -> Spread {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        assert!(!values.is_empty(), "no round was run");
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
        Spread { median, min: values[0], max: values[values.len() - 1] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_odd_and_even_counts() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0].into_iter()), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0].into_iter()).median, 2.5);
    }

    #[test]
    fn turns_alternate_and_the_first_round_is_not_counted() {
        let log = std::cell::RefCell::new(String::new());
        let player = |name: char| {
            let log = &log;
            Contender::new(move || {
                log.borrow_mut().push(name);
                Sample { value: log.borrow().len() as f64, cpu: 0.0 }
            })
        };
        let [a, b] = alternate(2, [player('a'), player('b')]);
        assert_eq!(*log.borrow(), "ababab");
        assert_eq!(a.iter().map(|sample| sample.value).collect::<Vec<_>>(), [3.0, 5.0]);
        assert_eq!(b.iter().map(|sample| sample.value).collect::<Vec<_>>(), [4.0, 6.0]);
    }
}
