//! Checks of what a run may have made of two trees, and what it must have where it claims success.

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
};

use crate::snapshot::{Node, Tree};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Put,
    SyncDown,
    SyncUp,
}

/// One command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Op {
    pub(crate) verb: Verb,
    pub(crate) keep_going: bool,
    pub(crate) delete: bool,
    pub(crate) by_content: bool,
    pub(crate) backup: bool,
    pub(crate) perms: Perms,
    /// Nothing of the name [`EXCLUDED`] is taken, nor what is in it.
    pub(crate) excludes: bool,
}

/// The name that a rule leaves out.
const EXCLUDED: &str = "b";

/// The permissions that files bring with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Perms {
    Usual,
    Owner,
    All,
}

impl Perms {
    fn mask(self) -> u32 {
        match self {
            Perms::Usual => 0,
            Perms::Owner => 0o700,
            Perms::All => 0o777,
        }
    }

    /// Returns the permissions of a copy of a file of `source` that would have `usual`.
    fn over(self, usual: u32, source: u32) -> u32 {
        self.taken(usual, source, 0o400)
    }

    /// Does the same for a directory.
    fn over_directory(self, usual: u32, source: u32) -> u32 {
        self.taken(usual, source, 0o500)
    }

    /// Does the same; the owner may always do what `owner` says.
    fn taken(self, usual: u32, source: u32, owner: u32) -> u32 {
        match self.mask() {
            0 => usual,
            mask => usual & !mask | source & mask | owner,
        }
    }
}

impl Op {
    pub(crate) fn is_down(self) -> bool {
        matches!(self.verb, Verb::Get | Verb::SyncDown)
    }

    /// Whether a rule leaves it out.
    fn leaves_out(self, path: &Path) -> bool {
        self.excludes && path.iter().any(|part| part == EXCLUDED)
    }

    fn is_sync(self) -> bool {
        matches!(self.verb, Verb::SyncDown | Verb::SyncUp)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.verb {
            Verb::Get => "GET -r",
            Verb::Put => "PUT -r",
            Verb::SyncDown => "SYNC -d",
            Verb::SyncUp => "SYNC -u",
        };
        write!(f, "{verb}{}", if self.keep_going { " -k" } else { "" })?;
        write!(f, "{}", if self.by_content { " -c" } else { "" })?;
        let perms = match self.perms {
            Perms::Usual => "",
            Perms::Owner => " --perms",
            Perms::All => " --perms=all",
        };
        write!(f, "{perms}{}", if self.excludes { " --exclude b" } else { "" })?;
        write!(f, "{}", if self.delete { " --delete --max-delete 100000" } else { "" })
    }
}

/// The tree that is read, and the one that is changed, before and after.
pub(crate) struct Run<'a> {
    pub(crate) op: Op,
    pub(crate) source: &'a Tree,
    pub(crate) before: &'a Tree,
    pub(crate) after: &'a Tree,
    /// The permissions that new files may have.
    pub(crate) new_mode: u32,
    /// The permissions that new directories may have.
    pub(crate) new_directory: u32,
    /// The path that was a link for a while, and may have been left out for that.
    pub(crate) swapped: Option<&'a Path>,
    /// The part of the changed tree that was kept, where that was asked for.
    pub(crate) kept: Option<&'a Tree>,
}

fn kind(node: &Node) -> u8 {
    match node {
        Node::Directory(_) => 0,
        Node::File(_) => 1,
        Node::Link(_) => 2,
    }
}

