//! Nothing that stands in a message ends it on its way out: whatever it was submitted with, and whatever a transport filter or
//! an added header makes of it, a strict server gets one message for each that was accepted, and no bare CR or LF.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::smuggling::{BORDERS, strings};
use super::stand::{Client, Plan, Stand};
use super::{Chance, amount, is_full};

const SMUGGLED: &[u8] = b"MAIL FROM:<smuggler@client.test>\r\nRCPT TO:<victim@mta.test>\r\nDATA\r\nSubject: second\r\n\r\nsecond\r\n.\r\n";

/// The ways out: the domain of the recipient, which is the name of the transport too, and what the server offers.
const WAYS: [(&str, Offer); 5] = [
    ("data", Offer::Plain),
    ("bdat", Offer::Chunking),
    ("lmtp", Offer::Lmtp),
    ("filter", Offer::Plain),
    ("header", Offer::Chunking),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Offer {
    Plain,
    Chunking,
    Lmtp,
}

/// What a server has seen: messages by the domain of their recipient, and everything that must not be.
#[derive(Default)]
struct Seen {
    messages: BTreeMap<String, usize>,
    faults: Vec<String>,
}

/// A server that knows only CR LF, and writes down whatever else comes.
fn strict_server(offer: Offer, seen: Arc<Mutex<Seen>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let seen = Arc::clone(&seen);
            // The connection may end anywhere.
            std::thread::spawn(move || {
                let _ = converse(&stream, offer, &seen);
            });
        }
    });
    port
}

fn converse(stream: &TcpStream, offer: Offer, seen: &Mutex<Seen>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream.try_clone()?;
    let fault = |text: String| seen.lock().unwrap().faults.push(text);
    let (mut domains, mut chunks): (Vec<String>, Vec<u8>) = (Vec::new(), Vec::new());
    stream.write_all(b"220 strict\r\n")?;
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if !is_regular(&line) {
            fault(format!("command {:?}", String::from_utf8_lossy(&line)));
        }
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        let verb = text.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        let reply: &[u8] = match verb.as_str() {
            "EHLO" | "LHLO" if offer == Offer::Chunking => {
                b"250-strict\r\n250-PIPELINING\r\n250 CHUNKING\r\n"
            }
            "EHLO" | "LHLO" => b"250-strict\r\n250 PIPELINING\r\n",
            "MAIL" => {
                if text.contains("smuggler") {
                    fault(text);
                }
                domains.clear();
                b"250 OK\r\n"
            }
            "RCPT" => {
                let domain = text.split('@').nth(1).unwrap_or_default();
                domains.push(domain.split('.').next().unwrap_or_default().to_owned());
                b"250 OK\r\n"
            }
            "DATA" => {
                stream.write_all(b"354 go\r\n")?;
                let message = dotted(&mut reader)?;
                taken(&message, &domains, seen);
                if offer == Offer::Lmtp {
                    stream.write_all(b"250 OK\r\n".repeat(domains.len()).as_slice())?;
                    continue;
                }
                b"250 OK\r\n"
            }
            "BDAT" => {
                let size = text.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
                let mut chunk = vec![0; size];
                reader.read_exact(&mut chunk)?;
                chunks.extend(chunk);
                if text.ends_with("LAST") {
                    taken(&std::mem::take(&mut chunks), &domains, seen);
                }
                b"250 OK\r\n"
            }
            "RSET" => b"250 OK\r\n",
            "QUIT" => return stream.write_all(b"221 bye\r\n"),
            _ => {
                fault(format!("command {text:?}"));
                b"500 what\r\n"
            }
        };
        stream.write_all(reply)?;
    }
}

