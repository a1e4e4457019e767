//! Programs that speak another protocol, by mistake or to find out who is there.

use crate::corpus::{Case, cat, closes, ends, goes_on, times};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = browsers();
    cases.extend(talkers());
    cases.extend(binaries());
    cases
}

fn browsers() -> Vec<Case> {
    let refused = "bad-request";
    vec![
        closes("GET of HTTP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", refused),
        closes("GET of a file by HTTP", "GET a HTTP/1.0\r\n\r\n", refused),
        closes("DELETE of HTTP", "DELETE a HTTP/1.1\r\n\r\n", refused),
        closes("a form that holds requests", "POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nDELETE a\n", refused),
        closes("a proxy's CONNECT", "CONNECT 127.0.0.1:22 HTTP/1.1\r\n\r\n", refused),
        closes("HTTP with an LF alone", "HEAD / HTTP/1.1\n\nDELETE a\n", refused),
        closes("a verb of any name", "DELETE-A a HTTP/1.1\nDELETE a\n", refused),
        closes("an upgrade to a websocket", "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", refused),
        closes("a request smuggled behind HTTP", "STAT a\nGET / HTTP/1.1\nDELETE a\n", "FILE 5|bad-request"),
        closes("HTTP with a body of PUT", "PUT /a HTTP/1.1\r\n\r\nDATA 1\nxEND -\nDELETE a\n", refused),
        goes_on(
            "the preface of HTTP/2",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "unknown-command|bad-request|unknown-command|bad-request",
        ),
        goes_on("HTTP/0.9", "GET /\r\n", "bad-name"),
        goes_on("HTTP in lowercase", "get / http/1.1\n", "bad-name"),
        goes_on("RTSP", "OPTIONS rtsp://x/a RTSP/1.0\r\n", "unknown-command"),
        goes_on("a lookup", "GET ${jndi:ldap://x/a}\n", "bad-name"),
    ]
}

fn talkers() -> Vec<Case> {
    let unknown = |count: usize| vec!["unknown-command"; count].join("|");
    vec![
        goes_on("SSH", "SSH-2.0-OpenSSH_9.9\r\n", &unknown(1)),
        goes_on("SMTP", "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nQUIT\r\n", &unknown(4)),
        goes_on("FTP", "USER anonymous\r\nPASS x@\r\nSYST\r\nPASV\r\nRETR a\r\nDELE a\r\nQUIT\r\n", &unknown(7)),
        goes_on("IMAP", "a1 LOGIN x y\r\na2 LOGOUT\r\n", &unknown(2)),
        goes_on("IRC", "NICK x\r\nUSER x 0 * :x\r\n", &unknown(2)),
        goes_on("Redis", "*1\r\n$4\r\nPING\r\n", &unknown(3)),
        goes_on("memcached", "stats\r\nversion\r\n", &unknown(2)),
        goes_on("a proxy's header", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", &unknown(1)),
        goes_on("SIP", "OPTIONS sip:x SIP/2.0\r\n", &unknown(1)),
        goes_on("rsync", "@RSYNCD: 31.0\n", &unknown(1)),
        goes_on("a shell", "() { :;}; rm -rf /\n`id`\n$(id)\n", &unknown(3)),
        goes_on("JSON", "{\"jsonrpc\":\"2.0\",\"method\":\"x\"}\n", &unknown(1)),
        goes_on("format directives", "%s%s%s%n\n{}{0}\n", &unknown(2)),
        ends("git", "0032git-upload-pack /x\0host=x\0", "bad-request"),
    ]
}

fn binaries() -> Vec<Case> {
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    vec![
        ends("TLS", cat(&[&hello, &[0x5a; 500]]), "bad-request"),
        closes("much of TLS", cat(&[&hello, &[0x5a; 10_000]]), "bad-request"),
        ends("SMB", b"\0\0\0\x85\xffSMBr\0\0\0\0\x18\x53\xc8", "bad-request"),
        ends("RDP", b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x03\0\0\0", "bad-request"),
        ends("SOCKS 5", b"\x05\x01\0", "bad-request"),
        ends("X11", b"l\0\x0b\0\0\0\0\0\0\0\0\0", "bad-request"),
        ends("PostgreSQL", b"\0\0\0\x08\x04\xd2\x16\x2f", "bad-request"),
        ends(
            "a proxy's binary header",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c",
            "bad-request|bad-request|unknown-command|unknown-command|bad-request",
        ),
        goes_on("gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\n", "unknown-command"),
        closes("sixty-four KiB of 0xff", [0xff; 65_536], "bad-request"),
        goes_on("every byte in a line of its own", every_byte(), &every_answer()),
        closes("one letter for ever", times(900_000, "A"), "bad-request"),
    ]
}

fn every_byte() -> Vec<u8> {
    (0..=255u8).filter(|&byte| byte != b'\n').flat_map(|byte| [byte, b'\n']).collect()
}

fn every_answer() -> String {
    let empty = |byte: u8| matches!(byte, b'\r' | b' ');
    let answer = |byte: u8| if empty(byte) { "bad-request" } else { "unknown-command" };
    (0..=255u8).filter(|&byte| byte != b'\n').map(answer).collect::<Vec<_>>().join("|")
}
