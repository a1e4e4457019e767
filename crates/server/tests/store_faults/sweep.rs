//! The promises that must hold for any single failure.
//!
//! - Under each name lies the old file whole or the new one whole, and no other name is touched. A
//!   change that was told as SAVED or DONE is there. One that failed before the call that makes it
//!   visible is not there. One that failed after it, in the fsync of the directory, is there: the
//!   client was told FAIL, and may not rely on either.
//! - The code is that of the error. A failed fsync is never followed by SAVED or DONE. An interrupted
//!   call changes nothing, but for the two fsyncs.
//! - A read returns the bytes that are there, or a failure.
//! - Nothing stays behind of an upload that failed, where removing it was not what failed; then the
//!   next server removes it. No descriptor leaks, no byte counts as staged for ever, nothing is
//!   tried without end, nothing panics.
//! - The next RESUME goes on from no less than was promised, and from bytes that have the CRC that
//!   it assumes. It says SAVED where the file is there, and only there.
//! - The same store goes on to serve.

use std::{
    fmt,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use ferry_server::store::Upload;
use ferry_wire::{Code, Crc32, Failure, Reply};
use rustix::io::Errno;

use crate::{
    cases::{self, Answer, Case, Effect, Run, shown},
    common::{
        self,
        client::{Body, Held, Resumed, Told, id, name},
        dice::bytes,
        fresh_root,
        lack::Lack,
        tree::{self, Tree},
    },
    saboteur::{Fault, Kind, Saboteur, Seen},
};

const ERRORS: [Errno; 8] =
    [Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::INTR, Errno::MFILE, Errno::ROFS, Errno::ACCESS, Errno::STALE];

/// Returns the faults that strike the `nth` call, each error once and lasting: all errors in a full sweep, else those that
/// differ most in what they do, and one of the others in turn. A small sweep takes two of these faults, other ones at the
/// next call, and in the next request.
fn faults(nth: usize, lack: Lack, turn: usize) -> Vec<Fault> {
    let others = [Errno::NOSPC, Errno::DQUOT, Errno::MFILE, Errno::ROFS, Errno::ACCESS, Errno::STALE];
    let errors = match lack {
        _ if common::is_full() => ERRORS.to_vec(),
        Lack::Nothing => vec![Errno::IO, Errno::INTR, others[nth % others.len()]],
        // A change in several steps that is made in part can't simply be made again.
        Lack::NoReplace => vec![Errno::IO, Errno::STALE],
        _ => vec![Errno::IO],
    };
    let of = |error| [false, true].map(|lasting| Fault { nth, error, lasting });
    let all: Vec<Fault> = errors.into_iter().flat_map(of).collect();
    if common::is_more() {
        return all;
    }
    let at = |place: usize| all[place % all.len()];
    let first = at(nth + turn);
    match all.len() {
        ..=2 => vec![first],
        // Three further it is another error, and lasting where the first strikes once.
        _ => vec![first, at(nth + turn + 3)],
    }
}

/// Returns the code that a client is told for an error of the system.
pub(crate) fn code_of(error: Errno) -> Code {
    match error {
        Errno::NOSPC | Errno::DQUOT => Code::NoSpace,
        Errno::MFILE | Errno::STALE => Code::Busy,
        Errno::ROFS => Code::ReadOnly,
        Errno::ACCESS => Code::Denied,
        // An interrupted call is made again, but for a sync, of which nobody knows what it did.
        _ => Code::Io,
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    pub(crate) cases: usize,
    pub(crate) calls: usize,
    pub(crate) runs: usize,
    pub(crate) faults: usize,
    pub(crate) violations: Vec<String>,
}

impl Figures {
    pub(crate) fn since(&self, before: &Figures) -> Figures {
        Figures {
            cases: self.cases - before.cases,
            calls: self.calls - before.calls,
            runs: self.runs - before.runs,
            faults: self.faults - before.faults,
            violations: self.violations[before.violations.len()..].to_vec(),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { cases, calls, runs, faults, violations } = self;
        write!(f, "requests {cases}, calls {calls}, runs {runs}, faults {faults}, violations {}", violations.len())
    }
}

/// An undisturbed run.
struct Clean {
    answer: Answer,
    before: Tree,
    after: Tree,
    calls: usize,
    /// It is a rename in several steps, which can stop in between until the server cleans up.
    in_steps: bool,
}

impl Clean {
    /// Returns whether a rename in steps can have stopped with `there`: with both names, or with one that
    /// is kept for a directory.
    fn is_between(&self, there: &Tree) -> bool {
        let both = || self.before.0.iter().chain(&self.after.0);
        let is_some_of = |tree: &Tree| tree.0.keys().all(|name| there.0.contains_key(name));
        there.0.iter().all(|(name, node)| both().any(|known| known == (name, node)))
            && (is_some_of(&self.before) || is_some_of(&self.after))
    }
}

/// Lets each call of a request fail in each way.
pub(crate) fn sweep(case: &Case, figures: &mut Figures) {
    let clean = undisturbed(case);
    figures.cases += 1;
    figures.calls += clean.calls;
    for fault in (0..clean.calls).flat_map(|nth| faults(nth, case.lack, figures.cases)).collect::<Vec<_>>() {
        let mut found = Vec::new();
        let tried = catch_unwind(AssertUnwindSafe(|| disturbed(case, &clean, fault, &mut found)));
        let failed = tried.unwrap_or_else(|_| {
            found.push("it panicked".into());
            Vec::new()
        });
        figures.runs += 1;
        figures.faults += failed.len();
        let what = failed.first().map_or_else(|| "nothing".into(), |kind| format!("{kind:?}"));
        let Fault { nth, error, lasting } = fault;
        let place = format!("call {nth}, {error}, lasting: {lasting}, cold: {}, lack: {:?}", case.cold, case.lack);
        let shown = |found| format!("{}: {what} failed: {found} [{place}]", case.name);
        figures.violations.extend(found.into_iter().map(shown));
    }
}

fn prepared(case: &Case) -> Run {
    let root = fresh_root();
    let options = ferry_server::store::StoreOptions { max_staged: case.room, ..common::options(root.path()) };
    let saboteur = Arc::new(Saboteur::new(case.lack));
    let mut run = Run {
        root,
        options,
        saboteur,
        store: None,
        cold: case.cold,
        promised: 0,
        promised_parts: Vec::new(),
        streams: false,
    };
    run.open().expect("an undisturbed store");
    (case.prepare)(&mut run);
    run
}

fn undisturbed(case: &Case) -> Clean {
    let mut run = prepared(case);
    let before = Tree::read(run.root.path());
    run.saboteur.arm(None, case.commit);
    let answer = (case.act)(&mut run);
    let seen = run.saboteur.disarm();
    assert!(answer.is_ok(), "{}: {answer:?}", case.name);
    assert_eq!(seen.committed, case.commit.is_some(), "{}: the commit", case.name);
    // The trees that are compared have no times and no modes, so nothing else would tell that such
    // a change is durable.
    let committed = case.commit.and_then(|commit| seen.calls.iter().rposition(|kind| *kind == commit));
    let is_synced = committed.is_none_or(|at| seen.calls[at..].iter().any(|kind| kind.is_sync()));
    assert!(is_synced, "{}: nothing is synced behind the commit", case.name);
    let after = Tree::read(run.root.path());
    let in_steps = case.lack.of_rename() && case.name.starts_with("rename");
    Clean { answer, before, after, calls: seen.calls.len(), in_steps }
}

fn disturbed(case: &Case, clean: &Clean, fault: Fault, found: &mut Vec<String>) -> Vec<Kind> {
    let mut run = prepared(case);
    let open_before = descriptors(&run);
    let had_store = run.store.is_some();
    run.saboteur.arm(Some(fault), case.commit);
    let answer = (case.act)(&mut run);
    let seen = run.saboteur.disarm();
    judge(clean, fault, &answer, &seen, &Tree::read(run.root.path()), found);
    if had_store || answer.is_err() {
        no_descriptor_leaks(&run, open_before, found);
    }
    if run.store.is_none() {
        run.open().expect("a store that can be opened now");
    }
    if clean.in_steps {
        run.store.as_ref().expect("an open store").clean();
        let there = Tree::read(run.root.path());
        if there != clean.after && (answer.is_ok() || there != clean.before) {
            found.push(format!("told {answer:?}, but after cleaning up there is {there:?}"));
        }
    }
    nothing_left(&run, &seen, found);
    for upload in &case.uploads {
        resume_again(&mut run, case.lack, upload, found);
    }
    let left = seen.failed.contains(&Kind::Unlink);
    still_serves(&mut run, if left { case.room / 2 } else { case.room }, found);
    next_server(run, found);
    seen.failed
}

/// Judges the answer to the client, and the tree.
fn judge(clean: &Clean, fault: Fault, answer: &Answer, seen: &Seen, there: &Tree, found: &mut Vec<String>) {
    let interrupted = fault.error == Errno::INTR && !seen.failed.iter().any(|kind| kind.is_sync());
    match answer {
        Ok(_) => {
            if answer != &clean.answer {
                found.push(format!("told {answer:?}, but should have been {:?}", clean.answer));
            }
            if *there != clean.after {
                found.push(format!("told {answer:?}, but there is {there:?}"));
            }
            let silent = answer.as_ref().is_ok_and(|told| ["kept", "discarded", ""].contains(&told.as_str()));
            if seen.failed.iter().any(|kind| kind.is_sync()) && !silent {
                found.push("a sync failed, and the client was told that all is well".into());
            }
        }
        Err(failure) => {
            let allowed = if seen.committed { &clean.after } else { &clean.before };
            if there != allowed && !(clean.in_steps && clean.is_between(there)) {
                found.push(format!("told {failure}, committed: {}, but there is {there:?}", seen.committed));
            }
            if failure.code != code_of(fault.error) {
                found.push(format!("told {failure}, for {:?}", fault.error));
            }
            if interrupted {
                found.push(format!("interrupted, and told {failure}"));
            }
        }
    }
    if seen.is_endless() {
        found.push("it is tried for ever".into());
    }
}

/// Descriptors of what lies in the root of this run: other tests run at the same time.
fn descriptors(run: &Run) -> usize {
    let root = run.root.path().canonicalize().expect("a root");
    let open = std::fs::read_dir("/proc/self/fd").expect("a list of descriptors");
    open.flatten().filter_map(|entry| entry.path().read_link().ok()).filter(|path| path.starts_with(&root)).count()
}

fn no_descriptor_leaks(run: &Run, before: usize, found: &mut Vec<String>) {
    let until = Instant::now() + Duration::from_secs(5);
    // Large files are closed by a thread.
    while descriptors(run) > before {
        if Instant::now() > until {
            return found.push(format!("{before} descriptors before, {} after", descriptors(run)));
        }
        std::thread::yield_now();
    }
}

fn nothing_left(run: &Run, seen: &Seen, found: &mut Vec<String>) {
    if seen.failed.contains(&Kind::Unlink) || seen.calls.is_empty() {
        return;
    }
    let own = run.prepared_runs();
    for (run, entries) in tree::runs(run.root.path()) {
        if !entries.is_empty() && !own {
            found.push(format!("{entries:?} stay behind in {run}"));
        }
    }
}

impl Run {
    /// The preparation leaves something behind in the directory of a process.
    fn prepared_runs(&self) -> bool {
        self.options.keep.is_zero()
    }
}

/// RESUME of the same upload goes on from what is really there, and ends well.
fn resume_again(run: &mut Run, lack: Lack, upload: &(&str, &str, Vec<u8>), found: &mut Vec<String>) {
    let (as_id, to, whole) = (id(upload.0), name(upload.1), &upload.2);
    let there = Tree::read(run.root.path()).file(upload.1).is_some_and(|bytes| bytes == whole);
    let held = match run.client().resume(&as_id, &to, run.announced(whole)) {
        Err(failure) => return found.push(format!("RESUME afterwards: {failure}")),
        Ok(Resumed::Saved(reply)) => {
            if !there {
                return found.push(format!("RESUME afterwards: {}, but it is not there", shown(&reply)));
            }
            // The tag must be the current one of the file, after all that happened since its bytes
            // were written.
            match (&reply, run.client().stat(&to)) {
                (Reply::Saved { tag, .. }, Ok(Reply::File(meta))) if *tag == meta.tag => {}
                // It might have changed again, in the same second.
                (Reply::Saved { .. }, Ok(Reply::File(_))) if lack == Lack::FineTimes => {}
                (reply, stat) => found.push(format!("RESUME afterwards: {reply:?}, but it is {stat:?}")),
            }
            return;
        }
        Ok(Resumed::Going(held)) => held,
    };
    let offset = held.digest.bytes();
    let kept = tree::kept(run.root.path(), upload.0);
    let kept = kept.get(..offset as usize).map(Crc32::of);
    if there && !run.options.keep.is_zero() {
        found.push("RESUME afterwards: GO, but it is there".into());
    }
    if kept != Some(held.digest.crc()) || kept != whole.get(..offset as usize).map(Crc32::of) {
        found.push(format!("RESUME afterwards: GO {offset}, but these bytes are not there"));
    }
    if offset < run.promised {
        found.push(format!("RESUME afterwards: GO {offset}, but {} was promised", run.promised));
    }
    let kept = tree::kept(run.root.path(), upload.0);
    if let Some(part) = held.parts.iter().find(|part| of(&kept, part) != of(whole, part)) {
        found.push(format!("RESUME afterwards: GO tells of {part:?}, but these bytes are not there"));
    }
    let is_told = |part: &Range<u64>| {
        part.end <= offset || held.parts.iter().any(|told| told.start <= part.start && part.end <= told.end)
    };
    if let Some(part) = run.promised_parts.iter().find(|part| !is_told(part)) {
        found.push(format!("RESUME afterwards: GO {offset} and {:?}, but {part:?} was promised", held.parts));
    }
    let finished = end_in_parts(run, held, upload).and_then(|finished| run.client().publish(finished));
    let there = Tree::read(run.root.path()).file(upload.1).is_some_and(|bytes| bytes == whole);
    if finished.is_err() || !there {
        found.push(format!("RESUME afterwards ended with {finished:?}, there: {there}"));
    }
}

fn of<'b>(bytes: &'b [u8], range: &Range<u64>) -> Option<&'b [u8]> {
    bytes.get(range.start as usize..range.end as usize)
}

/// Sends the rest of an upload: what lies between its parts in parts, where it has any.
fn end_in_parts(run: &Run, held: Held, upload: &(&str, &str, Vec<u8>)) -> Result<Arc<Upload>, Failure> {
    let (as_id, to, whole) = (id(upload.0), name(upload.1), &upload.2);
    if held.parts.is_empty() {
        return run.client().finish(held, whole);
    }
    let mut from = held.digest.bytes();
    for part in held.parts.iter().cloned().chain(std::iter::once(whole.len() as u64..whole.len() as u64)) {
        if from < part.start {
            run.client().part(&as_id, &to, from, &whole[from as usize..part.start as usize])?;
        }
        from = part.end;
    }
    run.client().join(held, whole)
}

/// A PUT and a GET on the same store. The PUT needs all the room for unfinished uploads where that is
/// little: nothing of what failed may count.
fn still_serves(run: &mut Run, room: u64, found: &mut Vec<String>) {
    let bytes = bytes(9, if room < common::ROOM_BYTES { room as usize } else { 5000 });
    let probe = name("probe");
    let body = Body { bytes: &bytes, chunk: 32 << 10, announced: true, settled: true };
    let put = run.client().put(&probe, body).map(|reply| shown(&reply));
    let got = run.client().get(&probe);
    if put.is_err() || got.as_ref() != Ok(&bytes) {
        found.push(format!("PUT afterwards: {put:?}, GET: {:?}", got.map(|bytes| bytes.len())));
    }
}

/// The next server cleans up.
fn next_server(mut run: Run, found: &mut Vec<String>) {
    let before = Tree::read(run.root.path());
    run.store = None;
    run.open().expect("the next server");
    let store = run.store.as_ref().expect("the next server");
    // A lock is given up with the last hold of its file, and whoever looks into /proc/self/fd, as other
    // tests do, holds one for a moment.
    for _ in 0..100 {
        store.clean();
        if tree::runs(run.root.path()).len() == 1 {
            break;
        }
        std::thread::yield_now();
    }
    let runs = tree::runs(run.root.path());
    if runs.len() != 1 || !runs[0].1.is_empty() {
        found.push(format!("the next server leaves {runs:?}"));
    }
    if Tree::read(run.root.path()) != before {
        found.push("the next server changed what clients see".into());
    }
}

/// A batch of changes with one fault in each place: each is told on its own, and each told is true.
pub(crate) fn sweep_batch(lack: Lack, figures: &mut Figures) {
    let no_case = cases::changes().remove(0);
    let prepare =
        || prepared(&Case { prepare: cases::before_batch, room: common::ROOM_BYTES, lack, ..no_case.clone() });
    let mut run = prepare();
    run.saboteur.arm(None, None);
    let told = cases::batch(&mut run);
    assert!(told.len() == cases::BATCH && told.iter().all(|(told, _)| told.is_ok()));
    let calls = run.saboteur.disarm().calls.len();
    figures.cases += 1;
    figures.calls += calls;
    for fault in (0..calls).flat_map(|nth| faults(nth, lack, figures.cases)).collect::<Vec<_>>() {
        let mut run = prepare();
        let before = Tree::read(run.root.path());
        run.saboteur.arm(Some(fault), None);
        let told = cases::batch(&mut run);
        let failed = run.saboteur.disarm().failed;
        figures.runs += 1;
        figures.faults += failed.len();
        if !explained(&before, &Tree::read(run.root.path()), &told, &failed) {
            let told: Vec<_> = told.iter().map(|(told, _)| told.is_ok()).collect();
            figures.violations.push(format!("batch, {fault:?}, {failed:?} failed: told {told:?}"));
        }
    }
}

/// Returns whether all that was told as done, and any of what failed, makes `before` into `after`.
fn explained(before: &Tree, after: &Tree, told: &[(Told, Effect)], failed: &[Kind]) -> bool {
    // An upload whose own sync failed was told so before, and is none of these.
    let all_are_done = told.len() == cases::BATCH && told.iter().all(|(told, _)| told.is_ok());
    if failed.iter().any(|kind| kind.is_sync()) && all_are_done {
        return false;
    }
    (0..1u32 << told.len()).any(|chosen| {
        let mut tree = before.clone();
        for (index, (told, effect)) in told.iter().enumerate() {
            let happens = chosen >> index & 1 == 1;
            if told.is_ok() && !happens {
                return false;
            }
            if happens {
                effect(&mut tree);
            }
        }
        tree == *after
    })
}

/// Runs `case` with a disk that loses half of what is published: what the sweep says of it.
pub(crate) fn spoilt(case: &Case) -> Vec<String> {
    let clean = undisturbed(case);
    let mut run = prepared(case);
    run.saboteur.spoil();
    run.saboteur.arm(None, case.commit);
    let answer = (case.act)(&mut run);
    let seen = run.saboteur.disarm();
    let mut found = Vec::new();
    let fault = Fault { nth: usize::MAX, error: Errno::IO, lasting: false };
    judge(&clean, fault, &answer, &seen, &Tree::read(run.root.path()), &mut found);
    found
}

/// Runs `case` as a server would that does not look whether its fsync failed.
pub(crate) fn hushed(case: &Case) -> Vec<String> {
    let clean = undisturbed(case);
    let mut run = prepared(case);
    run.saboteur.arm(None, case.commit);
    let answer = (case.act)(&mut run);
    let mut seen = run.saboteur.disarm();
    seen.failed.push(Kind::Sync);
    let mut found = Vec::new();
    let fault = Fault { nth: 0, error: Errno::IO, lasting: false };
    judge(&clean, fault, &answer, &seen, &Tree::read(run.root.path()), &mut found);
    found
}
