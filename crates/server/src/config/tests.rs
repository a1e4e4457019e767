//! The three sources, put together.

use std::{collections::BTreeMap, ffi::OsString, fs, path::Path};

use super::{
    Configuration, Setup, example,
    keys::{Key, Keys},
    manual,
};
use crate::commands::{Command, ManualPage};

/// A command line, variables, and the text of a file.
#[derive(Debug, Default, Clone)]
struct Sources {
    typed: Vec<String>,
    variables: BTreeMap<String, String>,
    file: String,
}

impl Sources {
    fn typed(words: &str) -> Sources {
        Sources { typed: words.split_whitespace().map(str::to_owned).collect(), ..Sources::default() }
    }

    fn variable(mut self, name: &str, value: &str) -> Sources {
        self.variables.insert(name.into(), value.into());
        self
    }

    fn file(mut self, text: &str) -> Sources {
        self.file = text.into();
        self
    }

    /// Reads them, the file in `directory`.
    fn read_in(&self, directory: &Path) -> Configuration {
        let path = directory.join("ferryd.toml");
        fs::write(&path, &self.file).unwrap();
        let config = [OsString::from("ferryd"), "--config".into(), path.into()];
        let typed = config.into_iter().chain(self.typed.iter().map(OsString::from)).collect();
        let variable = |name: &str| self.variables.get(name).map(OsString::from);
        let variables = self.variables.iter().map(|(name, value)| (name.into(), value.into()));
        Configuration::of(typed, &variable, variables).unwrap()
    }

    fn read(&self) -> Configuration {
        self.read_in(tempfile::tempdir().unwrap().path())
    }

    fn problems(&self) -> Vec<String> {
        self.read().problems().iter().map(ToString::to_string).collect()
    }

    /// Returns the value that counts of an option, and its origin.
    fn value(&self, name: &str) -> (String, String) {
        let configuration = self.read();
        assert!(configuration.problems().is_empty(), "{:?}", configuration.problems());
        let (_, value, origin) = configuration.explained().find(|(known, ..)| known == name).unwrap();
        let origin = origin.to_string();
        (value.unwrap(), origin.rsplit_once("ferryd.toml").map_or(origin.clone(), |(_, line)| format!("file{line}")))
    }
}

/// Returns an option with those that it needs.
fn set(name: &str) -> Vec<String> {
    match name {
        "tls-cert" | "tls-key" => vec!["tls-cert".into(), "tls-key".into()],
        name => vec![name.into()],
    }
}

/// Returns an example for an option, which means the same in all sources.
fn value(key: &Key<'_>) -> String {
    if key.is_path() { format!("/somewhere/{}", key.name()) } else { key.example() }
}

#[test]
fn every_option_is_a_key_and_a_variable() {
    let keys = Keys::new();
    let shown = |sources: &Sources| {
        let configuration = sources.read();
        assert_eq!(configuration.problems(), [], "{sources:?}");
        let text = format!("{:?}", configuration.arguments());
        // The file is another one each time.
        text.split_once("listen: ").unwrap().1.to_owned()
    };
    let nothing = shown(&Sources::default());
    for key in keys.all() {
        let (mut typed, mut environment, mut file) = (Sources::default(), Sources::default(), String::new());
        for key in set(&key.name()).iter().map(|name| keys.named(name).unwrap()) {
            let (name, value) = (key.name(), if key.is_flag() { "true".into() } else { value(&key) });
            match (key.is_flag(), key.is_positional()) {
                (true, _) => typed.typed.push(key.typed()),
                (false, true) => typed.typed.push(value.clone()),
                (false, false) => typed.typed.extend([key.typed(), value.clone()]),
            }
            environment = environment.variable(&key.variable(), &value);
            file += &format!("{name} = {}\n", if key.is_flag() { value } else { format!("\"{value}\"") });
        }
        let by_typing = shown(&typed);
        assert_eq!(shown(&environment), by_typing, "{}", key.variable());
        assert_eq!(shown(&Sources::default().file(&file)), by_typing, "{file}");
        if key.default().is_none() || key.is_flag() {
            assert_ne!(by_typing, nothing, "{}: it sets nothing", key.name());
        }
        assert!(!key.explained().0.is_empty(), "{}: it has no help", key.name());
    }
}

