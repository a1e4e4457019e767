//! CD, PWD, LCD, LPWD and the system's shell.

use std::{
    io,
    os::unix::{ffi::OsStrExt as _, process::ExitStatusExt as _},
    path::PathBuf,
    process::{Command, Stdio},
};

use ferry_client::{EntryKind, Error};
use ferry_wire::{escaped, escaped_bytes};

use super::{Session, names::bad_name};
use crate::{
    exit::{Exit, Failed, plain},
    output::Event,
};

impl Session {
    pub(super) fn enter(&mut self, text: Option<&str>) -> Result<(), Failed> {
        self.connected()?;
        let text = text.unwrap_or("/");
        let name = self.remote_name(text).map_err(|problem| bad_name("CD", text, problem))?;
        let kind = self.look("CD", name.as_ref())?;
        match kind {
            Some(EntryKind::Directory(_)) => {
                self.remote = name;
                Ok(())
            }
            kind => {
                let (exit, problem) = match &kind {
                    Some(_) => (Exit::Refused, "that is a file"),
                    None => (Exit::NotFound, "the server has no such directory"),
                };
                let failed = Failed::of(exit, format!("CD {}: {problem}", escaped(text))).about(text);
                Err(match name {
                    Some(name) => self.with_question(failed, &name),
                    None => failed,
                })
            }
        }
    }

    /// Returns the directory of the server that names are relative to, as PWD shows it.
    pub(super) fn place(&self) -> String {
        self.remote.as_ref().map_or_else(|| "/".to_owned(), |name| format!("/{name}"))
    }

    /// Returns the local directory that names are relative to, as LPWD shows it.
    pub(super) fn local_place(&self) -> PathBuf {
        std::path::absolute(&self.local).unwrap_or_else(|_| self.local.clone())
    }

    pub(super) fn tell_place(&mut self) -> Result<(), Failed> {
        self.connected()?;
        let place = self.place();
        self.output.answer(escaped(&place), || Event::new("place").with("directory", place.as_str()));
        Ok(())
    }

    pub(super) fn enter_local(&mut self, text: Option<&str>) -> Result<(), Failed> {
        let path = match text {
            None => self.local_start.clone(),
            Some(text) => self.local_path(text),
        };
        // Opened, so that one that nobody may read is refused now.
        if let Err(source) = std::fs::read_dir(&path) {
            let shown = escaped_bytes(path.as_os_str().as_bytes()).to_string();
            let missing = source.kind() == io::ErrorKind::NotFound;
            let failed = Failed::new("LCD", &Error::Local { what: "read the directory", path, source });
            return Err(if missing { failed.saying(format!("LCD: there is no directory {shown}")) } else { failed });
        }
        // `..` is taken by the system: behind a link it is another directory than it looks like.
        self.local = path.canonicalize().unwrap_or(path);
        Ok(())
    }

    pub(super) fn tell_local_place(&mut self) {
        let path = self.local_place();
        self.output.answer(escaped_bytes(path.as_os_str().as_bytes()), || {
            Event::new("local-place").with("directory", path.to_string_lossy())
        });
    }

    /// Runs `command` by the user's shell, or that shell alone.
    pub(super) fn run_shell(&mut self, command: Option<&str>) -> Result<(), Failed> {
        self.output.flush();
        let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty()).unwrap_or_else(|| "/bin/sh".into());
        let mut child = Command::new(&shell);
        if let Some(command) = command {
            child.arg("-c").arg(command);
        }
        if !self.interactive && !self.input_is_free {
            // It would take the commands that follow.
            child.stdin(Stdio::null());
        }
        let status = child.current_dir(&self.local).status().map_err(|error| {
            let shell = escaped_bytes(shell.as_bytes());
            Failed::of(Exit::System, format!("!: cannot run {shell}: {}", plain(&error)))
        })?;
        match (status.code(), status.signal()) {
            (Some(0), _) => Ok(()),
            (None, Some(signal)) => Err(ended(command, &format!("ended by signal {signal}"))),
            (code, _) => Err(ended(command, &format!("exit status {}", code.unwrap_or_default()))),
        }
    }
}

fn ended(command: Option<&str>, how: &str) -> Failed {
    Failed::of(Exit::System, format!("!{}: {how}", escaped(command.unwrap_or_default())))
}
