//! Sizes, times and rates as people read them.

use std::{
    fmt::{self, Display},
    time::Duration,
};

/// `312 bytes in 0.001 s`, or `1.0 GiB in 1.2 s (880 MB/s)` where it took long enough to have a rate.
pub(crate) struct Summary {
    /// Bytes of what there is now.
    pub(crate) bytes: u64,
    /// Bytes of those that were there before and are no work of this time.
    pub(crate) resumed: u64,
    /// The time that it took.
    pub(crate) elapsed: Duration,
}

/// Below this, a rate says more about the clock than about the transfer.
const RATED_BYTES: u64 = 1 << 20;

impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Size(self.bytes))?;
        if self.resumed > 0 {
            write!(f, ", {} of them from before,", Size(self.resumed))?;
        }
        let seconds = self.elapsed.as_secs_f64();
        if seconds < 1.0 {
            write!(f, " in {seconds:.3} s")?;
        } else {
            write!(f, " in {seconds:.1} s")?;
        }
        let moved = self.bytes.saturating_sub(self.resumed);
        if moved >= RATED_BYTES && seconds > 0.0 {
            write!(f, " ({})", Rate(moved as f64 / seconds))?;
        }
        Ok(())
    }
}

/// `1 file`, `2 files`.
pub(crate) struct Count(pub(crate) usize, pub(crate) &'static str);

impl Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Count(1, "directory") => f.write_str("1 directory"),
            Count(count, "directory") => write!(f, "{count} directories"),
            Count(1, what) => write!(f, "1 {what}"),
            Count(count, what) => write!(f, "{count} {what}s"),
        }
    }
}

/// Bytes: `312 bytes`, `1.5 GiB`.
pub(crate) struct Size(pub(crate) u64);

impl Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        match self.0 {
            1 => return f.write_str("1 byte"),
            bytes @ 0..1024 => return write!(f, "{bytes} bytes"),
            _ => {}
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        // Rounded to one decimal, 1023.95 would be shown as 1024.0 of the smaller unit.
        while value >= 1023.95 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        write!(f, "{value:.1} {}", UNITS[unit])
    }
}

/// Bytes a second: `880 MB/s`, `1.5 MB/s`, `12 kB/s`.
pub(crate) struct Rate(pub(crate) f64);

impl Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = self.0 / 1e6;
        match megabytes {
            10.0.. => write!(f, "{megabytes:.0} MB/s"),
            0.1.. => write!(f, "{megabytes:.1} MB/s"),
            _ => write!(f, "{:.0} kB/s", self.0 / 1e3),
        }
    }
}

/// Time that is left: `8 s`, `3:05`, `2 h 10 min`, `4 d`.
pub(crate) struct Left(pub(crate) Duration);

impl Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing is left only when it is over.
        let seconds = (self.0.as_secs_f64().round() as u64).max(1);
        let (minutes, hours) = (seconds / 60, seconds / 3600);
        match seconds {
            0..60 => write!(f, "{seconds} s"),
            60..3600 => write!(f, "{minutes}:{:02}", seconds % 60),
            3600..172_800 => write!(f, "{hours} h {} min", minutes % 60),
            _ => write!(f, "{} d", hours / 24),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_at_the_end_reads_well() {
        let line =
            |bytes, resumed, millis| Summary { bytes, resumed, elapsed: Duration::from_millis(millis) }.to_string();
        assert_eq!(line(312, 0, 1), "312 bytes in 0.001 s");
        assert_eq!(line(1, 0, 0), "1 byte in 0.000 s");
        assert_eq!(line(2048, 0, 20), "2.0 KiB in 0.020 s");
        assert_eq!(line(1 << 30, 0, 1220), "1.0 GiB in 1.2 s (880 MB/s)");
        assert_eq!(line((1 << 20) - 1, 0, 1000), "1.0 MiB in 1.0 s");
        assert_eq!(line(1 << 20, 0, 1000), "1.0 MiB in 1.0 s (1.0 MB/s)");
        assert_eq!(line(u64::MAX, 0, 0), "16.0 EiB in 0.000 s");
        // What was there before is no speed.
        assert_eq!(line(5 << 20, 4 << 20, 1000), "5.0 MiB, 4.0 MiB of them from before, in 1.0 s (1.0 MB/s)");
        assert_eq!(line(5 << 20, 5 << 20, 1000), "5.0 MiB, 5.0 MiB of them from before, in 1.0 s");
    }

    #[test]
    fn rates_and_times_fit_their_size() {
        let rates = [0.0, 999.0, 54_321.0, 100_000.0, 1.26e6, 9.96e6, 1.5e9].map(|rate| Rate(rate).to_string());
        assert_eq!(rates, ["0 kB/s", "1 kB/s", "54 kB/s", "0.1 MB/s", "1.3 MB/s", "10.0 MB/s", "1500 MB/s"]);
        let times = [0, 1, 59, 60, 185, 3599, 3600, 7800, 172_800, u64::MAX];
        let times = times.map(|seconds| Left(Duration::from_secs(seconds)).to_string());
        assert_eq!(times[..9], ["1 s", "1 s", "59 s", "1:00", "3:05", "59:59", "1 h 0 min", "2 h 10 min", "2 d"]);
    }
}
