//! SYNC with filters beside rsync, on the same random trees and rules.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use ferry_e2e::{Random, seed};

use crate::place::{Place, Tree, tree};

/// The components of names: many rules mean several of them. The last one has wildcards in it.
const COMPONENTS: [&str; 9] = ["a", "b", "ab", "a.o", "b.o", "x y", "foo", "bar.c", "[a]"];

/// Pieces of patterns.
const PIECES: [&str; 18] = [
    "a",
    "b",
    "ab",
    "*.o",
    "foo",
    "*",
    "**",
    "?",
    "[ab]",
    "[!a]*",
    "a*",
    "*.[a-c]",
    "x y",
    "***",
    "[[:alpha:]]",
    "*b",
    "b**",
    "\\[a]*",
];

/// The names of a tree: of files what they hold and their time, of directories nothing.
type Plan = BTreeMap<String, Option<(Vec<u8>, u64)>>;

/// Takes one of `all`.
fn one_of<'a>(random: &mut Random, all: &[&'a str]) -> &'a str {
    all[usize::try_from(random.below(all.len() as u64)).unwrap()]
}

/// Whether one of `n` times this is so.
fn once_in(random: &mut Random, n: u64) -> bool {
    random.below(n) == 0
}

/// A pattern, a rule's argument.
fn pattern(random: &mut Random) -> String {
    let mut pattern = if once_in(random, 4) { "/".to_owned() } else { String::new() };
    for at in 0..=random.below(3) {
        if at > 0 {
            pattern.push('/');
        }
        pattern.push_str(one_of(random, &PIECES));
    }
    if once_in(random, 5) {
        pattern.push('/');
    }
    pattern
}

/// A pattern of a rule about whole paths. `{from}` and `{to}` stand for the trees, whose last components are one and two; all
/// else above the trees is not the same for both programs.
fn path_pattern(random: &mut Random) -> String {
    let pattern = pattern(random);
    let below = pattern.trim_start_matches('/');
    let tops: &[&str] = match below.trim_start_matches('*').contains("**") {
        true => &["{from}/", "{to}/"],
        false => &["{from}/", "{to}/", "one/", "two/", ""],
    };
    format!("{}{below}", one_of(random, tops))
}

/// A line of a file of rules. Rules of one end alone are only for those that have no rules of directories.
fn rule(random: &mut Random, of_one_end: bool) -> String {
    let kinds = [
        "-",
        "-",
        "-",
        "+",
        "+",
        "-!",
        "-p",
        "-p",
        "+p",
        "-/",
        "+/",
        "-/p",
        "-!/",
        "-C",
        "-Cp",
        "H",
        "S",
        "P",
        "R",
        "-s",
        "-r",
        "exclude",
        "include,!",
        "-x",
        "P,p",
        "H/",
        "P/",
        "-Cs",
        "-Cr",
        "-rp",
        "R,p/",
    ];
    let kind = one_of(random, &kinds[..if of_one_end { kinds.len() } else { 15 }]);
    match kind {
        of_cvs if of_cvs.contains('C') => of_cvs.to_owned(),
        of_paths if of_paths.contains('/') => format!("{of_paths} {}", path_pattern(random)),
        _ => format!("{kind} {}", pattern(random)),
    }
}

/// A rule that names a file of more rules, and what is in that. In words no pattern has a space.
fn merged(random: &mut Random, of_one_end: bool) -> (String, String) {
    let kinds = [
        "", "-", "+", "w", "w-", "C", "e", "p", "p-", "Cp", "/", "/p+", "w/", "s", "r", "sr", "s-", "wr", "Cs", "rp",
        "s/",
    ];
    let modifiers = one_of(random, &kinds[..if of_one_end { kinds.len() } else { 13 }]);
    let (words, bare) = (modifiers.contains(['w', 'C']), modifiers.contains(['-', '+', 'C']));
    let mut content = String::new();
    for _ in 0..=random.below(3) {
        let of_paths = modifiers.contains('/') || !bare && once_in(random, 4);
        let pattern = if of_paths { path_pattern(random) } else { pattern(random) };
        let pattern = if words { pattern.replace(' ', "?") } else { pattern };
        // Whatever its manual says, rsync takes no space after a prefix among words.
        let prefix = match (bare, words, of_paths) {
            (true, ..) => "",
            (_, true, true) => one_of(random, &["-/_", "+/_", "-p/_"]),
            (_, true, false) => one_of(random, &["-_", "+_", "-!_", "-p_"]),
            (.., true) => one_of(random, &["-/ ", "+/ ", "-!/ "]),
            _ => one_of(random, &["- ", "+ ", "-! ", "-p "]),
        };
        content += &format!("{prefix}{pattern}{}", if words && once_in(random, 2) { ' ' } else { '\n' });
    }
    (format!(".{modifiers} {{more}}"), content)
}

