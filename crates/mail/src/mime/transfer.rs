//! Content-Transfer-Encoding: base64 and quoted-printable, a piece at a time (RFC 2045 section 6).
//!
//! Nothing fails: what is broken is passed on as it is, or left out, and remembered as an [`Anomaly`].

/// How the content of a part is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all, or in a way that is not known.
    Identity,
    /// base64.
    Base64,
    /// quoted-printable.
    QuotedPrintable,
}

impl Encoding {
    /// The encoding that a Content-Transfer-Encoding: names, in any case.
    #[must_use]
    pub fn of(word: &[u8]) -> Encoding {
        if word.eq_ignore_ascii_case(b"base64") {
            Encoding::Base64
        } else if word.eq_ignore_ascii_case(b"quoted-printable") {
            Encoding::QuotedPrintable
        } else {
            Encoding::Identity
        }
    }
}

/// What was wrong with encoded content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anomaly {
    /// Nothing.
    #[default]
    None,
    /// An equals sign is followed by neither a line end nor two digits.
    QuotedPrintable,
    /// Bytes that are not of base64.
    Base64,
}

impl Anomaly {
    /// `$mime_anomaly_level`.
    #[must_use]
    pub fn level(self) -> i64 {
        match self {
            Anomaly::None => 0,
            Anomaly::QuotedPrintable => 1,
            Anomaly::Base64 => 2,
        }
    }

    /// `$mime_anomaly_text`.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Anomaly::None => "",
            Anomaly::QuotedPrintable => "Broken Quoted-Printable encoding detected",
            Anomaly::Base64 => "Broken BASE64 encoding detected",
        }
    }
}

/// Decodes content that comes in pieces.
#[derive(Clone, Debug)]
pub struct Decoder {
    encoding: Encoding,
    anomaly: Anomaly,
    /// Quoted-printable: an equals sign and what followed it, not yet understood.
    held: Vec<u8>,
    /// base64: bits of characters that do not make a byte yet, and their number.
    bits: u32,
    bit_count: u32,
    /// base64: there was padding.
    is_padded: bool,
}

/// White space between an equals sign and the line end that is held back; more is no soft line break.
const HELD_BYTES_MAX: usize = 200;

impl Decoder {
    /// A decoder at the start of the content.
    #[must_use]
    pub fn new(encoding: Encoding) -> Decoder {
        Decoder {
            encoding,
            anomaly: Anomaly::None,
            held: Vec::new(),
            bits: 0,
            bit_count: 0,
            is_padded: false,
        }
    }

