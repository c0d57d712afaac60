//! IMAP folder names in modified UTF-7 (RFC 3501 section 5.1.3): `${imapfolder}` (manual section 60.3).
//!
//! Failure: a separator that is not one byte, a charset that is not known, bytes that are not of it; the texts are Exim's.
//!
//! Differences on purpose: a name that is nothing but a separator gives the empty string (the observed program crashes);
//! a `.` or `/` that is neither separator nor special is encoded, as the experimental specification says (it fails there).

use std::fmt;

use crate::rfc2047::translate;

/// Why a folder name cannot be encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FolderError {
    /// The separator is not one byte.
    ConfigSeparator {
        /// What was given.
        found: Vec<u8>,
    },
    /// The charset (`headers_charset`) is not known.
    ConfigCharset {
        /// Its name.
        charset: Vec<u8>,
    },
    /// The name is not of the charset.
    BadBytes {
        /// Its name.
        charset: Vec<u8>,
    },
}

impl fmt::Display for FolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lossy = String::from_utf8_lossy;
        match self {
            FolderError::ConfigSeparator { found } => {
                write!(f, "IMAP folder separator must be one character, found \"{}\"", lossy(found))
            }
            FolderError::ConfigCharset { charset } => write!(
                f,
                "imapfolder: iconv_open(\"UTF-16BE\", \"{}\") failed: Invalid argument (maybe unsupported conversion)",
                lossy(charset)
            ),
            FolderError::BadBytes { charset } => write!(
                f,
                "imapfolder: iconv() failed to convert from {}: Invalid or incomplete multibyte or wide character",
                lossy(charset)
            ),
        }
    }
}

impl std::error::Error for FolderError {}

/// Encodes a folder name that is in `charset`. Separators become dots; a leading and trailing ones go. Bytes in
/// `specials` are encoded even if they need not be.
///
/// # Errors
/// See `FolderError`.
pub fn encode_folder(
    name: &[u8],
    charset: &[u8],
    separator: &[u8],
    specials: &[u8],
) -> Result<Vec<u8>, FolderError> {
    let &[separator] = separator else {
        return Err(FolderError::ConfigSeparator { found: separator.to_vec() });
    };
    let name = name.strip_prefix(&[separator]).unwrap_or(name);
    let is_normal = |b: u8| {
        matches!(b, b' '..=b'~')
            && !matches!(b, b'.' | b'/' | b'&')
            && b != separator
            && !specials.contains(&b)
    };
    if name.iter().all(|b| is_normal(*b)) {
        return Ok(name.to_vec());
    }
    let bad_bytes = || FolderError::BadBytes { charset: charset.to_vec() };
    let utf8 = translate(name, charset, b"UTF-8").map_err(|error| {
        if error.bad_bytes { bad_bytes() } else { FolderError::ConfigCharset { charset: charset.to_vec() } }
    })?;
    let text = String::from_utf8(utf8).map_err(|_| bad_bytes())?;
    let mut encoder = Encoder { out: Vec::with_capacity(text.len()), run: None };
    for character in text.chars() {
        encoder.push(character, separator, specials);
    }
    encoder.end_run();
    if encoder.out.ends_with(b".") {
        encoder.out.pop();
    }
    Ok(encoder.out)
}

struct Encoder {
    out: Vec<u8>,
    /// Bits of a base64 run that are not written yet, and how many.
    run: Option<(u32, u32)>,
}

impl Encoder {
    fn push(&mut self, character: char, separator: u8, specials: &[u8]) {
        let byte = u8::try_from(u32::from(character)).ok().filter(|b| matches!(b, b' '..=b'~'));
        match byte {
            Some(byte) if byte == separator => {
                self.end_run();
                // Several separators count as one, wherever they stand but at the front.
                if !self.out.ends_with(b".") {
                    self.out.push(b'.');
                }
            }
            Some(byte) if !specials.contains(&byte) && !matches!(byte, b'.' | b'/') => {
                self.end_run();
                self.out.push(byte);
                if byte == b'&' {
                    self.out.push(b'-');
                }
            }
            Some(_) | None => {
                let mut units = [0_u16; 2];
                for unit in character.encode_utf16(&mut units) {
                    self.push_unit(*unit);
                }
            }
        }
    }

