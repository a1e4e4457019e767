//! Landlock (landlock(7)), where the kernel has it: a second wall after the store's own confinement.
//!
//! Once it is raised, this process and its helpers can open, make and remove nothing outside the
//! root. They make no new connections either, as far as the kernel's version of Landlock goes. A
//! peer that found a mistake in this program could reach no more than that. Files and sockets that
//! were opened before, such as the listening socket and the log, stay open.
//!
//! Each version restricts more than the one before. [`raise`] claims only what the running one does.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, Scope, make_bitflags,
};

/// The newest version whose rights are asked for. An older kernel takes those that it knows.
const NEWEST: ABI = ABI::V10;

/// From this version on TCP can be closed.
const NETWORK: ABI = ABI::V4;

/// From this version on signals and abstract UNIX sockets can be closed.
const SCOPES: ABI = ABI::V6;

/// The versions of Landlock, with the accesses that each adds to those before.
const CLOSES: [(ABI, &str); 6] = [
    (ABI::V1, "opening, making and removing files"),
    (ABI::V3, "truncating files"),
    (NETWORK, "TCP"),
    (SCOPES, "signals and abstract UNIX sockets"),
    (ABI::V9, "other UNIX sockets"),
    (ABI::V10, "UDP"),
];

/// The directories outside the root that stay open.
#[derive(Debug, Clone, Default)]
pub struct Beyond {
    /// Files beneath them may be read.
    pub readable: Vec<PathBuf>,
    /// Files beneath them may be made and written: a log is opened anew when it was rotated.
    pub logs: Vec<PathBuf>,
    /// Files in it may be removed: the control socket, in a directory that is this user's alone.
    pub removable: Option<PathBuf>,
    /// All that serving takes may be done beneath it, as beneath the root: there the mount of the root comes back after
    /// it died.
    pub remounted: Option<PathBuf>,
    /// The same would be needed of this one, but others lie in it.
    pub closed: Option<PathBuf>,
}

/// Confines this thread, and every thread that it starts from here on, to the rights beneath `root`
/// that serving takes, and to what stays open `beyond` it. Returns a line for the log about the
/// fence.
pub fn raise(root: &Path, writable: bool, beyond: &Beyond) -> String {
    raise_as_of(NEWEST, root, writable, beyond)
}

/// Does the same, asking for nothing that came after the version `newest`.
fn raise_as_of(newest: ABI, root: &Path, writable: bool, beyond: &Beyond) -> String {
    let knows = |right: AccessFs| {
        let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        AccessFs::from_all(newest).contains(right) && ruleset.handle_access(right).is_ok()
    };
    if !knows(AccessFs::ReadFile) {
        return "not fenced in: this kernel has no Landlock".to_owned();
    }
    // Publishing renames across directories. A domain that does not handle that right forbids it.
    if writable && !knows(AccessFs::Refer) {
        return "not fenced in: with this kernel's Landlock (before Linux 5.19) uploads would fail".to_owned();
    }
    match restrict(newest, root, writable, beyond) {
        Ok(LandlockStatus::Available { effective_abi, .. }) => describe(effective_abi.min(newest)) + &beyond.describe(),
        Ok(_) | Err(_) => "not fenced in: this kernel refuses Landlock".to_owned(),
    }
}

fn restrict(newest: ABI, root: &Path, writable: bool, beyond: &Beyond) -> Result<LandlockStatus, RulesetError> {
    let mut ruleset =
        Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(AccessFs::from_all(newest))?;
    // To ask for no right at all is an error.
    if newest >= NETWORK {
        ruleset = ruleset.handle_access(AccessNet::from_all(newest))?;
    }
    if newest >= SCOPES {
        ruleset = ruleset.scope(Scope::from_all(newest))?;
    }
    let mut ruleset = ruleset.create()?;
    // A root that can't be opened is an error of opening the store.
    if let Ok(root) = PathFd::new(root) {
        let allowed = serving(writable) & AccessFs::from_all(newest);
        ruleset = ruleset.add_rule(PathBeneath::new(root, allowed))?;
    }
    for (directory, allowed) in beyond.rules(writable) {
        if let Ok(directory) = PathFd::new(directory) {
            ruleset = ruleset.add_rule(PathBeneath::new(directory, allowed & AccessFs::from_all(newest)))?;
        }
    }
    Ok(ruleset.restrict_self()?.landlock)
}

