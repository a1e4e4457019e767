//! The mount that a path lies on, as a line of the kernel's table of mounts tells of it.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// A mount, as a line of the table tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// The directory that it is mounted on.
    pub(super) point: PathBuf,
    /// Its kind, with that of the program that plays it: `fuse.glusterfs`.
    pub(super) kind: String,
    /// The device, server or volume that is mounted, in the words of its kind.
    pub(super) source: String,
    /// Of the mount, and of the file system.
    pub(super) options: Vec<String>,
}

impl Mount {
    /// Returns the mount on which the absolute `path` lies, without links in it, as `table` (proc_pid_mountinfo(5))
    /// tells.
    pub(super) fn of(path: &Path, table: &[u8]) -> Option<Mount> {
        let mounts = table.split(|&byte| byte == b'\n').filter_map(Mount::parse);
        let above = mounts.filter(|mount| path.starts_with(&mount.point));
        // Of two at one place the later one lies above.
        above.max_by_key(|mount| mount.point.as_os_str().len())
    }

    /// Returns whether MooseFS is mounted there.
    pub(super) fn is_moosefs(&self) -> bool {
        self.kind == "fuse.mfs" || self.kind == "fuse" && self.source.starts_with("mfs#")
    }

    fn parse(line: &[u8]) -> Option<Mount> {
        let mut words = line.split(|&byte| byte == b' ');
        let text = |word: &[u8]| String::from_utf8_lossy(&unescaped(word)).into_owned();
        let point = PathBuf::from(OsStr::from_bytes(&unescaped(words.nth(4)?)));
        let of_mount = text(words.next()?);
        // Fields of any number end with a hyphen.
        let (kind, source) = (text(words.by_ref().skip_while(|word| *word != b"-").nth(1)?), text(words.next()?));
        let of_all = words.next().map(text).unwrap_or_default();
        let options = of_mount.split(',').chain(of_all.split(',')).map(str::to_owned).collect();
        Some(Mount { point, kind, source, options })
    }
}

/// Returns a word of the table without its escapes: a backslash and three octal digits.
fn unescaped(word: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&first, after)) = rest.split_first() {
        let escape = (first == b'\\').then(|| after.get(..3)).flatten();
        let byte = escape.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &after[3..] } else { after };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"21 1 8:1 / / rw - ext4 /dev/a rw\n\
        22 21 0:5 / /srv/a\\040b rw shared:1 master:2 - fuse.mfs mfsmaster:9421 rw,user_id=0\n\
        23 21 0:6 / /srv/a\\040b rw - nfs4 host:/ rw\n\
        24 21 0:7 / /srv/a rw - tmpfs none rw\n";

    #[test]
    fn a_path_lies_on_the_mount_that_is_nearest_and_topmost() {
        for (path, point, kind) in [
            ("/", "/", "ext4"),
            ("/srv/a b", "/srv/a b", "nfs4"),
            ("/srv/a b/c", "/srv/a b", "nfs4"),
            ("/srv/a/b", "/srv/a", "tmpfs"),
            ("/srv/ab", "/", "ext4"),
        ] {
            let mount = Mount::of(Path::new(path), TABLE);
            let mount = mount.map(|mount| (mount.point, mount.kind));
            assert_eq!(mount, Some((point.into(), kind.into())), "{path}");
        }
        assert_eq!(Mount::of(Path::new("/"), b"half a line"), None);
        let moosefs = b"66 44 0:40 / /mnt rw,nosuid - fuse mfs\\04310.88.0.1:9421 rw,user_id=0,allow_other";
        let moosefs = Mount::of(Path::new("/mnt"), moosefs).unwrap();
        assert_eq!(moosefs.source, "mfs#10.88.0.1:9421");
        assert!(moosefs.is_moosefs());
        assert_eq!(moosefs.options, ["rw", "nosuid", "rw", "user_id=0", "allow_other"]);
    }
}
