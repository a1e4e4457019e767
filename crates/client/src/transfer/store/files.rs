//! The files of a list that is stored, wherever they come from.

use std::{
    fs,
    os::unix::ffi::OsStrExt as _,
    sync::{Mutex, MutexGuard, PoisonError},
};

use ferry_wire::Name;

use super::super::{Relay, Settings, Store};
use crate::{address::Address, connection::Connection, local::LocalPath};

/// The files, in the order of the list.
#[derive(Debug, Clone, Copy)]
pub(super) enum Files<'a> {
    /// Local ones.
    Here(&'a [Store]),
    /// Those of another server.
    There(&'a [Relay], &'a SourceServer<'a>),
}

/// The server that files are read from.
#[derive(Debug)]
pub(super) struct SourceServer<'a> {
    pub(super) address: Address,
    pub(super) settings: &'a Settings,
    connection: Mutex<&'a mut Connection>,
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

    /// Whether several connections may send of one file, and of the list.
    pub(super) fn can_be_shared(self) -> bool {
        matches!(self, Files::Here(_))
    }
}

impl<'a> SourceServer<'a> {
    pub(super) fn new(connection: &'a mut Connection, settings: &'a Settings) -> SourceServer<'a> {
        SourceServer { address: connection.address().clone(), settings, connection: Mutex::new(connection) }
    }

    /// Returns the connection, which one thread at a time reads from.
    pub(super) fn connection(&self) -> MutexGuard<'_, &'a mut Connection> {
        // A connection that was left in the middle of a request knows that itself.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
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
