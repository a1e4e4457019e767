//! One file that was asked for by itself: a list of one, of which nothing is tried again.

use std::path::Path;

use ferry_wire::{Id, Name};

use super::{Event, Fetch, Moved, Report, Settings, Store, Watch, fetch, store, tally::Manner};
use crate::{
    connection::Connection,
    error::Error,
    local::{self, LocalPath},
    options::Progress,
};

/// Fetches a file.
pub(crate) fn get(
    connection: &mut Connection,
    name: &Name,
    target: &Path,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Moved, Error> {
    let target = LocalPath::from(target);
    // First of all, so that what is wrong here costs no transfer.
    local::check_target(&target)?;
    let files = [Fetch { name: name.clone(), target, meta: None }];
    alone(progress, |watch| fetch::fetch(connection, &files, &once(), Manner::Alone, watch))
}

/// Stores a file; with an `id` it can be gone on with after a cut.
pub(crate) fn put(
    connection: &mut Connection,
    id: Option<&Id>,
    name: &Name,
    source: &Path,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Moved, Error> {
    let files = [Store { source: source.into(), name: name.clone() }];
    alone(progress, |watch| store::store(connection, &files, &once(), (Manner::Alone, id), watch))
}

fn once() -> Settings {
    Settings { resume: false, retries: 0, ..Settings::default() }
}

/// Runs a transfer of one file, and tells its progress.
fn alone(
    progress: &mut (dyn FnMut(Progress) + Send),
    transfer: impl FnOnce(&mut Watch<'_>) -> Report,
) -> Result<Moved, Error> {
    let (mut total, mut told, mut moved) = (0, None, None);
    let mut report = transfer(&mut |event| {
        let done = match event {
            Event::Begun { size, resumed, .. } => {
                total = *size;
                *resumed
            }
            Event::Moved { done, .. } => *done,
            Event::Done { moved: file, .. } => {
                moved = Some((*file).clone());
                file.size
            }
            _ => return,
        };
        if told.replace(done) != Some(done) {
            progress(Progress { done, total });
        }
    });
    moved.ok_or_else(|| report.failures.pop().map_or(Error::Interrupted, |(_, error)| error))
}