    fn push_unit(&mut self, unit: u16) {
        if self.run.is_none() {
            self.out.push(b'&');
        }
        let (bits, count) = self.run.unwrap_or_default();
        // At most four bits are left over from the unit before.
        let mut bits = bits << 16 | u32::from(unit);
        let mut count = count.saturating_add(16);
        while count >= 6 {
            count = count.saturating_sub(6);
            self.out.push(base64_digit(bits >> count & 63));
            bits &= (1 << count) - 1;
        }
        self.run = Some((bits, count));
    }

    fn end_run(&mut self) {
        if let Some((bits, count)) = self.run.take() {
            if count > 0 {
                self.out.push(base64_digit(bits << 6_u32.saturating_sub(count) & 63));
            }
            self.out.push(b'-');
        }
    }
}

fn base64_digit(value: u32) -> u8 {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";
    usize::try_from(value).ok().and_then(|v| DIGITS.get(v)).copied().unwrap_or(b'A')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(name: &str, separator: &str, specials: &str) -> String {
        let result = encode_folder(name.as_bytes(), b"UTF-8", separator.as_bytes(), specials.as_bytes());
        result.map_or_else(|e| format!("! {e}"), |bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn names_as_observed() {
        for (name, separator, specials, expected) in [
            ("Foo/Bar", "/", "", "Foo.Bar"),
            ("Foo/Bar", ".", "/", "Foo&AC8-Bar"),
            ("Räksmörgås", "/", "", "R&AOQ-ksm&APY-rg&AOU-s"),
            ("Foo.Bar", "/", "", "Foo&AC4-Bar"),
            ("Foo.Bar", "/", ".", "Foo&AC4-Bar"),
            ("Foo.Bar", ".", "", "Foo.Bar"),
            ("Foo/Bar", ".", "", "Foo&AC8-Bar"),
            ("a&b", "/", "", "a&-b"),
            ("/Foo", "/", "", "Foo"),
            ("//Foo", "/", "", ".Foo"),
            ("Foo/", "/", "", "Foo"),
            ("Foo///", "/", "", "Foo"),
            ("Foo//Bar", "/", "", "Foo.Bar"),
            ("", "/", "", ""),
            ("/", "/", "", ""),
            ("Foo_Bar", "_", "", "Foo.Bar"),
            ("Foo_B/r", "_", "/", "Foo.B&AC8-r"),
            ("Foo/Bar.Baz", "/", "./", "Foo.Bar&AC4-Baz"),
            ("Foo/Bar", "/", "o", "F&AG8Abw-.Bar"),
            ("日本語/テスト", "/", "", "&ZeVnLIqe-.&MMYwuTDI-"),
            ("x😀y", "/", "", "x&2D3eAA-y"),
            ("äö", "/", "", "&AOQA9g-"),
            ("ä/ö", "/", "", "&AOQ-.&APY-"),
            ("a-ä-b", "/", "", "a-&AOQ--b"),
            ("tab\tx", "/", "", "tab&AAk-x"),
            (".hid", "/", ".", "&AC4-hid"),
            ("plain text", "/", "", "plain text"),
            ("x", "//", "", "! IMAP folder separator must be one character, found \"//\""),
            ("x", "", "", "! IMAP folder separator must be one character, found \"\""),
        ] {
            assert_eq!(encoded(name, separator, specials), expected, "{name} {separator} {specials}");
        }
    }

    #[test]
    fn charsets_as_observed() {
        assert_eq!(encode_folder(b"R\xe4k", b"ISO-8859-1", b"/", b""), Ok(b"R&AOQ-k".to_vec()));
        assert_eq!(encode_folder("Räk".as_bytes(), b"ISO-8859-1", b"/", b""), Ok(b"R&AMMApA-k".to_vec()));
        assert_eq!(encode_folder(b"Rak", b"XX-BAD", b"/", b""), Ok(b"Rak".to_vec()));
        let error = encode_folder("Räk".as_bytes(), b"XX-BAD", b"/", b"").unwrap_err();
        assert!(
            error.to_string().starts_with("imapfolder: iconv_open(\"UTF-16BE\", \"XX-BAD\") failed: Invalid")
        );
        let error = encode_folder(b"R\xe4k", b"UTF-8", b"/", b"").unwrap_err();
        assert!(
            error.to_string().starts_with("imapfolder: iconv() failed to convert from UTF-8: Invalid or")
        );
    }
}
