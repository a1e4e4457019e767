//! The page of a directory.

use ferry_wire::Name;
use maud::{Markup, PreEscaped, html};

use super::{
    Viewer,
    gathered::{Finished, Gathered, Row, RowKind, Totals},
    markup,
    query::{Column, PageQuery},
    text,
};
use crate::{
    access::Rights,
    protocol::http::message::Encoded,
    store::{DirEntry, Status},
};

/// Bytes after which a piece of a page ends, so that no page is ever whole in memory.
const PIECE_BYTES: usize = 32 << 10;

/// Pictures that rows refer to.
const ICONS: PreEscaped<&str> = PreEscaped(
    "<svg hidden><symbol id=\"i-directory\" viewBox=\"0 0 20 20\"><path d=\"M2 5.5A1.5 1.5 0 0 1 3.5 4h4l2 2.5h7A1.5 1.5 0 0 1 18 \
     8v7a1.5 1.5 0 0 1-1.5 1.5h-13A1.5 1.5 0 0 1 2 15z\"/></symbol><symbol id=\"i-file\" viewBox=\"0 0 20 20\"><path d=\"M4.5 \
     2.5h7l4 4v11h-11zM11.5 2.5v4h4\"/></symbol></svg>",
);

/// See the [module documentation](self).
pub(super) struct Page {
    name: Option<Name>,
    viewer: Viewer,
    state: State,
}

enum State {
    Gathering(Gathered),
    /// So many rows were written.
    Writing(Finished, usize),
    Ended,
}

impl Page {
    pub(super) fn new(name: Option<Name>, viewer: Viewer, query: PageQuery) -> Page {
        Page { name, viewer, state: State::Gathering(Gathered::new(query)) }
    }

    pub(super) fn entries(&mut self, entries: Vec<DirEntry>) {
        let State::Gathering(gathered) = &mut self.state else { return };
        let place = self.viewer.rights.at(self.name.as_ref());
        for entry in entries.into_iter().filter(|entry| place.shows(entry.name.as_str())) {
            let own = place.enter(entry.name.as_str());
            let (kind, mtime) = match entry.status {
                Status::File(version) => (RowKind::File { size: version.size }, version.mtime),
                Status::Directory { mtime, .. } => (RowKind::Directory, mtime),
            };
            let may_change = self.viewer.writable && own.rights().has(Rights::CHANGE);
            gathered.push(Row {
                name: entry.name.as_str().into(),
                kind,
                mtime,
                may_open: match kind {
                    RowKind::File { .. } => own.rights().has(Rights::READ),
                    RowKind::Directory => own.may_list() || own.rights().has(Rights::ADD),
                },
                // As the gate has it.
                may_delete: may_change && !own.hides(),
            });
        }
    }

    pub(super) fn finish(&mut self) {
        if let State::Gathering(gathered) = std::mem::replace(&mut self.state, State::Ended) {
            self.state = State::Writing(gathered.finish(), 0);
        }
    }

    pub(super) fn write(&mut self, out: &mut Vec<u8>) -> bool {
        let State::Writing(finished, written) = &self.state else { return false };
        let mut add = |markup: Markup| out.extend_from_slice(markup.0.as_bytes());
        if *written == 0 {
            add(self.before_rows(finished));
        }
        let (mut next, mut bytes) = (*written, 0);
        while let Some(row) = finished.rows.get(next).filter(|_| bytes < PIECE_BYTES) {
            let markup = written_row(row);
            bytes += markup.0.len();
            add(markup);
            next += 1;
        }
        let is_whole = next == finished.rows.len();
        if is_whole {
            add(after_rows(finished));
        }
        match &mut self.state {
            _ if is_whole => self.state = State::Ended,
            State::Writing(_, written) => *written = next,
            _ => {}
        }
        !is_whole
    }

