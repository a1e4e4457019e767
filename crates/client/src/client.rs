//! The connection as callers see it.

mod replacing;

use std::{collections::HashSet, io, path::Path, time::Duration};

use ferry_wire::{AskedMode, Entry, Greeting, Id, Name, Request, Tag, Time};

use crate::{
    address::Address,
    connection::Connection,
    conversation::requests::{self, Download, MadeDirectories, Part, Space, Stat, Sum, Touch},
    error::Error,
    link::Link,
    login::Credentials,
    options::{Options, Progress},
    pattern::{self, Pattern},
    transfer::{self, Event, Fetch, IfAbsent, IfTaken, Moved, Onto, Outage, Relay, Report, Settings, Store},
    tree::{self, Found, RemoteTree, Sift},
};

/// How long a server may take to say good-bye; nothing depends on it.
const BYE_LIMIT: Duration = Duration::from_secs(2);

/// The time in which a server near by says so. One that is further away need not be waited for by who has had all answers.
const LEAVE_LIMIT: Duration = Duration::from_millis(20);

/// One connection to a server.
///
/// Each method asks one thing and waits for the whole answer. After an [`Error::Server`] the
/// connection goes on. After most other errors the stream can't be followed any further (a download
/// that is cut short, for one: the protocol has no way to call it back); the connection is then
/// dropped, and every method says [`Error::NotConnected`] until [`Client::reconnect`].
#[derive(Debug)]
pub struct Client {
    connection: Connection,
}

impl Client {
    /// Connects to `address`, reads the greeting, and logs in where [`Options::credentials`] say so. So does every further
    /// connection that is made for this client.
    ///
    /// The name of a host is looked up by the system, which takes its own time; everything after
    /// that keeps to `options`.
    ///
    /// # Errors
    ///
    /// Nobody there, something else than a ferry server, a server that turns the client away, or a login that fails
    /// ([`Error::Login`], which is not tried again).
    pub fn connect(address: &Address, options: Options) -> Result<Client, Error> {
        Ok(Client { connection: Connection::open(address, options)? })
    }

    /// Connects as [`Client::connect`] does, but a server that closes before it has greeted, as one does that is killed
    /// then, or turns everybody away is tried again, as [`Settings::retries`] and [`Settings::retry_for`] say. So is one
    /// that can't be found, if `if_absent` says so, or if it was there before. `watch` learns of each loss by
    /// [`Event::Lost`], and by [`Event::Reconnected`] of the attempt that worked.
    ///
    /// # Errors
    ///
    /// As [`Client::connect`], of the last attempt.
    pub fn connect_patiently(
        address: &Address,
        options: &Options,
        settings: &Settings,
        if_absent: IfAbsent,
        watch: &mut dyn FnMut(&Event<'_>),
    ) -> Result<Client, Error> {
        Ok(Client { connection: transfer::connect(address, options, (settings, if_absent), watch)? })
    }

    /// Does `work`, and where the connection is lost in it opens another one and does `work` again, as [`Settings::retries`]
    /// and [`Settings::retry_for`] say. It must be something that can be done twice: a listing, directories that are
    /// made where they are missing. `watch` is told as by [`Client::connect_patiently`].
    ///
    /// # Errors
    ///
    /// The error of `work`, or of the connection that can't be opened again.
    pub fn patiently<T>(
        &mut self,
        settings: &Settings,
        watch: &mut dyn FnMut(&Event<'_>),
        mut work: impl FnMut(&mut Client) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut outage = Outage::new(settings);
        loop {
            match work(self) {
                Err(error) if transfer::is_lost(&error) => outage.reopen(&mut self.connection, watch, error)?,
                result => return result,
            }
        }
    }

    /// Connects again to the same address, whatever became of the old connection.
    ///
    /// # Errors
    ///
    /// As [`Client::connect`]; the client is then not connected.
    pub fn reconnect(&mut self) -> Result<(), Error> {
        self.connection.reopen()
    }

    /// Logs in. Further connections of this client log in so by themselves. Where it fails, who was logged in
    /// before still is.
    ///
    /// # Errors
    ///
    /// [`Error::Login`]; anything that can go wrong with the connection.
    pub fn login(&mut self, credentials: Credentials) -> Result<(), Error> {
        self.connection.log_in(credentials)
    }

    /// Returns the user who is logged in.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.options().user()
    }

    /// Returns whether the server has accounts, so that one can log in.
    #[must_use]
    pub fn has_accounts(&self) -> bool {
        self.greeting().has(Greeting::LOGIN)
    }

    /// Returns the address of the server.
    #[must_use]
    pub fn address(&self) -> &Address {
        self.connection.address()
    }

    /// Returns what the server said of itself.
    #[must_use]
    pub fn greeting(&self) -> &Greeting {
        self.connection.greeting()
    }

    /// Returns whether the server said, on any connection so far, that it does not bring changes to the disk before it says that
    /// they are done: then nothing here promises that they survive a power cut.
    #[must_use]
    pub fn is_volatile(&self) -> bool {
        self.connection.is_volatile()
    }

    /// Returns whether what goes over the connection is secret, and from the server that was meant: TLS is spoken.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.connection.is_secure()
    }

