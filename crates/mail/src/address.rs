//! Mail addresses as they stand in header lines, on the command line and in SMTP MAIL and RCPT commands.
//!
//! One parser serves all of them, as in Exim (manual: `allow_domain_literals`, `strip_excess_angle_brackets`,
//! `strip_trailing_dot`, sections 48.3 and 48.20; RFC 5322 section 3.4). Comments, phrases and source routes
//! are read and dropped; local parts keep their quotes. Failure: an `AddressError` whose text is the one that
//! goes into SMTP replies and bounces. Lists of addresses are in `address::list`.
//!
//! Differences from the observed program, both on purpose: a line break inside a quoted local part is removed
//! (it would travel into log lines and SMTP commands), and a NUL there is an error.

mod list;
mod quote;

use std::fmt;
use std::ops::Range;

pub use list::{AddressList, ListItem, address_list, plain_list};
pub use quote::{quote_local_part, split_at_domain, unquote_local_part};

/// Longest canonical address, in bytes. Exim's figure; RFC 5321 allows 254 in a path.
pub const ADDRESS_BYTES_MAX: usize = 256;

/// How much of what wrongly follows an address is shown, in bytes. Exim's figure.
const TRAILING_SHOWN_BYTES_MAX: usize = 32;

/// What is allowed in an address beyond RFC 5322, by option and by context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressSyntax {
    /// Option `allow_domain_literals`: `<user@[192.0.2.1]>` is an address.
    pub allow_domain_literals: bool,
    /// Option `allow_utf8_domains`: domain labels may hold UTF-8.
    pub allow_utf8_domains: bool,
    /// Option `strip_excess_angle_brackets`: `<<a@b>>` is read as `<a@b>`.
    pub strip_excess_angle_brackets: bool,
    /// Option `strip_trailing_dot`: `a@b.` is read as `a@b`.
    pub strip_trailing_dot: bool,
    /// `<>` is an address (the empty one), as in MAIL FROM.
    pub allow_empty: bool,
    /// The message is SMTPUTF8: domain labels may hold UTF-8 whatever the option says.
    pub smtp_utf8: bool,
}

/// One address, taken out of the text around it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParsedAddress {
    /// `local@domain` or `local`, without comments and route; the local part is quoted if it was. Empty for `<>`.
    pub address: Vec<u8>,
    /// Offset of the `@` in `address`, if there is a domain.
    pub local_part_end: Option<usize>,
    /// Where the address begins in the input: after `<` if it has one, a source route included.
    pub start: usize,
    /// Where it ends in the input, exclusive: before `>`, comments and white space.
    pub end: usize,
}

impl ParsedAddress {
    /// The local part as written, quotes included.
    #[must_use]
    pub fn local_part(&self) -> &[u8] {
        let end = self.local_part_end.unwrap_or(self.address.len());
        self.address.get(..end).unwrap_or_default()
    }

    /// The domain, without `@`; None for an unqualified address.
    #[must_use]
    pub fn domain(&self) -> Option<&[u8]> {
        self.address.get(self.local_part_end?.saturating_add(1)..)
    }

    /// The address within the input it was parsed from.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }
}

/// Why a text is not an address. The text of `Display` is Exim's, without "501" or "syntax error:".
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressError {
    /// Nothing but white space and comments.
    Empty,
    /// `@domain` without a local part.
    NoLocalPart,
    /// No word where the local part should be.
    LocalPart {
        /// It was read as part of a phrase, so a `<` might have followed.
        in_phrase: bool,
    },
    /// A double quote is not closed.
    UnmatchedQuote {
        /// It was read as part of a phrase, so a `<` might have followed.
        in_phrase: bool,
    },
    /// The domain is missing or has a bad character, an empty label, or a trailing dot.
    Domain,
    /// `[...]` is there but `allow_domain_literals` is not set.
    DomainLiteralNotAllowed,
    /// `[...]` holds no IP address or is not closed.
    DomainLiteralMalformed,
    /// A source route is not followed by a colon.
    RouteColon,
    /// A source-routed address has no domain of its own.
    RouteWithoutDomain,
    /// `<` without `>`.
    AngleBracketMissing,
    /// Within angle brackets, something else than `@` or `.` follows a word.
    DomainExpected {
        /// The local part so far.
        after: Vec<u8>,
    },
    /// The address is complete but more text follows.
    Trailing {
        /// How what follows begins.
        rest: Vec<u8>,
        /// What it follows, as written.
        before: Vec<u8>,
    },
    /// More than `ADDRESS_BYTES_MAX` bytes.
    TooLong {
        /// How it begins.
        begins: Vec<u8>,
    },
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hint = |in_phrase: &bool| if *in_phrase { " (expected word or \"<\")" } else { "" };
        match self {
            AddressError::Empty => f.write_str("empty address"),
            AddressError::NoLocalPart => f.write_str("no local part"),
            AddressError::LocalPart { in_phrase } => {
                write!(f, "missing or malformed local part{}", hint(in_phrase))
            }
            AddressError::UnmatchedQuote { in_phrase } => {
                write!(f, "unmatched doublequote in local part{}", hint(in_phrase))
            }
            AddressError::Domain => f.write_str("domain missing or malformed"),
            AddressError::DomainLiteralNotAllowed => f.write_str("domain literals not allowed"),
            AddressError::DomainLiteralMalformed => f.write_str("malformed domain literal"),
            AddressError::RouteColon => f.write_str("colon expected after route list"),
            AddressError::RouteWithoutDomain => f.write_str("domain missing in source-routed address"),
            AddressError::AngleBracketMissing => f.write_str("'>' missing at end of address"),
            AddressError::DomainExpected { after } => {
                write!(f, "\"@\" or \".\" expected after \"{}\"", String::from_utf8_lossy(after))
            }
            AddressError::Trailing { rest, before } => write!(
                f,
                "malformed address: {} may not follow {}",
                String::from_utf8_lossy(rest),
                String::from_utf8_lossy(before)
            ),
            AddressError::TooLong { begins } => {
                write!(f, "address is ridiculously long: {}...", String::from_utf8_lossy(begins))
            }
        }
    }
}

