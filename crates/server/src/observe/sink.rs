//! A bounded queue of records, and the thread that writes them: logging never waits for a disk or a
//! terminal.
//!
//! Records that find no room are dropped and counted, and so are those beyond a rate; the count is
//! a record of its own, as soon as one can be written again. A record is written whole. Where an
//! output takes only a part of one, that part is taken back, or the rest follows as soon as it can.

use std::{
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use crate::bucket::Bucket;

/// Bytes of records that wait to be written, above which new ones are dropped.
const WAITING_BYTES: usize = 1 << 20;

/// The rate of one output in bytes a second, and the time for which it may be saved up. Budgets of
/// addresses keep the log far below; this holds for all addresses together, and for lines that have
/// no budget.
const BYTES_PER_SECOND: u64 = 4 << 20;
const SAVES: Duration = Duration::from_secs(4);

/// The time after each write in which records are gathered for the next one: too short to be
/// noticed, and long enough that waking the writer costs a busy server nothing.
const GATHERING: Duration = Duration::from_millis(10);

/// With this many bytes waiting the writer does not gather any longer.
const GATHERED_BYTES: usize = WAITING_BYTES / 4;

/// The time between two attempts at an output that can't be written to.
const RETRY: Duration = Duration::from_millis(100);

/// Somewhere that records are written to.
pub(super) trait Output: Send + 'static {
    /// Writes bytes from the front of `bytes`, and returns how many.
    ///
    /// # Errors
    ///
    /// As [`std::io::Write::write`].
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Takes back the last `bytes` bytes that were written. False where it can't.
    fn take_back(&mut self, bytes: usize) -> bool;

    /// Opens it anew, as after a rotation. False where it is nothing that is rotated.
    ///
    /// # Errors
    ///
    /// Where it can't be opened; it stays as it was.
    fn reopen(&mut self) -> io::Result<bool>;
}

