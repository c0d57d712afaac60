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

pub use list::{AddressList, ListItem, address_list};
pub use quote::{quote_local_part, split_at_domain, unquote_local_part};

/// Longest canonical address, in bytes. Exim's figure; RFC 5321 allows 254 in a path.
pub const ADDRESS_BYTES_MAX: usize = 256;

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
        /// What follows.
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
    let mut scanner = Scanner { input, at: 0, begin: 0, out, syntax };
    scanner.skip_blank();
    scanner.begin = scanner.at;
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
    /// Where the first word or bracket stands, for error texts.
    begin: usize,
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
            rest: self.input.get(self.at..).unwrap_or_default().to_vec(),
            before: self.input.get(self.begin..self.at).unwrap_or_default().to_vec(),
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
                self.route(false)?;
                return self.routed(start, false);
            }
            Some(_) => {}
        }
        let mut end = self.local_part(false)?;
        self.skip_blank();
        loop {
            match self.peek() {
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
        self.skip_blank();
        while self.syntax.strip_excess_angle_brackets && self.take(b'<') {
            excess = excess.saturating_add(1);
            self.skip_blank();
        }
        let start = self.at;
        let parsed = match self.peek() {
            Some(b'>') if self.syntax.allow_empty => self.finished(None, start, start),
            Some(b'@') => {
                self.route(true)?;
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
        if self.peek() != Some(b'@') {
            return Err(AddressError::RouteWithoutDomain);
        }
        let local_part_end = self.out.len();
        let end = self.at_domain(bracketed)?;
        Ok(self.finished(Some(local_part_end), start, end))
    }

    /// `@domain,@domain:`, at `@`.
    fn route(&mut self, bracketed: bool) -> Result<(), AddressError> {
        let mut commas = 0_usize;
        while self.peek() == Some(b'@') {
            self.step();
            self.domain(bracketed)?;
            self.out.clear();
            self.skip_blank();
            while self.take(b',') {
                commas = commas.saturating_add(1);
                self.skip_blank();
            }
        }
        if self.take(b':') {
            self.skip_blank();
            return Ok(());
        }
        Err(if commas > 0 { AddressError::RouteColon } else { AddressError::NoLocalPart })
    }

    /// `@domain`, at `@`. Returns where the domain ends in the input.
    fn at_domain(&mut self, bracketed: bool) -> Result<usize, AddressError> {
        self.step();
        self.out.push(b'@');
        self.domain(bracketed)
    }

    /// Words with dots between them. Empty words are allowed (manual 48.20), an empty whole is not.
    /// Returns where it ends in the input.
    fn local_part(&mut self, in_phrase: bool) -> Result<usize, AddressError> {
        let length = self.out.len();
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
                break;
            }
            self.out.push(b'.');
            end = self.at;
            self.skip_blank();
        }
        if self.out.len() == length {
            return Err(AddressError::LocalPart { in_phrase });
        }
        Ok(end)
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
            let more =
                self.peek().is_some_and(|b| b.is_ascii_alphanumeric() || b >= 0x80 || b == b'.' || b == b'-');
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
mod tests {
    use super::*;

    fn bracket_syntax() -> AddressSyntax {
        AddressSyntax {
            allow_domain_literals: true,
            allow_utf8_domains: true,
            strip_excess_angle_brackets: true,
            strip_trailing_dot: true,
            ..AddressSyntax::default()
        }
    }

    fn read(input: &str, syntax: &AddressSyntax) -> String {
        match parse(input.as_bytes(), syntax) {
            Ok(parsed) => String::from_utf8_lossy(&parsed.address).into_owned(),
            Err(error) => format!("! {error}"),
        }
    }

    #[test]
    fn plain_forms_and_their_errors() {
        // Each checked against exim4 -bv and RCPT TO.
        for (input, expected) in [
            ("a@b.c", "a@b.c"),
            ("bad@@addr", "! domain missing or malformed"),
            ("@b", "! no local part"),
            ("a@", "! domain missing or malformed"),
            ("a b@c", "! missing or malformed local part (expected word or \"<\")"),
            ("a@b c", "! malformed address: c may not follow a@b "),
            ("a..b@c", "a..b@c"),
            (".a@b", ".a@b"),
            ("a.@b", "a.@b"),
            ("\"q x\"@d.e", "\"q x\"@d.e"),
            ("\"q\\\"x\"@d.e", "\"q\\\"x\"@d.e"),
            ("\"\"@d.e", "\"\"@d.e"),
            ("a@b>", "! malformed address: > may not follow a@b"),
            ("@r1,@r2:a@b", "a@b"),
            ("", "! empty address"),
            ("(c)", "! empty address"),
            ("Fred <a@b>", "a@b"),
            ("Fred. B <a@b>", "a@b"),
            ("Fred (x) . (y) B \"q\" <a@b>", "a@b"),
            ("\"Fred\" <a@b> x", "! malformed address: x may not follow \"Fred\" <a@b> "),
            ("(c) a(c)@(d)b(e)", "a@b"),
            ("a@b(unclosed", "a@b"),
            ("a@[1.2.3.4]", "a@[1.2.3.4]"),
            ("a@[xyz]", "a@[xyz]"),
            ("a@b.", "! domain missing or malformed"),
            ("a@b..c", "! domain missing or malformed"),
            ("a@.b", "! domain missing or malformed"),
            ("a@b_c", "! malformed address: _c may not follow a@b"),
            ("a@b-", "a@b-"),
            ("a@-b", "! domain missing or malformed"),
            ("a@b.-c", "! domain missing or malformed"),
            ("a@ünï.de", "! domain missing or malformed"),
            ("ü@b.de", "ü@b.de"),
            ("a@b,c@d", "! malformed address: ,c@d may not follow a@b"),
            ("a:b", "! missing or malformed local part (expected word or \"<\")"),
            ("a;b", "! malformed address: ;b may not follow a"),
            ("a\\@b@c", "a\\@b@c"),
            ("\"a\\", "! unmatched doublequote in local part"),
            ("\"aa@b \"x\"", "! unmatched doublequote in local part (expected word or \"<\")"),
            ("a . b @ c . d", "a.b@c.d"),
            ("user", "user"),
            ("us er", "! missing or malformed local part (expected word or \"<\")"),
            ("a@b@c", "! malformed address: @c may not follow a@b"),
            ("Mr X <a@b> (c) y", "! malformed address: y may not follow Mr X <a@b> (c) "),
            ("a%b@c", "a%b@c"),
            ("|x", "|x"),
            ("Fred <a@b", "! '>' missing at end of address"),
            ("a.\"b c\"@c", "a.\"b c\"@c"),
            ("a\"b\"@c", "! missing or malformed local part (expected word or \"<\")"),
            ("a\u{1}@b", "! missing or malformed local part (expected word or \"<\")"),
        ] {
            assert_eq!(read(input, &AddressSyntax::default()), expected, "{input}");
        }
    }

    #[test]
    fn bracketed_forms_and_their_errors() {
        for (input, expected, relaxed) in [
            ("<>", "! missing or malformed local part", "! missing or malformed local part"),
            ("<<a@b>>", "! missing or malformed local part", "a@b"),
            ("<<<a@b>>>", "! missing or malformed local part", "a@b"),
            ("<<a@b>", "! missing or malformed local part", "! '>' missing at end of address"),
            ("<a@b", "! '>' missing at end of address", "! '>' missing at end of address"),
            ("<a@b.>", "! domain missing or malformed", "a@b"),
            ("<a@b..>", "! domain missing or malformed", "! domain missing or malformed"),
            ("<a@[1.2.3.4]>", "! domain literals not allowed", "a@[1.2.3.4]"),
            ("<a@[ipv6:::1]>", "! domain literals not allowed", "a@[ipv6:::1]"),
            ("<a@[xyz]>", "! domain literals not allowed", "! malformed domain literal"),
            ("<a@[1.2.3.4>", "! domain literals not allowed", "! malformed domain literal"),
            ("<a@ünï.de>", "! domain missing or malformed", "a@ünï.de"),
            ("<a@-ü>", "! domain missing or malformed", "! domain missing or malformed"),
            ("<@r1,@r2:a@b>", "a@b", "a@b"),
            ("<@[1.2.3.4],@x.y:a@b>", "! domain literals not allowed", "a@b"),
            ("<@x,a@b>", "! colon expected after route list", "! colon expected after route list"),
            ("<@x a@b>", "! no local part", "! no local part"),
            ("<@x:>", "! missing or malformed local part", "! missing or malformed local part"),
            (
                "<@x:user>",
                "! domain missing in source-routed address",
                "! domain missing in source-routed address",
            ),
            ("<@x,:a@b>", "a@b", "a@b"),
            ("<@>", "! domain missing or malformed", "! domain missing or malformed"),
            ("<a:b>", "! \"@\" or \".\" expected after \"a\"", "! \"@\" or \".\" expected after \"a\""),
            (
                "<\"a\"b@c>",
                "! \"@\" or \".\" expected after \"\"a\"\"",
                "! \"@\" or \".\" expected after \"\"a\"\"",
            ),
            ("<a\\>", "! \"@\" or \".\" expected after \"a\\>\"", "! \"@\" or \".\" expected after \"a\\>\""),
            (
                "<a@b_c>",
                "! malformed address: _c> may not follow <a@b",
                "! malformed address: _c> may not follow <a@b",
            ),
            (
                "<a@b c>",
                "! malformed address: c> may not follow <a@b ",
                "! malformed address: c> may not follow <a@b ",
            ),
            ("<a@b(unclosed>", "! '>' missing at end of address", "! '>' missing at end of address"),
            ("<a(c@b>", "! \"@\" or \".\" expected after \"a\"", "! \"@\" or \".\" expected after \"a\""),
            (
                "<\"unterminated>",
                "! unmatched doublequote in local part",
                "! unmatched doublequote in local part",
            ),
            ("<.>", ".", "."),
            ("<user>", "user", "user"),
        ] {
            assert_eq!(read(input, &AddressSyntax::default()), expected, "{input}");
            assert_eq!(read(input, &bracket_syntax()), relaxed, "{input} with all options");
        }
    }

    #[test]
    fn the_empty_address_on_demand() {
        let syntax = AddressSyntax { allow_empty: true, ..AddressSyntax::default() };
        assert_eq!(parse(b"<>", &syntax).map(|p| p.address), Ok(Vec::new()));
        assert!(parse(b"", &syntax).is_err());
    }

    #[test]
    fn offsets_cover_the_address_and_nothing_else() {
        for (input, inner) in [
            ("Fred <a@b> (c)", "a@b"),
            (" (x) a . b @ c . d (y) ", "a . b @ c . d"),
            ("<@r:a@b>", "@r:a@b"),
            ("user (c)", "user"),
            ("<a@b. >", "a@b."),
        ] {
            let parsed = parse(input.as_bytes(), &bracket_syntax()).unwrap();
            assert_eq!(std::str::from_utf8(&input.as_bytes()[parsed.range()]).unwrap(), inner);
        }
        let parsed = parse(b"Fred <\"a b\"@c.d>", &AddressSyntax::default()).unwrap();
        assert_eq!((parsed.local_part(), parsed.domain()), (b"\"a b\"".as_slice(), Some(b"c.d".as_slice())));
    }

    #[test]
    fn length_is_limited() {
        let mut input = vec![b'a'; ADDRESS_BYTES_MAX - 2];
        input.extend(b"@b");
        assert!(parse(&input, &AddressSyntax::default()).is_ok());
        input.insert(0, b'a');
        let error = parse(&input, &AddressSyntax::default()).unwrap_err();
        assert!(error.to_string().starts_with("address is ridiculously long: aaaa"));
        assert_eq!(error.to_string().len(), 30 + 64 + 3);
    }

    #[test]
    fn no_line_break_survives() {
        let parsed = parse(b"\"a\r\n b\"@c", &AddressSyntax::default()).unwrap();
        assert_eq!(parsed.address, b"\"a b\"@c");
        assert!(parse(b"a\\\nb@c", &AddressSyntax::default()).is_err());
    }
}