/// Everything up to CR LF dot CR LF, and nothing else ends it.
fn dotted(reader: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut all = b"\r\n".to_vec();
    while !all.ends_with(b"\r\n.\r\n") {
        if reader.read_until(b'\n', &mut all)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    all.drain(..2);
    Ok(all)
}

fn taken(message: &[u8], domains: &[String], seen: &Mutex<Seen>) {
    let mut seen = seen.lock().unwrap();
    if !is_regular(message) {
        seen.faults.push(format!("to {domains:?}: {:?}", String::from_utf8_lossy(message)));
    }
    for domain in domains {
        *seen.messages.entry(domain.clone()).or_default() += 1;
    }
}

/// CR and LF stand together only.
fn is_regular(bytes: &[u8]) -> bool {
    let pairs = bytes.windows(2).filter(|w| w == b"\r\n").count();
    let count = |byte| bytes.iter().filter(|b| **b == byte).count();
    count(b'\r') == pairs && count(b'\n') == pairs
}

/// The sections from the routers on. What the filter appends and what the added header holds stands in the message, encoded.
fn drivers(ports: &[u16], filter: &str) -> String {
    let domains: Vec<String> = WAYS.iter().map(|(name, _)| format!("{name}.test")).collect();
    let mut out = format!(
        "begin routers\nall:\n  driver = manualroute\n  domains = {}\n  route_list = * 127.0.0.1 byname\n  self = send\n  \
         transport = ${{extract{{1}}{{.}}{{$domain_data}}}}\nbegin transports\n",
        domains.join(" : ")
    );
    for ((name, offer), port) in WAYS.iter().zip(ports) {
        out.push_str(&format!("{name}:\n  driver = smtp\n  port = {port}\n  hosts_try_fastopen =\n  message_linelength_limit = 1G\n"));
        if *offer == Offer::Lmtp {
            out.push_str("  protocol = lmtp\n");
        }
        match *name {
            "filter" => out.push_str(&format!("  transport_filter = {filter}\n")),
            "header" => out.push_str("  headers_add = X-Added: ${base64d:$h_x-attack:}\n"),
            _ => {}
        }
    }
    out.push_str("begin retry\n* * F,1h,1s\n");
    out
}

fn message(before: &[u8], string: &[u8]) -> Vec<u8> {
    let attack = STANDARD.encode([string, SMUGGLED].concat());
    let header = format!("Subject: first\r\nX-Attack: {attack}\r\n\r\n");
    [header.as_bytes(), before, string, SMUGGLED, b"last\r\n"].concat()
}

fn recipients() -> Vec<String> {
    WAYS.iter().map(|(name, _)| format!("someone@{name}.test")).collect()
}

/// The message for DATA: each line that begins with a dot begins with two. Only CR LF ends a line.
fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut all = b"\r\n".to_vec();
    for byte in message {
        if *byte == b'.' && all.ends_with(b"\r\n") {
            all.push(b'.');
        }
        all.push(*byte);
    }
    if !all.ends_with(b"\r\n") {
        all.extend(b"\r\n");
    }
    all.drain(..2);
    all.extend(b".\r\n");
    all
}

/// A message and its sender.
type Mail = (String, Vec<u8>);

/// How a message comes in. Its name is in the local part of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Data,
    Bdat,
    Session,
    Batch,
    Arguments,
    Header,
}

const ENTRIES: [Entry; 6] =
    [Entry::Data, Entry::Bdat, Entry::Session, Entry::Batch, Entry::Arguments, Entry::Header];

impl Entry {
    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Submits messages, each with its sender: by one session where the entry knows more than one message.
    fn submit(self, stand: &Stand, messages: &[Mail]) {
        match self {
            Entry::Data | Entry::Bdat => {
                let connect = || Client::connect(stand.address).ok();
                in_sessions(messages, connect, matches!(self, Entry::Bdat));
            }
            Entry::Session => in_sessions(messages, || Some(Local::start(stand)), false),
            Entry::Batch => {
                for (sender, message) in messages {
                    by_command(stand, &["-bS"], &[envelope(sender), stuffed(message)].concat());
                }
            }
            Entry::Arguments => {
                let to = recipients();
                for (sender, message) in messages {
                    let words = ["-oi", "-f", sender].into_iter().chain(to.iter().map(String::as_str));
                    by_command(stand, &words.collect::<Vec<_>>(), message);
                }
            }
            Entry::Header => {
                let header = format!("To: {}\r\n", recipients().join(", "));
                for (sender, message) in messages {
                    by_command(stand, &["-oi", "-f", sender, "-t"], &[header.as_bytes(), message].concat());
                }
            }
        }
    }
}

fn envelope(sender: &str) -> Vec<u8> {
    let to: String = recipients().iter().map(|to| format!("RCPT TO:<{to}>\r\n")).collect();
    format!("MAIL FROM:<{sender}>\r\n{to}DATA\r\n").into_bytes()
}

