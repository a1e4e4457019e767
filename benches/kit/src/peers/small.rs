//! Small files, as many a second as may be.

use std::{fmt::Write as _, fs, io, path::Path, process::Command};

use super::{
    Bench, MANY,
    daemon::{Daemon, Kind},
    ftp::Ftp,
    turns::{Peer, compete},
};
use crate::{
    Goal, Report, Sample, Unit,
    lanes::get_all,
    program::find,
    sample::{clocked, rated},
    small_files::{GETS_A_SECOND, GETS_OF_EACH, SMALL_BYTES, file_name},
    timed,
};

/// Of ferry; wrk keeps as many, and four times as many.
const CONNECTIONS: usize = 16;

/// Servers that take one file after the other get a part of the files in a turn.
const PART: usize = 10;

/// Ferry's requests are all on the way at once; those of wrk, one for each of its connections; FTP has
/// no way to send a request before the last one is done.
pub(super) fn gets(bench: &Bench<'_>, report: &mut Report) {
    let work = format!("GETs of 4 KiB, {CONNECTIONS} connections");
    if !bench.options.wants(&work) {
        return;
    }
    let script = bench.local.join("all.lua");
    let mut peers = Vec::new();
    if let (Some(nginx), Some(wrk)) = (bench.daemon(Kind::Nginx), find("wrk")) {
        fs::write(&script, lua(bench.files.len())).expect("room for a script");
        let both = [CONNECTIONS, 4 * CONNECTIONS];
        for &connections in if bench.options.tiny { &both[..1] } else { &both } {
            let (wrk, script) = (wrk.clone(), &script);
            let is = format!("nginx, wrk, {connections} connections");
            let url = format!("http://{}/", nginx.address());
            peers.push(Peer::new(is, &[], move || wrk_turn(&wrk, &url, || nginx.cpu(), connections, script)));
        }
    }
    for daemon in bench.ftp_servers() {
        let count = bench.files.len().div_ceil(PART);
        let is = format!("{}, one after the other", daemon.name());
        peers.push(Peer::new(is, &[], move || in_sequence(daemon, count)));
    }
    let count = bench.files.len() * GETS_OF_EACH;
    let mut ours = || {
        timed(bench.ferry.pid(), Unit::Files, count as u64, || {
            get_all(bench.ferry.address(), CONNECTIONS, &bench.files, count).expect("every GET");
        })
    };
    compete(report, bench.options.rounds, &work, Unit::Files, &[Goal::AtLeast(GETS_A_SECOND)], Some(&mut ours), peers);
}

/// Makes wrk ask for one file after the other, as the others do.
pub(super) fn lua(files: usize) -> String {
    let mut script = String::from("local requests = {}\nfunction init()\n");
    let _ = write!(
        script,
        "  for index = 0, {} do requests[index] = wrk.format('GET', string.format('/{MANY}/%05d', index)) end\nend\n\
         local next = -1\nfunction request()\n  next = (next + 1) % {files}\n  return requests[next]\nend\n",
        files - 1
    );
    script
}

/// Lets wrk ask the server at `url`, whose CPU seconds `cpu` gives, for a second.
pub(super) fn wrk_turn(
    wrk: &Path,
    url: &str,
    cpu: impl Fn() -> f64,
    connections: usize,
    script: &Path,
) -> Result<Sample, String> {
    let mut output = None;
    let (_, cpu) = clocked(cpu, || {
        let mut command = Command::new(wrk);
        command.args(["-t1", "-d1s", &format!("-c{connections}"), "-s"]).arg(script);
        output = Some(command.arg(url).output());
    });
    let output = output.ok_or("wrk was not run")?.map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout);
    let (requests, rate) = told_by_wrk(&said).ok_or_else(|| format!("wrk says {said:?}"))?;
    Ok(Sample { value: rate, cpu: Some(cpu * 1e6 / requests) })
}

/// Returns how many requests were answered, and how many in a second; [`None`] where some failed.
fn told_by_wrk(said: &str) -> Option<(f64, f64)> {
    if said.contains("Non-2xx") || said.contains("Socket errors") {
        return None;
    }
    let requests = said.lines().find_map(|line| line.split_once(" requests in "))?.0;
    let rate = said.lines().find_map(|line| line.strip_prefix("Requests/sec:"))?;
    Some((requests.trim().parse().ok()?, rate.trim().parse().ok()?))
}

fn in_sequence(daemon: &Daemon, count: usize) -> io::Result<Sample> {
    let mut ftp = Ftp::login(daemon.address(), daemon.login())?;
    let mut done = Ok(());
    let figures = clocked(
        || daemon.cpu(),
        || {
            done = (0..count).try_for_each(|index| match ftp.get(&format!("{MANY}/{}", file_name(index)), |_| {})? {
                bytes if bytes == SMALL_BYTES as u64 => Ok(()),
                bytes => Err(io::Error::other(format!("{bytes} bytes came"))),
            });
        },
    );
    done.map(|()| rated(Unit::Files, count as u64, figures))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says_is_read() {
        let said = "Running 1s test\n  1 threads and 16 connections\n  60123 requests in 1.10s, 250.00MB read\n\
                    Requests/sec:  54657.27\nTransfer/sec:    227.27MB\n";
        assert_eq!(told_by_wrk(said), Some((60123.0, 54657.27)));
        assert_eq!(told_by_wrk(&format!("{said}  Non-2xx or 3xx responses: 3\n")), None);
        assert_eq!(told_by_wrk("unable to connect"), None);
    }
}
