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

static SCRIPT: LazyLock<Known> = LazyLock::new(|| {
    let script = concat!(
        include_str!("script/crc.js"),
        include_str!("script/tools.js"),
        include_str!("script/sending.js"),
        include_str!("script/uploads.js"),
        include_str!("script/listing.js"),
    );
    Known::new("script.js", "text/javascript; charset=utf-8", script)
});

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

    /// Returns the contrast of two colours as WCAG 2.2 computes it, from 1 to 21.
    fn contrast(one: u32, other: u32) -> f64 {
        let luminance = |colour: u32| {
            let channel = |shift: u32, weight: f64| {
                let value = f64::from(colour >> shift & 255) / 255.0;
                let linear = if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) };
                weight * linear
            };
            channel(16, 0.2126) + channel(8, 0.7152) + channel(0, 0.0722) + 0.05
        };
        let (one, other) = (luminance(one), luminance(other));
        one.max(other) / one.min(other)
    }

    #[test]
    fn all_text_has_enough_contrast_in_light_and_dark() {
        assert!((contrast(0x77_7777, 0xff_ffff) - 4.478).abs() < 0.001);
        let style = include_str!("style.css");
        let (light, dark) = style.split_once("@media (prefers-color-scheme: dark)").unwrap();
        let dark = dark.split_once("*, ::before").unwrap().0;
        for (scheme, text) in [("light", light), ("dark", dark)] {
            let colour = |name: &str| {
                let (_, rest) = text.split_once(&format!("--{name}: #")).unwrap();
                u32::from_str_radix(&rest[..6], 16).unwrap()
            };
            let grounds = ["ground", "raised"]
                .map(|ground| ["text", "muted", "link", "danger", "good"].map(|text| (text, ground)));
            let pairs = grounds.concat().into_iter().chain([("on-link", "link"), ("odd", "odd-ground")]);
            for (text, ground) in pairs {
                let found = contrast(colour(text), colour(ground));
                assert!(found >= 4.5, "{scheme}: {text} on {ground} has {found:.2}");
            }
            for ground in ["ground", "raised"] {
                let found = contrast(colour("edge"), colour(ground));
                assert!(found >= 3.0, "{scheme}: an edge on {ground} has {found:.2}");
            }
        }
        // Nothing else has a colour of its own.
        let after = style.split_once("*, ::before").unwrap().1;
        assert!([": #", "solid #"].iter().all(|colour| !after.contains(colour)));
    }
}
