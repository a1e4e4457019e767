//! The arguments of SUM.

use clap::{Args, ValueHint};
use ferry_client::ChecksumForm;

use super::{
    going_on::KeepGoing,
    names::{Names, together},
    value::word,
};
use crate::words::Word;

/// The arguments of SUM.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct SumArgs {
    /// SHA-256, in the lines of sha256sum
    #[arg(short, long)]
    sha256: bool,
    /// SHA-256, in the lines of cksum -a sha256
    #[arg(short, long)]
    tag: bool,
    /// Whole directories, with everything in them
    #[arg(short, long)]
    pub(crate) recursive: bool,
    /// Check the files that the local file FILE names
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::AnyPath, value_parser = word, conflicts_with_all = ["names", "sha256", "tag", "recursive", "keep_going"])]
    pub(crate) check: Vec<Word>,
    /// With --check: local files, not the server's
    #[arg(short, long, requires = "check", conflicts_with = "names")]
    pub(crate) local: bool,
    #[command(flatten)]
    pub(crate) keep_going: KeepGoing,
    /// Names, or patterns with wildcards
    #[arg(id = "names", value_name = "NAME", value_hint = ValueHint::Other, required_unless_present = "check", value_parser = word)]
    words: Vec<Word>,
}

/// The form in which SUM tells sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// CRC, size and name.
    Crc,
    /// A line of a file of checksums.
    Sha256(ChecksumForm),
}

impl SumArgs {
    pub(crate) fn style(&self) -> Style {
        match (self.sha256, self.tag) {
            (_, true) => Style::Sha256(ChecksumForm::Tagged),
            (true, false) => Style::Sha256(ChecksumForm::Plain),
            (false, false) => Style::Crc,
        }
    }

    /// Returns the files that are meant; none where files of checksums name them.
    pub(crate) fn names(&self) -> Names {
        Names { words: self.words.clone() }
    }

    /// Returns several words as the one name that they may be meant as, where no quote says that they are several.
    pub(in crate::command) fn together(&self) -> Option<String> {
        together(self.words.iter())
    }
}
