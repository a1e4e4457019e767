//! `ferry`: commands from a terminal, from `-c`, from a pipe, or one as arguments.
//!
//! A program on top of the library `ferry_client`, and of nothing of it that others can't use.
#![forbid(unsafe_code)]

mod args;
mod choices;
mod command;
mod completion;
mod completions;
mod config;
mod events;
mod examples;
mod exit;
mod figures;
mod given;
mod input;
mod logging;
mod manual;
mod one_shot;
mod options;
mod output;
mod paths;
mod progress;
mod question;
mod remote_names;
mod safe;
mod secrets;
mod session;
mod signals;
mod terminal;
mod trust;
mod units;
mod words;

use std::{
    ffi::OsString,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::Path,
    process::ExitCode,
    time::Duration,
};

use clap::error::ErrorKind;
use ferry_client::{Cancel, IfAbsent, Options, RateLimit, Settings};

use args::{Action, Args};
use choices::Choices;
use command::{Command, Open, SetArgs};
use completion::Situation;
use events::Event;
use exit::{Exit, Failed, plain};
use given::Given;
use one_shot::OneShot;
use output::{Format, Level, Output};
use progress::Keyboard;
use secrets::Secrets;
use session::{Flow, Session};
use signals::Signals;
use terminal::{Terminal, Typed};

/// The time in which `--min-rate` counts.
const MIN_RATE_WINDOW: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let args = match Args::read(arguments.iter().cloned()) {
        Ok(args) => args,
        Err(error) => {
            let json = one_shot::asks_for_events(&arguments);
            return match alias_in(&arguments).filter(|_| error.kind() == ErrorKind::InvalidSubcommand) {
                Some(failed) => complained(&failed, json),
                None => told(&error, json).into(),
            };
        }
    };
    match &args.action {
        Some(Action::Config) => return print(&config::described(args.config.as_deref())),
        Some(Action::Completions(shell)) => return print(&completions::script(*shell)),
        Some(Action::Man) => return print(&manual::page()),
        Some(Action::Names { line, bash }) => {
            return match remote_names::at_the_end_of(line, bash.as_deref()) {
                Some(names) => print(names.concat().as_bytes()),
                None => Exit::System.into(),
            };
        }
        Some(Action::OneShot(_) | Action::Copy(_) | Action::Watch(_)) | None => {}
    }
    match prepare(&args) {
        Ok(shell) => shell.run(&args).into(),
        Err(failed) => complained(&failed, args.json),
    }
}

fn complained(failed: &Failed, json: bool) -> ExitCode {
    let format = if json { Format::Json } else { Format::Text };
    Output::new(Level::Normal, format).complain(failed);
    failed.exit.into()
}

/// Returns what to say where an alias of the usual configuration stands in the place of a subcommand.
fn alias_in(arguments: &[OsString]) -> Option<Failed> {
    let aliases = config::load(None).ok()?.aliases;
    one_shot::alias(arguments.get(1)?.to_str()?, &aliases).map(Failed::usage)
}

/// Prints what was asked for as it is.
fn print(text: &[u8]) -> ExitCode {
    let mut output = io::stdout();
    printed(output.write_all(text).and_then(|()| output.flush())).into()
}

/// Returns what comes of printing. A reader that went away has read what it wanted.
fn printed(written: io::Result<()>) -> Exit {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let failed = Failed::output(&error);
            Output::new(Level::Normal, Format::Text).complain(&failed);
            failed.exit
        }
        _ => Exit::Success,
    }
}

/// Says what a command line came to that asks for help, or cannot be read.
fn told(error: &clap::Error, json: bool) -> Exit {
    let rendered = error.render().to_string();
    match (error.use_stderr(), json) {
        (false, false) => printed(error.print().and_then(|()| io::stdout().flush())),
        (true, false) => {
            let _ = error.print();
            Exit::Usage
        }
        (is_error, true) => {
            let mut output = Output::new(Level::Normal, Format::Json);
            // After the first paragraph stands how the program is used.
            let first = rendered.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
            let message = first.split_whitespace().collect::<Vec<_>>().join(" ");
            if is_error {
                output.complain(&Failed::usage(message));
            } else {
                output.answer("", || Event::new("help").with("text", rendered.trim_end()));
            }
            let exit = if is_error { Exit::Usage } else { Exit::Success };
            match output.finish() {
                Err(failed) if !is_error => {
                    output.complain(&failed);
                    failed.exit
                }
                _ => exit,
            }
        }
    }
}

