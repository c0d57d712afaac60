//! Items that ask something outside: readfile, readsocket, acl.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use oxim_base::limits::CHILD_OUTPUT_BYTES_MAX;
use oxim_base::{Text, clock};
use oxim_net::tls::client::{self, ClientPolicy};
use serde::{Deserialize, Serialize};

use super::{Item, ItemRow, row};
use crate::context::Context;
use crate::errand::{Brought, Errand};
use crate::expand::condition::acl;
use crate::expand::{Body, ExpandError, Fault, elements};
use crate::host::AclOutcome;
use crate::lookup::files;
use crate::restrict;

pub(super) static ROWS: &[&ItemRow] = &[
    &ItemRow {
        may_block: true,
        ..row("acl", "The message that an ACL sets: name, up to nine arguments.", &[], |p| {
            Ok(Box::new(Acl { strings: p.strings("acl", 1, acl::ACL_STRINGS_MAX)? }))
        })
    },
    &ItemRow {
        may_block: true,
        ..row(
            "readfile",
            "The contents of a file; newlines become the second string if there is one.",
            &[("${readfile{/dev/null}}", "")],
            |p| {
                let position = p.position().saturating_add(1);
                let strings = p.strings("readfile", 1, 2)?;
                if let Some(name) = strings.first() {
                    p.note_file_name(name, position);
                }
                Ok(super::strings::of_strings(strings, |context, texts| match texts {
                    [path, rest @ ..] => read_file(context, path, rest.first()),
                    [] => Ok(Text::new()),
                }))
            },
        )
    },
    &ItemRow {
        may_block: true,
        ..row(
            "readsocket",
            "What a socket answers: name, request, options, end-of-line string, string for failure.",
            &[("${readsocket{/no/such/socket}{x}{3s}{}{failed}}", "failed")],
            |p| Ok(Box::new(ReadSocket { strings: p.strings("readsocket", 2, 5).map_err(closing)? })),
        )
    },
];

/// Exim has its own words for this item.
fn closing(fault: Fault) -> Fault {
    let message = fault.message.replace("missing '}' after 'readsocket'", "missing '}' closing readsocket");
    Fault { message, ..fault }
}

struct Acl {
    strings: Vec<Body>,
}

impl Item for Acl {
    fn append(&self, context: &mut Context, out: &mut Text) -> Result<(), ExpandError> {
        let (name, verdict) = acl::run(context, &self.strings)?;
        match verdict.outcome {
            AclOutcome::Accept | AclOutcome::Deny => {
                out.push(&verdict.message.unwrap_or_default());
                Ok(())
            }
            AclOutcome::Defer | AclOutcome::Discard | AclOutcome::Drop | AclOutcome::Error(_) => {
                Err(acl::failure(&name, &verdict.outcome))
            }
        }
    }
}

fn read_file(context: &Context, path: &Text, newline: Option<&Text>) -> Result<Text, ExpandError> {
    restrict::check(context, |f| f.readfile, "file insertions are not permitted")?;
    if path.is_foreign() {
        return Err(ExpandError::Failed(format!("Tainted filename '{path}'")));
    }
    let failed = |error: &std::io::Error| {
        ExpandError::Failed(format!("failed to open {path}: {}", files::reason(error)))
    };
    if let Some(user) = restrict::user(context) {
        let read = user.read(path.as_bytes());
        let bytes = read.map_err(|e| ExpandError::Failed(format!("failed to open {path}: {e}")))?;
        return Ok(with_newlines(&bytes, newline));
    }
    let mut file = std::fs::File::open(OsStr::from_bytes(path.as_bytes())).map_err(|e| failed(&e))?;
    let bytes = read_all(&mut file).map_err(|e| failed(&e))?;
    Ok(with_newlines(&bytes, newline))
}

fn read_all(source: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(CHILD_OUTPUT_BYTES_MAX).unwrap_or(u64::MAX);
    source.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > CHILD_OUTPUT_BYTES_MAX {
        return Err(std::io::Error::other("too much data"));
    }
    Ok(bytes)
}

fn with_newlines(bytes: &[u8], newline: Option<&Text>) -> Text {
    let Some(newline) = newline else {
        return Text::clean(bytes);
    };
    let lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
    Text::with_taint(lines.join(newline.as_bytes()), newline.taint())
}

struct ReadSocket {
    strings: Vec<Body>,
}

impl Item for ReadSocket {
    fn append(&self, context: &mut Context, out: &mut Text) -> Result<(), ExpandError> {
        restrict::check(context, |f| f.readsocket, "socket insertions are not permitted")?;
        let mut texts = Vec::new();
        for body in self.strings.iter().take(4) {
            texts.push(body.expand(context)?);
        }
        let [name, request, rest @ ..] = texts.as_slice() else { return Ok(()) };
        if name.is_foreign() {
            return Err(ExpandError::Failed(format!("Tainted socket name '{name}'")));
        }
        let answer =
            SocketOptions::read(rest.first()).and_then(|options| kept(context, name, request, options));
        match answer {
            Ok(answer) => {
                // Unlike for a file, an empty string leaves them.
                out.push(&with_newlines(&answer, rest.get(1).filter(|newline| !newline.is_empty())));
                Ok(())
            }
            Err(message) => match self.strings.get(4) {
                Some(body) => body.append(context, out),
                None => Err(ExpandError::Failed(message)),
            },
        }
    }
}

