//! Private keys for DKIM and ARC, from PEM (RFC 6376 section 3.3, RFC 8463).
//!
//! Failure modes are in [`KeyFault`]. RSA keys under 2048 bits are refused: the library makes no signatures with them.

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaEncoding, RsaKeyPair,
};

use super::tags::base64;
use super::{Hash, KeyType};

/// Why there is no key in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFault {
    /// There is no PEM block of a private key in it.
    NoPem,
    /// The key is protected by a password.
    Encrypted,
    /// It is no RSA key of 2048 to 8192 bits, and no Ed25519 key; with the library's word for it.
    Unusable(String),
}

impl std::fmt::Display for KeyFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            KeyFault::NoPem => f.write_str("no private key in PEM form"),
            KeyFault::Encrypted => f.write_str("the private key is protected by a password"),
            KeyFault::Unusable(why) if why == "TooSmall" => {
                f.write_str("the RSA key is shorter than 2048 bits")
            }
            KeyFault::Unusable(why) => write!(f, "the private key is of no use: {why}"),
        }
    }
}

/// A private key.
pub enum SigningKey {
    /// RSA.
    Rsa(Box<RsaKeyPair>),
    /// Ed25519.
    Ed25519(Box<Ed25519KeyPair>),
}

const RSA_PEM: &[u8] = b"RSA PRIVATE KEY";
const PKCS8_PEM: &[u8] = b"PRIVATE KEY";

impl SigningKey {
    /// The first private key of a text in PEM form: RSA (PKCS #1 or #8) or Ed25519 (PKCS #8).
    ///
    /// # Errors
    /// There is none that can be used.
    pub fn from_pem(text: &[u8]) -> Result<SigningKey, KeyFault> {
        let (label, der) = pem_block(text)?;
        let unusable = |error: aws_lc_rs::error::KeyRejected| KeyFault::Unusable(error.to_string());
        if label == RSA_PEM {
            let pair = RsaKeyPair::from_der(&der).map_err(unusable)?;
            return Ok(SigningKey::Rsa(Box::new(pair)));
        }
        match Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der) {
            Ok(pair) => Ok(SigningKey::Ed25519(Box::new(pair))),
            Err(_) => {
                RsaKeyPair::from_pkcs8(&der).map(|pair| SigningKey::Rsa(Box::new(pair))).map_err(unusable)
            }
        }
    }

    /// Its kind.
    #[must_use]
    pub fn key_type(&self) -> KeyType {
        match self {
            SigningKey::Rsa(_) => KeyType::Rsa,
            SigningKey::Ed25519(_) => KeyType::Ed25519,
        }
    }

    /// The public part as key records have it in `p=`: PKCS #1 for RSA, 32 bytes for Ed25519.
    #[must_use]
    pub fn public(&self) -> Vec<u8> {
        match self {
            SigningKey::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            SigningKey::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// Signs a text. None for SHA-1, with which nothing is signed any more (RFC 8301), or if the library fails.
    #[must_use]
    pub fn sign(&self, hash: Hash, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            SigningKey::Rsa(pair) => {
                let encoding: &'static dyn RsaEncoding = match hash {
                    Hash::Sha1 => return None,
                    Hash::Sha256 => &RSA_PKCS1_SHA256,
                    Hash::Sha512 => &RSA_PKCS1_SHA512,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &SystemRandom::new(), text, &mut signature).ok()?;
                Some(signature)
            }
            SigningKey::Ed25519(pair) => {
                if hash == Hash::Sha1 {
                    return None;
                }
                let digest = digest::digest(hash.algorithm(), text);
                Some(pair.try_sign(digest.as_ref()).ok()?.as_ref().to_vec())
            }
        }
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.key_type().word())
    }
}

