//! Everything that a browser is shown: pages, their style and script, listings as JSON, and directories as tar.
//!
//! All of it is pure: entries come in, bytes go out. A session asks the store, and sends.
//!
//! - [`DirectoryAnswer`] is one directory, as a page or as JSON.
//! - [`error_page`] is the page for people where a request fails.
//! - [`asset`] has the style sheet and the script.
//! - [`tar`] walks a tree, and has the headers of its entries.
//!
//! # What a page may do
//!
//! A page loads from its own server alone, and no other site can frame it ([`CSP`]). It has no scripts and no
//! styles of its own beside the two [assets](asset). Names are written by [`markup`], which escapes them.
//!
//! # JSON
//!
//! `?json` on a directory is one object. Its keys are stable; new ones may be added.
//!
//! | key | value |
//! |---|---|
//! | `name` | the directory's name from the root; `""` for the root |
//! | `entries` | an array, in no order; what the user may not see is left out |
//!
//! Each entry, and what `?json` on a file answers, is an object:
//!
//! | key | value |
//! |---|---|
//! | `name` | one component in a listing, the whole name alone |
//! | `type` | `"file"` or `"directory"` |
//! | `size` | bytes, of a file |
//! | `modified` | the time of the last change in RFC 3339, in UTC; `null` where it is not known |
//! | `seconds` | the same in whole seconds since 1970, or `null` |
//! | `tag` | of a file: another one for each version |

mod assets;
mod directory;
mod error;
mod gathered;
mod json;
mod markup;
mod query;
pub mod tar;
mod text;

use std::sync::Arc;

use ferry_wire::Name;

use crate::{access::RightsTable, store::DirEntry};

pub use assets::{Asset, asset};
pub use error::error_page;
pub use json::json_of_file;
pub use query::PageQuery;

use directory::Page;
use json::JsonListing;

/// The value of `Content-Security-Policy` for pages: everything from this server, and nothing inline.
pub const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                       form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The type of pages.
pub const HTML: &str = "text/html; charset=utf-8";

/// The type of listings as JSON.
pub const JSON: &str = "application/json";

/// The one who looks, and what the server lets people do. What somebody may not do is not shown.
#[derive(Debug, Clone)]
pub struct Viewer {
    /// Rights on all names.
    pub rights: Arc<RightsTable>,
    /// Whether the server takes changes from anybody.
    pub writable: bool,
    /// The user's name; [`None`] for those who have not logged in.
    pub user: Option<Box<str>>,
    /// Whether one can log in, here.
    pub accounts: bool,
}

/// The answer for one directory. It takes the entries as they come.
pub struct DirectoryAnswer(Form);

enum Form {
    Page(Box<Page>),
    Json(JsonListing),
}

impl DirectoryAnswer {
    /// Begins a page of a directory, or of the root. It keeps a bounded number of entries: the first ones in the
    /// order that the query asks for.
    #[must_use]
    pub fn page(name: Option<Name>, viewer: Viewer, query: PageQuery) -> DirectoryAnswer {
        DirectoryAnswer(Form::Page(Box::new(Page::new(name, viewer, query))))
    }

    /// Begins a listing as [JSON](self#json).
    #[must_use]
    pub fn json(name: Option<Name>, viewer: Viewer) -> DirectoryAnswer {
        DirectoryAnswer(Form::Json(JsonListing::new(name, viewer)))
    }

    /// Returns the value of `Content-Type`.
    #[must_use]
    pub fn content_type(&self) -> &'static str {
        match self.0 {
            Form::Page(_) => HTML,
            Form::Json(_) => JSON,
        }
    }

    /// Takes some entries, and appends what can be said at once to `out`. Those that the viewer may not see are left
    /// out.
    pub fn entries(&mut self, entries: Vec<DirEntry>, out: &mut Vec<u8>) {
        match &mut self.0 {
            Form::Page(page) => page.entries(entries),
            Form::Json(json) => json.entries(&entries, out),
        }
    }

    /// Ends the entries: all have come.
    pub fn finish(&mut self) {
        if let Form::Page(page) = &mut self.0 {
            page.finish();
        }
    }

    /// Appends some of what is left to say, after [`finish`](Self::finish). Returns whether more is left.
    pub fn write(&mut self, out: &mut Vec<u8>) -> bool {
        match &mut self.0 {
            Form::Page(page) => page.write(out),
            Form::Json(json) => {
                json.end(out);
                false
            }
        }
    }
}
