//! A file system on strings: it lives in memory, is mounted by FUSE, and does what a test tells it.
//!
//! Each request of the kernel has its [`Op`]. A test gives [`Order`]s: from then on requests of that kind, for
//! that name or for any, are never answered, or fail. To [`release`](Puppet::release) takes all orders back and
//! answers what was held; [`crash`](Puppet::crash) leaves a dead mount behind, as a program does that is killed.
//!
//! It refuses what plain FUSE file systems refuse: flags of rename, `O_TMPFILE`, reads that may not wait; and
//! syncfs tells it nothing. [`Habits`] has the rest.
//!
//! A process that waits for a request that is held can't be killed, not even by SIGKILL: drop the puppet, or
//! release, before a [`Server`](crate::Server) of it is dropped or waited for.

mod requests;
mod tree;

use std::{
    ffi::{OsStr, OsString},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

pub use fuser::Errno;
use fuser::{BackgroundSession, Config, MountOption, spawn_mount};
use rustix::{
    fs::{Mode, OFlags},
    mount::{UnmountFlags, unmount},
};
use tempfile::TempDir;

use crate::{HANG_GUARD, mounts};
use tree::Tree;

/// A kind of request that the kernel makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are the system's own names")]
pub enum Op {
    Lookup,
    Getattr,
    Setattr,
    Open,
    Read,
    Write,
    Flush,
    Fsync,
    Create,
    Mkdir,
    Unlink,
    Rmdir,
    Rename,
    Link,
    Opendir,
    Readdir,
    Fsyncdir,
    Statfs,
}

/// The fate of a request, in place of what it asks for.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    /// It is not answered until [`Puppet::release`].
    Hang,
    /// It fails with this.
    Fail(Errno),
    /// It fails with this, so many times.
    FailTimes(Errno, usize),
}

/// How a file system is made, once and for all.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// It keeps times in whole seconds, as MooseFS does.
    pub whole_seconds: bool,
    /// It takes RENAME_NOREPLACE; else flags of rename are EINVAL, as with most FUSE file systems.
    pub rename_flags: bool,
    /// It knows hard links.
    pub links: bool,
    /// The kernel keeps what is written, and writes it back later: a failing write shows in fsync.
    pub write_back: bool,
    /// Each entry has a second name, as FAT gives it: `FERRY~1` for `.ferry`.
    pub short_names: Option<SameInode>,
    /// A time of the last change that comes without one of the last access is taken for nothing, and success is told: so do
    /// most programs that are built on libfuse 2.
    pub both_times: bool,
    /// No file is made longer but by writing to it.
    pub grows_by_writing: bool,
}

/// Whether an entry shows the same inode under both its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SameInode(pub bool);

impl Default for Habits {
    fn default() -> Habits {
        Habits {
            whole_seconds: false,
            rename_flags: false,
            links: true,
            write_back: false,
            short_names: None,
            both_times: false,
            grows_by_writing: false,
        }
    }
}

type Answer = Box<dyn FnOnce(&mut Tree) + Send>;

/// A request that is not answered.
struct Held {
    op: Op,
    name: OsString,
    answer: Answer,
}

struct State {
    tree: Tree,
    orders: Vec<(Op, Option<OsString>, Order)>,
    held: Vec<Held>,
}

impl State {
    /// Returns an order that a request obeys, which counts.
    fn take_order(&mut self, index: usize) -> Option<Order> {
        let (_, _, order) = self.orders.get_mut(index)?;
        let taken = *order;
        if let Order::FailTimes(_, left) = order {
            *left -= 1;
            if *left == 0 {
                self.orders.remove(index);
            }
        }
        Some(taken)
    }
}

#[derive(Clone)]
struct Shared(Arc<(Mutex<State>, Condvar)>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request for `name` by `act`, unless there is an order for it.
    fn serve<T>(
        &self,
        op: Op,
        name: impl FnOnce(&Tree) -> OsString,
        act: impl FnOnce(&mut Tree) -> Result<T, Errno> + Send + 'static,
        answer: impl FnOnce(Result<T, Errno>) + Send + 'static,
    ) {
        let mut state = self.lock();
        let name = name(&state.tree);
        let concerns = |(of, wanted, _): &&(Op, Option<OsString>, Order)| {
            *of == op && wanted.as_ref().is_none_or(|wanted| *wanted == name)
        };
        let newest = state.orders.iter().rposition(|order| concerns(&order));
        match newest.and_then(|newest| state.take_order(newest)) {
            None => {
                let result = act(&mut state.tree);
                drop(state);
                answer(result);
            }
            Some(Order::Fail(error) | Order::FailTimes(error, _)) => {
                drop(state);
                answer(Err(error));
            }
            Some(Order::Hang) => {
                state.held.push(Held { op, name, answer: Box::new(move |tree| answer(act(tree))) });
                self.0.1.notify_all();
            }
        }
    }
}

/// See the [module documentation](self). Dropping it unmounts it, whoever uses it.
pub struct Puppet {
    shared: Shared,
    habits: Habits,
    session: Option<BackgroundSession>,
    /// As long as it is open a forced unmount ends the connection alone, and leaves the mount.
    busy: Option<OwnedFd>,
    /// Where it is mounted: in a directory of its own.
    point: PathBuf,
    _place: TempDir,
}

