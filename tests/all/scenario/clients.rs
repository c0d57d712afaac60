//! The two ends of a dialogue: a client that talks to the program, and servers that the program talks to.
//!
//! Lines `> text` are sent, `< text` received. A script's `<` lines say how many replies are awaited (the lines of a
//! reply that goes on count once); what came is recorded in their place. `> <eof>` closes. `> <sleep N>` waits N milliseconds. `>> text` sends without waiting for
//! what came before, and without a line end of its own: `\r`, `\n`, `\0` and `\\` are escapes there.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// Plays the client's side of a script on any pair of streams; the result is the script with what was received.
pub(super) fn play(script: &str, input: &mut dyn BufRead, output: &mut dyn Write) -> String {
    let mut done = String::new();
    let mut lines = script.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(text) = line.strip_prefix(">> ") {
            done.push_str(line);
            done.push('\n');
            let _ = output.write_all(&unescape(text)).and_then(|()| output.flush());
        } else if let Some(text) = line.strip_prefix("> ").or_else(|| (line == ">").then_some("")) {
            done.push_str(line);
            done.push('\n');
            if let Some(wait) = text.strip_prefix("<sleep ").and_then(|t| t.strip_suffix('>')) {
                std::thread::sleep(Duration::from_millis(wait.parse().unwrap()));
            } else if text != "<eof>" {
                let _ = output.write_all(format!("{text}\r\n").as_bytes()).and_then(|()| output.flush());
            }
        } else if line.starts_with('<') {
            let mut expected = line;
            while is_continued(expected) && lines.peek().is_some_and(|l| l.starts_with('<')) {
                expected = lines.next().unwrap();
            }
            loop {
                let got = receive(input);
                done.push_str(&got);
                if !is_continued(&got) {
                    break;
                }
            }
        } else if !line.is_empty() {
            done.push_str(line);
            done.push('\n');
        }
    }
    let mut rest = String::new();
    let _ = input.take(100_000).read_to_string(&mut rest);
    for line in rest.lines() {
        done.push_str(&format!("< {}\n", line.trim_end_matches('\r')));
    }
    done
}

/// Whether a recorded line is one of a reply that goes on: `< 250-SIZE`.
fn is_continued(line: &str) -> bool {
    let text = line.strip_prefix("< ").unwrap_or("").as_bytes();
    text.len() > 3 && text[..3].iter().all(u8::is_ascii_digit) && text[3] == b'-'
}

fn receive(input: &mut dyn BufRead) -> String {
    let mut line = Vec::new();
    match input.read_until(b'\n', &mut line) {
        Ok(0) => "< <closed>\n".to_owned(),
        Ok(_) => {
            let text = String::from_utf8_lossy(&line);
            format!("< {}\n", text.trim_end_matches(['\r', '\n']))
        }
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => "< <closed>\n".to_owned(),
        Err(_) => "< <silence>\n".to_owned(),
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => out.push(match bytes.next() {
                Some(b'r') => b'\r',
                Some(b'n') => b'\n',
                Some(b'0') => 0,
                Some(b'x') => {
                    let mut digit = || char::from(bytes.next().unwrap()).to_digit(16).unwrap();
                    (digit() * 16 + digit()) as u8
                }
                Some(other) => other,
                None => b'\\',
            }),
            other => out.push(other),
        }
    }
    out
}

/// Connects and plays a script. The argument is a port, or `address:port`.
pub(crate) fn connect(argument: &str, script: &str) -> String {
    let target = if argument.contains(':') { argument.to_owned() } else { format!("127.0.0.1:{argument}") };
    let Ok(stream) = TcpStream::connect(&target) else { return "< <refused>\n".to_owned() };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut output = stream.try_clone().unwrap();
    play(script, &mut BufReader::new(stream), &mut output)
}

/// What a scripted server saw, connection after connection.
pub(super) type Seen = std::sync::Arc<std::sync::Mutex<String>>;

/// Listens on a port and plays one script for each connection: scripts are parted by lines `====`. Here `<` lines are
/// what the server sends and `>` lines what it awaits; `> <data>` awaits everything up to the dot.
pub(super) fn serve(port: &str, script: &str) -> Seen {
    let target = if port.contains(':') { port.to_owned() } else { format!("127.0.0.1:{port}") };
    let listener = TcpListener::bind(target).unwrap();
    let seen = Seen::default();
    let (record, script) = (seen.clone(), script.to_owned());
    std::thread::spawn(move || {
        for part in script.split("====\n") {
            let Ok((stream, _)) = listener.accept() else { return };
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut output = stream.try_clone().unwrap();
            let mut input = BufReader::new(stream);
            for line in part.lines() {
                if let Some(text) = line.strip_prefix("< ") {
                    let _ = output.write_all(format!("{text}\r\n").as_bytes());
                } else if line.starts_with('>') {
                    loop {
                        let got = receive(&mut input);
                        record.lock().unwrap().push_str(&format!("> {}", &got[2..]));
                        if line != "> <data>" || got == "< .\n" || got.starts_with("< <") {
                            break;
                        }
                    }
                }
            }
            record.lock().unwrap().push_str("====\n");
        }
    });
    seen
}
