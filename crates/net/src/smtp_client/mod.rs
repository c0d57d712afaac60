//! The client's end of an SMTP or LMTP session: bytes, replies and TLS, without policy.
//!
//! Blocking, for code on worker threads: the kernel wakes the very thread that waits, so a step costs no hop through a
//! runtime. Commands are queued, and leave in one write when a reply is asked for; what belongs together (MAIL, RCPT, DATA;
//! the end of a message and the next MAIL) travels together. The caller pipelines only if the server offered it.
//!
//! ```text
//! connect -> read_banner -> ehlo -> [starttls -> ehlo] -> { queue MAIL, RCPT…, DATA; read_reply…; send_data; read_reply } -> quit
//! ```
//!
//! Guarantees: no command is sent with CR, LF or NUL inside; bytes that arrive in the clear behind the answer to STARTTLS are
//! an error and are never taken for replies from inside TLS; replies are bounded by `oxim_base::limits`. After an error the
//! connection is closed, except after [`SmtpError::LocalArgument`]. A refusal is not an error but a [`Reply`].
//!
//! RFC 5321, 2920 (pipelining), 3207 (STARTTLS), 2033 (LMTP), 3030 (BDAT). Manual: chapters 30 and 43.

mod error;
mod line;
#[cfg(test)]
mod nostarttls;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use oxim_base::debug;
use oxim_mail::smtp::dot::Sender;
use oxim_mail::smtp::extension::Extensions;
use oxim_mail::smtp::reply::{Reply, ReplyReader};

pub use error::{Phase, SmtpError};

use crate::socket::{ConnectTarget, Socket};
use crate::tls::client::{ClientPolicy, ClientStream};
use crate::tls::{self, TlsError, TlsFacts};

/// Output is sent when it has grown to this, so that a large message needs no large buffer.
const OUTPUT_BYTES: usize = 64 * 1024;
/// How much is read at once: many replies, or a long EHLO response.
const INPUT_BYTES: usize = 8 * 1024;
/// The dialogue is shown with `-v` and with `-d+transport`.
const DIALOGUE: u64 = debug::TRANSPORT | debug::VERBOSE;

enum Stream {
    Plain(Socket),
    Tls(Box<ClientStream<Socket>>),
    Closed,
}

/// What came of STARTTLS.
#[derive(Debug)]
pub enum StartTls {
    /// The session is encrypted now. Say EHLO again: what was offered before does not count.
    Started(Box<TlsFacts>),
    /// The server would not; the session goes on in the clear.
    Refused(Reply),
}

/// How much of a message was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentData {
    /// Bytes on the wire, the end marker included.
    pub bytes: u64,
    /// The longest line, in bytes, without its ending.
    pub line_bytes_max: u64,
}

/// A connection to a server.
pub struct Connection {
    stream: Stream,
    input: Box<[u8]>,
    input_start: usize,
    input_end: usize,
    reader: ReplyReader,
    output: Vec<u8>,
    awaited: VecDeque<Phase>,
    extensions: Extensions,
    ehlo_refusal: Option<Reply>,
    tls_facts: Option<TlsFacts>,
    peer: Option<SocketAddr>,
    local: Option<SocketAddr>,
}

impl Connection {
    /// Connects; nothing is read yet.
    ///
    /// # Errors
    /// [`SmtpError::Connect`] with the errno.
    pub fn connect(target: &ConnectTarget) -> Result<Connection, SmtpError> {
        Socket::connect(target).map(Connection::over).map_err(SmtpError::Connect)
    }

    /// A session over a socket that is connected already: a proxy's, or one to a program.
    #[must_use]
    pub fn over(socket: Socket) -> Connection {
        let (peer, local) = (socket.peer_address(), socket.local_address());
        Connection {
            stream: Stream::Plain(socket),
            input: vec![0; INPUT_BYTES].into_boxed_slice(),
            input_start: 0,
            input_end: 0,
            reader: ReplyReader::new(),
            output: Vec::new(),
            awaited: VecDeque::new(),
            extensions: Extensions::default(),
            ehlo_refusal: None,
            tls_facts: None,
            peer,
            local,
        }
    }

    /// A session over a line that its other end has turned around: it knows the addresses and the TLS session of the line, which
    /// is carried on elsewhere.
    #[must_use]
    pub fn over_line(
        socket: Socket,
        peer: SocketAddr,
        local: Option<SocketAddr>,
        tls: Option<TlsFacts>,
    ) -> Connection {
        Connection { peer: Some(peer), local, tls_facts: tls, ..Connection::over(socket) }
    }

