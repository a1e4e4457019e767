//! OPEN and CLOSE, and a connection that is lost.

use std::{collections::BTreeMap, panic::resume_unwind, sync::mpsc, thread, time::Duration};

use ferry_client::{
    AddressError, Cancel, Client, Error, Event as Step, Greeting, IfAbsent, Security, Settings, UserName,
};
use ferry_wire::escaped;

use super::{Session, login::place_of};
use crate::{
    exit::Failed,
    figures::Left,
    output::{Event, Output},
    trust::Server,
};

/// A longer wait is explained.
const NOTICE_AFTER: Duration = Duration::from_millis(500);

/// A server that takes longer to greet, after that, is not waited for: OPEN waits longer, and a person is there to
/// give it.
const RECONNECT_LIMIT: Duration = Duration::from_secs(3);

impl Session {
    pub(super) fn open(&mut self, text: &str, security: Option<Security>) -> Result<(), Failed> {
        let server = self.server(text)?;
        if let Some(message) = self.notice_closing() {
            log::info!("{message}");
        }
        if let Some(client) = &self.client {
            return Err(Failed::usage(format!("already connected to {}: CLOSE first", client.address())));
        }
        // A person sees at once what is wrong, and can try again.
        let settings = if self.interactive { Settings::impatient() } else { self.settings.clone() };
        self.connect(&server, security, (&settings, IfAbsent::Fail))?;
        let Some(client) = &self.client else { return Ok(()) };
        let (address, is_secure, greeting) = (client.address(), client.is_secure(), client.greeting());
        let (read_only, volatile) = (greeting.has(Greeting::READ_ONLY), greeting.has(Greeting::VOLATILE));
        let note = [(is_secure, ", TLS"), (read_only, ", read-only"), (volatile, ", volatile")];
        let note: String = note.iter().filter(|(holds, _)| *holds).map(|(_, note)| *note).collect();
        let note = note + &client.user().map(|user| format!(", logged in as {user}")).unwrap_or_default();
        self.output.say(format_args!("connected to {address} ({}{note})", escaped(&greeting.software)), || {
            Event::new("connected")
                .with("address", address.to_string())
                .with("software", greeting.software.as_str())
                .with("read_only", read_only)
                .with("volatile", volatile)
                .with("tls", is_secure)
                .with("user", client.user())
        });
        Ok(())
    }

    /// Connects, without a word about it unless it has to be tried again.
    pub(crate) fn connect(
        &mut self,
        server: &Server,
        security: Option<Security>,
        (settings, if_absent): (&Settings, IfAbsent),
    ) -> Result<(), Failed> {
        let Session { options, output, secrets, .. } = self;
        let options = server.options(options, security, secrets);
        let mut watch = |step: &Step<'_>| match step {
            Step::Reconnected => output.remark("connected", || Event::new("reconnected")),
            step => tell_lost(output, "not connected", step, settings.retries),
        };
        let connected = Client::connect_patiently(&server.address, &options, settings, if_absent, &mut watch);
        self.client = Some(connected.map_err(|error| Failed::new("", &error).saying(error.to_string()))?);
        self.remote = None;
        self.server = Some(server.clone());
        Ok(())
    }

    /// Returns the server that `text` stands for: a bookmark, a port or host:port, each with a user in front or without.
    pub(crate) fn server(&self, text: &str) -> Result<Server, Failed> {
        server_named(&self.bookmarks, text)
    }

    pub(super) fn close(&mut self) -> Result<(), Failed> {
        self.connected()?;
        self.leave();
        self.output.say("closed", || Event::new("closed"));
        self.tell_jobs_go_on();
        Ok(())
    }

    /// Notices a server that has closed meanwhile; gives what to say about it.
    pub(crate) fn notice_closing(&mut self) -> Option<String> {
        let client = self.client.as_mut()?;
        let error = client.check().err()?;
        let message = format!("{error}; OPEN {} to connect again", place_of(client));
        self.client = None;
        Some(message)
    }

    /// Takes leave; what the server makes of it no longer matters.
    pub(crate) fn leave(&mut self) {
        if let Some(client) = self.client.take() {
            client.leave();
        }
    }

    /// Replaces a connection that a cut download has cost. Where that was nobody's fault at the other end, another one takes
    /// its place; elsewhere the shell is not connected any more.
    pub(super) fn mend_connection(&mut self, error: &Error) -> Option<String> {
        let Session { client, cancel, output, interactive, .. } = self;
        let interactive = *interactive;
        let client = client.as_mut().filter(|client| !client.is_connected())?;
        let place = place_of(client);
        let ours = matches!(error, Error::Interrupted | Error::Local { .. } | Error::LocalFile { .. });
        if ours && interactive {
            // The Ctrl-C that ended the transfer must not end this as well.
            cancel.reset();
            let again = if matches!(error, Error::Interrupted) { " again" } else { "" };
            let tell = || {
                output.remark(format_args!("waiting for the server; Ctrl-C{again} gives the connection up"), || {
                    Event::new("waiting")
                });
            };
            match reconnect(client, cancel, tell) {
                Ok(()) => return Some("the connection was opened again".to_owned()),
                Err(error) => log::info!("not connected again: {error}"),
            }
        }
        self.client = None;
        // A script ends here, and there is nothing to type.
        interactive.then(|| format!("not connected any more: OPEN {place} to connect again"))
    }
}

