//! The `redis` lookup: a command to Redis (manual sections 9.22, 9.23, 9.27).
//!
//! Servers: the option `redis_servers`, or `servers=` of the lookup; `host:port/database/password` or
//! `(socket)/database/password`, with `rediss://` in front for TLS, and `user:password` for a user of Redis 6. The first that
//! carries the command out gives the answer; a cluster's `MOVED` and `ASK` are followed.

use std::sync::LazyLock;

use oxim_base::Text;
use oxim_base::limits::REDIS_CONNECTIONS_MAX;
use oxim_net::tls::client::ClientPolicy;
use oxim_net::tls::{CaSource, Verify};

use super::service::Timeouts;
use super::service::pool::{Client, Pool};
use super::service::redis::{Reply, Session};
use super::service::servers::{Family, Refusal, Server, ask_each, host_and_port, items, parse, servers_of};
use super::service::wire::{Place, Wire};
use super::{Answer, LookupError, LookupKind, LookupType, Service, Style};
use crate::context::Context;

/// The row.
pub(super) static REDIS: LookupKind = LookupKind {
    name: "redis",
    style: Style::Service(Service { mark: "redis", quote, needs_quoting: true, has_words: true, ask }),
    doc: "Redis command; options servers=, timeout=, tls_ca=, raw",
};

const FAMILY: Family =
    Family { label: "Redis", option: "redis_servers", incomplete: "Redis", fields: 2, port: 6379 };

/// How often a cluster may send us elsewhere for one command.
const REDIRECTIONS_MAX: usize = 5;

/// Commands after which a connection is not what it was.
const LASTING: &[&[u8]] = &[
    b"asking",
    b"auth",
    b"client",
    b"hello",
    b"monitor",
    b"multi",
    b"psubscribe",
    b"quit",
    b"readonly",
    b"readwrite",
    b"reset",
    b"select",
    b"ssubscribe",
    b"subscribe",
    b"watch",
];

static SESSIONS: LazyLock<Pool<Session>> = LazyLock::new(|| Pool::new(REDIS_CONNECTIONS_MAX));

impl Client for Session {
    fn wire(&self) -> &Wire {
        Session::wire(self)
    }
}

/// A backslash before white space and backslashes.
pub(super) fn quote(text: &[u8], word: Option<&str>) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        if is_space(*byte) || *byte == b'\\' {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    word.is_none().then_some(out)
}

/// A remark behind a server would be taken for its password.
pub(super) fn faulty_servers(options: &crate::config::Options) -> Option<String> {
    let list = options.string(FAMILY.option)?;
    list.contains(" - ").then(|| {
        "redis_servers: \" - \" within a server: a remark there would be part of the password".to_owned()
    })
}

fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// The hosts and ports of a list of servers, as `redis_servers` has it.
///
/// # Errors
/// What is wrong with one of them.
pub fn servers_named(list: &str) -> Result<Vec<(String, Option<u16>)>, String> {
    let parsed = |item: &String| parse(item, &FAMILY).map(|server| (server.name, server.port));
    items(list).iter().map(parsed).collect()
}

/// The words of a command: white space parts them, unless a backslash stands before it.
#[must_use]
pub fn words(text: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        if is_space(*byte) {
            out.extend(word.take());
            continue;
        }
        let literal = if *byte == b'\\' { bytes.next().unwrap_or(byte) } else { byte };
        word.get_or_insert_default().push(*literal);
    }
    out.extend(word);
    out
}

/// What the lookup's options say of a connection.
struct Manner<'a> {
    times: Timeouts,
    ca: Option<&'a str>,
    is_raw: bool,
}

impl Manner<'_> {
    fn of(lookup: &LookupType) -> Result<Manner<'_>, String> {
        Ok(Manner {
            times: Timeouts::of(lookup)?,
            ca: lookup.option("tls_ca"),
            is_raw: lookup.option("raw").is_some_and(|value| value != "no"),
        })
    }

    fn policy(&self, host: &str) -> ClientPolicy {
        let ca = self.ca.map_or(CaSource::System, |path| CaSource::Path(path.into()));
        ClientPolicy { verify: Verify::Require, names: vec![host.to_owned()], ca, ..ClientPolicy::default() }
    }
}

/// Where a server is, and whether it wants TLS.
fn place_of(server: &Server) -> (Place, bool) {
    (server.place(&FAMILY), server.is_encrypted)
}

