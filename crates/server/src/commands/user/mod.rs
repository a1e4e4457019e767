//! `ferryd user`: edits the users file.

mod arguments;
mod edit;
mod prompt;
mod replace;

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use ferry_wire::escaped;

use crate::access::{PasswordHash, RightsTable, Secret, TokenHash, UserName, Users, random_token};
pub use arguments::UserArguments;
use arguments::{Action, Grant};

/// As much of a token's hash as [`Action::List`] shows, `sha256:` included.
const SHOWN_HASH_BYTES: usize = 15;

/// Carries out a command on a users file: its path, and whether it was named.
///
/// # Errors
///
/// In words for the user; nothing was changed then, unless the words say so.
pub fn run(arguments: &UserArguments, file: Option<(PathBuf, bool)>) -> Result<(), String> {
    let file = file.map(|(path, is_named)| UsersPath { path, is_usual: !is_named });
    let file = file.ok_or("there is no home directory to look for the users file in: say --users FILE")?;
    match &arguments.action {
        Action::Add { name, rights, no_password } => add(&file, name, rights, *no_password)?,
        Action::Passwd { name } => passwd(&file, name)?,
        Action::Token { name, revoke: None } => make_token(&file, name)?,
        Action::Token { name, revoke: Some(start) } => revoke_token(&file, name, start)?,
        Action::Remove { name } => remove(&file, name)?,
        Action::List => return list(&file),
    }
    say("ferryd reads the file at its start, and again on SIGHUP");
    Ok(())
}

/// The file that is edited.
struct UsersPath {
    path: PathBuf,
    /// Whether it is at the usual place, so that its directory is ours to make.
    is_usual: bool,
}

impl UsersPath {
    /// Reads and parses the file; [`None`] where there is none.
    fn read(&self) -> Result<Option<Users>, String> {
        let Some(file) = replace::read(&self.path)? else { return Ok(None) };
        if let Some(warning) = file.warning(&self.path) {
            say(&warning);
        }
        self.parse(&file.text).map(Some)
    }

    fn parse(&self, text: &str) -> Result<Users, String> {
        Users::parse(text, &self.path).map_err(|error| error.to_string())
    }

    /// Returns whether `name` is among `users`, or else why nothing can be done.
    fn expect(&self, users: &Users, name: &UserName) -> Result<(), String> {
        if users.names().contains(&name) { Ok(()) } else { Err(format!("there is no user {name} in {}", self.shown())) }
    }

    /// Reads the file, in which `name` must be.
    fn read_with(&self, name: &UserName) -> Result<Users, String> {
        let users = self.read()?.ok_or_else(|| self.missing())?;
        self.expect(&users, name)?;
        Ok(users)
    }

    /// Changes the entry of `name`, who must be there still.
    fn change<E: ToString>(
        &self,
        name: &UserName,
        change: impl FnOnce(&str) -> Result<String, E>,
    ) -> Result<(), String> {
        replace::replace(&self.path, |text| {
            self.expect(&self.parse(text)?, name)?;
            change(text).map_err(|error| error.to_string())
        })
    }

    fn missing(&self) -> String {
        format!("there is no users file {}: 'ferryd user add NAME' makes it", self.shown())
    }

    fn shown(&self) -> String {
        self.path.display().to_string()
    }
}

fn add(file: &UsersPath, name: &UserName, grants: &[Grant], no_password: bool) -> Result<(), String> {
    let none_yet = |users: &Users| match users.names().contains(&name) {
        true => Err(format!("there is a user {name} in {} already", file.shown())),
        false => Ok(()),
    };
    let doubled = |at: usize| grants[..at].iter().any(|grant| grant.name == grants[at].name);
    if (0..grants.len()).any(doubled) {
        return Err("--rights names one place twice".into());
    }
    file.read()?.as_ref().map_or(Ok(()), none_yet)?;
    if file.is_usual {
        replace::make_directory(&file.path)?;
    }
    let password = if no_password { None } else { Some(hashed(&prompt::new_password(name.as_str())?)?) };
    replace::replace(&file.path, |text| {
        none_yet(&file.parse(text)?)?;
        edit::add(text, name, grants, password.as_deref()).map_err(|error| error.to_string())
    })?;
    say(&format!("{name} is in {} now", file.shown()));
    if grants.is_empty() {
        say(&format!("{name} has no rights yet: give some in the file, as rights = {{ \"\" = \"r\" }}"));
    }
    Ok(())
}

