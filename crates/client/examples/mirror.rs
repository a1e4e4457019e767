//! Fetches a directory of a server with all that is beneath it, and goes on where an earlier run was cut.
//!
//! ```sh
//! cargo run --release -p ferry-client --example mirror -- 12000 poems client/poems
//! ```
//!
//! A `.` in place of the directory stands for all that the server has.

use std::{error::Error, fs, path::Path, process::ExitCode};

use ferry_client::{Client, EntryKind, Event, Fetch, HeldDirectory, LocalTree, Name, Options, Settings, Unmade};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, remote, local] = &arguments[..] else {
        eprintln!("usage: mirror ADDRESS REMOTE-DIRECTORY LOCAL-DIRECTORY");
        return ExitCode::from(2);
    };
    match mirror(address, remote, Path::new(local)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn mirror(address: &str, remote: &str, local: &Path) -> Result<bool, Box<dyn Error>> {
    let mut client = Client::connect(&address.parse()?, Options::default())?;
    let root = if remote == "." { None } else { Some(Name::new(remote)?) };
    let prefix = root.as_ref().map_or(0, |root| root.as_str().len() + 1);

    fs::create_dir_all(local)?;
    // The server's names for its directories and files lead out of this one by no link that may be in it.
    let here = HeldDirectory::at(local);
    let (mut directories, mut files) = (Vec::new(), Vec::new());
    let tree = client.tree(root.as_ref())?;
    for (name, error) in &tree.skipped {
        eprintln!("{name}: {error}");
    }
    for found in tree.found {
        let below = &found.name.as_str()[prefix..];
        match found.kind {
            EntryKind::Directory(_) => directories.push(Name::new(below)?),
            EntryKind::File(meta) => {
                files.push(Fetch { target: here.place(below), name: found.name, meta: Some(meta) });
            }
        }
    }
    let unmade = LocalTree::make(&here.place(""), &directories);
    for Unmade { error, .. } in &unmade {
        eprintln!("{error}");
    }

    let settings = Settings { keep_going: true, ..Settings::default() };
    let report = client.fetch(&files, &settings, &mut |event| match event {
        Event::Begun { index, size, resumed } if *resumed > 0 => {
            println!("{}: {resumed} of {size} bytes are there already", files[*index].name);
        }
        Event::Restarted { index, why } => println!("{}: from the beginning: {why}", files[*index].name),
        Event::Failed { index, error } => eprintln!("{}: {error}", files[*index].name),
        Event::Lost { error, wait, .. } => eprintln!("{error}; again in {:.1} s", wait.as_secs_f32()),
        _ => {}
    });
    println!("{} files, {} bytes, {} failures", report.files, report.bytes, report.failures.len());
    client.close()?;
    Ok(report.is_whole() && tree.skipped.is_empty() && unmade.is_empty())
}
