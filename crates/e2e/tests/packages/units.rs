//! The units of systemd, as systemd itself reads them.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use ferry_e2e::{ferryd, workspace_root};

use super::{find, skip};

/// The highest exposure that the service may have, in tenths: systemd counts from 0 (none) to 10.
const EXPOSURE_TENTHS: u32 = 15;

fn systemd_analyze(arguments: &[&str], paths: &[&Path]) -> Output {
    Command::new("systemd-analyze").args(arguments).args(paths).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    if find("systemd-analyze").is_none() {
        return skip("no systemd-analyze here");
    }
    let directory = tempfile::tempdir().unwrap();
    let units = ["ferryd.service", "ferryd.socket", "ferryd-http.socket"].map(|name| {
        let text = fs::read_to_string(workspace_root().join("packaging").join(name)).unwrap();
        // A program that is not installed is an error.
        let text = text.replace("/usr/bin/ferryd", ferryd().to_str().unwrap());
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    });
    let output = systemd_analyze(&["verify", "--man=no"], &units.each_ref().map(|path| path.as_path()));
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    // It says what is wrong with other units of this machine, too.
    assert!(!said.contains("ferryd"), "{said}");
}

#[test]
fn the_service_is_hardly_exposed() {
    if find("systemd-analyze").is_none() {
        return skip("no systemd-analyze here");
    }
    let service = workspace_root().join("packaging/ferryd.service");
    let threshold = format!("--threshold={EXPOSURE_TENTHS}");
    let output = systemd_analyze(&["security", "--offline=true", "--no-pager", &threshold], &[&service]);
    assert!(output.status.success(), "{}", said(&output));
}
