//! The processes that a bench starts beside ferry's own: its executable again, with a first argument
//! that no person types. So a bench is one file, and nothing else has to be built for it.

mod keeper;
mod raw_limit;

use std::{env, process::ExitCode};

use crate::peers::{cluster, long_line};

pub(crate) use self::keeper::Keeper;
pub use self::raw_limit::RawLimit;

/// Runs the helper that the first argument of this process names; returns [`None`] where it names none.
#[must_use]
pub fn helper() -> Option<ExitCode> {
    let mut words = env::args_os().skip(1);
    let ended = match words.next()?.to_str()? {
        keeper::ARGUMENT => keeper::main(words),
        raw_limit::ARGUMENT => raw_limit::main(words),
        cluster::ARGUMENT => cluster::main(words),
        long_line::ARGUMENT => long_line::main(words),
        _ => return None,
    };
    Some(match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    })
}
