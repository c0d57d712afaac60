//! The SRS of `${srs_encode}` and `inbound_srs`: `SRS0=hhhh=tt=domain=local@forwarder`.
//!
//! The hash is the start of an HMAC-MD5 over the address in lower case, in hexadecimal digits; the stamp is the day in
//! base 32. An address is good for ten days. As Exim 4.95 and later write and read it.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use hmac::{Hmac, Mac};
use md5::Md5;
use oxim_mail::address::{self, AddressError, AddressSyntax, ParsedAddress};

use super::DAYS_MASK;

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Days that an address is good for.
const DAYS: i64 = 10;
const HASH_CHARACTERS: usize = 4;
/// What may stand in a local part that is not quoted, beside letters and digits.
const UNQUOTED: &[u8] = b".!#$%&'*+-/=?^_{|}~`";

/// What an SRS local part says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The address that was encoded, in lower case, its local part quoted if it must be.
    pub address: Vec<u8>,
    /// Whether the hash is right and the stamp is not too old.
    pub is_valid: bool,
}

/// Puts a return path into an address at `domain`. The empty return path stays empty; `day` counts from 1970.
///
/// # Errors
/// A return path that is no address.
pub fn encode(secret: &[u8], return_path: &[u8], domain: &[u8], day: i64) -> Result<Vec<u8>, AddressError> {
    if return_path.is_empty() {
        return Ok(Vec::new());
    }
    let parsed: ParsedAddress = address::parse(return_path, &AddressSyntax::default())?;
    let is_quoted = parsed.local_part().starts_with(b"\"");
    let local_part = address::unquote_local_part(parsed.local_part());
    let hash = hash(secret, &return_path.to_ascii_lowercase());
    let quote: &[u8] = if is_quoted { b"\"" } else { b"" };
    let inner: [&[u8]; 9] = [
        quote,
        b"SRS0=",
        &hash,
        b"=",
        &stamp(day),
        b"=",
        parsed.domain().unwrap_or_default(),
        b"=",
        &if is_quoted { escaped(&local_part) } else { local_part.to_vec() },
    ];
    Ok([&inner.concat(), quote, b"@", domain].concat())
}

/// Reads a local part, without quotes around it; None if it has not the form.
#[must_use]
pub fn decode(local_part: &[u8], secret: &[u8], day: i64) -> Option<Decoded> {
    let (mark, rest) = local_part.split_at_checked(5)?;
    if !mark.eq_ignore_ascii_case(b"SRS0=") {
        return None;
    }
    let mut parts = rest.splitn(4, |b| *b == b'=');
    let (given, stamp, domain, local) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_stamp = |b: &u8| ALPHABET.contains(&b.to_ascii_lowercase());
    if given.is_empty() || stamp.is_empty() || !stamp.iter().all(is_stamp) {
        return None;
    }
    let local = local.to_ascii_lowercase();
    let is_plain = local.iter().all(|b| b.is_ascii_alphanumeric() || UNQUOTED.contains(b));
    let local = if is_plain { local } else { [b"\"", escaped(&local).as_slice(), b"\""].concat() };
    let address = [&local, b"@".as_slice(), &domain.to_ascii_lowercase()].concat();
    let is_valid = secret.is_empty()
        || (is_fresh(stamp, day) && verify_slices_are_equal(given, &hash(secret, &address)).is_ok());
    Some(Decoded { address, is_valid })
}

fn hash(secret: &[u8], address: &[u8]) -> Vec<u8> {
    // A key of any length is good for HMAC.
    let Ok(mut mac) = Hmac::<Md5>::new_from_slice(secret) else { return Vec::new() };
    mac.update(address);
    let digest = mac.finalize().into_bytes();
    let digits = digest.iter().flat_map(|b| [b >> 4, b & 15]);
    digits.take(HASH_CHARACTERS).filter_map(|n| char::from_digit(n.into(), 16)).map(|c| c as u8).collect()
}

/// The day in base 32, without zeros in front.
fn stamp(day: i64) -> Vec<u8> {
    let day = usize::try_from(day & DAYS_MASK).unwrap_or(0);
    let digit = |value: usize| ALPHABET.get(value & 31).copied().unwrap_or(b'a');
    if day < 32 { vec![digit(day)] } else { vec![digit(day >> 5), digit(day)] }
}

