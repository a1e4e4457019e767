//! The names of the server, and those that a walk has found, lead out of their directory by no link, whenever
//! that comes.

use std::{fs, os::unix::fs::symlink};

use ferry_client::{Client, Direction, Error, Event, Fetch, HeldDirectory, LocalPath, Plan, Planner, Settings};

use crate::{
    many::keep_going,
    support::{Honest, Local, connect, name},
};

const LARGE: usize = 9 << 20;

/// A plan to move one whole directory.
fn plan(
    client: &mut Client,
    direction: Direction,
    here: impl Into<LocalPath>,
    there: Option<&str>,
) -> Result<Plan, Error> {
    let mut planner = Planner::new(direction);
    planner.add_directory(client, &here.into(), there.map(name).as_ref(), &mut |_| {})?;
    planner.finish()
}

/// Puts a link to `outside` in the place of the directory `name`.
fn swap(local: &Local, name: &str, outside: &Local) {
    fs::rename(local.path(name), local.path(&format!("{name}.aside"))).unwrap();
    symlink(outside.path(""), local.path(name)).unwrap();
}

#[test]
fn a_link_that_appears_while_files_are_fetched_is_not_written_through() {
    for size in [5, LARGE] {
        for resume in [true, false] {
            let (server, local, outside) = (Honest::start(), Local::new(), Local::new());
            server.add("d/a", vec![7; size]);
            let top = HeldDirectory::at(local.path(""));
            fs::create_dir(local.path("d")).unwrap();
            let files = [Fetch { name: name("d/a"), target: top.place("d/a"), meta: None }];
            let settings = Settings { resume, ..Settings::default() };
            let mut client = connect(&server.address);
            // An answer has begun to come; a small file is not on its way to the disk yet.
            let report = client.fetch(&files, &settings, &mut |event| {
                if matches!(event, Event::Begun { .. }) {
                    swap(&local, "d", &outside);
                }
            });
            assert_eq!(outside.names(), Vec::<String>::new(), "{size} {resume}");
            // A file that was opened before is gone on with where it was: not through the link.
            if report.is_whole() {
                assert_eq!(fs::read(local.path("d.aside/a")).unwrap().len(), size);
            } else {
                let error = report.failures[0].1.to_string();
                assert!(error.contains("a symbolic link, which is not followed"), "{error}");
            }
            assert_eq!(report.is_whole(), size == LARGE, "{size} {resume}");
        }
    }
}

#[test]
fn a_part_is_not_looked_for_through_a_link() {
    let (server, local, outside) = (Honest::start(), Local::new(), Local::new());
    server.add("d/a", vec![7; LARGE]);
    symlink(outside.path(""), local.path("d")).unwrap();
    let files = [Fetch { name: name("d/a"), target: HeldDirectory::at(local.path("")).place("d/a"), meta: None }];
    let report = connect(&server.address).fetch(&files, &Settings::default(), &mut |_| {});
    assert!(report.failures[0].1.to_string().contains("which is not followed"));
    assert_eq!(outside.names(), Vec::<String>::new());
}

#[test]
fn a_link_that_appears_behind_a_walk_is_not_read_through() {
    for size in [5, 2 << 20, LARGE] {
        let (server, local, outside) = (Honest::start(), Local::new(), Local::new());
        fs::create_dir_all(local.path("top/d")).unwrap();
        fs::create_dir_all(local.path("top/e")).unwrap();
        for file in ["top/d/secret", "top/e/inside"] {
            local.file(file, &vec![7; size]);
        }
        outside.file("secret", &vec![8; size]);
        let mut client = connect(&server.address);
        let plan = plan(&mut client, Direction::Up, local.path("top"), Some("top")).unwrap();
        assert_eq!(plan.transfers.len(), 2);
        swap(&local, "top/d", &outside);
        let report = plan.carry_out(&mut client, &keep_going(), &mut |_| {}).moved;
        assert_eq!((report.files, report.failures.len()), (1, 1), "{size}");
        let error = report.failures[0].1.to_string();
        assert!(error.contains("a symbolic link, which is not followed"), "{error}");
        assert!(server.content("top/d/secret").is_none() && server.content("top/e/inside").is_some());
    }
}

#[test]
fn a_directory_that_was_typed_may_be_a_link_and_what_is_beneath_it_may_not() {
    let (local, other) = (Local::new(), Local::new());
    other.file("a", b"a");
    symlink(other.path(""), local.path("typed")).unwrap();
    symlink(".", other.path("inner")).unwrap();
    let server = Honest::start();
    for text in ["t", "t/x", "t/inner", "t/inner/deep", "t/y", "t/y/z", "u", "u/a", "u/a/b"] {
        server.add_directory(text);
    }
    let mut client = connect(&server.address);
    let up = plan(&mut client, Direction::Up, local.path("typed"), None).unwrap();
    assert_eq!((up.transfers.len(), up.make.len(), up.left_out.len()), (1, 0, 1));
    // As something beneath a directory that is held it is a name like any other there.
    let held = HeldDirectory::at(local.path(""));
    assert!(plan(&mut client, Direction::Up, held.place("typed"), None).is_err());
    let mut make = |here: LocalPath, there| {
        let plan = plan(&mut client, Direction::Down, here, Some(there)).unwrap();
        let mut refused = Vec::new();
        let report = plan.carry_out(&mut client, &keep_going(), &mut |event| {
            if let Event::Refused { error, .. } = event {
                refused.push(error.to_string());
            }
        });
        assert_eq!(refused.len(), report.failures.len());
        (refused, report.made)
    };
    let (refused, made) = make(held.place("typed"), "t");
    assert!(refused.len() == 1 && refused[0].contains("which is not followed") && made == 0, "{refused:?}");
    let (refused, made) = make(local.path("typed").into(), "t");
    assert!(refused.len() == 1 && refused[0].contains("inner is a symbolic link") && made == 4, "{refused:?} {made}");
    let (refused, made) = make(local.path("typed").into(), "u");
    assert!(refused.len() == 1 && refused[0].contains("a is no directory") && made == 1, "{refused:?} {made}");
    assert!(other.path("y/z").is_dir());
}
