//! Finds the MIME parts of a message in a file, one after the other, in bounded memory (RFC 2046 section 5.1).
//!
//! A part ends at a delimiter of any multipart around it, whether or not those within it were closed: what a mail program
//! would show is found. Lines may have any length; only their beginnings can be delimiters.
//! Failure modes: reading fails; multiparts are nested too deep ([`WalkError::TooDeep`]).

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use oxim_base::limits::{MIME_DEPTH_MAX, MIME_HEADER_BYTES_MAX, SCANNED_LINE_BYTES_MAX};
use oxim_mail::mime::part::PartHeader;

/// Why there is no next part.
#[derive(Debug)]
pub enum WalkError {
    /// The file cannot be read.
    Local(io::Error),
    /// Multiparts are nested too deep.
    TooDeep,
}

impl From<io::Error> for WalkError {
    fn from(error: io::Error) -> WalkError {
        WalkError::Local(error)
    }
}

/// A part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What its header says.
    pub header: PartHeader,
    /// Its number in the message, from 0.
    pub number: i64,
    /// Whether it is believed to be what the reader sees first (manual section 45.4, `$mime_is_coverletter`).
    pub is_cover_letter: bool,
    /// Where its content starts in the file.
    pub start: u64,
    /// The boundaries of the multiparts around it, outermost first.
    pub boundaries: Vec<Vec<u8>>,
}

/// A multipart whose parts are being looked for.
struct Container {
    boundary: Vec<u8>,
    is_cover_letter: bool,
    /// All its parts are cover letters if it is one: alternative, related.
    is_shared: bool,
    children: u64,
}

/// The way through a message.
pub struct Walk<R> {
    lines: Lines<R>,
    containers: Vec<Container>,
    number: i64,
    charset: Vec<u8>,
    /// A delimiter that was met inside a header: whose it is, and whether it closes.
    met: Option<(usize, bool)>,
}

impl<R: Read + Seek> Walk<R> {
    /// At the beginning of a message. File names are translated to `charset`.
    pub fn new(reader: R, charset: &[u8]) -> Walk<R> {
        Walk {
            lines: Lines::new(reader),
            containers: Vec::new(),
            number: -1,
            charset: charset.to_vec(),
            met: None,
        }
    }

    /// The number of the last part; -1 before the first.
    #[must_use]
    pub fn number(&self) -> i64 {
        self.number
    }

    /// The next part; None after the last.
    ///
    /// # Errors
    /// The rest cannot be looked at.
    pub fn next_part(&mut self) -> Result<Option<Found>, WalkError> {
        if self.number < 0 {
            return self.part(true).map(Some);
        }
        loop {
            let Some((index, is_end)) = self.next_delimiter()? else { return Ok(None) };
            if is_end {
                self.containers.truncate(index);
                continue;
            }
            self.containers.truncate(index.saturating_add(1));
            let is_cover_letter = self.containers.last_mut().is_some_and(|container| {
                container.children = container.children.saturating_add(1);
                container.is_cover_letter && (container.is_shared || container.children == 1)
            });
            return self.part(is_cover_letter).map(Some);
        }
    }

