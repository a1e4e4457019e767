//! Which names beneath a local directory have changed, as the system tells by inotify.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsStr,
    fs,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use ferry_wire::{Name, NameError};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    io::Errno,
};

use crate::{error::Error, options::Cancel};

/// Names are due when nothing has happened to any of them for so long; one that somebody still writes into, when nothing has
/// happened to it for longer.
const QUIET: Duration = Duration::from_millis(200);
const QUIET_WRITTEN: Duration = Duration::from_secs(2);

/// Where something always happens, what has is due so long after it began; and a file that is always written into.
const LONGEST_BATCH: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(30);

/// More names are better looked for all at once, and take no memory.
const MOST_NAMES: usize = 10_000;

/// Between two looks at the caller's flag.
const LOOK: Duration = Duration::from_millis(250);

/// Room for some hundred events.
const BUFFER_BYTES: usize = 32 << 10;

/// The rules of a directory.
const RULES: &str = ".ferryignore";

const GONE: &str = "is not there any more: it was deleted, moved or unmounted";

/// Notices what changes beneath a directory: [`TreeWatch::wait`] until something is due, and [`TreeWatch::take`] it.
///
/// Directories are watched before they are listed, so nothing that is made meanwhile is missed; what the system could not tell
/// stands as [`Changed::Everything`]. A file is told when nobody has written into it for a moment, or has closed it. Links are not
/// followed.
#[derive(Debug)]
pub struct TreeWatch {
    root: PathBuf,
    inotify: OwnedFd,
    /// The watched directories, below the root.
    directories: HashMap<i32, PathBuf>,
    pending: Pending,
}

/// The things that have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// Nobody knows what.
    Everything,
    /// These, and what is beneath them; each may be gone.
    Names(Vec<Name>),
}

