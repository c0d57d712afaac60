//! DCC: asks dccifd whether a message is bulk (dccifd(8)).
//!
//! The whole request is sent, our end is closed, and all that comes is the answer:
//!
//! ```text
//! header                          dccifd_options
//! 192.0.2.1<CR>client.example     address of the client, and its name if it is known
//! helo.example                    argument of HELO
//! sender@example                  envelope sender, `<>` if it is empty
//! recipient@example               one line each
//!                                 an empty line, then the message
//! ```
//!
//! The answer: a line with a letter for the message, a line with one for each recipient, then the `X-DCC-…` header line.
//! Failure modes: dccifd cannot be reached, breaks off, says too much or nothing in time: nothing is known.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use oxim_base::errno::error_text;
use oxim_base::limits::DCC_ANSWER_BYTES_MAX;
use oxim_lang::context::Context;
use oxim_net::dns::{BlockingResolver, Family, Lookup};
use oxim_net::socket::{ConnectTarget, Socket};

/// The main options.
#[derive(Clone, Debug)]
pub struct DccOptions {
    /// `dccifd_address`.
    pub address: String,
    /// `dccifd_options`.
    pub words: String,
    /// `dccifd_timeout`: for the connection, and for the whole exchange.
    pub timeout: Duration,
    /// `dcc_direct_add_header`.
    pub direct_add_header: bool,
}

/// The letter for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Letter {
    /// `A`: not bulk. `S`: accepted for some recipients.
    Accept,
    /// `R`: bulk for all recipients.
    Reject,
    /// `G`: to be greylisted.
    Greylist,
    /// `T`: dccifd could not find out.
    Later,
    /// Something else.
    Unknown,
}

/// What dccifd said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// For the message.
    pub letter: Letter,
    /// The first line had more than a letter.
    pub has_rest: bool,
    /// The `X-DCC-…` line with its final newline; empty if there is none.
    pub header: Vec<u8>,
}

/// Longest header line that is taken, in bytes.
const HEADER_BYTES_MAX: usize = 120;

/// Takes an answer apart. `None`: there is none.
#[must_use]
pub fn parse(answer: &[u8]) -> Option<Answer> {
    let letter = match answer.first()? {
        b'A' | b'S' => Letter::Accept,
        b'R' => Letter::Reject,
        b'G' => Letter::Greylist,
        b'T' => Letter::Later,
        _ => Letter::Unknown,
    };
    let mut lines = answer.splitn(3, |byte| *byte == b'\n');
    let has_rest = lines.next().is_some_and(|line| line.trim_ascii_end().len() > 1);
    let header = lines.nth(1).map(header_of).unwrap_or_default();
    Some(Answer { letter, has_rest, header })
}

/// The first header line with its folded lines, if it is one of DCC's.
fn header_of(text: &[u8]) -> Vec<u8> {
    if !text.starts_with(b"X-DCC") {
        return Vec::new();
    }
    let mut end = 0_usize;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if end > 0 && !matches!(line.first(), Some(b' ' | b'\t')) {
            break;
        }
        end = end.saturating_add(line.len());
    }
    let line = text.get(..end.min(HEADER_BYTES_MAX)).unwrap_or_default();
    let mut header = line.strip_suffix(b"\n").unwrap_or(line).to_vec();
    header.retain(|byte| *byte != b'\r');
    header.push(b'\n');
    header
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Silence {
    /// `dccifd_address` is neither a path nor a host and a port.
    BadAddress,
    /// What failed, for the panic log.
    Failed(String),
}

