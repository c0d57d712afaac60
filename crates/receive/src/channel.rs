//! The two directions of one SMTP connection, with their buffers.
//!
//! Replies collect in the output buffer and go out in one write, before the session waits for input. While it waits, the
//! input buffer is empty and small: what arrives is read through the stack, so that an idle session holds no buffer.
//! Failure modes: a read ends with [`ReadError`]: closed, timed out, or broken; a failed write counts as closed.

use std::any::Any;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use oxim_base::limits::SMTP_COMMAND_BYTES_MAX;
use oxim_net::socket::set_dscp;
use oxim_net::tls::server::TlsStream;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// What a buffer may keep while the session is idle, in bytes.
const IDLE_BUFFER_BYTES: usize = 512;
/// What one read takes at most, in bytes.
const READ_BYTES: usize = 16 * 1024;
/// Replies that wait for more are sent when they reach this, in bytes: a client that never reads must not fill memory.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Anything that SMTP can be spoken over.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {
    /// The TCP socket at its end, if there is one.
    fn socket(&self) -> Option<&TcpStream>;
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Wire for T {
    fn socket(&self) -> Option<&TcpStream> {
        let any: &dyn Any = self;
        if let Some(wire) = any.downcast_ref::<Box<dyn Wire>>() {
            return wire.as_ref().socket();
        }
        if let Some(stream) = any.downcast_ref::<TlsStream<Box<dyn Wire>>>() {
            return stream.get_ref().0.get_ref().as_ref().socket();
        }
        any.downcast_ref()
    }
}

/// Why nothing more can be read.
#[derive(Debug)]
pub enum ReadError {
    /// The client closed the connection.
    Closed,
    /// Nothing came in time.
    Timeout,
    /// The connection broke.
    Broken(io::Error),
}

/// One line from the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// The line without its end.
    Whole(Vec<u8>),
    /// It was longer than any command may be: its beginning, for the log. The rest has been thrown away.
    TooLong(Vec<u8>),
}

/// A connection with its buffers.
pub struct Channel {
    wire: Box<dyn Wire>,
    input: Vec<u8>,
    start: usize,
    output: Vec<u8>,
    broken: bool,
}

impl Channel {
    /// Takes over a connection.
    pub fn new(wire: Box<dyn Wire>) -> Channel {
        Channel { wire, input: Vec::new(), start: 0, output: Vec::new(), broken: false }
    }

    /// Gives the connection away, for TLS. What has been read but not used is lost: the caller checks before.
    #[must_use]
    pub fn into_wire(self) -> Box<dyn Wire> {
        self.wire
    }

    /// Whether there is a socket whose packets can be marked.
    #[must_use]
    pub fn has_socket(&self) -> bool {
        self.wire.socket().is_some()
    }

