//! What becomes of messages that others collected, many of them malformed: each is submitted to both programs, by SMTP and by
//! `-bm -i`, as it is and damaged, and delivered to an mbox file, a maildir and another server. The bytes must be the same, but for ids, dates and
//! the Received: line.
//!
//! The messages are not part of this project; `OXIM_CONFORMANCE` says where they are. `cargo test` takes a sample of 60,
//! `OXIM_PROOF=full` all of them in every way.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use pcre2::bytes::Regex;

use super::Record;
use super::ground::{Ground, PATIENCE, bytes_of, wait_for};
use super::sink;
use crate::place;

const SAMPLE: usize = 60;
/// How many trials all messages are spread over.
const FULL_PARTS: usize = 6;
const SEED: u64 = 0x6d69_6d65;

/// The messages of one trial: those whose number is `index` modulo `of`; or a sample.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Part {
    pub(super) name: String,
    index: usize,
    of: Option<usize>,
}

pub(super) fn parts() -> Vec<Part> {
    if std::env::var_os("OXIM_PROOF").is_some_and(|v| v == "full") {
        (0..FULL_PARTS)
            .map(|index| Part { name: format!("all_{index}"), index, of: Some(FULL_PARTS) })
            .collect()
    } else {
        vec![Part { name: "sample".to_owned(), index: 0, of: None }]
    }
}

/// Where the messages are.
pub(super) fn folder() -> Option<PathBuf> {
    let top = std::env::var_os("OXIM_CONFORMANCE")
        .map_or_else(|| place::source().join("../shared/conformance"), PathBuf::from);
    Some(top.join("mime")).filter(|folder| folder.is_dir())
}

/// How a message is handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By SMTP, with every line ended by CR LF.
    Smtp,
    /// By `-bm -i`, as the file is: by root, who may say who the sender is.
    Root,
    /// By `-bm -i`, every line ended by CR LF: by a user.
    User,
    /// By `-bm -i`, damaged in a way that its name decides.
    Damaged,
    /// By SMTP, damaged likewise; lines still end by CR LF.
    DamagedSmtp,
}

impl Way {
    const ALL: [Way; 5] = [Way::Smtp, Way::Root, Way::User, Way::Damaged, Way::DamagedSmtp];

    fn is_smtp(self) -> bool {
        matches!(self, Way::Smtp | Way::DamagedSmtp)
    }

    fn form(self, name: &str, bytes: &[u8]) -> Vec<u8> {
        match self {
            Way::Root => bytes.to_vec(),
            Way::Smtp | Way::User => with_crlf(bytes),
            Way::Damaged => damaged(name, bytes),
            Way::DamagedSmtp => with_crlf(&damaged(name, bytes)),
        }
    }
}

struct Case {
    name: String,
    way: Way,
    bytes: Vec<u8>,
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "eml" || e == "txt") {
            files.push(path);
        }
    }
}

/// Every message in every way, in an order of its own that does not depend on the file system.
fn all_cases(top: &Path) -> Vec<Case> {
    let mut files = Vec::new();
    collect(top, &mut files);
    let mut cases = Vec::new();
    for file in files {
        let bytes = fs::read(&file).unwrap();
        let name = file.strip_prefix(top).unwrap().display().to_string();
        for way in Way::ALL {
            let name = format!("{name} {way:?}");
            let bytes = way.form(&name, &bytes);
            cases.push(Case { name, way, bytes });
        }
    }
    cases.sort_by_key(|case| (hash(&case.name), case.name.clone()));
    cases
}

/// A fixed scattering of names (FNV-1a).
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ SEED, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

fn cases(top: &Path, part: &Part) -> Vec<Case> {
    let all = all_cases(top);
    match part.of {
        Some(of) => {
            all.into_iter().enumerate().filter(|(n, _)| n % of == part.index).map(|(_, c)| c).collect()
        }
        None => {
            let (smtp, local): (Vec<Case>, Vec<Case>) = all.into_iter().partition(|c| c.way.is_smtp());
            smtp.into_iter().take(SAMPLE / 2).chain(local.into_iter().take(SAMPLE / 2)).collect()
        }
    }
}

