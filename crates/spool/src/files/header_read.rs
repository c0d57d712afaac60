//! Reads the text of an -H file (manual section 57.1), in the forms of Exim 4.61 to 4.99.
//!
//! Lines that begin with a hyphen and are not known are kept. Anything else that does not fit is an error that names
//! the line; the caller reports the message as corrupt and leaves the file alone.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use memchr::{memchr, memrchr};
use oxim_base::clock::Stamp;
use oxim_base::{Taint, Text};
use oxim_mail::dsn::{Notify, Return};
use oxim_mail::header::{Header, HeaderKind};
use oxim_mail::message_id::MessageId;

use crate::message::{Message, Recipient, SenderHost, TlsRecord};

/// What is wrong with an -H file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatError {
    /// Line number, from 1.
    pub line: usize,
    /// What was expected there.
    pub what: &'static str,
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for FormatError {}

/// Most recipients and non-recipients that are read from one file: far above what any limit lets in.
const ADDRESSES_MAX: usize = 4_000_000;

/// Reads a whole file.
///
/// # Errors
/// The first line that does not fit.
pub fn read(text: &[u8]) -> Result<Message, FormatError> {
    let mut lines = Lines { rest: text, number: 0 };
    let mut message = envelope(&mut lines)?;
    headers(&mut lines, &mut message)?;
    Ok(message)
}

/// Reads all but the header lines, and adds up the sizes of these. For queue listings.
///
/// # Errors
/// The first line that does not fit.
pub fn read_envelope(text: &[u8]) -> Result<(Message, u64), FormatError> {
    let mut lines = Lines { rest: text, number: 0 };
    let message = envelope(&mut lines)?;
    let mut size = 0_u64;
    while let Some((kind, text)) = lines.header()? {
        if kind != HeaderKind::Deleted {
            size = size.saturating_add(u64::try_from(text.len()).unwrap_or(0));
        }
    }
    Ok((message, size))
}

fn envelope(lines: &mut Lines<'_>) -> Result<Message, FormatError> {
    let first = lines.next("the name of the file")?;
    let id = first.strip_suffix(b"-H").and_then(MessageId::parse);
    let mut message = Message::new(id.ok_or_else(|| lines.error("the name of the file"))?);
    message.first_delivery = false;
    login(lines, &mut message)?;
    let sender = lines.next("the sender in angle brackets")?;
    message.sender = sender
        .strip_prefix(b"<")
        .and_then(|s| s.strip_suffix(b">"))
        .ok_or_else(|| lines.error("the sender in angle brackets"))?
        .to_vec();
    times(lines, &mut message)?;
    while lines.rest.first() == Some(&b'-') {
        let line = lines.next("a variable")?;
        variable(lines, &mut message, line)?;
    }
    non_recipients(lines, &mut message)?;
    recipients(lines, &mut message)?;
    if !lines.next("an empty line")?.is_empty() {
        return Err(lines.error("an empty line"));
    }
    Ok(message)
}

struct Lines<'a> {
    rest: &'a [u8],
    number: usize,
}

impl<'a> Lines<'a> {
    fn error(&self, what: &'static str) -> FormatError {
        FormatError { line: self.number, what }
    }

    fn next(&mut self, what: &'static str) -> Result<&'a [u8], FormatError> {
        self.number = self.number.saturating_add(1);
        let end = memchr(b'\n', self.rest).ok_or_else(|| self.error(what))?;
        let (line, rest) = self.rest.split_at_checked(end).ok_or_else(|| self.error(what))?;
        self.rest = rest.get(1..).unwrap_or_default();
        Ok(line)
    }

    /// So many bytes, then a line end.
    fn counted(&mut self, count: usize) -> Result<&'a [u8], FormatError> {
        let what = "the value that was announced";
        let (value, rest) = self.rest.split_at_checked(count).ok_or_else(|| self.error(what))?;
        self.rest = rest.strip_prefix(b"\n").ok_or_else(|| self.error(what))?;
        self.number = self.number.saturating_add(memchr::memchr_iter(b'\n', value).count()).saturating_add(1);
        Ok(value)
    }

