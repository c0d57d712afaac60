//! The SPF suites of RFC 7208 and RFC 4408, which others wrote, through a running reception: each case is a session with the
//! client's address in a PROXY header, the verdict comes from the condition `spf` of the RCPT ACL, and a name server of the
//! trial's own has the zones of the case.
//!
//! They are not part of this project; `OXIM_CONFORMANCE` says where they are. Explanations are compared in
//! `oxim_mailauth::spf`: Exim shows none.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use yaml_rust2::{Yaml, YamlLoader};

use super::ground::{Ground, PATIENCE};
use super::oxim::{Oxim, identity};
use crate::place;
use crate::scenario::dns;

/// Cases whose sender or HELO name SMTP cannot carry, or Oxim refuses before SPF is asked, with what it answers.
const NOT_SENT: &[(&str, &str)] = &[
    ("emptylabel", "501 <lyme.eater@A...example.com>: domain missing or malformed"),
    ("nolocalpart", "501 <@example.net>: no local part"),
    ("domain-literal", "501 <foo@[1.2.3.5]>: domain literals not allowed"),
    ("dorky-sentinel", "501 <Macro Error@e8.example.com>: \"@\" or \".\" expected after \"Macro\""),
];

const WORDS: &[&str] = &["pass", "fail", "softfail", "none", "neutral", "permerror", "temperror"];

/// All cases of both suites.
pub(super) fn through_the_acl(ground: &Ground) {
    let mut server = 1_u8;
    for (file, count) in [("rfc7208-tests.yml", 203), ("rfc4408-tests.yml", 191)] {
        let top = std::env::var_os("OXIM_CONFORMANCE")
            .map_or_else(|| place::source().join("../shared/conformance"), std::path::PathBuf::from);
        let Ok(text) = std::fs::read_to_string(top.join("spf").join(file)) else {
            eprintln!("skipped: {} has no spf/{file} (OXIM_CONFORMANCE)", top.display());
            continue;
        };
        let (mut cases, mut failures) = (0, Vec::new());
        for part in YamlLoader::load_from_str(&text).unwrap() {
            server += 1;
            let address = format!("127.0.1.{server}");
            dns::start_on(&address, zone_text(&part["zonedata"]));
            let oxim = Oxim::start(ground, &configuration(ground, &address), &[]);
            for (name, case) in part["tests"].as_hash().unwrap() {
                cases += 1;
                let name = name.as_str().unwrap();
                let reply = session(case);
                let wanted = words(&case["result"]);
                let verdict = reply.strip_prefix("550 verdict ").unwrap_or_default();
                let is_not_sent = NOT_SENT.contains(&(name, reply.as_str()));
                if !is_not_sent && !wanted.iter().any(|word| word == verdict) {
                    failures.push(format!("{name}: {wanted:?} wanted, {reply}"));
                }
            }
            oxim.stop();
        }
        assert!(failures.is_empty(), "{file}: {} of {cases}:\n{}", failures.len(), failures.join("\n"));
        assert_eq!(cases, count, "{file}");
    }
}

fn configuration(ground: &Ground, name_server: &str) -> String {
    let (user, group) = identity(ground);
    let verdicts: String =
        WORDS.iter().map(|word| format!("  deny spf = {word}\n    message = verdict {word}\n")).collect();
    format!(
        "spool_directory = /mnt/spool\nlog_file_path = /mnt/log/%slog\npid_file_path = /mnt/oxim.pid\n\
         primary_hostname = receiver.example\nkeep_environment =\nexim_user = {user}\nexim_group = {group}\n\
         never_users =\ndns_servers = {name_server}\ndns_retrans = 1s\ndns_retry = 1\nlocal_interfaces = 127.0.0.1\n\
         daemon_smtp_ports = 2525\nhosts_proxy = *\nhost_lookup =\nrfc1413_query_timeout = 0s\n\
         helo_accept_junk_hosts = *\nhelo_allow_chars = _\nacl_smtp_rcpt = rcpt\nbegin acl\nrcpt:\n{verdicts}\
         \x20 deny message = verdict missing\n"
    )
}

/// The answer to RCPT, or the first refusal before it.
fn session(case: &Yaml) -> String {
    let host = case["host"].as_str().unwrap();
    let (family, here) = if host.contains(':') { ("TCP6", "2001:db8::25") } else { ("TCP4", "192.0.2.25") };
    let sender = case["mailfrom"].as_str().unwrap_or("");
    let mut stream = TcpStream::connect("127.0.0.1:2525").unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut replies = BufReader::new(stream.try_clone().unwrap());
    for command in [
        format!("PROXY {family} {host} {here} 4321 25"),
        format!("HELO {}", case["helo"].as_str().unwrap()),
        format!("MAIL FROM:<{sender}>"),
        "RCPT TO:<postmaster@receiver.example>".to_owned(),
    ] {
        stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        let reply = reply(&mut replies);
        if !reply.starts_with('2') {
            return reply;
        }
    }
    "nothing was refused".to_owned()
}

/// The last line of a reply.
fn reply(replies: &mut impl BufRead) -> String {
    loop {
        let mut line = String::new();
        replies.read_line(&mut line).unwrap();
        if line.as_bytes().get(3) != Some(&b'-') {
            return line.trim_end().to_owned();
        }
    }
}

/// The zone in the words of the test's name server.
fn zone_text(data: &Yaml) -> String {
    let mut text = String::new();
    for (name, records) in data.as_hash().unwrap() {
        let name = escaped(name);
        let mut all: Vec<(&str, &Yaml)> = Vec::new();
        for record in records.as_vec().unwrap() {
            match record.as_hash() {
                None => text.push_str(&format!("{name} TIMEOUT\n")),
                Some(record) => {
                    let (kind, value) = record.iter().next().unwrap();
                    all.push((kind.as_str().unwrap(), value));
                }
            }
        }
        // A record of type SPF is one of type TXT too, unless the name has some of those (or `NONE` in their place).
        if !all.iter().any(|(kind, _)| *kind == "TXT") {
            let copies: Vec<_> =
                all.iter().filter(|(kind, _)| *kind == "SPF").map(|(_, v)| ("TXT", *v)).collect();
            all.extend(copies);
        }
        for (kind, value) in all.into_iter().filter(|(kind, v)| *kind != "SPF" && v.as_str() != Some("NONE"))
        {
            let value = match (kind, value.as_vec()) {
                ("TXT", Some(strings)) => strings.iter().map(escaped).collect::<Vec<_>>().join("|"),
                ("TXT", None) => escaped(value),
                ("MX", _) => format!("{} {}", value[0].as_i64().unwrap(), value[1].as_str().unwrap()),
                _ => value.as_str().unwrap().to_owned(),
            };
            text.push_str(&format!("{name} {kind} {value}\n"));
        }
    }
    text
}

/// `\DDD` for all but printable ASCII. The suite writes bytes as code points.
fn escaped(value: &Yaml) -> String {
    let escape = |c: char| match c {
        '!'..='~' if c != '|' => c.to_string(),
        _ => format!("\\{:03}", u8::try_from(u32::from(c)).unwrap_or(b'?')),
    };
    value.as_str().unwrap().chars().map(escape).collect()
}

fn words(value: &Yaml) -> Vec<String> {
    let all = value.as_vec().map_or(std::slice::from_ref(value), Vec::as_slice);
    all.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}
