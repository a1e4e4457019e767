//! The server's key and its certificate: made at the first start, or given.
//!
//! The key that a server makes for itself is one file in its state directory. Its certificate is
//! made anew from it at each start: clients know the key, and nothing else of such a certificate
//! says anything.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use ferry_wire::Fingerprint;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use ring::digest;
use rustix::{
    fs::{AtFlags, CWD, RenameFlags, linkat, renameat_with},
    io::Errno,
    process::geteuid,
};
use rustls::{
    InconsistentKeys,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use x509_cert::{Certificate, Version, der::Decode as _, time::Validity};

use crate::files::WholeFile;

/// The file in the state directory.
pub const KEY_FILE: &str = "key.pem";

/// Keys and chains of certificates are a few KiB.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Stands in the PEM of a key that a passphrase encrypts, of the older form as well.
const ENCRYPTED: &[u8] = b"ENCRYPTED";

/// The name in the certificate. No client checks it: the certificate is trusted for its key.
const CERTIFIED_NAME: &str = "ferryd";

/// A key, the certificates that vouch for it, and its fingerprint for clients.
#[derive(Debug, Clone)]
pub struct Identity {
    pub(super) key: Arc<CertifiedKey>,
    fingerprint: Fingerprint,
    /// The certificate says nothing but the key, and is another one at each start.
    vouches_for_itself: bool,
    warning: Option<String>,
}

/// A key or certificate that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The system refused to read or make something.
    #[error("can't {what} {}: {error}", .path.display())]
    System {
        /// The attempt, as a verb.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
    /// Others than its owner can read, or change, the key.
    #[error(
        "{}: others than its owner may use this key (mode {mode:04o}): chmod 600 it, and have a new one made if they may \
         have read it", .path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The key belongs to another user.
    #[error("{}: this key belongs to user {owner}: it must be ferryd's own, or root's", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// The file holds something else.
    #[error("{}: {problem}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The problem with it.
        problem: String,
    },
    /// The certificate is of another key.
    #[error(
        "the key in {} is not that of the first certificate in {}: give the two that were made together, the server's own \
         certificate first", .key.display(), .certificate.display()
    )]
    Mismatch {
        /// The file with the key.
        key: PathBuf,
        /// The file with the certificates.
        certificate: PathBuf,
    },
    /// The system gives no random numbers, or the like.
    #[error("can't make a key: {0}")]
    Making(String),
}

impl Identity {
    /// Returns the key that is kept in the directory `state`, which is made if it is missing, as is
    /// the key. Servers that do so at the same time get the same key.
    ///
    /// # Errors
    ///
    /// Where the key can't be read, made or kept, or others than its owner may use it.
    pub fn own(state: &Path) -> Result<Identity, KeyError> {
        if let Some(identity) = Identity::kept(state)? {
            return Ok(identity);
        }
        let path = state.join(KEY_FILE);
        make(state, &path)?;
        Identity::of_own(&path, &read_key(&path)?)
    }

