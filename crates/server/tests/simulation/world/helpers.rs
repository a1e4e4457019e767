//! The helpers of a world: they do operations by the loop's own rosters, and some hang.

use std::time::{Duration, Instant};

use ferry_server::{
    runtime::roster::{Look, Roster},
    store::{Completion, ErrorKind, Operation, StoreError},
};

use super::{Ended, World};
use crate::{
    leases::{Job, Waiter},
    store::{Model, Work},
};

/// Helpers for anything but changes of names, and spare ones of each lane.
const HELPERS: usize = 6;
const SPARES: usize = 3;

/// How many changes a helper makes together.
const TOGETHER: usize = 4;

/// A world's time without progress after which a helper is written off, and its job expires.
const PATIENCE: Duration = Duration::from_millis(3);
const JOB_TIMEOUT: Duration = Duration::from_millis(40);

const NEVER: Duration = Duration::from_secs(1 << 32);

/// See the [module documentation](self).
pub(super) struct Helpers {
    /// For anything, and for changes of names.
    lanes: [Roster<Job>; 2],
    away: Vec<Away>,
    timeout: Duration,
}

/// A helper that is away with operations.
struct Away {
    lane: usize,
    number: u64,
    begun: Vec<Begun>,
    hangs: bool,
    has_hung: bool,
}

struct Begun {
    conn: usize,
    /// The operation, until it is done.
    operation: Option<Operation<Model>>,
    /// The work to be left when all is done.
    work: Option<Work>,
    completion: Option<Completion<'static, Model>>,
}

impl Helpers {
    /// Returns the helpers of a world in which operations may hang, or not.
    pub(super) fn new(hangs: bool) -> Helpers {
        let (patience, timeout) = if hangs { (Some(PATIENCE), JOB_TIMEOUT) } else { (None, NEVER) };
        let lanes = [Roster::new(HELPERS, SPARES, patience), Roster::new(1, SPARES, patience)];
        Helpers { lanes, away: Vec::new(), timeout }
    }

    /// Returns when a job will have expired, if any is under way.
    pub(super) fn expires_at(&self, now: Instant) -> Option<Instant> {
        let is_any = self.lanes.iter().any(|lane| lane.away() > 0);
        (is_any && self.timeout != NEVER).then(|| now + self.timeout)
    }

    /// Returns whether nothing is left to do.
    pub(super) fn are_idle(&self) -> bool {
        self.away.is_empty() && self.lanes.iter().all(|lane| lane.waiting() == 0)
    }
}

impl World {
    pub(super) fn submit(&mut self, job: Job) {
        let lane = usize::from(matches!(job.operation, Operation::Name(_)));
        if let Some(waiter) = self.helpers.lanes[lane].push(job) {
            self.figures.unanswered += 1;
            self.fail_waiter(waiter, ErrorKind::NoAnswer);
        }
    }

    fn fail_waiter(&mut self, waiter: Waiter, kind: ErrorKind) {
        let completion = waiter.fallback.failed(StoreError::of(kind));
        self.end_waiting(waiter, completion);
    }

