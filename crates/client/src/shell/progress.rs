//! What is shown of a transfer, while it runs and at its end.

use std::{
    fmt,
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use ferry_client::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What is over sooner needs no bar.
const SHOW_AFTER: Duration = Duration::from_millis(300);

const TEMPLATE: &str =
    "{msg} [{bar:24}] {percent:>3}% {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  {eta} left";

/// The bar of one transfer, on standard error if that is a terminal. Cleared when dropped.
pub(crate) struct Bar {
    begun: Instant,
    name: String,
    enabled: bool,
    shown: bool,
    /// Made with the first bytes, though it is not shown yet: so its rate counts from the start.
    bar: Option<ProgressBar>,
}

impl Bar {
    /// The clock starts now; `name` is shown.
    pub(crate) fn new(name: String) -> Bar {
        Bar { begun: Instant::now(), name, enabled: std::io::stderr().is_terminal(), shown: false, bar: None }
    }

    /// The transfer is so far.
    pub(crate) fn update(&mut self, progress: Progress) {
        if !self.enabled {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| hidden_bar(self.name.clone(), progress.total));
        bar.set_position(progress.done);
        if !self.shown && self.begun.elapsed() >= SHOW_AFTER {
            self.shown = true;
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// Time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }
}

fn hidden_bar(name: String, total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(name);
    bar
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `312 bytes in 0.001 s`, or `1.0 GiB in 1.2 s (880 MB/s)` where it took long enough to have a rate.
pub(crate) struct Summary {
    pub(crate) bytes: u64,
    pub(crate) elapsed: Duration,
}

/// Below this, a rate says more about the clock than about the transfer.
const RATED_BYTES: u64 = 1 << 20;

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_size(f, self.bytes)?;
        let seconds = self.elapsed.as_secs_f64();
        if seconds < 1.0 {
            write!(f, " in {seconds:.3} s")?
        } else {
            write!(f, " in {seconds:.1} s")?
        }
        if self.bytes >= RATED_BYTES && seconds > 0.0 {
            let rate = self.bytes as f64 / seconds / 1e6;
            if rate < 10.0 { write!(f, " ({rate:.1} MB/s)")? } else { write!(f, " ({rate:.0} MB/s)")? }
        }
        Ok(())
    }
}

fn write_size(f: &mut fmt::Formatter<'_>, bytes: u64) -> fmt::Result {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    match bytes {
        1 => return f.write_str("1 byte"),
        0..1024 => return write!(f, "{bytes} bytes"),
        _ => {}
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // Rounded to one decimal, 1023.95 would be shown as 1024.0 of the smaller unit.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    write!(f, "{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_at_the_end_reads_well() {
        let line = |bytes, millis| Summary { bytes, elapsed: Duration::from_millis(millis) }.to_string();
        assert_eq!(line(312, 1), "312 bytes in 0.001 s");
        assert_eq!(line(1, 0), "1 byte in 0.000 s");
        assert_eq!(line(2048, 20), "2.0 KiB in 0.020 s");
        assert_eq!(line(1 << 30, 1220), "1.0 GiB in 1.2 s (880 MB/s)");
        assert_eq!(line((1 << 20) - 1, 1000), "1.0 MiB in 1.0 s");
        assert_eq!(line(1 << 20, 1000), "1.0 MiB in 1.0 s (1.0 MB/s)");
        assert_eq!(line(u64::MAX, 0), "16.0 EiB in 0.000 s");
    }
}
