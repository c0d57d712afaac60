//! What the checks ask of the DNS, as a trait, so that they need no I/O of their own and whole suites run in memory.

use std::net::IpAddr;

/// What came of a question: the three answers that anything remote gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// Records; never empty.
    Found(Vec<T>),
    /// There are none: the name does not exist, or has no record of the type.
    NotThere,
    /// No server could say.
    AskAgain,
}

/// The questions. Names are ASCII (A-labels) without a final dot.
pub trait Dns {
    /// The TXT records, each with its strings put together without a separator.
    fn txt(&self, name: &str) -> Answer<Vec<u8>>;
    /// The addresses of one family: AAAA records if `is_v6`, A records if not.
    fn addresses(&self, name: &str, is_v6: bool) -> Answer<IpAddr>;
    /// The names of the mail exchangers, in the order of the answer.
    fn exchangers(&self, name: &str) -> Answer<String>;
    /// The names that the reverse tree has for an address.
    fn names_of(&self, address: IpAddr) -> Answer<String>;
}