    /// Marks the packets that we send (`control = dscp`). The error is for the log.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn mark(&self, field: u8) -> io::Result<()> {
        let Some(socket) = self.wire.socket() else { return Ok(()) };
        let is_ipv4 = socket.local_addr().is_ok_and(|address| address.is_ipv4());
        set_dscp(socket, is_ipv4, field)
    }

    /// What has arrived and has not been used.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        self.input.get(self.start..).unwrap_or_default()
    }

    /// Marks bytes of [`Self::pending`] as used.
    pub fn consume(&mut self, bytes: usize) {
        self.start = self.start.saturating_add(bytes).min(self.input.len());
        if self.start == self.input.len() {
            self.start = 0;
            shrink(&mut self.input);
        }
    }

    /// Adds to what will be sent.
    pub fn write(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    /// The buffer of what will be sent.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Sends what has been written. An error is remembered, and the next read reports it.
    pub async fn flush(&mut self, timeout: Option<Duration>) {
        if self.output.is_empty() || self.broken {
            self.output.clear();
            return;
        }
        let sent = limited(timeout, async {
            self.wire.write_all(&self.output).await?;
            self.wire.flush().await
        })
        .await;
        self.broken = !matches!(sent, Some(Ok(())));
        shrink(&mut self.output);
    }

    /// Sends what is left and closes our side.
    pub async fn close(&mut self) {
        let timeout = Some(Duration::from_secs(5));
        self.flush(timeout).await;
        let _ = limited(timeout, self.wire.shutdown()).await;
    }

    /// Reads once, after sending what waits to be sent.
    ///
    /// # Errors
    /// Closed, timed out or broken; then nothing has been added to [`Self::pending`].
    pub async fn read(&mut self, timeout: Option<Duration>) -> Result<(), ReadError> {
        self.flush(timeout).await;
        if self.broken {
            return Err(ReadError::Closed);
        }
        let read = limited(timeout, read_some(&mut self.wire, &mut self.input, &mut self.start)).await;
        match read {
            None => Err(ReadError::Timeout),
            Some(Ok(0)) => Err(ReadError::Closed),
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(ReadError::Broken(error)),
        }
    }

    /// Whether input is there now, without waiting for any: used to detect clients that do not wait for replies.
    pub async fn has_input(&mut self) -> bool {
        if !self.pending().is_empty() {
            return true;
        }
        let (wire, input, start) = (&mut self.wire, &mut self.input, &mut self.start);
        poll_fn(|cx| match poll_read(wire, input, start, cx) {
            Poll::Ready(Ok(count)) => Poll::Ready(count > 0),
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Ready(false),
        })
        .await
    }

    /// Whether a whole line has already arrived.
    #[must_use]
    pub fn has_line(&self) -> bool {
        memchr::memchr(b'\n', self.pending()).is_some()
    }

    /// Reads a line that ends with LF or CR LF.
    ///
    /// # Errors
    /// As [`Self::read`]; an unfinished line stays in [`Self::pending`].
    pub async fn read_line(&mut self, timeout: Option<Duration>) -> Result<Line, ReadError> {
        let mut searched = 0;
        // The limit is for the line: a client that sends it byte by byte gets no more time.
        let patience = Patience::new(timeout);
        loop {
            let pending = self.pending();
            let unseen = pending.get(searched..).unwrap_or_default();
            if let Some(end) = memchr::memchr(b'\n', unseen) {
                let end = searched.saturating_add(end);
                let line = if end < SMTP_COMMAND_BYTES_MAX {
                    Line::Whole(without_cr(pending.get(..end).unwrap_or_default()).to_vec())
                } else {
                    Line::TooLong(head_of(pending))
                };
                self.consume(end.saturating_add(1));
                return Ok(line);
            }
            searched = pending.len();
            if searched >= SMTP_COMMAND_BYTES_MAX {
                return self.skip_long_line(timeout).await;
            }
            if self.output.len() > OUTPUT_BYTES_MAX {
                self.flush(timeout).await;
            }
            self.read(patience.left()).await?;
        }
    }

    async fn skip_long_line(&mut self, timeout: Option<Duration>) -> Result<Line, ReadError> {
        let head = head_of(self.pending());
        let patience = Patience::new(timeout);
        loop {
            let pending = self.pending();
            if let Some(end) = memchr::memchr(b'\n', pending) {
                self.consume(end.saturating_add(1));
                return Ok(Line::TooLong(head));
            }
            let all = pending.len();
            self.consume(all);
            self.read(patience.left()).await?;
        }
    }
}

/// A time limit that several reads share.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    limit: Option<Duration>,
    since: Instant,
}

impl Patience {
    /// The whole limit, from now on. None: for ever.
    #[must_use]
    pub fn new(limit: Option<Duration>) -> Patience {
        Patience { limit, since: Instant::now() }
    }

    /// What is left of it.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        self.limit.map(|limit| limit.saturating_sub(self.since.elapsed()))
    }

    /// The client has sent enough for the limit to begin anew.
    pub fn renew(&mut self) {
        self.since = Instant::now();
    }
}

/// Runs a future under a deadline, if there is one. None: the time was up.
async fn limited<T>(timeout: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    match timeout {
        None => Some(work.await),
        Some(timeout) => tokio::time::timeout(timeout, work).await.ok(),
    }
}

async fn read_some(wire: &mut Box<dyn Wire>, input: &mut Vec<u8>, start: &mut usize) -> io::Result<usize> {
    poll_fn(|cx| poll_read(wire, input, start, cx)).await
}

