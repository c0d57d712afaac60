//! The lookups `ldap`, `ldapdn` and `ldapm`, and the condition `ldapauth` (manual sections 9.14 to 9.19).
//!
//! Servers: that of the URL, else `SERVERS=`, else the option `ldap_default_servers`, else this host. The next one is asked
//! after a failure to connect or bind and after a timeout; a result that says something is wrong ends the lookup.

use std::sync::LazyLock;
use std::time::Duration;

use oxim_base::limits::LOOKUP_CONNECTIONS_MAX;
use oxim_base::{Taint, Text};
use oxim_net::tls::client::ClientPolicy;
use oxim_net::tls::{CaSource, KeyPair, Verify};

use super::service::Timeouts;
use super::service::ldap::{Entry, Found, Search, Session, code};
use super::service::ldap_url::{Query, Scheme};
use super::service::pool::{Client, Pool};
use super::service::servers::{self, Refusal, host_and_port};
use super::service::wire::{Place, Wire};
use super::{Answer, LookupError, LookupKind, LookupType, Service, Style};
use crate::context::Context;
use crate::list::split;

/// The row of `ldap`.
pub(super) static LDAP: LookupKind = LookupKind {
    name: "ldap",
    style: Style::Service(Service {
        mark: "ldap",
        quote,
        needs_quoting: false,
        has_words: false,
        ask: ask_one,
    }),
    doc: "LDAP query: attributes of the one entry that fits; option timeout=",
};

/// The row of `ldapdn`.
pub(super) static LDAPDN: LookupKind = LookupKind {
    name: "ldapdn",
    style: Style::Service(Service {
        mark: "ldap",
        quote,
        needs_quoting: false,
        has_words: false,
        ask: ask_name,
    }),
    doc: "LDAP query: the name of the one entry that fits; option timeout=",
};

/// The row of `ldapm`.
pub(super) static LDAPM: LookupKind = LookupKind {
    name: "ldapm",
    style: Style::Service(Service {
        mark: "ldap",
        quote,
        needs_quoting: false,
        has_words: false,
        ask: ask_several,
    }),
    doc: "LDAP query: attributes of all entries that fit; option timeout=",
};

/// How often a query may be sent on to another server.
const REFERRALS_MAX: usize = 5;

static SESSIONS: LazyLock<Pool<Session>> = LazyLock::new(|| Pool::new(LOOKUP_CONNECTIONS_MAX));

impl Client for Session {
    fn wire(&self) -> &Wire {
        Session::wire(self)
    }
}

/// What is wanted of the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Attributes,
    Name,
    AllAttributes,
}

fn ask_one(context: &mut Context, query: &Text, lookup: &LookupType) -> Result<Answer, LookupError> {
    ask(context, query, lookup, Wanted::Attributes)
}

fn ask_name(context: &mut Context, query: &Text, lookup: &LookupType) -> Result<Answer, LookupError> {
    ask(context, query, lookup, Wanted::Name)
}

fn ask_several(context: &mut Context, query: &Text, lookup: &LookupType) -> Result<Answer, LookupError> {
    ask(context, query, lookup, Wanted::AllAttributes)
}

/// `${quote_ldap:`: for filters. `${quote_ldap_dn:`: for names.
fn quote(text: &[u8], word: Option<&str>) -> Option<Vec<u8>> {
    let escaped = match word {
        None => escaped_for_filter(text),
        Some("dn") => escaped_for_name(text),
        Some(_) => return None,
    };
    let mut out = Vec::with_capacity(escaped.len());
    for byte in escaped {
        if byte.is_ascii_alphanumeric() || b"!$'-._()*+".contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    Some(out)
}

fn escaped_for_filter(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        if matches!(byte, b'*' | b'(' | b')' | b'\\' | 0) {
            out.extend_from_slice(format!("\\{byte:02X}").as_bytes());
        } else {
            out.push(*byte);
        }
    }
    out
}

