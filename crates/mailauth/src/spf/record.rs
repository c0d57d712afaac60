//! An SPF record, read whole (RFC 7208, sections 4.6, 5, 6 and 12).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Verdict;
use super::macros::MacroString;

/// A record that cannot be read: what is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    what: &'static str,
    term: String,
}

impl SyntaxError {
    pub(super) fn new(what: &'static str, term: &[u8]) -> SyntaxError {
        let shown = term.get(..term.len().min(80)).unwrap_or_default();
        SyntaxError { what, term: shown.escape_ascii().to_string() }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in \"{}\"", self.what, self.term)
    }
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub(super) directives: Vec<Directive>,
    pub(super) redirect: Option<MacroString>,
    pub(super) explanation: Option<MacroString>,
}

/// What a matching mechanism means, and the mechanism.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) verdict: Verdict,
    pub(super) mechanism: Mechanism,
}

/// Section 5. A domain that is None is the current one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    All,
    Include(MacroString),
    A(Option<MacroString>, Prefixes),
    Mx(Option<MacroString>, Prefixes),
    Ptr(Option<MacroString>),
    Network(IpAddr, u8),
    Exists(MacroString),
}

/// How many leading bits of an address count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefixes {
    pub(super) v4: u8,
    pub(super) v6: u8,
}

/// Whether a TXT record is an SPF record: `v=spf1`, then a blank or the end.
pub(super) fn is_spf(text: &[u8]) -> bool {
    text.split_at_checked(6).is_some_and(|(version, rest)| {
        version.eq_ignore_ascii_case(b"v=spf1") && matches!(rest, [] | [b' ', ..])
    })
}

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    /// The first term that is not of the grammar; a modifier that stands twice.
    pub fn read(text: &[u8]) -> Result<Record, SyntaxError> {
        if !is_spf(text) {
            return Err(SyntaxError::new("no version", text));
        }
        let terms = text.get(6..).unwrap_or_default();
        let mut record = Record { directives: Vec::new(), redirect: None, explanation: None };
        for term in terms.split(|b| *b == b' ').filter(|term| !term.is_empty()) {
            record.add(term)?;
        }
        Ok(record)
    }

    fn add(&mut self, term: &[u8]) -> Result<(), SyntaxError> {
        let Some((name, value)) = modifier(term) else {
            self.directives.push(directive(term)?);
            return Ok(());
        };
        let slot = if name.eq_ignore_ascii_case(b"redirect") {
            &mut self.redirect
        } else if name.eq_ignore_ascii_case(b"exp") {
            &mut self.explanation
        } else {
            return MacroString::of_record(value).map(drop);
        };
        if slot.is_some() {
            return Err(SyntaxError::new("a modifier that stands twice", term));
        }
        *slot = Some(domain(value, term)?);
        Ok(())
    }
}

/// `name=value`; a name begins with a letter.
fn modifier(term: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = term.iter().position(|b| !(b.is_ascii_alphanumeric() || b"-_.".contains(b)))?;
    let (name, rest) = term.split_at_checked(end)?;
    let is_name = name.first().is_some_and(u8::is_ascii_alphabetic);
    if is_name { rest.strip_prefix(b"=").map(|value| (name, value)) } else { None }
}

fn directive(term: &[u8]) -> Result<Directive, SyntaxError> {
    let (verdict, rest) = match term.split_first() {
        Some((b'+', rest)) => (Verdict::Pass, rest),
        Some((b'-', rest)) => (Verdict::Fail, rest),
        Some((b'~', rest)) => (Verdict::SoftFail, rest),
        Some((b'?', rest)) => (Verdict::Neutral, rest),
        _ => (Verdict::Pass, term),
    };
    Ok(Directive { verdict, mechanism: mechanism(rest, term)? })
}

