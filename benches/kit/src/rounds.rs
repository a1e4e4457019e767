//! Turns, and the rows that come of them.

use crate::{
    goal::Goal,
    sample::{Sample, Spread, Unit},
};

/// A contender that takes turns with others.
pub struct Contender<'a> {
    turn: Box<dyn FnMut() -> Sample + 'a>,
}

impl<'a> Contender<'a> {
    /// One whose turn is `turn`. Preparation and checks around the timed part happen in `turn` as
    /// well, outside of [`timed`](crate::timed).
    pub fn new(turn: impl FnMut() -> Sample + 'a) -> Contender<'a> {
        Contender { turn: Box::new(turn) }
    }
}

/// Lets `contenders` take turns, A B A B, and returns the samples of each, in their order. A round
/// before the first, to warm up, is not counted.
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
    /// The work, as a user would say it.
    pub work: String,
    /// Of the values.
    pub unit: Unit,
    /// Ferry's samples, round by round.
    pub ours: Vec<Sample>,
    /// The limit's samples of the same rounds; empty where there is none.
    pub limit: Vec<Sample>,
    /// The limit, in words.
    pub limit_is: String,
    /// The goals that this row is held to.
    pub goals: Vec<Goal>,
}

impl Row {
    /// Returns a row without figures, to be completed.
    pub fn new(work: impl Into<String>, unit: Unit) -> Row {
        Row { work: work.into(), unit, ours: Vec::new(), limit: Vec::new(), limit_is: String::new(), goals: Vec::new() }
    }

    /// Ours by the limit, of each round.
    #[must_use]
    pub fn ratio(&self) -> Option<Spread> {
        Spread::of_ratios(&self.ours, &self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_alternate_and_the_first_round_is_not_counted() {
        let log = std::cell::RefCell::new(String::new());
        let player = |name: char| {
            let log = &log;
            Contender::new(move || {
                log.borrow_mut().push(name);
                Sample::plain(log.borrow().len() as f64)
            })
        };
        let [a, b] = alternate(2, [player('a'), player('b')]);
        assert_eq!(*log.borrow(), "ababab");
        assert_eq!(a, [3.0, 5.0].map(Sample::plain));
        assert_eq!(b, [4.0, 6.0].map(Sample::plain));
    }
}
