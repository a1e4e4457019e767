//! GET and PUT.

use std::io;

use ferry_client::{Download, Error, Name, Upload};
use ferry_wire::escaped;

use super::{Session, shown};
use crate::shell::{
    command::{Names, Transfer},
    exit::Failed,
    figures::Summary,
    output::Event,
    progress::{Mode, Progress},
};

impl Session {
    pub(super) fn get(&mut self, transfer: &Transfer) -> Result<(), Failed> {
        let name = &single("GET", &transfer.names)?;
        let target = self.local.join(name.last());
        let progress = Progress::start(Mode::Auto, [(shown(name), None)]);
        let result = self.connected()?.get(name, &target, &mut |state| progress.note(&told(state)));
        let elapsed = progress.elapsed();
        drop(progress);
        let Download { size, .. } = result.map_err(|error| self.failed("GET", name, &error))?;
        self.output.say(
            format_args!("got {}: {}, verified", shown(name), Summary { bytes: size, resumed: 0, elapsed }),
            || Event::new("got").with("name", name.as_str()).with("bytes", size).with("seconds", elapsed.as_secs_f64()),
        );
        Ok(())
    }

    pub(super) fn put(&mut self, transfer: &Transfer) -> Result<(), Failed> {
        let name = &single("PUT", &transfer.names)?;
        let source = self.local.join(name.as_str());
        let progress = Progress::start(Mode::Auto, [(shown(name), None)]);
        let result = self.connected()?.put(name, &source, &mut |state| progress.note(&told(state)));
        let elapsed = progress.elapsed();
        drop(progress);
        let Upload { size, .. } = result.map_err(|error| self.failed("PUT", name, &error))?;
        let summary = Summary { bytes: size, resumed: 0, elapsed };
        self.output.say(format_args!("put {}: {summary}, verified and on disk", shown(name)), || {
            Event::new("put").with("name", name.as_str()).with("bytes", size).with("seconds", elapsed.as_secs_f64())
        });
        Ok(())
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
                escaped(&self.local.to_string_lossy())
            );
        }
        if let Some(consequence) = self.mend_connection(error) {
            failed.message.push_str("; ");
            failed.message.push_str(&consequence);
        }
        failed
    }
}

fn told(state: ferry_client::Progress) -> ferry_client::Event<'static> {
    match state.done {
        0 => ferry_client::Event::Begun { index: 0, size: state.total, resumed: 0 },
        done => ferry_client::Event::Moved { index: 0, done },
    }
}

/// The one name that was typed.
fn single(verb: &str, names: &Names) -> Result<Name, Failed> {
    let text = match (&names.line, &names.words[..]) {
        (Some(line), _) => line,
        (None, [word]) => &word.text,
        (None, _) => return Err(Failed::usage(format!("{verb} takes one name"))),
    };
    Name::new(text).map_err(|error| Failed::usage(format!("{verb} {}: {error}", escaped(text))))
}
