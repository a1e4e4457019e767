//! Keys that change the rate while a transfer runs, and what else is typed meanwhile.

use std::{
    collections::VecDeque,
    io::{self, IsTerminal as _},
    num::NonZeroU64,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ferry_client::{Cancel, RateLimit};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, getpgrp, kill_current_process_group, kill_process},
    termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcsetattr},
};

/// The keys, as HELP tells of them.
pub(crate) const HELP: &str = "While a transfer runs: + doubles the limit of the rate, - halves it, 0 lifts it; \
what else is typed waits for the prompt.";

/// A key never sets a lower limit: at a rate of nothing a transfer would seem to hang.
const LEAST_RATE: u64 = 1 << 10;

/// More that is typed ahead is dropped: a file that was pasted by mistake is no line.
const MAX_TYPED_BYTES: usize = 64 << 10;

/// Read at once: more than anybody types in a moment.
const READ_BYTES: usize = 256;

/// Held by who reads the terminal, or changes how it is read.
static TERMINAL: Mutex<()> = Mutex::new(());

/// Waits until no keys are looked for, and keeps it so.
pub(crate) fn keep_from_terminal() -> MutexGuard<'static, ()> {
    TERMINAL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The limit of the rate, and the keyboard that changes it while a transfer runs. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keyboard {
    rate: RateLimit,
    cancel: Cancel,
    /// A person is at the prompt.
    listens: bool,
    typed: Arc<Mutex<Typed>>,
}

impl Keyboard {
    /// Has keys change `rate`, if it `listens`, until `cancel` is raised. It listens at the prompt alone: nobody could give
    /// the system's shell the text that was meant for it.
    pub(crate) fn new(rate: RateLimit, cancel: Cancel, listens: bool) -> Keyboard {
        Keyboard { rate, cancel, listens, typed: Arc::default() }
    }

    /// Returns the limit, in bytes a second.
    pub(crate) fn limit(&self) -> Option<NonZeroU64> {
        self.rate.get()
    }

    /// Takes a line that was typed while a transfer ran.
    pub(crate) fn take_line(&self) -> Option<String> {
        self.typed().lines.pop_front()
    }

    /// Takes the beginning of a line that was typed so.
    pub(crate) fn take_begun(&self) -> String {
        let mut typed = self.typed();
        typed.bytes = 0;
        let text = std::mem::take(&mut typed.text);
        String::from_utf8_lossy(&text).into_owned()
    }

    fn typed(&self) -> MutexGuard<'_, Typed> {
        self.typed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the limit as a key says; `rate` is that of the transfer now.
    fn press(&self, key: Key, rate: Option<f64>) {
        let limit = self.rate.get().map(NonZeroU64::get);
        let measured = || rate.map(|rate| rate as u64);
        let wanted = match key {
            Key::Faster => limit.map(|limit| limit.saturating_mul(2)),
            Key::Slower => limit.or_else(measured).map(|rate| (rate / 2).max(LEAST_RATE)),
            Key::Unlimited => None,
        };
        self.rate.set(wanted.and_then(NonZeroU64::new));
    }
}

/// A key that changes the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Faster,
    Slower,
    Unlimited,
}

/// A byte that was typed, if it is more than text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meant {
    Key(Key),
    /// Ctrl-Z, Ctrl-\.
    Signal(Signal),
}

/// The text that was typed while a transfer ran.
#[derive(Debug, Default)]
struct Typed {
    lines: VecDeque<String>,
    text: Vec<u8>,
    /// Of both together, and of their ends, since the prompt was there last.
    bytes: usize,
    escape: Escape,
}

/// How far into a sequence of a key without a character, such as an arrow.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    Begun,
    Within,
}

