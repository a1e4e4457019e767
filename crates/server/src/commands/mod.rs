//! Commands that `ferryd` carries out in place of serving: `ferryd user`.

pub mod user;

use clap::Subcommand;

/// A command that is carried out in place of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Edit the users file: who may log in, and with what
    User(user::UserArguments),
}

impl Command {
    /// Carries it out.
    ///
    /// # Errors
    ///
    /// In words for whoever typed it; nothing was changed then, unless the words say so.
    pub fn run(&self) -> Result<(), String> {
        match self {
            Command::User(arguments) => user::run(arguments),
        }
    }
}
