//! Requests that need no more than one reply each, or one body: asked and taken, one by one or many ahead.

use std::io;

use ferry_wire::{AskedMode, Code, Crc32, DirMeta, FileMeta, Mode, Name, Reply, Request, Sha256, Tag, Time};

use super::{Exchange, Extent, Next, unexpected};
use crate::{error::Error, link::Link};

/// The thing that a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stat {
    /// A regular file.
    File(FileMeta),
    /// A directory.
    Directory(DirMeta),
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
    /// The SHA-256 of the same bytes, where it was asked for.
    pub sha256: Option<Sha256>,
}

/// The room that a server has for more, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// The size of the file system that the server's root lies on.
    pub total: u64,
    /// Bytes of it that hold nothing.
    pub free: u64,
    /// Those of them that the server may fill.
    pub available: u64,
    /// Bytes that uploads may take before they have their names; [`None`] where no limit holds.
    pub staged: Option<u64>,
}

/// A part of a file that was read, and is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// Bytes that came.
    pub size: u64,
    /// Of the bytes that came.
    pub crc: Crc32,
    /// The whole file, as the server describes it.
    pub meta: FileMeta,
}

/// The part of a file to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// The first byte wanted.
    pub offset: u64,
    /// How many; [`None`] for all that follow.
    pub length: Option<u64>,
    /// The version wanted; [`None`] for any.
    pub tag: Option<Tag>,
}

/// Requests that are asked ahead: enough that their waits for the disk are shared, few enough that
/// what is under way when something goes wrong stays small.
const AHEAD: usize = 64;

pub(crate) fn stat(link: &mut Link, name: &Name) -> Result<Stat, Error> {
    let mut exchange = Exchange::new(link);
    exchange.ask(&Request::Stat { name: name.clone() }, ());
    to_stat(exchange.reply()?.1)
}

/// Asks for all of `names`, many ahead, and for permissions where `tells_modes`. `taken` learns what each is, in order, and
/// may end it.
pub(crate) fn stat_all(
    link: &mut Link,
    names: impl IntoIterator<Item = Name>,
    tells_modes: bool,
    taken: impl FnMut(usize, Result<Stat, Error>) -> Result<(), Error>,
) -> Result<(), Error> {
    let beside = if tells_modes { Beside::TellsModes } else { Beside::Nothing };
    let requests = names.into_iter().map(|name| (beside, Request::Stat { name }));
    ask_all_with(link, requests, Exchange::reply, to_stat, taken)
}

pub(crate) fn to_stat(reply: Reply) -> Result<Stat, Error> {
    match reply {
        Reply::File(meta) => Ok(Stat::File(meta)),
        Reply::Dir(meta) => Ok(Stat::Directory(meta)),
        reply => Err(unexpected(reply)),
    }
}

/// Sums that are asked for ahead: the server goes on while replies are on their way.
const SUMS_AHEAD: usize = 8;

pub(crate) fn sum(link: &mut Link, name: &Name) -> Result<Sum, Error> {
    let mut exchange = Exchange::new(link);
    exchange.ask(&Request::Sum { name: name.clone() }, ());
    to_sum(exchange.reply_after(Extent::Whole(name))?.1)
}

