//! MTA-STS: what a domain says of its mail exchangers' TLS (RFC 8461). The record in the DNS, the policy, which hosts it names.
//!
//! No options, no cache: those are the transport's. [`fetch`] is the one function that uses the network. A record or policy that
//! is malformed counts as absent (sections 3.1 and 3.2); unknown fields are passed over.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::http::{self, HttpError, Limits, Request};
use crate::tls::client::ClientPolicy;

/// Longest life of a policy (section 3.2).
const MAX_AGE_SECONDS_MAX: u64 = 31_557_600;
/// Longest identifier of a policy (section 3.1).
const ID_BYTES_MAX: usize = 32;

/// What a sender is to do with hosts that do not fulfil a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Not deliver to them.
    Enforce,
    /// Tell of it.
    Testing,
    /// Nothing: there is no policy any more.
    None,
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What is to be done.
    pub mode: Mode,
    /// How long it may be kept.
    pub max_age: Duration,
    /// Names of hosts, in lower case; `*.` at the begin stands for one label.
    pub mx: Vec<String>,
}

/// What is wrong with a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyFault {
    /// The field is not there.
    Missing(&'static str),
    /// The field's value cannot be used.
    Bad(&'static str),
    /// A line without colon, or bytes that are no text.
    Line,
}

impl fmt::Display for PolicyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PolicyFault::Missing(field) => write!(f, "malformed policy: no {field}"),
            PolicyFault::Bad(field) => write!(f, "malformed policy: bad {field}"),
            PolicyFault::Line => f.write_str("malformed policy: a line that is no field"),
        }
    }
}

/// The identifier in the TXT records of `_mta-sts.DOMAIN`. `None`: there is no policy, or more than one record says so.
#[must_use]
pub fn policy_id(records: &[Vec<u8>]) -> Option<String> {
    let is_ours = |record: &&Vec<u8>| {
        let rest = record.strip_prefix(b"v=STSv1");
        rest.is_some_and(|rest| rest.trim_ascii_start().starts_with(b";"))
    };
    let mut ours = records.iter().filter(is_ours);
    let (Some(record), None) = (ours.next(), ours.next()) else { return None };
    let text = std::str::from_utf8(record).ok()?;
    let mut fields = text.split(';').map(|field| field.trim_matches([' ', '\t'])).skip(1);
    let id = fields.find_map(|field| field.strip_prefix("id="))?;
    let is_id = (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_id.then(|| id.to_owned())
}

impl Policy {
    /// Reads the file.
    ///
    /// # Errors
    /// It is malformed, which is as good as absent.
    pub fn parse(bytes: &[u8]) -> Result<Policy, PolicyFault> {
        let text = std::str::from_utf8(bytes).map_err(|_| PolicyFault::Line)?;
        let (mut version, mut mode, mut max_age, mut mx) = (None, None, None, Vec::new());
        for line in text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)) {
            if line.trim_matches([' ', '\t']).is_empty() {
                continue;
            }
            let (name, value) = line.split_once(':').ok_or(PolicyFault::Line)?;
            let value = value.trim_matches([' ', '\t']);
            // Of fields that may stand once, the first counts.
            match name {
                "version" => version = version.or(Some(value)),
                "mode" => mode = mode.or(Some(value)),
                "max_age" => max_age = max_age.or(Some(value)),
                "mx" => mx.push(pattern(value).ok_or(PolicyFault::Bad("mx"))?),
                _ => {}
            }
        }
        match version {
            Some("STSv1") => {}
            Some(_) => return Err(PolicyFault::Bad("version")),
            None => return Err(PolicyFault::Missing("version")),
        }
        let mode = match mode {
            Some("enforce") => Mode::Enforce,
            Some("testing") => Mode::Testing,
            Some("none") => Mode::None,
            Some(_) => return Err(PolicyFault::Bad("mode")),
            None => return Err(PolicyFault::Missing("mode")),
        };
        let max_age = max_age.ok_or(PolicyFault::Missing("max_age"))?;
        let is_number =
            (1..=10).contains(&max_age.len()) && max_age.bytes().all(|byte| byte.is_ascii_digit());
        let max_age: u64 = max_age.parse().ok().filter(|_| is_number).ok_or(PolicyFault::Bad("max_age"))?;
        if mx.is_empty() && mode != Mode::None {
            return Err(PolicyFault::Missing("mx"));
        }
        Ok(Policy { mode, max_age: Duration::from_secs(max_age.min(MAX_AGE_SECONDS_MAX)), mx })
    }

    /// Whether a host from an MX record is one of those of the policy (section 4.1).
    #[must_use]
    pub fn names(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.mx.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(parent) => {
                host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent)
            }
            None => *pattern == host,
        })
    }
}

/// A host name, perhaps with `*.` in front, in lower case.
fn pattern(text: &str) -> Option<String> {
    let text = text.trim_end_matches('.');
    let name = text.strip_prefix("*.").unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    (name.len() <= 253 && name.split('.').all(is_label)).then(|| text.to_ascii_lowercase())
}

