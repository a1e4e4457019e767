//! Programs that do one piece of work from their start to their end.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{sample::clocked, tree::cpu_seconds_waited_for};

/// Names a directory, or several separated by `:`, in which programs are looked for first: as they lie
/// there, or beneath it as in a package of Debian's that was unpacked.
pub(crate) const PLACES_VARIABLE: &str = "FERRY_BENCH_PEERS";

/// Where in such a directory, or in the root of a system.
const BENEATH: [&str; 6] = ["", "usr/sbin", "usr/bin", "sbin", "bin", "usr/local/sbin"];

/// Returns the program `name`: in the places named by [`PLACES_VARIABLE`], on the path, or where a system
/// keeps servers, which is not on everybody's path.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    find_in(name, env::var_os(PLACES_VARIABLE).as_deref(), env::var_os("PATH").as_deref())
}

fn find_in(name: &str, places: Option<&OsStr>, path: Option<&OsStr>) -> Option<PathBuf> {
    let beneath = |place: PathBuf| BENEATH.map(|directory| place.join(directory));
    let split = |list: &OsStr| env::split_paths(list).collect::<Vec<_>>();
    let places = places.map(split).unwrap_or_default().into_iter().flat_map(beneath);
    let path = path.map(split).unwrap_or_default();
    let system = beneath("/".into()).into_iter().skip(1);
    places.chain(path).chain(system).map(|directory| directory.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.is_absolute() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file()
}

/// Runs `command` and gives the seconds that it took and the CPU seconds of it and its children.
///
/// # Errors
///
/// Fails with the program's own words where it did not succeed.
pub(crate) fn run(command: &mut Command) -> Result<(f64, f64), String> {
    let mut output = None;
    let figures =
        clocked(cpu_seconds_waited_for, || output = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).output()));
    match output {
        Some(Ok(output)) if output.status.success() => Ok(figures),
        Some(Ok(output)) => Err(format!(
            "{} ended with {}: {}",
            command.get_program().display(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Some(Err(error)) => Err(format!("{}: {error}", command.get_program().display())),
        None => Err("it was not run".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacked_programs_come_first_and_servers_are_found_off_the_path() {
        let place = tempfile::tempdir().unwrap();
        let unpacked = place.path().join("usr/sbin");
        std::fs::create_dir_all(&unpacked).unwrap();
        let sh = find_in("sh", None, None).unwrap();
        assert_eq!(find_in("sh", Some(place.path().as_os_str()), None), Some(sh.clone()));
        std::fs::copy(sh, unpacked.join("sh")).unwrap();
        assert_eq!(find_in("sh", Some(place.path().as_os_str()), None), Some(unpacked.join("sh")));
        std::fs::write(unpacked.join("no-program"), "").unwrap();
        assert_eq!(find_in("no-program", Some(place.path().as_os_str()), None), None);
    }

    #[test]
    fn a_program_that_fails_is_told_with_its_words() {
        let sh = find("sh").unwrap();
        let (seconds, cpu) = run(Command::new(&sh).args(["-c", "exit 0"])).unwrap();
        assert!(seconds > 0.0 && cpu >= 0.0);
        let said = run(Command::new(&sh).args(["-c", "echo no >&2; exit 3"])).unwrap_err();
        assert!(said.contains("3") && said.ends_with(": no"), "{said}");
        assert!(run(&mut Command::new("/no/such/program")).is_err());
    }
}
