//! The `pgsql` lookup: a query to PostgreSQL (manual sections 9.21 to 9.25).
//!
//! Servers: the option `pgsql_servers`, or `servers=` of the lookup. The first that carries the query out gives the answer;
//! when none does, the lookup defers.

use std::sync::LazyLock;
use std::time::Duration;

use oxim_base::Text;
use oxim_base::limits::LOOKUP_CONNECTIONS_MAX;

use super::service::Timeouts;
use super::service::pgsql::{Login, Session, encrypt_if_offered};
use super::service::pool::{Client, Pool};
use super::service::rows;
use super::service::servers::{Family, Server};
use super::service::sql::{self, Outcome, QueryError, SqlSession};
use super::service::wire::{Place, Wire};
use super::{Answer, LookupError, LookupKind, LookupType, Service, Style};
use crate::context::Context;

/// The row.
pub(super) static PGSQL: LookupKind = LookupKind {
    name: "pgsql",
    style: Style::Service(Service { mark: "pgsql", quote, needs_quoting: true, has_words: false, ask }),
    doc: "PostgreSQL query; options servers=, timeout=",
};

const FAMILY: Family =
    Family { label: "PostgreSQL", option: "pgsql_servers", incomplete: "pgSQL", fields: 3, port: 5432 };

/// Where Debian's server listens when no host is given.
const DEFAULT_SOCKET: &str = "/var/run/postgresql/.s.PGSQL.5432";

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

/// Doubles single quotes and puts a backslash before double quotes and backslashes, as Exim does: in a string of standard
/// SQL the backslash stays, so only values without those two come through unchanged, and nothing comes out of the quotes.
fn quote(text: &[u8], word: Option<&str>) -> Option<Vec<u8>> {
    if word.is_some() {
        return None;
    }
    Some(rows::quoted_for_sql(text, b"''"))
}

fn connect(context: &Context, server: &Server, times: Timeouts) -> Result<Session, String> {
    let (database, user, password) = (server.field(0), server.field(1), server.field(2));
    let place = match server.place(&FAMILY) {
        Place::Host(name, _) if name.is_empty() => Place::Socket(DEFAULT_SOCKET.into()),
        place @ (Place::Host(..) | Place::Socket(_)) => place,
    };
    let failed = |text: String| {
        let at = match &place {
            Place::Host(name, port) => format!("at \"{name}\", port {port}"),
            Place::Socket(path) => format!("on socket \"{}\"", path.display()),
        };
        format!("PGSQL connection failed: connection to server {at} failed: {text}")
    };
    let mut wire = Wire::connect(context, &place, times.connect).map_err(failed)?;
    if let Place::Host(name, _) = &place {
        encrypt_if_offered(&mut wire, name).map_err(failed)?;
    }
    Session::begin(wire, Login { user, password, database }, times.connect).map_err(failed)
}

fn ask(context: &mut Context, query: &Text, lookup: &LookupType) -> Result<Answer, LookupError> {
    let kind = sql::Kind {
        family: FAMILY,
        label: "PGSQL",
        end: "",
        sessions: &SESSIONS,
        null: rows::Null::Empty,
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
        assert_eq!(
            quote("a%b_c'd\"e\\f\u{e9}\n\t".as_bytes(), None).unwrap(),
            "a%b_c''d\\\"e\\\\f\u{e9}\\n\\t".as_bytes()
        );
        assert_eq!(quote(b"x", Some("y")), None);
    }
}