/// Most answers that are kept, and the longest, in bytes.
const KEPT_MAX: usize = 16;
const KEPT_BYTES_MAX: usize = 4 * 1024;

/// What sockets have answered to requests with `cache=yes`, while a connection or a delivery lasts.
#[derive(Clone, Debug, Default)]
pub struct SocketAnswers(Vec<SocketAnswer>);

#[derive(Clone, Debug)]
struct SocketAnswer {
    socket: Vec<u8>,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl SocketAnswers {
    fn find(&self, socket: &Text, request: &Text) -> Option<Vec<u8>> {
        let is_it =
            |kept: &&SocketAnswer| kept.socket == socket.as_bytes() && kept.request == request.as_bytes();
        self.0.iter().find(is_it).map(|kept| kept.answer.clone())
    }

    /// Keeps an answer; the oldest makes room.
    fn keep(&mut self, socket: &Text, request: &Text, answer: &[u8]) {
        if answer.len().saturating_add(request.len()) > KEPT_BYTES_MAX {
            return;
        }
        if self.0.len() >= KEPT_MAX {
            self.0.remove(0);
        }
        let (socket, request) = (socket.as_bytes().to_vec(), request.as_bytes().to_vec());
        self.0.push(SocketAnswer { socket, request, answer: answer.to_vec() });
    }

    fn forget(&mut self, socket: &Text) {
        self.0.retain(|kept| kept.socket != socket.as_bytes());
    }
}

/// An answer of a socket, perhaps one that it gave before. A request without `cache=yes` ends what is kept of its socket.
/// A filter of a user takes no part: what one user may ask must not answer another.
fn kept(
    context: &mut Context,
    name: &Text,
    request: &Text,
    options: SocketOptions,
) -> Result<Vec<u8>, String> {
    if restrict::user(context).is_some() {
        return answer(context, name, request, options);
    }
    if !options.cache {
        context.connection.socket_answers.forget(name);
        return answer(context, name, request, options);
    }
    if let Some(answer) = context.connection.socket_answers.find(name, request) {
        return Ok(answer);
    }
    let answer = answer(context, name, request, options)?;
    context.connection.socket_answers.keep(name, request, &answer);
    Ok(answer)
}

/// Asks a socket; one that is a file with the rights of the filter's user.
fn answer(context: &Context, name: &Text, request: &Text, options: SocketOptions) -> Result<Vec<u8>, String> {
    let (socket, request) = (name.as_bytes(), request.as_bytes());
    let user = restrict::user(context).filter(|_| !socket.starts_with(b"inet:"));
    match user {
        Some(user) => {
            let errand = Errand::Ask { socket: socket.to_vec(), request: request.to_vec(), options };
            user.act(errand).map(Brought::into_bytes).map_err(|error| error.message().to_owned())
        }
        None => ask_socket(name, request, &options),
    }
}

/// Options of `${readsocket`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SocketOptions {
    timeout: Duration,
    shutdown: bool,
    tls: bool,
    sni: Option<String>,
    cache: bool,
}

impl SocketOptions {
    fn read(text: Option<&Text>) -> Result<SocketOptions, String> {
        let mut options = SocketOptions {
            timeout: Duration::from_secs(5),
            shutdown: true,
            tls: false,
            sni: None,
            cache: false,
        };
        let Some(text) = text else { return Ok(options) };
        let mut items = elements::split(text).items.into_iter();
        if let Some(first) = items.next() {
            let seconds = first.as_str().and_then(clock::parse_interval);
            let seconds = seconds.ok_or_else(|| format!("bad time value {first}"))?;
            options.timeout = Duration::from_secs(seconds.max(1));
        }
        for item in items {
            let text = item.to_string_lossy();
            match text.split_once('=').unwrap_or((&text, "")) {
                ("shutdown", "no") => options.shutdown = false,
                ("tls", "yes") => options.tls = true,
                ("sni", name) => options.sni = Some(name.to_owned()),
                ("cache", "yes") => options.cache = true,
                ("shutdown", "yes") | ("tls" | "cache", "no") => {}
                _ => return Err(format!("unknown readsocket option \"{text}\"")),
            }
        }
        Ok(options)
    }
}

/// Connects, sends the request, reads to the end. The error is Exim's text.
pub(crate) fn ask_socket(name: &Text, request: &[u8], options: &SocketOptions) -> Result<Vec<u8>, String> {
    match name.as_bytes().strip_prefix(b"inet:") {
        Some(host) => {
            let stream = connect_inet(&String::from_utf8_lossy(host), options)?;
            let _ = stream.set_read_timeout(Some(options.timeout));
            let _ = stream.set_write_timeout(Some(options.timeout));
            if options.tls {
                return exchange_tls(stream, request, options, name);
            }
            exchange(&stream, request, options.shutdown, || stream.shutdown(std::net::Shutdown::Write), name)
        }
        None => {
            let path = OsStr::from_bytes(name.as_bytes());
            let stream = UnixStream::connect(path).map_err(|error| {
                format!("failed to connect to socket {name}: {}", oxim_base::errno::error_text(&error))
            })?;
            let _ = stream.set_read_timeout(Some(options.timeout));
            let _ = stream.set_write_timeout(Some(options.timeout));
            if options.tls {
                return exchange_tls(stream, request, options, name);
            }
            exchange(&stream, request, options.shutdown, || stream.shutdown(std::net::Shutdown::Write), name)
        }
    }
}