impl Puppet {
    /// Mounts an empty file system for this thread and what it starts; see [`mounts::private`], which must have
    /// been called.
    ///
    /// # Panics
    ///
    /// Panics where it can't be mounted.
    #[must_use]
    #[track_caller]
    pub fn mount(habits: Habits) -> Puppet {
        assert!(mounts::are_private(), "the mount would be everybody's");
        let state = State { tree: Tree::new(habits), orders: Vec::new(), held: Vec::new() };
        let shared = Shared(Arc::new((Mutex::new(state), Condvar::new())));
        let place = tempfile::Builder::new().prefix("ferry-puppet-").tempdir().expect("a temporary directory");
        let point = place.path().join("mount");
        std::fs::create_dir(&point).expect("a place to mount it");
        let mut puppet = Puppet { shared, habits, session: None, busy: None, point, _place: place };
        puppet.set_up();
        puppet
    }

    fn set_up(&mut self) {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("puppet".into())];
        let strings = requests::Strings::new(self.shared.clone(), self.habits);
        self.session = Some(spawn_mount(strings, &self.point, &config).expect("FUSE mounts"));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.busy = Some(rustix::fs::open(&self.point, flags, Mode::empty()).expect("the mount is there"));
    }

    /// Takes a crashed one off its place, where nothing is mounted then.
    ///
    /// # Panics
    ///
    /// Panics where that can't be done.
    pub fn take_off(&mut self) {
        self.busy = None;
        unmount(&self.point, UnmountFlags::DETACH).expect("it is mounted");
    }

    /// Mounts what was [taken off](Self::take_off) at the same place again, with all that was in it.
    ///
    /// # Panics
    ///
    /// Panics where that can't be done.
    pub fn mount_again(&mut self) {
        self.set_up();
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.point
    }

    /// The path of `name` in it.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.point.join(name)
    }

    /// From now on requests of the kind `op` for what is called `name`, its last component, obey; with no name
    /// those for anything. The newest order counts.
    pub fn order(&self, op: Op, name: Option<&str>, order: Order) {
        self.shared.lock().orders.push((op, name.map(Into::into), order));
    }

    /// Waits until a request of the kind `op` for `name` is held.
    ///
    /// # Panics
    ///
    /// Panics if none comes.
    #[track_caller]
    pub fn until_held(&self, op: Op, name: &str) {
        self.until_holding(op, name, 1);
    }

    /// Waits until `count` requests of the kind `op` for `name` are held.
    ///
    /// # Panics
    ///
    /// Panics if they do not come.
    #[track_caller]
    pub fn until_holding(&self, op: Op, name: &str, count: usize) {
        let deadline = Instant::now() + HANG_GUARD;
        let mut state = self.shared.lock();
        let is_wanted = |held: &&Held| held.op == op && held.name == OsStr::new(name);
        while state.held.iter().filter(is_wanted).count() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            let held: Vec<_> = state.held.iter().map(|held| (held.op, &held.name)).collect();
            assert!(!left.is_zero(), "no {op:?} of {name} came; held are {held:?}");
            state = self.shared.0.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether any request of the kind `op` is held.
    #[must_use]
    pub fn is_holding(&self, op: Op) -> bool {
        self.shared.lock().held.iter().any(|held| held.op == op)
    }

    /// From now on a write fails with EIO where its file was not written before, as on a disk that has no good blocks
    /// left.
    pub fn wear_out(&self) {
        self.shared.lock().tree.worn_out = true;
    }

    /// Takes all orders back, and answers what was held.
    pub fn release(&self) {
        let mut state = self.shared.lock();
        state.tree.worn_out = false;
        state.orders.clear();
        for held in std::mem::take(&mut state.held) {
            (held.answer)(&mut state.tree);
        }
    }

    /// Ends its program: what waits for an answer, and all that is asked from now on, fails with ENOTCONN or
    /// ECONNABORTED. The mount stays.
    ///
    /// # Panics
    ///
    /// Panics if the kernel holds on to it.
    pub fn crash(&mut self) {
        // While it is busy, no more comes of it than the end of the connection.
        let refused = unmount(&self.point, UnmountFlags::FORCE);
        assert_eq!(refused, Err(rustix::io::Errno::BUSY), "the mount stays");
        self.end_session();
    }

    fn end_session(&mut self) {
        // The held requests are answered into the void.
        let held = std::mem::take(&mut self.shared.lock().held);
        drop(held);
        if let Some(session) = self.session.take() {
            // Its error says that the connection has ended.
            let _ = session.join();
        }
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        // One that was taken off is mounted nowhere.
        let mounted = self.busy.is_some();
        let gone = unmount(&self.point, UnmountFlags::FORCE | UnmountFlags::DETACH);
        let gone = if mounted { gone } else { Ok(()) };
        self.busy = None;
        if let Err(error) = gone {
            // Whoever waits for it would wait for ever.
            eprintln!("{} stays mounted: {error}", self.point.display());
            std::process::abort();
        }
        self.end_session();
    }
}
