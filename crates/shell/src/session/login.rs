//! LOGIN, and who may not do what nobody has logged in for.

use ferry_client::{Client, Code, Error, UserName};

use super::Session;
use crate::{exit::Failed, output::Event};

impl Session {
    /// Logs in as `user`; without one as the user of the login before or of the bookmark, or as whom a person names.
    pub(super) fn log_in(&mut self, user: Option<&str>) -> Result<(), Failed> {
        let before = self.connected()?.user().map(str::to_owned);
        let server = self.server.as_ref();
        let of_bookmark = server.and_then(|server| Some(server.user.as_ref()?.as_str()));
        let user = match user.or(before.as_deref()).or(of_bookmark) {
            Some(user) => UserName::new(user).map_err(|error| Failed::usage(format!("LOGIN: {error}")))?,
            None => self.asked_user()?,
        };
        let server = self.server.as_ref();
        let server = server.map(|server| server.clone().with_user(user.clone()));
        let credentials = self.secrets.of(&user, server.and_then(|server| server.secret_command).as_deref());
        self.connected()?.login(credentials).map_err(|error| Failed::new("LOGIN", &error))?;
        self.output.say(format_args!("logged in as {user}"), || Event::new("logged-in").with("user", user.as_str()));
        Ok(())
    }

    fn asked_user(&mut self) -> Result<UserName, Failed> {
        let address = self.connected()?.address().clone();
        self.output.flush();
        self.secrets.user(&address).map_err(|why| match why {
            Some(why) => Failed::usage(why),
            None => Failed::new("LOGIN", &Error::Interrupted),
        })
    }

    /// Adds the way out for who has not logged in, at a server where that might help.
    pub(super) fn with_login(&self, failed: Failed) -> Failed {
        let is_nobody = |client: &Client| client.has_accounts() && client.user().is_none();
        match failed.code == Some(Code::Denied) && self.client.as_ref().is_some_and(is_nobody) {
            true if self.one_shot => failed.and("USER@ before the server logs in"),
            true => failed.and("nobody has logged in: LOGIN user"),
            false => failed,
        }
    }
}

/// Returns what opens the server of `client` again: its address, with the user who has logged in.
pub(crate) fn place_of(client: &Client) -> String {
    match client.user() {
        Some(user) => format!("{user}@{}", client.address()),
        None => client.address().to_string(),
    }
}