    fn before_rows(&self, finished: &Finished) -> Markup {
        let place = self.viewer.rights.at(self.name.as_ref());
        let may_add = self.viewer.writable && place.rights().has(Rights::ADD);
        let title = self.name.as_ref().map_or("Home", Name::last);
        html! {
            (markup::start(&markup::plain(title), self.name.as_ref(), Some(&self.viewer)))
            (ICONS)
            h1 { (markup::shown(title)) }
            @if may_add { (upload_area(self.viewer.rights.at(self.name.as_ref()).rights().has(Rights::CHANGE))) }
            @if place.may_list() {
                (tools(&finished.query, place.rights().has(Rights::READ), may_add))
                (PreEscaped("<section id=\"listing\" aria-label=\"Files and folders\">"))
                (summary(finished))
                (PreEscaped("<table id=\"files\"><thead>"))
                (head_row(&finished.query))
                (PreEscaped("</thead><tbody>"))
            } @else {
                (PreEscaped("<section id=\"listing\" aria-label=\"Files and folders\">"))
                p.empty { "What is in this folder is not shown to you." }
                (PreEscaped("<table hidden><tbody>"))
            }
        }
    }
}

/// Where files are dropped. It shows itself when the script runs.
fn upload_area(may_replace: bool) -> Markup {
    html! {
        noscript { p.hint { "Uploads from this page need scripts. Without them, " code { "curl -T FILE" } " with this address does it." } }
        section #upload aria-label="Upload" data-replace[may_replace] hidden {
            p { "Drop files or folders here, or " }
            div.choices {
                label.button { "Choose files" input type="file" multiple name="files"; }
                label.button { "Choose a folder" input type="file" webkitdirectory name="folder"; }
            }
        }
        section #transfers aria-label="Transfers" hidden {}
    }
}

fn tools(query: &PageQuery, may_read: bool, may_add: bool) -> Markup {
    html! {
        div.tools {
            form #filter role="search" method="get" action="" {
                label.unseen for="filter-text" { "Show only names with" }
                input #filter-text type="search" name="filter" value=(query.filter) placeholder="Filter" autocomplete="off";
                input type="hidden" name="sort" value=(query.column.word());
                input type="hidden" name="order" value=(if query.descending { "desc" } else { "asc" });
                button type="submit" { "Filter" }
            }
            @if may_add { button #new-folder type="button" hidden { "New folder" } }
            @if may_read { a.button href="?tar" { "Download all " span.unseen { "as a tar archive" } small aria-hidden="true" { ".tar" } } }
        }
    }
}

fn summary(finished: &Finished) -> Markup {
    let Totals { directories, files, bytes } = finished.totals;
    let counted = |count: u64, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
    html! {
        p.summary role="status" {
            @if directories == 0 && files == 0 {
                @if finished.query.filter.is_empty() { "This folder is empty." } @else { "No name has that in it." }
            } @else {
                (counted(directories, "folder", "folders")) ", " (counted(files, "file", "files")) ", " (text::size(bytes))
            }
            @if !finished.query.filter.is_empty() { " " a href="./" { "Show all" } }
        }
    }
}

fn head_row(query: &PageQuery) -> Markup {
    let sorted = if query.descending { "descending" } else { "ascending" };
    html! {
        tr {
            @for (column, class, title) in
                [(Column::Name, "name", "Name"), (Column::Size, "size", "Size"), (Column::Modified, "modified", "Modified")]
            {
                th scope="col" class=(class) aria-sort=[(column == query.column).then_some(sorted)] {
                    a href={ "?" (query.sorted_by(column)) } {
                        (title)
                        @if column == Column::Modified { span.zone { " (UTC)" } }
                    }
                }
            }
            th scope="col" class="actions" { span.unseen { "Actions" } }
        }
    }
}

fn written_row(row: &Row) -> Markup {
    let (class, slash, size) = match row.kind {
        RowKind::Directory => ("directory", "/", None),
        RowKind::File { size } => ("file", "", Some(size)),
    };
    let url = format!("./{}{slash}", Encoded(&row.name));
    let icon = html! { svg.icon aria-hidden="true" { use href={ "#i-" (class) } {} } };
    html! {
        tr class=(class) data-delete=[row.may_delete.then_some(&url)] {
            th scope="row" class="name" {
                @if row.may_open {
                    a href=(url) { (icon) (markup::shown(&row.name)) }
                } @else {
                    span.closed { (icon) (markup::shown(&row.name)) }
                }
                @if size.is_none() { span.unseen { " (folder)" } }
            }
            td class="size" { @if let Some(size) = size { data value=(size) { (text::size(size)) } } }
            td class="modified" {
                @if let Some((full, short)) = row.mtime.and_then(|time| text::rfc3339(time).zip(text::minute(time))) {
                    time datetime=(full) { (short) }
                }
            }
            td class="actions" {}
        }
        "\n"
    }
}