    /// Goes on to the next delimiter.
    fn next_delimiter(&mut self) -> io::Result<Option<(usize, bool)>> {
        if let Some(met) = self.met.take() {
            return Ok(Some(met));
        }
        if self.containers.is_empty() {
            return Ok(None);
        }
        while let Some((line, is_start)) = self.lines.next()? {
            if is_start && let Some(found) = delimiter_of(line, &self.containers) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Reads the header of a part.
    fn part(&mut self, is_cover_letter: bool) -> Result<Found, WalkError> {
        let mut block = Vec::new();
        let mut start = self.lines.at;
        while let Some((line, is_start)) = self.lines.next()? {
            if is_start && matches!(line, b"\n" | b"\r\n") {
                start = self.lines.at;
                break;
            }
            if is_start && let Some(found) = delimiter_of(line, &self.containers) {
                self.met = Some(found);
                break;
            }
            if block.len().saturating_add(line.len()) <= MIME_HEADER_BYTES_MAX {
                block.extend_from_slice(line);
            }
            start = self.lines.at;
        }
        let header = PartHeader::read(&block, &self.charset);
        self.number = self.number.saturating_add(1);
        let found = Found {
            number: self.number,
            is_cover_letter,
            start,
            boundaries: self.containers.iter().map(|container| container.boundary.clone()).collect(),
            header,
        };
        if self.met.is_none() && found.header.is_multipart() && !found.header.boundary.is_empty() {
            if self.containers.len() >= MIME_DEPTH_MAX {
                return Err(WalkError::TooDeep);
            }
            let content_type = found.header.content_type.as_slice();
            self.containers.push(Container {
                boundary: found.header.boundary.clone(),
                is_cover_letter,
                is_shared: matches!(content_type, b"multipart/alternative" | b"multipart/related"),
                children: 0,
            });
        }
        Ok(found)
    }
}

/// Whose delimiter a line is, and whether it is the last one. The boundary that is the whole line comes first, then the longest
/// that the line begins with (RFC 2046 takes that for a delimiter), and the innermost of equals.
fn delimiter_of(line: &[u8], containers: &[Container]) -> Option<(usize, bool)> {
    if !line.starts_with(b"--") {
        return None;
    }
    let delimiters = containers.iter().enumerate().filter_map(|(index, container)| {
        let Delimiter { is_whole, is_end } = delimits(line, &container.boundary)?;
        Some(((is_whole, container.boundary.len(), index), is_end))
    });
    delimiters.max_by_key(|(rank, _)| *rank).map(|((_, _, index), is_end)| (index, is_end))
}

/// A line that begins with a boundary.
struct Delimiter {
    /// There is nothing else but white space.
    is_whole: bool,
    /// It closes the multipart.
    is_end: bool,
}

/// What a line is to a boundary. None: nothing.
fn delimits(line: &[u8], boundary: &[u8]) -> Option<Delimiter> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary)?;
    let (rest, is_end) = rest.strip_prefix(b"--").map_or((rest, false), |rest| (rest, true));
    Some(Delimiter { is_whole: rest.iter().all(u8::is_ascii_whitespace), is_end })
}

/// Whether a line is a delimiter of one of the boundaries.
#[must_use]
pub fn is_delimiter(line: &[u8], boundaries: &[Vec<u8>]) -> bool {
    line.starts_with(b"--") && boundaries.iter().any(|boundary| delimits(line, boundary).is_some())
}

/// The content of a part: its lines up to the next delimiter of a multipart around it.
pub struct Content<'a, R> {
    lines: Lines<R>,
    boundaries: &'a [Vec<u8>],
}

impl<'a, R: Read + Seek> Content<'a, R> {
    /// The content that starts there.
    ///
    /// # Errors
    /// There is no such place in the file.
    pub fn new(mut reader: R, start: u64, boundaries: &'a [Vec<u8>]) -> io::Result<Content<'a, R>> {
        reader.seek(SeekFrom::Start(start))?;
        Ok(Content { lines: Lines::new(reader), boundaries })
    }

    /// The next line with its line end, or the next piece of a very long one. None at the end.
    ///
    /// # Errors
    /// Reading fails.
    pub fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        Ok(match self.lines.next()? {
            Some((line, is_start)) if !(is_start && is_delimiter(line, self.boundaries)) => Some(line),
            Some(_) | None => None,
        })
    }
}

/// Lines of a file, long ones in pieces.
struct Lines<R> {
    reader: BufReader<R>,
    buffer: Vec<u8>,
    /// Bytes given out so far.
    at: u64,
    is_mid_line: bool,
}

impl<R: Read> Lines<R> {
    fn new(reader: R) -> Lines<R> {
        Lines { reader: BufReader::new(reader), buffer: Vec::new(), at: 0, is_mid_line: false }
    }

