//! Reloads of the configuration: which options one may change, and which it may not.

use std::net::SocketAddr;

use super::{
    configuration::Configuration,
    error::StartError,
    setting::{Origin, Setting, Value},
};

/// The ids of the options that hold from a reload on. All others hold from start to end, whatever
/// the file says later.
pub(super) const LIVE: &[&str] = &[
    "proxy_from",
    "max_clients",
    "max_clients_per_address",
    "rate",
    "total_rate",
    "max_upload",
    "max_staged",
    "max_kept",
    "idle_timeout",
    "request_timeout",
    "job_timeout",
    "progress_window",
    "progress_bytes",
    "keep",
    "crc_cache",
    "small_cache",
    "grace",
    "log_level",
];

/// A configuration that was read again.
#[derive(Debug)]
pub struct Reread {
    /// The configuration of the start, with the changes that a reload may make.
    pub configuration: Configuration,
    /// The changes, each in words for the log.
    pub changed: Vec<String>,
    /// Changes of the file that take effect only at a new start, each in words for the log.
    pub fixed: Vec<String>,
}

impl Configuration {
    /// Reads the file again. The command line and the environment stay as they were at the start.
    ///
    /// # Errors
    ///
    /// The first problem in the file; nothing changes then.
    pub fn read_again(&self) -> Result<Reread, StartError> {
        let new = self.read_file_again()?;
        let (mut settings, mut changed, mut fixed) = (Vec::new(), Vec::new(), Vec::new());
        for key in self.keys().all() {
            let [before, now] = [&self.settings, &new].map(|all| all.iter().find(|setting| setting.id == key.id()));
            let value = |setting: Option<&Setting>| setting.map(|setting| setting.value.clone());
            let is_same = is_same(value(before), value(now));
            let said = |now: Option<&Setting>| match now {
                Some(setting) => format!("{} = {}", key.name(), setting.value),
                None => format!("{} is not set any more", key.name()),
            };
            let holds = match (is_same, key.is_live()) {
                (true, _) => now,
                (false, true) => {
                    changed.push(said(now));
                    now
                }
                (false, false) => {
                    fixed.push(format!("{}: that takes a new start", said(now)));
                    before
                }
            };
            settings.extend(holds.cloned());
        }
        Ok(Reread { configuration: self.with(self.given().to_vec(), settings)?, changed, fixed })
    }

    /// Returns the same with the addresses of sockets that were inherited, which take precedence: that of clients, and that of
    /// HTTP.
    ///
    /// # Errors
    ///
    /// Where the address contradicts another setting.
    pub fn listening_on(
        &self,
        clients: Option<SocketAddr>,
        http: Option<SocketAddr>,
    ) -> Result<Configuration, StartError> {
        let inherited: Vec<Setting> = [("listen", clients), ("http", http)]
            .into_iter()
            .filter_map(|(id, address)| {
                let value = Value::Words(vec![address?.to_string().into()]);
                Some(Setting { id: id.into(), value, origin: Origin::Inherited })
            })
            .collect();
        let with = |all: &[Setting]| {
            let is_other = |setting: &&Setting| inherited.iter().all(|inherited| inherited.id != setting.id);
            all.iter().filter(is_other).chain(&inherited).cloned().collect()
        };
        self.with(with(self.given()), with(&self.settings))
    }
}

/// Returns whether two values mean the same. A flag that is off is as one that is not set.
fn is_same(before: Option<Value>, now: Option<Value>) -> bool {
    let on = |value: Option<Value>| value.filter(Value::is_on);
    on(before) == on(now)
}
