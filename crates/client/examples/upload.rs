//! Stores files on a server, and goes on where an earlier run was cut.
//!
//! ```sh
//! cargo run --release -p ferry-client --example upload -- 12000 poems client/*.txt
//! ```
//!
//! The directory is made where it is missing; a `.` stands for the server's own. The notes by which a cut upload goes on
//! are kept beneath the directory that `XDG_STATE_HOME` names, or `.local/state` in the home directory.

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
};

use ferry_client::{Client, Event, Name, Options, Settings, Store};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, directory, sources @ ..] = &arguments[..] else {
        eprintln!("usage: upload ADDRESS REMOTE-DIRECTORY FILE...");
        return ExitCode::from(2);
    };
    match upload(address, directory, sources) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn upload(address: &str, directory: &str, sources: &[String]) -> Result<bool, Box<dyn Error>> {
    let mut client = Client::connect(&address.parse()?, Options::default())?;
    let mut files = Vec::new();
    for source in sources {
        let source = PathBuf::from(source);
        let last = source.file_name().and_then(|last| last.to_str()).ok_or("a file needs a name in UTF-8")?;
        let name = if directory == "." { Name::new(last)? } else { Name::new(directory)?.join(last)? };
        files.push(Store { source: source.into(), name });
    }
    if directory != "." {
        client.make_directories(&[Name::new(directory)?])?;
    }

    let settings = Settings { keep_going: true, state: state(), ..Settings::default() };
    let report = client.store(&files, &settings, &mut |event| match event {
        Event::Begun { index, size, resumed } if *resumed > 0 => {
            println!("{}: {resumed} of {size} bytes are there already", files[*index].name);
        }
        Event::Restarted { index, why } => println!("{}: from the beginning: {why}", files[*index].name),
        Event::Failed { index, error } => eprintln!("{}: {error}", files[*index].name),
        Event::Lost { error, wait, .. } => eprintln!("{error}; again in {:.1} s", wait.as_secs_f32()),
        _ => {}
    });
    println!("files: {}, bytes: {}, failures: {}", report.files, report.bytes, report.failures.len());
    client.close()?;
    Ok(report.is_whole())
}

fn state() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| Path::new(value).is_absolute()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("ferry"))
}
