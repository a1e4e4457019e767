//! Fetches a directory of a server with all that is beneath it, and goes on where an earlier run was cut.
//!
//! ```sh
//! cargo run --release -p ferry-client --example mirror -- 12000 poems client/poems
//! ```
//!
//! A `.` in place of the directory stands for all that the server has.

use std::{error::Error, fs, path::Path, process::ExitCode};

use ferry_client::{Client, Direction, Event, HeldDirectory, Name, Options, Planner, Settings};

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
    fs::create_dir_all(local)?;

    // The server's names for its directories and files lead out of this one by no link that may be in it.
    let here = HeldDirectory::at(local).place("");
    let mut planner = Planner::new(Direction::Down);
    planner.add_directory(&mut client, &here, root.as_ref(), &mut |_| {})?;
    let plan = planner.finish()?;
    for (name, error) in &plan.skipped {
        eprintln!("{}: {error}", name.as_ref().map_or(".", Name::as_str));
    }
    for clash in &plan.clashes {
        eprintln!("{}: the same file as {} here", clash.second.here.display(), clash.first.here.display());
    }

    let names: Vec<&Name> = plan.transfers.names().collect();
    let settings = Settings { keep_going: true, ..Settings::default() };
    let outcome = plan.carry_out(&mut client, &settings, &mut |event| match event {
        Event::Begun { index, size, resumed } if *resumed > 0 => {
            println!("{}: {resumed} of {size} bytes are there already", names[*index]);
        }
        Event::Restarted { index, why } => println!("{}: from the beginning: {why}", names[*index]),
        Event::Failed { index, error } => eprintln!("{}: {error}", names[*index]),
        Event::Refused { error, .. } => eprintln!("{error}"),
        Event::Lost { error, wait, .. } => eprintln!("{error}; again in {:.1} s", wait.as_secs_f32()),
        _ => {}
    });
    let report = &outcome.moved;
    println!("files: {}, bytes: {}, failures: {}", report.files, report.bytes, report.failures.len());
    client.close()?;
    Ok(outcome.is_whole() && plan.skipped.is_empty() && plan.clashes.is_empty())
}