/// Returns the server that `text` stands for, where these are the `bookmarks`.
pub(crate) fn server_named(bookmarks: &BTreeMap<String, Server>, text: &str) -> Result<Server, Failed> {
    let Some((user, place)) = text.rsplit_once('@') else { return server_at(bookmarks, text) };
    // What stands there may be more than a user: it is not repeated.
    let user = UserName::new(user).map_err(|error| Failed::usage(format!("before the @: {error}")))?;
    Ok(server_at(bookmarks, place)?.with_user(user))
}

fn server_at(bookmarks: &BTreeMap<String, Server>, text: &str) -> Result<Server, Failed> {
    if let Some(server) = bookmarks.get(text) {
        return Ok(server.clone());
    }
    text.parse().map(Server::at).map_err(|error: AddressError| {
        let nor = if matches!(error, AddressError::Form(_)) { ", nor a bookmark" } else { "" };
        Failed::usage(format!("{error}{nor}")).about(text)
    })
}

/// Connects again in a few seconds or not at all; tells of it where that is not done at once.
fn reconnect(client: &mut Client, cancel: &Cancel, tell: impl FnOnce()) -> Result<(), Error> {
    thread::scope(|scope| {
        let (done, ended) = mpsc::channel();
        let connecting = scope.spawn(move || {
            let result = client.reconnect();
            // Nobody listens any more where it took too long.
            let _ = done.send(());
            result
        });
        let is_late = |limit| matches!(ended.recv_timeout(limit), Err(mpsc::RecvTimeoutError::Timeout));
        if is_late(NOTICE_AFTER) {
            tell();
            if is_late(RECONNECT_LIMIT) {
                // As the Ctrl-C would: the next line that is typed takes it back.
                cancel.cancel();
            }
        }
        connecting.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

impl Session {
    /// Has the server be asked something, and asked again where the connection is lost meanwhile: `question` changes nothing.
    pub(super) fn ask<T>(&mut self, question: impl FnMut(&mut Client) -> Result<T, Error>) -> Result<T, Error> {
        let Session { client: Some(client), output, settings, .. } = self else { return Err(Error::NotConnected) };
        let tries = settings.retries;
        client.patiently(settings, &mut |step| tell_outage(output, step, tries), question)
    }
}

/// Tells of a connection that is lost, and that it stands again.
pub(super) fn tell_outage(output: &mut Output, step: &Step<'_>, tries: u32) {
    match step {
        Step::Lost { source: Some(address), .. } => {
            tell_lost(output, &format!("connection to {address} lost"), step, tries);
        }
        Step::Lost { .. } => tell_lost(output, "connection lost", step, tries),
        Step::Reconnected => output.remark("the connection stands again", || Event::new("reconnected")),
        _ => {}
    }
}

/// Tells why there is no connection, and that it is tried again: for which time of how many, or for how long.
pub(super) fn tell_lost(output: &mut Output, what: &str, step: &Step<'_>, tries: u32) {
    let Step::Lost { source, error, attempt, wait, left } = step else { return };
    let seconds = wait.as_secs_f64();
    // One who waits for a server knows that one could be started there.
    let why = match error {
        Error::Refused { address } => format!("nobody listens on {address}"),
        Error::NotFerry { address, stranger } => format!("{address} answers, but {stranger}"),
        error => error.to_string(),
    };
    let by_count = left.is_zero();
    let limit = match by_count {
        true => format!("{attempt} of {tries}"),
        false => format!("{attempt}; for {} more", Left(*left)),
    };
    output.remark(format_args!("{what}: {why}; trying again in {seconds:.1} s ({limit})"), || {
        let event = Event::new("lost").with("message", error.to_string()).with("attempt", *attempt);
        let event = if by_count { event.with("of", tries) } else { event.with("left", left.as_secs_f64()) };
        let event = event.with("wait", seconds);
        match source {
            Some(address) => event.with("address", address.to_string()),
            None => event,
        }
    });
}