/// Makes what must be there before the first command.
fn prepare(args: &Args) -> Result<Shell, Failed> {
    logging::start(args)?;
    let config = config::load(args.config.as_deref())?;
    let choices = Choices::of(args, config.clone());
    let interactive = args.command.is_none() && args.action.is_none() && io::stdin().is_terminal();
    let cancel = Cancel::default();
    let signals = Signals::install(&cancel, interactive)
        .map_err(|error| Failed::of(Exit::System, format!("cannot handle signals: {}", plain(&error))))?;
    if !matches!(&args.action, Some(Action::OneShot(one)) if !one.is_about_files_here()) {
        make_client_directory(&choices.directory)?;
    }
    let options = Options::default().timeout(choices.timeout).cancel(cancel.clone());
    let options = options.min_rate(choices.min_rate, MIN_RATE_WINDOW).tree_memory(choices.tree_memory);
    let rate_limit = choices.limit_rate.map(RateLimit::of).unwrap_or_default();
    let options = options.rate_limit(rate_limit.clone());
    let options = options.trust(trust::policy(paths::known_servers(), args.fingerprint, args.accept_new, &cancel));
    let options = options.security(trust::security(args.tls, args.plain).unwrap_or_default());
    let secrets = Secrets::new(cancel.clone(), choices.timeout);
    let keyboard = Keyboard::new(rate_limit.clone(), cancel.clone(), interactive);
    let mut session = Session::new(options, cancel, choices.directory, Output::new(choices.level, choices.format));
    session.interactive = interactive;
    session.secrets = secrets;
    session.one_shot = args.action.is_some();
    session.input_is_free = args.command.is_some() || args.action.is_some();
    session.settings = choices.settings;
    session.keep_going = choices.keep_going;
    session.tree_retry_for = choices.tree_retry_for;
    session.progress = choices.progress;
    session.keyboard = keyboard;
    session.bookmarks = choices.bookmarks;
    session.aliases = choices.aliases;
    let given = Given::new(args, config);
    Ok(Shell { session, signals, rate_limit, given, if_absent: choices.if_absent })
}

fn make_client_directory(path: &Path) -> Result<(), Failed> {
    std::fs::create_dir_all(path).map_err(|error| {
        let shown = ferry_wire::escaped_bytes(path.as_os_str().as_bytes());
        let why = plain(&error);
        let message = format!("cannot make the client directory {shown}: {why}; --dir chooses another");
        Failed::of(Exit::Local, message).about(path.to_string_lossy())
    })
}

struct Shell {
    session: Session,
    signals: Signals,
    rate_limit: RateLimit,
    given: Given,
    /// Whether a subcommand waits for a server that can't be found.
    if_absent: IfAbsent,
}

impl Shell {
    fn run(mut self, args: &Args) -> Exit {
        let exit = match (self.open(args.host.as_deref()), &args.action, &args.command) {
            (Err(exit), ..) => exit,
            (_, Some(Action::OneShot(one)), _) => self.run_one_shot(one),
            (_, Some(Action::Watch(watch)), _) => {
                let watched = self.session.watch(watch, self.if_absent);
                self.end_one_shot(watched)
            }
            (_, Some(Action::Copy(copy)), _) => {
                let copied = self.session.copy(copy, self.if_absent);
                self.end_one_shot(copied)
            }
            (_, _, Some(script)) => self.run_script(script),
            _ if self.session.interactive => self.run_terminal(),
            _ => self.run_pipe(),
        };
        // Who leaves on purpose has been told of jobs that run.
        let exit = match self.session.interactive || self.signals.ending().is_some() {
            true => {
                self.session.end_jobs();
                exit
            }
            false => {
                let failed = self.session.wait_for_jobs().filter(|_| exit == Exit::Success);
                self.signals.ending().or(failed).unwrap_or(exit)
            }
        };
        self.session.leave();
        match self.session.output.finish() {
            Err(failed) if exit == Exit::Success => self.complain(failed.exit, failed.message),
            _ => exit,
        }
    }