fn escaped_for_name(text: &[u8]) -> Vec<u8> {
    let leading = text.iter().take_while(|b| matches!(b, b' ' | b'#')).count();
    let trailing = text.iter().rev().take_while(|b| **b == b' ').count();
    let end = text.len().saturating_sub(trailing);
    let mut out = Vec::with_capacity(text.len());
    for (index, byte) in text.iter().enumerate() {
        if index < leading || index >= end || b",+\"\\<>;".contains(byte) {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out
}

/// One server, and how it is reached.
struct Target<'a> {
    scheme: Scheme,
    server: String,
    options: &'a crate::config::Options,
    times: Timeouts,
}

impl Target<'_> {
    /// For messages.
    fn shown(&self) -> String {
        match self.place() {
            Ok(Place::Host(name, port)) => format!("{name}:{port}"),
            Ok(Place::Socket(path)) => path.display().to_string(),
            Err(_) => self.server.clone(),
        }
    }

    fn place(&self) -> Result<Place, String> {
        let server = self.server.as_str();
        if server.starts_with('/') {
            return Ok(Place::Socket(server.into()));
        }
        if self.scheme == Scheme::Socket {
            return Err(format!("ldapi requires an absolute path (\"{server}\" given)"));
        }
        let (name, port) =
            host_and_port(server).ok_or_else(|| format!("bad port in LDAP server {server}"))?;
        let name = if name.is_empty() { "localhost".to_owned() } else { name };
        let default = if self.scheme == Scheme::Tls { 636 } else { 389 };
        Ok(Place::Host(name, port.unwrap_or(default)))
    }

    /// `ldap_require_cert`: unset is `demand`, any other word is `never`.
    fn requires_certificate(&self) -> bool {
        matches!(self.options.string("ldap_require_cert"), None | Some("" | "hard" | "demand" | "try"))
    }

    fn policy(&self, name: &str) -> ClientPolicy {
        let path = |option: &str| self.options.string(option).filter(|text| !text.is_empty());
        let ca = path("ldap_ca_cert_file").or_else(|| path("ldap_ca_cert_dir"));
        let certificate = path("ldap_cert_file").map(|certificate| KeyPair {
            certificate: certificate.into(),
            key: path("ldap_cert_key").map(Into::into),
        });
        ClientPolicy {
            verify: if self.requires_certificate() { Verify::Require } else { Verify::None },
            names: vec![name.to_owned()],
            ca: ca.map_or(CaSource::System, |path| CaSource::Path(path.into())),
            certificate,
            ciphers: path("ldap_cipher_suite").map(str::to_owned),
            ..ClientPolicy::default()
        }
    }

    fn connect(&self, context: &Context) -> Result<Session, String> {
        let place = self.place()?;
        let failed = |text: String| {
            format!(
                "failed to bind the LDAP connection to server {} - ldap_bind() returned -1 ({text})",
                self.shown()
            )
        };
        let open = || Wire::connect(context, &place, self.times.connect).map_err(failed);
        let mut wire = open()?;
        let Place::Host(name, _) = &place else { return Ok(Session::new(wire)) };
        if self.scheme == Scheme::Tls {
            wire.encrypt(Some(name), &self.policy(name)).map_err(failed)?;
            return Ok(Session::new(wire));
        }
        let mut session = Session::new(wire);
        if !self.options.bool("ldap_start_tls") {
            return Ok(session);
        }
        match session.start_tls(name, &self.policy(name)) {
            Ok(true) => Ok(session),
            Ok(false) | Err(_) if !self.requires_certificate() => Ok(Session::new(open()?)),
            Ok(false) => Err(failed("the server does not offer TLS".to_owned())),
            Err(text) => Err(failed(text)),
        }
    }

    fn key(&self) -> Vec<u8> {
        format!("{:?} {} {}", self.scheme, self.server, self.options.bool("ldap_start_tls")).into_bytes()
    }
}

fn version(options: &crate::config::Options) -> u32 {
    u32::try_from(options.int("ldap_version")).unwrap_or(3)
}

/// What a server has said, and not only that it is not there.
fn said(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Unreachable(text) => Refusal::Reached(text),
        other @ (Refusal::Reached(_) | Refusal::Final(_)) => other,
    }
}

