//! Whether a further connection would help: pure, told figures and the time.
//!
//! A sender fills a long line with one connection only if its window is large and nothing is lost. Where neither is so, each
//! further connection brings a window of its own; where the line, a disk or a limit of the server is what holds, none brings
//! anything. No figure tells the two apart for sure, least of all on the receiving side. So a few are tried, and more only if the
//! tried ones have paid. Where there is much to move over a long line all are opened at once: one connection would take many
//! round trips until its window is open, and by then the others stand.

use std::time::Duration;

use super::Parallel;
use crate::link::LineFigures;

/// The most that are opened unless another number is asked for: what browsers and download programs take, and as much as a
/// server gives one address by far.
const MOST: usize = 8;

/// The most that can be asked for: a server has others to serve.
const MOST_FIXED: usize = 16;

/// On a line with shorter round trips one connection has its window open before a second one stands.
const LONG_LINE: Duration = Duration::from_millis(5);

/// The share of the time in which a connection has to wait for its line. Less, and something on this machine is slower.
const WAITING_SHARE: f64 = 0.5;

/// How many times more the first step and the following ones make of what there is.
const FIRST_STEP: usize = 4;
const NEXT_STEP: usize = 2;

/// The growth of the rate by which opened connections have paid; less is noise.
const PAID: f64 = 1.15;

/// Looks at what was opened before it counts as of no use: its windows have to open first. More while segments are lost, for
/// then the rates vary most, and further connections help most.
const LOOKS: u32 = 3;
const LOSSY_LOOKS: u32 = 6;

/// The shortest time between two looks: below, the clock and the threads of both sides show more than the line.
const SHORTEST_LOOK: Duration = Duration::from_millis(50);

/// Round trips before the first step, and in each look after it.
const LOOK_ROUND_TRIPS: u32 = 2;

/// With so much for each, connections are opened at once: the window of one takes some seven round trips to let so much
/// through.
const AT_ONCE_BYTES: u64 = 2 << 20;

/// Round trips that the rest has to take at the present rate: connecting takes three or four of them.
const WORTHWHILE_ROUND_TRIPS: u32 = 8;

/// Bytes of the rest for each connection where a number of them is asked for.
const FIXED_SHARE_BYTES: u64 = 1 << 20;

/// The wait after a step that has not paid, doubled with each; and after the server has refused one.
const HOLD: Duration = Duration::from_secs(10);
const REFUSED_HOLD: Duration = Duration::from_secs(60);

/// The state of a transfer at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Look {
    /// Since the transfer began.
    pub(super) at: Duration,
    /// Connections that are at work.
    pub(super) hands: usize,
    /// Connections that are being opened.
    pub(super) opening: usize,
    /// Bytes that all have moved so far.
    pub(super) moved: u64,
    /// How long all of them have waited for their lines, taken together.
    pub(super) waited: Duration,
    /// Of the line, where the system tells.
    pub(super) line: Option<LineFigures>,
    /// Bytes that nobody has taken, about.
    pub(super) left: u64,
    /// The caller has set a limit to the rate, which may be all that one connection brings.
    pub(super) is_limited: bool,
}

/// Decides how many more connections to open. Asked as often as anything is known anew.
#[derive(Debug)]
pub(super) struct Adviser {
    parallel: Parallel,
    /// Whether the first step may still be taken without a look.
    is_new: bool,
    /// The look that the next one is compared with.
    before: Option<Look>,
    /// The rate before the last step, and how often it was looked at since.
    trial: Option<(f64, u32)>,
    hold_until: Duration,
    hold: Duration,
}

impl Adviser {
    pub(super) fn new(parallel: Parallel) -> Adviser {
        Adviser { parallel, is_new: true, before: None, trial: None, hold_until: Duration::ZERO, hold: HOLD }
    }

    /// Whether it may ever advise more than one.
    pub(super) fn may_grow(&self) -> bool {
        self.most() > 1
    }

    fn most(&self) -> usize {
        match self.parallel {
            Parallel::Auto => MOST,
            Parallel::Fixed(connections) => connections.clamp(1, MOST_FIXED),
        }
    }

    /// Returns how many more to open now.
    pub(super) fn advise(&mut self, look: Look) -> usize {
        let room = self.most().saturating_sub(look.hands + look.opening);
        if room == 0 || look.at < self.hold_until || look.hands == 0 {
            self.before = None;
            return 0;
        }
        match self.parallel {
            Parallel::Auto => self.try_more(look).min(room),
            Parallel::Fixed(_) => {
                let shares = usize::try_from(look.left / FIXED_SHARE_BYTES).unwrap_or(usize::MAX);
                shares.saturating_sub(look.opening).min(room)
            }
        }
    }

