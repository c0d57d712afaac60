//! An arriving message: its header lines taken apart and its body in stored form, in one pass over the input.
//!
//! Joins `smtp::dot` (line endings, dots, the end) and `header::split` (what is header, what is body). Failure: a
//! header over its limits; input is still consumed up to the end of the data, so that the next command is found.

use super::dot::{Counts, Event, Framing, Receiver};
use crate::header::HeaderList;
use crate::header::split::{Fed, HeaderError, HeaderLimits, HeaderSplitter};

/// A message while it arrives.
#[derive(Debug)]
pub struct MessageReader {
    receiver: Receiver,
    /// None once the header is complete.
    splitter: Option<HeaderSplitter>,
    /// The header line that is arriving.
    line: Vec<u8>,
    headers: HeaderList,
    from_line: Option<Vec<u8>>,
    error: Option<HeaderError>,
    has_separator: bool,
}

impl MessageReader {
    /// A reader before the first byte.
    #[must_use]
    pub fn new(framing: Framing, limits: HeaderLimits) -> MessageReader {
        MessageReader {
            receiver: Receiver::new(framing),
            splitter: Some(HeaderSplitter::new(limits)),
            line: Vec::new(),
            headers: HeaderList::new(),
            from_line: None,
            error: None,
            has_separator: false,
        }
    }

    /// Takes input and appends body in stored form to `body`, which the caller may empty between calls.
    ///
    /// Returns how much was consumed and whether the data ended; input after that is the next command.
    pub fn feed(&mut self, input: &[u8], body: &mut Vec<u8>) -> (usize, bool) {
        let mut at = 0_usize;
        loop {
            let rest = input.get(at..).unwrap_or_default();
            let in_header = self.splitter.is_some();
            let out = if in_header { &mut self.line } else { &mut *body };
            let kept = out.len();
            let (used, event) = self.receiver.feed(rest, out);
            if self.error.is_some() {
                out.truncate(kept);
            }
            at = at.saturating_add(used);
            match event {
                Event::NeedMore => {
                    self.check_partial();
                    return (at, false);
                }
                Event::Line => self.header_line(body),
                Event::End => {
                    if in_header {
                        self.end_in_header(body);
                    }
                    return (at, true);
                }
            }
        }
    }

    /// The input is over and the data with it (a BDAT chunk marked LAST, the end of standard input).
    pub fn end_of_input(&mut self, body: &mut Vec<u8>) {
        if self.splitter.is_some() {
            self.receiver.finish(&mut self.line);
            self.end_in_header(body);
        } else {
            self.receiver.finish(body);
        }
    }

    /// Why the message must be refused, as far as its header is concerned.
    #[must_use]
    pub fn error(&self) -> Option<HeaderError> {
        self.error
    }

