//! Hostile servers of the NO STARTTLS suite against a client that insists on TLS: whatever they say, no mail and no
//! password is ever said in the clear.
//!
//! The descriptions are read from the folder that OXIM_CONFORMANCE names; without it the test says so and does nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Connection, SmtpError, StartTls};
use crate::socket::ConnectTarget;
use crate::tls::client::ClientPolicy;

const LIMIT: Duration = Duration::from_millis(300);

/// The string after a key, unescaped. Comments do not count.
fn value(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find(|line| line.trim_start().to_ascii_lowercase().starts_with(key))?;
    let quoted = line.split_once(':')?.1.trim().strip_prefix('"')?;
    let end = quoted.rfind('"')?;
    Some(quoted.get(..end)?.replace("\\r", "\r").replace("\\n", "\n"))
}

fn answer(case: &str, command: &str) -> String {
    let verb = command.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    if let Some(text) = value(case, &format!("\"{verb}\"")) {
        return text;
    }
    let offers = case.lines().any(|line| line.contains("capabilities:") && line.contains("StartTLS"));
    match verb.as_str() {
        "ehlo" if offers => "250-example.org\r\n250-AUTH PLAIN LOGIN\r\n250 STARTTLS\r\n".to_owned(),
        "ehlo" => "250-example.org\r\n250 AUTH PLAIN LOGIN\r\n".to_owned(),
        "starttls" => value(case, "stls_response").unwrap_or_else(|| "220 go\r\n250 injected\r\n".to_owned()),
        "quit" => "221 bye\r\n".to_owned(),
        "data" => "354 go\r\n".to_owned(),
        _ => "250 ok\r\n".to_owned(),
    }
}

/// Plays one description and tells what the client said. Never goes over to TLS: the suite is about what comes before.
fn play(case: String) -> (SocketAddr, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut seen = Vec::new();
        let mut buffer = [0; 4_096];
        let greeting = value(&case, "greeting").unwrap_or_else(|| "220 example.org\r\n".to_owned());
        let mut next = Some(greeting);
        while let Some(text) = next.take() {
            if stream.write_all(text.as_bytes()).is_err() {
                break;
            }
            match stream.read(&mut buffer) {
                Ok(length) if length > 0 => {
                    seen.extend_from_slice(&buffer[..length]);
                    next = Some(answer(&case, &String::from_utf8_lossy(&buffer[..length])));
                }
                _ => {}
            }
        }
        seen
    });
    (address, thread)
}

/// What a transport with `hosts_require_tls = *` does, with everything that might go wrong.
fn session(address: SocketAddr) -> Result<(), SmtpError> {
    let mut connection = Connection::connect(&ConnectTarget::tcp(address, LIMIT))?;
    if !connection.read_banner(LIMIT)?.is_success() {
        connection.quit(LIMIT);
        return Ok(());
    }
    if !connection.ehlo("me.example", LIMIT)?.is_success() {
        connection.helo("me.example", LIMIT)?;
    }
    if !connection.extensions().starttls {
        connection.quit(LIMIT);
        return Ok(());
    }
    match connection.starttls(None, &ClientPolicy::default(), LIMIT)? {
        StartTls::Refused(_) => connection.quit(LIMIT),
        StartTls::Started(_) => {
            connection.ehlo("me.example", LIMIT)?;
            connection.command("MAIL FROM:<secret@me.example>", LIMIT)?;
        }
    }
    Ok(())
}

fn cases(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            cases(&entry.path(), found);
        } else if entry.path().extension().is_some_and(|extension| extension == "ron") {
            found.push(entry.path());
        }
    }
}

#[test]
fn nothing_is_said_in_the_clear() {
    let root = std::env::var("OXIM_CONFORMANCE").unwrap_or_else(|_| "../../../shared/conformance".to_owned());
    let folder = Path::new(&root).join("nostarttls/testcases/smtp");
    if !folder.is_dir() {
        eprintln!("skipped: there is no {}", folder.display());
        return;
    }
    let mut found = Vec::new();
    cases(&folder, &mut found);
    assert_eq!(found.len(), 59);
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        let (address, thread) = play(text);
        let _ended_somehow = session(address);
        let seen = String::from_utf8_lossy(&thread.join().unwrap()).to_ascii_uppercase();
        for word in ["MAIL FROM", "RCPT TO", "AUTH", "DATA", "SECRET"] {
            assert!(!seen.contains(word), "{}: {seen}", path.display());
        }
    }
}
