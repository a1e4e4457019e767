//! Directories with a disk quota of their own: the files in them belong to a project.

use std::{fs, path::Path, process::Command};

use ferry_e2e::{Mount, Options, Raw, mounts};

fn project_of(path: &Path) -> String {
    let told = Command::new("lsattr").args(["-dp"]).arg(path).output().unwrap();
    String::from_utf8(told.stdout).unwrap().split_whitespace().next().unwrap_or_default().to_owned()
}

#[test]
fn uploads_into_a_directory_of_a_project_belong_to_it() {
    if !mounts::private(&["mkfs.xfs", "chattr", "lsattr"]) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    // It has projects whether or not their quotas are counted.
    let mount = Mount::make(&place.path().join("image"), 320 << 20, &["mkfs.xfs", "-q"], "rw");
    let server = Options::new().root(mount.path()).start();
    let mut raw = Raw::greeted(server.address());
    assert_eq!(raw.ask("MKDIR project").line, "DONE");
    let directory = mount.path().join("project");
    assert!(Command::new("chattr").args(["-p", "42", "+P"]).arg(&directory).status().unwrap().success());
    raw.send("PUT 5 - project/plain\nDATA 5\nhelloEND 3610a686\nRESUME id 5 - project/kept\n");
    assert_eq!(raw.answer("PUT").code(), None);
    assert_eq!(raw.answer("RESUME").line, "GO 0");
    raw.send("DATA 5\nhelloEND 3610a686\n");
    assert_eq!(raw.answer("PUT").code(), None);
    for file in ["plain", "kept"] {
        assert_eq!(fs::read(directory.join(file)).unwrap(), b"hello");
        assert_eq!(project_of(&directory.join(file)), "42");
    }
    raw.put("outside", b"hello");
    let refused = raw.ask("RENAME outside//project/outside");
    refused.expect_failure("denied");
    assert!(refused.line.contains("quota"), "{}", refused.line);
    drop(raw);
    assert_eq!(server.terminate().code(), Some(0));
}
