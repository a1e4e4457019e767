//! LOGIN: the first request of a connection, or one of its own.

use ferry_wire::{Code, Greeting, Reply};
use zeroize::Zeroize as _;

use super::{Exchange, unexpected};
use crate::{
    address::Address,
    error::Error,
    link::Link,
    login::{Credentials, LoginProblem},
};

/// How much longer than for a byte a server is waited for, which answers after a delay where logins have failed, and
/// checks few at a time.
const DELAY_FACTOR: u32 = 10;

/// Logs in as `credentials` say, at the server that `address` names and that has said `greeting`.
///
/// # Errors
///
/// [`Error::Login`] where the server refuses them, and where they can't be sent: then nothing was. The connection goes on.
pub(crate) fn log_in(
    link: &mut Link,
    address: &Address,
    greeting: &Greeting,
    credentials: &Credentials,
) -> Result<(), Error> {
    if !link.is_private() {
        return Err(credentials.problem(LoginProblem::Exposed));
    }
    if !greeting.has(Greeting::LOGIN) {
        return Err(credentials.problem(LoginProblem::NoAccounts));
    }
    let request = credentials.request(address)?;
    // A person may have been asked, for as long as that took.
    link.restart_timeout();
    let limit = link.timeout().saturating_mul(DELAY_FACTOR);
    let mut exchange = Exchange::new(link);
    exchange.ask(&request, ());
    let reply = exchange.reply_within(limit);
    drop(exchange);
    // What is sent is only marked as such.
    link.output().zeroize();
    match reply?.1 {
        Reply::Done => {
            log::info!("logged in as {}", credentials.user());
            Ok(())
        }
        Reply::Fail(failure) if failure.code == Code::Denied => {
            credentials.forget();
            Err(credentials.problem(LoginProblem::Refused(failure)))
        }
        reply => Err(unexpected(reply)),
    }
}