/// Binds and searches at one server.
fn search_at(context: &Context, target: &Target<'_>, query: &Query) -> Result<Found, Refusal> {
    let mut lent = SESSIONS
        .lend(&target.key(), target.times.connect, || target.connect(context))
        .map_err(Refusal::Unreachable)?;
    let session = lent.client().map_err(Refusal::Unreachable)?;
    let failed = |text: String| {
        Refusal::Unreachable(format!(
            "failed to bind the LDAP connection to server {} - {text}",
            target.shown()
        ))
    };
    let user = query.user.as_deref().unwrap_or_default();
    let password = query.password.as_deref().unwrap_or_default();
    let bound =
        session.bind(version(target.options), user, password, false, target.times.answer).map_err(failed)?;
    if bound.code != code::SUCCESS {
        let text = format!("LDAP error {}", bound.describe());
        lent.keep();
        return Err(said(failed(text)));
    }
    let search = Search {
        base: &query.base,
        scope: query.scope,
        dereference: query.dereference,
        size: query.size,
        time: query.time,
        filter: &query.filter,
        attributes: &query.attributes,
    };
    let found = session
        .search(&search, target.times.answer)
        .map_err(|text| Refusal::Reached(format!("ldap_search failed: server {}: {text}", target.shown())))?;
    lent.keep();
    Ok(found)
}

/// Searches, and goes where the server points to.
fn search(context: &Context, target: &Target<'_>, query: &Query, hops: usize) -> Result<Found, Refusal> {
    let mut found = search_at(context, target, query)?;
    let mut onward = std::mem::take(&mut found.references);
    if found.done.code == code::REFERRAL {
        onward.extend(found.done.referrals.first().cloned());
    }
    if query.ignores_referrals || onward.is_empty() {
        return Ok(found);
    }
    if hops >= REFERRALS_MAX {
        return Err(Refusal::Final("LDAP referrals lead too far".to_owned()));
    }
    for url in onward {
        // Another server is asked as nobody: it has no business with the password.
        let mut next = Query { user: None, password: None, ..query.clone() };
        let (base, filter, attributes) = (query.base.clone(), query.filter.clone(), query.attributes.clone());
        next.url(&url).map_err(Refusal::Final)?;
        let has_scope = url.split('?').nth(2).is_some_and(|scope| !scope.is_empty());
        next = Query {
            base: if next.base.is_empty() { base } else { next.base.clone() },
            scope: if has_scope { next.scope } else { query.scope },
            filter,
            attributes,
            ..next
        };
        let target = Target {
            scheme: next.scheme,
            server: next.server.clone(),
            options: target.options,
            times: target.times,
        };
        let more = search(context, &target, &next, hops.saturating_add(1))?;
        found.entries.extend(more.entries);
        found.done = more.done;
    }
    Ok(found)
}

/// The servers that a query is for, in order.
fn servers_for(context: &Context, query: &Query) -> Vec<String> {
    if !query.server.is_empty() {
        return vec![query.server.clone()];
    }
    let default = context.config.main_options.string("ldap_default_servers").unwrap_or_default();
    let list = query.servers.as_deref().unwrap_or(default);
    let items: Vec<String> = split(list.as_bytes())
        .map(|item| String::from_utf8_lossy(&item).into_owned())
        .filter(|item| !item.is_empty())
        .collect();
    if items.is_empty() { vec![String::new()] } else { items }
}