/// A tree, beside which `like` another one stands: what has one name is of one kind.
fn random_tree(random: &mut Random, components: &[&str], kinds: u64, like: Option<&Plan>) -> Plan {
    let mut plan = Plan::new();
    for _ in 0..random.below(25) {
        let mut name = String::new();
        for depth in 0..=random.below(4) {
            let component = one_of(random, components);
            name = if depth == 0 { component.to_owned() } else { format!("{name}/{component}") };
            if plan.get(&name).is_some_and(Option::is_some) {
                break;
            }
            let is_directory = Random::new(kinds ^ u64::from(crc(&name))).below(3) > 0;
            if is_directory {
                plan.entry(name.clone()).or_insert(None);
                continue;
            }
            let before = like.and_then(|like| like.get(&name)).cloned().flatten();
            let file = match before {
                Some(same) if random.below(2) == 0 => same,
                // The same size and time: both take it for the same.
                Some((bytes, time)) if random.below(3) == 0 => (vec![b'!'; bytes.len()], time),
                _ => (vec![b'x'; usize::try_from(random.below(20)).unwrap()], 1_000_000_000 + random.below(5)),
            };
            plan.insert(name.clone(), Some(file));
            break;
        }
    }
    plan
}

fn crc(text: &str) -> u32 {
    text.bytes().fold(7, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)))
}

fn make(root: &Path, plan: &Plan) {
    fs::create_dir_all(root).unwrap();
    for (name, file) in plan {
        let path = root.join(name);
        match file {
            None => fs::create_dir_all(path).unwrap(),
            Some((bytes, time)) => {
                fs::write(&path, bytes).unwrap();
                let time = SystemTime::UNIX_EPOCH + Duration::from_secs(*time);
                fs::File::open(path).unwrap().set_modified(time).unwrap();
            }
        }
    }
}

/// The rules of single directories of the source, by its directories.
fn ignore_files(random: &mut Random, source: &Plan) -> BTreeMap<String, String> {
    let directories = source.iter().filter(|(_, file)| file.is_none()).map(|(name, _)| name.as_str());
    let all: Vec<&str> = directories.chain([""]).collect();
    let mut files = BTreeMap::new();
    for directory in all {
        if once_in(random, 3) {
            let mut lines = String::new();
            for _ in 0..=random.below(2) {
                lines += &format!("{} {}\n", one_of(random, &["-", "-", "+"]), pattern(random));
            }
            files.insert(directory.to_owned(), lines);
        }
    }
    files
}

