//! TLS for both sides of SMTP: handshake, facts for logs and variables, and judgement of certificates.
//!
//! - [`server`]: async, for the session; certificates and keys are parsed once per change of their files.
//! - [`client`]: blocking, for code on worker threads (deliveries, callouts, lookups).
//! - [`certificate`]: what a certificate says, and whether it is for a host.
//! - [`dane`]: whether certificates fit the TLSA records of a host.
//! - [`ocsp`]: what an OCSP response proves.
//! - [`ciphers`]: what a `tls_require_ciphers` string leaves.
//!
//! A handshake does not fail over a certificate: the peer's chain is recorded, and judged when the handshake is over,
//! before the first byte of SMTP. So unverified TLS works with any certificate. The only exception is a server that
//! requires a verified client certificate, where the client is told by an alert.
//!
//! Names of versions and ciphers are those of an OpenSSL build of Exim. Manual: chapter 43. RFC 8446, 5246, 6125.

pub mod certificate;
pub mod ciphers;
pub mod client;
pub mod client_hello;
pub mod dane;
mod facts;
mod file_cache;
mod groups;
pub mod ocsp;
pub mod openssl_options;
mod pem;
pub mod server;
mod signature;
#[cfg(test)]
mod tests;
mod trust;

use std::fmt;
use std::io;

pub use facts::TlsFacts;
pub use file_cache::FileCache;
pub use pem::{certificate_from_pem, certificate_to_pem, certificates as certificates_of_file};
pub use trust::CaSource;

/// How much the peer's certificate matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Verify {
    /// Not at all: a server does not ask for one, a client takes any.
    #[default]
    None,
    /// It is judged, and the verdict is told; nothing fails.
    Try,
    /// No verified certificate, no session.
    Require,
}

/// Which protocol versions may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Versions {
    /// TLS 1.2.
    pub tls12: bool,
    /// TLS 1.3.
    pub tls13: bool,
}

impl Default for Versions {
    fn default() -> Self {
        Versions { tls12: true, tls13: true }
    }
}

impl Versions {
    fn list(self) -> Vec<&'static rustls::SupportedProtocolVersion> {
        let both = [(self.tls13, &rustls::version::TLS13), (self.tls12, &rustls::version::TLS12)];
        both.into_iter().filter_map(|(wanted, version)| wanted.then_some(version)).collect()
    }
}

/// A certificate chain and its private key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyPair {
    /// The chain, leaf first.
    pub certificate: std::path::PathBuf,
    /// The key; in the certificate's file when unset.
    pub key: Option<std::path::PathBuf>,
}

/// Why there is no TLS session.
#[derive(Debug)]
pub enum TlsError {
    /// A file, a cipher string or another setting cannot be used. Defer, and tell the postmaster.
    Config(String),
    /// The peer spoke no usable TLS, or refused us: the text says which.
    Handshake(String),
    /// The peer's certificate was required to verify, and did not. The facts are those of the session that was ended.
    Unverified {
        /// Why, in OpenSSL's words.
        reason: String,
        /// What was negotiated.
        facts: Box<TlsFacts>,
    },
    /// The server gave no proof that its certificate is not revoked, where one was required, or one that cannot be read. The
    /// facts are those of the session that was ended.
    Unproven(Box<TlsFacts>),
    /// The handshake took too long.
    Timeout,
    /// The connection broke.
    Io(io::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Config(text) | TlsError::Handshake(text) => f.write_str(text),
            TlsError::Unverified { reason, .. } => write!(f, "certificate verify failed: {reason}"),
            TlsError::Unproven(_) => f.write_str("certificate status check failed"),
            TlsError::Timeout => f.write_str("timed out"),
            TlsError::Io(error) => f.write_str(&oxim_base::errno::error_text(error)),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TlsError::Io(error) => Some(error),
            TlsError::Config(_)
            | TlsError::Handshake(_)
            | TlsError::Unverified { .. }
            | TlsError::Unproven(_)
            | TlsError::Timeout => None,
        }
    }
}

impl From<io::Error> for TlsError {
    /// Sorts what comes out of a handshake: the library hides its own errors in `io::Error`.
    fn from(error: io::Error) -> Self {
        let from_tls =
            error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).map(handshake_text);
        match (from_tls, error.kind()) {
            (Some(text), _) => TlsError::Handshake(text),
            (None, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => TlsError::Timeout,
            (None, io::ErrorKind::UnexpectedEof) => {
                TlsError::Handshake("the peer closed the connection during the handshake".to_owned())
            }
            (None, _) => TlsError::Io(error),
        }
    }
}

/// The library's words, or ours where it only carries them.
fn handshake_text(error: &rustls::Error) -> String {
    if let rustls::Error::InvalidCertificate(rustls::CertificateError::Other(reason)) = error {
        return format!("certificate verify failed: {}", reason.0);
    }
    error.to_string()
}

fn config_error(what: &str) -> impl Fn(rustls::Error) -> TlsError + '_ {
    move |error| TlsError::Config(format!("{what}: {error}"))
}
