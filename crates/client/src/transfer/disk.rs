//! The thread that brings downloads to the local disk, so that the connection's own thread receives and checks
//! what comes meanwhile.

use std::{
    fs::File,
    ops::Range,
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel},
    },
    thread::Scope,
    time::Duration,
};

use ferry_wire::Crc32;

use super::{Moved, fetch::Split, pieces::Piece};
use crate::{
    error::Error,
    local::{LastDirectory, Layout, LocalPath, RESERVE_BYTES, Staged, append_lines, make_hole, reserve},
    options::Given,
};

/// Bytes of small files that are handed over together, and of a large one at once. Of 256 KiB, 512 KiB and 1 MiB this costs
/// the least processor time, the last one twice as much: it does not stay in the processor's cache between the
/// socket and the disk. The largest small file may come on top.
pub(super) const BUFFER_BYTES: usize = 512 << 10;

/// Buffers in all: what a slow disk may be behind.
const BUFFERS: usize = 8;

/// Small files that are handed over together at most, so that their names take no more memory than their bytes.
pub(super) const BATCH_FILES: usize = 512;

/// Between two looks at the caller's flag while the disk is waited for.
const LOOK: Duration = Duration::from_millis(50);

/// Verified small files, their bytes one after the other.
#[derive(Debug, Default)]
pub(super) struct Batch<'a> {
    pub(super) bytes: Vec<u8>,
    pub(super) files: Vec<SmallDownload<'a>>,
}

/// One small file, whole and verified.
#[derive(Debug)]
pub(super) struct SmallDownload<'a> {
    pub(super) index: usize,
    pub(super) target: &'a LocalPath,
    pub(super) given: Given,
    pub(super) moved: Moved,
    /// Where its bytes end; they begin where those of the one before it end.
    pub(super) end: usize,
}

enum Operation<'a> {
    Batch(Batch<'a>),
    Append { file: Arc<File>, path: &'a Path, at: u64, size: u64, bytes: Vec<u8>, filled: usize },
    Hole { file: Arc<File>, path: &'a Path, hole: Range<u64> },
    Checkpoint { journal: Arc<File>, path: &'a Path, line: Vec<u8> },
    Piece { split: Arc<Split<'a>>, hand: usize, piece: Piece, crc: Crc32, bytes: Vec<u8> },
}

/// A completion of the disk's thread.
#[derive(Debug)]
pub(super) enum Completion<'a> {
    /// A small file has its name.
    Published { index: usize, moved: Moved },
    /// A small file could not be written.
    Failed { index: usize, error: Error },
    /// The large file could not be written.
    Spoiled(Error),
    /// A verified piece of a file is there, or could not be written.
    Piece { split: Arc<Split<'a>>, result: Result<(), Error> },
}

/// An operation is done: one message for all of it, for each one wakes who waits.
struct Finished<'a> {
    completions: Vec<Completion<'a>>,
    /// Can be filled again; without any room for one that had none.
    buffer: Vec<u8>,
}

/// The disk as the connection's thread sees it. Everything is done in the order in which it was handed over.
pub(super) struct Disk<'a> {
    operations: SyncSender<Operation<'a>>,
    back: Receiver<Finished<'a>>,
    free: Vec<Vec<u8>>,
    /// Operations that were handed over and are not done.
    busy: usize,
    completions: Vec<Completion<'a>>,
}

impl<'a> Disk<'a> {
    /// Starts the thread, which lays large files out as `layout` says; it ends when this is dropped, after what was handed over.
    pub(super) fn start<'scope>(scope: &'scope Scope<'scope, '_>, layout: Layout) -> Disk<'a>
    where
        'a: 'scope,
    {
        let (operations, orders) = sync_channel(BUFFERS);
        let (say, back) = channel();
        scope.spawn(move || run(&orders, &say, layout));
        Disk {
            operations,
            back,
            free: (0..BUFFERS).map(|_| Vec::with_capacity(1)).collect(),
            busy: 0,
            completions: Vec::new(),
        }
    }

    /// An empty buffer. Waits while all are on their way to the disk; `look` may end that.
    pub(super) fn buffer(&mut self, look: &dyn Fn() -> Result<(), Error>) -> Result<Vec<u8>, Error> {
        loop {
            if let Some(buffer) = self.free.pop() {
                return Ok(buffer);
            }
            look()?;
            self.wait();
        }
    }

    /// Gives a buffer back that was not needed.
    pub(super) fn give_back(&mut self, buffer: Vec<u8>) {
        self.free.push(buffer);
    }

    /// Publishes verified small files.
    pub(super) fn publish(&mut self, batch: Batch<'a>) {
        self.hand_over(Operation::Batch(batch));
    }

    /// Writes `bytes[..filled]` at `at` of a file that is to have `size` bytes.
    pub(super) fn append(
        &mut self,
        file: &Arc<File>,
        path: &'a Path,
        at: u64,
        size: u64,
        bytes: Vec<u8>,
        filled: usize,
    ) {
        self.hand_over(Operation::Append { file: Arc::clone(file), path, at, size, bytes, filled });
    }

    /// Has a range of a file read as zeros, in a hole where the file system makes such.
    pub(super) fn hole(&mut self, file: &Arc<File>, path: &'a Path, hole: Range<u64>) {
        self.hand_over(Operation::Hole { file: Arc::clone(file), path, hole });
    }

    /// Appends `line` to `journal`, after what was handed over before.
    pub(super) fn checkpoint(&mut self, journal: &Arc<File>, path: &'a Path, line: Vec<u8>) {
        self.hand_over(Operation::Checkpoint { journal: Arc::clone(journal), path, line });
    }

    /// Writes the verified bytes of a piece that `hand` has taken.
    pub(super) fn write_piece(
        &mut self,
        split: Arc<Split<'a>>,
        (hand, piece): (usize, Piece),
        crc: Crc32,
        bytes: Vec<u8>,
    ) {
        self.hand_over(Operation::Piece { split, hand, piece, crc, bytes });
    }

    fn hand_over(&mut self, operation: Operation<'a>) {
        self.busy += 1;
        // Each operation with bytes has a buffer of its own, so there is room, but for checkpoints and holes: then this waits
        // for one write.
        if self.operations.send(operation).is_err() {
            self.busy -= 1;
        }
    }

    /// Waits until all that was handed over is done.
    pub(super) fn settle(&mut self) {
        while self.busy > 0 && self.wait() {}
    }

    /// Whether all that was handed over is done.
    pub(super) fn is_idle(&mut self) -> bool {
        while self.busy > 0
            && let Ok(back) = self.back.try_recv()
        {
            self.take(back);
        }
        self.busy == 0
    }

    /// Returns the completions since the last call; never waits.
    pub(super) fn completions(&mut self) -> Vec<Completion<'a>> {
        while let Ok(back) = self.back.try_recv() {
            self.take(back);
        }
        std::mem::take(&mut self.completions)
    }

    /// Waits a moment for a completion. False where the thread is gone.
    fn wait(&mut self) -> bool {
        match self.back.recv_timeout(LOOK) {
            Ok(back) => self.take(back),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                self.busy = 0;
                return false;
            }
        }
        true
    }

    fn take(&mut self, back: Finished<'a>) {
        self.busy = self.busy.saturating_sub(1);
        self.completions.extend(back.completions);
        if back.buffer.capacity() > 0 {
            self.free.push(back.buffer);
        }
    }
}