/// Asks one server after the other.
fn ask_each<T>(
    context: &Context,
    query: &Query,
    times: Timeouts,
    mut ask: impl FnMut(&Target<'_>) -> Result<T, Refusal>,
) -> Result<T, String> {
    let options = &context.config.main_options;
    let target = |server: &String| Target { scheme: query.scheme, server: server.clone(), options, times };
    let rests = |server: &String| SESSIONS.is_resting(&target(server).key());
    servers::ask_each(servers_for(context, query), rests, |server| ask(&target(server)))
}

fn times_of(query: &Query, lookup: Option<&LookupType>) -> Result<Timeouts, String> {
    let mut times = match lookup {
        Some(lookup) => Timeouts::of(lookup)?,
        None => Timeouts {
            connect: oxim_base::limits::LOOKUP_CONNECT_TIMEOUT,
            answer: oxim_base::limits::LOOKUP_ANSWER_TIMEOUT,
        },
    };
    if query.network_time > 0 {
        let time = Duration::from_secs(u64::from(query.network_time));
        times = Timeouts { connect: time, answer: time };
    }
    Ok(times)
}

fn ask(
    context: &mut Context,
    text: &Text,
    lookup: &LookupType,
    wanted: Wanted,
) -> Result<Answer, LookupError> {
    let query = Query::parse(text.as_bytes()).map_err(LookupError::Defer)?;
    // A password is quoted by `${quote:`, which leaves no mark: with one, nothing can be said of the rest.
    if query.password.is_none() && !matches!(text.taint(), Taint::Clean | Taint::Quoted("ldap")) {
        let name = lookup.kind.name;
        return Err(LookupError::Failed(format!("tainted search query is not properly quoted ({name})")));
    }
    let times = times_of(&query, Some(lookup)).map_err(LookupError::Failed)?;
    let result = ask_each(context, &query, times, |target| {
        let found = search(context, target, &query, 0)?;
        data(&found, &query, wanted).map_err(Refusal::Final)
    });
    match result.map_err(LookupError::Defer)? {
        Some((data, name)) => {
            context.local.ldap_dn = Some(Text::clean(name));
            Ok(Answer::Found(Text::clean(data)))
        }
        None => Ok(Answer::NotThere),
    }
}

type DataAndName = (Vec<u8>, Vec<u8>);

/// The data of what was found, and the name of the last entry.
fn data(found: &Found, query: &Query, wanted: Wanted) -> Result<Option<DataAndName>, String> {
    match found.done.code {
        code::SUCCESS | code::SIZE_LIMIT_EXCEEDED => {}
        code::NO_SUCH_OBJECT | code::INVALID_NAME => return Ok(None),
        code::REFERRAL if query.ignores_referrals => return Ok(None),
        _ => return Err(format!("LDAP search failed - error {}", found.done.describe())),
    }
    let count = found.entries.len();
    if count > 1 && wanted != Wanted::AllAttributes {
        return Err(format!(
            "LDAP search: more than one entry ({count}) was returned (filter not specific enough?)"
        ));
    }
    let Some(last) = found.entries.last() else { return Ok(None) };
    if wanted == Wanted::Name {
        return Ok(Some((last.name.clone(), last.name.clone())));
    }
    let mut out = Vec::new();
    let mut has_attributes = false;
    for entry in &found.entries {
        if !out.is_empty() {
            out.push(b'\n');
        }
        has_attributes |= append_entry(&mut out, entry, query.attributes.len() == 1);
    }
    Ok(has_attributes.then(|| (out, last.name.clone())))
}

/// Adds the attributes of an entry. False: it has none.
fn append_entry(out: &mut Vec<u8>, entry: &Entry, is_single: bool) -> bool {
    let mut is_first = true;
    for (name, values) in entry.attributes.iter().filter(|(_, values)| !values.is_empty()) {
        if !is_first {
            out.push(if is_single { b',' } else { b' ' });
        }
        is_first = false;
        if !is_single {
            out.extend_from_slice(name);
            out.extend_from_slice(b"=\"");
        }
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            append_value(out, value, is_single);
        }
        if !is_single {
            out.push(b'"');
        }
    }
    !is_first
}

fn append_value(out: &mut Vec<u8>, value: &[u8], is_single: bool) {
    for byte in value {
        match byte {
            b',' => out.extend_from_slice(b",,"),
            b'\n' if !is_single => out.extend_from_slice(b"\\n"),
            b'"' | b'\\' if !is_single => out.extend_from_slice(&[b'\\', *byte]),
            other => out.push(*other),
        }
    }
}

