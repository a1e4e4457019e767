//! EDIT.

use std::{
    fs::{File, Permissions},
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::PathBuf,
    process::{ExitStatus, Stdio},
};

use ferry_client::{Code, Direction, Error, Event as Step, Greeting, Moved, Name, Part, Tag};
use ferry_wire::{Crc32, Digest, escaped, escaped_bytes};
use tempfile::TempDir;

use super::{Session, connection::tell_lost, failures::Failures, names::Meant, programs::Program, watcher::worth};
use crate::{
    command::Names,
    exit::{Exit, Failed, plain},
    figures::Size,
    output::Event,
};

const VERB: &str = "EDIT";

/// The mode of a directory into which nobody but its owner may look.
const OWNERS_ALONE: u32 = 0o700;

/// Returns why a file of a server can't be edited that is too old for it.
fn no_versions() -> Error {
    Error::Lacking { what: "be told which version to replace", feature: Greeting::WITH_IF_TAG }
}

/// A file of the server, to be edited here.
struct Draft {
    /// Nobody else may look into it.
    directory: TempDir,
    path: PathBuf,
    name: Name,
    /// The version that was fetched.
    tag: Tag,
    /// Its size and CRC.
    fetched: (u64, Crc32),
}

impl Session {
    pub(super) fn edit(&mut self, names: &Names) -> Result<(), Failed> {
        let meant = self.find(VERB, names, &mut Failures::new(false))?;
        for Meant { name, typed, .. } in meant {
            let Some(name) = name else {
                return Err(Failed::usage(format!("{VERB} {}: that is a directory", escaped(&typed))).about(typed));
            };
            self.edit_one(name)?;
        }
        Ok(())
    }

    fn edit_one(&mut self, name: Name) -> Result<(), Failed> {
        self.check_editable()?;
        let draft = self.fetch_draft(name)?;
        self.output.flush();
        let edited = self.run_editor(&draft);
        // Ctrl-C was for the editor, as long as there is a shell to go on in.
        if self.interactive {
            self.cancel.reset();
        }
        let changed = draft.has_changed();
        match (edited, changed) {
            (Ok(()), Ok(true)) => {}
            (Ok(()), Ok(false)) => {
                let shown = self.shown(Some(&draft.name));
                self.output.say(format_args!("{shown} is unchanged"), || {
                    Event::new("unchanged").with("name", draft.name.as_str())
                });
                return Ok(());
            }
            (Ok(()), Err(failed)) => return Err(failed.and("nothing was changed")),
            (Err(failed), Ok(true)) => return Err(draft.keep(failed.and("nothing was changed"))),
            (Err(failed), _) => return Err(failed.and("nothing was changed")),
        }
        match self.store_draft(&draft) {
            Ok(moved) => {
                self.tell_edited(&draft.name, &moved);
                Ok(())
            }
            Err(failed) => Err(draft.keep(failed)),
        }
    }

    /// Refuses before a person has worked in vain.
    fn check_editable(&mut self) -> Result<(), Failed> {
        let greeting = self.connected()?.greeting();
        let refused = |why: &str| Err(Failed::of(Exit::Refused, format!("{VERB}: {why}")));
        match () {
            () if greeting.has(Greeting::READ_ONLY) => refused("the server is read-only"),
            () if !greeting.has(Greeting::WITH_IF_TAG) => refused(&no_versions().to_string()),
            () => Ok(()),
        }
    }

    fn fetch_draft(&mut self, name: Name) -> Result<Draft, Failed> {
        let local = |error: std::io::Error| {
            Failed::of(Exit::Local, format!("{VERB}: cannot make a private copy: {}", plain(&error)))
        };
        let mut builder = tempfile::Builder::new();
        let directory = builder.prefix("ferry-edit-").permissions(Permissions::from_mode(OWNERS_ALONE));
        let directory = directory.tempdir().map_err(local)?;
        let path = directory.path().join(name.last());
        let mut file = File::create_new(&path).map_err(local)?;
        let read = self.connected()?.read(&name, &Part::default(), &mut file);
        let read = read.map_err(|error| match &error {
            Error::System { source, .. } => local(std::io::Error::new(source.kind(), plain(source))),
            _ => self.failure_of(VERB, Some(&name), &error),
        })?;
        Ok(Draft { directory, path, name, tag: read.meta.tag, fetched: (read.size, read.crc) })
    }

