//! Several connections for one download, to servers that do not keep their word on all of them.

use std::{
    net::TcpListener,
    sync::{Arc, Barrier},
    thread,
};

use ferry_client::{Address, Blame, Crc32, Event, Fetch, FileMeta, Parallel, Settings, Tag};

use crate::support::{GREETING, Local, Peer, connect, name};

const SIZE: u64 = 40 << 20;

/// Serves each connection in a thread of its own, with the number of the connection.
fn serve(script: impl Fn(&mut Peer, usize) + Send + Sync + Clone + 'static) -> Address {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let script = script.clone();
            thread::spawn(move || script(&mut Peer::new(stream.unwrap()), number));
        }
    });
    address
}

/// Answers READ with zeros and SUM with theirs, until the client leaves.
fn honest(peer: &mut Peer) {
    while let Some(line) = peer.line() {
        let words: Vec<_> = line.split(' ').collect();
        match words[0] {
            "READ" => {
                let offset: usize = words[1].parse().unwrap();
                let length: usize = words[2].parse().unwrap_or(SIZE as usize - offset);
                let zeros = vec![0; length];
                peer.send(format!("FILE {SIZE} - t\n"));
                for block in zeros.chunks(1 << 20) {
                    peer.send(format!("DATA {}\n", block.len()));
                    peer.send(block);
                }
                peer.send(format!("END {}\n", Crc32::of(&zeros)));
            }
            "SUM" => peer.send(format!("SUM {SIZE} {} t\n", Crc32::of(&vec![0; SIZE as usize]))),
            _ => panic!("{line}"),
        }
    }
}

fn fetch(address: &Address, local: &Local) -> (ferry_client::Report, usize) {
    let meta = FileMeta { size: SIZE, mtime: None, tag: Tag::new("t").unwrap(), mode: None };
    let file = Fetch { name: name("a"), target: local.path("a").into(), meta: Some(meta) };
    let settings = Settings { parallel: Parallel::Fixed(3), retries: 0, ..Settings::default() };
    let mut restarted = 0;
    let report = connect(address).fetch(&[file], &settings, &mut |event| {
        restarted += usize::from(matches!(event, Event::Restarted { .. }));
    });
    (report, restarted)
}

#[test]
fn fewer_connections_than_were_wanted_do_it_as_well() {
    let address = serve(|peer, number| {
        if number > 0 {
            peer.send("FAIL busy too many from your address\n");
            return peer.close();
        }
        peer.send(GREETING);
        honest(peer);
    });
    let local = Local::new();
    let (report, restarted) = fetch(&address, &local);
    assert!(report.is_whole() && restarted == 0, "{report:?}");
    assert_eq!(std::fs::metadata(local.path("a")).unwrap().len(), SIZE);
    assert_eq!(local.names(), ["a"]);
}

#[test]
fn one_connection_that_lies_spoils_no_file() {
    let lies = [
        ("another version", format!("FILE {SIZE} - u\n"), None),
        ("another size", "FILE 5 - t\nDATA 5\nhelloEND 3610a686\n".into(), None),
        ("too little", format!("FILE {SIZE} - t\nDATA 5\nhelloEND 3610a686\n"), None),
        ("SUM", format!("SUM {SIZE} 00000000 t\n"), None),
        ("nonsense", "\x1b[2J\n".into(), None),
        ("nothing", String::new(), None),
        // The server's word for the file, and no lie.
        ("FAIL", "FAIL denied not for you\n".into(), Some(Blame::Request)),
    ];
    for (what, lie, blame) in lies {
        // The honest ones wait until the liar was asked: there are more pieces than they ask for ahead.
        let asked = Arc::new(Barrier::new(3));
        let address = serve(move |peer, number| {
            peer.send(GREETING);
            if number != 1 {
                asked.wait();
                return honest(peer);
            }
            peer.line();
            asked.wait();
            peer.send(&lie);
            peer.close();
        });
        let local = Local::new();
        local.file("a", b"old");
        let (report, restarted) = fetch(&address, &local);
        let failed = report.failures.first().map(|(_, error)| error.blame());
        assert_eq!((failed, restarted), (blame, 0), "{what}: {report:?}");
        // What it had taken the others have fetched.
        let expected = if blame.is_some() { b"old".to_vec() } else { vec![0; SIZE as usize] };
        assert!(std::fs::read(local.path("a")).unwrap() == expected, "{what}");
    }
}

/// One piece is damaged on the way, and asked for again; those before it stay.
#[test]
fn a_piece_that_was_damaged_on_the_way_is_asked_for_again() {
    let asked = Arc::new(Barrier::new(3));
    let address = serve(move |peer, number| {
        peer.send(GREETING);
        if number < 3 {
            asked.wait();
        }
        if number == 1 {
            let line = peer.line().unwrap();
            let length: usize = line.split(' ').nth(2).unwrap().parse().unwrap();
            let mut out = format!("FILE {SIZE} - t\n").into_bytes();
            for at in (0..length).step_by(1 << 20) {
                out.extend_from_slice(format!("DATA {}\n", 1 << 20).as_bytes());
                out.resize(out.len() + (1 << 20), u8::from(at == 0));
            }
            out.extend_from_slice(format!("END {}\n", Crc32::of(&vec![0; length])).as_bytes());
            peer.send(out);
        }
        honest(peer);
    });
    let local = Local::new();
    let (report, restarted) = fetch(&address, &local);
    assert!(report.is_whole() && restarted == 0, "{report:?}");
    assert!(std::fs::read(local.path("a")).unwrap() == vec![0; SIZE as usize]);
    assert_eq!(local.names(), ["a"]);
}
