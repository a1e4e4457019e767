//! Rounds: each has one connection, and what it leaves undone is for another one, or the next.

use std::{
    panic::{self, AssertUnwindSafe},
    thread::{self, Scope},
};

use super::{
    Report, Settings,
    crew::{Crew, FIRST},
    hand::Hand,
    retry::Outage,
    tally::Tally,
};
use crate::{connection::Connection, error::Error, link::Link};

/// Why a round ended before its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The connection is gone, or of no more use: an error that a new one may mend, or that ends everything.
    Broken(Error),
    /// The rest of the input is not wanted; nothing is wrong.
    Unwanted,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Broken(error)
    }
}

/// The work on a list of files, as each connection does it.
pub(super) trait Job: Sync {
    /// The state of one hand, which outlives its connection where that is opened again.
    type Own: Default;

    /// Works until nothing is left to do, or the connection is lost.
    fn round(&self, link: &mut Link, hand: Hand<'_, '_>, own: &mut Self::Own) -> Ended;

    /// Whether more than one connection may do it.
    fn may_be_shared(&self) -> bool;

    /// A hand has ended its round: what it had of what is shared is for the others.
    fn leave(&self, hand: usize);

    /// A hand is gone for good.
    fn close(&self, own: Self::Own);
}

/// The end of a round, and whether anything moved in it.
pub(super) struct Ended {
    pub(super) result: Result<(), Stop>,
    pub(super) progress: bool,
}

/// Runs the rounds of `job` until nothing is left to do: on the connection, which is opened again where it is lost, and on
/// further ones that come and go.
pub(super) fn drive<J: Job>(connection: &mut Connection, settings: &Settings, tally: Tally<'_>, job: &J) -> Report {
    let crew = Crew::new(tally, settings.parallel);
    thread::scope(|scope| {
        let crew = &crew;
        let _end = End(crew);
        let grow = || start(scope, crew, job);
        let mut own = J::Own::default();
        if let Err(error) = first(connection, settings, (crew, &grow), job, &mut own) {
            // Others may bring to an end what this one can't.
            crew.wait_for_others();
            if !crew.tally().is_finished() {
                crew.tally().give_up(error);
            }
        }
        job.close(own);
    });
    let (tally, spare, is_volatile) = crew.close();
    if let Some(link) = spare {
        connection.take_over(link);
    }
    if is_volatile {
        connection.note_volatile();
    }
    tally.close()
}

/// The rounds of the first hand. Fails where its connection can't be opened again, and something may be left to do.
fn first<'c, 't, J: Job>(
    connection: &mut Connection,
    settings: &Settings,
    (crew, grow): (&'c Crew<'t>, &'c (dyn Fn() + Sync)),
    job: &J,
    own: &mut J::Own,
) -> Result<(), Error> {
    let mut outage = Outage::new(settings);
    while !crew.tally().is_finished() {
        let (mut unwanted, mut progress) = (false, false);
        let result = connection.converse(|link| {
            let hand = crew.first(link, grow);
            let round = job.round(link, hand, own);
            link.leave_when(Default::default());
            progress = round.progress;
            match round.result {
                Err(Stop::Unwanted) => {
                    link.abandon();
                    unwanted = true;
                    Ok(())
                }
                Err(Stop::Broken(error)) => Err(error),
                Ok(()) => Ok(()),
            }
        });
        job.leave(FIRST);
        if crew.has_others(|hand| hand != FIRST) {
            // Who takes what this one had begun must be able to.
            job.close(std::mem::take(own));
        }
        crew.leave(FIRST);
        let (is_alone, stopped, is_finished) = {
            let tally = crew.tally();
            (tally.is_alone(), tally.stopped, tally.is_finished())
        };
        let error = match result {
            Ok(()) if !unwanted => {
                outage.end();
                continue;
            }
            // Nothing is tried again for who did not ask for it.
            Ok(()) if is_alone || connection.reopen().is_ok() => continue,
            Ok(()) => Error::NotConnected,
            Err(error) => error,
        };
        if is_finished {
            return Ok(());
        }
        // Whichever connection brought it: the server is there, and the transfer moves on.
        if progress | crew.take_progress() {
            outage.end();
        }
        match stopped {
            true => return Err(error),
            false => outage.reopen(connection, &mut |event| crew.tally().tell(event), error)?,
        }
    }
    Ok(())
}

/// Ends what others still do, however its owner ends.
struct End<'c, 't>(&'c Crew<'t>);

impl Drop for End<'_, '_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Adds a hand to the crew, with a thread and a connection of its own.
fn start<'scope, J: Job>(scope: &'scope Scope<'scope, '_>, crew: &'scope Crew<'_>, job: &'scope J) {
    if !job.may_be_shared() {
        return crew.not_opened(&"the order of these files matters");
    }
    if let Err(error) = thread::Builder::new().spawn_scoped(scope, move || help(scope, crew, job)) {
        crew.not_opened(&error);
    }
}

fn help<'scope, J: Job>(scope: &'scope Scope<'scope, '_>, crew: &'scope Crew<'_>, job: &'scope J) {
    let Some((mut link, id)) = crew.open() else { return };
    let grow = || start(scope, crew, job);
    // A caller's function that panics must not leave the others waiting for ever.
    let round = panic::catch_unwind(AssertUnwindSafe(|| {
        let mut own = J::Own::default();
        let hand = crew.hand(id, &mut link, &grow);
        let round = job.round(&mut link, hand, &mut own);
        job.close(own);
        round
    }));
    job.leave(id);
    if let Ok(Ended { progress: true, .. }) = round {
        crew.note_progress();
    }
    crew.leave(id);
    match round {
        Ok(Ended { result: Ok(()), .. }) if link.is_usable() => crew.keep(link),
        Ok(Ended { result: Err(Stop::Broken(error)), .. }) => crew.lost(&error),
        Ok(_) => {}
        Err(payload) => {
            crew.end();
            panic::resume_unwind(payload);
        }
    }
}
