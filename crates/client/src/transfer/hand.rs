//! One connection's part in a [`Crew`]: what a round has of it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Event, Moved, Phase, adviser::is_long, crew::Crew};
use crate::{
    conversation::Conversation,
    error::Error,
    link::{LineFigures, Link},
};

/// Between two reports of a hand; and where its line is short, and nothing is likely to change.
const TICK: Duration = Duration::from_millis(50);
const SLOW_TICK: Duration = Duration::from_secs(1);

/// The time that a hand takes work for, where it shares: others wait for it so long at the end. It has to be several
/// round trips, or a line is not filled while its window grows.
const AHEAD: Duration = Duration::from_millis(500);
const AHEAD_ROUND_TRIPS: u32 = 5;

/// The bounds of what that may come to.
const LEAST_AHEAD_BYTES: u64 = 256 << 10;
pub(super) const MOST_AHEAD_BYTES: u64 = 16 << 20;

/// For so long, or a round trip, those are waited for whose work others have done: their connections may be of use later.
const IN_VAIN: Duration = Duration::from_millis(100);

/// The part of a rate that stays with each report where it rises, and where it falls: windows that are cut in half open again,
/// but at the end nobody should have taken more than it can move.
const RATE_KEPT_RISING: f64 = 0.5;
const RATE_KEPT_FALLING: f64 = 0.8;

/// Takes files for a hand.
pub(super) struct Taker<'c, 't> {
    crew: &'c Crew<'t>,
    id: usize,
    ahead: Arc<AtomicU64>,
    source: Arc<Mutex<SourceLine>>,
}

/// The line that a hand's files come by, where they are another server's.
#[derive(Debug, Default)]
struct SourceLine {
    line: Option<LineFigures>,
    /// How long it was waited for.
    slept: Duration,
    /// It was never reported.
    is_new: bool,
}

impl Taker<'_, '_> {
    /// Returns the number of the hand.
    pub(super) fn hand(&self) -> usize {
        self.id
    }

    /// Whether others may share the files.
    pub(super) fn may_share(&self) -> bool {
        self.crew.may_grow
    }

    /// Notes how the line is that the files come by, and how much longer it was waited for than it was by the last call.
    pub(super) fn note_source(&self, line: Option<LineFigures>, slept: Duration) {
        let mut source = lock(&self.source);
        source.is_new |= source.line.is_none() && line.is_some();
        source.line = line.or(source.line);
        source.slept += slept;
    }

    /// The next file.
    pub(super) fn take(&self) -> Option<usize> {
        self.crew.tally().take(self.id)
    }

    /// Returns the bytes that are worth taking before their end.
    pub(super) fn ahead(&self) -> u64 {
        self.ahead.load(Ordering::Relaxed)
    }

    pub(super) fn tell(&self, event: &Event<'_>) {
        self.crew.tally().tell(event);
    }
}

/// One connection's part in the crew, for one round.
pub(super) struct Hand<'c, 't> {
    crew: &'c Crew<'t>,
    pub(super) id: usize,
    /// Opens one more connection.
    grow: &'c (dyn Fn() + Sync),
    /// Something moved in this round.
    pub(super) progress: bool,
    /// Work is cut up, so that others can take some of it.
    shares: bool,
    next_tick: Instant,
    /// When it reported last, and the bytes that its link had moved by then.
    reported: (Instant, u64),
    /// Bytes a second, of late.
    rate: f64,
    /// Bytes that it takes at most before their end.
    ahead: Arc<AtomicU64>,
    source: Arc<Mutex<SourceLine>>,
    moved_before: u64,
    slept_before: Duration,
}

/// Returns the figures of two lines, one behind the other.
fn both(line: Option<LineFigures>, source: Option<LineFigures>) -> Option<LineFigures> {
    match (line, source) {
        (Some(one), Some(other)) => {
            let (round_trip, lost) = (one.round_trip.max(other.round_trip), one.lost + other.lost);
            Some(LineFigures { round_trip, lost })
        }
        (one, other) => one.or(other),
    }
}

