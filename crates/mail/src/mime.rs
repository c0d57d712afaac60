//! Content-Type and Content-Disposition values: a word and its parameters (RFC 2045 section 5.1, RFC 2231).
//!
//! Read as found in the wild: missing semicolons, comments, unquoted odd characters. Nothing fails; what cannot be
//! read is left out.

pub mod part;
pub mod transfer;

use crate::rfc2231::{self, Parameter};

/// Most parameters of one value that are read; more are dropped.
const PARAMETERS_MAX: usize = 256;

/// A value such as `text/plain; charset=utf-8`, apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParameterizedValue {
    /// What stands before the first semicolon, in lower case: `text/plain`, `attachment`.
    pub value: Vec<u8>,
    /// The parameters; continuations of RFC 2231 are joined and decoded.
    pub parameters: Vec<Parameter>,
}

impl ParameterizedValue {
    /// Reads the body of a header line.
    #[must_use]
    pub fn parse(body: &[u8]) -> ParameterizedValue {
        let mut reader = Reader { input: body, at: 0 };
        let value = reader.token(b";").to_ascii_lowercase();
        let mut raw = Vec::new();
        while raw.len() < PARAMETERS_MAX && reader.skip_to_parameter() {
            let name = reader.token(b"=;").to_ascii_lowercase();
            reader.skip_blank();
            if reader.peek() != Some(b'=') {
                continue;
            }
            reader.step();
            reader.skip_blank();
            let text = if reader.peek() == Some(b'"') { reader.quoted() } else { reader.token(b";") };
            if !name.is_empty() {
                raw.push((name, text));
            }
        }
        ParameterizedValue { value, parameters: rfc2231::join(raw) }
    }

    /// The parameter of a name given in lower case.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|p| p.name == name.as_bytes())
    }
}

/// White space as `skip_blank` skips it: what ends a token must be skipped before the next one, or reading never ends.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    fn step(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    fn skip_blank(&mut self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'(' => depth = depth.saturating_add(1),
                b')' if depth > 0 => depth = depth.saturating_sub(1),
                _ if depth > 0 || is_blank(byte) => {}
                _ => return,
            }
            self.step();
        }
    }

    /// Skips semicolons and white space; false at the end.
    fn skip_to_parameter(&mut self) -> bool {
        loop {
            self.skip_blank();
            match self.peek() {
                None => return false,
                Some(b';' | b'"') => self.step(),
                Some(_) => return true,
            }
        }
    }

    /// Bytes up to white space or one of the stops; at least one step is made.
    fn token(&mut self, stops: &[u8]) -> Vec<u8> {
        self.skip_blank();
        let mut out = Vec::new();
        let begin = self.at;
        while let Some(byte) = self.peek().filter(|b| !is_blank(*b) && !stops.contains(b)) {
            out.push(byte);
            self.step();
        }
        if self.at == begin && self.peek().is_some_and(|b| b == b'=') {
            self.step();
        }
        out
    }

    fn quoted(&mut self) -> Vec<u8> {
        self.step();
        let mut out = Vec::new();
        while let Some(byte) = self.peek() {
            self.step();
            match byte {
                b'"' => break,
                // Whoever writes `C:\TEMP` means it.
                b'\\' if self.peek().is_some_and(|next| matches!(next, b'"' | b'\\')) => {
                    out.extend(self.peek());
                    self.step();
                }
                b'\r' | b'\n' => {}
                _ => out.push(byte),
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_parameters() {
        let read = ParameterizedValue::parse(
            b" Text/Plain (c); charset=\"us\\\"ascii\" ; Format = flowed;; x=; name*0=a;\n name*1=\"b c\"; y=\"C:\\T\\\\x\"\n",
        );
        assert_eq!(read.value, b"text/plain");
        assert_eq!(read.parameter("charset").unwrap().text, b"us\"ascii");
        assert_eq!(read.parameter("format").unwrap().text, b"flowed");
        assert_eq!(read.parameter("x").unwrap().text, b"");
        assert_eq!(read.parameter("y").unwrap().text, b"C:\\T\\x");
        assert_eq!(read.parameter("name").unwrap().text, b"ab c");
        assert_eq!(ParameterizedValue::parse(b""), ParameterizedValue::default());
        assert_eq!(ParameterizedValue::parse(b"a/b; =x; c").value, b"a/b");
    }

    proptest::proptest! {
        #[test]
        fn reading_ends(body in proptest::collection::vec(proptest::sample::select(b"a;=\"\\() \n\x0c*0%'".to_vec()), 0..50)) {
            proptest::prop_assert!(ParameterizedValue::parse(&body).value.len() <= body.len());
        }
    }
}
