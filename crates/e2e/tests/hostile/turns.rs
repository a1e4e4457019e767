//! A client whose input is all lines and next to no bytes, and one that asks for little beside it.

use ferry_e2e::{Raw, Signal, eventually};

use crate::{alone, ground::Ground};

#[test]
fn who_asks_for_little_has_its_turn_before_the_lines_of_others_are_all_read() {
    // Of those that are answered, fewer than fill a socket.
    const ANSWERED: usize = 1_200;
    const LINES: usize = 6_000;
    let _alone = alone();
    let ground = Ground::start("");
    let server = &ground.server;
    for (first, line, lines, last) in [
        ("", "\n", ANSWERED, ""),
        ("", "WITH a=b\n", LINES, "STAT a\n"),
        ("PUT 9 - ../x\n", "DATA 1\nx", LINES, "END -\n"),
    ] {
        let (mut many, mut little) = (Raw::greeted(server.address()), Raw::greeted(server.address()));
        // Behind this nothing is left to be told of both sockets but what they send.
        assert_eq!(little.ask("STAT d/in").word(1), "6");
        let already = server.log().len();
        server.stop();
        many.send([first, &line.repeat(lines), last, "GET a\n"].concat());
        little.send("GET d/in\n");
        server.signal(Signal::CONT);
        assert_eq!(little.answer("GET").verified(), b"inside");
        while !many.line().starts_with("FILE 5 ") {}
        drop((many, little));
        let order = eventually("both are logged", || {
            let log = server.log()[already..].to_owned();
            Some((log.find(" GET d/in: ")?, log.find(" GET a: ")?))
        });
        assert!(order.0 < order.1, "{lines} times {line:?} were read first");
    }
    ground.ends_as_it_began();
}
