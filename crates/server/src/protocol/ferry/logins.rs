//! LOGIN: a session asks for the check of a secret, and nothing is read until it has ended.

use std::{sync::Arc, time::Instant};

use ferry_wire::{Reply, Secret, UserName};

use super::{FerrySession, Limits, LoggingIn, Login, LoginOutcome, Phase, record::Transfer};
use crate::{access::Users, store::Handles};

impl<H: Handles> FerrySession<H> {
    /// Asks for the check; all requests before it are answered.
    pub(super) fn start_login(&mut self, user: UserName, secret: Secret, now: Instant) {
        let transfer = Transfer::login(&user, now);
        match self.visitor.refusal() {
            Some(failure) => self.refuse_transfer(transfer, failure, false, now),
            None => {
                let asked = Some(Login { user: user.clone(), secret });
                self.phase = Phase::LoggingIn(Box::new(LoggingIn { user, asked, transfer }));
            }
        }
    }

    /// Takes the login that is to be checked, once. Its end is said by
    /// [`login_ended`](Self::login_ended), unless the session is over by then.
    pub fn take_login(&mut self) -> Option<Login> {
        match &mut self.phase {
            Phase::LoggingIn(login) => login.asked.take(),
            _ => None,
        }
    }

    /// Returns whether input that may have held a secret was taken since this was last asked: the
    /// memory that it was read into is to be wiped.
    pub fn take_secret_read(&mut self) -> bool {
        std::mem::take(&mut self.has_read_secret)
    }

    /// Returns the user as whom a login is under way.
    #[must_use]
    pub fn logging_in(&self) -> Option<&UserName> {
        match &self.phase {
            Phase::LoggingIn(login) => Some(&login.user),
            _ => None,
        }
    }

    /// Takes the outcome of the login that was taken. A session that waits for none ignores it.
    pub fn login_ended(&mut self, outcome: LoginOutcome, now: Instant) {
        if matches!(self.phase, Phase::LoggingIn(_))
            && let Phase::LoggingIn(login) = std::mem::replace(&mut self.phase, Phase::Ready)
        {
            let LoggingIn { user, transfer, .. } = *login;
            let ended = self.visitor.login_ended(user, outcome);
            self.record(transfer, ended.as_ref().err().map(|(failure, _)| failure.clone()), now);
            match ended {
                Ok(()) => self.reply(Reply::Done),
                Err((failure, true)) => self.break_off(failure, now),
                Err((failure, false)) => self.reply(Reply::Fail(failure)),
            }
        }
        self.settle(now);
    }

    /// Sets the users file for every request that takes effect from here on.
    pub fn set_users(&mut self, users: &Arc<Users>) {
        self.visitor.set_users(users);
    }

    /// Sets the limits from here on, also for requests under way.
    pub fn set_limits(&mut self, limits: &Arc<Limits>) {
        self.limits = limits.clone();
    }

    /// Returns the user who has logged in.
    #[must_use]
    pub fn user(&self) -> Option<&UserName> {
        self.visitor.user()
    }
}
