//! The `mysql` lookup: a query to MySQL or MariaDB (manual sections 9.21 to 9.24).
//!
//! Servers: the option `mysql_servers`, or `servers=` of the lookup. The first that carries the query out gives the answer;
//! when none does, the lookup defers. Option files of the client library are not read: a group in brackets is refused.

use std::sync::LazyLock;
use std::time::Duration;

use oxim_base::Text;
use oxim_base::limits::LOOKUP_CONNECTIONS_MAX;

use super::service::Timeouts;
use super::service::mysql::{Login, Session};
use super::service::pool::{Client, Pool};
use super::service::rows;
use super::service::servers::{Family, Server};
use super::service::sql::{self, Outcome, QueryError, SqlSession};
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

static SESSIONS: LazyLock<Pool<Session>> = LazyLock::new(|| Pool::new(LOOKUP_CONNECTIONS_MAX));

impl Client for Session {
    fn wire(&self) -> &Wire {
        Session::wire(self)
    }
}

impl SqlSession for Session {
    fn run(&mut self, query: &[u8], limit: Duration) -> Result<Outcome, QueryError> {
        self.query(query, limit)
    }

    fn is_at_rest(&self) -> bool {
        self.is_idle()
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
    let kind = sql::Kind {
        family: FAMILY,
        label: "MYSQL",
        end: "\n",
        sessions: &SESSIONS,
        null: rows::Null::Nothing,
        connect,
    };
    sql::ask(&kind, context, query, lookup)
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
