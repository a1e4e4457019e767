//! The words of `ferryd user`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use ferry_wire::Name;

use crate::access::{Rights, UserName};

/// The arguments of `ferryd user`.
#[derive(Debug, Args)]
#[command(
    after_help = "The file is --users FILE, else the one that the configuration names (FERRYD_USERS, or users in \
                        ferryd.toml), else users.toml beside the configuration. Comments and order in it are kept, and it is \
                        replaced as a whole or not at all.\n\
                        A running ferryd that uses the file reads it again on SIGHUP; one that was started without it has to be started anew.\n\
                        A password is asked for twice on a terminal, without echo; elsewhere it is the only line of the \
                        standard input."
)]
pub struct UserArguments {
    /// The users file
    #[arg(long, value_name = "FILE", global = true)]
    pub(super) users: Option<PathBuf>,

    #[command(subcommand)]
    pub(super) action: Action,
}

impl UserArguments {
    /// Returns whether the file was named here.
    #[must_use]
    pub fn names_file(&self) -> bool {
        self.users.is_some()
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Add a user, and ask for a password
    Add {
        /// 1 to 64 of the characters 0-9 A-Z a-z . _ -
        #[arg(value_parser = user_name)]
        name: UserName,

        /// Rights of the user, everywhere or at NAME and beneath it; may be given several times
        ///
        /// RIGHTS is one or more of list, read, add (make what is not there) and change (replace,
        /// rename, delete) with '+' between them; or r (list+read), w (add+change), rw (all four), drop
        /// (add), none. The longest NAME that covers a file decides. Without this option the user may do
        /// nothing.
        #[arg(long, value_name = "[NAME=]RIGHTS", value_parser = Grant::parse)]
        rights: Vec<Grant>,

        /// Ask for no password: 'ferryd user token' then makes a secret to log in with
        #[arg(long)]
        no_password: bool,
    },
    /// Give a user another password
    Passwd {
        #[arg(value_parser = user_name)]
        name: UserName,
    },
    /// Make a token, a random secret for a program to log in with, and show it this once
    Token {
        #[arg(value_parser = user_name)]
        name: UserName,

        /// Take a token away instead: the one whose hash begins so, as 'ferryd user list' shows it
        #[arg(long, value_name = "HASH")]
        revoke: Option<String>,
    },
    /// Remove a user
    Remove {
        #[arg(value_parser = user_name)]
        name: UserName,
    },
    /// Show who may log in, with what, and what each may do
    List,
}

fn user_name(text: &str) -> Result<UserName, String> {
    UserName::new(text).map_err(|error| error.to_string())
}

/// Rights on a name; [`None`] for the root, and so for everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) name: Option<Name>,
    pub(super) rights: Rights,
}

impl Grant {
    /// Reads `RIGHTS` or `NAME=RIGHTS`. No right has a `=` in it, a name may.
    fn parse(text: &str) -> Result<Grant, String> {
        let (name, rights) = text.rsplit_once('=').unwrap_or(("", text));
        let name = match name {
            "" => None,
            name => Some(Name::new(name).map_err(|error| error.to_string())?),
        };
        Ok(Grant { name, rights: Rights::parse(rights).map_err(|error| error.to_string())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_given_everywhere_or_at_a_name() {
        let grant =
            |name: &str, rights: &str| Ok(Grant { name: Name::new(name).ok(), rights: Rights::parse(rights).unwrap() });
        assert_eq!(Grant::parse("rw"), grant("", "rw"));
        assert_eq!(Grant::parse("=r"), grant("", "r"));
        assert_eq!(Grant::parse("projects=list+add"), grant("projects", "list+add"));
        assert_eq!(Grant::parse("a=b/c d=none"), grant("a=b/c d", "none"));
        for (wrong, told) in
            [("", "'' is no right"), ("x", "'x' is no right"), ("a=", "'' is no right"), ("../a=r", "'..'")]
        {
            let error = Grant::parse(wrong).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
