//! Macro strings (RFC 7208, section 7): `%{ir}.%{v}._spf.%{d2}`.

use super::record::SyntaxError;

/// One piece of a macro string.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    Macro(Macro),
}

/// `%{…}`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Macro {
    letter: Letter,
    /// Whether the letter was in upper case: the value is escaped as in a URL.
    is_escaped: bool,
    /// How many parts are kept, from the right; None keeps all.
    kept: Option<usize>,
    is_reversed: bool,
    /// The characters that part the value.
    delimiters: Vec<u8>,
}

/// What a macro stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Letter {
    Sender,
    LocalPart,
    SenderDomain,
    Domain,
    Client,
    ValidatedName,
    Helo,
    ReverseZone,
    ReadableClient,
    Receiver,
    Time,
}

impl Letter {
    fn from(byte: u8) -> Option<Letter> {
        Some(match byte.to_ascii_lowercase() {
            b's' => Letter::Sender,
            b'l' => Letter::LocalPart,
            b'o' => Letter::SenderDomain,
            b'd' => Letter::Domain,
            b'i' => Letter::Client,
            b'p' => Letter::ValidatedName,
            b'h' => Letter::Helo,
            b'v' => Letter::ReverseZone,
            b'c' => Letter::ReadableClient,
            b'r' => Letter::Receiver,
            b't' => Letter::Time,
            _ => return None,
        })
    }

    /// These may stand in explanations only.
    fn is_for_explanations(self) -> bool {
        matches!(self, Letter::ReadableClient | Letter::Receiver | Letter::Time)
    }
}

/// A text with macros, read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacroString {
    pieces: Vec<Piece>,
    ends_in_macro: bool,
}

impl MacroString {
    /// Reads an explanation: blanks and all macros are allowed.
    ///
    /// # Errors
    /// A byte outside of ASCII, or a percent sign that begins nothing.
    pub fn explanation(text: &[u8]) -> Result<MacroString, SyntaxError> {
        MacroString::read(text, true)
    }

    /// Reads a part of a record.
    pub(super) fn of_record(text: &[u8]) -> Result<MacroString, SyntaxError> {
        MacroString::read(text, false)
    }

    fn read(text: &[u8], is_explanation: bool) -> Result<MacroString, SyntaxError> {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut ends_in_macro = false;
        let mut rest = text;
        while let Some((byte, tail)) = rest.split_first() {
            rest = tail;
            ends_in_macro = false;
            if *byte != b'%' {
                let is_blank = is_explanation && *byte == b' ';
                if !byte.is_ascii_graphic() && !is_blank {
                    return Err(SyntaxError::new("a character that may not stand in a record", text));
                }
                literal.push(*byte);
                continue;
            }
            let Some((kind, tail)) = rest.split_first() else {
                return Err(SyntaxError::new("a percent sign at the end", text));
            };
            rest = tail;
            ends_in_macro = true;
            match kind {
                b'%' => literal.push(b'%'),
                b'_' => literal.push(b' '),
                b'-' => literal.extend_from_slice(b"%20"),
                b'{' => {
                    let end = rest.iter().position(|b| *b == b'}');
                    let inside = end.and_then(|end| rest.get(..end));
                    let Some(read) = inside.and_then(|inside| read_macro(inside, is_explanation)) else {
                        return Err(SyntaxError::new("a macro that cannot be read", text));
                    };
                    rest = inside.and_then(|i| rest.get(i.len().saturating_add(1)..)).unwrap_or_default();
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    pieces.push(Piece::Macro(read));
                }
                _ => return Err(SyntaxError::new("a percent sign that begins nothing", text)),
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(MacroString { pieces, ends_in_macro })
    }

    /// Whether the last thing is a macro (or `%%`, `%_`, `%-`), as the end of a domain may be.
    pub(super) fn ends_in_macro(&self) -> bool {
        self.ends_in_macro
    }

    /// The text with values in place of macros.
    pub(super) fn expand(&self, mut value: impl FnMut(Letter) -> Vec<u8>) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text),
                Piece::Macro(inner) => inner.write(&value(inner.letter), &mut out),
            }
        }
        out
    }
}

/// What stands between the braces: a letter, digits, `r`, delimiters.
fn read_macro(inside: &[u8], is_explanation: bool) -> Option<Macro> {
    let (first, rest) = inside.split_first()?;
    let letter = Letter::from(*first)?;
    if letter.is_for_explanations() && !is_explanation {
        return None;
    }
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = rest.split_at_checked(digits)?;
    let kept = match digits {
        [] => None,
        // More digits than a number holds: more parts than a value can have.
        digits => Some(std::str::from_utf8(digits).ok()?.parse::<usize>().unwrap_or(usize::MAX)),
    };
    if kept == Some(0) {
        return None;
    }
    let (is_reversed, rest) = match rest.split_first() {
        Some((b'r' | b'R', rest)) => (true, rest),
        _ => (false, rest),
    };
    if !rest.iter().all(|b| b".-+,/_=".contains(b)) {
        return None;
    }
    let delimiters = if rest.is_empty() { b".".to_vec() } else { rest.to_vec() };
    Some(Macro { letter, is_escaped: first.is_ascii_uppercase(), kept, is_reversed, delimiters })
}

impl Macro {
    fn write(&self, value: &[u8], out: &mut Vec<u8>) {
        let mut parts: Vec<&[u8]> = value.split(|b| self.delimiters.contains(b)).collect();
        if self.is_reversed {
            parts.reverse();
        }
        let dropped = self.kept.map_or(0, |kept| parts.len().saturating_sub(kept));
        let text = parts.get(dropped..).unwrap_or_default().join(&b'.');
        if !self.is_escaped {
            out.extend_from_slice(&text);
            return;
        }
        for byte in text {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                out.push(byte);
            } else {
                out.extend_from_slice(format!("%{byte:02X}").as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> String {
        let read = MacroString::explanation(text.as_bytes()).unwrap();
        let out = read.expand(|letter| match letter {
            Letter::Sender => b"strong-bad@email.example.com".to_vec(),
            Letter::LocalPart => b"strong-bad".to_vec(),
            Letter::Domain | Letter::SenderDomain => b"email.example.com".to_vec(),
            Letter::Client => b"192.0.2.3".to_vec(),
            Letter::ReverseZone => b"in-addr".to_vec(),
            Letter::ValidatedName
            | Letter::Helo
            | Letter::ReadableClient
            | Letter::Receiver
            | Letter::Time => b"x y".to_vec(),
        });
        String::from_utf8(out).unwrap()
    }

    /// The examples of RFC 7208, section 7.4.
    #[test]
    fn examples_of_the_rfc() {
        for (text, expected) in [
            ("%{s}", "strong-bad@email.example.com"),
            ("%{o}", "email.example.com"),
            ("%{d4}", "email.example.com"),
            ("%{d2}", "example.com"),
            ("%{d1}", "com"),
            ("%{dr}", "com.example.email"),
            ("%{d2r}", "example.email"),
            ("%{l-}", "strong.bad"),
            ("%{lr-}", "bad.strong"),
            ("%{l1r-}", "strong"),
            ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
            ("%{S}%%%_%-%{H}", "strong-bad%40email.example.com% %20x%20y"),
        ] {
            assert_eq!(expand(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_macro() {
        for text in ["%", "%a", "%{", "%{}", "%{x}", "%{d0}", "%{dq}", "%{d2", "\u{e4}"] {
            assert!(MacroString::explanation(text.as_bytes()).is_err(), "{text}");
        }
        assert!(MacroString::of_record(b"%{c}").is_err());
        assert!(MacroString::of_record(b"a b").is_err());
    }
}
