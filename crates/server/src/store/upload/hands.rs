//! Helpers at work on an upload, and who lets it go.
//!
//! The file system may leave a helper unanswered. Whoever waited for it is told so and lets the
//! upload go, while the helper is still in the middle of it. So to let go is to say how, and the
//! last helper that leaves does it: exactly one side does, and nobody waits for the other.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ferry_wire::Id;

use super::{
    super::{
        Store,
        error::{ErrorKind, StoreError},
        operation::Tail,
    },
    Upload,
};

/// How an upload is let go.
#[derive(Debug)]
pub enum LetGo {
    /// All that arrived is dropped.
    Discard,
    /// The bytes that the journal promises are kept, and these where they can be.
    Keep(Option<Tail>),
}

/// The bytes of an upload that a helper is at work on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkOn {
    /// Its own.
    Own,
    /// Those of a part of it, which lie elsewhere in its file.
    Part,
}

/// See the [module documentation](self). Its lock is never held over a system call.
#[derive(Debug, Default)]
pub struct Hands(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    own_helpers: u32,
    part_helpers: u32,
    /// Parts of it were begun.
    has_parts: bool,
    /// Any helper has worked on it.
    is_begun: bool,
    /// It is to be let go so, by the last helper.
    due: Option<LetGo>,
    /// It was let go, or is due to be.
    is_let_go: bool,
}

impl Hands {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a helper that begins; false where the upload was let go meanwhile.
    #[must_use]
    pub fn enter(&self, on: WorkOn) -> bool {
        let mut state = self.lock();
        if !state.is_let_go {
            *state.helpers(on) += 1;
            state.is_begun = true;
            state.has_parts |= on == WorkOn::Part;
        }
        !state.is_let_go
    }

    /// Notes a helper that has ended. Returns how to let go, where that is its own to do.
    ///
    /// # Panics
    ///
    /// Where it did not [enter](Self::enter).
    #[must_use]
    pub fn leave(&self, on: WorkOn) -> Option<LetGo> {
        let mut state = self.lock();
        let helpers = state.helpers(on);
        assert!(*helpers > 0, "a helper leaves that was not there");
        *helpers -= 1;
        state.take_due()
    }

    /// Lets go. Returns how, where that is the caller's own to do: no helper is there.
    ///
    /// # Panics
    ///
    /// The second time: an upload is let go once.
    #[must_use]
    pub fn let_go(&self, how: LetGo) -> Option<LetGo> {
        let mut state = self.lock();
        assert!(!std::mem::replace(&mut state.is_let_go, true), "an upload is let go once");
        // The last bytes are given up where a helper that is late may write before them. Where it is at work on a part
        // they wait for it in memory: no more of them than there are helpers.
        let is_certain = state.own_helpers == 0;
        state.due = Some(if is_certain || matches!(how, LetGo::Discard) { how } else { LetGo::Keep(None) });
        state.take_due()
    }

    fn is_begun(&self) -> bool {
        self.lock().is_begun
    }

    fn has_parts(&self) -> bool {
        self.lock().has_parts
    }
}

impl State {
    fn helpers(&mut self, on: WorkOn) -> &mut u32 {
        match on {
            WorkOn::Own => &mut self.own_helpers,
            WorkOn::Part => &mut self.part_helpers,
        }
    }

    /// Takes how to let go, where that is due and no helper is there.
    fn take_due(&mut self) -> Option<LetGo> {
        if self.own_helpers + self.part_helpers == 0 { self.due.take() } else { None }
    }
}

/// A helper at work on an upload. Where it is the last one, and the upload was let go meanwhile, it
/// lets go when it is dropped.
#[derive(Debug)]
pub(in crate::store) struct Work<'a> {
    store: &'a Store,
    upload: Arc<Upload>,
    on: WorkOn,
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        // After a panic, what is due is left to the next server.
        if let Some(how) = self.upload.hands.leave(self.on)
            && !std::thread::panicking()
        {
            self.store.do_let_go(&self.upload, how);
        }
    }
}

impl Upload {
    /// Returns whether nothing of it can be on the disk.
    pub(in crate::store) fn is_untouched(&self) -> bool {
        self.id().is_none() && !self.hands.is_begun()
    }

    /// Returns whether helpers may be at work on parts of it.
    #[must_use]
    pub fn has_parts(&self) -> bool {
        self.hands.has_parts()
    }
}

