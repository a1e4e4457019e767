//! `ferryd.toml`: its place, and its settings.

use std::{
    env,
    ffi::OsString,
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use toml_edit::{Document, Item, Value as Toml};

use super::{
    error::{Obstacle, StartError},
    keys::{CONFIG, Key, Keys},
    setting::{Origin, Setting, Value},
};
use crate::files::{WholeFile, may_be_there};

/// The name of the file in its directory.
const FILE_NAME: &str = "ferryd.toml";

/// The largest file that is read: a larger one is no configuration.
const MAX_BYTES: u64 = 1 << 20;

/// The place of the file.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// An absolute path.
    pub(super) path: PathBuf,
    /// Whether it was named, so that it has to be there.
    pub(super) is_named: bool,
}

impl Place {
    /// Returns the place that was `named`, else the first usual one that has such a file, else the
    /// first of all. [`None`] where nothing says where any is.
    pub(super) fn find(named: Option<PathBuf>, variable: impl Fn(&str) -> Option<OsString>) -> Option<Place> {
        if let Some(path) = named {
            let path = std::path::absolute(&path).unwrap_or(path);
            return Some(Place { path, is_named: true });
        }
        let usual = usual(variable);
        let there = usual.iter().find(|path| may_be_there(path));
        there.or(usual.first()).map(|path| Place { path: path.clone(), is_named: false })
    }

    /// Reads the file, if there is one.
    pub(super) fn read(&self, keys: &Keys) -> Content {
        let (text, mode) = match read(&self.path) {
            Ok(read) => read,
            Err(_) if !self.is_named && !may_be_there(&self.path) => return Content::default(),
            Err(error) => {
                let problem = wrong(&format!("{}: can't read it: {error}", self.path.display()));
                return Content { problems: vec![problem], ..Content::default() };
            }
        };
        let (settings, problems) = parse(&text, &self.path, keys);
        let warning = (mode & 0o022 != 0)
            .then(|| format!("{}: others may write it (mode {mode:04o}): chmod go-w", self.path.display()));
        Content { settings, problems, warning }
    }
}

/// The content of the file.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// All settings that are right.
    pub(super) settings: Vec<Setting>,
    /// All problems.
    pub(super) problems: Vec<StartError>,
    /// A warning, where users other than its owner may write it.
    pub(super) warning: Option<String>,
}

/// Returns the paths at which the file usually is, nearest first.
fn usual(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    // A relative path would depend on the current directory, which may be somebody else's.
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    // systemd may name several, with colons between.
    let given = variable("CONFIGURATION_DIRECTORY").unwrap_or_default();
    let given: Vec<PathBuf> = env::split_paths(&given).filter(|path| path.is_absolute()).collect();
    if !given.is_empty() {
        return given.iter().map(|path| path.join(FILE_NAME)).collect();
    }
    let by_user = absolute("XDG_CONFIG_HOME").map(|path| path.join("ferryd"));
    let by_home = || absolute("HOME").map(|path| path.join(".config/ferryd"));
    by_user.or_else(by_home).map(|path| path.join(FILE_NAME)).into_iter().collect()
}

/// Returns the text of the file at `path`, and its permissions.
fn read(path: &Path) -> io::Result<(String, u32)> {
    let file = WholeFile::read(path, MAX_BYTES)?;
    let mode = file.status.mode() & 0o7777;
    Ok((file.into_text()?, mode))
}

fn wrong(problem: &str) -> StartError {
    StartError::new(Obstacle::Configuration, problem)
}

/// Reads the text of the file at `path`. Wrong values are returned as problems, and set nothing.
fn parse(text: &str, path: &Path, keys: &Keys) -> (Vec<Setting>, Vec<StartError>) {
    let (mut settings, mut problems) = (Vec::new(), Vec::new());
    let line_of = |at: usize| text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1;
    let shown: Arc<Path> = path.into();
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let (line, lines) = (line_of(error.span().map_or(0, |span| span.start)), error.message().lines());
            let problem = lines.collect::<Vec<_>>().join(", ");
            return (settings, vec![wrong(&format!("{}:{line}: {problem}", path.display()))]);
        }
    };
    for (name, item) in document.iter() {
        let span = document.key(name).and_then(toml_edit::Key::span).or_else(|| item.span());
        let line = line_of(span.map_or(0, |span| span.start));
        let value = keys.named(name).ok_or_else(|| unknown(name, item, keys)).and_then(|key| {
            Ok(Setting {
                id: key.id().into(),
                value: value_of(&key, item, path)?,
                origin: Origin::File(shown.clone(), line),
            })
        });
        match value {
            Ok(setting) => settings.push(setting),
            Err(problem) => problems.push(wrong(&format!("{}:{line}: {name}: {problem}", path.display()))),
        }
    }
    (settings, problems)
}

fn unknown(name: &str, item: &Item, keys: &Keys) -> String {
    if name == CONFIG {
        return "the file does not say where it is: give --config, or FERRYD_CONFIG".into();
    }
    let what = if item.is_table() { "there are no tables in this file" } else { "there is no such key" };
    let way_out = match keys.meant(name) {
        Some(name) => format!("did you mean {name}?"),
        None => "'ferryd check --example' shows all".into(),
    };
    format!("{what}; {way_out}")
}

