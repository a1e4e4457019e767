//! The program's own files, in the XDG base directories.

use std::{
    env,
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

/// The history and the uploads are private: nobody else may read them.
const PRIVATE_DIRECTORY: u32 = 0o700;

/// The files, for the manual.
pub(crate) const DESCRIBED: [(&str, &str); 6] = [
    ("$XDG_CONFIG_HOME/ferry/config.toml", "The configuration (without the variable: ~/.config/ferry/config.toml)."),
    (
        "$XDG_CONFIG_HOME/ferry/known_servers",
        "The keys of servers that were trusted: 'host:port SHA256:...', a line each. Remove the line of a server that has a \
         new key.",
    ),
    ("$XDG_STATE_HOME/ferry/history", "What was typed (without the variable: ~/.local/state/ferry/history)."),
    ("$XDG_STATE_HOME/ferry/uploads", "The ids of uploads that were cut and can be resumed."),
    (
        "$XDG_CACHE_HOME/ferry/names",
        "Names of servers that Tab has completed in a shell of the system, for ten seconds (without the variable: ~/.cache).",
    ),
    (
        ".ferry-*.part, .ferry-*.mark",
        "Beside the file that a download is to become: what is there of it, and how far that is verified, so that it goes \
         on where it was cut. Files that end in .new were left by a program that was killed while it named them. They may be \
         deleted when no transfer is to go on; those that nobody comes back for are removed after a week.",
    ),
];

/// Returns `config.toml` in the configuration directory; [`None`] without a home.
pub(crate) fn config_file() -> Option<PathBuf> {
    Some(base("XDG_CONFIG_HOME", ".config")?.join("config.toml"))
}

/// Returns the file of the keys of servers that were trusted; [`None`] without a home.
pub(crate) fn known_servers() -> Option<PathBuf> {
    Some(base("XDG_CONFIG_HOME", ".config")?.join("known_servers"))
}

/// Returns the file of lines that were typed; [`None`] without a home.
pub(crate) fn history_file() -> Option<PathBuf> {
    Some(base("XDG_STATE_HOME", ".local/state")?.join("history"))
}

/// Returns the directory of ids of uploads that can be resumed; [`None`] without a home.
pub(crate) fn uploads() -> Option<PathBuf> {
    Some(base("XDG_STATE_HOME", ".local/state")?.join("uploads"))
}

/// Returns the file of names of servers that were completed; [`None`] without a home.
pub(crate) fn names() -> Option<PathBuf> {
    Some(base("XDG_CACHE_HOME", ".cache")?.join("names"))
}

/// Returns the home directory, where there is one.
pub(crate) fn home() -> Option<PathBuf> {
    absolute("HOME")
}

/// Makes a directory, with those above it, that is nobody else's.
pub(crate) fn make_private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(PRIVATE_DIRECTORY).create(path)
}

fn base(variable: &str, beneath_home: &str) -> Option<PathBuf> {
    let directory = absolute(variable).or_else(|| Some(home()?.join(beneath_home)))?;
    Some(directory.join("ferry"))
}

/// Returns a path from the environment. A relative one is ignored, as the standard of base directories demands.
fn absolute(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}
