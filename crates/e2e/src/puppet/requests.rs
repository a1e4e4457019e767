//! The kernel's requests, each answered from the tree or as ordered.

use std::{
    ffi::{OsStr, OsString},
    io,
    time::{Duration, SystemTime},
};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::{
    Habits, Op, Shared,
    tree::{Changes, FIRST_OFFSET, Tree},
};

/// Names are remembered: a walk asks nothing the second time. Nobody changes them but through the kernel.
const NAMES_LAST: Duration = Duration::from_secs(3600);

/// Attributes are asked for each time, so that an order for them is met.
const ATTRIBUTES_LAST: Duration = Duration::ZERO;

/// The file system that the kernel talks to.
pub(super) struct Strings {
    shared: Shared,
    habits: Habits,
}

impl Strings {
    pub(super) fn new(shared: Shared, habits: Habits) -> Strings {
        Strings { shared, habits }
    }
}

fn of(node: INodeNo) -> impl FnOnce(&Tree) -> OsString {
    move |tree| tree.name(node)
}

fn called(name: &OsStr) -> impl FnOnce(&Tree) -> OsString {
    let name = name.to_owned();
    move |_| name
}

fn entry(reply: ReplyEntry) -> impl FnOnce(Result<FileAttr, Errno>) {
    move |result| match result {
        Ok(attributes) => reply.entry_with_ttls(&ATTRIBUTES_LAST, &NAMES_LAST, &attributes, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn attributes(reply: ReplyAttr) -> impl FnOnce(Result<FileAttr, Errno>) {
    move |result| match result {
        Ok(attributes) => reply.attr(&ATTRIBUTES_LAST, &attributes),
        Err(error) => reply.error(error),
    }
}

fn empty(reply: ReplyEmpty) -> impl FnOnce(Result<(), Errno>) {
    move |result| match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn opened(reply: ReplyOpen, flags: FopenFlags) -> impl FnOnce(Result<(), Errno>) {
    move |result| match result {
        Ok(()) => reply.opened(FileHandle(0), flags),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Strings {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        if self.habits.write_back {
            config.add_capabilities(InitFlags::FUSE_WRITEBACK_CACHE).map_err(|_| io::Error::other("no write-back"))?;
        }
        // With write-back the kernel makes the times itself.
        if self.habits.whole_seconds {
            config.set_time_granularity(Duration::from_secs(1)).map_err(|_| io::Error::other("no whole seconds"))?;
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let wanted = name.to_owned();
        self.shared.serve(Op::Lookup, called(name), move |tree| tree.lookup(parent, &wanted), entry(reply));
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.shared.serve(Op::Getattr, of(node), move |tree| tree.attributes(node), attributes(reply));
    }

    fn setattr(
        &self,
        _: &Request,
        node: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let time = |time| match time {
            TimeOrNow::SpecificTime(time) => time,
            TimeOrNow::Now => SystemTime::now(),
        };
        let is_half = self.habits.both_times && accessed.is_some() != modified.is_some();
        let (accessed, modified) = if is_half { (None, None) } else { (accessed.map(time), modified.map(time)) };
        let changes = Changes { mode, size, accessed, modified };
        self.shared.serve(Op::Setattr, of(node), move |tree| tree.change(node, &changes), attributes(reply));
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _umask: u32, reply: ReplyEntry) {
        let wanted = name.to_owned();
        let act = move |tree: &mut Tree| tree.make(parent, &wanted, FileType::Directory, mode);
        self.shared.serve(Op::Mkdir, called(name), act, entry(reply));
    }

    fn mknod(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, _: u32, reply: ReplyEntry) {
        let wanted = name.to_owned();
        let act = move |tree: &mut Tree| tree.make(parent, &wanted, FileType::RegularFile, mode);
        self.shared.serve(Op::Create, called(name), act, entry(reply));
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let wanted = name.to_owned();
        let act = move |tree: &mut Tree| tree.make(parent, &wanted, FileType::RegularFile, mode);
        self.shared.serve(Op::Create, called(name), act, move |result| match result {
            // The kernel gives one time to live to the name and to what is known of it.
            Ok(made) => {
                reply.created(&NAMES_LAST, &made, Generation(0), FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
            }
            Err(error) => reply.error(error),
        });
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let wanted = name.to_owned();
        let act = move |tree: &mut Tree| tree.remove(parent, &wanted, FileType::RegularFile);
        self.shared.serve(Op::Unlink, called(name), act, empty(reply));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let wanted = name.to_owned();
        let act = move |tree: &mut Tree| tree.remove(parent, &wanted, FileType::Directory);
        self.shared.serve(Op::Rmdir, called(name), act, empty(reply));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (from, to) = (name.to_owned(), new_name.to_owned());
        let act = move |tree: &mut Tree| tree.rename((parent, &from), (new_parent, &to), flags.bits());
        self.shared.serve(Op::Rename, called(new_name), act, empty(reply));
    }

    fn link(&self, _: &Request, node: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let wanted = name.to_owned();
        self.shared.serve(Op::Link, called(name), move |tree| tree.link(node, parent, &wanted), entry(reply));
    }

    fn open(&self, _: &Request, node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.shared.serve(Op::Open, of(node), |_| Ok(()), opened(reply, FopenFlags::FOPEN_KEEP_CACHE));
    }

    fn read(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let act = move |tree: &mut Tree| tree.read(node, offset, size);
        self.shared.serve(Op::Read, of(node), act, move |result| match result {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        });
    }

    fn write(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let bytes = data.to_vec();
        let act = move |tree: &mut Tree| tree.write(node, offset, &bytes);
        self.shared.serve(Op::Write, of(node), act, move |result| match result {
            Ok(written) => reply.written(written),
            Err(error) => reply.error(error),
        });
    }

    fn flush(&self, _: &Request, node: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        self.shared.serve(Op::Flush, of(node), |_| Ok(()), empty(reply));
    }

    fn fsync(&self, _: &Request, node: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.shared.serve(Op::Fsync, of(node), |_| Ok(()), empty(reply));
    }

    fn opendir(&self, _: &Request, node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.shared.serve(Op::Opendir, of(node), |_| Ok(()), opened(reply, FopenFlags::empty()));
    }

    fn readdir(&self, _: &Request, node: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let act = move |tree: &mut Tree| Ok((tree.parent(node), tree.list(node, offset)?));
        self.shared.serve(Op::Readdir, of(node), act, move |result| match result {
            Err(error) => reply.error(error),
            Ok((parent, entries)) => {
                let dots = [(1, node, "."), (FIRST_OFFSET - 1, INodeNo(parent), "..")];
                let dots = dots.into_iter().filter(|(at, ..)| *at > offset);
                let full = dots.into_iter().any(|(at, node, name)| reply.add(node, at, FileType::Directory, name))
                    || entries
                        .iter()
                        .any(|entry| reply.add(INodeNo(entry.node), entry.offset, entry.kind, &entry.name));
                // Entries that did not fit are asked for by their offset.
                let _ = full;
                reply.ok();
            }
        });
    }

    fn fsyncdir(&self, _: &Request, node: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.shared.serve(Op::Fsyncdir, of(node), |_| Ok(()), empty(reply));
    }

    fn statfs(&self, _: &Request, node: INodeNo, reply: ReplyStatfs) {
        self.shared.serve(
            Op::Statfs,
            of(node),
            |_| Ok(()),
            move |result| match result {
                Ok(()) => reply.statfs(1 << 20, 1 << 19, 1 << 19, 1 << 20, 1 << 19, 4096, 255, 4096),
                Err(error) => reply.error(error),
            },
        );
    }
}