    /// Returns whether there is a connection, as far as the last call could tell.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connection.is_open()
    }

    /// Looks, without waiting, whether the connection still stands.
    ///
    /// # Errors
    ///
    /// Why it does not; it is then dropped.
    pub fn check(&mut self) -> Result<(), Error> {
        self.converse(|_| Ok(()))
    }

    /// Fetches `name` into the file `target`, replacing it in one step once length and CRC are
    /// verified. Until then, and after any failure, `target` is as it was.
    ///
    /// # Errors
    ///
    /// Anything that can go wrong; an interrupted download costs the connection.
    pub fn get(
        &mut self,
        name: &Name,
        target: &Path,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Moved, Error> {
        transfer::get(&mut self.connection, name, target, progress)
    }

    /// Reads a part of a file into `sink`, which gets its bytes **before** they are verified: they
    /// count only when this returns [`Ok`]. An error of `sink` is the caller's [`Error::System`].
    ///
    /// # Errors
    ///
    /// Anything that can go wrong: see [`Error`].
    pub fn read(&mut self, name: &Name, part: &Part, sink: &mut dyn io::Write) -> Result<Download, Error> {
        self.converse(|link| requests::read(link, name, part, sink))
    }

    /// Reads all of a file into `sink`, which takes each byte once, and gets them **before** they are verified: they count only
    /// when this returns [`Ok`]. Where the connection is lost, also before, another one reads on from there, as
    /// [`Settings::retries`] and [`Settings::retry_for`] say; then the whole is compared with what the server has at the end.
    /// `watch` is told as by [`Client::connect_patiently`].
    ///
    /// # Errors
    ///
    /// [`Code::Changed`](crate::Code::Changed) where the file is another version by then: no bytes of two versions are
    /// mixed. An error of `sink` is the caller's [`Error::System`]. Anything else that can go wrong: see [`Error`].
    pub fn fetch_into(
        &mut self,
        name: &Name,
        sink: &mut dyn io::Write,
        settings: &Settings,
        watch: &mut dyn FnMut(&Event<'_>),
    ) -> Result<Download, Error> {
        transfer::pour(&mut self.connection, name, sink, settings, watch)
    }

    /// Stores the local file `source` as `name`, with its time. When this returns [`Ok`], the
    /// server has verified it and, unless it [is volatile](Client::is_volatile), it survives a power cut; before, `name`
    /// is as it was.
    ///
    /// # Errors
    ///
    /// Anything that can go wrong. Where the local file or the caller stops the upload, the connection
    /// goes on if the server takes that in good time.
    pub fn put(
        &mut self,
        name: &Name,
        source: &Path,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Moved, Error> {
        transfer::put(&mut self.connection, None, name, source, progress)
    }

    /// Stores a file as [`Client::put`] does, but the server keeps under `id` what arrived before a cut. A later call with the
    /// same `id`, file and name goes on from there. [`new_id`](Client::new_id) draws one. Where the server had kept some of
    /// it, it reads the whole again, which is compared. Where an earlier call had brought it to its end, it is sent again
    /// only if the server does not have it any more.
    ///
    /// # Errors
    ///
    /// Anything that can go wrong: see [`Error`].
    pub fn resume(
        &mut self,
        id: &Id,
        name: &Name,
        source: &Path,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Moved, Error> {
        transfer::put(&mut self.connection, Some(id), name, source, progress)
    }

    /// Draws an id for [`Client::resume`].
    ///
    /// # Errors
    ///
    /// A system that gives no random numbers.
    pub fn new_id() -> Result<Id, Error> {
        transfer::new_id()
    }

    /// Fetches all of `files`, in their order as far as that costs no time, and tells `watch` what happens.
    ///
    /// A file that fails leaves its target as it was. See [`Settings`] for what is resumed and tried again. A connection
    /// that is lost is opened again, also one that was lost before; where that fails, and after
    /// [`Error::Interrupted`], the client is not connected. The directories of the targets must be there. Where one
    /// target stands twice in the list, the later one wins.
    ///
    /// It takes about 10 MiB of memory, two descriptors besides those of the connection, and one thread; as much again, one
    /// thread and two descriptors more for each further connection of [`Settings::parallel`]. `watch` is called by the
    /// thread of whichever connection has something to say, by one at a time.
    pub fn fetch(
        &mut self,
        files: &[Fetch],
        settings: &Settings,
        watch: &mut (dyn FnMut(&Event<'_>) + Send),
    ) -> Report {
        transfer::fetch(&mut self.connection, files, settings, watch)
    }

    /// Stores all of `files`, in their order as far as that costs no time, and tells `watch` what happens.
    ///
    /// A file that fails leaves its name on the server as it was, with one exception: where the connection is lost for good
    /// between the end of a file and the server's word for it, nobody knows. See [`Settings`] for what is resumed and tried
    /// again, and [`Client::fetch`] for the connection. A file that changes while it is sent begins anew, at most three
    /// times. The directories must be there on the server ([`Client::make_directories`]).
    ///
    /// It takes about 5 MiB of memory, one descriptor besides those of the connection, and one thread; see [`Client::fetch`]
    /// for further connections, and for `watch`.
    pub fn store(
        &mut self,
        files: &[Store],
        settings: &Settings,
        watch: &mut (dyn FnMut(&Event<'_>) + Send),
    ) -> Report {
        transfer::store(&mut self.connection, files, settings, watch)
    }

    /// Stores all of `files`, which `from` reads from another server, or the same one, without touching the local disk. Each
    /// is verified by the server that it comes from, on its way here, and by this one; a large one goes on after the
    /// connection to either server was lost, and is checked as a whole then. A file that changes there meanwhile begins anew, at
    /// most three times.
    ///
    /// A pair of connections takes about 5 MiB of memory, and two threads. Several pairs share the files, as
    /// [`Settings::parallel`] says, and each file goes by one of them; the longer one of the two lines tells whether more would
    /// help. The connections of both clients are opened again as [`Client::fetch`] and [`Client::store`] do, with the same
    /// `settings`. Where that fails at `from`, the files that are left fail by [`Error::AtSource`], as each does that can't be
    /// read there.
    pub fn relay(
        &mut self,
        from: &mut Client,
        files: &[Relay],
        settings: &Settings,
        watch: &mut (dyn FnMut(&Event<'_>) + Send),
    ) -> Report {
        transfer::relay(&mut self.connection, &mut from.connection, files, settings, watch)
    }

    /// Lists everything beneath the directory `root`, or in all of the server; a directory stands before its content.
    /// Directories that the server can't list do not make it fail. It takes about 200 bytes of memory a thing, and what is
    /// made of it for a transfer as much again: see [`Options::tree_memory`].
    ///
    /// # Errors
    ///
    /// Anything that can go wrong with the listing of `root`; a connection that is lost.
    pub fn tree(&mut self, root: Option<&Name>) -> Result<RemoteTree, Error> {
        self.tree_sifted(root, false, &mut |_, _| true, &mut |_| {})
    }

    /// The same, with the permissions of files where `tells_modes`, and without what `sift` leaves out; `watch` learns how many things were found so far.
    pub(crate) fn tree_sifted(
        &mut self,
        root: Option<&Name>,
        tells_modes: bool,
        sift: &mut Sift<'_>,
        watch: &mut dyn FnMut(usize),
    ) -> Result<RemoteTree, Error> {
        let limit = self.options().tree_memory;
        self.converse(|link| tree::remote(link, (limit, tells_modes), root, sift, watch))
    }

    /// Returns the names in `directory`, or in the root, that match `pattern`; sorted. Only the directories that can match are
    /// listed. Nothing at all is no error.
    ///
    /// # Errors
    ///
    /// Anything that can go wrong with one of the listings, but for a directory that is not there.
    pub fn glob(&mut self, directory: Option<&Name>, pattern: &Pattern) -> Result<Vec<Found>, Error> {
        let limit = self.options().tree_memory;
        self.converse(|link| pattern::remote(link, limit, directory, pattern))
    }

    /// Makes directories, in their order; those that are there already are as good.
    ///
    /// # Errors
    ///
    /// The first that can't be made; some after it may have been made all the same.
    pub fn make_directories(&mut self, names: &[Name]) -> Result<(), Error> {
        let plain = without_modes(names);
        let made = self.converse(|link| requests::make_directories(link, &plain, false))?;
        made.refused.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Makes as many of the directories as possible, in their order; those that are there already are as
    /// good. Returns those that can't be made, by their places in the list, and why. A directory in such a
    /// one can't be made either, and is not told.
    ///
    /// # Errors
    ///
    /// A connection that is lost.
    pub fn make_all_directories(&mut self, names: &[Name]) -> Result<Vec<(usize, Error)>, Error> {
        Ok(self.make_directories_with(&without_modes(names), true)?.refused)
    }

    /// Makes directories with permissions, which only a server knows that says `modes`: as
    /// [`Client::make_all_directories`], or no further than the first that is refused.
    pub(crate) fn make_directories_with(
        &mut self,
        directories: &[(&Name, Option<AskedMode>)],
        keep_going: bool,
    ) -> Result<MadeDirectories, Error> {
        let mut made = self.converse(|link| requests::make_directories(link, directories, keep_going))?;
        let name = |index: usize| directories[index].0.as_str();
        let places: HashSet<&str> = made.refused.iter().map(|(index, _)| name(*index)).collect();
        let is_within = |name: &str| tree::ancestors(name).any(|above| places.contains(above));
        let uppermost: Vec<bool> = made.refused.iter().map(|(index, _)| !is_within(name(*index))).collect();
        let mut uppermost = uppermost.into_iter();
        made.refused.retain(|_| uppermost.next().unwrap_or(true));
        Ok(made)
    }

    /// Deletes files and empty directories, in their order, and tells `watch` what became of each: its place in the
    /// list, and why it is still there. Where `watch` fails no further one is tried, but some after it may have been
    /// deleted all the same.
    ///
    /// # Errors
    ///
    /// Fails with the error of `watch`, or where the connection is lost.
    pub fn delete_all(
        &mut self,
        names: &[Name],
        watch: &mut dyn FnMut(usize, Result<(), Error>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let requests = names.iter().map(|name| Request::Delete { name: name.clone() });
        self.converse(|link| requests::change_all(link, requests, watch))
    }

    /// Sets times and permissions of files and directories, and tells `watch` what became of each, as in
    /// [`Client::delete_all`]. The time of a directory lasts until something is made, renamed or deleted in it.
    ///
    /// # Errors
    ///
    /// [`Error::Lacking`] of a server that does not know that, or that does not keep permissions, where some are to be set;
    /// and as [`Client::delete_all`].
    pub fn touch_all(
        &mut self,
        touches: &[Touch],
        watch: &mut dyn FnMut(usize, Result<(), Error>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let lacks = |what, feature| Err(Error::Lacking { what, feature });
        if !self.greeting().has(Greeting::TOUCH) {
            return lacks("set times", Greeting::TOUCH);
        }
        if touches.iter().any(|touch| touch.mode.is_some()) && self.greeting().kept_modes().is_none() {
            return lacks("keep permissions", Greeting::WITH_MODE);
        }
        self.converse(|link| requests::touch_all(link, touches, watch))
    }

    /// Stores all that `source` gives as `name`, of a size that nobody knows before; with the time `mtime`, or now. Where the
    /// name is taken, `if_taken` says what becomes of that.
    /// Nothing of it can be resumed, for nobody could give the first bytes again. `progress` gets the bytes so far.
    ///
    /// The end of `source` is taken for the end of the file: whether who writes into a pipe is done or has died, nobody
    /// can tell from it. The caller's flag is looked at after each read and right before END goes out; where it is raised,
    /// `name` stays as it was. While `source` blocks, neither it nor the connection is looked at: a source that should not
    /// be waited for says [`WouldBlock`](io::ErrorKind::WouldBlock) after a moment, and is asked again. A server gives up
    /// who sends nothing for long (`ferryd`: a minute).
    ///
    /// # Errors
    ///
    /// Anything that can go wrong. Where `source` fails the upload is called off, as in [`Client::put`].
    pub fn put_from(
        &mut self,
        name: &Name,
        mtime: Option<Time>,
        if_taken: IfTaken,
        source: &mut dyn io::Read,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Moved, Error> {
        self.converse(|link| transfer::put_from(link, name, (mtime, Onto::Settled(if_taken)), source, progress))
    }

    /// Stores all that `source` gives as [`Client::put_from`] does. Where the connection is lost, also before, another one is
    /// opened, as [`Settings::retries`] and [`Settings::retry_for`] say, and it goes on from what the server has. So that it
    /// can, what the server does not say yet that it keeps is kept in memory, up to
    /// [`KEPT_INPUT_BYTES`](crate::KEPT_INPUT_BYTES): where that is full, the server's disk is waited for. What went on is
    /// read again by the server at the end, and compared.
    ///
    /// A stream of less than 1 MiB that does not block, and any stream to a server that is too old (no `streams` in its
    /// greeting) or keeps as many uploads as it may, is sent again from its first byte, as long as no more of it was sent than
    /// is kept. With [`IfTaken::Fail`] that ends with the last byte: the upload may have got its name.
    ///
    /// `watch` is told as by [`Client::connect_patiently`], and of bytes that moved.
    ///
    /// # Errors
    ///
    /// [`Error::Overrun`] where more was sent to such a server than is kept, [`Error::Forgotten`] where a server has less than
    /// it said, [`Error::Verification`] where it has other bytes, and as [`Client::put_from`].
    pub fn put_replaying(
        &mut self,
        name: &Name,
        mtime: Option<Time>,
        if_taken: IfTaken,
        source: &mut dyn io::Read,
        (settings, watch): (&Settings, &mut dyn FnMut(&Event<'_>)),
    ) -> Result<Moved, Error> {
        transfer::put_replaying(&mut self.connection, name, (mtime, if_taken), source, (settings, watch))
    }

    /// Stores all that `source` gives as `name` in the place of the version `tag`, and of no other: whoever has read that
    /// version and changed it loses nobody's change. It is decided when the upload is published. All else is as for
    /// [`Client::put_from`].
    ///
    /// # Errors
    ///
    /// [`Code::Changed`](crate::Code::Changed) where `name` is that of another version by then, or of nothing;
    /// [`Error::Lacking`] where the server is too old for that; and what can go wrong with
    /// [`Client::put_from`].
    pub fn put_over(
        &mut self,
        name: &Name,
        tag: &Tag,
        source: &mut dyn io::Read,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Moved, Error> {
        self.converse(|link| transfer::put_from(link, name, (None, Onto::Version(tag)), source, progress))
    }

    /// Lists a directory, or the root; sorted by name, each name once whatever the server says.
    ///
    /// # Errors
    ///
    /// Anything that can go wrong: see [`Error`].
    pub fn list(&mut self, name: Option<&Name>) -> Result<Vec<Entry>, Error> {
        let limit = self.options().tree_memory;
        self.converse(|link| tree::list(link, limit, name))
    }

    /// Asks what `name` is.
    ///
    /// # Errors
    ///
    /// Anything that can go wrong: see [`Error`].
    pub fn stat(&mut self, name: &Name) -> Result<Stat, Error> {
        self.converse(|link| requests::stat(link, name))
    }

    /// Asks for the CRC of a whole file, as the server reads it now.
    ///
    /// # Errors
    ///
    /// Anything that can go wrong: see [`Error`].
    pub fn sum(&mut self, name: &Name) -> Result<Sum, Error> {
        self.converse(|link| requests::sum(link, name))
    }

    /// Asks for the sums of all of `names`, some ahead, and tells `taken` each: its place in the list, and the sum or why
    /// there is none. With `with_sha256` each has the SHA-256, too, for which the server reads every byte. Where `taken`
    /// fails no further one is asked for; those that were are waited for.
    ///
    /// A server that is silent over a large file is asked for a sign of life on a second connection.
    ///
    /// # Errors
    ///
    /// [`Error::Lacking`] of a server that computes no SHA-256; the error of `taken`; a connection that is lost.
    pub fn sums(
        &mut self,
        names: &[Name],
        with_sha256: bool,
        taken: &mut dyn FnMut(usize, Result<Sum, Error>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.converse(|link| requests::sum_all(link, names, with_sha256, taken))
    }

    /// Makes a directory; its parent must be there.
    ///
    /// # Errors
    ///
    /// Anything that can go wrong: see [`Error`].
    pub fn mkdir(&mut self, name: &Name) -> Result<(), Error> {
        self.converse(|link| requests::change(link, &Request::Mkdir { name: name.clone() }))
    }

    /// Deletes a file or an empty directory.
    ///
    /// # Errors
    ///
    /// Anything that can go wrong: see [`Error`].
    pub fn delete(&mut self, name: &Name) -> Result<(), Error> {
        self.converse(|link| requests::change(link, &Request::Delete { name: name.clone() }))
    }

    /// Gives `from` the name `to`; never replaces anything.
    ///
    /// # Errors
    ///
    /// Anything that can go wrong: see [`Error`].
    pub fn rename(&mut self, from: &Name, to: &Name) -> Result<(), Error> {
        self.converse(|link| requests::change(link, &Request::Rename { from: from.clone(), to: to.clone() }))
    }

    /// Gives each first name of `pairs` the second, in their order, never replaces anything, and tells `watch` what became
    /// of each: its place in the list, and why it still has its old name. Where `watch` fails no further one is tried, but
    /// some after it may have been renamed all the same.
    ///
    /// # Errors
    ///
    /// Fails with the error of `watch`, or where the connection is lost.
    pub fn rename_all(
        &mut self,
        pairs: &[(Name, Name)],
        watch: &mut dyn FnMut(usize, Result<(), Error>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let requests = pairs.iter().map(|(from, to)| Request::Rename { from: from.clone(), to: to.clone() });
        self.converse(|link| requests::change_all(link, requests, watch))
    }

    /// Asks whether the server's root answers. Needs no right, and no login.
    ///
    /// # Errors
    ///
    /// [`Code::Io`](crate::Code::Io) where it does not, [`Code::Busy`](crate::Code::Busy) where it did not within a second,
    /// [`Code::UnknownCommand`](crate::Code::UnknownCommand) of a server that knows no HEALTH; and anything else that can go
    /// wrong: see [`Error`].
    pub fn health(&mut self) -> Result<(), Error> {
        self.converse(requests::health)
    }

    /// Asks how much room the server has for more. It needs a right on any name.
    ///
    /// # Errors
    ///
    /// [`Error::Lacking`] of a server that does not tell; and anything else that can go wrong: see [`Error`].
    pub fn space(&mut self) -> Result<Space, Error> {
        if !self.greeting().has(Greeting::SPACE) {
            return Err(Error::Lacking { what: "tell how much room it has", feature: Greeting::SPACE });
        }
        self.converse(requests::space)
    }

    /// Says good-bye to the server and closes. The connection is gone even where this fails.
    ///
    /// # Errors
    ///
    /// A server that does not say good-bye; nothing is lost by it.
    pub fn close(mut self) -> Result<(), Error> {
        self.converse(|link| {
            link.begin_grace(BYE_LIMIT);
            requests::close(link)
        })
    }

    /// Says good-bye to the server, and hardly waits for an answer: 20 ms at most, where [`Client::close`] waits for what may be
    /// a long round trip.
    pub fn leave(mut self) {
        let left = self.converse(|link| {
            link.begin_grace(LEAVE_LIMIT);
            requests::close(link)
        });
        if let Err(error) = left {
            log::debug!("no good-bye: {error}");
        }
    }

    /// Returns the options of the caller.
    #[must_use]
    pub fn options(&self) -> &Options {
        self.connection.options()
    }

    /// Lends the link to `work`; see [`Connection::converse`].
    pub(crate) fn converse<T>(&mut self, work: impl FnOnce(&mut Link) -> Result<T, Error>) -> Result<T, Error> {
        self.connection.converse(work)
    }
}

/// Returns directories that get the permissions that they get there.
fn without_modes(names: &[Name]) -> Vec<(&Name, Option<AskedMode>)> {
    names.iter().map(|name| (name, None)).collect()
}
