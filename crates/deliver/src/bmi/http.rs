//! One question to Rspamd over HTTP, by TCP or a Unix socket, and its answer (RFC 9112).
//!
//! One connection per question, which the server closes. Failure modes: no connection, an answer that is too long, broken off
//! or not HTTP, one with another status than 200, none in time.

use std::io::{self, BufWriter, Write};
use std::time::{Duration, Instant};

use oxim_base::errno::error_text;
use oxim_base::limits::SCANNER_ANSWER_BYTES_MAX;
use oxim_mail::header::HeaderList;
use oxim_net::http::{HttpError, read_response};
use oxim_net::socket::{ConnectTarget, Endpoint, Socket};
use oxim_spool::message::Body;

/// Asks; gives the content of the answer. `head` is the request up to, and without, the length and the empty line.
pub(super) fn post(
    server: &Endpoint,
    limit: Duration,
    head: &[u8],
    headers: &HeaderList,
    body: &Body,
) -> Result<Vec<u8>, String> {
    let failed = |doing: &str, error: &io::Error| {
        let text = if error.kind() == io::ErrorKind::TimedOut { "timeout".into() } else { error_text(error) };
        format!("{} {}: {text}", doing, name_of(server))
    };
    let began = Instant::now();
    let target = match server {
        Endpoint::Tcp(address) => ConnectTarget::tcp(*address, limit),
        Endpoint::Unix(path) => ConnectTarget::unix(path.clone(), limit),
    };
    let mut socket = Socket::connect(&target).map_err(|error| failed("connecting to", &error))?;
    let left = limit.saturating_sub(began.elapsed()).max(Duration::from_millis(1));
    socket.begin_step(left);
    // A server that refuses before it has heard all is heard all the same.
    let sent = send(&mut socket, head, headers, body);
    let name = name_of(server);
    match read_response(&mut socket, SCANNER_ANSWER_BYTES_MAX) {
        Ok(response) if response.status == 200 => Ok(response.body),
        Ok(response) => Err(format!("{name} says {}", response.status)),
        Err(HttpError::Lost(_)) if sent.is_err() => {
            sent.map(|()| Vec::new()).map_err(|e| failed("writing to", &e))
        }
        Err(error) => Err(format!("{name}: {error}")),
    }
}

fn name_of(server: &Endpoint) -> String {
    match server {
        Endpoint::Tcp(address) => address.to_string(),
        Endpoint::Unix(path) => path.display().to_string(),
    }
}

fn send(socket: &mut Socket, head: &[u8], headers: &HeaderList, body: &Body) -> io::Result<()> {
    let length =
        u64::try_from(headers.size_bytes()).unwrap_or(u64::MAX).saturating_add(1).saturating_add(body.len());
    let mut out = BufWriter::with_capacity(64 * 1024, socket);
    out.write_all(head)?;
    write!(out, "Content-Length: {length}\r\n\r\n")?;
    for header in headers.iter_live() {
        out.write_all(&header.text)?;
    }
    out.write_all(b"\n")?;
    io::copy(&mut body.reader(), &mut out)?;
    out.flush()
}
