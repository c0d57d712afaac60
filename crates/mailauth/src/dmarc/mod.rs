//! DMARC: whether a message may carry the domain in its From: line, and what the domain's owner wants done if not (RFC 7489;
//! RFC 9989 for the tree walk; manual section 58.6).
//!
//! [`check`] needs what SPF and DKIM have found. Failure modes are in [`Outcome`]: a record that no server could give is
//! told apart from one that is not there.

pub mod record;
pub mod suffix;

use crate::dns::{Answer, Dns};
use record::{Alignment, Policy, Reading, Record};
use suffix::{Suffixes, last_labels};

/// What came of an authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// It passed.
    Passed,
    /// It did not.
    NotPassed,
    /// No server could say.
    Later,
}

/// What is known of a message.
#[derive(Clone, Debug)]
pub struct Claims<'a> {
    /// The domain of From:, in A-labels and lower case.
    pub from: &'a str,
    /// What SPF said, and about which domain (A-labels, lower case).
    pub spf: Option<(Authentication, String)>,
    /// What came of each DKIM signature, and its domain (A-labels, lower case).
    pub dkim: Vec<(Authentication, String)>,
}

/// How organizational domains are found.
#[derive(Clone, Debug)]
pub enum Method {
    /// By the public suffixes (RFC 7489).
    Suffixes(Suffixes),
    /// By the records themselves (RFC 9989).
    TreeWalk,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No policy is published.
    NoRecord,
    /// No server could say, about the record or about what would have passed.
    TempError,
    /// An aligned domain is authenticated.
    Accept,
    /// None is, and this is what is to be done.
    Fail(Policy),
}

/// The record that was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The record.
    pub record: Record,
    /// Whose it is.
    pub domain: String,
}

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What came of it.
    pub outcome: Outcome,
    /// The record, if there is one.
    pub found: Option<Found>,
    /// SPF passed for an aligned domain.
    pub is_spf_aligned: bool,
    /// A DKIM signature of an aligned domain is good.
    pub is_dkim_aligned: bool,
}

impl Checked {
    fn without_record(outcome: Outcome) -> Checked {
        Checked { outcome, found: None, is_spf_aligned: false, is_dkim_aligned: false }
    }
}

/// What the question for a record gave.
enum Lookup {
    Found(Box<Record>),
    NotThere,
    /// There is something that forbids to apply DMARC.
    Unusable,
    Later,
}

fn lookup(dns: &dyn Dns, domain: &str) -> Lookup {
    let name = format!("_dmarc.{domain}");
    let is_name = name.len() <= 253
        && name.split('.').all(|label| !label.is_empty() && label.len() <= 63)
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if !is_name {
        return Lookup::NotThere;
    }
    let texts = match dns.txt(&name) {
        Answer::Found(texts) => texts,
        Answer::NotThere => return Lookup::NotThere,
        Answer::AskAgain => return Lookup::Later,
    };
    let mut readings: Vec<Reading> =
        texts.iter().map(|text| Reading::of(text)).filter(|reading| *reading != Reading::Other).collect();
    match (readings.pop(), readings.is_empty()) {
        (Some(Reading::Record(record)), true) => Lookup::Found(record),
        (None, _) => Lookup::NotThere,
        (Some(_), _) => Lookup::Unusable,
    }
}

/// Checks a message. `draw` is a number from 0 to 99 for those who want `pct=` applied.
#[must_use]
pub fn check(claims: &Claims<'_>, dns: &dyn Dns, method: &Method, draw: Option<u8>) -> Checked {
    match method {
        Method::Suffixes(suffixes) => by_suffixes(claims, dns, suffixes, draw),
        Method::TreeWalk => by_tree_walk(claims, dns, draw),
    }
}

fn by_suffixes(claims: &Claims<'_>, dns: &dyn Dns, suffixes: &Suffixes, draw: Option<u8>) -> Checked {
    let organization = suffixes.organizational_domain(claims.from);
    let mut domain = claims.from;
    let mut found = lookup(dns, domain);
    if matches!(found, Lookup::NotThere) && organization != domain {
        domain = organization;
        found = lookup(dns, domain);
    }
    let record = match found {
        Lookup::Found(record) => record,
        Lookup::NotThere | Lookup::Unusable => return Checked::without_record(Outcome::NoRecord),
        Lookup::Later => return Checked::without_record(Outcome::TempError),
    };
    let policy = match record.of_subdomains {
        Some(policy) if domain != claims.from => policy,
        _ => record.policy,
    };
    let is_same = |other: &str| suffixes.organizational_domain(other) == organization;
    judged(claims, Found { record: *record, domain: domain.to_owned() }, policy, draw, &is_same)
}

