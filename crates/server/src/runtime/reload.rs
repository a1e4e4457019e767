//! Reloads: all that can change while the server runs is read again by a thread, checked as a whole, and taken at once.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Instant, SystemTime},
};

use mio::{Token, Waker};

use super::{Live, Server, inquiries::Answer};
use crate::{
    access::Users,
    control,
    net::{News, TlsAcceptor},
    observe::logging,
};

/// All that was read again, and is right.
#[derive(Debug)]
pub struct Reloaded {
    /// The plain values.
    pub live: Live,
    /// Users and their rights.
    pub users: Users,
    /// Key and certificate, with what clients know the key by; [`None`] where no TLS is spoken.
    pub tls: Option<TlsAcceptor>,
    /// What holds now, in lines for the log and for who has asked.
    pub notes: Vec<String>,
    /// What takes a new start, and all else that is worth a warning.
    pub warnings: Vec<String>,
}

/// Reads all of it, by a thread of its own.
///
/// # Errors
///
/// In words, where any of it is wrong: then nothing changes.
pub type ReloadReading = dyn Fn() -> Result<Reloaded, String> + Send + Sync;

/// See the [module documentation](self).
pub(super) struct Reloads {
    /// [`None`] where nothing can be read again.
    reading: Option<Arc<ReloadReading>>,
    waker: Arc<Waker>,
    done_by: Sender<Result<Reloaded, String>>,
    done: Receiver<Result<Reloaded, String>>,
    /// Those who wait for the reload that is under way, if one is.
    under_way: Option<Vec<Token>>,
    /// Those who asked after it had begun: what they want to be read may have changed since.
    next: Option<Vec<Token>>,
}

impl Reloads {
    /// Returns a room whose thread wakes `waker`.
    pub(super) fn new(waker: Arc<Waker>) -> Reloads {
        let (done_by, done) = channel();
        Reloads { reading: None, waker, done_by, done, under_way: None, next: None }
    }

    /// Has all of it be read again, and told to `asker`, if somebody waits for that.
    fn ask(&mut self, asker: Option<Token>) {
        if self.under_way.is_some() {
            self.next.get_or_insert_default().extend(asker);
            return;
        }
        self.under_way = Some(asker.into_iter().collect());
        let (reading, done_by, waker) = (self.reading.clone(), self.done_by.clone(), self.waker.clone());
        let read = move || {
            let read = catch_unwind(AssertUnwindSafe(|| match reading {
                Some(reading) => reading(),
                None => Err("this server can't read anything again".to_owned()),
            }));
            // The loop may have ended.
            let _ = done_by.send(read.unwrap_or_else(|_| Err("reading it again failed".to_owned())));
            let _ = waker.wake();
        };
        if let Err(error) = thread::Builder::new().name("ferry-reload".into()).spawn(read) {
            // It is taken in the next round, which follows: it was asked for in this one.
            let _ = self.done_by.send(Err(format!("can't start a thread: {error}")));
            let _ = self.waker.wake();
        }
    }

    /// Takes the end of a reload, and who waits for it.
    fn take(&mut self) -> Option<(Result<Reloaded, String>, Vec<Token>)> {
        self.under_way.as_ref()?;
        let done = self.done.try_recv().ok()?;
        Some((done, self.under_way.take().unwrap_or_default()))
    }
}

impl Server {
    /// Has `reading` read again, at each reload, what may change. Without it nothing can.
    #[must_use]
    pub fn reloading_by(mut self, reading: Arc<ReloadReading>) -> Server {
        self.reloads.reading = Some(reading);
        self
    }

    /// Begins a reload. The log files are opened anew in any case: whoever rotates them has no other way. `asker` is told
    /// how it ends.
    pub(super) fn reload(&mut self, why: &str, asker: Option<Token>, now: Instant) {
        log::info!("{why}: reading the configuration again");
        self.log_files.reopen();
        if !self.life.is_draining() {
            self.manager.tell(News::Reloading, "reading the configuration again", now);
        }
        self.reloads.ask(asker);
    }

    /// Takes what was read, if it is all right, and tells who waits for that.
    pub(super) fn take_reload(&mut self, now: Instant) {
        let Some((done, askers)) = self.reloads.take() else { return };
        let (answer, status) = match done {
            Ok(reloaded) => {
                let told = reloaded.notes.iter().chain(&reloaded.warnings).map(|line| format!("{line}\n"));
                let told: String = told.chain(["reloaded\n".to_owned()]).collect();
                reloaded.notes.iter().for_each(|note| log::info!("{note}"));
                reloaded.warnings.iter().for_each(|warning| log::warn!("{warning}"));
                self.apply(reloaded, now);
                log::info!("reloaded");
                self.counters.reloads += 1;
                self.counters.reloaded = Some(SystemTime::now());
                (control::done(&told), "serving".to_owned())
            }
            Err(error) => {
                log::error!("nothing changes: {error}");
                self.counters.failed_reloads += 1;
                let why = format!("nothing changes: {error}");
                (control::refused(&why), format!("serving; the last reload failed, {why}"))
            }
        };
        if !self.life.is_draining() {
            self.manager.tell(News::Ready, &status, now);
        }
        for asker in askers {
            self.inquiries.answer(asker, Answer::from(answer.clone()), now);
        }
        if let Some(next) = self.reloads.next.take() {
            self.reload("a reload was asked for meanwhile", None, now);
            self.reloads.under_way = Some(next);
        }
    }

    /// Has all of it hold from here on, for clients that are there as well.
    fn apply(&mut self, reloaded: Reloaded, now: Instant) {
        let Reloaded { live, users, tls, .. } = reloaded;
        logging::set_level(live.log_level);
        self.life.set_grace(live.grace);
        self.handshakes.set_most(live.max_handshakes);
        if let (Some(ours), Some(new)) = (&mut self.tls, tls) {
            ours.become_like(new);
        }
        self.desk.set_users(Arc::new(users));
        self.arrivals.set_users(self.desk.users());
        let limits = self.arrivals.set_limits(live.limits.clone());
        let users = self.desk.users().clone();
        self.each_session(|session| {
            session.set_limits(&limits);
            session.set_users(&users);
        });
        self.apply_limits(&live, now);
    }
}
