//! The client against servers that are honest, hostile, or no ferry servers at all.
//!
//! One binary, so that it links once. Every server here is a thread of the test; nothing sleeps to
//! wait for something.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests are tests")]

mod support;

mod confined;
mod downloads;
mod greetings;
mod logins;
mod many;
mod never_replacing;
mod paces;
mod parallel;
mod parts;
mod planning;
mod replacing;
mod requests;
mod resumes;
mod streams;
mod syncing;
mod uploads;
mod violations;
