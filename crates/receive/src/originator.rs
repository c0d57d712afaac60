//! Addresses with the name of a person, for From: and Sender: lines. Manual section 48.18.

use oxim_mail::rfc2047;

use crate::reception::Reception;

/// `Name <address>`, or the bare address without a name.
#[must_use]
pub fn with_name(reception: &Reception, name: &[u8], address: &[u8]) -> Vec<u8> {
    if name.is_empty() {
        return address.to_vec();
    }
    let mut out = phrase(name, reception.settings.fixups.headers_charset.as_bytes());
    out.extend_from_slice(b" <");
    out.extend_from_slice(address);
    out.push(b'>');
    out
}

/// A name fit to stand before an address: encoded if it has non-ASCII characters, quoted where it must be.
#[must_use]
pub fn phrase(name: &[u8], charset: &[u8]) -> Vec<u8> {
    if name.iter().any(|b| !(b' '..=b'~').contains(b)) {
        return rfc2047::encode(name, charset);
    }
    let is_plain = |b: &u8| b.is_ascii_alphanumeric() || b" !#$%&'*+-/=?^_`{|}~".contains(b);
    if name.iter().all(is_plain) || has_only_whole_comments(name) {
        return name.to_vec();
    }
    let mut out = vec![b'"'];
    for byte in name {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
    out
}

/// Comments and quoted strings that are complete stay as they are; nothing else needs quoting then.
fn has_only_whole_comments(name: &[u8]) -> bool {
    let mut depth = 0_u32;
    let mut in_quotes = false;
    for byte in name {
        match byte {
            b'\\' => return false,
            b'"' if depth == 0 => in_quotes = !in_quotes,
            _ if in_quotes => {}
            b'(' => depth = depth.saturating_add(1),
            b')' => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return false,
            },
            b'<' | b'>' | b'@' | b',' | b';' | b':' | b'[' | b']' | b'.' if depth == 0 => return false,
            _ => {}
        }
    }
    depth == 0 && !in_quotes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_observed() {
        for (name, expected) in [
            ("root", "root"),
            ("A (B) C", "A (B) C"),
            ("J. Random", "\"J. Random\""),
            ("a \"b\"", "a \"b\""),
            ("a b (c.d) e", "a b (c.d) e"),
            ("a b (c \"d\") e", "a b (c \"d\") e"),
            ("a.b (c) d", "\"a.b (c) d\""),
            ("x@y", "\"x@y\""),
            ("O'Neil", "O'Neil"),
            // Not as observed: there the rest of the line becomes a comment.
            ("a (b", "\"a (b\""),
        ] {
            assert_eq!(phrase(name.as_bytes(), b"UTF-8"), expected.as_bytes(), "{name}");
        }
        assert_eq!(phrase("Zoë".as_bytes(), b"UTF-8"), "=?UTF-8?Q?Zo=C3=AB?=".as_bytes());
    }
}
