//! One of two servers, and the requests that are made of it.

use std::{path::Path, sync::Arc, time::Duration};

use ferry_server::store::{Change, Progress, Store, StoreOptions, Touch, Watcher};
use ferry_wire::{Failure, Reply};

use crate::common::{
    self,
    client::{Body, Client, Held, Resumed, Told, id, name},
    dice::bytes,
};

pub(crate) const ID: &str = "up";

/// The bytes of one write.
pub(crate) const CHUNK: usize = 4 << 10;

/// The quota of all unfinished uploads together: more than any two requests need.
pub(crate) const ROOM_BYTES: u64 = 16 * CHUNK as u64;

/// The size of the resumable upload in the end.
pub(crate) const UPLOAD_BYTES: u64 = 4 * CHUNK as u64;

/// Returns the resumable upload, which is to be `r`.
pub(crate) fn upload() -> Vec<u8> {
    bytes(1, 4 * CHUNK)
}

/// One of the two servers.
pub(crate) struct Side {
    pub(crate) options: StoreOptions,
    watcher: Option<Arc<dyn Watcher>>,
    pub(crate) store: Store,
    /// The seed of the bytes that this side puts, unlike the other side's.
    seed: u64,
    pub(crate) held: Option<Held>,
    /// The files that clients were told of: name, CRC, tag.
    pub(crate) saved: Vec<(String, String, String)>,
}

pub(crate) fn options(root: &Path) -> StoreOptions {
    StoreOptions { max_staged: ROOM_BYTES, ..common::options(root) }
}

/// Returns the reply, without what differs from run to run.
fn shown(reply: &Reply) -> String {
    let mut line = Vec::new();
    reply.encode(&mut line);
    let line = String::from_utf8(line).expect("a line in UTF-8");
    line.trim_end().split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// The outcome of a request.
pub(crate) type Answer = Result<String, Failure>;

impl Side {
    pub(crate) fn open(options: &StoreOptions, seed: u64, watcher: Option<Arc<dyn Watcher>>) -> Side {
        let store = Store::open_watched(options, watcher.clone()).expect("a store");
        Side { options: options.clone(), watcher, store, seed, held: None, saved: Vec::new() }
    }

    pub(crate) fn client(&self) -> Client<'_> {
        Client::new(&self.store, false)
    }

    pub(crate) fn put(&mut self, to: &str, bytes: &[u8]) -> Answer {
        let told = self.client().put(&name(to), Body { bytes, chunk: CHUNK, announced: true, settled: true });
        self.note(to, told)
    }

    fn note(&mut self, to: &str, told: Told) -> Answer {
        let reply = told?;
        if let Reply::Saved { crc, tag, .. } = &reply {
            self.saved.push((to.into(), crc.to_string(), tag.as_str().into()));
        }
        Ok(shown(&reply))
    }

    pub(crate) fn change(&mut self, change: Change) -> Answer {
        Ok(shown(&self.client().change_tree(change)?))
    }

    /// RESUME: takes hold of the upload, or gives the answer in place of GO.
    pub(crate) fn resume(&mut self) -> Result<Option<Reply>, Failure> {
        match self.client().resume(&id(ID), &name("r"), UPLOAD_BYTES)? {
            Resumed::Saved(reply) => Ok(Some(reply)),
            Resumed::Going(held) => {
                self.held = Some(held);
                Ok(None)
            }
        }
    }

    /// Sends one chunk more, and has it made durable.
    pub(crate) fn send_some(&mut self) -> Result<(), Failure> {
        let Some(held) = self.held.take() else { return Ok(()) };
        let at = held.digest.bytes() as usize;
        let held = self.client().write_on(held, &upload()[at..at + CHUNK])?;
        self.held = Some(self.client().checkpoint(held)?);
        Ok(())
    }

    /// Sends the rest of the held upload.
    pub(crate) fn finish(&mut self) -> Answer {
        let Some(held) = self.held.take() else { return Ok("nothing held".into()) };
        let offset = held.digest.bytes();
        let upload = self.client().finish(held, &upload())?;
        let told = self.client().publish(upload);
        Ok(format!("GO {offset}, {}", self.note("r", told)?))
    }

    /// A whole RESUME of an upload whose size its end alone tells.
    fn stream(&mut self) -> Answer {
        match self.client().resume(&id("stream"), &name("s"), None)? {
            Resumed::Saved(reply) => self.note("s", Ok(reply)),
            Resumed::Going(held) => {
                let upload = self.client().finish(held, &upload())?;
                let told = self.client().publish(upload);
                self.note("s", told)
            }
        }
    }

    /// Looks how far the upload is.
    fn measure(&mut self) -> Answer {
        match self.client().measure(&id(ID), &name("r"), UPLOAD_BYTES)? {
            Progress::Published(published) => self.note("r", Ok(published.into())),
            Progress::Kept(bytes) => {
                // Between two requests it is one number, within one it may be another: each was durable.
                assert!(bytes <= UPLOAD_BYTES && bytes.is_multiple_of(CHUNK as u64), "{bytes} bytes are kept");
                Ok("kept".into())
            }
        }
    }

    /// Lets go of the held upload.
    pub(crate) fn cut(&mut self) -> Answer {
        let Some(held) = self.held.take() else { return Ok("nothing held".into()) };
        let offset = held.digest.bytes();
        self.client().cut(held, None);
        Ok(format!("{offset} bytes kept"))
    }

    fn refuse(&mut self) {
        if let Some(held) = self.held.take() {
            self.client().refuse(held);
        }
    }
}

