//! One file after the other.

use super::{Event, Fetch, Moved, Report, Settings, Store};
use crate::{Client, error::Error, options::Progress};

pub(crate) fn fetch(
    client: &mut Client,
    files: &[Fetch],
    settings: &Settings,
    watch: &mut dyn FnMut(&Event<'_>),
) -> Report {
    run(files.len(), settings, watch, |index, watch| {
        let Fetch { name, target, .. } = &files[index];
        let got = client.get(name, target, &mut |progress| told(index, progress, watch))?;
        Ok(Moved { size: got.size, crc: got.crc, resumed: 0 })
    })
}

pub(crate) fn store(
    client: &mut Client,
    files: &[Store],
    settings: &Settings,
    watch: &mut dyn FnMut(&Event<'_>),
) -> Report {
    run(files.len(), settings, watch, |index, watch| {
        let Store { source, name } = &files[index];
        let put = client.put(name, source, &mut |progress| told(index, progress, watch))?;
        Ok(Moved { size: put.size, crc: put.crc, resumed: put.resumed })
    })
}

fn told(index: usize, Progress { done, total }: Progress, watch: &mut dyn FnMut(&Event<'_>)) {
    watch(&if done == 0 { Event::Begun { index, size: total, resumed: 0 } } else { Event::Moved { index, done } });
}

fn run(
    count: usize,
    settings: &Settings,
    watch: &mut dyn FnMut(&Event<'_>),
    mut step: impl FnMut(usize, &mut dyn FnMut(&Event<'_>)) -> Result<Moved, Error>,
) -> Report {
    let mut report = Report::default();
    for index in 0..count {
        match step(index, watch) {
            Ok(moved) => {
                watch(&Event::Done { index, moved: &moved });
                report.files += 1;
                report.bytes += moved.size;
                report.resumed += moved.resumed;
            }
            Err(error) => {
                watch(&Event::Failed { index, error: &error });
                report.failures.push((index, error));
                if !settings.keep_going {
                    report.untried = count - index - 1;
                    break;
                }
            }
        }
    }
    report
}
