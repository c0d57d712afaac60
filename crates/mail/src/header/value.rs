//! What `$header_name:` and its kin give: the header lines of one name, joined (manual section 11.5).
//!
//! Nothing here fails; encoded words that cannot be decoded stay as they are.

use super::{Header, HeaderList};
use crate::rfc2047::{self, Undecodable};

/// Most bytes that joined header lines give, as the manual says.
pub const JOINED_BYTES_MAX: usize = 64 * 1024;

/// How encoded words in a value are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoding<'a> {
    /// `$bheader_`: decoded, not translated.
    Bytes,
    /// `$header_`: decoded and translated to this charset (`headers_charset`).
    Charset {
        /// Name of the target charset.
        target: &'a [u8],
    },
}

/// `$rheader_name:`: the bodies as they are, final newlines included. None without such a line.
#[must_use]
pub fn raw_value(list: &HeaderList, name: &[u8]) -> Option<Vec<u8>> {
    let mut found = list.find(name).peekable();
    found.peek()?;
    let mut out = Vec::new();
    for header in found {
        if out.len().saturating_add(header.body().len()) > JOINED_BYTES_MAX {
            break;
        }
        out.extend_from_slice(header.body());
    }
    Some(out)
}

/// `$lheader_name:`: a colon-separated list, one element per line that is not empty, colons doubled.
#[must_use]
pub fn list_value(list: &HeaderList, name: &[u8]) -> Option<Vec<u8>> {
    let mut found = list.find(name).peekable();
    found.peek()?;
    let mut out = Vec::new();
    for header in found {
        let body = header.body().strip_suffix(b"\n").unwrap_or(header.body());
        if body.is_empty() || out.len().saturating_add(body.len()) > JOINED_BYTES_MAX {
            continue;
        }
        if !out.is_empty() {
            out.push(b':');
        }
        for &byte in body {
            out.push(byte);
            if byte == b':' {
                out.push(byte);
            }
        }
    }
    Some(out)
}

/// `$header_name:` and `$bheader_name:`: trimmed, joined by newlines (addresses by comma and newline), decoded.
///
/// `check_length` is the option `check_rfc2047_length`. None without such a line.
#[must_use]
pub fn joined_value(
    list: &HeaderList,
    name: &[u8],
    decoding: Decoding<'_>,
    check_length: bool,
) -> Option<Vec<u8>> {
    let mut found = list.find(name).peekable();
    found.peek()?;
    let mut out = Vec::new();
    for header in found {
        let body = header.body().trim_ascii();
        if body.is_empty() {
            continue;
        }
        if out.len().saturating_add(body.len()).saturating_add(2) > JOINED_BYTES_MAX {
            break;
        }
        if !out.is_empty() {
            out.extend_from_slice(junction(header));
        }
        out.extend_from_slice(body);
    }
    // The whole is decoded at once, as Exim does: a newline between two encoded words goes.
    let decoded = match decoding {
        Decoding::Bytes => rfc2047::decode(&out, None, check_length, Undecodable::KeepBytes),
        Decoding::Charset { target } => {
            rfc2047::decode(&out, Some(target), check_length, Undecodable::KeepBytes)
        }
    };
    Some(decoded.unwrap_or(out))
}

fn junction(header: &Header) -> &'static [u8] {
    if header.kind.holds_addresses() { b",\n" } else { b"\n" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> HeaderList {
        let lines = [
            "To: a@b\n",
            "To:   c@d  \n",
            "Subject: =?utf-8?q?=C3=A9?= x\n",
            "Subject:  two  \n folded\n",
            "Cc: x@y,\n z@w\n",
            "Cc:\n",
            "cc: (c)\n",
            "X-E:\n",
            "X-E: 1:2\n",
            "X-E:  3 \n",
            "Errors-To: e1@x\n",
            "Errors-To: e2@x\n",
            "X-R: =?iso-8859-1?q?=E9?= =?iso-8859-1?q?=E8?=\n",
            "X-R: =?bogus?q?=E9?= z\n",
            "X-N: =?utf-8?q?a=00b?=\n",
        ];
        let mut list: HeaderList = lines.iter().map(|l| Header::new(l.as_bytes())).collect();
        list.classify();
        list
    }

    #[test]
    fn values_as_observed_with_bem() {
        let list = sample();
        let header = |name: &str| {
            joined_value(&list, name.as_bytes(), Decoding::Charset { target: b"UTF-8" }, true)
                .unwrap_or_default()
        };
        assert_eq!(header("to"), b"a@b,\nc@d");
        assert_eq!(header("subject"), "é x\ntwo  \n folded".as_bytes());
        assert_eq!(header("cc"), b"x@y,\n z@w,\n(c)");
        assert_eq!(header("x-e"), b"1:2\n3");
        assert_eq!(header("errors-to"), b"e1@x\ne2@x");
        assert_eq!(header("x-r"), b"\xc3\xa9\xc3\xa8\xe9 z");
        assert_eq!(header("x-n"), b"a?b");
        assert_eq!(header("nosuch"), b"");
        assert_eq!(joined_value(&list, b"x-r", Decoding::Bytes, true), Some(b"\xe9\xe8\xe9 z".to_vec()));
        assert_eq!(raw_value(&list, b"to"), Some(b" a@b\n   c@d  \n".to_vec()));
        assert_eq!(raw_value(&list, b"x-e"), Some(b"\n 1:2\n  3 \n".to_vec()));
        assert_eq!(list_value(&list, b"x-e"), Some(b" 1::2:  3 ".to_vec()));
        assert_eq!(raw_value(&list, b"nosuch"), None);
    }
}
