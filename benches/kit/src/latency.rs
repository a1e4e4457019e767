//! The time that one small GET takes, again and again.

use std::time::{Duration, Instant};

use ferry_e2e::Server;
use ferry_wire::{Name, Request};

use crate::{Content, Drained, Wire};

/// Returns the times of GETs of one file, one after the other on one connection, sorted; as many as
/// `another` says, which is told how many there were and how long they took together.
///
/// # Panics
///
/// Panics where one of them brings anything but the file.
pub(crate) fn latencies(
    server: &Server,
    content: &Content,
    mut another: impl FnMut(usize, Duration) -> bool,
) -> Vec<Duration> {
    let name = content.path.file_name().and_then(|name| Name::new(name.to_str()?).ok()).expect("a plain name");
    let due = Drained { bytes: content.bytes, claimed: Some(content.crc) };
    let mut wire = Wire::greeted(server.address()).expect("a greeting");
    let mut times = Vec::new();
    let begin = Instant::now();
    while another(times.len(), begin.elapsed()) {
        let start = Instant::now();
        let drained = wire.ask(&Request::Get { name: name.clone() }).and_then(|()| wire.file(|_| {}));
        times.push(start.elapsed());
        assert_eq!(drained.expect("GET"), due);
    }
    times.sort();
    times
}
