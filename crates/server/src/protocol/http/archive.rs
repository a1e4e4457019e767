//! Directories as tar archives, an entry at a time.
//!
//! An archive that breaks off must never look whole. So it is sent in chunks alone, to HTTP/1.1: where it can't go on,
//! the connection ends within them.

use std::time::Instant;

use ferry_wire::{Code, Failure, Name, Request, Time};

use super::{
    HttpSession, OUTPUT_HIGH_BYTES, Phase, Step,
    answers::own_fields,
    message::{Encoded, LAST_CHUNK, Refusal, StatusCode, write_chunk_head},
    page::tar::{self, TarMember, TarStep, TarWalk},
    reads::INLINE_BYTES,
    request::HttpRequest,
    sending::{Sending, Sent},
};
use crate::store::{Content, ErrorKind, Handles, Listed, Opened, ReadOperation, StoreError, SystemError};

/// An archive on its way out.
pub(super) struct Archive<H: Handles> {
    walk: TarWalk<H::Dir>,
    state: State<H>,
    /// The head was said.
    has_begun: bool,
}

enum State<H: Handles> {
    /// The next entry is due.
    Walking,
    /// Entries of a directory are awaited: its first ones, or others.
    Listing { is_first: bool },
    /// The file that is the next entry is opened.
    Opening(Name),
    /// Its content is on its way, and so many zeros follow.
    Sending(Sending<H>, usize),
}

impl<H: Handles> Archive<H> {
    /// Returns the file that is sent.
    pub(super) fn sending(&mut self) -> Option<&mut Sending<H>> {
        match &mut self.state {
            State::Sending(sending, _) => Some(sending),
            _ => None,
        }
    }
}

impl<H: Handles> HttpSession<H> {
    pub(super) fn start_archive(&mut self, request: Box<HttpRequest>, now: Instant) {
        if request.is_http_1_0 {
            let refusal = Refusal::new(StatusCode::VERSION_NOT_SUPPORTED, "an archive is sent to HTTP/1.1 alone");
            return self.refuse(request, refusal, now);
        }
        let name = request.target.name().cloned();
        if let Err(failure) = self.pass(&Request::List { name: name.clone() }) {
            return self.deny(request, failure, now);
        }
        let walk = TarWalk::new(name, self.visitor.rights().clone());
        let archive = Archive { walk, state: State::Walking, has_begun: false };
        self.phase = Phase::At(request, Step::Archiving(archive.into()));
    }

    /// Returns whether a directory is sent as an archive.
    pub(super) fn is_archiving(&self) -> bool {
        matches!(self.phase, Phase::At(_, Step::Archiving(_)))
    }

    fn take_archive(&mut self) -> Option<(Box<HttpRequest>, Box<Archive<H>>)> {
        self.take_step(|step| match step {
            Step::Archiving(archive) => Ok(archive),
            step => Err(step),
        })
    }

    /// Entries of a directory have come, or will not.
    pub(super) fn archive_listed(&mut self, listed: Result<Listed<H::Dir>, StoreError>, now: Instant) {
        let Some((mut request, mut archive)) = self.take_archive() else { return };
        let is_first = matches!(archive.state, State::Listing { is_first: true });
        let listed = match listed {
            Ok(listed) => listed,
            Err(error) if !archive.has_begun => return self.fail(request, error.into(), now),
            // It was removed since its own entry was found.
            Err(error) if is_first && is_gone(&error) => Listed { entries: Vec::new(), more: None },
            Err(error) => return self.abort(request, error.into(), now),
        };
        if !std::mem::replace(&mut archive.has_begun, true) {
            self.begin_archive(&mut request, now);
            if request.is_head() {
                return self.finish(request, None, now);
            }
        }
        archive.walk.listed(listed);
        archive.state = State::Walking;
        self.phase = Phase::At(request, Step::Archiving(archive));
    }

    fn begin_archive(&mut self, request: &mut HttpRequest, now: Instant) {
        let disposition = disposition(request.target.name());
        self.answer(request, StatusCode::OK, now, |head| {
            let head = own_fields(head.chunked(), tar::TAR);
            head.field("Content-Disposition", disposition).field("Cache-Control", "no-cache")
        });
    }

