//! The arguments of `ferry cp` and `ferry watch`, which name servers themselves: HOST:NAME.

use clap::{Args, ValueHint};

use super::{
    choosing::{Choosing, IgnoreFiles, Listed, NoLinks, NothingLocal},
    perms::Perms,
    transfers::{Clobbering, Move},
    value::{number, place},
};
use crate::words::Word;

/// Something of a server, as it is typed: `HOST:NAME`.
///
/// HOST is what it is elsewhere: a port of this machine, host:port, or a bookmark, with USER@ in front or without. Where the first
/// word is no port and only digits stand between it and a second colon, these are the port: `nas:12000:a` is the name `a` on port
/// 12000 of `nas`, and `nas:12000` the name `12000` on the bookmark `nas`. A `/` in front of NAME ends all doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct There {
    /// The server, as other subcommands take it.
    pub(crate) host: String,
    /// The name, or `/` for the root where none was typed.
    pub(crate) name: Word,
}

/// The arguments of `ferry cp`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct CopyArgs {
    #[command(flatten)]
    pub(crate) moves: Move,
    #[command(flatten)]
    pub(crate) clobbering: Clobbering,
    #[command(flatten)]
    pub(crate) nothing_local: NothingLocal,
    /// The files or patterns, all of one server, and the new name or the directory to put them in
    #[arg(value_name = "HOST:NAME", required = true, num_args = 2.., value_parser = there)]
    pub(crate) places: Vec<There>,
}

/// The arguments of `ferry watch`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct WatchArgs {
    /// Compare by content, not by time
    #[arg(short, long)]
    pub(crate) check: bool,
    /// Delete what is not here any more, and at the start what only the server has
    #[arg(short = 'D', long)]
    pub(crate) delete: bool,
    /// Leave files as they are that are newer on the server
    #[arg(long)]
    pub(crate) update: bool,
    #[command(flatten)]
    pub(crate) perms: Perms,
    /// End if more than N things would be deleted at once [default: as SYNC at the start, then half of what was here, 10 to
    /// 1000]
    #[arg(short = 'M', long, value_name = "N", value_parser = number, allow_hyphen_values = true)]
    pub(crate) max_delete: Option<usize>,
    /// Keep replaced and deleted files there in DIR, which is outside of the server's directory
    #[arg(short = 'B', long, value_name = "DIR", value_parser = place)]
    pub(crate) backup_dir: Option<Word>,
    #[command(flatten)]
    pub(crate) choosing: Choosing,
    #[command(flatten)]
    pub(crate) listed: Listed,
    #[command(flatten)]
    pub(crate) ignore_files: IgnoreFiles,
    #[command(flatten)]
    pub(crate) no_links: NoLinks,
    /// The local directory
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath, value_parser = place)]
    pub(crate) directory: Word,
    /// The server's directory, made if missing
    #[arg(value_name = "HOST:DIR", value_parser = there)]
    pub(crate) target: There,
}

/// Parses `HOST:NAME`.
pub(super) fn there(argument: &str) -> Result<There, String> {
    let text = Word::of_argument(argument).text;
    let (host, name) = split(&text).ok_or_else(|| {
        "HOST:NAME is needed, as 12000:a.txt, nas:12000:a.txt or a bookmark:a.txt; get and put move local files"
            .to_owned()
    })?;
    let name = if name.is_empty() { "/" } else { name };
    Ok(There { host: host.to_owned(), name: Word::of_argument(name) })
}

/// Parts the server from the name.
fn split(text: &str) -> Option<(&str, &str)> {
    // A user has no colon, and neither has a host that is not in brackets.
    let user = text.find(['@', ':', '[', '/']).filter(|&at| text[at..].starts_with('@')).map_or(0, |at| at + 1);
    let place = &text[user..];
    let word = match place.strip_prefix('[') {
        Some(inner) => inner.find(']')? + 2,
        None => place.find(':')?,
    };
    let rest = place[word..].strip_prefix(':')?;
    let is_port = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let host = match rest.split_once(':') {
        Some((port, _)) if is_port(port) && !is_port(&place[..word]) => word + 1 + port.len(),
        _ => word,
    };
    let (host, name) = text.split_at(user + host);
    let is_host = host.len() > user && !host.contains('/');
    name.strip_prefix(':').filter(|_| is_host).map(|name| (host, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_names_are_told_apart_without_knowing_either() {
        for (text, host, name) in [
            ("12000:a", "12000", "a"),
            ("12000:", "12000", "/"),
            ("12000:13000:x", "12000", "13000:x"),
            ("nas:12000:a", "nas:12000", "a"),
            ("nas:12000", "nas", "12000"),
            ("nas:/12000:x", "nas", "/12000:x"),
            ("nas:a:b:1", "nas", "a:b:1"),
            ("nas.example:1:a:b", "nas.example:1", "a:b"),
            ("10.0.0.7:12000:d/e", "10.0.0.7:12000", "d/e"),
            ("[::1]:12000:a", "[::1]:12000", "a"),
            ("[::1]:12000:", "[::1]:12000", "/"),
            ("alice@nas:a@b", "alice@nas", "a@b"),
            ("alice@[::1]:5:x", "alice@[::1]:5", "x"),
            ("nas:x@y:1:z", "nas", "x@y:1:z"),
            ("my-nas_1.x:two words", "my-nas_1.x", "two words"),
        ] {
            let there = there(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!((&*there.host, &*there.name.text), (host, name), "{text}");
        }
        for text in ["a.txt", "", ":a", "./a:b", "/a:b", "d/a:b", "@:a", "[::1", "[::1]", "[::1]x", "alice@:a"] {
            assert!(there(text).is_err(), "{text}");
        }
    }
}
