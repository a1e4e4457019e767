//! Servers of others, started for the bench alone: on a free port, in the foreground, logging
//! nothing. Each has a configuration of the bench's own in a temporary directory.

use std::{
    ffi::OsString,
    fs::{self, File, Permissions},
    io::{self, Read as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{getgid, getuid};
use tempfile::TempDir;

use super::ftp::Login;
use crate::{
    helper::Keeper,
    program::find,
    tree::{anonymous_bytes, cpu_seconds, descriptors},
};

/// The time that a server may take to listen.
const STARTING: Duration = Duration::from_secs(20);

/// Clients of one server that forks at one time, where it wants to know.
const MOST_CLIENTS: u32 = 4000;

/// An account that exists in the server's own configuration alone, and there sees nothing but the
/// directory of the bench.
const BENCH: Login = Login { user: "bench", password: "ferry" };

/// `openssl passwd -6 ferry`
const HASH: &str =
    "$6$A15TxWwsf40zLcW0$Z./O9lN5kFcG3K3V1kVf9Jx5FMwJWhBwNu4UCI9r0J9huEgS3JUY7zCFlJwT.ulU0I7loR8bthXRIMYiAD3if/";

/// The user that root becomes where the server insists on being somebody else.
const NOBODY: u32 = 65534;

/// A server that somebody else has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Vsftpd,
    PureFtpd,
    Proftpd,
    Pyftpdlib,
    Nginx,
    /// nginx that takes uploads.
    NginxPut,
    /// nginx that takes uploads, by TLS.
    NginxTls,
    /// vsftpd by TLS.
    VsftpdTls,
    Rsync,
    /// It throws away what comes, and makes up what goes.
    Iperf3,
    /// A WebDAV server.
    Rclone,
    /// It serves a directory by HTTP, and takes uploads by PUT.
    Dufs,
    /// It serves a directory by HTTP.
    Miniserve,
}

/// Those that speak FTP.
pub(super) const FTP: [Kind; 4] = [Kind::Vsftpd, Kind::PureFtpd, Kind::Proftpd, Kind::Pyftpdlib];

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Vsftpd | Kind::VsftpdTls => "vsftpd",
            Kind::PureFtpd => "pure-ftpd",
            Kind::Proftpd => "proftpd",
            Kind::Pyftpdlib => "pyftpdlib",
            Kind::Nginx | Kind::NginxPut | Kind::NginxTls => "nginx",
            Kind::Rsync => "rsync",
            Kind::Iperf3 => "iperf3",
            Kind::Rclone => "rclone",
            Kind::Dufs => "dufs",
            Kind::Miniserve => "miniserve",
        }
    }

    /// Returns the package of Debian and its likes.
    pub(super) fn install(self) -> &'static str {
        match self {
            Kind::Vsftpd | Kind::VsftpdTls => "apt-get install vsftpd",
            Kind::PureFtpd => "needs root; beside vsftpd only unpacked: pure-ftpd and pure-ftpd-common, see below",
            Kind::Proftpd => "beside vsftpd only unpacked: proftpd-core, see below",
            Kind::Pyftpdlib => "pip install pyftpdlib, for a python3 on the path or in FERRY_BENCH_PEERS",
            Kind::Nginx | Kind::NginxPut | Kind::NginxTls => "apt-get install nginx-light",
            Kind::Rsync => "apt-get install rsync",
            Kind::Iperf3 => "apt-get install iperf3",
            Kind::Rclone => "apt-get install rclone",
            Kind::Dufs => "cargo install --locked dufs",
            Kind::Miniserve => "cargo install --locked miniserve",
        }
    }

    /// Returns whether each client has a process of its own, or two.
    pub(super) fn forks(self) -> bool {
        matches!(self, Kind::Vsftpd | Kind::VsftpdTls | Kind::PureFtpd | Kind::Proftpd)
    }

    /// Starts it to serve `root` on the loopback interface; [`None`] where it is not on this machine.
    ///
    /// # Errors
    ///
    /// Fails with the server's own words where it does not start.
    pub(super) fn start(self, helper: &Path, root: &Path) -> Option<Result<Daemon, String>> {
        self.start_at(Ipv4Addr::LOCALHOST, helper, root)
    }

    /// Does the same at an address of this machine.
    ///
    /// # Errors
    ///
    /// Fails as [`start`](Kind::start) does.
    pub(super) fn start_at(self, ip: Ipv4Addr, helper: &Path, root: &Path) -> Option<Result<Daemon, String>> {
        let program = self.program()?;
        Some(Daemon::start(self, ip, helper, &program, root).map_err(|error| error.to_string()))
    }

    fn program(self) -> Option<PathBuf> {
        match self {
            Kind::Pyftpdlib => find("python3").filter(|python| imports_pyftpdlib(python)),
            // It changes its user in any case, and its passwords have a format of their own.
            Kind::PureFtpd if !getuid().is_root() || find("pure-pw").is_none() => None,
            kind => find(kind.name()),
        }
    }

    /// Writes its configuration to `place`; gives the arguments that make it use that.
    fn configure(self, place: &Path, root: &Path, address: SocketAddr) -> io::Result<Vec<OsString>> {
        let config = place.join("config");
        let path = config.clone().into_os_string();
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let (ip, port) = (address.ip().to_string(), address.port().to_string());
        let (text, arguments) = match self {
            Kind::Vsftpd => (vsftpd(place, root, address), vec![path]),
            Kind::VsftpdTls => (vsftpd(place, root, address) + &vsftpd_tls(&certified(place)?), vec![path]),
            Kind::PureFtpd => {
                let database = pure_ftpd(place, root)?;
                let most = MOST_CLIENTS.to_string();
                let bind = format!("{ip},{port}");
                let mut arguments = words(&["-S", &bind, "-c", &most, "-C", &most, "-I", "60", "-H", "-A", "-E"]);
                arguments.extend(words(&["-f", "none", "-u", "1", "-l", &format!("puredb:{}", database.display())]));
                arguments.extend(words(&["-g", &place.join("pid").to_string_lossy()]));
                (String::new(), arguments)
            }
            Kind::Proftpd => {
                let mut arguments = words(&["-n", "-q", "-c"]);
                arguments.push(path);
                (proftpd(place, root, address)?, arguments)
            }
            Kind::Pyftpdlib => (pyftpdlib(root, address), vec![path]),
            Kind::Nginx | Kind::NginxPut | Kind::NginxTls => {
                let mut arguments = words(&["-e", "stderr", "-p"]);
                arguments.extend([place.as_os_str().to_owned(), "-c".into(), path]);
                let more = match self {
                    Kind::NginxTls => nginx_tls(&certified(place)?) + &nginx_put(root),
                    Kind::NginxPut => nginx_put(root),
                    _ => String::new(),
                };
                (nginx(root, address, self == Kind::NginxTls, &more), arguments)
            }
            Kind::Rsync => {
                let mut arguments = words(&["--daemon", "--no-detach", "--address", &ip, "--port", &port]);
                let mut option = OsString::from("--config=");
                option.push(path);
                arguments.push(option);
                (rsync(place, root), arguments)
            }
            Kind::Iperf3 => (String::new(), words(&["-s", "-B", &ip, "-p", &port])),
            Kind::Rclone => {
                // Others write there as well.
                let uncached = ["--dir-cache-time", "1ms", "--config", "/dev/null"];
                let serve = ["serve", "webdav", &root.to_string_lossy(), "--addr", &address.to_string()];
                (String::new(), words(&[&serve[..], &uncached].concat()))
            }
            Kind::Dufs => {
                let silent = ["--log-format", ""];
                let serve = ["--bind", &ip, "--port", &port, "--allow-all", &root.to_string_lossy()];
                (String::new(), words(&[&serve[..], &silent].concat()))
            }
            Kind::Miniserve => (String::new(), words(&["--interfaces", &ip, "--port", &port, &root.to_string_lossy()])),
        };
        fs::write(config, text)?;
        Ok(arguments)
    }
}