    /// Opens the server that was named for the shell to begin with.
    fn open(&mut self, host: Option<&str>) -> Result<(), Exit> {
        let Some(host) = host else { return Ok(()) };
        let opened = match self.session.server(host) {
            Ok(_) => self.session.execute(Command::Open(Open::of(host))),
            Err(failed) if host.contains(':') || host.starts_with(|c: char| c.is_ascii_digit()) => Err(failed),
            // It may as well have been meant as a subcommand.
            Err(_) => {
                let alias = one_shot::alias(host, &self.session.aliases);
                Err(Failed::usage(alias.unwrap_or_else(|| one_shot::unknown(host))))
            }
        };
        opened.map(drop).map_err(|failed| {
            self.session.output.complain(&failed);
            self.signals.ending().unwrap_or(failed.exit)
        })
    }

    fn run_script(&mut self, script: &str) -> Exit {
        for line in words::commands(script) {
            if let Some(exit) = self.unattended(line) {
                return exit;
            }
        }
        Exit::Success
    }

    fn run_one_shot(&mut self, one: &OneShot) -> Exit {
        let result = self.do_one_shot(one);
        self.end_one_shot(result.map(drop))
    }

    /// Tells a failure, and returns how the program ends.
    fn end_one_shot(&mut self, result: Result<(), Failed>) -> Exit {
        if let Err(failed) = &result {
            self.session.output.complain(failed);
        }
        let done = result.map_or_else(|failed| failed.exit, |()| Exit::Success);
        self.signals.ending().unwrap_or(done)
    }

    fn do_one_shot(&mut self, one: &OneShot) -> Result<Flow, Failed> {
        let server = self.session.server(&one.host)?;
        // A transfer is to survive a server that is killed just then; whoever asks something wants to know.
        let is_patient = one.command.moves_files() || self.if_absent == IfAbsent::Wait;
        let settings = if is_patient { self.session.settings.clone() } else { Settings::impatient() };
        self.session.connect(&server, None, (&settings, self.if_absent))?;
        self.session.execute(one.command.clone())
    }

