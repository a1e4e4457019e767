//! Reloads: a thread reads again all that can change while the server runs. It is checked as a
//! whole, and applied at once.

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
    observe::logging::{self, Reopening},
};

/// The valid result of a reload.
#[derive(Debug)]
pub struct Reloaded {
    /// The plain values.
    pub live: Live,
    /// Users and their rights.
    pub users: Users,
    /// Key and certificate; [`None`] where no TLS is spoken.
    pub tls: Option<TlsAcceptor>,
    /// The changes, in lines for the log and for the answer to `ferryd reload`.
    pub notes: Vec<String>,
    /// Warnings, among them of changes that take a new start.
    pub warnings: Vec<String>,
}

/// Reads all of it again. A thread of its own calls it.
///
/// # Errors
///
/// In words, where any of it is wrong. Nothing changes then.
pub type ReloadReading = dyn Fn() -> Result<Reloaded, String> + Send + Sync;

/// The end of a reload.
struct Done {
    read: Result<Reloaded, String>,
    /// A line for each log file that could not be opened anew.
    lacking_logs: Vec<String>,
}

/// See the [module documentation](self).
pub(super) struct Reloads {
    /// [`None`] where nothing can be read again.
    reading: Option<Arc<ReloadReading>>,
    waker: Arc<Waker>,
    done_by: Sender<Done>,
    done: Receiver<Done>,
    /// The inquiries that wait for the reload under way; [`None`] where there is none.
    under_way: Option<Vec<Token>>,
    /// The inquiries that came after it had begun. They get another reload, since files may have
    /// changed meanwhile.
    next: Option<Vec<Token>>,
    /// Why the last one failed, if it did.
    failure: Option<String>,
}

impl Reloads {
    /// Returns reloads whose threads wake `waker`.
    pub(super) fn new(waker: Arc<Waker>) -> Reloads {
        let (done_by, done) = channel();
        Reloads { reading: None, waker, done_by, done, under_way: None, next: None, failure: None }
    }

    /// Starts the reading, or another one after the one under way. `asker` is told how it ends, and
    /// how the `reopening` of the log files does.
    fn ask(&mut self, asker: Option<Token>, reopening: Reopening) {
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
            let read = read.unwrap_or_else(|_| Err("reading it again failed".to_owned()));
            // The loop may have ended.
            let _ = done_by.send(Done { read, lacking_logs: reopening.wait() });
            let _ = waker.wake();
        };
        if let Err(error) = thread::Builder::new().name("ferry-reload".into()).spawn(read) {
            // This is taken in the next round, which follows at once.
            let read = Err(format!("can't start a thread: {error}"));
            let _ = self.done_by.send(Done { read, lacking_logs: Vec::new() });
            let _ = self.waker.wake();
        }
    }

    /// Returns why the last reload failed, if it did.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Takes the result of a reload, and the inquiries that wait for it.
    fn take(&mut self) -> Option<(Done, Vec<Token>)> {
        self.under_way.as_ref()?;
        let done = self.done.try_recv().ok()?;
        Some((done, self.under_way.take().unwrap_or_default()))
    }
}

impl Server {
    /// Sets the function that each reload calls. Without it a reload fails.
    #[must_use]
    pub fn reloading_by(mut self, reading: Arc<ReloadReading>) -> Server {
        self.reloads.reading = Some(reading);
        self
    }

    /// Begins a reload. The log files are opened anew in any case, for rotations. `asker` is told
    /// how it ends: a log file that can't be opened is a failure as well, though all else holds.
    pub(super) fn reload(&mut self, why: &str, asker: Option<Token>, now: Instant) {
        log::info!("{why}: reading the configuration again");
        let reopening = self.log_files.reopen();
        if !self.life.is_draining() {
            self.manager.tell(News::Reloading, "reading the configuration again", now);
        }
        self.reloads.ask(asker, reopening);
    }

    /// Applies the result of a reload, if there is one, and answers the inquiries that wait for it.
    pub(super) fn take_reload(&mut self, now: Instant) {
        let Some((Done { read, lacking_logs }, askers)) = self.reloads.take() else { return };
        let lacking_logs = lacking_logs.join("; ");
        let result = match read {
            Ok(reloaded) => {
                let told = reloaded.notes.iter().chain(&reloaded.warnings).map(|line| format!("{line}\n"));
                let told: String = told.chain(["reloaded\n".to_owned()]).collect();
                reloaded.notes.iter().for_each(|note| log::info!("{note}"));
                reloaded.warnings.iter().for_each(|warning| log::warn!("{warning}"));
                self.apply(reloaded, now);
                log::info!("reloaded");
                self.counters.reloads += 1;
                self.counters.reloaded = Some(SystemTime::now());
                if lacking_logs.is_empty() { Ok(told) } else { Err(format!("reloaded, but {lacking_logs}")) }
            }
            Err(error) => {
                log::error!("nothing changes: {error}");
                self.counters.failed_reloads += 1;
                let why = format!("nothing changes: {error}");
                Err(if lacking_logs.is_empty() { why } else { format!("{why}; {lacking_logs}") })
            }
        };
        self.reloads.failure = result.as_ref().err().cloned();
        if !self.life.is_draining() {
            self.manager.tell(News::Ready, &self.state(now), now);
        }
        let answer = result.map_or_else(|why| control::refused(&why), |told| control::done(&told));
        for asker in askers {
            self.inquiries.answer(asker, Answer::from(answer.clone()), now);
        }
        if let Some(next) = self.reloads.next.take() {
            self.reload("a reload was asked for meanwhile", None, now);
            self.reloads.under_way = Some(next);
        }
    }

    /// Applies all of it from here on, also to present clients.
    fn apply(&mut self, reloaded: Reloaded, now: Instant) {
        let Reloaded { live, users, tls, .. } = reloaded;
        logging::set_level(live.log_level);
        self.life.set_grace(live.grace);
        self.handshakes.set_most(live.max_handshakes);
        self.arrivals.set_proxies(live.proxies.clone());
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
