//! Nothing that stands in a message ends it on its way out: whatever it was submitted with, and whatever a transport filter or
//! an added header makes of it, a strict server gets one message for each that was accepted, and no bare CR or LF.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
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

/// Submits over the network; how many messages were accepted.
fn over_smtp(stand: &Stand, message: &[u8], is_chunked: bool) -> usize {
    let mut client = Client::connect(stand.address).unwrap();
    client.hello().unwrap();
    assert!(client.command("MAIL FROM:<sender@client.test>").unwrap().code < 400);
    for recipient in recipients() {
        assert!(client.command(&format!("RCPT TO:<{recipient}>")).unwrap().code < 400);
    }
    if is_chunked {
        let _ = client.write(format!("BDAT {} LAST\r\n", message.len()).as_bytes());
        let _ = client.write(message);
    } else {
        assert!(client.command("DATA").unwrap().code < 400);
        let _ = client.write(&[message, b"\r\n.\r\n"].concat());
    }
    client.finish().matches("250 OK id=").count()
}

/// Submits as a local user does.
fn by_command(stand: &Stand, arguments: &[&str], input: &[u8]) {
    let mut command = Command::new(crate::place::oxim());
    command.arg("-C").arg(stand.config()).args(arguments).args(["-f", "sender@client.test"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait().unwrap();
}

/// The message as batched SMTP, its dots doubled.
fn batched(message: &[u8]) -> Vec<u8> {
    let mut all = b"MAIL FROM:<sender@client.test>\n".to_vec();
    for recipient in recipients() {
        all.extend(format!("RCPT TO:<{recipient}>\n").bytes());
    }
    all.extend(b"DATA\n");
    for line in message.split_inclusive(|b| *b == b'\n') {
        if line.starts_with(b".") {
            all.push(b'.');
        }
        all.extend(line);
    }
    all.extend(b"\n.\n");
    all
}

fn count_in_log(stand: &Stand, text: &str) -> usize {
    String::from_utf8_lossy(&fs::read(stand.log("mainlog")).unwrap_or_default()).matches(text).count()
}

pub(super) fn one_message_stays_one_on_its_way_out() {
    let seen: Vec<Arc<Mutex<Seen>>> = WAYS.iter().map(|_| Arc::default()).collect();
    let ports: Vec<u16> =
        WAYS.iter().zip(&seen).map(|((_, offer), seen)| strict_server(*offer, Arc::clone(seen))).collect();
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let filter = folder.path().join("filter");
    fs::write(&filter, "#!/bin/sh\nall=$(mktemp)\ncat > $all\ncat $all\nsed -n 's/^X-Attack: //p' $all | tr -d '\\r' | base64 -d\nrm $all\n").unwrap();
    fs::set_permissions(&filter, fs::Permissions::from_mode(0o755)).unwrap();
    let drivers = drivers(&ports, filter.to_str().unwrap());
    let mut stand = Stand::start(&Plan { delivers: true, drivers: &drivers, ..Plan::default() });

    let mut chance = Chance::new(7);
    let all = strings();
    let step = if is_full() { 1 } else { all.len() / 25 };
    let start = if is_full() { 0 } else { chance.below(step as u64) as usize };
    for string in all.iter().skip(start).step_by(step) {
        let text = message(b"first", string);
        let dots: Vec<u8> = batched(&text);
        // A dot on a line of its own would end DATA, as it should.
        let ends = [b"\r\n".as_slice(), &text].concat().windows(5).any(|w| w == b"\r\n.\r\n");
        if !ends {
            over_smtp(&stand, &text, false);
        }
        over_smtp(&stand, &text, true);
        by_command(&stand, &["-bS"], &dots);
    }
    for border in BORDERS.iter().take(amount(3, BORDERS.len())) {
        for attack in [b"\n.\n".as_slice(), b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r\n.\r\n"] {
            let offset = chance.below(attack.len() as u64 + 1) as usize;
            over_smtp(&stand, &message(&vec![b'x'; border - offset], attack), true);
        }
    }
    let to: Vec<String> = recipients();
    for string in all.iter().skip(start).step_by(step * 5) {
        let mut words = vec!["-oi"];
        words.extend(to.iter().map(String::as_str));
        by_command(&stand, &words, &message(b"first", string));
        let header = format!("To: {}\r\n", to.join(", "));
        by_command(&stand, &["-oi", "-t"], &[header.as_bytes(), &message(b"first\r\n", string)].concat());
    }

    let accepted = || count_in_log(&stand, " <= ");
    let end = Instant::now() + Duration::from_secs(if is_full() { 900 } else { 60 });
    while count_in_log(&stand, " Completed") < accepted() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
    }
    let (accepted, completed) = (accepted(), count_in_log(&stand, " Completed"));
    assert_eq!(count_in_log(&stand, " <= smuggler@"), 0);
    stand.stop();
    assert!(accepted > 50, "only {accepted} were accepted");
    let log = fs::read_to_string(stand.log("mainlog")).unwrap();
    let bad: Vec<&str> = log.lines().filter(|line| line.contains(" ** ") || line.contains(" == ")).collect();
    assert!(bad.is_empty() && accepted == completed, "{accepted}, {completed}, {bad:?}, {}", stand.trouble());
    for ((name, _), seen) in WAYS.iter().zip(&seen) {
        let seen = seen.lock().unwrap();
        assert!(seen.faults.is_empty(), "{name}: {}", seen.faults.join("\n"));
        let count = seen.messages.get(*name).copied().unwrap_or_default();
        assert_eq!(count, accepted, "{name}: {:?}", seen.messages);
    }
}
