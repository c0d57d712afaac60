//! The `add_header` modifier: header lines that the message gets if it is accepted. Manual section 44.24.
//!
//! The text may hold several lines; each may begin with a position, and one that is no header line becomes
//! `X-ACL-Warn: …`. A line that has been asked for already is added once.

use oxim_base::Text;
use oxim_mail::header::{Position, is_valid_name};

use super::super::clause::{Argument, ClauseRow, Kind, Modifier};
use super::super::phase::{Phases, all_but};
use super::super::run::Run;
use super::super::{AddedHeader, Phase};

/// Where no header lines can be added.
pub(crate) const FORBIDDEN: Phases = all_but(&[
    Phase::Mail,
    Phase::Rcpt,
    Phase::Predata,
    Phase::Data,
    Phase::Prdr,
    Phase::Mime,
    Phase::Dkim,
    Phase::NotSmtp,
    Phase::NotSmtpMime,
    Phase::NotSmtpStart,
]);

/// The row.
pub(crate) static ROW: ClauseRow = ClauseRow {
    name: "add_header",
    doc: "Adds header lines, at the end or at a place that is given.",
    forbidden: FORBIDDEN,
    is_expanded: true,
    kind: Kind::Modifier(compile),
};

fn compile(_: &Argument<'_>) -> Result<Box<dyn Modifier>, String> {
    Ok(Box::new(Add))
}

#[derive(Debug)]
struct Add;

impl Modifier for Add {
    fn apply(&self, run: &mut Run<'_>, argument: &Text) -> Result<(), String> {
        add(run, argument);
        Ok(())
    }
}

/// Adds the lines of a text.
pub(crate) fn add(run: &mut Run<'_>, text: &Text) {
    for line in lines(text.as_bytes()) {
        let header = header(line);
        let known = &mut run.scene.message.headers_added;
        if known.contains(&header) {
            continue;
        }
        let shown = header.text.strip_suffix(b"\n").unwrap_or(&header.text).to_vec();
        known.push(header);
        run.scene.context.message.headers_added.push(text.derive(shown));
    }
}

/// The header lines of a text, whole and well formed; what is no header line becomes `X-ACL-Warn:`.
pub(crate) fn header_lines(text: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    lines(text).into_iter().map(|line| header(line).text)
}

/// The header lines in a text, each with its folded lines but without the last newline.
fn lines(text: &[u8]) -> Vec<&[u8]> {
    let is_newline = |byte: &u8| *byte == b'\n';
    let start = text.iter().position(|b| !is_newline(b)).unwrap_or(text.len());
    let end = text.iter().rposition(|b| !is_newline(b)).map_or(start, |last| last.saturating_add(1));
    let mut rest = text.get(start..end).unwrap_or_default();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at_checked(line_end(rest)).unwrap_or((rest, &[]));
        found.push(line);
        rest = tail.get(1..).unwrap_or_default();
    }
    found
}

/// Where the newline is that is not followed by a blank.
fn line_end(text: &[u8]) -> usize {
    let mut from = 0_usize;
    while let Some(found) = memchr::memchr(b'\n', text.get(from..).unwrap_or_default()) {
        let at = from.saturating_add(found);
        from = at.saturating_add(1);
        if !matches!(text.get(from), Some(b' ' | b'\t')) {
            return at;
        }
    }
    text.len()
}

fn header(line: &[u8]) -> AddedHeader {
    let (position, line) = Position::take(line);
    let mut text = Vec::with_capacity(line.len().saturating_add(13));
    if !is_header(line) {
        text.extend_from_slice(b"X-ACL-Warn: ");
    }
    text.extend_from_slice(line);
    text.push(b'\n');
    AddedHeader { position, text }
}

/// A name, perhaps blanks, and a colon.
fn is_header(line: &[u8]) -> bool {
    let Some(colon) = memchr::memchr(b':', line) else { return false };
    let name = line.get(..colon).unwrap_or_default().trim_ascii_end();
    is_valid_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(text: &str) -> Vec<(Position, String)> {
        let one = |line| {
            let header = header(line);
            (header.position, String::from_utf8(header.text).unwrap())
        };
        lines(text.as_bytes()).into_iter().map(one).collect()
    }

    #[test]
    fn a_text_holds_several_lines_each_with_its_place() {
        assert_eq!(
            made("\n\nX-a: b\n c\n:at_start:X-b: d\nfoo bar\n:after_received:X-c:\n\n"),
            [
                (Position::AtEnd, "X-a: b\n c\n".to_owned()),
                (Position::AtStart, "X-b: d\n".to_owned()),
                (Position::AtEnd, "X-ACL-Warn: foo bar\n".to_owned()),
                (Position::AfterReceived, "X-c:\n".to_owned()),
            ]
        );
        assert_eq!(made("\n"), []);
        assert_eq!(made("From  : x"), [(Position::AtEnd, "From  : x\n".to_owned())]);
    }
}
