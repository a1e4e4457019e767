//! The header of a proxy.

use ferry_server::net::proxy::{MAX_HEADER_BYTES, parse};

/// Reads a header of a proxy in pieces: it is the same however its bytes come, and it is bounded.
///
/// # Panics
///
/// If not.
pub fn proxy(bytes: &[u8]) {
    let whole = parse(bytes);
    assert!(bytes.len() < MAX_HEADER_BYTES || whole != Ok(None), "nobody waits for more than {MAX_HEADER_BYTES} bytes");
    // Beyond the longest header there is nothing that counts.
    let counting = &bytes[..bytes.len().min(MAX_HEADER_BYTES)];
    assert_eq!(parse(counting), whole);
    for length in 0..counting.len() {
        let part = parse(&counting[..length]);
        assert!(part == Ok(None) || part == whole, "{length} bytes: {part:?}, all: {whole:?}");
    }
    if let Ok(Some((client, length))) = whole {
        assert!((1..=counting.len()).contains(&length), "{length}");
        assert_eq!(parse(&bytes[..length]), Ok(Some((client, length))));
        assert_eq!(parse(&bytes[..length - 1]), Ok(None));
    }
}