/// The target of one seed after ferry and after rsync, and how to see it again.
fn both(place: &Place, seed: u64) -> (Tree, Tree, String) {
    let mut random = Random::new(seed);
    let (down, with_files, update) = (once_in(&mut random, 2), once_in(&mut random, 3), once_in(&mut random, 4));
    let kinds = random.number();
    // To rsync a rule that begins with a '/' is a pattern together with the name of the directory that it stands in.
    let components = if with_files { &COMPONENTS[..8] } else { &COMPONENTS };
    let source = random_tree(&mut random, components, kinds, None);
    let target = random_tree(&mut random, components, kinds, Some(&source));
    let mut rules: Vec<String> = (0..random.below(6)).map(|_| rule(&mut random, !with_files)).collect();
    // To rsync, all rules -C have the modifiers of the first one.
    let mut of_cvs = 0;
    rules.retain(|rule| {
        of_cvs += usize::from(rule.starts_with("-C"));
        !rule.starts_with("-C") || of_cvs == 1
    });
    let mut more = String::new();
    if once_in(&mut random, 2) {
        let (line, content) = merged(&mut random, !with_files);
        more = content;
        let at = usize::try_from(random.below(rules.len() as u64 + 1)).unwrap();
        rules.insert(at, line);
    }
    let excluded = once_in(&mut random, 2).then(|| pattern(&mut random));
    let limit = once_in(&mut random, 3).then(|| random.below(20));
    let own = if with_files { ignore_files(&mut random, &source) } else { BTreeMap::new() };
    // Named by a rule, such files may have modifiers.
    let by_rule = (with_files && once_in(&mut random, 2)).then(|| one_of(&mut random, &[":", ":p", ":n", ":np"]));
    rules.extend(by_rule.map(|kind| format!("{kind} .ferryignore")));

    let (local, remote) = if down { ("two", "one") } else { ("one", "two") };
    let (here, there) = (format!("{seed}/{local}"), format!("{seed}/{remote}"));
    let (names, top) = ([here.clone(), there.clone()], place.local(format!("{seed}-rsync")));
    let (here, there) = (place.local(here), place.server.path(&there));
    let by_rsync = [top.join("one"), top.join("two")];
    let (from, to) = if down { (&there, &here) } else { (&here, &there) };
    for (root, plan) in [(from, &source), (to, &target), (&by_rsync[0], &source), (&by_rsync[1], &target)] {
        make(root, plan);
    }
    for (directory, lines) in &own {
        // rsync reads those of either end, ferry the local ones.
        for root in [&here, &by_rsync[0], &by_rsync[1]] {
            if root.join(directory).is_dir() {
                fs::write(root.join(directory).join(".ferryignore"), lines).unwrap();
            }
        }
        if down {
            fs::create_dir_all(here.join(directory)).unwrap();
            fs::create_dir_all(by_rsync[1].join(directory)).unwrap();
            fs::write(here.join(directory).join(".ferryignore"), lines).unwrap();
            fs::write(by_rsync[1].join(directory).join(".ferryignore"), lines).unwrap();
        }
    }
    // Whole paths are those of the local directory, and those of the server from its root.
    let shown = |path: &Path| path.display().to_string();
    let paths = if down { [format!("/{}", names[1]), shown(&here)] } else { [shown(&here), format!("/{}", names[1])] };
    let write = |program: &str, [from, to]: [String; 2]| {
        let path = |name: &str| place.local(format!("{seed}-{name}-{program}")).display().to_string();
        let filled = |text: &str| text.replace("{from}", &from).replace("{to}", &to).replace("{more}", &path("more"));
        place.write(path("more"), filled(&more).as_bytes());
        place.write(path("rules"), (filled(&rules.join("\n")) + "\n").as_bytes());
        path("rules")
    };
    let rules_of = [write("ferry", paths), write("rsync", by_rsync.each_ref().map(|path| shown(path)))];

    let mut rsync = Command::new("rsync");
    rsync.args(["-rt", "--delete"]).args(excluded.iter().map(|text| format!("--exclude={text}")));
    rsync.env("HOME", place.home()).env_remove("CVSIGNORE");
    if with_files {
        rsync.arg("--filter=- .ferryignore");
    }
    rsync.arg(format!("--filter=. {}", rules_of[1]));
    let mut options = "--delete --max-delete 1000".to_owned();
    options += &excluded.iter().map(|text| format!(" --exclude '{text}'")).collect::<String>();
    options += &format!(" --filter {}", rules_of[0]);
    if with_files && by_rule.is_none() {
        rsync.arg("--filter=: .ferryignore");
        options += " -F";
    }
    if update {
        rsync.arg("--update");
        options += " --update";
    }
    if let Some(limit) = limit {
        rsync.arg(format!("--max-size={limit}b"));
        options += &format!(" --max-size {limit}");
    }
    let slashed = |path: &PathBuf| format!("{}/", path.display());
    let output = rsync.arg(slashed(&by_rsync[0])).arg(slashed(&by_rsync[1])).output().unwrap();
    assert!(output.status.success(), "{seed}: {rsync:?}: {}", String::from_utf8_lossy(&output.stderr));
    let (read, changed) = if down { (&names[1], &names[0]) } else { (&names[0], &names[1]) };
    let command = format!("SYNC {options} {} {read} {changed}", if down { "-d" } else { "-u" });
    let ran = place.run(&command);
    let story = format!(
        "{command}\n{rules:#?}\nmore: {more:?}\nown: {own:#?}\nfrom {source:?}\nto {target:?}\n{}{}",
        ran.said, ran.complaints
    );
    assert_eq!(ran.status, 0, "{story}");
    let trees = (tree(to), tree(&by_rsync[1]), story);
    for path in [&here, &there, &top] {
        fs::remove_dir_all(path).unwrap();
    }
    trees
}

#[test]
fn a_filtered_synchronisation_moves_and_deletes_what_rsync_would() {
    if Command::new("rsync").arg("--version").output().is_err() {
        return println!("not tried: there is no rsync");
    }
    let rounds: u64 = env::var("FERRY_FILTER_SEEDS").map_or(20, |text| text.parse().expect("a number"));
    let (place, first) = (Place::new(), seed());
    fs::create_dir(place.home()).unwrap();
    fs::write(place.home().join(".cvsignore"), "foo [ab].?\n").unwrap();
    let mut moved = 0;
    for seed in (0..rounds).map(|round| first.wrapping_add(round)) {
        let (ours, theirs, story) = both(&place, seed);
        moved += ours.len();
        let names = |tree: &Tree| tree.keys().map(|name| name.display().to_string()).collect::<Vec<_>>();
        assert_eq!(names(&ours), names(&theirs), "FERRY_TEST_SEED={seed} FERRY_FILTER_SEEDS=1\n{story}");
        for (name, file) in &ours {
            assert_eq!(*file, theirs[name], "{}: FERRY_TEST_SEED={seed}\n{story}", name.display());
        }
    }
    println!("{rounds} seeds, {moved} names in all, none other than by rsync");
}