    /// Returns the key that is kept in the directory `state`; [`None`] where there is none yet.
    ///
    /// # Errors
    ///
    /// Where the key can't be read, or others than its owner may use it.
    pub fn kept(state: &Path) -> Result<Option<Identity>, KeyError> {
        let path = state.join(KEY_FILE);
        match read_key(&path) {
            Err(KeyError::System { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => Identity::of_own(&path, &read?).map(Some),
        }
    }

    fn of_own(path: &Path, text: &[u8]) -> Result<Identity, KeyError> {
        let key = private_key(path, text)?;
        let certificate = certify(&key).map_err(|problem| KeyError::Content { path: path.into(), problem })?;
        let identity = Identity::of(vec![certificate], key, (path, path), None)?;
        Ok(Identity { vouches_for_itself: true, ..identity })
    }

    /// Reads a chain of certificates, the server's own first, and its key, both in PEM. `now` is
    /// held against the time for which the certificate is good: outside of it there is a
    /// [warning](Self::warning).
    ///
    /// # Errors
    ///
    /// Where one of them can't be read or holds something else, they do not fit together, or others
    /// than its owner may use the key.
    pub fn given(certificate: &Path, key: &Path, now: SystemTime) -> Result<Identity, KeyError> {
        let content = |problem: String| KeyError::Content { path: certificate.into(), problem };
        let text = read(certificate)?.bytes;
        let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| content(format!("no PEM: {error}")))?;
        let first = chain.first().ok_or_else(|| content("no certificate (BEGIN CERTIFICATE) in it".into()))?;
        let parsed = Certificate::from_der(first).map_err(|error| content(format!("no certificate: {error}")))?;
        if parsed.tbs_certificate.version != Version::V3 {
            return Err(content("the certificate is of an old version of X.509: have one of version 3 made".into()));
        }
        let warning = out_of_time(&parsed.tbs_certificate.validity, now).map(|problem| {
            format!("{}: {problem}; clients that know this key by its fingerprint go on", certificate.display())
        });
        let private = private_key(key, &read_key(key)?)?;
        Identity::of(chain, private, (certificate, key), warning)
    }

    fn of(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        (certificate, key_file): (&Path, &Path),
        warning: Option<String>,
    ) -> Result<Identity, KeyError> {
        let content = |problem: String| KeyError::Content { path: key_file.into(), problem };
        let key = CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                KeyError::Mismatch { key: key_file.into(), certificate: certificate.into() }
            }
            error @ rustls::Error::InvalidCertificate(_) => {
                let problem = format!("no certificate that can be used: {error}");
                KeyError::Content { path: certificate.into(), problem }
            }
            error => content(format!("no key that can be used: {error}")),
        })?;
        let spki = key.key.public_key().ok_or_else(|| content("a key of a kind that is not known".into()))?;
        let fingerprint = fingerprint(&spki);
        Ok(Identity { key: Arc::new(key), fingerprint, vouches_for_itself: false, warning })
    }

    /// Returns whether clients see the same key and the same certificates.
    #[must_use]
    pub fn is_same(&self, other: &Identity) -> bool {
        let says_no_more = self.vouches_for_itself && other.vouches_for_itself;
        self.fingerprint == other.fingerprint && (says_no_more || self.key.cert == other.key.cert)
    }

    /// Returns the fingerprint by which clients know the key.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Returns a warning for the administrator where the certificate's time is over, or has not come.
    #[must_use]
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }
}

/// Returns the fingerprint of the key with this SubjectPublicKeyInfo.
fn fingerprint(spki: &[u8]) -> Fingerprint {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, spki).as_ref());
    Fingerprint::new(hash)
}

/// Makes a key and keeps it as `path`, in the directory `state`. Where another process has kept one
/// meanwhile, that one stays.
fn make(state: &Path, path: &Path) -> Result<(), KeyError> {
    let failed = |what, path: &Path| {
        let path = path.to_owned();
        move |error| KeyError::System { what, path, error }
    };
    DirBuilder::new().recursive(true).mode(0o700).create(state).map_err(failed("make the directory", state))?;
    // P-256: browsers, which HTTP is to serve, take no Ed25519.
    let key = KeyPair::generate().map_err(|error| KeyError::Making(error.to_string()))?;
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| KeyError::Making(error.to_string()))?;
    let staged = state.join(format!("{KEY_FILE}.{:016x}", u64::from_le_bytes(random)));
    let kept = write_new(&staged, key.serialize_pem().as_bytes()).and_then(|()| name_new(&staged, path));
    // It is either kept under its name as well, or of no use.
    let _ = fs::remove_file(&staged);
    kept.and_then(|()| File::open(state)?.sync_all()).map_err(failed("keep a key as", path))
}

