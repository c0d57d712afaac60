//! Which servers an SQL or Redis lookup asks: the main option, or those that the lookup names (manual sections 9.22, 9.23).

use std::path::PathBuf;

use oxim_base::Text;

use super::wire::Place;
use crate::context::Context;
use crate::list::split;
use crate::lookup::LookupType;

/// How servers of one kind are written.
pub(crate) struct Family {
    /// The kind, as messages name it.
    pub(crate) label: &'static str,
    /// The main option.
    pub(crate) option: &'static str,
    /// How an item that lacks a field is complained of.
    pub(crate) incomplete: &'static str,
    /// How many fields follow the host.
    pub(crate) fields: usize,
    /// The port if none is given.
    pub(crate) port: u16,
}

/// One server.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// The item as written: the key for pools, never shown.
    pub(crate) item: String,
    /// The host part as written; for messages.
    pub(crate) host: String,
    /// The name or address of the host, empty if none was given.
    pub(crate) name: String,
    /// The port, if one was given.
    pub(crate) port: Option<u16>,
    /// The Unix socket in parentheses.
    pub(crate) socket: Option<PathBuf>,
    /// What follows the host: database, user, password.
    pub(crate) fields: Vec<String>,
    /// `rediss://` in front.
    pub(crate) is_encrypted: bool,
}

impl Server {
    /// The field with a number from zero on.
    pub(crate) fn field(&self, index: usize) -> &str {
        self.fields.get(index).map_or("", String::as_str)
    }

