//! The arguments of OPEN and LOGIN.

use clap::{Args, ValueHint};
use ferry_client::Security;

use super::value::text;
use crate::trust;

/// The arguments of OPEN.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Open {
    /// Speak TLS, whatever the address
    #[arg(long, conflicts_with = "plain")]
    tls: bool,
    /// Speak without TLS, whatever the address
    #[arg(long)]
    plain: bool,
    /// A port of this machine, host:port, or a bookmark
    #[arg(value_name = "[USER@]HOST:PORT", value_hint = ValueHint::Hostname, value_parser = text)]
    host: String,
    /// The port as a word of its own, as usual FTP clients have it
    #[arg(value_parser = text, hide = true)]
    port: Option<String>,
}

impl Open {
    /// Returns those that name `host`.
    pub(crate) fn of(host: &str) -> Open {
        Open { tls: false, plain: false, host: host.to_owned(), port: None }
    }

    /// Returns a port, host:port or bookmark, which is not looked up yet.
    pub(crate) fn address(&self) -> String {
        let Open { host, port, .. } = self;
        let Some(port) = port else { return host.clone() };
        let user_ends = host.rfind('@').map_or(0, |at| at + 1);
        match host.split_at(user_ends) {
            (user, host) if host.contains(':') && !host.starts_with('[') => format!("{user}[{host}]:{port}"),
            (user, host) => format!("{user}{host}:{port}"),
        }
    }

    /// Returns whether TLS is to be spoken, where that was said.
    pub(crate) fn security(&self) -> Option<Security> {
        trust::security(self.tls, self.plain)
    }
}

/// The arguments of LOGIN.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Login {
    /// The user to log in
    #[arg(value_hint = ValueHint::Username, value_parser = text)]
    pub(crate) user: Option<String>,
}