/// Gives `staged` the name `path` too, or that name alone; never in place of a key that is there,
/// which may be in use.
fn name_new(staged: &Path, path: &Path) -> io::Result<()> {
    let named = linkat(CWD, staged, CWD, path, AtFlags::empty());
    let named = match named {
        // A file system that gives a file no second name.
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {
            renameat_with(CWD, staged, CWD, path, RenameFlags::NOREPLACE)
        }
        named => named,
    };
    match named {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Writes a file that is new, and its owner's alone from the beginning.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Reads a file with a key, which nobody else may read.
fn read_key(path: &Path) -> Result<Vec<u8>, KeyError> {
    let WholeFile { bytes, status } = read(path)?;
    let (us, owner, mode) = (geteuid(), status.uid(), status.mode() & 0o7777);
    if owner != 0 && owner != us.as_raw() {
        return Err(KeyError::Foreign { path: path.into(), owner });
    }
    // One of root's may be readable to a group, which is then how this server reads it.
    let of_others = if owner == 0 && !us.is_root() { 0o037 } else { 0o077 };
    if mode & of_others != 0 {
        return Err(KeyError::Open { path: path.into(), mode });
    }
    Ok(bytes)
}

fn read(path: &Path) -> Result<WholeFile, KeyError> {
    WholeFile::read(path, MAX_FILE_BYTES).map_err(|error| KeyError::System { what: "read", path: path.into(), error })
}

fn private_key(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, KeyError> {
    // The content is not shown: it may be most of a key.
    let problem = || {
        let is_encrypted = text.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED);
        let problem = if is_encrypted {
            "the key is encrypted, and a server asks for no passphrase: write it without one, as by 'openssl pkey'"
        } else {
            "no private key in PEM (BEGIN PRIVATE KEY) in it"
        };
        KeyError::Content { path: path.into(), problem: problem.into() }
    };
    PrivateKeyDer::from_pem_slice(text).map_err(|_| problem())
}

/// Makes a certificate of `key` that vouches for itself.
fn certify(key: &PrivateKeyDer<'_>) -> Result<CertificateDer<'static>, String> {
    let made = KeyPair::try_from(key).and_then(|pair| {
        let mut params = CertificateParams::new([CERTIFIED_NAME.to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, CERTIFIED_NAME);
        params.self_signed(&pair)
    });
    Ok(made.map_err(|error| format!("no key that can be used: {error}"))?.der().clone())
}

/// Says that `now` lies outside of `validity`.
fn out_of_time(validity: &Validity, now: SystemTime) -> Option<String> {
    let Validity { not_before, not_after } = validity;
    if now > not_after.to_system_time() {
        return Some(format!("the certificate expired at {}", not_after.to_date_time()));
    }
    (now < not_before.to_system_time()).then(|| {
        format!("the certificate is good only from {} on: is this machine's clock right?", not_before.to_date_time())
    })
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, sync::Barrier, thread, time::Duration};

    use rcgen::date_time_ymd;
    use rustix::fs::{FileType, Mode, mknodat};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_key_is_made_once_and_is_its_owners_alone() {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join("a/b");
        let first = Identity::own(&state).unwrap();
        assert_eq!((mode(&state), mode(&state.join(KEY_FILE))), (0o700, 0o600));
        assert_eq!(Identity::own(&state).unwrap().fingerprint(), first.fingerprint());
        assert_eq!(first.warning(), None);
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1, "nothing is left beside the key");
    }

    #[test]
    fn servers_that_start_together_have_one_key() {
        let state = tempfile::tempdir().unwrap();
        let together = Barrier::new(8);
        let start = || {
            together.wait();
            Identity::own(state.path()).unwrap().fingerprint()
        };
        let all: Vec<_> = thread::scope(|scope| {
            let started: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            started.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(all.iter().all(|one| *one == all[0]), "{all:?}");
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let state = tempfile::tempdir().unwrap();
        Identity::own(state.path()).unwrap();
        let path = state.path().join(KEY_FILE);
        for open in [0o640, 0o604, 0o620, 0o644, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(open)).unwrap();
            let said = Identity::own(state.path()).unwrap_err().to_string();
            assert!(said.contains(&format!("{open:04o}")) && said.contains("chmod 600"), "{said}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_shown() {
        let state = tempfile::tempdir().unwrap();
        for text in [
            "",
            "hunter2",
            "-----BEGIN PRIVATE KEY-----\nhunter2\n",
            "-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n",
        ] {
            let path = state.path().join(KEY_FILE);
            let _ = fs::remove_file(&path);
            write_new(&path, text.as_bytes()).unwrap();
            let said = Identity::own(state.path()).unwrap_err().to_string();
            assert!(said.contains("key.pem") && !said.contains("hunter2") && !said.contains("aHVu"), "{said}");
        }
    }

    #[test]
    fn a_key_or_certificate_that_is_no_file_is_refused_and_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let (certificate, key) = pair(directory.path(), 2000, 2100);
        let fifo = directory.path().join(KEY_FILE);
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
        let large = directory.path().join("large");
        File::create(&large).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
        for (read, told) in [
            (Identity::own(directory.path()), "can't read"),
            (Identity::given(&fifo, &key, SystemTime::now()), "it is no regular file"),
            (Identity::given(&certificate, &fifo, SystemTime::now()), "it is no regular file"),
            (Identity::given(&large, &key, SystemTime::now()), "it has more than 1048576 bytes"),
        ] {
            let said = read.unwrap_err().to_string();
            assert!(said.contains(told), "{said}");
        }
    }

    /// Writes a certificate that is good for the years from `first` to `last`, and its key.
    fn pair(directory: &Path, first: i32, last: i32) -> (PathBuf, PathBuf) {
        let (certificate, key) = (directory.join("c.pem"), directory.join("k.pem"));
        let made = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["example.org".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(first, 1, 1), date_time_ymd(last, 1, 1));
        fs::write(&certificate, params.self_signed(&made).unwrap().pem()).unwrap();
        let _ = fs::remove_file(&key);
        write_new(&key, made.serialize_pem().as_bytes()).unwrap();
        (certificate, key)
    }

    #[test]
    fn an_encrypted_key_is_told() {
        let path = Path::new("k.pem");
        for text in [
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\naHVudGVyMg==\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\naHVudGVyMg==\n\
             -----END RSA PRIVATE KEY-----\n",
        ] {
            let said = private_key(path, text.as_bytes()).unwrap_err().to_string();
            assert!(said.contains("k.pem") && said.contains("openssl pkey"), "{said}");
        }
    }

    /// A certificate as `openssl x509 -req` makes it from a request without extensions.
    const OLD_CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBGDCBvwIUMAgVKHn8MuJtQsfYty8kjcJNZtcwCgYIKoZIzj0EAwIwDjEMMAoG\n\
A1UEAwwDb2xkMCAXDTI2MTEzMDAzMjU0NVoYDzIxMjYxMTA2MDMyNTQ1WjAOMQww\n\
CgYDVQQDDANvbGQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATrxs2BEm0A3uni\n\
YvT64N6GV/8p6XxIVBd0xQBlSN0cTlu0paQRnSINeUpjdKgTrnadkc6sOr0TjLov\n\
V+DSEQi/MAoGCCqGSM49BAMCA0gAMEUCIFY0c11nQvI6geM2GZGJ3DNDUkFA6F4y\n\
dys7hnL+Vb1rAiEAnOEw0dp4Vry8WeynbkssMLD1IPS35NeNn2mSB59QZWY=\n\
-----END CERTIFICATE-----\n";

    #[test]
    fn a_certificate_of_an_old_version_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let (certificate, key) = pair(directory.path(), 2000, 2100);
        fs::write(&certificate, OLD_CERTIFICATE).unwrap();
        let said = Identity::given(&certificate, &key, SystemTime::now()).unwrap_err().to_string();
        assert!(said.contains("c.pem") && said.contains("version 3"), "{said}");
    }

    #[test]
    fn a_certificate_out_of_its_time_is_told() {
        let directory = tempfile::tempdir().unwrap();
        // Midsummer of 2020.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_592_700_000);
        for (first, last, told) in [(2019, 2021, None), (2000, 2020, Some("expired")), (2021, 2040, Some("only from"))]
        {
            let (certificate, key) = pair(directory.path(), first, last);
            let identity = Identity::given(&certificate, &key, now).unwrap();
            assert_eq!(identity.warning().is_some(), told.is_some(), "{first}-{last}");
            assert!(identity.warning().unwrap_or_default().contains(told.unwrap_or_default()), "{first}-{last}");
        }
    }

    #[test]
    fn a_key_that_does_not_fit_its_certificate_is_refused() {
        let [one, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let ((certificate, _), (_, key)) = (pair(one.path(), 2000, 2100), pair(other.path(), 2000, 2100));
        let refused = Identity::given(&certificate, &key, SystemTime::now()).unwrap_err();
        assert!(matches!(refused, KeyError::Mismatch { .. }), "{refused}");
        for (certificate, key, told) in [
            (&key, &key, "no certificate"),
            (&certificate, &certificate, "others than"),
            (&one.path().join("x"), &key, "can't read"),
        ] {
            let said = Identity::given(certificate, key, SystemTime::now()).unwrap_err().to_string();
            assert!(said.contains(told), "{said}");
        }
    }
}
