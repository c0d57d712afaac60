//! A submission as it goes through the control socket: the command line of the caller as far as it matters, and the bytes of
//! its standard input in chunks.
//!
//! The chunks end with an empty one. A stream that ends without it belongs to a caller that was killed: nothing of it may be
//! taken for a message.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};

use oxim_receive::local::{Errors, Given, Request};
use oxim_receive::sink::Queueing;
use serde::{Deserialize, Serialize};

use crate::args::{CommandLine, DeliveryMode, ErrorReport, Mode};

/// Largest request, in bytes, without the message: a command line cannot be much longer.
pub(crate) const REQUEST_BYTES_MAX: usize = 2 << 20;
/// Largest chunk, in bytes.
pub(crate) const CHUNK_BYTES_MAX: usize = 64 << 10;

/// What standard input holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// One message.
    Message,
    /// Batched SMTP.
    Batch,
    /// An SMTP dialogue: after the first answer the socket carries nothing else.
    Dialogue,
}

/// When a message is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum When {
    Now,
    QueueRun,
    RemoteByQueueRun,
}

/// How errors are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Told {
    Mail,
    MailQuietly,
    Print,
}

/// A submission without its message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Submission {
    /// What comes on standard input.
    pub kind: Kind,
    /// `-F`.
    pub full_name: Option<Vec<u8>>,
    arguments: Vec<Vec<u8>>,
    extract: bool,
    ignore_dots: bool,
    sender: Option<Vec<u8>>,
    no_qualify: bool,
    suppress_fixups: bool,
    errors: Told,
    when: Option<When>,
    host_address: Option<(IpAddr, u16)>,
    host_name: Option<Vec<u8>>,
    ident: Option<Vec<u8>>,
    protocol: Option<Vec<u8>>,
    interface: Option<SocketAddr>,
    authenticator: Option<Vec<u8>>,
    auth_id: Option<Vec<u8>>,
    auth_sender: Option<Vec<u8>>,
    message_reference: Option<Vec<u8>>,
}

impl Submission {
    /// What a command line asks for; None if it is no submission.
    ///
    /// # Errors
    /// The text for standard error.
    pub(crate) fn of(line: &CommandLine) -> Option<Result<Submission, String>> {
        let kind = if matches!(line.mode, Mode::Receive { .. }) {
            Kind::Message
        } else if line.mode == Mode::BatchSmtp {
            Kind::Batch
        } else if matches!(line.mode, Mode::Smtp { .. }) {
            Kind::Dialogue
        } else {
            return None;
        };
        if line.dont_deliver {
            return Some(Err("exim: -N needs a program that may write to the spool itself".to_owned()));
        }
        Some(crate::mode::origin::given(line).map(|given| Submission {
            kind,
            full_name: line.origin.full_name.clone(),
            arguments: line.arguments.clone(),
            extract: line.sending.extract_recipients,
            ignore_dots: line.sending.ignore_dot,
            sender: line.origin.sender.clone(),
            no_qualify: line.sending.allow_unqualified,
            suppress_fixups: line.sending.suppress_fixups,
            errors: match line.sending.error_report {
                ErrorReport::Mail | ErrorReport::Write => Told::Mail,
                ErrorReport::MailExitZero => Told::MailQuietly,
                ErrorReport::Print | ErrorReport::Quiet => Told::Print,
            },
            when: line.sending.delivery.map(|mode| match mode {
                DeliveryMode::Background | DeliveryMode::Foreground => When::Now,
                DeliveryMode::Queue => When::QueueRun,
                DeliveryMode::QueueRemote => When::RemoteByQueueRun,
            }),
            host_address: given.host_address,
            host_name: given.host_name,
            ident: given.ident,
            protocol: given.protocol,
            interface: given.interface,
            authenticator: given.authenticator,
            auth_id: given.auth_id,
            auth_sender: given.auth_sender,
            message_reference: given.message_reference,
        }))
    }

    /// As reception wants it.
    #[must_use]
    pub(crate) fn into_request(self) -> Request {
        Request {
            arguments: self.arguments,
            extract: self.extract,
            ignore_dots: self.ignore_dots,
            sender: self.sender,
            no_qualify: self.no_qualify,
            suppress_fixups: self.suppress_fixups,
            errors: match self.errors {
                Told::Mail => Errors::Mail,
                Told::MailQuietly => Errors::MailQuietly,
                Told::Print => Errors::Print,
            },
            given: Given {
                is_own_message: false,
                host_address: self.host_address,
                host_name: self.host_name,
                ident: self.ident,
                protocol: self.protocol,
                interface: self.interface,
                authenticator: self.authenticator,
                auth_id: self.auth_id,
                auth_sender: self.auth_sender,
                message_reference: self.message_reference,
                queueing: self.when.map(|when| match when {
                    When::Now => Queueing::Immediate,
                    When::QueueRun => Queueing::Wait,
                    When::RemoteByQueueRun => Queueing::RemoteWaits,
                }),
            },
        }
    }
}

/// Writes one chunk; an empty one is the end.
///
/// # Errors
/// The other side is gone.
pub(crate) fn write_chunk(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    out.write_all(&length.to_be_bytes())?;
    out.write_all(bytes)
}

/// Reads what came in chunks.
pub(crate) struct Chunks<R> {
    input: R,
    left: usize,
    ended: bool,
}

impl<R: Read> Chunks<R> {
    /// Over a stream that stands before its first chunk.
    pub(crate) fn new(input: R) -> Chunks<R> {
        Chunks { input, left: 0, ended: false }
    }
}

impl<R: Read> Read for Chunks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.ended {
            let mut length = [0; 4];
            self.input.read_exact(&mut length)?;
            self.left = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
            self.ended = self.left == 0;
            if self.left > CHUNK_BYTES_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        if self.ended {
            return Ok(0);
        }
        let most = self.left.min(buffer.len());
        let count = self.input.read(buffer.get_mut(..most).unwrap_or_default())?;
        if count == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left = self.left.saturating_sub(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Chunks::new(bytes).read_to_end(&mut out).map(|_| out)
    }

    #[test]
    fn a_stream_that_breaks_off_is_no_message() {
        let mut bytes = Vec::new();
        write_chunk(&mut bytes, b"hello ").unwrap();
        write_chunk(&mut bytes, b"world").unwrap();
        assert_eq!(read(&bytes).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        write_chunk(&mut bytes, b"").unwrap();
        assert_eq!(read(&bytes).unwrap(), b"hello world");
        assert_eq!(read(&bytes[..8]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(read(&[0xff; 8]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_command_line_becomes_a_request() {
        let parse = |text: &str| {
            crate::args::parse(std::iter::once("exim").chain(text.split_whitespace()).map(Into::into))
                .unwrap()
        };
        let line = parse("-t -oi -odq -oem -f a@b -F Name x@y");
        let submission = Submission::of(&line).unwrap().unwrap();
        let copy: Submission = postcard::from_bytes(&postcard::to_stdvec(&submission).unwrap()).unwrap();
        assert_eq!(copy, submission);
        let request = copy.into_request();
        assert!(request.extract && request.ignore_dots && request.errors == Errors::Mail);
        assert_eq!(request.given.queueing, Some(Queueing::Wait));
        assert_eq!(request.arguments, [b"x@y".to_vec()]);
        assert!(Submission::of(&parse("-bp")).is_none());
        assert!(Submission::of(&parse("-N x@y")).unwrap().is_err());
    }
}
