//! The `dovecot` authenticator: what the client says goes to Dovecot, which answers (manual chapter 37; Dovecot's documentation of
//! its authentication protocol, version 1).
//!
//! One connection to the socket for each dialogue. Failure modes: a socket that cannot be reached, a mechanism that Dovecot does not
//! have, an answer that makes no sense or does not come in time: ask again later. Passwords stand in no error text.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oxim_base::Text;
use oxim_base::errno::error_text;
use oxim_lang::config::{ConfigError, DriverRow, Instance, rows};
use oxim_lang::context::Context;

use super::{AuthenticatorKind, ClientOutcome, DialogueState, Driver, Finding, Wire};

/// The row.
pub static DOVECOT: AuthenticatorKind =
    AuthenticatorKind { row: DriverRow { name: "dovecot", options: rows::AUTH_DOVECOT }, build };

/// How long Dovecot may take for a line: it delays failures by some seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest line of Dovecot.
const LINE_BYTES_MAX: u64 = 16 * 1024;
/// Most lines before `DONE`.
const GREETING_LINES_MAX: usize = 200;
/// The number of our one request on a connection.
const REQUEST: &str = "1";

struct Dovecot {
    socket: Option<String>,
    mechanism: String,
}

fn build(instance: &Instance) -> Result<Box<dyn Driver>, ConfigError> {
    let options = &instance.options;
    Ok(Box::new(Dovecot {
        socket: options.string("server_socket").map(str::to_owned),
        mechanism: options.string("public_name").unwrap_or(&instance.name).to_ascii_uppercase(),
    }))
}

/// A connection with a request under way.
struct Link {
    lines: BufReader<UnixStream>,
}

impl Link {
    /// Connects, greets, and sees whether the mechanism is there.
    fn open(socket: &str, mechanism: &str) -> Result<Link, String> {
        let failed = |error: std::io::Error| {
            format!("unable to connect to UNIX socket ({socket}): {}", error_text(&error))
        };
        let stream = UnixStream::connect(socket).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
        let mut link = Link { lines: BufReader::new(stream) };
        link.send(&format!("VERSION\t1\t0\nCPID\t{}\n", std::process::id()))?;
        let mut has_mechanism = false;
        for _ in 0..GREETING_LINES_MAX {
            let line = link.line()?;
            let mut fields = line.split(|byte| *byte == b'\t');
            match fields.next() {
                Some(b"VERSION") if fields.next() != Some(b"1") => {
                    return Err("dovecot speaks another version of its protocol".to_owned());
                }
                Some(b"MECH") => {
                    let name = fields.next().unwrap_or_default();
                    has_mechanism |= name.eq_ignore_ascii_case(mechanism.as_bytes());
                }
                Some(b"DONE") if has_mechanism => return Ok(link),
                Some(b"DONE") => {
                    return Err(format!("Dovecot did not advertise mechanism \"{mechanism}\" to us"));
                }
                Some(_) | None => {}
            }
        }
        Err("dovecot does not end its greeting".to_owned())
    }

    fn send(&mut self, line: &str) -> Result<(), String> {
        self.lines.get_mut().write_all(line.as_bytes()).map_err(lost)
    }

    fn line(&mut self) -> Result<Vec<u8>, String> {
        let mut line = Vec::new();
        let read = (&mut self.lines).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        read.map_err(lost)?;
        if line.pop() == Some(b'\n') {
            Ok(line)
        } else {
            Err("authentication socket read error or premature eof".to_owned())
        }
    }

    /// The answer to what was sent.
    fn answer(&mut self) -> Result<Answer, String> {
        loop {
            if let Some(answer) = Answer::read(&self.line()?)? {
                return Ok(answer);
            }
        }
    }
}

/// What Dovecot says to our request.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// Dovecot always says under which name it knows the client.
    Yes {
        user: Vec<u8>,
    },
    More(Vec<u8>),
    No {
        user: Option<Vec<u8>>,
    },
    Later(String),
}