fn with_crlf(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        let text = line.strip_suffix(b"\n").map_or(line, |l| l.strip_suffix(b"\r").unwrap_or(l));
        out.extend_from_slice(text);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// A message with a fault that the collections lack or have seldom.
fn damaged(name: &str, bytes: &[u8]) -> Vec<u8> {
    let lines: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').collect();
    let middle = lines.len() / 2;
    let with_line = |at: usize, line: &[u8]| {
        let (before, after) = lines.split_at(at.min(lines.len()));
        [before.concat(), line.to_vec(), after.concat()].concat()
    };
    let long = |head: &[u8], count: usize| [head, &vec![b'x'; count][..], b"\n"].concat();
    match hash(name) % 18 {
        0 => bytes.trim_ascii_end().to_vec(),
        1 => lines.join(&b"\r"[..]),
        2 => with_line(middle, b"a\0b\0\n"),
        3 => with_line(1, b"X-Nul: a\0b\n"),
        4 => with_line(middle, b"one\rtwo\r\rthree\r\n"),
        5 => with_line(1, b"X-Return: one\rtwo\n"),
        6 => with_line(0, b"\n"),
        7 => with_line(0, b"From somebody@somewhere Mon Jan  5 10:00:00 2026\n"),
        8 => with_line(0, b">From somebody\n"),
        9 => with_line(middle, &long(b"", 1_500)),
        10 => with_line(1, &long(b"X-Long: ", 1_500)),
        11 => with_line(1, b"this is no header line\n"),
        12 => with_line(middle, b".\n..\n.x\n"),
        13 => with_line(1, b"Subject: gr\xfc\xdfe \xe2\x82\xac\n"),
        14 => with_line(1, b"X-Empty:\n \n\t\n : x\n"),
        15 => with_line(
            0,
            b"From: \"unclosed <a@b.ex>\nTo: (comment, c@d.ex\nCc: undisclosed:;, e f <g@h.ex>, i\n",
        ),
        16 => {
            with_line(1, b"Resent-From: r@s.ex\nResent-To: t@u.ex\nBcc: secret@v.ex\nReturn-path: <w@x.ex>\n")
        }
        _ => with_line(1, b"Sender : y@z.ex\nDate:\nMessage-ID : <1@2>\n"),
    }
}

const CONFIG: &str = "NUMBER = ${lookup{$local_part}lsearch{/mnt/numbers}{$value}fail}
primary_hostname = host.test.ex
qualify_domain = test.ex
domainlist local_domains = mbox.ex : maildir.ex
acl_smtp_rcpt = accept
received_header_text = Received: by host.test.ex
smtp_accept_queue_per_connection = 0
timezone = UTC
keep_environment =
tls_advertise_hosts =
log_selector = -all_parents
begin routers
reports:
  driver = redirect
  senders = :
  data = :blackhole:
mbox:
  driver = accept
  domains = mbox.ex
  transport = mbox
maildir:
  driver = accept
  domains = maildir.ex
  transport = maildir
smtp:
  driver = manualroute
  domains = sink.ex
  route_list = * 192.0.2.10
  transport = smtp
others:
  driver = redirect
  data = :blackhole:
begin transports
mbox:
  driver = appendfile
  file = /mnt/mail/NUMBER.mbox
  user = mail
  return_path_add
  envelope_to_add
  delivery_date_add
maildir:
  driver = appendfile
  directory = /mnt/mail/NUMBER.maildir
  maildir_format
  user = mail
smtp:
  driver = smtp
  hosts_avoid_tls = *
";

pub(super) fn record(ground: &mut Ground, part: &Part) -> Record {
    let config = Path::new("/etc/exim4/exim4.conf");
    // A local part is tainted and may not be a file name: the number comes from a file.
    let cases = cases(&folder().unwrap(), part);
    let numbers: String = (0..cases.len()).map(|n| format!("m{n}: {n}\n")).collect();
    fs::write("/mnt/numbers", numbers).unwrap();
    fs::write(config, CONFIG).unwrap();
    fs::create_dir_all("/mnt/mail").unwrap();
    crate::scenario::stage::shell("chown mail:mail /mnt/mail; chmod 644 /etc/exim4/exim4.conf");
    let seen = sink::start("192.0.2.10:25");
    ground.start_daemon();
    let mut record = Record::new();
    let said: Vec<String> = cases.iter().enumerate().map(|(n, case)| submit(ground, n, case)).collect();
    wait_for(|| is_quiet(ground));
    let transactions = seen.lock().unwrap().clone();
    for (number, (case, said)) in cases.iter().zip(said).enumerate() {
        let mut put = |what: &str, text: String| {
            record.insert(format!("{} {what}", case.name), without_what_varies(&text));
        };
        put("answer", said);
        put("mbox", bytes_of(&Path::new("/mnt/mail").join(format!("{number}.mbox"))));
        let new = Path::new("/mnt/mail").join(format!("{number}.maildir/new"));
        let found: Vec<String> =
            fs::read_dir(new).into_iter().flatten().flatten().map(|e| bytes_of(&e.path())).collect();
        put("maildir", found.join("====\n"));
        let to = format!("RCPT TO:<m{number}@sink.ex>");
        let sent: Vec<String> = transactions
            .iter()
            .filter(|t| t.commands.iter().any(|c| c.eq_ignore_ascii_case(&to)))
            .map(|t| t.data.iter().copied().map(char::from).collect())
            .collect();
        put("smtp", sent.join("====\n"));
    }
    // Faulty as they are, these messages are mail: a run that delivers little compares nothing.
    let delivered = record.values().filter(|text| !text.is_empty()).count();
    assert!(delivered * 10 > record.len() * 9, "{delivered} of {}", record.len());
    record.insert("note mainlog".to_owned(), tail(&bytes_of(Path::new("/var/log/exim4/mainlog")), 40));
    record.insert("note paniclog".to_owned(), bytes_of(Path::new("/var/log/exim4/paniclog")));
    record
}

fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Nothing waits in the queue, and every message that came has ended.
fn is_quiet(ground: &Ground) -> bool {
    let log = bytes_of(Path::new("/var/log/exim4/mainlog"));
    log.matches(" <= ").count() == log.matches(" Completed").count()
        && ground.run(None, &["-bpc"]).starts_with("0\n")
}

/// Hands a message in; the answer is what the program said.
fn submit(ground: &Ground, number: usize, case: &Case) -> String {
    let recipients = ["mbox.ex", "maildir.ex", "sink.ex"].map(|domain| format!("m{number}@{domain}"));
    match case.way {
        Way::Smtp | Way::DamagedSmtp => {
            by_smtp(number, &recipients, &case.bytes).unwrap_or_else(|error| format!("{error}"))
        }
        Way::Root | Way::Damaged => {
            let sender = format!("s{number}@from.ex");
            by_command(ground, None, &["-i", "-f", &sender], &recipients, &case.bytes)
        }
        Way::User => by_command(ground, Some("alice"), &["-i"], &recipients, &case.bytes),
    }
}

fn by_command(ground: &Ground, user: Option<&str>, options: &[&str], to: &[String], bytes: &[u8]) -> String {
    let words: Vec<&str> =
        ["-bm"].into_iter().chain(options.iter().copied()).chain(to.iter().map(String::as_str)).collect();
    let mut command = ground.command(user, &words);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that refuses early closes its end: that is in its answer.
    let _ = child.stdin.take().unwrap().write_all(bytes);
    let done = child.wait_with_output().unwrap();
    let text: String = done.stdout.iter().chain(&done.stderr).copied().map(char::from).collect();
    format!("{text}exit {:?}", done.status.code())
}

fn by_smtp(number: usize, recipients: &[String], bytes: &[u8]) -> std::io::Result<String> {
    let stream = TcpStream::connect("127.0.0.1:25")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut output = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    reply(&mut input)?;
    let mut talk = |line: &str| {
        output.write_all(line.as_bytes())?;
        reply(&mut input)
    };
    talk("EHLO client.test.ex\r\n")?;
    talk(&format!("MAIL FROM:<s{number}@from.ex>\r\n"))?;
    for recipient in recipients {
        talk(&format!("RCPT TO:<{recipient}>\r\n"))?;
    }
    talk("DATA\r\n")?;
    let mut data = Vec::new();
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        if line.starts_with(b".") {
            data.push(b'.');
        }
        data.extend_from_slice(line);
    }
    data.extend_from_slice(b".\r\n");
    output.write_all(&data)?;
    let answer = reply(&mut input)?;
    output.write_all(b"QUIT\r\n")?;
    reply(&mut input)?;
    Ok(answer)
}

/// A reply with all its lines.
fn reply(input: &mut impl BufRead) -> std::io::Result<String> {
    let mut all = String::new();
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(all + "<closed>");
        }
        all.push_str(&line);
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(all);
        }
    }
}

/// Ids and dates differ between two runs.
fn without_what_varies(text: &str) -> String {
    const VARYING: &[(&str, &str)] = &[
        ("[0-9A-Za-z]{6}-(?:[0-9A-Za-z]{11}-[0-9A-Za-z]{4}|[0-9A-Za-z]{6}-[0-9A-Za-z]{2})", "<id>"),
        (r"[A-Z][a-z]{2}, [ \d]\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [-+]\d{4}", "<date>"),
        (r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}", "<date>"),
    ];
    let mut bytes: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect();
    for (pattern, name) in VARYING {
        let regex = Regex::new(pattern).unwrap();
        let mut out = Vec::new();
        let mut last = 0;
        for found in regex.find_iter(&bytes) {
            let found = found.unwrap();
            out.extend_from_slice(&bytes[last..found.start()]);
            out.extend_from_slice(name.as_bytes());
            last = found.end();
        }
        out.extend_from_slice(&bytes[last..]);
        bytes = out;
    }
    bytes.into_iter().map(char::from).collect()
}
