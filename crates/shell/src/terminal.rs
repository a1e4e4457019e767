//! Lines from a terminal, with a history that is kept between runs.

use std::{
    env,
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
};

use ferry_wire::escaped;
use rustyline::{
    CompletionType, Config, Editor,
    config::{Builder, ColorMode, Configurer as _},
    error::ReadlineError,
    history::DefaultHistory,
};

use super::{
    command,
    completion::{Assistant, Situation},
    paths,
    progress::Keyboard,
};

/// Lines kept: enough for months, little enough to read at every start.
const HISTORY_LINES: usize = 1000;

/// The outcome of reading a line from a terminal.
pub(crate) enum Typed {
    Line(String),
    /// Ctrl-C: the line is dropped.
    Interrupted,
    /// Ctrl-D, or the terminal is gone.
    End,
}

/// The line editor.
pub(crate) struct Terminal {
    editor: Editor<Assistant, DefaultHistory>,
    history: Option<PathBuf>,
    colours: bool,
}

impl Terminal {
    /// Takes up the history of earlier runs, where there is one.
    pub(crate) fn new() -> rustyline::Result<Terminal> {
        let colours = colours();
        let mut editor = Editor::with_config(config(colours))?;
        editor.set_max_history_size(HISTORY_LINES)?;
        editor.set_history_ignore_dups(true)?;
        // Pasted lines are then commands of their own, as if typed.
        editor.enable_bracketed_paste(false);
        editor.set_helper(Some(Assistant::new()));
        let history = paths::history_file();
        if let Some(path) = &history {
            // None is there at the first run.
            if let Err(error) = editor.load_history(path) {
                log::debug!("no history from {}: {error}", path.display());
            }
        }
        Ok(Terminal { editor, history, colours })
    }

    /// Waits for a line that is typed in `situation`. What was typed at `keyboard` before comes first.
    pub(crate) fn line(&mut self, prompt: &str, situation: Situation, keyboard: &Keyboard) -> Typed {
        if let Some(line) = keyboard.take_line() {
            // As it would stand there had it been typed now.
            println!("{prompt}{}", escaped(&line));
            self.keep(&line);
            return Typed::Line(line);
        }
        if let Some(assistant) = self.editor.helper_mut() {
            assistant.stand(Situation { colours: self.colours, ..situation });
        }
        let begun: String = keyboard.take_begun().chars().filter(|character| !character.is_control()).collect();
        match self.editor.readline_with_initial(prompt, (&begun, "")) {
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

    /// Returns earlier lines, the oldest first.
    pub(crate) fn history(&self) -> Vec<String> {
        self.editor.history().iter().cloned().collect()
    }

    /// Keeps a line, unless it begins with a space, or with a mistake that tells a secret. It is written at once: a later
    /// crash or a closed window loses nothing.
    fn keep(&mut self, line: &str) {
        if line.trim().is_empty() || line.starts_with(' ') || command::tells_secret(line) {
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

/// Makes the editor list all names that fit, as the shells of the system do, with colours only where they are wanted.
fn config(colours: bool) -> Config {
    Builder::new()
        .completion_type(CompletionType::List)
        .color_mode(if colours { ColorMode::Enabled } else { ColorMode::Disabled })
        .build()
}

/// Returns whether standard output is a terminal, and nobody has said that it is to have no colours.
fn colours() -> bool {
    let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !unwanted && env::var_os("TERM").is_some_and(|terminal| terminal != "dumb")
}

/// Makes the directory of the history. The file itself is made private by the line editor.
fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), paths::make_private_directory)
}
