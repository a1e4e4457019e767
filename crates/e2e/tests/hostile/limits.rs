//! The limits that options set: told with the right code, and over when the cause is gone.

use std::{
    io::{BufRead, BufReader, Read as _, Write as _},
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use ferry_e2e::{Answer, Frail, Options, Raw, Server, body, eventually, gist, random_bytes};

use crate::{
    alone,
    ground::{Ground, narrow, with_buffers},
};

/// Connects once more and gives what the server says first.
fn first_word(server: &Server) -> String {
    let mut raw = Raw::connect(server.address());
    gist(&raw.line())
}

/// Connects; returns whether the server greets.
fn is_greeted(server: &Server) -> bool {
    let mut line = String::new();
    let _ = BufReader::new(narrow(server, None)).read_line(&mut line);
    line.starts_with("FERRY 1 ")
}

#[test]
fn of_many_clients_at_once_as_many_are_served_as_may_be() {
    const MOST: usize = 10;
    const COME: usize = 200;
    let _alone = alone();
    let ground = Ground::start("--max-clients 10");
    let mut clients: Vec<Frail> = (0..COME).map(|_| Frail::connect(ground.server.address()).unwrap()).collect();
    let said: Vec<String> = thread::scope(|scope| {
        let readers: Vec<_> = clients
            .iter_mut()
            .map(|client| {
                scope.spawn(|| {
                    let word = gist(&client.line().expect("a greeting or a refusal"));
                    if word == "FAIL busy" {
                        assert!(client.to_eof().expect("the end").is_empty());
                        let _ = client.finish();
                    }
                    word
                })
            })
            .collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    let served = said.iter().filter(|word| word.starts_with("FERRY")).count();
    let busy = said.iter().filter(|word| *word == "FAIL busy").count();
    println!("{COME} clients at once, {MOST} allowed: {served} served, {busy} told busy");
    assert_eq!((served, busy), (MOST, COME - MOST));
    drop(clients);
    eventually("there is room again", || first_word(&ground.server).starts_with("FERRY").then_some(()));
    ground.ends_as_it_began();
}

#[test]
fn one_address_has_its_share_and_another_one_is_still_served() {
    let _alone = alone();
    let ground = Ground::start("--max-clients-per-address 3");
    let server = &ground.server;
    let held: Vec<Raw> = (0..3).map(|_| Raw::greeted(server.address())).collect();
    for _ in 0..10 {
        assert_eq!(first_word(server), "FAIL busy");
    }
    let other = narrow(server, Some(SocketAddr::from(([127, 0, 0, 2], 0))));
    let mut greeting = String::new();
    BufReader::new(other.clone()).read_line(&mut greeting).unwrap();
    assert!(greeting.starts_with("FERRY 1 "), "{greeting:?}");
    drop((held, other));
    eventually("there is room again", || first_word(server).starts_with("FERRY").then_some(()));
    ground.ends_as_it_began();
}

#[test]
fn one_address_can_not_take_the_descriptors_by_being_refused() {
    const MOST: usize = 3;
    const COME: usize = 150;
    // A quarter of those that are told at one time.
    const REFUSED: usize = 16;
    let _alone = alone();
    let ground = Ground::start("--max-clients-per-address 3");
    let server = &ground.server;
    // They stay, and read nothing.
    let held: Vec<Frail> = (0..COME).map(|_| Frail::connect(server.address()).unwrap()).collect();
    // Until then they are no clients, and have a limit of their own.
    held.iter().for_each(|frail| frail.socket().shake_hands().unwrap());
    // Whoever is greeted now was accepted behind them.
    let other = narrow(server, Some(SocketAddr::from(([127, 0, 0, 2], 0))));
    let mut greeting = String::new();
    BufReader::new(other.clone()).read_line(&mut greeting).unwrap();
    assert!(greeting.starts_with("FERRY 1 "), "{greeting:?}");
    let more = server.figures().descriptors - ground.idle.descriptors;
    println!("{COME} clients of one address, {MOST} allowed: {more} descriptors more, with another client's");
    assert!(more <= MOST + REFUSED + 1, "{more} descriptors for one address");
    drop((held, other));
    // Until the server has seen all of them go, the next one is closed without a word.
    eventually("there is room again", || is_greeted(server).then_some(()));
    ground.ends_as_it_began();
}

/// Begins the resumable upload `id` of `name` and sends its first `bytes` bytes of `size`, then STOP.
fn keep(raw: &mut Raw, id: &str, name: &str, bytes: usize, size: usize) -> Answer {
    assert!(raw.ask(&format!("RESUME {id} {size} - {name}")).line.starts_with("GO "));
    raw.send([format!("DATA {bytes}\n").as_bytes(), &vec![7; bytes], b"STOP\n"].concat());
    raw.answer("RESUME")
}

/// Panics unless an upload failed with `code`, or because one that failed before it was not given back
/// yet: that is done after it was told.
#[track_caller]
fn fails(answer: &Answer, code: &str) {
    assert!(answer.code().is_some_and(|found| found == code || found == "no-space"), "no {code}: {}", answer.line);
}

#[test]
fn staged_bytes_are_counted_and_given_back_however_an_upload_ends() {
    const MOST: usize = 1_000_000;
    let _alone = alone();
    let root = tempfile::tempdir().unwrap();
    let start =
        || Options::new().root(root.path()).arg("--max-staged").arg(MOST.to_string()).arg("--durability=none").start();
    let server = start();
    let mut raw = Raw::greeted(server.address());
    let all = vec![7; MOST];
    for attempt in 0..8 {
        raw.put("larger", &vec![7; MOST + 1]).expect_failure("no-space");
        raw.send("PUT 900000 - wrong\nDATA 900000\n");
        raw.send([&all[..900_000], b"END 00000000\n"].concat());
        fails(&raw.answer("PUT"), "checksum");
        raw.send([b"PUT 900000 - stopped\nDATA 900000\n", &all[..900_000], b"STOP\n"].concat());
        fails(&raw.answer("PUT"), "stopped");
        let mut cut = Frail::greeted(server.address()).unwrap();
        cut.send([b"PUT 900000 - cut\nDATA 900000\n", &all[..800_000]].concat()).unwrap();
        cut.reset().unwrap();
        raw.send([b"PUT 900000 - nowhere/x\n", &body(&all[..900_000], 1 << 16)[..]].concat());
        fails(&raw.answer("PUT"), "not-found");
        // All of it is there again.
        eventually("what was staged is given back", || {
            let answer = raw.put("all", &all);
            assert!(answer.code().is_none_or(|code| code == "no-space"), "attempt {attempt}: {:?}", answer.line);
            answer.code().is_none().then_some(())
        });
    }
    keep(&mut raw, "kept-1", "k", 600_000, 900_000).expect_failure("stopped");
    raw.put("no room", &all[..500_000]).expect_failure("no-space");
    assert_eq!(raw.put("fits", &all[..300_000]).word(0), "SAVED");
    drop(raw);
    assert_eq!(server.terminate().code(), Some(0));

    // What is kept counts for the next server as well, and no longer than it is kept.
    let server = start();
    let mut raw = Raw::greeted(server.address());
    raw.put("no room", &all[..500_000]).expect_failure("no-space");
    assert_eq!(raw.ask("RESUME kept-1 900000 - k").line, "GO 600000");
    raw.send([b"DATA 300000\n", &all[..300_000], b"END -\n"].concat());
    assert_eq!(raw.answer("RESUME").word(0), "SAVED");
    assert_eq!(raw.put("all", &all).word(0), "SAVED");
    assert_eq!(server.visible(), ["all", "fits", "k"]);
}

#[test]
fn a_resumable_upload_over_the_limit_keeps_what_fitted() {
    let _alone = alone();
    let server = Options::new().arg("--max-staged").arg("600000").start();
    let mut raw = Raw::greeted(server.address());
    // Whichever is noticed first: that there is no room, or the STOP.
    let answer = keep(&mut raw, "large", "x", 900_000, 2_000_000);
    assert!(matches!(answer.code(), Some("no-space" | "stopped")), "{}", answer.line);
    let go = raw.ask("RESUME large 2000000 - x");
    let offset: usize = go.word(1).parse().unwrap();
    assert!(offset <= 600_000, "{}", go.line);
    raw.send("STOP\n");
    raw.answer("RESUME").expect_failure("stopped");
    assert!(server.visible().is_empty());
}

/// How many bytes a second `bytes` bytes took since `began`.
fn rate(bytes: u64, began: Instant) -> u64 {
    (bytes as f64 / began.elapsed().as_secs_f64()) as u64
}

#[test]
fn one_client_moves_no_more_than_its_rate_and_is_not_thrown_out_for_it() {
    const RATE: u64 = 300_000;
    const BYTES: usize = 450_000;
    let _alone = alone();
    // The server itself slows the client down below the progress that it demands.
    let ground = Ground::start("--rate 300000 --progress-window 1 --progress-bytes 400000");
    let bytes = random_bytes(1, BYTES);
    let began = Instant::now();
    let mut raw = Raw::greeted(ground.server.address());
    assert_eq!(raw.put("new", &bytes).word(0), "SAVED");
    let up = rate(BYTES as u64, began);
    let began = Instant::now();
    assert!(raw.ask("GET new").verified() == bytes);
    let down = rate(BYTES as u64, began);
    println!("rate {RATE}: up {up}, down {down} bytes a second");
    // A slow machine is never faster; the start may use what was saved up.
    assert!(up <= 2 * RATE && down <= 2 * RATE);
    drop(raw);
    ground.ends_as_it_began();
}

/// The buffers of sockets hold MiBs, which a slow client takes for longer than a window to make room in.
#[test]
fn a_client_that_reads_slowly_is_not_thrown_out_while_its_bytes_are_in_buffers() {
    const WINDOW: Duration = Duration::from_secs(1);
    let _alone = alone();
    let ground = Ground::start("--progress-window 1 --progress-bytes 4KiB");
    ground.server.write("new", &vec![7; 24 << 20]);
    let mut client = with_buffers(&ground.server, None, 64 << 10);
    client.write_all(b"GET new\n").unwrap();
    let (began, mut taken, mut piece) = (Instant::now(), 0, [0; 8192]);
    while began.elapsed() < 5 * WINDOW {
        thread::sleep(WINDOW / 50);
        client.read_exact(&mut piece).expect("it is still served");
        taken += piece.len();
    }
    // It is still there, and the rest comes.
    let mut rest = Vec::new();
    client.write_all(b"CLOSE\n").unwrap();
    client.read_to_end(&mut rest).unwrap();
    assert!(taken + rest.len() > 24 << 20, "{taken} and {}", rest.len());
    assert!(rest.ends_with(b"BYE\n"), "{:?}", String::from_utf8_lossy(&rest[rest.len().saturating_sub(200)..]));
    drop(client);
    ground.ends_as_it_began();
}

#[test]
fn all_clients_together_move_no_more_than_the_total_rate() {
    const RATE: u64 = 1_000_000;
    const BYTES: usize = 300_000;
    const CLIENTS: u64 = 5;
    let _alone = alone();
    let ground = Ground::start("--total-rate 1000000");
    ground.server.write("new", &vec![7; BYTES]);
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut raw = Raw::greeted(ground.server.address());
                assert_eq!(raw.ask("GET new").verified().len(), BYTES);
            });
        }
    });
    let together = rate(CLIENTS * BYTES as u64, began);
    println!("total rate {RATE}: {CLIENTS} clients together {together} bytes a second");
    assert!(together <= 2 * RATE);
    ground.ends_as_it_began();
}

#[test]
fn many_clients_that_come_at_once_move_no_more_than_the_total_rate() {
    const RATE: u64 = 4_000_000;
    const CLIENTS: usize = 40;
    const EACH: usize = 100_000;
    let _alone = alone();
    let ground = Ground::start("--total-rate 4000000");
    let mut clients: Vec<Raw> = (0..CLIENTS).map(|_| Raw::greeted(ground.server.address())).collect();
    let began = Instant::now();
    for raw in &mut clients {
        raw.send("GET big\n");
    }
    // Each has begun, and none has more than its turn.
    for raw in &mut clients {
        assert!(raw.line().starts_with("FILE "));
        raw.bytes(EACH);
    }
    let together = rate((CLIENTS * EACH) as u64, began);
    println!("total rate {RATE}: {CLIENTS} clients at once {together} bytes a second");
    assert!(together <= RATE * 3 / 2);
    drop(clients);
    ground.ends_as_it_began();
}
