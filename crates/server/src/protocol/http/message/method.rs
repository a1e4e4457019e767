//! Methods.

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Reads.
    Get,
    /// Reads the fields of the answer alone.
    Head,
    /// Replaces.
    Put,
    /// Deletes.
    Delete,
    /// Asks what can be done.
    Options,
    /// Makes a resumable upload.
    Post,
    /// Goes on with a resumable upload.
    Patch,
    /// Makes a directory (RFC 4918).
    Mkcol,
    /// Sends the request back, which this server does not.
    Trace,
    /// One that this server does not know.
    Other,
}

impl Method {
    /// Returns the method that `word` names; case matters.
    #[must_use]
    pub fn of(word: &str) -> Method {
        match word {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "PUT" => Method::Put,
            "DELETE" => Method::Delete,
            "OPTIONS" => Method::Options,
            "POST" => Method::Post,
            "PATCH" => Method::Patch,
            "MKCOL" => Method::Mkcol,
            "TRACE" => Method::Trace,
            _ => Method::Other,
        }
    }

    /// Returns whether it changes nothing.
    #[must_use]
    pub fn is_safe(self) -> bool {
        matches!(self, Method::Get | Method::Head | Method::Options | Method::Trace)
    }
}
