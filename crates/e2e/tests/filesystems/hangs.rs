//! Requests that the file system never answers cost those who made them, and nobody else.

mod changes;

use std::{fs, thread};

use ferry_e2e::{
    Options, Puppet, Raw, Server, eventually, mounts,
    puppet::{Errno, Habits, Op, Order},
    random_bytes,
};
use rustix::{
    fs::{Advice, fadvise},
    io::ioctl_fionread,
};

/// Above what is read at once with its opening, below what is closed away from the loop wherever it lies.
const MIDDLE_BYTES: usize = 200 << 10;

/// More than sockets hold.
const LARGE_BYTES: usize = 16 << 20;

/// More than there are helpers for anything.
const MANY: usize = 6;

/// A server of a puppet, which is let go of first: while a request is held, nothing can end the server.
struct Stage {
    puppet: Puppet,
    server: Server,
}

impl Stage {
    /// Files of `names`, each `bytes` long, which every client has seen; the kernel knows their names.
    fn set(names: &[&str], bytes: usize) -> Stage {
        Stage::with(names, bytes, &[])
    }

    /// The same, of a server with more arguments.
    fn with(names: &[&str], bytes: usize, arguments: &[&str]) -> Stage {
        let puppet = Puppet::mount(Habits::default());
        fs::write(puppet.join("fine"), b"fine").unwrap();
        for name in names {
            fs::write(puppet.join(name), random_bytes(1, bytes)).unwrap();
        }
        let options = Options::new().root(puppet.path());
        let server = arguments.iter().fold(options, |options, argument| options.arg(*argument)).start();
        let stage = Stage { puppet, server };
        for name in names {
            assert_eq!(stage.client().ask(&format!("GET {name}")).verified(), random_bytes(1, bytes));
        }
        stage
    }

    fn client(&self) -> Raw {
        Raw::greeted(self.server.address())
    }

    /// A client that asks for what will not come.
    fn stuck(&self, request: &str) -> Raw {
        let mut raw = self.client();
        raw.send(format!("{request}\n"));
        raw
    }

    #[track_caller]
    fn others_go_on(&self) {
        let mut other = self.client();
        assert_eq!(other.ask("GET fine").verified(), b"fine");
        assert_eq!(other.ask("STAT fine").word(0), "FILE");
        assert_eq!(other.ask("SUM fine").word(0), "SUM");
    }
}

#[test]
fn what_the_file_system_has_given_up_is_looked_up_again_once() {
    if !mounts::private(&[]) {
        return;
    }
    let stage = Stage::set(&["stale"], 4);
    let mut raw = stage.client();
    // Where a path is given, the kernel looks twice before it says so.
    for (op, times, request) in [
        (Op::Getattr, 1, "STAT stale"),
        (Op::Getattr, 1, "LIST"),
        (Op::Open, 2, "GET stale"),
        (Op::Mkdir, 2, "MKDIR new"),
        (Op::Unlink, 2, "DELETE stale"),
    ] {
        stage.puppet.order(op, None, Order::Fail(Errno::ESTALE));
        raw.ask(request).expect_failure("busy");
        stage.puppet.release();
        stage.puppet.order(op, None, Order::FailTimes(Errno::ESTALE, times));
        assert_eq!(raw.ask(request).code(), None, "{request}");
    }
    assert_eq!(stage.client().ask("HEALTH").line, "DONE");
}

#[test]
fn a_file_that_never_opens_holds_up_nobody_else() {
    if !mounts::private(&[]) {
        return;
    }
    let stage = Stage::set(&["stuck"], MIDDLE_BYTES);
    stage.puppet.order(Op::Open, Some("stuck"), Order::Hang);
    let mut waiting = stage.stuck("GET stuck");
    stage.puppet.until_held(Op::Open, "stuck");
    stage.others_go_on();
    assert_eq!(stage.client().ask("LIST").code(), None);
    stage.puppet.release();
    assert_eq!(waiting.answer("GET").verified().len(), MIDDLE_BYTES);
}

