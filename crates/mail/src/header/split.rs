//! Where the header of an arriving message ends, and into which lines it falls.
//!
//! The splitter is fed lines in stored form (LF at the end) and says after each whether the header goes on. A line
//! that cannot be a header line starts the body, as does a continuation before any header line; one UUCP "From "
//! line may come first (manual section 48.4). Failure: a header over the limits `header_maxsize` or
//! `header_line_maxsize`; the message is refused with 552.

use std::fmt;
use std::sync::Arc;

use super::{Header, HeaderList};

/// Decides whether a line is the UUCP "From " line: `uucp_from_pattern`, where the source may send one.
pub type FromLineTest = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// The limits on a header and what may stand before it.
#[derive(Clone)]
pub struct HeaderLimits {
    /// Option `header_maxsize`, in bytes.
    pub header_bytes_max: usize,
    /// Option `header_line_maxsize`: bytes of one line with its continuations; 0 is no limit.
    pub header_line_bytes_max: usize,
    /// Recognises a "From " line, if one may come first.
    pub from_line: Option<FromLineTest>,
}

impl Default for HeaderLimits {
    fn default() -> HeaderLimits {
        HeaderLimits { header_bytes_max: 1024 * 1024, header_line_bytes_max: 0, from_line: None }
    }
}

impl fmt::Debug for HeaderLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeaderLimits")
            .field("header_bytes_max", &self.header_bytes_max)
            .field("header_line_bytes_max", &self.header_line_bytes_max)
            .field("from_line", &self.from_line.is_some())
            .finish()
    }
}

/// Why a header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Over `header_maxsize`.
    PeerHeaderTooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// A line over `header_line_maxsize`.
    PeerLineTooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// A header line of a BDAT chunk ends in a bare LF.
    PeerBareLineFeed,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HeaderError::PeerHeaderTooLong { .. } => "Message header is ridiculously long",
            HeaderError::PeerLineTooLong { .. } => "A message header line is too long",
            HeaderError::PeerBareLineFeed => "Message header not CRLF terminated",
        })
    }
}

impl std::error::Error for HeaderError {}

/// What a line was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fed {
    /// Part of the header; more may follow.
    Header,
    /// The empty line between header and body; it belongs to neither.
    Separator,
    /// The first line of the body.
    Body,
}

/// Takes a header apart, line by line.
#[derive(Debug)]
pub struct HeaderSplitter {
    limits: HeaderLimits,
    headers: Vec<Header>,
    current: Vec<u8>,
    total: usize,
    from_line: Option<Vec<u8>>,
}

impl HeaderSplitter {
    /// A splitter before the first line.
    #[must_use]
    pub fn new(limits: HeaderLimits) -> HeaderSplitter {
        HeaderSplitter { limits, headers: Vec::new(), current: Vec::new(), total: 0, from_line: None }
    }

    /// Takes the next line, LF included (a last line may lack it). After `Separator` or `Body`, feed no more.
    ///
    /// # Errors
    /// The header or the line is over its limit.
    pub fn feed(&mut self, line: &[u8]) -> Result<Fed, HeaderError> {
        if matches!(line, b"\n" | b"\r\n" | b"") {
            self.finish_line();
            return Ok(Fed::Separator);
        }
        let is_first = self.headers.is_empty() && self.current.is_empty() && self.from_line.is_none();
        if is_first && self.limits.from_line.as_ref().is_some_and(|test| test(line)) {
            self.from_line = Some(line.trim_ascii_end().to_vec());
            return Ok(Fed::Header);
        }
        let continues = matches!(line.first(), Some(b' ' | b'\t'));
        if continues && self.current.is_empty() {
            return Ok(Fed::Body);
        }
        if !continues {
            if !starts_header(line) {
                self.finish_line();
                return Ok(Fed::Body);
            }
            self.finish_line();
        }
        self.append(line)?;
        Ok(Fed::Header)
    }

    /// Checks that a line of which only a beginning has arrived is not over the limits already.
    ///
    /// # Errors
    /// As `feed`.
    pub fn check_partial(&self, length: usize) -> Result<(), HeaderError> {
        let limits = &self.limits;
        if self.total.saturating_add(length) > limits.header_bytes_max {
            return Err(HeaderError::PeerHeaderTooLong { limit: limits.header_bytes_max });
        }
        Ok(())
    }

