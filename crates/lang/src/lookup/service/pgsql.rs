//! A client of PostgreSQL: version 3 of its protocol, simple queries with results as text.
//!
//! <https://www.postgresql.org/docs/current/protocol.html>. Login with no password, a clear one, MD5 or SCRAM-SHA-256 (RFC
//! 5802, 7677). TLS is used over TCP if the server offers it, as libpq does by default; its certificate is not judged.

use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use md5::Md5;
use oxim_net::tls::client::ClientPolicy;
use sha2::{Digest, Sha256};

use super::sql::{Outcome, QueryError, Row};
use super::wire::{Cursor, Wire, malformed, step_error};

/// Whom to be.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// The user.
    pub user: &'a str,
    /// The password.
    pub password: &'a str,
    /// The database; the user's name if empty.
    pub database: &'a str,
}

/// A session.
pub struct Session {
    wire: Wire,
    /// Outside of a transaction, when the server was last ready.
    is_idle: bool,
}

/// A message: its type and its body.
type Message = (u8, Vec<u8>);

fn framed(kind: Option<u8>, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len().saturating_add(4)).unwrap_or(u32::MAX);
    let mut out: Vec<u8> = kind.into_iter().collect();
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(body);
    out
}

fn read_message(wire: &mut Wire) -> io::Result<Message> {
    let kind = wire.byte()?;
    let length = usize::try_from(Cursor::new(&wire.take(4)?).big_endian(4)?).unwrap_or(usize::MAX);
    let body = wire.take(length.checked_sub(4).ok_or_else(|| malformed("bad length"))?)?;
    Ok((kind, body))
}

/// The text of an error, as psql shows it: `FATAL:  message`, and the detail behind it.
#[must_use]
pub fn error_message(body: &[u8]) -> String {
    let (mut severity, mut message, mut detail) = (String::new(), String::new(), String::new());
    for field in body.split(|b| *b == 0) {
        let text = || String::from_utf8_lossy(field.get(1..).unwrap_or_default()).into_owned();
        match field.first() {
            Some(b'S') => severity = text(),
            Some(b'M') => message = text(),
            Some(b'D') => detail = format!("\nDETAIL:  {}", text()),
            _ => {}
        }
    }
    format!("{severity}:  {message}{detail}")
}

/// Asks for TLS, and begins it if the server agrees.
///
/// # Errors
/// A failed handshake; the connection is lost.
pub fn encrypt_if_offered(wire: &mut Wire, host: &str) -> Result<(), String> {
    const SSL_REQUEST: u32 = 80_877_103;
    let lost = |error: io::Error| step_error(&error);
    wire.send(&framed(None, &SSL_REQUEST.to_be_bytes())).map_err(lost)?;
    match wire.byte().map_err(lost)? {
        b'S' => wire.encrypt(Some(host), &ClientPolicy::default()),
        b'N' => Ok(()),
        _ => Err("the server does not speak PostgreSQL".to_owned()),
    }
}

