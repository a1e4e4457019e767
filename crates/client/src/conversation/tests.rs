//! Conversations driven by slices of bytes.

use ferry_wire::Code;

use super::*;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A conversation about `&str`s, with the bytes that were said and not taken yet.
struct Talk {
    talk: Conversation<&'static str>,
    input: Vec<u8>,
    out: Vec<u8>,
}

impl Talk {
    fn new() -> Talk {
        Talk { talk: Conversation::new(), input: Vec::new(), out: Vec::new() }
    }

    fn ask(&mut self, request: &Request, about: &'static str) {
        self.talk.ask(request, about, &mut self.out);
    }

    fn put(&mut self) {
        self.talk.put(Some(5), None, name("a"), &mut self.out);
    }

    fn hear(&mut self, bytes: impl AsRef<[u8]>) {
        self.input.extend_from_slice(bytes.as_ref());
    }

    fn reply(&mut self) -> Result<Option<(&'static str, Reply)>, Error> {
        let (used, reply) = self.talk.next_reply(&self.input)?;
        self.input.drain(..used);
        Ok(reply)
    }

    /// Takes what there is of the body, and its end.
    fn body(&mut self) -> (Vec<u8>, Option<Result<Digest, Error>>) {
        let mut bytes = Vec::new();
        loop {
            let due = usize::try_from(self.talk.due()).unwrap().min(self.input.len());
            if due > 0 {
                self.talk.took(&self.input[..due]);
                bytes.extend(self.input.drain(..due));
            } else if self.talk.due() > 0 {
                return (bytes, None);
            } else {
                match self.talk.body_line(&self.input).map(|(used, line)| (self.input.drain(..used).len(), line)) {
                    Ok((_, Some(Line::Block))) => {}
                    Ok((_, Some(Line::Hole(zeros)))) => bytes.resize(bytes.len() + usize::try_from(zeros).unwrap(), 0),
                    Ok((_, Some(Line::End(end)))) => return (bytes, Some(end)),
                    Ok((_, None)) => return (bytes, None),
                    Err(error) => return (bytes, Some(Err(error))),
                }
            }
        }
    }

    fn said(&self) -> &str {
        std::str::from_utf8(&self.out).unwrap()
    }
}

fn get(text: &str) -> Request {
    Request::Get { name: name(text) }
}

#[test]
fn a_hole_stands_for_zeros_where_it_was_asked_for_and_nowhere_else() {
    let content = [b"x".as_slice(), &[0; 70_000], b"y"].concat();
    let said = format!("FILE 70002 - t\nDATA 1\nxHOLE 70000\nDATA 1\nyEND {}\n", Crc32::of(&content));
    for asks in [true, false] {
        let mut talk = Talk::new();
        if asks {
            talk.talk.with(Options { leaves_holes: true, ..Options::default() }, &mut talk.out);
        }
        talk.ask(&get("a"), "a");
        talk.ask(&get("b"), "b");
        // Of the second one nobody said so.
        talk.hear(said.repeat(2));
        for may in [asks, false] {
            if !matches!(talk.reply(), Ok(Some(_))) {
                break;
            }
            let (bytes, end) = talk.body();
            match end {
                Some(Ok(digest)) => assert_eq!((may, bytes == content, digest.bytes()), (true, true, 70_002)),
                end => assert!(!may && matches!(end, Some(Err(Error::Violation(_)))), "{end:?}"),
            }
        }
    }
    let mut talk = Talk::new();
    talk.talk.with(Options { leaves_holes: true, ..Options::default() }, &mut talk.out);
    talk.ask(&get("a"), "a");
    talk.hear("FILE 70000 - t\nHOLE 70001\n");
    assert!(talk.reply().unwrap().is_some());
    assert!(matches!(talk.body().1, Some(Err(Error::Violation(_)))), "more than it announced");
}

#[test]
fn replies_and_bodies_come_in_the_order_of_the_requests_at_any_cut() {
    let crc = Crc32::of(b"hello");
    let said = format!("FILE 5 - t\nDATA 2\nheDATA 3\nlloEND {crc}\nFAIL not-found no\nDONE\n");
    for cut in 0..said.len() {
        let mut talk = Talk::new();
        talk.ask(&get("a"), "a");
        talk.ask(&get("b"), "b");
        talk.ask(&Request::Delete { name: name("c") }, "c");
        assert_eq!(talk.said(), "GET a\nGET b\nDELETE c\n");
        let (mut replies, mut bytes, mut in_body) = (Vec::new(), Vec::new(), false);
        for part in [&said[..cut], &said[cut..]] {
            talk.hear(part);
            loop {
                if in_body {
                    let (some, end) = talk.body();
                    bytes.extend(some);
                    match end {
                        Some(end) => assert_eq!(end.unwrap().crc(), crc),
                        None => break,
                    }
                    in_body = false;
                }
                let Some((about, reply)) = talk.reply().unwrap() else { break };
                in_body = matches!(reply, Reply::File(_));
                replies.push((about, reply));
            }
        }
        assert_eq!(bytes, b"hello", "cut at {cut}");
        let abouts: Vec<_> = replies.iter().map(|(about, _)| *about).collect();
        assert_eq!(abouts, ["a", "b", "c"]);
        assert!(matches!(&replies[1].1, Reply::Fail(failure) if failure.code == Code::NotFound));
        assert!(talk.talk.is_at_rest() && talk.input.is_empty());
    }
}

