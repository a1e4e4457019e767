//! The page for people where a request fails.

use maud::html;

use super::{Viewer, markup};

/// Returns the page of a failure: its status, the status' words, and a sentence for people.
///
/// Without a viewer nothing is said of logins.
#[must_use]
pub fn error_page(status: u16, reason: &str, detail: &str, viewer: Option<&Viewer>) -> Vec<u8> {
    let content = html! {
        section.failure {
            p.status aria-hidden="true" { (status) }
            h1 { (reason) }
            p { (markup::plain(detail)) }
            p { a.button href="/" { "To the start" } }
        }
    };
    let title = format!("{status} {reason}");
    [markup::start(&title, None, viewer), content, markup::end()].concat_bytes()
}

/// Joins pieces of a page.
trait Pieces {
    fn concat_bytes(self) -> Vec<u8>;
}

impl<const N: usize> Pieces for [maud::Markup; N] {
    fn concat_bytes(self) -> Vec<u8> {
        self.into_iter().flat_map(|piece| piece.into_string().into_bytes()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_failure_are_escaped() {
        let page = String::from_utf8(error_page(404, "Not Found", "there is no '<b>\u{202e}x'", None)).unwrap();
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"), "{page}");
        assert!(page.contains("<title>404 Not Found</title>"), "{page}");
        assert!(page.contains("<p>there is no '&lt;b&gt;\\u{202e}x'</p>"), "{page}");
        assert!(!page.contains("Log in"), "{page}");
    }
}
