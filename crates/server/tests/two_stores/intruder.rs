//! Does something between two system calls of a store.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ferry_server::store::{Call, Watcher};
use rustix::io::Errno;

type Action = Box<dyn FnOnce() + Send>;

/// Says at which call to strike.
type At = Box<dyn FnMut(&Call<'_>) -> bool + Send>;

/// The watcher. It strikes once.
#[derive(Default)]
pub(crate) struct Intruder {
    plan: Mutex<Option<(At, Action)>>,
    /// The file system is of a kind that nobody knows.
    hides_kind: bool,
}

impl std::fmt::Debug for Intruder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Intruder")
    }
}

impl Intruder {
    fn plan(&self) -> MutexGuard<'_, Option<(At, Action)>> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn of(hides_kind: bool) -> Intruder {
        Intruder { plan: Mutex::default(), hides_kind }
    }

    /// Before the first call that `at` picks, `action` is done.
    pub(crate) fn arm(
        &self,
        at: impl FnMut(&Call<'_>) -> bool + Send + 'static,
        action: impl FnOnce() + Send + 'static,
    ) {
        *self.plan() = Some((Box::new(at), Box::new(action)));
    }

    /// Before the `nth` call from now on.
    pub(crate) fn arm_nth(&self, nth: usize, action: impl FnOnce() + Send + 'static) {
        let mut calls = 0..;
        self.arm(move |_| calls.next() == Some(nth), action);
    }

    /// Gives whether it has struck.
    pub(crate) fn disarm(&self) -> bool {
        self.plan().take().is_none()
    }
}

impl Watcher for Intruder {
    fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
        let mut plan = self.plan();
        if plan.as_mut().is_some_and(|(at, _)| at(call)) {
            let (_, action) = plan.take().expect("a plan");
            drop(plan);
            action();
        }
        match call {
            Call::FileSystem { .. } if self.hides_kind => Err(Errno::NOSYS),
            _ => Ok(()),
        }
    }

    fn after(&self, _: &Call<'_>) {}
}
