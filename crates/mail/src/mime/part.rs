//! The header of a MIME part, as the variables `$mime_…` show it (manual section 45.4).
//!
//! Values are brought to one form: comments and white space go, letters become small.
//! Nothing fails; of several lines with one name the last counts.

use super::ParameterizedValue;
use crate::rfc2047::{self, Undecodable};
use crate::rfc2231::Parameter;

/// What the header of a part says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartHeader {
    /// Whether there is a Content-Type: at all.
    pub has_type: bool,
    /// `text/plain`, in lower case.
    pub content_type: Vec<u8>,
    /// Its parameter charset, as given.
    pub charset: Vec<u8>,
    /// Its parameter boundary.
    pub boundary: Vec<u8>,
    /// Content-Disposition: `attachment`.
    pub disposition: Vec<u8>,
    /// Content-ID:.
    pub id: Vec<u8>,
    /// Content-Description:.
    pub description: Vec<u8>,
    /// Content-Transfer-Encoding:.
    pub transfer_encoding: Vec<u8>,
    /// The proposed file name, decoded.
    pub filename: Vec<u8>,
}

impl PartHeader {
    /// Reads a header block: lines with their line ends, folded ones too. `charset` is what names are translated to.
    #[must_use]
    pub fn read(block: &[u8], charset: &[u8]) -> PartHeader {
        let mut header = PartHeader::default();
        let mut line: Vec<u8> = Vec::new();
        for piece in block.split_inclusive(|byte| *byte == b'\n') {
            if !matches!(piece.first(), Some(b' ' | b'\t')) {
                header.take(&line, charset);
                line.clear();
            }
            line.extend_from_slice(piece);
        }
        header.take(&line, charset);
        header
    }

    /// Whether the part holds others: it is a multipart and says how they are told apart.
    #[must_use]
    pub fn is_multipart(&self) -> bool {
        self.content_type.starts_with(b"multipart/")
    }

    fn take(&mut self, line: &[u8], charset: &[u8]) {
        let Some(colon) = memchr::memchr(b':', line) else { return };
        let (name, rest) = line.split_at_checked(colon).unwrap_or_default();
        let body = rest.get(1..).unwrap_or_default();
        let name = name.trim_ascii_end();
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        if is("Content-Type") {
            let value = ParameterizedValue::parse(body);
            self.has_type = true;
            let named = |name: &str| value.parameter(name).map(|p| p.text.clone()).unwrap_or_default();
            self.charset = named("charset");
            self.boundary = named("boundary");
            self.take_filename(&value, charset);
            self.content_type = value.value;
        } else if is("Content-Disposition") {
            let value = ParameterizedValue::parse(body);
            self.take_filename(&value, charset);
            self.disposition = value.value;
        } else if is("Content-ID") {
            self.id = normalized(body);
        } else if is("Content-Description") {
            self.description = normalized(body);
        } else if is("Content-Transfer-Encoding") {
            self.transfer_encoding = normalized(body);
        }
    }

    fn take_filename(&mut self, value: &ParameterizedValue, charset: &[u8]) {
        for name in ["name", "filename"] {
            if let Some(parameter) = value.parameter(name) {
                self.filename = decoded(parameter, charset);
            }
        }
    }
}

/// A name without its RFC 2047 or RFC 2231 dress. What cannot be translated stays in its own charset.
fn decoded(parameter: &Parameter, charset: &[u8]) -> Vec<u8> {
    if let Some(from) = &parameter.charset {
        return rfc2047::translate(&parameter.text, from, charset).unwrap_or_else(|_| parameter.text.clone());
    }
    rfc2047::decode(&parameter.text, Some(charset), false, Undecodable::KeepBytes)
        .unwrap_or_else(|_| parameter.text.clone())
}

/// Without comments, white space and capitals.
fn normalized(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let (mut in_quotes, mut comments) = (false, 0_usize);
    for byte in body.iter().copied() {
        match byte {
            b'(' if !in_quotes => comments = comments.saturating_add(1),
            b')' if comments > 0 => comments = comments.saturating_sub(1),
            _ if comments > 0 || byte.is_ascii_whitespace() => {}
            _ => {
                in_quotes ^= byte == b'"';
                out.push(byte.to_ascii_lowercase());
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(block: &str) -> PartHeader {
        PartHeader::read(block.as_bytes(), b"UTF-8")
    }

    #[test]
    fn values_are_brought_to_one_form() {
        let header = read(
            "Content-Type: Text/Plain; charset=\"US-ASCII\";\n name=foo.txt\nContent-ID: <ID1@x>\n\
             content-description: the  \"Whole(1)\" (thing)\nContent-Transfer-Encoding: Quoted-Printable\n\
             Content-Disposition: INLINE; filename=\"b a r.txt\"\nSubject: x\n",
        );
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        assert_eq!(text(&header.content_type), "text/plain");
        assert_eq!(text(&header.charset), "US-ASCII");
        assert_eq!(text(&header.id), "<id1@x>");
        assert_eq!(text(&header.description), "the\"whole(1)\"");
        assert_eq!(text(&header.transfer_encoding), "quoted-printable");
        assert_eq!(text(&header.disposition), "inline");
        assert_eq!(text(&header.filename), "b a r.txt");
        assert!(header.has_type && !header.is_multipart());
        assert!(!read("Subject: x\nContent-Typo: a\n").has_type);
    }

    #[test]
    fn names_are_decoded() {
        for (block, name) in [
            ("Content-Type: a/b; name*0*=utf-8''%e2%82%ac%20; name*1=\"rates.bin\"\n", "€ rates.bin"),
            ("Content-Type: a/b; name*=iso-8859-1'en'%A3%20rates\n", "£ rates"),
            ("Content-Disposition: x; filename=\"=?utf-8?B?4oKs?= x.bin\"\n", "€ x.bin"),
            ("Content-Type: a/b; name=\"=?iso-8859-1?q?caf=E9?=\"\n", "café"),
            ("Content-Disposition: x; filename=a\nContent-Type: a/b; name=b\n", "b"),
            ("Content-Disposition: x; filename*1=b; filename*0=a\n", "ab"),
            ("Content-Type: a/b\n", ""),
        ] {
            assert_eq!(String::from_utf8(read(block).filename).unwrap(), name, "{block}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_will_do(block in proptest::collection::vec(
            proptest::sample::select(b"Content-Type:; \n\"=*'%=?a/()\\".to_vec()), 0..80)) {
            let header = PartHeader::read(&block, b"UTF-8");
            proptest::prop_assert!(header.filename.len() <= block.len() * 2);
        }
    }
}
