//! A client of Redis: version 2 of its protocol (<https://redis.io/docs/reference/protocol-spec/>).

use std::io;
use std::time::Duration;

use oxim_base::limits::LOOKUP_NESTING_MAX;

use super::wire::{Wire, malformed, step_error};

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A status or a string.
    Text(Vec<u8>),
    /// A number.
    Integer(i64),
    /// Nothing there.
    Nil,
    /// Several.
    Array(Vec<Reply>),
    /// The server's complaint.
    Error(String),
}

/// A connection. The database that was selected is part of it.
pub struct Session {
    wire: Wire,
}

impl Session {
    /// Over a connection.
    #[must_use]
    pub fn new(wire: Wire) -> Session {
        Session { wire }
    }

    /// The connection below.
    #[must_use]
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Sends a command and reads its reply, within the step that has begun.
    ///
    /// # Errors
    /// Why the connection is lost.
    pub fn command(&mut self, words: &[&[u8]]) -> Result<Reply, String> {
        let mut out = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            out.extend_from_slice(word);
            out.extend_from_slice(b"\r\n");
        }
        let replied = self.wire.send(&out).and_then(|()| read(&mut self.wire, 0));
        replied.map_err(|error| step_error(&error))
    }

    /// Begins a step.
    pub fn begin(&mut self, limit: Duration) {
        self.wire.begin(limit);
    }
}

fn count(text: &[u8]) -> io::Result<i64> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or_else(|| malformed("bad number"))
}

/// Reads one reply.
///
/// # Errors
/// The connection's, or that it makes no sense.
pub fn read(wire: &mut Wire, nesting: usize) -> io::Result<Reply> {
    if nesting > LOOKUP_NESTING_MAX {
        return Err(malformed("nested too deep"));
    }
    let line = wire.line()?;
    let (kind, rest) = line.split_first().ok_or_else(|| malformed("empty line"))?;
    match kind {
        b'+' => Ok(Reply::Text(rest.to_vec())),
        b'-' => Ok(Reply::Error(String::from_utf8_lossy(rest).into_owned())),
        b':' => Ok(Reply::Integer(count(rest)?)),
        b'$' => match usize::try_from(count(rest)?) {
            Ok(length) => {
                let text = wire.take(length)?;
                if wire.take(2)? == b"\r\n" {
                    Ok(Reply::Text(text))
                } else {
                    Err(malformed("string without end"))
                }
            }
            Err(_) => Ok(Reply::Nil),
        },
        b'*' => match usize::try_from(count(rest)?) {
            Ok(length) => {
                let mut replies = Vec::new();
                for _ in 0..length {
                    replies.push(read(wire, nesting.saturating_add(1))?);
                }
                Ok(Reply::Array(replies))
            }
            Err(_) => Ok(Reply::Nil),
        },
        _ => Err(malformed("unknown kind of reply")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxim_net::socket::Socket;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    fn reply(bytes: &[u8]) -> io::Result<Reply> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(bytes).unwrap();
        drop(theirs);
        read(&mut Wire::over(Socket::from_unix(ours), Duration::from_secs(5)), 0)
    }

    #[test]
    fn replies_are_read() {
        let text = |text: &str| Reply::Text(text.as_bytes().to_vec());
        assert_eq!(reply(b"+OK\r\n").unwrap(), text("OK"));
        assert_eq!(reply(b"$4\r\na\r\nb\r\n").unwrap(), text("a\r\nb"));
        assert_eq!(reply(b"$-1\r\n").unwrap(), Reply::Nil);
        assert_eq!(reply(b":-7\r\n").unwrap(), Reply::Integer(-7));
        assert_eq!(reply(b"-ERR no\r\n").unwrap(), Reply::Error("ERR no".to_owned()));
        let nested = Reply::Array(vec![Reply::Integer(1), Reply::Array(vec![text("x")]), Reply::Nil]);
        assert_eq!(reply(b"*3\r\n:1\r\n*1\r\n+x\r\n*-1\r\n").unwrap(), nested);
    }

    #[test]
    fn nonsense_is_an_error() {
        for bytes in [
            "",
            "\r\n",
            "?x\r\n",
            "$5\r\nab\r\n",
            "$2\r\nabXX",
            ":x\r\n",
            "*2\r\n:1\r\n",
            "$99999999999999\r\n",
        ] {
            assert!(reply(bytes.as_bytes()).is_err(), "{bytes}");
        }
        assert!(reply("*1\r\n".repeat(500).as_bytes()).is_err());
    }
}
