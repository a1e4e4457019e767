//! The conversations of the protocol: each asks, and takes nothing but its own answer.
//!
//! They leave their debts on the [`Link`] where they give up in the middle; its owner then drops it.

pub(crate) mod download;
pub(crate) mod greeting;
pub(crate) mod listing;
pub(crate) mod upload;
mod work;

use ferry_wire::{BodyCheck, BodyLine, Code, Crc32, FileMeta, Name, Overrun, Reply, Request, Tag, Time, Verdict};

use crate::{
    error::Error,
    link::{Link, Piece, unexpected},
};
pub(crate) use work::{Extent, reply_after_work};

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stat {
    /// A regular file.
    File(FileMeta),
    /// A directory, and the time of its last change.
    Directory(Option<Time>),
}

/// A file as the server read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sum {
    /// Bytes.
    pub size: u64,
    /// Of the whole file.
    pub crc: Crc32,
    /// The version that was read.
    pub tag: Tag,
}

/// An upload that is verified and durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Bytes of the whole file.
    pub size: u64,
    /// Of the whole file.
    pub crc: Crc32,
    /// The version that was published.
    pub tag: Tag,
    /// Bytes that earlier connections had brought.
    pub resumed: u64,
}

/// A download that is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// Bytes that came.
    pub size: u64,
    /// Of the bytes that came.
    pub crc: Crc32,
    /// What the server says of the whole file.
    pub meta: FileMeta,
}

/// Which part of a file to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// The first byte wanted.
    pub offset: u64,
    /// How many; [`None`] for all that follow.
    pub length: Option<u64>,
    /// The version wanted; [`None`] for any.
    pub tag: Option<Tag>,
}

pub(crate) fn stat(link: &mut Link, name: &Name) -> Result<Stat, Error> {
    link.ask(&Request::Stat { name: name.clone() });
    receive_stat(link)
}

/// Asks for all of `names`, many ahead. `taken` learns what each is, in order, and may end it.
pub(crate) fn stat_all(
    link: &mut Link,
    names: impl IntoIterator<Item = Name>,
    taken: impl FnMut(usize, Result<Stat, Error>) -> Result<(), Error>,
) -> Result<(), Error> {
    ask_all(link, names.into_iter().map(|name| Request::Stat { name }), receive_stat, taken)
}

fn receive_stat(link: &mut Link) -> Result<Stat, Error> {
    let stat = match link.reply()? {
        Reply::File(meta) => Stat::File(meta),
        Reply::Dir(mtime) => Stat::Directory(mtime),
        reply => return Err(unexpected(reply)),
    };
    link.settle();
    Ok(stat)
}

pub(crate) fn sum(link: &mut Link, name: &Name) -> Result<Sum, Error> {
    ask_sum(link, name);
    receive_sum(link, Extent::Whole(name))
}

/// Asks only; several may be asked before the first answer is taken.
pub(crate) fn ask_sum(link: &mut Link, name: &Name) {
    link.ask(&Request::Sum { name: name.clone() });
}

/// Takes the answer of the oldest SUM that has none yet.
pub(crate) fn receive_sum(link: &mut Link, extent: Extent<'_>) -> Result<Sum, Error> {
    match reply_after_work(link, extent)? {
        Reply::Sum { size, crc, tag } => {
            link.settle();
            Ok(Sum { size, crc, tag })
        }
        reply => Err(unexpected(reply)),
    }
}

pub(crate) fn mkdir(link: &mut Link, name: &Name) -> Result<(), Error> {
    done(link, &Request::Mkdir { name: name.clone() })
}

/// Makes directories, in their order; one that is there already is as good, and nothing else is. Returns
/// those that can't be made by their places in the list, and why; where it does not `keep_going`, the first
/// is the last that was tried.
pub(crate) fn make_directories(
    link: &mut Link,
    names: &[Name],
    keep_going: bool,
) -> Result<Vec<(usize, Error)>, Error> {
    let requests = names.iter().map(|name| Request::Mkdir { name: name.clone() });
    let (mut refused, mut there) = (Vec::new(), Vec::new());
    let mut stopped = false;
    let made = done_all(link, requests, |index, result| match result {
        Ok(()) => Ok(()),
        Err(Error::Server(failure)) if failure.code == Code::Exists => {
            there.push((index, failure));
            Ok(())
        }
        Err(error) => {
            refused.push((index, error));
            stopped = !keep_going;
            if stopped { Err(Error::Interrupted) } else { Ok(()) }
        }
    });
    if stopped {
        return Ok(refused);
    }
    made?;
    // Something has the name. A file would be in the way of all that is to come.
    let asked: Vec<Name> = there.iter().map(|(index, _)| names[*index].clone()).collect();
    let mut there = there.into_iter();
    stat_all(link, asked, |_, stat| {
        let Some((index, failure)) = there.next() else { return Ok(()) };
        if !matches!(stat, Ok(Stat::Directory(_))) {
            refused.push((index, Error::Server(failure)));
        }
        Ok(())
    })?;
    refused.sort_by_key(|(index, _)| *index);
    Ok(refused)
}

pub(crate) fn delete(link: &mut Link, name: &Name) -> Result<(), Error> {
    done(link, &Request::Delete { name: name.clone() })
}

pub(crate) fn rename(link: &mut Link, from: &Name, to: &Name) -> Result<(), Error> {
    done(link, &Request::Rename { from: from.clone(), to: to.clone() })
}

