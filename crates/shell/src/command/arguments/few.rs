//! The arguments of commands that have one at most.

use clap::{Args, ValueHint};

use super::value::{number, text};

/// The arguments of CD and LCD.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Directory {
    /// Where to go
    #[arg(value_name = "DIR", value_hint = ValueHint::Other, value_parser = text, allow_hyphen_values = true)]
    pub(crate) directory: Option<String>,
}

/// The arguments of HISTORY.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct HistoryArgs {
    /// How many lines [default: all]
    #[arg(value_parser = number, allow_negative_numbers = true)]
    pub(crate) count: Option<usize>,
}

/// The arguments of SET.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct SetArgs {
    /// The option, as the configuration file has it [default: all of them]
    #[arg(value_parser = text, value_hint = ValueHint::Unknown)]
    pub(crate) key: Option<String>,
    /// Its new value; 'default' takes back what SET said before
    #[arg(value_parser = text, allow_hyphen_values = true)]
    pub(crate) value: Option<String>,
}

/// A command of the system's shell; [`None`] for a shell to type in.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct ShellLine {
    /// The command
    #[arg(value_hint = ValueHint::CommandString)]
    pub(crate) command: Option<String>,
}

/// The argument of FG.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct AnyJob {
    /// The number of the job [default: the last one]
    #[arg(value_name = "N", value_parser = number)]
    pub(crate) number: Option<usize>,
}

/// The argument of CANCEL.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct OneJob {
    /// The number of the job
    #[arg(value_name = "N", value_parser = number)]
    pub(crate) number: usize,
}

/// The arguments of HELP.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Topic {
    /// The command to explain
    #[arg(value_name = "COMMAND", value_hint = ValueHint::CommandName, value_parser = text)]
    pub(crate) topic: Option<String>,
}
