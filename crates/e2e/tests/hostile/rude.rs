//! Clients that keep to the protocol and to nothing else: they dribble, they stall, they idle.

use std::{
    io::Write as _,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use ferry_e2e::{Frail, Raw, Server, Socket, random_bytes};

use crate::{
    alone,
    ground::{Ground, narrow, raise_descriptor_limit},
    number_of,
};

/// Says that all is done when it is dropped: also where a test fails, so that the dribbling ends.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Between two bytes of a dribbler.
const DRIBBLE: Duration = Duration::from_millis(100);

/// One way to be rude: what is said first, whether GO is awaited, and what then drips.
struct Manner {
    name: &'static str,
    first: &'static str,
    drip: &'static str,
    expected: &'static [&'static str],
}

/// Each is told `timeout`, behind the replies that it was owed.
const MANNERS: [Manner; 8] = [
    Manner { name: "an idler", first: "", drip: "", expected: &[] },
    Manner { name: "an idler behind a request", first: "STAT nowhere\n", drip: "", expected: &["FAIL not-found"] },
    Manner { name: "a dribbler of a line", first: "STAT ", drip: "x", expected: &[] },
    Manner { name: "a dribbler of options", first: "", drip: "WITH a=b\n", expected: &[] },
    Manner { name: "a dribbler of a block", first: "PUT 99999 - new\nDATA 99999\n", drip: "x", expected: &[] },
    Manner { name: "a dribbler of blocks", first: "PUT 99999 - new\n", drip: "DATA 1\nx", expected: &[] },
    Manner {
        name: "a dribbler of a resumed body",
        first: "RESUME %ID% 9999 - new\n",
        drip: "DATA 1\nx",
        expected: &["GO 0"],
    },
    Manner {
        name: "a dribbler of a refused body",
        first: "PUT 9 - ../x\n",
        drip: "DATA 1\nx",
        expected: &["FAIL bad-name"],
    },
];

/// Lets `drips` fall, one of each list entry at a time, until `done`.
fn dribble(drips: &mut [(Socket, &str)], pause: Duration, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        for (stream, drip) in &mut *drips {
            // Those who were thrown out notice it here.
            let _ = stream.write_all(drip.as_bytes());
        }
        thread::sleep(pause);
    }
}

/// GETs, each on a connection of its own, verified, until `done`; gives how many.
fn honest(server: &Server, content: &[u8], done: &AtomicBool) -> usize {
    let mut count = 0;
    while !done.load(Ordering::Relaxed) {
        assert!(Raw::greeted(server.address()).ask("GET new-honest").verified() == content);
        count += 1;
    }
    count
}

#[test]
fn every_rude_client_is_told_and_gone_and_honest_ones_notice_nothing() {
    const EACH: usize = 12;
    let _alone = alone();
    let ground = Ground::start("--request-timeout 1 --progress-window 1 --idle-timeout 1 --durability none");
    let server = &ground.server;
    let content = random_bytes(5, 1 << 20);
    server.write("new-honest", &content);
    let done = AtomicBool::new(false);
    let stalled: Vec<Socket> = (0..EACH)
        .map(|_| {
            let mut stream = narrow(server, None);
            stream.write_all(b"GET big\n").unwrap();
            stream
        })
        .collect();
    let (mut drips, mut reading) = (Vec::new(), Vec::new());
    for index in 0..EACH * MANNERS.len() {
        let manner = &MANNERS[index % MANNERS.len()];
        let mut frail = Frail::greeted(server.address()).unwrap();
        frail.send(manner.first.replace("%ID%", &format!("rude-{index}"))).unwrap();
        drips.push((frail.socket().try_clone().unwrap(), manner.drip));
        reading.push((manner, frail));
    }
    let (rude, served) = (drips.len() + stalled.len(), AtomicUsize::new(0));
    thread::scope(|scope| {
        let _done = Done(&done);
        scope.spawn(|| dribble(&mut drips, DRIBBLE, &done));
        scope.spawn(|| served.store(honest(server, &content, &done), Ordering::Relaxed));
        for (manner, frail) in &mut reading {
            for expected in manner.expected {
                assert_eq!(ferry_e2e::gist(&frail.line().expect("a reply")), *expected, "{}", manner.name);
            }
            let last = frail.line().unwrap_or_else(|error| panic!("{}: {error}", manner.name));
            assert!(last.starts_with("FAIL timeout "), "{}: {last:?}", manner.name);
            frail.line().expect_err("nothing behind the closing FAIL");
        }
    });
    // Those who don't read can't be told.
    drop((drips, reading));
    server.settles("the stalled are gone as well", |figures| figures.descriptors <= ground.idle.descriptors);
    drop(stalled);
    let served = served.into_inner();
    println!("rude clients {rude}, all gone; honest GETs of 1 MiB meanwhile {served}, all whole");
    assert!(served > 0);
    ground.ends_as_it_began();
}

