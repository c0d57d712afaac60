//! Tokens of a Sieve script (RFC 5228 section 8.1); line ends are LF, as in Exim.

use super::Fault;

/// Longest string, in bytes.
const STRING_BYTES_MAX: usize = 64 * 1024;

pub(super) struct Lexer<'a> {
    data: &'a [u8],
    at: usize,
    line: usize,
    /// `require "encoded-character"` was seen.
    pub(super) decodes: bool,
}

pub(super) type Parsed<T> = Result<T, Fault>;

impl<'a> Lexer<'a> {
    pub(super) fn new(data: &'a [u8]) -> Lexer<'a> {
        Lexer { data, at: 0, line: 1, decodes: false }
    }

    pub(super) fn line(&self) -> usize {
        self.line
    }

    pub(super) fn fault<T>(&self, message: impl Into<String>) -> Parsed<T> {
        Err(Fault { message: message.into(), line: self.line })
    }

    fn rest(&self) -> &'a [u8] {
        self.data.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.data.get(self.at).copied()
    }

    fn step(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at = self.at.saturating_add(1);
        if byte == b'\n' {
            self.line = self.line.saturating_add(1);
        }
        Some(byte)
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.peek().is_none()
    }

    /// Passes white space and comments.
    pub(super) fn white(&mut self) -> Parsed<()> {
        loop {
            match self.rest() {
                [b' ' | b'\t' | b'\n' | b'\r', ..] => drop(self.step()),
                [b'#', ..] => {
                    while self.peek().is_some_and(|b| b != b'\n') {
                        self.step();
                    }
                }
                [b'/', b'*', ..] => self.comment()?,
                _ => return Ok(()),
            }
        }
    }

    fn comment(&mut self) -> Parsed<()> {
        self.at = self.at.saturating_add(2);
        loop {
            match self.rest() {
                [] => {
                    // The line end of the last line is not counted.
                    let line =
                        if self.data.ends_with(b"\n") { self.line.saturating_sub(1) } else { self.line };
                    return Err(Fault { message: "missing end of comment".to_owned(), line });
                }
                [b'*', b'/', ..] => {
                    self.at = self.at.saturating_add(2);
                    return Ok(());
                }
                _ => drop(self.step()),
            }
        }
    }

    /// Takes a punctuation mark if it is next behind white space.
    pub(super) fn take(&mut self, byte: u8) -> Parsed<bool> {
        self.white()?;
        let found = self.peek() == Some(byte);
        if found {
            self.step();
        }
        Ok(found)
    }

    pub(super) fn semicolon(&mut self) -> Parsed<()> {
        if self.take(b';')? { Ok(()) } else { self.fault("missing semicolon") }
    }

    /// Takes a word (or a tag with its colon) if it is next; case does not matter.
    pub(super) fn word(&mut self, word: &str) -> Parsed<bool> {
        self.white()?;
        let (head, after) = match self.rest().split_at_checked(word.len()) {
            Some(parts) => parts,
            None => return Ok(false),
        };
        let ends = after.first().is_none_or(|b| !b.is_ascii_alphanumeric() && *b != b'_');
        let found = head.eq_ignore_ascii_case(word.as_bytes()) && ends;
        if found {
            self.at = self.at.saturating_add(word.len());
        }
        Ok(found)
    }

    /// A string in either form; `None` if none is next.
    pub(super) fn string(&mut self) -> Parsed<Option<Vec<u8>>> {
        self.white()?;
        let text = match self.rest() {
            [b'"', ..] => self.quoted()?,
            [b't' | b'T', b'e' | b'E', b'x' | b'X', b't' | b'T', b':', ..] => self.multi_line()?,
            _ => return Ok(None),
        };
        let text = if self.decodes { self.decoded(&text)? } else { text };
        Ok(Some(text))
    }

    fn quoted(&mut self) -> Parsed<Vec<u8>> {
        self.step();
        let mut out = Vec::new();
        loop {
            match self.step() {
                None => return self.fault("missing end of string"),
                Some(b'"') => return Ok(out),
                Some(b'\\') => match self.step() {
                    // An extension of Exim: NUL cannot be written otherwise.
                    Some(b'0') => out.push(0),
                    Some(byte) => out.push(byte),
                    None => return self.fault("missing end of string"),
                },
                Some(byte) => out.push(byte),
            }
            if out.len() > STRING_BYTES_MAX {
                return self.fault("string is too long");
            }
        }
    }

