//! Certificates, keys and revocation lists from PEM files.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::TlsError;

/// All certificates of a PEM file, in order.
///
/// # Errors
/// It cannot be read, holds none, or one that is damaged.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let list: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match list {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => Err(TlsError::Config(format!("no certificate in {}", path.display()))),
        Err(error) => Err(TlsError::Config(format!("bad certificate in {}: {error}", path.display()))),
    }
}

/// A certificate as PEM, as spool files have it.
#[must_use]
pub fn certificate_to_pem(der: &[u8]) -> Vec<u8> {
    let text = STANDARD.encode(der);
    let mut pem = b"-----BEGIN CERTIFICATE-----\n".to_vec();
    for line in text.as_bytes().chunks(64) {
        pem.extend_from_slice(line);
        pem.push(b'\n');
    }
    pem.extend_from_slice(b"-----END CERTIFICATE-----\n");
    pem
}

/// The DER of the first certificate in a PEM text.
#[must_use]
pub fn certificate_from_pem(pem: &[u8]) -> Option<Vec<u8>> {
    CertificateDer::from_pem_slice(pem).ok().map(|der| der.to_vec())
}

/// The first private key of a file.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = read(path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let encrypted = memchr::memmem::find(&bytes, b"ENCRYPTED").is_some();
        let why =
            if encrypted { "the private key is password-protected".to_owned() } else { error.to_string() };
        TlsError::Config(format!("no usable private key in {}: {why}", path.display()))
    })
}

/// All revocation lists of a file, or of the files of a directory.
pub(super) fn revocation_lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let bytes = if path.is_dir() { read_directory(path)? } else { read(path)? };
    CertificateRevocationListDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::Config(format!("bad revocation list in {}: {error}", path.display())))
}

/// Every certificate in the files of a directory. Files without one are passed over.
pub(super) fn certificates_of_directory(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read_directory(path)?;
    Ok(CertificateDer::pem_slice_iter(&bytes).filter_map(Result::ok).collect())
}

fn read_directory(path: &Path) -> Result<Vec<u8>, TlsError> {
    let entries = std::fs::read_dir(path).map_err(|error| cannot_read(path, &error))?;
    let mut all = Vec::new();
    for entry in entries.flatten() {
        if entry.path().is_file() {
            all.extend(std::fs::read(entry.path()).unwrap_or_default());
            all.push(b'\n');
        }
    }
    Ok(all)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| cannot_read(path, &error))
}

fn cannot_read(path: &Path, error: &std::io::Error) -> TlsError {
    TlsError::Config(format!("cannot read {}: {}", path.display(), oxim_base::errno::error_text(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_survive_pem() {
        let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        let pem = certificate_to_pem(made.cert.der());
        assert!(pem.split(|byte| *byte == b'\n').all(|line| line.len() <= 64));
        assert_eq!(certificate_from_pem(&pem).as_deref(), Some(made.cert.der().as_ref()));
        assert_eq!(certificate_from_pem(b"nothing"), None);
    }
}
