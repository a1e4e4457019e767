//! The configuration file: defaults for options, and bookmarks.

use std::{
    collections::BTreeMap,
    fmt::Display,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use ferry_client::Address;
use ferry_wire::escaped;
use serde::{Deserialize, Deserializer, de};

use super::{
    exit::{Exit, Failed, plain},
    paths,
    progress::Mode,
    values,
};

/// A file that is larger is another one.
const MAX_BYTES: u64 = 1 << 20;

/// A file to begin with: every key, with what holds without it.
pub(crate) const EXAMPLE: &str = "\
# Where GET saves and where PUT takes files from in the shell: from the root, or from ~.
# A subcommand (ferry get ...) uses the current directory, or --dir.
#dir = \"~/Downloads\"

# Give a server up that moves no byte for so many seconds.
#timeout = 30

# Open a lost connection again, so often in a row. Without the '#', or with --retry, a
# subcommand (ferry get ...) tries its first connection again as well.
#retry = 5

# The same for so long (90s, 5m, 1h, 2d). Without either it is 5m for whole directories
# (GET -r, PUT -r, SYNC).
#retry_for = \"1h\"

# Give a server up that moves fewer bytes than this in a minute; 0 for no such limit.
#min_rate = 1024

# Memory in MiB that the names of one whole directory may take, about 500 bytes each.
#tree_memory = 512

# Connections that share one large download.
#parallel = 1

# Show transfers: auto (bars on a terminal), never, lines (one each 10 s), lines=SECONDS.
#progress = \"auto\"

# Go on with the other files where one fails.
#keep_going = false

# Names for addresses: OPEN home, ferry get home notes.txt
#[bookmarks]
#home = \"nas.example:12000\"
#test = \"12000\"
";

/// What the file says; what it does not say is [`None`].
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    #[serde(default, deserialize_with = "directory")]
    pub(crate) dir: Option<PathBuf>,
    #[serde(default, deserialize_with = "timeout")]
    pub(crate) timeout: Option<Duration>,
    #[serde(default, deserialize_with = "retry")]
    pub(crate) retry: Option<u32>,
    #[serde(default, deserialize_with = "span")]
    pub(crate) retry_for: Option<Duration>,
    #[serde(default, deserialize_with = "min_rate")]
    pub(crate) min_rate: Option<u64>,
    #[serde(default, deserialize_with = "tree_memory")]
    pub(crate) tree_memory: Option<usize>,
    #[serde(default, deserialize_with = "parallel")]
    pub(crate) parallel: Option<usize>,
    #[serde(default, deserialize_with = "parsed")]
    pub(crate) progress: Option<Mode>,
    pub(crate) keep_going: Option<bool>,
    #[serde(default, deserialize_with = "bookmarks")]
    pub(crate) bookmarks: BTreeMap<String, Address>,
}

/// Where the file is that is `given` or the usual one, and one to begin with.
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
    parse(&text).map_err(|fault| Failed::usage(format!("{}:{fault}", shown(&path))))
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it has more than {MAX_BYTES} bytes")));
    }
    Ok(text)
}

/// Understands the text of a file. What is wrong is told as `LINE: KEY: WHY`.
fn parse(text: &str) -> Result<Config, String> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        let line = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
        let why = error.message().lines().collect::<Vec<_>>().join(", ");
        let why = why.replace("expected f64", "expected a number").replace("expected i64", "expected a whole number");
        let key = text.lines().nth(line).and_then(|line| line.split_once('=')).map(|(key, _)| key.trim());
        match key {
            // An unknown key is named by the message already.
            Some(key) if !key.is_empty() && !why.contains(&format!("`{key}`")) => {
                format!("{}: {}: {}", line + 1, escaped(key), escaped(&why))
            }
            _ => format!("{}: {}", line + 1, escaped(&why)),
        }
    })
}

fn shown(path: &Path) -> String {
    escaped(&path.to_string_lossy()).to_string()
}

fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(from: D) -> Result<Option<T>, D::Error> {
    String::deserialize(from)?.parse().map(Some).map_err(de::Error::custom)
}

fn timeout<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    values::timeout(f64::deserialize(from)?).map(Some).map_err(de::Error::custom)
}

fn retry<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    values::retry(i64::deserialize(from)?).map(Some).map_err(de::Error::custom)
}

fn span<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    values::span(&String::deserialize(from)?).map(Some).map_err(de::Error::custom)
}

