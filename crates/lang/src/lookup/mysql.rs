//! The `mysql` lookup: a query to MySQL or MariaDB (manual sections 9.21 to 9.24).
//!
//! Servers: the option `mysql_servers`, or `servers=` of the lookup. The first that carries the query out gives the answer;
//! when none does, the lookup defers. Option files of the client library are not read: a group in brackets is refused.

use std::sync::LazyLock;

use oxim_base::Text;

use super::service::Timeouts;
use super::service::mysql::{Login, Session};
use super::service::pgsql::QueryError;
use super::service::pool::{Client, Pool};
use super::service::rows;
use super::service::servers::{Family, Refusal, Server, ask_each, servers_of};
use super::service::wire::{Place, Wire};
use super::{Answer, LookupError, LookupKind, LookupType, Service, Style};
use crate::context::Context;

/// The row.
pub(super) static MYSQL: LookupKind = LookupKind {
    name: "mysql",
    style: Style::Service(Service { mark: "mysql", quote, needs_quoting: true, has_words: false, ask }),
    doc: "MySQL or MariaDB query; options servers=, timeout=",
};

const FAMILY: Family =
    Family { label: "MySQL", option: "mysql_servers", incomplete: "MySQL", fields: 3, port: 3306 };

/// Where Debian's server listens when no host is given.
const DEFAULT_SOCKET: &str = "/run/mysqld/mysqld.sock";

static SESSIONS: LazyLock<Pool<Session>> = LazyLock::new(Pool::new);

impl Client for Session {
    fn wire(&self) -> &Wire {
        Session::wire(self)
    }
}

fn quote(text: &[u8], word: Option<&str>) -> Option<Vec<u8>> {
    if word.is_some() {
        return None;
    }
    Some(rows::quoted_for_sql(text, b"\\'"))
}

fn connect(context: &Context, server: &Server, times: Timeouts) -> Result<Session, String> {
    if server.host.contains('[')
        && server.socket.is_none()
        && server.name.parse::<std::net::Ipv6Addr>().is_err()
    {
        return Err("MYSQL: option groups in brackets are not supported".to_owned());
    }
    let (database, user, password) = (server.field(0), server.field(1), server.field(2));
    let place = match server.place(&FAMILY) {
        Place::Host(name, _) if name.is_empty() || name == "localhost" => {
            Place::Socket(DEFAULT_SOCKET.into())
        }
        place @ (Place::Host(..) | Place::Socket(_)) => place,
    };
    let to = match &place {
        Place::Host(name, _) => format!("server on '{name}'"),
        Place::Socket(path) => format!("local server through socket '{}'", path.display()),
    };
    let wire = Wire::connect(context, &place, times.connect)
        .map_err(|text| format!("MYSQL connection failed: Can't connect to {to} ({text})"))?;
    let host = match &place {
        Place::Host(name, _) => Some(name.as_str()),
        Place::Socket(_) => None,
    };
    Session::begin(wire, Login { user, password, database }, host, times.connect)
        .map_err(|text| format!("MYSQL connection failed: {text}"))
}

fn ask(context: &mut Context, query: &Text, lookup: &LookupType) -> Result<Answer, LookupError> {
    let times = Timeouts::of(lookup).map_err(LookupError::Failed)?;
    let (servers, query) = servers_of(context, lookup, query, &FAMILY).map_err(LookupError::Defer)?;
    let rests = |server: &Server| SESSIONS.is_resting(server.item.as_bytes());
    let outcome = ask_each(servers, rests, |server| {
        let mut lent = SESSIONS
            .lend(server.item.as_bytes(), times.connect, || connect(context, server, times))
            .map_err(Refusal::Unreachable)?;
        let outcome = lent.client().map_err(Refusal::Unreachable)?.query(&query, times.answer);
        match outcome {
            Ok(outcome) => {
                if lent.client().is_ok_and(|session| session.is_idle()) && rows::leaves_no_trace(&query) {
                    lent.keep();
                }
                Ok(outcome)
            }
            Err(QueryError::Server(text)) => Err(Refusal::Reached(format!("MYSQL: query failed: {text}\n"))),
            Err(QueryError::Lost(text)) => {
                Err(Refusal::Reached(format!("MYSQL: query failed: server {}: {text}\n", server.host)))
            }
        }
    });
    Ok(rows::answer(outcome.map_err(LookupError::Defer)?, rows::Null::Nothing))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Observed with Exim 4.96.
    #[test]
    fn quoting() {
        assert_eq!(quote(b"a%b_c'd\"e\\f\ng\th\r\x08", None).unwrap(), b"a%b_c\\'d\\\"e\\\\f\\ng\\th\\r\\b");
    }
}
