//! A connection to a server of a lookup: a socket, with or without TLS, read through a buffer and under a deadline per step.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use oxim_base::errno::error_text;
use oxim_net::dns::Lookup;
use oxim_net::socket::{ConnectTarget, Endpoint, Socket};
use oxim_net::tls::client::{ClientPolicy, ClientStream};

use crate::context::Context;
use crate::list::surroundings;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A host name or address, and a port.
    Host(String, u16),
    /// A Unix socket.
    Socket(PathBuf),
}

enum Stream {
    Plain(Socket),
    Tls(Box<ClientStream<Socket>>),
    /// Between the two, or after a handshake that failed.
    Gone,
}

/// A connected server.
pub struct Wire {
    stream: Stream,
    /// What was read and not used up yet is `buffer[at..end]`; what lies behind it is room for the next read.
    buffer: Vec<u8>,
    at: usize,
    end: usize,
    /// Bytes that may still be read in this step: a bound for all answers together.
    left: usize,
}

/// Room for what is read at once; it grows with the longest answer.
const READ_BYTES: usize = 16 * 1024;

/// Most bytes of one answer.
const ANSWER_BYTES_MAX: usize = oxim_base::limits::EXPANSION_BYTES_MAX;

/// An error about what a server has sent.
#[must_use]
pub fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("malformed answer: {what}"))
}

/// The addresses of a place.
fn endpoints(context: &Context, place: &Place) -> Result<Vec<Endpoint>, String> {
    let (host, port) = match place {
        Place::Socket(path) => return Ok(vec![Endpoint::Unix(path.clone())]),
        Place::Host(host, port) => (host, *port),
    };
    let addresses = addresses(context, host)?;
    Ok(addresses.iter().map(|address| Endpoint::Tcp(SocketAddr::new(*address, port))).collect())
}

/// The addresses of a host, which may be written as one.
pub(crate) fn addresses(context: &Context, host: &str) -> Result<Vec<IpAddr>, String> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![address]);
    }
    let resolver = surroundings::resolver(context)?;
    match resolver.addresses_of(host, surroundings::family(context)) {
        Lookup::Found(answer) => Ok(answer.records),
        Lookup::NotThere(_) => Err(format!("no address for {host}")),
        Lookup::AskAgain(reason) => Err(format!("no address for {host}: {reason}")),
    }
}

impl Wire {
    /// Connects: each address of the host in turn.
    ///
    /// # Errors
    /// What the kernel or the DNS says of the last address.
    pub fn connect(context: &Context, place: &Place, limit: Duration) -> Result<Wire, String> {
        let mut problem = "no address".to_owned();
        for endpoint in endpoints(context, place)? {
            let target = match endpoint {
                Endpoint::Tcp(address) => ConnectTarget::tcp(address, limit),
                Endpoint::Unix(path) => ConnectTarget::unix(path, limit),
            };
            match Socket::connect(&target) {
                Ok(socket) => return Ok(Wire::over(socket, limit)),
                Err(error) => problem = error_text(&error),
            }
        }
        Err(problem)
    }

    /// Takes a connected socket over.
    #[must_use]
    pub fn over(socket: Socket, limit: Duration) -> Wire {
        let mut wire = Wire { stream: Stream::Plain(socket), buffer: Vec::new(), at: 0, end: 0, left: 0 };
        wire.begin(limit);
        wire
    }

    /// Begins a step: a question with its whole answer.
    pub fn begin(&mut self, limit: Duration) {
        self.left = ANSWER_BYTES_MAX;
        if self.at == self.end && self.buffer.len() > READ_BYTES {
            (self.buffer, self.at, self.end) = (Vec::new(), 0, 0);
        }
        if let Some(socket) = self.socket_mut() {
            socket.begin_step(limit);
        }
    }

    fn socket_mut(&mut self) -> Option<&mut Socket> {
        match &mut self.stream {
            Stream::Plain(socket) => Some(socket),
            Stream::Tls(stream) => Some(stream.get_mut()),
            Stream::Gone => None,
        }
    }