    /// Where it listens, if it is not only a host name without meaning.
    pub(crate) fn place(&self, family: &Family) -> Place {
        match &self.socket {
            Some(path) => Place::Socket(path.clone()),
            None => Place::Host(self.name.clone(), self.port.unwrap_or(family.port)),
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({})", self.host)
    }
}

/// The servers to ask, and the query without what names them. The error is the text of a deferral.
pub(crate) fn servers_of(
    context: &Context,
    lookup: &LookupType,
    query: &Text,
    family: &Family,
) -> Result<(Vec<Server>, Vec<u8>), String> {
    let label = family.label;
    let named = |list: &str, rest: Vec<u8>, whole: &str| {
        let items = items(list);
        if items.is_empty() {
            return Err(format!("\"servers=\" defines no servers in \"{whole}\""));
        }
        let servers =
            items.iter().map(|item| complete(context, item, family)).collect::<Result<Vec<_>, _>>()?;
        Ok((servers, rest))
    };
    if let Some(list) = lookup.option("servers") {
        return named(list, query.as_bytes().to_vec(), list);
    }
    let text = query.as_bytes().trim_ascii_start();
    if !text.get(..7).is_some_and(|front| front.eq_ignore_ascii_case(b"servers")) {
        return Ok((from_option(context, family)?, query.as_bytes().to_vec()));
    }
    let rest = text.get(7..).unwrap_or_default().trim_ascii_start();
    let rest =
        rest.strip_prefix(b"=").ok_or_else(|| format!("missing = after \"servers\" in {label} lookup"))?;
    let end = memchr::memchr(b';', rest)
        .ok_or_else(|| format!("missing ; after \"servers=\" in {label} lookup"))?;
    let list = String::from_utf8_lossy(rest.get(..end).unwrap_or_default()).into_owned();
    if query.is_foreign() {
        return Err(format!("{label} server list in the query is tainted"));
    }
    let rest = rest.get(end.saturating_add(1)..).unwrap_or_default();
    named(&list, rest.to_vec(), &query.to_string_lossy())
}

/// The servers of the main option.
fn from_option(context: &Context, family: &Family) -> Result<Vec<Server>, String> {
    let list = context.config.main_options.string(family.option).unwrap_or_default();
    if list.is_empty() {
        return Err(format!("no {} servers defined ({} option)", family.label, family.option));
    }
    items(list).iter().map(|item| parse(item, family)).collect()
}

/// A full item, or the item of the main option with this host.
fn complete(context: &Context, item: &str, family: &Family) -> Result<Server, String> {
    if item.contains('/') && !is_bare_socket(item) {
        return parse(item, family);
    }
    let list = context.config.main_options.string(family.option).unwrap_or_default();
    let of_host = |candidate: &String| candidate.strip_prefix(item).is_some_and(|rest| rest.starts_with('/'));
    match items(list).iter().find(|candidate| of_host(candidate)) {
        Some(found) => parse(found, family),
        None => Err(format!("{} server \"{item}\" not found in {}", family.label, family.option)),
    }
}

/// `(/path)` without more: the slashes are the path's.
fn is_bare_socket(item: &str) -> bool {
    item.ends_with(')') && item.contains('(')
}

/// The items of a list of servers. A port behind a single colon has been cut off; it is put back.
pub(crate) fn items(list: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for item in split(list.as_bytes()) {
        let item = String::from_utf8_lossy(&item).into_owned();
        let digits = item.bytes().take_while(u8::is_ascii_digit).count();
        let is_port = digits > 0 && matches!(item.as_bytes().get(digits), Some(b'/' | b'(') | None);
        match out.last_mut() {
            // The colon of a URL.
            Some(scheme) if item.starts_with("//") && matches!(scheme.as_str(), "redis" | "rediss") => {
                scheme.push(':');
                scheme.push_str(&item);
            }
            Some(host)
                if is_port && !host.trim_start_matches("rediss://").contains('/') && !host.is_empty() =>
            {
                host.push(':');
                host.push_str(&item);
            }
            _ if item.is_empty() => {}
            _ => out.push(item),
        }
    }
    out
}

/// Takes an item apart: the fields are what stands behind the last slashes, so only the socket's path may have some.
pub(crate) fn parse(item: &str, family: &Family) -> Result<Server, String> {
    let encrypted = item.strip_prefix("rediss://");
    let mut host = encrypted.or_else(|| item.strip_prefix("redis://")).unwrap_or(item);
    let mut fields = Vec::new();
    for _ in 0..family.fields {
        let Some((front, field)) = host.rsplit_once('/') else {
            return Err(format!("incomplete {} server data: {host}", family.incomplete));
        };
        fields.insert(0, field.to_owned());
        host = front;
    }
    let (front, socket) = match host.split_once('(') {
        Some((front, path)) => {
            let path = path.split_once(')').map_or(path, |(path, _)| path);
            (front, Some(PathBuf::from(path)))
        }
        None => (host, None),
    };
    if front.contains('/') {
        return Err(format!("unexpected slash in {} server hostname: {front}", family.label));
    }
    let (name, port) =
        host_and_port(front).ok_or_else(|| format!("bad port in {} server: {front}", family.label))?;
    Ok(Server {
        item: item.to_owned(),
        host: host.to_owned(),
        name,
        port,
        socket,
        fields,
        is_encrypted: encrypted.is_some(),
    })
}

/// `host`, `host:port`, `[address]:port`, or a bare IPv6 address.
pub(crate) fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        let port = after.strip_prefix(':').filter(|port| !port.is_empty());
        return match port {
            Some(port) => Some((host.to_owned(), Some(port.parse().ok()?))),
            None => Some((host.to_owned(), None)),
        };
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Some((text.to_owned(), None)),
        Some((host, "")) => Some((host.to_owned(), None)),
        Some((host, port)) => Some((host.to_owned(), Some(port.parse().ok()?))),
        None => Some((text.to_owned(), None)),
    }
}