impl TreeWatch {
    /// Begins to watch the directory `root` with all that is beneath it. All of it is due at once.
    ///
    /// # Errors
    ///
    /// No such directory; more directories than the system lets a user watch.
    pub fn start(root: &Path, now: Instant) -> Result<TreeWatch, Error> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(|errno| match errno {
            Errno::MFILE => Error::Watches { sysctl: "fs.inotify.max_user_instances" },
            errno => Error::System { what: "watch directories", source: errno.into() },
        })?;
        let mut watch =
            TreeWatch { root: root.to_owned(), inotify, directories: HashMap::new(), pending: Pending::default() };
        watch.add(Path::new(""), true)?;
        watch.pending.everything(now);
        Ok(watch)
    }

    /// Returns how many directories are watched.
    #[must_use]
    pub fn directories(&self) -> usize {
        self.directories.len()
    }

    /// Waits until something is due, `until` is reached, or `cancel` is raised.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`]; a directory that is gone; one too many to be watched.
    pub fn wait(&mut self, until: Option<Instant>, cancel: &Cancel) -> Result<(), Error> {
        loop {
            self.read(Instant::now())?;
            if cancel.is_cancelled() {
                return Err(Error::Interrupted);
            }
            let now = Instant::now();
            let end = self.pending.due().into_iter().chain(until).min();
            let left = end.map_or(LOOK, |end| end.saturating_duration_since(now)).min(LOOK);
            if end.is_some_and(|end| end <= now) {
                return Ok(());
            }
            let left = Timespec::try_from(left).unwrap_or_default();
            let mut polled = [PollFd::new(&self.inotify, PollFlags::IN)];
            match poll(&mut polled, Some(&left)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::System { what: "wait for changes", source: errno.into() }),
            }
        }
    }

    /// Takes what is due, if anything is.
    pub fn take(&mut self, now: Instant) -> Option<Changed> {
        self.pending.take(now)
    }

    /// Has everything be due at `now`: what was done about earlier changes came to nothing.
    pub fn again(&mut self, now: Instant) {
        self.pending.everything(now);
    }

    /// Takes what the system tells, without waiting.
    fn read(&mut self, now: Instant) -> Result<(), Error> {
        let mut told = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
                    told.push((event.wd(), event.events(), name));
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::System { what: "read what has changed", source: errno.into() }),
            }
            // The rest is read when these are understood: what they take is bounded.
            if reader.is_buffer_empty() && told.len() > MOST_NAMES {
                break;
            }
        }
        for (watch, events, name) in told {
            self.note(watch, events, name.as_deref(), now)?;
        }
        Ok(())
    }

    fn note(&mut self, watch: i32, events: ReadFlags, name: Option<&OsStr>, now: Instant) -> Result<(), Error> {
        if events.contains(ReadFlags::QUEUE_OVERFLOW) {
            log::info!("more has changed than the system could tell");
            self.pending.everything(now);
            // Directories that were made are not known either.
            return self.add(Path::new(""), true);
        }
        let Some(directory) = self.directories.get(&watch).cloned() else { return Ok(()) };
        if events.intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT | ReadFlags::IGNORED) {
            if directory.as_os_str().is_empty() {
                return Err(Error::file(&self.root, GONE));
            }
            // Its own directory tells the rest.
            if events.contains(ReadFlags::IGNORED) {
                self.directories.remove(&watch);
            }
            return Ok(());
        }
        let Some(name) = name else { return Ok(()) };
        let path = directory.join(name);
        if events.contains(ReadFlags::ISDIR) {
            if events.contains(ReadFlags::MOVED_FROM) {
                self.forget(&path);
            } else if events.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
                self.add(&path, false)?;
            }
        }
        let is_written = events.contains(ReadFlags::MODIFY)
            || events.contains(ReadFlags::CREATE) && !events.contains(ReadFlags::ISDIR);
        self.change(&path, is_written, now);
        Ok(())
    }

    /// Something has happened to what is at `path`.
    fn change(&mut self, path: &Path, is_written: bool, now: Instant) {
        // Rules are about more than their own name, which is none that is sent.
        if path.file_name().is_some_and(|name| name == RULES) {
            return self.pending.everything(now);
        }
        match Name::from_bytes(path.as_os_str().as_bytes()) {
            Ok(name) => self.pending.note(name, is_written, now),
            Err(NameError::Reserved) => {}
            // What has no name that could be sent is told by a look at its directory.
            Err(_) => match path.parent().map(|parent| Name::from_bytes(parent.as_os_str().as_bytes())) {
                Some(Ok(parent)) => self.pending.note(parent, is_written, now),
                _ => self.pending.everything(now),
            },
        }
    }

    /// Watches the directory at `path`, below the root, and all those beneath it; each before it is listed.
    fn add(&mut self, path: &Path, is_root: bool) -> Result<(), Error> {
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR
            | WatchFlags::EXCL_UNLINK;
        let mut waiting = vec![path.to_owned()];
        while let Some(path) = waiting.pop() {
            let is_top = is_root && path.as_os_str().is_empty();
            let whole = if path.as_os_str().is_empty() { self.root.clone() } else { self.root.join(&path) };
            // The root may be reached by a link, as everybody may name it.
            let flags = if is_top { flags } else { flags | WatchFlags::DONT_FOLLOW };
            match inotify::add_watch(&self.inotify, &whole, flags) {
                Ok(watch) => drop(self.directories.insert(watch, path.clone())),
                Err(Errno::NOSPC) => return Err(Error::Watches { sysctl: "fs.inotify.max_user_watches" }),
                Err(errno) if is_top => return Err(Error::local("watch", whole, errno)),
                // It is gone again, or can't be read: the one who lists it says so.
                Err(errno) => {
                    log::info!("{}: not watched: {errno}", whole.display());
                    continue;
                }
            }
            let Ok(entries) = fs::read_dir(&whole) else { continue };
            for entry in entries.flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    waiting.push(path.join(entry.file_name()));
                }
            }
        }
        Ok(())
    }

    /// Watches nothing any more of what was beneath `path`: it has another name, or is elsewhere.
    fn forget(&mut self, path: &Path) {
        let inotify = &self.inotify;
        self.directories.retain(|watch, directory| {
            let stays = !directory.starts_with(path);
            if !stays {
                // It may be gone by itself.
                let _ = inotify::remove_watch(inotify, *watch);
            }
            stays
        });
    }
}

/// The changes that are not taken yet. Reads no clock.
#[derive(Debug, Default)]
struct Pending {
    everything: Option<Unrest>,
    names: BTreeMap<Name, Unrest>,
}

/// The time of changes to one thing.
#[derive(Debug, Clone, Copy)]
struct Unrest {
    first: Instant,
    last: Instant,
    /// Somebody may still be writing.
    is_written: bool,
}

