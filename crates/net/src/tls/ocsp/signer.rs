//! Who may sign a proof, and whether the signature is right (RFC 6960 section 4.2.2.2).
//!
//! The issuer of the certificate may, and whoever has a certificate of that issuer's for this purpose. Signatures by SHA-1 or by
//! RSA keys under 2048 bits are not verified: the library has no verification for them.

use aws_lc_rs::digest;
use rustls::crypto::aws_lc_rs as provider;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use webpki::RawPublicKeyEntity;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Responder;
use super::der::{self, Der};

/// Something signed in X.509's manner: certificate or response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signed {
    /// What is signed, with its header.
    pub(super) message: Vec<u8>,
    algorithm: Vec<u8>,
    signature: Vec<u8>,
    /// What follows the signature.
    pub(super) rest: Vec<u8>,
}

impl Signed {
    pub(super) fn cut(bytes: &[u8]) -> Option<Signed> {
        let mut parts = Der(Der(bytes).only(der::SEQUENCE)?);
        let message = parts.next_whole(der::SEQUENCE)?.to_vec();
        let algorithm = parts.next_of(der::SEQUENCE)?.to_vec();
        // A signature is whole bytes: none of its bits is unused.
        let signature = parts.next_of(der::BIT_STRING)?.strip_prefix(&[0])?.to_vec();
        Some(Signed { message, algorithm, signature, rest: parts.0.to_vec() })
    }

    fn is_by(&self, key: &[u8]) -> bool {
        let key = SubjectPublicKeyInfoDer::from(key);
        let Ok(key) = RawPublicKeyEntity::try_from(&key) else { return false };
        provider::default_provider()
            .signature_verification_algorithms
            .all
            .iter()
            .filter(|algorithm| algorithm.signature_alg_id().as_ref() == self.algorithm)
            .any(|algorithm| key.verify_signature(*algorithm, &self.message, &self.signature).is_ok())
    }
}

/// What matters of a certificate.
pub(super) struct Facts {
    pub(super) signed: Signed,
    pub(super) serial: Vec<u8>,
    issuer_name: Vec<u8>,
    name: Vec<u8>,
    /// SubjectPublicKeyInfo, with its header.
    key_info: Vec<u8>,
    /// The key's own bits.
    key: Vec<u8>,
    not_before: i64,
    not_after: i64,
    may_sign_proofs: bool,
    may_be_authority: bool,
}

impl Facts {
    pub(super) fn read(certificate: &[u8]) -> Option<Facts> {
        let signed = Signed::cut(certificate)?;
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let usage = parsed.extended_key_usage().ok().flatten();
        let constraints = parsed.basic_constraints().ok().flatten();
        // Certificates of version 1 have no such extension; if they are believed, they are authorities.
        let may_be_authority =
            constraints.map_or(parsed.version().0 == 0, |constraints| constraints.value.ca);
        Some(Facts {
            signed,
            serial: parsed.raw_serial().to_vec(),
            issuer_name: parsed.issuer().as_raw().to_vec(),
            name: parsed.subject().as_raw().to_vec(),
            key_info: parsed.public_key().raw.to_vec(),
            key: parsed.public_key().subject_public_key.data.to_vec(),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            may_sign_proofs: usage.is_some_and(|usage| usage.value.ocsp_signing),
            may_be_authority,
        })
    }

    fn is(&self, responder: &Responder) -> bool {
        match responder {
            Responder::Name(name) => *name == self.name,
            Responder::Key(hash) => digest_of(&digest::SHA1_FOR_LEGACY_USE_ONLY, &self.key) == *hash,
        }
    }
}

fn digest_of(algorithm: &'static digest::Algorithm, bytes: &[u8]) -> Vec<u8> {
    digest::digest(algorithm, bytes).as_ref().to_vec()
}

/// The issuer of a certificate.
pub(super) struct Issuer(Facts);

impl Issuer {
    /// The certificate as issuer, if that is its name.
    pub(super) fn of(subject: &Facts, certificate: &[u8]) -> Option<Issuer> {
        // Cheap first: a set of trusted certificates has hundreds.
        memchr::memmem::find(certificate, &subject.issuer_name)?;
        let facts = Facts::read(certificate)?;
        (facts.name == subject.issuer_name && facts.may_be_authority).then_some(Issuer(facts))
    }

    pub(super) fn has_signed(&self, signed: &Signed) -> bool {
        signed.is_by(&self.0.key_info)
    }

    /// The two digests by which requests name it: of its name and of its key, by SHA-1.
    pub(super) fn digests(&self) -> (Vec<u8>, Vec<u8>) {
        let sha1 = &digest::SHA1_FOR_LEGACY_USE_ONLY;
        (digest_of(sha1, &self.0.name), digest_of(sha1, &self.0.key))
    }

    /// Whether a CertID means this issuer.
    pub(super) fn is_named_by(&self, hash: &[u8], name_hash: &[u8], key_hash: &[u8]) -> bool {
        let algorithm = match hash {
            [0x2b, 14, 3, 2, 26] => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            [0x60, 0x86, 0x48, 1, 101, 3, 4, 2, 1] => &digest::SHA256,
            [0x60, 0x86, 0x48, 1, 101, 3, 4, 2, 2] => &digest::SHA384,
            [0x60, 0x86, 0x48, 1, 101, 3, 4, 2, 3] => &digest::SHA512,
            _ => return false,
        };
        digest_of(algorithm, &self.0.name) == name_hash && digest_of(algorithm, &self.0.key) == key_hash
    }

    /// Until when the certificate of the signer is good: the issuer, or somebody in whom it trusts; `certificates` are those of
    /// the response. `None`: nobody who may has signed.
    pub(super) fn answers_for(
        &self,
        responder: &Responder,
        signed: &Signed,
        certificates: &[Vec<u8>],
        now: i64,
    ) -> Option<i64> {
        if self.0.is(responder) && self.has_signed(signed) {
            return Some(self.0.not_after);
        }
        let may_answer = |delegate: &Facts| {
            delegate.is(responder)
                && delegate.may_sign_proofs
                && delegate.issuer_name == self.0.name
                && (delegate.not_before..=delegate.not_after).contains(&now)
                && self.has_signed(&delegate.signed)
                && signed.is_by(&delegate.key_info)
        };
        let delegates = certificates.iter().filter_map(|der| Facts::read(der));
        delegates.filter(may_answer).map(|delegate| delegate.not_after).max()
    }
}
