//! A client of MySQL and MariaDB: protocol 4.1 with results as text.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html>. Logs in by `mysql_native_password`,
//! `caching_sha2_password` and the server's own look at a Unix socket. TLS is used over TCP if the server offers it; its
//! certificate is not judged. Several statements in one query are not asked for, so the server refuses them.

use std::io;
use std::time::Duration;

use oxim_net::tls::client::ClientPolicy;
use sha1::{Digest, Sha1};
use sha2::Sha256;

use super::sql::{Outcome, QueryError, Row};
use super::wire::{Cursor, Wire, malformed};

pub use super::pgsql::Login;

// Capabilities (the names of the protocol).
const LONG_PASSWORD: u32 = 1;
const LONG_FLAG: u32 = 4;
const CONNECT_WITH_DB: u32 = 8;
const PROTOCOL_41: u32 = 0x200;
const SSL: u32 = 0x800;
const TRANSACTIONS: u32 = 0x2000;
const SECURE_CONNECTION: u32 = 0x8000;
const MULTI_RESULTS: u32 = 0x2_0000;
const PLUGIN_AUTH: u32 = 0x8_0000;

/// Status bit: a transaction is open.
const IN_TRANSACTION: u64 = 1;
/// Status bit: more results follow.
const MORE_RESULTS: u64 = 8;
/// Status bit: a backslash in a string is only a backslash, so our quoting would not hold.
const NO_BACKSLASH_ESCAPES: u64 = 0x200;
/// A packet of this size is continued in the next.
const PACKET_BYTES_MAX: usize = 0xff_ffff;
/// Character set `utf8mb4_general_ci`.
const CHARACTER_SET: u8 = 45;

/// A session.
pub struct Session {
    wire: Wire,
    sequence: u8,
    /// Status bits of the last result.
    status: u64,
}

/// What the server says first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    capabilities: u32,
    status: u64,
    challenge: Vec<u8>,
    method: Vec<u8>,
}

impl Greeting {
    /// Reads the first packet.
    ///
    /// # Errors
    /// It is not one; a server that refuses the connection says so here.
    pub fn parse(packet: &[u8]) -> Result<Greeting, QueryError> {
        let mut cursor = Cursor::new(packet);
        match cursor.byte()? {
            10 => {}
            0xff => return Err(QueryError::Server(error_message(packet, false))),
            other => return Err(QueryError::Lost(format!("protocol version {other} is not supported"))),
        }
        let _version = cursor.zero_ended()?;
        cursor.take(4)?;
        let mut greeting = Greeting { challenge: cursor.take(8)?.to_vec(), ..Greeting::default() };
        cursor.byte()?;
        let low = cursor.little_endian(2)?;
        cursor.byte()?;
        greeting.status = cursor.little_endian(2)?;
        let high = cursor.little_endian(2)?;
        greeting.capabilities = u32::try_from(high << 16 | low).unwrap_or(0);
        let length = usize::from(cursor.byte()?);
        cursor.take(10)?;
        let second = cursor.take(length.saturating_sub(8).max(13))?;
        greeting.challenge.extend_from_slice(second.strip_suffix(b"\0").unwrap_or(second));
        if greeting.capabilities & PLUGIN_AUTH != 0 {
            greeting.method = cursor.zero_ended().unwrap_or_else(|_| cursor.rest()).to_vec();
        } else {
            greeting.method = b"mysql_native_password".to_vec();
        }
        Ok(greeting)
    }
}

/// The text of an error packet.
#[must_use]
pub fn error_message(packet: &[u8], has_state: bool) -> String {
    let text = packet.get(3..).unwrap_or_default();
    let text = match text.strip_prefix(b"#") {
        Some(rest) if has_state || rest.len() >= 5 => rest.get(5..).unwrap_or_default(),
        _ => text,
    };
    String::from_utf8_lossy(text).into_owned()
}

/// A number in the protocol's variable form; None stands for NULL.
fn number(cursor: &mut Cursor<'_>) -> io::Result<Option<u64>> {
    Ok(Some(match cursor.byte()? {
        0xfb => return Ok(None),
        0xfc => cursor.little_endian(2)?,
        0xfd => cursor.little_endian(3)?,
        0xfe => cursor.little_endian(8)?,
        0xff => return Err(malformed("bad number")),
        small => u64::from(small),
    }))
}

