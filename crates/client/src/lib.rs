//! The client of ferry, for programs: every transfer verified end to end, nothing half done.
//!
//! A [`Client`] is one connection. Its methods each ask one thing and return when the answer is
//! whole; none of them can hang: a server that moves no byte for [`Options::timeout`] is given up,
//! and a [`Cancel`] that is raised elsewhere (a signal, another thread) ends what is under way
//! within 200 ms. Errors say whose fault they are ([`Error::blame`]).
//!
//! The server is never trusted: a download is staged beside its target and gets its name only when
//! its length and CRC are those that the server announced; anything a server says that was not
//! asked for ends the connection.
//!
//! ```no_run
//! use std::path::Path;
//! use ferry_client::{Client, Name, Options};
//!
//! let mut client = Client::connect(&"127.0.0.1:12000".parse()?, Options::default())?;
//! let name = Name::new("welcome.txt")?;
//! let got = client.get(&name, Path::new("client/welcome.txt"), &mut |_| {})?;
//! println!("{} bytes, CRC {}", got.size, got.crc);
//! client.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Inside
//!
//! `link` owns the socket, the buffers and the framer, and knows no request; `requests` holds the
//! conversations of the protocol, one file each, split into asking and taking the answer; `local`
//! reads, stages and publishes local files and knows no network.
#![forbid(unsafe_code)]

mod address;
mod client;
mod error;
mod link;
mod local;
mod options;
mod pattern;
mod random;
mod requests;
mod sync;
mod trace;
mod transfer;
mod tree;

pub use address::{Address, AddressError};
pub use client::Client;
pub use error::{Blame, Error, Stranger};
pub use local::{Clash, clashes};
pub use options::{Cancel, Options, Progress};
pub use pattern::{Pattern, PatternError};
pub use requests::{Download, Part, Stat, Sum, Upload};
pub use sync::{Deletion, Direction, Sync, SyncPlan, SyncReport, Transfers};
pub use trace::PROTOCOL_LOG;
pub use transfer::{Event, Fetch, KEPT_DOWNLOAD_BYTES, KEPT_UPLOAD_BYTES, Moved, Phase, Report, Settings, Store};
pub use tree::{Found, LocalFile, LocalTree, RemoteTree, Skipped};

// What the methods take and give is part of this crate's interface.
pub use ferry_wire::{Code, Crc32, Entry, EntryKind, Failure, FileMeta, Greeting, Id, Name, NameError, Tag, Time};
