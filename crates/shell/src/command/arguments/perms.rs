//! The permissions of files and directories.

use clap::{Args, ValueEnum};
use ferry_client::Permissions;

/// The permissions that files and directories bring with them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args)]
pub(crate) struct Perms {
    /// Keep permissions: the owner's, or with --perms=all those of group and others as well; never set-user-ID
    #[arg(
        short = 'p',
        long,
        value_name = "WHOSE",
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "owner"
    )]
    perms: Option<Whose>,
}

/// Whose permissions are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Whose {
    /// Those of the owner
    Owner,
    /// Those of the owner, the group and all others
    All,
}

impl Perms {
    /// Returns those that are kept.
    pub(crate) fn permissions(self) -> Permissions {
        match self.perms {
            None => Permissions::Usual,
            Some(Whose::Owner) => Permissions::Owner,
            Some(Whose::All) => Permissions::All,
        }
    }
}
