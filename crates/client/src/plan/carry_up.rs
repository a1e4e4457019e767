//! Sending files where those that they replace are kept.

use std::path::Path;

use ferry_wire::Name;

use super::{
    backup::{BATCH_FILES, Backup, Swap},
    carry_out::Course,
};
use crate::{
    error::Error,
    transfer::{Event, Moved, Report, Store},
};

impl Course<'_> {
    /// Sends `files`, batch after batch, but for those that are `blocked`.
    pub(super) fn send_keeping(&mut self, backup: &Backup, files: &[Store], blocked: impl Fn(&Path) -> bool) {
        let is_blocked = |file: &Store| blocked(Path::new(file.name.as_str()));
        let left: Vec<usize> = (0..files.len()).filter(|index| !is_blocked(&files[*index])).collect();
        self.report.blocked = files.len() - left.len();
        self.report.moved.untried = self.report.blocked;
        let cleared = self.client.patiently(self.settings, &mut |_| {}, |client| backup.clear_incoming(client));
        if let Err(error) = cleared {
            log::info!("new versions that an earlier run has sent may be left: {error}");
        }
        let mut incoming = Vec::new();
        for batch in left.chunks(BATCH_FILES) {
            if !self.report.moved.failures.is_empty() && !self.settings.keep_going || !self.client.is_connected() {
                self.report.moved.untried += batch.len();
                continue;
            }
            match self.send_batch(backup, files, batch) {
                Ok(made) => incoming.extend(backup.incoming(&made)),
                Err(error) => {
                    self.report.moved.untried += batch.len();
                    self.refuse(None, error);
                }
            }
        }
        // What is left in them was not given its name, and stays.
        incoming.sort_by(|a: &Name, b| b.cmp(a));
        incoming.dedup();
        let deleted = self
            .client
            .patiently(self.settings, &mut |_| {}, |client| client.delete_all(&incoming, &mut |_, _| Ok(())));
        if let Err(error) = deleted {
            log::info!("directories of new versions may be left: {error}");
        }
    }

    /// Sends the files of `files` at `batch`. Returns the directories that were made, or were there.
    fn send_batch(&mut self, backup: &Backup, files: &[Store], batch: &[usize]) -> Result<Vec<Name>, Error> {
        let swaps: Vec<Option<Swap>> =
            batch.iter().map(|&index| backup.swap(index, &files[index].name)).collect::<Result<_, _>>()?;
        let sent: Vec<Store> = batch
            .iter()
            .zip(&swaps)
            .map(|(&index, swap)| match swap {
                Some(swap) => Store { name: swap.incoming.clone(), ..files[index].clone() },
                None => files[index].clone(),
            })
            .collect();
        let directories = backup.directories(swaps.iter().flatten())?;
        let Course { client, settings, watch, .. } = self;
        client.patiently(settings, *watch, |client| client.make_directories(&directories))?;
        let mut arrived: Vec<Option<Moved>> = vec![None; batch.len()];
        let mut report = client.store(&sent, settings, &mut |event| match event {
            // It has not its name yet.
            Event::Done { index, moved } if swaps[*index].is_some() => arrived[*index] = Some((*moved).clone()),
            event => watch(&event.renumbered(|index| batch[index])),
        });
        report.failures.iter_mut().for_each(|(index, _)| *index = batch[*index]);
        self.name_new(backup, (swaps, arrived), report);
        Ok(directories)
    }

    /// Gives their names to those of `swaps` that have arrived, and adds what became of them all to the report.
    fn name_new(&mut self, backup: &Backup, (swaps, arrived): (Vec<Option<Swap>>, Vec<Option<Moved>>), report: Report) {
        let mut all = report;
        let (mut due, mut moved) = (Vec::new(), Vec::new());
        for (swap, arrived) in swaps.into_iter().zip(arrived) {
            if let (Some(swap), Some(arrived)) = (swap, arrived) {
                moved.push((swap.index, arrived));
                due.push(swap);
            }
        }
        let Course { client, settings, watch, report, .. } = self;
        for (index, result) in backup.exchange(client, due, (settings, *watch)) {
            let Some((_, file)) = moved.iter().find(|(of, _)| *of == index) else { continue };
            match result {
                Ok(()) => watch(&Event::Done { index, moved: file }),
                Err(error) => {
                    all.files -= 1;
                    all.bytes -= file.size;
                    all.resumed -= file.resumed;
                    watch(&Event::Failed { index, error: &error });
                    all.failures.push((index, error));
                }
            }
        }
        let Report { files, bytes, resumed, failures, untried } = all;
        let moved = &mut report.moved;
        (moved.files, moved.bytes, moved.resumed) = (moved.files + files, moved.bytes + bytes, moved.resumed + resumed);
        moved.failures.extend(failures);
        moved.untried += untried;
    }
}
