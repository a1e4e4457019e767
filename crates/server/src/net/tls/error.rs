//! The ways in which TLS with a client can fail, in words for the log.

use std::io;

use rustls::{AlertDescription, InvalidMessage, PeerIncompatible};

/// Why nothing more can come of a client.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It does not speak TLS.
    #[error("the client does not speak TLS, and this address speaks nothing else")]
    Plain {
        /// It speaks HTTP.
        is_http: bool,
    },
    /// It closed its side, or was cut off, without saying so: nobody knows whether that is all it sent.
    #[error("it was cut off: its side ended without a close_notify")]
    Cut,
    /// It sends what has nothing in it, and a lot of it.
    #[error("it sends records without anything in them")]
    Hollow,
    /// It broke TLS, or speaks none that this server does; it is told by an alert, which is to be flushed.
    #[error("{}", shown(.0))]
    Protocol(rustls::Error),
    /// The socket failed; [`WouldBlock`](io::ErrorKind::WouldBlock) says that nothing is there for now.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl TlsError {
    /// Returns whether the connection has just ended or was lost, as happens every day.
    pub(crate) fn is_loss(&self) -> bool {
        matches!(self, TlsError::Cut | TlsError::Io(_))
    }
}

fn shown(error: &rustls::Error) -> String {
    match error {
        rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic
            | PeerIncompatible::SupportedVersionsExtensionRequired,
        ) => "it does not speak TLS 1.3, and this server nothing older".into(),
        rustls::Error::PeerIncompatible(why) => format!("it has nothing in common with this server's TLS 1.3: {why:?}"),
        rustls::Error::NoApplicationProtocol => "the client asks for a protocol that is not spoken here (ALPN)".into(),
        rustls::Error::AlertReceived(alert) => format!("it gave up: {}", said(*alert)),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => "what it sends is no TLS".into(),
        error => format!("broken TLS: {error}"),
    }
}

fn said(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::BadCertificate | AlertDescription::UnknownCA | AlertDescription::CertificateUnknown => {
            format!("it does not trust this server's certificate ({alert:?})")
        }
        alert => format!("{alert:?}"),
    }
}
