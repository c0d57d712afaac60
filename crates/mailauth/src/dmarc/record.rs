//! A DMARC record: the tags of the TXT record at `_dmarc.` (RFC 7489 section 6.3, RFC 9989).
//!
//! What is wrong in a tag that is not `v` or `p` leaves the tag's default.

use crate::dkim::tags::{number, tags, without_space};

/// What the owner of a domain wants done with what fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Nothing.
    None,
    /// Look at it closely.
    Quarantine,
    /// Refuse it.
    Reject,
}

impl Policy {
    /// The word in a record.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Policy::None => "none",
            Policy::Quarantine => "quarantine",
            Policy::Reject => "reject",
        }
    }

    fn from_word(word: &[u8]) -> Option<Policy> {
        [Policy::None, Policy::Quarantine, Policy::Reject]
            .into_iter()
            .find(|policy| word.eq_ignore_ascii_case(policy.word().as_bytes()))
    }

    /// The next milder one.
    #[must_use]
    pub fn milder(self) -> Policy {
        match self {
            Policy::Reject => Policy::Quarantine,
            Policy::Quarantine | Policy::None => Policy::None,
        }
    }
}

/// How near an authenticated domain must be to that of From:.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Alignment {
    /// Of one organization.
    #[default]
    Relaxed,
    /// The same.
    Strict,
}

impl Alignment {
    fn from_word(word: &[u8]) -> Alignment {
        if word.eq_ignore_ascii_case(b"s") { Alignment::Strict } else { Alignment::Relaxed }
    }
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `p=`.
    pub policy: Policy,
    /// `sp=`.
    pub of_subdomains: Option<Policy>,
    /// `np=` (RFC 9989).
    pub of_nonexistent: Option<Policy>,
    /// `adkim=`.
    pub dkim: Alignment,
    /// `aspf=`.
    pub spf: Alignment,
    /// `pct=`: of how many messages in a hundred the policy is true.
    pub percent: u8,
    /// `rua=`: where aggregate reports go.
    pub rua: Vec<Vec<u8>>,
    /// `ruf=`: where failure reports go.
    pub ruf: Vec<Vec<u8>>,
    /// `psd=` (RFC 9989): whether the domain is a registry; None if it does not say.
    pub is_registry: Option<bool>,
    /// `t=y` (RFC 9989): the owner is only trying.
    pub is_testing: bool,
}

/// What a TXT record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Something else.
    Other,
    /// A DMARC record without a policy: DMARC is not applied.
    Unusable,
    /// A policy.
    Record(Box<Record>),
}

impl Reading {
    /// Reads a TXT record.
    #[must_use]
    pub fn of(text: &[u8]) -> Reading {
        let mut items = tags(text);
        let is_dmarc = matches!(items.next(), Some(Some(tag)) if tag.name == b"v" && tag.value == b"DMARC1");
        if !is_dmarc {
            return Reading::Other;
        }
        let mut policy = None;
        let mut has_bad_policy = false;
        let mut record = Record {
            policy: Policy::None,
            of_subdomains: None,
            of_nonexistent: None,
            dkim: Alignment::Relaxed,
            spf: Alignment::Relaxed,
            percent: 100,
            rua: Vec::new(),
            ruf: Vec::new(),
            is_registry: None,
            is_testing: false,
        };
        for tag in items.flatten() {
            match tag.name {
                b"p" => policy = Policy::from_word(tag.value),
                b"sp" => {
                    record.of_subdomains = Policy::from_word(tag.value);
                    has_bad_policy |= record.of_subdomains.is_none();
                }
                b"np" => record.of_nonexistent = Policy::from_word(tag.value),
                b"adkim" => record.dkim = Alignment::from_word(tag.value),
                b"aspf" => record.spf = Alignment::from_word(tag.value),
                b"pct" => {
                    let percent = number(tag.value).filter(|percent| *percent <= 100);
                    record.percent = percent.and_then(|percent| u8::try_from(percent).ok()).unwrap_or(100);
                }
                b"rua" => record.rua = addresses(tag.value),
                b"ruf" => record.ruf = addresses(tag.value),
                b"psd" => {
                    record.is_registry = match tag.value {
                        b"y" => Some(true),
                        b"n" => Some(false),
                        _ => None,
                    };
                }
                b"t" => record.is_testing = tag.value == b"y",
                _ => {}
            }
        }
        match policy {
            Some(policy) if !has_bad_policy => record.policy = policy,
            // RFC 7489 section 6.6.3: who wants reports gets them all the same.
            _ if !record.rua.is_empty() => {
                record.policy = Policy::None;
                record.of_subdomains = None;
            }
            _ => return Reading::Unusable,
        }
        Reading::Record(Box::new(record))
    }
}