/// The median of how long an honest GET of 1 MiB takes, of `count`.
fn median_get(server: &Server, content: &[u8], count: usize) -> Duration {
    let mut raw = Raw::greeted(server.address());
    let mut times: Vec<Duration> = (0..count)
        .map(|_| {
            let began = Instant::now();
            assert!(raw.ask("GET new-honest").body == content);
            began.elapsed()
        })
        .collect();
    times.sort();
    times[count / 2]
}

/// Connects `dribblers` that have begun a line and `stalled` that read no reply.
fn rude_crowd(server: &Server, dribblers: u64, stalled: u64) -> (Vec<(Socket, &'static str)>, Vec<Socket>) {
    let drips = (0..dribblers).map(|index| {
        let mut stream = narrow(server, None);
        let first = if index % 2 == 0 { "STAT " } else { "PUT 99999 - new\nDATA 99999\n" };
        stream.write_all(first.as_bytes()).unwrap();
        (stream, "x")
    });
    let drips = drips.collect();
    let stall = |_| {
        let mut stream = narrow(server, None);
        stream.write_all(b"GET big\n").unwrap();
        stream
    };
    (drips, (0..stalled).map(stall).collect())
}

#[test]
fn an_honest_get_among_rude_clients() {
    const ROUNDS: usize = 3;
    const GETS: usize = 15;
    const PAUSE: Duration = Duration::from_secs(1);
    let _alone = alone();
    raise_descriptor_limit();
    let (dribblers, stalled) = (number_of("FERRY_HOSTILE_DRIBBLERS", 150), number_of("FERRY_HOSTILE_STALLED", 50));
    // Long enough that they are all there while it is measured, and that a busy machine makes nobody seem rude.
    let patience = 5 + (dribblers + stalled) / 250;
    let ground = Ground::start(&format!(
        "--request-timeout {patience} --progress-window {patience} --idle-timeout {patience} --durability none"
    ));
    let server = &ground.server;
    let content = random_bytes(6, 1 << 20);
    server.write("new-honest", &content);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let mut fewest = usize::MAX;
    for round in 0..ROUNDS {
        without.push(median_get(server, &content, GETS));
        let (mut drips, stall) = rude_crowd(server, dribblers, stalled);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let _done = Done(&done);
            scope.spawn(|| dribble(&mut drips, PAUSE, &done));
            with.push(median_get(server, &content, GETS));
            fewest = fewest.min(server.figures().descriptors - ground.idle.descriptors);
        });
        if round + 1 < ROUNDS {
            drop((drips, stall));
        } else {
            let began = Instant::now();
            server.settles("all rude clients are gone", |figures| figures.descriptors <= ground.idle.descriptors);
            println!(
                "all gone by themselves {:.1} s later; their limit is {patience} s",
                began.elapsed().as_secs_f64()
            );
        }
        server.settles("nobody is left", |figures| figures.descriptors <= ground.idle.descriptors);
    }
    with.sort();
    without.sort();
    let (with, without) = (with[ROUNDS / 2], without[ROUNDS / 2]);
    println!(
        "GET of 1 MiB: {without:?} alone, {with:?} among {dribblers} dribblers and {stalled} that never read ({fewest} descriptors at least): ratio {:.2}",
        with.as_secs_f64() / without.as_secs_f64()
    );
    ground.ends_as_it_began();
}
