//! GET.

use std::path::Path;

use ferry_client::{Direction, EntryKind, HeldDirectory, IfTaken, LocalPath, Name};
use ferry_wire::escaped;

use super::{Session, failures::Failures, names::Meant, planning::Chosen, watcher::Manner};
use crate::{
    command::{Get, Target, Transfer},
    exit::{Exit, Failed},
};

const VERB: &str = "GET";

/// The words for a command that moves nothing, because something can't be moved.
const NOTHING: &str = "nothing was fetched; -k fetches the rest";

/// Where files are saved: what was typed may lead through links, what the server calls them may not.
#[derive(Debug, Clone, PartialEq, Eq)]
enum SaveAs {
    /// In this directory, under the last part of their names.
    In(HeldDirectory),
    /// Under this name.
    Named(LocalPath),
}

/// Something of the server that is to be fetched.
struct Wanted<'a> {
    name: Option<&'a Name>,
    recursive: bool,
    /// A pattern has found it as one of many: a directory is left out then, unless whole ones are meant.
    is_one_of_many: bool,
    /// A list has the wanted things beneath it.
    listed: bool,
}

impl SaveAs {
    /// Returns where something is saved that the server calls `name`; its root is what is in it.
    fn target(&self, name: Option<&Name>) -> LocalPath {
        match self {
            SaveAs::In(directory) => directory.place(name.map_or("", Name::last)),
            SaveAs::Named(path) => path.clone(),
        }
    }
}

impl Session {
    pub(super) fn get(&mut self, Get { transfer, sparse, no_links }: &Get) -> Result<(), Failed> {
        no_links.check(VERB)?;
        let mut failures = self.failures(transfer.moves.going_on, transfer.moves.recursive);
        match self.get_all(transfer, *sparse, &mut failures) {
            Ok(()) => failures.end(VERB),
            Err(failed) => Err(failures.end_by(failed)),
        }
    }

    fn get_all(&mut self, transfer: &Transfer, sparse: bool, failures: &mut Failures) -> Result<(), Failed> {
        let choice = self.choice_with(VERB, &transfer.moves.choosing, &transfer.moves.listed, transfer.ignore_files)?;
        let meant = self.find(VERB, &transfer.names, failures)?;
        let save_as = match &transfer.target {
            Some(Target::Stream) if !transfer.moves.dry_run => return self.get_to_output(&meant, failures),
            Some(Target::Name(text)) => self.save_as(text, &meant)?,
            _ => SaveAs::In(HeldDirectory::at(&self.local)),
        };
        let (listed, has_limits) = (choice.only.is_some(), choice.has_limits());
        let mut chosen = Chosen::new(Direction::Down, choice, transfer.moves.perms.permissions());
        for one in &meant {
            let kind = match &one.kind {
                None if transfer.moves.recursive || has_limits || one.name.is_none() => {
                    self.look(VERB, one.name.as_ref())?
                }
                kind => kind.clone(),
            };
            let is_one_of_many = one.matched && meant.len() > 1;
            let wanted =
                Wanted { name: one.name.as_ref(), recursive: transfer.moves.recursive, is_one_of_many, listed };
            if let Err(failed) = self.choose_to_get(&wanted, kind, &save_as, &mut chosen) {
                failures.take(&mut self.output, failed)?;
            }
        }
        if !chosen.directories.is_empty() && chosen.directories.len() == meant.len() {
            let message = format!("{VERB}: only directories match; {VERB} -r fetches them");
            return Err(Failed::of(Exit::Refused, message));
        }
        let trees = chosen.trees;
        let plan = self.settle(VERB, chosen, NOTHING, failures)?;
        if transfer.moves.dry_run {
            self.tell_plan(VERB, &plan);
            return Ok(());
        }
        if plan.make.is_empty() && plan.transfers.is_empty() && !failures.is_clean() {
            // Nothing is left to do, and perhaps no connection to do it with.
            return Ok(());
        }
        let absolute = meant.iter().any(|meant| meant.typed.starts_with('/'));
        let manner = Manner {
            verb: VERB,
            whole_directories: transfer.moves.recursive,
            single: trees == 0 && meant.len() == 1 && transfer.names.words.len() == 1,
            hint: absolute.then_some("a name that begins with '/' is one beneath the server's root"),
            if_taken: IfTaken::Replace,
            sparse,
            permissions: transfer.moves.perms.permissions(),
            tells_of_none: true,
            copies: false,
        };
        self.carry_out(&plan, manner, failures).1
    }

    /// Returns where files go that are to be saved as `text`.
    fn save_as(&self, text: &str, meant: &[Meant]) -> Result<SaveAs, Failed> {
        let path = self.local_path(text);
        if path.is_dir() {
            return Ok(SaveAs::In(HeldDirectory::at(path)));
        }
        if text.ends_with('/') || meant.len() > 1 {
            let message = format!("{VERB}: {} is no directory to save in", escaped(text));
            return Err(Failed::of(Exit::Local, message).about(text));
        }
        Ok(SaveAs::Named(in_its_directory(&path)))
    }

    /// Adds something of the server to what is chosen.
    fn choose_to_get(
        &mut self,
        wanted: &Wanted<'_>,
        kind: Option<EntryKind>,
        save_as: &SaveAs,
        chosen: &mut Chosen,
    ) -> Result<(), Failed> {
        let Wanted { name, recursive, is_one_of_many, listed } = *wanted;
        let shown = self.shown(name);
        let is_directory = matches!(kind, Some(EntryKind::Directory(_)));
        match (name, kind) {
            _ if listed && !is_directory => {
                let message = format!("{VERB} {shown}: --files-from has names in a directory, and that is none");
                return Err(Failed::of(Exit::Refused, message).about(shown));
            }
            _ if is_directory && recursive => {
                self.connected()?;
                // The names of a list are made where files are saved, and not the directory that they are in.
                let target = if listed { save_as.target(None) } else { save_as.target(name) };
                let added = self.look_through(format!("{VERB} {shown}"), |client, watch| match listed {
                    true => chosen.planner.add_content(client, &target, name, watch),
                    false => chosen.planner.add_directory(client, &target, name, watch),
                });
                added.map_err(|error| self.failure_of(VERB, name, &error))?;
                chosen.trees += 1;
            }
            _ if is_directory && is_one_of_many => chosen.directories.push(shown),
            (None, _) => {
                let message = format!("{VERB} {shown}: that is a directory; {VERB} -r {shown} fetches it");
                return Err(Failed::of(Exit::Refused, message).about(shown));
            }
            (Some(name), kind) => {
                let meta = match kind {
                    Some(EntryKind::File(meta)) => Some(meta),
                    _ => None,
                };
                chosen.planner.add_file(save_as.target(Some(name)), name.clone(), meta);
            }
        }
        Ok(())
    }
}

/// Returns a path that was typed, whose last part is not there yet: links are followed only above it.
fn in_its_directory(path: &Path) -> LocalPath {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(last)) => HeldDirectory::at(parent).place(last),
        _ => path.into(),
    }
}
