//! What each command does.

use std::{io, path::PathBuf};

use ferry_client::{Address, Cancel, Client, Download, Error, Name, Options, Upload};
use ferry_wire::escaped;

use super::{
    exit::{Exit, Failed},
    parse::{Command, FORMS, Form},
    progress::{Bar, Summary},
    say,
};

/// Whether the shell goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Next,
    Leave,
}

/// The connection, if there is one, and where local files are.
pub(crate) struct Session {
    pub(crate) options: Options,
    pub(crate) cancel: Cancel,
    pub(crate) directory: PathBuf,
    /// A person is there to go on after a failure.
    pub(crate) interactive: bool,
    pub(crate) client: Option<Client>,
}

impl Session {
    /// Does `command`.
    pub(crate) fn execute(&mut self, command: Command) -> Result<Flow, Failed> {
        match command {
            Command::Open(address) => self.open(&address)?,
            Command::Get(name) => self.get(&name)?,
            Command::Put(name) => self.put(&name)?,
            Command::Close => self.close()?,
            Command::Help(topic) => help(topic),
            Command::Quit => return Ok(Flow::Leave),
        }
        Ok(Flow::Next)
    }

    /// Notices a server that has closed meanwhile; gives what to say about it.
    pub(crate) fn notice_closing(&mut self) -> Option<String> {
        let client = self.client.as_mut()?;
        let error = client.check().err()?;
        let message = format!("{error}; OPEN {} to connect again", client.address());
        self.client = None;
        Some(message)
    }

    /// Takes leave; what the server makes of it no longer matters.
    pub(crate) fn leave(&mut self) {
        if let Some(client) = self.client.take()
            && let Err(error) = client.close()
        {
            log::info!("no good-bye: {error}");
        }
    }

    fn open(&mut self, address: &Address) -> Result<(), Failed> {
        if let Some(message) = self.notice_closing() {
            log::info!("{message}");
        }
        if let Some(client) = &self.client {
            return Err(Failed::usage(format!("already connected to {}: CLOSE first", client.address())));
        }
        let client = Client::connect(address, self.options.clone()).map_err(|error| Failed::new("OPEN", &error))?;
        let greeting = client.greeting();
        let read_only = if greeting.features.iter().any(|word| word == "read-only") { ", read-only" } else { "" };
        say(&format!("connected to {address} ({}{read_only})", escaped(&greeting.software)));
        self.client = Some(client);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Failed> {
        self.connected()?;
        self.leave();
        say("closed");
        Ok(())
    }

    fn get(&mut self, name: &Name) -> Result<(), Failed> {
        let target = self.directory.join(name.last());
        let mut bar = Bar::new(shown(name));
        let result = self.connected()?.get(name, &target, &mut |progress| bar.update(progress));
        let elapsed = bar.elapsed();
        drop(bar);
        let Download { size, .. } = result.map_err(|error| self.failed("GET", name, &error))?;
        say(&format!("got {}: {}, verified", shown(name), Summary { bytes: size, elapsed }));
        Ok(())
    }

    fn put(&mut self, name: &Name) -> Result<(), Failed> {
        let source = self.directory.join(name.as_str());
        let mut bar = Bar::new(shown(name));
        let result = self.connected()?.put(name, &source, &mut |progress| bar.update(progress));
        let elapsed = bar.elapsed();
        drop(bar);
        let Upload { size, .. } = result.map_err(|error| self.failed("PUT", name, &error))?;
        say(&format!("put {}: {}, verified and on disk", shown(name), Summary { bytes: size, elapsed }));
        Ok(())
    }

    fn connected(&mut self) -> Result<&mut Client, Failed> {
        self.client
            .as_mut()
            .ok_or_else(|| Failed { exit: Exit::Connection, message: "not connected: OPEN <port> first".to_owned() })
    }

    /// A transfer failed: says why and what became of the connection.
    fn failed(&mut self, verb: &str, name: &Name, error: &Error) -> Failed {
        let mut failed = Failed::new(&format!("{verb} {}", shown(name)), error);
        if let Error::Local { source, .. } = error
            && verb == "PUT"
            && source.kind() == io::ErrorKind::NotFound
        {
            failed.message = format!(
                "PUT {}: there is no such file in {}, where PUT takes files from",
                shown(name),
                escaped(&self.directory.to_string_lossy())
            );
        }
        if let Some(consequence) = self.mend_connection(error) {
            failed.message.push_str("; ");
            failed.message.push_str(&consequence);
        }
        failed
    }

    /// A download that is cut short costs the connection. Where that was nobody's fault at the other
    /// end, another one takes its place; elsewhere the shell is not connected any more.
    fn mend_connection(&mut self, error: &Error) -> Option<String> {
        let client = self.client.as_mut().filter(|client| !client.is_connected())?;
        let address = client.address().clone();
        let ours = matches!(error, Error::Interrupted | Error::Local { .. } | Error::LocalFile { .. });
        if ours && self.interactive {
            // The Ctrl-C that ended the transfer must not end this as well.
            self.cancel.reset();
            match client.reconnect() {
                Ok(()) => return Some("the connection was opened again".to_owned()),
                Err(error) => log::info!("not connected again: {error}"),
            }
        }
        self.client = None;
        Some(format!("not connected any more: OPEN {address} to connect again"))
    }
}

/// A name that was typed may hold what confuses a terminal, though no control characters.
fn shown(name: &Name) -> String {
    escaped(name.as_str()).to_string()
}

fn help(topic: Option<&Form>) {
    match topic {
        Some(form) => say(&format!("{}: {}\n{}", form.usage, form.summary, form.details)),
        None => {
            for form in &FORMS {
                say(&format!("  {:<28}{}", form.usage, form.summary));
            }
        }
    }
}