/// Why a policy was not had.
#[derive(Debug)]
pub enum FetchError {
    /// No answer.
    Http(HttpError),
    /// An answer, but not with a policy: its status.
    Status(u16),
    /// It is not declared to be plain text.
    MediaType,
    /// What came is no policy.
    Policy(PolicyFault),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FetchError::Http(error) => error.fmt(f),
            FetchError::Status(status) => write!(f, "the server answers {status}"),
            FetchError::MediaType => f.write_str("the answer is not text/plain"),
            FetchError::Policy(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for FetchError {}

/// The name of the host that has the policy of a domain.
#[must_use]
pub fn policy_host(domain: &str) -> String {
    format!("mta-sts.{domain}")
}

/// Fetches the policy of a domain from the addresses of its [`policy_host`] (section 3.3). `policy` must require a good
/// certificate for that name. The text is given too, to be kept.
///
/// # Errors
/// There is none to be had now.
pub fn fetch(
    domain: &str,
    addresses: &[SocketAddr],
    policy: &ClientPolicy,
    limits: Limits,
) -> Result<(Policy, Vec<u8>), FetchError> {
    let host = policy_host(domain);
    let request = Request { host: &host, path: "/.well-known/mta-sts.txt", post: None };
    let response = http::ask(addresses, Some((&host, policy)), &request, limits).map_err(FetchError::Http)?;
    if response.status != 200 {
        return Err(FetchError::Status(response.status));
    }
    // Who may put files on a web server may not thereby make policies.
    if response.media_type.as_deref() != Some("text/plain") {
        return Err(FetchError::MediaType);
    }
    let policy = Policy::parse(&response.body).map_err(FetchError::Policy)?;
    Ok((policy, response.body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(records: &[&str]) -> Option<String> {
        policy_id(&records.iter().map(|record| record.as_bytes().to_vec()).collect::<Vec<_>>())
    }

    #[test]
    fn identifiers() {
        let good = Some("20160831085700Z".to_owned());
        assert_eq!(id(&["v=STSv1; id=20160831085700Z;"]), good);
        assert_eq!(id(&["v=STSv1 ;\tx=y;id=20160831085700Z"]), good);
        assert_eq!(id(&["v=spf1 -all", "v=STSv1; id=20160831085700Z"]), good);
        for none in [
            &["v=STSv1; id=1", "v=STSv1; id=2"][..],
            &["v=STSv1; id="],
            &["v=STSv1; id=a-b"],
            &["v=STSv1;"],
            &["v=STSv10; id=1"],
            &["V=STSV1; id=1"],
            &["id=1; v=STSv1"],
            &["v=STSv1; id=123456789012345678901234567890123"],
            &[],
        ] {
            assert_eq!(id(none), None, "{none:?}");
        }
    }

    #[test]
    fn policies() {
        let text = "version: STSv1\r\nmode: enforce\r\nmx: mail.Example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n";
        let policy = Policy::parse(text.as_bytes()).unwrap();
        assert_eq!((policy.mode, policy.max_age.as_secs()), (Mode::Enforce, 604_800));
        assert_eq!(policy.mx, ["mail.example.com", "*.example.net"]);
        assert_eq!(Policy::parse(text.replace('\r', "").as_bytes()).unwrap(), policy);
        let odd = format!("{}mode: none\nversion: x\nmax_age: x\nfuture: 1\n\n", text);
        assert_eq!(Policy::parse(odd.as_bytes()).unwrap(), policy);
        let none = Policy::parse(b"version:STSv1\nmode:none\nmax_age:9999999999").unwrap();
        assert_eq!((none.mode, none.max_age.as_secs()), (Mode::None, MAX_AGE_SECONDS_MAX));
    }

    #[test]
    fn malformed_policies() {
        use PolicyFault::{Bad, Line, Missing};
        let whole = "version: STSv1\nmode: testing\nmx: a.example\nmax_age: 1\n";
        for (from, to, fault) in [
            ("version: STSv1\n", "", Missing("version")),
            ("STSv1", "STSv2", Bad("version")),
            ("mode: testing\n", "", Missing("mode")),
            ("testing", "Testing", Bad("mode")),
            ("mx: a.example\n", "", Missing("mx")),
            ("a.example", "a..example", Bad("mx")),
            ("a.example", "a.*.example", Bad("mx")),
            ("a.example", "", Bad("mx")),
            ("max_age: 1\n", "", Missing("max_age")),
            ("age: 1", "age: -1", Bad("max_age")),
            ("age: 1", "age: 12345678901", Bad("max_age")),
            ("mode: testing", "mode testing", Line),
        ] {
            assert_eq!(Policy::parse(whole.replace(from, to).as_bytes()), Err(fault), "{from} {to}");
        }
        assert_eq!(Policy::parse(b"\xff"), Err(Line));
        assert_eq!(Policy::parse(b""), Err(Missing("version")));
    }

    #[test]
    fn a_wildcard_is_one_label() {
        let policy = Policy::parse(
            b"version: STSv1\nmode: enforce\nmx: *.example.com\nmx: mx.example.net\nmax_age: 1",
        )
        .unwrap();
        for named in ["a.example.com", "A.Example.COM.", "mx.example.net"] {
            assert!(policy.names(named), "{named}");
        }
        for other in ["example.com", "a.b.example.com", ".example.com", "b.mx.example.net", "example.net", ""]
        {
            assert!(!policy.names(other), "{other}");
        }
    }
}