fn mechanism(text: &[u8], term: &[u8]) -> Result<Mechanism, SyntaxError> {
    let end = text.iter().position(|b| b":/".contains(b)).unwrap_or(text.len());
    let (name, argument) = text.split_at_checked(end).unwrap_or((text, b""));
    let given = argument.strip_prefix(b":");
    let missing = || SyntaxError::new("a mechanism without its argument", term);
    match name.to_ascii_lowercase().as_slice() {
        b"all" if argument.is_empty() => Ok(Mechanism::All),
        b"include" => Ok(Mechanism::Include(domain(given.ok_or_else(missing)?, term)?)),
        b"exists" => Ok(Mechanism::Exists(domain(given.ok_or_else(missing)?, term)?)),
        b"a" => with_prefixes(argument, term).map(|(domain, prefixes)| Mechanism::A(domain, prefixes)),
        b"mx" => with_prefixes(argument, term).map(|(domain, prefixes)| Mechanism::Mx(domain, prefixes)),
        b"ptr" if argument.is_empty() => Ok(Mechanism::Ptr(None)),
        b"ptr" => Ok(Mechanism::Ptr(Some(domain(given.ok_or_else(missing)?, term)?))),
        b"ip4" => network::<Ipv4Addr>(given.ok_or_else(missing)?, 32, term),
        b"ip6" => network::<Ipv6Addr>(given.ok_or_else(missing)?, 128, term),
        _ => Err(SyntaxError::new("an unknown mechanism", term)),
    }
}

/// `[":" domain] ["/" bits] ["//" bits]`
fn with_prefixes(argument: &[u8], term: &[u8]) -> Result<(Option<MacroString>, Prefixes), SyntaxError> {
    let (rest, v6) = strip_prefix_length(argument, b"//", 128, term)?;
    let (rest, v4) = strip_prefix_length(rest, b"/", 32, term)?;
    let prefixes = Prefixes { v4: v4.unwrap_or(32), v6: v6.unwrap_or(128) };
    if rest.is_empty() {
        return Ok((None, prefixes));
    }
    let name =
        rest.strip_prefix(b":").ok_or_else(|| SyntaxError::new("a mechanism that cannot be read", term))?;
    Ok((Some(domain(name, term)?), prefixes))
}

/// Takes the mark and a number off the end, if they stand there.
fn strip_prefix_length<'a>(
    text: &'a [u8],
    mark: &[u8],
    most: u8,
    term: &[u8],
) -> Result<(&'a [u8], Option<u8>), SyntaxError> {
    let digits = text.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let Some((head, number)) = text.len().checked_sub(digits).and_then(|at| text.split_at_checked(at)) else {
        return Ok((text, None));
    };
    match head.strip_suffix(mark) {
        // `/24` is no end of `//24`.
        Some(head) if digits > 0 && !(mark == b"/" && head.ends_with(b"/")) => {
            Ok((head, Some(bits(number, most, term)?)))
        }
        _ => Ok((text, None)),
    }
}

fn bits(digits: &[u8], most: u8, term: &[u8]) -> Result<u8, SyntaxError> {
    let is_plain = matches!(digits, [b'0'] | [b'1'..=b'9', ..]) && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits)
        .ok()
        .filter(|_| is_plain)
        .and_then(|text| text.parse::<u8>().ok())
        .filter(|bits| *bits <= most)
        .ok_or_else(|| SyntaxError::new("a prefix length that cannot be", term))
}

fn network<A: std::str::FromStr + Into<IpAddr>>(
    text: &[u8],
    most: u8,
    term: &[u8],
) -> Result<Mechanism, SyntaxError> {
    let (address, length) =
        match text.iter().position(|b| *b == b'/').and_then(|at| text.split_at_checked(at)) {
            Some((address, length)) => (address, bits(length.get(1..).unwrap_or_default(), most, term)?),
            None => (text, most),
        };
    std::str::from_utf8(address)
        .ok()
        .and_then(|text| text.parse::<A>().ok())
        .map(|address| Mechanism::Network(address.into(), length))
        .ok_or_else(|| SyntaxError::new("an address that cannot be read", term))
}

/// A macro string that ends in a macro or in `.toplabel` (a top label is not all digits).
fn domain(text: &[u8], term: &[u8]) -> Result<MacroString, SyntaxError> {
    let read = MacroString::of_record(text)?;
    if read.ends_in_macro() {
        return Ok(read);
    }
    let body = text.strip_suffix(b".").unwrap_or(text);
    let dot = body.iter().rposition(|b| *b == b'.');
    let label = dot.and_then(|dot| body.get(dot.saturating_add(1)..)).unwrap_or_default();
    let is_label = !label.is_empty()
        && label.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
        && label.iter().any(|b| !b.is_ascii_digit())
        && !label.starts_with(b"-")
        && !label.ends_with(b"-");
    if is_label { Ok(read) } else { Err(SyntaxError::new("a domain that cannot be", term)) }
}