impl Answer {
    /// None: the line is of no concern.
    fn read(line: &[u8]) -> Result<Option<Answer>, String> {
        let mut fields = line.split(|byte| *byte == b'\t');
        let word = fields.next().unwrap_or_default();
        if !matches!(word, b"OK" | b"CONT" | b"FAIL") {
            return Ok(None);
        }
        if fields.next() != Some(REQUEST.as_bytes()) {
            return Err("authentication socket connection id mismatch".to_owned());
        }
        if word == b"CONT" {
            let challenge = STANDARD.decode(fields.next().unwrap_or_default());
            return challenge
                .map(|text| Some(Answer::More(text)))
                .map_err(|_| "dovecot's challenge is not base64".to_owned());
        }
        let (mut user, mut reason, mut is_temporary) = (None, None, false);
        for field in fields {
            if let Some(name) = field.strip_prefix(b"user=") {
                user = Some(unescaped(name));
            } else if let Some(text) = field.strip_prefix(b"reason=") {
                reason = Some(String::from_utf8_lossy(&unescaped(text)).into_owned());
            } else if field == b"temp" {
                is_temporary = true;
            }
        }
        Ok(Some(match word {
            b"OK" => Answer::Yes { user: user.ok_or("authentication socket protocol error")? },
            _ if is_temporary => {
                Answer::Later(reason.unwrap_or_else(|| "dovecot cannot tell now".to_owned()))
            }
            _ => Answer::No { user },
        }))
    }
}

/// A field as it was before Dovecot escaped it.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match (byte, if byte == 1 { bytes.next() } else { None }) {
            (1, Some(b'0')) => out.push(0),
            (1, Some(b'1')) => out.push(1),
            (1, Some(b't')) => out.push(b'\t'),
            (1, Some(b'r')) => out.push(b'\r'),
            (1, Some(b'n')) => out.push(b'\n'),
            (1, Some(other)) => out.push(other),
            (1, None) => {}
            (byte, _) => out.push(byte),
        }
    }
    out
}

/// The request: what Dovecot is told of the client, and what the client has sent already.
fn request(mechanism: &str, context: &Context, input: Option<&[u8]>) -> String {
    let connection = &context.connection;
    let here = connection.interface.map(|interface| interface.ip());
    let mut line = format!("AUTH\t{REQUEST}\t{mechanism}\tservice=smtp");
    if connection.tls.is_some() || (here.is_some() && here == connection.host_address) {
        line.push_str("\tsecured");
    }
    if connection.tls.as_ref().is_some_and(|tls| tls.verified) {
        line.push_str("\tvalid-client-cert");
    }
    for (name, address) in [("rip", connection.host_address), ("lip", here)] {
        if let Some(address) = address {
            line.push_str(&format!("\t{name}={address}"));
        }
    }
    // No mailbox will be opened: Dovecot need not remember the request for one.
    line.push_str("\tnologin");
    // Nothing may follow the response.
    if let Some(input) = input {
        line.push_str("\tresp=");
        line.push_str(&STANDARD.encode(input));
    }
    line.push('\n');
    line
}

impl Dovecot {
    fn ask(
        &self,
        state: &mut DialogueState,
        context: &Context,
        input: Option<&[u8]>,
    ) -> Result<Finding, String> {
        let link = state.memory.take().and_then(|memory| memory.downcast::<Link>().ok());
        let mut link = match (link, input) {
            (None, input) if state.steps == 0 => {
                let socket = self.socket.as_deref().unwrap_or_default();
                let mut link = Link::open(socket, &self.mechanism)?;
                link.send(&request(&self.mechanism, context, input))?;
                Box::new(link)
            }
            (Some(mut link), Some(input)) => {
                link.send(&format!("CONT\t{REQUEST}\t{}\n", STANDARD.encode(input)))?;
                link
            }
            (None | Some(_), _) => return Ok(Finding::Malformed),
        };
        let mut name = |user: Option<Vec<u8>>| state.values = user.map(Text::tainted).into_iter().collect();
        Ok(match link.answer()? {
            Answer::Yes { user } => {
                name(Some(user));
                Finding::Proven
            }
            Answer::No { user } => {
                name(user);
                Finding::Wrong
            }
            Answer::Later(reason) => return Err(reason),
            Answer::More(challenge) => {
                state.memory = Some(link);
                Finding::Ask(challenge)
            }
        })
    }
}

impl Driver for Dovecot {
    fn is_server(&self) -> bool {
        self.socket.is_some()
    }

    fn is_client(&self) -> bool {
        false
    }

