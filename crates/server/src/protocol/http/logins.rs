//! Basic authentication (RFC 7617) of requests, by the desk that checks the secrets of all protocols.
//!
//! Each request says by itself who makes it. A secret that was right is remembered by its hash, for this connection and
//! for as long as the users file stays the same: to check it anew each time would take a good part of a second.

use std::{sync::Arc, time::Instant};

use ferry_wire::{Code, Failure, Secret, UserName};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{
    HttpSession, Phase,
    message::{Authorization, StatusCode},
    request::HttpRequest,
};
use crate::{
    access::Users,
    protocol::{Limits, Login, LoginOutcome, record::Transfer},
    store::Handles,
};

/// A user whose secret was right.
pub(super) struct Known {
    user: UserName,
    secret: [u8; 32],
}

/// A login that is under way, with the request that waits for it.
pub(super) struct LoggingIn {
    request: Box<HttpRequest>,
    known: Known,
    /// Not taken yet.
    asked: Option<Login>,
    /// The users file has changed since: the next request is checked by the new one.
    is_outdated: bool,
    transfer: Transfer,
}

impl LoggingIn {
    pub(super) fn into_request(self) -> Box<HttpRequest> {
        self.request
    }
}

impl<H: Handles> HttpSession<H> {
    /// Finds out who makes a request, then lets it take effect.
    pub(super) fn identify(&mut self, request: Box<HttpRequest>, authorization: Authorization, now: Instant) {
        self.visitor.act_as_nobody(true);
        match authorization {
            Authorization::Absent => self.take_effect(request, now),
            // Programs send what their configuration has, asked or not.
            _ if !self.visitor.may_log_in() => self.take_effect(request, now),
            _ if self.visitor.refusal().is_some() => {
                let open = "this connection is open to others on its way: log in by TLS only";
                self.fail(request, Failure::new(Code::Denied, open), now);
            }
            Authorization::Unusable => self.say_wrong(request, now),
            Authorization::Basic { user, secret } => self.log_in(request, user, secret, now),
        }
    }

    fn log_in(&mut self, request: Box<HttpRequest>, user: UserName, secret: Secret, now: Instant) {
        let hash: [u8; 32] = Sha256::digest(secret.expose().as_bytes()).into();
        let is_known = |known: &Known| known.user == user && bool::from(known.secret.ct_eq(&hash));
        if self.known.as_deref().is_some_and(is_known) {
            self.visitor.act_as_nobody(false);
            return self.take_effect(request, now);
        }
        let transfer = Transfer::login(&user, now);
        let known = Known { user: user.clone(), secret: hash };
        let asked = Some(Login { user, secret });
        self.phase = Phase::LoggingIn(Box::new(LoggingIn { request, known, asked, is_outdated: false, transfer }));
    }

    /// Answers that the secret is not right, in the same words whatever it is.
    fn say_wrong(&mut self, request: Box<HttpRequest>, now: Instant) {
        let failure = Failure::new(Code::Denied, "no such user, or another secret");
        self.fail_as(request, StatusCode::UNAUTHORIZED, failure, now);
    }

    /// Takes the login that is to be checked, once.
    pub fn take_login(&mut self) -> Option<Login> {
        match &mut self.phase {
            Phase::LoggingIn(login) => login.asked.take(),
            _ => None,
        }
    }

    /// Returns whether input that may have held a secret was taken since this was last asked.
    pub fn take_secret_read(&mut self) -> bool {
        std::mem::take(&mut self.has_read_secret)
    }

    /// Returns the user as whom a login is under way.
    #[must_use]
    pub fn logging_in(&self) -> Option<&UserName> {
        match &self.phase {
            Phase::LoggingIn(login) => Some(&login.known.user),
            _ => None,
        }
    }

    /// Takes the outcome of the login that was taken. A session that waits for none ignores it.
    pub fn login_ended(&mut self, outcome: LoginOutcome, now: Instant) {
        if matches!(self.phase, Phase::LoggingIn(_))
            && let Phase::LoggingIn(login) = std::mem::replace(&mut self.phase, Phase::Ready)
        {
            let LoggingIn { mut request, known, is_outdated, transfer, .. } = *login;
            let ended = self.visitor.login_ended(known.user.clone(), outcome);
            let failure = ended.as_ref().err().map(|(failure, _)| failure.clone());
            self.log(transfer, None, failure, now);
            match ended {
                Ok(()) => {
                    self.known = (!is_outdated).then(|| known.into());
                    self.visitor.act_as_nobody(false);
                    self.take_effect(request, now);
                }
                Err((failure, closes)) => {
                    request.persists &= !closes;
                    match failure.code {
                        Code::Denied => self.say_wrong(request, now),
                        _ => self.fail(request, failure, now),
                    }
                }
            }
        }
        self.settle(now);
    }

    /// Sets the users file for every request that takes effect from here on.
    pub fn set_users(&mut self, users: &Arc<Users>) {
        // The secret that was right may be another one by now.
        self.known = None;
        if let Phase::LoggingIn(login) = &mut self.phase {
            login.is_outdated = true;
        }
        self.visitor.set_users(users);
    }

    /// Sets the limits from here on, also for requests under way.
    pub fn set_limits(&mut self, limits: &Arc<Limits>) {
        self.limits = limits.clone();
    }

    /// Returns the user who has logged in last, for whom the connection counts.
    #[must_use]
    pub fn user(&self) -> Option<&UserName> {
        self.visitor.user()
    }
}