fn passwd(file: &UsersPath, name: &UserName) -> Result<(), String> {
    file.read_with(name)?;
    let hash = hashed(&prompt::new_password(name.as_str())?)?;
    file.change(name, |text| edit::set_password(text, name, &hash))?;
    say(&format!("{name} has another password now, in {}", file.shown()));
    Ok(())
}

fn hashed(password: &Secret) -> Result<String, String> {
    PasswordHash::make(password).map_err(|error| format!("{error}; nothing was changed"))
}

fn make_token(file: &UsersPath, name: &UserName) -> Result<(), String> {
    file.read_with(name)?;
    let token = random_token().map_err(|error| format!("{error}; nothing was changed"))?;
    let hash = TokenHash::of(&token);
    file.change(name, |text| edit::add_token(text, name, &hash))?;
    // It is shown here, and nowhere else.
    let shown = writeln!(io::stdout(), "{}", token.expose()).and_then(|()| io::stdout().flush());
    shown.map_err(|error| {
        let hash = short(&hash);
        format!("can't show the token: {error}; take it away again: ferryd user token {name} --revoke {hash}")
    })?;
    say(&format!(
        "this is a token of {name}, and is not shown again; its hash, {}..., is in {}",
        short(&hash),
        file.shown()
    ));
    Ok(())
}

fn revoke_token(file: &UsersPath, name: &UserName, start: &str) -> Result<(), String> {
    let hash = |users: &Users| {
        let (_, tokens) = users.secrets(name);
        let hashes = tokens.iter().map(TokenHash::to_string);
        let mut found: Vec<_> = hashes.filter(|hash| is_start(hash, start)).collect();
        found.dedup();
        match &*found {
            [] => Err(format!("no token of {name} has a hash that begins with {start}; see 'ferryd user list'")),
            [hash] => Ok(hash.clone()),
            _ => Err(format!("several tokens of {name} have hashes that begin with {start}; say more of it")),
        }
    };
    hash(&file.read_with(name)?)?;
    file.change(name, |text| {
        let hash = hash(&file.parse(text)?)?;
        edit::remove_tokens(text, name, |token| token.eq_ignore_ascii_case(&hash)).map_err(|error| error.to_string())
    })?;
    say(&format!("the token is taken from {name}, in {}", file.shown()));
    Ok(())
}

/// Returns whether `hash`, with `sha256:` or without, begins with `start`, which may end as a
/// shortened one does.
fn is_start(hash: &str, start: &str) -> bool {
    let start = start.trim_end_matches("...").to_ascii_lowercase();
    let digits = hash.trim_start_matches("sha256:");
    let start = start.strip_prefix("sha256:").unwrap_or(&start);
    !start.is_empty() && digits.starts_with(start)
}

fn remove(file: &UsersPath, name: &UserName) -> Result<(), String> {
    file.read_with(name)?;
    file.change(name, |text| edit::remove(text, name))?;
    say(&format!("{name} is not in {} any more", file.shown()));
    Ok(())
}

fn list(file: &UsersPath) -> Result<(), String> {
    let users = file.read()?.ok_or_else(|| file.missing())?;
    let mut text = format!("who has not logged in: {}\n", shown_rights(users.rights(None)));
    for name in users.names() {
        let (has_password, tokens) = users.secrets(name);
        let mut secrets: Vec<_> = tokens.iter().map(|hash| format!("token {}...", short(hash))).collect();
        if has_password {
            secrets.insert(0, "password".into());
        }
        let secrets = if secrets.is_empty() { "can't log in".into() } else { secrets.join(", ") };
        text.push_str(&format!("{name}: {secrets}; {}\n", shown_rights(users.rights(Some(name)))));
    }
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        // A reader that has read enough closes the pipe.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("can't show the users: {error}")),
        _ => Ok(()),
    }
}

fn shown_rights(table: &RightsTable) -> String {
    let entries = table.entries();
    if entries.is_empty() {
        return "no rights".into();
    }
    let shown = entries.iter().map(|(name, rights)| format!("\"{}\" = {rights}", escaped(name)));
    shown.collect::<Vec<_>>().join(", ")
}

fn short(hash: &TokenHash) -> String {
    hash.to_string().chars().take(SHOWN_HASH_BYTES).collect()
}

/// Tells the user of the command. It is no error where nobody reads it.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{}", escaped(line));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_named_by_the_start_of_its_hash() {
        let hash = "sha256:3f2a9c10";
        for start in ["3", "3f2a", "3F2A", "sha256:3f2a...", "SHA256:3f"] {
            assert!(is_start(hash, start), "{start}");
        }
        for start in ["", "sha256:", "...", "f2a", "sha256", "4"] {
            assert!(!is_start(hash, start), "{start}");
        }
    }
}