    /// The header lines, classified, and the "From " line if there was one.
    #[must_use]
    pub fn finish(mut self) -> (HeaderList, Option<Vec<u8>>) {
        self.finish_line();
        let mut list: HeaderList = self.headers.into_iter().collect();
        list.classify();
        (list, self.from_line)
    }

    fn append(&mut self, line: &[u8]) -> Result<(), HeaderError> {
        self.check_partial(line.len())?;
        self.total = self.total.saturating_add(line.len());
        let limit = self.limits.header_line_bytes_max;
        if limit > 0 && self.current.len().saturating_add(line.len()) > limit {
            return Err(HeaderError::PeerLineTooLong { limit });
        }
        let from = self.current.len();
        self.current.extend_from_slice(line);
        if memchr::memchr(0, line).is_some() {
            for byte in self.current.iter_mut().skip(from).filter(|b| **b == 0) {
                *byte = b'?';
            }
        }
        Ok(())
    }

    fn finish_line(&mut self) {
        if self.current.is_empty() {
            return;
        }
        let mut text = std::mem::take(&mut self.current);
        drop_blank_continuations(&mut text);
        // The kind is set by `finish`, when it is known whether there are Resent- lines.
        if text.last() != Some(&b'\n') {
            text.push(b'\n');
        }
        self.headers.push(Header { kind: super::HeaderKind::Other, text });
    }
}

/// Whether a line begins a header line: printing or non-ASCII characters, white space perhaps, and a colon.
///
/// Exim takes an empty name too.
#[must_use]
pub fn starts_header(line: &[u8]) -> bool {
    let name = line.iter().take_while(|&&b| b != b':' && (b.is_ascii_graphic() || b >= 0x80)).count();
    let rest = line.get(name..).unwrap_or_default();
    rest.iter().find(|&&b| b != b' ' && b != b'\t') == Some(&b':')
}

/// Removes continuation lines at the end that hold nothing but white space.
fn drop_blank_continuations(text: &mut Vec<u8>) {
    loop {
        let body = text.strip_suffix(b"\n").unwrap_or(text);
        let Some(at) = memchr::memrchr(b'\n', body) else { return };
        let last = body.get(at.saturating_add(1)..).unwrap_or_default();
        if !last.iter().all(|b| matches!(b, b' ' | b'\t' | b'\r')) {
            return;
        }
        text.truncate(at.saturating_add(1));
    }
}

