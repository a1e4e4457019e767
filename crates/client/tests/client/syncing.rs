//! Things that have changed between the plan of a SYNC and its deletions are not deleted.

use std::{fs, sync::mpsc};

use ferry_client::{Client, Direction, Event, HeldDirectory, Plan, Planner, Settings, Sync};

use crate::support::{Honest, Local, Scripted, connect, name};

fn plan(client: &mut Client, local: &Local, direction: Direction) -> Plan {
    let sync = Sync { delete: true, max_delete: Some(10), ..Sync::new(direction) };
    Plan::sync(client, &local.path("d"), Some(&name("d")), &sync, &mut |_| {}).unwrap()
}

#[test]
fn what_came_back_at_the_other_end_stays() {
    let (server, local) = (Honest::start(), Local::new());
    fs::create_dir(local.path("d")).unwrap();
    server.add_directory("d");
    for text in ["d/back", "d/gone"] {
        local.file(text, b"here");
    }
    let mut client = connect(&server.address);
    let down = plan(&mut client, &local, Direction::Down);
    assert_eq!(down.delete.len(), 2);
    server.add("d/back", "there");
    let report = down.carry_out(&mut client, &Settings::default(), &mut |_| {});
    assert_eq!((report.deleted, report.kept, report.failures.len()), (1, 1, 1));
    assert!(report.failures[0].to_string().starts_with("back stays"), "{}", report.failures[0]);
    assert!(local.path("d/back").exists() && !local.path("d/gone").exists());

    fs::remove_file(local.path("d/back")).unwrap();
    server.add("d/gone", "there");
    let up = plan(&mut client, &local, Direction::Up);
    assert_eq!(up.delete.len(), 2);
    local.file("d/back", b"here");
    let report = up.carry_out(&mut client, &Settings::default(), &mut |_| {});
    assert_eq!((report.deleted, report.kept, report.failures.len()), (1, 1, 1));
    assert!(server.content("d/back").is_some() && server.content("d/gone").is_none());
}

#[test]
fn what_takes_the_name_of_another_kind_has_to_be_that_still() {
    let (server, local) = (Honest::start(), Local::new());
    fs::create_dir_all(local.path("d/x")).unwrap();
    local.file("d/x/in", b"here");
    server.add_directory("d");
    server.add("d/x", "a file");
    let mut client = connect(&server.address);
    let down = plan(&mut client, &local, Direction::Down);
    assert_eq!((down.replace.len(), down.deletions(), down.transfers.len()), (1, 1, 1));
    server.remove("d/x");
    let report = down.carry_out(&mut client, &Settings::default(), &mut |_| {});
    assert_eq!((report.deleted, report.moved.untried, report.failures.len()), (0, 1, 1));
    assert!(local.path("d/x/in").exists());
    server.add("d/x", "a file");
    let report = down.carry_out(&mut client, &Settings::default(), &mut |_| {});
    assert!(report.is_whole(), "{report:?}");
    assert_eq!((report.deleted, fs::read(local.path("d/x")).unwrap().as_slice()), (2, &b"a file"[..]));
}

#[test]
fn a_plan_that_deletes_more_than_it_may_is_not_carried_out_at_all() {
    let (server, local) = (Honest::start(), Local::new());
    fs::create_dir(local.path("d")).unwrap();
    server.add_directory("d");
    server.add("d/new", "there");
    for text in ["d/a", "d/b"] {
        local.file(text, b"here");
    }
    let mut client = connect(&server.address);
    let sync = Sync { delete: true, max_delete: Some(1), ..Sync::new(Direction::Down) };
    let plan = Plan::sync(&mut client, &local.path("d"), Some(&name("d")), &sync, &mut |_| {}).unwrap();
    let report = plan.carry_out(&mut client, &Settings::default(), &mut |_| {});
    assert!(report.failures[0].to_string().contains("2 things would be deleted, and 1 may be"));
    assert!(!report.is_whole() && !local.path("d/new").exists() && local.path("d/a").exists());
}

#[test]
fn a_connection_that_is_lost_in_the_questions_and_deletions_at_the_end_is_opened_again() {
    let (server, local) = (Honest::start(), Local::new());
    fs::create_dir(local.path("d")).unwrap();
    server.add_directory("d");
    for text in ["a", "b", "c"] {
        server.add(&format!("d/{text}"), "there");
    }
    let mut client = connect(&server.address);
    let up = plan(&mut client, &local, Direction::Up);
    // Deleted already when it is asked for again.
    server.cut_after("DELETE d/b");
    let report = up.carry_out(&mut client, &Settings::default(), &mut |_| {});
    assert_eq!((report.deleted, report.kept, report.failures.len()), (3, 0, 0), "{report:?}");
    assert!(["d/a", "d/b", "d/c"].iter().all(|name| server.content(name).is_none()));

    for text in ["a", "b"] {
        local.file(&format!("d/{text}"), b"here");
    }
    let down = plan(&mut client, &local, Direction::Down);
    server.cut_after("STAT d/b");
    let mut lost = 0;
    let report = down.carry_out(&mut client, &Settings::default(), &mut |event| {
        lost += u32::from(matches!(event, Event::Lost { .. }));
    });
    assert_eq!((report.deleted, report.kept, report.failures.len(), lost), (2, 0, 0, 1), "{report:?}");
}

#[test]
fn a_server_that_closes_when_all_is_done_makes_no_failure_of_it() {
    let local = Local::new();
    let (close, closed) = mpsc::channel();
    let server = Scripted::greeting(move |peer| {
        peer.expect("GET a");
        peer.send("FILE 5 - t\nDATA 5\nhelloEND 3610a686\n");
        peer.end();
        close.send(()).unwrap();
        peer.expect_end();
    });
    let mut client = connect(&server.address);
    let mut planner = Planner::new(Direction::Down);
    planner.add_file(HeldDirectory::at(local.path("")).place("a"), name("a"), None);
    let plan = planner.finish().unwrap();
    let report = plan.carry_out(&mut client, &Settings::impatient(), &mut move |event| {
        if matches!(event, Event::Done { .. }) {
            closed.recv().unwrap();
        }
    });
    assert!(report.is_whole(), "{report:?}");
    drop(client);
    server.finish();
}
