//! Figures of a process, from `/proc`.

use std::{fs, path::PathBuf, time::Duration};

/// One look at a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Threads, the main one included.
    pub threads: usize,
    /// Open descriptors.
    pub descriptors: usize,
    /// Resident bytes in all, shared libraries and mapped files included.
    pub resident_bytes: u64,
    /// Resident bytes that belong to this process alone and to no file: heap and stacks.
    pub anonymous_bytes: u64,
    /// The most bytes that were ever resident.
    pub peak_resident_bytes: u64,
    /// Processor time so far, in user and kernel mode, of all threads.
    pub cpu_time: Duration,
}

impl Figures {
    /// Looks at the process `pid`.
    ///
    /// # Panics
    ///
    /// Panics if there is no such process, or `/proc` does not say.
    #[must_use]
    pub fn of(pid: u32) -> Figures {
        let directory = PathBuf::from(format!("/proc/{pid}"));
        let read = |file: &str| {
            fs::read_to_string(directory.join(file)).unwrap_or_else(|error| panic!("/proc/{pid}/{file}: {error}"))
        };
        let count = |directory_name: &str| {
            fs::read_dir(directory.join(directory_name))
                .unwrap_or_else(|error| panic!("/proc/{pid}/{directory_name}: {error}"))
                .count()
        };
        let memory = read("smaps_rollup");
        Figures {
            threads: count("task"),
            descriptors: count("fd"),
            resident_bytes: kibibytes(&memory, "Rss:"),
            anonymous_bytes: kibibytes(&memory, "Anonymous:"),
            peak_resident_bytes: kibibytes(&read("status"), "VmHWM:"),
            cpu_time: cpu_time(&read("stat")),
        }
    }
}

/// The value of a line `<key>   <number> kB`, in bytes.
fn kibibytes(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_else(|| panic!("no {key} in {text}"));
    let number = line.split_whitespace().next().expect("a number follows the key");
    number.parse::<u64>().expect("a number of kB") * 1024
}

/// Fields 14 and 15 of `stat`, in clock ticks; counted from behind the name in parentheses, which
/// may hold spaces.
fn cpu_time(stat: &str) -> Duration {
    let behind_name = stat.rsplit_once(") ").expect("a name in parentheses").1;
    let mut fields = behind_name.split(' ').skip(11).map(|field| field.parse::<u64>().expect("a number of ticks"));
    let ticks = fields.next().expect("utime") + fields.next().expect("stime");
    Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second()).expect("a small number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let figures = Figures::of(std::process::id());
        assert!(figures.threads >= 1 && figures.descriptors >= 3, "{figures:?}");
        assert!(figures.anonymous_bytes > 0 && figures.resident_bytes >= figures.anonymous_bytes, "{figures:?}");
    }

    #[test]
    fn ticks_are_read_behind_a_name_with_spaces() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 30 20 0 0 20 0 1 0 5 6 7";
        let ticks = u32::try_from(rustix::param::clock_ticks_per_second()).unwrap();
        assert_eq!(cpu_time(stat), Duration::from_secs(50) / ticks);
    }
}
