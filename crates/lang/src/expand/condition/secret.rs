//! Conditions that check passwords: `crypteq` against hashes, `ldapauth` by a server.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use oxim_base::Text;
use sha1::{Digest, Sha1};

use super::{Condition, ConditionRow, strings};
use crate::config::Status;
use crate::context::Context;
use crate::expand::operator::hash::lower_hex;
use crate::expand::yescrypt::{self, same};
use crate::expand::{Body, ExpandError, Fault, Parser};

pub(super) static ROWS: &[&ConditionRow] = &[
    &row(
        "crypteq",
        "The first string, encrypted in the way that the second states, is the second.",
        &[("${if crypteq{test}{\\{md5\\}CY9rzUYh03PK3k6DJie09g==}{yes}{no}}", "yes")],
        |p| Ok(Box::new(CryptEq { strings: strings(p, "crypteq", 2)? })),
    ),
    &ConditionRow {
        may_block: true,
        ..row("ldapauth", "An LDAP server accepts the user and the password of the query.", &[], |p| {
            Ok(Box::new(LdapAuth { strings: strings(p, "ldapauth", 1)? }))
        })
    },
];

const fn row(
    name: &'static str,
    doc: &'static str,
    examples: &'static [(&'static str, &'static str)],
    parse: fn(&mut Parser<'_>) -> Result<Box<dyn Condition>, Fault>,
) -> ConditionRow {
    ConditionRow { name, doc, examples, status: Status::Works, may_block: false, sets_captures: false, parse }
}

struct LdapAuth {
    strings: Vec<Body>,
}

impl Condition for LdapAuth {
    fn holds(&self, context: &mut Context) -> Result<bool, ExpandError> {
        crate::restrict::need_own_rights(context, "the condition \"ldapauth\"")
            .map_err(ExpandError::Failed)?;
        let mut query = Text::new();
        for body in &self.strings {
            body.append(context, &mut query)?;
        }
        // A fault of the query or of the servers is no answer about the password.
        crate::lookup::ldap_authenticate(context, &query).map_err(ExpandError::Defer)
    }
}

struct CryptEq {
    strings: Vec<Body>,
}

impl Condition for CryptEq {
    fn holds(&self, context: &mut Context) -> Result<bool, ExpandError> {
        let mut texts = [Text::new(), Text::new()];
        for (text, body) in texts.iter_mut().zip(&self.strings) {
            body.append(context, text)?;
        }
        let [plain, encrypted] = &texts;
        crypt_equal(plain.as_bytes(), encrypted)
    }
}

fn crypt_equal(plain: &[u8], encrypted: &Text) -> Result<bool, ExpandError> {
    let bytes = encrypted.as_bytes();
    if bytes.is_empty() {
        return Ok(false);
    }
    let (scheme, data) = match memchr::memchr(b'}', bytes).filter(|_| bytes.starts_with(b"{")) {
        Some(end) => {
            let end = end.saturating_add(1);
            (bytes.get(..end).unwrap_or_default().to_ascii_lowercase(), bytes.get(end..).unwrap_or_default())
        }
        None if bytes.starts_with(b"{") => (Vec::new(), bytes),
        None => (b"{crypt}".to_vec(), bytes),
    };
    match scheme.as_slice() {
        b"{md5}" => Ok(digest_equal(&Md5::digest(plain), data)),
        b"{sha1}" => Ok(digest_equal(&Sha1::digest(plain), data)),
        b"{crypt}" => unix_equal(plain, data),
        b"{crypt16}" => Ok(crypt16_equal(plain, data)),
        _ => Err(ExpandError::Failed(format!("unknown encryption mechanism in \"{encrypted}\""))),
    }
}

/// Compares with a crypt(3) hash. A text that is no hash (`x`, `*`, `!`) equals nothing.
fn unix_equal(plain: &[u8], hash: &[u8]) -> Result<bool, ExpandError> {
    let Ok(hash) = std::str::from_utf8(hash) else { return Ok(false) };
    if hash.starts_with("$gy$") {
        return Err(ExpandError::Failed("gost-yescrypt passwords are not implemented yet".to_owned()));
    }
    if yescrypt::is_hash(hash) {
        return yescrypt::equal(plain, hash).map_err(ExpandError::Failed);
    }
    // The library trusts the form of what it compares with.
    if !hash.starts_with('$') && !is_des(hash) {
        return Ok(false);
    }
    Ok(std::panic::catch_unwind(|| pwhash::unix::verify(plain, hash)).unwrap_or(false))
}

/// Whether the text has the alphabet and length of the old DES hashes, or BSD's longer ones.
fn is_des(hash: &str) -> bool {
    let alphabet = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'/'));
    match hash.strip_prefix('_') {
        Some(rest) => rest.len() == 19 && alphabet(rest),
        None => hash.len() == 13 && alphabet(hash),
    }
}

