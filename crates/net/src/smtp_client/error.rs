//! What ends an SMTP session early, in Exim's words.

use std::fmt;
use std::io;

use oxim_base::errno::error_text;
use oxim_mail::smtp::reply::ReplyError;

use crate::tls::TlsError;

/// What the server was to answer when something happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Phase {
    /// The command as sent (`RCPT TO:<a@b.example>`), `initial connection` or `end of data`.
    pub command: String,
    /// Whether it was sent together with others. Only errors of the connection say so.
    pub pipelined: bool,
    /// Size of the message, at the end of data.
    pub bytes_written: Option<u64>,
    /// What else may tell the reason.
    pub note: Option<String>,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pipelined {
            f.write_str("pipelined ")?;
        }
        f.write_str(&self.command)
    }
}

/// Why a session ended. The text is what Exim writes after `H=host [address]: `.
#[derive(Debug)]
pub enum SmtpError {
    /// A command of ours held CR, LF or NUL and was not sent.
    LocalArgument {
        /// The command.
        command: String,
    },
    /// The message could not be read.
    LocalSource(io::Error),
    /// No connection.
    Connect(io::Error),
    /// The server was too slow.
    Timeout {
        /// In answering what.
        after: Phase,
    },
    /// The server closed the connection, or the network did.
    Closed {
        /// Instead of answering what.
        after: Phase,
        /// `UnexpectedEof` if it was closed in good order.
        error: io::Error,
    },
    /// The server sent what is no reply.
    PeerMalformed {
        /// In answer to what.
        after: Phase,
        /// What is wrong with it.
        error: ReplyError,
    },
    /// The server, or someone on the way, sent more than the answer to STARTTLS in the clear.
    PeerInjected,
    /// No TLS session.
    Tls(TlsError),
}

impl SmtpError {
    /// The errno to record with a deferred address: 110 for timeouts, the kernel's own otherwise.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            SmtpError::Timeout { .. } | SmtpError::Tls(TlsError::Timeout) => {
                Some(rustix::io::Errno::TIMEDOUT.raw_os_error())
            }
            SmtpError::Connect(error) | SmtpError::Closed { error, .. } | SmtpError::LocalSource(error) => {
                error.raw_os_error()
            }
            SmtpError::Tls(TlsError::Io(error)) => error.raw_os_error(),
            SmtpError::LocalArgument { .. }
            | SmtpError::PeerMalformed { .. }
            | SmtpError::PeerInjected
            | SmtpError::Tls(_) => None,
        }
    }

    /// What the server was to answer, if it came to that.
    #[must_use]
    pub fn phase(&self) -> Option<&Phase> {
        match self {
            SmtpError::Timeout { after }
            | SmtpError::Closed { after, .. }
            | SmtpError::PeerMalformed { after, .. } => Some(after),
            SmtpError::LocalArgument { .. }
            | SmtpError::LocalSource(_)
            | SmtpError::Connect(_)
            | SmtpError::PeerInjected
            | SmtpError::Tls(_) => None,
        }
    }
}

impl fmt::Display for SmtpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SmtpError::LocalArgument { command } => {
                write!(f, "refused to send a command with a line break inside: {}", command.escape_debug())
            }
            SmtpError::LocalSource(error) => write!(f, "cannot read the message: {}", error_text(error)),
            SmtpError::Connect(error) => f.write_str(&error_text(error)),
            SmtpError::Timeout { after } => {
                write!(f, "SMTP timeout after {after}")?;
                after.bytes_written.map_or(Ok(()), |bytes| write!(f, " ({bytes} bytes written)"))
            }
            SmtpError::Closed { after, .. } => {
                write!(f, "Remote host closed connection in response to {after}")?;
                after.note.as_ref().map_or(Ok(()), |note| write!(f, " ({note})"))
            }
            SmtpError::PeerMalformed { after, error } => {
                write!(f, "Malformed SMTP reply in response to {after}: ")?;
                match error {
                    ReplyError::PeerNoCode { line } => f.write_str(&String::from_utf8_lossy(line)),
                    ReplyError::PeerCodeChanged { first, then } => {
                        write!(f, "code {first} is followed by {then}")
                    }
                    ReplyError::PeerTooLong => f.write_str("too long"),
                }
            }
            SmtpError::PeerInjected => f.write_str("the server sent clear text after its reply to STARTTLS"),
            SmtpError::Tls(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for SmtpError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SmtpError::Connect(error) | SmtpError::Closed { error, .. } | SmtpError::LocalSource(error) => {
                Some(error)
            }
            SmtpError::Tls(error) => Some(error),
            SmtpError::PeerMalformed { error, .. } => Some(error),
            SmtpError::LocalArgument { .. } | SmtpError::Timeout { .. } | SmtpError::PeerInjected => None,
        }
    }
}
