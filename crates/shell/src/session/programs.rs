//! Programs of the user's choice, such as a pager and an editor.

use std::{
    env,
    ffi::OsString,
    os::unix::{ffi::OsStrExt as _, process::ExitStatusExt as _},
    process::{Command, ExitStatus},
};

use ferry_wire::escaped_bytes;

use crate::exit::{Exit, Failed};

/// The exit statuses of the system's shell where it finds no such program, or can't run it.
const NOT_RUN: [i32; 2] = [126, 127];

/// A program as a variable of the environment names it, which may have arguments of its own.
pub(super) struct Program {
    text: OsString,
}

impl Program {
    /// Returns the program that the first of `variables` names that is set, or else `usual`.
    pub(super) fn chosen(variables: &[&str], usual: &str) -> Program {
        let set = variables.iter().filter_map(env::var_os).find(|text| !text.as_bytes().trim_ascii().is_empty());
        Program { text: set.unwrap_or_else(|| usual.into()) }
    }

    /// Returns how to run it, with the arguments that are added. The system's shell takes its text apart, as every program
    /// does that knows such variables.
    pub(super) fn command(&self) -> Command {
        let mut line = self.text.clone();
        line.push(" \"$@\"");
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(line).arg("sh");
        command
    }

    /// Returns how it is shown.
    pub(super) fn shown(&self) -> String {
        escaped_bytes(self.text.as_bytes()).to_string()
    }

    /// Fails where it ended with anything but success.
    pub(super) fn judge(&self, verb: &str, status: ExitStatus) -> Result<(), Failed> {
        let program = self.shown();
        let failed = |why: String| Err(Failed::of(Exit::System, format!("{verb}: {why}")));
        match (status.code(), status.signal()) {
            (Some(0), _) => Ok(()),
            (Some(code), _) if NOT_RUN.contains(&code) => failed(format!("cannot run {program}")),
            (None, Some(signal)) => failed(format!("{program} was ended by signal {signal}")),
            (code, _) => failed(format!("{program} failed: exit status {}", code.unwrap_or_default())),
        }
    }
}
