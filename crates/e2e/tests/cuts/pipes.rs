//! Downloads into streams that go on behind a cut: each byte is taken once, and none of another version.

use std::{io, time::Duration};

use ferry_client::{Code, Error, Event, Settings};
use ferry_e2e::{Server, random_bytes, seed};

use super::{
    connect, name,
    proxy::{Cut, Manner, Proxy, Way},
};

pub(crate) const BYTES: usize = (2 << 20) + 12345;

/// Where the connections are cut: within the version, around its end, at each part of the body, and around the end of that.
pub(crate) fn places() -> Vec<u64> {
    let full = std::env::var("FERRY_SWEEP").is_ok_and(|value| value == "full");
    let parts = if full { 100 } else { 6 };
    // A connection that is cut within its greeting is never made.
    let begin = if ferry_e2e::secure::is_asked_for() { 4000 } else { 350 };
    let body = (0..=parts).map(|part| begin + part * BYTES as u64 / parts);
    let near_the_end =
        (0..if full { 100 } else { 10 }).map(|back| BYTES as u64 + 700 - back * if full { 7 } else { 60 });
    body.chain(near_the_end).collect()
}

/// A server behind a proxy, and the content of its file `a`.
fn scene() -> (Server, Proxy, Vec<u8>) {
    let server = Server::start();
    let content = random_bytes(seed(), BYTES);
    server.write("a", &content);
    let proxy = Proxy::start(server.address());
    (server, proxy, content)
}

#[test]
fn a_download_into_a_stream_that_is_cut_anywhere_gives_each_byte_once() {
    let (_server, proxy, content) = scene();
    let mut lost = 0;
    for (number, after) in places().into_iter().enumerate() {
        let manner = if number % 2 == 0 { Manner::End } else { Manner::Reset };
        proxy.cut(&[Cut { way: Way::Down, after, manner }]);
        let mut got = Vec::new();
        let mut client = connect(proxy.address());
        let download = client.fetch_into(&name("a"), &mut got, &Settings::default(), &mut |event| {
            lost += usize::from(matches!(event, Event::Lost { .. }));
        });
        let download = download.unwrap_or_else(|error| panic!("{after} {manner:?}: {error}"));
        assert!(got == content, "{after} {manner:?}: {} bytes", got.len());
        assert_eq!((download.size, download.crc), (BYTES as u64, ferry_client::Crc32::of(&content)));
        proxy.cut_no_more();
    }
    assert!(lost > 6, "{lost} cuts were seen");
}

/// Each connection brings something, so none of them is the last attempt.
#[test]
fn a_download_into_a_stream_whose_every_connection_is_cut_still_ends() {
    let (_server, proxy, content) = scene();
    proxy.cut(&[Cut { way: Way::Down, after: BYTES as u64 / 10, manner: Manner::End }; 11]);
    let mut got = Vec::new();
    let settings = Settings { retries: 1, ..Settings::default() };
    connect(proxy.address()).fetch_into(&name("a"), &mut got, &settings, &mut |_| {}).unwrap();
    assert!(got == content);
}

/// Writes to memory, and does something once so much is there.
struct Then<F: FnMut()> {
    got: Vec<u8>,
    at: usize,
    what: Option<F>,
}

impl<F: FnMut()> io::Write for Then<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.got.extend_from_slice(bytes);
        if self.got.len() >= self.at
            && let Some(mut what) = self.what.take()
        {
            what();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Also where the new version begins as the old one did, and is as long.
#[test]
fn a_file_that_changed_meanwhile_is_told_and_not_mixed() {
    for after in [BYTES as u64 / 2, BYTES as u64 + 500] {
        let (server, proxy, content) = scene();
        let mut other = content.clone();
        *other.last_mut().unwrap() ^= 1;
        let mut sink = Then {
            got: Vec::new(),
            at: BYTES / 4,
            what: Some(|| {
                // The old version is open at the server by then, and is sent as it was.
                std::fs::write(server.path("new"), &other).unwrap();
                std::fs::rename(server.path("new"), server.path("a")).unwrap();
            }),
        };
        proxy.cut(&[Cut { way: Way::Down, after, manner: Manner::End }]);
        let mut client = connect(proxy.address());
        let failed = client.fetch_into(&name("a"), &mut sink, &Settings::default(), &mut |_| {}).map(drop);
        assert!(content.starts_with(&sink.got), "bytes of another version");
        match failed {
            Err(error @ Error::Server(_)) => {
                assert_eq!(error.code(), Some(Code::Changed), "{error}");
                assert!(error.to_string().contains("of the earlier version are out already"), "{error}");
            }
            // The cut came behind its end.
            Ok(()) => assert!(after > BYTES as u64 && sink.got == content),
            Err(error) => panic!("{error}"),
        }
        client.stat(&name("a")).unwrap();
    }
}

#[test]
fn a_sink_that_fails_is_not_tried_again() {
    struct Full;
    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (_server, proxy, _) = scene();
    let settings = Settings { retry_for: Duration::from_secs(3600), ..Settings::default() };
    let failed = connect(proxy.address()).fetch_into(&name("a"), &mut Full, &settings, &mut |_| panic!("tried again"));
    assert!(matches!(failed, Err(Error::System { .. })), "{failed:?}");
}