/// What a policy asks for once the record is known.
fn judged(
    claims: &Claims<'_>,
    found: Found,
    policy: Policy,
    draw: Option<u8>,
    is_same_organization: &dyn Fn(&str) -> bool,
) -> Checked {
    let is_aligned = |mode: Alignment, domain: &str| {
        domain == claims.from || (mode == Alignment::Relaxed && is_same_organization(domain))
    };
    let of = |mode: Alignment, result: Authentication, (own, domain): &(Authentication, String)| {
        *own == result && is_aligned(mode, domain)
    };
    let (spf, dkim) = (found.record.spf, found.record.dkim);
    let has = |result| {
        (
            claims.spf.iter().any(|claim| of(spf, result, claim)),
            claims.dkim.iter().any(|claim| of(dkim, result, claim)),
        )
    };
    let (is_spf_aligned, is_dkim_aligned) = has(Authentication::Passed);
    let outcome = if is_spf_aligned || is_dkim_aligned {
        Outcome::Accept
    } else if has(Authentication::Later) != (false, false) {
        // RFC 7489 section 6.6.2: a policy must not be applied to what could not be checked.
        Outcome::TempError
    } else if draw.is_some_and(|draw| draw >= found.record.percent) {
        Outcome::Fail(policy.milder())
    } else {
        Outcome::Fail(policy)
    };
    Checked { outcome, found: Some(found), is_spf_aligned, is_dkim_aligned }
}

/// Whether a domain takes reports about another one: it is of the same organization, or says so at
/// `domain._report._dmarc.destination` (RFC 7489 section 7.1).
#[must_use]
pub fn takes_reports(dns: &dyn Dns, domain: &str, destination: &str) -> bool {
    let organization = |name: &str| Suffixes::BuiltIn.organizational_domain(name).to_owned();
    if organization(domain) == organization(destination) {
        return true;
    }
    let name = format!("{domain}._report._dmarc.{destination}");
    match dns.txt(&name) {
        Answer::Found(texts) => texts.iter().any(|text| {
            let mut first = text.split(|b| *b == b';');
            first.next().is_some_and(|tag| crate::dkim::tags::without_space(tag) == b"v=DMARC1")
        }),
        Answer::NotThere | Answer::AskAgain => false,
    }
}

/// A step of a tree walk that found a record.
struct Step {
    domain: String,
    record: Record,
}

/// The longest name that a tree walk asks for, after the first, in labels (RFC 9989).
const WALK_LABELS_MAX: usize = 7;

/// The records on the way from a domain up. None: no server could say.
fn walk(dns: &dyn Dns, domain: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut name = domain;
    loop {
        match lookup(dns, name) {
            Lookup::Found(record) => {
                let is_last = record.is_registry.is_some();
                steps.push(Step { domain: name.to_owned(), record: *record });
                if is_last {
                    return Some(steps);
                }
            }
            Lookup::NotThere | Lookup::Unusable => {}
            Lookup::Later => return None,
        }
        let labels = name.split('.').count();
        if labels <= 1 {
            return Some(steps);
        }
        name = last_labels(name, labels.saturating_sub(1).min(WALK_LABELS_MAX));
    }
}

/// The organizational domain that a walk from `domain` has found.
fn organization<'a>(domain: &'a str, steps: &'a [Step]) -> &'a str {
    for step in steps {
        match step.record.is_registry {
            Some(false) => return &step.domain,
            Some(true) if step.domain != domain => {
                return last_labels(domain, step.domain.split('.').count().saturating_add(1));
            }
            Some(true) | None => {}
        }
    }
    steps.last().map_or(domain, |step| &step.domain)
}

fn by_tree_walk(claims: &Claims<'_>, dns: &dyn Dns, draw: Option<u8>) -> Checked {
    let Some(steps) = walk(dns, claims.from) else { return Checked::without_record(Outcome::TempError) };
    let organization_of_from = organization(claims.from, &steps).to_owned();
    let of = |domain: &str| steps.iter().find(|step| step.domain == domain);
    // That of the domain itself, of its organization, or of the registry above that.
    let registry = steps.last().filter(|step| step.record.is_registry == Some(true));
    let Some(step) = of(claims.from).or_else(|| of(&organization_of_from)).or(registry) else {
        return Checked::without_record(Outcome::NoRecord);
    };
    let record = &step.record;
    let mut policy = record.policy;
    if step.domain != claims.from {
        policy = record.of_subdomains.unwrap_or(policy);
        if let Some(of_nonexistent) = record.of_nonexistent {
            match exists(dns, claims.from) {
                Some(true) => {}
                Some(false) => policy = of_nonexistent,
                None => return Checked::without_record(Outcome::TempError),
            }
        }
    }
    if record.is_testing {
        policy = policy.milder();
    }
    // Of another organization without asking, if it is not below it.
    let is_same = |other: &str| {
        let is_below = other == organization_of_from
            || other.strip_suffix(&organization_of_from).is_some_and(|rest| rest.ends_with('.'));
        is_below && walk(dns, other).is_some_and(|steps| organization(other, &steps) == organization_of_from)
    };
    let found = Found { record: record.clone(), domain: step.domain.clone() };
    judged(claims, found, policy, draw, &is_same)
}

/// Whether a domain has anything to do with mail. None: no server could say.
fn exists(dns: &dyn Dns, domain: &str) -> Option<bool> {
    let answers = [
        matches_found(&dns.addresses(domain, false)),
        matches_found(&dns.addresses(domain, true)),
        matches_found(&dns.exchangers(domain)),
    ];
    if answers.contains(&Some(true)) {
        return Some(true);
    }
    if answers.contains(&None) { None } else { Some(false) }
}

fn matches_found<T>(answer: &Answer<T>) -> Option<bool> {
    match answer {
        Answer::Found(_) => Some(true),
        Answer::NotThere => Some(false),
        Answer::AskAgain => None,
    }
}

#[cfg(test)]
mod tests;
