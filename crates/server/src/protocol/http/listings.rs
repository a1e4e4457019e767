//! Directories: their page, and their listing as JSON.

use std::time::Instant;

use ferry_wire::{Name, Request};

use super::{
    HttpSession, OUTPUT_HIGH_BYTES, Phase, Step,
    answers::{Said, own_fields},
    message::{LAST_CHUNK, StatusCode, write_chunk_head},
    page::{DirectoryAnswer, PageQuery, Viewer},
    request::HttpRequest,
};
use crate::{
    access::Rights,
    store::{Handles, Listed, ReadOperation, StoreError},
};

/// A directory on its way out.
pub(super) struct Directory<H: Handles> {
    answer: DirectoryAnswer,
    state: State<H>,
    /// The head was said.
    has_begun: bool,
}

enum State<H: Handles> {
    /// Entries are awaited.
    Loading,
    /// More entries can be asked for.
    More(H::Dir),
    /// All have come, and not all of it is said.
    Writing,
}

impl<H: Handles> HttpSession<H> {
    /// Returns the one who looks, for pages.
    pub(super) fn viewer(&self) -> Viewer {
        Viewer {
            rights: self.visitor.rights().clone(),
            writable: !self.limits.read_only,
            user: self.visitor.acting().map(|user| user.as_str().into()),
            accounts: self.visitor.refusal().is_none(),
        }
    }

    pub(super) fn start_listing(&mut self, request: Box<HttpRequest>, now: Instant) {
        let name = request.target.name().cloned();
        let is_json = request.target.key() == Some("json");
        let query = PageQuery::parse(request.target.query().unwrap_or_default());
        let answer = match is_json {
            true => DirectoryAnswer::json(name.clone(), self.viewer()),
            false => DirectoryAnswer::page(name.clone(), self.viewer(), query),
        };
        match self.pass(&Request::List { name: name.clone() }) {
            Ok(_) => {
                self.operations.read(ReadOperation::List { name });
                let directory = Directory { answer, state: State::Loading, has_begun: false };
                self.phase = Phase::At(request, Step::Listing(directory.into()));
            }
            // Who may only add has a page to add by. Nothing is looked up for it.
            Err(_) if !is_json && self.may_add(name.as_ref()) => self.say_empty(request, answer, now),
            Err(failure) => self.deny(request, failure, now),
        }
    }

    fn may_add(&self, name: Option<&Name>) -> bool {
        self.visitor.rights().at(name).rights().has(Rights::ADD)
    }

    fn say_empty(&mut self, request: Box<HttpRequest>, mut answer: DirectoryAnswer, now: Instant) {
        let mut text = Vec::new();
        answer.finish();
        while answer.write(&mut text) {}
        let said = Said::Own(answer.content_type(), &text);
        self.say(request, StatusCode::OK, now, said, |head| head.field("Cache-Control", "no-cache"));
    }

    /// Entries have come, or will not.
    pub(super) fn listed(&mut self, listed: Result<Listed<H::Dir>, StoreError>, now: Instant) {
        let taken = self.take_step(|step| match step {
            Step::Listing(directory) => Ok(directory),
            step => Err(step),
        });
        let Some((mut request, mut directory)) = taken else { return };
        let Listed { entries, more } = match listed {
            Ok(listed) => listed,
            Err(error) if directory.has_begun => return self.abort(request, error.into(), now),
            Err(error) => return self.fail(request, error.into(), now),
        };
        if !std::mem::replace(&mut directory.has_begun, true) {
            let (is_http_1_0, media) = (request.is_http_1_0, directory.answer.content_type());
            self.answer(&mut request, StatusCode::OK, now, |head| {
                let head = if is_http_1_0 { head } else { head.chunked() };
                own_fields(head, media).field("Cache-Control", "no-cache")
            });
            if request.is_head() {
                return self.finish(request, None, now);
            }
        }
        let mut text = Vec::new();
        directory.answer.entries(entries, &mut text);
        self.chunk(&request, &text);
        directory.state = match more {
            Some(more) => State::More(more),
            None => {
                directory.answer.finish();
                State::Writing
            }
        };
        self.phase = Phase::At(request, Step::Listing(directory));
    }

    /// Takes the next step of a listing; false where it must wait.
    pub(super) fn settle_listing(&mut self, now: Instant) -> bool {
        let is_full = self.outbox.bytes() >= OUTPUT_HIGH_BYTES;
        let Phase::At(_, Step::Listing(directory)) = &mut self.phase else { return false };
        if is_full {
            return false;
        }
        match std::mem::replace(&mut directory.state, State::Loading) {
            State::Loading => false,
            State::More(dir) => {
                self.operations.read(ReadOperation::ListMore { dir });
                false
            }
            State::Writing => {
                directory.state = State::Writing;
                let mut text = Vec::new();
                let is_over = !directory.answer.write(&mut text);
                let Phase::At(request, step) = std::mem::replace(&mut self.phase, Phase::Ready) else { return false };
                self.chunk(&request, &text);
                if is_over {
                    if !request.is_http_1_0 {
                        self.outbox.text(|text| text.extend_from_slice(LAST_CHUNK));
                    }
                    self.finish(request, None, now);
                } else {
                    self.phase = Phase::At(request, step);
                }
                true
            }
        }
    }

    /// Says a part of an answer whose length is not known.
    pub(super) fn chunk(&mut self, request: &HttpRequest, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.outbox.text(|text| {
            if request.is_http_1_0 {
                return text.extend_from_slice(bytes);
            }
            write_chunk_head(text, bytes.len() as u64);
            text.extend_from_slice(bytes);
            text.extend_from_slice(b"\r\n");
        });
    }
}
