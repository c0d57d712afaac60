//! Replies to the client: a code and one or more lines of text.
//!
//! RFC 5321 section 4.2. Every line after the first carries the code again, and an extended code if the text began with one.

use std::borrow::Cow;

use oxim_mail::smtp::reply::extended_code_length;
pub use oxim_mail::smtp::reply::{after_codes, leading_code};

/// What a verb answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Three digits.
    pub code: u16,
    /// The text; lines are separated by LF.
    pub text: Cow<'static, [u8]>,
    /// Whether the connection is closed afterwards.
    pub close: bool,
}

impl Reply {
    /// A reply with a fixed text.
    #[must_use]
    pub const fn fixed(code: u16, text: &'static str) -> Reply {
        Reply { code, text: Cow::Borrowed(text.as_bytes()), close: false }
    }

    /// A reply with a made text.
    #[must_use]
    pub fn new(code: u16, text: impl Into<Vec<u8>>) -> Reply {
        Reply { code, text: Cow::Owned(text.into()), close: false }
    }

    /// The same reply, after which the connection is closed.
    #[must_use]
    pub fn closing(mut self) -> Reply {
        self.close = true;
        self
    }

    /// Writes it in wire form.
    pub fn write(&self, out: &mut Vec<u8>) {
        let extended = extended_code(&self.text);
        let mut lines = self.text.split(|b| *b == b'\n').peekable();
        let mut is_first = true;
        while let Some(line) = lines.next() {
            out.extend_from_slice(code_digits(self.code).as_slice());
            out.push(if lines.peek().is_some() { b'-' } else { b' ' });
            if !is_first {
                out.extend_from_slice(extended);
            }
            let begin = out.len();
            out.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
            // A reply may show what the client said, in which somebody might see another line.
            out.iter_mut()
                .skip(begin)
                .filter(|byte| matches!(**byte, b'\r' | 0))
                .for_each(|byte| *byte = b' ');
            out.extend_from_slice(b"\r\n");
            is_first = false;
        }
    }

    /// Whether the client got what it asked for.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        self.code < 400
    }
}

fn code_digits(code: u16) -> [u8; 3] {
    let digit = |value: u16| b'0'.saturating_add(u8::try_from(value % 10).unwrap_or(0));
    [digit(code / 100), digit(code / 10), digit(code)]
}

/// The `n.n.n ` at the start of a text, if there is one.
fn extended_code(text: &[u8]) -> &[u8] {
    let length = extended_code_length(text);
    text.get(..length).unwrap_or_default()
}

/// Longest line that is sent as it is, in bytes, a code at the start of the text included.
const LINE_BYTES: usize = 75;
/// Breaks are not sought before this place: lines would be too short.
const BREAK_FROM: usize = 36;

/// A text of the configuration in lines that are not too long, as Exim breaks it: behind the last colon and blank of a
/// line's second half, else at its last blank there, else at the first blank after it. No line but the first is empty or
/// begins with white space.
#[must_use]
pub fn folded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = Some(text);
    let mut is_first = true;
    while let Some(text) = rest {
        let (line, tail) = first_line(text);
        rest = tail;
        let line = if is_first { line } else { line.trim_ascii_start() };
        if !is_first && !line.is_empty() {
            out.push(b'\n');
        }
        out.extend_from_slice(line);
        is_first = false;
    }
    out
}

/// What goes into the first line, and what is left behind the byte at the break.
fn first_line(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    let end = memchr::memchr(b'\n', text).unwrap_or(text.len());
    let cut =
        if end > LINE_BYTES { break_in(text.get(..end).unwrap_or_default()).unwrap_or(end) } else { end };
    (text.get(..cut).unwrap_or_default(), text.get(cut.saturating_add(1)..))
}

/// Where to break a line that is too long: the place of a blank.
fn break_in(line: &[u8]) -> Option<usize> {
    let window = line.get(BREAK_FROM..=LINE_BYTES)?;
    let behind_colon = |at: &usize| {
        let before = BREAK_FROM.checked_add(*at).and_then(|at| at.checked_sub(1));
        before.and_then(|at| line.get(at)) == Some(&b':')
    };
    let blanks = || memchr::memrchr_iter(b' ', window);
    let within =
        blanks().find(behind_colon).or_else(|| blanks().next()).map(|at| at.saturating_add(BREAK_FROM));
    let after = || {
        let start = LINE_BYTES.saturating_add(1);
        memchr::memchr(b' ', line.get(start..)?).map(|at| at.saturating_add(start))
    };
    within.or_else(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn widths(text: &str) -> Vec<usize> {
        folded(text.as_bytes()).split(|b| *b == b'\n').map(<[u8]>::len).collect()
    }

    /// As observed with Exim 4.96.
    #[test]
    fn long_texts_are_folded() {
        let x = |n: usize| "x".repeat(n);
        for (text, expected) in [
            (x(90), vec![90]),
            (x(73) + " y", vec![75]),
            (x(74) + " y", vec![74, 1]),
            (x(78) + " y", vec![78, 1]),
            (x(35) + " " + &x(100), vec![136]),
            (x(36) + " " + &x(100), vec![36, 100]),
            ("aaaa ".repeat(18) + "z", vec![74, 16]),
            (x(34) + ": " + "b ".repeat(52).trim_end(), vec![75, 63]),
            (x(35) + ": " + "b ".repeat(52).trim_end(), vec![36, 75, 27]),
            (x(40) + ": " + &x(32) + ": " + "b ".repeat(60).trim_end(), vec![75, 75, 43]),
            (x(40) + ": " + &x(33) + ": " + "b ".repeat(60).trim_end(), vec![41, 74, 75, 3]),
            (x(40) + ":  " + "b ".repeat(60).trim_end(), vec![41, 73, 45]),
            (x(74) + "   " + &x(30), vec![75, 30]),
        ] {
            assert_eq!(widths(&text), expected, "{text}");
        }
        assert_eq!(folded(b"a\n   b\n\nc\n"), b"a\nb\nc");
        assert_eq!(folded(b"\nfirst"), b"\nfirst");
    }

    fn wire(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_line_carries_the_codes() {
        assert_eq!(wire(&Reply::fixed(250, "OK")), "250 OK\r\n");
        assert_eq!(wire(&Reply::fixed(550, "go away\nnow")), "550-go away\r\n550 now\r\n");
        assert_eq!(wire(&Reply::fixed(550, "5.7.1 go\nnow")), "550-5.7.1 go\r\n550 5.7.1 now\r\n");
        assert_eq!(wire(&Reply::fixed(550, "5.7 go\nnow")), "550-5.7 go\r\n550 now\r\n");
        assert_eq!(wire(&Reply::fixed(354, "")), "354 \r\n");
        assert_eq!(
            wire(&Reply::fixed(501, "<a\r250 b\0>: no\r\nmore\r")),
            "501-<a 250 b >: no\r\n501 more\r\n"
        );
    }

    #[test]
    fn codes_are_found_at_the_start_only() {
        assert_eq!(leading_code(b"554 5.1.1 x"), Some((554, 4)));
        assert_eq!(leading_code(b"55 x"), None);
        assert_eq!(leading_code(b"5544 x"), None);
        assert_eq!(after_codes(b"254 5.1.1 custom code"), b"custom code");
        assert_eq!(after_codes(b"254 custom"), b"custom");
        assert_eq!(after_codes(b"custom"), b"custom");
    }
}
