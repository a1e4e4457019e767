//! The state that lasts from one command to the next, and each command as a method on it.

mod alike;
mod changes;
mod choosing;
mod connection;
mod copying;
mod editing;
mod failures;
mod get;
mod help;
mod jobs;
mod listing;
mod login;
mod moving;
mod names;
mod paging;
mod places;
mod planning;
mod programs;
mod put;
mod reasons;
mod renaming;
mod status;
mod streams;
mod sums;
mod syncing;
mod walking;
mod watcher;
mod watching;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use ferry_client::{Cancel, Client, Name, Options, Settings};
use ferry_wire::escaped;

use super::{
    command::{self, Aliases, Command, GoingOn, SetArgs},
    exit::{Exit, Failed},
    output::{Event, Output},
    progress::{Keyboard, Mode},
    secrets::Secrets,
    trust::Server,
    words,
};
pub(crate) use connection::server_named;
use failures::Failures;
use jobs::{Jobs, Meter};
pub(crate) use login::place_of;
use moving::Totals;

/// The next step of the shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Flow {
    Next,
    Leave,
    /// Options are asked for or changed, which the session knows no source of.
    Set(SetArgs),
}

/// The connection, if there is one, the directories at both ends, and how things are done.
pub(crate) struct Session {
    pub(crate) options: Options,
    pub(crate) cancel: Cancel,
    /// A person is there to go on after a failure.
    pub(crate) interactive: bool,
    /// One command was given, and there is no shell to type another one in.
    pub(crate) one_shot: bool,
    /// Commands do not come from standard input, so that it can be sent.
    pub(crate) input_is_free: bool,
    pub(crate) client: Option<Client>,
    /// The directory of the server that names are relative to; [`None`] for the root.
    pub(crate) remote: Option<Name>,
    /// The local directory that names are relative to.
    pub(crate) local: PathBuf,
    /// The same, when the program began.
    local_start: PathBuf,
    /// The settings of transfers.
    pub(crate) settings: Settings,
    /// Whether commands go on after a failure, where that was said.
    pub(crate) keep_going: Option<bool>,
    /// For how long an outage is waited for while whole directories are moved.
    pub(crate) tree_retry_for: Duration,
    /// The display of transfers.
    pub(crate) progress: Mode,
    /// The limit of the rate, and the keys that change it.
    pub(crate) keyboard: Keyboard,
    /// How secrets of users are come by.
    pub(crate) secrets: Secrets,
    /// Names for addresses.
    pub(crate) bookmarks: BTreeMap<String, Server>,
    /// Words for the beginning of commands.
    pub(crate) aliases: Aliases,
    /// All that is printed.
    pub(crate) output: Output,
    /// Earlier lines, the oldest first; those of earlier runs as well where a terminal keeps them.
    pub(crate) history: Vec<String>,
    /// The server that was opened last, as it was named.
    server: Option<Server>,
    jobs: Jobs,
    /// How the first of the jobs failed that did.
    job_failure: Option<Exit>,
    /// Tells others how far it is; of a job.
    meter: Option<Arc<Meter>>,
    got: Totals,
    put: Totals,
}

impl Session {
    /// Begins without a connection, at the root of whatever server comes.
    pub(crate) fn new(options: Options, cancel: Cancel, local: PathBuf, output: Output) -> Session {
        Session {
            options,
            cancel,
            interactive: false,
            one_shot: false,
            input_is_free: false,
            client: None,
            remote: None,
            local_start: local.clone(),
            local,
            settings: Settings::default(),
            keep_going: None,
            tree_retry_for: Duration::ZERO,
            progress: Mode::Auto,
            keyboard: Keyboard::default(),
            secrets: Secrets::default(),
            server: None,
            jobs: Jobs::default(),
            job_failure: None,
            meter: None,
            bookmarks: BTreeMap::new(),
            aliases: Aliases::default(),
            output,
            history: Vec::new(),
            got: Totals::default(),
            put: Totals::default(),
        }
    }

    /// Does `command`, and prints what it says.
    pub(crate) fn execute(&mut self, command: Command) -> Result<Flow, Failed> {
        self.output.divert(false);
        let (together, is_login) = (command.together(), matches!(command, Command::Login(_)));
        let result = self.perform(command).map_err(|failed| match together {
            Some((text, remote)) => self.with_one_name(failed, &text, remote),
            None => failed,
        });
        let result = result.map_err(|failed| if is_login { failed } else { self.with_login(failed) });
        self.output.flush();
        result
    }