/// A string with its length in front; None stands for NULL.
fn string<'a>(cursor: &mut Cursor<'a>) -> io::Result<Option<&'a [u8]>> {
    match number(cursor)? {
        Some(length) => cursor.take(usize::try_from(length).unwrap_or(usize::MAX)).map(Some),
        None => Ok(None),
    }
}

fn mixed(first: &[u8], second: &[u8]) -> Vec<u8> {
    first.iter().zip(second).map(|(a, b)| a ^ b).collect()
}

/// The proof that we know the password, by a method. None: the method is not one of ours.
fn proof(method: &[u8], password: &[u8], challenge: &[u8]) -> Option<Vec<u8>> {
    let is_empty = password.is_empty();
    match method {
        b"mysql_native_password" | b"caching_sha2_password" if is_empty => Some(Vec::new()),
        b"mysql_native_password" => {
            let once = Sha1::digest(password);
            let twice = Sha1::digest(once);
            Some(mixed(&once, &Sha1::digest([challenge, &twice[..]].concat())))
        }
        b"caching_sha2_password" => {
            let once = Sha256::digest(password);
            let twice = Sha256::digest(once);
            Some(mixed(&once, &Sha256::digest([&twice[..], challenge].concat())))
        }
        // The server looks at the socket itself.
        b"unix_socket" | b"auth_socket" => Some(Vec::new()),
        _ => None,
    }
}

fn unknown_method(method: &[u8]) -> QueryError {
    QueryError::Lost(format!("authentication method {} is not supported", String::from_utf8_lossy(method)))
}

impl Session {
    /// Logs in. `host` is the name for TLS; None over a Unix socket, where there is none.
    ///
    /// # Errors
    /// The server's text, or why the connection was lost.
    pub fn begin(
        wire: Wire,
        login: Login<'_>,
        host: Option<&str>,
        limit: Duration,
    ) -> Result<Session, String> {
        let mut session = Session { wire, sequence: 0, status: 0 };
        session.wire.begin(limit);
        match session.log_in(login, host, limit) {
            Ok(()) => Ok(session),
            Err(QueryError::Server(text) | QueryError::Lost(text)) => Err(text),
        }
    }

