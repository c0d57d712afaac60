//! DMARC beside libopendmarc: two hundred records and messages, judged by both. One signature at most: the library mixes the
//! domain of one with the result of another.

use oxim_mailauth::dmarc::record::{Alignment, Policy, Reading};
use oxim_mailauth::dmarc::suffix::{Rules, Suffixes};
use oxim_mailauth::dmarc::{Authentication, Claims, Method, Outcome, check};
use serde_json::json;

use super::{Judge, Keys};
use crate::generator::random::Random;

/// Where Debian's package `publicsuffix` has the list.
const SUFFIXES: &str = "/usr/share/publicsuffix/public_suffix_list.dat";

const DOMAINS: &[&str] =
    &["o.com", "a.o.com", "b.o.com", "x.a.o.com", "p.com", "o.co.uk", "q.co.uk", "s.o.co.uk"];

/// Why the two may differ.
#[derive(Debug, PartialEq)]
enum Reason {
    /// libopendmarc takes domains of one organization as aligned, though the record wants the same domain.
    Strict,
    /// libopendmarc takes the registry for the organization of a domain directly below it, so that all are of one.
    Registry,
    /// libopendmarc does without the version.
    NoVersion,
    /// RFC 7489 section 6.6.2: what could not be checked must not be refused.
    CouldNotBeChecked,
    /// RFC 7489 section 6.6.3: a policy that is wrong counts as `none` if reports are wanted.
    WrongPolicy,
}

pub(super) fn judged_alike(judge: &mut Judge) {
    let rules = Rules::parse(&std::fs::read(SUFFIXES).unwrap());
    let suffixes = Suffixes::File(rules.into());
    let (mut alike, mut different) = (0, Vec::new());
    for number in 0..200 {
        let mut random = Random::new(number);
        let record = record(&mut random);
        let from = random.pick(DOMAINS);
        let organization = suffixes.organizational_domain(from).to_owned();
        let owner = if random.percent(60) { from.to_owned() } else { organization.clone() };
        let claim = |random: &mut Random| {
            let result = random.pick(&["pass", "pass", "fail", "later"]);
            (result.to_owned(), random.pick(DOMAINS).to_owned())
        };
        let spf = random.percent(80).then(|| claim(&mut random));
        let dkim: Vec<_> = (0..random.below(2)).map(|_| claim(&mut random)).collect();
        let theirs = judge.ask(&json!({
            "op": "dmarc", "suffixes": SUFFIXES, "from": from, "record": record, "owner": owner,
            "organization": (owner != from).then_some(&owner), "spf": spf, "dkim": dkim,
        }));
        let zone = Keys(vec![(format!("_dmarc.{owner}"), record.clone())]);
        let read = |(result, domain): &(String, String)| {
            let result = match result.as_str() {
                "pass" => Authentication::Passed,
                "later" => Authentication::Later,
                _ => Authentication::NotPassed,
            };
            (result, domain.clone())
        };
        let claims = Claims { from, spf: spf.as_ref().map(read), dkim: dkim.iter().map(read).collect() };
        let ours = check(&claims, &zone, &Method::Suffixes(suffixes.clone()), None);
        let code = match ours.outcome {
            Outcome::NoRecord => 14,
            Outcome::Accept => 15,
            Outcome::Fail(Policy::Reject) => 16,
            Outcome::Fail(Policy::Quarantine) => 17,
            Outcome::Fail(Policy::None) => 18,
            Outcome::TempError => 0,
        };
        // A record that libopendmarc does not store is none.
        let is_stored = theirs["stored"] == 0;
        let their_code = if is_stored { theirs["policy"].as_u64().unwrap() } else { 14 };
        let is_alike = code == their_code
            && (!is_stored
                || code == 14
                || (theirs["spf"] == ours.is_spf_aligned && theirs["dkim"] == ours.is_dkim_aligned));
        if is_alike {
            alike += 1;
            continue;
        }
        let found = ours.found.as_ref().map(|found| &found.record);
        let is_strict = found.is_some_and(|r| [r.spf, r.dkim].contains(&Alignment::Strict));
        let domains = spf.iter().chain(&dkim).map(|(_, domain)| domain.as_str()).chain([from]);
        let has_organization = { domains }.any(|domain| suffixes.organizational_domain(domain) == domain);
        let reason = match ours.outcome {
            Outcome::TempError => Some(Reason::CouldNotBeChecked),
            _ if !is_stored && found.is_some() => Some(Reason::WrongPolicy),
            Outcome::NoRecord if !record.starts_with("v=DMARC1") => Some(Reason::NoVersion),
            _ if has_organization => Some(Reason::Registry),
            _ if is_strict => Some(Reason::Strict),
            Outcome::NoRecord | Outcome::Accept | Outcome::Fail(_) => None,
        };
        let shown = format!(
            "{number}: {record} from={from} owner={owner} spf={spf:?} dkim={dkim:?} ours={ours:?} theirs={theirs}"
        );
        assert!(reason.is_some(), "not explained, {shown}");
        different.push(reason);
    }
    assert!(alike >= 120, "{alike} alike, {different:?}");
}

fn record(random: &mut Random) -> String {
    let mut record = format!("v=DMARC1; p={}", random.pick(&["none", "quarantine", "reject", "reject"]));
    if random.percent(8) {
        record = random
            .pick(&["v=DMARC1", "v=DMARC1; p=bogus", "p=none", "v=DMARC1; rua=mailto:a@o.com", "hello"])
            .to_owned();
    }
    if random.percent(30) {
        record.push_str(&format!("; sp={}", random.pick(&["none", "quarantine", "reject"])));
    }
    for tag in ["adkim", "aspf"] {
        if random.percent(20) {
            record.push_str(&format!("; {tag}={}", random.pick(&["r", "s"])));
        }
    }
    if random.percent(30) {
        record.push_str("; rua=mailto:a@o.com,mailto:b@o.com; fo=1");
    }
    if random.percent(20) {
        record.push_str(" ;pct=100;");
    }
    assert!(Reading::of(b"v=DMARC1; p=none") != Reading::Other);
    record
}
