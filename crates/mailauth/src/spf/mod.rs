//! SPF (RFC 7208): whether the owner of a domain lets an address send mail with its name.
//!
//! [`Identity::check`] is the function `check_host` of the RFC, with its limits: ten terms that ask the DNS, two of them
//! without any answer, ten exchangers, ten names of the reverse tree. A DNS failure is `temperror`, never `none`; a
//! record with an error in it, anywhere, is `permerror`. The record is parsed whole before any of it is evaluated.

mod evaluate;
mod macros;
mod record;
#[cfg(test)]
mod suite;

use std::fmt;
use std::net::IpAddr;

use crate::dns::Dns;

pub use macros::MacroString;
pub use record::{Record, SyntaxError};

/// The results of RFC 7208, section 2.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The address may send for the domain.
    Pass,
    /// It may not.
    Fail,
    /// It probably may not.
    SoftFail,
    /// The owner of the domain does not say.
    Neutral,
    /// There is no record, or no domain that could have one.
    None,
    /// The DNS could not say; later it may.
    TempError,
    /// The published records are wrong.
    PermError,
}

impl Verdict {
    /// The word of the RFC, in lower case.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::SoftFail => "softfail",
            Verdict::Neutral => "neutral",
            Verdict::None => "none",
            Verdict::TempError => "temperror",
            Verdict::PermError => "permerror",
        }
    }

    /// Reads a word, in any of the spellings that Exim's versions had: `err_temp`, `err_perm` and `invalid` too.
    #[must_use]
    pub fn from_word(word: &[u8]) -> Option<Verdict> {
        Some(match word {
            b"pass" => Verdict::Pass,
            b"fail" => Verdict::Fail,
            b"softfail" => Verdict::SoftFail,
            b"neutral" => Verdict::Neutral,
            b"none" => Verdict::None,
            b"temperror" | b"err_temp" => Verdict::TempError,
            b"permerror" | b"err_perm" | b"invalid" => Verdict::PermError,
            _ => return None,
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Why records are wrong (`permerror`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// More than one record begins with `v=spf1`.
    SeveralRecords,
    /// The target of `include` or `redirect` has no record.
    NoRecord,
    /// A record that cannot be read.
    Syntax(SyntaxError),
    /// More than ten terms ask the DNS.
    TooManyTerms,
    /// More than two questions had no answer.
    TooManyVoids,
    /// A domain has more than ten exchangers.
    TooManyExchangers,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::SeveralRecords => f.write_str("Multiple SPF or TXT records for domain."),
            Fault::NoRecord => f.write_str("Could not find a valid SPF record"),
            Fault::Syntax(error) => error.fmt(f),
            Fault::TooManyTerms => f.write_str("more than 10 terms ask the DNS"),
            Fault::TooManyVoids => f.write_str("more than 2 DNS lookups without an answer"),
            Fault::TooManyExchangers => f.write_str("more than 10 mail exchangers"),
        }
    }
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The result.
    pub verdict: Verdict,
    /// Whether a mechanism matched; if not, the result is the default of the record.
    pub is_by_mechanism: bool,
    /// With `PermError`, what is wrong.
    pub fault: Option<Fault>,
    /// With `Fail`, the domain's own explanation (`exp=`), if it was asked for and could be had; ASCII.
    pub explanation: Option<String>,
}

/// Who sends, and to whom.
#[derive(Clone, Debug)]
pub struct Identity<'a> {
    /// The client. An IPv4 address in IPv6 form counts as IPv4.
    pub client: IpAddr,
    /// The argument of HELO or EHLO.
    pub helo: &'a [u8],
    /// The local part that is checked; `postmaster` if it is empty.
    pub local_part: &'a [u8],
    /// The domain that is checked, in A-labels.
    pub domain: &'a [u8],
    /// The name of this host, for `%{r}`.
    pub receiver: &'a [u8],
    /// The time, in seconds since 1970, for `%{t}`.
    pub now: i64,
    /// Whether the domain's own explanation of a `fail` is wanted; it costs DNS questions.
    pub wants_explanation: bool,
}

impl Identity<'_> {
    /// Checks the domain's own record.
    #[must_use]
    pub fn check(&self, dns: &dyn Dns) -> Outcome {
        evaluate::check(self, dns, None)
    }

    /// Checks as if the domain had this record (best guess).
    #[must_use]
    pub fn check_guess(&self, dns: &dyn Dns, record: &[u8]) -> Outcome {
        evaluate::check(self, dns, Some(record))
    }

    /// Expands a text with SPF's macros, as for an explanation: `%{c}`, `%{r}` and `%{t}` are known.
    ///
    /// # Errors
    /// The place in the text that cannot be read.
    pub fn explain(&self, dns: &dyn Dns, text: &[u8]) -> Result<Vec<u8>, SyntaxError> {
        let parsed = MacroString::explanation(text)?;
        Ok(evaluate::expand_outside(self, dns, &parsed))
    }
}
