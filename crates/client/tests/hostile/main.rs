//! The client against hostile servers: a corpus of cases in tables, one line each, conversations cut
//! and reset at every byte, silence at every step, and random mutations of valid conversations.
//!
//! Every call is held against the same oracle ([`place`]): nothing is written but the one file that
//! was asked for, and that only whole; nothing staged is left; an error is one harmless line; the
//! connection of a server that broke the protocol is gone; the call comes back.
//!
//! `FERRY_HOSTILE_STREAMS` says how many mutated conversations are tried, `FERRY_HOSTILE_SEED` where
//! they begin.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests are tests")]

mod ask;
mod case;
mod dice;
mod place;
mod stage;

mod bodies;
mod cuts;
mod failures;
mod greetings;
mod listings;
mod mutations;
mod replies;
mod silence;
mod uploads;