    fn run_editor(&self, draft: &Draft) -> Result<(), Failed> {
        let editor = Program::chosen(&["VISUAL", "EDITOR"], "vi");
        let mut command = editor.command();
        command.arg(&draft.path).current_dir(&self.local);
        if !self.interactive && !self.input_is_free {
            // It would take the commands that follow.
            command.stdin(Stdio::null());
        }
        let status: ExitStatus = command.status().map_err(|error| {
            Failed::of(Exit::System, format!("{VERB}: cannot run {}: {}", editor.shown(), plain(&error)))
        })?;
        editor.judge(VERB, status)
    }

    /// Stores what was edited, if the server has the version still that was fetched.
    fn store_draft(&mut self, draft: &Draft) -> Result<Moved, Failed> {
        let mut file = File::open(&draft.path).map_err(|error| draft.unreadable(&error))?;
        let settings = self.settings.clone();
        let Session { client: Some(client), output, .. } = self else { return Err(super::not_connected()) };
        let mut watch = |step: &Step<'_>| match step {
            Step::Reconnected => output.remark("connected again", || Event::new("reconnected")),
            step => tell_lost(output, "connection lost", step, settings.retries),
        };
        // While a person types, a server closes.
        let ready = client.check().or_else(|error| {
            log::info!("while a file was edited: {error}");
            client.patiently(&settings, &mut watch, ferry_client::Client::reconnect)
        });
        let stored = ready.and_then(|()| client.replace(&draft.name, &draft.tag, &mut file, &settings, &mut watch));
        stored.map_err(|error| {
            let shown = self.shown(Some(&draft.name));
            let failed = self.failure_of(VERB, Some(&draft.name), &error);
            match error.code() {
                Some(Code::Changed) => failed.saying(format!("{VERB} {shown}: somebody else has changed it meanwhile")),
                _ => failed,
            }
        })
    }

    fn tell_edited(&mut self, name: &Name, moved: &Moved) {
        self.put.files += 1;
        self.put.bytes += moved.size;
        let (shown, durable) = (self.shown(Some(name)), self.is_durable());
        let worth = worth(Direction::Up, durable);
        self.output.say(format_args!("edited {shown}: {}, {worth}", Size(moved.size)), || {
            let event = Event::new("edited").with("name", name.as_str()).with("bytes", moved.size);
            event.with("crc", moved.crc.to_string()).with("durable", durable)
        });
    }
}

impl Draft {
    /// Returns whether the editor has left other bytes than were fetched.
    fn has_changed(&self) -> Result<bool, Failed> {
        let digest = File::open(&self.path).and_then(|mut file| {
            let mut digest = Digesting(Digest::new());
            std::io::copy(&mut file, &mut digest)?;
            Ok(digest.0)
        });
        let digest = digest.map_err(|error| self.unreadable(&error))?;
        Ok((digest.bytes(), digest.crc()) != self.fetched)
    }

    fn unreadable(&self, error: &std::io::Error) -> Failed {
        let message = format!("{VERB}: cannot read what the editor has left: {}", plain(error));
        Failed::of(Exit::Local, message).about(self.path.to_string_lossy())
    }

    /// Keeps what was edited, and says where.
    fn keep(self, failed: Failed) -> Failed {
        // It stays although the directory is forgotten.
        let _ = self.directory.keep();
        failed.and(format_args!("what you have edited is in {}", escaped_bytes(self.path.as_os_str().as_bytes())))
    }
}

/// Takes the digest of what is written to it.
struct Digesting(Digest);

impl std::io::Write for Digesting {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