impl Beyond {
    /// Returns each directory with the rights beneath it.
    fn rules(&self, writable: bool) -> impl Iterator<Item = (&PathBuf, BitFlags<AccessFs>)> {
        // A part of a line is cut off where a disk is full.
        let logging = make_bitflags!(AccessFs::{WriteFile | MakeReg | Truncate});
        let readable = self.readable.iter().map(|directory| (directory, AccessFs::ReadFile.into()));
        let removable = self.removable.iter().map(|directory| (directory, AccessFs::RemoveFile.into()));
        let remounted = self.remounted.iter().map(move |directory| (directory, serving(writable)));
        readable.chain(self.logs.iter().map(move |directory| (directory, logging))).chain(removable).chain(remounted)
    }

    /// Returns the end of the line for the log.
    fn describe(&self) -> String {
        let open = [
            (&*self.readable, "; reading the directories of the files that a reload reads stays open"),
            (&*self.logs, "; making and writing files in the directories of the log files stays open"),
            (self.removable.as_slice(), "; removing files in the directory of the control socket stays open"),
        ];
        let open = open.iter().filter(|(directories, _)| !directories.is_empty()).map(|(_, words)| (*words).to_owned());
        let remounted = self.remounted.iter().map(|directory| {
            format!(
                "; all beneath {} stays open, where the mount of the root comes back if it dies",
                directory.display()
            )
        });
        let closed = self.closed.iter().map(|directory| {
            let directory = directory.display();
            format!("; if the mount of the root dies, restart this server: more than that lies in {directory}, or may, so that stays closed")
        });
        open.chain(remounted).chain(closed).collect()
    }
}

/// Returns the rights beneath the root that serving takes.
fn serving(writable: bool) -> BitFlags<AccessFs> {
    let reading = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let changing =
        make_bitflags!(AccessFs::{WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir | Refer});
    if writable { reading | changing } else { reading }
}

