//! One HTTP request on a connection of its own (RFC 9112): for policies and OCSP responses, which are small and rare.
//!
//! A library for HTTP would bring a tree of crates for connections that are kept, redirects, compression and cookies; all of
//! that is unwanted here. What is taken is bounded: the time for everything together, the header, the body. A redirect is an
//! answer like any other, and never followed. Blocking, for code on worker threads.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use oxim_base::errno::error_text;

use crate::socket::{ConnectTarget, Socket};
use crate::tls::TlsError;
use crate::tls::client::{self, ClientPolicy};

/// Most bytes of a status line and header, or of trailers.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Most provisional answers (1xx) before the real one.
const PROVISIONAL_MAX: usize = 5;
/// How long one address may take to be connected to; the others want their turn.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The name (and port, if it is not the scheme's) for the `Host` line.
    pub host: &'a str,
    /// Path and query, from the slash on.
    pub path: &'a str,
    /// Media type and content of a POST; without them it is a GET.
    pub post: Option<(&'a str, &'a [u8])>,
}

/// How much may be spent.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For everything.
    pub time: Duration,
    /// For the content.
    pub body_bytes: usize,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// 200 and so on.
    pub status: u16,
    /// The media type without parameters, in lower case.
    pub media_type: Option<String>,
    /// The content, decoded.
    pub body: Vec<u8>,
}

/// Why there is no answer. All of them mean: perhaps later.
#[derive(Debug)]
pub enum HttpError {
    /// No address could be connected to.
    Connect(io::Error),
    /// No TLS session, or a certificate that is not good.
    Tls(TlsError),
    /// The time is over.
    Timeout,
    /// The connection broke.
    Lost(io::Error),
    /// What came is no HTTP.
    PeerMalformed(&'static str),
    /// The answer is larger than allowed.
    PeerTooLarge,
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HttpError::Connect(error) => write!(f, "cannot connect: {}", error_text(error)),
            HttpError::Tls(error) => write!(f, "TLS: {error}"),
            HttpError::Timeout => f.write_str("timed out"),
            HttpError::Lost(error) => write!(f, "connection lost: {}", error_text(error)),
            HttpError::PeerMalformed(what) => write!(f, "not HTTP: {what}"),
            HttpError::PeerTooLarge => f.write_str("the answer is too large"),
        }
    }
}

impl std::error::Error for HttpError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            HttpError::Connect(error) | HttpError::Lost(error) => Some(error),
            HttpError::Tls(error) => Some(error),
            HttpError::Timeout | HttpError::PeerMalformed(_) | HttpError::PeerTooLarge => None,
        }
    }
}

impl From<io::Error> for HttpError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::TimedOut { HttpError::Timeout } else { HttpError::Lost(error) }
    }
}

/// Asks the first address that can be connected to. `tls` is the name to ask for and the policy of an https request.
///
/// # Errors
/// See [`HttpError`]. An answer of any status is no error.
pub fn ask(
    addresses: &[SocketAddr],
    tls: Option<(&str, &ClientPolicy)>,
    request: &Request<'_>,
    limits: Limits,
) -> Result<Response, HttpError> {
    let began = Instant::now();
    let left = || limits.time.checked_sub(began.elapsed()).filter(|left| !left.is_zero());
    let mut refused = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    for address in addresses {
        let time = left().ok_or(HttpError::Timeout)?;
        let mut socket = match Socket::connect(&ConnectTarget::tcp(*address, time.min(CONNECT_MAX))) {
            Ok(socket) => socket,
            Err(error) => {
                refused = error;
                continue;
            }
        };
        socket.begin_step(left().ok_or(HttpError::Timeout)?);
        let Some((name, policy)) = tls else { return exchange(&mut socket, request, limits.body_bytes) };
        let connected = client::connect(socket, Some(name), policy);
        let (mut stream, _facts) = connected.map_err(|error| {
            if matches!(error, TlsError::Timeout) { HttpError::Timeout } else { HttpError::Tls(error) }
        })?;
        let answer = exchange(&mut stream, request, limits.body_bytes);
        stream.close();
        return answer;
    }
    if refused.kind() == io::ErrorKind::TimedOut {
        return Err(HttpError::Timeout);
    }
    Err(HttpError::Connect(refused))
}