    fn try_more(&mut self, look: Look) -> usize {
        let Some(line) = look.line.filter(is_long) else { return 0 };
        let at_once = usize::try_from(look.left / AT_ONCE_BYTES).unwrap_or(usize::MAX);
        if self.is_new && look.hands == 1 && at_once > 1 && !look.is_limited {
            self.is_new = false;
            return at_once.min(MOST) - 1;
        }
        // Those that are opened change what is looked at.
        let Some(before) = self.before.filter(|before| look.opening == 0 && before.hands == look.hands) else {
            self.before = Some(look);
            return 0;
        };
        let span = look.at.saturating_sub(before.at);
        if span < (line.round_trip * LOOK_ROUND_TRIPS).max(SHORTEST_LOOK) {
            return 0;
        }
        self.before = Some(look);
        let rate = look.moved.saturating_sub(before.moved) as f64 / span.as_secs_f64();
        let waited = look.waited.saturating_sub(before.waited).as_secs_f64() / (span.as_secs_f64() * look.hands as f64);
        let worthwhile = rate * (line.round_trip * WORTHWHILE_ROUND_TRIPS).as_secs_f64();
        if waited < WAITING_SHARE || (look.left as f64) < worthwhile {
            return 0;
        }
        if let Some((rate_before, looks)) = self.trial
            && rate < rate_before * PAID
        {
            self.trial = Some((rate_before, looks + 1));
            let is_lossy = before.line.is_some_and(|before| line.lost > before.lost);
            if looks + 1 >= if is_lossy { LOSSY_LOOKS } else { LOOKS } {
                log::debug!("{} connections bring {rate:.0} B/s, fewer {rate_before:.0}", look.hands);
                (self.trial, self.hold_until) = (None, look.at + self.hold);
                self.hold *= 2;
            }
            return 0;
        }
        self.trial = Some((rate, 0));
        look.hands * if look.hands == 1 { FIRST_STEP - 1 } else { NEXT_STEP - 1 }
    }

    /// One could not be opened.
    pub(super) fn refused(&mut self, at: Duration) {
        (self.is_new, self.trial) = (false, None);
        self.hold_until = at + REFUSED_HOLD;
    }

    /// One was lost.
    pub(super) fn lost(&mut self, at: Duration) {
        (self.is_new, self.trial) = (false, None);
        self.hold_until = self.hold_until.max(at + HOLD);
    }
}

