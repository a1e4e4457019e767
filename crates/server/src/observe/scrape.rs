//! The little of HTTP (RFC 9112) that programs need to gather figures: one request, one response,
//! and the connection is closed.

/// The page of the metrics.
const PATH: &str = "/metrics";

/// Returns the response to a request, of which all of the head is given, or as much as may be sent.
/// `page` makes the metrics in Prometheus' text format.
pub(crate) fn respond(request: &[u8], page: impl FnOnce() -> String) -> String {
    let head = String::from_utf8_lossy(request);
    let mut line = head.lines().next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) = (line.next(), line.next(), line.next(), line.next()) else {
        return refuse("400 Bad Request", "");
    };
    if !version.starts_with("HTTP/1.") {
        return refuse("505 HTTP Version Not Supported", "");
    }
    if !(head.contains("\r\n\r\n") || head.contains("\n\n")) {
        return refuse("431 Request Header Fields Too Large", "");
    }
    if target.split('?').next() != Some(PATH) {
        return refuse("404 Not Found", "");
    }
    let (length, body) = match method {
        "GET" | "HEAD" => {
            let page = page();
            (page.len(), if method == "GET" { page } else { String::new() })
        }
        _ => return refuse("405 Method Not Allowed", "Allow: GET, HEAD\r\n"),
    };
    let headers = "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n";
    format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

fn refuse(status: &str, headers: &str) -> String {
    let body = format!("{status}; the metrics are at {PATH}\n");
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(request: &str) -> (String, String) {
        let response = respond(request.as_bytes(), || "page\n".to_owned());
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("\r\nConnection: close"), "{head}");
        (head.to_owned(), body.to_owned())
    }

    #[test]
    fn the_page_is_got_by_its_path() {
        for request in [
            "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /metrics?x=/ HTTP/1.0\r\n\r\n",
            "GET /metrics HTTP/1.1\n\n",
        ] {
            let (head, body) = response(request);
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("\r\nContent-Length: 5\r\n"), "{head}");
            assert!(head.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
            assert_eq!(body, "page\n");
        }
        let (head, body) = response("HEAD /metrics HTTP/1.1\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("\r\nContent-Length: 5\r\n"), "{head}");
        assert_eq!(body, "");
    }

    #[test]
    fn anything_else_is_told_what_is_wrong() {
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(9000));
        for (request, status) in [
            ("GET / HTTP/1.1\r\n\r\n", "404"),
            ("GET /metrics/ HTTP/1.1\r\n\r\n", "404"),
            ("POST / HTTP/1.1\r\n\r\n", "404"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
            ("get /metrics HTTP/1.1\r\n\r\n", "405"),
            ("GET /metrics HTTP/2.0\r\n\r\n", "505"),
            ("GET /metrics\r\n\r\n", "400"),
            ("GET /metrics x HTTP/1.1\r\n\r\n", "400"),
            ("\r\n\r\n", "400"),
            ("\u{fffd}\0\n\n", "400"),
            (&long, "431"),
        ] {
            let (head, body) = response(request);
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {head}");
            assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
            assert_eq!(head.contains("\r\nAllow: GET, HEAD\r\n"), status == "405", "{head}");
        }
    }
}