impl Typed {
    /// Takes a byte. Keys count where no text stands before them: in `get -r` the `-` is text.
    fn take(&mut self, byte: u8) -> Option<Meant> {
        match (self.escape, byte) {
            (Escape::None, b'\x1b') => self.escape = Escape::Begun,
            (Escape::Begun, b'[' | b'O') => self.escape = Escape::Within,
            (Escape::Within, b'0'..=b'9' | b';') => {}
            (Escape::Begun | Escape::Within, _) => self.escape = Escape::None,
            (Escape::None, b'\x1a') => return Some(Meant::Signal(Signal::TSTP)),
            (Escape::None, b'\x1c') => return Some(Meant::Signal(Signal::QUIT)),
            (Escape::None, b'+' | b'=') if self.text.is_empty() => return Some(Meant::Key(Key::Faster)),
            (Escape::None, b'-' | b'_') if self.text.is_empty() => return Some(Meant::Key(Key::Slower)),
            (Escape::None, b'0') if self.text.is_empty() => return Some(Meant::Key(Key::Unlimited)),
            // Ctrl-U.
            (Escape::None, b'\x15') => self.text.clear(),
            (Escape::None, b'\x7f' | b'\x08') => while self.text.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            (Escape::None, _) if self.bytes == MAX_TYPED_BYTES => {}
            (Escape::None, b'\n' | b'\r') => {
                self.bytes += 1;
                let line = std::mem::take(&mut self.text);
                self.lines.push_back(String::from_utf8_lossy(&line).into_owned());
            }
            (Escape::None, 0..b' ') => {}
            (Escape::None, byte) => {
                self.bytes += 1;
                self.text.push(byte);
            }
        }
        None
    }
}

/// The terminal, which gives keys as they are pressed and shows none, until this is dropped.
pub(super) struct Keys<'k> {
    keyboard: &'k Keyboard,
    /// How the terminal was before; [`None`] while it is so.
    before: Option<Termios>,
}

impl<'k> Keys<'k> {
    /// Begins with the terminal as it is.
    pub(super) fn new(keyboard: &'k Keyboard) -> Keys<'k> {
        Keys { keyboard, before: None }
    }

    /// Takes the keys that were pressed since. `rate` is that of the transfer now.
    pub(super) fn look(&mut self, rate: Option<f64>) {
        if !self.keyboard.listens {
            return;
        }
        let terminal = keep_from_terminal();
        if self.keyboard.cancel.is_cancelled() {
            // The transfer ends, and the program may: what was typed ahead is dropped, as the system does at Ctrl-C.
            self.give_back();
            *self.keyboard.typed() = Typed::default();
            return;
        }
        if !self.keep() {
            return;
        }
        let signal = self.read(rate);
        if let Some(signal) = signal {
            self.give_back();
            drop(terminal);
            raise(signal);
        }
    }

    /// Has the terminal give keys; false where this program does not have it. A shell that has stopped this program and lets
    /// it go on may have changed it.
    fn keep(&mut self) -> bool {
        let stdin = io::stdin();
        if !stdin.is_terminal() || !is_in_foreground() {
            return false;
        }
        let Ok(now) = tcgetattr(&stdin) else { return false };
        if !now.local_modes.contains(LocalModes::ICANON) {
            return self.before.is_some();
        }
        let mut keys = now.clone();
        keys.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        keys.special_codes[SpecialCodeIndex::VMIN] = 1;
        keys.special_codes[SpecialCodeIndex::VTIME] = 0;
        // They come as bytes, so that the terminal is given back first.
        keys.special_codes[SpecialCodeIndex::VSUSP] = 0;
        keys.special_codes[SpecialCodeIndex::VQUIT] = 0;
        self.before.get_or_insert(now);
        tcsetattr(&stdin, OptionalActions::Now, &keys).is_ok()
    }

    /// Reads what is there. Returns the signal that was asked for.
    fn read(&self, rate: Option<f64>) -> Option<Signal> {
        let stdin = io::stdin();
        let mut bytes = [0; READ_BYTES];
        while is_in_foreground() && is_ready(&stdin) {
            let got = rustix::io::read(&stdin, &mut bytes).unwrap_or(0);
            if got == 0 {
                break;
            }
            for byte in bytes.iter().take(got) {
                let meant = self.keyboard.typed().take(*byte);
                match meant {
                    Some(Meant::Key(key)) => self.keyboard.press(key, rate),
                    Some(Meant::Signal(signal)) => return Some(signal),
                    None => {}
                }
            }
        }
        None
    }

    /// Leaves the terminal as it was. Who is not in the foreground has lost it, and may not touch it.
    fn give_back(&mut self) {
        if let Some(before) = self.before.take()
            && is_in_foreground()
        {
            // A terminal that is gone needs nothing.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
        }
    }
}

impl Drop for Keys<'_> {
    fn drop(&mut self) {
        let _terminal = keep_from_terminal();
        if self.before.is_some() && !self.keyboard.cancel.is_cancelled() {
            // What was typed last would be lost between the two ways to read it.
            self.read(None);
        }
        self.give_back();
    }
}

