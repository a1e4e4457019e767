//! The built programs as a person uses them: at a terminal, from `-c`, from a pipe.
// A test fails by panicking, in its helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod choosing;
mod commands;
mod completions;
mod copying;
mod editing;
mod jobs;
mod logins;
mod looking;
mod machine;
mod manual;
mod permissions;
mod place;
mod progress;
mod resuming;
mod rsync;
mod scripts;
mod sparse;
mod strangers;
mod streams;
mod sums;
mod syncing;
mod terminal;
mod trees;
mod typing;
mod users;
mod walk;
mod watching;