    /// The next file is open, or will not be.
    pub(super) fn archive_opened(&mut self, opened: Result<Opened<'_, H::File>, StoreError>, now: Instant) {
        let Some((mut request, mut archive)) = self.take_archive() else { return };
        let State::Opening(name) = std::mem::replace(&mut archive.state, State::Walking) else { return };
        match opened {
            Ok(Opened { version, content }) => {
                let size = version.size;
                let mut text = header(&archive.walk, &name, TarMember::File(size), version.mtime);
                match content {
                    Content::Inline { bytes, .. } => {
                        text.extend_from_slice(&bytes);
                        text.resize(text.len() + tar::padding(size), 0);
                        request.transfer.bytes += bytes.len() as u64;
                        self.chunk(&request, &text);
                    }
                    Content::Range { file, start, end, is_sendable, .. } => {
                        self.chunk(&request, &text);
                        // All of it is one chunk, however large: it may be sent from the file.
                        self.outbox.text(|text| write_chunk_head(text, end - start));
                        let sending = Sending::new(file, start, end, self.as_bytes || !is_sendable);
                        archive.state = State::Sending(sending, tar::padding(size));
                    }
                }
            }
            // It was removed since it was listed, or is no file any more.
            Err(error) if is_gone(&error) => {}
            Err(error) => return self.abort(request, error.into(), now),
        }
        self.phase = Phase::At(request, Step::Archiving(archive));
    }

    /// Takes the next step of an archive; false where it must wait.
    pub(super) fn settle_archive(&mut self, now: Instant) -> bool {
        let is_full = self.outbox.bytes() >= OUTPUT_HIGH_BYTES;
        let Phase::At(_, Step::Archiving(archive)) = &mut self.phase else { return false };
        match &archive.state {
            State::Listing { .. } | State::Opening(_) => false,
            State::Walking if is_full => false,
            State::Walking => {
                self.walk_on(now);
                true
            }
            State::Sending(..) => self.send_on(now),
        }
    }

    fn walk_on(&mut self, now: Instant) {
        let Some((request, mut archive)) = self.take_archive() else { return };
        match archive.walk.step() {
            TarStep::List(name) => {
                self.operations.read(ReadOperation::List { name });
                archive.state = State::Listing { is_first: true };
            }
            TarStep::ListMore(dir) => {
                self.operations.read(ReadOperation::ListMore { dir });
                archive.state = State::Listing { is_first: false };
            }
            TarStep::Directory(name, mtime) => {
                let text = header(&archive.walk, &name, TarMember::Directory, mtime);
                self.chunk(&request, &text);
            }
            TarStep::File(name) => {
                let wanted = name.clone();
                let open =
                    ReadOperation::Open { name: wanted, offset: 0, length: None, tag: None, inline: INLINE_BYTES };
                self.operations.read(open);
                archive.state = State::Opening(name);
            }
            TarStep::End => {
                self.chunk(&request, &tar::END);
                self.outbox.text(|text| text.extend_from_slice(LAST_CHUNK));
                return self.finish(request, None, now);
            }
            TarStep::TooLarge => {
                let failure = Failure::new(Code::TooLarge, "the directory has too many directories for one archive");
                return self.abort(request, failure, now);
            }
        }
        self.phase = Phase::At(request, Step::Archiving(archive));
    }

    fn send_on(&mut self, now: Instant) -> bool {
        let Phase::At(_, Step::Archiving(archive)) = &mut self.phase else { return false };
        let State::Sending(sending, padding) = &mut archive.state else { return false };
        let sent = sending.settle(&mut self.outbox, &mut self.operations);
        let (bytes, padding) = (sending.loaded_bytes(), *padding);
        let failure = match sent {
            Sent::Waits => return false,
            Sent::Whole => None,
            Sent::Failed(failure) => Some(failure),
        };
        let Some((mut request, mut archive)) = self.take_archive() else { return false };
        request.transfer.bytes += bytes;
        if let Some(failure) = failure {
            self.abort(request, failure, now);
            return true;
        }
        self.outbox.text(|text| text.extend_from_slice(b"\r\n"));
        self.chunk(&request, &vec![0; padding]);
        archive.state = State::Walking;
        self.phase = Phase::At(request, Step::Archiving(archive));
        true
    }
}

fn header<D>(walk: &TarWalk<D>, name: &Name, member: TarMember, mtime: Option<Time>) -> Vec<u8> {
    let mut text = Vec::new();
    tar::header(walk.path(name), member, mtime, &mut text);
    text
}

fn is_gone(error: &StoreError) -> bool {
    use SystemError::{IsDirectory, NotDirectory, NotFound};
    matches!(error.kind, ErrorKind::System(NotFound | NotDirectory | IsDirectory))
}

/// Returns the value of `Content-Disposition`: the name under which a browser saves the archive.
fn disposition(name: Option<&Name>) -> String {
    let last = name.map_or("files", Name::last);
    let is_plain = last.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    let plain = if is_plain { last } else { "archive" };
    format!("attachment; filename=\"{plain}.tar\"; filename*=UTF-8''{}.tar", Encoded(last))
}
