//! Commands that `ferryd` carries out in place of serving: their words, `ferryd user`, and
//! `ferryd status` and `ferryd reload`.

pub mod ask;
pub mod user;

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::Shell;

/// A command that is carried out in place of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Edit the users file: who may log in, and with what
    User(user::UserArguments),
    /// Validate the configuration and all that a start needs, and show what holds and where it is from
    ///
    /// Takes the options of a start. Nothing is changed. Exit status: 0, or that with which a start
    /// would fail.
    Check(CheckArguments),
    /// Show how a running server is
    ///
    /// It is found by --control, or by its port.
    Status(ask::StatusArguments),
    /// Have a running server read its configuration, users, key and certificate again, as SIGHUP does
    ///
    /// Prints what has changed, and what takes a new start. Where anything is wrong, nothing
    /// changes; the problem is printed, and the exit status is not 0.
    Reload,
    /// Print a manual page, for 'man -l -'
    Man(ManArguments),
    /// Print completions of this program's words for a shell, as in: source <(ferryd completions bash)
    Completions(CompletionsArguments),
}

/// The arguments of `ferryd check`.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// Print a ferryd.toml with all keys and their defaults, each explained and commented out
    #[arg(long, exclusive = true)]
    pub example: bool,
}

/// The arguments of `ferryd man`.
#[derive(Debug, Args)]
pub struct ManArguments {
    /// The page
    #[arg(value_enum, default_value_t = ManualPage::Ferryd)]
    pub page: ManualPage,
}

/// The arguments of `ferryd completions`.
#[derive(Debug, Args)]
pub struct CompletionsArguments {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// A manual page.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ManualPage {
    /// The server, ferryd(8)
    Ferryd,
    /// Its configuration, ferryd.toml(5)
    #[value(name = "ferryd.toml")]
    Configuration,
}