    /// What the server offered in its last answer to EHLO or LHLO.
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// The TLS session, if there is one.
    #[must_use]
    pub fn tls_facts(&self) -> Option<&TlsFacts> {
        self.tls_facts.as_ref()
    }

    /// The server's address, over TCP.
    #[must_use]
    pub fn peer_address(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Our own address, over TCP (`$sending_ip_address`, `$sending_port`).
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.local
    }

    /// How many replies are still to be read.
    #[must_use]
    pub fn awaited_replies(&self) -> usize {
        self.awaited.len()
    }

    /// Whether an idle session can carry another message: nothing is under way, and the server has neither spoken
    /// unasked nor closed.
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        let quiet = self.awaited.is_empty() && self.output.is_empty() && self.input_start == self.input_end;
        quiet
            && match &self.stream {
                Stream::Plain(socket) => !socket.has_input(),
                Stream::Tls(stream) => !stream.get_ref().has_input(),
                Stream::Closed => false,
            }
    }

    /// Reads the greeting.
    ///
    /// # Errors
    /// See [`SmtpError`].
    pub fn read_banner(&mut self, limit: Duration) -> Result<Reply, SmtpError> {
        self.expect_banner();
        self.read_reply(limit)
    }

    /// Reads the greeting of a server that was a client until now; `phase` is what came before, for errors.
    ///
    /// # Errors
    /// See [`SmtpError`].
    pub fn read_banner_after(&mut self, phase: &str, limit: Duration) -> Result<Reply, SmtpError> {
        self.await_reply(phase.to_owned());
        self.read_reply(limit)
    }

    /// Counts the greeting among the awaited replies without reading it, so that commands can be queued before it comes
    /// (early pipelining).
    pub fn expect_banner(&mut self) {
        self.await_reply("initial connection".to_owned());
    }

    /// Says EHLO. The extensions are remembered if the answer is 2yz.
    ///
    /// # Errors
    /// See [`SmtpError`].
    pub fn ehlo(&mut self, name: &str, limit: Duration) -> Result<Reply, SmtpError> {
        let reply = self.command(&format!("EHLO {name}"), limit)?;
        self.take_extensions(&reply);
        Ok(reply)
    }

    /// Says LHLO (LMTP), otherwise as EHLO.
    ///
    /// # Errors
    /// See [`SmtpError`].
    pub fn lhlo(&mut self, name: &str, limit: Duration) -> Result<Reply, SmtpError> {
        let reply = self.command(&format!("LHLO {name}"), limit)?;
        self.take_extensions(&reply);
        Ok(reply)
    }

    /// Says HELO, after EHLO was refused: no extensions then.
    ///
    /// # Errors
    /// See [`SmtpError`]. A closed connection is reported with the answer to EHLO, which may tell why.
    pub fn helo(&mut self, name: &str, limit: Duration) -> Result<Reply, SmtpError> {
        self.extensions = Extensions::default();
        let note = self.ehlo_refusal.take().map(|reply| format!("EHLO response was: {reply}"));
        self.queue(format!("HELO {name}").as_bytes())?;
        if let Some(phase) = self.awaited.back_mut() {
            phase.note = note;
        }
        self.read_reply(limit)
    }

    /// Takes the extensions from an answer to EHLO that was read by [`Connection::read_reply`] (early pipelining).
    pub fn take_extensions(&mut self, reply: &Reply) {
        let good = reply.is_success();
        self.extensions = if good { Extensions::parse(reply) } else { Extensions::default() };
        self.ehlo_refusal = (!good).then(|| reply.clone());
    }

    /// Believes extensions that were remembered from an earlier session (early pipelining).
    pub fn assume_extensions(&mut self, extensions: Extensions) {
        self.extensions = extensions;
    }

    /// Sends a command by itself and reads its reply.
    ///
    /// # Errors
    /// See [`SmtpError`].
    pub fn command(&mut self, command: &str, limit: Duration) -> Result<Reply, SmtpError> {
        self.queue(command.as_bytes())?;
        self.read_reply(limit)
    }

    /// Queues a command, without CR LF. It leaves when a reply is asked for, or by [`Connection::flush`].
    ///
    /// # Errors
    /// [`SmtpError::LocalArgument`] if it holds CR, LF or NUL; nothing is queued then.
    pub fn queue(&mut self, command: &[u8]) -> Result<(), SmtpError> {
        let shown = String::from_utf8_lossy(command).into_owned();
        self.queue_shown(command, shown)
    }

    /// Queues a command that nobody may see; `shown` stands for it in debug output and errors (`AUTH command`).
    ///
    /// # Errors
    /// As [`Connection::queue`].
    pub fn queue_secret(&mut self, command: &[u8], shown: &str) -> Result<(), SmtpError> {
        self.queue_shown(command, shown.to_owned())
    }

    fn queue_shown(&mut self, command: &[u8], shown: String) -> Result<(), SmtpError> {
        if memchr::memchr3(b'\r', b'\n', 0, command).is_some() {
            return Err(SmtpError::LocalArgument { command: shown });
        }
        debug::line(DIALOGUE, || format!("  SMTP>> {shown}"));
        self.output.extend_from_slice(command);
        self.output.extend_from_slice(b"\r\n");
        self.await_reply(shown);
        Ok(())
    }

    /// A reply is pipelined if it or one before it was not waited for.
    fn await_reply(&mut self, command: String) {
        let pipelined = !self.awaited.is_empty();
        if let (true, Some(before)) = (pipelined, self.awaited.back_mut()) {
            before.pipelined |= before.bytes_written.is_none();
        }
        self.awaited.push_back(Phase { command, pipelined, bytes_written: None, note: None });
    }

    /// Sends what is queued.
    ///
    /// # Errors
    /// See [`SmtpError`]; the phase is that of the first awaited reply.
    pub fn flush(&mut self, limit: Duration) -> Result<(), SmtpError> {
        self.begin_step(limit);
        self.write_output().map_err(|error| self.fail(error))
    }

    /// Sends what is queued and reads the next reply; both together within the limit. Zero means no limit.
    ///
    /// # Errors
    /// See [`SmtpError`]. To ask for a reply when none is awaited is a closed connection too.
    pub fn read_reply(&mut self, limit: Duration) -> Result<Reply, SmtpError> {
        self.begin_step(limit);
        // A server that has had enough may have told us before it closed.
        let unsent = self.write_output().err().filter(|error| error.kind() == io::ErrorKind::TimedOut);
        if let Some(error) = unsent {
            return Err(self.fail(error));
        }
        loop {
            if let Some(reply) = self.buffered_reply()? {
                debug::line(DIALOGUE, || format!("  SMTP<< {reply}"));
                self.awaited.pop_front();
                return Ok(reply);
            }
            match self.fill_input() {
                Ok(0) => return Err(self.fail(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) => return Err(self.fail(error)),
            }
        }
    }

    /// Whether the next reply, whole, has arrived already: reading it will not wait.
    pub fn has_buffered_input(&self) -> bool {
        self.input_start < self.input_end
    }

    fn buffered_reply(&mut self) -> Result<Option<Reply>, SmtpError> {
        let waiting = self.input.get(self.input_start..self.input_end).unwrap_or_default();
        match self.reader.feed(waiting) {
            Ok((used, reply)) => {
                self.input_start = self.input_start.saturating_add(used);
                Ok(reply)
            }
            Err(error) => {
                self.close();
                Err(SmtpError::PeerMalformed { after: self.phase(), error })
            }
        }
    }

    fn fill_input(&mut self) -> io::Result<usize> {
        self.input_start = 0;
        self.input_end = 0;
        let count = loop {
            let result = match &mut self.stream {
                Stream::Plain(socket) => socket.read(&mut self.input),
                Stream::Tls(stream) => stream.read(&mut self.input),
                Stream::Closed => Err(io::ErrorKind::NotConnected.into()),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.input_end = count;
        Ok(count)
    }

    fn write_output(&mut self) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        let result = match &mut self.stream {
            Stream::Plain(socket) => socket.write_all(&self.output),
            Stream::Tls(stream) => stream.write_all(&self.output).and_then(|()| stream.flush()),
            Stream::Closed => Err(io::ErrorKind::NotConnected.into()),
        };
        self.output.clear();
        result
    }

    fn begin_step(&mut self, limit: Duration) {
        match &mut self.stream {
            Stream::Plain(socket) => socket.begin_step(limit),
            Stream::Tls(stream) => stream.get_mut().begin_step(limit),
            Stream::Closed => {}
        }
    }

    /// Nothing that has arrived counts any more.
    fn close(&mut self) {
        self.stream = Stream::Closed;
        (self.input_start, self.input_end) = (0, 0);
        self.reader = ReplyReader::new();
    }

    fn phase(&self) -> Phase {
        self.awaited.front().cloned().unwrap_or_default()
    }

    /// Closes the connection over an I/O error and says what was going on.
    fn fail(&mut self, error: io::Error) -> SmtpError {
        self.close();
        let after = self.phase();
        if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) {
            SmtpError::Timeout { after }
        } else {
            SmtpError::Closed { after, error }
        }
    }

    /// Asks for TLS and performs the handshake if the server agrees (any 2yz).
    ///
    /// # Errors
    /// [`SmtpError::PeerInjected`] if more than the one reply came in the clear; [`SmtpError::Tls`] if the handshake or the
    /// judgement failed. The connection is closed then: to go on in the clear, connect again.
    pub fn starttls(
        &mut self,
        sni: Option<&str>,
        policy: &ClientPolicy,
        limit: Duration,
    ) -> Result<StartTls, SmtpError> {
        let reply = self.command("STARTTLS", limit)?;
        if !reply.is_success() {
            return Ok(StartTls::Refused(reply));
        }
        if self.has_buffered_input() || !self.awaited.is_empty() {
            self.close();
            return Err(SmtpError::PeerInjected);
        }
        let facts = self.tls_on_connect(sni, policy, limit)?;
        Ok(StartTls::Started(Box::new(facts)))
    }

    /// Performs the handshake at once (port 465), or after STARTTLS was agreed on.
    ///
    /// # Errors
    /// [`SmtpError::Tls`].
    pub fn tls_on_connect(
        &mut self,
        sni: Option<&str>,
        policy: &ClientPolicy,
        limit: Duration,
    ) -> Result<TlsFacts, SmtpError> {
        self.begin_step(limit);
        let Stream::Plain(socket) = std::mem::replace(&mut self.stream, Stream::Closed) else {
            let why = "the connection is not in the clear".to_owned();
            return Err(SmtpError::Tls(TlsError::Handshake(why)));
        };
        let (stream, facts) = tls::client::connect(socket, sni, policy).map_err(SmtpError::Tls)?;
        self.stream = Stream::Tls(Box::new(stream));
        // What was said in the clear may have been said by anyone.
        self.extensions = Extensions::default();
        self.ehlo_refusal = None;
        self.tls_facts = Some(facts.clone());
        Ok(facts)
    }

    /// Sends a message after 354, with dot-stuffing and the end marker. `source` appends the next piece in stored form (lines
    /// end in LF) to the empty buffer it is given, and says whether there may be more. The limit is for each block that is
    /// written (`data_timeout`). The last block waits for [`Connection::read_reply`], so that a queued MAIL can go with it.
    ///
    /// # Errors
    /// See [`SmtpError`]. If the source fails, the connection is closed in mid-message, so that nothing is accepted.
    pub fn send_data(
        &mut self,
        limit: Duration,
        mut source: impl FnMut(&mut Vec<u8>) -> io::Result<bool>,
    ) -> Result<SentData, SmtpError> {
        self.awaited.push_back(Phase { command: "end of data".to_owned(), ..Phase::default() });
        let mut sender = Sender::for_data();
        let mut piece = Vec::new();
        let mut bytes = 0_u64;
        let mut begun = self.output.len();
        loop {
            piece.clear();
            let more = source(&mut piece).map_err(|error| {
                self.close();
                SmtpError::LocalSource(error)
            })?;
            sender.feed(&piece, &mut self.output);
            if !more {
                break;
            }
            if self.output.len() >= OUTPUT_BYTES {
                bytes = bytes.saturating_add(self.output.len().saturating_sub(begun) as u64);
                begun = 0;
                self.flush(limit)?;
            }
        }
        sender.finish(&mut self.output);
        bytes = bytes.saturating_add(self.output.len().saturating_sub(begun) as u64);
        if let Some(phase) = self.awaited.back_mut() {
            phase.bytes_written = Some(bytes);
        }
        Ok(SentData { bytes, line_bytes_max: sender.line_bytes_max() })
    }

    /// Queues one BDAT chunk. `wire` has CR LF line endings and no dot-stuffing ([`Sender::for_chunks`]). Its reply is awaited
    /// like that of a command. A large chunk is sent at once, within the limit.
    ///
    /// # Errors
    /// See [`SmtpError`].
    pub fn queue_bdat(&mut self, wire: &[u8], is_last: bool, limit: Duration) -> Result<(), SmtpError> {
        let last = if is_last { " LAST" } else { "" };
        self.queue(format!("BDAT {}{last}", wire.len()).as_bytes())?;
        self.output.extend_from_slice(wire);
        if self.output.len() >= OUTPUT_BYTES { self.flush(limit) } else { Ok(()) }
    }

    /// Says QUIT and closes. Waits for the answer, but no longer than the limit; zero does not wait. Nothing here can fail in a
    /// way that matters.
    pub fn quit(mut self, limit: Duration) {
        if matches!(self.stream, Stream::Closed) || self.queue(b"QUIT").is_err() {
            return;
        }
        if limit.is_zero() {
            let _gone = self.flush(Duration::from_secs(1));
        } else {
            while self.awaited_replies() > 0 && self.read_reply(limit).is_ok() {}
        }
        if let Stream::Tls(stream) = &mut self.stream {
            stream.close();
        }
    }
}
