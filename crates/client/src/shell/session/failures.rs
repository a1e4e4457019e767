//! What goes wrong with one of many.

use crate::shell::{
    exit::{Exit, Failed},
    output::Output,
};

/// Either ends a command at the first failure, or tells each and remembers the first.
#[derive(Debug)]
pub(super) struct Failures {
    keep_going: bool,
    count: usize,
    first: Option<Exit>,
}

impl Failures {
    /// Where it does not `keep_going`, the first failure is the last.
    pub(super) fn new(keep_going: bool) -> Failures {
        Failures { keep_going, count: 0, first: None }
    }

    /// Whether the others are gone on with.
    pub(super) fn keep_going(&self) -> bool {
        self.keep_going
    }

    /// Whether nothing went wrong so far.
    pub(super) fn is_clean(&self) -> bool {
        self.count == 0
    }

    /// Tells `failed`, or gives it back to end with.
    pub(super) fn take(&mut self, output: &mut Output, failed: Failed) -> Result<(), Failed> {
        if !self.keep_going {
            return Err(failed);
        }
        self.tell(output, &failed);
        Ok(())
    }

    /// Tells `failed` in any case: others of its kind may follow, and a person wants to know all of them at once.
    pub(super) fn tell(&mut self, output: &mut Output, failed: &Failed) {
        output.complain(failed);
        self.count += 1;
        let first = self.first.get_or_insert(failed.exit);
        // Whoever presses Ctrl-C ends everything, whatever went wrong before.
        if matches!(failed.exit, Exit::Signal(_)) {
            *first = failed.exit;
        }
    }

    /// Ends here if something was told that nothing can be gone on with.
    pub(super) fn check(&self, command: &str, consequence: &str) -> Result<(), Failed> {
        match self.first {
            Some(exit) if !self.keep_going => Err(Failed { exit, message: format!("{command}: {consequence}") }),
            _ => Ok(()),
        }
    }

    /// What a command comes to that was gone on with.
    pub(super) fn end(self, command: &str) -> Result<(), Failed> {
        match self.first {
            None => Ok(()),
            Some(exit) => Err(Failed { exit, message: format!("{command}: {} failed, the rest is done", self.count) }),
        }
    }
}
