//! The questions of the client, and the outcomes that they may have.

use std::time::{Duration, Instant};

use ferry_client::{Client, Code, Entry, Error, Fetch, Id, Name, Part, Settings, Store, Tag};

use crate::place::Place;

/// The request of the client once it is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    Connect,
    Get,
    /// Offset and length of a READ of the version `t`.
    Read(u64, Option<u64>),
    List,
    Stat,
    Sum,
    /// With the SHA-256.
    Hash,
    Space,
    Mkdir,
    Delete,
    Rename,
    Put,
    /// More than any socket buffers.
    PutLarge,
    Resume,
    ResumeLarge,
    Close,
    /// After it is answered, looks until the server says something more.
    GetThenWait,
    PutThenWait,
}

/// How a call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Stranger,
    OtherVersion,
    Fails(Code),
    Closed,
    Violation,
    Verification,
    Timeout,
    /// None of those.
    Strange,
    /// Whatever the oracle allows.
    Anything,
}

/// The result of a call.
pub(crate) struct Answer {
    pub(crate) error: Option<Error>,
    /// Entries of a listing.
    pub(crate) entries: Vec<Entry>,
    /// The connection stands, as far as the client knows.
    pub(crate) connected: bool,
}

impl Answer {
    pub(crate) fn refused(error: Error) -> Answer {
        Answer { error: Some(error), entries: Vec::new(), connected: false }
    }

    pub(crate) fn outcome(&self) -> Outcome {
        match &self.error {
            None => Outcome::Done,
            Some(Error::NotFerry { .. }) => Outcome::Stranger,
            Some(Error::Version { .. }) => Outcome::OtherVersion,
            Some(Error::Server(failure)) => Outcome::Fails(failure.code),
            Some(Error::Closed(_)) => Outcome::Closed,
            Some(Error::Violation(_)) => Outcome::Violation,
            Some(Error::Verification(_)) => Outcome::Verification,
            Some(Error::Timeout(_) | Error::Slow { .. }) => Outcome::Timeout,
            Some(_) => Outcome::Strange,
        }
    }
}

impl Ask {
    pub(crate) fn is_get(self) -> bool {
        matches!(self, Ask::Get | Ask::GetThenWait)
    }

    /// Whether [`Client::fetch`] and [`Client::store`] ask the same, so that the same must come of it: not where they
    /// ask again after a failure, for no server here answers twice.
    pub(crate) fn has_engine(self, expected: Outcome) -> bool {
        let again = match expected {
            Outcome::Fails(code) => match self {
                Ask::ResumeLarge => {
                    matches!(code, Code::Busy | Code::Exists | Code::Unsupported | Code::UnknownCommand)
                        || matches!(code, Code::Changed | Code::Checksum)
                }
                Ask::PutLarge => matches!(code, Code::Changed | Code::Checksum),
                _ => code == Code::Changed,
            },
            _ => false,
        };
        // What is said behind the last answer, the engine may hear itself.
        !again && matches!(self, Ask::Get | Ask::Put | Ask::PutLarge | Ask::ResumeLarge)
    }

    /// The same by way of the engine for many files.
    pub(crate) fn run_engine(self, mut client: Client, place: &Place) -> Answer {
        let a = Name::new("a").unwrap();
        let settings = Settings { retries: 0, resume: self != Ask::PutLarge, ..Settings::default() };
        let mut report = if self.is_get() {
            let file = Fetch { name: a, target: place.target().into(), meta: None };
            client.fetch(&[file], &settings, &mut |_| {})
        } else {
            let large = matches!(self, Ask::PutLarge | Ask::ResumeLarge);
            let source = if large { place.large_source().to_owned() } else { place.source() };
            client.store(&[Store { source: source.into(), name: a }], &settings, &mut |_| {})
        };
        assert_eq!((report.files + report.failures.len(), report.untried), (1, 0), "{report:?}");
        let error = report.failures.pop().map(|failure| failure.1);
        Answer { error, entries: Vec::new(), connected: client.is_connected() }
    }

    pub(crate) fn run(self, mut client: Client, place: &Place) -> Answer {
        let mut entries = Vec::new();
        let (a, b) = (Name::new("a").unwrap(), Name::new("b").unwrap());
        let id = Id::new("id").unwrap();
        let result = match self {
            Ask::Connect => Ok(()),
            Ask::Get => client.get(&a, &place.target(), &mut |_| {}).map(drop),
            Ask::Read(offset, length) => {
                let part = Part { offset, length, tag: Some(Tag::new("t").unwrap()) };
                client.read(&a, &part, &mut Vec::new()).map(drop)
            }
            Ask::List => client.list(None).map(|got| entries = got),
            Ask::Stat => client.stat(&a).map(drop),
            Ask::Sum => client.sum(&a).map(drop),
            Ask::Hash => client.sums(&[a], true, &mut |_, sum| sum.map(drop)),
            Ask::Space => client.space().map(drop),
            Ask::Mkdir => client.mkdir(&a),
            Ask::Delete => client.delete(&a),
            Ask::Rename => client.rename(&a, &b),
            Ask::Put => client.put(&a, &place.source(), &mut |_| {}).map(drop),
            Ask::PutLarge => client.put(&a, place.large_source(), &mut |_| {}).map(drop),
            Ask::Resume => client.resume(&id, &a, &place.source(), &mut |_| {}).map(drop),
            Ask::ResumeLarge => client.resume(&id, &a, place.large_source(), &mut |_| {}).map(drop),
            Ask::Close => {
                let error = client.close().err();
                return Answer { error, entries, connected: false };
            }
            Ask::GetThenWait => client.get(&a, &place.target(), &mut |_| {}).and_then(|_| wait_for_words(&mut client)),
            Ask::PutThenWait => client.put(&a, &place.source(), &mut |_| {}).and_then(|_| wait_for_words(&mut client)),
        };
        Answer { error: result.err(), entries, connected: client.is_connected() }
    }
}

fn wait_for_words(client: &mut Client) -> Result<(), Error> {
    const GUARD: Duration = Duration::from_secs(30);
    let begun = Instant::now();
    while begun.elapsed() < GUARD {
        client.check()?;
        std::thread::yield_now();
    }
    Ok(())
}