#[test]
fn a_body_that_fails_leaves_what_comes_behind_it_in_step() {
    for (end, is_failure) in [("FAIL io no\n", true), ("END 00000000\n", false)] {
        let mut talk = Talk::new();
        talk.ask(&get("a"), "a");
        talk.ask(&Request::Mkdir { name: name("b") }, "b");
        talk.hear(format!("FILE 5 - t\nDATA 5\nhello{end}DONE\n"));
        assert!(matches!(talk.reply(), Ok(Some(("a", Reply::File(_))))));
        let (bytes, failed) = talk.body();
        assert_eq!(bytes, b"hello");
        match failed.unwrap().unwrap_err() {
            Error::Server(failure) => assert!(is_failure && failure.code == Code::Io),
            Error::Verification(_) => assert!(!is_failure),
            error => panic!("{error}"),
        }
        assert_eq!(talk.reply().unwrap(), Some(("b", Reply::Done)));
        assert!(talk.talk.is_at_rest());
    }
}

#[test]
fn a_range_is_held_against_what_was_asked() {
    let tag = Tag::new("t").unwrap();
    let read = Request::Read { offset: 3, length: Some(4), tag: Some(tag), name: name("a") };
    for (reply, violates) in [
        ("FILE 2 - t\n", true),
        ("FILE 9 - u\n", true),
        ("LISTING\n", true),
        ("DONE\n", true),
        ("FILE 9 - t\nDATA 5\n", true),
        ("FILE 5 - t\nDATA 2\nloEND 559c4a9d\n", false),
    ] {
        let mut talk = Talk::new();
        talk.ask(&read, "a");
        talk.hear(reply);
        let failed = match talk.reply() {
            Ok(_) => talk.body().1.and_then(Result::err),
            Err(error) => Some(error),
        };
        assert_eq!(matches!(failed, Some(Error::Violation(_))), violates, "{reply}");
    }
    // What can't be the answer leaves its request without one.
    let mut talk = Talk::new();
    talk.ask(&read, "a");
    talk.hear("DONE\n");
    assert!(talk.reply().is_err());
    assert_eq!(talk.talk.give_up(), ["a"]);
}

#[test]
fn a_refused_upload_is_closed_with_stop_and_expects_nothing_more() {
    let mut talk = Talk::new();
    talk.put();
    assert!(talk.talk.expects_reply() && talk.talk.refusal().is_none());
    talk.hear("FAIL no-space full\n");
    assert_eq!(talk.reply().unwrap(), None);
    assert_eq!(talk.talk.refusal().unwrap().code, Code::NoSpace);
    let (about, failure) = talk.talk.end(Crc32::EMPTY, "a", &mut talk.out).unwrap();
    assert_eq!((about, failure.code), ("a", Code::NoSpace));
    assert_eq!(talk.said(), "PUT 5 - a\nSTOP\n");
    assert!(talk.talk.is_at_rest());
    // The first word counts.
    let mut talk = Talk::new();
    talk.put();
    talk.hear("FAIL io no\nFAIL io no\n");
    assert_eq!(talk.reply().unwrap(), None);
    assert!(matches!(talk.reply(), Err(Error::Violation(_))));
    let mut talk = Talk::new();
    talk.put();
    talk.hear("SAVED 5 00000000 t\n");
    assert!(matches!(talk.reply(), Err(Error::Violation(_))));
}

#[test]
fn the_body_of_a_resume_is_open_only_behind_go() {
    let resume =
        Request::Resume { id: ferry_wire::Id::new("id").unwrap(), size: Some(5), mtime: None, name: name("a") };
    for (reply, is_open) in [("GO 5\n", true), ("SAVED 5 00000000 t\n", false), ("FAIL busy no\n", false)] {
        let mut talk = Talk::new();
        talk.ask(&resume, "asked");
        talk.hear(reply);
        assert_eq!(talk.reply().unwrap().unwrap().0, "asked");
        assert_eq!(talk.talk.expects_reply(), is_open, "{reply}");
        if is_open {
            assert!(talk.talk.end(Crc32::EMPTY, "sent", &mut talk.out).is_none());
            talk.hear("SAVED 5 00000000 t\n");
            assert_eq!(talk.reply().unwrap().unwrap().0, "sent");
        }
        assert!(talk.talk.is_at_rest());
    }
    for reply in ["GO 6\n", "GO 2 1-3\n", "GO 2 3-6\n", "GO 0 3-4 2-3\n", "GO 0 2-4 3-5\n"] {
        let mut talk = Talk::new();
        talk.ask(&resume, "asked");
        talk.hear(reply);
        assert!(matches!(talk.reply(), Err(Error::Violation(_))), "{reply}");
    }
}