/// The addresses of a list that are URIs.
fn addresses(list: &[u8]) -> Vec<Vec<u8>> {
    let is_uri = |item: &Vec<u8>| {
        let scheme = memchr::memchr(b':', item).and_then(|at| item.get(..at)).unwrap_or_default();
        !scheme.is_empty()
            && scheme.iter().all(u8::is_ascii_alphanumeric)
            && item.iter().all(u8::is_ascii_graphic)
    };
    list.split(|b| *b == b',').map(without_space).filter(is_uri).collect()
}

/// The mailbox of a `mailto:` URI, without the limit that may follow it, and the limit in bytes. None: another scheme.
#[must_use]
pub fn mailbox(uri: &[u8]) -> Option<(Vec<u8>, Option<u64>)> {
    let at = memchr::memchr(b':', uri)?;
    let (scheme, rest) = uri.split_at_checked(at)?;
    if !scheme.eq_ignore_ascii_case(b"mailto") {
        return None;
    }
    let rest = rest.get(1..).unwrap_or_default();
    let (address, limit) = match memchr::memrchr(b'!', rest).and_then(|at| rest.split_at_checked(at)) {
        Some((address, limit)) => (address, Some(bytes(limit.get(1..).unwrap_or_default())?)),
        None => (rest, None),
    };
    let address = decoded(address.split(|b| *b == b'?').next().unwrap_or_default())?;
    let domain = memchr::memrchr(b'@', &address).and_then(|at| address.get(at.saturating_add(1)..))?;
    if domain.is_empty() || address.iter().any(|b| !b.is_ascii_graphic() || matches!(b, b'<' | b'>' | b',')) {
        return None;
    }
    Some((address, limit))
}

/// A size with its unit: `10m`.
fn bytes(text: &[u8]) -> Option<u64> {
    let (digits, factor) = match text.split_last()? {
        (b'k' | b'K', rest) => (rest, 1 << 10),
        (b'm' | b'M', rest) => (rest, 1 << 20),
        (b'g' | b'G', rest) => (rest, 1 << 30),
        (b't' | b'T', rest) => (rest, 1 << 40),
        _ => (text, 1),
    };
    Some(number(digits)?.saturating_mul(factor))
}

/// `%2c` and its kin.
fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after.get(2..).unwrap_or_default();
        } else {
            out.push(*first);
            rest = after;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> Record {
        match Reading::of(text.as_bytes()) {
            Reading::Record(record) => *record,
            other @ (Reading::Other | Reading::Unusable) => panic!("{other:?}"),
        }
    }

    #[test]
    fn tags_and_their_defaults() {
        let plain = record("v=DMARC1; p=none");
        assert_eq!((plain.policy, plain.percent, plain.dkim), (Policy::None, 100, Alignment::Relaxed));
        let full = record(
            "v = DMARC1 ;p=Reject;sp=quarantine;np=none;adkim=s;aspf=S;pct=7;rua=mailto:a@x.ex, mailto:b@x.ex!10m;\
             ruf=https://x.ex/;psd=n;t=y;other=1;;",
        );
        assert_eq!(full.policy, Policy::Reject);
        assert_eq!((full.of_subdomains, full.of_nonexistent), (Some(Policy::Quarantine), Some(Policy::None)));
        assert_eq!((full.dkim, full.spf, full.percent), (Alignment::Strict, Alignment::Strict, 7));
        assert_eq!(full.rua, [b"mailto:a@x.ex".to_vec(), b"mailto:b@x.ex!10m".to_vec()]);
        assert_eq!((full.is_registry, full.is_testing), (Some(false), true));
        assert_eq!(record("v=DMARC1; p=none; pct=101; adkim=x").percent, 100);
    }

    #[test]
    fn what_is_no_policy() {
        for other in ["", "v=spf1 -all", "p=none; v=DMARC1", "v=DMARC2; p=none", "v=dmarc1; p=none", "hello"]
        {
            assert_eq!(Reading::of(other.as_bytes()), Reading::Other, "{other}");
        }
        for bad in ["v=DMARC1", "v=DMARC1; p=bogus", "v=DMARC1; p=reject; sp=bogus", "v=DMARC1; rua=nonsense"]
        {
            assert_eq!(Reading::of(bad.as_bytes()), Reading::Unusable, "{bad}");
        }
        assert_eq!(record("v=DMARC1; p=bogus; rua=mailto:a@x.ex").policy, Policy::None);
    }

    #[test]
    fn where_reports_go() {
        let found = |uri: &str| mailbox(uri.as_bytes());
        assert_eq!(found("mailto:a@x.ex"), Some((b"a@x.ex".to_vec(), None)));
        assert_eq!(found("MAILTO:a%2bb@x.ex!10m"), Some((b"a+b@x.ex".to_vec(), Some(10 << 20))));
        assert_eq!(found("mailto:a@x.ex!5"), Some((b"a@x.ex".to_vec(), Some(5))));
        for bad in [
            "https://x.ex",
            "mailto:a",
            "mailto:a@",
            "mailto:a@x.ex!zz",
            "mailto:a%zz@x.ex",
            "mailto:a%0a@x.ex",
        ] {
            assert_eq!(found(bad), None, "{bad}");
        }
    }
}
