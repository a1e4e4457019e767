//! The programs under test, built when needed.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use crate::secure;

/// The server's program, built once per process in the profile of the caller.
///
/// # Panics
///
/// Panics if it does not build.
#[must_use]
pub fn ferryd() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("ferry-server", "ferryd"))
}

/// The client's program, built once per process in the profile of the caller. Where the tests are run by TLS, it is a
/// script that speaks TLS to their servers.
///
/// # Panics
///
/// Panics if it does not build.
#[must_use]
pub fn ferry() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    let by_tls = || MADE.get_or_init(|| secure::client(plain_ferry()));
    if secure::is_asked_for() { by_tls() } else { plain_ferry() }
}

/// The client's program itself, for tests that say what it is to speak.
///
/// # Panics
///
/// Panics if it does not build.
#[must_use]
pub fn plain_ferry() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("ferry-shell", "ferry"))
}

/// The top of the repository.
///
/// # Panics
///
/// Panics if this package has moved elsewhere in it.
#[must_use]
pub fn workspace_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("crates/e2e lies two levels down")
}

/// Asks cargo, which knows about target directories and what is fresh, for the path.
fn build(package: &str, binary: &str) -> PathBuf {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(workspace_root());
    command.args(["build", "--quiet", "--message-format=json-render-diagnostics", "-p", package, "--bin", binary]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    forget_this_package(&mut command);
    let output = command.stderr(Stdio::inherit()).output().expect("cargo runs");
    assert!(output.status.success(), "{package} does not build");
    let messages = String::from_utf8(output.stdout).expect("cargo speaks UTF-8");
    let built = executable(&messages).unwrap_or_else(|| panic!("cargo names no executable for {binary}"));
    crate::eventually("the program is there", || settled(&built).ok())
}

/// Gives a program a second name, under which it is always there. Its own is taken away for a moment by every cargo that
/// has built it with other features, and a test that starts it then would fail.
fn settled(built: &Path) -> io::Result<PathBuf> {
    let directory = built.with_file_name("e2e");
    fs::create_dir_all(&directory)?;
    let own = directory.join(built.file_name().unwrap_or_default());
    let new = own.with_extension(std::process::id().to_string());
    fs::hard_link(built, &new)?;
    fs::rename(&new, &own)?;
    // Where both were the same file, nothing was renamed.
    let _ = fs::remove_file(&new);
    Ok(own)
}

/// Takes out of the environment what cargo told this process about its package. To a cargo that `command` runs it would
/// look like a change to build scripts that depend on it (ring's), and they would compile anew, for it and then for whoever
/// calls cargo next.
pub fn forget_this_package(command: &mut Command) {
    for (key, _) in env::vars_os() {
        let of_this_package =
            key.to_str().is_some_and(|key| key.starts_with("CARGO_PKG_") || key.starts_with("CARGO_MANIFEST_"));
        if of_this_package {
            command.env_remove(key);
        }
    }
}

/// The one `"executable":"..."` in cargo's messages: a JSON reader would be a dependency for a
/// single string.
fn executable(messages: &str) -> Option<PathBuf> {
    const KEY: &str = "\"executable\":\"";
    let start = messages.rfind(KEY)? + KEY.len();
    let mut path = String::new();
    let mut characters = messages[start..].chars();
    loop {
        match characters.next()? {
            '"' => return Some(path.into()),
            '\\' => path.push(characters.next()?),
            character => path.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_executable_is_found() {
        let messages = r#"{"executable":null}
{"target":{"name":"x"},"executable":"/a \"b\"\\c"}
{"reason":"build-finished"}"#;
        assert_eq!(executable(messages), Some(PathBuf::from(r#"/a "b"\c"#)));
        assert_eq!(executable(r#"{"executable":null}"#), None);
    }
}
