//! All requests of PROTOCOL.md at one node: the other one answers alike at once, and in the end both have one tree.

use std::collections::BTreeMap;

use ferry_e2e::{Raw, body, crc, eventually, gist, random_bytes};

use super::{Cluster, in_cluster};

/// A time long ago, in whole seconds: the coarsest file system keeps it.
const MTIME: u64 = 1_700_000_000;

/// Returns the lines of a listing, by name.
fn listed(raw: &mut Raw, name: &str) -> BTreeMap<String, String> {
    let request = if name.is_empty() { "LIST".to_owned() } else { format!("LIST {name}") };
    let lines = String::from_utf8(raw.ask(&request).verified()).unwrap();
    lines.lines().map(|line| (line.splitn(5, ' ').nth(4).unwrap().to_owned(), line.to_owned())).collect()
}

/// Returns the whole tree as a node has it: lines of LIST and answers to STAT by path.
fn tree(raw: &mut Raw) -> BTreeMap<String, (String, String)> {
    let (mut found, mut dirs) = (BTreeMap::new(), vec![String::new()]);
    while let Some(dir) = dirs.pop() {
        for (name, line) in listed(raw, &dir) {
            let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
            let stat = raw.ask(&format!("STAT {path}")).line;
            if line.starts_with("d ") {
                dirs.push(path.clone());
            }
            found.insert(path, (line, stat));
        }
    }
    found
}

fn put(raw: &mut Raw, name: &str, bytes: &[u8]) {
    raw.send(format!("PUT {} {MTIME} {name}\n", bytes.len()));
    raw.send(body(bytes, 1 << 20));
    let saved = raw.line();
    assert!(saved.starts_with(&format!("SAVED {} {} ", bytes.len(), crc(bytes))), "{name}: {saved}");
}

#[track_caller]
fn done(raw: &mut Raw, request: &str) {
    assert_eq!(raw.ask(request).line, "DONE", "{request}");
}

/// Has `here` asked for changes, and looks each time what `there` says of it.
fn change_here_look_there(here: &mut Raw, there: &mut Raw, dir: &str) {
    let bytes = random_bytes(dir.len() as u64, 300_000);
    done(here, &format!("MKDIR {dir}"));
    assert!(there.ask(&format!("STAT {dir}")).line.starts_with("DIR "));
    there.ask(&format!("MKDIR {dir}")).expect_failure("exists");
    assert!(listed(there, "").contains_key(dir));
    assert!(listed(there, dir).is_empty());

    let file = format!("{dir}/a file");
    there.ask(&format!("GET {file}")).expect_failure("not-found");
    put(here, &file, &bytes);
    assert!(there.ask(&format!("GET {file}")).verified() == bytes);
    assert_eq!(gist(&there.ask(&format!("SUM {file}")).line), format!("SUM {} {}", bytes.len(), crc(&bytes)));
    assert!(there.ask(&format!("READ 1000 2000 * {file}")).verified() == bytes[1000..3000]);
    assert!(listed(there, dir)["a file"].starts_with(&format!("f {} {MTIME} ", bytes.len())));
    // Whoever knows the file by one node may go on with it at the other one, once its tag stands.
    let of_both = |here: &mut Raw, there: &mut Raw| {
        let [one, other] = [&mut *here, &mut *there].map(|raw| raw.ask(&format!("STAT {file}")).word(3).to_owned());
        (one == other).then_some(one)
    };
    let tag = eventually("both have one tag", || of_both(here, there));
    assert!(there.ask(&format!("READ 299999 * {tag} {file}")).verified() == bytes[299_999..]);

    let replaced = random_bytes(7, 100_000);
    put(here, &file, &replaced);
    there.ask(&format!("READ 0 * {tag} {file}")).expect_failure("changed");
    assert!(there.ask(&format!("GET {file}")).verified() == replaced);
    there.send(format!("WITH if=none\nPUT 1 - {file}\nDATA 1\nxEND {}\n", crc(b"x")));
    there.answer("PUT").expect_failure("exists");

    let (id, kept) = (format!("id-{dir}"), format!("{dir}/resumed"));
    let resume = format!("RESUME {id} {} {MTIME} {kept}", bytes.len());
    assert_eq!(here.ask(&resume).line, "GO 0");
    here.send([b"DATA 200000\n", &bytes[..200_000], b"STOP\n"].concat());
    here.answer("RESUME").expect_failure("stopped");
    there.ask(&format!("STAT {kept}")).expect_failure("not-found");
    there.ask(&format!("RESUME {id} 5 - {kept}")).expect_failure("exists");
    assert_eq!(there.ask(&resume).line, "GO 200000");
    there.send([b"DATA 100000\n", &bytes[200_000..], format!("END {}\n", crc(&bytes)).as_bytes()].concat());
    let saved = there.line();
    assert!(saved.starts_with(&format!("SAVED 300000 {} ", crc(&bytes))), "{saved}");
    assert!(here.ask(&format!("GET {kept}")).verified() == bytes);
    assert_eq!(gist(&here.ask(&resume).line), format!("SAVED 300000 {}", crc(&bytes)));

    done(here, &format!("MKDIR {dir}/inner"));
    done(there, &format!("RENAME {kept}//{dir}/inner/renamed"));
    here.ask(&format!("STAT {kept}")).expect_failure("not-found");
    assert!(here.ask(&format!("GET {dir}/inner/renamed")).verified() == bytes);
    here.ask(&format!("RENAME {file}//{dir}/inner/renamed")).expect_failure("exists");
    done(here, &format!("RENAME {dir}/inner//{dir}/outer"));
    there.ask(&format!("LIST {dir}/inner")).expect_failure("not-found");
    assert_eq!(listed(there, &format!("{dir}/outer")).into_keys().collect::<Vec<_>>(), ["renamed"]);
    there.ask(&format!("DELETE {dir}/outer")).expect_failure("not-empty");
    done(there, &format!("DELETE {dir}/outer/renamed"));
    here.ask(&format!("GET {dir}/outer/renamed")).expect_failure("not-found");
    done(here, &format!("DELETE {dir}/outer"));
    there.ask(&format!("STAT {dir}/outer")).expect_failure("not-found");
    // A name that was looked for in vain is there as soon as it is made.
    put(there, &format!("{dir}/outer"), b"a file by now");
    assert_eq!(here.ask(&format!("GET {dir}/outer")).verified(), b"a file by now");
}

#[test]
fn both_nodes_have_one_tree_whoever_is_asked() {
    in_cluster("requests::both_nodes_have_one_tree_whoever_is_asked", |cluster: &Cluster| {
        let (mut first, mut second) = (cluster.node(0), cluster.node(1));
        change_here_look_there(&mut first, &mut second, "one");
        change_here_look_there(&mut second, &mut first, "another");
        [0, 1].iter().for_each(|node| cluster.is_healthy(*node));
        let both = || [&mut cluster.node(0), &mut cluster.node(1)].map(tree);
        let one = eventually("both have one tree", || {
            let [one, other] = both();
            (one == other).then_some(one)
        });
        let names: Vec<_> = one.keys().map(String::as_str).collect();
        assert_eq!(names, ["another", "another/a file", "another/outer", "one", "one/a file", "one/outer"]);
        for name in names.iter().filter(|name| name.contains('/')) {
            let [here, there] = [0, 1].map(|node| cluster.node(node).ask(&format!("GET {name}")).verified());
            assert!(here == there, "{name}");
        }
        for mut raw in [first, second] {
            raw.send("CLOSE\n");
            assert_eq!(raw.line(), "BYE");
        }
    });
}