pub(crate) fn close(link: &mut Link) -> Result<(), Error> {
    link.ask(&Request::Close);
    match link.reply()? {
        Reply::Bye => {
            link.settle();
            Ok(())
        }
        reply => Err(unexpected(reply)),
    }
}

fn done(link: &mut Link, request: &Request) -> Result<(), Error> {
    link.ask(request);
    receive_done(link)
}

/// Requests without a body that are asked ahead: enough that their waits for the disk are shared, few enough that
/// what is under way when something goes wrong stays small.
const CHANGES_AHEAD: usize = 64;

/// Asks all of `requests`, each of which is answered by DONE, many ahead. `taken` learns what became of each, in
/// order; where it fails, no further one is asked, but those that were are done.
pub(crate) fn done_all(
    link: &mut Link,
    requests: impl IntoIterator<Item = Request>,
    taken: impl FnMut(usize, Result<(), Error>) -> Result<(), Error>,
) -> Result<(), Error> {
    ask_all(link, requests, receive_done, taken)
}

/// Asks all of `requests`, many ahead, and has each answer taken by `receive` and then by `taken`; where that fails, no
/// further one is asked.
fn ask_all<T>(
    link: &mut Link,
    requests: impl IntoIterator<Item = Request>,
    receive: fn(&mut Link) -> Result<T, Error>,
    mut taken: impl FnMut(usize, Result<T, Error>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut requests = requests.into_iter().fuse();
    let (mut asked, mut answered) = (0, 0);
    let mut stopped = Ok(());
    loop {
        while stopped.is_ok()
            && asked - answered < CHANGES_AHEAD
            && let Some(request) = requests.next()
        {
            link.ask(&request);
            asked += 1;
        }
        if asked == answered {
            return stopped;
        }
        let result = match receive(link) {
            Err(error @ Error::Server(_)) => Err(error),
            result => Ok(result?),
        };
        match taken(answered, result) {
            Err(error) if stopped.is_ok() => stopped = Err(error),
            _ => {}
        }
        answered += 1;
    }
}

fn receive_done(link: &mut Link) -> Result<(), Error> {
    match reply_after_work(link, Extent::Change)? {
        Reply::Done => {
            link.settle();
            Ok(())
        }
        reply => Err(unexpected(reply)),
    }
}

/// What large bodies bring from the socket to the disk at once: full buffers make the writing fast.
pub(crate) const BUFFER_BYTES: usize = 512 << 10;

/// Receives a body of `due` bytes to its END straight into `buffer`, and gives that to `sink` whenever it is full. `seen` is
/// told how far it is as bytes come. The reply that the body belongs to is settled by its closing line.
pub(crate) fn receive_large(
    link: &mut Link,
    due: u64,
    buffer: &mut [u8],
    sink: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    seen: &mut dyn FnMut(u64) -> Result<(), Error>,
) -> Result<BodyCheck, Error> {
    let mut check = BodyCheck::new(Some(due));
    let mut filled = 0;
    loop {
        let line = match link.piece()? {
            Piece::Line(line) => BodyLine::parse(line).map_err(Error::violation)?,
            Piece::Raw(_) => return Err(Error::violation("a block where a line is due")),
        };
        let BodyLine::Data(bytes) = line else {
            sink(&buffer[..filled])?;
            return close_body(link, check, line);
        };
        check.block(bytes).map_err(|Overrun| Error::violation("more bytes than it announced"))?;
        link.expect_raw(bytes);
        let mut left = bytes;
        while left > 0 {
            let got = link.raw_into(&mut buffer[filled..])?;
            check.bytes(&buffer[filled..filled + got]);
            filled += got;
            left -= got as u64;
            seen(check.received())?;
            if filled == buffer.len() {
                sink(buffer)?;
                filled = 0;
            }
        }
    }
}

/// Receives a body to its END, and gives every piece to `sink` as it comes. The reply that the body
/// belongs to is settled by its closing line.
pub(crate) fn receive_body(
    link: &mut Link,
    announced: Option<u64>,
    mut sink: impl FnMut(&[u8], u64) -> Result<(), Error>,
) -> Result<BodyCheck, Error> {
    let mut check = BodyCheck::new(announced);
    loop {
        let line = match link.piece()? {
            Piece::Raw(bytes) => {
                check.bytes(bytes);
                sink(bytes, check.received())?;
                continue;
            }
            Piece::Line(line) => BodyLine::parse(line).map_err(Error::violation)?,
        };
        let BodyLine::Data(bytes) = line else { return close_body(link, check, line) };
        check.block(bytes).map_err(|Overrun| Error::violation("more bytes than it announced"))?;
        link.expect_raw(bytes);
    }
}

/// Takes the closing line of a body, which settles its reply, and holds the body against it.
fn close_body(link: &mut Link, check: BodyCheck, line: BodyLine) -> Result<BodyCheck, Error> {
    match line {
        BodyLine::Data(_) => Err(Error::violation("a block where a body ends")),
        BodyLine::Fail(failure) => {
            link.settle();
            Err(Error::Server(failure))
        }
        BodyLine::Stop => Err(Error::violation("STOP from a server")),
        BodyLine::End(None) => Err(Error::violation("a body that ends without a CRC")),
        BodyLine::End(Some(crc)) => match check.end(Some(crc)) {
            Verdict::Whole => {
                link.settle();
                Ok(check)
            }
            Verdict::Short => Err(Error::violation("fewer bytes than it announced")),
            Verdict::Mismatch => {
                link.settle();
                Err(Error::Verification(format!(
                    "the bytes that came have the CRC {}, the server read {crc}; nothing was kept",
                    check.crc()
                )))
            }
        },
    }
}
