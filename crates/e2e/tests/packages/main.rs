//! Tests of the packages: units of systemd, Debian's packages, the image for containers, and the page for operators
//! with all its commands.
//!
//! Most of it needs root and programs that are not everywhere. Elsewhere a test skips itself with a printed word; where the
//! environment has [`MUST`], as CI sets it, that is a failure.
// A test fails by panicking, in its helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod debian;
mod image;
mod machine;
mod operating;
mod units;

use std::{env, path::PathBuf};

/// With this in the environment, packages are built and tested, and a test that can't run here fails.
const MUST: &str = "FERRY_TEST_PACKAGES";

/// Prints why a test is skipped.
///
/// # Panics
///
/// Panics where the environment has [`MUST`].
fn skip(why: &str) {
    assert!(env::var_os(MUST).is_none(), "{MUST} is set, but: {why}");
    eprintln!("skipped: {why}");
}

/// Returns the path of `program`, if it is installed here.
fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let beside = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(beside).map(|directory| directory.join(program)).find(|path| path.is_file())
}
