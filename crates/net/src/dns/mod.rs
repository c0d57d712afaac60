//! The DNS client: typed answers that tell "not there" from "ask again", with the AD bit.
//!
//! [`Resolver`] is cheap to clone; all clones share one cache. Its methods are async; language code on a worker
//! thread uses [`Resolver::blocking`]. Names are bytes between dots: which characters a name may have is the
//! caller's business (Exim's `dns_check_names_pattern`), a name that cannot be encoded is answered `NoDomain`.
//!
//! - `a`, `aaaa`, `mx` … ask the DNS alone; [`Resolver::addresses_of`] and [`Resolver::name_of`] look into the hosts
//!   file first, as `gethostbyname` and `gethostbyaddr` do.
//! - [`Resolver::text`] gives records as text fields, for the dnsdb lookup (manual section 9.10).
//! - A failure of a server is never an absence: it is `AskAgain`, and is remembered for a few seconds only.
//!
//! Manual: `dns_*` options in chapter 14, sections 9.10 to 9.13 (dnsdb). RFC 1035, 2308 (negative answers), 6891 (EDNS).

mod blocking;
mod cache;
mod csa;
pub mod failures;
mod host;
mod hosts_file;
mod record;
mod resolv_conf;
mod resolver;
#[cfg(test)]
mod test_server;
mod text;
mod transport;
mod validate;

pub use blocking::BlockingResolver;
pub use csa::{CsaAnswer, CsaCode, CsaSettings};
pub use host::{Family, HostLookupMethod, NameCheck, reverse_labels, reverse_name};
pub use record::{Mx, Soa, Srv, Tlsa};
pub use resolver::{Resolver, ResolverConfig, Watch};
pub use text::{FieldStyle, TextRecord, TextType};
pub use validate::Anchors;

/// What came of a question: the three answers that anything remote gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<T> {
    /// Records were found.
    Found(Answer<T>),
    /// A server said that there are none.
    NotThere(NotThere),
    /// No server could say; the text is for logs (`timed out`, `server failure`). Defer, do not bounce.
    AskAgain(String),
}

/// Which kind of absence it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotThere {
    /// The name does not exist (NXDOMAIN), or could not be one.
    NoDomain,
    /// The name exists without records of this type.
    NoData,
}

/// Records, and what is known about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// The records; never empty.
    pub records: T,
    /// Whether every response that led here had the AD bit (only asked for after `with_dnssec(true)`).
    pub secure: bool,
    /// The full name that was asked for in the end, after search domains, without the final dot.
    pub name: String,
    /// The name that owns the records, after CNAMEs; equal to `name` when there were none.
    pub owner: String,
    /// The smallest time to live on the way, in seconds.
    pub ttl_seconds: u32,
    /// If the server answered with authority (AA bit), the zone that it named: the first NS record of the authority
    /// section. Callers who trust that zone (`dns_trust_aa`) count the answer as secure.
    pub authority: Option<String>,
}

impl<T> Answer<T> {
    /// The same answer with other records.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Answer<U> {
        Answer {
            records: change(self.records),
            secure: self.secure,
            name: self.name,
            owner: self.owner,
            ttl_seconds: self.ttl_seconds,
            authority: self.authority,
        }
    }
}

impl<T> Lookup<T> {
    /// The same outcome with other records.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Lookup<U> {
        match self {
            Lookup::Found(answer) => Lookup::Found(answer.map(change)),
            Lookup::NotThere(kind) => Lookup::NotThere(kind),
            Lookup::AskAgain(reason) => Lookup::AskAgain(reason),
        }
    }

    /// The answer, if there is one.
    pub fn found(self) -> Option<Answer<T>> {
        match self {
            Lookup::Found(answer) => Some(answer),
            Lookup::NotThere(_) | Lookup::AskAgain(_) => None,
        }
    }

    /// The records, if there are any.
    pub fn records(self) -> Option<T> {
        self.found().map(|answer| answer.records)
    }
}
