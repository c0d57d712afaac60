//! Addresses in header lines: replaced in place, everything around them kept (manual sections 31.2 and 31.10).
//!
//! One thing is added, as Exim does: where a replacement is longer than what it replaces and the line has got long, the
//! line is folded behind the comma that follows.

use oxim_lang::context::Context;
use oxim_lang::list::{LogKind, write_log};
use oxim_mail::address::{AddressError, AddressSyntax, ListItem, ParsedAddress, address_list};
use oxim_mail::header::{Header, HeaderKind};
use oxim_mail::rfc2047;

use super::{Place, Rewritten, Rules, Settings};

/// Lines that are longer than this at the end of a replaced item are folded there. Exim's figure.
const FOLD_BYTES: usize = 40;
/// The break.
const FOLD: &[u8] = b"\n\t";

/// The place that a header line is for rules. Resent- lines are as their plain ones.
fn place_of(header: &Header) -> Option<Place> {
    match header.kind {
        HeaderKind::Sender => Some(Place::Sender),
        HeaderKind::From => Some(Place::From),
        HeaderKind::To => Some(Place::To),
        HeaderKind::Cc => Some(Place::Cc),
        HeaderKind::Bcc => Some(Place::Bcc),
        HeaderKind::ReplyTo => Some(Place::ReplyTo),
        HeaderKind::Other | HeaderKind::Id | HeaderKind::Received | HeaderKind::Deleted => None,
    }
}

impl Rules {
    /// Qualifies and rewrites the addresses of a header line. None: nothing has changed.
    pub fn header(&self, context: &mut Context, header: &Header, settings: &Settings) -> Option<Header> {
        let place = place_of(header)?;
        let domain = match place {
            Place::To | Place::Cc | Place::Bcc | Place::EnvelopeTo => &settings.qualify_recipients,
            Place::Sender | Place::From | Place::ReplyTo | Place::EnvelopeFrom => &settings.qualify_senders,
        };
        let concerned = self.concern(place);
        if !concerned && domain.is_none() {
            return None;
        }
        edit(header, &settings.syntax, |parsed| {
            let address = match (parsed, domain) {
                (Err(AddressError::Empty), _) => return None,
                // Only to be qualified: not worth a line.
                (Err(_), _) if !concerned => return None,
                (Err(error), _) => {
                    write_log(context, LogKind::Main, &format!("rewrite: {error}"));
                    return None;
                }
                (Ok(parsed), _) if parsed.domain().is_some() => parsed.address.clone(),
                (Ok(parsed), Some(domain)) => [parsed.address.as_slice(), b"@", domain].concat(),
                (Ok(_), None) => return None,
            };
            let Rewritten { address: new, whole } = self.rewrite(context, place, &address, settings);
            match (whole, parsed) {
                (Some(whole), _) => Some(Change::Item(whole)),
                (None, Ok(parsed)) if new == parsed.address => None,
                _ => Some(Change::Address(new)),
            }
        })
    }
}

/// Replaces a domain, without regard to case, in all addresses of a header line: after routing has found the full name
/// of an abbreviated one. None: nothing has changed.
#[must_use]
pub fn replace_domain(header: &Header, old: &[u8], new: &[u8], syntax: &AddressSyntax) -> Option<Header> {
    place_of(header)?;
    edit(header, syntax, |parsed| {
        let parsed = parsed.as_ref().ok()?;
        let same = parsed.domain()?.eq_ignore_ascii_case(old);
        same.then(|| Change::Address([parsed.local_part(), b"@", new].concat()))
    })
}

/// What becomes of an item.
enum Change {
    /// Another address, between what was around it.
    Address(Vec<u8>),
    /// Another item altogether.
    Item(Vec<u8>),
}

/// Goes through the items of a header line and applies the changes.
fn edit(
    header: &Header,
    syntax: &AddressSyntax,
    mut change: impl FnMut(&Result<ParsedAddress, AddressError>) -> Option<Change>,
) -> Option<Header> {
    let body_start = header.body_start();
    let body = header.text.get(body_start..)?;
    let mut out = header.text.get(..body_start)?.to_vec();
    let mut copied = 0;
    let mut changed = false;
    let mut is_folded = false;
    // Where the last line begins, for Exim's count: at a break that was taken away again, too.
    let mut line_start = 0;
    for item in address_list(body) {
        let parsed = item.parse(syntax);
        let Some(change) = change(&parsed) else { continue };
        changed = true;
        let item_end = item.start.saturating_add(item.raw.len());
        let (range, new, folds) = match (change, &parsed) {
            (Change::Address(new), Ok(parsed)) => {
                let folds = new.len() > parsed.end.saturating_sub(parsed.start);
                (behind_bracket(body, parsed.start)..parsed.end, new, folds)
            }
            (Change::Address(new) | Change::Item(new), _) => {
                let folds = new.len() > item.raw.len();
                // A whole item takes the place of the break in front of it too.
                if is_folded && copied == item.start {
                    out.truncate(out.len().saturating_sub(FOLD.len()));
                    line_start = out.len();
                }
                (item.start..behind_blanks(body, item_end), new, folds)
            }
        };
        out.extend_from_slice(body.get(copied..range.start).unwrap_or_default());
        out.extend_from_slice(&new);
        copied = range.end;
        is_folded = false;
        if folds {
            (copied, is_folded) = fold(body, copied, &item, line_start, &mut out);
        }
    }
    if !changed {
        return None;
    }
    out.extend_from_slice(body.get(copied..).unwrap_or_default());
    Some(Header { kind: header.kind, text: out })
}

