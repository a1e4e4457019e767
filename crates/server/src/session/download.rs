//! Requests that read: GET, READ, SUM, STAT, LIST.

use std::time::Instant;

use ferry_wire::{Code, Digest, Failure, FileMeta, Reply, limits::MAX_BLOCK_BYTES, write_block_header, write_end};

use super::{
    AskKind, Asking, Phase, Session,
    record::Transfer,
    work::{Done, Errand, Handles, Opened, Outcome, Work},
};

/// One slice of a SUM: what a helper does at once.
const SUM_SLICE_BYTES: u64 = 4 << 20;

/// A file on its way out, a range of it at least one byte long.
pub(super) struct Sending<H: Handles> {
    errand: Errand,
    file: H::File,
    /// Behind the last byte that is queued.
    at: u64,
    end: u64,
    /// Of what was sent.
    digest: Digest,
    step: Step,
    /// The file can't be read as it was: the body ends with this instead of END.
    failure: Option<Failure>,
    pub(super) transfer: Transfer,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A block is queued, or the next one can be.
    Sending,
    /// A disk is asked for what comes next.
    Warming,
    /// All is sent; whether the file stayed the same is being looked at.
    Checking,
}

impl<H: Handles> Sending<H> {
    pub(super) fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    /// Whether the client is not what it waits for.
    pub(super) fn is_warming(&self) -> bool {
        self.step == Step::Warming
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
            Phase::Sending(sending) if sending.errand == errand => self.went_on(outcome, now),
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
                let step = Step::Sending;
                let sending =
                    Sending { errand, file, at: start, end, digest: Digest::new(), step, failure: None, transfer };
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
                let summing = Summing { errand, meta, file, at: start, end, digest, transfer };
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

    /// The transport read `bytes` from the file range at the front of the outbox, from its first byte
    /// on, and sent them: what the client gets is what the CRC is taken of.
    pub fn sent_of_file(&mut self, bytes: &[u8], now: Instant) {
        self.outbox.advance(bytes.len() as u64);
        if let Phase::Sending(sending) = &mut self.phase {
            sending.digest.update(bytes);
            sending.transfer.bytes += bytes.len() as u64;
        }
        self.settle(now);
    }

    /// A disk has to be asked for the file range at the front of the outbox: it stays behind until the
    /// store has done so.
    pub fn range_is_cold(&mut self, now: Instant) {
        if let Phase::Sending(sending) = &mut self.phase
            && sending.step == Step::Sending
            && let Some((file, at, bytes)) = self.outbox.hold_back()
        {
            sending.step = Step::Warming;
            let errand = sending.errand;
            self.ask(errand, Work::Warm { file, at, bytes });
        }
        self.settle(now);
    }

    /// A step of a file that is being sent has ended.
    fn went_on(&mut self, outcome: Outcome<'_, H>, now: Instant) {
        let Phase::Sending(sending) = &mut self.phase else { return };
        let step = std::mem::replace(&mut sending.step, Step::Sending);
        if step == Step::Warming {
            self.outbox.go_on();
        }
        match (step, outcome) {
            (Step::Warming, Ok(Done::Warm)) => {}
            (Step::Checking, Ok(Done::Unchanged(true))) => {
                let crc = sending.digest.crc();
                self.outbox.text(|text| write_end(text, crc));
                self.end_sending(None, now);
            }
            (Step::Checking, Ok(Done::Unchanged(false))) => sending.fail(changed()),
            (_, outcome) => {
                sending.fail(outcome.err().unwrap_or_else(mismatch));
                self.outbox.pad_ranges();
            }
        }
    }

    /// Takes the next step of a file that is being sent; false where it must wait.
    pub(super) fn settle_sending(&mut self, now: Instant) -> bool {
        let Phase::Sending(sending) = &mut self.phase else { return false };
        if sending.step != Step::Sending {
            return false;
        }
        if let Some(failure) = self.last_words.as_deref() {
            sending.fail(failure.clone());
        }
        // One range at a time: whatever fails is of this file, and a block that was announced is filled.
        if self.outbox.holds_ranges() {
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
        if sending.at < sending.end {
            let bytes = (sending.end - sending.at).min(MAX_BLOCK_BYTES);
            self.outbox.text(|text| write_block_header(text, bytes));
            self.outbox.file(file, sending.at, bytes);
            sending.at += bytes;
        } else {
            sending.step = Step::Checking;
            self.ask(errand, Work::Check { file });
        }
        false
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
        let work = if at < summing.end {
            let bytes = (summing.end - at).min(SUM_SLICE_BYTES);
            Work::Load { file, at, bytes, digest: summing.digest.clone() }
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
