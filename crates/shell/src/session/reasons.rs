//! Why something failed, said once, and the way out.

use ferry_client::{Code, Error};
use ferry_wire::escaped;

use crate::{exit::Failed, words};

/// Returns the failure of `verb` with something of the server, whose whole name is `name` and which is shown as `shown`.
pub(super) fn failed(verb: &str, shown: &str, name: &str, error: &Error) -> Failed {
    Failed::new(verb, error).saying(format!("{verb} {shown}: {}", told(name, error))).about(name)
}

/// Returns why something of the server is not what it would have to be. The name stands before it already, and the server's
/// words would say it again.
fn told(name: &str, error: &Error) -> String {
    let Error::Server(failure) = error else { return error.to_string() };
    let known = match failure.code {
        Code::NotFound => "the server has no such file or directory",
        Code::NotAFile if is_directory(error) => "that is a directory",
        Code::NotAFile => "that is neither a file nor a directory",
        Code::NotADirectory => "that is no directory, nor in one",
        Code::NotEmpty => "the directory is not empty",
        Code::Exists => "the server has something of that name already",
        code => {
            let begin = format!("{}: ", escaped(name));
            let message = failure.message.strip_prefix(&begin).unwrap_or(&failure.message);
            return format!("the server says: {} ({code})", escaped(message));
        }
    };
    known.to_owned()
}

/// Returns whether a server refused something because it is a directory.
pub(super) fn is_directory(error: &Error) -> bool {
    matches!(error, Error::Server(failure) if failure.code == Code::NotAFile && failure.message.contains("is a directory"))
}

/// Returns what to say where nothing can be made beneath the directory above `shown`, for it does not exist.
pub(super) fn no_parent(shown: &str) -> Option<String> {
    let parent = parent(shown)?;
    Some(format!("the server has no directory {parent}; MKDIR -p {} makes it", words::quote(parent)))
}

/// Returns the directory that `shown` is to be in, where it is not the current one or the root.
pub(super) fn parent(shown: &str) -> Option<&str> {
    shown.rsplit_once('/').map(|(parent, _)| parent).filter(|parent| !parent.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ferry_client::Failure;

    #[test]
    fn a_name_is_said_once() {
        let said = |code, message: &'static str| {
            failed("GET", "b", "a/b", &Error::Server(Failure::new(code, message))).message
        };
        assert_eq!(said(Code::Denied, "a/b: not for you"), "GET b: the server says: not for you (denied)");
        assert_eq!(said(Code::Busy, "too many"), "GET b: the server says: too many (busy)");
        assert_eq!(said(Code::NotFound, "a/b: no"), "GET b: the server has no such file or directory");
        assert_eq!(said(Code::NotAFile, "a/b: is a directory, not a file"), "GET b: that is a directory");
        assert_eq!(said(Code::NotAFile, "a/b: is odd"), "GET b: that is neither a file nor a directory");
        assert_eq!(no_parent("x y/z").as_deref(), Some("the server has no directory x y; MKDIR -p 'x y' makes it"));
        assert_eq!((no_parent("z"), no_parent("/z")), (None, None));
    }
}