    /// A header line: its length, its letter, a space, its text. None at the end of the file.
    fn header(&mut self) -> Result<Option<(HeaderKind, &'a [u8])>, FormatError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.number = self.number.saturating_add(1);
        let what = "a header line with its length and letter";
        let digits = self.rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let (length, rest) = self.rest.split_at_checked(digits).ok_or_else(|| self.error(what))?;
        let length: usize = number(length).ok_or_else(|| self.error(what))?;
        let (Some(letter), Some(b' ')) = (rest.first(), rest.get(1)) else { return Err(self.error(what)) };
        let kind = HeaderKind::from_letter(*letter).ok_or_else(|| self.error(what))?;
        let (text, rest) =
            rest.get(2..).unwrap_or_default().split_at_checked(length).ok_or_else(|| self.error(what))?;
        if text.last() != Some(&b'\n') {
            return Err(self.error("a header line of the announced length"));
        }
        self.number = self.number.saturating_add(memchr::memchr_iter(b'\n', text).count().saturating_sub(1));
        self.rest = rest;
        Ok(Some((kind, text)))
    }
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn last_word(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = memrchr(b' ', line)?;
    Some((line.get(..space)?, line.get(space.saturating_add(1)..)?))
}

fn login(lines: &mut Lines<'_>, message: &mut Message) -> Result<(), FormatError> {
    let line = lines.next("login, uid and gid")?;
    let parsed = last_word(line).and_then(|(rest, gid)| {
        let (login, uid) = last_word(rest)?;
        Some((login, number(uid)?, number(gid)?))
    });
    let (login, uid, gid) = parsed.ok_or_else(|| lines.error("login, uid and gid"))?;
    (message.login, message.uid, message.gid) = (login.to_vec(), uid, gid);
    Ok(())
}

fn times(lines: &mut Lines<'_>, message: &mut Message) -> Result<(), FormatError> {
    let line = lines.next("time of arrival and count of warnings")?;
    let parsed = last_word(line).and_then(|(time, count)| Some((number(time)?, number(count)?)));
    let (time, count) = parsed.ok_or_else(|| lines.error("time of arrival and count of warnings"))?;
    (message.received, message.warnings_sent) = (Stamp::from_seconds(time), count);
    Ok(())
}

/// The lookups whose quoting is remembered; a mark for another one reads as tainted.
const QUOTERS: [&str; 12] = [
    "ldap", "ldapdn", "ldapm", "mysql", "pgsql", "sqlite", "redis", "oracle", "ibase", "nisplus", "dsearch",
    "spf",
];

/// Takes the hyphens and the quoter off.
fn marked(line: &[u8]) -> (Taint, &[u8]) {
    let Some(rest) = line.strip_prefix(b"--") else {
        return (Taint::Clean, line.get(1..).unwrap_or_default());
    };
    let Some(inside) = rest.strip_prefix(b"(") else { return (Taint::Tainted, rest) };
    let Some(close) = memchr(b')', inside) else { return (Taint::Tainted, rest) };
    let name = inside.get(..close).unwrap_or_default();
    let after = inside.get(close.saturating_add(1)..).unwrap_or_default();
    let known = QUOTERS.iter().find(|q| q.as_bytes() == name);
    (known.map_or(Taint::Tainted, |q| Taint::Quoted(q)), after)
}

fn variable(lines: &mut Lines<'_>, message: &mut Message, line: &[u8]) -> Result<(), FormatError> {
    let (taint, rest) = marked(line);
    let end = memchr(b' ', rest).unwrap_or(rest.len());
    let (name, value) = rest.split_at_checked(end).unwrap_or((rest, b""));
    let value = value.get(1..).unwrap_or_default();
    if matches!(name, b"acl" | b"aclc" | b"aclm") {
        return acl_variable(lines, message, name, value, taint);
    }
    let known = arrival(message, name, value)
        .or_else(|| counters(message, name, value))
        .or_else(|| flag(message, name))
        .or_else(|| tls(message, name, value));
    match known {
        Some(true) => {}
        Some(false) => return Err(lines.error("a variable with a value of its type")),
        None => message.unknown.push(line.to_vec()),
    }
    Ok(())
}

fn acl_variable(
    lines: &mut Lines<'_>,
    message: &mut Message,
    kind: &[u8],
    value: &[u8],
    taint: Taint,
) -> Result<(), FormatError> {
    let what = "the name of an ACL variable and its length";
    let (name, length) = last_word(value).ok_or_else(|| lines.error(what))?;
    let length: usize = number(length).ok_or_else(|| lines.error(what))?;
    let text = Text::with_taint(lines.counted(length)?, taint);
    match kind {
        b"aclc" => message.acl_c.insert(name.to_vec(), text),
        b"aclm" => message.acl_m.insert(name.to_vec(), text),
        // Before Exim 4.61: one row of numbers, 0 to 9 for the connection, 10 to 19 for the message.
        _ => match number::<u32>(name) {
            Some(n @ 0..=9) => message.acl_c.insert(n.to_string().into_bytes(), text),
            Some(n @ 10..=19) => message.acl_m.insert(n.saturating_sub(10).to_string().into_bytes(), text),
            Some(_) | None => return Err(lines.error(what)),
        },
    };
    Ok(())
}

/// Some(true): taken; Some(false): malformed; None: not one of these.
type Taken = Option<bool>;

fn set<T>(place: &mut Option<T>, value: Option<T>) -> Taken {
    let good = value.is_some();
    *place = value;
    Some(good)
}

fn host(message: &mut Message) -> &mut SenderHost {
    message.host.get_or_insert_with(|| SenderHost::new(IpAddr::from([0, 0, 0, 0]), 0))
}

fn arrival(message: &mut Message, name: &[u8], value: &[u8]) -> Taken {
    let text = || Some(value.to_vec());
    match name {
        b"received_time_usec" => match value.strip_prefix(b".").and_then(number) {
            Some(micros @ 0..=999_999) => {
                message.received.micros = micros;
                Some(true)
            }
            Some(_) | None => Some(false),
        },
        b"received_time_complete" => {
            let complete = stamp(value);
            let taken = complete.map(|c| c.since(message.received).as_micros());
            set(&mut message.received_micros_taken, taken.and_then(|t| u64::try_from(t).ok()))
        }
        b"helo_name" => set(&mut message.helo_name, text()),
        b"host_address" => match socket_address(value) {
            Some(address) => {
                let host = host(message);
                (host.address, host.port) = (address.ip(), address.port());
                Some(true)
            }
            None => Some(false),
        },
        b"host_name" => set(&mut host(message).name, text()),
        b"host_auth" => set(&mut message.authenticator, text()),
        b"host_auth_pubname" => set(&mut message.authenticator_public_name, text()),
        b"interface_address" => set(&mut message.interface, socket_address(value)),
        b"active_hostname" => set(&mut message.active_hostname, text()),
        b"ident" => set(&mut message.ident, text()),
        b"received_protocol" => set(&mut message.protocol, text()),
        b"auth_id" => set(&mut message.auth_id, text()),
        b"auth_sender" => set(&mut message.auth_sender, text()),
        b"local_scan" => set(&mut message.local_scan_data, text()),
        b"spam_bar" => set(&mut message.spam_bar, text()),
        b"spam_score" => set(&mut message.spam_score, text()),
        b"spam_score_int" => set(&mut message.spam_score_int, text()),
        b"dsn_envid" => set(&mut message.dsn_envid, text()),
        b"dsn_ret" => match value {
            b"0" => Some(true),
            b"1" => set(&mut message.dsn_ret, Some(Return::Full)),
            b"2" => set(&mut message.dsn_ret, Some(Return::Headers)),
            _ => Some(false),
        },
        _ => None,
    }
}

fn counters(message: &mut Message, name: &[u8], value: &[u8]) -> Taken {
    let place = match name {
        b"body_linecount" => &mut message.body_lines,
        b"body_zerocount" => &mut message.body_zeros,
        b"max_received_linelength" => &mut message.max_line,
        b"frozen" => return set(&mut message.frozen, number(value)),
        _ => return None,
    };
    let read = number(value);
    *place = read.unwrap_or(0);
    Some(read.is_some())
}

fn flag(message: &mut Message, name: &[u8]) -> Taken {
    let place = match name {
        b"allow_unqualified_recipient" => &mut message.allow_unqualified_recipient,
        b"allow_unqualified_sender" => &mut message.allow_unqualified_sender,
        b"deliver_firsttime" => &mut message.first_delivery,
        b"N" => &mut message.dont_deliver,
        b"host_lookup_deferred" => &mut host(message).lookup_deferred,
        b"host_lookup_failed" => &mut host(message).lookup_failed,
        b"local" => &mut message.is_local,
        b"localerror" => &mut message.local_error,
        b"manual_thaw" => &mut message.manual_thaw,
        b"sender_set_untrusted" => &mut message.sender_set_untrusted,
        b"smtputf8" => &mut message.smtputf8,
        b"spool_file_wireformat" => &mut message.wireformat,
        b"utf8_downcvt" => return set(&mut message.utf8_downconvert, Some(1)),
        b"utf8_optdowncvt" => return set(&mut message.utf8_downconvert, Some(-1)),
        _ => return None,
    };
    *place = true;
    Some(true)
}

fn tls(message: &mut Message, name: &[u8], value: &[u8]) -> Taken {
    let resumption = match value {
        [letter @ b'A'..=b'Z'] => letter.checked_sub(b'A'),
        _ => None,
    };
    // Exim writes this line for messages that came in clear text too.
    if name == b"tls_resumption" && resumption == Some(0) && message.tls.is_none() {
        return Some(true);
    }
    if !name.starts_with(b"tls_") {
        return None;
    }
    let mut tls = message.tls.clone().unwrap_or_default();
    let text = || Some(value.to_vec());
    let taken = match name {
        b"tls_certificate_verified" => {
            tls.verified = true;
            Some(true)
        }
        b"tls_cipher" => set(&mut tls.cipher, text()),
        b"tls_ver" => set(&mut tls.version, text()),
        b"tls_peerdn" => set(&mut tls.peer_dn, text()),
        b"tls_sni" => set(&mut tls.sni, text()),
        b"tls_peercert" => set(&mut tls.peer_certificate, Some(unescape(value))),
        b"tls_ourcert" => set(&mut tls.our_certificate, Some(unescape(value))),
        b"tls_ocsp" => {
            let read = number(value);
            tls.ocsp = read.unwrap_or(0);
            Some(read.is_some())
        }
        b"tls_resumption" => {
            tls.resumption = resumption.unwrap_or(0);
            Some(resumption.is_some())
        }
        _ => return None,
    };
    if taken == Some(true) {
        message.tls = Some(TlsRecord { ..tls });
    }
    taken
}

/// `\n` is a line break.
fn unescape(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, tail)) = rest.split_first() {
        match (byte, tail.first()) {
            (b'\\', Some(b'n')) => {
                out.push(b'\n');
                rest = tail.get(1..).unwrap_or_default();
            }
            _ => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    out
}

/// `1795230377.467565`.
fn stamp(value: &[u8]) -> Option<Stamp> {
    let dot = memchr(b'.', value)?;
    let micros: u32 = number(value.get(dot.saturating_add(1)..)?)?;
    Some(Stamp { seconds: number(value.get(..dot)?)?, micros: micros.min(999_999) })
}

/// `[10.0.0.1]:25`, `[::1]`, and the older `10.0.0.1.25`.
fn socket_address(value: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(value).ok()?;
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let port = if port.is_empty() { 0 } else { port.strip_prefix(':')?.parse().ok()? };
        return Some(SocketAddr::new(address.parse().ok()?, port));
    }
    if let Ok(address) = text.parse() {
        return Some(SocketAddr::new(address, 0));
    }
    let (address, port) = text.rsplit_once('.')?;
    Some(SocketAddr::new(address.parse().ok()?, port.parse().ok()?))
}

