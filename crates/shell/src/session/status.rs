//! STATUS, HEALTH and HISTORY.

use std::{num::NonZeroU64, os::unix::ffi::OsStrExt as _, time::Instant};

use ferry_client::Space;
use ferry_wire::{escaped, escaped_bytes};

use super::Session;
use crate::{
    exit::Failed,
    figures::{Count, Rate, Size},
    output::Event,
};

impl Session {
    pub(super) fn status(&mut self) {
        let (local, place) = (self.local_place(), self.place());
        let mut lines = Vec::new();
        let mut event = Event::new("status").with("local", local.to_string_lossy());
        match &self.client {
            None => lines.push("not connected".to_owned()),
            Some(client) => {
                let greeting = client.greeting();
                let features = greeting.features.join(" ");
                lines.push(format!("connected to {} ({})", client.address(), escaped(&greeting.software)));
                lines.extend(greeting.node().map(|node| format!("node: {}", escaped(node))));
                lines.extend(client.user().map(|user| format!("logged in as {user}")));
                let features = if features.is_empty() { "none" } else { &*features };
                lines.push(format!("features: {}", escaped(features)));
                lines.push(format!("directory of the server: {}", escaped(&place)));
                event =
                    event.with("address", client.address().to_string()).with("software", greeting.software.as_str());
                event = event.with("features", greeting.features.clone()).with("remote", place.as_str());
                event = event.with("user", client.user()).with("node", greeting.node());
            }
        }
        lines.push(format!("local directory: {}", escaped_bytes(local.as_os_str().as_bytes())));
        let limit = self.keyboard.limit().map(NonZeroU64::get);
        lines.extend(limit.map(|limit| format!("limit of the rate: {}, each way", Rate(limit as f64))));
        event = event.with("limit_rate", limit);
        for (done, totals) in [("got", self.got), ("put", self.put)] {
            lines.push(format!("{done} so far: {}, {}", Count(totals.files, "file"), Size(totals.bytes)));
        }
        event = event.with("got_files", self.got.files).with("got_bytes", self.got.bytes);
        event = event.with("put_files", self.put.files).with("put_bytes", self.put.bytes);
        self.output.answer(lines.join("\n"), || event);
    }

    pub(super) fn health(&mut self) -> Result<(), Failed> {
        let began = Instant::now();
        let client = self.connected()?;
        client.health().map_err(|error| Failed::new("HEALTH", &error))?;
        let (seconds, place) = (began.elapsed().as_secs_f64(), client.address().to_string());
        let node = client.greeting().node().map(str::to_owned);
        let of_node = node.as_deref().map(|node| format!(" (node {})", escaped(node))).unwrap_or_default();
        self.output.answer(format_args!("the root of {place}{of_node} answers"), || {
            Event::new("healthy").with("address", place.as_str()).with("node", node).with("seconds", seconds)
        });
        Ok(())
    }

    pub(super) fn tell_space(&mut self, human: bool) -> Result<(), Failed> {
        let Space { total, free, available, staged } =
            self.connected()?.space().map_err(|error| Failed::new("DF", &error))?;
        let used = total.saturating_sub(free);
        let size = |bytes: u64| if human { Size(bytes).to_string() } else { bytes.to_string() };
        let percent = percent(used, available).map_or("-".to_owned(), |percent| format!("{percent}%"));
        let mut text = format!("{:>20}{:>20}{:>20}{:>6}\n", "total", "used", "available", "use");
        text += &format!("{:>20}{:>20}{:>20}{percent:>6}", size(total), size(used), size(available));
        if let Some(staged) = staged {
            text += &format!("\nuploads that are not finished may take {} more", size(staged));
        }
        self.output.answer(text, || {
            let event = Event::new("space").with("total", total).with("free", free).with("available", available);
            event.with("staged", staged)
        });
        Ok(())
    }

    pub(super) fn tell_history(&mut self, count: Option<usize>) {
        let Session { history, output, .. } = self;
        let first = count.map_or(0, |count| history.len().saturating_sub(count));
        for (index, line) in history.iter().enumerate().skip(first) {
            output.answer(format_args!("{:>5}  {}", index + 1, escaped(line)), || {
                Event::new("line").with("number", index + 1).with("text", line.as_str())
            });
        }
    }
}

/// Returns how much is used of what could be, in percent, rounded up as `df` does.
fn percent(used: u64, available: u64) -> Option<u128> {
    let (used, all) = (u128::from(used), u128::from(used) + u128::from(available));
    (all > 0).then(|| (used * 100).div_ceil(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_used_is_rounded_up() {
        let told = [(0, 0), (0, 5), (1, 999), (5, 5), (7, 0), (u64::MAX, u64::MAX)]
            .map(|(used, available)| percent(used, available));
        assert_eq!(told, [None, Some(0), Some(1), Some(50), Some(100), Some(50)]);
    }
}