/// An event of an output, as its writer tells it.
#[derive(Debug)]
pub(super) enum Event<'a> {
    /// It can't be written to.
    Fails(&'a io::Error),
    /// It has taken a whole record again.
    WorksAgain,
    /// It was opened anew.
    Reopened,
    /// It could not be opened anew.
    NotReopened(&'a io::Error),
}

/// Makes the record, with its line's end, of the number of lost ones.
pub(super) type CountLost = Box<dyn FnMut(u64) -> String + Send>;

/// Whether an output was opened anew, or why not.
pub(super) type Reopened = Result<(), String>;

/// See the [module documentation](self).
#[derive(Debug)]
pub(super) struct Sink {
    state: Mutex<State>,
    filled: Condvar,
    written: Condvar,
}

#[derive(Debug)]
struct State {
    waiting: Vec<u8>,
    rate: Bucket,
    dropped: u64,
    /// All that were dropped since the start.
    lost: u64,
    /// Bytes waiting or being written.
    unwritten: usize,
    /// The writer sleeps until it is woken.
    asleep: bool,
    /// Nothing is gathered any more.
    hurried: bool,
    /// Where anybody waits for the output to be opened anew.
    reopens: Vec<Sender<Reopened>>,
}

impl Sink {
    /// Returns an empty queue that nobody writes out yet.
    pub(super) fn new() -> Sink {
        let state = State {
            waiting: Vec::new(),
            rate: Bucket::new(BYTES_PER_SECOND, SAVES, Instant::now()),
            dropped: 0,
            lost: 0,
            unwritten: 0,
            asleep: false,
            hurried: false,
            reopens: Vec::new(),
        };
        Sink { state: Mutex::new(state), filled: Condvar::new(), written: Condvar::new() }
    }

    /// Starts the thread that writes to `output`. Each event of it is told to `tell`, the first
    /// failure of a row alone.
    ///
    /// # Errors
    ///
    /// Where a thread can't be started.
    pub(super) fn start(
        output: impl Output,
        count_lost: CountLost,
        tell: impl Fn(Event<'_>) + Send + 'static,
    ) -> io::Result<Arc<Sink>> {
        let sink = Arc::new(Sink::new());
        let queue = sink.clone();
        let mut writer = Writer { output, count_lost, tell, batch: Batch::default(), is_failing: false };
        thread::Builder::new().name("ferry-log".into()).spawn(move || writer.run(&queue))?;
        Ok(sink)
    }

    /// Returns how many records were dropped since the start.
    pub(super) fn lost(&self) -> u64 {
        self.lock().lost
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a record, which ends in a line's end, and does not wait.
    pub(super) fn take(&self, record: &[u8]) {
        self.take_at(record, Instant::now());
    }

    /// Takes all that waits to be written, as lines.
    #[cfg(test)]
    pub(super) fn take_waiting(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut self.lock().waiting);
        String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
    }

    fn take_at(&self, record: &[u8], now: Instant) {
        let mut state = self.lock();
        let before = state.waiting.len();
        if before + record.len() > WAITING_BYTES || state.rate.ready_at(now).is_some() {
            state.dropped += 1;
            state.lost += 1;
        } else {
            state.rate.take(record.len() as u64, now);
            state.waiting.extend_from_slice(record);
            state.unwritten += record.len();
        }
        let enough = before < GATHERED_BYTES && state.waiting.len() >= GATHERED_BYTES;
        let wake = std::mem::take(&mut state.asleep) || enough;
        drop(state);
        if wake {
            self.filled.notify_one();
        }
    }

    /// Asks the writer to open the output anew, and does not wait. The result can be received.
    pub(super) fn reopen(&self) -> Receiver<Reopened> {
        let (done_by, done) = channel();
        self.lock().reopens.push(done_by);
        self.filled.notify_one();
        done
    }

    /// Asks the writer to write at once: nothing is gathered from here on.
    pub(super) fn hurry(&self) {
        self.lock().hurried = true;
        self.filled.notify_one();
    }

    /// Waits until all is written, in a hurry, but for no longer than `most`.
    pub(super) fn write_soon(&self, most: Duration) {
        self.hurry();
        let state = self.lock();
        drop(self.written.wait_timeout_while(state, most, |state| state.unwritten > 0));
    }
}

/// Records that are being written.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    /// The bytes of them that are written.
    written: usize,
}

impl Batch {
    fn is_written(&self) -> bool {
        self.written == self.bytes.len()
    }

    /// Returns how many bytes are written of a record whose rest is not.
    fn torn(&self) -> usize {
        let written = &self.bytes[..self.written];
        written.len() - written.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1)
    }
}

struct Writer<O, T> {
    output: O,
    count_lost: CountLost,
    tell: T,
    batch: Batch,
    is_failing: bool,
}