    fn run_pipe(&mut self) -> Exit {
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            match self.signals.resting(|| input.read_until(b'\n', &mut line)) {
                Ok(0) => return Exit::Success,
                Ok(_) => {}
                Err(error) => {
                    return self.complain(Exit::System, format!("cannot read standard input: {}", plain(&error)));
                }
            }
            let Ok(line) = str::from_utf8(&line) else {
                return self.complain(Exit::Usage, "a command is UTF-8, and this line is not".to_owned());
            };
            for command in commands_of(line) {
                if let Some(exit) = self.unattended(command) {
                    return exit;
                }
            }
        }
    }

    /// Does one command of a script; gives how the script ends where it ends here.
    fn unattended(&mut self, line: &str) -> Option<Exit> {
        self.session.remember(line);
        let result = self.execute(line);
        if let Err(failed) = &result {
            self.session.output.complain(failed);
        }
        let by_signal = self.signals.ending();
        by_signal.or(match result {
            Ok(Flow::Next | Flow::Set(_)) => None,
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
        self.session.history = terminal.history();
        loop {
            if let Some(message) = self.session.notice_closing() {
                self.complain(Exit::Connection, message);
            }
            self.session.tell_ended_jobs();
            let (prompt, situation) = (self.prompt(), self.situation());
            let line = match self.signals.resting(|| terminal.line(&prompt, situation, &self.session.keyboard)) {
                Typed::Line(line) => line,
                Typed::Interrupted => continue,
                Typed::End if self.session.may_leave() => return Exit::Success,
                Typed::End => continue,
            };
            self.signals.forget_interrupt();
            // As in other shells, a line that begins with a space is not to be remembered.
            if !line.starts_with(' ') {
                self.session.remember(&line);
            }
            match self.execute_line(&line) {
                Ok(Flow::Next | Flow::Set(_)) => self.session.forget_warning(),
                Ok(Flow::Leave) if self.session.may_leave() => return Exit::Success,
                Ok(Flow::Leave) => {}
                Err(failed) => self.session.output.complain(&failed),
            }
            if let Some(exit) = self.signals.ending() {
                return exit;
            }
        }
    }

    /// Does the commands of a line up to the first that fails.
    fn execute_line(&mut self, line: &str) -> Result<Flow, Failed> {
        for command in commands_of(line) {
            if let Flow::Leave = self.execute(command)? {
                return Ok(Flow::Leave);
            }
        }
        Ok(Flow::Next)
    }

    /// Returns the prompt: the server, and the directory there.
    fn prompt(&self) -> String {
        let Some(client) = &self.session.client else { return "ferry> ".to_owned() };
        let place = session::place_of(client);
        match &self.session.remote {
            None => format!("ferry {place}> "),
            Some(remote) => format!("ferry {place}/{}> ", ferry_wire::escaped(remote.as_str())),
        }
    }

    fn situation(&self) -> Situation {
        Situation {
            address: self.session.client.as_ref().map(|client| client.address().clone()),
            options: self.session.client.as_ref().map(|client| client.options().clone().known_only()),
            remote: self.session.remote.clone(),
            local: self.session.local.clone(),
            bookmarks: self.session.bookmarks.keys().cloned().collect(),
            aliases: self.session.aliases.clone(),
            colours: false,
        }
    }

    fn execute(&mut self, line: &str) -> Result<Flow, Failed> {
        let line = &*self.session.aliases.expand(line).into_owned();
        // A command of the system's shell has its own.
        let job = words::in_background(line).filter(|_| !line.trim_start().starts_with(['!', '#']));
        match (command::parse(job.unwrap_or(line))?, job) {
            (Some(command), Some(line)) => self.session.start_job(line, command).map(|()| Flow::Next),
            (Some(command), None) => match self.session.execute(command)? {
                Flow::Set(args) => self.set(&args).map(|()| Flow::Next),
                flow => Ok(flow),
            },
            (None, _) => Ok(Flow::Next),
        }
    }

    /// Sets an option of the session, or shows those that hold.
    fn set(&mut self, args: &SetArgs) -> Result<(), Failed> {
        let of_key = |why: String| match &args.key {
            Some(key) => Failed::usage(format!("SET {}: {why}", ferry_wire::escaped(key))),
            None => Failed::usage(format!("SET: {why}")),
        };
        if let (Some(key), Some(value)) = (&args.key, &args.value) {
            let choices = self.given.set(key, value).map_err(of_key)?;
            self.choose(choices);
        }
        let settings = self.given.settings(args.key.as_deref()).map_err(of_key)?;
        let is_connected = self.session.client.is_some();
        for setting in settings {
            let later = args.value.is_some() && is_connected && given::is_for_later(&setting);
            let note = if later { ", from the next OPEN on" } else { "" };
            let (key, value) = (setting.key, ferry_wire::escaped(&setting.value).to_string());
            self.session.output.answer(format_args!("{key:<12} {value:<26} {}{note}", setting.source), || {
                let event = Event::new("setting").with("key", key).with("value", setting.value.as_str());
                event.with("source", setting.source.as_str())
            });
        }
        self.session.output.flush();
        Ok(())
    }

    /// Has `choices` hold from now on, and what belongs to a connection from the next one on.
    fn choose(&mut self, choices: Choices) {
        let session = &mut self.session;
        if self.rate_limit.get() != choices.limit_rate {
            self.rate_limit.set(choices.limit_rate);
        }
        let options = session.options.clone().timeout(choices.timeout);
        session.options = options.min_rate(choices.min_rate, MIN_RATE_WINDOW).tree_memory(choices.tree_memory);
        session.settings = choices.settings;
        session.keep_going = choices.keep_going;
        session.tree_retry_for = choices.tree_retry_for;
        session.progress = choices.progress;
    }

    fn complain(&mut self, exit: Exit, message: String) -> Exit {
        self.session.output.complain(&Failed::of(exit, message));
        exit
    }
}

/// Separates the commands of one line. A command of the system's shell is all of it.
fn commands_of(line: &str) -> Vec<&str> {
    if line.trim_start().starts_with('!') { vec![line] } else { words::commands(line) }
}
