//! The configuration file: defaults for options, and bookmarks.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    ops::Range,
    path::{Path, PathBuf},
};

use clap::FromArgMatches as _;
use ferry_client::{Fingerprint, UserName};
use ferry_wire::escaped;
use toml::de::{DeTable, DeValue};

use super::{
    command::Aliases,
    exit::{Exit, Failed, plain},
    options::CommonOptions,
    paths,
    trust::Server,
};

/// A file that is larger is another one.
const MAX_BYTES: u64 = 1 << 20;

/// A file to begin with: every key, with what holds without it.
pub(crate) const EXAMPLE: &str = "\
# Where GET saves and where PUT takes files from in the shell: from the root, or from ~.
# A subcommand (ferry get ...) uses the current directory, or --dir.
#dir = \"~/Downloads\"

# Abort after so many seconds without progress.
#timeout = 30

# Reconnect up to so many times in a row. If set, a subcommand (ferry get ...) also waits for
# a server that is not there.
#retry = 5

# Reconnect for so long (90s, 5m, 1h, 2d). With neither set, 5m for GET -r, PUT -r and SYNC.
#retry_for = \"1h\"

# Abort below so many bytes a minute; 0 for no limit.
#min_rate = 1024

# Move at most so many bytes a second (500, 64K, 1.5M) each way, over all connections together.
#limit_rate = \"1M\"

# Memory in MiB for the names of one whole directory, about 500 bytes each.
#tree_memory = 512

# Move files over so many connections, or as many as help on a long line.
#parallel = \"auto\"

# Show progress: auto (bars on a terminal), never, lines (one each 10 s), lines=SECONDS.
#progress = \"auto\"

# Continue with the other files after a failure, or not. With it not set, whole directories do.
#keep_going = true

# Names for addresses: OPEN home, ferry get home notes.txt
#[bookmarks]
#home = \"nas.example:12000\"
#test = \"12000\"
# With the one key that the server may have, as its first line names it:
#work = { address = \"example.org:12000\", fingerprint = \"SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\" }
# With the user to log in as, and a command that prints the secret in its first line:
#mine = { address = \"example.org:12000\", user = \"alice\", secret_command = \"pass show ferry\" }

# Words for commands of the shell: UP photos is SYNC -u --exclude '*.tmp' photos. They hide no command, and
# stand for no other alias.
#[aliases]
#up = \"SYNC -u --exclude '*.tmp'\"
";

/// The content of the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Config {
    pub(crate) options: CommonOptions,
    pub(crate) bookmarks: BTreeMap<String, Server>,
    pub(crate) aliases: Aliases,
    /// The options as they are written there, by their keys.
    pub(crate) texts: BTreeMap<String, String>,
    /// The file.
    pub(crate) path: PathBuf,
}

/// Returns where the file is that is `given` or the usual one, and one to begin with.
pub(crate) fn described(given: Option<&Path>) -> Vec<u8> {
    let place = match given.map(Path::to_owned).or_else(paths::config_file) {
        Some(path) if path.exists() => format!("# The configuration is {}.", shown(&path)),
        Some(path) => format!("# The configuration would be {}, which is not there.", shown(&path)),
        None => "# Without a home directory there is no configuration but that of --config.".to_owned(),
    };
    format!("{place}\n# What could be in it, with what holds without it:\n\n{EXAMPLE}").into_bytes()
}

/// Reads the file at `given`, which must be there, or the usual one, which need not.
pub(crate) fn load(given: Option<&Path>) -> Result<Config, Failed> {
    let Some(path) = given.map(Path::to_owned).or_else(paths::config_file) else { return Ok(Config::default()) };
    let text = match read(&path) {
        Ok(text) => text,
        Err(error) if given.is_none() && error.kind() == io::ErrorKind::NotFound => return Ok(Config::default()),
        Err(error) => {
            let message = format!("cannot read the configuration {}: {}", shown(&path), plain(&error));
            return Err(Failed::of(Exit::Local, message).about(path.to_string_lossy()));
        }
    };
    let parsed = parse(&text).map_err(|why| Failed::usage(format!("{}:{why}", shown(&path))));
    parsed.map(|config| Config { path, ..config })
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it has more than {MAX_BYTES} bytes")));
    }
    Ok(text)
}

