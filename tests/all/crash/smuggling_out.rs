//! Nothing that stands in a message ends it on its way out: whatever it was submitted with, and whatever a transport filter or
//! an added header makes of it, a strict server gets one message for each that was accepted, and no bare CR or LF.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
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

/// How a message comes in. Its name is in the local part of its sender.
#[derive(Clone, Copy, Debug)]
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

    fn submit(self, stand: &Stand, sender: &str, message: &[u8]) {
        match self {
            Entry::Data | Entry::Bdat => over_smtp(stand, sender, message, matches!(self, Entry::Bdat)),
            Entry::Session => {
                let (before, after) = (b"EHLO client.test\r\n".as_slice(), b"QUIT\r\n".as_slice());
                let dialogue = [before, &envelope(sender), &stuffed(message), after].concat();
                by_command(stand, &["-bs"], &dialogue);
            }
            Entry::Batch => by_command(stand, &["-bS"], &[envelope(sender), stuffed(message)].concat()),
            Entry::Arguments => {
                let to = recipients();
                let words = ["-oi", "-f", sender].into_iter().chain(to.iter().map(String::as_str));
                by_command(stand, &words.collect::<Vec<_>>(), message);
            }
            Entry::Header => {
                let header = format!("To: {}\r\n", recipients().join(", "));
                by_command(stand, &["-oi", "-f", sender, "-t"], &[header.as_bytes(), message].concat());
            }
        }
    }
}

fn envelope(sender: &str) -> Vec<u8> {
    let to: String = recipients().iter().map(|to| format!("RCPT TO:<{to}>\r\n")).collect();
    format!("MAIL FROM:<{sender}>\r\n{to}DATA\r\n").into_bytes()
}

/// Submits over the network. The server may refuse, and hang up before it has read all.
fn over_smtp(stand: &Stand, sender: &str, message: &[u8], is_chunked: bool) {
    let mut client = Client::connect(stand.address).unwrap();
    client.hello().unwrap();
    assert!(client.command(&format!("MAIL FROM:<{sender}>")).unwrap().code < 400);
    for recipient in recipients() {
        assert!(client.command(&format!("RCPT TO:<{recipient}>")).unwrap().code < 400);
    }
    if is_chunked {
        let _ = client.write(format!("BDAT {} LAST\r\n", message.len()).as_bytes());
        let _ = client.write(message);
    } else {
        assert!(client.command("DATA").unwrap().code < 400);
        let _ = client.write(&stuffed(message));
    }
    client.finish();
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
    let script = "#!/bin/sh\nall=$(mktemp)\ncat > $all\ncat $all\n\
                  sed -n 's/^X-Attack: //p' $all | tr -d '\\r' | base64 -d\nrm $all\n";
    fs::write(path, script).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Submits every string in every way, or a sample of them.
fn submit_all(stand: &Stand) -> usize {
    let mut chance = Chance::new(7);
    let mut submitted = 0;
    let mut submit = |entry: Entry, message: &[u8]| {
        submitted += 1;
        entry.submit(stand, &format!("{}{submitted}@client.test", entry.name()), message);
    };
    let all = strings();
    let step = if is_full() { 1 } else { all.len() / 12 };
    let start = if is_full() { 0 } else { chance.below(step as u64) as usize };
    for string in all.iter().skip(start).step_by(step) {
        for entry in ENTRIES {
            submit(entry, &message(b"first", string));
        }
        submit(Entry::Bdat, &message(b"first\r\n", string));
    }
    for border in BORDERS.iter().take(amount(3, BORDERS.len())) {
        for attack in [b"\n.\n".as_slice(), b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r\n.\r\n"] {
            let offsets = attack.len() + 1;
            for _ in 0..amount(1, offsets) {
                let before = vec![b'x'; border - chance.below(offsets as u64) as usize];
                submit(Entry::Bdat, &message(&before, attack));
                submit(Entry::Data, &message(&before, attack));
            }
        }
    }
    submitted
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
        std::thread::sleep(Duration::from_millis(50));
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
