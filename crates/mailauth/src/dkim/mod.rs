//! DKIM: signatures of a domain on header lines and body (RFC 6376; RFC 8463 for Ed25519; manual chapter 58).
//!
//! A [`verify::Verifier`] takes the header lines, then the body as it arrives, and at the end asks the DNS for keys. A
//! body is hashed once for each way in which a signature wants it hashed; memory does not grow with the body. Signatures are
//! made in [`sign`].

pub mod body;
pub mod canon;
pub mod key;
pub mod sign;
pub mod signature;
pub mod signing_key;
pub mod tags;
pub mod verify;

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA512};

/// How a part of a message is brought into one form before it is hashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Canon {
    /// As it is.
    #[default]
    Simple,
    /// White space and case of header names do not count.
    Relaxed,
}

impl Canon {
    /// The word in a signature.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Canon::Simple => "simple",
            Canon::Relaxed => "relaxed",
        }
    }

    /// The way that a word names.
    #[must_use]
    pub fn from_word(word: &[u8]) -> Option<Canon> {
        match word {
            b"simple" => Some(Canon::Simple),
            b"relaxed" => Some(Canon::Relaxed),
            _ => None,
        }
    }
}

/// A hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SHA-1: broken, and only taken if the postmaster says so.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// The word in a signature.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Hash::Sha1 => "sha1",
            Hash::Sha256 => "sha256",
            Hash::Sha512 => "sha512",
        }
    }

    /// The hash that a word names.
    #[must_use]
    pub fn from_word(word: &[u8]) -> Option<Hash> {
        [Hash::Sha1, Hash::Sha256, Hash::Sha512].into_iter().find(|hash| hash.word().as_bytes() == word)
    }

    pub(crate) fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Hash::Sha1 => &SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => &SHA256,
            Hash::Sha512 => &SHA512,
        }
    }
}

/// A kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// RSA with PKCS #1 padding.
    Rsa,
    /// Ed25519.
    Ed25519,
}

impl KeyType {
    /// The word in signatures and key records.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            KeyType::Rsa => "rsa",
            KeyType::Ed25519 => "ed25519",
        }
    }

    /// The kind that a word names.
    #[must_use]
    pub fn from_word(word: &[u8]) -> Option<KeyType> {
        [KeyType::Rsa, KeyType::Ed25519].into_iter().find(|kind| kind.word().as_bytes() == word)
    }
}