impl std::error::Error for AddressError {}

/// Reads one address, with or without angle brackets, phrase and comments, that fills the whole input.
///
/// # Errors
/// What is wrong with it, in Exim's words.
pub fn parse(input: &[u8], syntax: &AddressSyntax) -> Result<ParsedAddress, AddressError> {
    let out = Vec::with_capacity(input.len().min(ADDRESS_BYTES_MAX));
    let mut scanner = Scanner { input, at: 0, out, syntax };
    scanner.skip_blank();
    let parsed = scanner.address()?;
    scanner.skip_blank();
    if scanner.at < input.len() {
        return Err(scanner.trailing());
    }
    if parsed.address.len() > ADDRESS_BYTES_MAX {
        let begins = parsed.address.iter().copied().take(64).collect();
        return Err(AddressError::TooLong { begins });
    }
    Ok(parsed)
}

/// Whether a byte may stand in a word outside quotes: printing, not one of the specials of RFC 5322.
#[must_use]
pub fn is_atom_byte(byte: u8) -> bool {
    !matches!(
        byte,
        0..=b' '
            | 0x7f
            | b'('
            | b')'
            | b'<'
            | b'>'
            | b'@'
            | b','
            | b';'
            | b':'
            | b'\\'
            | b'"'
            | b'.'
            | b'['
            | b']'
    )
}