/// Splits a whole header that is in memory: the list and the offset at which the body begins.
///
/// # Errors
/// As `HeaderSplitter::feed`.
pub fn split_header_block(message: &[u8], limits: HeaderLimits) -> Result<(HeaderList, usize), HeaderError> {
    let mut splitter = HeaderSplitter::new(limits);
    let mut at = 0_usize;
    while let Some(rest) = message.get(at..).filter(|r| !r.is_empty()) {
        let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |n| n.saturating_add(1));
        match splitter.feed(rest.get(..length).unwrap_or_default())? {
            Fed::Header => at = at.saturating_add(length),
            Fed::Separator => {
                at = at.saturating_add(length);
                break;
            }
            Fed::Body => break,
        }
    }
    Ok((splitter.finish().0, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(message: &str) -> (Vec<String>, String) {
        let (list, body) = split_header_block(message.as_bytes(), HeaderLimits::default()).unwrap();
        let lines = list.all().iter().map(|h| String::from_utf8_lossy(&h.text).into_owned()).collect();
        (lines, message.split_at(body).1.to_owned())
    }

    #[test]
    fn the_end_of_the_header_as_observed() {
        // Messages and results checked against the spool files that exim4 writes.
        for (message, headers, body) in [
            ("A: b\nC: d\n\nbody\n", vec!["A: b\n", "C: d\n"], "body\n"),
            ("body text\nx\n", vec![], "body text\nx\n"),
            ("A: b\nnot a header\nC: d\n\nbody\n", vec!["A: b\n"], "not a header\nC: d\n\nbody\n"),
            ("A : b\nC\t: d\n\nbody\n", vec!["A : b\n", "C\t: d\n"], "body\n"),
            (" A: b\nC: d\n", vec![], " A: b\nC: d\n"),
            (": b\nC: d\n\nbody\n", vec![": b\n", "C: d\n"], "body\n"),
            ("éA: b\n\nbody\n", vec!["éA: b\n"], "body\n"),
            ("A: b\n \nC: d\n\nbody\n", vec!["A: b\n", "C: d\n"], "body\n"),
            ("A: b\n \n c\nD: e\n\n", vec!["A: b\n \n c\n", "D: e\n"], ""),
            ("A: b\n \n\t\n\nbody\n", vec!["A: b\n"], "body\n"),
            ("A:\n x\n \n\nb\n", vec!["A:\n x\n"], "b\n"),
            ("X:   y  \nY:\nZ: \n\n\nq\n", vec!["X:   y  \n", "Y:\n", "Z: \n"], "\nq\n"),
            ("X y: a\nB: c\n\nq\n", vec![], "X y: a\nB: c\n\nq\n"),
            ("X\u{1}y: a\nB: c\n", vec![], "X\u{1}y: a\nB: c\n"),
            (
                "From a@b Fri Jan  5 12:35:00 1996\nC: d\n",
                vec![],
                "From a@b Fri Jan  5 12:35:00 1996\nC: d\n",
            ),
            ("X: y", vec!["X: y\n"], ""),
            ("\nB: c\n", vec![], "B: c\n"),
            ("A: b\0c\n\n", vec!["A: b?c\n"], ""),
        ] {
            let (found, rest) = split(message);
            assert_eq!(found, headers, "{message:?}");
            assert_eq!(rest, body, "{message:?}");
        }
    }

    #[test]
    fn one_from_line_where_it_is_allowed() {
        let limits = || HeaderLimits {
            from_line: Some(Arc::new(|line: &[u8]| line.starts_with(b"From "))),
            ..HeaderLimits::default()
        };
        let mut splitter = HeaderSplitter::new(limits());
        assert_eq!(splitter.feed(b"From a@b Fri, 7 Jan 97\n"), Ok(Fed::Header));
        assert_eq!(splitter.feed(b"C: d\n"), Ok(Fed::Header));
        assert_eq!(splitter.feed(b"\n"), Ok(Fed::Separator));
        let (list, from_line) = splitter.finish();
        assert_eq!((list.all().len(), from_line), (1, Some(b"From a@b Fri, 7 Jan 97".to_vec())));
        let mut splitter = HeaderSplitter::new(limits());
        splitter.feed(b"From a@b\n").unwrap();
        assert_eq!(splitter.feed(b"From c@d\n"), Ok(Fed::Body));
    }

    #[test]
    fn limits_have_their_own_errors() {
        let limits = HeaderLimits { header_bytes_max: 20, header_line_bytes_max: 12, from_line: None };
        let result = split_header_block(b"A: bbbb\n ccccccc\n", limits.clone());
        assert_eq!(result.unwrap_err().to_string(), "A message header line is too long");
        let result = split_header_block(b"A: bbbb\nA: bbbb\nA: bbbb\n", limits);
        assert_eq!(result.unwrap_err().to_string(), "Message header is ridiculously long");
    }

    proptest::proptest! {
        #[test]
        fn header_and_body_make_up_the_message(message in "[A: \t\n.x]{0,60}") {
            let (list, body) = split_header_block(message.as_bytes(), HeaderLimits::default()).unwrap();
            let mut text: Vec<u8> = list.all().iter().flat_map(|h| h.text.clone()).collect();
            // Blank continuations, the empty line and a missing line ending are all that may differ.
            text.retain(|b| !b.is_ascii_whitespace());
            let mut head = message.as_bytes()[..body].to_vec();
            head.retain(|b| !b.is_ascii_whitespace());
            proptest::prop_assert_eq!(text, head);
            for header in list.all() {
                proptest::prop_assert!(starts_header(&header.text) && header.text.ends_with(b"\n"));
            }
        }
    }
}