/// Asks dccifd about the message in the context. Blocks.
///
/// # Errors
/// There is no answer.
pub fn ask(
    context: &Context,
    options: &DccOptions,
    resolver: Option<&BlockingResolver>,
) -> Result<Vec<u8>, Silence> {
    let (target, kind) = target(options, resolver)?;
    let failed =
        |what: &str, error: &io::Error| Silence::Failed(format!("DCC: {what}: {}", error_text(error)));
    let mut socket = Socket::connect(&target)
        .map_err(|error| failed(&format!("Connecting to {kind} socket failed"), &error))?;
    socket.begin_step(options.timeout);
    send(&mut socket, context, options)
        .and_then(|()| socket.end_output())
        .map_err(|error| failed("writing to dccifd failed", &error))?;
    let mut answer = Vec::new();
    let limit = u64::try_from(DCC_ANSWER_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    (&mut socket)
        .take(limit)
        .read_to_end(&mut answer)
        .map_err(|error| failed("reading from dccifd failed", &error))?;
    if answer.len() > DCC_ANSWER_BYTES_MAX {
        return Err(Silence::Failed("DCC: the answer of dccifd is too long".to_owned()));
    }
    Ok(answer)
}

/// Where dccifd is, and what kind of socket that means.
fn target(
    options: &DccOptions,
    resolver: Option<&BlockingResolver>,
) -> Result<(ConnectTarget, &'static str), Silence> {
    if options.address.starts_with('/') {
        return Ok((ConnectTarget::unix(options.address.clone().into(), options.timeout), "UNIX"));
    }
    let mut words = options.address.split_ascii_whitespace();
    let (Some(host), Some(port), None) = (words.next(), words.next(), words.next()) else {
        return Err(Silence::BadAddress);
    };
    let port: u16 = port.parse().map_err(|_| Silence::BadAddress)?;
    let address = match (host.parse(), resolver) {
        (Ok(address), _) => address,
        (Err(_), None) => return Err(Silence::Failed(format!("DCC: no address of {host} is known"))),
        (Err(_), Some(resolver)) => match resolver.addresses_of(host, Family::Any) {
            Lookup::Found(answer) => *answer
                .records
                .first()
                .ok_or_else(|| Silence::Failed(format!("DCC: no address of {host} is known")))?,
            Lookup::NotThere(_) | Lookup::AskAgain(_) => {
                return Err(Silence::Failed(format!("DCC: no address of {host} is known")));
            }
        },
    };
    Ok((ConnectTarget::tcp(SocketAddr::new(address, port), options.timeout), "TCP"))
}

fn send(socket: &mut Socket, context: &Context, options: &DccOptions) -> io::Result<()> {
    socket.write_all(&request(context, &options.words))?;
    if let Some(body) = &context.message.body {
        io::copy(&mut body.reader(), socket)?;
    }
    socket.flush()
}

/// Everything before the body.
fn request(context: &Context, words: &str) -> Vec<u8> {
    let (connection, message) = (&context.connection, &context.message);
    let mut out = Vec::with_capacity(message.headers.size_bytes().saturating_add(512));
    let mut push = |value: &[u8]| {
        out.extend_from_slice(one_line(value));
        out.push(b'\n');
    };
    push(words.as_bytes());
    push(&client(context));
    push(connection.helo_name.as_deref().unwrap_or_default());
    push(if message.sender.is_empty() { b"<>" } else { &message.sender });
    for recipient in message.recipients.iter() {
        push(&recipient.address);
    }
    push(b"");
    for header in message.headers.iter_live() {
        out.extend_from_slice(&header.text);
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// The client's address, with its name if that is known.
fn client(context: &Context) -> Vec<u8> {
    let connection = &context.connection;
    if let Some(given) = context.message.acl_m.get(b"_dcc_override_client_ip".as_slice())
        && !given.is_empty()
    {
        return one_line(given.as_bytes()).to_vec();
    }
    let mut out =
        connection.host_address.map_or_else(|| "127.0.0.1".to_owned(), |ip| ip.to_string()).into_bytes();
    if let Some(name) = &connection.host_name {
        out.extend_from_slice(b"\r");
        out.extend_from_slice(one_line_without_return(name));
    }
    out
}

/// The text up to its first newline: no value may make a line of its own.
fn one_line(text: &[u8]) -> &[u8] {
    let end = memchr::memchr(b'\n', text).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

fn one_line_without_return(text: &[u8]) -> &[u8] {
    let end = memchr::memchr2(b'\r', b'\n', text).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::sync::Arc;

    use oxim_mail::header::Header;
    use oxim_spool::message::{Body, Recipient};

    use super::*;

    fn options(address: String) -> DccOptions {
        DccOptions {
            address,
            words: "header grey".to_owned(),
            timeout: Duration::from_secs(10),
            direct_add_header: false,
        }
    }

    fn context() -> Context {
        let mut context = Context::default();
        context.connection.host_address = Some("10.1.1.1".parse().unwrap());
        context.connection.helo_name = Some(b"helo.ex".to_vec());
        context.message.sender = b"a@s.ex".to_vec();
        for address in ["b@test.ex", "c@test.ex"] {
            let recipient = Recipient { address: address.into(), ..Recipient::default() };
            Arc::make_mut(&mut context.message.recipients).push(recipient);
        }
        context.message.headers.push_back(Header::new("From: a@s.ex\n"));
        context.message.headers.push_back(Header::new("Subject: t\n"));
        context.message.body = Some(Body::Memory(b"body line\n.dot\n".to_vec().into()));
        context
    }

    const REQUEST: &str = "header grey\n10.1.1.1\nhelo.ex\na@s.ex\nb@test.ex\nc@test.ex\n\nFrom: a@s.ex\n\
                           Subject: t\n\r\nbody line\n.dot\n";

    /// Plays dccifd: what it was sent.
    fn play<S: Read + Write>(mut stream: S, answer: &[u8]) -> String {
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        stream.write_all(answer).unwrap();
        String::from_utf8(got).unwrap()
    }

    #[test]
    fn every_byte_is_as_dccifd_wants_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("127.0.0.1 {}", listener.local_addr().unwrap().port());
        let server = std::thread::spawn(move || play(listener.accept().unwrap().0, b"A\nAA\nX-DCC-x: y\n\n"));
        assert_eq!(ask(&context(), &options(address), None).unwrap(), b"A\nAA\nX-DCC-x: y\n\n");
        assert_eq!(server.join().unwrap(), REQUEST);
    }

    #[test]
    fn values_stay_on_their_lines() {
        let folder = std::env::temp_dir().join(format!("oxim-dcc-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("dccifd");
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || play(listener.accept().unwrap().0, b""));
        let mut context = context();
        context.connection.host_name = Some(b"client.ex\nx".to_vec());
        context.connection.helo_name = None;
        context.message.sender = Vec::new();
        let address = path.to_str().unwrap().to_owned();
        assert_eq!(ask(&context, &options(address.clone()), None).unwrap(), b"");
        let got = server.join().unwrap();
        assert!(got.starts_with("header grey\n10.1.1.1\rclient.ex\n\n<>\nb@test.ex\n"), "{got}");
        std::fs::remove_dir_all(&folder).unwrap();
        let Err(Silence::Failed(text)) = ask(&context, &options(address), None) else { panic!() };
        assert_eq!(text, "DCC: Connecting to UNIX socket failed: No such file or directory");
    }

    #[test]
    fn a_silent_or_endless_dccifd_is_left() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("127.0.0.1 {}", listener.local_addr().unwrap().port());
        let short = DccOptions { timeout: Duration::from_millis(200), ..options(address) };
        let Err(Silence::Failed(text)) = ask(&context(), &short, None) else { panic!() };
        assert!(text.starts_with("DCC: reading from dccifd failed: "), "{text}");
        let server = std::thread::spawn(move || {
            // The first is the one that was left.
            let _left = listener.accept().unwrap();
            play(listener.accept().unwrap().0, &[b'A'; DCC_ANSWER_BYTES_MAX + 1])
        });
        let patient = DccOptions { timeout: Duration::from_secs(10), ..short };
        let Err(Silence::Failed(text)) = ask(&context(), &patient, None) else { panic!() };
        assert_eq!(text, "DCC: the answer of dccifd is too long");
        server.join().unwrap();
        for address in ["localhost", "127.0.0.1 x", "", "a 1 2"] {
            assert!(matches!(ask(&context(), &options(address.into()), None), Err(Silence::BadAddress)));
        }
    }

    #[test]
    fn answers() {
        let of = |text: &str| parse(text.as_bytes()).unwrap();
        let header = "X-DCC-test-Metrics: mx.test.ex 1234; Body=1\n";
        assert_eq!(
            of(&format!("A\nAA\n{header}\n")),
            Answer { letter: Letter::Accept, has_rest: false, header: header.into() }
        );
        assert_eq!(of("S\nAR\n\n\n").letter, Letter::Accept);
        assert_eq!(of("R").letter, Letter::Reject);
        assert_eq!(of("G\n").letter, Letter::Greylist);
        assert_eq!(of("T\n\n\n"), Answer { letter: Letter::Later, has_rest: false, header: Vec::new() });
        assert_eq!(of("?").letter, Letter::Unknown);
        assert!(of("AX\nAA\n").has_rest);
        assert!(of("A\nAA\nX-Other: a\n\n").header.is_empty());
        assert_eq!(of("A\nAA\nX-DCC-a: b\n\tc\nEvil: x\n\n").header, b"X-DCC-a: b\n\tc\n");
        assert_eq!(of(&format!("A\nAA\nX-DCC-test: {}\n\n", "x".repeat(200))).header.len(), 121);
        assert_eq!(of("A\r\nAA\r\nX-DCC-a: b\r\n"), of("A\nAA\nX-DCC-a: b\n"));
        assert_eq!(parse(b""), None);
    }
}