fn after_rows(finished: &Finished) -> Markup {
    let next = finished.rows.last().filter(|_| !finished.is_last);
    html! {
        (PreEscaped("</tbody></table>"))
        @if next.is_some() || finished.query.after.is_some() {
            nav.pages aria-label="Pages" {
                @if finished.query.after.is_some() { a.button href={ "?" (finished.query.to_the_start()) } { "First page" } }
                @if let Some(last) = next { a.button rel="next" href={ "?" (finished.query.going_on_after(last)) } { "Next page" } }
            }
        }
        (PreEscaped("</section>"))
        (markup::end())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ferry_wire::{Tag, Time};

    use super::*;
    use crate::{access::RightsTable, store::FileVersion};

    fn file(name: &str, size: u64) -> DirEntry {
        let mtime = Time::new(1_700_000_000, 0);
        let version = FileVersion { size, mtime, tag: Tag::new("t").unwrap(), mode: ferry_wire::Mode::of(0o644) };
        DirEntry { name: Name::new(name).unwrap(), status: Status::File(version) }
    }

    fn directory(name: &str) -> DirEntry {
        DirEntry { name: Name::new(name).unwrap(), status: Status::Directory { mtime: None, mode: None } }
    }

    fn viewer(rights: &[(&str, Rights)]) -> Viewer {
        let key = |text: &str| (!text.is_empty()).then(|| Name::new(text).unwrap());
        let rights = Arc::new(rights.iter().map(|&(text, rights)| (key(text), rights)).collect::<RightsTable>());
        Viewer { rights, writable: true, user: None, accounts: true }
    }

    fn rendered(name: Option<&str>, viewer: Viewer, query: &str, entries: Vec<DirEntry>) -> String {
        let mut page = Page::new(name.map(|name| Name::new(name).unwrap()), viewer, PageQuery::parse(query));
        page.entries(entries);
        page.finish();
        let mut out = Vec::new();
        loop {
            let before = out.len();
            let goes_on = page.write(&mut out);
            assert!(out.len() - before < 2 * PIECE_BYTES, "{}", out.len() - before);
            if !goes_on {
                break;
            }
        }
        assert!(!page.write(&mut Vec::new()));
        String::from_utf8(out).unwrap()
    }

    fn everything() -> Viewer {
        viewer(&[("", Rights::ALL)])
    }

    #[test]
    fn names_are_escaped_in_text_and_in_urls() {
        let name = "<b>\"&'\u{202e}?#%2e:x";
        let page = rendered(Some(&format!("dir {name}")), everything(), "filter=%22%3E", vec![]);
        assert!(page.contains("value=\"&quot;&gt;\""), "{page}");
        let url = "%3Cb%3E%22%26%27%E2%80%AE%3F%23%252e%3Ax";
        let text = "&lt;b&gt;&quot;&amp;'<span class=\"odd\">\\u{202e}</span>?#%2e:x";
        assert!(page.contains(&format!(
            "<title>dir {}</title>",
            text.replace("<span class=\"odd\">", "").replace("</span>", "")
        )));
        assert!(
            page.contains(&format!("<a href=\"/dir%20{url}/\" aria-current=\"page\"><bdi>dir {text}</bdi></a>")),
            "{page}"
        );
        assert!(page.contains(&format!("href=\"/?login=dir%20{url}/\"")), "{page}");
        let page = rendered(None, everything(), "", vec![file(name, 1), directory("javascript:alert(1)")]);
        assert!(page.contains(&format!("<use href=\"#i-file\"></use></svg><bdi>{text}</bdi></a>")), "{page}");
        assert!(page.contains(&format!("<a href=\"./{url}\">")), "{page}");
        assert!(page.contains("<a href=\"./javascript%3Aalert%281%29/\">"), "{page}");
        assert!(!page.contains('\u{202e}') && !page.contains("<b>\""));
    }

    #[test]
    fn nothing_is_inline_and_nothing_is_from_elsewhere() {
        let page = rendered(Some("a/b"), everything(), "sort=size", vec![file("x", 1), directory("d")]);
        for forbidden in ["<style", " style=", " onclick=", " onload=", "javascript:", "http:", "https:", "//", "data:"]
        {
            assert!(!page.contains(forbidden), "{forbidden}: {page}");
        }
        assert_eq!(page.matches("<script").count(), 1);
        // Each element that is opened is closed in its place.
        for element in ["html", "body", "main", "section", "table", "thead", "tbody", "header", "nav", "form"] {
            assert_eq!(
                page.matches(&format!("</{element}>")).count(),
                page.matches(&format!("<{element}")).count(),
                "{element}"
            );
        }
        assert!(page.ends_with("</tbody></table></section></main></body></html>\n"), "{page}");
        assert!(page.contains("defer></script>"));
    }

    #[test]
    fn what_somebody_may_not_do_is_not_shown() {
        let entries = || vec![file("x", 1), directory("hidden"), directory("inbox"), directory("d")];
        let reading = Rights::LIST | Rights::READ;
        let rights = [("", reading), ("hidden", Rights::NONE), ("inbox", Rights::ADD), ("d", Rights::ALL)];
        let page = rendered(None, viewer(&rights), "", entries());
        for absent in ["hidden</bdi>", "id=\"upload\"", "new-folder", "<noscript>"] {
            assert!(!page.contains(absent), "{absent}: {page}");
        }
        assert!(page.contains("href=\"./x\"") && page.contains("href=\"./inbox/\"") && page.contains("href=\"?tar\""));
        assert!(page.contains("<tr class=\"file\"><th"), "{page}");
        assert!(page.contains("<tr class=\"directory\" data-delete=\"./d/\"><th"), "{page}");

        let page = rendered(None, viewer(&[("", Rights::LIST)]), "", entries());
        assert!(page.contains("<span class=\"closed\">") && !page.contains("./x") && !page.contains("?tar"), "{page}");

        let read_only = Viewer { writable: false, ..everything() };
        let page = rendered(None, read_only, "", entries());
        for absent in ["data-delete", "id=\"upload\"", "new-folder"] {
            assert!(!page.contains(absent), "{absent}: {page}");
        }

        let page = rendered(Some("inbox"), viewer(&[("inbox", Rights::ADD)]), "", vec![]);
        assert!(page.contains("is not shown to you") && page.contains("id=\"upload\""), "{page}");
        assert!(!page.contains("filter") && !page.contains("?tar") && !page.contains("data-replace"), "{page}");
    }

    #[test]
    fn a_user_is_named_and_others_can_log_in() {
        let named = Viewer { user: Some("alice".into()), ..everything() };
        let page = rendered(None, named, "", vec![]);
        assert!(page.contains("Logged in as <b>alice</b>") && !page.contains("?login"), "{page}");
        assert!(rendered(None, everything(), "", vec![]).contains("<a href=\"/?login=\">Log in</a>"));
        let open = Viewer { accounts: false, ..everything() };
        assert!(!rendered(None, open, "", vec![]).contains("Log in"));
    }

    #[test]
    fn the_order_is_told_and_turned_around_by_its_link() {
        let page = rendered(None, everything(), "sort=size&order=desc&filter=a+b", vec![]);
        for part in [
            "<th scope=\"col\" class=\"size\" aria-sort=\"descending\"><a href=\"?sort=size&amp;order=asc&amp;filter=a+b\">",
            "<th scope=\"col\" class=\"name\"><a href=\"?sort=name&amp;order=asc&amp;filter=a+b\">",
            "No name has that in it.",
            "<a href=\"./\">Show all</a>",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }

    #[test]
    fn a_large_directory_has_pages_and_pieces() {
        let entries = |count: u64| (0..count).map(|n| file(&format!("f{n}"), n)).collect::<Vec<_>>();
        let page = rendered(None, everything(), "", entries(2500));
        assert_eq!(page.matches("<tr class=").count(), 1000);
        assert!(page.contains("0 folders, 2500 files, 2.98 MiB"), "{page:.3000}");
        assert!(page.contains("href=\"?sort=name&amp;order=asc&amp;after=f999\">Next page"));
        assert!(!page.contains("First page"));
        let page = rendered(None, everything(), "after=f1999", entries(2500));
        assert_eq!(page.matches("<tr class=").count(), 500);
        assert!(page.contains("First page") && !page.contains("Next page"));
        assert!(!rendered(None, everything(), "", entries(1000)).contains("aria-label=\"Pages\""));
    }
}