fn imports_pyftpdlib(python: &Path) -> bool {
    let mut command = Command::new(python);
    command.args(["-c", "import pyftpdlib"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn vsftpd(place: &Path, root: &Path, address: SocketAddr) -> String {
    let (ip, port) = (address.ip(), address.port());
    let (root, empty) = (root.display(), place.display());
    format!(
        "listen=YES\nlisten_address={ip}\nlisten_port={port}\nbackground=NO\nrun_as_launching_user=YES\n\
         anonymous_enable=YES\nno_anon_password=YES\nlocal_enable=NO\nftp_username=nobody\nanon_root={root}\n\
         write_enable=YES\nanon_upload_enable=YES\nanon_mkdir_write_enable=YES\nanon_other_write_enable=YES\n\
         anon_world_readable_only=NO\nanon_umask=022\nallow_writeable_chroot=YES\nsecure_chroot_dir={empty}\n\
         connect_from_port_20=NO\nxferlog_enable=NO\nseccomp_sandbox=NO\nisolate=NO\nisolate_network=NO\n\
         max_per_ip=0\nmax_clients=0\nidle_session_timeout=3600\nuse_sendfile=YES\n"
    )
}

/// Gives the path of its users.
fn pure_ftpd(place: &Path, root: &Path) -> io::Result<PathBuf> {
    let (users, database) = (place.join("users"), place.join("users.pdb"));
    fs::write(&users, format!("bench:{HASH}:{NOBODY}:{NOBODY}::{}/./::::::::::::\n", root.display()))?;
    let pure_pw = find("pure-pw").ok_or_else(|| io::Error::other("no pure-pw"))?;
    let made = Command::new(pure_pw).arg("mkdb").arg(&database).arg("-f").arg(users).output()?;
    if made.status.success() { Ok(database) } else { Err(io::Error::other("pure-pw mkdb fails")) }
}

/// Root becomes nobody and is confined; any other user stays the same.
fn proftpd(place: &Path, root: &Path, address: SocketAddr) -> io::Result<String> {
    let (ip, port) = (address.ip(), address.port());
    let is_root = getuid().is_root();
    let (user, group) = if is_root { (NOBODY, NOBODY) } else { (getuid().as_raw(), getgid().as_raw()) };
    let users = place.join("users");
    fs::write(&users, format!("bench:{HASH}:{user}:{group}::{}:/bin/sh\n", root.display()))?;
    fs::set_permissions(&users, Permissions::from_mode(0o600))?;
    let confined = match is_root {
        true => "User nobody\nGroup nogroup\nDefaultRoot ~\n".into(),
        false => format!("User {}\nGroup {}\n", own_name("-un")?, own_name("-gn")?),
    };
    let (users, place) = (users.display(), place.display());
    Ok(format!(
        "ServerName bench\nServerType standalone\nDefaultAddress {ip}\nSocketBindTight on\nPort {port}\n{confined}\
         PidFile {place}/pid\nScoreboardFile none\nDelayEngine off\nSystemLog none\nTransferLog none\n\
         WtmpLog off\nUseReverseDNS off\nUseIPv6 off\nAuthPAM off\nAuthOrder mod_auth_file.c\nAuthUserFile {users}\n\
         RequireValidShell off\nMaxInstances {MOST_CLIENTS}\nAllowOverwrite on\nTimeoutIdle 3600\nTimeoutLogin 3600\n\
         TimeoutNoTransfer 3600\nUseSendfile on\n"
    ))
}

/// Returns the answer of `id` about the user of this process.
fn own_name(flag: &str) -> io::Result<String> {
    let said = Command::new("id").arg(flag).stdin(Stdio::null()).output()?.stdout;
    Ok(String::from_utf8_lossy(&said).trim().into())
}

fn pyftpdlib(root: &Path, address: SocketAddr) -> String {
    let (ip, port) = (address.ip(), address.port());
    let (root, Login { user, password }) = (root.display(), BENCH);
    format!(
        "import logging\nfrom pyftpdlib.authorizers import DummyAuthorizer\n\
         from pyftpdlib.handlers import FTPHandler\nfrom pyftpdlib.servers import FTPServer\n\
         logging.basicConfig(level=logging.ERROR)\nauthorizer = DummyAuthorizer()\n\
         authorizer.add_user({user:?}, {password:?}, r'''{root}''', perm='elradfmwMT')\n\
         FTPHandler.authorizer = authorizer\nFTPHandler.timeout = None\n\
         server = FTPServer(('{ip}', {port}), FTPHandler, backlog=4096)\nserver.max_cons = 1 << 20\n\
         server.max_cons_per_ip = 0\nserver.serve_forever()\n"
    )
}

/// One worker, since ferry has one thread. Its cache of open files is off, as it is by default.
fn nginx(root: &Path, address: SocketAddr, tls: bool, more: &str) -> String {
    let root = root.display();
    let user = if getuid().is_root() { "user root;" } else { "" };
    let ssl = if tls { "ssl" } else { "" };
    format!(
        "daemon off; worker_processes 1; pid pid; {user}\nevents {{ worker_connections 24000; multi_accept on; }}\n\
         http {{\n access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;\n \
         keepalive_timeout 3600; client_header_timeout 3600;\n client_body_temp_path body; proxy_temp_path proxy;\n \
         fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n \
         server {{\n  listen {address} {ssl} backlog=4096; root {root};{more}\n  location = /empty {{ return 204; }}\n }}\n}}\n"
    )
}

/// A key of the kind that ferry makes, and its certificate.
struct Certified {
    key: PathBuf,
    certificate: PathBuf,
}

fn certified(place: &Path) -> io::Result<Certified> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).map_err(io::Error::other)?;
    let files = Certified { key: place.join("key.pem"), certificate: place.join("certificate.pem") };
    fs::write(&files.key, made.signing_key.serialize_pem())?;
    fs::write(&files.certificate, made.cert.pem())?;
    Ok(files)
}

/// One cipher for all, so that the same work is done.
fn nginx_tls(Certified { key, certificate }: &Certified) -> String {
    let (key, certificate) = (key.display(), certificate.display());
    format!(
        "\n  ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.3;\n  \
         ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;"
    )
}

/// Uploads wait beside the root, in the same file system.
fn nginx_put(root: &Path) -> String {
    let root = root.display();
    format!("\n  client_body_temp_path {root}.body; client_max_body_size 0; dav_methods PUT; create_full_put_path on;")
}

fn vsftpd_tls(Certified { key, certificate }: &Certified) -> String {
    let (key, certificate) = (key.display(), certificate.display());
    format!(
        "ssl_enable=YES\nallow_anon_ssl=YES\nforce_anon_data_ssl=YES\nforce_anon_logins_ssl=YES\n\
         require_ssl_reuse=NO\nrsa_cert_file={certificate}\nrsa_private_key_file={key}\nssl_ciphers=HIGH\n"
    )
}

fn rsync(place: &Path, root: &Path) -> String {
    let ids = if getuid().is_root() { "uid = 0\ngid = 0\n" } else { "" };
    let (root, place) = (root.display(), place.display());
    format!(
        "use chroot = no\npid file = {place}/pid\nlog file = /dev/null\nreverse lookup = no\n{ids}\
         [root]\npath = {root}\nread only = no\n"
    )
}

/// A running one, killed with all its children when dropped, or when this process ends in any other way.
#[derive(Debug)]
pub(super) struct Daemon {
    kind: Kind,
    keeper: Keeper,
    address: SocketAddr,
    /// Of its configuration.
    _place: TempDir,
}

impl Daemon {
    fn start(kind: Kind, ip: Ipv4Addr, helper: &Path, program: &Path, root: &Path) -> io::Result<Daemon> {
        let place = tempfile::Builder::new().prefix("ferry-bench-").tempdir()?;
        let address = free_port(ip)?;
        let arguments = kind.configure(place.path(), root, address)?;
        let log = place.path().join("log");
        let mut command = Keeper::command(helper);
        command.arg(program).args(arguments).stdout(File::create(&log)?);
        let keeper = Keeper::spawn(command.stderr(File::options().append(true).open(&log)?))?;
        let mut daemon = Daemon { kind, keeper, address, _place: place };
        daemon.listens().map_err(|error| {
            let mut said = String::new();
            let _ = File::open(&log).and_then(|mut log| log.read_to_string(&mut said));
            io::Error::other(format!("{error}; it says: {}", said.trim()))
        })?;
        Ok(daemon)
    }

    fn listens(&mut self) -> io::Result<()> {
        const PAUSE: Duration = Duration::from_millis(10);
        let deadline = Instant::now() + STARTING;
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.keeper.try_wait()? {
                return Err(io::Error::other(format!("it ended with {status}")));
            }
            if Instant::now() > deadline {
                return Err(io::Error::other("it does not listen"));
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn name(&self) -> &'static str {
        self.kind.name()
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the user that may log in to it.
    pub(super) fn login(&self) -> Login {
        match self.kind {
            Kind::Vsftpd | Kind::VsftpdTls => Login { user: "anonymous", password: "nobody" },
            _ => BENCH,
        }
    }

    /// Returns the CPU seconds so far, those of its children included.
    pub(super) fn cpu(&self) -> f64 {
        cpu_seconds(self.keeper.id())
    }

    /// Returns the memory of its own, in all its processes; what they share counts once.
    pub(super) fn memory(&self) -> u64 {
        anonymous_bytes(self.keeper.id())
    }

    /// Returns the number of open descriptors, in all its processes.
    pub(super) fn descriptors(&self) -> usize {
        descriptors(self.keeper.id())
    }
}

/// Returns an address with a port that nobody has at this moment.
fn free_port(ip: Ipv4Addr) -> io::Result<SocketAddr> {
    TcpListener::bind((ip, 0))?.local_addr()
}
