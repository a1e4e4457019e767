//! The parts that all pages share: their frame, and names that are safe to show.
//!
//! Text and attributes are escaped by maud. Beside that a name must not turn the direction of what stands around it,
//! or look like another one: see [`shown`].

use ferry_wire::{Name, escaped, is_unsafe_to_show};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Viewer, assets};
use crate::protocol::http::message::Encoded;

/// Returns the path of a directory from the root: it begins and ends with a slash.
pub(super) fn url_of_directory(name: Option<&Name>) -> String {
    name.map_or("/".to_owned(), |name| format!("/{}/", Encoded(name.as_str())))
}

/// Shows a name. Its direction stays its own, and characters that could make it look like another one are written
/// out.
pub(super) fn shown(name: &str) -> Markup {
    html! {
        bdi {
            @for part in name.split_inclusive(is_unsafe_to_show) {
                @match part.chars().next_back().filter(|&last| is_unsafe_to_show(last)) {
                    None => (part),
                    Some(last) => {
                        (part[..part.len() - last.len_utf8()])
                        span.odd { (escaped(last.encode_utf8(&mut [0; 4])).to_string()) }
                    }
                }
            }
        }
    }
}

/// Returns the name without what could drive the title of a window.
pub(super) fn plain(name: &str) -> String {
    escaped(name).to_string()
}

/// The start of a page, up to the content of its header, and the bar with the viewer's name.
pub(super) fn start(title: &str, name: Option<&Name>, viewer: Option<&Viewer>) -> Markup {
    html! {
        (DOCTYPE)
        // The rest of a page comes in pieces.
        (PreEscaped("<html lang=\"en\">"))
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            title { (title) }
            link rel="icon" href=(assets::icon_url());
            link rel="stylesheet" href=(assets::style_url());
            script src=(assets::script_url()) defer {}
        }
        (PreEscaped("<body>"))
        header {
            a.skip href="#main" { "Skip to the content" }
            (breadcrumbs(name))
            @if let Some(viewer) = viewer { (login(name, viewer)) }
        }
        (PreEscaped("<main id=\"main\" tabindex=\"-1\">"))
    }
}

fn breadcrumbs(name: Option<&Name>) -> Markup {
    let components: Vec<&str> = name.iter().flat_map(|name| name.as_str().split('/')).collect();
    let mut url = "/".to_owned();
    html! {
        nav aria-label="Breadcrumb" {
            ol {
                li { a.home href="/" aria-current=[components.is_empty().then_some("page")] { "Home" } }
                @for (depth, component) in components.iter().enumerate() {
                    @let is_last = depth + 1 == components.len();
                    @let () = { url.push_str(&Encoded(component).to_string()); url.push('/'); };
                    li { a href=(url) aria-current=[is_last.then_some("page")] { (shown(component)) } }
                }
            }
        }
    }
}

fn login(name: Option<&Name>, viewer: &Viewer) -> Markup {
    html! {
        @match &viewer.user {
            Some(user) => { p.user { "Logged in as " b { (user) } } }
            None if viewer.accounts => {
                p.user { a href={ "/?login=" (url_of_directory(name).trim_start_matches('/')) } { "Log in" } }
            }
            None => {}
        }
    }
}

/// The end of a page.
pub(super) fn end() -> Markup {
    PreEscaped("</main></body></html>\n".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_shown_so_that_it_can_not_act() {
        for (name, expected) in [
            ("a b", "<bdi>a b</bdi>"),
            ("<script>alert('1')</script>", "<bdi>&lt;script&gt;alert('1')&lt;/script&gt;</bdi>"),
            ("\"&amp;", "<bdi>&quot;&amp;amp;</bdi>"),
            ("evil\u{202e}gpj.exe", "<bdi>evil<span class=\"odd\">\\u{202e}</span>gpj.exe</bdi>"),
            ("\u{2066}\u{2069}", "<bdi><span class=\"odd\">\\u{2066}</span><span class=\"odd\">\\u{2069}</span></bdi>"),
            ("שלום", "<bdi>שלום</bdi>"),
        ] {
            assert_eq!(shown(name).into_string(), expected);
        }
    }

    #[test]
    fn a_directory_has_a_path_that_ends_in_a_slash() {
        assert_eq!(url_of_directory(None), "/");
        assert_eq!(url_of_directory(Some(&Name::new("a/b c/..d").unwrap())), "/a/b%20c/..d/");
    }

    proptest! {
        #[test]
        fn no_name_brings_markup(name in "[<>&\"'/a=!\u{202e}\u{2066}-]{1,40}") {
            let text = shown(&name).into_string();
            let inner = text.replace("<bdi>", "").replace("</bdi>", "").replace("<span class=\"odd\">", "").replace("</span>", "");
            prop_assert!(!inner.contains(['<', '>', '"', '\u{202e}', '\u{2066}']), "{}", text);
        }
    }
}
