//! The client of ferry, for programs: every transfer verified end to end, nothing half done.
//!
//! # A tour
//!
//! A [`Client`] is one connection. Many files at once are moved by [`Client::fetch`] and [`Client::store`]: small ones
//! pipelined, large ones resumably, a lost connection opened again.
//!
//! ```no_run
//! use ferry_client::{Client, Event, Fetch, Name, Options, Settings};
//!
//! let mut client = Client::connect(&"127.0.0.1:12000".parse()?, Options::default())?;
//! let mut files = Vec::new();
//! for name in ["welcome.txt", "poems/ozymandias.txt"] {
//!     let target = std::path::Path::new("client").join(name.rsplit('/').next().unwrap_or(name)).into();
//!     files.push(Fetch { name: Name::new(name)?, target, meta: None });
//! }
//! let report = client.fetch(&files, &Settings::default(), &mut |event| {
//!     if let Event::Done { index, moved } = event {
//!         println!("{}: {} bytes, CRC {}", files[*index].name, moved.size, moved.crc);
//!     }
//! });
//! for (index, error) in &report.failures {
//!     println!("{}: {error}", files[*index].name);
//! }
//! client.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! For one file there are [`Client::get`] and [`Client::put`]; for streams [`Client::read`] and [`Client::put_from`]; for
//! what the server has [`Client::list`], [`Client::tree`], [`Client::stat`], [`Client::sum`] and [`Client::sums`], which also
//! fill and check files of checksums ([`ChecksumLine`]); to change it
//! [`Client::make_directories`], [`Client::mkdir`], [`Client::delete`] and [`Client::rename`]. Whole directories are moved by
//! a [`Planner`] and made alike by [`Plan::sync`]: both give a [`Plan`] to look at first. Two programs that use them
//! are in `examples`: `mirror` fetches a directory, `upload` stores files.
//!
//! # What is promised
//!
//! - **A file has its name only when it is whole.** A download is staged beside its target, without a visible name, until its
//!   length and its CRC are those that the server read. An upload counts when the server has said that it has the same bytes.
//! - **What was cut goes on where it was**: after a lost connection, a [`Cancel`], a killed process, a restart of the
//!   machine. Before the result is published, the whole of it is compared with what the server has; what does not fit, or
//!   is of another version, begins anew and says so ([`Event::Restarted`]).
//! - **Nothing leads out of a directory.** What a server names, or a walk has found, is reached beneath a [`HeldDirectory`] and
//!   follows no symbolic link, to read or to write, however late that comes.
//! - **No call hangs.** A server that moves no byte for [`Options::timeout`], or fewer than [`Options::min_rate`], is given
//!   up. A [`Cancel`] that is raised elsewhere (a signal, another thread) ends what is under way within 200 ms; [`Client::put`],
//!   [`Client::resume`] and [`Client::put_from`] take up to 3 s more to keep the connection.
//! - **A [`RateLimit`] holds for all connections together**, each way, and may be changed meanwhile; no timeout runs while
//!   it holds the client back.
//! - **The server is never trusted.** Local names are chosen by the caller alone, memory is bounded whatever it says,
//!   its text is shown escaped, and anything that was not asked for ends the connection.
//! - **No secret of a user is sent where others can read it**, shown, logged or traced: see [`Credentials`].
//!
//! Not promised: that a download survives a power cut right after it was published (nothing is synced to the local disk);
//! without TLS, neither secrecy nor anything about who the server is.
//!
//! # Errors
//!
//! An [`Error`] displays as one line for people and says whose fault it is ([`Error::blame`]). After [`Error::Server`]
//! the connection goes on; after most others it is dropped, and every method but [`Client::fetch`], [`Client::store`] and
//! [`Client::relay`] says [`Error::NotConnected`] until [`Client::reconnect`].
//!
//! # Inside
//!
//! Each of these knows those before it, and none after it: `link` owns the socket and the buffers, and knows no request;
//! `conversation` knows what is asked and what is in flight, as a pure state machine, and moves it over a link;
//! `connection` opens links to one server; `transfer` moves files, one or many, by one engine, and `tree` and `pattern`
//! look through directories; [`Client`] is what callers see of all that; `plan` decides what to move and does it.
//! `local` reads, stages and publishes local files and knows no network.
#![forbid(unsafe_code)]

mod address;
mod block;
mod checksum;
mod choose;
mod client;
mod connection;
mod conversation;
mod error;
mod link;
mod local;
mod login;
mod options;
mod pattern;
mod plan;
mod random;
mod rate;
mod trace;
mod transfer;
mod tree;
mod trust;

pub use address::{Address, AddressError};
pub use checksum::{ChecksumError, ChecksumForm, ChecksumLine};
pub use choose::{Choice, Filter, Links, NameList, RuleError};
pub use client::Client;
pub use conversation::requests::{Download, Part, Space, Stat, Sum, Touch};
pub use error::{Blame, Error, Stranger};
pub use local::{Changed, HeldDirectory, LocalPath, TreeWatch, sha256_of};
pub use login::{Credentials, LoginProblem};
pub use options::{Cancel, Options, Permissions, Progress};
pub use pattern::{Pattern, PatternError};
pub use plan::{
    Across, Amendment, Clash, Deletion, Direction, Looking, Pair, Plan, PlanReport, Planner, Portion, Removal,
    Replacement, Sync, Transfers,
};
pub use rate::RateLimit;
pub use trace::PROTOCOL_LOG;
pub use transfer::{
    Event, Fetch, IfAbsent, IfTaken, KEPT_DOWNLOAD_BYTES, KEPT_INPUT_BYTES, KEPT_UPLOAD_BYTES, Moved, Parallel, Phase,
    Relay, Report, Settings, Store,
};
pub use tree::{Found, RemoteTree, Usage};
pub use trust::{CertificateProblem, Security, Trust, UnknownKey, Untrusted};

// What the methods take and give is part of this crate's interface.
pub use ferry_wire::{
    AskedMode, Code, Crc32, DirMeta, Entry, EntryKind, Failure, FileMeta, Fingerprint, FingerprintError, Greeting, Id,
    Mode, Name, NameError, Secret, SecretError, Sha256, Tag, Time, UserName, UserNameError,
};