/// Parses the text of a file. Errors are told as `LINE: KEY: WHY`.
pub(crate) fn parse(text: &str) -> Result<Config, String> {
    let table =
        DeTable::parse(text).map_err(|error| complaint(text, error.span().unwrap_or_default(), "", error.message()))?;
    let options = CommonOptions::parser();
    let mut texts = BTreeMap::new();
    let (mut arguments, mut bookmarks, mut aliases) = (Vec::new(), BTreeMap::new(), Aliases::default());
    for (key, value) in table.get_ref() {
        let wrong = |why: &str| complaint(text, key.span(), key.get_ref(), why);
        match (&**key.get_ref(), value.get_ref()) {
            ("bookmarks", DeValue::Table(table)) => {
                for (name, value) in table {
                    let why = |why: String| complaint(text, name.span(), name.get_ref(), &why);
                    bookmarks
                        .insert(name.get_ref().to_string(), bookmark(name.get_ref(), value.get_ref()).map_err(why)?);
                }
            }
            ("aliases", DeValue::Table(table)) => {
                for (name, value) in table {
                    let why = |why: String| complaint(text, name.span(), name.get_ref(), &why);
                    let stands_for = value.get_ref().as_str().ok_or_else(|| why("a text is needed".to_owned()))?;
                    aliases.add(name.get_ref(), stands_for).map_err(why)?;
                }
            }
            ("bookmarks" | "aliases", _) => return Err(wrong(&format!("a table is needed: [{}]", key.get_ref()))),
            (name, value) => {
                let argument = argument(&options, name, value).map_err(|why| wrong(&why))?;
                let parsed = options.clone().try_get_matches_from([&argument]);
                parsed.map_err(|error| wrong(&reason(&error)))?;
                let (_, written) = argument.split_once('=').unwrap_or_default();
                texts.insert(name.to_owned(), written.to_owned());
                arguments.push(argument);
            }
        }
    }
    let matches = options.try_get_matches_from(arguments);
    let options = matches.and_then(|matches| CommonOptions::from_arg_matches(&matches));
    Ok(Config { options: options.map_err(|error| reason(&error))?, bookmarks, aliases, texts, path: PathBuf::new() })
}

/// Says why the key at `span` of `text` is wrong.
fn complaint(text: &str, span: Range<usize>, key: &str, why: &str) -> String {
    let before = &text.as_bytes()[..span.start.min(text.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let key = if key.is_empty() { String::new() } else { format!("{}: ", escaped(key)) };
    format!("{line}: {key}{}", escaped(&why.lines().collect::<Vec<_>>().join(", ")))
}

/// Returns a key and its value as an option of the command line.
fn argument(options: &clap::Command, key: &str, value: &DeValue<'_>) -> Result<String, String> {
    let known = options.get_arguments().map(|option| option.get_id().as_str());
    let Some(option) = options.get_arguments().find(|option| option.get_id() == key) else {
        return Err(format!(
            "there is no such key; there are {}, bookmarks and aliases",
            known.collect::<Vec<_>>().join(", ")
        ));
    };
    let text = match value {
        DeValue::String(text) if key == "dir" => directory(text)?.to_string_lossy().into_owned(),
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(holds) => holds.to_string(),
        _ => return Err("a text, a number, true or false is needed".to_owned()),
    };
    Ok(format!("--{}={text}", option.get_long().unwrap_or(key)))
}

/// Returns why the parser of the command line refuses a value.
pub(crate) fn reason(error: &clap::Error) -> String {
    std::error::Error::source(error).map_or_else(|| "true or false is needed".to_owned(), ToString::to_string)
}

/// Returns the directory that `text` names. The file is read from anywhere: a path must not depend on where that is.
fn directory(text: &str) -> Result<PathBuf, String> {
    let path = match text.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            let home = paths::home().ok_or_else(|| "there is no home directory for ~".to_owned())?;
            home.join(rest.trim_start_matches('/'))
        }
        _ => PathBuf::from(text),
    };
    if path.is_absolute() { Ok(path) } else { Err("the path must begin at the root, or with ~/".to_owned()) }
}

fn bookmark(name: &str, value: &DeValue<'_>) -> Result<Server, String> {
    if !is_bookmark_name(name) {
        return Err("this is no name for a bookmark: letters, digits, '.', '_' and '-', not digits alone".to_owned());
    }
    let needed = || {
        "a text is needed: a port or host:port, or { address = \"...\" } with fingerprint, user or secret_command beside it".to_owned()
    };
    let DeValue::Table(table) = value else { return server(value.as_str().ok_or_else(needed)?) };
    const KEYS: [&str; 4] = ["address", "fingerprint", "user", "secret_command"];
    if let Some(other) = table.keys().find(|key| !KEYS.contains(&&**key.get_ref())) {
        return Err(format!("{} is none of {}", other.get_ref(), KEYS.join(", ")));
    }
    let text = |key: &str| table.get(key).map(|value| value.get_ref().as_str().ok_or_else(needed)).transpose();
    let fingerprint = text("fingerprint")?.map(str::parse::<Fingerprint>).transpose();
    let fingerprint = fingerprint.map_err(|error| error.to_string())?;
    let user = text("user")?.map(UserName::new).transpose().map_err(|error| error.to_string())?;
    let secret_command = text("secret_command")?.map(str::to_owned);
    if user.is_none() && secret_command.is_some() {
        return Err("secret_command needs a user beside it".to_owned());
    }
    Ok(Server { fingerprint, user, secret_command, ..server(text("address")?.ok_or_else(needed)?)? })
}