/// Length of the UTF-8 character of two or more bytes that `text` begins with, if it does.
fn utf8_length(text: &[u8]) -> Option<usize> {
    let length = match text.first()? {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    std::str::from_utf8(text.get(..length)?).ok().map(|_| length)
}

/// Position after the comment whose `(` stands at `at`; an unclosed one runs to the end, as Exim has it.
fn comment_end(input: &[u8], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = at;
    while let Some(&byte) = input.get(at) {
        at = at.saturating_add(1);
        match byte {
            b'\\' => at = at.saturating_add(1).min(input.len()),
            b'(' => depth = depth.saturating_add(1),
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The position in the input and the canonical address as far as it is read.
struct Scanner<'a> {
    input: &'a [u8],
    at: usize,
    out: Vec<u8>,
    syntax: &'a AddressSyntax,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    fn step(&mut self) {
        self.at = self.at.saturating_add(1).min(self.input.len());
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.step();
        }
        found
    }

    /// Skips white space and comments.
    fn skip_blank(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => self.step(),
                b'(' => self.at = comment_end(self.input, self.at),
                _ => break,
            }
        }
    }

    fn trailing(&self) -> AddressError {
        AddressError::Trailing {
            rest: self.input.iter().skip(self.at).take(TRAILING_SHOWN_BYTES_MAX).copied().collect(),
            before: self.input.get(..self.at).unwrap_or_default().to_vec(),
        }
    }

    fn finished(&mut self, local_part_end: Option<usize>, start: usize, end: usize) -> ParsedAddress {
        ParsedAddress { address: std::mem::take(&mut self.out), local_part_end, start, end }
    }

    /// An address with or without angle brackets; stops after it.
    fn address(&mut self) -> Result<ParsedAddress, AddressError> {
        let start = self.at;
        match self.peek() {
            None => return Err(AddressError::Empty),
            Some(b'<') => return self.bracketed(),
            Some(b'@') => {
                self.route()?;
                return self.routed(start, false);
            }
            Some(_) => {}
        }
        let mut end = self.words(false)?;
        self.skip_blank();
        loop {
            match self.peek() {
                None | Some(b';') if self.out.is_empty() => return Err(AddressError::Empty),
                None | Some(b';') => return Ok(self.finished(None, start, end)),
                Some(b'@') => {
                    let local_part_end = self.out.len();
                    end = self.at_domain(false)?;
                    return Ok(self.finished(Some(local_part_end), start, end));
                }
                Some(b'<') => return self.bracketed(),
                Some(_) => {}
            }
            // What was read was the first word of a phrase: only "<" can make an address of it now.
            self.phrase()?;
        }
    }

    /// The rest of a phrase, up to `<`.
    fn phrase(&mut self) -> Result<(), AddressError> {
        while self.peek() != Some(b'<') {
            self.out.clear();
            self.local_part(true)?;
            self.skip_blank();
            if self.peek().is_none() {
                return Err(AddressError::LocalPart { in_phrase: true });
            }
        }
        self.out.clear();
        Ok(())
    }

    /// `<address>`, at `<`.
    fn bracketed(&mut self) -> Result<ParsedAddress, AddressError> {
        self.out.clear();
        self.step();
        let mut excess = 0_usize;
        while self.syntax.strip_excess_angle_brackets && self.take(b'<') {
            excess = excess.saturating_add(1);
        }
        self.skip_blank();
        let start = self.at;
        let parsed = match self.peek() {
            Some(b'>') if self.syntax.allow_empty => self.finished(None, start, start),
            Some(b'@') => {
                self.route()?;
                self.routed(start, true)?
            }
            Some(_) | None => self.addr_spec(start)?,
        };
        for _ in 0..=excess {
            self.skip_blank();
            if self.peek().is_none() {
                return Err(AddressError::AngleBracketMissing);
            }
            if !self.take(b'>') {
                return Err(self.trailing());
            }
        }
        Ok(parsed)
    }

    /// `local` or `local@domain` within angle brackets.
    fn addr_spec(&mut self, start: usize) -> Result<ParsedAddress, AddressError> {
        let end = self.local_part(false)?;
        self.skip_blank();
        match self.peek() {
            Some(b'@') => {
                let local_part_end = self.out.len();
                let end = self.at_domain(true)?;
                Ok(self.finished(Some(local_part_end), start, end))
            }
            Some(b'>') => Ok(self.finished(None, start, end)),
            Some(_) | None => Err(AddressError::DomainExpected { after: std::mem::take(&mut self.out) }),
        }
    }

    /// What follows a source route: the route is read and dropped (RFC 5321 section 3.6.1).
    fn routed(&mut self, start: usize, bracketed: bool) -> Result<ParsedAddress, AddressError> {
        self.local_part(false)?;
        self.skip_blank();
        match self.peek() {
            Some(b'@') => {}
            Some(b'>') if bracketed => return Err(AddressError::RouteWithoutDomain),
            None if !bracketed => return Err(AddressError::RouteWithoutDomain),
            Some(_) | None => {
                return Err(AddressError::DomainExpected { after: std::mem::take(&mut self.out) });
            }
        }
        let local_part_end = self.out.len();
        let end = self.at_domain(bracketed)?;
        Ok(self.finished(Some(local_part_end), start, end))
    }

    /// `@domain,@domain:`, at `@`. Domain literals are checked here with and without angle brackets.
    fn route(&mut self) -> Result<(), AddressError> {
        let mut is_list = false;
        while self.take(b'@') {
            self.domain(true)?;
            self.out.clear();
            self.skip_blank();
            if !self.take(b',') {
                break;
            }
            is_list = true;
            self.skip_blank();
        }
        if self.take(b':') {
            self.skip_blank();
            return Ok(());
        }
        Err(if is_list { AddressError::RouteColon } else { AddressError::NoLocalPart })
    }

    /// `@domain`, at `@`. Returns where the domain ends in the input.
    fn at_domain(&mut self, bracketed: bool) -> Result<usize, AddressError> {
        self.step();
        self.out.push(b'@');
        self.domain(bracketed)
    }

    /// `words`, at least one byte of them.
    fn local_part(&mut self, in_phrase: bool) -> Result<usize, AddressError> {
        let length = self.out.len();
        let end = self.words(in_phrase)?;
        if self.out.len() == length { Err(AddressError::LocalPart { in_phrase }) } else { Ok(end) }
    }

    /// Words with dots between them, perhaps none. Empty words are allowed (manual 48.20).
    /// Returns where they end in the input.
    fn words(&mut self, in_phrase: bool) -> Result<usize, AddressError> {
        let mut end = self.at;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.quoted(in_phrase)?;
                    end = self.at;
                }
                Some(byte) if is_atom_byte(byte) || byte == b'\\' => {
                    self.atom(in_phrase)?;
                    end = self.at;
                }
                Some(_) | None => {}
            }
            self.skip_blank();
            if !self.take(b'.') {
                return Ok(end);
            }
            self.out.push(b'.');
            end = self.at;
            self.skip_blank();
        }
    }

    fn atom(&mut self, in_phrase: bool) -> Result<(), AddressError> {
        while let Some(byte) = self.peek() {
            if byte == b'\\' {
                self.step();
                match self.peek() {
                    Some(quoted) if !matches!(quoted, 0 | b'\r' | b'\n') => self.out.extend([b'\\', quoted]),
                    Some(_) | None => return Err(AddressError::LocalPart { in_phrase }),
                }
            } else if is_atom_byte(byte) {
                self.out.push(byte);
            } else {
                break;
            }
            self.step();
        }
        Ok(())
    }

    fn quoted(&mut self, in_phrase: bool) -> Result<(), AddressError> {
        self.step();
        self.out.push(b'"');
        loop {
            let byte = self.peek().ok_or(AddressError::UnmatchedQuote { in_phrase })?;
            self.step();
            match byte {
                b'\r' | b'\n' => continue,
                0 => return Err(AddressError::LocalPart { in_phrase }),
                b'\\' => match self.peek() {
                    None => return Err(AddressError::UnmatchedQuote { in_phrase }),
                    Some(b'\r' | b'\n') => continue,
                    Some(0) => return Err(AddressError::LocalPart { in_phrase }),
                    Some(escaped) => {
                        self.out.extend([b'\\', escaped]);
                        self.step();
                    }
                },
                _ => self.out.push(byte),
            }
            if byte == b'"' {
                return Ok(());
            }
        }
    }

    /// A domain or domain literal. Returns where it ends in the input.
    fn domain(&mut self, bracketed: bool) -> Result<usize, AddressError> {
        self.skip_blank();
        if self.peek() == Some(b'[') {
            return self.domain_literal(bracketed);
        }
        loop {
            let label = self.label();
            let end = self.at;
            if label == 0 {
                return Err(AddressError::Domain);
            }
            self.skip_blank();
            if !self.take(b'.') {
                return Ok(end);
            }
            let dot = self.at;
            self.skip_blank();
            let more = self.peek().is_some_and(|b| b.is_ascii_alphanumeric() || b >= 0x80 || b == b'.');
            if !more {
                if self.syntax.strip_trailing_dot {
                    return Ok(dot);
                }
                return Err(AddressError::Domain);
            }
            self.out.push(b'.');
        }
    }

    /// One label of a domain; returns its length, 0 if there is none that is valid.
    fn label(&mut self) -> usize {
        let begin = self.at;
        while let Some(byte) = self.peek() {
            let is_first = self.at == begin;
            let width = if byte.is_ascii_alphanumeric() || (byte == b'-' && !is_first) {
                1
            } else if byte >= 0x80 && (self.syntax.allow_utf8_domains || self.syntax.smtp_utf8) {
                utf8_length(self.input.get(self.at..).unwrap_or_default()).unwrap_or(0)
            } else {
                0
            };
            if width == 0 {
                break;
            }
            let end = self.at.saturating_add(width);
            self.out.extend_from_slice(self.input.get(self.at..end).unwrap_or_default());
            self.at = end;
        }
        self.at.saturating_sub(begin)
    }

    /// `[192.0.2.1]`, `[IPv6:2001:db8::1]`. Without angle brackets Exim asks neither the option nor what is inside.
    fn domain_literal(&mut self, bracketed: bool) -> Result<usize, AddressError> {
        if bracketed && !self.syntax.allow_domain_literals {
            return Err(AddressError::DomainLiteralNotAllowed);
        }
        let begin = self.at;
        let rest = self.input.get(begin..).unwrap_or_default();
        let inside = rest.iter().position(|&b| b == b']').ok_or(AddressError::DomainLiteralMalformed)?;
        let text = rest.get(1..inside).unwrap_or_default();
        if bracketed && !text.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b'.' | b':')) {
            let tail = text.get(..5).filter(|p| p.eq_ignore_ascii_case(b"IPv6:")).and_then(|_| text.get(5..));
            if !tail.is_some_and(|t| t.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b'.' | b':'))) {
                return Err(AddressError::DomainLiteralMalformed);
            }
        }
        if !text.iter().all(|b| {
            b.is_ascii_graphic() && !matches!(b, b'[' | b'\\' | b'@' | b'"' | b'(' | b')' | b'<' | b'>')
        }) {
            return Err(AddressError::DomainLiteralMalformed);
        }
        let end = begin.saturating_add(inside).saturating_add(1);
        self.out.extend_from_slice(self.input.get(begin..end).unwrap_or_default());
        self.at = end;
        Ok(end)
    }
}

#[cfg(test)]
mod isemail;
#[cfg(test)]
mod tests;
