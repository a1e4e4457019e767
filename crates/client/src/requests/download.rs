//! GET and READ.

use std::{io, path::Path};

use ferry_wire::{FileMeta, Name, Reply, Request};

use super::{BUFFER_BYTES, Download, Part, receive_body, receive_large};
use crate::{
    error::Error,
    link::{Link, unexpected},
    local::Staged,
    options::Progress,
};

pub(crate) fn get(
    link: &mut Link,
    name: &Name,
    target: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Download, Error> {
    // First of all, so that what is wrong here costs no transfer.
    let mut staged = Staged::create(target)?;
    link.ask(&Request::Get { name: name.clone() });
    let meta = receive_meta(link)?;
    let total = meta.size;
    progress(Progress { done: 0, total });
    let mut buffer = vec![0; usize::try_from(total).map_or(BUFFER_BYTES, |total| total.clamp(1, BUFFER_BYTES))];
    let write = &mut |bytes: &[u8]| staged.write_of(bytes, total);
    let seen = &mut |done| {
        progress(Progress { done, total });
        Ok(())
    };
    let check = receive_large(link, total, &mut buffer, write, seen)?;
    staged.publish(meta.mtime)?;
    Ok(Download { size: check.received(), crc: check.crc(), meta })
}

pub(crate) fn read(link: &mut Link, name: &Name, part: &Part, sink: &mut dyn io::Write) -> Result<Download, Error> {
    let Part { offset, length, tag } = part.clone();
    link.ask(&Request::Read { offset, length, tag, name: name.clone() });
    let meta = receive_meta(link)?;
    let Some(behind) = meta.size.checked_sub(offset) else {
        return Err(Error::violation("a range behind the end of the file"));
    };
    if part.tag.as_ref().is_some_and(|tag| *tag != meta.tag) {
        return Err(Error::violation("another version than was asked for"));
    }
    let due = length.map_or(behind, |length| length.min(behind));
    let check = receive_body(link, Some(due), |bytes, _| {
        sink.write_all(bytes).map_err(|source| Error::System { what: "write out the bytes", source })
    })?;
    Ok(Download { size: check.received(), crc: check.crc(), meta })
}

fn receive_meta(link: &mut Link) -> Result<FileMeta, Error> {
    match link.reply()? {
        Reply::File(meta) => Ok(meta),
        reply => Err(unexpected(reply)),
    }
}