    /// Whether nothing waits to be read: an idle connection on which something does has ended.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let quiet = match &self.stream {
            Stream::Plain(socket) => !socket.has_input(),
            Stream::Tls(stream) => !stream.get_ref().has_input(),
            Stream::Gone => false,
        };
        quiet && self.at == self.end
    }

    /// Whether it is a TLS session.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// Turns it into a TLS session. What was read before must have been used up: it would not have been protected.
    ///
    /// # Errors
    /// The handshake's, or the verdict on the certificate if the policy requires one. The connection is lost then.
    pub fn encrypt(&mut self, name: Option<&str>, policy: &ClientPolicy) -> Result<(), String> {
        if self.at != self.end {
            self.stream = Stream::Gone;
            return Err("data before the TLS handshake".to_owned());
        }
        match std::mem::replace(&mut self.stream, Stream::Gone) {
            Stream::Plain(socket) => {
                let (stream, _) = oxim_net::tls::client::connect(socket, name, policy)
                    .map_err(|error| format!("TLS: {error}"))?;
                self.stream = Stream::Tls(Box::new(stream));
                Ok(())
            }
            Stream::Tls(_) | Stream::Gone => Err("TLS: there is no connection".to_owned()),
        }
    }

    /// Sends.
    ///
    /// # Errors
    /// The kernel's, or that time is up.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream: &mut dyn Write = match &mut self.stream {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => stream,
            Stream::Gone => return Err(io::ErrorKind::NotConnected.into()),
        };
        stream.write_all(bytes)?;
        stream.flush()
    }

    fn read_so_far(&self) -> &[u8] {
        self.buffer.get(self.at..self.end).unwrap_or_default()
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.at > 0 {
            self.buffer.copy_within(self.at..self.end, 0);
            self.end = self.end.saturating_sub(self.at);
            self.at = 0;
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(self.end.saturating_mul(2).max(READ_BYTES), 0);
        }
        let space = self.buffer.get_mut(self.end..).unwrap_or_default();
        let read = match &mut self.stream {
            Stream::Plain(socket) => socket.read(space),
            Stream::Tls(stream) => stream.read(space),
            Stream::Gone => Err(io::ErrorKind::NotConnected.into()),
        };
        match read? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
            read => {
                self.end = self.end.saturating_add(read);
                self.left =
                    self.left.checked_sub(read).ok_or_else(|| io::Error::other("the answer is too long"))?;
                Ok(())
            }
        }
    }

    /// Reads exactly so many bytes.
    ///
    /// # Errors
    /// The kernel's, the end of the stream, or that time is up.
    pub fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        if count > ANSWER_BYTES_MAX {
            return Err(io::Error::other("the answer is too long"));
        }
        loop {
            let end = self.at.saturating_add(count);
            if let Some(bytes) = self.read_so_far().get(..count) {
                let bytes = bytes.to_vec();
                self.at = end;
                return Ok(bytes);
            }
            self.fill()?;
        }
    }

    /// Reads one byte.
    ///
    /// # Errors
    /// As for [`Wire::take`].
    pub fn byte(&mut self) -> io::Result<u8> {
        self.take(1)?.first().copied().ok_or_else(|| malformed("nothing"))
    }

    /// Reads a line, without its CR LF.
    ///
    /// # Errors
    /// As for [`Wire::take`]; a line over 64 KB is refused.
    pub fn line(&mut self) -> io::Result<Vec<u8>> {
        const LINE_BYTES_MAX: usize = 64 * 1024;
        let mut searched = 0;
        loop {
            let rest = self.read_so_far().get(searched..).unwrap_or_default();
            if let Some(end) = memchr::memchr(b'\n', rest) {
                let mut line = self.take(searched.saturating_add(end).saturating_add(1))?;
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(line);
            }
            searched = searched.saturating_add(rest.len());
            if searched > LINE_BYTES_MAX {
                return Err(malformed("a line without end"));
            }
            self.fill()?;
        }
    }

    /// Reads to the end of the stream.
    ///
    /// # Errors
    /// The kernel's, or that time is up.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.fill() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return self.take(self.read_so_far().len());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Says that nothing more will be sent, if the connection is a plain one.
    pub fn end_of_request(&mut self) {
        if let Stream::Plain(socket) = &self.stream {
            let _gone = rustix::net::shutdown(socket, rustix::net::Shutdown::Write);
        }
    }
}