/// Asks for the sums of all of `names`, some ahead. `taken` learns each, in order, and may end it.
pub(crate) fn sum_all(
    link: &mut Link,
    names: &[Name],
    with_sha256: bool,
    taken: &mut dyn FnMut(usize, Result<Sum, Error>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut exchange = Exchange::new(link);
    let (mut waiting, mut answered, mut stopped) = (names.iter(), 0, Ok(()));
    loop {
        while stopped.is_ok()
            && exchange.waiting() < SUMS_AHEAD
            && let Some(name) = waiting.next()
        {
            if with_sha256 {
                exchange.with_sha256()?;
            }
            exchange.ask(&Request::Sum { name: name.clone() }, name);
        }
        let Some(&name) = exchange.in_flight().next() else { return stopped };
        let sum = match to_sum(exchange.reply_after(Extent::Whole(name))?.1) {
            Ok(Sum { sha256: None, .. }) if with_sha256 => {
                Err(Error::violation("a SUM without the SHA-256 that was asked for"))?
            }
            Err(error @ Error::Server(_)) => Err(error),
            sum => Ok(sum?),
        };
        match taken(answered, sum) {
            Err(error) if stopped.is_ok() => stopped = Err(error),
            _ => {}
        }
        answered += 1;
    }
}

pub(crate) fn space(link: &mut Link) -> Result<Space, Error> {
    let mut exchange = Exchange::new(link);
    exchange.ask(&Request::Space, ());
    match exchange.reply()?.1 {
        Reply::Space { total, free, available, staged } => Ok(Space { total, free, available, staged }),
        reply => Err(unexpected(reply)),
    }
}

pub(crate) fn to_sum(reply: Reply) -> Result<Sum, Error> {
    match reply {
        Reply::Sum { size, crc, tag, sha256 } => Ok(Sum { size, crc, tag, sha256 }),
        reply => Err(unexpected(reply)),
    }
}

/// Asks for one change.
pub(crate) fn change(link: &mut Link, request: &Request) -> Result<(), Error> {
    let mut exchange = Exchange::new(link);
    exchange.ask(request, ());
    to_done(exchange.reply_after(Extent::Change)?.1)
}

/// Asks for all of `requests`, each of which is a change, many ahead. `taken` learns what became of each, in
/// order; where it fails, no further one is asked, but those that were are done.
pub(crate) fn change_all(
    link: &mut Link,
    requests: impl IntoIterator<Item = Request>,
    taken: impl FnMut(usize, Result<(), Error>) -> Result<(), Error>,
) -> Result<(), Error> {
    ask_all(link, requests, |exchange| exchange.reply_after(Extent::Change), to_done, taken)
}

/// The attributes that a file or directory of the server is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// The file or directory.
    pub name: Name,
    /// The time of its last change; [`None`] for that of now, by the server.
    pub mtime: Option<Time>,
    /// The permissions, of which the server takes those that it keeps; [`None`] leaves them as they are. For a directory, or
    /// with a mask, only where the server's greeting says `modes`.
    pub mode: Option<AskedMode>,
}

/// Sets attributes, many ahead. `taken` learns what became of each, in order, as in [`change_all`].
pub(crate) fn touch_all(
    link: &mut Link,
    touches: &[Touch],
    taken: impl FnMut(usize, Result<(), Error>) -> Result<(), Error>,
) -> Result<(), Error> {
    let request = |touch: &Touch| {
        let with = touch.mode.map_or(Beside::Nothing, Beside::Mode);
        (with, Request::Touch { mtime: touch.mtime, name: touch.name.clone() })
    };
    ask_all_with(link, touches.iter().map(request), |exchange| exchange.reply_after(Extent::Change), to_done, taken)
}

/// Asks whether the root answers.
pub(crate) fn health(link: &mut Link) -> Result<(), Error> {
    let mut exchange = Exchange::new(link);
    exchange.ask(&Request::Health, ());
    to_done(exchange.reply()?.1)
}

fn to_done(reply: Reply) -> Result<(), Error> {
    match reply {
        Reply::Done => Ok(()),
        reply => Err(unexpected(reply)),
    }
}

/// Asks for all of `requests`, many ahead, and has each reply waited for by `wait`, read by `read` and taken by `taken`; where
/// that fails, no further one is asked.
fn ask_all<'l, R>(
    link: &'l mut Link,
    requests: impl IntoIterator<Item = Request>,
    wait: impl FnMut(&mut Exchange<'l, ()>) -> Result<((), Reply), Error>,
    read: fn(Reply) -> Result<R, Error>,
    taken: impl FnMut(usize, Result<R, Error>) -> Result<(), Error>,
) -> Result<(), Error> {
    ask_all_with(link, requests.into_iter().map(|request| (Beside::Nothing, request)), wait, read, taken)
}

/// The option that a request has.
#[derive(Clone, Copy)]
enum Beside {
    Nothing,
    /// The permissions that are to be set.
    Mode(AskedMode),
    /// Permissions are told.
    TellsModes,
}