    fn serve(&self, state: &mut DialogueState, context: &mut Context, input: Option<&[u8]>) -> Finding {
        self.ask(state, context, input).unwrap_or_else(Finding::Later)
    }

    fn authenticate(&self, _: &str, _: &mut Context, _: &mut dyn Wire) -> ClientOutcome {
        ClientOutcome::NotForThis
    }

    fn is_same_for_all_messages(&self) -> bool {
        true
    }
}

/// The connection to Dovecot broke.
fn lost(error: std::io::Error) -> String {
    format!("dovecot: {}", error_text(&error))
}

#[cfg(test)]
mod tests {
    use super::super::Step;
    use super::super::tests::{context, with_driver};
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A Dovecot that says these lines, each after one of ours, and gives what it was told.
    fn play(lines: &'static [&'static str]) -> (tempfile::TempDir, std::thread::JoinHandle<Vec<String>>) {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("auth")).unwrap();
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut writer = stream;
            writer.write_all(b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nDONE\n").unwrap();
            let mut told = Vec::new();
            let mut line = String::new();
            let mut answers = lines.iter();
            while reader.read_line(&mut line).unwrap_or(0) > 0 {
                if line.starts_with("AUTH") || line.starts_with("CONT") {
                    told.push(line.trim_end().to_owned());
                    let Some(answer) = answers.next() else { break };
                    writer.write_all(answer.as_bytes()).unwrap();
                }
                line.clear();
            }
            told
        });
        (folder, server)
    }

    fn driver(folder: &tempfile::TempDir, mechanism: &str) -> Box<dyn Driver> {
        let socket = Some(folder.path().join("auth").to_string_lossy().into_owned());
        Box::new(Dovecot { socket, mechanism: mechanism.to_owned() })
    }

    #[test]
    fn dovecot_asks_and_answers() {
        let (folder, server) = play(&["CONT\t1\t\n", "CUID\t7\nOK\t1\tuser=tim\n"]);
        let authenticator = with_driver(driver(&folder, "PLAIN"), None, Some("$auth1"));
        let mut dialogue = authenticator.begin();
        let mut scope = context();
        scope.connection.host_address = Some("192.0.2.1".parse().unwrap());
        assert_eq!(dialogue.step(&mut scope, None), Step::Challenge(Vec::new()));
        assert_eq!(
            dialogue.step(&mut scope, Some(b"\0tim\0x")),
            Step::Accepted { id: Some(b"tim".to_vec()) }
        );
        drop(dialogue);
        assert_eq!(
            server.join().unwrap(),
            ["AUTH\t1\tPLAIN\tservice=smtp\trip=192.0.2.1\tnologin", "CONT\t1\tAHRpbQB4"]
        );
    }

    #[test]
    fn failures_are_refusals_or_later() {
        for (line, mechanism, step) in [
            ("FAIL\t1\tuser=tim\n", "PLAIN", Step::Refused { id: Some(b"tim".to_vec()) }),
            ("FAIL\t1\ttemp\treason=down\n", "PLAIN", Step::Defer("down".to_owned())),
            ("OK\t9\n", "PLAIN", Step::Defer("authentication socket connection id mismatch".to_owned())),
            ("OK\t1\n", "PLAIN", Step::Defer("authentication socket protocol error".to_owned())),
            ("CONT\t1\t!!\n", "PLAIN", Step::Defer("dovecot's challenge is not base64".to_owned())),
            ("", "NTLM", Step::Defer("Dovecot did not advertise mechanism \"NTLM\" to us".to_owned())),
        ] {
            let lines: &'static [&'static str] = Box::leak(Box::new([line]));
            let (folder, server) = play(lines);
            let authenticator = with_driver(driver(&folder, mechanism), None, Some("$auth1"));
            assert_eq!(authenticator.begin().step(&mut context(), Some(b"\0tim\0x")), step);
            server.join().unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let authenticator = with_driver(driver(&folder, "PLAIN"), None, None);
        assert!(matches!(authenticator.begin().step(&mut context(), Some(b"x")), Step::Defer(_)));
    }

    #[test]
    fn fields_are_unescaped() {
        assert_eq!(unescaped(b"a\x01tb\x011\x01nc\x01"), b"a\tb\x01\nc");
    }
}
