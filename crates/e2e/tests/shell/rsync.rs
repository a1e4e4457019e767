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

/// A line of a file of rules. Rules of one end alone are only for those that have no rules of directories.
fn rule(random: &mut Random, of_one_end: bool) -> String {
    let kinds = ["-", "-", "-", "+", "+", "-!", "H", "S", "P", "R", "-s", "-r", "exclude", "include,!", "-x"];
    let kind = one_of(random, &kinds[..if of_one_end { kinds.len() } else { 6 }]);
    format!("{kind} {}", pattern(random))
}

/// A rule that names a file of more rules, and what is in that. In words no pattern has a space.
fn merged(random: &mut Random, file: &str, of_one_end: bool) -> (String, String) {
    let kinds = ["", "-", "+", "w", "w-", "C", "e", "s", "r", "sr", "s-", "wr", "Cs"];
    let modifiers = one_of(random, &kinds[..if of_one_end { kinds.len() } else { 7 }]);
    let (words, bare) = (modifiers.contains(['w', 'C']), modifiers.contains(['-', '+', 'C']));
    let mut content = String::new();
    for _ in 0..=random.below(3) {
        let pattern = pattern(random);
        let pattern = if words { pattern.replace(' ', "?") } else { pattern };
        // Whatever its manual says, rsync takes no space after a prefix among words.
        let prefix = match (bare, words) {
            (true, _) => "",
            (_, true) => one_of(random, &["-_", "+_", "-!_"]),
            _ => one_of(random, &["- ", "+ ", "-! "]),
        };
        content += &format!("{prefix}{pattern}{}", if words && once_in(random, 2) { ' ' } else { '\n' });
    }
    (format!(".{modifiers} {file}"), content)
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
    let more = place.local(format!("{seed}-more"));
    if once_in(&mut random, 2) {
        let (line, content) = merged(&mut random, &more.display().to_string(), !with_files);
        place.write(format!("{seed}-more"), content.as_bytes());
        let at = usize::try_from(random.below(rules.len() as u64 + 1)).unwrap();
        rules.insert(at, line);
    }
    let excluded = once_in(&mut random, 2).then(|| pattern(&mut random));
    let limit = once_in(&mut random, 3).then(|| random.below(20));
    let own = if with_files { ignore_files(&mut random, &source) } else { BTreeMap::new() };

    let (here, there) = (place.local(format!("{seed}")), place.server.path(&seed.to_string()));
    let by_rsync = [place.local(format!("{seed}-from")), place.local(format!("{seed}-to"))];
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
    place.write(format!("{seed}-rules"), (rules.join("\n") + "\n").as_bytes());

    let mut rsync = Command::new("rsync");
    rsync.args(["-rt", "--delete"]).args(excluded.iter().map(|text| format!("--exclude={text}")));
    rsync.arg(format!("--filter=. {}", place.local(format!("{seed}-rules")).display()));
    let mut options = "--delete --max-delete 1000".to_owned();
    options += &excluded.iter().map(|text| format!(" --exclude '{text}'")).collect::<String>();
    options += &format!(" --filter {seed}-rules");
    if with_files {
        rsync.args(["--filter=- .ferryignore", "--filter=: .ferryignore"]);
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
    let command = format!("SYNC {options} {} {seed}", if down { "-d" } else { "-u" });
    let ran = place.run(&command);
    let content = fs::read_to_string(&more).unwrap_or_default();
    let story = format!(
        "{command}\n{rules:#?}\nmore: {content:?}\nown: {own:#?}\nfrom {source:?}\nto {target:?}\n{}{}",
        ran.said, ran.complaints
    );
    assert_eq!(ran.status, 0, "{story}");
    let trees = (tree(to), tree(&by_rsync[1]), story);
    let _ = fs::remove_file(&more);
    for path in [&here, &there, &by_rsync[0], &by_rsync[1]] {
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
