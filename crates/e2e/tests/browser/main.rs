//! Tests of the page in a browser: Chromium, driven by `drive.mjs` through Playwright.
//!
//! They need node, chromium, and the packages playwright-core and axe-core of npm, in `FERRY_PLAYWRIGHT` or in
//! `target/browser`: `npm install --prefix target/browser playwright-core axe-core`. Where something is missing a test skips
//! itself with a printed word; with [`MUST`] in the environment, as CI sets it, that is a failure.
//!
//! `FERRY_TEST_LARGE=1` has a file of 1 GiB in place of 100 MiB, and `FERRY_SCREENSHOTS=DIR` makes pictures for the
//! documentation.
// A test fails by panicking, in its helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use ferry_e2e::{Options, Server, eventually, random_file, secure, workspace_root};
use serde_json::json;
use tempfile::TempDir;

/// With this in the environment, a test that can't run here fails.
const MUST: &str = "FERRY_TEST_BROWSER";

/// The programs that drive a browser.
struct Browser {
    node: PathBuf,
    chromium: PathBuf,
    modules: PathBuf,
}

impl Browser {
    /// Finds all that is needed, or says that a test is skipped, and why.
    fn find() -> Option<Browser> {
        if secure::skips("no browser trusts a server's own key") {
            return None;
        }
        let modules = env::var_os("FERRY_PLAYWRIGHT").map_or(workspace_root().join("target/browser"), PathBuf::from);
        let found = || {
            let node = program(&["node"]).ok_or("no node")?;
            let chromium = program(&["chromium", "chromium-browser", "google-chrome"]).ok_or("no chromium")?;
            let missing =
                ["playwright-core", "axe-core"].iter().find(|&&name| !modules.join("node_modules").join(name).is_dir());
            missing.map_or(Ok(()), |_| Err("no playwright-core or axe-core: see the documentation of this test"))?;
            Ok::<_, &str>(Browser { node, chromium, modules: modules.clone() })
        };
        found().map_err(skip).ok()
    }

    /// Runs a scenario of `drive.mjs`. What it asks for is done by `perform`.
    fn drive(&self, scenario: &str, more: serde_json::Value, mut perform: impl FnMut(&str)) {
        let mut configuration = json!({ "chromium": self.chromium, "modules": self.modules });
        configuration.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/drive.mjs");
        let mut node = Command::new(&self.node);
        node.arg(script).arg(scenario).arg(configuration.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut node = node.spawn().expect("node runs");
        let mut asking = node.stdin.take().unwrap();
        for line in BufReader::new(node.stdout.take().unwrap()).lines() {
            perform(&line.unwrap());
            asking.write_all(b"done\n").unwrap();
        }
        assert!(node.wait().unwrap().success(), "{scenario} failed");
    }
}

fn skip(why: &str) {
    assert!(env::var_os(MUST).is_none(), "{MUST} is set, but: {why}");
    eprintln!("skipped: {why}");
}

/// Returns the path of the first of some programs that is installed here.
fn program(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let find = |name: &&str| env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.is_file());
    names.iter().find_map(find)
}

/// The file that takes long, in bytes.
fn big_bytes() -> u64 {
    if env::var_os("FERRY_TEST_LARGE").is_some() { 1 << 30 } else { 100 << 20 }
}

/// Returns options for a server that takes a large file in some seconds, so that it can be met in the middle.
fn slow() -> Options {
    Options::new().arg("--rate").arg((big_bytes() / 8).to_string())
}

/// Starts a server for browsers at an address of this machine.
fn serve(options: Options, http: SocketAddr) -> Server {
    options.arg("--http").arg(http.to_string()).start()
}

/// Returns the address for browsers.
fn http(server: &Server) -> SocketAddr {
    eventually("the address for HTTP in the log", || {
        let log = server.log();
        log.lines().find_map(|line| line.split_once("HTTP is served at http://")?.1.strip_suffix('/')?.parse().ok())
    })
}

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A server of some names, and a directory for what a browser uploads.
struct Scene {
    server: Server,
    files: TempDir,
}

impl Scene {
    fn new(options: Options) -> Scene {
        Scene { server: serve(options, any()), files: tempfile::tempdir().unwrap() }
    }

    /// Returns a server of names of all kinds.
    fn with_names() -> Scene {
        let scene = Scene::new(slow());
        for (name, content) in [
            ("a.txt", "1"),
            ("B2.txt", "a large one"),
            ("b10.txt", "22"),
            ("<b>&\"'#?%2e.txt", "odd"),
            ("evil\u{202e}gpj.exe", ""),
            ("b10/inner.txt", ""),
            ("Grüße/inner.txt", ""),
        ] {
            scene.server.write(name, content.as_bytes());
        }
        scene
    }

    fn with_inbox() -> Scene {
        let scene = Scene::new(Options::new());
        fs::create_dir(scene.server.path("inbox")).unwrap();
        scene
    }