impl Unrest {
    fn due(self) -> Instant {
        let quiet = if self.is_written { QUIET_WRITTEN } else { QUIET };
        (self.last + quiet).min(self.first + LONGEST)
    }
}

impl Pending {
    fn everything(&mut self, now: Instant) {
        let first = self.everything.map_or(now, |unrest| unrest.first);
        self.everything = Some(Unrest { first, last: now, is_written: false });
        self.names.clear();
    }

    fn note(&mut self, name: Name, is_written: bool, now: Instant) {
        if let Some(everything) = &mut self.everything {
            everything.last = now;
            return;
        }
        let first = self.names.get(&name).map_or(now, |unrest| unrest.first);
        self.names.insert(name, Unrest { first, last: now, is_written });
        if self.names.len() > MOST_NAMES {
            self.everything(now);
        }
    }

    /// Returns when the next thing is due.
    fn due(&self) -> Option<Instant> {
        let written = self.names.values().filter(|unrest| unrest.is_written).map(|unrest| unrest.due());
        self.everything.map(Unrest::due).into_iter().chain(written).chain(self.settled_due()).min()
    }

    /// Returns when all that nobody writes into is due: together, so that what is deleted by one command is seen as a whole.
    fn settled_due(&self) -> Option<Instant> {
        let settled = || self.names.values().filter(|unrest| !unrest.is_written);
        let last = settled().map(|unrest| unrest.last).max()?;
        let first = settled().map(|unrest| unrest.first).min()?;
        Some((last + QUIET).min(first + LONGEST_BATCH))
    }

