//! The options that hold and where each is from: SET, the command line, the configuration file.

use std::collections::BTreeMap;

use clap::{FromArgMatches as _, parser::ValueSource};
use ferry_wire::escaped_bytes;

use super::{
    args::Args,
    choices::{Call, Choices},
    config::{self, Config},
    options::CommonOptions,
};

/// The options, with what holds where nobody has said anything.
const DEFAULTS: [(&str, &str); 10] = [
    ("dir", "./client"),
    ("timeout", "30"),
    ("retry", "5"),
    ("retry_for", "5m for whole directories"),
    ("min_rate", "1024"),
    ("limit_rate", "none"),
    ("tree_memory", "512"),
    ("parallel", "auto"),
    ("keep_going", "for whole directories"),
    ("progress", "auto"),
];

/// Each of the two on a higher place stands above both on a lower one.
const TOGETHER: [&str; 2] = ["retry", "retry_for"];

/// The word for what holds without SET.
const DEFAULT: &str = "default";

/// Options that are asked for when a server is opened.
const AT_OPEN: [&str; 3] = ["timeout", "min_rate", "tree_memory"];

/// The options that were given. SET stands above the command line, that above the file.
#[derive(Debug)]
pub(crate) struct Given {
    line: CommonOptions,
    line_texts: BTreeMap<String, String>,
    call: Call,
    config: Config,
    set: BTreeMap<String, String>,
}

/// An option, as SET shows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) key: &'static str,
    /// As it was written.
    pub(crate) value: String,
    pub(crate) source: String,
}

impl Given {
    pub(crate) fn new(args: &Args, config: Config) -> Given {
        let (line, line_texts) = (args.options.clone(), args.texts.clone());
        Given { line, line_texts, call: Call::of(args), config, set: BTreeMap::new() }
    }

    /// Sets the option `key`, in any spelling of the configuration or the command line, and returns what holds then.
    ///
    /// # Errors
    ///
    /// A key that is not known, or a value that it can't have; nothing has changed then.
    pub(crate) fn set(&mut self, key: &str, value: &str) -> Result<Choices, String> {
        let key = known(key)?;
        if key == "dir" {
            return Err("LCD changes the local directory".to_owned());
        }
        let mut set = self.set.clone();
        match value {
            DEFAULT => set.remove(key),
            _ => set.insert(key.to_owned(), value.to_owned()),
        };
        let parser = CommonOptions::parser();
        let spelt = |(key, text): (&String, &String)| format!("--{}={text}", key.replace('_', "-"));
        let matches = parser.try_get_matches_from(set.iter().map(spelt));
        let mut line = self.line.clone();
        matches.and_then(|matches| line.update_from_arg_matches(&matches)).map_err(|error| config::reason(&error))?;
        self.set = set;
        Ok(Choices::merged(&line, self.call, self.config.clone()))
    }

    /// Returns the options, or the one of `key`.
    ///
    /// # Errors
    ///
    /// There is no such key.
    pub(crate) fn settings(&self, key: Option<&str>) -> Result<Vec<Setting>, String> {
        let key = key.map(known).transpose()?;
        let chosen = DEFAULTS.iter().filter(|(known, _)| key.is_none_or(|key| key == *known));
        Ok(chosen.map(|(key, usual)| self.setting(key, usual)).collect())
    }

    fn setting(&self, key: &'static str, usual: &str) -> Setting {
        let file = escaped_bytes(self.config.path.as_os_str().as_encoded_bytes()).to_string();
        let places =
            [(&self.set, "SET".to_owned()), (&self.line_texts, "command line".to_owned()), (&self.config.texts, file)];
        for (texts, source) in places {
            if let Some(value) = texts.get(key) {
                return Setting { key, value: value.clone(), source };
            }
            if TOGETHER.contains(&key) && TOGETHER.iter().any(|other| texts.contains_key(*other)) {
                // What the other one says is all that there is.
                return Setting { key, value: "0".to_owned(), source };
            }
        }
        Setting { key, value: usual.to_owned(), source: DEFAULT.to_owned() }
    }
}

