//! Ctrl-C ends the transfer, not the shell; a signal that ends the program lets it clean up first.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use ferry_client::Cancel;
use rustix::{
    process::getpgrp,
    termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr},
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ},
    flag, iterator, low_level,
};

use super::exit::Exit;

/// The signals that have come.
pub(crate) struct Signals {
    cancel: Cancel,
    /// The signal that wants the program to end; 0 for none.
    ending: Arc<AtomicUsize>,
    /// Nothing is under way: the program waits for a line, and may end at once.
    at_rest: Arc<AtomicBool>,
    /// The terminal as it is when nothing is asked, edited or looked for.
    usual: Arc<Mutex<Option<Termios>>>,
}

impl Signals {
    /// Takes the signals over. From a terminal, SIGINT ends only what is under way.
    pub(crate) fn install(cancel: &Cancel, interactive: bool) -> io::Result<Signals> {
        let signals = Signals {
            cancel: cancel.clone(),
            ending: Arc::default(),
            at_rest: Arc::default(),
            usual: Arc::new(Mutex::new(terminal())),
        };
        let ends = |signal: &i32| *signal != SIGINT || !interactive;
        let ending: Vec<i32> = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(ends).collect();
        for &signal in &ending {
            flag::register_usize(signal, Arc::clone(&signals.ending), signal.unsigned_abs() as usize)?;
        }
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register(signal, cancel.flag())?;
        }
        // A limit on file sizes is then an error of the write, which is reported, and leaves nothing behind.
        flag::register(SIGXFSZ, Arc::default())?;
        signals.end_at_once_by(&ending)?;
        Ok(signals)
    }

    /// Ends the program by the first of these signals that comes while it is at rest, and by a second one in any case: what
    /// can't be called off in good time, such as a read of standard input, is not waited for twice. The terminal is given
    /// back first.
    fn end_at_once_by(&self, ending: &[i32]) -> io::Result<()> {
        let mut coming = iterator::Signals::new(ending)?;
        let (at_rest, usual) = (Arc::clone(&self.at_rest), Arc::clone(&self.usual));
        let end_at_once = move || {
            let mut before = Vec::new();
            for signal in coming.forever() {
                if at_rest.load(Ordering::SeqCst) || before.contains(&signal) {
                    give_back(usual.lock().unwrap_or_else(PoisonError::into_inner).as_ref());
                    low_level::exit(128 + signal);
                }
                before.push(signal);
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(end_at_once).map(drop)
    }

    /// Runs `wait`, during which nothing is lost if the program ends.
    pub(crate) fn resting<T>(&self, wait: impl FnOnce() -> T) -> T {
        *self.usual.lock().unwrap_or_else(PoisonError::into_inner) = terminal();
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

/// Returns how the terminal is now, if there is one.
fn terminal() -> Option<Termios> {
    tcgetattr(io::stdin()).ok()
}

/// Makes the terminal `usual` again, if this program has it: one in the background would be stopped for that.
fn give_back(usual: Option<&Termios>) {
    let stdin = io::stdin();
    if let Some(usual) = usual
        && tcgetpgrp(&stdin).is_ok_and(|owner| owner == getpgrp())
    {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(&stdin, OptionalActions::Now, usual);
    }
}