    /// Takes a piece, and adds what it gives.
    pub fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        match self.encoding {
            Encoding::Identity => out.extend_from_slice(piece),
            Encoding::Base64 => piece.iter().for_each(|byte| self.base64(*byte, out)),
            Encoding::QuotedPrintable => piece.iter().for_each(|byte| self.quoted(*byte, out)),
        }
    }

    /// The content is over: adds what was held back, and says what was wrong with all of it.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Anomaly {
        if !self.held.is_empty() {
            self.anomaly = Anomaly::QuotedPrintable;
            out.append(&mut self.held);
        }
        // A single character of base64 is not even a byte; behind padding, any that do not make four are text that was added.
        if self.bit_count == 6 || self.is_padded && self.bit_count > 0 {
            self.anomaly = Anomaly::Base64;
        }
        self.anomaly
    }

    fn base64(&mut self, byte: u8, out: &mut Vec<u8>) {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                // Content that was put together of several encoded pieces has padding in its middle.
                self.bits = 0;
                self.bit_count = 0;
                self.is_padded = true;
                return;
            }
            b' ' | b'\t' | b'\r' | b'\n' => return,
            _ => {
                self.anomaly = Anomaly::Base64;
                return;
            }
        };
        self.bits = (self.bits << 6) | u32::from(value);
        self.bit_count += 6;
        if self.bit_count >= 8 {
            self.bit_count -= 8;
            out.push((self.bits >> self.bit_count).to_le_bytes()[0]);
            self.bits &= (1 << self.bit_count) - 1;
        }
    }

    fn quoted(&mut self, byte: u8, out: &mut Vec<u8>) {
        match (self.held.as_slice(), byte) {
            ([], b'=') => self.held.push(byte),
            ([], _) => out.push(byte),
            // A soft line break, perhaps with white space before the line end.
            (_, b'\n') if self.held.iter().skip(1).all(|b| matches!(b, b' ' | b'\t' | b'\r')) => {
                self.held.clear();
            }
            ([_] | [_, b' ' | b'\t' | b'\r', ..], b' ' | b'\t' | b'\r')
                if self.held.len() < HELD_BYTES_MAX =>
            {
                self.held.push(byte);
            }
            ([_], _) if byte.is_ascii_hexdigit() => self.held.push(byte),
            ([_, first], _) if first.is_ascii_hexdigit() && byte.is_ascii_hexdigit() => {
                let digit = |b: u8| char::from(b).to_digit(16).unwrap_or(0);
                let code = digit(*first) * 16 + digit(byte);
                self.held.clear();
                out.push(code.to_le_bytes()[0]);
            }
            _ => {
                self.anomaly = Anomaly::QuotedPrintable;
                out.append(&mut self.held);
                if byte == b'=' { self.held.push(byte) } else { out.push(byte) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(encoding: Encoding, text: &str) -> (String, Anomaly) {
        let mut whole = Vec::new();
        let mut decoder = Decoder::new(encoding);
        decoder.feed(text.as_bytes(), &mut whole);
        let anomaly = decoder.finish(&mut whole);
        let mut pieces = Vec::new();
        let mut decoder = Decoder::new(encoding);
        for byte in text.as_bytes() {
            decoder.feed(&[*byte], &mut pieces);
        }
        assert_eq!(decoder.finish(&mut pieces), anomaly);
        assert_eq!(whole, pieces);
        (String::from_utf8(whole).unwrap(), anomaly)
    }

    #[test]
    fn quoted_printable() {
        let of = |text: &str| decoded(Encoding::QuotedPrintable, text);
        assert_eq!(of("hello=20world=\n more=3D=0A"), ("hello world more=\n".to_owned(), Anomaly::None));
        assert_eq!(of("a= \t\r\nb=c3=A9\n"), ("abé\n".to_owned(), Anomaly::None));
        assert_eq!(of("a=ZZb"), ("a=ZZb".to_owned(), Anomaly::QuotedPrintable));
        assert_eq!(of("=4=41=4"), ("=4A=4".to_owned(), Anomaly::QuotedPrintable));
        assert_eq!(of("= x="), ("= x=".to_owned(), Anomaly::QuotedPrintable));
    }

    #[test]
    fn base64() {
        let of = |text: &str| decoded(Encoding::Base64, text);
        assert_eq!(of("aGVsbG8g\nYmFzZTY0\r\nIQ==\n"), ("hello base64!".to_owned(), Anomaly::None));
        assert_eq!(of("aGVs*bG8="), ("hello".to_owned(), Anomaly::Base64));
        assert_eq!(of("YQ==Yg=="), ("ab".to_owned(), Anomaly::None));
        assert_eq!(of("YQ==\nYg"), ("ab".to_owned(), Anomaly::Base64));
        assert_eq!(of("Y"), (String::new(), Anomaly::Base64));
        assert_eq!(decoded(Encoding::of(b"8BIT"), "=3D"), ("=3D".to_owned(), Anomaly::None));
    }

    proptest::proptest! {
        #[test]
        fn decoding_never_adds(text in "[=0-9A-Fa-z \t\r\n]{0,60}") {
            for encoding in [Encoding::Base64, Encoding::QuotedPrintable] {
                let mut whole = Vec::new();
                let mut decoder = Decoder::new(encoding);
                decoder.feed(text.as_bytes(), &mut whole);
                decoder.finish(&mut whole);
                proptest::prop_assert!(whole.len() <= text.len());
            }
        }
    }
}
