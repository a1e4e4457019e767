//! What options may be, on the command line and in the configuration file.

use std::time::Duration;

/// A day: whoever waits longer wants no limit.
const MAX_TIMEOUT_SECONDS: f64 = 86_400.0;

/// Whoever wants more wants a loop around the program.
const MAX_RETRIES: u32 = 1000;

/// More connections only take turns on the same line, and a server counts them as so many clients.
const MAX_PARALLEL: usize = 16;

pub(crate) fn timeout(seconds: f64) -> Result<Duration, String> {
    if seconds > 0.0 && seconds <= MAX_TIMEOUT_SECONDS {
        return Ok(Duration::from_secs_f64(seconds));
    }
    Err(format!("a number of seconds is needed, above 0 and at most {MAX_TIMEOUT_SECONDS}"))
}

pub(crate) fn retry(times: i64) -> Result<u32, String> {
    u32::try_from(times)
        .ok()
        .filter(|times| *times <= MAX_RETRIES)
        .ok_or_else(|| format!("a number of tries is needed, at most {MAX_RETRIES}"))
}

pub(crate) fn parallel(connections: i64) -> Result<usize, String> {
    usize::try_from(connections)
        .ok()
        .filter(|connections| (1..=MAX_PARALLEL).contains(connections))
        .ok_or_else(|| format!("a number of connections is needed, 1 to {MAX_PARALLEL}"))
}