impl<O: Output, T: Fn(Event<'_>)> Writer<O, T> {
    /// Writes for ever.
    fn run(&mut self, sink: &Sink) {
        loop {
            let mut state = sink.lock();
            while state.waiting.is_empty() && state.dropped == 0 && state.reopens.is_empty() {
                state.asleep = true;
                state = sink.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.asleep = false;
            std::mem::swap(&mut self.batch.bytes, &mut state.waiting);
            let dropped = std::mem::take(&mut state.dropped);
            drop(state);
            if dropped > 0 {
                self.batch.bytes.extend_from_slice((self.count_lost)(dropped).as_bytes());
            }
            self.reopen_if_due(sink);
            while let Err(error) = self.write_batch() {
                self.note_failure(&error);
                let state = sink.lock();
                drop(sink.filled.wait_timeout_while(state, RETRY, |state| state.reopens.is_empty()));
                self.reopen_if_due(sink);
            }
            (self.batch.written, self.is_failing) = (0, false);
            self.batch.bytes.clear();
            let mut state = sink.lock();
            state.unwritten = state.waiting.len();
            sink.written.notify_all();
            let gathers =
                |state: &mut State| !state.hurried && state.reopens.is_empty() && state.waiting.len() < GATHERED_BYTES;
            drop(sink.filled.wait_timeout_while(state, GATHERING, gathers));
        }
    }

    fn write_batch(&mut self) -> io::Result<()> {
        while !self.batch.is_written() {
            match self.output.write(&self.batch.bytes[self.batch.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    self.batch.written += bytes;
                    // A full disk may take a part of a record again and again, which is then taken back.
                    let is_whole = || self.batch.bytes[self.batch.written - bytes..self.batch.written].contains(&b'\n');
                    if self.is_failing && is_whole() {
                        self.is_failing = false;
                        (self.tell)(Event::WorksAgain);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes back the part of a record that is written: nobody is to see it.
    fn note_failure(&mut self, error: &io::Error) {
        let torn = self.batch.torn();
        if torn > 0 && self.output.take_back(torn) {
            self.batch.written -= torn;
        }
        if !std::mem::replace(&mut self.is_failing, true) {
            (self.tell)(Event::Fails(error));
        }
    }

    fn reopen_if_due(&mut self, sink: &Sink) {
        let waiting = std::mem::take(&mut sink.lock().reopens);
        if waiting.is_empty() {
            return;
        }
        let reopened = self.output.reopen();
        match &reopened {
            Ok(false) => {}
            Ok(true) => {
                // A record whose beginning is in the old file is in the new one as a whole.
                self.batch.written -= self.batch.torn();
                (self.tell)(Event::Reopened);
            }
            Err(error) => (self.tell)(Event::NotReopened(error)),
        }
        for done_by in waiting {
            // Nobody need wait for it.
            let _ = done_by.send(reopened.as_ref().map(|_| ()).map_err(io::Error::to_string));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An output that hands on each write, and answers as it is told.
    struct Puppet {
        written: Sender<String>,
        orders: Receiver<io::Result<usize>>,
        takes_back: bool,
    }

    /// Writes all.
    const ALL: io::Result<usize> = Ok(usize::MAX);

    fn full() -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    impl Output for Puppet {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.written.send(String::from_utf8_lossy(bytes).into_owned()).map_err(io::Error::other)?;
            let order = self.orders.recv().map_err(io::Error::other)?;
            order.map(|most| most.min(bytes.len()))
        }

        fn take_back(&mut self, bytes: usize) -> bool {
            let _ = self.written.send(format!("take back {bytes}"));
            self.takes_back
        }

        fn reopen(&mut self) -> io::Result<bool> {
            let _ = self.written.send("reopen".into());
            self.orders.recv().map_err(io::Error::other)?.map(|answer| answer > 0)
        }
    }

    /// A sink whose output is in the test's hand.
    struct Stage {
        sink: Arc<Sink>,
        written: Receiver<String>,
        orders: Sender<io::Result<usize>>,
        told: Receiver<String>,
    }

    impl Stage {
        fn new(takes_back: bool) -> Stage {
            let ((written, seen), (orders, obeyed), (tell, told)) = (channel(), channel(), channel());
            let output = Puppet { written, orders: obeyed, takes_back };
            let count_lost = Box::new(|lost| format!("{lost} lost\n"));
            let sink = Sink::start(output, count_lost, move |event| {
                let _ = tell.send(format!("{event:?}").split('(').next().unwrap().to_owned());
            });
            Stage { sink: sink.unwrap(), written: seen, orders, told }
        }

        fn take(&self, record: &str) {
            self.sink.take(record.as_bytes());
        }

        /// Waits for an attempt, and has it end so.
        fn answer(&self, order: io::Result<usize>) -> String {
            let attempt = self.written.recv().unwrap();
            self.orders.send(order).unwrap();
            attempt
        }

        fn end(self) -> Vec<String> {
            self.sink.write_soon(Duration::from_secs(60));
            assert_eq!(self.sink.lock().unwritten, 0);
            self.told.try_iter().collect()
        }
    }

    #[test]
    fn records_that_find_no_room_are_counted_and_nobody_waits() {
        let stage = Stage::new(true);
        stage.take("first\n");
        assert_eq!(stage.written.recv().unwrap(), "first\n");
        // The writer is stuck: what fits is kept, the rest counted.
        let record = "x".repeat(WAITING_BYTES / 4 - 1) + "\n";
        (0..7).for_each(|_| stage.take(&record));
        stage.orders.send(ALL).unwrap();
        assert_eq!(stage.answer(ALL), record.repeat(4) + "3 lost\n");
        assert!(stage.end().is_empty());
    }

    #[test]
    fn an_output_that_fails_is_told_once_and_tried_until_it_takes_all() {
        let stage = Stage::new(true);
        stage.take("one\n");
        for _ in 0..3 {
            assert_eq!(stage.answer(full()), "one\n");
        }
        stage.take("two\n");
        let record = "x".repeat(WAITING_BYTES / 2 - 1) + "\n";
        (0..3).for_each(|_| stage.take(&record));
        assert_eq!(stage.answer(ALL), "one\n");
        assert_eq!(stage.answer(full()), format!("two\n{record}2 lost\n"));
        assert_eq!(stage.answer(ALL), format!("two\n{record}2 lost\n"));
        assert_eq!(stage.end(), ["Fails", "WorksAgain", "Fails", "WorksAgain"]);
    }

    #[test]
    fn a_part_of_a_record_is_taken_back_or_its_rest_follows() {
        for takes_back in [true, false] {
            let stage = Stage::new(takes_back);
            stage.take("first\nsecond\n");
            assert_eq!(stage.answer(Ok(9)), "first\nsecond\n");
            assert_eq!(stage.answer(full()), "ond\n");
            assert_eq!(stage.written.recv().unwrap(), "take back 3");
            assert_eq!(stage.answer(ALL), if takes_back { "second\n" } else { "ond\n" });
            stage.end();
        }
    }

    #[test]
    fn an_output_that_takes_no_whole_record_does_not_work_again() {
        let stage = Stage::new(true);
        stage.take("first\n");
        for _ in 0..3 {
            assert_eq!(stage.answer(Ok(3)), "first\n");
            assert_eq!(stage.answer(full()), "st\n");
            assert_eq!(stage.written.recv().unwrap(), "take back 3");
        }
        assert_eq!(stage.answer(ALL), "first\n");
        assert_eq!(stage.end(), ["Fails", "WorksAgain"]);
    }

    #[test]
    fn a_rotated_output_is_opened_anew_and_gets_the_whole_of_a_torn_record() {
        let stage = Stage::new(false);
        let reopened = stage.sink.reopen();
        assert_eq!(stage.answer(Ok(1)), "reopen");
        assert_eq!(reopened.recv(), Ok(Ok(())));
        stage.take("first\nsecond\n");
        assert_eq!(stage.answer(Ok(9)), "first\nsecond\n");
        // Meanwhile, so that it is seen at once.
        let reopened = stage.sink.reopen();
        assert_eq!(stage.answer(full()), "ond\n");
        assert_eq!(stage.written.recv().unwrap(), "take back 3");
        assert_eq!(stage.answer(Ok(1)), "reopen");
        assert_eq!(reopened.recv(), Ok(Ok(())));
        assert_eq!(stage.answer(ALL), "second\n");
        let reopened = stage.sink.reopen();
        assert_eq!(stage.answer(full()), "reopen");
        assert_eq!(reopened.recv(), Ok(Err(full().unwrap_err().to_string())));
        // Nobody waits for this one.
        drop(stage.sink.reopen());
        assert_eq!(stage.answer(Ok(0)), "reopen");
        stage.take("third\n");
        assert_eq!(stage.answer(ALL), "third\n");
        assert_eq!(stage.end(), ["Reopened", "Fails", "Reopened", "WorksAgain", "NotReopened"]);
    }

    #[test]
    fn however_much_is_logged_so_many_bytes_a_second_are_written() {
        let (sink, start) = (Sink::new(), Instant::now());
        let record = [b'x'; 1 << 10];
        let mut kept = 0;
        for tenth in 0..100 {
            let now = start + Duration::from_millis(100) * tenth;
            for _ in 0..4096 {
                sink.take_at(&record, now);
                kept += std::mem::take(&mut sink.lock().waiting).len() as u64;
            }
        }
        let most = BYTES_PER_SECOND * (SAVES.as_secs() + 10) + record.len() as u64 * 101;
        assert!((BYTES_PER_SECOND * SAVES.as_secs()..=most).contains(&kept), "{kept} bytes in ten seconds");
        assert_eq!(sink.lock().dropped, 409_600 - kept / record.len() as u64);
    }
}