fn is_fresh(stamp: &[u8], day: i64) -> bool {
    let mut value = 0_i64;
    for byte in stamp {
        // In upper case it is not as it was written.
        let Some(digit) = ALPHABET.iter().position(|b| b == byte).and_then(|at| i64::try_from(at).ok())
        else {
            return false;
        };
        value = ((value << 5) | digit) & DAYS_MASK;
    }
    day.wrapping_sub(value) & DAYS_MASK <= DAYS
}

/// Within quotes: a quote or backslash has a backslash before it.
fn escaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: i64 = 20_778;

    fn encoded(return_path: &str, secret: &str) -> String {
        let out = encode(secret.as_bytes(), return_path.as_bytes(), b"fwd.ex", TODAY);
        out.map_or_else(|e| format!("{e}"), |v| String::from_utf8(v).unwrap())
    }

    /// Written by Exim 4.96 on that day.
    #[test]
    fn addresses_are_those_of_exim() {
        for (path, secret, expected) in [
            ("bob@src.ex", "mysecret", "SRS0=6fc4=jk=src.ex=bob@fwd.ex"),
            ("Bob.Jones@SRC.ex", "mysecret", "SRS0=81bb=jk=SRC.ex=Bob.Jones@fwd.ex"),
            ("\"a b\"@src.ex", "mysecret", "\"SRS0=fc02=jk=src.ex=a b\"@fwd.ex"),
            ("", "mysecret", ""),
            ("bob@src.ex", "", "SRS0=b82c=jk=src.ex=bob@fwd.ex"),
            ("a=b+c@src.ex", "mysecret", "SRS0=ebb1=jk=src.ex=a=b+c@fwd.ex"),
            ("nodomain", "mysecret", "SRS0=e043=jk==nodomain@fwd.ex"),
            ("SRS0=abcd=X2=a.ex=bob@src.ex", "mysecret", "SRS0=831a=jk=src.ex=SRS0=abcd=X2=a.ex=bob@fwd.ex"),
        ] {
            assert_eq!(encoded(path, secret), expected, "{path}");
        }
        assert!(encode(b"s", b"a@b@c", b"fwd.ex", TODAY).is_err());
    }

    #[test]
    fn local_parts_are_read_as_exim_reads_them() {
        let read = |local: &str, secret: &str| {
            decode(local.as_bytes(), secret.as_bytes(), TODAY)
                .map(|d| (String::from_utf8(d.address).unwrap(), d.is_valid))
        };
        let bob = |is_valid| Some(("bob@src.ex".to_owned(), is_valid));
        assert_eq!(read("SRS0=6fc4=jk=src.ex=bob", "mysecret"), bob(true));
        assert_eq!(read("SRS0=6fc4=jk=src.ex=bob", "other"), bob(false));
        assert_eq!(read("SRS0=6fc4=jk=src.ex=bob", ""), bob(true));
        assert_eq!(read("srs0=6fc4=jk=src.ex=bob", "mysecret"), bob(true));
        assert_eq!(read("SRS0=6FC4=JK=SRC.EX=BOB", "mysecret"), bob(false));
        assert_eq!(read("SRS0=zzz=jk=src.ex=bob", "mysecret"), bob(false));
        assert_eq!(read("bob", "mysecret"), None);
        assert_eq!(read("SRS0+6fc4=jk=src.ex=bob", "mysecret"), None);
        assert_eq!(read("\"SRS0=fc02=jk=src.ex=a b\"", "mysecret"), None);
        let quoted = Some(("\"a b\"@src.ex".to_owned(), true));
        assert_eq!(read("SRS0=fc02=jk=src.ex=a b", "mysecret"), quoted);
        for (stamp, is_fresh) in [("jj", true), ("jb", true), ("ja", true), ("i7", false), ("jl", false)] {
            assert_eq!(read(&format!("SRS0=6fc4={stamp}=src.ex=bob"), "mysecret"), bob(is_fresh), "{stamp}");
        }
    }
}