/// Returns whether `setting` waits for the next OPEN.
pub(crate) fn is_for_later(setting: &Setting) -> bool {
    AT_OPEN.contains(&setting.key)
}

/// Returns the options of the command line as they were typed.
pub(crate) fn typed(matches: &clap::ArgMatches) -> BTreeMap<String, String> {
    let text = |(key, _): &(&str, &str)| {
        (matches.value_source(key) == Some(ValueSource::CommandLine)).then_some(())?;
        let text = matches.get_raw(key)?.next()?.to_string_lossy().into_owned();
        Some(((*key).to_owned(), text))
    };
    DEFAULTS.iter().filter_map(text).collect()
}

fn known(key: &str) -> Result<&'static str, String> {
    let meant = key.trim_start_matches("--").replace('-', "_").to_ascii_lowercase();
    let keys = || DEFAULTS.iter().map(|(key, _)| *key);
    let why = || format!("there is no such key; there are {}", keys().collect::<Vec<_>>().join(", "));
    keys().find(|key| *key == meant).ok_or_else(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn given(arguments: &[&str], file: &str) -> Given {
        let config = Config { path: "/c.toml".into(), ..config::parse(file).unwrap() };
        Given::new(&Args::of(arguments), config)
    }

    fn shown(given: &Given, key: &str) -> (String, String) {
        let setting = given.settings(Some(key)).unwrap().pop().unwrap();
        (setting.value, setting.source)
    }

    #[test]
    fn every_key_is_known_here() {
        let parser = CommonOptions::parser();
        let keys: Vec<&str> = parser.get_arguments().map(|option| option.get_id().as_str()).collect();
        assert_eq!(keys, DEFAULTS.map(|(key, _)| key));
        assert_eq!(given(&[], "").settings(None).unwrap().len(), keys.len());
    }

    #[test]
    fn what_is_set_stands_above_the_command_line_and_that_above_the_file() {
        let mut given = given(&["--timeout", "8", "--keep-going"], "timeout = 7\nparallel = 2\nretry_for = '1h'");
        let told = |value: &str, source: &str| (value.to_owned(), source.to_owned());
        assert_eq!(shown(&given, "timeout"), told("8", "command line"));
        assert_eq!(shown(&given, "keep-going"), told("true", "command line"));
        assert_eq!(shown(&given, "PARALLEL"), told("2", "/c.toml"));
        assert_eq!((shown(&given, "retry"), shown(&given, "retry_for")), (told("0", "/c.toml"), told("1h", "/c.toml")));
        assert_eq!(shown(&given, "min_rate"), told("1024", "default"));

        let choices = given.set("Timeout", "2.5").unwrap();
        assert_eq!((choices.timeout, choices.keep_going), (Duration::from_millis(2500), Some(true)));
        assert_eq!(shown(&given, "timeout"), told("2.5", "SET"));
        let choices = given.set("retry", "3").unwrap();
        assert_eq!((choices.settings.retries, choices.settings.retry_for.as_secs()), (3, 0));
        assert_eq!((shown(&given, "retry"), shown(&given, "retry_for")), (told("3", "SET"), told("0", "SET")));
        assert_eq!(given.set("timeout", "default").unwrap().timeout.as_secs(), 8);
        assert_eq!(shown(&given, "timeout"), told("8", "command line"));
    }

    #[test]
    fn what_is_wrong_changes_nothing() {
        let mut given = given(&[], "");
        given.set("retry", "3").unwrap();
        for (key, value, why) in [
            ("frob", "1", "there is no such key; there are dir, timeout, "),
            ("timeout", "0", "a number of seconds is needed"),
            ("timeout", "-1", "a number of seconds is needed"),
            ("retry", "x", "a number of tries is needed"),
            ("limit_rate", "0", ""),
            ("keep_going", "perhaps", "true or false is needed"),
            ("dir", "/tmp", "LCD changes"),
        ] {
            let said = given.set(key, value).unwrap_err();
            assert!(said.contains(why) && !said.contains('\n'), "{key} {value}: {said}");
        }
        assert_eq!(given.set("parallel", "2").unwrap().settings.retries, 3);
    }
}
