//! The connections that share one list of files: a crew, each with a thread of its own.
//!
//! The first one's round runs in the caller's thread. A [`Hand`] is what a round has of the crew: it takes files, tells what
//! became of them, and says from time to time how its line is, from which the [`Adviser`] concludes whether further
//! ones would help. They come and go as they like: what one has not brought to an end is taken by the others.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Parallel,
    adviser::{Adviser, Look},
    hand::Hand,
    tally::Tally,
};
use crate::{
    connection::open_twin,
    error::Error,
    link::{LineFigures, Link, Siblings},
    options::Cancel,
};

/// Between two looks of who waits for others.
const IDLE_LOOK: Duration = Duration::from_millis(20);

/// The time after which a connection that moves nothing is not waited for by those that have nothing else to do: this,
/// and some round trips at least.
pub(super) const STALLED: Duration = Duration::from_secs(1);
const STALLED_ROUND_TRIPS: u32 = 10;

/// The number of the first hand, on the caller's own connection.
pub(super) const FIRST: usize = 0;

/// All that the connections of one transfer have in common.
pub(super) struct Crew<'t> {
    tally: Mutex<Tally<'t>>,
    /// Something has changed for who waits.
    changed: Condvar,
    /// Everything is done, or given up: who is still at work leaves it.
    over: Cancel,
    begun: Instant,
    pub(super) may_grow: bool,
    /// Work is cut up although the line may be short: a number of connections was asked for.
    pub(super) always_shares: bool,
    growth: Mutex<Growth>,
}

/// The connections at work, and those that may be added.
struct Growth {
    adviser: Adviser,
    hands: BTreeMap<usize, Figures>,
    opening: usize,
    next: usize,
    /// How the first hand's connection was made.
    twins: Option<Arc<Siblings>>,
    /// Bytes and waiting of those that are gone.
    gone: Figures,
    /// A connection that has nothing more to do.
    spare: Option<Link>,
    is_volatile: bool,
    /// A hand other than the first has brought something on since that was asked last.
    has_progress: bool,
}

/// The last report of a hand.
#[derive(Debug, Clone, Copy)]
struct Figures {
    /// When its bytes moved last.
    moved_at: Instant,
    /// It waits for work, or for the others' end.
    is_idle: bool,
    moved: u64,
    waited: Duration,
    line: Option<LineFigures>,
}

impl<'t> Crew<'t> {
    pub(super) fn new(tally: Tally<'t>, parallel: Parallel) -> Crew<'t> {
        let (adviser, now) = (Adviser::new(parallel), Instant::now());
        let may_grow = adviser.may_grow() && !tally.is_alone();
        let growth = Growth {
            adviser,
            hands: BTreeMap::new(),
            opening: 0,
            next: FIRST + 1,
            twins: None,
            gone: Figures::new(None),
            spare: None,
            is_volatile: false,
            has_progress: false,
        };
        Crew {
            tally: Mutex::new(tally),
            changed: Condvar::new(),
            over: Cancel::default(),
            begun: now,
            may_grow,
            always_shares: may_grow && parallel != Parallel::Auto,
            growth: Mutex::new(growth),
        }
    }

    /// Never held while another lock of the crew is waited for. A caller whose function has panicked ends everything
    /// soon; the state is whole all the same.
    pub(super) fn tally(&self) -> MutexGuard<'_, Tally<'t>> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn growth(&self) -> MutexGuard<'_, Growth> {
        self.growth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes who waits for work, or for the end.
    pub(super) fn wake(&self) {
        if self.may_grow {
            self.changed.notify_all();
        }
    }

    /// A hand other than the first has brought something on.
    pub(super) fn note_progress(&self) {
        self.growth().has_progress = true;
    }

    /// Whether another hand than the first has brought something on since this was asked last.
    pub(super) fn take_progress(&self) -> bool {
        std::mem::take(&mut self.growth().has_progress)
    }

    /// Takes the report of a hand: what its link has moved, how long it has waited, and how its line is. Returns how many
    /// further connections to open; they count as being opened.
    pub(super) fn report(
        &self,
        hand: usize,
        (moved, waited): (u64, Duration),
        line: Option<LineFigures>,
        (left, is_limited): (u64, bool),
    ) -> usize {
        let now = Instant::now();
        let mut growth = self.growth();
        if let Some(figures) = growth.hands.get_mut(&hand) {
            let moved_at = if figures.moved < moved { now } else { figures.moved_at };
            *figures = Figures { moved_at, is_idle: false, moved, waited, line };
        }
        let look = Look { is_limited, ..growth.look(now.saturating_duration_since(self.begun), left) };
        let more = growth.adviser.advise(look);
        growth.opening += more;
        more
    }

    /// Returns how many connections are at work.
    pub(super) fn hands(&self) -> usize {
        if self.may_grow { self.growth().hands.len().max(1) } else { 1 }
    }

    /// The first hand begins on `link`.
    pub(super) fn first<'c>(&'c self, link: &mut Link, grow: &'c (dyn Fn() + Sync)) -> Hand<'c, 't> {
        if self.may_grow {
            link.leave_when(self.over.clone());
            self.growth().twins = Some(Arc::new(link.twins().leave_when(self.over.clone())));
        }
        self.hand(FIRST, link, grow)
    }

