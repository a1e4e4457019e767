//! Certificates that an authority has signed: a good one needs no known key, and of any other the fault is named.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use ferry_e2e::{Options, Server};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

use crate::{Run, known, run_with};

/// An authority, and the directory that holds its certificate.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    home: tempfile::TempDir,
}

impl Authority {
    fn new() -> Authority {
        let (home, key) = (tempfile::tempdir().unwrap(), KeyPair::generate().unwrap());
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority of these tests");
        fs::write(home.path().join("authorities.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Authority { issuer: Issuer::new(params, key), home }
    }

    fn home(&self) -> &Path {
        self.home.path()
    }

    /// A server with a certificate for `hosts`, valid in the years `from` to `to`.
    fn server(&self, hosts: &[&str], (from, to): (i32, i32)) -> Server {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>()).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        let (certificate, private) = (self.home().join("certificate.pem"), self.home().join("key.pem"));
        fs::write(&certificate, params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        fs::write(&private, key.serialize_pem()).unwrap();
        fs::set_permissions(&private, Permissions::from_mode(0o600)).unwrap();
        let server =
            Options::new().arg("--tls").arg("--tls-cert").arg(certificate).arg("--tls-key").arg(private).start();
        server.write("a.txt", b"hello");
        server
    }

    /// Lists what `server` has, on a system that trusts the authorities in `roots`.
    fn list(&self, server: &Server, roots: &str, options: &[&str]) -> Run {
        let roots = self.home().join(roots);
        let port = server.address().port().to_string();
        let variables = [("SSL_CERT_FILE", roots.to_str().unwrap()), ("SSL_CERT_DIR", "/nonexistent")];
        run_with(self.home(), &[options, &["--tls", "ls", &port]].concat(), &variables)
    }
}

const TODAY: (i32, i32) = (2020, 2100);

#[test]
fn a_certificate_of_an_authority_is_enough_and_a_faulty_one_is_told_of() {
    let authority = Authority::new();
    let good = authority.server(&["127.0.0.1"], TODAY);
    authority.list(&good, "authorities.pem", &[]).assert_done("a.txt");
    assert_eq!(known(authority.home()), "");
    let six = ["a.example", "b.example", "192.0.2.1", "c.example", "d.example", "e.example"];
    for (hosts, years, parts) in [
        (&["127.0.0.1"][..], (2020, 2021), &["expired at 2021-01-01 00:00:00 UTC", "renewed"][..]),
        (&["127.0.0.1"], (2099, 2100), &["only from 2099-01-01 00:00:00 UTC", "clock"]),
        (
            &["*.example", "192.0.2.1"],
            TODAY,
            &["valid for *.example, 192.0.2.1, not for 127.0.0.1", "connect by a name"],
        ),
        (&six, (2020, 2021), &["valid for a.example, b.example, 192.0.2.1, c.example and 2 more, not for 127.0.0.1"]),
    ] {
        let server = authority.server(hosts, years);
        let key = server.fingerprint();
        let parts: Vec<&str> = parts.iter().copied().chain([key, "not known", "--accept-new"]).collect();
        authority.list(&server, "authorities.pem", &[]).assert_failed(6, &parts);
        // A system that knows no such authority has no more to say of its certificates.
        let run = authority.list(&server, "nothing", &[]);
        run.assert_failed(6, &[key, "not known"]);
        assert!(!run.err.contains("certificate"), "{}", run.err);
    }
}

#[test]
fn a_faulty_certificate_is_told_of_with_a_key_that_has_changed_and_is_no_matter_to_a_known_one() {
    let authority = Authority::new();
    let expired = authority.server(&["127.0.0.1"], (2020, 2021));
    authority.list(&expired, "authorities.pem", &["--accept-new"]).assert_done("a.txt");
    authority.list(&expired, "authorities.pem", &[]).assert_done("a.txt");
    let text = known(authority.home());
    let other = authority.server(&["a.example"], TODAY);
    let line = text.replace(expired.fingerprint(), &format!("SHA256:{}", "A".repeat(43)));
    let line = line.replace(&expired.address().to_string(), &other.address().to_string());
    fs::write(authority.home().join("config/ferry/known_servers"), line).unwrap();
    let run = authority.list(&other, "authorities.pem", &["--accept-new"]);
    run.assert_failed(6, &["HAS CHANGED", other.fingerprint(), "valid for a.example, not for 127.0.0.1", "line 1 of"]);
}
