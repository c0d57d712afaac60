//! Frames between a delivering process and its agents: a length, then that many bytes; a message is a run of frames.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use oxim_base::limits::AGENT_FRAME_BYTES_MAX;

use super::job::Messages;

/// How much of a message goes into one frame.
const PART: usize = 64 * 1024;

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn write_frame(out: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len())
        .ok()
        .filter(|&l| l as usize <= AGENT_FRAME_BYTES_MAX)
        .ok_or_else(|| malformed("frame too long"))?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(bytes)
}

fn read_length(input: &mut dyn Read) -> io::Result<usize> {
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > AGENT_FRAME_BYTES_MAX { Err(malformed("frame too long")) } else { Ok(length) }
}

/// Sends one value.
pub(super) fn send<T: Serialize>(out: &mut dyn Write, value: &T) -> io::Result<()> {
    let bytes = postcard::to_stdvec(value).map_err(|_| malformed("value cannot be written"))?;
    write_frame(out, &bytes)
}

/// Receives one value.
pub(super) fn receive<T: DeserializeOwned>(input: &mut dyn Read) -> io::Result<T> {
    let mut bytes = vec![0; read_length(input)?];
    input.read_exact(&mut bytes)?;
    postcard::from_bytes(&bytes).map_err(|_| malformed("value cannot be read"))
}

/// Sends a message to its end, then an empty frame. An error of the reader is told by the marker `u32::MAX`.
pub(super) fn send_message(out: &mut dyn Write, message: &mut dyn Read) -> io::Result<()> {
    let mut buffer = vec![0; PART];
    loop {
        let count = match message.read(&mut buffer) {
            Ok(count) => count,
            Err(error) => {
                out.write_all(&u32::MAX.to_le_bytes())?;
                out.flush()?;
                return Err(error);
            }
        };
        write_frame(out, buffer.get(..count).unwrap_or_default())?;
        if count == 0 {
            return out.flush();
        }
    }
}

/// Reads messages that [`send_message`] wrote, each as a stream.
pub(super) struct MessageReader<'a> {
    input: &'a mut dyn Read,
    /// Bytes of the frame that have not been read.
    left: usize,
    /// Messages that have not come to their end.
    messages: usize,
    /// The one at hand is behind us.
    has_ended: bool,
    /// Nothing more can be had.
    is_broken: bool,
}

impl<'a> MessageReader<'a> {
    pub(super) fn new(input: &'a mut dyn Read, messages: usize) -> Self {
        MessageReader { input, left: 0, messages, has_ended: true, is_broken: false }
    }

    fn read_part(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            self.left = read_length(self.input)?;
            self.has_ended = self.left == 0;
        }
        let want = self.left.min(buffer.len());
        let Some(part) = buffer.get_mut(..want).filter(|p| !p.is_empty()) else { return Ok(0) };
        let count = self.input.read(part)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left = self.left.saturating_sub(count);
        Ok(count)
    }

    /// Passes over the rest of the message at hand.
    fn pass_over(&mut self) -> io::Result<()> {
        io::copy(self, &mut io::sink()).map(|_| ())
    }
}

impl Read for MessageReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_broken {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.has_ended {
            return Ok(0);
        }
        self.read_part(buffer).inspect_err(|_| self.is_broken = true)
    }
}

impl Messages for MessageReader<'_> {
    fn next(&mut self) -> &mut dyn Read {
        // An error shows again when the message is read.
        let _ = self.pass_over();
        if let Some(left) = self.messages.checked_sub(1) {
            self.messages = left;
            self.has_ended = false;
        }
        self
    }

    fn end(&mut self) -> io::Result<()> {
        self.pass_over()?;
        while self.messages > 0 {
            self.next();
            self.pass_over()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_messages_follow_each_other() {
        let mut wire = Vec::new();
        send(&mut wire, &(7u32, "x".to_owned())).unwrap();
        let message = vec![b'm'; 200_000];
        send_message(&mut wire, &mut &message[..]).unwrap();
        send(&mut wire, &9u8).unwrap();
        let mut input = &wire[..];
        assert_eq!(receive::<(u32, String)>(&mut input).unwrap(), (7, "x".to_owned()));
        let mut got = Vec::new();
        MessageReader::new(&mut input, 1).next().read_to_end(&mut got).unwrap();
        assert_eq!(got, message);
        assert_eq!(receive::<u8>(&mut input).unwrap(), 9);
    }

    #[test]
    fn messages_come_one_by_one_and_need_not_be_read() {
        let mut wire = Vec::new();
        for message in ["one", "two", "three", "four"] {
            send_message(&mut wire, &mut message.as_bytes()).unwrap();
        }
        send(&mut wire, &9u8).unwrap();
        let mut input = &wire[..];
        let mut reader = MessageReader::new(&mut input, 4);
        let mut got = String::new();
        reader.next().take(1).read_to_string(&mut got).unwrap();
        reader.next();
        reader.next().read_to_string(&mut got).unwrap();
        assert_eq!(got, "othree");
        reader.end().unwrap();
        assert_eq!(reader.next().read(&mut [0; 8]).unwrap(), 0, "there is no fifth");
        assert_eq!(receive::<u8>(&mut input).unwrap(), 9);
    }

    #[test]
    fn no_message_is_whole_once_the_wire_is_broken() {
        let mut wire = Vec::new();
        send_message(&mut wire, &mut &b"one"[..]).unwrap();
        wire.extend_from_slice(&u32::MAX.to_le_bytes());
        let mut input = &wire[..];
        let mut reader = MessageReader::new(&mut input, 3);
        let mut got = Vec::new();
        reader.next().read_to_end(&mut got).unwrap();
        assert_eq!(got, b"one");
        for _ in 0..2 {
            assert!(reader.next().read_to_end(&mut got).is_err());
        }
        assert!(reader.end().is_err());
    }

    #[test]
    fn lengths_are_limited_and_ends_noticed() {
        let mut input = &u32::MAX.to_le_bytes()[..];
        assert!(receive::<u8>(&mut input).is_err());
        let mut cut = Vec::new();
        send_message(&mut cut, &mut &b"abc"[..]).unwrap();
        cut.truncate(6);
        let mut input = &cut[..];
        assert!(MessageReader::new(&mut input, 1).next().read_to_end(&mut Vec::new()).is_err());
    }
}