/// Asks one server after the other until one has answered; those that rest come last. The error is the last one's, but what
/// came of a server that could be reached counts for more than that another could not.
pub(crate) fn ask_each<S, T>(
    mut servers: Vec<S>,
    rests: impl Fn(&S) -> bool,
    mut ask: impl FnMut(&S) -> Result<T, Refusal>,
) -> Result<T, String> {
    servers.sort_by_cached_key(|server| rests(server));
    let (mut unreachable, mut reached) = (String::new(), None);
    for server in &servers {
        match ask(server) {
            Ok(answer) => return Ok(answer),
            Err(Refusal::Unreachable(text)) => unreachable = text,
            Err(Refusal::Reached(text)) => reached = Some(text),
            Err(Refusal::Final(text)) => return Err(text),
        }
    }
    Err(reached.unwrap_or(unreachable))
}

/// Why a server gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It could not be reached; the next one is asked.
    Unreachable(String),
    /// It could, but said that it cannot answer, or was lost on the way; the next one is asked.
    Reached(String),
    /// The others are not asked.
    Final(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQL: Family =
        Family { label: "MySQL", option: "mysql_servers", incomplete: "MySQL", fields: 3, port: 3306 };
    const REDIS: Family =
        Family { label: "Redis", option: "redis_servers", incomplete: "Redis", fields: 2, port: 6379 };

    #[test]
    fn items_are_taken_apart_from_the_right() {
        let server = parse("db.example:3307(/run/my.sock)/mail/user/pw", &SQL).unwrap();
        assert_eq!((server.name.as_str(), server.port), ("db.example", Some(3307)));
        assert_eq!(server.socket, Some(PathBuf::from("/run/my.sock")));
        assert_eq!(server.fields, ["mail", "user", "pw"]);
        assert_eq!(
            parse("(/path/sock)//", &REDIS).unwrap().place(&REDIS),
            Place::Socket("/path/sock".into())
        );
        assert_eq!(parse("::1//", &REDIS).unwrap().name, "::1");
        assert_eq!(parse("[::1]:1//", &REDIS).unwrap().port, Some(1));
        assert_eq!(parse("a/b", &REDIS).unwrap_err(), "incomplete Redis server data: a");
        assert_eq!(parse("a/b//", &REDIS).unwrap_err(), "unexpected slash in Redis server hostname: a/b");
        assert!(!format!("{server:?}").contains("pw"));
    }

    #[test]
    fn single_and_doubled_colons_are_ports() {
        assert_eq!(items("127.0.0.1:6390// : b//"), ["127.0.0.1:6390//", "b//"]);
        assert_eq!(items("127.0.0.1::6390//:b//"), ["127.0.0.1:6390//", "b//"]);
        assert_eq!(items("<; 127.0.0.1:6390//;::1//"), ["127.0.0.1:6390//", "::1//"]);
        assert_eq!(items("rediss://h:6390/0/p : b//"), ["rediss://h:6390/0/p", "b//"]);
        assert!(parse("rediss://h:6390/0/p", &REDIS).unwrap().is_encrypted);
        assert_eq!(items("a/b/c/d : 10.0.0.1/x/y/z"), ["a/b/c/d", "10.0.0.1/x/y/z"]);
        assert_eq!(items(""), [""; 0]);
    }

    #[test]
    fn the_next_server_is_asked_and_resting_ones_come_last() {
        let servers: Vec<Server> = ["a//", "b//", "c//"].iter().map(|i| parse(i, &REDIS).unwrap()).collect();
        let mut asked = Vec::new();
        let answer = ask_each(
            servers,
            |s| s.name == "a",
            |s| {
                asked.push(s.name.clone());
                if s.name == "b" { Err(Refusal::Unreachable("no".to_owned())) } else { Ok(s.name.clone()) }
            },
        );
        assert_eq!(answer.unwrap(), "c");
        assert_eq!(asked, ["b", "c"]);
        let said = |name: &str| match name {
            "a" => Refusal::Reached("no such table".to_owned()),
            _ => Refusal::Unreachable("refused".to_owned()),
        };
        let problem = ask_each(vec!["a", "b"], |_| false, |name| Err::<(), _>(said(name)));
        assert_eq!(problem.unwrap_err(), "no such table");
    }
}