fn exchange<S: Read + Write>(
    stream: &mut S,
    request: &Request<'_>,
    body_bytes_max: usize,
) -> Result<Response, HttpError> {
    let verb = if request.post.is_some() { "POST" } else { "GET" };
    let mut bytes = format!(
        "{verb} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: Oxim\r\nAccept: */*\r\nConnection: close\r\n",
        request.path, request.host
    )
    .into_bytes();
    if let Some((kind, content)) = request.post {
        bytes.extend(format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", content.len()).bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(request.post.map(|(_, content)| content).unwrap_or_default());
    stream.write_all(&bytes)?;
    stream.flush()?;
    read_response(stream, body_bytes_max)
}

/// Reads an answer to its end.
///
/// # Errors
/// The stream's, or [`HttpError::PeerMalformed`], [`HttpError::PeerTooLarge`].
pub fn read_response<S: Read>(stream: &mut S, body_bytes_max: usize) -> Result<Response, HttpError> {
    let mut input = Input { stream, buffer: Vec::new(), at: 0 };
    for _ in 0..=PROVISIONAL_MAX {
        let head = Head::read(&mut input)?;
        if (100..200).contains(&head.status) {
            continue;
        }
        let body = match (head.status, head.is_chunked, head.length) {
            (204 | 304, _, _) => Vec::new(),
            (_, true, _) => chunks(&mut input, body_bytes_max)?,
            (_, false, Some(length)) => {
                let length = usize::try_from(length).ok().filter(|length| *length <= body_bytes_max);
                input.exactly(length.ok_or(HttpError::PeerTooLarge)?)?
            }
            (_, false, None) => input.until_end(body_bytes_max)?,
        };
        return Ok(Response { status: head.status, media_type: head.media_type, body });
    }
    Err(HttpError::PeerMalformed("too many provisional answers"))
}

struct Head {
    status: u16,
    media_type: Option<String>,
    length: Option<u64>,
    is_chunked: bool,
}

impl Head {
    fn read<S: Read>(input: &mut Input<'_, S>) -> Result<Head, HttpError> {
        let mut left = HEADER_BYTES_MAX;
        let status = input.line(&mut left)?;
        let status = status_of(&status).ok_or(HttpError::PeerMalformed("the status line"))?;
        let mut head = Head { status, media_type: None, length: None, is_chunked: false };
        loop {
            let line = input.line(&mut left)?;
            if line.is_empty() {
                return Ok(head);
            }
            let text = String::from_utf8_lossy(&line);
            let (name, value) = text.split_once(':').ok_or(HttpError::PeerMalformed("a header line"))?;
            head.field(&name.to_ascii_lowercase(), value.trim())?;
        }
    }

    fn field(&mut self, name: &str, value: &str) -> Result<(), HttpError> {
        match name {
            "content-type" => {
                let kind = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
                self.media_type.get_or_insert(kind);
            }
            "content-length" => {
                let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                let length = value.parse().ok().filter(|_| is_number);
                let length = length.ok_or(HttpError::PeerMalformed("the length"))?;
                if self.length.replace(length).is_some_and(|before| before != length) {
                    return Err(HttpError::PeerMalformed("two lengths"));
                }
            }
            "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => self.is_chunked = true,
            "transfer-encoding" => return Err(HttpError::PeerMalformed("an unknown transfer coding")),
            "content-encoding" if !value.eq_ignore_ascii_case("identity") => {
                return Err(HttpError::PeerMalformed("a content coding that was not asked for"));
            }
            _ => {}
        }
        Ok(())
    }
}

/// `HTTP/1.1 200 OK`.
fn status_of(line: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(line).ok()?;
    let mut words = text.splitn(3, ' ');
    let (version, code) = (words.next()?, words.next()?);
    let is_ours = matches!(version, "HTTP/1.1" | "HTTP/1.0");
    let is_code = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit());
    code.parse().ok().filter(|code| is_ours && is_code && *code >= 100)
}

fn chunks<S: Read>(input: &mut Input<'_, S>, bytes_max: usize) -> Result<Vec<u8>, HttpError> {
    let mut body = Vec::new();
    loop {
        let mut left = HEADER_BYTES_MAX;
        let line = input.line(&mut left)?;
        let text = String::from_utf8_lossy(&line);
        let digits = text.split(';').next().unwrap_or_default().trim();
        let is_hex = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let length = u64::from_str_radix(digits, 16).ok().filter(|_| is_hex);
        let length = length.ok_or(HttpError::PeerMalformed("the length of a chunk"))?;
        if length == 0 {
            while !input.line(&mut left)?.is_empty() {}
            return Ok(body);
        }
        let room = bytes_max.saturating_sub(body.len());
        let length = usize::try_from(length).ok().filter(|length| *length <= room);
        body.extend(input.exactly(length.ok_or(HttpError::PeerTooLarge)?)?);
        if !input.line(&mut left)?.is_empty() {
            return Err(HttpError::PeerMalformed("the end of a chunk"));
        }
    }
}

struct Input<'a, S: Read> {
    stream: &'a mut S,
    buffer: Vec<u8>,
    at: usize,
}

