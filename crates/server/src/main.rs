//! `ferryd`: serves one directory to ferry clients, or carries out a command.

use std::{
    env,
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
};

use ferry_server::{
    check,
    commands::{
        CheckArguments, Command,
        ask::{self, StatusArguments},
        user,
    },
    config::{Configuration, Obstacle, StartError, completions, example, manual},
    control::Question,
    net::Inherited,
    serve::serve,
};
use ferry_wire::escaped;
use signal_hook::{consts::SIGXFSZ, flag};

fn main() -> ExitCode {
    // First of all: nothing else may have their numbers.
    let passed = Inherited::of_environment();
    let configuration = match Configuration::read() {
        Ok(configuration) => configuration,
        Err(error) => return refuse(&error),
    };
    match run(passed, configuration) {
        Ok(status) => status,
        Err(error) => {
            // A name in it may hold control characters.
            eprintln!("ferryd: {}", escaped(&error.to_string()));
            ExitCode::from(error.obstacle.status())
        }
    }
}

/// Prints why the command line is not served: an error, help or the version. It quotes the
/// arguments, so there are colours only where nothing has to be escaped.
fn refuse(error: &clap::Error) -> ExitCode {
    let is_plain = |argument: OsString| argument.to_str().is_some_and(|text| escaped(text).to_string() == text);
    // Whether it can be said or not, the exit status tells.
    let _ = if env::args_os().all(is_plain) {
        error.print()
    } else {
        let said = error.render().to_string();
        said.lines().try_for_each(|line| writeln!(io::stderr(), "{}", escaped(line)))
    };
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
}

fn run(passed: Result<Inherited, String>, configuration: Configuration) -> Result<ExitCode, StartError> {
    survive_limits()?;
    if configuration.arguments().command.is_some() {
        return carry_out(&configuration);
    }
    let passed = passed.map_err(StartError::of(Obstacle::Address))?;
    serve(passed, configuration).map(|ending| ExitCode::from(ending.status()))
}

/// Carries out the command that stands in place of serving.
fn carry_out(configuration: &Configuration) -> Result<ExitCode, StartError> {
    let (control, port) = configuration.arguments().control();
    match &configuration.arguments().command {
        None => {}
        Some(Command::User(arguments)) => {
            // Where the file is named, no warning is needed.
            if !arguments.names_file() {
                configuration.holds()?;
            }
            user::run(arguments, configuration.users_file())?;
        }
        Some(Command::Status(StatusArguments { json })) => ask::run(Question::Status { json: *json }, control, port)?,
        Some(Command::Reload) => ask::run(Question::Reload, control, port)?,
        Some(Command::Check(CheckArguments { example: true })) => print(example().as_bytes())?,
        Some(Command::Check(_)) => {
            let wrong = check::report(configuration).err();
            return Ok(wrong.map_or(ExitCode::SUCCESS, |error| ExitCode::from(error.obstacle.status())));
        }
        Some(Command::Man(arguments)) => print(&manual(arguments.page))?,
        Some(Command::Completions(arguments)) => print(&completions(arguments.shell))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a text as it is. A reader that has read enough closes the pipe, which is no error.
fn print(text: &[u8]) -> io::Result<()> {
    match io::stdout().write_all(text).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Makes a limit on file sizes an error of the write, told to whom it concerns, and not the end of all.
fn survive_limits() -> io::Result<()> {
    flag::register(SIGXFSZ, Arc::default()).map(drop)
}
