//! Requests that read: GET, READ, SUM, STAT, LIST.

use std::time::Instant;

use ferry_wire::{Code, Digest, Failure, FileMeta, Reply, limits::MAX_BLOCK_BYTES, write_block_header, write_end};

use super::{
    AskKind, Asking, Phase, Session,
    record::Transfer,
    work::{Done, Errand, Handles, Opened, Outcome, Work},
};

/// How much of a file may be queued before more is loaded: the next block is made ready while this
/// one is on its way.
const SENDING_AHEAD_BYTES: u64 = MAX_BLOCK_BYTES;

/// The same where the bytes themselves are queued: the piece behind the one that is on its way.
const COPIED_AHEAD_BYTES: u64 = 256 << 10;

/// One slice of a SUM, or of a second reading: what a helper does at once.
const SUM_SLICE_BYTES: u64 = 4 << 20;

/// `DATA`, a number and a line's end, with room to spare.
const BLOCK_HEADER_BYTES: usize = 32;

/// A file on its way out, a range of it at least one byte long.
pub(super) struct Sending<H: Handles> {
    errand: Errand,
    file: H::File,
    at: u64,
    end: u64,
    digest: Digest,
    again: Option<Again>,
    step: Step,
    /// How much may be queued before more is loaded.
    ahead: u64,
    /// The file can't be read as it was: the body ends with this instead of END.
    failure: Option<Failure>,
    pub(super) transfer: Transfer,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The next block can be asked for.
    Next,
    /// A block is being made ready.
    Loading,
    /// All is sent; whether the file stayed the same is being looked at.
    Checking,
    /// The bytes that were sent are being read again.
    Comparing,
}

/// A second reading of a range, since the file's status does not tell whether it stayed the same during the first. Where both
/// give the same bytes, these are what the file held at the moment between them.
struct Again {
    start: u64,
    digest: Digest,
}

impl Again {
    fn from(start: u64) -> Again {
        Again { start, digest: Digest::new() }
    }

    /// Returns what to ask for next; [`None`] after the last.
    fn next<H: Handles>(&self, file: &H::File, end: u64) -> Option<Work<H>> {
        let at = self.start + self.digest.bytes();
        let (bytes, digest) = ((end - at).min(SUM_SLICE_BYTES), self.digest.clone());
        (bytes > 0).then_some(Work::Load { file: file.clone(), at, bytes, digest, background: true })
    }

    fn agrees(&self, first: &Digest) -> bool {
        (self.digest.bytes(), self.digest.crc()) == (first.bytes(), first.crc())
    }
}

impl<H: Handles> Sending<H> {
    pub(super) fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }
}

/// A directory on its way out.
pub(super) struct Listing<H: Handles> {
    errand: Errand,
    /// How to go on; taken while that is under way.
    more: Option<H::Dir>,
    asking: bool,
    digest: Digest,
}

/// A file whose CRC is being computed.
pub(super) struct Summing<H: Handles> {
    errand: Errand,
    meta: FileMeta,
    file: H::File,
    at: u64,
    end: u64,
    digest: Digest,
    again: Option<Again>,
    transfer: Transfer,
}