impl<S: Read> Input<'_, S> {
    fn waiting(&self) -> &[u8] {
        self.buffer.get(self.at..).unwrap_or_default()
    }

    /// Reads more; false at the end.
    fn more(&mut self) -> Result<bool, HttpError> {
        if self.at > 0 {
            self.buffer.drain(..self.at.min(self.buffer.len()));
            self.at = 0;
        }
        let mut piece = [0; 4_096];
        let length = loop {
            match self.stream.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.buffer.extend_from_slice(piece.get(..length).unwrap_or_default());
        Ok(length > 0)
    }

    fn ended() -> HttpError {
        HttpError::Lost(io::ErrorKind::UnexpectedEof.into())
    }

    /// A line without its end. `left` is what lines may have in all.
    fn line(&mut self, left: &mut usize) -> Result<Vec<u8>, HttpError> {
        loop {
            let end = memchr::memchr(b'\n', self.waiting());
            let length = end.unwrap_or(self.waiting().len());
            if length >= *left {
                return Err(HttpError::PeerTooLarge);
            }
            if let Some(end) = end {
                let line = self.waiting().get(..end).unwrap_or_default();
                let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
                self.at = self.at.saturating_add(end).saturating_add(1);
                *left = left.saturating_sub(end).saturating_sub(1);
                return Ok(line);
            }
            if !self.more()? {
                return Err(Self::ended());
            }
        }
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>, HttpError> {
        while self.waiting().len() < length {
            if !self.more()? {
                return Err(Self::ended());
            }
        }
        let bytes = self.waiting().get(..length).unwrap_or_default().to_vec();
        self.at = self.at.saturating_add(length);
        Ok(bytes)
    }

    fn until_end(&mut self, bytes_max: usize) -> Result<Vec<u8>, HttpError> {
        while self.waiting().len() <= bytes_max {
            if !self.more()? {
                return Ok(self.waiting().to_vec());
            }
        }
        Err(HttpError::PeerTooLarge)
    }
}

/// The parts of an `http` or `https` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether it is `https`.
    pub is_secure: bool,
    /// The host: a name, or an address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query.
    pub path: String,
}

impl Url {
    /// Reads a URL. `None` if it is of another scheme, has a user, or is no URL.
    #[must_use]
    pub fn parse(text: &str) -> Option<Url> {
        if text.bytes().any(|byte| byte <= b' ' || byte >= 0x7f) {
            return None;
        }
        let (scheme, rest) = text.split_once("://")?;
        let is_secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let rest = rest.split('#').next()?;
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (place, path) = rest.split_at_checked(at)?;
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let (host, port) = match place.strip_prefix('[') {
            Some(place) => {
                let (host, after) = place.split_once(']')?;
                (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
            }
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            None => {
                if is_secure {
                    443
                } else {
                    80
                }
            }
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().ok()?,
            Some(_) => return None,
        };
        let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        (port > 0 && !host.is_empty() && host.chars().all(is_host)).then(|| Url {
            is_secure,
            host: host.to_owned(),
            port,
            path,
        })
    }

    /// What stands in the `Host` line.
    #[must_use]
    pub fn host_field(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.is_secure, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in pieces of one size.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(self.0.len()).min(buffer.len());
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    fn read(text: &str) -> Result<Response, String> {
        let whole = read_response(&mut Pieces(text.as_bytes(), 4_096), 20).map_err(|e| e.to_string());
        for size in 1..6 {
            let again = read_response(&mut Pieces(text.as_bytes(), size), 20).map_err(|e| e.to_string());
            assert_eq!(again, whole, "{text:?} in pieces of {size}");
        }
        whole
    }

    #[test]
    fn bodies_end_by_length_by_chunks_or_with_the_connection() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Type: Text/Plain; charset=utf-8\r\nContent-Length: 5\r\n\r\nhellorest",
            "HTTP/1.1 200 OK\r\ncontent-type:text/plain\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nTrailer: x\r\n\r\n",
            "HTTP/1.0 200\nContent-Type: text/plain\n\nhello",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhello",
        ] {
            let body = b"hello".to_vec();
            let media_type = Some("text/plain".to_owned());
            assert_eq!(read(text), Ok(Response { status: 200, media_type, body }), "{text}");
        }
        assert_eq!(
            read("HTTP/1.1 301 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n").unwrap().status,
            301
        );
        assert_eq!(read("HTTP/1.1 204 None\r\n\r\n").unwrap().body, b"");
    }

