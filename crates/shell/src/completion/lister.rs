//! Directories that are listed beside the prompt, so that typing never waits for a network or a disk.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// The name of a thread that lists.
pub(crate) const THREAD: &str = "lister";

/// A listing is believed for so long: time enough to press Tab again, too little to mislead.
const FRESH: Duration = Duration::from_secs(5);

/// A place that is not asked for so long is left alone: its connection is closed.
const IDLE: Duration = Duration::from_secs(10);

/// Directories kept: more than anybody completes in a few seconds.
const MOST: usize = 64;

/// One thing in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ListedItem {
    pub(crate) name: String,
    pub(crate) is_directory: bool,
}

/// A place whose directories are listed.
pub(super) trait Place: Send + 'static {
    /// The name of a directory.
    type Key: Clone + Eq + Hash + Send + 'static;

    /// Returns its content; nothing where it can't be listed.
    fn list(&mut self, key: &Self::Key) -> Vec<ListedItem>;

    /// Lets go of connections: nobody has asked for a while.
    fn rest(&mut self) {}
}

/// Asks a place in a thread of its own, which ends with this.
pub(super) struct Lister<K> {
    shared: Arc<Exchange<K>>,
}

struct Exchange<K> {
    state: Mutex<State<K>>,
    changed: Condvar,
}

struct State<K> {
    /// The directory asked for last; an older wish is nobody's any more.
    wanted: Option<K>,
    known: HashMap<K, (Instant, Arc<[ListedItem]>)>,
    /// Changes when what is known is forgotten: a listing that was begun before is not kept then.
    epoch: u64,
    is_over: bool,
}

impl<K: Clone + Eq + Hash + Send + 'static> Lister<K> {
    /// Starts the thread; nothing is asked yet.
    pub(super) fn new(place: impl Place<Key = K>) -> Lister<K> {
        let state = State { wanted: None, known: HashMap::new(), epoch: 0, is_over: false };
        let shared = Arc::new(Exchange { state: Mutex::new(state), changed: Condvar::new() });
        let clone = Arc::clone(&shared);
        // Without a thread there are no names to complete; all else works.
        if let Err(error) = thread::Builder::new().name(THREAD.to_owned()).spawn(move || serve(&clone, place)) {
            log::warn!("cannot list directories for completion: {error}");
        }
        Lister { shared }
    }

    /// Returns the content of `key`, if that is known within `timeout`. A listing that comes later is there for the next
    /// time.
    pub(super) fn items(&self, key: &K, timeout: Duration) -> Option<Arc<[ListedItem]>> {
        let mut state = self.shared.lock();
        if fresh(&state, key).is_none() {
            state.wanted = Some(key.clone());
            self.shared.changed.notify_all();
            let missing = |state: &mut State<K>| fresh(state, key).is_none();
            let waited = self.shared.changed.wait_timeout_while(state, timeout, missing);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        fresh(&state, key)
    }

    /// Forgets all listings: they may no longer hold.
    pub(super) fn forget(&self) {
        let mut state = self.shared.lock();
        state.known.clear();
        state.epoch += 1;
    }
}

impl<K> Drop for Lister<K> {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.changed.notify_all();
    }
}

impl<K> Exchange<K> {
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fresh<K: Eq + Hash>(state: &State<K>, key: &K) -> Option<Arc<[ListedItem]>> {
    state.known.get(key).filter(|(at, _)| at.elapsed() < FRESH).map(|(_, items)| Arc::clone(items))
}

fn serve<P: Place>(shared: &Exchange<P::Key>, mut place: P) {
    let mut state = shared.lock();
    while !state.is_over {
        let Some(key) = state.wanted.take() else {
            let idle = |state: &mut State<P::Key>| state.wanted.is_none() && !state.is_over;
            let waited = shared.changed.wait_timeout_while(state, IDLE, idle);
            let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if timeout.timed_out() {
                drop(state);
                place.rest();
                state = shared.lock();
            }
            continue;
        };
        let epoch = state.epoch;
        drop(state);
        let mut items = place.list(&key);
        items.sort();
        state = shared.lock();
        if state.epoch == epoch {
            // A wish for it that came meanwhile is met by this.
            state.wanted = state.wanted.take().filter(|wanted| *wanted != key);
            if state.known.len() >= MOST {
                state.known.clear();
            }
            state.known.insert(key, (Instant::now(), items.into()));
        } else if state.wanted.is_none() {
            state.wanted = Some(key);
        }
        shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Longer than a slow machine needs.
    const LONG: Duration = Duration::from_secs(60);

    /// Says when it is asked, and answers when it is told.
    struct Slow {
        asked: mpsc::Sender<u32>,
        answers: mpsc::Receiver<&'static str>,
    }

    impl Place for Slow {
        type Key = u32;

        fn list(&mut self, key: &u32) -> Vec<ListedItem> {
            let _ = self.asked.send(*key);
            let name = self.answers.recv().unwrap_or("").to_owned();
            vec![ListedItem { name, is_directory: false }]
        }
    }

    fn slow() -> (Lister<u32>, mpsc::Receiver<u32>, mpsc::Sender<&'static str>) {
        let ((asked, asking), (answer, answers)) = (mpsc::channel(), mpsc::channel());
        (Lister::new(Slow { asked, answers }), asking, answer)
    }

    fn names(items: Option<Arc<[ListedItem]>>) -> Option<Vec<String>> {
        items.map(|items| items.iter().map(|item| item.name.clone()).collect())
    }

    #[test]
    fn what_comes_late_is_there_the_next_time() {
        let (lister, asking, answer) = slow();
        assert_eq!(names(lister.items(&1, Duration::ZERO)), None);
        assert_eq!(asking.recv_timeout(LONG), Ok(1));
        answer.send("late").unwrap();
        assert_eq!(names(lister.items(&1, LONG)), Some(vec!["late".to_owned()]));
        // And it is not asked for again meanwhile.
        assert_eq!(names(lister.items(&1, Duration::ZERO)), Some(vec!["late".to_owned()]));
        assert!(asking.try_recv().is_err());
    }

    #[test]
    fn what_was_listed_before_a_change_is_not_believed() {
        let (lister, asking, answer) = slow();
        assert_eq!(names(lister.items(&1, Duration::ZERO)), None);
        assert_eq!(asking.recv_timeout(LONG), Ok(1));
        lister.forget();
        answer.send("before").unwrap();
        answer.send("after").unwrap();
        assert_eq!(names(lister.items(&1, LONG)), Some(vec!["after".to_owned()]));
    }

    #[test]
    fn the_latest_wish_is_the_one_that_counts() {
        let (lister, asking, answer) = slow();
        for key in 1..=3 {
            assert_eq!(names(lister.items(&key, Duration::ZERO)), None);
        }
        let first = asking.recv_timeout(LONG).unwrap();
        answer.send("x").unwrap();
        answer.send("y").unwrap();
        answer.send("z").unwrap();
        assert!(lister.items(&3, LONG).is_some());
        assert!((1..=3).contains(&first));
        drop(lister);
        // The thread has ended: its end of the channel is gone.
        while asking.recv_timeout(LONG).is_ok() {}
    }
}