fn lock(source: &Mutex<SourceLine>) -> MutexGuard<'_, SourceLine> {
    source.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'c, 't> Hand<'c, 't> {
    /// Hand number `id`, on a link whose line is so.
    pub(super) fn new(
        crew: &'c Crew<'t>,
        id: usize,
        (link, line): (&Link, Option<LineFigures>),
        grow: &'c (dyn Fn() + Sync),
    ) -> Hand<'c, 't> {
        let now = Instant::now();
        let mut hand = Hand {
            crew,
            id,
            grow,
            progress: false,
            shares: crew.always_shares,
            next_tick: now,
            reported: (now, link.bytes_moved()),
            rate: 0.0,
            ahead: Arc::new(AtomicU64::new(MOST_AHEAD_BYTES)),
            source: Arc::default(),
            moved_before: link.bytes_moved(),
            slept_before: link.slept(),
        };
        hand.know_line(line);
        hand
    }

    fn know_line(&mut self, line: Option<LineFigures>) {
        self.shares = self.crew.always_shares || line.as_ref().is_some_and(is_long);
        if self.shares {
            let time = line.map_or(AHEAD, |line| AHEAD.max(line.round_trip * AHEAD_ROUND_TRIPS));
            let bytes = self.rate * time.as_secs_f64();
            self.ahead.store((bytes as u64).clamp(LEAST_AHEAD_BYTES, MOST_AHEAD_BYTES), Ordering::Relaxed);
        }
    }

    /// Whether work is to be cut up, so that others can take some of it.
    pub(super) fn shares(&self) -> bool {
        self.shares
    }

    /// Returns the bytes that are worth taking before their end.
    pub(super) fn ahead(&self) -> u64 {
        self.ahead.load(Ordering::Relaxed)
    }

    /// Returns what takes files for this hand in another thread.
    pub(super) fn taker(&self) -> Taker<'c, 't> {
        let (ahead, source) = (Arc::clone(&self.ahead), Arc::clone(&self.source));
        Taker { crew: self.crew, id: self.id, ahead, source }
    }

    /// Whether another connection is being opened, or at work and one that `may` help.
    pub(super) fn has_helpers(&self, may: impl Fn(usize) -> bool) -> bool {
        self.crew.has_others(|hand| hand != self.id && may(hand))
    }

    /// Returns how many connections are at work.
    pub(super) fn hands(&self) -> usize {
        self.crew.hands()
    }

    /// Reports how the line is, if that is due, and has further connections opened where that is advised. `left` are the bytes
    /// that nobody has taken, beside those of whole files.
    pub(super) fn tick(&mut self, link: &mut Link, left: impl FnOnce() -> u64) {
        if !self.crew.may_grow {
            return;
        }
        let now = Instant::now();
        let (source, source_slept) = {
            let mut source = lock(&self.source);
            if now < self.next_tick && !std::mem::take(&mut source.is_new) {
                return;
            }
            (source.line, source.slept)
        };
        let line = both(link.line(), source);
        let (span, moved) = (now.saturating_duration_since(self.reported.0), link.bytes_moved());
        if span >= TICK {
            let rate = (moved - self.reported.1) as f64 / span.as_secs_f64();
            let kept = if rate > self.rate { RATE_KEPT_RISING } else { RATE_KEPT_FALLING };
            self.rate = self.rate * kept + rate * (1.0 - kept);
            self.reported = (now, moved);
        }
        self.know_line(line);
        self.next_tick = now + if self.shares { TICK } else { SLOW_TICK };
        let left = left().saturating_add(self.crew.tally().waiting_bytes());
        let (moved, waited) = (moved - self.moved_before, link.slept() - self.slept_before + source_slept);
        for _ in 0..self.crew.report(self.id, (moved, waited), line, (left, link.is_limited())) {
            (self.grow)();
        }
    }

    /// Has the next [`Hand::tick`] report, whenever the last one was.
    pub(super) fn tick_next(&mut self) {
        self.next_tick = Instant::now();
    }

    /// Waits for work, when there is none for this hand. False where there will be none. `has_work` says whether there is
    /// some beside whole files; `rob` takes all that it has from another hand, which does not move.
    ///
    /// # Errors
    ///
    /// The connection is lost, or the caller wants everything to end.
    pub(super) fn wait(
        &mut self,
        link: &mut Link,
        has_work: impl Fn() -> bool,
        rob: impl Fn(usize),
    ) -> Result<bool, Error> {
        // Whatever it has not brought to an end is to be taken again.
        self.crew.tally().take_back(self.id);
        self.crew.note_idle(self.id, true);
        let result = self.wait_idle(link, has_work, rob);
        self.crew.note_idle(self.id, false);
        self.crew.wake();
        result
    }

    fn wait_idle(&self, link: &mut Link, has_work: impl Fn() -> bool, rob: impl Fn(usize)) -> Result<bool, Error> {
        let begun = Instant::now();
        let in_vain = link.line().map_or(IN_VAIN, |line| IN_VAIN.max(line.round_trip));
        let mut finished_at = None;
        loop {
            // Where nothing more is tried, the rest of shared files is no work.
            let may_work = !self.crew.tally().stopped;
            if may_work && has_work() {
                return Ok(true);
            }
            let tally = self.crew.tally();
            if tally.has_waiting() {
                return Ok(true);
            }
            if tally.is_finished() {
                drop(tally);
                // Nobody is waited for long whose work others have done.
                if finished_at.get_or_insert_with(Instant::now).elapsed() >= in_vain {
                    self.crew.end();
                }
                if self.crew.is_over() || self.crew.others_are_idle(self.id) {
                    return Ok(false);
                }
                self.crew.rest();
                continue;
            }
            self.crew.rest_after(tally);
            link.check_cancel()?;
            link.exchange_all();
            Conversation::<()>::new().next_reply(link.input())?;
            link.check_open()?;
            self.crew.stalled(self.id, begun).into_iter().for_each(&rob);
        }
    }

    pub(super) fn crew(&self) -> &'c Crew<'t> {
        self.crew
    }

    /// The next file for this hand.
    pub(super) fn take(&mut self) -> Option<usize> {
        self.crew.tally().take(self.id)
    }

    /// Whether this file is this hand's, and was not taken from it.
    pub(super) fn has(&self, index: usize) -> bool {
        self.crew.tally().has(self.id, index)
    }

    pub(super) fn put_back(&mut self, index: usize) {
        self.crew.tally().put_back(self.id, index);
        self.crew.wake();
    }

    /// A file is shared from now on. Its size may be news, and this connection may not move again: the next
    /// [`tick`](Self::tick) reports it.
    pub(super) fn share(&mut self, index: usize) {
        self.next_tick = Instant::now();
        self.crew.tally().share(self.id, index);
        self.crew.wake();
    }

    pub(super) fn is_alone(&self) -> bool {
        self.crew.tally().is_alone()
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.crew.tally().stopped
    }

    pub(super) fn begun(&mut self, index: usize, size: u64, resumed: u64) {
        self.crew.tally().begun(index, size, resumed);
    }

    pub(super) fn moved(&mut self, index: usize, done: u64) {
        self.crew.tally().moved(index, done);
    }

    /// A piece of a file has come. Of many files that is told only if they are `slow`.
    pub(super) fn came(&mut self, index: usize, done: u64, slow: bool) {
        let mut tally = self.crew.tally();
        if slow || tally.is_alone() {
            tally.moved(index, done);
        }
    }

    pub(super) fn entered(&mut self, index: usize, phase: Phase) {
        self.crew.tally().entered(index, phase);
    }

    pub(super) fn done(&mut self, index: usize, moved: &Moved) {
        self.progress = true;
        self.crew.tally().done(self.id, index, moved);
    }

    pub(super) fn failed(&mut self, index: usize, error: Error) {
        self.crew.tally().failed(self.id, index, error);
        self.crew.wake();
    }

    pub(super) fn untried(&mut self, index: usize) {
        self.crew.tally().untried(self.id, index);
    }

    pub(super) fn restarted(&mut self, index: usize, why: &str) {
        self.crew.tally().restarted(index, why);
    }

    pub(super) fn restart(&mut self, index: usize, why: &str, error: Error) {
        self.crew.tally().restart(self.id, index, why, error);
        self.crew.wake();
    }

    pub(super) fn again(&mut self, index: usize, why: &str) {
        self.crew.tally().again(self.id, index, why);
        self.crew.wake();
    }

    pub(super) fn may_restart(&mut self, index: usize) -> bool {
        self.crew.tally().may_restart(index)
    }
}