#[test]
fn attributes_that_never_come_hold_up_nobody_else() {
    if !mounts::private(&[]) {
        return;
    }
    let stage = Stage::set(&["stuck"], MIDDLE_BYTES);
    stage.puppet.order(Op::Getattr, Some("stuck"), Order::Hang);
    let mut waiting = stage.stuck("STAT stuck");
    stage.puppet.until_held(Op::Getattr, "stuck");
    stage.others_go_on();
    stage.puppet.release();
    assert_eq!(waiting.answer("STAT").word(1), MIDDLE_BYTES.to_string());
}

#[test]
fn bytes_that_never_come_hold_up_nobody_else() {
    if !mounts::private(&[]) {
        return;
    }
    let stage = Stage::set(&["stuck"], LARGE_BYTES);
    let mut waiting = stage.stuck("GET stuck");
    // It takes no more before some of it is read: what is to be sent next was looked at, and is in memory.
    let mut before = 0;
    eventually("the socket is full", || {
        let now = ioctl_fionread(waiting.stream()).unwrap();
        (std::mem::replace(&mut before, now) == now && now > 0).then_some(())
    });
    // Now it is in memory no more.
    let file = fs::File::open(stage.puppet.join("stuck")).unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    stage.puppet.order(Op::Read, Some("stuck"), Order::Hang);
    let reader = thread::spawn(move || waiting.answer("GET").verified());
    stage.puppet.until_held(Op::Read, "stuck");
    stage.others_go_on();
    stage.puppet.release();
    assert!(reader.join().unwrap() == random_bytes(1, LARGE_BYTES));
}

#[test]
fn a_file_that_never_closes_holds_up_nobody_else() {
    if !mounts::private(&[]) {
        return;
    }
    let stage = Stage::set(&["stuck"], MIDDLE_BYTES);
    stage.puppet.order(Op::Flush, Some("stuck"), Order::Hang);
    let mut client = stage.client();
    assert_eq!(client.ask("GET stuck").verified().len(), MIDDLE_BYTES);
    stage.puppet.until_held(Op::Flush, "stuck");
    stage.others_go_on();
    assert_eq!(client.ask("GET fine").verified(), b"fine");
}

#[test]
fn helpers_that_never_come_back_are_replaced() {
    if !mounts::private(&[]) {
        return;
    }
    let names: Vec<_> = (0..MANY).map(|index| format!("stuck-{index}")).collect();
    let stage = Stage::set(&names.iter().map(String::as_str).collect::<Vec<_>>(), MIDDLE_BYTES);
    let mut waiting = Vec::new();
    for name in &names {
        stage.puppet.order(Op::Open, Some(name), Order::Hang);
        // Whoever else asks for the file waits for that helper.
        waiting.extend([stage.stuck(&format!("GET {name}")), stage.stuck(&format!("SUM {name}"))]);
        let directory = format!("d-{name}");
        fs::create_dir(stage.puppet.join(&directory)).unwrap();
        stage.puppet.order(Op::Opendir, Some(&directory), Order::Hang);
        waiting.push(stage.stuck(&format!("LIST {directory}")));
    }
    for name in &names {
        stage.puppet.until_held(Op::Open, name);
        stage.puppet.until_held(Op::Opendir, &format!("d-{name}"));
    }
    stage.others_go_on();
    stage.puppet.release();
    for asked in waiting.chunks_mut(3) {
        assert_eq!(asked[0].answer("GET").verified().len(), MIDDLE_BYTES);
        assert_eq!(asked[1].answer("SUM").word(0), "SUM");
        assert!(asked[2].answer("LIST").verified().is_empty());
    }
}