    /// Asks whether several words were meant as the one name that they are together, where there is such a name.
    fn with_one_name(&mut self, failed: Failed, text: &str, remote: bool) -> Failed {
        let may_be_meant = matches!(failed.exit, Exit::NotFound | Exit::Refused | Exit::Local | Exit::Usage);
        match may_be_meant && (if remote { self.exists_there(text) } else { self.exists(text) }) {
            true => failed.and(format_args!("did you mean {}?", escaped(&words::quote(text)))),
            false => failed,
        }
    }

    fn perform(&mut self, command: Command) -> Result<Flow, Failed> {
        match command {
            Command::Open(open) => self.open(&open.address(), open.security())?,
            Command::Login(login) => self.log_in(login.user.as_deref())?,
            Command::Get(get) => self.get(&get)?,
            Command::Put(put) => self.put(&put)?,
            Command::Sync(args) => self.sync(&(*args).into())?,
            Command::Ls(there) => self.list(&there)?,
            Command::Less(names) => self.page(&names)?,
            Command::Find(search) => self.search(&search)?,
            Command::Tree(depth) => self.draw(&depth)?,
            Command::Du(sizes) => self.sum_up(&sizes)?,
            Command::Df(args) => self.tell_space(args.human)?,
            Command::Edit(names) => self.edit(&names)?,
            Command::Cd(to) => self.enter(to.directory.as_deref())?,
            Command::Pwd => self.tell_place()?,
            Command::Lcd(to) => self.enter_local(to.directory.as_deref())?,
            Command::Lpwd => self.tell_local_place(),
            Command::Lls(list) => self.list_local(list.style(), list.names().as_ref())?,
            Command::Stat(names) => self.stat(&names)?,
            Command::Sum(args) => self.sum(&args)?,
            Command::Mkdir(made) => self.make_directories(made.parents, &made.names.words)?,
            Command::Rm(removal) => self.remove(&removal)?,
            Command::Mv(renaming) => self.rename(&renaming)?,
            Command::Status => self.status(),
            Command::Health => self.health()?,
            Command::Jobs => self.tell_jobs(),
            Command::Fg(job) => self.bring_forward(job.number)?,
            Command::Cancel(job) => self.cancel_job(job.number)?,
            Command::History(history) => self.tell_history(history.count),
            Command::Shell(line) => self.run_shell(line.command.as_deref())?,
            Command::Close => self.close()?,
            Command::Help(help) => self.help(help.topic.as_deref())?,
            Command::Quit => return Ok(Flow::Leave),
            Command::Set(args) => return Ok(Flow::Set(args)),
            Command::Needless { word, why } => {
                let word = escaped(&word);
                self.output.remark(format_args!("{word}: nothing to do, for {why}"), || {
                    Event::new("needless").with("word", word.to_string()).with("reason", why)
                });
            }
        }
        Ok(Flow::Next)
    }

    fn connected(&mut self) -> Result<&mut Client, Failed> {
        self.client.as_mut().ok_or_else(not_connected)
    }

    /// Returns whether what the server says is done survives a power cut there.
    fn is_durable(&self) -> bool {
        self.client.as_ref().is_none_or(|client| !client.is_volatile())
    }

    /// Keeps a line that was typed, for HISTORY.
    pub(crate) fn remember(&mut self, line: &str) {
        /// More than anybody looks at; a script may have any number.
        const MAX_LINES: usize = 10_000;
        if !line.trim().is_empty() && !command::tells_secret(line) && self.history.len() < MAX_LINES {
            self.history.push(line.trim().to_owned());
        }
    }

    /// Returns what introduces another name for what is moved.
    fn arrow(&self) -> &'static str {
        if self.one_shot { "-o" } else { "->" }
    }

    /// Begins without failures. Whether a command goes on after one it says itself; else those on whole directories do.
    fn failures(&self, asked: GoingOn, whole_directories: bool) -> Failures {
        let asked = asked.asked().or(self.keep_going);
        Failures::new(asked.unwrap_or(whole_directories)).when_asked(asked == Some(true))
    }

    /// Returns the settings for one command; those on whole directories wait longer for an outage to end.
    fn settings_with(&self, keep_going: bool, whole_directories: bool) -> Settings {
        let retry_for = if whole_directories { self.tree_retry_for } else { self.settings.retry_for };
        Settings { keep_going, retry_for, ..self.settings.clone() }
    }
}

fn not_connected() -> Failed {
    Failed::of(Exit::Connection, "not connected: OPEN <port> first")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, Level};

    /// Makes one that is not connected and says nothing.
    pub(super) fn session() -> Session {
        let output = Output::to(Level::Quiet, Format::Text, Box::new(std::io::sink()), Box::new(std::io::sink()));
        Session::new(Options::default(), Cancel::default(), PathBuf::from("."), output)
    }
}
