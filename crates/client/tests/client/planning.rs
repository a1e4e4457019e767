//! Plans of what was chosen: what is left out of them, and what is told while they are carried out.

use std::fs;

use ferry_client::{Direction, Event, HeldDirectory, Looking, Planner};

use crate::{
    many::keep_going,
    support::{Honest, Local, connect, name},
};

#[test]
fn what_would_have_one_name_is_left_out_with_all_that_is_in_it() {
    let (server, local) = (Honest::start(), Local::new());
    for text in ["a", "d", "e", "e/x", "f", "f/x"] {
        server.add_directory(text);
        fs::create_dir(local.path(text)).unwrap();
    }
    for text in ["a/x", "d/x", "d/y", "e/x/in", "f/x/in", "f/x/more"] {
        server.add(text, text);
        local.file(text, b"");
    }
    let mut client = connect(&server.address);
    let here = HeldDirectory::at(local.path("new"));

    // Two directories in one place are one, but for what has one name in them; a file and a directory are never one.
    let mut down = Planner::new(Direction::Down);
    for text in ["e/x", "f/x"] {
        down.add_directory(&mut client, &here.place("x"), Some(&name(text)), &mut |_| {}).unwrap();
    }
    for text in ["d/y", "a/x", "d/x"] {
        down.add_file(here.place(name(text).last()), name(text), None);
    }
    let down = down.finish().unwrap();
    let names: Vec<&str> = down.transfers.names().map(|name| name.as_str()).collect();
    assert_eq!(names, ["e/x/in", "f/x/more", "d/y"]);
    let clashes: Vec<_> = down.clashes.iter().map(|clash| clash.second.there.clone().unwrap().to_string()).collect();
    assert_eq!(clashes, ["f/x/in", "a/x", "d/x"]);

    let mut up = Planner::new(Direction::Up);
    up.add_file(local.path("d/x").into(), name("n"), None);
    up.add_directory(&mut client, &local.path("e").into(), Some(&name("n")), &mut |_| {}).unwrap();
    up.add_file(local.path("a/x").into(), name("m"), None);
    up.add_file(local.path("d/y").into(), name("m"), None);
    let up = up.finish().unwrap();
    let names: Vec<&str> = up.transfers.names().map(|name| name.as_str()).collect();
    assert_eq!((names, up.clashes.len()), (vec!["n/x/in", "m"], 2));
}

#[test]
fn files_of_a_directory_that_can_not_be_made_are_not_tried_and_the_others_are_told_by_their_places() {
    let (server, local) = (Honest::start(), Local::new());
    for text in ["d", "d/a", "d/b", "d/c"] {
        server.add_directory(text);
    }
    for text in ["d/a/1", "d/b/2", "d/b/3", "d/c/4", "d/c/5"] {
        server.add(text, text);
    }
    fs::create_dir(local.path("d")).unwrap();
    local.file("d/b", b"in the way");
    let mut client = connect(&server.address);
    let mut looked = 0;
    let mut planner = Planner::new(Direction::Down);
    let here = HeldDirectory::at(local.path("")).place("d");
    let mut watch = |looking| looked += usize::from(matches!(looking, Looking::There(_)));
    planner.add_directory(&mut client, &here, Some(&name("d")), &mut watch).unwrap();
    assert!(looked > 1, "{looked}");
    let plan = planner.finish().unwrap();
    let names: Vec<&str> = plan.transfers.names().map(|name| name.as_str()).collect();
    server.remove("d/c/4");
    let (mut done, mut failed, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    let report = plan.carry_out(&mut client, &keep_going(), &mut |event| match event {
        Event::Done { index, .. } => done.push(names[*index]),
        Event::Failed { index, .. } => failed.push(names[*index]),
        Event::Refused { error, .. } => refused.push(error.to_string()),
        _ => {}
    });
    assert_eq!((done, failed), (vec!["d/a/1", "d/c/5"], vec!["d/c/4"]));
    assert!(refused.len() == 1 && refused[0].ends_with("d/b is no directory"), "{refused:?}");
    assert_eq!((report.made, report.blocked, report.failures.len()), (3, 2, 1));
    assert_eq!((report.moved.files, report.moved.untried, names[report.moved.failures[0].0]), (2, 2, "d/c/4"));
    assert_eq!(fs::read(local.path("d/b")).unwrap(), b"in the way");
}