    fn take(&mut self, now: Instant) -> Option<Changed> {
        if let Some(everything) = self.everything {
            if everything.due() > now {
                return None;
            }
            self.everything = None;
            return Some(Changed::Everything);
        }
        let is_settled = self.settled_due().is_some_and(|due| due <= now);
        let is_due = |unrest: &Unrest| if unrest.is_written { unrest.due() <= now } else { is_settled };
        let due: Vec<Name> =
            self.names.iter().filter(|(_, unrest)| is_due(unrest)).map(|(name, _)| name.clone()).collect();
        self.names.retain(|_, unrest| !is_due(unrest));
        (!due.is_empty()).then_some(Changed::Names(due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn names_are_due_when_they_are_quiet_and_at_the_latest_after_a_while() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let mut pending = Pending::default();
        pending.note(name("a"), false, at(0));
        pending.note(name("b"), true, at(0));
        assert_eq!((pending.take(at(199)), pending.due()), (None, Some(at(200))));
        assert_eq!(pending.take(at(200)), Some(Changed::Names(vec![name("a")])));
        // Closed.
        pending.note(name("b"), false, at(1000));
        assert_eq!(pending.take(at(1200)), Some(Changed::Names(vec![name("b")])));
        for millis in (0..LONGEST.as_millis() as u64).step_by(100) {
            pending.note(name("log"), true, at(millis));
            assert_eq!(pending.take(at(millis)), None, "{millis}");
        }
        assert_eq!(pending.take(begun + LONGEST), Some(Changed::Names(vec![name("log")])));
        assert_eq!((pending.take(at(1 << 30)), pending.due()), (None, None));
    }

    /// So that a limit on deletions sees all of them.
    #[test]
    fn what_happens_in_one_go_is_due_together() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let mut pending = Pending::default();
        for number in 0..30 {
            pending.note(name(&number.to_string()), false, at(number * 100));
            assert_eq!(pending.take(at(number * 100)), None);
        }
        let Some(Changed::Names(names)) = pending.take(at(29 * 100 + 200)) else { panic!("nothing is due") };
        assert_eq!((names.len(), pending.due()), (30, None));
        for number in 0..50 {
            assert_eq!(pending.take(at(number * 100)), None, "{number}");
            pending.note(name("a"), false, at(number * 100));
        }
        assert!(pending.take(begun + LONGEST_BATCH).is_some(), "but not for ever");
    }

    #[test]
    fn too_many_names_are_everything() {
        let begun = Instant::now();
        let mut pending = Pending::default();
        for number in 0..=MOST_NAMES {
            pending.note(name(&number.to_string()), false, begun);
        }
        assert!(pending.names.is_empty());
        pending.note(name("x"), false, begun + QUIET);
        assert_eq!(pending.take(begun + QUIET), None);
        assert_eq!(pending.take(begun + 2 * QUIET), Some(Changed::Everything));
    }

    /// Waits for what is due, and adds it.
    fn gather(watch: &mut TreeWatch, until: &[&str]) {
        let mut names = Vec::new();
        while !until.iter().all(|name| names.iter().any(|other: &String| other == name)) {
            watch.wait(None, &Cancel::default()).unwrap();
            if let Some(Changed::Names(more)) = watch.take(Instant::now()) {
                names.extend(more.into_iter().map(|name| name.to_string()));
            }
        }
    }

    #[test]
    fn what_happens_in_new_and_renamed_directories_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("old/deep")).unwrap();
        let mut watch = TreeWatch::start(root, Instant::now()).unwrap();
        assert_eq!(watch.directories(), 3);
        watch.wait(None, &Cancel::default()).unwrap();
        assert_eq!(watch.take(Instant::now()), Some(Changed::Everything));
        fs::create_dir_all(root.join("new/a/b")).unwrap();
        fs::write(root.join("new/a/b/x"), "x").unwrap();
        gather(&mut watch, &["new"]);
        fs::write(root.join("new/a/b/y"), "y").unwrap();
        gather(&mut watch, &["new/a/b/y"]);
        fs::rename(root.join("old"), root.join("moved")).unwrap();
        gather(&mut watch, &["old", "moved"]);
        fs::write(root.join("moved/deep/z"), "z").unwrap();
        fs::remove_file(root.join("new/a/b/x")).unwrap();
        gather(&mut watch, &["moved/deep/z", "new/a/b/x"]);
        assert_eq!(watch.directories(), 6);
        fs::remove_dir_all(root.join("new")).unwrap();
        gather(&mut watch, &["new"]);
        watch.read(Instant::now()).unwrap();
        assert_eq!(watch.directories(), 3);
    }

    #[test]
    fn a_directory_that_vanishes_is_told() {
        let directory = tempfile::tempdir().unwrap();
        for how in ["moved", "deleted"] {
            let root = directory.path().join("root");
            fs::create_dir(&root).unwrap();
            let mut watch = TreeWatch::start(&root, Instant::now()).unwrap();
            watch.wait(None, &Cancel::default()).unwrap();
            watch.take(Instant::now());
            match how {
                "moved" => fs::rename(&root, directory.path().join("elsewhere")).unwrap(),
                _ => fs::remove_dir(&root).unwrap(),
            }
            let error = watch.wait(None, &Cancel::default()).unwrap_err();
            assert!(error.to_string().contains("is not there any more"), "{how}: {error}");
        }
        let missing = TreeWatch::start(&directory.path().join("missing"), Instant::now()).unwrap_err();
        assert!(matches!(missing, Error::Local { .. }), "{missing}");
    }

    /// Of a queue that was full, as nobody has read from it.
    #[test]
    fn what_the_system_could_not_tell_is_everything() {
        const FEW: u64 = 200_000;
        let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let most: u64 = most.trim().parse().unwrap();
        if most > FEW {
            return println!("not tried: the queue has room for {most} events");
        }
        let directory = tempfile::tempdir().unwrap();
        let (one, other) = (directory.path().join("one"), directory.path().join("other"));
        fs::write(&one, "").unwrap();
        let mut watch = TreeWatch::start(directory.path(), Instant::now()).unwrap();
        watch.pending = Pending::default();
        // Two events each time.
        for _ in 0..=most / 4 {
            fs::rename(&one, &other).unwrap();
            fs::rename(&other, &one).unwrap();
        }
        fs::create_dir(directory.path().join("unseen")).unwrap();
        // Each reads more than ten thousand events, if there are so many.
        for _ in 0..most / 10_000 + 2 {
            watch.wait(Some(Instant::now()), &Cancel::default()).unwrap();
        }
        assert_eq!(watch.directories(), 2, "a directory whose making was not told is watched");
        watch.wait(None, &Cancel::default()).unwrap();
        assert_eq!(watch.take(Instant::now()), Some(Changed::Everything));
        fs::write(directory.path().join("unseen/x"), "x").unwrap();
        gather(&mut watch, &["unseen/x"]);
    }
}