fn connect(
    context: &Context,
    server: &Server,
    place: &Place,
    manner: &Manner<'_>,
) -> Result<Session, String> {
    let failed = |text: &str| format!("REDIS connection failed: server {}: {text}", server.host);
    let times = manner.times;
    let mut wire = Wire::connect(context, place, times.connect).map_err(|text| failed(&text))?;
    if let (Place::Host(name, _), true) = (place, server.is_encrypted) {
        wire.encrypt(Some(name), &manner.policy(name)).map_err(|text| failed(&text))?;
    }
    let mut session = Session::new(wire);
    session.begin(times.connect);
    let mut login = |what: &str, words: &[&[u8]]| match session.command(words) {
        Ok(Reply::Error(text)) => Err(format!("REDIS {what} failed: {text}")),
        Ok(_) => Ok(()),
        Err(text) => Err(failed(&text)),
    };
    let (database, password) = (server.field(0), server.field(1));
    match password.split_once(':') {
        _ if password.is_empty() => {}
        Some((user, password)) => login("Authentication", &[b"AUTH", user.as_bytes(), password.as_bytes()])?,
        None => login("Authentication", &[b"AUTH", password.as_bytes()])?,
    }
    if !database.is_empty() {
        login(&format!("Selecting database={database}"), &[b"SELECT", database.as_bytes()])?;
    }
    Ok(session)
}

/// One command at one place; `asking` tells a cluster's node that we were sent there.
fn run_at(
    context: &Context,
    server: &Server,
    place: &Place,
    manner: &Manner<'_>,
    command: &[&[u8]],
    is_sent: bool,
) -> Result<Reply, Refusal> {
    let key = format!("{place:?} {} {:?}", server.item, manner.ca);
    let mut lent = SESSIONS
        .lend(key.as_bytes(), manner.times.connect, || connect(context, server, place, manner))
        .map_err(Refusal::Unreachable)?;
    let session = lent.client().map_err(Refusal::Unreachable)?;
    session.begin(manner.times.answer);
    let lost = |text: String| Refusal::Reached(format!("REDIS: query failed: {text}\n"));
    if is_sent {
        session.command(&[b"ASKING"]).map_err(lost)?;
    }
    let reply = session.command(command).map_err(lost)?;
    let is_lasting =
        command.first().is_some_and(|word| LASTING.contains(&word.to_ascii_lowercase().as_slice()));
    if !is_lasting {
        lent.keep();
    }
    Ok(reply)
}

/// Where a cluster sends us: `MOVED slot host:port`, `ASK slot host:port`.
fn redirection(text: &str, here: &Place) -> Option<(Place, bool)> {
    let mut words = text.split_ascii_whitespace();
    let is_asking = match words.next()? {
        "MOVED" => false,
        "ASK" => true,
        _ => return None,
    };
    let (host, port) = words.nth(1)?.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let (name, _) = host_and_port(host)?;
    let name = match here {
        Place::Host(here, _) if name.is_empty() => here.clone(),
        Place::Host(..) | Place::Socket(_) => name,
    };
    (!name.is_empty()).then_some((Place::Host(name, port), is_asking))
}

fn run(context: &Context, server: &Server, manner: &Manner<'_>, command: &[&[u8]]) -> Result<Reply, Refusal> {
    let (mut place, _) = place_of(server);
    let mut is_asking = false;
    for _ in 0..=REDIRECTIONS_MAX {
        match run_at(context, server, &place, manner, command, is_asking)? {
            Reply::Error(text) => match redirection(&text, &place) {
                Some((there, asking)) => (place, is_asking) = (there, asking),
                None => return Err(Refusal::Final(format!("REDIS: lookup result failed: {text}\n"))),
            },
            reply @ (Reply::Text(_) | Reply::Integer(_) | Reply::Nil | Reply::Array(_)) => return Ok(reply),
        }
    }
    Err(Refusal::Reached("REDIS: query failed: redirected too often\n".to_owned()))
}

fn ask(context: &mut Context, query: &Text, lookup: &LookupType) -> Result<Answer, LookupError> {
    let manner = Manner::of(lookup).map_err(LookupError::Failed)?;
    let (servers, query) = servers_of(context, lookup, query, &FAMILY).map_err(LookupError::Defer)?;
    let words = words(&query);
    if words.is_empty() {
        return Ok(Answer::Found(Text::new()));
    }
    let command: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    let rests = |server: &Server| {
        let key = format!("{:?} {} {:?}", place_of(server).0, server.item, manner.ca);
        SESSIONS.is_resting(key.as_bytes())
    };
    let reply = ask_each(servers, rests, |server| run(context, server, &manner, &command));
    Ok(answer(reply.map_err(LookupError::Defer)?, manner.is_raw))
}

