//! The fate of the others after a failure.

use clap::Args;

/// Goes on after a failure. [`None`] where it was not said.
///
/// The whole program has the same option, for one-shot use and with a default in the configuration file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args)]
pub(crate) struct KeepGoing {
    /// Continue with the other files after a failure, as whole directories do; the exit status is that of the first
    #[arg(
        id = "keep_going",
        short,
        long = "keep-going",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true
    )]
    pub(crate) keep_going: Option<bool>,
}

/// The fate of the others after a failure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args)]
pub(crate) struct GoingOn {
    #[command(flatten)]
    pub(crate) keep_going: KeepGoing,
    /// Stop at the first failure, also in whole directories
    #[arg(long, conflicts_with = "keep_going")]
    pub(crate) fail_fast: bool,
}

impl GoingOn {
    /// Returns whether the others are gone on with, where that was said.
    pub(crate) fn asked(self) -> Option<bool> {
        if self.fail_fast { Some(false) } else { self.keep_going.keep_going }
    }
}