fn non_recipients(lines: &mut Lines<'_>, message: &mut Message) -> Result<(), FormatError> {
    let what = "the tree of non-recipients";
    if lines.rest.starts_with(b"XX\n") {
        lines.next(what)?;
        return Ok(());
    }
    let mut due = 1_usize;
    while due > 0 {
        let line = lines.next(what)?;
        let branches = |letter: Option<&u8>| match letter {
            Some(b'Y') => Some(1),
            Some(b'N') => Some(0),
            _ => None,
        };
        let left = branches(line.first()).ok_or_else(|| lines.error(what))?;
        let right: usize = branches(line.get(1)).ok_or_else(|| lines.error(what))?;
        let address = line.get(2..).and_then(|l| l.strip_prefix(b" ")).ok_or_else(|| lines.error(what))?;
        message.non_recipients.insert(address.to_vec());
        due = due.saturating_sub(1).saturating_add(left).saturating_add(right);
        if due > ADDRESSES_MAX {
            return Err(lines.error(what));
        }
    }
    Ok(())
}

fn recipients(lines: &mut Lines<'_>, message: &mut Message) -> Result<(), FormatError> {
    let count: usize = number(lines.next("the number of recipients")?)
        .filter(|c| *c <= ADDRESSES_MAX)
        .ok_or_else(|| lines.error("the number of recipients"))?;
    for _ in 0..count {
        let recipient = recipient(lines.next("a recipient")?);
        if recipient.parent.is_some_and(|parent| parent >= count) {
            return Err(lines.error("a recipient whose parent exists"));
        }
        message.recipients.push(recipient);
    }
    Ok(())
}

