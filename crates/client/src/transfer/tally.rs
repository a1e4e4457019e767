//! Counts what became of each file, and tells the caller.

use std::collections::{HashSet, VecDeque};

use super::{Event, Moved, Phase, Report};
use crate::error::Error;

/// How often one file is begun anew because it changed, or because what was there of it was of no use.
const RESTARTS: u32 = 3;

/// How failures are handled, and how much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// A list of files: what can be mended is tried again, and what is cut is left at once.
    Many,
    /// One file that was asked for by itself: the first failure is told, a caller who ends it keeps the connection if that
    /// is soon done, and each piece is told.
    Alone,
}

/// The list on its way.
pub(super) struct Tally<'a> {
    watch: &'a mut dyn FnMut(&Event<'_>),
    manner: Manner,
    keep_going: bool,
    pub(super) report: Report,
    /// Files that are still to be asked for, in their order.
    queue: VecDeque<usize>,
    /// Files that were taken from it and have come to no end, in the order in which they were taken.
    taken: VecDeque<usize>,
    /// How often a file was begun anew: few ever are.
    restarts: Vec<(usize, u32)>,
    /// Files that are begun and have come to no end.
    begun: HashSet<usize>,
    /// Something moved since the connection was opened last.
    pub(super) progress: bool,
    /// A file failed, and nothing more is to be tried.
    pub(super) stopped: bool,
}

impl<'a> Tally<'a> {
    pub(super) fn new(
        count: usize,
        manner: Manner,
        keep_going: bool,
        watch: &'a mut dyn FnMut(&Event<'_>),
    ) -> Tally<'a> {
        Tally {
            watch,
            manner,
            keep_going,
            report: Report::default(),
            queue: (0..count).collect(),
            restarts: Vec::new(),
            taken: VecDeque::new(),
            begun: HashSet::new(),
            progress: false,
            stopped: false,
        }
    }

    pub(super) fn is_alone(&self) -> bool {
        self.manner == Manner::Alone
    }

    /// The file that is to be asked for next.
    pub(super) fn next(&self) -> Option<usize> {
        self.queue.front().copied()
    }

    /// Takes the next file, to be asked for.
    pub(super) fn take(&mut self) {
        self.taken.extend(self.queue.pop_front());
    }

    /// Takes all files, and gives them.
    pub(super) fn take_all(&mut self) -> Vec<usize> {
        self.taken.append(&mut self.queue);
        self.taken.iter().copied().collect()
    }

    /// A file has come to an end, or is to be asked for anew.
    fn ended(&mut self, index: usize) {
        self.begun.remove(&index);
        // Most often it is the first.
        if let Some(position) = self.taken.iter().position(|taken| *taken == index) {
            self.taken.remove(position);
        }
    }

    pub(super) fn tell(&mut self, event: &Event<'_>) {
        (self.watch)(event);
    }

    /// A file is begun, unless it was already.
    pub(super) fn begun(&mut self, index: usize, size: u64, resumed: u64) {
        if self.begun.insert(index) {
            self.tell(&Event::Begun { index, size, resumed });
        }
    }

    pub(super) fn moved(&mut self, index: usize, done: u64) {
        self.tell(&Event::Moved { index, done });
    }

    /// A piece of a file has come. Of many files that is not told.
    pub(super) fn came(&mut self, index: usize, done: u64) {
        if self.is_alone() {
            self.moved(index, done);
        }
    }

    pub(super) fn entered(&mut self, index: usize, phase: Phase) {
        self.tell(&Event::Entered { index, phase });
    }

    pub(super) fn done(&mut self, index: usize, moved: &Moved) {
        self.ended(index);
        self.progress = true;
        self.report.files += 1;
        self.report.bytes += moved.size;
        self.report.resumed += moved.resumed;
        self.tell(&Event::Done { index, moved });
    }

    pub(super) fn failed(&mut self, index: usize, error: Error) {
        if self.stopped {
            // One failure is told; what fails after it was not wanted any more.
            log::info!("a file after the one that failed: {error}");
            return self.untried(index);
        }
        self.ended(index);
        self.tell(&Event::Failed { index, error: &error });
        self.report.failures.push((index, error));
        if !self.keep_going {
            self.stop();
        }
    }

    /// A file came after the one that failed.
    pub(super) fn untried(&mut self, index: usize) {
        self.ended(index);
        self.report.untried += 1;
    }

    /// Tries nothing more.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.report.untried += self.queue.len();
        self.queue.clear();
    }

    /// Puts what was taken and has come to no end back before all others: the connection is of no more use.
    pub(super) fn take_back(&mut self) {
        if self.stopped {
            self.report.untried += self.taken.len();
            self.taken.clear();
        }
        self.taken.append(&mut self.queue);
        std::mem::swap(&mut self.taken, &mut self.queue);
    }

    /// Tells that the part of a file that was there is of no use.
    pub(super) fn restarted(&mut self, index: usize, why: &str) {
        self.begun.remove(&index);
        self.tell(&Event::Restarted { index, why });
    }

    /// Begins a file anew, if that was not done too often already; then `error` is its end.
    pub(super) fn restart(&mut self, index: usize, why: &str, error: Error) {
        if self.stopped {
            self.untried(index);
        } else if self.may_restart(index) {
            self.again(index, why);
        } else {
            self.failed(index, error);
        }
    }

    /// Begins a file anew, however often that was done.
    pub(super) fn again(&mut self, index: usize, why: &str) {
        self.restarted(index, why);
        self.ended(index);
        self.queue.push_front(index);
    }

    /// Whether a file may be tried once more, which counts.
    pub(super) fn may_restart(&mut self, index: usize) -> bool {
        if self.is_alone() {
            return false;
        }
        let position = self.restarts.iter().position(|entry| entry.0 == index).unwrap_or_else(|| {
            self.restarts.push((index, 0));
            self.restarts.len() - 1
        });
        let count = &mut self.restarts[position].1;
        *count += 1;
        *count <= RESTARTS
    }
}