/// A request, or a few.
#[derive(Clone, Copy)]
pub(crate) struct Act {
    pub(crate) name: &'static str,
    pub(crate) act: fn(&mut Side) -> Answer,
    /// The step after the other side's request has ended.
    pub(crate) after: fn(&mut Side) -> Answer,
    /// It lets go of the upload in its middle: another request may have its way there.
    pub(crate) in_parts: bool,
}

fn nothing(_: &mut Side) -> Answer {
    Ok(String::new())
}

fn resumed(side: &mut Side, go_on: fn(&mut Side) -> Answer) -> Answer {
    match side.resume()? {
        Some(reply) => side.note("r", Ok(reply)),
        None => go_on(side),
    }
}

fn plain(name: &'static str, act: fn(&mut Side) -> Answer) -> Act {
    Act { name, act, after: nothing, in_parts: false }
}

/// Returns all that the sweep pairs.
pub(crate) fn acts() -> Vec<Act> {
    vec![
        plain("PUT f", |side| side.put("f", &bytes(side.seed, 3 * CHUNK))),
        plain("PUT r", |side| side.put("r", &bytes(side.seed, 100))),
        plain("PUT d/x", |side| side.put("d/x", &bytes(side.seed, 100))),
        plain("MKDIR e", |side| side.change(Change::Mkdir(name("e")))),
        plain("MKDIR d/e", |side| side.change(Change::Mkdir(name("d/e")))),
        plain("DELETE f", |side| side.change(Change::Delete(name("f")))),
        plain("DELETE d", |side| side.change(Change::Delete(name("d")))),
        plain("TOUCH f", |side| side.change(Change::Touch(Touch { name: name("f"), mtime: None, permissions: None }))),
        plain("RENAME f//r", |side| side.change(Change::Rename(name("f"), name("r")))),
        plain("RENAME d//e", |side| side.change(Change::Rename(name("d"), name("e")))),
        plain("RESUME to the end", |side| resumed(side, Side::finish)),
        plain("RESUME, cut", |side| {
            resumed(side, |side| {
                side.send_some()?;
                side.cut()
            })
        }),
        plain("RESUME, refused", |side| {
            resumed(side, |side| {
                side.refuse();
                Ok("refused".into())
            })
        }),
        Act {
            name: "RESUME, held",
            act: |side| resumed(side, |_| Ok("held".into())),
            after: Side::finish,
            in_parts: false,
        },
        Act {
            name: "RESUME, refused, anew, held",
            act: |side| {
                resumed(side, |side| {
                    side.refuse();
                    resumed(side, |side| {
                        side.send_some()?;
                        Ok("held".into())
                    })
                })
            },
            after: Side::finish,
            in_parts: true,
        },
        plain("RESUME of a stream", Side::stream),
        plain("MEASURE", Side::measure),
        plain("expire everything", |side| {
            let keep = Duration::ZERO;
            let sweeper = StoreOptions { keep, ..side.options.clone() };
            let store = Store::open_watched(&sweeper, side.watcher.clone()).expect("a server that starts");
            store.clean();
            store.leave();
            Ok(String::new())
        }),
        plain("start, clean, end", |side| {
            let store = Store::open_watched(&side.options, side.watcher.clone()).expect("a server that starts");
            store.clean();
            store.leave();
            Ok(String::new())
        }),
    ]
}

/// Makes the tree of the start: a file, a directory, and two chunks of the upload.
pub(crate) fn prepare(side: &mut Side) {
    side.put("f", &bytes(7, 50)).expect("a file");
    side.change(Change::Mkdir(name("d"))).expect("a directory");
    assert!(side.resume().expect("GO").is_none());
    side.send_some().expect("a chunk");
    side.send_some().expect("a chunk");
    side.cut().expect("kept");
    side.saved.clear();
}
