//! Lines from a terminal, with a history that is kept between runs.

use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use rustyline::{Config, DefaultEditor, config::Configurer as _, error::ReadlineError};

/// Lines kept: enough for months, little enough to read at every start.
const HISTORY_LINES: usize = 1000;

/// What a terminal gave.
pub(crate) enum Typed {
    Line(String),
    /// Ctrl-C: the line is dropped.
    Interrupted,
    /// Ctrl-D, or the terminal is gone.
    End,
}

/// The line editor.
pub(crate) struct Terminal {
    editor: DefaultEditor,
    history: Option<PathBuf>,
}

impl Terminal {
    /// Takes up the history of earlier runs, where there is one.
    pub(crate) fn new() -> rustyline::Result<Terminal> {
        let mut editor = DefaultEditor::with_config(Config::default())?;
        editor.set_max_history_size(HISTORY_LINES)?;
        editor.set_history_ignore_dups(true)?;
        // Pasted lines are then commands of their own, as if typed.
        editor.enable_bracketed_paste(false);
        let history = history_file();
        if let Some(path) = &history {
            // None is there at the first run.
            if let Err(error) = editor.load_history(path) {
                log::debug!("no history from {}: {error}", path.display());
            }
        }
        Ok(Terminal { editor, history })
    }

    /// Waits for a line.
    pub(crate) fn line(&mut self, prompt: &str) -> Typed {
        match self.editor.readline(prompt) {
            Ok(line) => {
                self.keep(&line);
                Typed::Line(line)
            }
            Err(ReadlineError::Interrupted) => Typed::Interrupted,
            Err(ReadlineError::Eof) => Typed::End,
            Err(error) => {
                log::error!("the terminal can't be read: {error}");
                Typed::End
            }
        }
    }

    /// Written at once: a later crash or a closed window loses nothing.
    fn keep(&mut self, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        let added = self.editor.add_history_entry(line);
        if let (Ok(true), Some(path)) = (added, &self.history)
            && let Err(error) = make_parent(path).map_err(Into::into).and_then(|()| self.editor.append_history(path))
        {
            log::warn!("cannot keep the history in {}: {error}", path.display());
            self.history = None;
        }
    }
}

/// What people type is theirs: nobody else may read it.
fn make_parent(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) => DirBuilder::new().recursive(true).mode(0o700).create(parent),
        None => Ok(()),
    }
}

/// `ferry/history` in the state directory of the XDG base directories; [`None`] without a home.
fn history_file() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("ferry/history"))
}