#[test]
fn of_a_stream_the_server_says_what_it_keeps() {
    let resume = Request::Resume { id: ferry_wire::Id::new("id").unwrap(), size: None, mtime: None, name: name("a") };
    // The next reply behind what is told in between.
    let reply = |talk: &mut Talk| loop {
        match talk.reply() {
            Ok(None) if !talk.input.is_empty() => {}
            reply => return reply,
        }
    };
    let go = || {
        let mut talk = Talk::new();
        talk.ask(&resume, "asked");
        talk.hear("GO 5 crc=00000000\n");
        assert_eq!(talk.reply().unwrap().unwrap().0, "asked");
        assert_eq!(talk.talk.kept(), Some(5));
        talk
    };
    let mut talk = go();
    talk.hear("KEPT 6\nKEPT 9\n");
    assert_eq!(reply(&mut talk).unwrap(), None);
    assert_eq!(talk.talk.kept(), Some(9));
    // One may be on its way when the body ends.
    assert!(talk.talk.end(Crc32::EMPTY, "sent", &mut talk.out).is_none());
    talk.ask(&Request::Sum { name: name("a") }, "sum");
    talk.hear("KEPT 10\nSAVED 11 00000000 t\n");
    assert_eq!(reply(&mut talk).unwrap().unwrap().0, "sent");
    // But none after the answer.
    talk.hear("KEPT 11\n");
    assert!(matches!(talk.reply(), Err(Error::Violation(_))));
    for kept in ["KEPT 5\n", "KEPT 4\n", "KEPT 6\nKEPT 6\n"] {
        let mut talk = go();
        talk.hear(kept);
        assert!(matches!(reply(&mut talk), Err(Error::Violation(_))), "{kept}");
    }
    for go in ["GO 5\n", "GO 5 6-7 crc=00000000\n"] {
        let mut talk = Talk::new();
        talk.ask(&resume, "asked");
        talk.hear(go);
        assert!(matches!(talk.reply(), Err(Error::Violation(_))), "{go}");
    }
    // Of any other upload it says no such thing.
    let mut talk = Talk::new();
    talk.put();
    talk.hear("KEPT 5\n");
    assert!(matches!(talk.reply(), Err(Error::Violation(_))));
}

#[test]
fn parts_are_pipelined_and_join_closes_what_they_complete() {
    let (id, crc) = (Id::new("id").unwrap(), Crc32::of(b"hello"));
    let mut talk = Talk::new();
    talk.talk.part(id.clone(), 2..4, name("a"), &mut talk.out);
    assert!(talk.talk.end(crc, "first", &mut talk.out).is_none());
    talk.talk.part(id.clone(), 0..2, name("a"), &mut talk.out);
    // The first one is answered while the second is on its way, and that one is refused then.
    talk.hear("DONE\nFAIL busy no\n");
    assert_eq!(talk.reply().unwrap(), Some(("first", Reply::Done)));
    assert_eq!(talk.reply().unwrap(), None);
    let (about, failure) = talk.talk.end(crc, "second", &mut talk.out).unwrap();
    assert_eq!((about, failure.code), ("second", Code::Busy));
    assert_eq!(talk.said(), format!("PART id 2 2 a\nEND {crc}\nPART id 0 2 a\nSTOP\n"));
    assert!(talk.talk.is_at_rest());

    let mut talk = Talk::new();
    talk.ask(&Request::Resume { id, size: Some(5), mtime: None, name: name("a") }, "asked");
    talk.hear("GO 1 2-3 3-5\n");
    let parts = vec![2..3, 3..5];
    assert_eq!(talk.reply().unwrap(), Some(("asked", Reply::Go { offset: 1, parts, crc: None })));
    assert!(talk.talk.join(crc, "joined", &mut talk.out).is_none());
    assert!(talk.said().ends_with(&format!("\nJOIN {crc}\n")));
    talk.hear("SAVED 5 00000000 t\n");
    assert_eq!(talk.reply().unwrap().unwrap().0, "joined");
}

#[test]
fn words_that_nobody_asked_for_are_the_end() {
    let mut talk = Talk::new();
    talk.hear("FAIL shutting-down good night\n");
    assert!(matches!(talk.reply(), Err(Error::Closed(Some(_)))));
    let mut talk = Talk::new();
    talk.hear("DONE\n");
    assert!(matches!(talk.reply(), Err(Error::Violation(_))));
}
