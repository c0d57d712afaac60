//! What the lookups in SQL servers share: what a query gives, the servers in turn, a session of the pool, the rows as text.

use std::io;
use std::time::Duration;

use oxim_base::Text;

use super::Timeouts;
use super::pool::{Client, Pool};
use super::rows;
use super::servers::{Family, Refusal, Server, ask_each, servers_of};
use super::wire::step_error;
use crate::context::Context;
use crate::lookup::{Answer, LookupError, LookupType};

/// The fields of a row; None is NULL.
pub type Row = Vec<Option<Vec<u8>>>;

/// What a query gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Rows: names of the fields, and the fields of each row; None is NULL.
    Rows(Vec<Vec<u8>>, Vec<Row>),
    /// A statement without rows: how many it has changed, as text; empty if it does not say.
    Done(Vec<u8>),
}

/// Why a query gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// The server says so; the session is still good.
    Server(String),
    /// The session is lost.
    Lost(String),
}

impl From<io::Error> for QueryError {
    fn from(error: io::Error) -> QueryError {
        QueryError::Lost(step_error(&error))
    }
}

/// A session with an SQL server.
pub(crate) trait SqlSession: Client {
    /// Sends a query and reads all of its answer.
    fn run(&mut self, query: &[u8], limit: Duration) -> Result<Outcome, QueryError>;
    /// Whether no transaction is open.
    fn is_at_rest(&self) -> bool;
}

/// One kind of server.
pub(crate) struct Kind<S: SqlSession + 'static> {
    /// How its servers are written.
    pub(crate) family: Family,
    /// Its name in error texts.
    pub(crate) label: &'static str,
    /// What follows the text of a fault of the query.
    pub(crate) end: &'static str,
    /// The idle sessions.
    pub(crate) sessions: &'static Pool<S>,
    /// How SQL's NULL is shown.
    pub(crate) null: rows::Null,
    /// Opens a session.
    pub(crate) connect: fn(&Context, &Server, Timeouts) -> Result<S, String>,
}

/// Asks the first server that carries the query out. A session is kept if the query leaves nothing behind in it.
///
/// # Errors
/// Options that cannot be read; servers none of which gives an answer (defer).
pub(crate) fn ask<S: SqlSession>(
    kind: &Kind<S>,
    context: &mut Context,
    query: &Text,
    lookup: &LookupType,
) -> Result<Answer, LookupError> {
    let times = Timeouts::of(lookup).map_err(LookupError::Failed)?;
    let (servers, query) = servers_of(context, lookup, query, &kind.family).map_err(LookupError::Defer)?;
    let rests = |server: &Server| kind.sessions.is_resting(server.item.as_bytes());
    let failed = |text: &str| Refusal::Reached(format!("{}: query failed: {text}{}", kind.label, kind.end));
    let outcome = ask_each(servers, rests, |server| {
        let mut lent = kind
            .sessions
            .lend(server.item.as_bytes(), times.connect, || (kind.connect)(context, server, times))
            .map_err(Refusal::Unreachable)?;
        let outcome = lent.client().map_err(Refusal::Unreachable)?.run(&query, times.answer);
        match outcome {
            Ok(outcome) => {
                if lent.client().is_ok_and(|session| session.is_at_rest()) && rows::leaves_no_trace(&query) {
                    lent.keep();
                }
                Ok(outcome)
            }
            Err(QueryError::Server(text)) => Err(failed(&text)),
            Err(QueryError::Lost(text)) => Err(failed(&format!("server {}: {text}", server.host))),
        }
    });
    Ok(rows::answer(outcome.map_err(LookupError::Defer)?, kind.null))
}