impl Session {
    /// Logs in.
    ///
    /// # Errors
    /// The server's text, or why the connection was lost.
    pub fn begin(wire: Wire, login: Login<'_>, limit: Duration) -> Result<Session, String> {
        let mut session = Session { wire, is_idle: true };
        session.wire.begin(limit);
        match session.log_in(login) {
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
        self.is_idle
    }

    fn log_in(&mut self, login: Login<'_>) -> Result<(), QueryError> {
        const PROTOCOL: u32 = 196_608;
        let database = if login.database.is_empty() { login.user } else { login.database };
        let mut body = PROTOCOL.to_be_bytes().to_vec();
        for text in ["user", login.user, "database", database, "application_name", "exim"] {
            if text.contains('\0') {
                return Err(QueryError::Lost("zero byte in the server data".to_owned()));
            }
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
        body.push(0);
        self.wire.send(&framed(None, &body))?;
        let mut scram = None;
        loop {
            let (kind, body) = read_message(&mut self.wire)?;
            match kind {
                b'R' => self.authenticate(&body, login, &mut scram)?,
                b'Z' => return Ok(()),
                b'E' => return Err(QueryError::Server(error_message(&body))),
                b'S' | b'K' | b'N' | b'v' => {}
                _ => return Err(malformed("unexpected message").into()),
            }
        }
    }

    /// One step of the login, as the server asks for it.
    fn authenticate(
        &mut self,
        body: &[u8],
        login: Login<'_>,
        scram: &mut Option<Scram>,
    ) -> Result<(), QueryError> {
        let mut cursor = Cursor::new(body);
        let answer = match cursor.big_endian(4)? {
            0 if scram.as_ref().is_some_and(|scram| !scram.is_verified) => {
                return Err(malformed("login without proof of the server").into());
            }
            0 => return Ok(()),
            3 => [login.password.as_bytes(), b"\0"].concat(),
            5 => md5_answer(login, cursor.take(4)?),
            10 => {
                if !cursor.rest().split(|b| *b == 0).any(|name| name == b"SCRAM-SHA-256") {
                    return Err(QueryError::Lost("no authentication method in common".to_owned()));
                }
                let started = scram.insert(Scram::new(nonce()));
                let first = started.first();
                let length = u32::try_from(first.len()).unwrap_or(0);
                [b"SCRAM-SHA-256\0", &length.to_be_bytes()[..], &first].concat()
            }
            11 => {
                let scram = scram.as_mut().ok_or_else(|| malformed("unexpected SCRAM message"))?;
                scram.second(cursor.rest(), login.password).ok_or_else(|| malformed("bad SCRAM message"))?
            }
            12 => {
                let scram = scram.as_mut().ok_or_else(|| malformed("unexpected SCRAM message"))?;
                return if scram.verify(cursor.rest()) {
                    Ok(())
                } else {
                    Err(QueryError::Lost("the server could not prove that it knows the password".to_owned()))
                };
            }
            other => return Err(QueryError::Lost(format!("authentication method {other} is not supported"))),
        };
        Ok(self.wire.send(&framed(Some(b'p'), &answer))?)
    }

    /// Runs a query; of several statements, the last one's outcome counts.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn query(&mut self, text: &[u8], limit: Duration) -> Result<Outcome, QueryError> {
        if text.contains(&0) {
            return Err(QueryError::Server("zero byte in the query".to_owned()));
        }
        self.wire.begin(limit);
        self.wire.send(&framed(Some(b'Q'), &[text, b"\0"].concat()))?;
        let mut reply = Reply::default();
        loop {
            let (kind, body) = read_message(&mut self.wire)?;
            match kind {
                b'Z' => {
                    self.is_idle = body == b"I";
                    return reply.finish();
                }
                // Nothing is given to COPY FROM STDIN.
                b'G' => self.wire.send(&framed(Some(b'f'), b"not here\0"))?,
                _ => reply.take(kind, &body)?,
            }
        }
    }
}

/// What the messages of one reply have brought so far.
#[derive(Debug, Default)]
pub struct Reply {
    names: Vec<Vec<u8>>,
    rows: Vec<Row>,
    outcome: Option<Outcome>,
    error: Option<String>,
}

impl Reply {
    /// Takes the next message.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn take(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        match kind {
            b'T' => {
                self.names = field_names(body)?;
                self.rows.clear();
            }
            b'D' => {
                let row = row(body)?;
                if row.len() != self.names.len() {
                    return Err(malformed("row and description differ"));
                }
                self.rows.push(row);
            }
            b'C' => {
                let names = std::mem::take(&mut self.names);
                let rows = std::mem::take(&mut self.rows);
                self.outcome = Some(if names.is_empty() {
                    Outcome::Done(changed(body))
                } else {
                    Outcome::Rows(names, rows)
                });
            }
            b'I' => self.outcome = Some(Outcome::Done(Vec::new())),
            b'E' => self.error = Some(error_message(body)),
            // Notices, parameters, notifications, and the parts of a COPY TO STDOUT.
            b'N' | b'S' | b'A' | b'H' | b'd' | b'c' => {}
            _ => return Err(malformed("unexpected message")),
        }
        Ok(())
    }

    /// The server is ready for more.
    ///
    /// # Errors
    /// What it has said went wrong.
    pub fn finish(self) -> Result<Outcome, QueryError> {
        match (self.error, self.outcome) {
            (Some(text), _) => Err(QueryError::Server(text)),
            (None, Some(outcome)) => Ok(outcome),
            (None, None) => Err(malformed("no outcome").into()),
        }
    }
}

fn field_names(body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let mut cursor = Cursor::new(body);
    let count = cursor.big_endian(2)?;
    let mut names = Vec::new();
    for _ in 0..count {
        names.push(cursor.zero_ended()?.to_vec());
        cursor.take(18)?;
    }
    Ok(names)
}

fn row(body: &[u8]) -> io::Result<Row> {
    let mut cursor = Cursor::new(body);
    let count = cursor.big_endian(2)?;
    let mut fields = Vec::new();
    for _ in 0..count {
        let length = cursor.big_endian(4)?;
        // Minus one: no value.
        let field = if length == u64::from(u32::MAX) {
            None
        } else {
            Some(cursor.take(usize::try_from(length).unwrap_or(usize::MAX))?.to_vec())
        };
        fields.push(field);
    }
    Ok(fields)
}

/// The number of rows at the end of a command tag such as `INSERT 0 3`.
fn changed(body: &[u8]) -> Vec<u8> {
    let tag = body.strip_suffix(b"\0").unwrap_or(body);
    let last = tag.rsplit(|b| *b == b' ').next().unwrap_or_default();
    if last.iter().all(u8::is_ascii_digit) { last.to_vec() } else { Vec::new() }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn md5_answer(login: Login<'_>, salt: &[u8]) -> Vec<u8> {
    let inner = hex(&Md5::digest([login.password.as_bytes(), login.user.as_bytes()].concat()));
    let outer = hex(&Md5::digest([inner.as_bytes(), salt].concat()));
    format!("md5{outer}\0").into_bytes()
}

fn nonce() -> String {
    let mut bytes = [0; 18];
    // The kernel's generator does not fail once it has been seeded; a short read would only make the nonce weaker.
    let _filled = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty());
    BASE64.encode(bytes)
}