/// Read from the end, since addresses may hold spaces and number signs.
fn recipient(line: &[u8]) -> Recipient {
    recipient_with_fields(line).unwrap_or_else(|| Recipient::new(line))
}

fn recipient_with_fields(line: &[u8]) -> Option<Recipient> {
    let hash = memrchr(b'#', line)?;
    let flags: u32 = number(line.get(hash.saturating_add(1)..)?)?;
    let mut rest = line.get(..hash)?;
    let mut recipient = Recipient::default();
    if flags & 1 != 0 {
        let (before, errors_to, parent) = counted_field(rest)?;
        recipient.errors_to = Some(errors_to.to_vec()).filter(|e| !e.is_empty());
        recipient.parent = number::<i64>(parent)?.try_into().ok();
        rest = before;
    }
    if flags & 2 != 0 {
        let (before, orcpt, bits) = counted_field(rest)?;
        recipient.orcpt = Some(orcpt.to_vec()).filter(|o| !o.is_empty());
        recipient.dsn_notify = notify(number(bits)?);
        rest = before;
    }
    recipient.address = rest.to_vec();
    Some(recipient)
}

/// Splits `before TEXT length,number` into before, TEXT and number.
fn counted_field(line: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (rest, pair) = last_word(line)?;
    let comma = memchr(b',', pair)?;
    let length: usize = number(pair.get(..comma)?)?;
    let (before, text) = rest.split_at_checked(rest.len().checked_sub(length)?)?;
    Some((before.strip_suffix(b" ")?, text, pair.get(comma.saturating_add(1)..)?))
}

fn notify(bits: u32) -> Notify {
    Notify { never: bits & 2 != 0, success: bits & 4 != 0, failure: bits & 8 != 0, delay: bits & 16 != 0 }
}

fn headers(lines: &mut Lines<'_>, message: &mut Message) -> Result<(), FormatError> {
    while let Some((kind, text)) = lines.header()? {
        message.headers.push_back(Header { kind, text: text.to_vec() });
    }
    Ok(())
}
