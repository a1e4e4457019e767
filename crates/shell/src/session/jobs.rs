//! Jobs: commands that move files on connections of their own, while the prompt goes on.

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use ferry_client::{Cancel, Client, Error, Event as Step};
use ferry_wire::escaped;

use super::{Session, not_connected};
use crate::{
    command::{Command, Target},
    exit::{Exit, Failed, plain},
    figures::Size,
    output::{Event, Format, Level, Output},
    progress::{Mode, Progress},
};

/// Each has connections of its own at a server, which counts them as clients.
const MOST_JOBS: usize = 4;

/// So many bytes of a job's output are kept: its first lines, which say what failed.
const MOST_PRINTED_BYTES: usize = 16 << 10;

/// Between two looks at a job that is waited for.
const LOOK: Duration = Duration::from_millis(50);

/// The jobs that run, or have ended untold.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    running: Vec<Job>,
    /// The number of the last one.
    last: usize,
    /// Somebody was told that there are some, and wanted to leave.
    warned: bool,
}

#[derive(Debug)]
struct Job {
    number: usize,
    /// As it was typed.
    line: String,
    cancel: Cancel,
    meter: Arc<Meter>,
    printed: Printed,
    begun: Instant,
    /// Its end.
    thread: JoinHandle<Result<(), Failed>>,
}

/// How far a transfer is.
#[derive(Debug, Default)]
pub(super) struct Meter {
    done: AtomicU64,
    size: AtomicU64,
}

impl Meter {
    /// The files that are moved have so many bytes, as far as that is known.
    pub(super) fn begin(&self, size: u64) {
        self.size.store(size, Ordering::Relaxed);
        self.done.store(0, Ordering::Relaxed);
    }

    /// A file has so many bytes, which was not known before.
    pub(super) fn add(&self, size: u64) {
        self.size.fetch_add(size, Ordering::Relaxed);
    }

    /// So many bytes of them are done.
    pub(super) fn note(&self, done: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.size.fetch_max(done, Ordering::Relaxed);
    }

    fn read(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.size.load(Ordering::Relaxed))
    }
}

/// The output of a job, until it is told.
#[derive(Debug, Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Printed {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns its lines.
    fn lines(&self) -> Vec<String> {
        String::from_utf8_lossy(&self.bytes()).lines().map(str::to_owned).collect()
    }
}

