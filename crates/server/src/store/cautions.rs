//! Options of the root's mount by which it shows late, or never, what other machines change, as far as they can be
//! seen.
//!
//! The kernel's table of mounts tells those that the kernel itself goes by (NFS, CIFS). Of file systems that programs
//! play it tells hardly any: MooseFS lists its own in a file at its top, which root may read; of GlusterFS the
//! arguments of the program that plays it are looked at. What these don't tell, nobody here can see.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use super::{mountinfo::Mount, mounts::TABLE};

/// The most of a file of options that is read: MooseFS writes some 2 KB.
const OPTIONS_BYTES: u64 = 64 << 10;

/// The longest that attributes may be remembered without a word, in seconds: as MooseFS does by default. A listing may
/// be as old as that.
const LATE_SECONDS: f64 = 1.0;

/// NFS remembers attributes for so long where its mount says nothing.
const NFS_SECONDS: f64 = 60.0;

/// Returns the options of the mount of `root` that are to be warned of, each with the reason and the way out. To be
/// called before anything is closed to this process.
#[must_use]
pub fn cautions(root: &Path) -> Vec<String> {
    let mount = fs::canonicalize(root).ok().zip(fs::read(TABLE).ok());
    let Some(mount) = mount.and_then(|(root, table)| Mount::of(&root, &table)) else { return Vec::new() };
    let found = match mount.kind.as_str() {
        "nfs" | "nfs4" => nfs(&mount.options),
        "cifs" | "smb3" => cifs(&mount.options),
        "fuse.glusterfs" => {
            arguments_of_glusterfs(&mount.point).map_or_else(Vec::new, |arguments| glusterfs(&arguments))
        }
        _ if mount.is_moosefs() => moosefs(&read_some(&mount.point.join(".params")).unwrap_or_default()),
        _ => Vec::new(),
    };
    let at = format!("the mount of the root ({} at {})", mount.kind, mount.point.display());
    found.into_iter().map(|caution| format!("{at}: {caution}")).collect()
}

/// Returns the value of an option; an empty one for an option that has none.
fn value<'a>(options: &'a [String], name: &str) -> Option<&'a str> {
    options.iter().find_map(|option| match option.split_once('=') {
        Some((key, value)) => (key == name).then_some(value),
        None => (option == name).then_some(""),
    })
}

fn seconds(options: &[String], name: &str) -> Option<f64> {
    value(options, name)?.parse().ok()
}

const LOCAL_LOCKS: &str = "locks end at this machine, so that a second server of this root on another one won't start";

fn nfs(options: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    if value(options, "noac").is_none() {
        for (name, what) in [("acregmax", "files"), ("acdirmax", "directories")] {
            let late = seconds(options, name).unwrap_or(NFS_SECONDS);
            if late > LATE_SECONDS {
                found.push(format!(
                    "{name}={late}: changes of {what} by other machines are shown up to {late} s late; mount with actimeo=1 (or noac)"
                ));
            }
        }
    }
    for soft in ["soft", "softerr"] {
        if value(options, soft).is_some() {
            found.push(format!("{soft}: calls fail where the server is slow for a while; mount with hard"));
        }
    }
    let local = value(options, "local_lock").filter(|local| ["all", "flock"].contains(local));
    if let Some(option) =
        local.map(|local| format!("local_lock={local}")).or(value(options, "nolock").map(|_| "nolock".into()))
    {
        found.push(format!("{option}: {LOCAL_LOCKS}; mount without it"));
    }
    found
}

fn cifs(options: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(cache @ ("loose" | "singleclient" | "ro")) = value(options, "cache") {
        found.push(format!(
            "cache={cache}: files that another machine changed may be served with their old content; mount with cache=strict"
        ));
    }
    for name in ["actimeo", "acregmax", "acdirmax"] {
        if let Some(late) = seconds(options, name).filter(|late| *late > LATE_SECONDS) {
            found.push(format!(
                "{name}={late}: changes by other machines are shown up to {late} s late; mount with actimeo=1"
            ));
        }
    }
    if value(options, "nobrl").is_some() {
        found.push(format!("nobrl: {LOCAL_LOCKS}; mount without it"));
    }
    found
}

/// `options` is the file that lists them: `mfsattrcacheto: 1.000`, or `(not defined)`.
fn moosefs(options: &str) -> Vec<String> {
    let lines = options.lines().filter_map(|line| line.split_once(": "));
    let set: Vec<_> =
        lines.filter(|(_, value)| *value != "(not defined)").map(|(key, value)| format!("{key}={value}")).collect();
    let mut found = Vec::new();
    if value(&set, "working_keep_cache_mode") == Some("YES") {
        found.push("mfscachemode=YES: files that another machine replaced may be served with their old content; mount without it".into());
    }
    for (name, most, what) in [
        ("mfsattrcacheto", LATE_SECONDS, "sizes and times that other machines changed are shown"),
        ("mfsentrycacheto", 0.0, "files that other machines replaced are served"),
        ("mfsdirentrycacheto", 0.0, "directories that other machines renamed are found under their old names"),
        ("mfsnegentrycacheto", 0.0, "files that other machines added are found"),
    ] {
        if let Some(late) = seconds(&set, name).filter(|late| *late > most) {
            found.push(format!("{name}={late}: {what} up to {late} s late; mount with {name}={most}"));
        }
    }
    for name in ["mfsnobsdlocks", "mfsnoposixlocks"] {
        if value(&set, name).is_some() {
            found.push(format!("{name}: {LOCAL_LOCKS}; mount without it"));
        }
    }
    found
}