fn min_rate<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    values::min_rate(i64::deserialize(from)?).map(Some).map_err(de::Error::custom)
}

fn tree_memory<'de, D: Deserializer<'de>>(from: D) -> Result<Option<usize>, D::Error> {
    values::tree_memory(i64::deserialize(from)?).map(Some).map_err(de::Error::custom)
}

fn parallel<'de, D: Deserializer<'de>>(from: D) -> Result<Option<usize>, D::Error> {
    values::parallel(i64::deserialize(from)?).map(Some).map_err(de::Error::custom)
}

/// The file is read from anywhere: a path must not depend on where that is.
fn directory<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    let text = String::deserialize(from)?;
    let path = match text.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            let home = paths::home().ok_or_else(|| de::Error::custom("there is no home directory for ~"))?;
            home.join(rest.trim_start_matches('/'))
        }
        _ => PathBuf::from(&text),
    };
    if !path.is_absolute() {
        return Err(de::Error::custom("the path must begin at the root, or with ~/"));
    }
    Ok(Some(path))
}

/// What a bookmark stands for: a value of its own, so that a wrong one is told with its line.
struct BookmarkAddress(Address);

impl<'de> Deserialize<'de> for BookmarkAddress {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<BookmarkAddress, D::Error> {
        String::deserialize(from)?.parse().map(BookmarkAddress).map_err(de::Error::custom)
    }
}

fn bookmarks<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Address>, D::Error> {
    let places = BTreeMap::<String, BookmarkAddress>::deserialize(from)?;
    let bookmark = |(name, BookmarkAddress(address)): (String, BookmarkAddress)| {
        if !is_bookmark_name(&name) {
            return Err(de::Error::custom(format!(
                "'{name}' is no name for a bookmark: letters, digits, '.', '_' and '-', not digits alone"
            )));
        }
        Ok((name, address))
    };
    places.into_iter().map(bookmark).collect()
}

/// Whether a bookmark can be told from an address.
fn is_bookmark_name(name: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
    name.chars().all(plain) && name.chars().any(|c| !c.is_ascii_digit()) && !name.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_are_read() {
        let text = "dir = \"/srv/files\"\ntimeout = 2.5\nretry = 0\nparallel = 4\nprogress = \"lines=60\"\n\
                    keep_going = true\n[bookmarks]\nhome = \"nas.example:12000\"\n\"my.test\" = \"12000\"\n";
        let config = parse(text).unwrap();
        assert_eq!(config.dir.as_deref(), Some(Path::new("/srv/files")));
        assert_eq!(config.timeout, Some(Duration::from_millis(2500)));
        assert_eq!((config.retry, config.parallel), (Some(0), Some(4)));
        assert_eq!(config.progress, Some(Mode::Lines(Duration::from_secs(60))));
        assert_eq!(config.keep_going, Some(true));
        assert_eq!(config.bookmarks["home"], Address::new("nas.example", 12000));
        assert_eq!(config.bookmarks["my.test"], Address::new("127.0.0.1", 12000));
        assert_eq!(parse("timeout = 30").unwrap().timeout, Some(Duration::from_secs(30)));
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
        assert_eq!((config.retry, config.parallel, config.bookmarks.len()), (Some(5), Some(1), 2));
    }

    #[test]
    fn what_is_wrong_is_told_with_line_and_key() {
        for (text, told) in [
            ("frob = 1", "1: unknown field `frob`, expected one of `dir`"),
            ("retry = 1\n\ntimeout = \"x\"", "3: timeout: invalid type: string \"x\", expected a number"),
            ("timeout = 0", "1: timeout: a number of seconds is needed"),
            ("timeout = nan", "1: timeout: a number of seconds"),
            ("retry = -1", "1: retry: a number of tries"),
            ("retry = 1.5", "1: retry: invalid type"),
            ("retry = 99999999999999999999", "1: retry: "),
            ("parallel = 0", "1: parallel: a number of connections"),
            ("progress = \"bar\"", "1: progress: one of auto, never"),
            ("keep_going = 1", "1: keep_going: invalid type"),
            ("dir = \"files\"", "1: dir: the path must begin at the root"),
            ("\n[bookmarks]\nhome = \"word\"", "3: home: 'word' is neither a port nor host:port"),
            ("[bookmarks]\n12000 = \"1\"", "'12000' is no name for a bookmark"),
            ("[bookmarks]\n\"\" = \"1\"", "'' is no name for a bookmark"),
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
