//! The authorities of this system, and what they say of a certificate.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use rustls::{
    CertificateError, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use time::OffsetDateTime;

use super::proof;

/// Hosts of a certificate that are shown.
const SHOWN_HOSTS: usize = 4;

/// The reason why a certificate says nothing of its server, although an authority of this system has signed it. Displays as
/// a part of a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateProblem {
    /// It has expired, or one above it has.
    Expired {
        /// The end of its validity, in seconds of Unix time.
        at: u64,
    },
    /// It is not valid yet, or one above it is not.
    NotYetValid {
        /// The begin of its validity, in seconds of Unix time.
        from: u64,
    },
    /// It is for other hosts.
    OtherHost {
        /// The host that was connected to.
        host: String,
        /// The hosts that it is for, as it says itself.
        valid_for: Vec<String>,
    },
}

impl fmt::Display for CertificateProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its certificate, which an authority of this system has signed, ")?;
        match self {
            CertificateProblem::Expired { at } => {
                let at = Moment(*at);
                write!(f, "expired at {at} (it has to be renewed, unless this machine's clock is wrong)")
            }
            CertificateProblem::NotYetValid { from } => {
                write!(f, "is valid only from {} on (is this machine's clock right?)", Moment(*from))
            }
            CertificateProblem::OtherHost { host, valid_for } => {
                let shown: Vec<String> =
                    valid_for.iter().take(SHOWN_HOSTS).map(|host| ferry_wire::escaped(host).to_string()).collect();
                let shown = if shown.is_empty() { "no host".to_owned() } else { shown.join(", ") };
                let more = valid_for.len().saturating_sub(SHOWN_HOSTS);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                write!(f, "is valid for {shown}{more}, not for {host} (connect by a name that it is for)")
            }
        }
    }
}

/// A time for people, to the second, in UTC.
struct Moment(u64);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = i64::try_from(self.0).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
        match moment {
            Some(moment) => {
                let (hour, minute, second) = moment.to_hms();
                write!(f, "{} {hour:02}:{minute:02}:{second:02} UTC", moment.date())
            }
            None => write!(f, "{} s after 1970", self.0),
        }
    }
}

/// The authorities that this system trusts.
#[derive(Default)]
pub(super) struct Authorities {
    /// Read when they are needed.
    roots: OnceLock<Arc<RootCertStore>>,
}

impl Authorities {
    /// Checks that one of them vouches for `certificate` and `host`, today.
    ///
    /// # Errors
    ///
    /// None does: why, if one would at another time or for another host.
    pub(super) fn verify(
        &self,
        host: &str,
        certificate: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
    ) -> Result<(), Option<CertificateProblem>> {
        let roots = self.roots.get_or_init(system_roots).clone();
        let name = ServerName::try_from(host).map_err(|_| None)?;
        // Without any root there is no verifier, and nobody is vouched for.
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::new(proof::provider())).build();
        let verifier = verifier.map_err(|_| None)?;
        let verify_at = |time| match verifier.verify_server_cert(certificate, above, &name, &[], time) {
            Ok(_) => Ok(()),
            Err(rustls::Error::InvalidCertificate(problem)) => Err(Some(problem)),
            Err(_) => Err(None),
        };
        // One that nobody has signed expires as well: whether somebody has shows when time is no obstacle.
        let then = |time, problem| match verify_at(time) {
            Ok(()) => Some(problem),
            Err(other) => other.and_then(|other| other_host(host, other)),
        };
        verify_at(UnixTime::now()).map_err(|problem| match problem? {
            CertificateError::ExpiredContext { not_after, .. } => {
                then(not_after, CertificateProblem::Expired { at: not_after.as_secs() })
            }
            CertificateError::NotValidYetContext { not_before, .. } => {
                then(not_before, CertificateProblem::NotYetValid { from: not_before.as_secs() })
            }
            other => other_host(host, other),
        })
    }
}

fn other_host(host: &str, problem: CertificateError) -> Option<CertificateProblem> {
    let CertificateError::NotValidForNameContext { presented, .. } = problem else { return None };
    // They come as `DnsName("a.example")` and `IpAddress(192.0.2.1)`.
    let bare = |name: &String| Some(name.split_once('(')?.1.strip_suffix(')')?.trim_matches('"').to_owned());
    Some(CertificateProblem::OtherHost {
        host: host.to_owned(),
        valid_for: presented.iter().filter_map(bare).collect(),
    })
}

/// The authorities that this system trusts; what can't be read of them is left out.
fn system_roots() -> Arc<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        log::debug!("authorities of this system: {error}");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    Arc::new(roots)
}
