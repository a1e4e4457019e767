//! The control socket: who may ask, and whose it is.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::Path,
    process::{Command, Stdio},
    thread,
};

use ferry_e2e::{Options, Raw, Server, Signal, eventually, ferryd};
use rustix::{
    process::{Pid, Uid, geteuid, kill_process},
    thread::set_thread_res_uid,
};

use super::said;

/// Asks in the words of the control socket, and returns the whole answer.
fn ask(socket: &Path, question: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(question.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_running_server_is_found_by_its_port_and_by_its_socket() {
    let server = Server::start();
    assert_eq!(fs::metadata(server.control()).unwrap().mode() & 0o777, 0o600);
    let by_socket = server.command(&["status"]);
    assert!(by_socket.status.success() && !by_socket.stdout.is_empty(), "{}", said(&by_socket));
    for address in [server.address().port().to_string(), server.address().to_string()] {
        let by_port = Command::new(ferryd())
            .args(["status", &address])
            .env("RUNTIME_DIRECTORY", server.control().parent().unwrap())
            .output()
            .unwrap();
        assert!(by_port.status.success() && !by_port.stdout.is_empty(), "{}", said(&by_port));
    }
    assert!(ask(&server.control(), "status\n").starts_with("DONE\n"));
    assert!(ask(&server.control(), "frob\n").starts_with("FAIL "));
    let socket = server.control();
    assert_eq!(server.terminate().code(), Some(0));
    assert!(!socket.exists(), "the socket is removed");
}

#[test]
fn a_socket_of_a_bare_name_is_removed_as_well() {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let mut server = Command::new(ferryd())
        .args(["--root", "root", "--control", "bare.sock", "0"])
        .current_dir(place.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let socket = place.path().join("bare.sock");
    assert!(socket.exists(), "{first}");
    kill_process(Pid::from_child(&server), Signal::TERM).unwrap();
    assert!(server.wait().unwrap().success());
    assert!(!socket.exists());
}

#[test]
fn where_no_server_is_that_is_said() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("no.sock");
    for command in ["status", "reload"] {
        let output = Command::new(ferryd()).arg(command).arg("--control").arg(&socket).output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty());
        let said = said(&output);
        assert!(said.contains("no server answers") && said.contains("no.sock") && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn the_socket_of_a_dead_server_is_replaced_and_that_of_a_living_one_is_not() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("control.sock");
    let options = || Options::new().arg("--control").arg(&socket);
    let mut dead = options().start();
    dead.signal(Signal::KILL);
    dead.wait();
    assert!(socket.exists());
    let living = options().start();
    assert!(ask(&socket, "status\n").starts_with("DONE\n"));

    // Nothing is changed: the root of the other is not even made.
    let root = place.path().join("root");
    let second = Command::new(ferryd())
        .args(["--root".as_ref(), root.as_os_str(), "--control".as_ref(), socket.as_os_str()])
        .arg("0")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = said(&second);
    assert!(!second.status.success() && second.stdout.is_empty());
    assert!(said.contains("control.sock") && said.contains("runs") && said.lines().count() == 1, "{said}");
    assert_eq!(Raw::greeted(living.address()).put("a", b"hello").word(0), "SAVED");
    assert!(ask(&socket, "status\n").starts_with("DONE\n"));

    let file = place.path().join("file");
    fs::write(&file, b"precious").unwrap();
    let third = Command::new(ferryd()).arg("--control").arg(&file).arg("0").current_dir(place.path()).output().unwrap();
    assert!(!third.status.success());
    assert_eq!(fs::read(&file).unwrap(), b"precious");
}

#[test]
fn two_servers_of_one_port_have_a_socket_each() {
    if TcpListener::bind("127.0.0.2:0").is_err() {
        eprintln!("skipped: this machine has no 127.0.0.2");
        return;
    }
    let first = Server::start();
    let directory = first.control().parent().unwrap().to_owned();
    let port = first.address().port();
    let second = Options::new().address(&format!("127.0.0.2:{port}")).env("RUNTIME_DIRECTORY", &directory).start();
    let own = directory.join(format!("{port}.{}.sock", second.pid()));
    eventually("it is logged", || second.log().contains(own.to_str().unwrap()).then_some(()));
    assert!(ask(&own, "status\n").starts_with("DONE\n"));
    assert!(ask(&first.control(), "status\n").starts_with("DONE\n"));
}

#[test]
fn a_server_that_can_have_no_socket_serves_without_it() {
    let server = Options::new().env("RUNTIME_DIRECTORY", "/no/where").start();
    assert_eq!(Raw::greeted(server.address()).put("a", b"hello").word(0), "SAVED");
    eventually("it is logged", || server.log().contains("no control socket").then_some(()));
}

#[test]
fn a_stranger_is_refused_by_the_kernel() {
    if !geteuid().is_root() {
        eprintln!("skipped: only root can be somebody else");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let socket = place.path().join("control.sock");
    let server = Options::new().arg("--control").arg(&socket).start();
    let refused = || {
        let nobody = Uid::from_raw(65534);
        set_thread_res_uid(nobody, nobody, nobody).unwrap();
        UnixStream::connect(&socket).unwrap_err().kind()
    };
    let kind = thread::scope(|scope| scope.spawn(refused).join().unwrap());
    assert_eq!(kind, std::io::ErrorKind::PermissionDenied);
    // Though its mode were another one.
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let asked = || {
        let nobody = Uid::from_raw(65534);
        set_thread_res_uid(nobody, nobody, nobody).unwrap();
        let mut stream = UnixStream::connect(&socket).unwrap();
        let _ = stream.write_all(b"status\n");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    assert_eq!(thread::scope(|scope| scope.spawn(asked).join().unwrap()), "");
    assert!(ask(&socket, "status\n").starts_with("DONE\n"), "its owner is answered: {}", server.log());
}
