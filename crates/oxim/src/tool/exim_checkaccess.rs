//! `exim_checkaccess`: whether a client at an address may send to a recipient (manual section 54.8), by a session of `-bh`.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

use super::Call;

pub(super) const USAGE: &str = "Usage: exim_checkaccess <IP address> <email address> [exim options]";

/// Does it.
pub(super) fn run(call: &Call) -> u8 {
    let [host, recipient, options @ ..] = call.words.as_slice() else {
        say!("{USAGE}");
        return 1;
    };
    let host = String::from_utf8_lossy(host).into_owned();
    let Ok(address) = host.parse::<IpAddr>() else {
        say!("** Invalid IP address \"{host}\"\n{USAGE}");
        return 1;
    };
    match ask(call, address, recipient, options) {
        Ok(Verdict::Accepted) => {
            say!("Accepted");
            0
        }
        Ok(Verdict::Rejected(reply)) => {
            say!("Rejected:");
            reply.iter().for_each(|line| say!("  {line}"));
            0
        }
        Ok(Verdict::None) => 0,
        Err(error) => call.fail(1, error),
    }
}

/// What came of it.
enum Verdict {
    Accepted,
    Rejected(Vec<String>),
    /// The program did not speak SMTP: it has told why.
    None,
}

/// The sender of `-f`, else the empty one.
fn sender(options: &[Vec<u8>]) -> Vec<u8> {
    let at = options.iter().rposition(|option| option.starts_with(b"-f"));
    let sender = at.and_then(|at| match options.get(at)?.get(2..) {
        Some([]) => options.get(at.checked_add(1)?).map(Vec::as_slice),
        own => own,
    });
    sender.unwrap_or_default().trim_ascii().iter().copied().filter(|b| !matches!(b, b'<' | b'>')).collect()
}

fn ask(call: &Call, address: IpAddr, recipient: &[u8], options: &[Vec<u8>]) -> std::io::Result<Verdict> {
    let mut child = call
        .exim()
        .args(options.iter().map(|o| OsStr::from_bytes(o)))
        .args(["-bh", &address.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Ok(Verdict::None);
    };
    let mut output = BufReader::new(output);
    let name = match address {
        IpAddr::V4(ip) => format!("[{ip}]"),
        IpAddr::V6(ip) => format!("[IPv6:{ip}]"),
    };
    let commands: [Vec<u8>; 4] = [
        Vec::new(),
        format!("HELO {name}").into_bytes(),
        [b"MAIL FROM:<", sender(options).as_slice(), b">"].concat(),
        [b"RCPT TO:<", recipient, b">"].concat(),
    ];
    let mut last = Vec::new();
    for command in commands {
        if !command.is_empty() && input.write_all(&[command.as_slice(), b"\r\n"].concat()).is_err() {
            break;
        }
        let said = reply(&mut output)?;
        if said.is_empty() {
            break;
        }
        last = said;
        // A client that is refused at the door gets no further.
        if !last.first().is_some_and(|line| line.starts_with('2')) && command.is_empty() {
            break;
        }
    }
    let _ = input.write_all(b"QUIT\r\n");
    drop(input);
    child.wait()?;
    Ok(match last.first().and_then(|line| line.chars().next()) {
        Some('2') => Verdict::Accepted,
        Some(_) => Verdict::Rejected(last),
        None => Verdict::None,
    })
}

/// One reply: lines up to the one with a blank behind its number.
fn reply(output: &mut impl BufRead) -> std::io::Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        line.clear();
        let is_reply = text.get(..3).is_some_and(|code| code.bytes().all(|b| b.is_ascii_digit()));
        if !is_reply {
            continue;
        }
        let is_last = text.as_bytes().get(3) != Some(&b'-');
        lines.push(text);
        if is_last {
            break;
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sender_is_that_of_the_last_option() {
        let of = |line: &str| {
            let words: Vec<Vec<u8>> = line.split(' ').map(|w| w.as_bytes().to_vec()).collect();
            String::from_utf8(sender(&words)).unwrap()
        };
        assert_eq!(
            (of("-f a@b"), of("-fa@b"), of("-f <>"), of("-v")),
            ("a@b".into(), "a@b".into(), "".into(), "".into())
        );
    }

    #[test]
    fn replies_of_several_lines_are_one() {
        let mut text = "\n**** SMTP testing\n250-one\r\n250 two\r\n550 no\r\n".as_bytes();
        assert_eq!(reply(&mut text).unwrap(), ["250-one", "250 two"]);
        assert_eq!(reply(&mut text).unwrap(), ["550 no"]);
        assert!(reply(&mut text).unwrap().is_empty());
    }
}
