//! What a store must not touch: others' directories, the server's own corner, what is mounted below the root.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    time::Duration,
};

use super::{Durability, MountTable, OpenError, Store, StoreOptions};

fn options(root: &Path) -> StoreOptions {
    StoreOptions {
        root: root.into(),
        writable: true,
        durability: Durability::Full,
        max_staged: u64::MAX,
        max_kept: 10,
        keep: Duration::from_secs(3600),
        mounts: MountTable::default(),
    }
}

#[test]
fn a_corner_that_others_may_change_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let [corner, kept] = [".ferry", ".ferry/kept"].map(|name| root.path().join(name));
    fs::create_dir_all(&kept).unwrap();
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let refused = |path: &Path, why: &str| match Store::open(&options(root.path())) {
        Err(error @ OpenError::Foreign { .. }) => {
            let said = error.to_string();
            assert!(said.contains(path.to_str().unwrap()) && said.contains("--read-only"), "{said}");
        }
        other => panic!("{why}: {:?}", other.map(drop)),
    };
    for (corner_mode, kept_mode, wrong) in [(0o770, 0o700, &corner), (0o702, 0o700, &corner), (0o755, 0o707, &kept)] {
        set(&corner, corner_mode);
        set(&kept, kept_mode);
        refused(wrong, "writable by others");
    }
    set(&kept, 0o700);
    let names = |path: &Path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(names(&corner), ["kept"], "nothing is left of the attempts");
    drop(Store::open(&options(root.path())).unwrap());

    for path in [&kept, &corner] {
        if chown(path, Some(12345), None).is_err() {
            return println!("not tried: this user can give nothing away");
        }
        refused(path, "another user's");
        chown(path, Some(rustix::process::geteuid().as_raw()), None).unwrap();
    }
    drop(Store::open(&options(root.path())).unwrap());
}
