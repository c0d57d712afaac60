//! A mail server, SMTP or LMTP, that takes every message but where a rule says otherwise.
//!
//! A rule is a line `STAGE WORD REPLY`. The stage is `greeting`, a command's first word, or `.` for the end of the data. The rule
//! applies when the server's own address, the command, or for DATA and the dot an accepted recipient, holds the word; the first
//! that does counts. The reply is what is sent (`\n` between its lines), `close` for a connection that is lost, or `silence` for a
//! server that says nothing any more. After a reply of 421 the server closes. Rules in the file `/mnt/rules` come before the others; it is
//! read for each connection, so that a server can change its mind.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::clients::Seen;

/// How long a client may say nothing.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone)]
struct Rule {
    stage: String,
    word: String,
    reply: String,
}

/// The rules that `/mnt/rules` adds.
const MORE_RULES: &str = "/mnt/rules";

/// How long a silent server keeps a connection whose client says nothing more: longer than clients wait.
const SILENCE: Duration = Duration::from_secs(10);

/// A server on one address.
#[derive(Clone)]
struct Server {
    address: String,
    rules: Arc<Vec<Rule>>,
    record: Arc<Mutex<Record>>,
}

/// What connections saw, in the order in which they began; shown when they have ended.
#[derive(Default)]
struct Record {
    connections: Vec<String>,
    seen: Seen,
}

/// Listens on addresses (`ADDRESS:PORT`, or the path of a socket) until the process ends.
pub(super) fn start(addresses: &[&str], rules: &str) -> Seen {
    let (rules, record) = (Arc::new(read_rules(rules)), Arc::new(Mutex::new(Record::default())));
    for address in addresses {
        let server = Server { address: (*address).to_owned(), rules: rules.clone(), record: record.clone() };
        if address.starts_with('/') {
            let listener = UnixListener::bind(address).unwrap();
            std::fs::set_permissions(address, std::fs::Permissions::from_mode(0o777)).unwrap();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    server.serve(stream.try_clone().unwrap(), stream);
                }
            });
        } else {
            let listener = TcpListener::bind(address).unwrap();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    server.serve(stream.try_clone().unwrap(), stream);
                }
            });
        }
    }
    record.lock().unwrap().seen.clone()
}

fn read_rules(text: &str) -> Vec<Rule> {
    let rule = |line: &str| {
        let mut words = line.splitn(3, ' ').map(str::to_owned);
        Some(Rule { stage: words.next()?, word: words.next()?, reply: words.next()?.replace("\\n", "\r\n") })
    };
    text.lines().filter_map(rule).collect()
}

impl Server {
    /// Each connection has a thread: a client may keep one open for later.
    fn serve(&self, input: impl Read + Send + 'static, output: impl Write + Send + 'static) {
        let mut server = self.clone();
        if let Ok(more) = std::fs::read_to_string(MORE_RULES) {
            let mut rules = read_rules(&more);
            rules.extend(self.rules.iter().cloned());
            server.rules = Arc::new(rules);
        }
        let number = {
            let mut record = self.record.lock().unwrap();
            record.connections.push(String::new());
            record.connections.len() - 1
        };
        std::thread::spawn(move || {
            let mut transcript = format!("connection to {}\n", server.address);
            // A client that goes away is the client's affair.
            let (mut input, mut output) = (BufReader::new(input), output);
            let end = server.converse(&mut input, &mut output, &mut transcript);
            transcript.push_str("====\n");
            let mut record = server.record.lock().unwrap();
            record.connections[number] = transcript;
            *record.seen.lock().unwrap() = record.connections.concat();
            drop(record);
            if end == Err(End::Silent) {
                let _gone = std::io::copy(&mut input, &mut std::io::sink());
                // Clients that have closed their half still wait for an answer.
                std::thread::sleep(SILENCE);
            }
        });
    }

    /// What a rule says at a stage.
    fn ruled(&self, stage: &str, text: &str) -> Option<&str> {
        let applies = |rule: &&Rule| {
            rule.stage == stage && (self.address.contains(&rule.word) || text.contains(&rule.word))
        };
        self.rules.iter().find(applies).map(|rule| rule.reply.as_str())
    }

    fn converse(
        &self,
        input: &mut impl BufRead,
        output: &mut impl Write,
        transcript: &mut String,
    ) -> Result<(), End> {
        let greeting = self.ruled("greeting", "").unwrap_or("220 server");
        say(output, greeting)?;
        let (mut recipients, mut is_lmtp) = (Vec::new(), false);
        loop {
            let line = read_line(input).ok_or(End::Closed)?;
            transcript.push_str(&format!("> {line}\n"));
            let verb = line.split([' ', ':']).next().unwrap_or("").to_ascii_uppercase();
            let text = if verb == "DATA" { recipients.join(" ") } else { line.clone() };
            let usual = match verb.as_str() {
                "EHLO" => "250-server\r\n250-8BITMIME\r\n250-SIZE 100000\r\n250 PIPELINING",
                "LHLO" => "250-server\r\n250-8BITMIME\r\n250 PIPELINING",
                "DATA" if recipients.is_empty() => "503 no recipients",
                "DATA" => "354 go on",
                "QUIT" => "221 bye",
                _ => "250 OK",
            };
            let reply = self.ruled(&verb, &text).unwrap_or(usual);
            say(output, reply)?;
            match verb.as_str() {
                "LHLO" => is_lmtp = true,
                "MAIL" | "RSET" => recipients.clear(),
                "RCPT" if reply.starts_with('2') => recipients.push(line.clone()),
                "QUIT" => return Ok(()),
                "DATA" if reply.starts_with("354") => {
                    self.take_data(input, transcript).ok_or(End::Closed)?;
                    let replies = if is_lmtp { recipients.clone() } else { vec![recipients.join(" ")] };
                    for text in replies {
                        let reply = self.ruled(".", &text).unwrap_or("250 kept");
                        say(output, reply)?;
                    }
                    recipients.clear();
                }
                _ => {}
            }
        }
    }

    fn take_data(&self, input: &mut impl BufRead, transcript: &mut String) -> Option<()> {
        loop {
            let line = read_line(input)?;
            transcript.push_str(&format!("{line}\n"));
            if line == "." {
                return Some(());
            }
        }
    }
}

/// Why a server says nothing more.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Closed,
    /// It keeps the connection, as long as the client does.
    Silent,
}

fn say(output: &mut impl Write, reply: &str) -> Result<(), End> {
    match reply {
        "close" => return Err(End::Closed),
        "silence" => return Err(End::Silent),
        _ => {}
    }
    output.write_all(format!("{reply}\r\n").as_bytes()).map_err(|_| End::Closed)?;
    if reply.starts_with("421") { Err(End::Closed) } else { Ok(()) }
}

fn read_line(input: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    if input.read_until(b'\n', &mut line).ok()? == 0 {
        return None;
    }
    Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
}
