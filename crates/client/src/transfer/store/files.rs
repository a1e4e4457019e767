//! The files of a list that is stored, wherever they come from.

use std::{
    fs,
    os::unix::ffi::OsStrExt as _,
    sync::{Mutex, PoisonError},
};

use ferry_wire::Name;

use super::super::{Relay, Settings, Store, crew::FIRST};
use crate::{
    address::Address, connection::Connection, error::Error, link::Siblings, local::LocalPath, options::Cancel,
};

/// The files, in the order of the list.
#[derive(Debug, Clone, Copy)]
pub(super) enum Files<'a> {
    /// Local ones.
    Here(&'a [Store]),
    /// Those of another server.
    There(&'a [Relay], &'a SourceServer<'a>),
}

/// The server that files are read from. Each connection to the other one has a connection to it of its own.
#[derive(Debug)]
pub(super) struct SourceServer<'a> {
    pub(super) address: Address,
    settings: &'a Settings,
    /// Further connections are not opened again: others do what they have begun.
    impatient: Settings,
    connection: Mutex<&'a mut Connection>,
    /// How further ones are opened.
    twins: Option<Siblings>,
}

/// One of the files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Upload<'a> {
    from: From<'a>,
    /// Its name, to be.
    pub(super) name: &'a Name,
}

#[derive(Debug, Clone, Copy)]
enum From<'a> {
    Here(&'a LocalPath),
    There(&'a Address, &'a Name),
}

impl<'a> Files<'a> {
    pub(super) fn len(self) -> usize {
        match self {
            Files::Here(files) => files.len(),
            Files::There(files, _) => files.len(),
        }
    }

    /// Returns the file at `index`.
    pub(super) fn at(self, index: usize) -> Upload<'a> {
        match self {
            Files::Here(files) => (&files[index]).into(),
            Files::There(files, server) => {
                let Relay { source, name, .. } = &files[index];
                Upload { from: From::There(&server.address, source), name }
            }
        }
    }

    /// Returns the name that the file at `index` is to have.
    pub(super) fn name(self, index: usize) -> &'a Name {
        self.at(index).name
    }

    /// Returns the size of the file at `index`, where it was told.
    pub(super) fn size(self, index: usize) -> Option<u64> {
        match self {
            // A local one may be looked at when it is opened, and not before.
            Files::Here(_) => None,
            Files::There(files, _) => files[index].meta.as_ref().map(|meta| meta.size),
        }
    }

    /// Whether several connections may send parts of one file: each has to read where it likes.
    pub(super) fn can_be_shared(self) -> bool {
        matches!(self, Files::Here(_))
    }
}

impl<'a> SourceServer<'a> {
    pub(super) fn new(connection: &'a mut Connection, settings: &'a Settings) -> SourceServer<'a> {
        SourceServer {
            address: connection.address().clone(),
            settings,
            impatient: Settings::impatient(),
            twins: connection.twins(),
            connection: Mutex::new(connection),
        }
    }

    /// Lends `work` the connection that `hand` reads from, and how often that is opened again: the client's own, or one more
    /// like it. What is under way on it ends when `leave` is raised.
    pub(super) fn lend<T>(
        &self,
        hand: usize,
        leave: &Cancel,
        work: impl FnOnce(&mut Connection, &Settings) -> T,
    ) -> Result<T, Error> {
        if hand != FIRST {
            let twins = self.twins.as_ref().ok_or(Error::NotConnected)?;
            let mut connection = Connection::twin(twins)?;
            connection.leave_when(leave);
            return Ok(work(&mut connection, &self.impatient));
        }
        // A connection that was left in the middle of a request knows that itself.
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        connection.leave_when(leave);
        let done = work(&mut connection, self.settings);
        connection.leave_when(&Cancel::default());
        Ok(done)
    }
}

impl<'a> std::convert::From<&'a Store> for Upload<'a> {
    fn from(file: &'a Store) -> Upload<'a> {
        Upload { from: From::Here(&file.source), name: &file.name }
    }
}

impl Upload<'_> {
    /// Returns words that tell where it comes from, and as what it is stored, from any other; without a space within either.
    pub(super) fn described(&self) -> String {
        match self.from {
            From::Here(source) => {
                let path = fs::canonicalize(source).unwrap_or_else(|_| source.to_path_buf());
                let hex: String = path.as_os_str().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{hex} {}", self.name)
            }
            From::There(address, source) => {
                let hex: String = source.as_str().bytes().map(|byte| format!("{byte:02x}")).collect();
                format!("{address}/{hex} {}", self.name)
            }
        }
    }
}