impl Store {
    /// Begins to work on an upload.
    ///
    /// # Errors
    ///
    /// Where it was let go: whoever asked for this was told that nothing answers. Where it was begun at another store:
    /// its files are not to be found beneath this root.
    pub(in crate::store) fn work_on(&self, upload: &Arc<Upload>) -> Result<Work<'_>, StoreError> {
        self.begin_work(upload, WorkOn::Own)
    }

    /// Does the same for work on a part of it.
    pub(in crate::store) fn work_on_part_of(&self, upload: &Arc<Upload>) -> Result<Work<'_>, StoreError> {
        self.begin_work(upload, WorkOn::Part)
    }

    fn begin_work(&self, upload: &Arc<Upload>, on: WorkOn) -> Result<Work<'_>, StoreError> {
        if !self.has_begun(upload) {
            return Err(StoreError::at(upload.name.as_str(), ErrorKind::Remounted));
        }
        match upload.hands.enter(on) {
            true => Ok(Work { store: self, upload: upload.clone(), on }),
            false => Err(StoreError::at(upload.name.as_str(), ErrorKind::NoAnswer)),
        }
    }

    /// Drops an upload and all that arrived of it. A helper that is still at work on it does so
    /// when it comes back.
    pub(in crate::store) fn discard(&self, upload: &Upload) {
        if let Some(how) = upload.hands.let_go(LetGo::Discard) {
            self.do_let_go(upload, how);
        }
    }

    /// Lets go of a kept upload. Where the tail can't be made durable, what was kept before still
    /// is; so it is where a helper is still at work on it, which lets go when it comes back.
    pub(in crate::store) fn keep(&self, upload: &Upload, tail: Option<Tail>) {
        if let Some(how) = upload.hands.let_go(LetGo::Keep(tail)) {
            self.do_let_go(upload, how);
        }
    }

    fn do_let_go(&self, upload: &Upload, how: LetGo) {
        match how {
            LetGo::Discard => self.discard_now(upload),
            LetGo::Keep(tail) => self.keep_now(upload, tail),
        }
    }
}

/// Ids of kept uploads that this process has in hand: also those with which a helper is stuck, of
/// whom nobody expects anything any more.
#[derive(Debug, Default, Clone)]
pub struct IdsInHand(Arc<Mutex<HashSet<Id>>>);

impl IdsInHand {
    fn lock(&self) -> MutexGuard<'_, HashSet<Id>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an id in hand; [`None`] where it is.
    #[must_use]
    pub fn take(&self, id: &Id) -> Option<InHand> {
        self.lock().insert(id.clone()).then(|| InHand { ids: self.clone(), id: id.clone() })
    }
}

/// An id that is in hand, until this is dropped.
#[derive(Debug)]
pub struct InHand {
    ids: IdsInHand,
    id: Id,
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.ids.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use ferry_wire::Digest;

    use super::{WorkOn::*, *};
    use crate::store::Chunk;

    #[test]
    fn an_upload_is_let_go_by_exactly_one_side() {
        let hands = Hands::default();
        assert!(hands.enter(Own) && hands.leave(Own).is_none(), "nobody wants that");
        assert!(matches!(hands.let_go(LetGo::Discard), Some(LetGo::Discard)), "no helper is there");
        assert!(!hands.enter(Own), "too late");

        let hands = Hands::default();
        assert!(hands.enter(Own) && hands.enter(Own));
        assert!(hands.let_go(LetGo::Keep(None)).is_none(), "helpers are there");
        assert!(!hands.enter(Own));
        assert!(hands.leave(Own).is_none(), "one is there still");
        assert!(matches!(hands.leave(Own), Some(LetGo::Keep(None))), "the last one");
    }

    #[test]
    fn the_last_bytes_are_kept_though_a_part_is_written_but_not_where_its_own_are() {
        let tail = || LetGo::Keep(Some(Tail { at: 0, chunk: Chunk::default(), digest: Digest::new() }));
        let hands = Hands::default();
        assert!(hands.enter(Part) && hands.has_parts());
        assert!(hands.let_go(tail()).is_none(), "a helper is there");
        assert!(matches!(hands.leave(Part), Some(LetGo::Keep(Some(_)))));

        let hands = Hands::default();
        assert!(hands.enter(Own) && hands.enter(Part));
        assert!(hands.let_go(tail()).is_none() && hands.leave(Own).is_none());
        assert!(matches!(hands.leave(Part), Some(LetGo::Keep(None))));
    }

    #[test]
    fn an_id_is_in_one_hand() {
        let (ids, id) = (IdsInHand::default(), Id::new("up").unwrap());
        let hand = ids.take(&id).unwrap();
        assert!(ids.take(&id).is_none());
        drop(hand);
        assert!(ids.take(&id).is_some());
    }
}
