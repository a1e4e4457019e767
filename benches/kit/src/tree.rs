//! A process and all that come of it, from `/proc`: servers that fork spend their time and memory in
//! their children.

use std::fs;

/// The fields of `/proc/<pid>/stat`.
struct Stat {
    parent: u32,
    /// Ticks of its own.
    ticks: u64,
    /// Ticks of the children that it has waited for.
    waited_ticks: u64,
}

/// Returns the processes that descend from `ancestor`, itself not included.
///
/// # Panics
///
/// Panics where there is no `/proc`.
#[must_use]
pub fn descendants(ancestor: u32) -> Vec<u32> {
    let mut found = vec![ancestor];
    let all: Vec<(u32, u32)> = processes().filter_map(|pid| Some((pid, stat(pid)?.parent))).collect();
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(all.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.remove(0);
    found
}

/// Returns the CPU seconds of `ancestor` and all that descend from it, those that have ended and
/// were waited for included.
#[must_use]
pub(crate) fn cpu_seconds(ancestor: u32) -> f64 {
    let mut processes = descendants(ancestor);
    processes.push(ancestor);
    let whole = |pid| Some(own_cpu_seconds(pid) + seconds(stat(pid)?.waited_ticks));
    processes.into_iter().filter_map(whole).sum()
}

/// Returns the CPU seconds of the threads of the process `pid` alone. A tick is 10 ms, more than
/// many a child of a server takes in its life: the scheduler knows the time of each living thread
/// better.
pub(crate) fn own_cpu_seconds(pid: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let scheduled = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    let nanoseconds: u64 = scheduled.sum();
    seconds(stat(pid).map_or(0, |stat| stat.ticks)).max(nanoseconds as f64 / 1e9)
}

/// Returns the CPU seconds of the programs that this process has run and waited for.
#[must_use]
pub(crate) fn cpu_seconds_waited_for() -> f64 {
    seconds(stat(std::process::id()).map_or(0, |stat| stat.waited_ticks))
}

/// Returns the bytes of memory of no file that those who descend from `ancestor` hold; what several of them
/// share counts once.
#[must_use]
pub(crate) fn anonymous_bytes(ancestor: u32) -> u64 {
    descendants(ancestor).into_iter().filter_map(proportional_bytes).sum()
}

/// Returns the number of open descriptors of all who descend from `ancestor`.
#[must_use]
pub(crate) fn descriptors(ancestor: u32) -> usize {
    let count = |pid: u32| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    descendants(ancestor).into_iter().map(count).sum()
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("a /proc");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// [`None`] where the process has ended meanwhile.
fn stat(pid: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields are counted from after the name in parentheses, which may hold anything.
fn parse(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let field = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let [ticks, waited_ticks] = [field(11)? + field(12)?, field(13)? + field(14)?];
    Some(Stat { parent: u32::try_from(field(1)?).ok()?, ticks, waited_ticks })
}

fn proportional_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let kibibytes = text.lines().find_map(|line| line.strip_prefix("Pss_Anon:"))?;
    Some(1024 * kibibytes.split_whitespace().next()?.parse::<u64>().ok()?)
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio, id};

    use super::*;

    #[test]
    fn fields_are_read_behind_a_name_with_anything_in_it() {
        let stat = parse("7 (a) b) S 3 7 7 0 -1 4194560 1 0 0 0 30 20 4 5 20 0 1 0 5 6 7").unwrap();
        assert_eq!((stat.parent, stat.ticks, stat.waited_ticks), (3, 50, 9));
        assert!(parse("7 (a) S 3").is_none());
    }

    /// The time of one process alone never falls, however the machine is loaded; that of threads that come and go does.
    #[test]
    fn time_that_was_spent_is_told() {
        let script = "(while :; do :; done) & wait; read end";
        let mut parent = Command::new("sh");
        let mut parent = parent.args(["-c", script]).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (busy, spent) = ferry_e2e::eventually("a child that has spent some time", || {
            let busy = descendants(parent.id()).first().copied()?;
            Some((busy, own_cpu_seconds(busy))).filter(|(_, spent)| *spent >= 0.1)
        });
        assert!(cpu_seconds(parent.id()) >= spent, "of those that live");
        let busy = rustix::process::Pid::from_raw(busy.cast_signed()).unwrap();
        rustix::process::kill_process(busy, rustix::process::Signal::KILL).unwrap();
        ferry_e2e::eventually("a child that was waited for", || descendants(parent.id()).is_empty().then_some(()));
        // Ticks are whole ones of 10 ms, of the user and of the system.
        assert!(cpu_seconds(parent.id()) >= spent - 0.02, "of those that have ended");
        drop(parent.stdin.take());
        parent.wait().unwrap();
    }

    #[test]
    fn children_belong_to_it_and_what_they_hold_too() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert!(descendants(id()).contains(&child.id()));
        assert!(anonymous_bytes(id()) > 0 && descriptors(id()) >= 3);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!descendants(id()).contains(&child.id()));
    }
}
