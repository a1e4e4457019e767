//! Two servers of one root.
//!
//! [`interleaved`] makes one request at one store and, between any two of its system calls, another
//! request at the other store. It does so for every pair of requests, at every place with
//! `FERRY_SWEEP=more`, else at each fourth. The outcome must be that of one request after the other. [`room`] and [`expiry`] look at facts that the two
//! can't know of each other. [`moves`] does the same with renames where the file system can't
//! refuse to replace, and kills one server. [`machines`] looks at servers on several machines,
//! [`stopped`] at one of them that is stopped for long and goes on, [`killed`] at one
//! that is killed while it takes over, [`together`] at two that start at once, and [`full`]
//! at a start on a full disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod acts;
#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "the other sweeps use the rest")]
mod common;
mod expiry;
mod full;
mod interleaved;
mod intruder;
mod killed;
mod machines;
mod moves;
mod room;
mod stopped;
mod tags;
mod together;
