//! A stream of which the first bytes read are kept, so that a ClientHello can be read twice.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::client_hello::HELLO_BYTES_MAX;

/// A stream that remembers what was read until it is told to forget.
pub struct Recorded<S> {
    inner: S,
    heard: Option<Vec<u8>>,
}

impl<S> Recorded<S> {
    pub(super) fn new(inner: S) -> Recorded<S> {
        Recorded { inner, heard: Some(Vec::new()) }
    }

    /// The stream below.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// What was read so far.
    pub(super) fn heard(&self) -> &[u8] {
        self.heard.as_deref().unwrap_or_default()
    }

    /// Ends the recording.
    pub(super) fn forget(&mut self) {
        self.heard = None;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Recorded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        if let Some(heard) = &mut self.heard {
            let new = buffer.filled().get(before..).unwrap_or_default();
            let room = HELLO_BYTES_MAX.saturating_sub(heard.len());
            heard.extend_from_slice(new.get(..room).unwrap_or(new));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Recorded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
