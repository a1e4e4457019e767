//! A server that has no descriptors left.

use std::collections::VecDeque;

use ferry_e2e::{Frail, Raw, Server, body, eventually};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::{alone, ground::Ground};

/// Leaves the server room for `more` descriptors than it has now.
fn leave_room(server: &Server, more: usize) {
    let most = Some((server.figures().descriptors + more) as u64);
    let pid = Pid::from_raw(server.pid().cast_signed());
    prlimit(pid, Resource::Nofile, Rlimit { current: most, maximum: most }).expect("a lower limit");
}

#[test]
fn out_of_descriptors_it_says_busy_and_goes_on_when_some_are_free_again() {
    const ROOM: usize = 10;
    let _alone = alone();
    let ground = Ground::start("");
    leave_room(&ground.server, ROOM);
    let address = ground.server.address();
    let greet = |_| Frail::greeted(address).expect("a descriptor is left");
    let mut served: VecDeque<Frail> = (0..ROOM).map(greet).collect();
    // Those who come now are accepted by the system, but not by the server.
    let waiting: Vec<Frail> = (0..3 * ROOM).map(|_| Frail::connect(address).expect("room in the backlog")).collect();
    let count = waiting.len();
    let first = served.front_mut().unwrap();
    for request in ["GET a", "GET big", "READ 0 * * a", "SUM a", "LIST", "RESUME id 5 - new", "DELETE a", "MKDIR new"] {
        first.ask(request).expect("an answer").expect_failure("busy");
    }
    first.send([b"PUT 1000 - new\n", &body(&[7; 1000], 1000)[..]].concat()).unwrap();
    first.answer(false).expect("an answer").expect_failure("busy");
    eventually("it says that it can't accept", || ground.server.log().contains("can't accept").then_some(()));

    // Whoever waited is served as soon as another one goes, and then the same requests work.
    for mut frail in waiting {
        served.pop_front();
        assert!(frail.line().expect("a greeting").starts_with("FERRY 1 "));
        served.push_back(frail);
    }
    let mut last = served.pop_back().unwrap();
    drop(served);
    for request in ["GET a", "LIST"] {
        let works = || last.ask(request).expect("an answer").code().is_none().then_some(());
        eventually("descriptors are free again", works);
    }
    println!("room for {ROOM} clients; {count} more waited and were all served");
    drop(last);
    ground.ends_as_it_began();
}

#[test]
fn a_server_of_few_descriptors_refuses_and_recovers_again_and_again() {
    let _alone = alone();
    let ground = Ground::start("--max-clients 20");
    leave_room(&ground.server, 30);
    let address = ground.server.address();
    let (mut greeted, mut refused) = (0, 0);
    for _ in 0..5 {
        let mut clients: Vec<Frail> = (0..100).map(|_| Frail::connect(address).expect("room in the backlog")).collect();
        for client in &mut clients {
            match client.line().expect("a greeting or a refusal").split(' ').next() {
                Some("FERRY") => greeted += 1,
                _ => {
                    refused += 1;
                    // Only a client that closes gives its descriptor back at once.
                    let _ = client.finish();
                }
            }
        }
    }
    println!("20 clients allowed, 30 descriptors: {greeted} greeted, {refused} told busy");
    assert!(greeted >= 20 && refused >= 80);
    eventually("there is room again", || Raw::connect(address).line().starts_with("FERRY 1 ").then_some(()));
    ground.ends_as_it_began();
}