    fn configuration(&self) -> serde_json::Value {
        json!({ "url": format!("http://{}", http(&self.server)), "files": self.files.path() })
    }

    fn drive(&self, browser: &Browser, scenario: &str) {
        browser.drive(scenario, self.configuration(), |asked| panic!("{asked}?"));
    }
}

/// Makes the file that takes long.
fn make_big_file(place: &Path) {
    random_file(&place.join("big ü.bin"), 7, big_bytes());
}

#[test]
fn a_person_looks_sorts_filters_and_reads() {
    let Some(browser) = Browser::find() else { return };
    Scene::with_names().drive(&browser, "look");
}

#[test]
fn a_page_works_without_scripts() {
    let Some(browser) = Browser::find() else { return };
    Scene::with_names().drive(&browser, "scriptless");
}

#[test]
fn a_page_is_accessible_in_light_and_dark_on_phone_and_desktop_and_by_keyboard() {
    let Some(browser) = Browser::find() else { return };
    let scene = Scene::with_names();
    make_big_file(scene.files.path());
    scene.drive(&browser, "accessible");
}

#[test]
fn folders_are_uploaded_replaced_made_and_deleted() {
    let Some(browser) = Browser::find() else { return };
    let scene = Scene::with_inbox();
    let name = "a <folder> & \"more\"";
    browser.drive("folder", scene.configuration(), |asked| {
        assert_eq!(asked, "compare inbox");
        let mut compared = Command::new("diff");
        compared.arg("-r").arg(scene.files.path().join(name)).arg(scene.server.path("inbox").join(name));
        assert!(compared.status().unwrap().success());
    });
}

#[test]
fn files_are_dropped() {
    let Some(browser) = Browser::find() else { return };
    Scene::with_inbox().drive(&browser, "dropped");
}

#[test]
fn an_upload_outlives_the_server_and_the_page() {
    let Some(browser) = Browser::find() else { return };
    // Both outlive the server.
    let (root, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(root.path().join("inbox")).unwrap();
    let begun = serve(slow().root(root.path()), any());
    let address = http(&begun);
    let mut server = Some(begun);
    make_big_file(files.path());
    let configuration = json!({ "url": format!("http://{address}"), "files": files.path(), "bytes": big_bytes() });
    browser.drive("restarted", configuration, |asked| match asked {
        "restart" => {
            // Killed, with no word to anybody.
            drop(server.take());
            server = Some(serve(slow().root(root.path()), address));
        }
        "compare big" => {
            let compared = Command::new("cmp")
                .arg(files.path().join("big ü.bin"))
                .arg(root.path().join("inbox/big ü.bin"))
                .status();
            assert!(compared.unwrap().success());
        }
        asked => panic!("{asked}?"),
    });
}

#[test]
fn a_page_shows_what_its_user_may_do() {
    let Some(browser) = Browser::find() else { return };
    let users = tempfile::tempdir().unwrap();
    let file = users.path().join("users.toml");
    fs::write(&file, "").unwrap();
    let token = alice(&file);
    let scene = Scene::new(Options::new().arg("--users").arg(&file));
    for name in ["open.txt", "projects/plan.txt", "projects/secret/x.txt", "inbox/other.txt"] {
        scene.server.write(name, b"x");
    }
    let mut configuration = scene.configuration();
    configuration["secret"] = token.into();
    browser.drive("rights", configuration, |asked| panic!("{asked}?"));
}

/// Writes users, and returns the secret of alice.
fn alice(file: &Path) -> String {
    fs::write(
        file,
        "[anonymous]\nrights = { \"\" = \"r\", \"projects/secret\" = \"none\", \"inbox\" = \"drop\" }\n\n\
         [users.alice]\nrights = { \"\" = \"r\", \"projects\" = \"rw\" }\n",
    )
    .unwrap();
    let made =
        Command::new(ferry_e2e::ferryd()).args(["user", "token", "alice", "--users"]).arg(file).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    String::from_utf8(made.stdout).unwrap().split_whitespace().last().unwrap().to_owned()
}

#[test]
fn pictures_are_made_for_the_documentation() {
    let Some(place) = env::var_os("FERRY_SCREENSHOTS") else { return };
    let Some(browser) = Browser::find() else { return };
    let scene = Scene::new(Options::new().arg("--rate").arg("5MiB"));
    for (name, bytes) in
        [("Fjord at dawn.jpg", 2_345_678), ("Fjord at noon.jpg", 3_456_789), ("Notes.md", 4_321), ("Route.gpx", 98_765)]
    {
        scene.server.write(&format!("Holiday/{name}"), &vec![0; bytes]);
    }
    scene.server.write("Holiday/Day 1/x", b"");
    scene.server.write("Holiday/Day 2/x", b"");
    make_big_file(scene.files.path());
    let mut configuration = scene.configuration();
    configuration["screenshots"] = PathBuf::from(place).to_str().unwrap().into();
    browser.drive("screenshots", configuration, |asked| panic!("{asked}?"));
}