/// The condition `ldapauth`: whether a server accepts the user and the password of a query.
///
/// May block.
///
/// # Errors
/// The text of a deferral: no server could say.
pub fn authenticate(context: &Context, text: &Text) -> Result<bool, String> {
    let query = Query::parse(text.as_bytes())?;
    let (Some(user), Some(password)) = (&query.user, &query.password) else {
        return Err("ldapauth lookups must specify the username and password".to_owned());
    };
    // A bind without password succeeds as nobody.
    if password.is_empty() {
        return Ok(false);
    }
    let times = times_of(&query, None)?;
    ask_each(context, &query, times, |target| {
        let mut lent = SESSIONS
            .lend(&target.key(), times.connect, || target.connect(context))
            .map_err(Refusal::Unreachable)?;
        let session = lent.client().map_err(Refusal::Unreachable)?;
        let failed = |text: String| {
            Refusal::Unreachable(format!(
                "failed to bind the LDAP connection to server {} - {text}",
                target.shown()
            ))
        };
        let done =
            session.bind(version(target.options), user, password, true, times.answer).map_err(failed)?;
        lent.keep();
        match done.code {
            code::SUCCESS => Ok(true),
            code::INVALID_CREDENTIALS => Ok(false),
            _ => Err(said(failed(format!("LDAP error {}", done.describe())))),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Observed with Exim 4.96.
    #[test]
    fn quoting() {
        let quoted = |text: &str, word| String::from_utf8(quote(text.as_bytes(), word).unwrap()).unwrap();
        assert_eq!(
            quoted(" a(bc)*, a<yz>; \u{e9}\\", None),
            "%20a%5C28bc%5C29%5C2A%2C%20a%3Cyz%3E%3B%20%C3%A9%5C5C"
        );
        assert_eq!(
            quoted(" a(bc)*, a<yz>;#= ", Some("dn")),
            "%5C%20a(bc)*%5C%2C%20a%5C%3Cyz%5C%3E%5C%3B%23%3D%5C%20"
        );
        assert_eq!(quote(b"a", Some("xx")), None);
    }

    fn entry(attributes: &[(&str, &[&str])]) -> Entry {
        let values = |values: &[&str]| values.iter().map(|v| v.as_bytes().to_vec()).collect();
        Entry {
            name: b"o=x".to_vec(),
            attributes: attributes.iter().map(|(name, v)| (name.as_bytes().to_vec(), values(v))).collect(),
        }
    }

    /// The examples of the manual's section 9.19.
    #[test]
    fn data_are_written_as_the_manual_says() {
        let shown = |attributes: &str, entry: Entry| {
            let query =
                Query::parse(format!("ldap:///o=base?{attributes}?sub?(uid=fred)").as_bytes()).unwrap();
            let found = Found { entries: vec![entry], ..Found::default() };
            String::from_utf8(data(&found, &query, Wanted::Attributes).unwrap().unwrap().0).unwrap()
        };
        let one: (&str, &[&str]) = ("attr1", &["value1.1", "value1,2"]);
        let two: (&str, &[&str]) = ("attr2", &["value two"]);
        assert_eq!(shown("attr1", entry(&[one])), "value1.1,value1,,2");
        assert_eq!(shown("attr", entry(&[one, two])), "value1.1,value1,,2,value two");
        assert_eq!(
            shown("attr1,attr2", entry(&[one, two])),
            "attr1=\"value1.1,value1,,2\" attr2=\"value two\""
        );
    }

    #[test]
    fn more_than_one_entry_is_an_error_unless_asked_for() {
        let query = Query::parse(b"ldap:///o=base?a?sub?(uid=fred)").unwrap();
        let entries = vec![entry(&[("a", &["1"])]), entry(&[("a", &["2"])])];
        let found = Found { entries, ..Found::default() };
        assert!(data(&found, &query, Wanted::Attributes).is_err());
        assert_eq!(data(&found, &query, Wanted::AllAttributes).unwrap().unwrap().0, b"1\n2");
        let found = Found { entries: vec![entry(&[])], ..Found::default() };
        assert_eq!(data(&found, &query, Wanted::Attributes), Ok(None));
    }
}