/// One read through the stack into the input buffer, which is moved to its front first.
fn poll_read(
    wire: &mut Box<dyn Wire>,
    input: &mut Vec<u8>,
    start: &mut usize,
    cx: &mut std::task::Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut space = [MaybeUninit::<u8>::uninit(); READ_BYTES];
    let mut buffer = ReadBuf::uninit(&mut space);
    match Pin::new(wire).poll_read(cx, &mut buffer) {
        Poll::Pending => Poll::Pending,
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Ready(Ok(())) => {
            if *start > 0 {
                input.drain(..*start);
                *start = 0;
            }
            input.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        }
    }
}

fn shrink(buffer: &mut Vec<u8>) {
    if buffer.capacity() > IDLE_BUFFER_BYTES {
        *buffer = Vec::new();
    } else {
        buffer.clear();
    }
}

/// What is told of a line that is too long.
fn head_of(line: &[u8]) -> Vec<u8> {
    line.get(..IDLE_BUFFER_BYTES).unwrap_or(line).to_vec()
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Channel, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        (Channel::new(Box::new(ours)), theirs)
    }

    const SECOND: Option<Duration> = Some(Duration::from_secs(1));

    #[tokio::test]
    async fn lines_come_one_by_one_from_one_packet() {
        let (mut channel, mut client) = pair();
        client.write_all(b"EHLO a\r\nMAIL\nrest").await.unwrap();
        assert_eq!(channel.read_line(SECOND).await.unwrap(), Line::Whole(b"EHLO a".to_vec()));
        assert!(channel.has_line());
        assert_eq!(channel.read_line(SECOND).await.unwrap(), Line::Whole(b"MAIL".to_vec()));
        assert!(!channel.has_line());
        assert_eq!(channel.pending(), b"rest");
        drop(client);
        assert!(matches!(channel.read_line(SECOND).await, Err(ReadError::Closed)));
    }

    #[tokio::test]
    async fn a_line_without_end_is_cut() {
        let (mut channel, mut client) = pair();
        // However it is cut into packets.
        for cut in [0, 1, 8_000, SMTP_COMMAND_BYTES_MAX] {
            let line = [b'x'; SMTP_COMMAND_BYTES_MAX + 10];
            for part in [&line[..cut], &line[cut..], b"\r\nNOOP\r\n"] {
                client.write_all(part).await.unwrap();
                let _ = channel.has_input().await;
            }
            assert_eq!(
                channel.read_line(SECOND).await.unwrap(),
                Line::TooLong(vec![b'x'; IDLE_BUFFER_BYTES])
            );
            assert_eq!(channel.read_line(SECOND).await.unwrap(), Line::Whole(b"NOOP".to_vec()));
        }
        client.write_all(&[&[b'x'; SMTP_COMMAND_BYTES_MAX - 2], b"\r\n".as_slice()].concat()).await.unwrap();
        assert!(matches!(channel.read_line(SECOND).await.unwrap(), Line::Whole(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_has_its_time_however_slowly_it_comes() {
        let (mut channel, mut client) = pair();
        let slow = tokio::spawn(async move {
            for _ in 0..100 {
                client.write_all(b"x").await.unwrap();
                tokio::time::sleep(Duration::from_millis(400)).await;
            }
        });
        let began = Instant::now();
        assert!(matches!(channel.read_line(SECOND).await, Err(ReadError::Timeout)));
        assert!(began.elapsed() < Duration::from_millis(1100));
        slow.abort();
    }

    #[tokio::test]
    async fn nothing_is_kept_while_idle() {
        let (mut channel, mut client) = pair();
        client.write_all(&[b'x'; 4000]).await.unwrap();
        channel.read(SECOND).await.unwrap();
        channel.consume(4000);
        channel.write(&[b'y'; 4000]);
        channel.flush(SECOND).await;
        assert!(channel.input.capacity() + channel.output.capacity() <= 2 * IDLE_BUFFER_BYTES);
        assert!(matches!(channel.read(Some(Duration::from_millis(5))).await, Err(ReadError::Timeout)));
        assert!(!channel.has_input().await);
    }
}