#[test]
fn the_command_line_goes_before_the_environment_and_that_before_the_file() {
    let file = Sources::default().file("# a comment\nkeep = \"1d\"\nrate = 1_000\n");
    assert_eq!(file.value("keep"), ("\"1d\"".into(), "file:2".into()));
    assert_eq!(file.value("rate"), ("1000".into(), "file:3".into()));
    assert_eq!(file.value("log-level"), ("\"info\"".into(), "default".into()));
    let environment = file.clone().variable("FERRYD_KEEP", "2d").variable("FERRYD_RATE", "");
    assert_eq!(environment.value("keep"), ("\"2d\"".into(), "FERRYD_KEEP".into()));
    assert_eq!(environment.value("rate"), ("1000".into(), "file:3".into()));
    let typed = Sources { typed: vec!["--keep=3d".into()], ..environment };
    assert_eq!(typed.value("keep"), ("\"3d\"".into(), "command line".into()));
}

#[test]
fn flags_are_on_and_off_in_each_source_and_the_higher_one_holds() {
    for (file, variable, typed, is_on) in [
        ("true", "", "", true),
        ("false", "", "", false),
        ("true", "0", "", false),
        ("true", "false", "", false),
        ("false", "1", "", true),
        ("false", "true", "", true),
        ("false", "0", "--reuse-port", true),
    ] {
        let sources = Sources::typed(typed).file(&format!("reuse-port = {file}\n"));
        let sources = sources.variable("FERRYD_REUSE_PORT", variable);
        assert_eq!(sources.value("reuse-port").0, is_on.to_string(), "{sources:?}");
    }
}

#[test]
fn of_options_that_exclude_each_other_that_of_the_higher_source_holds() {
    let given = "tls = true\ntls-cert = \"c\"\ntls-key = \"k\"\nread-only = true\n";
    let sources = Sources::typed("--plain").file(given).variable("FERRYD_WRITABLE", "1");
    let configuration = sources.read();
    assert_eq!(configuration.problems(), []);
    let arguments = configuration.arguments();
    assert!(arguments.plain && !arguments.tls && arguments.tls_cert.is_none() && arguments.tls_key.is_none());
    assert!(arguments.writable && !arguments.read_only);
    // A flag that is off excludes nothing.
    let off = Sources::default().file("tls = true\nwritable = true\n").variable("FERRYD_PLAIN", "0");
    assert!(off.read().arguments().tls);
    let both = Sources::default().file("writable = true\n\nread-only = true\n");
    let [problem] = &*both.problems() else { panic!("{:?}", both.problems()) };
    for told in ["ferryd.toml:", "writable", "read-only", "can't stand together"] {
        assert!(problem.contains(told), "{problem}");
    }
    let variables = Sources::default().variable("FERRYD_TLS", "1").variable("FERRYD_PLAIN", "1");
    assert_eq!(variables.problems().len(), 1, "{:?}", variables.problems());
}

#[test]
fn an_option_may_need_another_one_wherever_that_is_from() {
    let alone = Sources::default().file("\ntls-cert = \"c\"\n");
    let [problem] = &*alone.problems() else { panic!("{:?}", alone.problems()) };
    assert!(problem.ends_with("ferryd.toml:2: tls-cert needs tls-key as well"), "{problem}");
    let completed = Sources::typed("--tls-key k").file("tls-cert = \"c\"\n");
    assert_eq!(completed.problems(), [""; 0]);
}