/// Returns the value that stands there, as the command line would have it.
fn value_of(key: &Key<'_>, item: &Item, path: &Path) -> Result<Value, String> {
    let value = item.as_value().ok_or_else(|| wanted(key))?;
    if key.is_flag() {
        return value.as_bool().map(Value::Flag).ok_or_else(|| wanted(key));
    }
    let values: Vec<&Toml> = match value {
        Toml::Array(list) if key.is_list() => list.iter().collect(),
        value => vec![value],
    };
    let beside = |word: OsString| match path.parent() {
        Some(directory) if key.is_path() => directory.join(word).components().collect::<PathBuf>().into(),
        _ => word,
    };
    let words = values.into_iter().map(|value| {
        let word = OsString::from(word_of(key, value).ok_or_else(|| wanted(key))?);
        key.check(&word).map_err(|problem| format!("{}: {problem}", shown(value)))?;
        Ok(beside(word))
    });
    words.collect::<Result<_, String>>().map(Value::Words)
}

fn word_of(key: &Key<'_>, value: &Toml) -> Option<String> {
    match value {
        Toml::String(text) => Some(text.value().clone()),
        Toml::Integer(number) if !key.is_path() => Some(number.value().to_string()),
        // As it was written: a size of 1.5 is no size.
        Toml::Float(number) if !key.is_path() => Some(number.display_repr().into_owned()),
        _ => None,
    }
}

fn wanted(key: &Key<'_>) -> String {
    let (quoted, choices) = (|word: &str| format!("\"{word}\""), key.choices());
    match () {
        () if key.is_flag() => "it must be true or false, without quotes".into(),
        () if !choices.is_empty() => {
            format!("it must be one of {}", choices.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", "))
        }
        () => format!("it must be {} in quotes, as {}", key.placeholder(), quoted(&key.example())),
    }
}

fn shown(value: &Toml) -> String {
    value.to_string().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use super::*;

    #[test]
    fn the_file_is_where_somebody_says_or_in_the_first_usual_place_that_has_one() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
        for name in ["two", "x/ferryd", "home"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        fs::write(at("two/ferryd.toml"), "").unwrap();
        let find = |named: Option<&str>, variables: &[(&str, String)]| {
            let get = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
            Place::find(named.map(PathBuf::from), get).map(|place| place.path.to_str().unwrap().to_owned())
        };
        let [home, config] = [("HOME", at("home")), ("XDG_CONFIG_HOME", at("x"))];
        let given = |one: &str, two: &str| ("CONFIGURATION_DIRECTORY", format!("{}:{}", at(one), at(two)));
        assert_eq!(find(Some("/a/f.toml"), &[given("two", "one")]).as_deref(), Some("/a/f.toml"));
        assert_eq!(
            find(None, &[given("one", "two"), config.clone()]),
            Some(at("two/ferryd.toml")),
            "the second has one"
        );
        assert_eq!(find(None, &[given("one", "none")]), Some(at("one/ferryd.toml")), "none has, so the first");
        assert_eq!(find(None, &[config, home.clone()]), Some(at("x/ferryd/ferryd.toml")));
        let relative = ("XDG_CONFIG_HOME", "x".to_owned());
        assert_eq!(find(None, &[relative, home]), Some(at("home/.config/ferryd/ferryd.toml")));
        assert_eq!(find(None, &[]), None);
    }

    #[test]
    fn a_file_that_can_not_be_read_is_no_file_that_is_absent() {
        let directory = tempfile::tempdir().unwrap();
        let read = |name: &str, is_named| {
            let place = Place { path: directory.path().join(name), is_named };
            let content = place.read(&Keys::new());
            assert!(content.settings.is_empty());
            content.problems.iter().map(ToString::to_string).collect::<String>()
        };
        assert_eq!(read("none", false), "");
        assert!(read("none", true).ends_with("can't read it: No such file or directory (os error 2)"));
        // It may lead to a disk that is not mounted yet.
        symlink("none", directory.path().join("link")).unwrap();
        assert!(read("link", false).ends_with("can't read it: No such file or directory (os error 2)"));
        fs::create_dir(directory.path().join("d")).unwrap();
        assert!(read("d", false).ends_with("it is no regular file"));
        fs::write(directory.path().join("f"), b"\n\xff").unwrap();
        assert!(read("f", false).ends_with("line 2 is not UTF-8"));
        fs::File::create(directory.path().join("large")).unwrap().set_len(MAX_BYTES + 1).unwrap();
        assert!(read("large", false).contains("more than 1048576 bytes"));
    }

    #[test]
    fn a_file_that_others_may_write_is_warned_of() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place { path: directory.path().join("f"), is_named: true };
        fs::write(&place.path, "").unwrap();
        for (mode, told) in [(0o644, false), (0o600, false), (0o664, true), (0o602, true)] {
            fs::set_permissions(&place.path, fs::Permissions::from_mode(mode)).unwrap();
            let warning = place.read(&Keys::new()).warning;
            assert_eq!(warning.is_some(), told, "{mode:o}: {warning:?}");
        }
    }
}