/// The label and content of the first block that is a private key.
fn pem_block(text: &[u8]) -> Result<(&[u8], Vec<u8>), KeyFault> {
    let mut lines = text.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
    while let Some(line) = lines.next() {
        let label = line.strip_prefix(b"-----BEGIN ").and_then(|rest| rest.strip_suffix(b"-----"));
        let Some(label) = label else { continue };
        let content: Vec<&[u8]> = lines.by_ref().take_while(|line| !line.starts_with(b"-----END ")).collect();
        if label == b"ENCRYPTED PRIVATE KEY" || content.iter().any(|line| line.starts_with(b"Proc-Type:")) {
            return Err(KeyFault::Encrypted);
        }
        if label == RSA_PEM || label == PKCS8_PEM {
            let der = base64(&content.concat()).ok_or(KeyFault::NoPem)?;
            return Ok((label, der));
        }
    }
    Err(KeyFault::NoPem)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Made for these tests by `openssl genpkey -algorithm ed25519`.
    pub(crate) const ED25519: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIPMlB7WyMY0THGdvjZ4rajMd5Fk9+DcArujLlmBGugz3\n-----END PRIVATE KEY-----\n";
    /// Made for these tests by `openssl genrsa -traditional`.
    pub(crate) const RSA: &str = "-----BEGIN RSA PRIVATE KEY-----\n\
MIIEowIBAAKCAQEAvGnKe7r6JsFgSiDv/9i4v3qr7u9NH8w4J6sfZgurDn9C8Cl+\n\
mIzs52iakoI90urlDfK2G6pO0ZFA19CICYewyQOUYhKk2RkijO2bvZY+TL2k8G2j\n\
B7DRQTz50vSXYwzN4XVXYJyNCFMHp5tGrIoZ6NZYbnu3yq2Y5ZXUK1jake5U88cW\n\
laWTZfiEA5Pr3xrRO+9cNhLFdxk2mQL/AwBiIiR1GqaSzNf//WQhR9tHu8+7cWKX\n\
aLFmcdFLZClK8y4aBqrT5ZzO8vD9b45GsYTyOcYd4ZNDMNxgOaLieLgzNBkYbHla\n\
PSskb6b3dzSESEboVTQJiTXRIhyFwtjhPq4AcQIDAQABAoIBAEydci59GkKPKNIL\n\
8bvmSz3lqquG2KRA/Wa4EZUD0qObAUO6g9WRnLX+1bgUyQIO7WSOGRpH1zQlrin0\n\
DJVffXZIA9sbfLghHekTp9xgj2XSShNQadZzQqwWGPp85mBrMP7oocbR8hF7/eVc\n\
YVFA+QcyvhPzMAn1LHLTScr0nzBud0FpHxinOgsi86Aroa84iuWEz1Jp9UWncLx6\n\
/D3Xxgl/Ftz3we89tfcmV2X5S9AgscQc3+WFN7ZlL8xIJ4YCREQt0YxKTK4bxp4v\n\
UjUJXVsHiPtvOlFH05/JIaMacdsT027L/R4b8VU9eKaoiTkuk+TLiq1kbHDuw5bo\n\
3C7pmE8CgYEA+XWK9tTdoLtZBMBNCmETy/pjN9JZo7cbimk6KqNwuLFMJ+lvA0ZJ\n\
x74ujwMOdRO/IfaXj9ZS07/96g/PkK9E0ZroMw7ory7/KVEH/peVh3NNvrpYKsjj\n\
xBz73ZuaOBogt9pdoC//jzSFJMDFMqtZE/3xbUTEyIEk1rbpvyopKcMCgYEAwVp8\n\
k6AAa7ha6UfAOkADNKvsoND4u4s8i89Neq/SGXJBfZerrl7+8kC26Jd5TdA1gewe\n\
5XJhNmW3hTkqW0hWQLehDDS5wOttLe7A6f2rGBnFcmFcU1SUZOsjwsaW/sLdSaYy\n\
ElJc7jJoIviXQLpg8caCkZOIeDcxHTfgykqalbsCgYB6eHG8Eu+oDLJ8eaiZEuX0\n\
O75gVn45uRjlUBoFeu5JTooUAi/FTMnGLaGQBrEfW413sCfirxdE7DpNomuGHfZM\n\
bZ/YCVbFQu50q1qgbG017a7al4PXpX7k9lHVD6KcLn+no6ZZkZcHCILhc16dLLBz\n\
9zWDLsLpqTWb0HtbpehFnwKBgQCQdI0sMdb+o75wGSYZnueGO4hPYbDjVRRIE/n7\n\
1k3uqvkY3u7qGJj63rSIs1pyc0L2rTUsETdlz7q7ssjdZ/7g3RBaMS4yXvGz5nOE\n\
nftsxxxH50t2CnPPrgmKpJn8/hMbyioQnC5H26sHrZg7SMPS/o9gOcw0nG96N9we\n\
5nv1rwKBgCmQyq45+UkoBLbCWHk43I9SMEGtN3fhYKO2lowGyA0d3dbLEsVtrXRM\n\
DxSphGcgM9qkj1gonryfC1IQbMeXsh66P/8A+5TIgdOetYJJZSa+s/zFUHlydP17\n\
dPwCnPmm5kyZ8AbQSXpnyogbOX585XgyLtxSzlUxYJ9W5ZQBBl6k\n\
-----END RSA PRIVATE KEY-----\n";

    #[test]
    fn keys_in_all_forms() {
        let rsa = SigningKey::from_pem(RSA.as_bytes()).unwrap();
        assert_eq!(rsa.key_type(), KeyType::Rsa);
        assert_eq!(rsa.sign(Hash::Sha256, b"x").unwrap().len(), 256);
        let ed = SigningKey::from_pem(format!("notes\r\n\r\n{}", ED25519.replace('\n', "\r\n")).as_bytes());
        let ed = ed.unwrap();
        assert_eq!((ed.key_type(), ed.public().len()), (KeyType::Ed25519, 32));
        assert_eq!(ed.sign(Hash::Sha1, b"x"), None);
    }

    #[test]
    fn what_is_no_key_says_why() {
        let fault = |text: &str| SigningKey::from_pem(text.as_bytes()).unwrap_err();
        assert_eq!(fault(""), KeyFault::NoPem);
        assert_eq!(fault("junk"), KeyFault::NoPem);
        assert_eq!(fault("-----BEGIN PRIVATE KEY-----\n!!\n"), KeyFault::NoPem);
        assert_eq!(fault(&RSA.replace("RSA PRIVATE KEY-----\n", "CERTIFICATE-----\n")), KeyFault::NoPem);
        assert_eq!(fault("-----BEGIN ENCRYPTED PRIVATE KEY-----\nYWI=\n"), KeyFault::Encrypted);
        assert_eq!(
            fault("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nYWI=\n"),
            KeyFault::Encrypted
        );
        let unusable = fault("-----BEGIN PRIVATE KEY-----\nYWI=\n-----END PRIVATE KEY-----\n");
        assert!(matches!(unusable, KeyFault::Unusable(_)), "{unusable}");
    }
}
