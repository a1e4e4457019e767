//! One version of a file in the place of another one.

use std::io::{self, Read, Seek, SeekFrom};

use ferry_wire::{Digest, Name, Tag};

use super::Client;
use crate::{
    conversation::requests::Sum,
    error::Error,
    transfer::{Event, Moved, Settings},
};

/// The bytes that are read at a time.
const READ_BYTES: usize = 256 << 10;

impl Client {
    /// Stores all that `source` has as `name` in the place of the version `tag`, as [`Client::put_over`] does. Where the
    /// connection is lost another one is opened, as [`Settings::retries`] and [`Settings::retry_for`] say, and `watch`
    /// learns of it. If the answer of an upload was lost, the server is asked whether it has what was sent.
    ///
    /// # Errors
    ///
    /// As [`Client::put_over`]; the connection that can't be opened again: then nobody knows whether it was stored, if
    /// all of it was sent. An error of `source` is the caller's [`Error::System`].
    pub fn replace(
        &mut self,
        name: &Name,
        tag: &Tag,
        source: &mut (impl Read + Seek),
        settings: &Settings,
        watch: &mut dyn FnMut(&Event<'_>),
    ) -> Result<Moved, Error> {
        let failed = |source| Error::System { what: "read what is to be stored", source };
        let digest = digest_of(source).map_err(failed)?;
        let mut may_be_stored = false;
        self.patiently(settings, watch, |client| {
            if may_be_stored && let Some(moved) = client.has_become(name, &digest)? {
                return Ok(moved);
            }
            source.seek(SeekFrom::Start(0)).map_err(failed)?;
            may_be_stored = true;
            client.put_over(name, tag, source, &mut |_| {})
        })
    }

    /// Returns the version of `name` where it has just these bytes.
    fn has_become(&mut self, name: &Name, digest: &Digest) -> Result<Option<Moved>, Error> {
        match self.sum(name) {
            Ok(Sum { size, crc, tag, .. }) if (size, crc) == (digest.bytes(), digest.crc()) => {
                Ok(Some(Moved { size, crc, tag, resumed: 0 }))
            }
            // What is there instead, the upload finds out.
            Ok(_) | Err(Error::Server(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn digest_of(source: &mut (impl Read + Seek)) -> io::Result<Digest> {
    source.seek(SeekFrom::Start(0))?;
    let (mut digest, mut buffer) = (Digest::new(), vec![0; READ_BYTES]);
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(digest),
            Ok(count) => digest.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