    /// The connection below.
    #[must_use]
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Whether no transaction has been left open.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.status & IN_TRANSACTION == 0
    }

    fn read_packet(&mut self) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        loop {
            let header = self.wire.take(4)?;
            let mut cursor = Cursor::new(&header);
            let length = usize::try_from(cursor.little_endian(3)?).unwrap_or(0);
            self.sequence = cursor.byte()?.wrapping_add(1);
            out.extend_from_slice(&self.wire.take(length)?);
            if length < PACKET_BYTES_MAX {
                return Ok(out);
            }
        }
    }

    fn send_packet(&mut self, body: &[u8]) -> io::Result<()> {
        let mut chunks = body.chunks(PACKET_BYTES_MAX).peekable();
        let mut out = Vec::with_capacity(body.len().saturating_add(4));
        let mut last = PACKET_BYTES_MAX;
        // A packet of the full size is followed by another one, if need be an empty one.
        while last == PACKET_BYTES_MAX {
            let chunk = chunks.next().unwrap_or_default();
            last = chunk.len();
            let length = u32::try_from(last).unwrap_or(0).to_le_bytes();
            out.extend_from_slice(length.get(..3).unwrap_or_default());
            out.push(self.sequence);
            self.sequence = self.sequence.wrapping_add(1);
            out.extend_from_slice(chunk);
        }
        self.wire.send(&out)
    }

    fn log_in(&mut self, login: Login<'_>, host: Option<&str>, limit: Duration) -> Result<(), QueryError> {
        let mut greeting = Greeting::parse(&self.read_packet()?)?;
        let mut capabilities = LONG_PASSWORD
            | LONG_FLAG
            | PROTOCOL_41
            | TRANSACTIONS
            | SECURE_CONNECTION
            | MULTI_RESULTS
            | PLUGIN_AUTH;
        if !login.database.is_empty() {
            capabilities |= CONNECT_WITH_DB;
        }
        if let Some(host) = host.filter(|_| greeting.capabilities & SSL != 0) {
            capabilities |= SSL;
            self.send_packet(&client_flags(capabilities))?;
            self.wire.encrypt(Some(host), &ClientPolicy::default()).map_err(QueryError::Lost)?;
        }
        let password = login.password.as_bytes();
        // A method that we do not know may still be replaced by one that we do.
        let proof = proof(&greeting.method, password, &greeting.challenge).unwrap_or_default();
        let mut packet = client_flags(capabilities & greeting.capabilities | PROTOCOL_41 | SECURE_CONNECTION);
        packet.extend_from_slice(login.user.as_bytes());
        packet.push(0);
        packet.push(u8::try_from(proof.len()).unwrap_or(0));
        packet.extend_from_slice(&proof);
        if !login.database.is_empty() {
            packet.extend_from_slice(login.database.as_bytes());
            packet.push(0);
        }
        if greeting.capabilities & PLUGIN_AUTH != 0 {
            packet.extend_from_slice(&greeting.method);
            packet.push(0);
        }
        self.send_packet(&packet)?;
        let status = self.settle_login(password, &mut greeting, host.is_none())?;
        if (status | greeting.status) & NO_BACKSLASH_ESCAPES != 0 {
            let query = b"SET SESSION sql_mode = REPLACE(@@sql_mode, 'NO_BACKSLASH_ESCAPES', '')";
            self.query(query, limit)?;
        }
        Ok(())
    }

    /// What follows the login packet: acceptance, or another method, or more questions. Gives the status bits.
    fn settle_login(
        &mut self,
        password: &[u8],
        greeting: &mut Greeting,
        is_local: bool,
    ) -> Result<u64, QueryError> {
        // Two methods may follow one another, each with a few questions.
        for _ in 0..10 {
            let packet = self.read_packet()?;
            let mut cursor = Cursor::new(&packet);
            match cursor.byte()? {
                0 => return Ok(done(&packet)?.1),
                0xff => return Err(QueryError::Server(error_message(&packet, true))),
                0xfe => {
                    let method = cursor.zero_ended()?.to_vec();
                    let challenge = cursor.rest();
                    greeting.challenge = challenge.strip_suffix(b"\0").unwrap_or(challenge).to_vec();
                    let proof = proof(&method, password, &greeting.challenge);
                    self.send_packet(&proof.ok_or_else(|| unknown_method(&method))?)?;
                    greeting.method = method;
                }
                1 if cursor.rest() == [3] => {}
                1 if cursor.rest() == [4] => {
                    // The password itself is asked for.
                    if !is_local && !self.wire.is_encrypted() {
                        let text = "caching_sha2_password needs TLS or a Unix socket";
                        return Err(QueryError::Lost(text.to_owned()));
                    }
                    self.send_packet(&[password, b"\0"].concat())?;
                }
                _ => return Err(malformed("unexpected packet").into()),
            }
        }
        Err(malformed("endless login").into())
    }

    /// Runs a query; the first of several results counts.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn query(&mut self, text: &[u8], limit: Duration) -> Result<Outcome, QueryError> {
        self.wire.begin(limit);
        self.sequence = 0;
        self.send_packet(&[b"\x03", text].concat())?;
        let (first, mut status) = self.result()?;
        while status & MORE_RESULTS != 0 {
            status = self.result()?.1;
        }
        self.status = status;
        Ok(first)
    }

    fn result(&mut self) -> Result<(Outcome, u64), QueryError> {
        let packet = self.read_packet()?;
        match packet.first() {
            Some(0) => {
                let (changed, status) = done(&packet)?;
                return Ok((Outcome::Done(changed.to_string().into_bytes()), status));
            }
            Some(0xff) => return Err(QueryError::Server(error_message(&packet, true))),
            // The server wants one of our files.
            Some(0xfb) => return Err(malformed("LOAD DATA LOCAL is refused").into()),
            _ => {}
        }
        let columns = number(&mut Cursor::new(&packet))?.unwrap_or(0);
        let mut names = Vec::new();
        for _ in 0..columns {
            names.push(column_name(&self.read_packet()?)?);
        }
        if !is_end(&self.read_packet()?) {
            return Err(malformed("columns without end").into());
        }
        let mut rows = Vec::new();
        loop {
            let packet = self.read_packet()?;
            if is_end(&packet) {
                let status = Cursor::new(packet.get(3..).unwrap_or_default()).little_endian(2)?;
                return Ok((Outcome::Rows(names, rows), status));
            }
            if packet.first() == Some(&0xff) {
                return Err(QueryError::Server(error_message(&packet, true)));
            }
            rows.push(row(&packet, names.len())?);
        }
    }
}

