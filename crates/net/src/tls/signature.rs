//! The signature that proves, in a handshake, that the peer has the key of its certificate.
//!
//! The library would parse the whole certificate first, and refuse those of X.509 version 1 or with odd extensions. Only the
//! public key matters here, so it is cut out of the DER by hand, and any certificate will do.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerMisbehaved, SignatureScheme};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};
use webpki::RawPublicKeyEntity;

/// Verifies a TLS 1.2 handshake signature: the scheme does not bind the curve, so all algorithms of it are tried.
pub(super) fn verify_tls12(
    supported: &WebPkiSupportedAlgorithms,
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    verify(algorithms(supported, signed.scheme), message, certificate, signed)
}

/// Verifies a TLS 1.3 handshake signature: one scheme is one algorithm, and the old schemes are not allowed.
pub(super) fn verify_tls13(
    supported: &WebPkiSupportedAlgorithms,
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let allowed = matches!(
        signed.scheme,
        SignatureScheme::ECDSA_NISTP256_SHA256
            | SignatureScheme::ECDSA_NISTP384_SHA384
            | SignatureScheme::ECDSA_NISTP521_SHA512
            | SignatureScheme::RSA_PSS_SHA256
            | SignatureScheme::RSA_PSS_SHA384
            | SignatureScheme::RSA_PSS_SHA512
            | SignatureScheme::ED25519
            | SignatureScheme::ED448
    );
    if !allowed {
        return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    }
    verify(algorithms(supported, signed.scheme).get(..1).unwrap_or_default(), message, certificate, signed)
}

fn algorithms(
    supported: &WebPkiSupportedAlgorithms,
    scheme: SignatureScheme,
) -> &'static [&'static dyn SignatureVerificationAlgorithm] {
    supported.mapping.iter().find(|(known, _)| *known == scheme).map(|(_, list)| *list).unwrap_or_default()
}

fn verify(
    algorithms: &[&'static dyn SignatureVerificationAlgorithm],
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let bad = || Error::InvalidCertificate(CertificateError::BadEncoding);
    let key = SubjectPublicKeyInfoDer::from(public_key(certificate).ok_or_else(bad)?);
    let key = RawPublicKeyEntity::try_from(&key).map_err(|_| bad())?;
    let fits = |algorithm: &&dyn SignatureVerificationAlgorithm| {
        key.verify_signature(*algorithm, message, signed.signature()).is_ok()
    };
    if algorithms.iter().any(fits) {
        return Ok(HandshakeSignatureValid::assertion());
    }
    Err(Error::InvalidCertificate(CertificateError::BadSignature))
}

/// The SubjectPublicKeyInfo of a certificate, DER header included (RFC 5280 section 4.1).
pub(super) fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let (_, certificate, _) = element(certificate)?;
    let (_, to_be_signed, _) = element(certificate)?;
    // Version 1 certificates have no version field.
    let (tag, _, after) = element(to_be_signed)?;
    let mut rest = if tag == 0xa0 { after } else { to_be_signed };
    // Serial number, signature algorithm, issuer, validity, subject.
    for _ in 0..5 {
        rest = element(rest)?.2;
    }
    let (tag, _, after) = element(rest)?;
    let length = rest.len().checked_sub(after.len())?;
    if tag == 0x30 { rest.get(..length) } else { None }
}

/// One DER element: its tag, its content, and what follows.
pub(super) fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.is_empty() || digits.len() > 4 {
            return None;
        }
        (digits.iter().fold(0_usize, |length, digit| length << 8 | usize::from(*digit)), rest)
    };
    let (content, after) = rest.split_at_checked(length)?;
    Some((*tag, content, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_key_is_cut_out() {
        let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(made.cert.der()).unwrap();
        assert_eq!(public_key(made.cert.der()), Some(parsed.tbs_certificate.subject_pki.raw));
    }

    #[test]
    fn junk_has_no_public_key() {
        let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        for length in 0..made.cert.der().len() {
            assert_eq!(public_key(&made.cert.der()[..length]), None);
        }
        assert_eq!(public_key(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }

    proptest::proptest! {
        #[test]
        fn spoilt_certificates_do_not_panic(at in 0_usize..400, byte: u8, cut in 0_usize..400) {
            let mut der = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap().cert.der().to_vec();
            if let Some(place) = der.get_mut(at) {
                *place = byte;
            }
            let _ = public_key(&der);
            let _ = crate::tls::certificate::Certificate::parse(&der);
            der.truncate(cut);
            let _ = public_key(&der);
            let _ = crate::tls::certificate::Certificate::parse(&der);
        }
    }
}
