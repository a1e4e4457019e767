//! A download into a stream, which takes each byte once: where the connection is lost, another one reads on from there.

use std::io::{self, Write};

use ferry_wire::{Code, Crc32, Digest, Failure, FileMeta, Name};

use super::{Event, Settings, retry::Outage};
use crate::{
    connection::Connection,
    conversation::requests::{self, Download, Part},
    error::Error,
    link::Link,
};

/// Reads all of a file into `sink`, through as many connections as it takes.
pub(crate) fn pour(
    connection: &mut Connection,
    name: &Name,
    sink: &mut dyn Write,
    settings: &Settings,
    watch: &mut dyn FnMut(&Event<'_>),
) -> Result<Download, Error> {
    let mut outage = Outage::new(settings);
    let mut poured = Poured { sink, digest: Digest::new(), meta: None, is_cut: false };
    loop {
        let (before, mut kept_pace) = (poured.digest.bytes(), false);
        let result = connection.converse(|link| {
            let result = poured.round(link, name);
            kept_pace = link.has_kept_pace();
            result
        });
        let error = match result {
            Ok(download) => return Ok(download),
            Err(error) => error,
        };
        poured.is_cut |= poured.meta.is_some();
        if poured.digest.bytes() > before && kept_pace {
            outage.end();
        }
        outage.reopen(connection, watch, error)?;
    }
}

/// All that is out, of one version.
struct Poured<'s> {
    sink: &'s mut dyn Write,
    digest: Digest,
    /// The version, once the server has said it.
    meta: Option<FileMeta>,
    /// A connection was lost in it: no END tells the CRC of all that is out.
    is_cut: bool,
}

impl Poured<'_> {
    /// Reads on, on one connection, and verifies the whole.
    fn round(&mut self, link: &mut Link, name: &Name) -> Result<Download, Error> {
        let before = self.digest.bytes();
        let is_whole = self.meta.as_ref().is_some_and(|meta| meta.size == before);
        if !is_whole {
            let part = Part { offset: before, length: None, tag: self.meta.as_ref().map(|meta| meta.tag.clone()) };
            self.read(link, name, &part)?;
        }
        let Some(meta) = self.meta.clone() else { return Err(Error::violation("a file without its version")) };
        if self.digest.bytes() != meta.size {
            return Err(Error::violation("it ended before its end"));
        }
        if self.is_cut {
            self.verify(link, name, &meta)?;
        }
        Ok(Download { size: meta.size, crc: self.digest.crc(), meta })
    }

    fn read(&mut self, link: &mut Link, name: &Name, part: &Part) -> Result<(), Error> {
        let Poured { sink, digest, meta, .. } = self;
        let mut sink = Counted { sink: *sink, digest };
        let read = requests::read_noting(link, name, part, &mut sink, &mut |found| match meta {
            Some(meta) if (meta.size, &meta.tag) != (found.size, &found.tag) => {
                Err(Error::violation("another version than was asked for"))
            }
            _ => {
                *meta = Some(found.clone());
                Ok(())
            }
        });
        match read {
            Err(Error::Server(failure)) if matches!(failure.code, Code::Changed | Code::BadRange) => {
                Err(self.changed(failure))
            }
            read => read.map(drop),
        }
    }

    /// Compares all that is out with what the server has.
    fn verify(&self, link: &mut Link, name: &Name, meta: &FileMeta) -> Result<(), Error> {
        let sum = match requests::sum(link, name) {
            Err(Error::Server(failure)) if failure.code == Code::Changed => return Err(self.changed(failure)),
            sum => sum?,
        };
        let ours: (u64, Crc32) = (self.digest.bytes(), self.digest.crc());
        if sum.tag != meta.tag {
            return Err(self.changed(Failure::new(Code::Changed, "it is another version")));
        }
        if (sum.size, sum.crc) != ours {
            let (size, crc) = ours;
            return Err(Error::Verification(format!(
                "what is out has {size} bytes and the CRC {crc}, the server's file {} and {}",
                sum.size, sum.crc
            )));
        }
        Ok(())
    }

    /// Returns the error for a file that is no longer the one whose beginning is out.
    fn changed(&self, failure: Failure) -> Error {
        match self.digest.bytes() {
            0 => Error::Server(failure),
            bytes => Error::Server(Failure::new(
                Code::Changed,
                format!("{failure}; the first {bytes} bytes of the earlier version are out already"),
            )),
        }
    }
}

/// A sink of which is known what it has taken.
struct Counted<'a> {
    sink: &'a mut dyn Write,
    digest: &'a mut Digest,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.sink.write(bytes)?;
        self.digest.update(bytes.get(..taken).unwrap_or(bytes));
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}