/// Does the same for requests with options.
fn ask_all_with<'l, R>(
    link: &'l mut Link,
    requests: impl IntoIterator<Item = (Beside, Request)>,
    mut wait: impl FnMut(&mut Exchange<'l, ()>) -> Result<((), Reply), Error>,
    read: fn(Reply) -> Result<R, Error>,
    mut taken: impl FnMut(usize, Result<R, Error>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut exchange = Exchange::new(link);
    let mut requests = requests.into_iter().fuse();
    let (mut answered, mut stopped) = (0, Ok(()));
    loop {
        while stopped.is_ok()
            && exchange.waiting() < AHEAD
            && let Some((beside, request)) = requests.next()
        {
            match beside {
                Beside::Nothing => {}
                Beside::Mode(mode) => exchange.with_mode(Some(mode)),
                Beside::TellsModes => exchange.telling_modes(),
            }
            exchange.ask(&request, ());
        }
        if exchange.waiting() == 0 {
            return stopped;
        }
        let result = match read(wait(&mut exchange)?.1) {
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

/// The outcome for directories that were to be made, by their places in the list.
#[derive(Debug, Default)]
pub(crate) struct MadeDirectories {
    /// Those that can't be made, and why.
    pub(crate) refused: Vec<(usize, Error)>,
    /// Those that were there, and their permissions, as far as some were to be given any and the server tells them.
    pub(crate) there: Vec<(usize, Option<Mode>)>,
}

/// Makes directories, in their order, with permissions; one that is there already is as good, and nothing else is. Where it
/// does not `keep_going`, the first that is refused is the last that was tried.
pub(crate) fn make_directories(
    link: &mut Link,
    directories: &[(&Name, Option<AskedMode>)],
    keep_going: bool,
) -> Result<MadeDirectories, Error> {
    let requests = directories
        .iter()
        .map(|&(name, mode)| (mode.map_or(Beside::Nothing, Beside::Mode), Request::Mkdir { name: name.clone() }));
    let (mut refused, mut there) = (Vec::new(), Vec::new());
    let mut stopped = false;
    let wait = |exchange: &mut Exchange<'_, ()>| exchange.reply_after(Extent::Change);
    let asked = ask_all_with(link, requests, wait, to_done, |index, result| match result {
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
    let mut made = MadeDirectories { refused, there: Vec::new() };
    if stopped {
        return Ok(made);
    }
    asked?;
    // Something has the name. A file would be in the way of all that is to come.
    let asked: Vec<Name> = there.iter().map(|(index, _)| directories[*index].0.clone()).collect();
    let mut there = there.into_iter();
    let tells_modes = directories.iter().any(|(_, mode)| mode.is_some());
    stat_all(link, asked, tells_modes, |_, stat| {
        let Some((index, failure)) = there.next() else { return Ok(()) };
        match stat {
            Ok(Stat::Directory(DirMeta { mode, .. })) => made.there.push((index, mode)),
            // Who may only add can't see what it is; if it is in the way, the files tell.
            Err(error) if error.code() == Some(Code::Denied) => made.there.push((index, None)),
            _ => made.refused.push((index, Error::Server(failure))),
        }
        Ok(())
    })?;
    made.refused.sort_by_key(|(index, _)| *index);
    Ok(made)
}

pub(crate) fn close(link: &mut Link) -> Result<(), Error> {
    let mut exchange = Exchange::new(link);
    exchange.ask(&Request::Close, ());
    match exchange.reply()?.1 {
        Reply::Bye => Ok(()),
        reply => Err(unexpected(reply)),
    }
}

/// Reads a part of a file into `sink`, as it comes.
pub(crate) fn read(link: &mut Link, name: &Name, part: &Part, sink: &mut dyn io::Write) -> Result<Download, Error> {
    read_noting(link, name, part, sink, &mut |_| Ok(()))
}

/// The same; `note` learns of which version it is before any of its bytes come, and may refuse it.
pub(crate) fn read_noting(
    link: &mut Link,
    name: &Name,
    part: &Part,
    sink: &mut dyn io::Write,
    note: &mut dyn FnMut(&FileMeta) -> Result<(), Error>,
) -> Result<Download, Error> {
    let mut exchange = Exchange::new(link);
    let Part { offset, length, tag } = part.clone();
    exchange.ask(&Request::Read { offset, length, tag, name: name.clone() }, ());
    let meta = match exchange.reply()?.1 {
        Reply::File(meta) => meta,
        reply => return Err(unexpected(reply)),
    };
    note(&meta)?;
    loop {
        match exchange.piece()? {
            Next::Bytes(bytes) => {
                sink.write_all(bytes).map_err(|source| Error::System { what: "write out the bytes", source })?;
            }
            Next::Hole(_) => return Err(Error::violation("a hole in a body that was to come whole")),
            Next::End(body) => return Ok(Download { size: body.bytes(), crc: body.crc(), meta }),
        }
    }
}
