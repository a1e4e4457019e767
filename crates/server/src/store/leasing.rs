//! How leases are held: for how long, and by whom. Tests choose more of it.

use std::{
    env,
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime},
};

use super::machine::Identity;

/// After so long without a beat the leases of a server are anybody's: twelve beats, since a busy
/// disk may hold some up.
const LIFETIME: Duration = Duration::from_secs(60);

/// Beats in a lifetime.
const BEATS: u32 = 12;

/// Variables of the environment by which tests of the whole choose what nobody else needs to. Builds
/// without debug assertions read none of them.
const LIFETIME_SEAM: &str = "FERRY_TEST_LEASE_SECONDS";
const MACHINE_SEAM: &str = "FERRY_TEST_MACHINE";
const CLOCK_SEAM: &str = "FERRY_TEST_CLOCK_AHEAD_SECONDS";

/// How a server holds leases: of the directory that it stages in, and of resumable uploads.
#[derive(Debug, Clone)]
pub struct LeaseOptions {
    /// The name of this server among several, written into what it holds.
    pub node: Option<Arc<str>>,
    /// After so long without a sign of life others may take what a server holds: a minute, but in tests.
    pub lifetime: Duration,
    /// The machine that this is to be taken for, in tests: [`None`] is the one that it is.
    pub machine: Option<String>,
}

impl Default for LeaseOptions {
    fn default() -> LeaseOptions {
        LeaseOptions { node: None, lifetime: LIFETIME, machine: None }
    }
}

impl LeaseOptions {
    /// Returns those of the server `node`.
    #[must_use]
    pub fn of_node(node: Option<Arc<str>>) -> LeaseOptions {
        let lifetime = seam(LIFETIME_SEAM).and_then(|text| text.parse().ok()).map(Duration::from_secs_f64);
        LeaseOptions { node, lifetime: lifetime.unwrap_or(LIFETIME), machine: seam(MACHINE_SEAM) }
    }

    /// Returns how often a server says that it lives.
    pub(super) fn beat(&self) -> Duration {
        self.lifetime / BEATS
    }

    /// Returns who this process is.
    pub(super) fn identity(&self) -> Identity {
        match &self.machine {
            Some(machine) => Identity::this().on_machine(machine),
            None => Identity::this().clone(),
        }
    }
}

fn seam(variable: &str) -> Option<String> {
    if cfg!(debug_assertions) { env::var(variable).ok() } else { None }
}

/// Returns the time of this machine's clock.
pub(super) fn wall_clock() -> SystemTime {
    static AHEAD: LazyLock<Duration> = LazyLock::new(|| {
        let ahead = seam(CLOCK_SEAM).and_then(|text| text.parse().ok());
        Duration::from_secs(ahead.unwrap_or(0))
    });
    SystemTime::now() + *AHEAD
}
