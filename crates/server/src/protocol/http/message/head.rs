//! The head of a request: its line and its fields.

use std::mem::MaybeUninit;

use super::{
    MAX_FIELDS,
    authorization::Authorization,
    conditions::Conditions,
    digest,
    fields::Fields,
    framing::Framing,
    host,
    method::Method,
    range::{self, ByteRange},
    scan::Scan,
    status::{Refusal, StatusCode},
    target::{self, Target},
};
use ferry_wire::Crc32;

/// Reads heads of requests off a stream.
///
/// It remembers how far it looked, so that a head that comes byte by byte costs no more than one
/// that comes at once.
#[derive(Debug, Default)]
pub struct HeadReader {
    scan: Scan,
}

impl HeadReader {
    /// Reads the head at the start of `input`, and returns it and its length in bytes; [`None`]
    /// until it is whole. Bytes that were not consumed are given again, in front of newer ones.
    ///
    /// # Errors
    ///
    /// Fails for what is no request, or one that could be read in two ways. The connection must
    /// close: nobody knows where the next request begins.
    pub fn read<'a>(&mut self, input: &'a [u8]) -> Result<Option<(Head<'a>, usize)>, Refusal> {
        let was_checked = self.scan.request_line(input).is_some();
        let end = self.scan.end(input);
        let place = match self.scan.request_line(input) {
            // As soon as it is whole, and before what is behind it: a client that speaks another protocol sends no more.
            Some(place) if !was_checked || end != Ok(None) => place,
            _ => return end.map(|_| None),
        };
        let line = RequestLine::parse(&input[place.clone()])?;
        let Some(end) = end? else { return Ok(None) };
        self.scan = Scan::default();
        let fields = &input[place.end + 2..end - 2];
        Ok(Some((Head::parse(&input[place.start..end], line, fields)?, end)))
    }

    /// Returns whether a part of a head was seen.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.scan.has_begun()
    }
}

/// The head of one request, of which the end is certain.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    method: &'a str,
    target: &'a [u8],
    /// The target without scheme and authority.
    origin_form: &'a [u8],
    host: &'a str,
    fields: Fields<'a>,
    framing: Framing,
    is_http_1_0: bool,
    persists: bool,
    expects_continue: bool,
}

impl<'a> Head<'a> {
    /// Parses a whole head, whose lines and control characters were looked at: its request line, and its lines of fields
    /// without the empty one.
    fn parse(head: &'a [u8], line: RequestLine<'a>, fields: &'a [u8]) -> Result<Head<'a>, Refusal> {
        let RequestLine { method, target, is_http_1_0 } = line;
        let fields = checked(head, fields)?;
        let host = host::host_of(fields, is_http_1_0)?;
        let framing = Framing::of(fields, is_http_1_0)?;
        let origin_form = target::origin_form(target, method, host)?;
        let closes = fields.elements("connection").any(|option| option.eq_ignore_ascii_case(b"close"));
        let expects_continue = expectation(fields)? && !is_http_1_0;
        let persists = !is_http_1_0 && !closes;
        Ok(Head { method, target, origin_form, host, fields, framing, is_http_1_0, persists, expects_continue })
    }

    /// Returns the method.
    #[must_use]
    pub fn method(&self) -> Method {
        Method::of(self.method)
    }

    /// Returns the word that stands for the method, for the log.
    #[must_use]
    pub fn method_text(&self) -> &'a str {
        self.method
    }

    /// Returns the target: the name, and what is asked of it.
    ///
    /// # Errors
    ///
    /// Fails where it leads to no name.
    pub fn target(&self) -> Result<Target, Refusal> {
        Target::parse(self.origin_form)
    }

    /// Returns the target as it was sent, for the log.
    #[must_use]
    pub fn target_text(&self) -> &'a [u8] {
        self.target
    }

    /// Returns where the body ends.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Returns whether it is a request of HTTP/1.0: its answer has no chunks, and the connection closes.
    #[must_use]
    pub fn is_http_1_0(&self) -> bool {
        self.is_http_1_0
    }

    /// Returns whether the client may send another request on the connection.
    #[must_use]
    pub fn persists(&self) -> bool {
        self.persists
    }

    /// Returns whether the client waits for a word before it sends the body.
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.expects_continue && !matches!(self.framing, Framing::None | Framing::Length(0))
    }

    /// Returns the host that the request is for, with its port; empty where HTTP/1.0 names none.
    #[must_use]
    pub fn host(&self) -> &'a str {
        self.host
    }

    /// Returns whether another site made a browser send the request. Nothing may change by it.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        host::is_foreign(self.fields, self.host)
    }

    /// Returns whether a page that came by plain HTTP, from a name, made a browser send the request. On a connection that
    /// nobody else can read that is no page of this server: names that lead to this machine alone are `localhost`.
    #[must_use]
    pub fn is_of_a_name(&self) -> bool {
        host::is_of_a_name(self.fields)
    }

    /// Returns whether its host is a name that anybody may have and lead anywhere.
    #[must_use]
    pub fn is_for_a_public_name(&self) -> bool {
        host::is_public_name(self.host)
    }

    /// Returns the conditions under which the request is meant.
    ///
    /// # Errors
    ///
    /// Fails where one is malformed: to leave it out could do what the client does not want.
    pub fn conditions(&self) -> Result<Conditions, Refusal> {
        Conditions::of(self.fields)
    }

    /// Returns the range that is wanted; [`None`] for all, which is also the answer to a malformed range, to
    /// another unit and to several ranges: RFC 9110, section 14.2, lets a server leave them out.
    #[must_use]
    pub fn range(&self) -> Option<ByteRange> {
        range::of(self.fields)
    }

    /// Returns the user and the secret that come with the request.
    #[must_use]
    pub fn authorization(&self) -> Authorization {
        Authorization::of(self.fields)
    }

    /// Returns the CRC that the body must have, by `Content-Digest` or `Repr-Digest`.
    ///
    /// # Errors
    ///
    /// Fails where a field is malformed, or names two.
    pub fn content_crc(&self) -> Result<Option<Crc32>, Refusal> {
        digest::crc_of_fields(self.fields)
    }

    /// Returns the first value of a field, whose `name` is given in lower case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'a [u8]> {
        self.fields.first(name)
    }

    /// Returns the value of a field that stands once at most; its `name` is given in lower case.
    ///
    /// # Errors
    ///
    /// Fails with `reason` where it stands more often.
    pub fn one(&self, name: &str, reason: &'static str) -> Result<Option<&'a [u8]>, Refusal> {
        self.fields.one(name, reason)
    }
}

