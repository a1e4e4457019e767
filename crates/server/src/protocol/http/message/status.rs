//! Status codes, and refusals.

use std::{borrow::Cow, fmt};

/// A status code of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StatusCode(u16);

/// Declares the codes that this server answers with, and their phrases.
macro_rules! codes {
    ($($name:ident = $code:literal $phrase:literal,)*) => {
        impl StatusCode {
            $(#[doc = $phrase] pub const $name: StatusCode = StatusCode($code);)*

            /// Returns the phrase that stands behind the code, for people.
            #[must_use]
            pub fn phrase(self) -> &'static str {
                match self.0 {
                    $($code => $phrase,)*
                    _ => "",
                }
            }
        }
    };
}

codes! {
    CONTINUE = 100 "Continue",
    OK = 200 "OK",
    CREATED = 201 "Created",
    NO_CONTENT = 204 "No Content",
    PARTIAL_CONTENT = 206 "Partial Content",
    MOVED_PERMANENTLY = 301 "Moved Permanently",
    SEE_OTHER = 303 "See Other",
    NOT_MODIFIED = 304 "Not Modified",
    PERMANENT_REDIRECT = 308 "Permanent Redirect",
    BAD_REQUEST = 400 "Bad Request",
    UNAUTHORIZED = 401 "Unauthorized",
    FORBIDDEN = 403 "Forbidden",
    NOT_FOUND = 404 "Not Found",
    METHOD_NOT_ALLOWED = 405 "Method Not Allowed",
    NOT_ACCEPTABLE = 406 "Not Acceptable",
    REQUEST_TIMEOUT = 408 "Request Timeout",
    CONFLICT = 409 "Conflict",
    GONE = 410 "Gone",
    LENGTH_REQUIRED = 411 "Length Required",
    PRECONDITION_FAILED = 412 "Precondition Failed",
    CONTENT_TOO_LARGE = 413 "Content Too Large",
    URI_TOO_LONG = 414 "URI Too Long",
    UNSUPPORTED_MEDIA_TYPE = 415 "Unsupported Media Type",
    RANGE_NOT_SATISFIABLE = 416 "Range Not Satisfiable",
    EXPECTATION_FAILED = 417 "Expectation Failed",
    UNPROCESSABLE_CONTENT = 422 "Unprocessable Content",
    LOCKED = 423 "Locked",
    TOO_MANY_REQUESTS = 429 "Too Many Requests",
    FIELDS_TOO_LARGE = 431 "Request Header Fields Too Large",
    CHECKSUM_MISMATCH = 460 "Checksum Mismatch",
    INTERNAL_SERVER_ERROR = 500 "Internal Server Error",
    NOT_IMPLEMENTED = 501 "Not Implemented",
    SERVICE_UNAVAILABLE = 503 "Service Unavailable",
    VERSION_NOT_SUPPORTED = 505 "HTTP Version Not Supported",
    INSUFFICIENT_STORAGE = 507 "Insufficient Storage",
}

impl StatusCode {
    /// Returns the three digits as a number.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }

    /// Returns whether an answer with it has no content, whatever the request was.
    #[must_use]
    pub fn is_bodiless(self) -> bool {
        self.0 < 200 || matches!(self, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    }
}

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A request that is not carried out, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub status: StatusCode,
    /// The reason, for people. It repeats nothing that the client sent.
    pub reason: Cow<'static, str>,
    /// The connection closes: nobody knows where the next request begins, or it is not wanted.
    pub closes: bool,
}

impl Refusal {
    /// Refuses one request; the connection goes on.
    #[must_use]
    pub fn new(status: StatusCode, reason: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { status, reason: reason.into(), closes: false }
    }

    /// Refuses a request after which the connection closes.
    #[must_use]
    pub fn closing(status: StatusCode, reason: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { status, reason: reason.into(), closes: true }
    }

    /// Refuses a request that breaks the grammar, and closes.
    pub(super) fn malformed(reason: &'static str) -> Refusal {
        Refusal::closing(StatusCode::BAD_REQUEST, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_phrases() {
        assert_eq!(StatusCode::NOT_FOUND.phrase(), "Not Found");
        assert_eq!((StatusCode::OK.number(), StatusCode::OK.to_string().as_str()), (200, "200"));
        assert!(StatusCode::NO_CONTENT.is_bodiless() && !StatusCode::CREATED.is_bodiless());
    }
}
