//! Locks on files that one process at a time works on.

use std::{fs::File, thread, time::Duration};

use rustix::fs::{FlockOperation, flock};

/// The waits between tries, in all about an eighth of a second.
const WAITS: [Duration; 7] = [
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(4),
    Duration::from_millis(8),
    Duration::from_millis(16),
    Duration::from_millis(32),
    Duration::from_millis(64),
];

/// Locks `file` until it is closed. Returns whether that could be done: not while another one has it, and not where the
/// file system knows no locks.
///
/// A child of this process that is being started has a duplicate of every open file until its own program runs, and keeps
/// the lock of one that is closed here meanwhile (flock(2)). So a lock that is taken is tried for again, for a moment.
pub(crate) fn lock(file: &File) -> bool {
    lock_with(file, thread::sleep)
}

fn lock_with(file: &File, mut wait: impl FnMut(Duration)) -> bool {
    let mut waits = WAITS.into_iter();
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return true,
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(_) => return false,
        }
        let Some(time) = waits.next() else { return false };
        wait(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_let_go_of_soon_is_had_and_another_is_not() {
        let held = tempfile::NamedTempFile::new().unwrap();
        let open = || File::open(held.path()).unwrap();
        let (first, second) = (open(), open());
        assert!(lock_with(&first, |_| panic!("nobody has it")));
        let mut waited = Duration::ZERO;
        assert!(!lock_with(&second, |time| waited += time));
        assert!(waited > Duration::from_millis(100) && waited < Duration::from_millis(200));
        // As a child has it between fork and exec.
        let mut duplicate = Some(first.try_clone().unwrap());
        drop(first);
        assert!(lock_with(&second, |_| drop(duplicate.take())));
        assert!(duplicate.is_none());
    }
}