impl<H: Handles> Session<H> {
    /// Takes an outcome that belongs to a reading request, or gives it back.
    pub(super) fn complete_read<'a>(
        &mut self,
        errand: Errand,
        outcome: Outcome<'a, H>,
        now: Instant,
    ) -> Option<Outcome<'a, H>> {
        match &self.phase {
            Phase::Asking(asking) if asking.errand == errand => self.asked(outcome, now),
            Phase::Sending(sending) if sending.errand == errand => self.loaded(outcome, now),
            Phase::Listing(listing) if listing.errand == errand => self.listed(outcome),
            Phase::Summing(summing) if summing.errand == errand => self.summed(outcome, now),
            _ => return Some(outcome),
        }
        None
    }

    /// The first answer to a reading request.
    fn asked(&mut self, outcome: Outcome<'_, H>, now: Instant) {
        let Phase::Asking(asking) = std::mem::replace(&mut self.phase, Phase::Ready) else { return };
        let Asking { errand, kind, mut transfer } = *asking;
        if let Some(failure) = self.last_words.take() {
            return self.break_off(*failure, now);
        }
        let failure = match (kind, outcome) {
            (AskKind::Get, Ok(Done::Opened { meta, range: Opened::Inline { bytes, crc } })) => {
                self.outbox.text(|text| {
                    Reply::File(meta).encode(text);
                    write_blocks(text, &bytes);
                    write_end(text, crc);
                });
                transfer.bytes = bytes.len() as u64;
                return self.record(transfer, None, now);
            }
            (AskKind::Get, Ok(Done::Opened { meta, range: Opened::Range { file, start, end } })) => {
                self.outbox.text(|text| Reply::File(meta).encode(text));
                let step = Step::Next;
                let (digest, ahead) = (Digest::new(), SENDING_AHEAD_BYTES);
                let (at, again, failure) = (start, None, None);
                let sending = Sending { errand, file, at, end, digest, again, step, ahead, failure, transfer };
                self.phase = Phase::Sending(Box::new(sending));
                return;
            }
            (AskKind::Sum, Ok(Done::Opened { meta, range: Opened::Inline { bytes, crc } })) => {
                transfer.bytes = bytes.len() as u64;
                self.reply(Reply::Sum { size: meta.size, crc, tag: meta.tag });
                return self.record(transfer, None, now);
            }
            (AskKind::Sum, Ok(Done::Opened { meta, range: Opened::Range { file, start, end } })) => {
                let digest = Digest::new();
                let summing = Summing { errand, meta, file, at: start, end, digest, again: None, transfer };
                self.phase = Phase::Summing(Box::new(summing));
                return self.sum_on();
            }
            (AskKind::Stat, Ok(Done::Replied(reply))) => return self.reply(reply),
            (AskKind::List, Ok(Done::Listed { lines, more })) => {
                let mut digest = Digest::new();
                digest.update(&lines);
                self.outbox.text(|text| {
                    Reply::Listing.encode(text);
                    write_blocks(text, &lines);
                });
                let listing = Listing { errand, more, asking: false, digest };
                self.phase = Phase::Listing(Box::new(listing));
                return;
            }
            (_, Err(failure)) => failure,
            (_, Ok(_)) => mismatch(),
        };
        self.reply(Reply::Fail(failure.clone()));
        if kind == AskKind::Get || kind == AskKind::Sum {
            self.record(transfer, Some(failure), now);
        }
    }

    /// A step of a file that is being sent has ended.
    fn loaded(&mut self, outcome: Outcome<'_, H>, now: Instant) {
        let Phase::Sending(sending) = &mut self.phase else { return };
        let step = std::mem::replace(&mut sending.step, Step::Next);
        match outcome {
            Ok(Done::Loaded { bytes: 0, .. }) => sending.fail(changed()),
            Ok(Done::Read { bytes, .. }) if bytes.is_empty() => sending.fail(changed()),
            Ok(Done::Read { bytes, digest }) => {
                sending.digest = digest;
                sending.at += bytes.len() as u64;
                sending.transfer.bytes += bytes.len() as u64;
                sending.ahead = COPIED_AHEAD_BYTES;
                let mut run = Vec::with_capacity(bytes.len() + BLOCK_HEADER_BYTES);
                write_block_header(&mut run, bytes.len() as u64);
                run.extend_from_slice(&bytes);
                self.outbox.run(run);
            }
            Ok(Done::Loaded { digest, .. }) if step == Step::Comparing => {
                if let Some(again) = &mut sending.again {
                    again.digest = digest;
                }
            }
            Ok(Done::Loaded { bytes, digest }) => {
                sending.digest = digest;
                let at = sending.at;
                sending.at += bytes;
                sending.transfer.bytes += bytes;
                self.outbox.text(|text| write_block_header(text, bytes));
                self.outbox.file(sending.file.clone(), at, bytes);
            }
            Ok(Done::Unchanged(true)) if step == Step::Checking => self.end_sent(now),
            Ok(Done::Doubtful) if step == Step::Checking => {
                sending.again = Some(Again::from(sending.end - sending.digest.bytes()));
            }
            Ok(Done::Unchanged(_)) => sending.fail(changed()),
            Ok(_) => sending.fail(mismatch()),
            Err(failure) => sending.fail(failure),
        }
    }

    /// Takes the next step of a file that is being sent; false where it must wait.
    pub(super) fn settle_sending(&mut self, now: Instant) -> bool {
        let Phase::Sending(sending) = &mut self.phase else { return false };
        if sending.step != Step::Next {
            return false;
        }
        if let Some(failure) = self.last_words.as_deref() {
            sending.fail(failure.clone());
        }
        // Until its last range is gone, one that fails must not be taken for that of another file.
        if sending.failure.is_some() && self.outbox.holds_ranges() {
            return false;
        }
        if let Some(failure) = sending.failure.take() {
            self.outbox.text(|text| failure.encode(text));
            let told = self.last_words.take().is_some();
            self.end_sending(Some(failure), now);
            if told {
                self.phase = Phase::Closing;
            }
            return true;
        }
        let (errand, file) = (sending.errand, sending.file.clone());
        if sending.at < sending.end && self.outbox.bytes() <= sending.ahead {
            sending.step = Step::Loading;
            let (at, digest) = (sending.at, sending.digest.clone());
            let bytes = (sending.end - at).min(MAX_BLOCK_BYTES);
            self.ask(errand, Work::Load { file, at, bytes, digest, background: false });
        } else if let Some(again) = &sending.again {
            let Some(work) = again.next(&file, sending.end) else { return self.compare(now) };
            sending.step = Step::Comparing;
            self.ask(errand, work);
        } else if sending.at == sending.end && !self.outbox.holds_ranges() {
            sending.step = Step::Checking;
            self.ask(errand, Work::Check { file });
        }
        false
    }

    /// Ends a body whose bytes were read twice. Returns true: something was done.
    fn compare(&mut self, now: Instant) -> bool {
        let Phase::Sending(sending) = &mut self.phase else { return false };
        match sending.again.take() {
            Some(again) if again.agrees(&sending.digest) => self.end_sent(now),
            _ => sending.fail(changed()),
        }
        true
    }

    /// Says that all was sent.
    fn end_sent(&mut self, now: Instant) {
        let Phase::Sending(sending) = &self.phase else { return };
        let crc = sending.digest.crc();
        self.outbox.text(|text| write_end(text, crc));
        self.end_sending(None, now);
    }

    fn end_sending(&mut self, failure: Option<Failure>, now: Instant) {
        if let Phase::Sending(sending) = std::mem::replace(&mut self.phase, Phase::Ready) {
            self.record(sending.transfer, failure, now);
        }
    }

    fn listed(&mut self, outcome: Outcome<'_, H>) {
        let Phase::Listing(listing) = &mut self.phase else { return };
        listing.asking = false;
        let failure = match outcome {
            Ok(Done::Listed { lines, more }) => {
                listing.digest.update(&lines);
                listing.more = more;
                return self.outbox.text(|text| write_blocks(text, &lines));
            }
            Ok(_) => mismatch(),
            Err(failure) => failure,
        };
        self.outbox.text(|text| failure.encode(text));
        self.phase = Phase::Ready;
    }

    /// Takes the next step of a listing; false where it must wait.
    pub(super) fn settle_listing(&mut self) -> bool {
        let Phase::Listing(listing) = &mut self.phase else { return false };
        if listing.asking {
            return false;
        }
        if let Some(failure) = self.last_words.take() {
            self.outbox.text(|text| failure.encode(text));
            self.phase = Phase::Closing;
            return true;
        }
        if listing.more.is_none() {
            let crc = listing.digest.crc();
            self.outbox.text(|text| write_end(text, crc));
            self.phase = Phase::Ready;
            return true;
        }
        if self.outbox.bytes() < super::OUTPUT_HIGH_BYTES
            && let Some(dir) = listing.more.take()
        {
            listing.asking = true;
            let errand = listing.errand;
            self.ask(errand, Work::ListMore { dir });
        }
        false
    }

    fn summed(&mut self, outcome: Outcome<'_, H>, now: Instant) {
        let Phase::Summing(summing) = &mut self.phase else { return };
        let failure = match outcome {
            _ if self.last_words.is_some() => None,
            Ok(Done::Loaded { bytes: 0, .. } | Done::Unchanged(false)) => Some(changed()),
            Ok(Done::Loaded { digest, .. }) if let Some(again) = &mut summing.again => {
                again.digest = digest;
                if again.digest.bytes() < summing.digest.bytes() {
                    return self.sum_on();
                }
                (!again.agrees(&summing.digest)).then(changed)
            }
            Ok(Done::Doubtful) if summing.again.is_none() => {
                summing.again = Some(Again::from(summing.end - summing.digest.bytes()));
                return self.sum_on();
            }
            Ok(Done::Loaded { bytes, digest }) => {
                summing.digest = digest;
                summing.at += bytes;
                summing.transfer.bytes += bytes;
                return self.sum_on();
            }
            Ok(Done::Unchanged(true)) => None,
            Ok(_) => Some(mismatch()),
            Err(failure) => Some(failure),
        };
        let Phase::Summing(summing) = std::mem::replace(&mut self.phase, Phase::Ready) else { return };
        if let Some(failure) = self.last_words.take() {
            return self.break_off(*failure, now);
        }
        let Summing { meta, digest, transfer, .. } = *summing;
        self.reply(match &failure {
            Some(failure) => Reply::Fail(failure.clone()),
            None => Reply::Sum { size: meta.size, crc: digest.crc(), tag: meta.tag },
        });
        self.record(transfer, failure, now);
    }

    fn sum_on(&mut self) {
        let Phase::Summing(summing) = &mut self.phase else { return };
        let (errand, file, at) = (summing.errand, summing.file.clone(), summing.at);
        let again = summing.again.as_ref().and_then(|again| again.next(&file, summing.end));
        let work = if let Some(work) = again {
            work
        } else if at < summing.end {
            let bytes = (summing.end - at).min(SUM_SLICE_BYTES);
            Work::Load { file, at, bytes, digest: summing.digest.clone(), background: true }
        } else {
            Work::Check { file }
        };
        self.ask(errand, work);
    }
}