    pub(super) fn hand<'c>(&'c self, id: usize, link: &mut Link, grow: &'c (dyn Fn() + Sync)) -> Hand<'c, 't> {
        let line = self.may_grow.then(|| link.line()).flatten();
        if self.may_grow {
            self.growth().hands.insert(id, Figures::new(line));
        }
        Hand::new(self, id, (link, line), grow)
    }

    /// Opens the further connection that was advised. [`None`] where that fails: the others do it without.
    pub(super) fn open(&self) -> Option<(Link, usize)> {
        let twins = self.growth().twins.clone();
        match twins.map(|twins| open_twin(&twins)) {
            Some(Ok((link, is_volatile))) => {
                let mut growth = self.growth();
                growth.opening -= 1;
                growth.is_volatile |= is_volatile;
                let id = growth.next;
                growth.next += 1;
                // From here on it counts as being at work: there is no moment in which it is neither that nor being opened.
                growth.hands.insert(id, Figures::new(None));
                log::info!("a further connection, number {id}");
                return Some((link, id));
            }
            Some(Err(error)) => self.not_opened(&error),
            None => self.not_opened(&"there is none yet that it would be like"),
        }
        self.wake();
        None
    }

    /// The round of `hand` is over: what it has not brought to an end is for the others.
    pub(super) fn leave(&self, hand: usize) {
        self.tally().take_back(hand);
        let mut growth = self.growth();
        if let Some(figures) = growth.hands.remove(&hand) {
            growth.gone.moved += figures.moved;
            growth.gone.waited += figures.waited;
        }
        drop(growth);
        self.wake();
    }

    /// The further connection that was advised is not opened.
    pub(super) fn not_opened(&self, error: &dyn fmt::Display) {
        log::info!("one connection less: {error}");
        let mut growth = self.growth();
        growth.opening -= 1;
        growth.adviser.refused(self.begun.elapsed());
    }

    /// The connection of a further hand was lost in the middle of its work.
    pub(super) fn lost(&self, error: &Error) {
        log::info!("a further connection is lost: {error}");
        self.growth().adviser.lost(self.begun.elapsed());
    }

    /// Keeps a connection that has nothing more to do: the first one may be of no more use by then.
    pub(super) fn keep(&self, mut link: Link) {
        link.leave_when(Cancel::default());
        self.growth().spare = Some(link);
    }

    /// Waits until nobody else is at work: all that is left then is for who calls.
    pub(super) fn wait_for_others(&self) {
        if !self.may_grow {
            return;
        }
        loop {
            let growth = self.growth();
            if growth.hands.is_empty() && growth.opening == 0 {
                return;
            }
            drop(growth);
            self.rest();
        }
    }

    /// Waits until something changes, or a moment: a wake-up may have come right before.
    pub(super) fn rest(&self) {
        self.rest_after(self.tally());
    }

    /// The same, having looked at the tally.
    pub(super) fn rest_after<'g>(&'g self, tally: MutexGuard<'g, Tally<'t>>) {
        drop(self.changed.wait_timeout(tally, IDLE_LOOK));
    }

    pub(super) fn note_idle(&self, hand: usize, is_idle: bool) {
        if self.may_grow
            && let Some(figures) = self.growth().hands.get_mut(&hand)
        {
            (figures.is_idle, figures.moved_at) = (is_idle, Instant::now());
        }
    }

    pub(super) fn others_are_idle(&self, hand: usize) -> bool {
        self.growth().hands.iter().all(|(id, figures)| *id == hand || figures.is_idle)
    }

    /// Whether a hand that `counts` is at work, or any may soon be.
    pub(super) fn has_others(&self, counts: impl Fn(usize) -> bool) -> bool {
        let growth = self.growth();
        growth.opening > 0 || growth.hands.keys().any(|id| counts(*id))
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Returns the others that have moved nothing for long, as `hand` has waited for them since `begun`.
    pub(super) fn stalled(&self, hand: usize, begun: Instant) -> Vec<usize> {
        let now = Instant::now();
        let stalls = |figures: &Figures| {
            let trips = figures.line.map_or(Duration::ZERO, |line| line.round_trip * STALLED_ROUND_TRIPS);
            now.saturating_duration_since(figures.moved_at.max(begun)) >= STALLED.max(trips) && !figures.is_idle
        };
        let growth = self.growth();
        let others = growth.hands.iter().filter(|(id, figures)| **id != hand && stalls(figures));
        others.map(|(id, _)| *id).collect()
    }

    /// Ends all that is still at work.
    pub(super) fn end(&self) {
        self.over.cancel();
        self.wake();
    }

    /// Returns the tally, the connection that has nothing to do, and whether any server said that it is volatile.
    pub(super) fn close(self) -> (Tally<'t>, Option<Link>, bool) {
        let growth = self.growth.into_inner().unwrap_or_else(PoisonError::into_inner);
        (self.tally.into_inner().unwrap_or_else(PoisonError::into_inner), growth.spare, growth.is_volatile)
    }
}

impl Figures {
    /// Of a hand that begins.
    fn new(line: Option<LineFigures>) -> Figures {
        Figures { moved_at: Instant::now(), is_idle: false, moved: 0, waited: Duration::ZERO, line }
    }
}

impl Growth {
    /// Puts together what all have reported.
    fn look(&self, at: Duration, left: u64) -> Look {
        let (mut moved, mut waited) = (self.gone.moved, self.gone.waited);
        let mut line: Option<LineFigures> = None;
        for figures in self.hands.values() {
            moved += figures.moved;
            waited += figures.waited;
            if let Some(one) = figures.line {
                let all = line.get_or_insert(LineFigures { lost: 0, ..one });
                *all = LineFigures { round_trip: all.round_trip.min(one.round_trip), lost: all.lost + one.lost };
            }
        }
        Look { at, hands: self.hands.len(), opening: self.opening, moved, waited, line, left, is_limited: false }
    }
}
