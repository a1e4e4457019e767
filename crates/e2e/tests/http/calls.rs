//! The system calls by which the bytes of a file are sent, as strace sees them.

use std::{
    collections::HashMap,
    fs,
    io::{self, BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use ferry_e2e::{eventually, random_bytes};
use tempfile::TempDir;

use super::serving;

const LARGE_BYTES: usize = 24 << 20;

/// So much at the end of a file is held back, and read, until the file was looked at again.
const LAST_BYTES: u64 = 4 << 10;

/// All by which bytes of a file can get anywhere, but for a mapping of it.
const CALLS: &str = "trace=read,readv,pread64,preadv,preadv2,sendfile,splice,tee,copy_file_range";

/// strace at a running server.
struct Trace {
    strace: Child,
    lines: PathBuf,
    _place: TempDir,
}

impl Trace {
    /// Follows a process and all of its threads; [`None`] where there is no strace, or it may not.
    fn of(pid: u32) -> Option<Trace> {
        let place = tempfile::tempdir().unwrap();
        let lines = place.path().join("lines");
        let spawned = Command::new("strace")
            .args(["-f", "-y", "-s", "0", "-e", CALLS])
            .arg("-o")
            .arg(&lines)
            .args(["-p", &pid.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut strace) = spawned else {
            eprintln!("skipped: there is no strace");
            return None;
        };
        let (mut said, mut says) = (String::new(), BufReader::new(strace.stderr.take().unwrap()));
        says.read_line(&mut said).unwrap();
        // It also tells of each thread that is new, and would die where nobody reads that.
        thread::spawn(move || io::copy(&mut says, &mut io::sink()));
        let trace = Trace { strace, lines, _place: place };
        if said.contains("attached") {
            return Some(trace);
        }
        eprintln!("skipped: {said}");
        None
    }

    /// Returns how many bytes of a file were sent from it by sendfile, and how many came out of it by any other call.
    fn moved(&self, file: &Path) -> (u64, u64) {
        let (mut sent, mut read) = (0, 0);
        let name = format!("<{}>", file.display());
        // A call that others come between ends on a line of its own, without the file.
        let mut unfinished = HashMap::new();
        for line in fs::read_to_string(&self.lines).unwrap().lines() {
            let (thread, call) = line.split_once(' ').unwrap_or_default();
            let is_sent = match line.contains(&name) {
                true => line.contains(" sendfile("),
                false => match unfinished.remove(thread).filter(|_| call.contains(" resumed>")) {
                    Some(is_sent) => is_sent,
                    None => continue,
                },
            };
            if line.ends_with("<unfinished ...>") {
                unfinished.insert(thread.to_owned(), is_sent);
                continue;
            }
            let bytes = line.rsplit_once(" = ").and_then(|(_, result)| result.parse().ok()).unwrap_or(0);
            if is_sent { sent += bytes } else { read += bytes }
        }
        (sent, read)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

/// Once the CRCs of its blocks are known, which takes one reading of it when it has rested for a second.
#[test]
fn a_large_file_goes_from_the_page_cache_to_the_socket() {
    let (server, mut http) = serving();
    let large = random_bytes(7, LARGE_BYTES);
    server.write("large.bin", &large);
    let file = fs::canonicalize(server.path("large.bin")).unwrap();
    let Some(trace) = Trace::of(server.pid()) else { return };
    let ideal = (LARGE_BYTES as u64 - LAST_BYTES, LAST_BYTES);
    // The body may be here before all calls that brought it are written down: these count for the next time, then.
    eventually("all of it but its end is sent from the page cache", || {
        let before = trace.moved(&file);
        assert!(http.get("/large.bin").body == large);
        let after = trace.moved(&file);
        ((after.0 - before.0, after.1 - before.1) == ideal).then_some(())
    });
}