#[test]
fn what_is_wrong_is_told_with_file_line_and_what_was_meant() {
    for (text, told) in [
        ("idle-timeot = 3", "ferryd.toml:1: idle-timeot: there is no such key; did you mean idle-timeout?"),
        ("\nidle_timeout = 3", "ferryd.toml:2: idle_timeout: there is no such key; did you mean idle-timeout?"),
        ("frobnicate = 3", "ferryd.toml:1: frobnicate: there is no such key; 'ferryd check --example' shows all"),
        ("[limits]\nrate = 3", "ferryd.toml:1: limits: there are no tables in this file"),
        ("config = \"x\"", "ferryd.toml:1: config: the file does not say where it is"),
        (
            "rate = \"64M\"",
            "rate: \"64M\": there is no unit 'M': give one of B, kB, MB, GB, TB, KiB, MiB, GiB, TiB; did",
        ),
        ("keep = \"5m\"", "keep: \"5m\": there is no unit 'm': give one of ms, s, min, h, d; did you mean min?"),
        ("keep = \"64MiB\"", "keep: \"64MiB\": there is no unit 'MiB': give one of ms, s, min, h, d"),
        ("rate = 0", "rate: 0: it must be at least 1"),
        ("rate = true", "rate: it must be BYTES in quotes, as \"64MiB\""),
        ("rate = [1]", "rate: it must be BYTES in quotes, as \"64MiB\""),
        ("root = 5", "root: it must be DIR in quotes, as \"./server\""),
        ("writable = \"true\"", "writable: it must be true or false, without quotes"),
        ("log-level = \"loud\"", "log-level: \"loud\": give one of off, error, warn, info, debug, trace"),
        ("durability = \"ful\"", "durability: \"ful\": give one of full, none; did you mean full?"),
        ("durability = true", "durability: it must be one of \"full\", \"none\""),
        ("max-clients = -1", "max-clients: -1: give a whole number from 1 to 4294967295"),
        ("listen = 99999", "listen: 99999: give a port from 0 to 65535, or ADDRESS:PORT"),
        ("rate = 1\nrate = 2", "ferryd.toml:2: duplicate key"),
        ("rate = ", "ferryd.toml:1: "),
    ] {
        let problems = Sources::default().file(text).problems();
        assert!(problems.len() == 1 && problems[0].contains(told), "{text}: {problems:?}\n{told}");
        assert_eq!(problems[0].lines().count(), 1, "{problems:?}");
    }
    let all = Sources::default().file("a = 1\nroot = 1\nrate = \"x\"\n").variable("FERRYD_TLS", "yes");
    assert_eq!(all.problems().len(), 4, "all of them");
    let variable = Sources::default().variable("FERRYD_KEEP", "5m").problems();
    assert!(variable[0].starts_with("FERRYD_KEEP=5m: there is no unit 'm'"), "{variable:?}");
}

#[test]
fn options_stand_before_and_behind_a_command() {
    for words in [
        "check --max-kept 7 --tls 1",
        "--max-kept 7 --tls check 1",
        "--max-kept=7 check --tls 1",
        "--tls check 1 --max-kept 7",
    ] {
        let configuration = Sources::typed(words).read();
        assert!(matches!(configuration.arguments().command, Some(Command::Check(_))), "{words}");
        assert_eq!((configuration.arguments().max_kept, configuration.arguments().tls), (7, true), "{words}");
    }
    // The value of an option is no command, and an address is no option.
    assert!(Sources::typed("--root check 1").read().arguments().command.is_none());
    assert!(Sources::typed("--users u user list").read().arguments().command.is_some());
}

#[test]
fn variables_of_nobody_are_warned_of() {
    let sources = Sources::default().variable("FERRYD_KEPE", "1").variable("FERRYD_RATE", "1");
    let configuration = sources.read();
    assert_eq!(configuration.warnings(), ["variables that set nothing: FERRYD_KEPE; did you mean FERRYD_KEEP?"]);
    assert_eq!(Sources::default().variable("FERRY_SECRET", "1").read().warnings(), [""; 0]);
}

#[test]
fn paths_in_the_file_are_relative_to_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    let sources = Sources::default().file("root = \"data\"\nlog-file = \"/var/log/f\"\n").variable("FERRYD_STATE", "s");
    let configuration = sources.read_in(directory.path());
    let arguments = configuration.arguments();
    assert_eq!(arguments.root, directory.path().join("data"));
    assert_eq!(arguments.log_file.as_deref(), Some(Path::new("/var/log/f")));
    assert_eq!(arguments.state.as_deref(), Some(Path::new("s")));
}

