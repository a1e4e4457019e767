//! What became of each file, told to the caller and counted.

use std::collections::VecDeque;

use super::{Event, Moved, Phase, Report};
use crate::error::Error;

/// How often one file is begun anew because it changed, or because what was there of it was of no use.
const RESTARTS: u32 = 3;

/// What is done for who asked where something goes wrong, and how much is told.
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
    pub(super) queue: VecDeque<usize>,
    /// How often a file was begun anew: few ever are.
    restarts: Vec<(usize, u32)>,
    /// Files that are begun and neither done nor failed, and that a lost connection sent back into the queue.
    begun: Vec<usize>,
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
            begun: Vec::new(),
            progress: false,
            stopped: false,
        }
    }

    pub(super) fn is_alone(&self) -> bool {
        self.manner == Manner::Alone
    }

    pub(super) fn tell(&mut self, event: &Event<'_>) {
        (self.watch)(event);
    }

    /// A file is begun, unless it was already.
    pub(super) fn begun(&mut self, index: usize, size: u64, resumed: u64) {
        let known = self.begun.len();
        self.begun.retain(|begun| *begun != index);
        if self.begun.len() == known {
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
        self.progress = true;
        self.report.files += 1;
        self.report.bytes += moved.size;
        self.report.resumed += moved.resumed;
        self.tell(&Event::Done { index, moved });
    }

    pub(super) fn failed(&mut self, index: usize, error: Error) {
        if self.stopped {
            // One failure is told; what fails behind it was not wanted any more.
            log::info!("a file behind the one that failed: {error}");
            self.report.untried += 1;
            return;
        }
        self.tell(&Event::Failed { index, error: &error });
        self.report.failures.push((index, error));
        if !self.keep_going {
            self.stop();
        }
    }

    /// Tries nothing more.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.report.untried += self.queue.len();
        self.queue.clear();
    }

    /// These are to be asked for again, before all others: the connection was lost. They were begun where
    /// `begun` says so.
    pub(super) fn ask_again(&mut self, asked: impl DoubleEndedIterator<Item = usize>, begun: Option<usize>) {
        if self.stopped {
            self.report.untried += asked.count();
            return;
        }
        for index in asked.rev() {
            self.queue.push_front(index);
        }
        self.begun.extend(begun);
    }

    /// What was there of a file is of no use.
    pub(super) fn restarted(&mut self, index: usize, why: &str) {
        self.begun.retain(|begun| *begun != index);
        self.tell(&Event::Restarted { index, why });
    }

    /// Begins a file anew, if that was not done too often already; then `error` is its end.
    pub(super) fn restart(&mut self, index: usize, why: &str, error: Error) {
        if self.stopped {
            self.report.untried += 1;
        } else if self.may_restart(index) {
            self.again(index, why);
        } else {
            self.failed(index, error);
        }
    }

    /// Begins a file anew, however often that was done.
    pub(super) fn again(&mut self, index: usize, why: &str) {
        self.restarted(index, why);
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
