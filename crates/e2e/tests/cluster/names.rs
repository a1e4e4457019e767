//! Names on two nodes: the others know of a change once it is told, and of two that want a name one gets it.

use std::thread;

use ferry_e2e::{crc, random_bytes};

use super::{Cluster, in_cluster};

/// Races of each kind.
const RACES: usize = 400;

#[test]
fn what_one_node_saves_the_others_have_at_once() {
    in_cluster("names::what_one_node_saves_the_others_have_at_once", |cluster| {
        let (mut first, mut second) = (cluster.node(0), cluster.node(1));
        assert_eq!(first.ask("MKDIR there").line, "DONE");
        for round in 0..50_u64 {
            let bytes = random_bytes(round, 1 + (round as usize * 7919) % 100_000);
            let name = format!("there/{}", round % 5);
            let saved = first.put(&name, &bytes);
            assert_eq!(saved.word(2), crc(&bytes), "{}", saved.line);
            assert_eq!(second.ask(&format!("GET {name}")).verified(), bytes, "round {round}");
            std::mem::swap(&mut first, &mut second);
        }
        for request in ["STAT there/1", "SUM there/1"] {
            let of_kind = |line: String| line.split(' ').take(3).map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(of_kind(first.ask(request).line), of_kind(second.ask(request).line));
        }
        assert_eq!(first.ask("RENAME there/1//there/moved").line, "DONE");
        second.ask("GET there/1").expect_failure("not-found");
        assert_eq!(second.ask("DELETE there/moved").line, "DONE");
        first.ask("GET there/moved").expect_failure("not-found");
        for node in [0, 1] {
            cluster.is_healthy(node);
        }
    });
}

/// Has both nodes asked at the same moment, `RACES` times; returns what was answered.
fn race(cluster: &Cluster, prepare: impl Fn(usize), ask: impl Fn(usize, usize) -> String + Sync) -> Vec<[String; 2]> {
    let mut connections = [cluster.node(0), cluster.node(1)];
    let mut answers = Vec::new();
    for round in 0..RACES {
        prepare(round);
        let ask = &ask;
        let both: Vec<String> = thread::scope(|scope| {
            let mut threads = Vec::new();
            for (node, raw) in connections.iter_mut().enumerate() {
                threads.push(scope.spawn(move || raw.ask(&ask(round, node)).line));
            }
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        answers.push(both.try_into().unwrap());
    }
    answers
}

/// Exactly one of two that want a name has it.
fn one_winner(answers: &[[String; 2]]) {
    for (round, both) in answers.iter().enumerate() {
        let won = both.iter().filter(|line| *line == "DONE").count();
        assert_eq!(won, 1, "round {round}: {both:?}");
    }
}

#[test]
fn of_two_that_make_a_directory_one_has_made_it() {
    in_cluster("names::of_two_that_make_a_directory_one_has_made_it", |cluster| {
        one_winner(&race(cluster, |_| {}, |round, _| format!("MKDIR made-{round}")));
    });
}

#[test]
fn of_two_that_rename_to_one_name_one_has_it() {
    in_cluster("names::of_two_that_rename_to_one_name_one_has_it", |cluster| {
        let mut third = cluster.node(0);
        let mut put = |round: usize, node: usize| {
            let content = format!("{round} of {node}");
            assert!(third.put(&format!("from-{node}"), content.as_bytes()).line.starts_with("SAVED"));
        };
        let put = std::cell::RefCell::new(&mut put);
        let prepare = |round| (0..2).for_each(|node| (put.borrow_mut())(round, node));
        let answers = race(cluster, prepare, |round, node| format!("RENAME from-{node}//to-{round}"));
        one_winner(&answers);
        let mut either = cluster.node(1);
        for (round, both) in answers.iter().enumerate() {
            let winner = usize::from(both[1] == "DONE");
            let content = either.ask(&format!("GET to-{round}")).verified();
            assert_eq!(content, format!("{round} of {winner}").into_bytes());
        }
    });
}
