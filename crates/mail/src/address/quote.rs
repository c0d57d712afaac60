//! Quoting of local parts, and the border between local part and domain (RFC 5322 section 3.2.4).
//!
//! Nothing here can fail: what cannot be read as quoted is taken as it is.

use super::is_atom_byte;

/// `${quote_local_part:}`: the local part, in quotes if it needs them.
///
/// Non-ASCII bytes cause quoting, as the manual says (section 11.6).
#[must_use]
pub fn quote_local_part(text: &[u8]) -> Vec<u8> {
    let plain = !text.is_empty()
        && text.first() != Some(&b'.')
        && text.last() != Some(&b'.')
        && text.iter().all(|&b| b == b'.' || (is_atom_byte(b) && b.is_ascii()));
    if plain {
        return text.to_vec();
    }
    let mut out = Vec::with_capacity(text.len().saturating_add(2));
    out.push(b'"');
    for &byte in text {
        match byte {
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'"' | b'\\' => out.extend([b'\\', byte]),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
    out
}

/// The local part without quotes and backslashes, as `$local_part` has it.
#[must_use]
pub fn unquote_local_part(text: &[u8]) -> Vec<u8> {
    if memchr::memchr2(b'"', b'\\', text).is_none() {
        return text.to_vec();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {}
            b'\\' => out.extend(bytes.next()),
            _ => out.push(byte),
        }
    }
    out
}

/// Splits a canonical address at the `@` before its domain. None if it has no domain.
#[must_use]
pub fn split_at_domain(address: &[u8]) -> (&[u8], Option<&[u8]>) {
    let Some(at) = memchr::memrchr(b'@', address) else { return (address, None) };
    let (local, rest) = address.split_at_checked(at).unwrap_or((address, &[]));
    // A quote after the "@" or an odd number of backslashes before it: the "@" belongs to the local part.
    let escaped = local.iter().rev().take_while(|&&b| b == b'\\').count() % 2 == 1 && !local.ends_with(b"\"");
    if escaped || rest.contains(&b'"') {
        return (address, None);
    }
    (local, rest.get(1..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_as_observed() {
        for (plain, quoted) in [
            ("a", "a"),
            ("a b", "\"a b\""),
            ("a\"b", "\"a\\\"b\""),
            ("a\\b", "\"a\\\\b\""),
            ("a..b", "a..b"),
            (".a", "\".a\""),
            ("a.", "\"a.\""),
            ("", "\"\""),
            ("a\nb", "\"a\\nb\""),
            ("ü", "\"ü\""),
            ("!#$%&'*+-/=?^_`{|}~", "!#$%&'*+-/=?^_`{|}~"),
        ] {
            assert_eq!(quote_local_part(plain.as_bytes()), quoted.as_bytes());
        }
    }

    #[test]
    fn unquoting_as_observed() {
        for (quoted, plain) in
            [("\"a b\"", "a b"), ("\"a\\\"b\"", "a\"b"), ("a\\@b", "a@b"), ("\"a\".\"b c\"", "a.b c")]
        {
            assert_eq!(unquote_local_part(quoted.as_bytes()), plain.as_bytes());
        }
    }

    #[test]
    fn the_domain_begins_at_the_right_at_sign() {
        let split = |text: &'static str| {
            let (local, domain) = split_at_domain(text.as_bytes());
            (
                String::from_utf8_lossy(local).into_owned(),
                domain.map(|d| String::from_utf8_lossy(d).into_owned()),
            )
        };
        assert_eq!(split("a@b"), ("a".into(), Some("b".into())));
        assert_eq!(split("\"a@x\"@b"), ("\"a@x\"".into(), Some("b".into())));
        assert_eq!(split("\"a@x\""), ("\"a@x\"".into(), None));
        assert_eq!(split("a\\@x"), ("a\\@x".into(), None));
        assert_eq!(split("a\\@x@b"), ("a\\@x".into(), Some("b".into())));
        assert_eq!(split("\"a\\\\\"@b"), ("\"a\\\\\"".into(), Some("b".into())));
        assert_eq!(split(""), (String::new(), None));
    }
}