/// Appends `bytes` in blocks; none for no bytes.
fn write_blocks(text: &mut Vec<u8>, bytes: &[u8]) {
    for block in bytes.chunks(MAX_BLOCK_BYTES as usize) {
        write_block_header(text, block.len() as u64);
        text.extend_from_slice(block);
    }
}

fn changed() -> Failure {
    Failure::new(Code::Changed, "the file changed while it was read")
}

/// The store answered something else than was asked: a mistake of ours, not the client's.
pub(super) fn mismatch() -> Failure {
    Failure::new(Code::Io, "the server got an answer that it did not ask for")
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use ferry_wire::Tag;

    use super::*;
    use crate::protocol::ferry::{Ask, Limits, Patience, Segment};

    struct Numbers;

    impl Handles for Numbers {
        type File = u32;
        type Dir = u32;
        type Upload = u32;
    }

    /// A session that sends a file of `size` bytes, and what it asked for first.
    fn sending(size: u64, now: Instant) -> (Session<Numbers>, Ask<Numbers>) {
        let long = Duration::from_secs(60);
        let limits = Limits {
            read_only: true,
            volatile: false,
            upload_bytes: 0,
            patience: Patience { idle: long, request: long, window: long, window_bytes: 0 },
            checkpoint_bytes: 0,
            checkpoint_time: long,
        };
        let mut session = Session::<Numbers>::new(Arc::new(limits), now);
        session.receive(b"GET a\n", now);
        let open = session.next_ask().unwrap();
        let meta = FileMeta { size, mtime: None, tag: Tag::new("t").unwrap() };
        let range = Opened::Range { file: 0, start: 0, end: size };
        session.complete(open.errand, Ok(Done::Opened { meta, range }), now);
        let load = session.next_ask().unwrap();
        (session, load)
    }

    #[test]
    fn bytes_in_memory_wait_for_the_client() {
        let now = Instant::now();
        let (piece, size) = (COPIED_AHEAD_BYTES, 1 << 30);
        let (mut session, mut ask) = sending(size, now);
        let mut sent = 0;
        for _ in 0..10 {
            let mut pieces = 0;
            // The client takes nothing.
            loop {
                let Work::Load { at, mut digest, background: false, .. } = ask.work else { panic!("{:?}", ask.work) };
                assert_eq!(at, sent);
                let bytes = vec![0; piece as usize];
                digest.update(&bytes);
                session.complete(ask.errand, Ok(Done::Read { bytes, digest }), now);
                (pieces, sent) = (pieces + 1, sent + piece);
                match session.next_ask() {
                    Some(next) => ask = next,
                    None => break,
                }
            }
            assert!(pieces <= 2, "{pieces} pieces in memory");
            let queued = session.outbox().bytes();
            assert!(queued < 2 * piece + (1 << 10), "{queued} bytes in memory");
            // Now it takes all but the end.
            while session.outbox().bytes() > 1 {
                let left = session.outbox().bytes() - 1;
                let Some((Segment::Bytes { data, sent }, _)) = session.outbox().front() else { panic!("no bytes") };
                let taken = left.min((data.len() - sent) as u64);
                session.outbox().advance(taken);
            }
            session.sent(now);
            ask = session.next_ask().unwrap();
        }
    }
}