impl Write for Printed {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let mut bytes = self.bytes();
        let room = MOST_PRINTED_BYTES.saturating_sub(bytes.len()).min(text.len());
        bytes.extend_from_slice(&text[..room]);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Session {
    /// Starts `command`, which was typed as `line`, as a job. Where nobody is there to type another line, it waits until there are
    /// few enough.
    pub(crate) fn start_job(&mut self, line: &str, command: Command) -> Result<(), Failed> {
        check_job(&command)?;
        while self.jobs.running.len() >= MOST_JOBS {
            self.tell_ended_jobs();
            match self.interactive {
                _ if self.jobs.running.len() < MOST_JOBS => {}
                true => {
                    let message = format!("{MOST_JOBS} jobs run already; FG waits for one, CANCEL ends one");
                    return Err(Failed::of(Exit::Refused, message));
                }
                false => self.wait_a_moment()?,
            }
        }
        let client = self.client.as_ref().ok_or_else(not_connected)?;
        let (cancel, printed, meter) = (Cancel::default(), Printed::default(), Arc::<Meter>::default());
        // Nobody sees a question of a job.
        let options = client.options().clone().known_only().cancel(cancel.clone());
        let address = client.address().clone();
        let output = Output::to(Level::Normal, Format::Text, Box::new(printed.clone()), Box::new(printed.clone()));
        let mut session = Session::new(options.clone(), cancel.clone(), self.local.clone(), output);
        session.remote = self.remote.clone();
        session.settings = self.settings.clone();
        session.keep_going = self.keep_going;
        session.tree_retry_for = self.tree_retry_for;
        session.progress = Mode::Never;
        session.meter = Some(Arc::clone(&meter));
        let work = move || {
            let client = Client::connect(&address, options);
            session.client = Some(client.map_err(|error| Failed::new("not connected", &error))?);
            let result = session.execute(command).map(drop);
            session.leave();
            if let Err(failed) = &result {
                session.output.complain(failed);
            }
            result
        };
        let thread = thread::Builder::new().name("job".to_owned()).spawn(work);
        let thread = thread.map_err(|error| Failed::of(Exit::System, format!("no job begins: {}", plain(&error))))?;
        self.jobs.last += 1;
        let (number, line) = (self.jobs.last, line.trim().to_owned());
        self.output.say(format!("[{number}] {}", escaped(&line)), || event(number, &line, "started"));
        self.jobs.running.push(Job { number, line, cancel, meter, printed, begun: Instant::now(), thread });
        self.output.flush();
        Ok(())
    }

    /// Tells which jobs have ended, and how.
    pub(crate) fn tell_ended_jobs(&mut self) {
        while let Some(at) = self.jobs.running.iter().position(|job| job.thread.is_finished()) {
            let job = self.jobs.running.remove(at);
            // The first failure is the status of a script.
            if let Err(exit) = self.tell_end(job) {
                self.job_failure.get_or_insert(exit);
            }
        }
        self.output.flush();
    }

    /// Tells how a job has ended, for which it is waited if it has not.
    fn tell_end(&mut self, job: Job) -> Result<(), Exit> {
        let Job { number, line, printed, thread, .. } = job;
        let result = thread.join().unwrap_or_else(|_| Err(Failed::of(Exit::System, "it broke down")));
        let lines = printed.lines();
        let shown = escaped(&line).to_string();
        match result {
            Ok(()) => {
                let last = lines.last().map(|last| format!(": {last}")).unwrap_or_default();
                self.output.say(format!("[{number}] done {shown}{last}"), || {
                    event(number, &line, "done").with("message", lines.last().map(String::as_str))
                });
                Ok(())
            }
            Err(failed) => {
                let state = if matches!(failed.exit, Exit::Signal(_)) { "cancelled" } else { "failed" };
                // Errors of a connection that was never made were not printed.
                let lines = if lines.is_empty() { vec![failed.message.clone()] } else { lines };
                let text = format!("[{number}] {state} {shown}: {}", lines.join("\n    "));
                let message = lines.join("\n");
                self.output.remark(text, || {
                    event(number, &line, state).with("message", message.as_str()).with("status", failed.exit.status())
                });
                Err(failed.exit)
            }
        }
    }

    pub(super) fn tell_jobs(&mut self) {
        self.tell_ended_jobs();
        for Job { number, line, meter, begun, .. } in &self.jobs.running {
            let (done, size) = meter.read();
            let seconds = begun.elapsed().as_secs();
            let text = format!("[{number}] {}: {} of {}, {seconds} s", escaped(line), Size(done), Size(size));
            self.output.answer(text, || event(*number, line, "running").with("bytes", done).with("size", size));
        }
    }

    /// Waits for a job, the last one where none is named, and shows its progress. Ctrl-C ends it.
    pub(super) fn bring_forward(&mut self, number: Option<usize>) -> Result<(), Failed> {
        let at = self.find_job(number)?;
        let job = self.jobs.running.remove(at);
        self.output.say(escaped(&job.line), || event(job.number, &job.line, "foreground"));
        self.output.flush();
        let size = Some(job.meter.read().1).filter(|size| *size > 0);
        let shown = (escaped(&job.line).to_string(), size);
        let progress = Progress::start(self.output.shown_as(self.progress), [shown], &self.keyboard);
        let mut told = (0, 0);
        while !job.thread.is_finished() {
            let (done, size) = job.meter.read();
            if told.1 != size {
                progress.note(&Step::Begun { index: 0, size, resumed: 0 });
            }
            if told != (done, size) {
                progress.note(&Step::Moved { index: 0, done });
                told = (done, size);
            }
            if self.cancel.is_cancelled() {
                job.cancel.cancel();
            }
            thread::sleep(LOOK);
        }
        drop(progress);
        self.tell_end(job).map_err(Failed::told)
    }

    /// Ends a job, and waits for that.
    pub(super) fn cancel_job(&mut self, number: usize) -> Result<(), Failed> {
        let at = self.find_job(Some(number))?;
        let job = self.jobs.running.remove(at);
        job.cancel.cancel();
        // That it failed by that is no failure of this command.
        let _ = self.tell_end(job);
        Ok(())
    }

    fn find_job(&mut self, number: Option<usize>) -> Result<usize, Failed> {
        let jobs = &self.jobs.running;
        let at = match number {
            Some(number) => jobs.iter().position(|job| job.number == number),
            None => jobs.len().checked_sub(1),
        };
        at.ok_or_else(|| match number {
            Some(number) => Failed::usage(format!("there is no job {number}; JOBS lists them")),
            None => Failed::usage("there is no job"),
        })
    }

    /// Returns whether the program may end: a person is told once that jobs run.
    pub(crate) fn may_leave(&mut self) -> bool {
        self.tell_ended_jobs();
        let running = self.jobs.running.len();
        if running == 0 || self.jobs.warned || !self.interactive {
            return true;
        }
        self.jobs.warned = true;
        self.output
            .remark("there are running jobs: JOBS lists them, FG waits for one, and leaving again ends them", || {
                Event::new("jobs").with("running", running)
            });
        false
    }

    /// Tells, where the connection is closed, that jobs have their own.
    pub(super) fn tell_jobs_go_on(&mut self) {
        self.tell_ended_jobs();
        let running = self.jobs.running.len();
        if running > 0 {
            let text = "there are running jobs, which go on: they have connections of their own";
            self.output.remark(text, || Event::new("jobs").with("running", running));
        }
    }

    /// Something else was typed: whoever wants to leave is told again.
    pub(crate) fn forget_warning(&mut self) {
        self.jobs.warned = false;
    }

    /// Ends all jobs.
    pub(crate) fn end_jobs(&mut self) {
        self.jobs.running.iter().for_each(|job| job.cancel.cancel());
        for job in std::mem::take(&mut self.jobs.running) {
            let _ = self.tell_end(job);
        }
    }

    /// Waits for all jobs, and returns how the first one failed, if any has.
    pub(crate) fn wait_for_jobs(&mut self) -> Option<Exit> {
        while !self.jobs.running.is_empty() {
            if self.wait_a_moment().is_err() {
                self.end_jobs();
            }
            self.tell_ended_jobs();
        }
        self.job_failure.take()
    }

    fn wait_a_moment(&self) -> Result<(), Failed> {
        if self.cancel.is_cancelled() {
            return Err(Failed::new("jobs", &Error::Interrupted));
        }
        thread::sleep(LOOK);
        Ok(())
    }
}

fn event(number: usize, line: &str, state: &str) -> Event {
    Event::new("job").with("number", number).with("line", line).with("state", state)
}

/// Fails for a command that is no job.
fn check_job(command: &Command) -> Result<(), Failed> {
    let why = match command {
        Command::Get(get) if get.transfer.target == Some(Target::Stream) => "standard output is the prompt's",
        Command::Put(put) if put.transfer.names.words.iter().any(|word| word.is("-")) => {
            "standard input is the prompt's"
        }
        Command::Get(_) | Command::Put(_) | Command::Sync(_) => return Ok(()),
        _ => "only GET, PUT and SYNC run as jobs",
    };
    Err(Failed::usage(format!("{why}; a name that is '&' needs quotes")))
}