/// White space between `<` and the address goes with the address, as in Exim; that in front of a bare one stays.
fn behind_bracket(body: &[u8], start: usize) -> usize {
    let front = body.get(..start).unwrap_or_default();
    let trimmed = front.trim_ascii_end();
    if trimmed.last() == Some(&b'<') { trimmed.len() } else { start }
}

/// Blanks in front of the comma go with an item that is replaced as a whole.
fn behind_blanks(body: &[u8], end: usize) -> usize {
    let rest = body.get(end..).unwrap_or_default();
    let blanks = rest.iter().take_while(|b| matches!(**b, b' ' | b'\t')).count();
    if rest.get(blanks) == Some(&b',') { end.saturating_add(blanks) } else { end }
}

/// Copies up to and including the comma behind an item and the blanks behind it, and breaks the line there if it is
/// long and goes on. Gives the offset up to which the body is copied, and whether there is a break.
fn fold(
    body: &[u8],
    copied: usize,
    item: &ListItem<'_>,
    line_start: usize,
    out: &mut Vec<u8>,
) -> (usize, bool) {
    let end = item.start.saturating_add(item.raw.len());
    let skip = |from: usize, wanted: fn(u8) -> bool| {
        let rest = body.get(from..).unwrap_or_default();
        from.saturating_add(rest.iter().take_while(|b| wanted(**b)).count())
    };
    let separator = skip(end, |b| matches!(b, b' ' | b'\t' | b';'));
    if body.get(separator) != Some(&b',') {
        return (copied, false);
    }
    let after = skip(separator.saturating_add(1), |b| matches!(b, b' ' | b'\t'));
    let begins = |text: &[u8]| memchr::memrchr(b'\n', text).map_or(0, |at| at.saturating_add(1));
    let rest = body.get(copied..after).unwrap_or_default();
    out.extend_from_slice(rest);
    let line_bytes = out.len().saturating_sub(begins(out).max(line_start));
    let folds = line_bytes > FOLD_BYTES && body.get(after).is_some_and(|b| *b != b'\n');
    if folds {
        out.extend_from_slice(FOLD);
    }
    (after, folds)
}

/// The replacement of a rule with `w`: its phrase made fit for a header line.
pub(super) fn tidy_phrase(text: &[u8], settings: &Settings) -> Vec<u8> {
    let text = text.trim_ascii();
    let Some(bracket) = opening_bracket(text) else {
        return text.to_vec();
    };
    let (front, rest) = text.split_at_checked(bracket).unwrap_or((b"", text));
    let phrase = front.trim_ascii_end();
    if phrase.is_empty() {
        return text.to_vec();
    }
    let foreign = |b: &u8| *b > 126 || (*b < 32 && *b != b'\t');
    let phrase = if phrase.iter().any(foreign) {
        rfc2047::encode(phrase, settings.headers_charset.as_bytes())
    } else if is_phrase(phrase) {
        phrase.to_vec()
    } else {
        let mut quoted = vec![b'"'];
        for byte in phrase {
            if *byte == b'"' {
                quoted.push(b'\\');
            }
            quoted.push(*byte);
        }
        quoted.push(b'"');
        quoted
    };
    [phrase.as_slice(), b" ", rest].concat()
}

/// The `<` that is not within quotes or a comment.
fn opening_bracket(text: &[u8]) -> Option<usize> {
    let (mut quoted, mut depth, mut escaped) = (false, 0_usize, false);
    text.iter().position(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' if depth == 0 => quoted = !quoted,
            b'(' if !quoted => depth = depth.saturating_add(1),
            b')' if !quoted => depth = depth.saturating_sub(1),
            b'<' => return !quoted && depth == 0,
            _ => {}
        }
        false
    })
}

/// Whether a text is words, quoted strings and comments only.
fn is_phrase(text: &[u8]) -> bool {
    let (mut quoted, mut depth, mut escaped) = (false, 0_usize, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted || depth > 0 => escaped = true,
            b'"' if depth == 0 => quoted = !quoted,
            _ if quoted => {}
            b'(' => depth = depth.saturating_add(1),
            b')' if depth > 0 => depth = depth.saturating_sub(1),
            _ if depth > 0 || matches!(byte, b' ' | b'\t' | b'\n' | b'.') => {}
            _ if oxim_mail::address::is_atom_byte(*byte) => {}
            _ => return false,
        }
    }
    !quoted && depth == 0
}
