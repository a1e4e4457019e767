//! The client as it is, against a server that says what the input says.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    time::Duration,
};

use ferry_client::{Address, Client, Error, Id, IfTaken, Name, Options, Part, Settings};

use crate::is_raw;

/// The content of the file that a GET replaces.
const OLD: &[u8] = b"the old file";

/// The content that PUT sends.
const SOURCE: &[u8] = b"hello";

/// The byte that picks a stream that goes on where it was cut.
const STREAM: u8 = b'8';

/// A server that says all it will say can't make a client wait so long.
const GUARD: Duration = Duration::from_secs(20);

/// One conversation on a real socket. The first byte picks the request; the bytes after it go out
/// when the request came, and then the server says no more.
///
/// # Panics
///
/// If a file is there that should not be, an error is shown raw, or the client waits for nothing.
pub fn conversation(input: &[u8]) {
    let Some((&which, words)) = input.split_first() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let [target, source] = ["a", "source"].map(|name| directory.path().join(name));
    std::fs::write(&target, OLD).expect("a file");
    std::fs::write(&source, SOURCE).expect("a file");
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = Address::new("127.0.0.1", listener.local_addr().expect("an address").port());
    let result = std::thread::scope(|scope| {
        scope.spawn(|| serve(&listener, words));
        let mut client = Client::connect(&address, Options::default().timeout(GUARD))?;
        let (a, id) = (Name::new("a").expect("a name"), Id::new("id").expect("an id"));
        if which == STREAM {
            let settings = Settings::impatient();
            // One that may replace nothing is always sent under an id.
            let sent = client.put_replaying(&a, None, IfTaken::Fail, &mut &SOURCE[..], (&settings, &mut |_| {}));
            return sent.map(|_| None);
        }
        match which % 8 {
            0 => client.get(&a, &target, &mut |_| {}).map(|got| Some(got.crc)),
            1 => client.read(&a, &Part { offset: 1, length: Some(3), tag: None }, &mut Vec::new()).map(|_| None),
            2 => client.list(None).map(|_| None),
            3 => client.stat(&a).map(|_| None),
            4 => client.sum(&a).map(|_| None),
            5 => client.put(&a, &source, &mut |_| {}).map(|_| None),
            6 => client.resume(&id, &a, &source, &mut |_| {}).map(|_| None),
            _ => client.rename(&a, &Name::new("b").expect("a name")).map(|()| None),
        }
    });
    judge(&result);
    let content = std::fs::read(&target).expect("the file is there");
    match result {
        Ok(Some(crc)) => assert_eq!(ferry_client::Crc32::of(&content), crc, "another file than was verified"),
        _ => assert_eq!(content, OLD, "the old file is gone"),
    }
    let names = std::fs::read_dir(directory.path()).expect("the directory is there").count();
    assert_eq!(names, 2, "something is left behind");
}

fn judge<T>(result: &Result<T, Error>) {
    if let Err(error) = result {
        assert!(!is_raw(&error.to_string()), "{error}");
        assert!(!matches!(error, Error::Timeout(_) | Error::Interrupted | Error::System { .. }), "{error}");
    }
}

fn serve(listener: &TcpListener, words: &[u8]) {
    let Ok((mut stream, _)) = listener.accept() else { return };
    let _ = stream.write_all(b"FERRY 1 fuzz/1 with-if streams\n");
    let Ok(input) = stream.try_clone() else { return };
    let mut input = BufReader::new(input);
    let _ = input.read_until(b'\n', &mut Vec::new());
    speak(&mut stream, &mut input, words);
}

/// Says `words` and no more, and takes what comes.
fn speak(stream: &mut TcpStream, input: &mut BufReader<TcpStream>, words: &[u8]) {
    let _ = stream.write_all(words);
    let _ = stream.shutdown(Shutdown::Write);
    let mut taken = [0; 4096];
    while input.read(&mut taken).is_ok_and(|got| got > 0) {}
}