/// Capabilities, largest packet, character set, filler.
fn client_flags(capabilities: u32) -> Vec<u8> {
    let mut out = capabilities.to_le_bytes().to_vec();
    out.extend_from_slice(&0x100_0000_u32.to_le_bytes());
    out.push(CHARACTER_SET);
    out.extend_from_slice(&[0; 23]);
    out
}

fn is_end(packet: &[u8]) -> bool {
    packet.first() == Some(&0xfe) && packet.len() < 9
}

/// How many rows a statement has changed, and the status bits.
fn done(packet: &[u8]) -> io::Result<(u64, u64)> {
    let mut cursor = Cursor::new(packet.get(1..).unwrap_or_default());
    let changed = number(&mut cursor)?.unwrap_or(0);
    let _insert_id = number(&mut cursor)?;
    Ok((changed, cursor.little_endian(2)?))
}

/// The name, after catalogue, database and two names of the table.
///
/// # Errors
/// It makes no sense.
pub fn column_name(packet: &[u8]) -> io::Result<Vec<u8>> {
    let mut cursor = Cursor::new(packet);
    for _ in 0..4 {
        string(&mut cursor)?;
    }
    Ok(string(&mut cursor)?.unwrap_or_default().to_vec())
}

/// The fields of a row.
///
/// # Errors
/// It makes no sense.
pub fn row(packet: &[u8], columns: usize) -> io::Result<Row> {
    let mut cursor = Cursor::new(packet);
    let mut fields = Vec::new();
    for _ in 0..columns {
        fields.push(string(&mut cursor)?.map(<[u8]>::to_vec));
    }
    if cursor.rest().is_empty() { Ok(fields) } else { Err(malformed("row and description differ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_are_read() {
        let mut packet = b"\x0a10.11.0-MariaDB\0".to_vec();
        packet.extend([1, 0, 0, 0]);
        packet.extend(b"12345678\0");
        packet.extend([0xff, 0xf7, 45, 2, 0, 0xff, 0x81, 21]);
        packet.extend([0; 10]);
        packet.extend(b"abcdefghijkl\0mysql_native_password\0");
        let greeting = Greeting::parse(&packet).unwrap();
        assert_eq!(greeting.challenge, b"12345678abcdefghijkl");
        assert_eq!(greeting.method, b"mysql_native_password");
        for end in 0..40 {
            assert!(Greeting::parse(&packet[..end]).is_err(), "{end}");
        }
        let refused = Greeting::parse(b"\xff\x10\x04Too many connections").unwrap_err();
        assert_eq!(refused, QueryError::Server("Too many connections".to_owned()));
    }

    #[test]
    fn rows_are_read() {
        assert_eq!(row(b"\x02ab\xfb\x00", 3).unwrap(), [Some(b"ab".to_vec()), None, Some(Vec::new())]);
        assert!(row(b"\x05ab", 1).is_err());
        assert!(row(b"\x01a\x01b", 1).is_err());
        assert_eq!(column_name(b"\x03def\x01d\x01t\x01T\x04name\x00").unwrap(), b"name");
        assert_eq!(done(&[0, 3, 0, 2, 0, 0, 0]).unwrap(), (3, 2));
        assert_eq!(error_message(b"\xff\x15\x04#28000Access denied", true), "Access denied");
    }

    #[test]
    fn a_password_is_proved_by_the_methods_that_are_known() {
        assert_eq!(proof(b"mysql_native_password", b"", b"x").unwrap(), b"");
        assert_eq!(proof(b"mysql_native_password", b"pw", b"12345678901234567890").unwrap().len(), 20);
        assert_eq!(proof(b"caching_sha2_password", b"pw", b"12345678901234567890").unwrap().len(), 32);
        assert_eq!(proof(b"mysql_clear_password", b"pw", b""), None);
    }
}
