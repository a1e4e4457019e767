//! The file of servers whose keys are known: `host:port SHA256:...`, a line each.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use ferry_wire::Fingerprint;
use rustix::fs::{FlockOperation, flock};

use super::{UnknownKey, Untrusted};
use crate::{address::Address, error::Error};

/// Some hundred thousand servers: a file that is larger is another one.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// A file of known servers.
pub(super) struct KnownServers<'a> {
    path: &'a Path,
}

/// A line of the file about one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KnownKey {
    /// Its line, the first being 1.
    pub(super) line: usize,
    /// Its key.
    pub(super) fingerprint: Fingerprint,
}

impl<'a> KnownServers<'a> {
    pub(super) fn new(path: &'a Path) -> KnownServers<'a> {
        KnownServers { path }
    }

    /// Returns what the file says of `address`; nothing where there is no file.
    ///
    /// # Errors
    ///
    /// Where it can't be read, or a line in it about that address can't: to take its server for a new one might be wrong.
    pub(super) fn of(&self, address: &Address) -> Result<Vec<KnownKey>, Error> {
        let mut text = Vec::new();
        let read = File::open(self.path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut text));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.map_err(|error| Error::local("read", self.path, error))?,
        };
        self.find(&String::from_utf8_lossy(&text), &name(address))
    }

    fn find(&self, text: &str, name: &str) -> Result<Vec<KnownKey>, Error> {
        let mut entries = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let mut words = line.split_whitespace();
            if words.next().is_none_or(|host| host.to_ascii_lowercase() != name) {
                continue;
            }
            let line = index + 1;
            let fingerprint = words.next().and_then(|word| word.parse().ok());
            let Some(fingerprint) = fingerprint else {
                let problem = format!("line {line} names no key: {name} SHA256:...");
                return Err(Error::local("read", self.path, io::Error::other(problem)));
            };
            entries.push(KnownKey { line, fingerprint });
        }
        Ok(entries)
    }

    /// Adds the key of `address`, unless another program has just done so.
    ///
    /// # Errors
    ///
    /// Where the file can't be written; where another program has added another key meanwhile.
    pub(super) fn add(&self, key: UnknownKey) -> Result<(), Error> {
        let UnknownKey { address, fingerprint, certificate } = key;
        let name = name(&address);
        let failed = |error: io::Error| Error::local("remember a key in", self.path, error);
        if let Some(parent) = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed)?;
        }
        let open = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(self.path);
        let mut file = open.map_err(failed)?;
        // Released when the file is closed. Where the file system has no locks, a line is one write all the same.
        let _ = flock(&file, FlockOperation::LockExclusive);
        let mut text = Vec::new();
        (&file).take(MAX_FILE_BYTES).read_to_end(&mut text).map_err(failed)?;
        let entries = self.find(&String::from_utf8_lossy(&text), &name)?;
        match entries.last() {
            Some(entry) if entry.fingerprint == fingerprint => return Ok(()),
            Some(KnownKey { line, fingerprint: before }) => {
                let (before, file, line) = (*before, self.path.to_owned(), *line);
                return Err(Untrusted::Changed { address, fingerprint, before, file, line, certificate }.into());
            }
            None => {}
        }
        // A last line without an end, as an editor may leave it, stays a line of its own.
        let gap = if text.last().is_some_and(|byte| *byte != b'\n') { "\n" } else { "" };
        file.write_all(format!("{gap}{name} {fingerprint}\n").as_bytes()).map_err(failed)
    }
}

/// Returns the name of a server in the file: names of hosts have no case.
fn name(address: &Address) -> String {
    address.to_string().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt as _, thread};

    use super::*;
    use crate::error::Blame;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    fn print(byte: u8) -> Fingerprint {
        Fingerprint::new([byte; 32])
    }

    fn key(text: &str, byte: u8) -> UnknownKey {
        UnknownKey { address: address(text), fingerprint: print(byte), certificate: None }
    }

    #[test]
    fn what_is_added_is_known_and_others_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config/known_servers");
        let known = KnownServers::new(&path);
        assert_eq!(known.of(&address("a.example:1")).unwrap(), []);
        known.add(key("A.Example:1", 1)).unwrap();
        known.add(key("[::1]:2", 2)).unwrap();
        known.add(key("a.example:1", 1)).unwrap();
        assert_eq!(known.of(&address("a.example:1")).unwrap(), [KnownKey { line: 1, fingerprint: print(1) }]);
        assert_eq!(known.of(&address("[::1]:2")).unwrap(), [KnownKey { line: 2, fingerprint: print(2) }]);
        assert_eq!(known.of(&address("a.example:2")).unwrap(), []);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("a.example:1 {}\n[::1]:2 {}\n", print(1), print(2)));
    }

    #[test]
    fn a_file_that_people_have_edited_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known_servers");
        let text = format!("# mine\n\n  b:1   {}   the one in the cellar\n?\nc:1 {}", print(1), print(2));
        // What is no UTF-8 in one line is nothing to the others.
        let bytes: Vec<u8> = text.bytes().map(|byte| if byte == b'?' { 0xff } else { byte }).collect();
        fs::write(&path, bytes).unwrap();
        let known = KnownServers::new(&path);
        assert_eq!(known.of(&address("b:1")).unwrap(), [KnownKey { line: 3, fingerprint: print(1) }]);
        known.add(key("d:1", 3)).unwrap();
        assert_eq!(known.of(&address("c:1")).unwrap(), [KnownKey { line: 5, fingerprint: print(2) }]);
        assert_eq!(known.of(&address("d:1")).unwrap(), [KnownKey { line: 6, fingerprint: print(3) }]);
    }

    #[test]
    fn a_line_that_can_not_be_read_is_no_new_server() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known_servers");
        for line in ["b:1", "b:1 SHA256:", "B:1 MD5:00"] {
            fs::write(&path, format!("{line}\n")).unwrap();
            let failed = KnownServers::new(&path).of(&address("b:1")).unwrap_err();
            assert!(failed.to_string().contains("line 1"), "{failed}");
            // The server has no part in it, and to try again is of no use.
            assert_eq!(failed.blame(), Blame::Local);
        }
    }

    #[test]
    fn programs_that_learn_a_key_together_keep_one_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known_servers");
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| KnownServers::new(&path).add(key("b:1", 1)).unwrap());
            }
        });
        assert_eq!(KnownServers::new(&path).of(&address("b:1")).unwrap().len(), 1);
        let other = KnownServers::new(&path).add(key("b:1", 2)).unwrap_err();
        assert!(
            matches!(&other, Error::Untrusted(untrusted) if matches!(**untrusted, Untrusted::Changed { line: 1, .. }))
        );
    }
}