/// Does what the terminal would have done for the key of a signal.
fn raise(signal: Signal) {
    let sent = match signal {
        Signal::TSTP => kill_current_process_group(signal),
        signal => kill_process(Pid::from_raw(std::process::id().cast_signed()).unwrap_or(Pid::INIT), signal),
    };
    if let Err(errno) = sent {
        log::debug!("no signal: {errno}");
    }
}

/// Whether the terminal is this program's now; it stops who reads or changes it and is not.
fn is_in_foreground() -> bool {
    tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp())
}

fn is_ready(stdin: &io::Stdin) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(stdin, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyboard(limit: u64) -> Keyboard {
        let keyboard = Keyboard::new(RateLimit::default(), Cancel::default(), true);
        keyboard.rate.set(NonZeroU64::new(limit));
        keyboard
    }

    #[test]
    fn keys_double_halve_and_lift_the_limit() {
        let after = |limit, keys: &[Key], rate| {
            let keyboard = keyboard(limit);
            keys.iter().for_each(|key| keyboard.press(*key, rate));
            keyboard.limit().map_or(0, NonZeroU64::get)
        };
        assert_eq!(after(10_000, &[Key::Faster, Key::Faster], None), 40_000);
        assert_eq!(after(10_000, &[Key::Slower], None), 5000);
        assert_eq!(after(1500, &[Key::Slower; 5], None), LEAST_RATE);
        assert_eq!(after(u64::MAX, &[Key::Faster], None), u64::MAX);
        assert_eq!(after(10_000, &[Key::Unlimited], None), 0);
        // Without a limit there is nothing to double, and the half is that of what moves.
        assert_eq!(after(0, &[Key::Faster], Some(9e6)), 0);
        assert_eq!(after(0, &[Key::Slower], Some(9e6)), 4_500_000);
        assert_eq!(after(0, &[Key::Slower], None), 0);
    }

    #[test]
    fn text_is_kept_for_the_prompt_and_keys_within_it_are_text() {
        let keyboard = keyboard(0);
        let mut keys = Vec::new();
        for byte in "+-0get -r a+0\n_=ls \x1b[A\x1b[1;5C\x1bOP\x1bxé\x7f\x01b\n\nc\x15d\x7f\x7fput 0".bytes() {
            let meant = keyboard.typed().take(byte);
            keys.extend(meant);
        }
        let key = Meant::Key;
        use Key::{Faster, Slower, Unlimited};
        assert_eq!(keys, [key(Faster), key(Slower), key(Unlimited), key(Slower), key(Faster)]);
        let lines: Vec<_> = std::iter::from_fn(|| keyboard.take_line()).collect();
        assert_eq!(lines, ["get -r a+0", "ls b", ""]);
        assert_eq!((keyboard.take_begun().as_str(), keyboard.take_begun().as_str()), ("put 0", ""));
        assert_eq!(keyboard.typed().take(0x1a), Some(Meant::Signal(Signal::TSTP)));
        assert_eq!(keyboard.typed().take(0x1c), Some(Meant::Signal(Signal::QUIT)));
    }

    #[test]
    fn what_is_typed_has_a_bound() {
        let mut typed = Typed::default();
        for _ in 0..2 * MAX_TYPED_BYTES {
            typed.take(b'x');
        }
        assert_eq!(typed.text.len(), MAX_TYPED_BYTES);
        typed.take(b'\n');
        assert!(typed.lines.is_empty());
    }
}
