//! The table of failure codes.

use std::fmt;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal,)+) => {
        /// Tells programs why a request failed. The message beside it is for people.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[doc = $doc])+ $variant,)+
            /// A code that this version does not know: plain failure. It is never sent.
            Unknown,
        }

        impl Code {
            /// Every code that version 1 defines, in the order of PROTOCOL.md.
            pub const ALL: &[Code] = &[$(Code::$variant),+];

            /// Returns the word on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Code::$variant => $text,)+
                    Code::Unknown => "unknown",
                }
            }

            /// Returns the code that `word` stands for, [`Code::Unknown`] where version 1 defines none.
            #[must_use]
            pub fn from_word(word: &[u8]) -> Code {
                $(if word == $text.as_bytes() { return Code::$variant; })+
                Code::Unknown
            }
        }
    };
}

codes! {
    /// Nothing has that name.
    NotFound = "not-found",
    /// Something has that name already.
    Exists = "exists",
    /// A file was needed, and it is a directory or neither.
    NotAFile = "not-a-file",
    /// A directory was needed, and it is none.
    NotADirectory = "not-a-directory",
    /// Only an empty directory can be deleted.
    NotEmpty = "not-empty",
    /// The name breaks a rule for names.
    BadName = "bad-name",
    /// The request or the stream is malformed.
    BadRequest = "bad-request",
    /// The offset lies beyond the end of the file.
    BadRange = "bad-range",
    /// No request has that verb.
    UnknownCommand = "unknown-command",
    /// The server does not know an option of WITH.
    Unsupported = "unsupported",
    /// The server may not, or will not, touch it.
    Denied = "denied",
    /// This server takes no changes.
    ReadOnly = "read-only",
    /// The upload is larger than the server takes.
    TooLarge = "too-large",
    /// The disk or a quota is full.
    NoSpace = "no-space",
    /// The bytes that arrived do not have the CRC that was sent with them.
    Checksum = "checksum",
    /// The body ended short of the announced size.
    Incomplete = "incomplete",
    /// The file is no longer the version that was asked for, or a newer connection took over.
    Changed = "changed",
    /// The sender gave up in the middle of its body.
    Stopped = "stopped",
    /// A limit of the server is reached; later it may work.
    Busy = "busy",
    /// The client was silent, or too slow, for too long.
    Timeout = "timeout",
    /// The server is ending.
    ShuttingDown = "shutting-down",
    /// The server's disk or system failed.
    Io = "io",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_its_own_word_and_comes_back() {
        for &code in Code::ALL {
            assert_eq!(Code::from_word(code.as_str().as_bytes()), code);
        }
        assert_eq!(Code::ALL.len(), 22);
    }

    #[test]
    fn a_word_of_another_version_is_plain_failure() {
        assert_eq!(Code::from_word(b"too-hot"), Code::Unknown);
        assert_eq!(Code::from_word(b"NOT-FOUND"), Code::Unknown);
    }
}