/// The same inside TLS. The certificate is not judged, as in Exim; the server ends the session when it has answered, so
/// that this side must not end it first.
fn exchange_tls<S: Read + Write>(
    stream: S,
    request: &[u8],
    options: &SocketOptions,
    name: &Text,
) -> Result<Vec<u8>, String> {
    let (mut stream, _) = client::connect(stream, options.sni.as_deref(), &ClientPolicy::default())
        .map_err(|error| format!("TLS session with socket {name} failed: {error}"))?;
    stream.write_all(request).and_then(|()| stream.flush()).map_err(|error| {
        format!("request write to socket {name} failed: {}", oxim_base::errno::error_text(&error))
    })?;
    let mut answer = Vec::new();
    let mut buffer = [0_u8; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(answer),
            // A server that closes without saying so has answered, too.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(answer),
            Ok(count) => answer.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                return Err("socket read timed out".to_owned());
            }
            Err(error) => {
                return Err(format!(
                    "read from socket {name} failed: {}",
                    oxim_base::errno::error_text(&error)
                ));
            }
        }
        if answer.len() > CHILD_OUTPUT_BYTES_MAX {
            return Err(format!("read from socket {name} failed: too much data"));
        }
    }
}

fn connect_inet(text: &str, options: &SocketOptions) -> Result<TcpStream, String> {
    let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("missing port for readsocket {text}"))?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let port = match port.parse::<u16>() {
        Ok(port) => port,
        Err(_) => service_port(port).ok_or_else(|| format!("unknown port \"{port}\" for readsocket"))?,
    };
    let addresses =
        (host, port).to_socket_addrs().map_err(|_| format!("no IP address found for host {host}"))?;
    let mut problem = format!("no IP address found for host {host}");
    for address in addresses {
        match TcpStream::connect_timeout(&address, options.timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                problem = format!(
                    "failed to connect to any address for {host}: {}",
                    oxim_base::errno::error_text(&error)
                )
            }
        }
    }
    Err(problem)
}

/// The TCP port of a service name.
fn service_port(name: &str) -> Option<u16> {
    let services = std::fs::read_to_string("/etc/services").ok()?;
    services.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let (first, port) = (words.next()?, words.next()?);
        let named = first == name || words.any(|alias| alias == name);
        named.then(|| port.strip_suffix("/tcp")?.parse().ok()).flatten()
    })
}

fn exchange<S>(
    stream: &S,
    request: &[u8],
    shutdown: bool,
    end_of_request: impl FnOnce() -> std::io::Result<()>,
    name: &Text,
) -> Result<Vec<u8>, String>
where
    for<'a> &'a S: Read + Write,
{
    let mut writer = stream;
    writer.write_all(request).map_err(|error| {
        format!("request write to socket {name} failed: {}", oxim_base::errno::error_text(&error))
    })?;
    if shutdown {
        let _ = end_of_request();
    }
    let mut reader = stream;
    read_all(&mut reader).map_err(|error| {
        if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) {
            return "socket read timed out".to_owned();
        }
        format!("read from socket {name} failed: {}", oxim_base::errno::error_text(&error))
    })
}

#[cfg(test)]
mod tests {
    use crate::context::Context;
    use crate::expand::{ExpandError, Template};
    use oxim_base::Text;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    fn expand(source: &str) -> Result<Text, ExpandError> {
        Template::compile(source).expand(&mut Context::default())
    }

    #[test]
    fn a_socket_is_asked_and_its_answer_taken() {
        let folder = std::env::temp_dir().join(format!("oxim-readsocket-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            stream.read_to_string(&mut request).unwrap();
            stream.write_all(format!("got {request}\nbye\n").as_bytes()).unwrap();
        });
        let source = format!("${{readsocket{{{}}}{{hello}}{{3s}}{{|}}}}", path.display());
        assert_eq!(expand(&source).unwrap(), "got hello|bye|");
        server.join().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(expand(&source).unwrap_err().message().starts_with("failed to connect to socket"));
    }

    #[test]
    fn tls_needs_a_server_that_speaks_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"no TLS here\n").unwrap();
            let mut hello = [0; 5];
            stream.read_exact(&mut hello).unwrap();
            // A TLS record with a handshake message.
            assert_eq!(hello.first(), Some(&22));
        });
        let error =
            expand(&format!("${{readsocket{{inet:127.0.0.1:{port}}}{{a}}{{3s:tls=yes}}}}")).unwrap_err();
        assert!(error.message().starts_with("TLS session with socket"), "{error}");
        server.join().unwrap();
    }
}