    /// `text:` to a line with only a dot.
    fn multi_line(&mut self) -> Parsed<Vec<u8>> {
        self.at = self.at.saturating_add(5);
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r')) {
            self.step();
        }
        if self.peek() == Some(b'#') {
            while self.peek().is_some_and(|b| b != b'\n') {
                self.step();
            }
        }
        if self.step() != Some(b'\n') {
            return self.fault("syntax error");
        }
        let mut out = Vec::new();
        loop {
            match self.rest() {
                [] => return self.fault("missing end of multi line string"),
                [b'.', b'\n', ..] => {
                    self.step();
                    self.step();
                    return Ok(out);
                }
                [b'.', b'.', ..] => drop(self.step()),
                _ => {}
            }
            while let Some(byte) = self.step() {
                out.push(byte);
                if byte == b'\n' {
                    break;
                }
            }
            if out.len() > STRING_BYTES_MAX {
                return self.fault("string is too long");
            }
        }
    }

    /// `${hex:…}` and `${unicode:…}` (RFC 5228 section 2.4.2.4). What is malformed stays as it is.
    fn decoded(&self, text: &[u8]) -> Parsed<Vec<u8>> {
        let mut out = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some((first, after)) = rest.split_first() {
            if let Some((bytes, length)) = self.encoded(rest)? {
                out.extend_from_slice(&bytes);
                rest = rest.get(length..).unwrap_or_default();
            } else {
                out.push(*first);
                rest = after;
            }
        }
        Ok(out)
    }

    fn encoded(&self, text: &[u8]) -> Parsed<Option<(Vec<u8>, usize)>> {
        let starts = |word: &[u8]| text.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word));
        let (is_hex, start) = match () {
            () if starts(b"${hex:") => (true, 6),
            () if starts(b"${unicode:") => (false, 10),
            () => return Ok(None),
        };
        let Some(length) = memchr::memchr(b'}', text) else { return Ok(None) };
        let inside = std::str::from_utf8(text.get(start..length).unwrap_or_default()).unwrap_or("?");
        let mut out = Vec::new();
        for word in inside.split_ascii_whitespace() {
            let Ok(value) = u32::from_str_radix(word, 16) else { return Ok(None) };
            if is_hex {
                match u8::try_from(value) {
                    Ok(byte) if word.len() <= 2 => out.push(byte),
                    _ => return Ok(None),
                }
            } else {
                let Some(character) = char::from_u32(value) else {
                    return self.fault("unicode character out of range");
                };
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        if out.is_empty() { Ok(None) } else { Ok(Some((out, length.saturating_add(1)))) }
    }

    /// A string or a list of strings in brackets; `None` if neither is next.
    pub(super) fn strings(&mut self) -> Parsed<Option<Vec<Vec<u8>>>> {
        if !self.take(b'[')? {
            return Ok(self.string()?.map(|one| vec![one]));
        }
        let mut list = Vec::new();
        if self.take(b']')? {
            return Ok(Some(list));
        }
        loop {
            match self.string()? {
                Some(string) => list.push(string),
                None => return self.fault("missing string list"),
            }
            if self.take(b']')? {
                return Ok(Some(list));
            }
            if !self.take(b',')? {
                return self.fault("missing string list");
            }
        }
    }

    /// A number with K, M or G; `None` if none is next.
    pub(super) fn number(&mut self) -> Parsed<Option<u64>> {
        self.white()?;
        if !self.peek().is_some_and(|b| b.is_ascii_digit()) {
            return Ok(None);
        }
        let mut value = 0_u64;
        while let Some(digit) = self.peek().filter(u8::is_ascii_digit) {
            value = value.saturating_mul(10).saturating_add(u64::from(digit.wrapping_sub(b'0')));
            self.step();
        }
        let scale = match self.peek() {
            Some(b'K') => 1 << 10,
            Some(b'M') => 1 << 20,
            Some(b'G') => 1 << 30,
            _ => return Ok(Some(value)),
        };
        self.step();
        Ok(Some(value.saturating_mul(scale)))
    }
}
