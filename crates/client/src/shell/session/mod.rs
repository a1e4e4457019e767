//! What lasts from one command to the next, and what each command does with it.

mod connection;
mod help;
mod transfer;

use std::{collections::BTreeMap, path::PathBuf};

use ferry_client::{Address, Cancel, Client, Name, Options, Settings};
use ferry_wire::escaped;

use super::{
    command::Command,
    exit::{Exit, Failed},
    output::Output,
    progress::Mode,
};

/// Whether the shell goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Next,
    Leave,
}

/// The connection, if there is one, the directories at both ends, and how things are done.
pub(crate) struct Session {
    pub(crate) options: Options,
    pub(crate) cancel: Cancel,
    /// A person is there to go on after a failure.
    pub(crate) interactive: bool,
    pub(crate) client: Option<Client>,
    /// The directory of the server that names are relative to; [`None`] for the root.
    pub(crate) remote: Option<Name>,
    /// The local directory that names are relative to.
    pub(crate) local: PathBuf,
    /// How files are moved.
    pub(crate) settings: Settings,
    /// How transfers are shown while they run.
    pub(crate) progress: Mode,
    /// Names for addresses.
    pub(crate) bookmarks: BTreeMap<String, Address>,
    /// All that is printed.
    pub(crate) output: Output,
    /// Earlier lines, the oldest first; those of earlier runs as well where a terminal keeps them.
    pub(crate) history: Vec<String>,
}

impl Session {
    /// Not connected, at the root of whatever server comes.
    pub(crate) fn new(options: Options, cancel: Cancel, local: PathBuf, output: Output) -> Session {
        Session {
            options,
            cancel,
            interactive: false,
            client: None,
            remote: None,
            local,
            settings: Settings::default(),
            progress: Mode::Auto,
            bookmarks: BTreeMap::new(),
            output,
            history: Vec::new(),
        }
    }

    /// Does `command`, and brings out what it says.
    pub(crate) fn execute(&mut self, command: Command) -> Result<Flow, Failed> {
        let result = self.perform(command);
        self.output.flush();
        result
    }

    fn perform(&mut self, command: Command) -> Result<Flow, Failed> {
        match command {
            Command::Open(address) => self.open(&address)?,
            Command::Get(transfer) => self.get(&transfer)?,
            Command::Put(transfer) => self.put(&transfer)?,
            Command::Close => self.close()?,
            Command::Help(topic) => self.help(topic),
            Command::Quit => return Ok(Flow::Leave),
        }
        Ok(Flow::Next)
    }

    fn connected(&mut self) -> Result<&mut Client, Failed> {
        self.client
            .as_mut()
            .ok_or_else(|| Failed { exit: Exit::Connection, message: "not connected: OPEN <port> first".to_owned() })
    }
}

/// A name that was typed may hold what confuses a terminal, though no control characters.
fn shown(name: &Name) -> String {
    escaped(name.as_str()).to_string()
}