#[test]
fn changes_that_never_end_hold_up_no_reader() {
    if !mounts::private(&[]) {
        return;
    }
    let stage = Stage::set(&["a"], MIDDLE_BYTES);
    for op in [Op::Write, Op::Mkdir, Op::Unlink] {
        stage.puppet.order(op, None, Order::Hang);
    }
    let mut waiting =
        [stage.stuck("PUT 1 - b\nDATA 1\nxEND 8cdc1683"), stage.stuck("MKDIR d"), stage.stuck("DELETE a")];
    eventually("a write is held", || stage.puppet.is_holding(Op::Write).then_some(()));
    stage.puppet.until_held(Op::Mkdir, "d");
    stage.others_go_on();
    assert_eq!(stage.client().ask("GET a").verified().len(), MIDDLE_BYTES);
    stage.puppet.release();
    for (raw, reply) in waiting.iter_mut().zip(["SAVED", "DONE", "DONE"]) {
        assert_eq!(raw.answer("PUT").word(0), reply);
    }
}

/// More than the helpers of a lane, and those that may take their places.
const FLOOD: usize = 40;

#[test]
fn a_read_that_is_not_answered_in_time_is_busy_and_the_connection_goes_on() {
    if !mounts::private(&[]) {
        return;
    }
    let stage = Stage::with(&["stuck"], MIDDLE_BYTES, &["--job-timeout", "1s"]);
    stage.puppet.order(Op::Open, Some("stuck"), Order::Hang);
    let mut waiting = stage.client();
    waiting.send("GET stuck\nSUM stuck\nGET fine\nSTAT stuck\n");
    waiting.answer("GET").expect_failure("busy");
    waiting.answer("SUM").expect_failure("busy");
    assert_eq!(waiting.answer("GET").verified(), b"fine");
    waiting.answer("STAT").expect_failure("busy");
    stage.others_go_on();
    stage.client().ask("GET stuck").expect_failure("busy");
    // The late answer is nobody's, and all goes on.
    stage.puppet.release();
    eventually("it is served again", || waiting.ask("STAT stuck").code().is_none().then_some(()));
    assert_eq!(waiting.ask("GET stuck").verified().len(), MIDDLE_BYTES);
}

#[test]
fn a_directory_and_a_body_that_are_not_answered_in_time_end_in_busy() {
    if !mounts::private(&[]) {
        return;
    }
    let stage = Stage::with(&["stuck"], MIDDLE_BYTES, &["--job-timeout", "1s"]);
    fs::create_dir(stage.puppet.join("d")).unwrap();
    stage.puppet.order(Op::Opendir, Some("d"), Order::Hang);
    stage.puppet.order(Op::Read, Some("stuck"), Order::Hang);
    let file = fs::File::open(stage.puppet.join("stuck")).unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    let mut client = stage.client();
    client.ask("LIST d").expect_failure("busy");
    client.ask("GET stuck").expect_failure("busy");
    assert_eq!(client.ask("GET fine").verified(), b"fine");
}

#[test]
fn where_no_helper_is_left_reads_are_busy_at_once_until_the_file_system_answers() {
    if !mounts::private(&[]) {
        return;
    }
    let names: Vec<_> = (0..FLOOD).map(|index| format!("stuck-{index}")).collect();
    let stage = Stage::with(&names.iter().map(String::as_str).collect::<Vec<_>>(), 1, &["--job-timeout", "1s"]);
    stage.puppet.order(Op::Open, None, Order::Hang);
    let mut waiting: Vec<_> = names.iter().map(|name| stage.stuck(&format!("GET {name}"))).collect();
    for raw in &mut waiting {
        raw.answer("GET").expect_failure("busy");
    }
    waiting[0].ask("GET fine").expect_failure("busy");
    waiting[0].ask("HEALTH").expect_failure("busy");
    stage.puppet.release();
    eventually("it is served again", || waiting[0].ask("STAT fine").code().is_none().then_some(()));
    for (raw, name) in waiting.iter_mut().zip(&names) {
        // Each helper comes back in its own time.
        let answer = eventually("its helper is back", || {
            let answer = raw.ask(&format!("GET {name}"));
            (answer.code() != Some("busy")).then_some(answer)
        });
        assert_eq!(answer.verified().len(), 1);
    }
    stage.others_go_on();
}