fn answer(reply: Reply, is_raw: bool) -> Answer {
    match reply {
        Reply::Text(text) => Answer::Found(Text::clean(text)),
        Reply::Integer(number) if is_raw => Answer::Found(Text::clean(number.to_string())),
        Reply::Integer(number) => Answer::Found(Text::clean(if number == 0 { "false" } else { "true" })),
        Reply::Nil => Answer::Passing(None),
        Reply::Array(elements) if elements.iter().all(|element| *element == Reply::Nil) => {
            Answer::Passing(None)
        }
        Reply::Array(elements) => Answer::Found(Text::clean(joined(&elements))),
        Reply::Error(_) => Answer::NotThere,
    }
}

/// The elements, a newline before each for which something stands there already; and those of elements that are arrays
/// themselves, but no deeper.
fn joined(elements: &[Reply]) -> Vec<u8> {
    fn begin(out: &mut Vec<u8>) {
        if !out.is_empty() {
            out.push(b'\n');
        }
    }
    fn append(out: &mut Vec<u8>, element: &Reply) {
        match element {
            Reply::Text(text) => out.extend_from_slice(text),
            Reply::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Reply::Nil | Reply::Array(_) | Reply::Error(_) => {}
        }
    }
    let mut out = Vec::new();
    for element in elements {
        begin(&mut out);
        append(&mut out, element);
        let Reply::Array(inner) = element else { continue };
        for element in inner {
            begin(&mut out);
            append(&mut out, element);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Reply {
        Reply::Text(text.as_bytes().to_vec())
    }

    #[test]
    fn words_are_parted_and_quoted() {
        assert_eq!(words(b"   get   k1   "), [&b"get"[..], b"k1"]);
        assert_eq!(words(b"GET k\\ 2\\\\"), [&b"GET"[..], b"k 2\\"]);
        assert_eq!(words(b" "), [b""; 0]);
        assert_eq!(quote(b"a b\tc\\d\"e", None).unwrap(), b"a\\ b\\\tc\\\\d\"e");
        assert_eq!(words(&quote(b" x y\\", None).unwrap()), [b" x y\\"]);
        assert_eq!(quote(b"", Some("x")), None);
    }

    #[test]
    fn replies_become_texts() {
        let shown = |reply, is_raw| match answer(reply, is_raw) {
            Answer::Found(text) => text.to_string_lossy(),
            other @ (Answer::NotThere | Answer::Changed(_) | Answer::Passing(_)) => format!("{other:?}"),
        };
        assert_eq!(shown(Reply::Integer(3), false), "true");
        assert_eq!(shown(Reply::Integer(0), false), "false");
        assert_eq!(shown(Reply::Integer(3), true), "3");
        assert_eq!(shown(text(""), false), "");
        assert_eq!(shown(Reply::Nil, false), "Passing(None)");
        assert_eq!(shown(Reply::Array(Vec::new()), false), "Passing(None)");
        assert_eq!(shown(Reply::Array(vec![text("v1"), Reply::Nil, text("v2")]), false), "v1\n\nv2");
        assert_eq!(shown(Reply::Array(vec![Reply::Nil, text("v1")]), false), "v1");
        let third = Reply::Array(vec![Reply::Integer(4), Reply::Integer(5)]);
        let second = Reply::Array(vec![Reply::Integer(2), Reply::Integer(3), third]);
        assert_eq!(shown(Reply::Array(vec![Reply::Integer(1), second, text("x")]), false), "1\n\n2\n3\n\nx");
    }

    #[test]
    fn clusters_send_us_elsewhere() {
        let here = Place::Host("a".to_owned(), 1);
        let at = |host: &str, port| Place::Host(host.to_owned(), port);
        assert_eq!(redirection("MOVED 1 127.0.0.1:6391", &here), Some((at("127.0.0.1", 6391), false)));
        assert_eq!(redirection("ASK 1 :6391", &here), Some((at("a", 6391), true)));
        assert_eq!(redirection("MOVED 1 ::1:7", &here), Some((at("::1", 7), false)));
        assert_eq!(redirection("ERR no", &here), None);
        assert_eq!(redirection("MOVED", &here), None);
    }
}
