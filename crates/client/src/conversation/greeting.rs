//! The greeting, and telling what listens where there is none.

use std::time::{Duration, Instant};

use ferry_wire::{Frame, Framer, Greeting, GreetingError, Reply, escaped_bytes};

use super::Exchange;
use crate::{
    address::Address,
    error::{Error, Stranger},
    link::{Link, Wait},
    trace,
};

/// A ferry server greets at once; one that is silent for so long gets the rest of its time only
/// because it may be starved.
const GREETING_LIMIT: Duration = Duration::from_secs(10);

/// A peer that is silent for so long is asked what it is: web and echo servers speak only when spoken to.
const PROBE_AFTER: Duration = Duration::from_secs(1);

/// To a ferry server an unknown command, which costs it one FAIL; to a web server a bad request.
const PROBE: &[u8] = b"HELP\n";

/// How much of a stranger's words is shown.
const SHOWN_BYTES: usize = 80;

/// Reads the greeting of a connection that was just made.
pub(crate) fn receive(link: &mut Link, address: &Address, timeout: Duration) -> Result<Greeting, Error> {
    let begun = Instant::now();
    let limit = timeout.min(GREETING_LIMIT);
    let stranger = |stranger| Error::NotFerry { address: address.clone(), stranger };
    let probe_after = PROBE_AFTER.min(limit / 4);
    let mut line = first_line(link, probe_after);
    if matches!(line, Err(Error::Timeout(_)))
        && link.input().is_empty()
        && let Some(secure) = link.try_tls(probe_after)?
    {
        *link = secure;
        // A person may have been asked about its key, for as long as that took.
        line = first_line(link, limit);
    }
    let probed = matches!(line, Err(Error::Timeout(_)));
    if probed {
        trace::sent(PROBE);
        link.output().extend_from_slice(PROBE);
        line = first_line(link, limit.saturating_sub(begun.elapsed()));
    }
    let line = match line {
        Ok(line) => line,
        Err(Error::Closed(_)) if link.input().is_empty() => return Err(stranger(Stranger::Closing)),
        Err(Error::Timeout(_)) if link.input().is_empty() => return Err(stranger(Stranger::Silent(limit))),
        // Something came, and no line: that is no ferry server whatever else it may be.
        Err(Error::Closed(_) | Error::Timeout(_) | Error::Violation(_)) => {
            return Err(stranger(recognise(link.input())));
        }
        Err(error) => return Err(error),
    };
    let greeting = parse(&line, address)?;
    if probed {
        skip_answer_to_probe(link)?;
    }
    Ok(greeting)
}

fn first_line(link: &mut Link, limit: Duration) -> Result<Vec<u8>, Error> {
    link.wait_for(Wait::Reply(limit), |input| {
        Ok(match Framer::new().next(input).map_err(Error::violation)? {
            Some((Frame::Line(line) | Frame::Raw(line), used)) => {
                trace::received(line);
                (used, Some(line.to_vec()))
            }
            None => (0, None),
        })
    })
}

fn parse(line: &[u8], address: &Address) -> Result<Greeting, Error> {
    Greeting::parse(line).map_err(|error| match error {
        GreetingError::Refused(failure) => Error::Server(failure),
        GreetingError::Version(version) => Error::Version { address: address.clone(), version },
        GreetingError::NotFerry(_) => Error::NotFerry { address: address.clone(), stranger: recognise(line) },
    })
}

fn recognise(line: &[u8]) -> Stranger {
    let starts_with = |text: &[u8]| line.get(..text.len()).is_some_and(|head| head.eq_ignore_ascii_case(text));
    if line == PROBE.trim_ascii_end() {
        Stranger::Echo
    } else if starts_with(b"HTTP/") || starts_with(b"<!DOCTYPE") || starts_with(b"<html") {
        Stranger::Http
    } else {
        let dots = if line.len() > SHOWN_BYTES { "..." } else { "" };
        Stranger::Says(format!("{}{dots}", escaped_bytes(&line[..line.len().min(SHOWN_BYTES)])))
    }
}

fn skip_answer_to_probe(link: &mut Link) -> Result<(), Error> {
    let mut exchange = Exchange::new(link);
    exchange.was_sent(());
    match exchange.reply()?.1 {
        Reply::Fail(_) => Ok(()),
        _ => Err(Error::violation("it answers what was not asked")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_recognised_by_their_first_line() {
        for line in ["HTTP/1.1 400 Bad Request", "<!DOCTYPE HTML>", "<html>"] {
            assert_eq!(recognise(line.as_bytes()), Stranger::Http, "{line}");
        }
        assert_eq!(recognise(b"HELP"), Stranger::Echo);
        assert_eq!(recognise(b"220 ftp\x1b[2J"), Stranger::Says("220 ftp\\u{1b}[2J".into()));
    }
}