/// `arguments` are those of the program, as mount.glusterfs calls it.
fn glusterfs(arguments: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, what) in [
        ("attribute-timeout", "files that other machines changed are shown as they were"),
        ("entry-timeout", "files that other machines replaced are served as they were"),
    ] {
        let late = seconds(arguments, &format!("--{name}")).unwrap_or(1.0);
        if late > 0.0 {
            found.push(format!("{name}={late}: {what} up to {late} s longer; mount with {name}=0"));
        }
    }
    let direct = value(arguments, "--direct-io-mode").unwrap_or("auto");
    if !["", "enable", "on", "yes", "true", "1"].contains(&direct) {
        found.push(format!(
            "direct-io-mode={direct}: files that another machine changed in place may be served from this one's memory; mount with direct-io-mode=enable"
        ));
    }
    found
}

/// Returns the arguments of the program that plays the GlusterFS mounted at `point`, where it can be seen: not from
/// within a container, say.
fn arguments_of_glusterfs(point: &Path) -> Option<Vec<String>> {
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let name = process.file_name();
        if !name.as_bytes().iter().all(u8::is_ascii_digit) {
            return None;
        }
        let line = read_some(&process.path().join("cmdline"))?;
        let arguments: Vec<_> = line.split_terminator('\0').map(str::to_owned).collect();
        let (program, last) = (arguments.first()?, arguments.last()?);
        let is_it =
            Path::new(program).file_name()? == "glusterfs" && fs::canonicalize(last).is_ok_and(|last| last == point);
        is_it.then_some(arguments)
    })
}

fn read_some(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(OPTIONS_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Vec<String> {
        line.split(',').map(str::to_owned).collect()
    }

    /// Checks that each caution begins with the option that it is of.
    #[track_caller]
    fn check(found: &[String], expected: &[&str]) {
        let named: Vec<_> =
            found.iter().filter_map(|caution| caution.split_once(':')).map(|(option, _)| option).collect();
        assert_eq!(named, expected, "{found:?}");
        assert!(found.iter().all(|caution| caution.contains("; mount with")), "the way out: {found:?}");
    }

    #[test]
    fn nfs_shows_changes_at_once_where_it_is_told_to() {
        let defaults =
            "rw,vers=4.2,rsize=524288,namlen=255,hard,proto=tcp,timeo=600,sec=sys,local_lock=none,addr=192.0.2.1";
        check(&nfs(&options(defaults)), &["acregmax=60", "acdirmax=60"]);
        for fine in ["rw,hard,acregmin=1,acregmax=1,acdirmin=1,acdirmax=1", "rw,hard,noac"] {
            check(&nfs(&options(fine)), &[]);
        }
        check(&nfs(&options("noac,soft,local_lock=all")), &["soft", "local_lock=all"]);
        check(&nfs(&options("noac,softerr,nolock")), &["softerr", "nolock"]);
    }

    #[test]
    fn cifs_serves_no_old_content_unless_it_is_told_to() {
        check(&cifs(&options("rw,vers=3.1.1,cache=strict,actimeo=1,closetimeo=1")), &[]);
        check(&cifs(&options("rw,cache=loose,nobrl,actimeo=30")), &["cache=loose", "actimeo=30", "nobrl"]);
    }

    #[test]
    fn moosefs_lists_its_options() {
        let defaults = "mfsnoposixlocks: (not defined)\nmfsnobsdlocks: (not defined)\nmfscachemode: (not defined)\n\
            mfsattrcacheto: 1.000\nmfsentrycacheto: 0.000\nmfsdirentrycacheto: 1.000\nmfsnegentrycacheto: 0.000\n\
            working_keep_cache_mode: AUTO\n";
        check(&moosefs(defaults), &["mfsdirentrycacheto=1"]);
        check(&moosefs(&defaults.replace("direntrycacheto: 1", "direntrycacheto: 0")), &[]);
        check(&moosefs(""), &[]);
        let others = defaults.replace("AUTO", "YES").replace("0.000", "2.000").replace("1.000", "5.000");
        let others = others.replacen("(not defined)", "1", 2);
        let names = ["mfsattrcacheto=5", "mfsentrycacheto=2", "mfsdirentrycacheto=5", "mfsnegentrycacheto=2"];
        check(&moosefs(&others), &[&["mfscachemode=YES"], &names[..], &["mfsnobsdlocks", "mfsnoposixlocks"]].concat());
    }

    #[test]
    fn glusterfs_is_judged_by_the_arguments_of_its_program() {
        let arguments = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let fine =
            "/usr/sbin/glusterfs --attribute-timeout=0 --direct-io-mode=enable --entry-timeout=0 --volfile-id=/v /mnt";
        check(&glusterfs(&arguments(fine)), &[]);
        let defaults = "/usr/sbin/glusterfs --process-name fuse --volfile-server=host --volfile-id=/v /mnt";
        check(&glusterfs(&arguments(defaults)), &["attribute-timeout=1", "entry-timeout=1", "direct-io-mode=auto"]);
    }
}