struct RequestLine<'a> {
    method: &'a str,
    target: &'a [u8],
    is_http_1_0: bool,
}

impl<'a> RequestLine<'a> {
    fn parse(line: &'a [u8]) -> Result<RequestLine<'a>, Refusal> {
        let mut words = line.split(|&byte| byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Refusal::malformed(
                "a request line is a method, a target and HTTP/1.1, with one space between",
            ));
        };
        let is_http_1_0 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
                let reason = "this server speaks HTTP/1.1, and no other version of HTTP";
                return Err(Refusal::closing(StatusCode::VERSION_NOT_SUPPORTED, reason));
            }
            _ => return Err(Refusal::malformed("a request line ends in HTTP/1.1")),
        };
        let method = std::str::from_utf8(method).map_err(|_| Refusal::malformed("the method is no word"))?;
        if method == "CONNECT" {
            return Err(Refusal::malformed("this server is no proxy"));
        }
        Ok(RequestLine { method, target, is_http_1_0 })
    }
}

/// Checks the grammar of a whole head, and returns its fields, of which these are the lines.
fn checked<'a>(head: &'a [u8], lines: &'a [u8]) -> Result<Fields<'a>, Refusal> {
    // Only as much of it as there are fields is written.
    let mut memory = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut memory) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {
            Ok(Fields::of_checked(lines, request.headers.iter().map(|field| field.name.as_bytes())))
        }
        Ok(_) => Err(Refusal::malformed("the fields of a request end with an empty line")),
        Err(httparse::Error::TooManyHeaders) => {
            Err(Refusal::closing(StatusCode::FIELDS_TOO_LARGE, "a request has too many fields"))
        }
        Err(httparse::Error::HeaderName) => Err(Refusal::malformed("a field has a name, a colon and a value")),
        Err(httparse::Error::HeaderValue) => Err(Refusal::malformed("the value of a field is text")),
        Err(_) => Err(Refusal::malformed("the request line is malformed")),
    }
}

/// Returns whether the client expects to be told that it may send the body.
fn expectation(fields: Fields<'_>) -> Result<bool, Refusal> {
    let mut expects = false;
    for expectation in fields.all("expect") {
        if !expectation.eq_ignore_ascii_case(b"100-continue") {
            let reason = "this server fulfils no expectation but 100-continue";
            return Err(Refusal::closing(StatusCode::EXPECTATION_FAILED, reason));
        }
        expects = true;
    }
    Ok(expects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_and_its_parts() {
        let input = b"PUT /a%20b?x HTTP/1.1\r\nHost: h:80\r\nContent-Length: 3\r\nExpect: 100-Continue\r\n\r\nabcGET";
        let (head, used) = HeadReader::default().read(input).unwrap().unwrap();
        assert_eq!(&input[used..], b"abcGET");
        assert_eq!((head.method(), head.method_text(), head.host()), (Method::Put, "PUT", "h:80"));
        assert_eq!(head.target().unwrap().name().unwrap().as_str(), "a b");
        assert_eq!(head.target_text(), b"/a%20b?x");
        assert_eq!(head.framing(), Framing::Length(3));
        assert!(head.persists() && head.expects_continue() && !head.is_http_1_0() && !head.is_foreign());
        assert_eq!(head.field("content-length"), Some(&b"3"[..]));
        assert_eq!((head.range(), head.authorization()), (None, Authorization::Absent));
    }

    #[test]
    fn a_connection_persists_unless_it_closes_or_is_of_http_1_0() {
        for (version, field, persists) in [
            ("1.1", "X: y", true),
            ("1.1", "Connection: keep-alive", true),
            ("1.1", "Connection: Close", false),
            ("1.1", "Connection: upgrade, close", false),
            ("1.0", "Connection: keep-alive", false),
        ] {
            let input = format!("GET / HTTP/{version}\r\nHost: h\r\n{field}\r\n\r\n");
            let (head, _) = HeadReader::default().read(input.as_bytes()).unwrap().unwrap();
            assert_eq!(head.persists(), persists, "{version} {field}");
        }
    }

    /// A body that nobody sends is not waited for.
    #[test]
    fn an_expectation_is_of_a_body() {
        for (fields, expects) in
            [("", false), ("Content-Length: 0\r\n", false), ("Transfer-Encoding: chunked\r\n", true)]
        {
            let input = format!("PUT /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n{fields}\r\n");
            let (head, _) = HeadReader::default().read(input.as_bytes()).unwrap().unwrap();
            assert_eq!(head.expects_continue(), expects, "{fields}");
        }
    }
}
