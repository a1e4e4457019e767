//! The style sheet, the script and the icon. They are in the program.

use std::sync::LazyLock;

use ferry_wire::Digest;

/// A file of the page, at a URL that no name can have: the root with a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asset {
    /// The value of `Content-Type`.
    pub content_type: &'static str,
    /// All of it.
    pub body: &'static [u8],
    /// The value of `ETag`, in quotes.
    pub etag: &'static str,
    /// It was asked for by a URL that never means anything else, and can be kept for ever.
    pub immutable: bool,
}

struct Known {
    name: &'static str,
    content_type: &'static str,
    body: &'static str,
    etag: String,
    /// With the CRC of the content, so that a new program's pages never meet the old one's script.
    url: String,
}

static STYLE: LazyLock<Known> =
    LazyLock::new(|| Known::new("style.css", "text/css; charset=utf-8", include_str!("style.css")));

static SCRIPT: LazyLock<Known> =
    LazyLock::new(|| Known::new("script.js", "text/javascript; charset=utf-8", include_str!("script/times.js")));

static ICON: LazyLock<Known> = LazyLock::new(|| Known::new("icon.svg", "image/svg+xml", include_str!("icon.svg")));

impl Known {
    fn new(name: &'static str, content_type: &'static str, body: &'static str) -> Known {
        let mut digest = Digest::new();
        digest.update(body.as_bytes());
        let crc = digest.crc();
        Known { name, content_type, body, etag: format!("\"{crc}\""), url: format!("/?{name}&{crc}") }
    }
}

/// Returns the asset that a query of the root asks for.
#[must_use]
pub fn asset(query: &str) -> Option<Asset> {
    let name = query.split('&').next()?;
    let known: &'static Known =
        [&STYLE, &SCRIPT, &ICON].into_iter().map(|known| &**known).find(|known| known.name == name)?;
    let immutable = known.url.strip_prefix("/?") == Some(query);
    Some(Asset { content_type: known.content_type, body: known.body.as_bytes(), etag: &known.etag, immutable })
}

pub(super) fn style_url() -> &'static str {
    &STYLE.url
}

pub(super) fn script_url() -> &'static str {
    &SCRIPT.url
}

pub(super) fn icon_url() -> &'static str {
    &ICON.url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assets_are_found_by_their_url_alone() {
        for url in [style_url(), script_url(), icon_url()] {
            let query = url.strip_prefix("/?").unwrap();
            let found = asset(query).unwrap();
            assert!(found.immutable && !found.body.is_empty(), "{url}");
            let name = query.split('&').next().unwrap();
            assert_eq!(asset(name), Some(Asset { immutable: false, ..found }));
            assert_eq!(asset(&format!("{name}&00000000")), Some(Asset { immutable: false, ..found }));
        }
        for query in ["", "json", "style", "style.css=1", "&style.css", "STYLE.CSS"] {
            assert_eq!(asset(query), None, "{query}");
        }
    }
}