fn server(address: &str) -> Result<Server, String> {
    address.parse().map(Server::at).map_err(|error: ferry_client::AddressError| error.to_string())
}

fn shown(path: &Path) -> String {
    escaped(&path.to_string_lossy()).to_string()
}

/// Returns whether a bookmark can be told from an address.
fn is_bookmark_name(name: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
    name.chars().all(plain) && name.chars().any(|c| !c.is_ascii_digit()) && !name.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Mode;
    use ferry_client::{Address, Parallel};
    use std::time::Duration;

    #[test]
    fn all_keys_are_read() {
        let text = "dir = \"/srv/files\"\ntimeout = 2.5\nretry = 0\nparallel = 4\nprogress = \"lines=60\"\n\
                    keep_going = true\n[bookmarks]\nhome = \"nas.example:12000\"\n\"my.test\" = \"12000\"\n";
        let config = parse(text).unwrap();
        assert_eq!(config.options.dir.as_deref(), Some(Path::new("/srv/files")));
        assert_eq!(config.options.timeout, Some(Duration::from_millis(2500)));
        assert_eq!((config.options.retry, config.options.parallel), (Some(0), Some(Parallel::Fixed(4))));
        assert_eq!(config.options.progress, Some(Mode::Lines(Duration::from_secs(60))));
        assert_eq!(config.options.keep_going.keep_going, Some(true));
        assert_eq!(config.bookmarks["home"], Server::at(Address::new("nas.example", 12000)));
        assert_eq!(config.bookmarks["my.test"], Server::at(Address::new("127.0.0.1", 12000)));
        assert_eq!(parse("timeout = 30").unwrap().options.timeout, Some(Duration::from_secs(30)));
    }

    #[test]
    fn the_example_holds_with_and_without_its_marks() {
        assert_eq!(parse(EXAMPLE).unwrap(), Config::default());
        let unmarked: String = EXAMPLE
            .lines()
            .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
            .flat_map(|line| [line, "\n"])
            .collect();
        let config = parse(&unmarked.replace('~', "")).unwrap();
        assert_eq!(
            (config.options.retry, config.options.parallel, config.bookmarks.len()),
            (Some(5), Some(Parallel::Auto), 4)
        );
        assert_eq!(config.aliases.meaning("UP"), Some("SYNC -u --exclude '*.tmp'"));
        let mine = &config.bookmarks["mine"];
        assert_eq!(
            (mine.user.as_ref().map(UserName::as_str), mine.secret_command.as_deref()),
            (Some("alice"), Some("pass show ferry"))
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_line_and_key() {
        for (text, told) in [
            ("frob = 1", "1: frob: there is no such key; there are dir, timeout, retry, "),
            ("retry = 1\n\ntimeout = \"x\"", "3: timeout: a number of seconds is needed"),
            ("timeout = 0", "1: timeout: a number of seconds is needed"),
            ("timeout = nan", "1: timeout: a number of seconds"),
            ("retry = -1", "1: retry: a number of tries"),
            ("retry = 1.5", "1: retry: a number of tries"),
            ("retry = 99999999999999999999", "1: retry: "),
            ("parallel = 0", "1: parallel: a number of connections"),
            ("progress = \"bar\"", "1: progress: one of auto, never"),
            ("keep_going = 1", "1: keep_going: true or false is needed"),
            ("parallel = [1]", "1: parallel: a text, a number"),
            ("dir = \"files\"", "1: dir: the path must begin at the root"),
            ("\n[bookmarks]\nhome = \"word\"", "3: home: 'word' is neither a port nor host:port"),
            ("[bookmarks]\na = { address = '1', secret_command = 'x' }", "2: a: secret_command needs a user"),
            ("[bookmarks]\na = { address = '1', user = 'a b' }", "2: a: the name of a user is"),
            ("[bookmarks]\na = { address = '1', password = 'x' }", "2: a: password is none of address, "),
            ("[bookmarks]\n12000 = \"1\"", "2: 12000: this is no name for a bookmark"),
            ("[bookmarks]\n\"\" = \"1\"", "2: this is no name for a bookmark"),
            ("aliases = 1", "1: aliases: a table is needed: [aliases]"),
            ("[aliases]\nup = 'SYNC -u'\nget = 'PUT'", "3: get: this is a command of ferry already"),
            ("[aliases]\nup = 'FROB'", "2: up: unknown command 'FROB'"),
            ("[aliases]\nup = 1", "2: up: a text is needed"),
            ("retry = 1\nretry = 2", "2: "),
            ("retry", "1: "),
            ("\u{1b}[2J = 1", "1: "),
            ("a = \"\u{9b}", "1: "),
        ] {
            let fault = parse(text).unwrap_err();
            assert!(fault.contains(told), "{text:?}: {fault}");
            assert!(!fault.contains(char::is_control), "{text:?}: {fault:?}");
        }
    }
}
