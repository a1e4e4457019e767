//! The places whose directories are listed: a server, and the local disk.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ferry_client::{Address, Cancel, Client, EntryKind, Name, Options};
use ferry_wire::escaped;

use super::lister::{ListedItem, Place};

/// A server that answers later is not waited for: nobody looks at the line any more.
const SERVER_TIMEOUT: Duration = Duration::from_secs(5);

/// A server, by a connection of its own: that of the shell may be busy, and must not be waited for.
pub(super) struct Servers {
    client: Option<Client>,
    options: Arc<Mutex<Option<Options>>>,
}

impl Place for Servers {
    type Key = (Address, Option<Name>);

    fn list(&mut self, (address, directory): &Self::Key) -> Vec<ListedItem> {
        match self.entries(address, directory.as_ref()) {
            Ok(items) => items,
            Err(error) => {
                log::debug!("no completion from {address}: {error}");
                Vec::new()
            }
        }
    }

    fn rest(&mut self) {
        if let Some(client) = self.client.take() {
            let _ = client.close();
        }
    }
}

impl Servers {
    /// Returns those that are connected to as `options` say at that time.
    pub(super) fn new(options: Arc<Mutex<Option<Options>>>) -> Servers {
        Servers { client: None, options }
    }

    fn entries(&mut self, address: &Address, directory: Option<&Name>) -> Result<Vec<ListedItem>, ferry_client::Error> {
        let usable = |client: &mut Client| client.address() == address && client.check().is_ok();
        let client = match self.client.take_if(|client| usable(client)) {
            Some(client) => client,
            None => {
                let options = self.options.lock().unwrap_or_else(PoisonError::into_inner).clone();
                Client::connect(address, options.unwrap_or_default().cancel(Cancel::default()).timeout(SERVER_TIMEOUT))?
            }
        };
        listed(self.client.insert(client), directory)
    }
}

/// Returns what `directory` of a server has, or its root, as far as it can be shown.
pub(crate) fn listed(client: &mut Client, directory: Option<&Name>) -> Result<Vec<ListedItem>, ferry_client::Error> {
    let item = |entry: ferry_client::Entry| ListedItem {
        name: entry.name.as_str().to_owned(),
        is_directory: matches!(entry.kind, EntryKind::Directory(_)),
    };
    let entries = client.list(directory)?;
    Ok(entries.into_iter().map(item).filter(|item| can_be_shown(&item.name)).collect())
}

/// The local disk: it may be a slow one, at the end of a network.
pub(super) struct Disk;

impl Place for Disk {
    type Key = PathBuf;

    fn list(&mut self, directory: &PathBuf) -> Vec<ListedItem> {
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => {
                log::debug!("no completion from {}: {error}", directory.display());
                return Vec::new();
            }
        };
        let item = |entry: std::fs::DirEntry| {
            // What a link leads to is what counts, as it does for the commands.
            let is_directory = entry.file_type().is_ok_and(|kind| {
                kind.is_dir() || kind.is_symlink() && std::fs::metadata(entry.path()).is_ok_and(|meta| meta.is_dir())
            });
            Some(ListedItem { name: entry.file_name().into_string().ok()?, is_directory })
        };
        entries.flatten().filter_map(item).filter(|item| can_be_shown(&item.name)).collect()
    }
}

/// Returns whether a name can stand in the line as it is; one that could drive the terminal is skipped.
fn can_be_shown(name: &str) -> bool {
    escaped(name).to_string() == name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_listed_without_what_cannot_be_shown() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("sub")).unwrap();
        std::os::unix::fs::symlink("sub", directory.path().join("link")).unwrap();
        for name in ["a b", "evil\u{202e}gpj.exe", "\u{1b}[2J"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        let mut items = Disk.list(&directory.path().to_owned());
        items.sort();
        let expected = [("a b", false), ("link", true), ("sub", true)];
        assert_eq!(items, expected.map(|(name, is_directory)| ListedItem { name: name.to_owned(), is_directory }));
        assert_eq!(Disk.list(&directory.path().join("missing")), []);
    }
}
