//! Which certificates are believed, and whether a chain leads to one.
//!
//! A certificate that is itself among the trusted ones is believed without more than its dates, as OpenSSL does: a
//! self-signed server certificate may be its own authority.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use rustls::DistinguishedName;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, KeyUsage, OwnedCertRevocationList, RevocationOptionsBuilder,
    UnknownStatusPolicy,
};

use super::certificate::Certificate;
use super::file_cache::FileCache;
use super::{TlsError, pem};

/// Where the trusted certificates are (`tls_verify_certificates`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum CaSource {
    /// Those of this system.
    #[default]
    System,
    /// A PEM file, or a directory of such files.
    Path(PathBuf),
}

impl CaSource {
    /// The files whose change matters. The system's own set is read once per process.
    fn files(&self) -> Vec<&Path> {
        match self {
            CaSource::System => Vec::new(),
            CaSource::Path(path) => vec![path],
        }
    }
}

/// Which side the certificate is from: its extended key usage must allow that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    Client,
}

/// A set of trusted certificates, ready for use.
pub(super) struct Trust {
    anchors: Vec<TrustAnchor<'static>>,
    certificates: HashSet<Vec<u8>>,
    crls: Vec<CertRevocationList<'static>>,
    subjects: Vec<DistinguishedName>,
}

/// A list larger than this is not sent to clients as a hint: it would not help them to choose.
const SUBJECT_HINTS_MAX: usize = 100;

static TRUST: LazyLock<FileCache<(CaSource, Option<PathBuf>), Trust>> = LazyLock::new(FileCache::new);

impl Trust {
    /// The set for a source and a revocation list file, loaded if a file changed.
    pub(super) fn of(source: &CaSource, crl: Option<&Path>) -> Result<Arc<Trust>, TlsError> {
        let mut files = source.files();
        files.extend(crl);
        let key = (source.clone(), crl.map(Path::to_owned));
        TRUST.get(&key, &files, || Trust::load(source, crl))
    }

    fn load(source: &CaSource, crl: Option<&Path>) -> Result<Trust, TlsError> {
        let list = match source {
            CaSource::System => rustls_native_certs::load_native_certs().certs,
            CaSource::Path(path) if path.is_dir() => pem::certificates_of_directory(path)?,
            CaSource::Path(path) => pem::certificates(path)?,
        };
        let anchors: Vec<_> = list
            .iter()
            .filter_map(|der| Some(webpki::anchor_from_trusted_cert(der).ok()?.to_owned()))
            .collect();
        let hints = matches!(source, CaSource::Path(_)) && anchors.len() <= SUBJECT_HINTS_MAX;
        let subjects = if hints {
            anchors.iter().map(|anchor| DistinguishedName::in_sequence(anchor.subject.as_ref())).collect()
        } else {
            Vec::new()
        };
        Ok(Trust {
            anchors,
            certificates: list.into_iter().map(|der| der.to_vec()).collect(),
            crls: crl.map(load_crls).transpose()?.unwrap_or_default(),
            subjects,
        })
    }

    /// The trusted certificates, in DER.
    pub(super) fn certificates(&self) -> impl Iterator<Item = &[u8]> {
        self.certificates.iter().map(Vec::as_slice)
    }

    /// Subject names that a server may tell its clients.
    pub(super) fn subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    /// Whether the chain leads to a trusted certificate. The error is the reason in OpenSSL's words.
    pub(super) fn judge(&self, chain: &[CertificateDer<'_>], side: Side) -> Result<(), String> {
        let Some((leaf, others)) = chain.split_first() else {
            return Err("peer did not present a certificate".to_owned());
        };
        let now = UnixTime::now();
        if self.certificates.contains(leaf.as_ref()) {
            return dates(leaf, now);
        }
        let entity = EndEntityCert::try_from(leaf).map_err(|error| reason(&error, leaf))?;
        let crls: Vec<&CertRevocationList<'_>> = self.crls.iter().collect();
        let revocation = RevocationOptionsBuilder::new(&crls)
            .ok()
            .map(|builder| builder.with_status_policy(UnknownStatusPolicy::Allow).build());
        let usage = if side == Side::Server { KeyUsage::server_auth() } else { KeyUsage::client_auth() };
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
        entity
            .verify_for_usage(algorithms, &self.anchors, others, now, usage, revocation, None)
            .map(|_path| ())
            .map_err(|error| reason(&error, leaf))
    }
}

fn load_crls(path: &Path) -> Result<Vec<CertRevocationList<'static>>, TlsError> {
    let parse = |der: &rustls_pki_types::CertificateRevocationListDer<'_>| {
        OwnedCertRevocationList::from_der(der.as_ref())
            .map(CertRevocationList::Owned)
            .map_err(|error| TlsError::Config(format!("bad revocation list in {}: {error}", path.display())))
    };
    pem::revocation_lists(path)?.iter().map(parse).collect()
}

fn dates(leaf: &CertificateDer<'_>, now: UnixTime) -> Result<(), String> {
    let certificate = Certificate::parse(leaf).map_err(|_| "unable to decode the certificate".to_owned())?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < certificate.not_before {
        return Err("certificate is not yet valid".to_owned());
    }
    if now > certificate.not_after {
        return Err("certificate has expired".to_owned());
    }
    Ok(())
}

/// OpenSSL's words for the library's errors, since logs are searched for them.
pub(super) fn reason(error: &webpki::Error, leaf: &CertificateDer<'_>) -> String {
    #[allow(clippy::wildcard_enum_match_arm, reason = "a foreign enum; the rest keeps its own words")]
    match error {
        webpki::Error::CertExpired { .. } => "certificate has expired".to_owned(),
        webpki::Error::CertNotValidYet { .. } => "certificate is not yet valid".to_owned(),
        webpki::Error::CertRevoked => "certificate revoked".to_owned(),
        webpki::Error::InvalidSignatureForPublicKey => "certificate signature failure".to_owned(),
        webpki::Error::RequiredEkuNotFoundContext(_) => "unsuitable certificate purpose".to_owned(),
        webpki::Error::CaUsedAsEndEntity
        | webpki::Error::UnknownIssuer
        | webpki::Error::UnsupportedCertVersion => match Certificate::parse(leaf) {
            Ok(certificate) if certificate.is_self_issued() => "self-signed certificate".to_owned(),
            Ok(_) | Err(_) => "unable to get local issuer certificate".to_owned(),
        },
        other => other.to_string(),
    }
}
