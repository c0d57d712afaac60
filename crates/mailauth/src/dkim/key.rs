//! Key records, and signatures checked with them (RFC 6376 section 3.6.1, RFC 8463).

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self as crypto, UnparsedPublicKey, VerificationAlgorithm};

use super::tags::{base64, tags, without_space};
use super::{Hash, KeyType};

/// A key record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRecord {
    /// `k=`; None if it is no type that is known.
    pub key_type: Option<KeyType>,
    /// `h=`: the hashes that may be used; empty for all.
    pub hashes: Vec<Vec<u8>>,
    /// `s=`, as written; `*` if not given.
    pub services: Vec<u8>,
    /// `g=`, as written; `*` if not given.
    pub granularity: Vec<u8>,
    /// `n=`.
    pub notes: Vec<u8>,
    /// `t=y`: the domain is only trying.
    pub is_testing: bool,
    /// `t=s`: an identity must be of the domain itself.
    pub forbids_subdomains: bool,
    /// `p=`; empty if the key was revoked.
    pub key: Vec<u8>,
}

impl KeyRecord {
    /// Reads a record. None if it is none.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<KeyRecord> {
        let mut record = KeyRecord {
            key_type: Some(KeyType::Rsa),
            services: b"*".to_vec(),
            granularity: b"*".to_vec(),
            ..KeyRecord::default()
        };
        let mut key = None;
        for (index, tag) in tags(text).enumerate() {
            let tag = tag?;
            match tag.name {
                b"v" if tag.value != b"DKIM1" || index > 0 => return None,
                b"k" => record.key_type = KeyType::from_word(tag.value),
                b"h" => {
                    record.hashes =
                        tag.value.split(|b| *b == b':').map(|hash| hash.trim_ascii().to_vec()).collect();
                }
                b"s" => record.services = without_space(tag.value),
                b"g" => record.granularity = without_space(tag.value),
                b"n" => record.notes = tag.value.to_vec(),
                b"t" => {
                    for flag in tag.value.split(|b| *b == b':') {
                        match flag.trim_ascii() {
                            b"y" => record.is_testing = true,
                            b"s" => record.forbids_subdomains = true,
                            _ => {}
                        }
                    }
                }
                b"p" => key = Some(base64(tag.value)?),
                _ => {}
            }
        }
        record.key = key?;
        Some(record)
    }

    /// Whether it is for mail.
    #[must_use]
    pub fn is_for_mail(&self) -> bool {
        self.services.split(|b| *b == b':').any(|service| matches!(service.trim_ascii(), b"*" | b"email"))
    }

    /// Whether signatures with this hash may be made with it.
    #[must_use]
    pub fn allows(&self, hash: Hash) -> bool {
        self.hashes.is_empty() || self.hashes.iter().any(|allowed| allowed == hash.word().as_bytes())
    }

    /// Its length in bits. None if it is no key of its type.
    #[must_use]
    pub fn bits(&self) -> Option<u32> {
        match self.key_type? {
            KeyType::Rsa => modulus_bits(&self.key),
            KeyType::Ed25519 => raw_ed25519(&self.key).map(|_| 256),
        }
    }

    /// Whether a signature of a text is right.
    #[must_use]
    pub fn verifies(&self, hash: Hash, text: &[u8], signature: &[u8]) -> bool {
        match self.key_type {
            Some(KeyType::Rsa) => {
                let algorithm: &'static dyn VerificationAlgorithm = match hash {
                    Hash::Sha1 => &crypto::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
                    Hash::Sha256 => &crypto::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
                    Hash::Sha512 => &crypto::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
                };
                UnparsedPublicKey::new(algorithm, &self.key).verify(text, signature).is_ok()
            }
            Some(KeyType::Ed25519) => {
                let Some(key) = raw_ed25519(&self.key) else { return false };
                let digest = digest::digest(hash.algorithm(), text);
                UnparsedPublicKey::new(&crypto::ED25519, key).verify(digest.as_ref(), signature).is_ok()
            }
            None => false,
        }
    }
}

/// What stands in front of an Ed25519 key in the form of X.509, in which some publish theirs.
const ED25519_PREFIX: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

fn raw_ed25519(key: &[u8]) -> Option<&[u8]> {
    let raw = key.strip_prefix(ED25519_PREFIX).unwrap_or(key);
    if raw.len() == 32 { Some(raw) } else { None }
}

/// The content of a DER value of this kind at the start of the input, and what follows it.
fn der(input: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = input.split_first_chunk::<2>()?;
    if found != kind {
        return None;
    }
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        let (digits, rest) = rest.split_at_checked(count)?;
        if count > 4 {
            return None;
        }
        (digits.iter().fold(0_usize, |sum, digit| (sum << 8) | usize::from(*digit)), rest)
    };
    rest.split_at_checked(length)
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;

/// The bits of the modulus of an RSA key, in the form of X.509 or of PKCS #1.
fn modulus_bits(key: &[u8]) -> Option<u32> {
    let (mut inner, _) = der(key, SEQUENCE)?;
    if let Some((_, after)) = der(inner, SEQUENCE) {
        let (bits, _) = der(after, BIT_STRING)?;
        inner = der(bits.strip_prefix(&[0])?, SEQUENCE)?.0;
    }
    let (modulus, _) = der(inner, INTEGER)?;
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let digits = modulus.get(zeros..)?;
    let first = digits.first()?;
    let bits = digits.len().checked_mul(8)?.checked_sub(usize::try_from(first.leading_zeros()).ok()?)?;
    u32::try_from(bits).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let record = KeyRecord::parse(b"v=DKIM1; k=ed25519; t=y:s; n=a b; h=sha256 : sha1; p=YWI=").unwrap();
        assert_eq!(record.key_type, Some(KeyType::Ed25519));
        assert!(record.is_testing && record.forbids_subdomains && record.is_for_mail());
        assert!(record.allows(Hash::Sha1) && !record.allows(Hash::Sha512));
        assert_eq!((record.notes.as_slice(), record.key.as_slice()), (b"a b".as_slice(), b"ab".as_slice()));
        assert_eq!(record.bits(), None);
        for bad in ["v=DKIM2; p=YWI=", "p=YWI=; v=DKIM1", "nonsense", "v=DKIM1", "p=!!"] {
            assert_eq!(KeyRecord::parse(bad.as_bytes()), None, "{bad}");
        }
        assert!(!KeyRecord::parse(b"s=web; p=YWI=").unwrap().is_for_mail());
        assert_eq!(KeyRecord::parse(b"p=").unwrap().key, b"");
    }

    #[test]
    fn lengths_of_damaged_keys_are_unknown() {
        for bad in [
            &[0x30, 0x84, 0xff][..],
            &[0x30, 0x02, 0x02, 0x00],
            &[0x30, 0x03, 0x02, 0x01, 0x00],
            &[],
            &[0x30],
        ] {
            assert_eq!(modulus_bits(bad), None);
        }
    }
}
