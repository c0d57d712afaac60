//! Standard input with a buffer that shows what has arrived.

use std::io::{self, Read};

/// Input that is taken bit by bit.
pub(crate) struct Input<R> {
    reader: R,
    buffer: Vec<u8>,
    start: usize,
    ended: bool,
}

/// What one read takes at most, in bytes.
const READ_BYTES: usize = 64 * 1024;

impl<R: Read> Input<R> {
    /// Nothing read yet.
    pub(crate) fn new(reader: R) -> Input<R> {
        Input { reader, buffer: Vec::new(), start: 0, ended: false }
    }

    /// What has arrived and has not been used.
    pub(crate) fn pending(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Marks bytes as used.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.start = self.start.saturating_add(bytes).min(self.buffer.len());
    }

    /// Reads if nothing is pending. False at the end of the input.
    pub(crate) fn fill(&mut self) -> io::Result<bool> {
        if !self.pending().is_empty() {
            return Ok(true);
        }
        self.read_more()
    }

    /// Reads once more, keeping what is pending. False at the end of the input.
    pub(crate) fn read_more(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        self.buffer.drain(..self.start.min(self.buffer.len()));
        self.start = 0;
        let kept = self.buffer.len();
        self.buffer.resize(kept.saturating_add(READ_BYTES), 0);
        let space = self.buffer.get_mut(kept..).unwrap_or_default();
        let read = loop {
            match self.reader.read(space) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let count = *read.as_ref().unwrap_or(&0);
        self.buffer.truncate(kept.saturating_add(count));
        self.ended = count == 0;
        read.map(|count| count > 0)
    }

    /// A line without its end; None at the end of the input. A last line without end counts.
    pub(crate) fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut searched = 0;
        loop {
            let pending = self.pending();
            let unseen = pending.get(searched..).unwrap_or_default();
            if let Some(at) = memchr::memchr(b'\n', unseen) {
                let end = searched.saturating_add(at);
                let line = pending.get(..end).unwrap_or_default();
                let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
                self.consume(end.saturating_add(1));
                return Ok(Some(line));
            }
            searched = pending.len();
            if !self.read_more()? {
                let rest = self.pending().to_vec();
                let length = rest.len();
                self.consume(length);
                return Ok((length > 0).then_some(rest));
            }
        }
    }

    /// Everything that is left, up to a limit.
    pub(crate) fn rest(&mut self, limit: usize) -> Vec<u8> {
        while self.pending().len() < limit && self.read_more().unwrap_or(false) {}
        self.pending().get(..limit).unwrap_or(self.pending()).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_rest() {
        let mut input = Input::new(&b"a\r\nb\nlast"[..]);
        assert_eq!(input.line().unwrap(), Some(b"a".to_vec()));
        assert_eq!(input.line().unwrap(), Some(b"b".to_vec()));
        assert_eq!(input.line().unwrap(), Some(b"last".to_vec()));
        assert_eq!(input.line().unwrap(), None);
        let mut input = Input::new(&b"0123456789"[..]);
        assert_eq!(input.rest(4), b"0123");
    }
}
