//! The shell: commands from a terminal, from `-c` or from a pipe.
// The table, the words and the output are built on by what comes next.
#![allow(dead_code)]

mod args;
mod command;
mod exit;
mod figures;
mod output;
mod progress;
mod safe;
mod session;
mod signals;
mod terminal;
mod words;

use std::{
    fs::File,
    io::{self, BufRead as _, IsTerminal as _},
    process::ExitCode,
};

use ferry_client::{Cancel, Options};
use log::LevelFilter;
use simplelog::{ConfigBuilder, WriteLogger};

pub(crate) use args::Args;
use exit::{Exit, Failed};
use output::{Format, Level, Output};
use session::{Flow, Session};
use signals::Signals;
use terminal::{Terminal, Typed};

/// Runs the program; gives its exit status.
pub(crate) fn run(args: &Args) -> ExitCode {
    let mut output = Output::new(Level::Normal, Format::Text);
    let shell = match prepare(args) {
        Ok(prepared) => prepared.shell(args, output),
        Err(failed) => {
            output.complain(&failed);
            return failed.exit.into();
        }
    };
    shell.run(args.command.as_deref()).into()
}

/// What must be there before the first command.
struct Prepared {
    interactive: bool,
    cancel: Cancel,
    signals: Signals,
}

impl Prepared {
    fn shell(self, args: &Args, output: Output) -> Shell {
        let options = Options::default().timeout(args.timeout).cancel(self.cancel.clone());
        let mut session = Session::new(options, self.cancel, args.dir.clone(), output);
        session.interactive = self.interactive;
        session.input_is_free = args.command.is_some();
        Shell { session, signals: self.signals }
    }
}

fn prepare(args: &Args) -> Result<Prepared, Failed> {
    start_log(args)?;
    let interactive = args.command.is_none() && io::stdin().is_terminal();
    let cancel = Cancel::default();
    let signals = Signals::install(&cancel, interactive)
        .map_err(|error| Failed { exit: Exit::System, message: format!("cannot handle signals: {error}") })?;
    std::fs::create_dir_all(&args.dir).map_err(|error| Failed {
        exit: Exit::Local,
        message: format!(
            "cannot make the client directory {}: {error}; --dir chooses another",
            ferry_wire::escaped(&args.dir.to_string_lossy())
        ),
    })?;
    Ok(Prepared { interactive, cancel, signals })
}

fn start_log(args: &Args) -> Result<(), Failed> {
    if args.log_level == LevelFilter::Off {
        return Ok(());
    }
    let config = ConfigBuilder::new().set_time_format_rfc3339().build();
    let started = match &args.log_file {
        None => WriteLogger::init(args.log_level, config, io::stderr()),
        Some(path) => {
            let file = File::options().create(true).append(true).open(path).map_err(|error| Failed {
                exit: Exit::Local,
                message: format!("cannot open the log file {}: {error}", path.display()),
            })?;
            WriteLogger::init(args.log_level, config, file)
        }
    };
    started.map_err(|error| Failed { exit: Exit::System, message: format!("cannot log: {error}") })
}

struct Shell {
    session: Session,
    signals: Signals,
}

impl Shell {
    fn run(mut self, script: Option<&str>) -> Exit {
        let exit = match script {
            Some(script) => self.run_script(script),
            None if self.session.interactive => self.run_terminal(),
            None => self.run_pipe(),
        };
        self.session.leave();
        exit
    }

    fn run_script(&mut self, script: &str) -> Exit {
        for line in words::split_script(script) {
            if let Some(exit) = self.unattended(line) {
                return exit;
            }
        }
        Exit::Success
    }

    fn run_pipe(&mut self) -> Exit {
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            match self.signals.resting(|| input.read_until(b'\n', &mut line)) {
                Ok(0) => return Exit::Success,
                Ok(_) => {}
                Err(error) => {
                    return self.complain(Exit::System, format!("cannot read standard input: {error}"));
                }
            }
            let Ok(line) = str::from_utf8(&line) else {
                return self.complain(Exit::Usage, "a command is UTF-8, and this line is not".to_owned());
            };
            if let Some(exit) = self.unattended(line) {
                return exit;
            }
        }
    }

    /// Does one command of a script; gives how the script ends where it ends here.
    fn unattended(&mut self, line: &str) -> Option<Exit> {
        let result = self.execute(line);
        if let Err(failed) = &result {
            self.session.output.complain(failed);
        }
        let by_signal = self.signals.ending();
        by_signal.or(match result {
            Ok(Flow::Next) => None,
            Ok(Flow::Leave) => Some(Exit::Success),
            Err(failed) => Some(failed.exit),
        })
    }

    fn run_terminal(&mut self) -> Exit {
        let mut terminal = match Terminal::new() {
            Ok(terminal) => terminal,
            Err(error) => {
                return self.complain(Exit::System, format!("cannot use the terminal: {error}"));
            }
        };
        loop {
            if let Some(message) = self.session.notice_closing() {
                self.complain(Exit::Connection, message);
            }
            let prompt = self.prompt();
            let line = match self.signals.resting(|| terminal.line(&prompt)) {
                Typed::Line(line) => line,
                Typed::Interrupted => continue,
                Typed::End => return Exit::Success,
            };
            self.signals.forget_interrupt();
            match self.execute(&line) {
                Ok(Flow::Next) => {}
                Ok(Flow::Leave) => return Exit::Success,
                Err(failed) => self.session.output.complain(&failed),
            }
            if let Some(exit) = self.signals.ending() {
                return exit;
            }
        }
    }

    fn prompt(&self) -> String {
        match &self.session.client {
            Some(client) => format!("ferry {}> ", client.address()),
            None => "ferry> ".to_owned(),
        }
    }

    fn execute(&mut self, line: &str) -> Result<Flow, Failed> {
        self.session.remember(line);
        match command::parse(line)? {
            Some(command) => self.session.execute(command),
            None => Ok(Flow::Next),
        }
    }
    fn complain(&mut self, exit: Exit, message: String) -> Exit {
        self.session.output.complain(&Failed { exit, message });
        exit
    }
}