fn run<'a>(orders: &Receiver<Operation<'a>>, say: &Sender<Finished<'a>>, layout: Layout) {
    let mut directory = LastDirectory::default();
    for operation in orders {
        let mut completions = Vec::new();
        let buffer = match operation {
            Operation::Batch(Batch { bytes, files }) => {
                completions.extend(publish_all(&mut directory, &bytes, files));
                kept(bytes)
            }
            Operation::Append { file, path, at, size, bytes, filled } => {
                if layout == Layout::Whole && at % RESERVE_BYTES < filled as u64 {
                    reserve(&file, at, size);
                }
                completions.extend(layout.write(&file, path, &bytes[..filled], at).err().map(Completion::Spoiled));
                bytes
            }
            Operation::Hole { file, path, hole } => {
                completions.extend(make_hole(&file, path, hole).err().map(Completion::Spoiled));
                Vec::new()
            }
            Operation::Checkpoint { journal, path, line } => {
                completions.extend(append_lines(&journal, path, &line).err().map(Completion::Spoiled));
                Vec::new()
            }
            Operation::Piece { split, hand, piece, crc, bytes } => {
                let result = split.write(hand, piece, crc, &bytes);
                completions.push(Completion::Piece { split, result });
                kept(bytes)
            }
        };
        if say.send(Finished { completions, buffer }).is_err() {
            return;
        }
    }
}

/// Gives each file of a batch its name.
fn publish_all<'b, 'a: 'b>(
    directory: &'b mut LastDirectory,
    bytes: &'b [u8],
    files: Vec<SmallDownload<'a>>,
) -> impl Iterator<Item = Completion<'a>> + 'b {
    let mut start = 0;
    files.into_iter().map(move |SmallDownload { index, target, given, moved, end }| {
        let content = &bytes[start..end];
        start = end;
        match publish(directory, target, content, given) {
            Ok(()) => Completion::Published { index, moved },
            Err(error) => Completion::Failed { index, error },
        }
    })
}

fn publish(directory: &mut LastDirectory, target: &LocalPath, bytes: &[u8], given: Given) -> Result<(), Error> {
    let (directory, last) = directory.of(target)?;
    let mut staged = Staged::create_in(directory, last, target)?;
    staged.write(bytes)?;
    staged.publish(given)
}

/// An emptied buffer, of usual size again. It always has room, by which it is told from none.
fn kept(mut buffer: Vec<u8>) -> Vec<u8> {
    buffer.clear();
    buffer.shrink_to(2 * BUFFER_BYTES);
    buffer.reserve(1);
    buffer
}
