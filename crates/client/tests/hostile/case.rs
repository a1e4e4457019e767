//! One line of a table, and how tables are run.

use std::{
    net::TcpListener,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use ferry_client::{Address, Client, Options};

use crate::{
    ask::{Answer, Ask, Outcome},
    place::Place,
    stage::{self, Step},
};

/// How long a client waits where no case is about waiting.
const PATIENCE: Duration = Duration::from_secs(30);

/// Cases under way at once: most of them wait for the other side.
const WORKERS: usize = 12;

/// Name, what the client asks, what the server does, what comes of it.
pub(crate) type Row = (&'static str, Ask, Vec<Step>, Outcome);

/// A case as it is run.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) ask: Ask,
    pub(crate) steps: Vec<Step>,
    pub(crate) expected: Outcome,
    /// The content that a download brings where it succeeds.
    pub(crate) content: Vec<u8>,
    pub(crate) timeout: Duration,
    /// The call is back by then.
    pub(crate) guard: Duration,
}

impl Case {
    pub(crate) fn new(name: impl Into<String>, ask: Ask, steps: Vec<Step>, expected: Outcome) -> Case {
        let content = b"hello".to_vec();
        Case { name: name.into(), ask, steps, expected, content, timeout: PATIENCE, guard: PATIENCE }
    }

    /// Runs it; says what was broken. On a busy machine a greeting can come too late for a client that
    /// has little patience: such a case gets a second try with more of it.
    fn run(&self) -> Vec<String> {
        let twice = |engine| {
            let broken = self.run_with(self.timeout, engine);
            if broken.is_empty() || self.timeout >= PATIENCE { broken } else { self.run_with(self.timeout * 3, engine) }
        };
        let mut broken = twice(false);
        if self.ask.has_engine(self.expected) {
            broken.extend(twice(true).into_iter().map(|words| format!("by the engine: {words}")));
        }
        broken
    }

    fn run_with(&self, timeout: Duration, engine: bool) -> Vec<String> {
        let place = Place::new();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
        let (through, left) = mpsc::channel();
        let steps = self.steps.clone();
        let server = thread::spawn(move || stage::play(&listener, steps, &left));
        let begun = Instant::now();
        // As much later than a timeout as it is for people.
        let options = Options::default().timeout(timeout).min_rate(1024, timeout * 2);
        let answer = match Client::connect(&address, options) {
            Ok(client) if engine => self.ask.run_engine(client, &place),
            Ok(client) => self.ask.run(client, &place),
            Err(error) => Answer::refused(error),
        };
        let took = begun.elapsed();
        drop(through);
        if engine {
            place.forget_parts();
        }
        let mut broken = place.judge(self.ask, &answer, &self.content);
        if self.expected != Outcome::Anything && answer.outcome() != self.expected {
            broken.push(format!("{:?} in place of {:?}: {:?}", answer.outcome(), self.expected, answer.error));
        }
        if took > self.guard {
            broken.push(format!("it took {took:?}"));
        }
        if server.join().is_err() {
            broken.push("the server of the test failed".into());
        }
        broken
    }
}

/// Runs `rows`, prints how many, and fails where one is broken.
pub(crate) fn run_table(what: &str, rows: Vec<Row>) {
    run(what, rows.into_iter().map(|(name, ask, steps, expected)| Case::new(name, ask, steps, expected)).collect());
}

/// The same for cases.
pub(crate) fn run(what: &str, cases: Vec<Case>) {
    let (next, broken) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..WORKERS.min(cases.len()) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = std::panic::catch_unwind(|| case.run()).unwrap_or_else(|_| vec!["a panic".into()]);
                    let mut broken = broken.lock().unwrap();
                    broken.extend(found.into_iter().map(|words| format!("{what}: {}: {words}", case.name)));
                }
            });
        }
    });
    let broken = broken.into_inner().unwrap();
    println!("{what}: {} cases, {} violations", cases.len(), broken.len());
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