/// Whether further connections may help on such a line.
pub(super) fn is_long(line: &LineFigures) -> bool {
    line.round_trip >= LONG_LINE
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connections on a line, as far as the adviser can tell: each has a window that doubles with every round trip up to a
    /// limit of its own, and all together have the line's rate.
    struct Simulation {
        round_trip: Duration,
        /// Bytes a second.
        line: f64,
        /// Of one connection; with how much noise.
        most_each: f64,
        noise: f64,
        /// The share of the time that this machine is what is waited for.
        busy: f64,
        left: f64,
        refuses_from: usize,
    }

    impl Default for Simulation {
        fn default() -> Simulation {
            Simulation {
                round_trip: Duration::from_millis(100),
                line: 50e6,
                most_each: 1e9,
                noise: 0.0,
                busy: 0.0,
                left: 500e6,
                refuses_from: usize::MAX,
            }
        }
    }

    impl Simulation {
        /// Returns how many connections there are at the end, and how long it took in seconds.
        fn run(self, parallel: Parallel, seed: u64) -> (usize, f64) {
            const STEP: Duration = Duration::from_millis(10);
            let mut dice = seed;
            let mut adviser = Adviser::new(parallel);
            let mut windows = vec![0.1e6];
            let mut opening = Vec::new();
            let (mut at, mut moved, mut waited, mut left) = (Duration::ZERO, 0.0, Duration::ZERO, self.left);
            let growth = 2_f64.powf(STEP.as_secs_f64() / self.round_trip.as_secs_f64());
            while left > 0.0 {
                at += STEP;
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let noise = 1.0 + self.noise * ((dice >> 40) as f64 / (1 << 23) as f64 - 1.0);
                for window in &mut windows {
                    *window = f64::min(*window * growth, self.most_each);
                }
                let rate = f64::min(windows.iter().sum::<f64>() * noise, self.line) * (1.0 - self.busy);
                moved += rate * STEP.as_secs_f64();
                left -= rate * STEP.as_secs_f64();
                waited += STEP.mul_f64(windows.len() as f64 * (1.0 - self.busy));
                let stand: Vec<Duration> = opening.extract_if(.., |ready| *ready <= at).collect();
                for _ in stand {
                    if windows.len() >= self.refuses_from {
                        adviser.refused(at);
                    } else {
                        windows.push(0.1e6);
                    }
                }
                let look = Look {
                    at,
                    hands: windows.len(),
                    opening: opening.len(),
                    moved: moved as u64,
                    waited,
                    line: Some(LineFigures { round_trip: self.round_trip, lost: 0 }),
                    left: left.max(0.0) as u64,
                    is_limited: false,
                };
                for _ in 0..adviser.advise(look) {
                    opening.push(at + self.round_trip * 3);
                }
            }
            (windows.len(), at.as_secs_f64())
        }
    }

    #[test]
    fn a_connection_that_is_held_by_its_window_or_by_loss_gets_others() {
        for seed in 0..10 {
            let lossy = || Simulation { most_each: 0.35e6, noise: 0.5, left: 20e6, ..Simulation::default() };
            let (hands, seconds) = lossy().run(Parallel::Auto, seed);
            let (one, alone) = lossy().run(Parallel::Fixed(1), seed);
            assert!(
                (hands, one) == (MOST, 1) && seconds < alone / 5.0,
                "seed {seed}: {hands}, {seconds} s of {alone} s"
            );
        }
    }

    #[test]
    fn where_more_bring_nothing_there_are_few() {
        for seed in 0..10 {
            // A limit of the server: four connections bring as much as one.
            let limited = Simulation { line: 0.1e6, noise: 0.1, left: 10e6, ..Simulation::default() };
            assert!(limited.run(Parallel::Auto, seed).0 <= FIRST_STEP * NEXT_STEP, "seed {seed}");
            // And while nothing changes, few are tried again.
            let brief = Simulation { line: 0.1e6, noise: 0.1, left: 0.6e6, ..Simulation::default() };
            assert!(brief.run(Parallel::Auto, seed).0 <= FIRST_STEP, "seed {seed}");
        }
    }

    #[test]
    fn near_by_and_for_little_there_is_one() {
        let one = |simulation: Simulation| assert_eq!(simulation.run(Parallel::Auto, 1).0, 1);
        one(Simulation { round_trip: Duration::from_millis(1), ..Simulation::default() });
        one(Simulation { left: 0.2e6, ..Simulation::default() });
        one(Simulation { busy: 0.6, left: 3e6, ..Simulation::default() });
        let mut adviser = Adviser::new(Parallel::Auto);
        let blind = |seconds| Look { at: Duration::from_secs(seconds), hands: 1, left: 1 << 30, ..Look::default() };
        assert!((0..100).all(|seconds| adviser.advise(blind(seconds)) == 0), "nothing is known of the line");
    }

    #[test]
    fn where_there_is_much_to_move_over_a_long_line_nothing_is_waited_for() {
        let line = |millis| Some(LineFigures { round_trip: Duration::from_millis(millis), lost: 0 });
        let first = |millis, left| {
            let look = Look { hands: 1, left, line: line(millis), ..Look::default() };
            let mut adviser = Adviser::new(Parallel::Auto);
            (adviser.advise(look), adviser.advise(look))
        };
        assert_eq!(first(50, 64 << 20), (MOST - 1, 0));
        assert_eq!(first(50, 6 << 20), (2, 0));
        assert_eq!(first(50, 1 << 20), (0, 0));
        assert_eq!(first(1, 64 << 20), (0, 0));
        let limited = Look { hands: 1, left: 64 << 20, line: line(50), is_limited: true, ..Look::default() };
        assert_eq!(Adviser::new(Parallel::Auto).advise(limited), 0, "one may be all that the limit lets through");
    }

    #[test]
    fn a_server_that_refuses_is_not_pressed() {
        for refuses_from in 1..MOST {
            let limited = Simulation { most_each: 0.35e6, left: 15e6, refuses_from, ..Simulation::default() };
            assert_eq!(limited.run(Parallel::Auto, 1).0, refuses_from);
        }
    }

    #[test]
    fn a_number_that_is_asked_for_is_opened_at_once_if_there_is_enough_for_all() {
        let advice = |left, parallel| Adviser::new(parallel).advise(Look { hands: 1, left, ..Look::default() });
        assert_eq!(advice(100 << 20, Parallel::Fixed(4)), 3);
        assert_eq!(advice(2 << 20, Parallel::Fixed(4)), 2);
        assert_eq!(advice(100, Parallel::Fixed(4)), 0);
        assert_eq!(advice(100 << 20, Parallel::Fixed(99)), MOST_FIXED - 1);
        assert_eq!(advice(100 << 20, Parallel::Fixed(1)), 0);
        assert!(!Adviser::new(Parallel::Fixed(0)).may_grow());
    }
}