impl Run<'_> {
    /// Whether nothing is in the way of making both alike.
    pub(crate) fn is_plain(&self) -> bool {
        let links = |tree: &Tree| tree.values().any(|node| matches!(node, Node::Link(_)));
        let conflict = |(path, node): (&PathBuf, &Node)| {
            let other = self.before.get(path);
            other.is_some_and(|other| kind(other) != kind(node))
        };
        // What a rule protects does not make way.
        let makes_way = self.op.is_sync() && self.op.delete && !self.op.excludes;
        // Where permissions are kept, a directory lets its owner in for as long as it takes.
        let is_closed = |node: &Node| matches!(node, Node::Directory(mode) if mode & 0o200 == 0);
        if self.op.perms == Perms::Usual && self.before.values().any(is_closed) {
            return false;
        }
        !links(self.source) && !links(self.before) && (makes_way || !self.source.iter().any(conflict))
    }

    /// Checks what holds however it ended.
    pub(crate) fn check_changes(&self) -> Result<(), String> {
        let paths: BTreeSet<&PathBuf> = self.before.keys().chain(self.after.keys()).collect();
        for path in paths {
            self.check_change(path).map_err(|problem| format!("{}: {problem}", path.display()))?;
        }
        Ok(())
    }

    fn check_change(&self, path: &Path) -> Result<(), String> {
        let (before, after, source) = (self.before.get(path), self.after.get(path), self.source.get(path));
        let makes_way = self.op.is_sync() && self.op.delete;
        if before == after {
            return Ok(());
        }
        if self.op.leaves_out(path) {
            return Err(format!("{before:?} became {after:?}, and is excluded"));
        }
        self.check_kept(path)?;
        let ok = match (before, after) {
            (Some(_), None) => return if makes_way { self.check_gone(path) } else { Err("is gone".to_owned()) },
            (None, Some(Node::Directory(_))) => source.is_some_and(Node::is_directory),
            (Some(Node::Directory(_)), Some(Node::Directory(_))) => true,
            (None, Some(Node::File(_))) => true,
            (Some(Node::File(_)), Some(Node::File(_))) => true,
            (Some(Node::Link(_)), Some(Node::File(_))) => self.op.verb == Verb::Get,
            (Some(Node::Directory(_)), Some(Node::File(_))) => makes_way,
            (Some(Node::File(_)), Some(Node::Directory(_))) => makes_way && source.is_some_and(Node::is_directory),
            _ => false,
        };
        if !ok {
            return Err(format!("{before:?} became {after:?}, where {source:?} is at the other end"));
        }
        if let Some(Node::Directory(mode)) = after {
            return self.check_directory(before, *mode, source);
        }
        let Some(Node::File(new)) = after else { return Ok(()) };
        match source {
            Some(Node::File(source)) if new.is_copy_of(source) => {}
            source => return Err(format!("is no copy: {new:?}, where {source:?} is at the other end")),
        }
        let mode = match before {
            Some(Node::File(old)) => old.mode & 0o777,
            _ => self.new_mode,
        };
        let Some(Node::File(source)) = source else { return Ok(()) };
        let mode = self.op.perms.over(mode, source.mode);
        // The server has a umask of its own for new files: there those count that it was told.
        let told = match self.op.perms {
            _ if self.op.is_down() => 0o7777,
            Perms::Usual => 0,
            Perms::Owner => 0o7700,
            Perms::All => 0o7777,
        };
        if new.mode & told != mode & told {
            return Err(format!("has the permissions {:o} for {mode:o}", new.mode));
        }
        Ok(())
    }

    /// Checks the permissions of a directory that was made, or has got others: before it is done, its owner may write.
    fn check_directory(&self, before: Option<&Node>, mode: u32, source: Option<&Node>) -> Result<(), String> {
        let (old, is_new) = match before {
            Some(Node::Directory(old)) => (*old, false),
            _ => (self.new_directory, true),
        };
        let done = match source {
            Some(Node::Directory(source)) => self.op.perms.over_directory(old, *source),
            _ => old,
        };
        // The server has a umask of its own.
        let told = if is_new && !self.op.is_down() { self.op.perms.mask() } else { 0o7777 };
        let open = [old | 0o700, done | 0o700, (done | 0o700) & (old | 0o700)];
        let may_be_open = self.op.perms != Perms::Usual;
        let fits = |expected: &u32| expected & told == mode & told;
        match fits(&done) || may_be_open && open.iter().any(fits) {
            true => Ok(()),
            false => Err(format!("has the permissions {mode:o} for {done:o}")),
        }
    }

    /// It is not there any more: nothing may be there at the other end, or something of another kind that it makes way for.
    fn check_gone(&self, path: &Path) -> Result<(), String> {
        for above in path.ancestors().filter(|above| !above.as_os_str().is_empty()) {
            match (self.before.get(above), self.source.get(above)) {
                (Some(Node::Link(_)), _) => return Err("is gone, and was a link".to_owned()),
                (_, Some(Node::Link(_))) => return Err("is gone, and can't be looked at at the other end".to_owned()),
                (Some(before), Some(source)) if kind(before) != kind(source) => return Ok(()),
                _ => {}
            }
        }
        if self.source.contains_key(path) { Err("is gone, and is there at the other end".to_owned()) } else { Ok(()) }
    }

    /// Checks that what was replaced or deleted is kept where that was asked for.
    fn check_kept(&self, path: &Path) -> Result<(), String> {
        let (Some(kept), Some(Node::File(old))) = (self.kept, self.before.get(path)) else { return Ok(()) };
        if matches!(self.after.get(path), Some(Node::File(new)) if new.has_bytes_of(old)) {
            return Ok(());
        }
        let numbered = format!("{}.~", path.display());
        let is_it = |(at, node): (&PathBuf, &Node)| {
            let named = at == path || at.to_str().is_some_and(|at| at.starts_with(&numbered));
            named && matches!(node, Node::File(copy) if copy.is_copy_of(old))
        };
        if kept.iter().any(is_it) { Ok(()) } else { Err("was not kept".to_owned()) }
    }

    /// Checks what holds where all is said to be done.
    pub(crate) fn check_success(&self) -> Result<(), String> {
        // Things at or beneath a link are left out by rule.
        let links: Vec<&PathBuf> = [(self.source, true), (self.before, self.op.verb == Verb::SyncDown)]
            .into_iter()
            .filter(|(_, counts)| *counts)
            .flat_map(|(tree, _)| tree.iter().filter(|(_, node)| matches!(node, Node::Link(_))).map(|(path, _)| path))
            .collect();
        let links: Vec<&Path> = links.into_iter().map(PathBuf::as_path).chain(self.swapped).collect();
        let is_left_out = |path: &Path| links.iter().any(|link| path.starts_with(link)) || self.op.leaves_out(path);
        for (path, node) in self.source.iter().filter(|(path, _)| !is_left_out(path)) {
            let same = match (node, self.after.get(path)) {
                (Node::File(from), Some(Node::File(to))) => {
                    let is_it = if self.op.is_sync() { to.has_bytes_of(from) } else { to.is_copy_of(from) };
                    is_it && self.op.perms.over(to.mode, from.mode) == to.mode
                }
                (Node::Directory(from), Some(Node::Directory(to))) => self.op.perms.over_directory(*to, *from) == *to,
                _ => false,
            };
            if !same {
                return Err(format!("{}: {:?} is said to be {node:?}", path.display(), self.after.get(path)));
            }
        }
        if !self.op.delete || !self.op.is_sync() {
            return Ok(());
        }
        let excluded = self.after.keys().filter(|path| self.op.leaves_out(path)).map(PathBuf::as_path);
        let staying: Vec<&Path> = links.iter().copied().chain(excluded).collect();
        let holds_link = |path: &Path| staying.iter().any(|link| link.starts_with(path));
        // A link of the server does not exist for a client.
        let is_link = |path: &Path| matches!(self.after.get(path), Some(Node::Link(_)));
        let extra = |path: &&PathBuf| {
            !self.source.contains_key(*path) && !is_left_out(path) && !holds_link(path) && !is_link(path)
        };
        match self.after.keys().find(extra) {
            Some(path) => Err(format!("{}: is said to be deleted", path.display())),
            None => Ok(()),
        }
    }
}