    /// What was seen so far. `body_lines` and `body_zeros` are right once the header is complete.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.receiver.counts()
    }

    /// Whether a blank line has parted header and body.
    #[must_use]
    pub fn has_separator(&self) -> bool {
        self.has_separator
    }

    /// Whether the header is complete.
    #[must_use]
    pub fn has_header(&self) -> bool {
        self.splitter.is_none()
    }

    /// Whether the last thing seen was the end of a header line.
    #[must_use]
    pub fn is_between_lines(&self) -> bool {
        self.line.is_empty() && self.counts().received_bytes > 0
    }

    /// The header lines as they came. Empty before the header is complete.
    #[must_use]
    pub fn headers(&self) -> &HeaderList {
        &self.headers
    }

    /// The header lines, and the UUCP "From " line if there was one. Empty before the header is complete.
    #[must_use]
    pub fn into_header(self) -> (HeaderList, Option<Vec<u8>>) {
        (self.headers, self.from_line)
    }

    fn check_partial(&mut self) {
        let Some(splitter) = &self.splitter else { return };
        if let Err(error) = splitter.check_partial(self.line.len()) {
            self.refuse(error);
        }
    }

    fn refuse(&mut self, error: HeaderError) {
        self.error.get_or_insert(error);
        self.line = Vec::new();
        self.splitter = None;
        self.receiver.enter_body();
    }

    fn header_line(&mut self, body: &mut Vec<u8>) {
        let Some(splitter) = &mut self.splitter else { return };
        if self.receiver.header_had_bare_lf() {
            return self.refuse(HeaderError::PeerBareLineFeed);
        }
        match splitter.feed(&self.line) {
            Ok(Fed::Header) => self.line.clear(),
            Ok(Fed::Separator) => {
                self.has_separator = true;
                self.header_complete();
            }
            Ok(Fed::Body) => {
                let line = std::mem::take(&mut self.line);
                self.receiver.count_as_body(&line);
                body.extend_from_slice(&line);
                self.header_complete();
            }
            Err(error) => self.refuse(error),
        }
    }

    fn header_complete(&mut self) {
        if let Some(splitter) = self.splitter.take() {
            (self.headers, self.from_line) = splitter.finish();
        }
        self.line = Vec::new();
        self.receiver.enter_body();
    }

    fn end_in_header(&mut self, body: &mut Vec<u8>) {
        if !self.line.is_empty() {
            self.header_line(body);
        }
        self.header_complete();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> HeaderLimits {
        HeaderLimits { header_bytes_max: 100, header_line_bytes_max: 40, from_line: None }
    }

    fn read(framing: Framing, pieces: &[&[u8]]) -> (MessageReader, String, usize, bool) {
        let mut reader = MessageReader::new(framing, limits());
        let (mut body, mut used_all, mut ended) = (Vec::new(), 0, false);
        for piece in pieces {
            let (used, end) = reader.feed(piece, &mut body);
            used_all += used;
            ended = end;
            if end {
                break;
            }
        }
        if !ended && matches!(framing, Framing::Counted | Framing::Chunks | Framing::DotLine) {
            reader.end_of_input(&mut body);
        }
        (reader, String::from_utf8_lossy(&body).into_owned(), used_all, ended)
    }

    fn header_text(reader: MessageReader) -> String {
        let (list, _) = reader.into_header();
        list.all().iter().map(|h| String::from_utf8_lossy(&h.text).into_owned()).collect()
    }

    #[test]
    fn header_and_body_come_apart_at_every_split() {
        let message = b"A: b\r\n c\r\nnot a header\r\n..x\r\n.\r\nQUIT\r\n";
        for split in 0..message.len() {
            let (first, second) = message.split_at(split);
            let (reader, body, used, ended) = read(Framing::Network, &[first, second]);
            assert!(ended && reader.has_header());
            assert_eq!((body.as_str(), used), ("not a header\n.x\n", message.len() - 6), "{split}");
            assert_eq!(reader.counts().body_lines, 2);
            assert_eq!(header_text(reader), "A: b\n c\n");
        }
    }

    #[test]
    fn messages_without_body_or_header() {
        for (message, header, body) in [
            ("X: y\r\n.\r\n", "X: y\n", ""),
            (".\r\n", "", ""),
            ("\r\n.\r\n", "", ""),
            ("b b\r\n.\r\n", "", "b b\n"),
        ] {
            let (reader, found, _, ended) = read(Framing::Network, &[message.as_bytes()]);
            assert!(ended);
            assert_eq!((header_text(reader).as_str(), found.as_str()), (header, body), "{message:?}");
        }
        for (message, header, body) in
            [("X: y", "X: y\n", ""), ("X: y\n\nbody", "X: y\n", "body\n"), ("b b", "", "b b\n")]
        {
            let (reader, found, ..) = read(Framing::Counted, &[message.as_bytes()]);
            assert_eq!((header_text(reader).as_str(), found.as_str()), (header, body), "{message:?}");
        }
    }

    #[test]
    fn a_refused_header_is_read_to_its_end_and_not_kept() {
        let long = [b"X: ".as_slice(), &[b'y'; 200], b"\r\n\r\nbody\r\n.\r\nQUIT\r\n"].concat();
        for size in [1, 7, 1000] {
            let pieces: Vec<&[u8]> = long.chunks(size).collect();
            let (reader, body, used, ended) = read(Framing::Network, &pieces);
            assert!(ended && body.is_empty());
            assert_eq!(used, long.len() - 6);
            assert!(matches!(
                reader.error(),
                Some(HeaderError::PeerHeaderTooLong { .. } | HeaderError::PeerLineTooLong { .. })
            ));
        }
        let (reader, ..) = read(Framing::Chunks, &[b"A: b\n\nbody"]);
        assert_eq!(reader.error(), Some(HeaderError::PeerBareLineFeed));
        let (reader, ..) = read(Framing::Chunks, &[b"A: b\r\n\r\nbo\ndy"]);
        assert_eq!(reader.error(), None);
    }
}
