//! What the lookups that ask servers have in common: connections with deadlines, pools of them, lists of servers, the
//! answers that a message remembers, and the wire formats.
//!
//! The clients are our own and synchronous: they run on the worker thread of the lookup, every step has a deadline, and
//! only the text protocols are needed, in which the postmaster's whole query is handed over. Whatever a server sends is
//! checked for length before it is believed.
//!
//! One pattern for all: [`servers`] says which servers are asked in which order, [`pool`] lends a connection to one of them,
//! the type's file speaks. A connection on which anything went wrong is closed; a server that could not be reached is asked
//! last for a while. No server that answers means: defer.

pub mod ber;
pub mod ldap;
pub mod ldap_url;
pub mod mysql;
pub mod pgsql;
pub(crate) mod pool;
pub mod redis;
pub(crate) mod results;
pub(crate) mod rows;
pub(crate) mod servers;
pub mod sql;
pub mod wire;

use std::time::Duration;

use oxim_base::Text;
use oxim_base::clock::parse_interval;
use oxim_base::limits::{LOOKUP_ANSWER_TIMEOUT, LOOKUP_CONNECT_TIMEOUT};

use super::LookupType;

/// How long a server may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect and log in.
    pub connect: Duration,
    /// To answer one question.
    pub answer: Duration,
}

impl Timeouts {
    /// As the lookup's option `timeout=` (ours) says, for both.
    pub(crate) fn of(lookup: &LookupType) -> Result<Timeouts, String> {
        let Some(text) = lookup.option("timeout") else {
            return Ok(Timeouts { connect: LOOKUP_CONNECT_TIMEOUT, answer: LOOKUP_ANSWER_TIMEOUT });
        };
        let seconds =
            parse_interval(text).filter(|s| *s > 0).ok_or_else(|| format!("bad time value {text}"))?;
        let time = Duration::from_secs(seconds);
        Ok(Timeouts { connect: time, answer: time })
    }
}

/// A query as messages and debugging output may show it: without the passwords that an LDAP query has in front, and without
/// what follows the hosts in a list of servers.
pub(crate) fn without_secrets(type_name: &str, query: &Text) -> String {
    let text = query.to_string_lossy();
    if type_name.starts_with("ldap") {
        return ldap_url::without_password(&text);
    }
    let is_list = text.trim_start().get(..7).is_some_and(|front| front.eq_ignore_ascii_case("servers"));
    match text.split_once(';') {
        Some((front, rest)) if is_list && front.contains('/') => {
            let name = front.split('=').next().unwrap_or_default();
            format!("{name}=***;{rest}")
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let shown = |name, text| without_secrets(name, &Text::from(text));
        assert_eq!(shown("pgsql", "servers=h/d/u/pw; select 1"), "servers=***; select 1");
        assert_eq!(shown("pgsql", "servers=h; select a/b"), "servers=h; select a/b");
        assert_eq!(shown("mysql", "select a/b; x"), "select a/b; x");
        assert_eq!(shown("ldapm", "pass=x ldap:///"), "pass=*** ldap:///");
    }
}
