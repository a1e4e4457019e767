//! Ctrl-C ends the transfer, not the shell; a signal that ends the program lets it clean up first.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use ferry_client::Cancel;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ},
    flag,
};

use super::exit::Exit;

/// The signals that have come.
pub(crate) struct Signals {
    cancel: Cancel,
    /// The signal that wants the program to end; 0 for none.
    ending: Arc<AtomicUsize>,
    /// Nothing is under way: the program waits for a line, and may end at once.
    at_rest: Arc<AtomicBool>,
}

impl Signals {
    /// Takes the signals over. From a terminal, SIGINT ends only what is under way.
    pub(crate) fn install(cancel: &Cancel, interactive: bool) -> io::Result<Signals> {
        let signals =
            Signals { cancel: cancel.clone(), ending: Arc::default(), at_rest: Arc::new(AtomicBool::new(false)) };
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let ends = signal != SIGINT || !interactive;
            if ends {
                // What can't be called off in good time, such as a read of standard input, is not waited for twice.
                let again = Arc::new(AtomicBool::new(false));
                flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&again))?;
                flag::register(signal, again)?;
                flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&signals.at_rest))?;
                flag::register_usize(signal, Arc::clone(&signals.ending), signal.unsigned_abs() as usize)?;
            }
            flag::register(signal, cancel.flag())?;
        }
        // A limit on file sizes is then an error of the write, which is reported, and leaves nothing behind.
        flag::register(SIGXFSZ, Arc::default())?;
        Ok(signals)
    }

    /// Runs `wait`, during which nothing is lost if the program ends.
    pub(crate) fn resting<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.at_rest.store(true, Ordering::SeqCst);
        let result = if self.ending().is_none() { Some(wait()) } else { None };
        self.at_rest.store(false, Ordering::SeqCst);
        match result {
            Some(result) => result,
            // The signal came just before the rest began.
            None => std::process::exit(128 + self.ending.load(Ordering::SeqCst) as i32),
        }
    }

    /// Forgets an earlier Ctrl-C: a new command begins.
    pub(crate) fn forget_interrupt(&self) {
        if self.ending().is_none() {
            self.cancel.reset();
        }
    }

    /// Returns how the program is to end, if a signal said so.
    pub(crate) fn ending(&self) -> Option<Exit> {
        match self.ending.load(Ordering::SeqCst) {
            0 => None,
            number => Some(Exit::Signal(u8::try_from(number).unwrap_or_default())),
        }
    }
}