    #[test]
    fn what_is_no_answer() {
        for (text, why) in [
            ("", "connection lost: unexpected end of file"),
            ("SSH-2.0-x\r\n\r\n", "not HTTP: the status line"),
            ("HTTP/2 200 OK\r\n\r\n", "not HTTP: the status line"),
            ("HTTP/1.1 20x OK\r\n\r\n", "not HTTP: the status line"),
            ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "not HTTP: a header line"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", "connection lost: unexpected end of file"),
            ("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", "not HTTP: the length"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
                "not HTTP: two lengths",
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n", "the answer is too large"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n", "not HTTP: the length"),
            ("HTTP/1.1 200 OK\r\n\r\n123456789012345678901", "the answer is too large"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "not HTTP: an unknown transfer coding"),
            (
                "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n",
                "not HTTP: a content coding that was not asked for",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
                "not HTTP: the length of a chunk",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n",
                "not HTTP: the end of a chunk",
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n15\r\n", "the answer is too large"),
        ] {
            assert_eq!(read(text), Err(why.to_owned()), "{text:?}");
        }
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(20_000));
        assert_eq!(read(&endless), Err("the answer is too large".to_owned()));
        assert!(read(&"HTTP/1.1 100 Continue\r\n\r\n".repeat(9)).unwrap_err().contains("provisional"));
    }

    /// A web server that hangs at a stage: what it says at once, then a byte of `x` every 20 ms if it `drips`. The second part is
    /// the handle that keeps it.
    fn hanging(says: &'static [u8], drips: bool) -> (SocketAddr, std::net::TcpListener) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, kept) = (listener.local_addr().unwrap(), listener.try_clone().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut written = stream.write_all(says);
            while written.is_ok() {
                std::thread::sleep(Duration::from_millis(20));
                written = if drips { stream.write_all(b"x") } else { Ok(()) };
            }
        });
        (address, kept)
    }

    #[test]
    fn a_server_that_hangs_at_any_stage_takes_no_longer_than_it_may() {
        let request = Request { host: "a.example", path: "/", post: None };
        let policy = ClientPolicy::default();
        let time = Duration::from_millis(300);
        let told = |answer: Result<Response, HttpError>| match answer {
            Ok(answer) => answer.status.to_string(),
            Err(error) => error.to_string(),
        };
        for (stage, says, drips, is_secure) in [
            ("before the handshake", &b""[..], false, true),
            ("in the handshake", b"\x16\x03\x03\x40\x00", true, true),
            ("before the status", b"", false, false),
            ("in the status", b"HTTP/1.1 20", false, false),
            ("in an endless status", b"HTTP/1.1 200 ", true, false),
            ("in a header line", b"HTTP/1.1 200 OK\r\nX", true, false),
            ("before the body", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", false, false),
            ("in the body", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", true, false),
            ("in a chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n", true, false),
        ] {
            let (address, _kept) = hanging(says, drips);
            let began = Instant::now();
            let tls = is_secure.then_some(("a.example", &policy));
            let answer = ask(&[address], tls, &request, Limits { time, body_bytes: 99_999 });
            assert_eq!(told(answer), HttpError::Timeout.to_string(), "{stage}");
            assert!(began.elapsed() < Duration::from_secs(10), "{stage}: {:?}", began.elapsed());
        }
    }

    #[test]
    fn an_address_that_does_not_answer_takes_no_longer_than_it_may() {
        // Nobody accepts, and there is room for few.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let address = listener.local_addr().unwrap();
        let _crowd: Vec<_> = (0..8)
            .map(|_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(50)))
            .collect();
        let request = Request { host: "a.example", path: "/", post: None };
        let limits = Limits { time: Duration::from_millis(300), body_bytes: 10 };
        let error = ask(&[address], None, &request, limits).unwrap_err();
        assert!(matches!(error, HttpError::Timeout), "{error}");
    }

    #[test]
    fn urls() {
        let url = |is_secure, host: &str, port, path: &str| {
            Some(Url { is_secure, host: host.to_owned(), port, path: path.to_owned() })
        };
        assert_eq!(Url::parse("http://ocsp.example"), url(false, "ocsp.example", 80, "/"));
        assert_eq!(Url::parse("HTTPS://a.example:8443/x?y#z"), url(true, "a.example", 8443, "/x?y"));
        assert_eq!(Url::parse("http://[2001:db8::1]:81?q"), url(false, "2001:db8::1", 81, "/?q"));
        for wrong in [
            "",
            "ftp://a",
            "http://",
            "http://a b/",
            "http://u@a/",
            "http://a:0/",
            "http://a:x/",
            "http://[::1/",
            "//a",
        ] {
            assert_eq!(Url::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Url::parse("http://[::1]:81/").unwrap().host_field(), "[::1]:81");
        assert_eq!(Url::parse("https://a:443/").unwrap().host_field(), "a");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes(bytes: Vec<u8>, size in 1_usize..50) {
            let all = [b"HTTP/1.1 200 OK\r\n".as_slice(), &bytes].concat();
            if let Ok(response) = read_response(&mut Pieces(&all, size), 100) {
                proptest::prop_assert!(response.body.len() <= 100);
            }
        }
    }
}
