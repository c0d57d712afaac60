//! A client of LDAP version 3 (RFC 4511): simple bind, search, STARTTLS.

use std::io;
use std::time::Duration;

use oxim_net::tls::client::ClientPolicy;

use super::ber;
use super::wire::{Cursor, Wire, malformed, step_error};

/// Operation tags.
const BIND: u8 = 0x60;
const BIND_DONE: u8 = 0x61;
const SEARCH: u8 = 0x63;
const SEARCH_ENTRY: u8 = 0x64;
const SEARCH_DONE: u8 = 0x65;
const SEARCH_REFERENCE: u8 = 0x73;
const EXTENDED: u8 = 0x77;
const EXTENDED_DONE: u8 = 0x78;

/// The object identifier of STARTTLS.
const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";

/// Result codes (RFC 4511, appendix A).
pub mod code {
    /// It went well.
    pub const SUCCESS: u32 = 0;
    /// More entries than wanted: those that came are good.
    pub const SIZE_LIMIT_EXCEEDED: u32 = 4;
    /// Ask elsewhere.
    pub const REFERRAL: u32 = 10;
    /// The base of the search does not exist.
    pub const NO_SUCH_OBJECT: u32 = 32;
    /// What was given as a name can be the name of nothing.
    pub const INVALID_NAME: u32 = 34;
    /// Wrong user or password.
    pub const INVALID_CREDENTIALS: u32 = 49;
}

/// The end of an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// The result code.
    pub code: u32,
    /// The server's text.
    pub text: String,
    /// Where else to ask.
    pub referrals: Vec<String>,
}

impl Done {
    /// Reads the common part of all results.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn parse(content: &[u8]) -> io::Result<Done> {
        let mut cursor = Cursor::new(content);
        let code = ber::value(ber::expect(&mut cursor, ber::ENUMERATED)?);
        let _matched = ber::expect(&mut cursor, ber::OCTETS)?;
        let text = String::from_utf8_lossy(ber::expect(&mut cursor, ber::OCTETS)?).into_owned();
        let mut done = Done { code, text, referrals: Vec::new() };
        while !cursor.rest().is_empty() {
            if let (0xa3, list) = ber::take(&mut cursor)? {
                done.referrals = texts(list)?;
            }
        }
        Ok(done)
    }

    /// For messages: `49: Invalid credentials`.
    #[must_use]
    pub fn describe(&self) -> String {
        let name = match self.code {
            1 => "Operations error",
            2 => "Protocol error",
            3 => "Time limit exceeded",
            8 => "Strong(er) authentication required",
            13 => "Confidentiality required",
            32 => "No such object",
            34 => "Invalid DN syntax",
            48 => "Inappropriate authentication",
            49 => "Invalid credentials",
            50 => "Insufficient access",
            51 => "Server is busy",
            52 => "Server is unavailable",
            53 => "Server is unwilling to perform",
            _ if self.text.is_empty() => "other error",
            _ => &self.text,
        };
        format!("{}: {name}", self.code)
    }
}

fn texts(list: &[u8]) -> io::Result<Vec<String>> {
    let mut cursor = Cursor::new(list);
    let mut out = Vec::new();
    while !cursor.rest().is_empty() {
        out.push(String::from_utf8_lossy(ber::expect(&mut cursor, ber::OCTETS)?).into_owned());
    }
    Ok(out)
}

/// An entry that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its distinguished name.
    pub name: Vec<u8>,
    /// Its attributes with their values.
    pub attributes: Vec<(Vec<u8>, Vec<Vec<u8>>)>,
}

impl Entry {
    /// Reads an entry.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn parse(content: &[u8]) -> io::Result<Entry> {
        let mut cursor = Cursor::new(content);
        let mut entry = Entry { name: ber::expect(&mut cursor, ber::OCTETS)?.to_vec(), ..Entry::default() };
        let mut list = Cursor::new(ber::expect(&mut cursor, ber::SEQUENCE)?);
        while !list.rest().is_empty() {
            let mut attribute = Cursor::new(ber::expect(&mut list, ber::SEQUENCE)?);
            let name = ber::expect(&mut attribute, ber::OCTETS)?.to_vec();
            let mut set = Cursor::new(ber::expect(&mut attribute, 0x31)?);
            let mut values = Vec::new();
            while !set.rest().is_empty() {
                values.push(ber::expect(&mut set, ber::OCTETS)?.to_vec());
            }
            entry.attributes.push((name, values));
        }
        Ok(entry)
    }
}

/// What is searched for.
#[derive(Clone, Debug)]
pub struct Search<'a> {
    /// Where it begins.
    pub base: &'a [u8],
    /// 0 base, 1 one level, 2 the tree.
    pub scope: u32,
    /// When aliases are followed.
    pub dereference: u32,
    /// Entries at most.
    pub size: u32,
    /// Seconds at most.
    pub time: u32,
    /// The filter, encoded.
    pub filter: &'a [u8],
    /// The attributes wanted.
    pub attributes: &'a [String],
}

/// What a search has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Entries.
    pub entries: Vec<Entry>,
    /// URLs of other servers that have more.
    pub references: Vec<String>,
    /// The end.
    pub done: Done,
}

/// A connection.
pub struct Session {
    wire: Wire,
    last_id: u32,
    /// As whom it is bound; None: not yet.
    bound: Option<(Vec<u8>, Vec<u8>)>,
}

/// Takes a message apart: its number, the operation's tag and content.
///
/// # Errors
/// It makes no sense.
pub fn message(content: &[u8]) -> io::Result<(u32, u8, &[u8])> {
    let mut cursor = Cursor::new(content);
    let id = ber::value(ber::expect(&mut cursor, ber::INTEGER)?);
    let (tag, content) = ber::take(&mut cursor)?;
    Ok((id, tag, content))
}