/// Returns a line with the accesses that a fence of this version closes, and those that it leaves
/// open.
fn describe(version: ABI) -> String {
    let those = |closed: bool| {
        let those = CLOSES.iter().filter(|(from, _)| (version >= *from) == closed);
        those.map(|(_, name)| *name).chain((!closed).then_some("attributes of files")).collect::<Vec<_>>().join(", ")
    };
    format!(
        "fenced in by Landlock version {}: outside the root no {}; still open: {}",
        version as i32,
        those(true),
        those(false)
    )
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::Write,
        net::{TcpListener, TcpStream, UdpSocket},
        os::{
            linux::net::SocketAddrExt,
            unix::net::{SocketAddr, UnixListener, UnixStream},
        },
        thread,
    };

    use ferry_wire::{Crc32, Name};
    use rustix::process::{getppid, test_kill_process};

    use super::*;
    use crate::store::{
        Chunk, Durability, Finish, LeaseOptions, MountTable, NameCompletion, NameOperation, Onto, Owner, Stage, Store,
        StoreOptions, UploadCompletion, UploadNumber, UploadOperation,
    };

    /// Does `run` in a thread of its own, which may fence itself in.
    fn apart<T: Send>(run: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| scope.spawn(run).join().unwrap())
    }

    const VERSIONS: [ABI; 10] =
        [ABI::V1, ABI::V2, ABI::V3, ABI::V4, ABI::V5, ABI::V6, ABI::V7, ABI::V8, ABI::V9, ABI::V10];

    /// Uploads `hello` as `name`, as a session does.
    fn upload(root: &Path, name: &str) -> Result<(), String> {
        let options = StoreOptions {
            root: root.into(),
            writable: true,
            durability: Durability::None,
            max_staged: u64::MAX,
            max_kept: 0,
            keep: std::time::Duration::ZERO,
            crc_cache: 16 << 20,
            small_cache: 16 << 20,
            mounts: MountTable::default(),
            leasing: LeaseOptions::default(),
        };
        let store = Store::open(&options).map_err(|error| error.to_string())?;
        let stage = Stage {
            name: Name::new(name).unwrap(),
            size: Some(5),
            mtime: None,
            permissions: None,
            settled: true,
            owner: Owner::NOBODY,
        };
        let UploadCompletion::Staged(Ok(upload)) = store.advance(UploadOperation::Stage(stage), &|| true) else {
            panic!("not staged")
        };
        let chunk = Chunk { memory: b"hello".to_vec(), filled: 5, hole: 0 };
        let crc = Crc32::of(b"hello");
        let finish = Finish { upload: upload.clone(), at: 0, chunk, chunk_crc: crc, size: 5, crc, before: None };
        match store.advance(UploadOperation::Finish(finish), &|| true) {
            UploadCompletion::Finished(Ok(())) => {}
            other => return Err(format!("{other:?}")),
        }
        match store
            .change_names(&mut vec![NameOperation::Publish(UploadNumber(0), upload, Onto::Any)].into_iter())
            .pop()
        {
            Some(NameCompletion::Published(_, Ok(_))) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn uploads_work_under_every_version() {
        for version in VERSIONS {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir(root.path().join("d")).unwrap();
            let (said, uploaded) = apart(|| {
                let said = raise_as_of(version, root.path(), true, &Beyond::default());
                (said, upload(root.path(), "d/a"))
            });
            assert_eq!(uploaded, Ok(()), "{version:?}: {said}");
            assert_eq!(fs::read(root.path().join("d/a")).unwrap(), b"hello");
        }
    }

    #[test]
    fn a_rotated_log_is_made_anew_under_every_version_and_nothing_else_is_open_there() {
        for version in VERSIONS {
            let [root, logs] = [(); 2].map(|()| tempfile::tempdir().unwrap());
            let [log, old] = ["log", "log.1"].map(|name| logs.path().join(name));
            fs::write(&old, b"old").unwrap();
            let beyond = Beyond { logs: vec![logs.path().to_owned()], ..Beyond::default() };
            let (said, cut, read, removed) = apart(|| {
                let said = raise_as_of(version, root.path(), true, &beyond);
                let file = fs::OpenOptions::new().append(true).create(true).open(&log);
                let cut = file.and_then(|mut file| file.write_all(b"line\nli").and_then(|()| file.set_len(5)));
                (said, cut.map_err(|error| error.kind()), fs::read(&old).is_ok(), fs::remove_file(&old).is_ok())
            });
            assert_eq!(cut, Ok(()), "{version:?}: {said}");
            assert_eq!(fs::read(&log).unwrap(), b"line\n");
            let is_fenced = !said.starts_with("not fenced in");
            assert!(!is_fenced || !read && !removed, "{version:?}: {said}");
            assert!(!is_fenced || said.ends_with("in the directories of the log files stays open"), "{said}");
        }
    }

    /// Tries what [`CLOSES`] names in a fenced thread, and returns what it was told and whether each worked.
    /// [`None`] where there is no safe call to try it with.
    fn try_all(version: ABI, writable: bool) -> (String, [Option<bool>; 6]) {
        let [root, outside] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let [file, new, socket] = ["file", "new", "socket"].map(|name| outside.path().join(name));
        fs::write(&file, b"x").unwrap();
        let tcp = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let _named = UnixListener::bind(&socket).unwrap();
        let unnamed = SocketAddr::from_abstract_name(outside.path().as_os_str().as_encoded_bytes()).unwrap();
        let _unnamed = UnixListener::bind_addr(&unnamed).unwrap();
        apart(|| {
            let said = raise_as_of(version, root.path(), writable, &Beyond::default());
            let files = fs::read(&file).is_ok() || fs::write(&new, b"").is_ok() || fs::remove_file(&file).is_ok();
            let to = tcp.local_addr().unwrap();
            let connections = TcpStream::connect(to).is_ok() || TcpListener::bind(("127.0.0.1", 0)).is_ok();
            let signals = test_kill_process(getppid().unwrap()).is_ok() || UnixStream::connect_addr(&unnamed).is_ok();
            let sockets = UnixStream::connect(&socket).is_ok();
            let datagrams = UdpSocket::bind(("127.0.0.1", 0)).is_ok();
            (said, [Some(files), None, Some(connections), Some(signals), Some(sockets), Some(datagrams)])
        })
    }

    #[test]
    fn a_fence_claims_what_it_holds() {
        for (version, writable) in VERSIONS.iter().flat_map(|version| [(*version, true), (*version, false)]) {
            let (said, worked) = try_all(version, writable);
            let Some((closed, open)) = said.split_once("; still open: ") else {
                assert!(said.starts_with("not fenced in: "), "{said}");
                assert!(worked.iter().flatten().all(|worked| *worked), "{version:?}: {said}");
                continue;
            };
            for ((_, name), worked) in CLOSES.iter().zip(worked) {
                assert!(closed.contains(name) != open.contains(name), "{said}");
                assert!(worked.is_none_or(|worked| worked == open.contains(name)), "{version:?}, {name}: {said}");
            }
        }
    }
}
