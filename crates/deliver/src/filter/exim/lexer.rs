//! Words and strings of an Exim filter, and the count of lines for messages.
//!
//! The line of a message is where reading has come to, white space behind the last word included. A word that was
//! only looked at leaves its line ends counted twice, as in Exim, so that both name the same line.

use super::{Restricted, SyntaxFault};

/// Longest word or string, in bytes.
const STRING_BYTES_MAX: usize = 1024;

/// A place in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark(usize);

/// Reads a file word by word.
pub(super) struct Lexer<'a> {
    data: &'a [u8],
    at: usize,
    /// The line for messages.
    pub(super) line: usize,
    /// Commands that not every filter may use, with their lines.
    pub(super) restricted: Vec<(Restricted, usize)>,
}

impl<'a> Lexer<'a> {
    /// At the first thing behind the first line.
    pub(super) fn new(data: &'a [u8]) -> Lexer<'a> {
        let mut lexer = Lexer { data, at: 0, line: 1, restricted: Vec::new() };
        lexer.skip();
        lexer
    }

    fn peek(&self) -> Option<u8> {
        self.data.get(self.at).copied()
    }

    fn step(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at = self.at.saturating_add(1);
        Some(byte)
    }

    /// Passes white space and comments.
    fn skip(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b'\n' => self.line = self.line.saturating_add(1),
                b'#' => {
                    while self.peek().is_some_and(|b| b != b'\n') {
                        self.at = self.at.saturating_add(1);
                    }
                    continue;
                }
                byte if byte.is_ascii_whitespace() || byte == 11 => {}
                _ => return,
            }
            self.at = self.at.saturating_add(1);
        }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.peek().is_none()
    }

    pub(super) fn mark(&self) -> Mark {
        Mark(self.at)
    }

    /// Goes back; the line does not.
    pub(super) fn back_to(&mut self, mark: Mark) {
        self.at = mark.0;
    }

    /// Takes a bracket if one is next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        if self.peek() != Some(byte) {
            return false;
        }
        self.at = self.at.saturating_add(1);
        self.skip();
        true
    }

    pub(super) fn next_is(&self, byte: u8) -> bool {
        self.peek() == Some(byte)
    }

    /// The next word; empty at the end. In conditions brackets end a word, and one alone is a word.
    pub(super) fn word(&mut self, in_condition: bool) -> Result<Vec<u8>, SyntaxFault> {
        let start = self.at;
        while let Some(byte) = self.peek() {
            let ends = byte.is_ascii_whitespace() || (in_condition && matches!(byte, b'(' | b')'));
            if ends {
                break;
            }
            self.at = self.at.saturating_add(1);
            if self.at.saturating_sub(start) > STRING_BYTES_MAX {
                return Err(self.too_long("word"));
            }
        }
        if in_condition && self.at == start && matches!(self.peek(), Some(b'(' | b')')) {
            self.at = self.at.saturating_add(1);
        }
        let word = self.data.get(start..self.at).unwrap_or_default().to_vec();
        self.skip();
        Ok(word)
    }

    fn too_long(&self, what: &str) -> SyntaxFault {
        let line = self.line;
        SyntaxFault(format!(
            "{what} is too long in line {line} of filter file (max = {STRING_BYTES_MAX} chars)"
        ))
    }

    /// The next data value: a word, or a string in quotes. Empty at the end.
    pub(super) fn item(&mut self, in_condition: bool) -> Result<Vec<u8>, SyntaxFault> {
        if self.peek() == Some(b'"') {
            return self.quoted();
        }
        if in_condition && let Some(bracket @ (b'(' | b')')) = self.peek() {
            let shown = char::from(bracket);
            return Err(SyntaxFault(format!("unexpected \"{shown}\" in line {} of filter file", self.line)));
        }
        self.word(in_condition)
    }

    fn quoted(&mut self) -> Result<Vec<u8>, SyntaxFault> {
        self.at = self.at.saturating_add(1);
        let mut out = Vec::new();
        loop {
            match self.step() {
                None | Some(b'\n') => {
                    return Err(SyntaxFault(format!("quote missing at end of string in line {}", self.line)));
                }
                Some(b'"') => break,
                Some(b'\\') => self.escape(&mut out),
                Some(byte) => out.push(byte),
            }
            if out.len() > STRING_BYTES_MAX {
                return Err(self.too_long("string"));
            }
        }
        self.skip();
        Ok(out)
    }

    fn escape(&mut self, out: &mut Vec<u8>) {
        let rest = self.data.get(self.at..).unwrap_or_default();
        let blank = rest.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\r')).count();
        if rest.get(blank) == Some(&b'\n') {
            // A string goes on behind the white space of the next line.
            self.line = self.line.saturating_add(1);
            self.at = self.at.saturating_add(blank).saturating_add(1);
            while self.peek().is_some_and(|b| matches!(b, b' ' | b'\t' | b'\r')) {
                self.at = self.at.saturating_add(1);
            }
            return;
        }
        match self.step() {
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b't') => out.push(b'\t'),
            Some(b'x') => {
                let value = self.digits(0, 16, 2);
                out.push(value);
            }
            Some(first @ b'0'..=b'7') => {
                let value = self.digits(u32::from(first.wrapping_sub(b'0')), 8, 2);
                out.push(value);
            }
            Some(other) => out.push(other),
            None => {}
        }
    }

    fn digits(&mut self, start: u32, radix: u32, count: usize) -> u8 {
        let mut value = start;
        for _ in 0..count {
            let Some(digit) = self.peek().and_then(|b| char::from(b).to_digit(radix)) else { break };
            value = value.saturating_mul(radix).saturating_add(digit);
            self.at = self.at.saturating_add(1);
        }
        u8::try_from(value & 0xff).unwrap_or(0)
    }

    /// An octal number that may follow a file name. What is no octal digit ends it, up to white space.
    pub(super) fn mode(&mut self) -> Option<u32> {
        self.peek().filter(u8::is_ascii_digit)?;
        let mut value = 0_u32;
        let mut is_over = false;
        while let Some(byte) = self.peek().filter(|b| !b.is_ascii_whitespace()) {
            match char::from(byte).to_digit(8).filter(|_| !is_over) {
                Some(digit) => value = value.wrapping_mul(8).wrapping_add(digit),
                None if is_over || !byte.is_ascii_digit() => break,
                None => is_over = true,
            }
            self.at = self.at.saturating_add(1);
        }
        // `0640x` is 0640 and nothing is made of the rest.
        while self.peek().is_some_and(|b| !b.is_ascii_whitespace()) {
            self.at = self.at.saturating_add(1);
        }
        self.skip();
        Some(value & 0o7777)
    }
}