impl Session {
    /// Over a connection.
    #[must_use]
    pub fn new(wire: Wire) -> Session {
        Session { wire, last_id: 0, bound: None }
    }

    /// The connection below.
    #[must_use]
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    fn send(&mut self, operation: &[u8]) -> io::Result<()> {
        self.last_id = self.last_id.wrapping_add(1).max(1) & 0x7fff_ffff;
        let content = [ber::number(ber::INTEGER, self.last_id), operation.to_vec()].concat();
        self.wire.send(&ber::element(ber::SEQUENCE, &content))
    }

    /// The next message that belongs to what was sent last.
    fn receive(&mut self) -> io::Result<(u8, Vec<u8>)> {
        loop {
            let (tag, content) = ber::read(&mut self.wire)?;
            if tag != ber::SEQUENCE {
                return Err(malformed("not an LDAP message"));
            }
            let (id, operation, content) = message(&content)?;
            if id == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::ConnectionAborted,
                    "the server ends the connection",
                ));
            }
            if id == self.last_id {
                return Ok((operation, content.to_vec()));
            }
        }
    }

    /// Begins TLS on a connection in the clear. False: the server does not want to.
    ///
    /// # Errors
    /// Why the connection is lost.
    pub fn start_tls(&mut self, host: &str, policy: &ClientPolicy) -> Result<bool, String> {
        let lost = |error: io::Error| step_error(&error);
        self.send(&ber::element(EXTENDED, &ber::element(0x80, START_TLS))).map_err(lost)?;
        let (tag, content) = self.receive().map_err(lost)?;
        let done = Done::parse(&content).map_err(lost)?;
        if tag != EXTENDED_DONE || done.code != code::SUCCESS {
            return Ok(false);
        }
        self.wire.encrypt(Some(host), policy)?;
        Ok(true)
    }

    /// Binds as a user, or as nobody. A connection that is bound so already is left as it is, unless it is to be proved.
    ///
    /// # Errors
    /// Why the connection is lost.
    pub fn bind(
        &mut self,
        version: u32,
        user: &[u8],
        password: &[u8],
        is_proof: bool,
        limit: Duration,
    ) -> Result<Done, String> {
        let identity = (user.to_vec(), password.to_vec());
        if !is_proof && self.bound.as_ref() == Some(&identity) {
            return Ok(Done::default());
        }
        self.wire.begin(limit);
        self.bound = None;
        let content = [
            ber::number(ber::INTEGER, version),
            ber::element(ber::OCTETS, user),
            ber::element(0x80, password),
        ]
        .concat();
        let done = self.send(&ber::element(BIND, &content)).and_then(|()| match self.receive()? {
            (BIND_DONE, content) => Done::parse(&content),
            _ => Err(malformed("unexpected answer")),
        });
        let done = done.map_err(|error| step_error(&error))?;
        if done.code == code::SUCCESS {
            self.bound = Some(identity);
        }
        Ok(done)
    }

    /// Searches.
    ///
    /// # Errors
    /// Why the connection is lost.
    pub fn search(&mut self, search: &Search<'_>, limit: Duration) -> Result<Found, String> {
        self.wire.begin(limit);
        let attributes: Vec<u8> =
            search.attributes.iter().flat_map(|a| ber::element(ber::OCTETS, a.as_bytes())).collect();
        let content = [
            ber::element(ber::OCTETS, search.base),
            ber::number(ber::ENUMERATED, search.scope),
            ber::number(ber::ENUMERATED, search.dereference),
            ber::number(ber::INTEGER, search.size),
            ber::number(ber::INTEGER, search.time),
            ber::element(ber::BOOLEAN, &[0]),
            search.filter.to_vec(),
            ber::element(ber::SEQUENCE, &attributes),
        ]
        .concat();
        let found = self.send(&ber::element(SEARCH, &content)).and_then(|()| self.collect());
        found.map_err(|error| step_error(&error))
    }

    fn collect(&mut self) -> io::Result<Found> {
        let mut found = Found::default();
        loop {
            let (tag, content) = self.receive()?;
            match tag {
                SEARCH_ENTRY => found.entries.push(Entry::parse(&content)?),
                SEARCH_REFERENCE => found.references.extend(texts(&content)?),
                SEARCH_DONE => {
                    found.done = Done::parse(&content)?;
                    return Ok(found);
                }
                _ => return Err(malformed("unexpected answer")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_and_results_are_read() {
        let value = |text: &[u8]| ber::element(ber::OCTETS, text);
        let attribute = ber::element(
            ber::SEQUENCE,
            &[value(b"cn"), ber::element(0x31, &[value(b"a"), value(b"b")].concat())].concat(),
        );
        let content = [value(b"o=x"), ber::element(ber::SEQUENCE, &attribute)].concat();
        let entry = Entry::parse(&content).unwrap();
        assert_eq!(entry.name, b"o=x");
        assert_eq!(entry.attributes, [(b"cn".to_vec(), vec![b"a".to_vec(), b"b".to_vec()])]);
        for end in 0..content.len() {
            assert!(Entry::parse(&content[..end]).is_err(), "{end}");
        }
        let referral = ber::element(0xa3, &value(b"ldap://b/"));
        let done =
            Done::parse(&[ber::number(ber::ENUMERATED, 10), value(b""), value(b"no"), referral].concat())
                .unwrap();
        assert_eq!((done.code, done.referrals), (10, vec!["ldap://b/".to_owned()]));
        assert!(Done::parse(b"").is_err());
    }
}