/// The client's side of a session.
trait Session {
    /// Sends; the server may have hung up.
    fn say(&mut self, bytes: &[u8]);
    /// The code of the next reply; none if the session is over.
    fn code(&mut self) -> Option<u16>;
}

impl Session for Client {
    fn say(&mut self, bytes: &[u8]) {
        let _ = self.write(bytes);
    }

    fn code(&mut self) -> Option<u16> {
        self.reply().ok().map(|reply| reply.code)
    }
}

/// A session with `-bs`. Dropped, it is ended and waited for.
struct Local {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Local {
    fn start(stand: &Stand) -> Local {
        let mut command = Command::new(crate::place::oxim());
        command.arg("-C").arg(stand.config()).arg("-bs").stderr(Stdio::null());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut local = Local { child, answers };
        assert_eq!(local.code(), Some(220));
        local
    }
}

impl Session for Local {
    fn say(&mut self, bytes: &[u8]) {
        let _ = self.child.stdin.as_mut().unwrap().write_all(bytes);
    }

    fn code(&mut self) -> Option<u16> {
        let mut line = String::new();
        while self.answers.read_line(&mut line).ok()? > 0 {
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.get(..3)?.parse().ok();
            }
            line.clear();
        }
        None
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

/// Submits one message after the other. The server may refuse one, and hang up before it has read all; then a new session
/// goes on with the next.
fn in_sessions<S: Session>(messages: &[Mail], open: impl Fn() -> Option<S>, is_chunked: bool) {
    let mut session: Option<S> = None;
    for (sender, message) in messages {
        // A session that was ended after a refusal is noticed by the next message only.
        for _ in 0..2 {
            let current = session.get_or_insert_with(|| greeted(open()));
            if begins(current, sender) {
                break;
            }
            session = None;
        }
        let Some(current) = session.as_mut() else { panic!("no session for {sender}") };
        if is_chunked {
            current.say(&[format!("BDAT {} LAST\r\n", message.len()).as_bytes(), message].concat());
        } else {
            current.say(b"DATA\r\n");
            assert_eq!(current.code(), Some(354));
            current.say(&stuffed(message));
        }
        if current.code().is_none_or(|code| code >= 400) {
            session = None;
        }
    }
}

fn greeted<S: Session>(session: Option<S>) -> S {
    let mut session = session.unwrap();
    session.say(b"EHLO client.test\r\n");
    assert_eq!(session.code(), Some(250));
    session
}

/// The envelope, up to the last RCPT; whether the session is still there.
fn begins(session: &mut impl Session, sender: &str) -> bool {
    let commands = std::iter::once(format!("MAIL FROM:<{sender}>\r\n"));
    let all = commands.chain(recipients().iter().map(|to| format!("RCPT TO:<{to}>\r\n"))).collect::<Vec<_>>();
    all.iter().all(|command| {
        session.say(command.as_bytes());
        let code = session.code();
        assert!(code.is_none_or(|code| code < 400), "{command}: {code:?}");
        code.is_some()
    })
}

/// Submits as a local user does. A refusal is as good.
fn by_command(stand: &Stand, arguments: &[&str], input: &[u8]) {
    let mut command = Command::new(crate::place::oxim());
    command.arg("-C").arg(stand.config()).args(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait().unwrap();
}

/// Appends to the message what its header holds, decoded.
fn write_filter(path: &Path) {
    let script = "#!/usr/bin/perl -0777\nuse MIME::Base64;\nmy $all = <STDIN>;\nprint $all;\n\
                  print decode_base64($1) if $all =~ /^X-Attack: (\\S+)/m;\n";
    fs::write(path, script).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// How many submit at the same time.
const HANDS: usize = 4;
/// How many messages go by one session at most.
const SESSION_MESSAGES_MAX: usize = 100;

/// Every string in every way, or a sample of them.
fn attacks() -> Vec<(Entry, Vec<u8>)> {
    let mut chance = Chance::new(7);
    let mut attacks = Vec::new();
    let all = strings();
    let step = if is_full() { 1 } else { all.len() / 12 };
    let start = if is_full() { 0 } else { chance.below(step as u64) as usize };
    for string in all.iter().skip(start).step_by(step) {
        for entry in ENTRIES {
            attacks.push((entry, message(b"first", string)));
        }
        attacks.push((Entry::Bdat, message(b"first\r\n", string)));
    }
    for border in BORDERS.iter().take(amount(3, BORDERS.len())) {
        for attack in [b"\n.\n".as_slice(), b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r\n.\r\n"] {
            let offsets = attack.len() + 1;
            for _ in 0..amount(1, offsets) {
                let before = vec![b'x'; border - chance.below(offsets as u64) as usize];
                attacks.push((Entry::Bdat, message(&before, attack)));
                attacks.push((Entry::Data, message(&before, attack)));
            }
        }
    }
    attacks
}

/// Submits them all; gives their number.
fn submit_all(stand: &Stand) -> usize {
    let attacks = attacks();
    let batch = |entry: Entry| {
        let of_entry = attacks.iter().enumerate().filter(move |(_, (one, _))| *one == entry);
        of_entry.map(move |(number, (_, message))| {
            (format!("{}{number}@client.test", entry.name()), message.clone())
        })
    };
    let batches: Vec<(Entry, Vec<Mail>)> = ENTRIES
        .iter()
        .flat_map(|entry| {
            let messages: Vec<_> = batch(*entry).collect();
            messages.chunks(SESSION_MESSAGES_MAX).map(|part| (*entry, part.to_vec())).collect::<Vec<_>>()
        })
        .collect();
    std::thread::scope(|scope| {
        for hand in 0..HANDS {
            let batches = &batches;
            scope.spawn(move || {
                for (entry, messages) in batches.iter().skip(hand).step_by(HANDS) {
                    entry.submit(stand, messages);
                }
            });
        }
    });
    attacks.len()
}

/// The senders of the messages that were accepted.
fn senders(stand: &Stand) -> Vec<String> {
    let log = fs::read_to_string(stand.log("mainlog")).unwrap_or_default();
    let after = |line: &str| Some(line.split_once(" <= ")?.1.split(' ').next()?.to_owned());
    log.lines().filter_map(after).collect()
}

fn completed(stand: &Stand) -> usize {
    fs::read_to_string(stand.log("mainlog")).unwrap_or_default().matches(" Completed").count()
}

pub(super) fn one_message_stays_one_on_its_way_out() {
    let seen: Vec<Arc<Mutex<Seen>>> = WAYS.iter().map(|_| Arc::default()).collect();
    let ports: Vec<u16> =
        WAYS.iter().zip(&seen).map(|((_, offer), seen)| strict_server(*offer, Arc::clone(seen))).collect();
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let filter = folder.path().join("filter");
    write_filter(&filter);
    let drivers = drivers(&ports, filter.to_str().unwrap());
    let mut stand = Stand::start(&Plan { delivers: true, drivers: &drivers, ..Plan::default() });

    let submitted = submit_all(&stand);
    let senders = senders(&stand);
    let end = Instant::now() + Duration::from_secs(if is_full() { 900 } else { 60 });
    while completed(&stand) < senders.len() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100));
    }
    stand.stop();
    let log = fs::read_to_string(stand.log("mainlog")).unwrap();
    let bad: Vec<&str> = log.lines().filter(|line| line.contains(" ** ") || line.contains(" == ")).collect();
    assert!(bad.is_empty() && completed(&stand) == senders.len(), "{bad:?} {}", stand.trouble());

    let single: BTreeSet<&String> = senders.iter().collect();
    assert!(single.len() == senders.len() && senders.len() <= submitted, "{senders:?}");
    assert!(!senders.iter().any(|sender| sender.starts_with("smuggler")), "{senders:?}");
    eprintln!("{submitted} messages submitted, {} accepted", senders.len());
    for entry in ENTRIES {
        assert!(senders.iter().any(|s| s.starts_with(&entry.name())), "{entry:?}: {senders:?}");
    }
    for ((name, _), seen) in WAYS.iter().zip(&seen) {
        let seen = seen.lock().unwrap();
        assert!(seen.faults.is_empty(), "{name}: {}", seen.faults.join("\n"));
        let count = seen.messages.get(*name).copied().unwrap_or_default();
        assert_eq!(count, senders.len(), "{name}: {:?}", seen.messages);
    }
}