/// The old 16-character form: a salt, then the first eight characters hashed 20 times and the others 5 times.
fn crypt16_equal(plain: &[u8], hash: &[u8]) -> bool {
    let Some(hash) = std::str::from_utf8(hash).ok().filter(|h| h.is_ascii()) else { return false };
    let Some(salt) = hash.get(..2) else { return false };
    #[allow(deprecated, reason = "old password files have this form")]
    let half = |part: &[u8], rounds: &str| {
        let setting = format!("_{rounds}...{salt}..");
        let hashed = std::panic::catch_unwind(|| pwhash::bsdi_crypt::hash_with(setting.as_str(), part));
        hashed.ok().and_then(Result::ok).and_then(|h| h.get(9..).map(str::to_owned)).unwrap_or_default()
    };
    let (first, second) = plain.split_at_checked(8).unwrap_or((plain, &[]));
    let second = second.get(..8).unwrap_or(second);
    let [first, second] = [half(first, "I"), half(second, "3")];
    !first.is_empty() && same(format!("{salt}{first}{second}").as_bytes(), hash.as_bytes())
}

/// Compares with a digest in base 64 or hexadecimal, told apart by length.
fn digest_equal(digest: &[u8], data: &[u8]) -> bool {
    let base64 = STANDARD.encode(digest);
    let hex = lower_hex(digest);
    match data.len() {
        n if n == base64.len() => same(base64.as_bytes(), data),
        n if n == hex.len() => same(&hex, &data.to_ascii_lowercase()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_compare_in_both_forms() {
        for encrypted in [
            "{md5}CY9rzUYh03PK3k6DJie09g==",
            "{md5}098f6bcd4621d373cade4e832627b4f6",
            "{sha1}a94a8fe5ccb19ba61c4c0873d391e987982fbbd3",
            "{SHA1}qUqP5cyxm6YcTAhz05Hph5gvu9M=",
        ] {
            assert_eq!(crypt_equal(b"test", &Text::from(encrypted)), Ok(true), "{encrypted}");
            assert_eq!(crypt_equal(b"Test", &Text::from(encrypted)), Ok(false), "{encrypted}");
        }
        assert_eq!(crypt_equal(b"test", &Text::new()), Ok(false));
    }

    #[test]
    fn crypt_hashes_compare_by_scheme() {
        for encrypted in [
            "aaqPiZY5xR5l.",
            "{crypt}aaqPiZY5xR5l.",
            "$1$abc$B..HicC/afMveWeNyfNsf/",
            "$5$abc$xhLlZvoXRNo2v63CS0Ku6RxTjR8AtjqvUgTrPKnxyb1",
            "$6$abc$XdYVWINHFqAPqCkQNpBc64k/whmYeD3VETO0Hk79c4aGoQEvgiYKd/03lbc/XloI0fcMwRw.Rj.dZbn3LdPVz.",
            "$2b$05$abcdefghijklmnopqrstuuMceFj4VbmHOj8C7PetMxzZkwre/z.Ri",
        ] {
            assert_eq!(crypt_equal(b"test", &Text::from(encrypted)), Ok(true), "{encrypted}");
            assert_eq!(crypt_equal(b"tesT", &Text::from(encrypted)), Ok(false), "{encrypted}");
        }
        for nothing in ["x", "*", "!", "$9$abc$def"] {
            assert_eq!(crypt_equal(b"test", &Text::from(nothing)), Ok(false), "{nothing}");
        }
        assert!(crypt_equal(b"test", &Text::from("$gy$j9T$abcdefgh$4aYJlpUYBQ")).is_err());
        assert_eq!(crypt_equal(b"test", &Text::from("$y$j9T$abcdefgh$4aYJlpUYBQ")), Ok(false));
        assert!(crypt_equal(b"test", &Text::from("{foo}abc")).is_err());
    }
}