/// An error of a step, as messages show it.
#[must_use]
pub fn step_error(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::TimedOut { "timed out".to_owned() } else { error_text(error) }
}

/// A cursor over a message of known length; what is not there is an error, never a panic.
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// At the front.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { rest: bytes }
    }

    /// What has not been read.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// So many bytes.
    ///
    /// # Errors
    /// The message is shorter.
    pub fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (front, rest) = self.rest.split_at_checked(count).ok_or_else(|| malformed("too short"))?;
        self.rest = rest;
        Ok(front)
    }

    /// One byte.
    ///
    /// # Errors
    /// The message is shorter.
    pub fn byte(&mut self) -> io::Result<u8> {
        self.take(1)?.first().copied().ok_or_else(|| malformed("too short"))
    }

    /// Up to a zero byte, which is taken too.
    ///
    /// # Errors
    /// There is none.
    pub fn zero_ended(&mut self) -> io::Result<&'a [u8]> {
        let end = memchr::memchr(0, self.rest).ok_or_else(|| malformed("no end of string"))?;
        let text = self.take(end)?;
        self.byte()?;
        Ok(text)
    }

    /// A big-endian number of so many bytes, at most eight.
    ///
    /// # Errors
    /// The message is shorter.
    pub fn big_endian(&mut self, bytes: usize) -> io::Result<u64> {
        Ok(self.take(bytes)?.iter().fold(0, |sum, b| sum << 8 | u64::from(*b)))
    }

    /// A little-endian number of so many bytes, at most eight.
    ///
    /// # Errors
    /// The message is shorter.
    pub fn little_endian(&mut self, bytes: usize) -> io::Result<u64> {
        Ok(self.take(bytes)?.iter().rev().fold(0, |sum, b| sum << 8 | u64::from(*b)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn pair() -> (Wire, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Wire::over(Socket::from_unix(ours), Duration::from_secs(5)), theirs)
    }

    #[test]
    fn pieces_are_put_together() {
        let (mut wire, mut server) = pair();
        server.write_all(b"one\r\ntwo\nabc").unwrap();
        assert_eq!(wire.line().unwrap(), b"one");
        assert_eq!(wire.line().unwrap(), b"two");
        assert_eq!(wire.take(2).unwrap(), b"ab");
        assert!(!wire.is_quiet());
        assert_eq!(wire.byte().unwrap(), b'c');
        assert!(wire.is_quiet());
        drop(server);
        assert!(!wire.is_quiet());
        assert_eq!(wire.byte().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_long_answer_comes_whole_and_its_room_is_given_back() {
        let (mut wire, mut server) = pair();
        let long: Vec<u8> = (0..=250).cycle().take(3 * READ_BYTES + 7).collect();
        server.write_all(&long).unwrap();
        assert_eq!(wire.take(5).unwrap(), long[..5]);
        assert_eq!(wire.take(long.len() - 5).unwrap(), long[5..]);
        assert!(wire.buffer.len() > READ_BYTES);
        wire.begin(Duration::from_secs(5));
        assert_eq!(wire.buffer.len(), 0);
    }

    #[test]
    fn a_silent_server_is_given_up() {
        let (mut wire, _server) = pair();
        wire.begin(Duration::from_millis(30));
        assert_eq!(step_error(&wire.byte().unwrap_err()), "timed out");
    }

    #[test]
    fn cursors_stop_at_the_end() {
        let mut cursor = Cursor::new(b"\x01\x02ab\0c");
        assert_eq!(cursor.big_endian(2).unwrap(), 0x0102);
        assert_eq!(cursor.zero_ended().unwrap(), b"ab");
        assert!(cursor.little_endian(2).is_err());
        assert!(cursor.zero_ended().is_err());
        assert_eq!(cursor.rest(), b"c");
    }
}