    /// A session is about to be told.
    fn end_waiting(&mut self, waiter: Waiter, completion: Completion<'static, Model>) {
        let Waiter { conn, lease, carried, awaited, .. } = waiter;
        self.store.answered(awaited);
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.handed -= carried;
        }
        self.ended.push(Ended { conn, completion, lease });
    }

    /// A helper begins, or ends. False where none can.
    pub(super) fn run_job(&mut self) -> bool {
        let begins = self.dice.happens(500);
        begins && self.begin_job() || self.end_job() || !begins && self.begin_job()
    }

    fn begin_job(&mut self) -> bool {
        let first = self.dice.below(2);
        self.begin_in(first) || self.begin_in(1 - first)
    }

    fn begin_in(&mut self, lane: usize) -> bool {
        let roster = &mut self.helpers.lanes[lane];
        let (most, now) = (if lane == 1 { TOGETHER } else { 1 }, self.now);
        if roster.helpers() == roster.away() {
            return false;
        }
        let Some((number, job)) = roster.take(most, now) else { return false };
        let mut jobs = vec![job];
        while self.dice.happens(700)
            && let Some(job) = self.helpers.lanes[lane].more(number, now)
        {
            jobs.push(job);
        }
        let begun = jobs.into_iter().map(|job| self.begun(job)).collect();
        let hangs = self.dice.happens(self.weather.hangs);
        self.figures.hung += u64::from(hangs);
        let mut away = Away { lane, number, begun, hangs, has_hung: hangs };
        // The first of a helper that hangs may have taken effect, and only the answer does not come.
        if hangs && self.dice.happens(500) {
            self.act(&mut away.begun[0]);
        }
        self.helpers.away.push(away);
        true
    }

    fn begun(&mut self, job: Job) -> Begun {
        let Job { conn, operation, .. } = job;
        match self.store.enter(&operation) {
            Some(work) => Begun { conn, operation: Some(operation), work: Some(work), completion: None },
            None => {
                let completion = operation.fallback().failed(StoreError::of(ErrorKind::NoAnswer));
                Begun { conn, operation: None, work: None, completion: Some(completion) }
            }
        }
    }

    /// Does what was begun, if it is not done.
    fn act(&mut self, begun: &mut Begun) {
        if let Some(operation) = begun.operation.take() {
            begun.completion = Some(self.store.act(begun.conn, operation));
        }
    }

    /// A helper that does not hang ends.
    fn end_job(&mut self) -> bool {
        let able: Vec<_> = (0..self.helpers.away.len()).filter(|&index| !self.helpers.away[index].hangs).collect();
        if able.is_empty() {
            return false;
        }
        let index = *self.dice.pick(&able);
        let away = self.helpers.away.swap_remove(index);
        self.end(away);
        true
    }

    fn end(&mut self, away: Away) {
        let Away { lane, number, mut begun, has_hung, .. } = away;
        let is_wanted = self.helpers.lanes[lane].gets_on(number, self.now);
        self.store.is_late = !is_wanted;
        for (index, one) in begun.iter_mut().enumerate() {
            // The one that hung is in the middle of its call; a change after it is not begun any more.
            let begins = is_wanted || has_hung && index == 0 || !matches!(one.operation, Some(Operation::Name(_)));
            if begins {
                self.act(one);
            } else if let Some(operation) = one.operation.take() {
                one.completion = Some(operation.fallback().failed(StoreError::of(ErrorKind::NoAnswer)));
            }
        }
        self.store.is_late = false;
        let mut completions = Vec::new();
        for Begun { work, completion, .. } in begun {
            let completion = completion.expect("it was done");
            if let Some(work) = work {
                self.store.leave(work, &completion);
            }
            completions.push(completion);
        }
        let mut completions = completions.into_iter();
        for waiter in self.helpers.lanes[lane].done(number) {
            let completion = completions.next().expect("a completion for whoever waits");
            self.end_waiting(waiter, completion);
        }
        for completion in completions {
            self.figures.late += 1;
            self.store.forget(completion);
        }
        let back = self.helpers.lanes[lane].back(number, self.now).expect("it was away");
        if back.leaves {
            self.helpers.lanes[lane].left();
        }
    }

    /// Looks for helpers that hang.
    pub(super) fn look_for_helpers(&mut self) {
        for lane in 0..2 {
            let Look { expired, refused, .. } = self.helpers.lanes[lane].look(self.now, self.helpers.timeout);
            for waiter in expired {
                self.figures.unanswered += 1;
                if waiter.is_change {
                    // Whether it was made, and when, the client can't know.
                    let peer = self.conns[&waiter.conn].peer;
                    self.peers[peer].client.blind();
                }
                let completion = waiter.fallback.unanswered();
                self.end_waiting(waiter, completion);
            }
            for waiter in refused {
                self.figures.unanswered += 1;
                self.fail_waiter(waiter, ErrorKind::NoAnswer);
            }
        }
    }

    /// A helper that hangs is let go, or all are.
    pub(super) fn let_helpers_go(&mut self, all: bool) {
        let hanging: Vec<_> = (0..self.helpers.away.len()).filter(|&index| self.helpers.away[index].hangs).collect();
        if all {
            hanging.into_iter().for_each(|index| self.helpers.away[index].hangs = false);
        } else if !hanging.is_empty() {
            let index = *self.dice.pick(&hanging);
            self.helpers.away[index].hangs = false;
        }
    }
}
