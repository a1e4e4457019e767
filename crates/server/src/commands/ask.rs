//! `ferryd status` and `ferryd reload`: questions to a server that runs.

use std::{
    io::{self, Write as _},
    path::Path,
};

use clap::Args;
use ferry_wire::escaped;

use crate::control::{self, Question};

/// The arguments of `ferryd status`.
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Asks the server with the control socket `control`, or with one of the usual ones for `port`, and
/// prints its answer.
///
/// # Errors
///
/// In words, where no server answers, or it refuses.
pub fn run(question: Question, control: Option<&Path>, port: u16) -> Result<(), String> {
    let paths = control.map_or_else(|| control::usual_paths(port), |path| vec![path.into()]);
    let content = control::ask(&paths, question).map_err(|error| error.to_string())?;
    let mut stdout = io::stdout().lock();
    let printed = content.lines().try_for_each(|line| writeln!(stdout, "{}", escaped(line)));
    match printed.and_then(|()| stdout.flush()) {
        // The reader has closed the pipe, and has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.map_err(|error| format!("can't print: {error}")),
    }
}
