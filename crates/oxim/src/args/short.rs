//! The options with a single letter that belong to no larger family.

use super::mode::{self, Mode};
use super::{ArgumentError, CommandLine, Cursor};

/// How many `-D` a command line may have, and how long a macro's name may be (manual section 5.3).
const MACROS_MAX: usize = 10;

pub(super) fn option(
    line: &mut CommandLine,
    cursor: &mut Cursor,
    word: &[u8],
    first: u8,
    rest: &[u8],
) -> Result<(), ArgumentError> {
    match (first, rest) {
        (b'C', _) => {
            let list = cursor.value(word, rest)?;
            line.config_files = Some(
                list.split(|b| *b == b':')
                    .map(|f| f.trim_ascii().to_vec())
                    .filter(|f| !f.is_empty())
                    .collect(),
            );
        }
        (b'D', _) => define(line, word, rest)?,
        (b'd', b"ropcr") => line.sending.drop_cr = true,
        (b'd', _) => debug(line, rest)?,
        (b'E', _) => line.sending.error_about = Some(rest.to_vec()).filter(|r| !r.is_empty()),
        (b'F', _) => line.origin.full_name = Some(cursor.value(word, rest)?),
        (b'f', _) => line.origin.sender = Some(cursor.value(word, rest)?),
        (b'r', _) => line.origin.sender = Some(cursor.value(word, rest)?),
        (b'G', b"") => line.sending.suppress_fixups = true,
        (b'i', b"") => line.sending.ignore_dot = true,
        (b'L', _) => line.syslog_name = Some(syslog_name(cursor.value(word, rest)?)?),
        (b'N', b"") => {
            line.dont_deliver = true;
            line.verbose = true;
        }
        (b'n', b"") => line.no_names = true,
        (b'p', b"d") => line.perl_at_start = Some(false),
        (b'p', b"s") => line.perl_at_start = Some(true),
        (b'p', _) => protocol(line, &cursor.value(word, rest)?),
        (b't', b"") => line.sending.extract_recipients = true,
        (b't', b"i") => {
            line.sending.extract_recipients = true;
            line.sending.ignore_dot = true;
        }
        (b't', b"ls-on-connect") => line.tls_on_connect = true,
        (b'v', b"") => line.verbose = true,
        (b'z', b"") => line.log_line = Some(cursor.expected("file name", word)?),
        (b'z', _) => {}
        (b'-', b"delivery-agent") => return mode::set(line, Mode::DeliveryAgent),
        (b'a', b"trn") => {
            let missing = || ArgumentError::missing("host and domainlist", word);
            let host = cursor.words.next().filter(|host| !host.is_empty()).ok_or_else(missing)?;
            let domains = cursor.words.next().ok_or_else(missing)?;
            return mode::set(line, Mode::Atrn { host, domains });
        }
        _ => return Err(ArgumentError::unknown(word)),
    }
    Ok(())
}

/// Longest name in syslog lines, in bytes.
const SYSLOG_NAME_BYTES_MAX: usize = 32;

fn syslog_name(name: Vec<u8>) -> Result<Vec<u8>, ArgumentError> {
    let shown = String::from_utf8_lossy(&name).into_owned();
    if name.is_empty() {
        return Err(ArgumentError("exim: syslog name must not be empty".to_owned()));
    }
    if name.len() > SYSLOG_NAME_BYTES_MAX {
        return Err(ArgumentError(format!("exim: the -L syslog name is too long: \"{shown}\"")));
    }
    Ok(name)
}

/// `-p<protocol>[:<host>]`.
fn protocol(line: &mut CommandLine, value: &[u8]) {
    let mut halves = value.splitn(2, |b| *b == b':');
    line.origin.protocol = halves.next().map(<[u8]>::to_vec);
    line.origin.host_name = halves.next().map(<[u8]>::to_vec).or(line.origin.host_name.take());
}

/// `-D name = value`: everything in one word.
fn define(line: &mut CommandLine, word: &[u8], rest: &[u8]) -> Result<(), ArgumentError> {
    let text = rest.trim_ascii_start();
    let length = text.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
    let (name, tail) = text.split_at_checked(length).ok_or_else(|| ArgumentError::unknown(word))?;
    if !name.first().is_some_and(u8::is_ascii_uppercase) {
        return Err(ArgumentError(
            "exim: macro name set by -D must start with an upper case letter".to_owned(),
        ));
    }
    if line.macros.len() >= MACROS_MAX {
        return Err(ArgumentError("exim: too many -D options on command line".to_owned()));
    }
    let tail = tail.trim_ascii_start();
    let value = match tail.strip_prefix(b"=") {
        Some(value) => value.trim_ascii_start().to_vec(),
        None if tail.is_empty() => Vec::new(),
        None => return Err(ArgumentError::unknown(word)),
    };
    let name = String::from_utf8_lossy(name).into_owned();
    if line.macros.iter().any(|(n, _)| *n == name) {
        return Err(ArgumentError("exim: duplicated -D in command line".to_owned()));
    }
    line.macros.push((name, value));
    Ok(())
}

fn debug(line: &mut CommandLine, rest: &[u8]) -> Result<(), ArgumentError> {
    // `-dd` debugs the daemon alone and not what it starts; here that is one process.
    let text = String::from_utf8_lossy(rest.strip_prefix(b"d").unwrap_or(rest)).into_owned();
    match oxim_base::debug::parse(&text) {
        Ok(mask) => {
            line.debug = Some(mask);
            line.verbose = true;
            Ok(())
        }
        Err(word) if word.starts_with(['+', '-']) => {
            Err(ArgumentError(format!("exim: unknown debug_selector setting: {word}")))
        }
        Err(word) => Err(ArgumentError(format!(
            "exim: malformed debug_selector setting: + or - expected but found \"{word}\""
        ))),
    }
}