/// The client's half of SCRAM-SHA-256, without channel binding.
struct Scram {
    nonce: String,
    server_signature: Vec<u8>,
    is_verified: bool,
}

/// The server decides how often the password is hashed; more than this only wastes our time.
const ITERATIONS_MAX: u32 = 1_000_000;

fn keyed(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mac = <Hmac<Sha256> as Mac>::new_from_slice(key);
    mac.map(|mac| mac.chain_update(text).finalize().into_bytes().to_vec()).unwrap_or_default()
}

impl Scram {
    fn new(nonce: String) -> Scram {
        Scram { nonce, server_signature: Vec::new(), is_verified: false }
    }

    fn first(&self) -> Vec<u8> {
        format!("n,,n=,r={}", self.nonce).into_bytes()
    }

    /// Answers the server's challenge. None: it is malformed, or not an answer to ours.
    fn second(&mut self, challenge: &[u8], password: &str) -> Option<Vec<u8>> {
        let challenge = std::str::from_utf8(challenge).ok()?;
        let mut parts = challenge.split(',');
        let nonce = parts.next()?.strip_prefix("r=").filter(|nonce| nonce.starts_with(&self.nonce))?;
        let salt = BASE64.decode(parts.next()?.strip_prefix("s=")?).ok()?;
        let iterations = parts.next()?.strip_prefix("i=")?.parse::<u32>().ok()?;
        if !(1..=ITERATIONS_MAX).contains(&iterations) {
            return None;
        }
        let salted = stretched(password.as_bytes(), &salt, iterations);
        let client_key = keyed(&salted, b"Client Key");
        let stored_key = Sha256::digest(&client_key);
        let without_proof = format!("c=biws,r={nonce}");
        let transcript = format!("n=,r={},{challenge},{without_proof}", self.nonce);
        let signature = keyed(&stored_key, transcript.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        self.server_signature = keyed(&keyed(&salted, b"Server Key"), transcript.as_bytes());
        Some(format!("{without_proof},p={}", BASE64.encode(proof)).into_bytes())
    }

    fn verify(&mut self, last: &[u8]) -> bool {
        let said = last.strip_prefix(b"v=").and_then(|text| BASE64.decode(text).ok());
        self.is_verified = !self.server_signature.is_empty() && said.as_ref() == Some(&self.server_signature);
        self.is_verified
    }
}

/// PBKDF2 with HMAC-SHA-256, one block.
fn stretched(password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
    let Ok(mac) = <Hmac<Sha256> as Mac>::new_from_slice(password) else { return Vec::new() };
    let keyed = |text: &[u8]| mac.clone().chain_update(text).finalize().into_bytes().to_vec();
    let mut block = keyed(&[salt, &[0, 0, 0, 1]].concat());
    let mut sum = block.clone();
    for _ in 1..iterations {
        block = keyed(&block);
        for (sum, byte) in sum.iter_mut().zip(&block) {
            *sum ^= byte;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, whose user name stands where PostgreSQL wants none.
    #[test]
    fn scram_proofs_are_those_of_the_rfc() {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let salted = stretched(b"pencil", &salt, 4096);
        let transcript = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
            s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let signature = keyed(&keyed(&salted, b"Server Key"), transcript.as_bytes());
        assert_eq!(BASE64.encode(signature), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn a_challenge_to_somebody_else_is_refused() {
        let mut scram = Scram::new("abc".to_owned());
        assert_eq!(scram.second(b"r=xyz,s=AA==,i=4096", "p"), None);
        assert_eq!(scram.second(b"r=abcd,s=AA==,i=999999999", "p"), None);
        assert!(scram.second(b"r=abcd,s=AA==,i=2", "p").is_some());
        assert!(!scram.verify(b"v=AAAA"));
    }

    #[test]
    fn replies_are_read() {
        let mut reply = Reply::default();
        let mut description = vec![0, 1, b'a', 0];
        description.extend([0; 18]);
        reply.take(b'T', &description).unwrap();
        reply.take(b'D', &[0, 1, 0, 0, 0, 2, b'x', b'y']).unwrap();
        reply.take(b'D', &[0, 1, 255, 255, 255, 255]).unwrap();
        reply.take(b'C', b"SELECT 2\0").unwrap();
        let rows = vec![vec![Some(b"xy".to_vec())], vec![None]];
        assert_eq!(reply.finish(), Ok(Outcome::Rows(vec![b"a".to_vec()], rows)));
        let mut reply = Reply::default();
        reply.take(b'C', b"INSERT 0 3\0").unwrap();
        assert_eq!(reply.finish(), Ok(Outcome::Done(b"3".to_vec())));
        assert!(Reply::default().take(b'D', &[0, 1, 0, 0, 0, 9, 1]).is_err());
        assert!(Reply::default().take(b'T', &[0, 1, b'a']).is_err());
        assert!(Reply::default().take(b'?', &[]).is_err());
        assert_eq!(error_message(b"SFATAL\0C28P01\0Mno\0\0"), "FATAL:  no");
    }
}