    /// The next line or piece, and whether it begins a line.
    fn next(&mut self) -> io::Result<Option<(&[u8], bool)>> {
        self.buffer.clear();
        let limit = u64::try_from(SCANNED_LINE_BYTES_MAX).unwrap_or(u64::MAX);
        let taken = (&mut self.reader).take(limit).read_until(b'\n', &mut self.buffer)?;
        if taken == 0 {
            return Ok(None);
        }
        self.at = self.at.saturating_add(u64::try_from(taken).unwrap_or(u64::MAX));
        let is_start = !self.is_mid_line;
        self.is_mid_line = self.buffer.last() != Some(&b'\n');
        Ok(Some((&self.buffer, is_start)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// Number, type, cover letter, content of each part.
    fn parts(message: &str) -> Vec<(i64, String, bool, String)> {
        let bytes = message.as_bytes();
        let mut walk = Walk::new(Cursor::new(bytes), b"UTF-8");
        let mut out = Vec::new();
        while let Some(found) = walk.next_part().unwrap() {
            let mut content = Content::new(Cursor::new(bytes), found.start, &found.boundaries).unwrap();
            let mut text = Vec::new();
            while let Some(line) = content.next_line().unwrap() {
                text.extend_from_slice(line);
            }
            out.push((
                found.number,
                String::from_utf8(found.header.content_type).unwrap(),
                found.is_cover_letter,
                String::from_utf8(text).unwrap(),
            ));
        }
        assert_eq!(walk.number(), i64::try_from(out.len()).unwrap() - 1);
        out
    }

    fn shown(message: &str) -> Vec<String> {
        parts(message)
            .into_iter()
            .map(|(number, kind, cover, text)| format!("{number} {kind} {} {text}", u8::from(cover)))
            .collect()
    }

    #[test]
    fn parts_and_cover_letters() {
        let message = "Content-Type: multipart/mixed; boundary=B\n\npre\n--B\nContent-Type: multipart/alternative; \
                       boundary=D\n\n--D\n\nin D1\n-D\n--Dx\nContent-Type: text/html\n\nin D2\n--D--\n--B  \n\
                       Content-Type: multipart/mixed; boundary=C\n\n--C\n\nin C1\n--B\nContent-Type: multipart/mixed\n\n\
                       none\n--B--\nafter\n--B\n";
        let after_b = message.split_once("\n\n").unwrap().1;
        let d = after_b.split_once("\n\n").unwrap().1.split_once("--B  ").unwrap().0;
        assert_eq!(
            shown(message),
            [
                format!("0 multipart/mixed 1 {after_b}"),
                format!("1 multipart/alternative 1 {d}"),
                "2  1 in D1\n-D\n".to_owned(),
                "3 text/html 1 in D2\n".to_owned(),
                "4 multipart/mixed 0 --C\n\nin C1\n".to_owned(),
                "5  0 in C1\n".to_owned(),
                "6 multipart/mixed 0 none\n".to_owned(),
            ]
        );
    }

    #[test]
    fn headers_without_end() {
        let message = "Content-Type: multipart/mixed; boundary=B\n\n--B\nContent-Type: text/x\n--B\n--B\n\nx";
        assert_eq!(shown(message)[1..], ["1 text/x 1 ", "2  0 ", "3  0 x"]);
        assert_eq!(shown(""), ["0  1 "]);
    }

    #[test]
    fn a_line_may_begin_with_several_boundaries() {
        let of = |outer: &str, inner: &str| {
            shown(&format!(
                "Content-Type: multipart/mixed; boundary={outer}\n\n--{outer}\nContent-Type: multipart/mixed; boundary={inner}\n\n\
                 --{inner}\n\none\n--{inner}--\n--{outer}\n\ntwo\n--{outer}--\n"
            ))
            .split_off(2)
        };
        for (outer, inner) in [("a", "ab"), ("ab", "a"), ("a", "b")] {
            assert_eq!(of(outer, inner), ["2  1 one\n", "3  0 two\n"], "{outer} {inner}");
        }
    }

    #[test]
    fn nesting_has_a_limit() {
        let mut message = String::from("Content-Type: multipart/mixed; boundary=b\n\n");
        for level in 0..MIME_DEPTH_MAX {
            let outer = if level == 0 { "b".to_owned() } else { format!("b{level}") };
            message.push_str(&format!(
                "--{outer}\nContent-Type: multipart/mixed; boundary=b{}\n\n",
                level.saturating_add(1)
            ));
        }
        let mut walk = Walk::new(Cursor::new(message.as_bytes()), b"UTF-8");
        let error = loop {
            match walk.next_part() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("no limit"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, WalkError::TooDeep));
    }

    #[test]
    fn long_lines_are_no_delimiters() {
        let long = "x".repeat(SCANNED_LINE_BYTES_MAX);
        let message = format!("Content-Type: multipart/mixed; boundary=B\n\n--B\n\n{long}--B\n--B--\n");
        assert_eq!(parts(&message).len(), 2);
    }
}