#[test]
fn the_example_has_every_key_and_is_valid_when_uncommented() {
    let example = example();
    let uncommented = |mark: &str| {
        let key =
            |line: &str| line.strip_prefix(mark).is_some_and(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
        let lines = example.lines().map(|line| if key(line) { &line[mark.len()..] } else { line });
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    for key in Keys::new().all() {
        let is_there = |line: &str| line.trim_start_matches(['#', ' ']).starts_with(&format!("{} = ", key.name()));
        assert_eq!(example.lines().filter(|line| is_there(line)).count(), 1, "{}", key.name());
    }
    assert!(example.lines().all(|line| line.is_empty() || line.starts_with('#')));
    assert!(example.lines().all(|line| line.chars().count() <= 100));
    let configuration = Sources::default().file(&uncommented("#")).read();
    assert_eq!(configuration.problems(), []);
    let of_file = configuration.explained().filter(|(.., origin)| origin.to_string() != "default").count();
    assert!(of_file > 10, "{of_file}");
    Setup::resolve(configuration.arguments()).unwrap();
    // With the options that name files of the user's own, too.
    let whole: String = uncommented("#")
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(key) if key.split_once(" = ").is_some_and(|(name, _)| Keys::new().named(name).is_some()) => key,
            _ => line,
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let configuration = Sources::default().file(&whole).read();
    assert_eq!(configuration.problems(), []);
    assert!(configuration.explained().all(|(.., origin)| origin.to_string() != "default"), "{whole}");
}

#[test]
fn the_manual_pages_have_every_option() {
    let [server, file] = [ManualPage::Ferryd, ManualPage::Configuration].map(|page| {
        String::from_utf8(manual(page)).unwrap().replace("\\-", "-").replace("\\fB", "").replace("\\fR", "")
    });
    assert!(server.contains(".TH ferryd 8") && file.contains(".TH ferryd.toml 5"), "{server:.200}{file:.200}");
    for key in Keys::new().all() {
        assert!(server.contains(&key.typed()), "{}", key.typed());
        assert!(file.contains(&format!("{} = ", key.name())) && file.contains(&key.variable()), "{}", key.name());
    }
}

#[test]
fn a_reload_takes_what_may_change_and_says_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let sources = Sources::typed("--keep 1d").file("rate = 1000\nwritable = true\nidle-timeout = 9\n");
    let before = sources.read_in(directory.path());
    let again = |text: &str| {
        fs::write(directory.path().join("ferryd.toml"), text).unwrap();
        before.read_again()
    };
    let same = again("idle-timeout = 9\nrate = 1000\nwritable = true\nread-only = false\n").unwrap();
    assert_eq!((same.changed.len(), same.fixed.len()), (0, 0), "{same:?}");
    let other = again("rate = 2000\nkeep = \"9d\"\ndurability = \"none\"\n").unwrap();
    assert_eq!(other.changed, ["rate = 2000", "idle-timeout is not set any more"]);
    let fixed =
        ["writable is not set any more: that takes a new start", "durability = \"none\": that takes a new start"];
    assert_eq!(other.fixed, fixed);
    let [old, new] = [&before, &other.configuration].map(|read| Setup::resolve(read.arguments()).unwrap());
    let (old, new) = (old.server.live, new.server.live);
    assert_eq!((old.client_rate, new.client_rate), (Some(1000), Some(2000)));
    assert_eq!((new.limits.read_only, new.limits.volatile, new.store.keep), (false, false, old.store.keep));
    // A second reload goes on from the first.
    fs::write(directory.path().join("ferryd.toml"), "rate = 3000\nwritable = true\n").unwrap();
    assert_eq!(other.configuration.read_again().unwrap().changed, ["rate = 3000"]);
    let wrong = again("rate = 2000\nkep = 1\n").unwrap_err();
    assert!(wrong.to_string().ends_with("ferryd.toml:2: kep: there is no such key; did you mean keep?"), "{wrong}");
}

#[test]
fn what_a_reload_takes_are_options() {
    let keys = Keys::new();
    for id in super::reload::LIVE {
        assert!(keys.of_id(id).is_some(), "{id}");
    }
}

#[test]
fn an_inherited_socket_says_the_address() {
    let directory = tempfile::tempdir().unwrap();
    let configuration = Sources::typed("127.0.0.1:1").read_in(directory.path());
    let configuration = configuration.listening_on(Some("192.0.2.1:9".parse().unwrap()), None).unwrap();
    let setup = Setup::resolve(configuration.arguments()).unwrap();
    assert_eq!(setup.addresses, ["192.0.2.1:9".parse().unwrap()]);
    let (_, value, origin) = configuration.explained().next().unwrap();
    assert_eq!((value.as_deref(), origin.to_string().as_str()), (Ok("\"192.0.2.1:9\""), "inherited socket"));
    assert!(configuration.read_again().unwrap().fixed.is_empty());
}
